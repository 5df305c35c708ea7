// SPDX-License-Identifier: BSD-2-Clause
//! Removes dumps that [`Retention`] says are too many. Only live dumps: those
//! of a panic are savecore's, and nobody has asked for fewer of them.
//!
//! What lies beside a dump is removed before it, so whatever is left when this
//! is killed is a whole dump, and is removed by the next run.
//!
//! Dumps are checked before the directory is locked: no dump, whatever it
//! unpacks to, keeps others waiting. One that is new when it is locked was not
//! checked, and stays.

use super::dumps::Stored;
use super::retention::{Plan, Retention, Weight};
use super::{CrashDir, Error, SavedDump, names};
use livedump_vmcore::verdict::Verdict;
use std::collections::HashMap;
use std::time::SystemTime;

/// What was removed, or would be.
#[derive(Debug, Default)]
pub struct Pruned {
    /// The dumps that are removed and why, oldest first.
    pub removed: Vec<(SavedDump, String)>,
    /// The numbers of those that stay because it cannot be told whether they
    /// are sound, and why not.
    pub undetermined: Vec<(u32, String)>,
    /// Those that stay, newest first.
    pub kept: Vec<SavedDump>,
    /// The number of the one that stays whatever the limits say.
    pub protected: Option<u32>,
    /// The option whose limit that one exceeds by itself.
    pub exceeds: Option<&'static str>,
    /// What could not be done.
    pub problems: Vec<Error>,
}

impl CrashDir {
    /// Removes what is too much. With `dry_run` only tells.
    ///
    /// # Errors
    /// The directory cannot be read or locked: nothing was removed.
    pub fn prune(
        &self,
        retention: &Retention,
        now: SystemTime,
        dry_run: bool,
    ) -> Result<Pruned, Error> {
        let mut verdicts = Verdicts::default();
        let mut dumps = self.live_dumps()?;
        let mut plan = verdicts.plan(self, retention, &dumps, now);
        let _lock = match dry_run {
            true => None,
            false => {
                let lock = self.lock()?;
                self.remove_stale()?;
                dumps = self.live_dumps()?;
                verdicts.closed = true;
                plan = verdicts.plan(self, retention, &dumps, now);
                Some(lock)
            }
        };
        let protected = plan.protected.and_then(|i| dumps.get(i));
        let exceeds = protected.and_then(|dump| {
            let (bytes, age) = (dump.disk_bytes, dump.age(now));
            retention.exceeded_by(Weight { bytes, age })
        });
        let mut pruned = Pruned {
            protected: protected.map(|dump| dump.number),
            exceeds,
            undetermined: plan
                .undetermined
                .iter()
                .filter_map(|(i, why)| {
                    Some((dumps.get(*i)?.number, why.clone()))
                })
                .collect(),
            ..Pruned::default()
        };
        let mut keep = dumps.iter().map(|_| true).collect::<Vec<_>>();
        for (i, reason) in plan.remove {
            let Some(dump) = dumps.get(i) else { continue };
            let done = match dry_run {
                true => Ok(()),
                false => self.remove_dump(dump),
            };
            match done {
                Ok(()) => {
                    pruned.removed.push((dump.clone(), reason));
                    if let Some(keep) = keep.get_mut(i) {
                        *keep = false;
                    }
                }
                Err(e) => pruned.problems.push(e),
            }
        }
        let mut keep = keep.into_iter();
        dumps.retain(|_| keep.next().unwrap_or(true));
        pruned.kept = dumps;
        if !dry_run && !pruned.removed.is_empty() {
            pruned.problems.extend(self.update_links_after(&pruned));
            pruned.problems.extend(self.sync().err());
        }
        Ok(pruned)
    }

    /// The number of the newest live dump that is sound.
    pub(super) fn newest_sound(&self) -> Result<Option<u32>, Error> {
        let dumps = self.live_dumps()?;
        let (none, now) = (Retention::default(), SystemTime::now());
        let plan = Verdicts::default().plan(self, &none, &dumps, now);
        let newest = plan.protected.and_then(|i| dumps.get(i));
        Ok(newest.map(|dump| dump.number))
    }

