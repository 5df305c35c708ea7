// SPDX-License-Identifier: BSD-2-Clause
//! A dump that is whole gets its number, its name and its `info.N`. Mirrors
//! the end of `DoLiveFile` and `DoFile` in savecore.c; the order is ours.
//!
//! ```text
//!  SyncDump    the bytes are on disk, still livecore.tmp.XXXXXX
//!  Lock        from here on no other livedump names files here
//!  Info        info.N is written, under a temporary name
//!  Bounds      bounds is N+1: this number is not used again
//!  SetAside    an old info.N would now describe the wrong dump; but an old
//!              key.N stays with its dump
//!  Dump        livecore.N appears, whole
//!  Companions  kernel.N and key.N appear
//!  NameInfo    info.N appears
//!  SyncNames   all of that is on disk
//!  RemoveOld   the files of an older dump number N are removed, and the
//!              backups
//!  Links       .last
//!  SyncLinks
//! ```
//!
//! Killed before `Dump`, a run leaves a gap in the numbers and a temporary
//! file that the next run removes, and it restores the backups;
//! killed after it, a whole dump that may lack its `info.N`, and the one that
//! it replaces, which the next run removes. An error before `Dump` undoes what
//! was done; later ones are reported, and the dump is kept.

use super::bounds::after;
use super::{Basename, Companion, CrashDir, Error, Temp, names};
use memdev::kerneldump::Compression;
use std::io;
use std::time::Duration;

/// What is about to be done; see the module's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Step {
    SyncDump,
    Lock,
    Info,
    BackUp,
    Bounds,
    Dump,
    Companions,
    NameInfo,
    SyncNames,
    RemoveOld,
    Links,
    SyncLinks,
}

impl Step {
    /// All of them, in order.
    pub const ALL: [Step; 12] = [
        Step::SyncDump,
        Step::Lock,
        Step::Info,
        Step::BackUp,
        Step::Bounds,
        Step::Dump,
        Step::Companions,
        Step::NameInfo,
        Step::SyncNames,
        Step::RemoveOld,
        Step::Links,
        Step::SyncLinks,
    ];

    fn doing(self) -> &'static str {
        match self {
            Step::SyncDump => "syncing the dump in",
            Step::Lock => "locking",
            Step::Info => "writing info in",
            Step::Bounds => "writing bounds in",
            Step::BackUp | Step::RemoveOld => "replacing the old dump in",
            Step::Dump => "naming the dump in",
            Step::NameInfo => "naming info in",
            Step::Companions => "naming the files of the dump in",
            Step::SyncNames | Step::SyncLinks => "syncing",
            Step::Links => "linking in",
        }
    }
}

/// What is to be named.
pub struct Finished<'d, 'a> {
    /// The dump, checked and cut to its length.
    pub dump: Temp<'d>,
    /// What it is.
    pub stem: Basename,
    /// The files to keep next to it.
    pub companions: Vec<(Companion, Temp<'d>)>,
    /// What the dump is compressed with.
    pub compression: Compression,
    /// Whether it may take the place of the newest sound dump.
    pub sound: bool,
    /// Where numbers start again.
    pub maxdumps: Option<u32>,
    /// The text of `info.N`, given N.
    pub info: &'a dyn Fn(u32) -> String,
}

/// The names that were given.
#[derive(Debug)]
#[must_use]
pub struct Saved {
    /// N.
    pub number: u32,
    /// `livecore.N`.
    pub dump: String,
    /// `info.N`.
    pub info: Option<String>,
    /// `kernel.N` and the like.
    pub companions: Vec<(Companion, String)>,
    /// What could not be done once the dump had its name.
    pub problems: Vec<Error>,
    /// Whether the dump and the files next to it have their names, and that is
    /// on disk. Other problems do not put them at risk.
    pub durable: bool,
    /// Why `bounds` did not have the number, or has not the next one. No dump
    /// is at risk: the next number is above the highest one there is.
    pub bounds: Option<Error>,
}

impl Saved {
    /// The name of a file next to the dump.
    #[must_use]
    pub fn companion(&self, companion: Companion) -> Option<&str> {
        let mut companions = self.companions.iter();
        companions.find(|(s, _)| *s == companion).map(|(_, name)| name.as_str())
    }
}

impl CrashDir {
    /// Whether a dump could get its name, were it there already: worth
    /// knowing before it is taken.
    ///
    /// # Errors
    /// What is in the way.
    pub fn check_names(
        &self,
        maxdumps: Option<u32>,
        stem: Basename,
        compression: Compression,
        companions: &[Companion],
    ) -> Result<(), Error> {
        let n = self.bounds(maxdumps)?;
        self.check_names_of(n, stem, compression, companions)
    }

