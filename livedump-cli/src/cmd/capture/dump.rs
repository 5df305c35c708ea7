// SPDX-License-Identifier: BSD-2-Clause
//! One capture, from the temporary file to the dump's name. The order:
//! nothing is dumped that could not be named or has no room, and nothing is
//! named that was not checked.

use super::captured::{Captured, Changed};
use super::check::{self, Checked};
use super::dumped::Dumped;
use super::encrypted::Fresh;
use super::lists::{self, KernelFile, Lists};
use super::prepare::{Keep, Prepared};
use super::request::Asking;
use super::{Args, Error};
use crate::cmd::write_seal;
use crate::crashdir::{
    Basename, Companion, CrashDir, Finished, Saved, Step, Temp, info_text,
};
use crate::device::Device;
use crate::ekcd::Encryption;
use crate::kernel_files::KernelFiles;
use crate::report::{escape, human, note};
use crate::signals::Signals;
use livedump_vmcore::Vmcore;
use livedump_vmcore::chain;
use livedump_vmcore::elf::Kernel;
use livedump_vmcore::path::FilePath;
use livedump_vmcore::verdict::Verdict;
use memdev::kerneldump::KernelDumpHeader;
use std::io;
use std::time::{Duration, Instant};

/// One capture: what it is told, from where, to where.
pub(super) struct Capture<'a> {
    pub(super) args: &'a Args,
    pub(super) device: &'a dyn Device,
    pub(super) directory: &'a CrashDir,
    pub(super) prepared: Prepared,
}

/// The verdict on a fresh dump. That a dump of the kernel's own facility has
/// all the pages that it should have by its own bitset says nothing: stock
/// 13.2 leaves out pages and their bits.
pub(super) fn verdict(
    dumped: &Dumped,
    checked: &Checked,
    lists: &Lists,
) -> Verdict {
    let header = match checked.problems.as_slice() {
        [] => Verdict::Sound,
        problems => Verdict::Damaged(problems.join("; ")),
    };
    let unwalked = match &lists.unchecked {
        Some(why) if !dumped.ours => Verdict::Undetermined(why.clone()),
        _ => Verdict::Sound,
    };
    let all = header.and(checked.structure.clone());
    let missing = dumped.missing.clone().unwrap_or(Verdict::Sound);
    all.and(missing).and(lists.verdict.clone()).and(unwalked)
}

/// What is named, and what is said about it.
struct What<'a> {
    checked: &'a Checked,
    dumped: &'a Dumped,
    verdict: &'a Verdict,
    encryption: Option<&'a Encryption>,
}

fn stem(encryption: Option<&Encryption>) -> Basename {
    match encryption {
        Some(_) => Basename::LivecoreEncrypted,
        None => Basename::Livecore,
    }
}