    /// The number of the newest dump of a panic that is sound. One that is
    /// encrypted is what its info.N says.
    pub(super) fn newest_sound_panic(&self) -> Result<Option<u32>, Error> {
        let mut dumps = self.dumps()?;
        dumps.retain(|dump| !dump.live);
        let is_sound = |dump: &SavedDump| {
            let info = dump.info.as_ref();
            let said = info.and_then(|info| info.status.as_deref());
            said == Some("good")
                && (names::is_encrypted(&dump.name)
                    || self.judge(dump).is_sound())
        };
        let newest = dumps.iter().find(|dump| is_sound(dump));
        Ok(newest.map(|dump| dump.number))
    }

    fn live_dumps(&self) -> Result<Vec<SavedDump>, Error> {
        let mut dumps = self.dumps()?;
        dumps.retain(|dump| dump.live);
        Ok(dumps)
    }

    fn remove_dump(&self, dump: &SavedDump) -> Result<(), Error> {
        for name in &dump.companions {
            if self.check_not_foreign(name).is_ok() {
                self.unlink(name)?;
            }
        }
        self.unlink(&dump.name)
    }

    /// Where the links led to a dump that is gone they lead to the newest
    /// one that is left.
    fn update_links_after(&self, pruned: &Pruned) -> Vec<Error> {
        let gone = pruned
            .removed
            .iter()
            .any(|(dump, _)| self.links_to(&dump.name).unwrap_or(false));
        if !gone {
            return Vec::new();
        }
        match pruned.kept.first() {
            Some(dump) => {
                let mut files = vec![dump.name.as_str()];
                files.extend(dump.companions.iter().map(String::as_str));
                self.update_links(dump.number, &files)
            }
            None => self.update_links(0, &[]),
        }
    }
}

/// Verdicts, by the file that they are on.
#[derive(Default)]
struct Verdicts {
    known: HashMap<(String, u64, SystemTime), Verdict>,
    /// No other file is checked.
    closed: bool,
}

impl Verdicts {
    fn plan(
        &mut self,
        directory: &CrashDir,
        retention: &Retention,
        dumps: &[SavedDump],
        now: SystemTime,
    ) -> Plan {
        let weights: Vec<_> = dumps
            .iter()
            .map(|dump| Weight { bytes: dump.disk_bytes, age: dump.age(now) })
            .collect();
        retention.plan(&weights, |i| match dumps.get(i) {
            Some(dump) => self.of(directory, dump),
            None => Verdict::Undetermined(String::new()),
        })
    }

    fn of(&mut self, directory: &CrashDir, dump: &SavedDump) -> Verdict {
        let file = (dump.name.clone(), dump.length, dump.written);
        match self.known.get(&file) {
            Some(verdict) => verdict.clone(),
            None if self.closed => {
                Verdict::Undetermined("it is new and was not checked".into())
            }
            None => {
                let verdict = for_keeping(directory, dump);
                self.known.insert(file, verdict.clone());
                verdict
            }
        }
    }
}