    fn check_names_of(
        &self,
        n: u32,
        stem: Basename,
        compression: Compression,
        companions: &[Companion],
    ) -> Result<(), Error> {
        self.check_not_foreign(&names::dump(stem, n, compression))?;
        self.check_not_foreign(&names::info(n))?;
        for companion in companions {
            self.check_not_foreign(&companion.name(n))?;
        }
        Ok(())
    }

    /// The number that a dump gets. One that is not sound leaves out that of
    /// the newest dump of its kind, live or of a panic, that is; `bounds` may come to it without maxdumps, too,
    /// where an earlier run had some.
    fn number_for(
        &self,
        maxdumps: Option<u32>,
        sound: bool,
        stem: Basename,
    ) -> Result<u32, Error> {
        let n = self.bounds(maxdumps)?;
        if sound {
            return Ok(n);
        }
        let newest = match stem {
            Basename::Livecore => self.newest_sound()?,
            _ => self.newest_sound_panic()?,
        };
        if newest != Some(n) {
            return Ok(n);
        }
        match after(n) {
            next if maxdumps.is_none_or(|max| next < max) => Ok(next),
            _ if n > 0 => Ok(0),
            _ => Err(Error::OnlySound { path: self.path.clone() }),
        }
    }

    /// Gives a dump its name.
    ///
    /// # Errors
    /// Why it has none; nothing of it is left then.
    pub fn finish(&self, it: Finished<'_, '_>) -> Result<Saved, Error> {
        self.finish_by_steps(it, &mut |_| Ok(()))
    }

    /// The same; `before` is called for each step and may fail it, as a disk
    /// may.
    ///
    /// # Errors
    /// Why it has no name; nothing of it is left then.
    pub fn finish_by_steps(
        &self,
        it: Finished<'_, '_>,
        before: &mut dyn FnMut(Step) -> io::Result<()>,
    ) -> Result<Saved, Error> {
        let mut step = |step: Step| {
            before(step).map_err(|source| Error::Io {
                doing: step.doing(),
                path: self.path.clone(),
                source,
            })
        };
        let Finished {
            dump,
            stem,
            companions,
            compression,
            sound,
            maxdumps,
            info,
        } = it;

        step(Step::SyncDump)?;
        dump.sync()?;
        for (_, temp) in &companions {
            temp.sync()?;
        }
        step(Step::Lock)?;
        let _lock = self.lock()?;
        // Another run may have finished since the last look, or been killed.
        self.restore_backups()?;
        let kinds: Vec<_> =
            companions.iter().map(|(companion, _)| *companion).collect();
        let mut bounds = self.next_number()?.problem;
        let number = self.number_for(maxdumps, sound, stem)?;
        self.check_names_of(number, stem, compression, &kinds)?;
        let dump_name = names::dump(stem, number, compression);
        let info_name = names::info(number);

        self.make_newest(&dump)?;

        step(Step::Info)?;
        let mut info_temp = self.temp()?;
        info_temp.write_all(info(number).as_bytes())?;
        info_temp.sync()?;
        step(Step::BackUp)?;
        let mut backups = Backups::new(self, dump.inode()?)?;
        backups.back_up_all(number)?;
        step(Step::Bounds)?;
        match self.check_not_foreign("bounds") {
            Ok(()) => {
                self.bounds_temp(after(number))?.persist("bounds")?;
                backups.counted = true;
            }
            // Neither followed nor replaced, and no reason to lose a dump.
            Err(e) => bounds = Some(e),
        }
        step(Step::Dump)?;
        dump.persist(&dump_name)?;
        backups.counted = false;

        // From here on the dump is there, whatever happens.
        let mut problems = Vec::new();
        let mut note = |done: Result<(), Error>| match done {
            Ok(()) => true,
            Err(e) => {
                problems.push(e);
                false
            }
        };
        let mut durable = true;
        let mut companions_saved = Vec::new();
        for (companion, temp) in companions {
            let name = companion.name(number);
            if note(step(Step::Companions).and_then(|()| temp.persist(&name))) {
                companions_saved.push((companion, name));
            } else {
                durable = false;
            }
        }
        let info_saved = note(
            step(Step::NameInfo).and_then(|()| info_temp.persist(&info_name)),
        );
        let synced = step(Step::SyncNames).and_then(|()| self.sync());
        // An older dump is removed only when the new one is on disk.
        if note(synced) {
            let mut keep = vec![dump_name.as_str(), info_name.as_str()];
            keep.extend(companions_saved.iter().map(|(_, name)| name.as_str()));
            if note(
                step(Step::RemoveOld)
                    .and_then(|()| self.remove_old(number, &keep)),
            ) {
                backups.remove();
            }
        } else {
            durable = false;
        }
        // The remaining files show the next run that there is an older one.
        backups.keep_for_next_run();
        match step(Step::Links) {
            Ok(()) => {
                let mut links = vec![dump_name.as_str()];
                links.extend(info_saved.then_some(info_name.as_str()));
                links.extend(companions_saved.iter().map(|(_, n)| n.as_str()));
                problems.extend(self.update_links(number, &links));
            }
            Err(e) => problems.push(e),
        }
        let synced = step(Step::SyncLinks).and_then(|()| self.sync());
        problems.extend(synced.err());
        Ok(Saved {
            number,
            dump: dump_name,
            info: info_saved.then_some(info_name),
            companions: companions_saved,
            problems,
            durable,
            bounds,
        })
    }