impl Capture<'_> {
    /// Its requests.
    pub(super) fn asking(&self) -> Asking<'_> {
        Asking { args: self.args, device: self.device }
    }

    pub(super) fn take(
        mut self,
        signals: &mut Signals,
    ) -> Result<Captured, Error> {
        let started = Instant::now();
        let keep = self.prepared.keep.take();
        let encryption = self.prepared.encryption()?;
        let encryption = encryption.as_ref();
        let (dump, mut kernel, changes) = {
            let _lock = self.directory.lock()?;
            for name in self.directory.remove_stale()? {
                let path = self.directory.path(&name);
                self.asking().say(&format!("removed stale {}", path.display()));
            }
            self.directory.check_names(
                self.args.maxdumps,
                stem(encryption),
                self.asking().compression(),
                &self.companions(keep.as_ref()),
            )?;
            let mut kernel = match &keep {
                Some(_) => Some(self.directory.temp()?),
                None => None,
            };
            if let (Some(temp), Some(Keep::Model(elf))) = (&mut kernel, &keep) {
                temp.write_all(elf)?;
            }
            let changes = match self.args.stability {
                true => Some(self.directory.temp()?),
                false => None,
            };
            (self.directory.temp()?, kernel, changes)
        };
        let own = kernel.as_ref().filter(|_| self.prepared.kernel.is_none());
        let own = own.map(|temp| {
            let file = temp.file().try_clone().map_err(|e| e.to_string());
            (temp.path(), file)
        });
        let (mut dumped, checked, lists) = match encryption {
            Some(encryption) => {
                self.checked_encrypted(&dump, encryption, own.as_ref(), signals)
            }
            None => {
                self.checked(&dump, changes.as_ref(), own.as_ref(), signals)
            }
        }?;
        let verdict = verdict(&dumped, &checked, &lists);
        let reason = verdict.reason().map(String::from);
        let mut problems: Vec<_> = reason.iter().cloned().collect();
        let mut beside = Vec::new();
        let debug = match keep {
            Some(Keep::Files(files)) => {
                let fresh = Fresh { dump: &dump, encryption };
                let kept = self.keep_kernel(&fresh, files, &mut kernel);
                kept.unwrap_or_else(|why| {
                    kernel = None;
                    beside.push(format!("the kernel was not kept: {why}"));
                    None
                })
            }
            _ => None,
        };
        let companions = [
            (Companion::Kernel, kernel),
            (Companion::Debug, debug),
            (Companion::Changed, changes),
        ];
        let companions =
            companions.into_iter().filter_map(|(s, t)| Some((s, t?)));
        let mut companions: Vec<_> = companions.collect();
        if let Some(encryption) = encryption {
            let mut key = self.directory.temp()?;
            key.write_all(&encryption.key_block()?)?;
            companions.push((Companion::Key, key));
        }
        if !self.args.no_seal {
            let begun = dumped.begun.take();
            match write_seal::seal(self.directory, &dump, begun, signals)? {
                Ok(temp) => companions.push((Companion::Seal, temp)),
                Err(why) => beside.push(why),
            }
        }
        let what = What {
            checked: &checked,
            dumped: &dumped,
            verdict: &verdict,
            encryption,
        };
        let saved = self.finish(dump, companions, &what, signals)?;
        problems.extend(beside);
        // A report is no part of the dump.
        let elapsed = started.elapsed();
        let mut beside_later = Vec::new();
        if let Some(e) = &saved.bounds {
            note(format_args!("{}: using number {}", chain(e), saved.number));
        }
        let report = self.prepared.report.clone();
        let report = report.map(|files| self.write_report(&files, &saved));
        if let Some(Err(why)) = &report {
            beside_later.push(format!("no report was written: {why}"));
        }
        let mut it = self.report(saved, &checked, &dumped, elapsed);
        it.report = report.and_then(Result::ok).map(FilePath::from);
        problems.extend(beside_later);
        it.problems.splice(0..0, problems);
        it.encryption = encryption.map(|it| it.cipher().name());
        it.verdict = verdict;
        it.reason = reason;
        it.lists = lists.walked;
        it.unchecked = lists.unchecked.into_iter().collect();
        Ok(it)
    }

    /// Dumps into a file, and looks whether it is a dump.
    pub(super) fn checked(
        &self,
        dump: &Temp<'_>,
        changes: Option<&Temp<'_>>,
        kernel: Option<&KernelFile>,
        signals: &mut Signals,
    ) -> Result<(Dumped, Checked, Lists), Error> {
        let dumped = self.dump(dump, changes, signals);
        self.device.release();
        let dumped = dumped?;
        let force = self.args.force;
        let mut checked =
            check::header(dump.file(), self.asking().compression(), force)?;
        dump.truncate(checked.dumplength)?;
        let fresh = Fresh { dump, encryption: None };
        let found = check::structure(fresh.open(), &checked);
        checked.structure = found.verdict;
        let lists = self.lists(found.core.as_ref(), kernel, dumped.ours);
        Ok((dumped, checked, lists))
    }

    /// Walks the dump's lists.
    pub(super) fn lists(
        &self,
        core: Option<&Vmcore>,
        kernel: Option<&KernelFile>,
        ours: bool,
    ) -> Lists {
        let kernels = self.prepared.kernel.iter().chain(kernel);
        let kernels: Vec<_> = kernels.collect();
        let lists = match core {
            Some(core) => lists::walk(core, &kernels, self.prepared.is_named),
            None => lists::skipped("it does not open"),
        };
        // What makes the verdict is reported with it.
        let unwanted = !self.args.verbose && (ours || self.args.quiet)
            || !lists.verdict.is_sound();
        if let Some(text) = lists.unchecked.as_ref().filter(|_| !unwanted) {
            note(text);
        }
        lists
    }

    /// Copies the kernel that was running, by the dump, and returns its debug
    /// file, if there is one.
    fn keep_kernel<'d>(
        &'d self,
        dump: &Fresh<'_>,
        files: KernelFiles,
        kernel: &mut Option<Temp<'_>>,
    ) -> Result<Option<Temp<'d>>, String> {
        let text = |e: &dyn std::error::Error| chain(e);
        let core = dump.open().map_err(|e| text(&e))?;
        let found = files.choose(&core);
        let found = found.map_err(|e| text(&e))?;
        if let Some(kernel) = kernel {
            self.copy(&found.kernel, kernel)?;
        }
        let Some(debug) = &found.debug else { return Ok(None) };
        let copied = self.directory.temp().map_err(|e| text(&e));
        let copied = copied.and_then(|mut temp| {
            self.copy(debug, &mut temp)?;
            Ok(temp)
        });
        match copied {
            Ok(temp) => Ok(Some(temp)),
            Err(why) => {
                note(format_args!("the debug file was not kept: {why}"));
                Ok(None)
            }
        }
    }

    /// Copies a file that need not be kept at any price.
    fn copy(&self, from: &Kernel, to: &mut Temp<'_>) -> Result<(), String> {
        let text = |e: &dyn std::error::Error| chain(e);
        let free = self.directory.free_bytes().map_err(|e| text(&e))?;
        let minfree = self.directory.minfree_bytes().map_err(|e| text(&e))?;
        let room = free.saturating_sub(minfree);
        if from.file_len() > room && !self.args.force {
            let (need, room) = (human(from.file_len()), human(room));
            return Err(format!("{} needs {need} of {room}", from.path()));
        }
        let mut buf = vec![0; 1 << 20];
        let mut at = 0;
        while at < from.file_len() {
            let got = from.read_file(at, &mut buf).map_err(|e| text(&e))?;
            if got == 0 {
                return Err(format!("{} is truncated at {at:#x}", from.path()));
            }
            let part = buf.get(..got).unwrap_or_default();
            to.write_all(part).map_err(|e| text(&e))?;
            at = at.saturating_add(got as u64);
        }
        Ok(())
    }

    /// The files that will be beside the dump.
    fn companions(&self, keep: Option<&Keep>) -> Vec<Companion> {
        let companions = [
            (Companion::Kernel, keep.is_some()),
            (Companion::Debug, matches!(keep, Some(Keep::Files(_)))),
            (Companion::Changed, self.args.stability),
            (Companion::Key, self.args.encryption.encrypt.is_some()),
            (Companion::Seal, !self.args.no_seal),
            (Companion::Report, self.args.report),
        ];
        let wanted = companions.into_iter().filter(|(_, wanted)| *wanted);
        wanted.map(|(companion, _)| companion).collect()
    }

    fn finish(
        &self,
        dump: Temp<'_>,
        companions: Vec<(Companion, Temp<'_>)>,
        what: &What<'_>,
        signals: &Signals,
    ) -> Result<Saved, Error> {
        let What { checked, dumped, verdict, encryption } = *what;
        let sealed = companions
            .iter()
            .any(|(companion, _)| *companion == Companion::Seal);
        let info = |number| {
            let name = self.device.name();
            let mut text = info_text(&checked.bytes, name, number, verdict)
                .unwrap_or_else(|e| format!("{e}\n"));
            if sealed {
                text.push_str(&write_seal::line(number));
            }
            if let Some(encryption) = encryption {
                let cipher = encryption.cipher().name();
                text.push_str(&format!("  Encryption: {cipher}\n"));
            }
            text.push_str(&dumped.info(number));
            text
        };
        let it = Finished {
            dump,
            stem: stem(encryption),
            companions,
            compression: checked.compression,
            sound: !verdict.is_damaged(),
            maxdumps: self.args.maxdumps,
            info: &info,
        };
        // Syncing takes a while; until the dump has its name it may yet be
        // stopped.
        let mut stop = None;
        let saved = self.directory.finish_by_steps(it, &mut |step| {
            if step <= Step::Dump {
                stop = stop.or_else(|| signals.stopped());
            }
            match stop {
                Some(_) => Err(io::ErrorKind::Interrupted.into()),
                None => Ok(()),
            }
        });
        match (saved, stop) {
            (Ok(saved), _) => Ok(saved),
            (Err(_), Some(signal)) => Err(Error::Stopped(signal)),
            (Err(e), None) => Err(e.into()),
        }
    }

    fn report(
        &self,
        saved: Saved,
        checked: &Checked,
        dumped: &Dumped,
        elapsed: Duration,
    ) -> Captured {
        let path = |name: &str| FilePath::from(self.directory.path(name));
        let header = KernelDumpHeader::decode(&checked.bytes).ok();
        let field = |get: fn(&KernelDumpHeader<'_>) -> String| {
            header.as_ref().map(get).unwrap_or_default()
        };
        Captured {
            number: saved.number,
            file: path(&saved.dump),
            info: saved.info.as_deref().map(path),
            kernel: saved.companion(Companion::Kernel).map(path),
            debug: saved.companion(Companion::Debug).map(path),
            key: saved.companion(Companion::Key).map(path),
            seal: saved.companion(Companion::Seal).map(path),
            report: None,
            machine: self.device.name().into(),
            architecture: field(|h| clean(h.architecture)),
            hostname: field(|h| clean(h.hostname)),
            version: field(|h| clean(h.versionstring)),
            dumptime: header.as_ref().map_or(0, |h| h.dumptime),
            compression: checked.compression.name(),
            level: dumped.level,
            chose_level: self.args.level.is_auto(),
            encryption: None,
            dumplength: checked.dumplength,
            dumpextent: checked.dumpextent,
            pages: dumped.pages,
            zero_pages: dumped.zero_pages,
            elapsed_ns: u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX),
            quiesced_ns: dumped.quiesced_ns,
            registers: dumped.registers,
            instant: dumped.instant(),
            late_pages: dumped.freeze.map(|freeze| freeze.late_pages),
            copy_bytes: dumped.freeze.map(|freeze| freeze.copy_bytes),
            missing_cpus: dumped.missing_cpus.clone(),
            changed: dumped.changed.map(|header| {
                let [page_tables, kernel_map, direct_map] = header.changed;
                let file = saved.companion(Companion::Changed).map(path);
                let pages = header.total();
                Changed { file, pages, page_tables, kernel_map, direct_map }
            }),
            lists: None,
            verdict: Verdict::Sound,
            reason: None,
            problems: saved
                .problems
                .iter()
                .map(|e| {
                    let file = path(&saved.dump);
                    format!("{file} was kept, but: {}", chain(e))
                })
                .collect(),
            unchecked: Vec::new(),
        }
    }
}

fn clean(bytes: &[u8]) -> String {
    escape(bytes.trim_ascii_end())
}