/// Nobody without its key can look into an encrypted dump: it is what its
/// info.N says, which was written when it had been looked into.
fn for_keeping(directory: &CrashDir, dump: &SavedDump) -> Verdict {
    let info = dump.info.as_ref();
    match info.filter(|_| names::is_encrypted(&dump.name)) {
        Some(info) => info.verdict(Stored::new(dump, None)),
        None => directory.judge(dump),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use livedump_vmcore::sample::{Sample, VERSIONS};
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    /// Dumps 0, 1, ... : "s" sound, "w" damaged, "p" of a panic, "u" one
    /// that nobody can tell about.
    fn directory(kinds: &str) -> tempfile::TempDir {
        let (machine, version) = VERSIONS[2];
        let bytes = Sample::new(machine, version).bytes();
        let tmp = tempfile::tempdir().unwrap();
        let put = |name: String, bytes: &[u8]| {
            fs::write(tmp.path().join(name), bytes).unwrap();
        };
        for (n, kind) in kinds.chars().enumerate() {
            let stem = if kind == 'p' { "vmcore" } else { "livecore" };
            let end = if kind == 'w' { 5000 } else { bytes.len() };
            match kind {
                'u' => {
                    put(format!("{stem}.{n}"), &[b"BZh", &[0; 99][..]].concat())
                }
                _ => put(format!("{stem}.{n}"), &bytes[..end]),
            }
            put(format!("info.{n}"), b"");
        }
        put("bounds".into(), format!("{}\n", kinds.len()).as_bytes());
        tmp
    }

    fn link(at: &Path, n: u32) {
        for stem in ["livecore", "info"] {
            let target = format!("{stem}.{n}");
            symlink(target, at.join(format!("{stem}.last"))).unwrap();
        }
    }

    fn prune(at: &Path, keep: u32, dry_run: bool) -> Pruned {
        let retention = Retention { keep: Some(keep), ..Retention::default() };
        let dir = CrashDir::open(at).unwrap();
        let pruned = dir.prune(&retention, SystemTime::now(), dry_run).unwrap();
        assert!(pruned.problems.is_empty(), "{:?}", pruned.problems);
        pruned
    }

    fn listing(at: &Path) -> String {
        let mut names: Vec<_> = fs::read_dir(at)
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names.join(" ")
    }

    #[test]
    fn old_dumps_go_with_what_lies_beside_them() {
        let tmp = directory("sss");
        fs::write(tmp.path().join("kernel.0"), "").unwrap();
        link(tmp.path(), 2);
        let before = listing(tmp.path());
        let told = prune(tmp.path(), 1, true);
        assert_eq!(listing(tmp.path()), before);
        let done = prune(tmp.path(), 1, false);
        assert_eq!(
            listing(tmp.path()),
            "bounds info.2 info.last livecore.2 livecore.last"
        );
        for pruned in [told, done] {
            let numbers: Vec<_> =
                pruned.removed.iter().map(|(d, _)| d.number).collect();
            assert_eq!(numbers, [0, 1]);
            assert_eq!(pruned.protected, Some(2));
            assert_eq!(pruned.kept.len(), 1);
        }
    }

    #[test]
    fn one_that_nobody_can_tell_about_stays() {
        let tmp = directory("susus");
        let pruned = prune(tmp.path(), 1, false);
        let left: Vec<_> = pruned.kept.iter().map(|d| d.number).collect();
        assert_eq!(left, [4, 3, 1]);
        let undetermined: Vec<_> =
            pruned.undetermined.iter().map(|(n, _)| *n).collect();
        assert_eq!(undetermined, [3, 1]);
        assert_eq!(pruned.protected, Some(4));
    }

    #[test]
    fn a_dump_that_came_after_the_check_stays() {
        let tmp = directory("ss");
        let dir = CrashDir::open(tmp.path()).unwrap();
        let keep = Retention { keep: Some(1), ..Retention::default() };
        let now = SystemTime::now();
        let mut verdicts = Verdicts::default();
        let before = dir.live_dumps().unwrap();
        verdicts.plan(&dir, &keep, &before, now);
        fs::copy(tmp.path().join("livecore.1"), tmp.path().join("livecore.7"))
            .unwrap();
        verdicts.closed = true;
        let after = dir.live_dumps().unwrap();
        let plan = verdicts.plan(&dir, &keep, &after, now);
        let number = |i: usize| after[i].number;
        assert_eq!(plan.protected.map(number), Some(1));
        assert_eq!(number(plan.undetermined[0].0), 7);
        assert_eq!(plan.remove.len(), 1);
    }

    #[test]
    fn the_links_lead_to_the_newest_that_is_left() {
        let tmp = directory("ssw");
        link(tmp.path(), 2);
        prune(tmp.path(), 1, false);
        assert_eq!(
            fs::read_link(tmp.path().join("livecore.last")).unwrap(),
            Path::new("livecore.1")
        );
        assert_eq!(
            fs::read_link(tmp.path().join("info.last")).unwrap(),
            Path::new("info.1")
        );
    }

    #[test]
    fn dumps_of_a_panic_and_foreign_files_stay() {
        let tmp = directory("psps");
        fs::create_dir(tmp.path().join("livecore.9")).unwrap();
        fs::write(tmp.path().join("notes"), "").unwrap();
        prune(tmp.path(), 1, false);
        assert_eq!(
            listing(tmp.path()),
            "bounds info.0 info.2 info.3 livecore.3 livecore.9 notes \
             vmcore.0 vmcore.2"
        );
    }
}