    /// Sees to it that a dump was written after all others, though the clock
    /// may have been set back: that is the order they go in.
    fn make_newest(&self, dump: &Temp<'_>) -> Result<(), Error> {
        match self.last_written()? {
            Some(newest) if newest >= dump.written()? => {
                let next = newest.checked_add(Duration::from_micros(1));
                dump.set_written(next.unwrap_or(newest))
            }
            _ => Ok(()),
        }
    }

    /// Removes the files of an older dump with this number, but not `keep`.
    /// Only plain files: savecore makes no others.
    pub(super) fn remove_old(
        &self,
        number: u32,
        keep: &[&str],
    ) -> Result<(), Error> {
        for name in names::set(&number.to_string()) {
            let foreign = self.check_not_foreign(&name).is_err();
            if !foreign && !keep.contains(&name.as_str()) {
                self.unlink(&name)?;
            }
        }
        Ok(())
    }
}

/// Files moved out of sight: back on drop, as is `bounds`.
struct Backups<'d> {
    dir: &'d CrashDir,
    /// Of the dump that makes them wrong, once it has its name.
    inode: u64,
    /// The previous contents of `bounds`.
    next: u32,
    /// Whether it was replaced.
    counted: bool,
    moved: Vec<(String, String)>,
}

impl<'d> Backups<'d> {
    fn new(dir: &'d CrashDir, inode: u64) -> Result<Self, Error> {
        let next = dir.bounds(None)?;
        Ok(Self { dir, inode, next, counted: false, moved: Vec::new() })
    }

    /// The companions of an older dump. If it has no info.N an empty file
    /// stands for that: which of the two dumps is there tells a later run
    /// whether the number was given.
    fn back_up_all(&mut self, number: u32) -> Result<(), Error> {
        if !self.dir.has_dump(number)? {
            // savecore(8) has no use for what is left of one.
            self.back_up(&names::info(number))?;
            return self.back_up_companions(number);
        }
        let info = names::info(number);
        if !self.back_up(&info)? {
            let temp =
                self.dir.back_up_missing(&info, self.inode, self.next)?;
            self.moved.push((String::new(), temp));
        }
        self.back_up_companions(number)
    }

    fn back_up_companions(&mut self, number: u32) -> Result<(), Error> {
        for companion in
            Companion::ALL.into_iter().filter(|s| *s != Companion::Key)
        {
            self.back_up(&companion.name(number))?;
        }
        Ok(())
    }

    fn back_up(&mut self, name: &str) -> Result<bool, Error> {
        let plain = self.dir.check_not_foreign(name).is_ok();
        if !plain || self.dir.stat(name)?.is_none() {
            return Ok(false);
        }
        let temp = self.dir.back_up(name, self.inode, self.next)?;
        self.moved.push((name.into(), temp));
        Ok(true)
    }

    fn remove(&mut self) {
        for (_, temp) in self.moved.drain(..) {
            // What stays has a temporary name, and the next run sees that the
            // dump was removed.
            let _ = self.dir.unlink(&temp);
        }
    }

    /// Keeps the backups for the next run.
    fn keep_for_next_run(mut self) {
        self.moved.clear();
    }
}

impl Drop for Backups<'_> {
    fn drop(&mut self) {
        if self.counted {
            // Without it a number is lost, and nothing else.
            let bounds = self.dir.bounds_temp(self.next);
            let _ = bounds.and_then(|temp| temp.persist("bounds"));
        }
        for (name, temp) in self.moved.drain(..) {
            let _ = match name.as_str() {
                "" => self.dir.unlink(&temp),
                _ => self.dir.rename(&temp, &name),
            };
        }
    }
}

#[cfg(test)]
mod tests;
