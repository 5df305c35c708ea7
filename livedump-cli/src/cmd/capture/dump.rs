// SPDX-License-Identifier: BSD-2-Clause
//! One capture, from the temporary file to the dump's name. The order:
//! nothing is dumped that could not be named or has no room, and nothing is
//! named that was not checked.

use super::captured::{self, Captured, Changed};
use super::check::{self, Checked};
use super::limit::{FileSizeLimit, is_reached};
use super::lists::{self, KernelFile, Lists};
use super::prepare::{Keep, Prepared};
use super::progress::Progress;
use super::watch::{Stop, watched};
use super::{Args, Error};
use crate::cmd::write_seal;
use crate::crashdir::{
    Basename, Companion, CrashDir, Finished, Saved, Step, Temp, info_text,
};
use crate::device::{Device, OpenError, Outside, Request, Rescue, can_freeze};
use crate::kernel_files::KernelFiles;
use crate::report::{self, escape, human, note};
use crate::signals::Signals;
use livedump_vmcore::chain;
use livedump_vmcore::elf::Kernel;
use livedump_vmcore::path::FilePath;
use livedump_vmcore::verdict::Verdict;
use livedump_vmcore::{Vmcore, changes};
use memdev::addr::PAGE_SIZE;
use memdev::changes::Header;
use memdev::errno::Errno;
use memdev::freeze::MinidumpFreeze;
use memdev::ioctl::{
    FLAG_ESTIMATE, FLAG_QUIESCE, FLAG_REGISTERS, FLAG_STABILITY, FLAG_WAIT,
    MemLivedumpArg, MemMinidumpArg, MemMinidumpStatus,
};
use memdev::kerneldump::{Compression, HEADER_SIZE, KernelDumpHeader};
use memdev::stage::Stage;
use std::io;
use std::time::{Duration, Instant};

/// One capture: what it is told, from where, to where.
pub(super) struct Capture<'a> {
    pub(super) args: &'a Args,
    pub(super) device: &'a dyn Device,
    pub(super) directory: &'a CrashDir,
    pub(super) prepared: Prepared,
}

/// What the request answered.
#[derive(Default)]
pub(super) struct Dumped {
    /// Whether it was ours, and not the kernel's own.
    ours: bool,
    pages: Option<u64>,
    zero_pages: Option<u64>,
    quiesced_ns: Option<u64>,
    registers: Option<u32>,
    missing_cpus: Option<Vec<u32>>,
    changed: Option<Header>,
    freeze: Option<MinidumpFreeze>,
    outside: Option<Outside>,
    /// What of the machine's memory it lacks.
    missing: Option<Verdict>,
}

impl Dumped {
    /// What our request answered. That something was asked for is no claim
    /// that it was done.
    fn from_answer(answer: &Request) -> Self {
        let Request { arg, freeze } = answer;
        let asked = |flag| arg.flags & flag != 0;
        // A machine that is stopped has them anyway.
        let registers = asked(FLAG_REGISTERS) || freeze.is_some();
        let changed = Header {
            records: 0,
            pages: arg.pages,
            changed: arg.changed_by_kind,
        };
        Self {
            ours: true,
            pages: Some(arg.pages),
            zero_pages: Some(arg.zero_pages),
            // Asked for is not done: only what was answered counts.
            quiesced_ns: asked(FLAG_QUIESCE)
                .then_some(arg.quiesced_ns)
                .filter(|ns| *ns > 0),
            registers: registers.then_some(arg.registers),
            missing_cpus: registers.then(|| arg.missing_cpus().collect()),
            changed: asked(FLAG_STABILITY).then_some(changed),
            freeze: *freeze,
            outside: None,
            missing: None,
        }
    }

    /// The instant that it is of.
    pub(super) fn instant(&self) -> Option<report::Instant> {
        let frozen = self.freeze.as_ref().map(report::Instant::of_answer);
        let outside = self.outside.as_ref();
        frozen.or(outside.map(|it| report::Instant::of_record(&it.record)))
    }

    /// What info.N has of it, behind the stock tool's lines.
    fn info(&self, number: u32) -> String {
        let mut text = String::new();
        if let Some(instant) = self.instant() {
            text.push_str(&format!("  Instant: {}\n", instant.moment()));
            text.push_str(&format!("  Paused: {}\n", instant.pause()));
        }
        if let Some(ns) = self.quiesced_ns {
            let seconds = Duration::from_nanos(ns).as_secs_f64();
            text.push_str(&format!("  Quiesced: {seconds:.3} s\n"));
        }
        if let Some(n) = self.registers {
            text.push_str(&format!("  Registers: {n} threads\n"));
        }
        if let Some(cpus) = self.missing_cpus.as_deref()
            && !cpus.is_empty()
        {
            let cpus = captured::numbers(cpus);
            text.push_str(&format!("  Missing CPUs: {cpus}\n"));
        }
        if let Some(header) = &self.changed {
            let pages = changes::summary(header);
            text.push_str(&format!("  Changed Pages: {pages}\n"));
            text.push_str(&format!("  Changed List: changed.{number}\n"));
        }
        text
    }
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

/// Bytes for what lies beside a dump.
const COMPANION_BYTES: u64 = 64 << 10;

/// What a dump may take of the file system.
#[derive(Clone, Copy)]
struct Budget {
    bytes: u64,
    /// Bytes that are to stay free, and are not among them.
    minfree: u64,
}

impl Capture<'_> {
    pub(super) fn take(
        mut self,
        signals: &mut Signals,
    ) -> Result<Captured, Error> {
        let started = Instant::now();
        let keep = self.prepared.keep.take();
        let (dump, mut kernel, changes) = {
            let _lock = self.directory.lock()?;
            for name in self.directory.remove_stale()? {
                let path = self.directory.path(&name);
                self.say(&format!("removed stale {}", path.display()));
            }
            self.directory.check_names(
                self.args.maxdumps,
                Basename::Livecore,
                self.compression(),
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
        let (dumped, checked, lists) =
            self.checked(&dump, changes.as_ref(), own.as_ref(), signals)?;
        let verdict = verdict(&dumped, &checked, &lists);
        let reason = verdict.reason().map(String::from);
        let mut problems: Vec<_> = reason.iter().cloned().collect();
        let mut beside = Vec::new();
        let debug = match keep {
            Some(Keep::Files(files)) => {
                let kept = self.keep_kernel(&dump, files, &mut kernel);
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
        if !self.args.no_seal {
            match write_seal::seal(self.directory, &dump, signals)? {
                Ok(temp) => companions.push((Companion::Seal, temp)),
                Err(why) => beside.push(why),
            }
        }
        let saved = self
            .finish(dump, companions, &checked, &dumped, &verdict, signals)?;
        problems.extend(beside);
        if let Some(e) = &saved.bounds {
            note(format_args!("{}: using number {}", chain(e), saved.number));
        }
        let mut it = self.report(saved, &checked, &dumped, started.elapsed());
        it.problems.splice(0..0, problems);
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
            check::header(dump.file(), self.compression(), force)?;
        dump.truncate(checked.dumplength)?;
        let found = check::structure(dump.file(), &dump.path(), &checked);
        checked.structure = found.verdict;
        let lists = self.lists(found.core.as_ref(), kernel, dumped.ours);
        Ok((dumped, checked, lists))
    }

    /// Walks the dump's lists.
    fn lists(
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
        dump: &Temp<'_>,
        files: KernelFiles,
        kernel: &mut Option<Temp<'_>>,
    ) -> Result<Option<Temp<'d>>, String> {
        let text = |e: &dyn std::error::Error| chain(e);
        let file = dump.file().try_clone().map_err(|e| text(&e))?;
        let core = Vmcore::from_file(file, &dump.path());
        let core = core.map_err(|e| text(&e))?;
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
            (Companion::Seal, !self.args.no_seal),
        ];
        let wanted = companions.into_iter().filter(|(_, wanted)| *wanted);
        wanted.map(|(companion, _)| companion).collect()
    }

    fn flags(&self) -> u32 {
        let flags = [
            (FLAG_QUIESCE, self.args.quiesce),
            (FLAG_REGISTERS, self.args.registers),
            (FLAG_STABILITY, self.args.stability),
        ];
        let wanted = flags.into_iter().filter(|(_, wanted)| *wanted);
        wanted.fold(FLAG_WAIT, |flags, (flag, _)| flags | flag)
    }

    fn compression(&self) -> Compression {
        if self.args.zstd {
            Compression::Zstd
        } else if self.args.gzip {
            Compression::Gzip
        } else {
            Compression::None
        }
    }

    /// Estimates, checks the room and dumps.
    fn dump(
        &self,
        temp: &Temp<'_>,
        changes: Option<&Temp<'_>>,
        signals: &mut Signals,
    ) -> Result<Dumped, Error> {
        let mut progress = Progress::new(self.args.quiet, self.args.verbose);
        let request = MemMinidumpArg {
            flags: self.flags(),
            compression: self.compression() as u8,
            level: self.args.level.unwrap_or(0),
            workers: self.args.workers.unwrap_or(0),
            ..MemMinidumpArg::new()
        };
        let freeze = self.args.freeze.then(|| MinidumpFreeze {
            max_pause_ns: self.args.pause.ns(),
            ..MinidumpFreeze::default()
        });
        let mut estimate =
            MemMinidumpArg { flags: FLAG_ESTIMATE | FLAG_WAIT, ..request };
        let (answer, stop) =
            watched(self.device, signals, &mut progress, None, || {
                self.device.minidump(&mut estimate, None)
            });
        self.stopped(stop)?;
        let ours = match answer {
            Ok(()) => true,
            Err(Errno::ENOTTY | Errno::ENODEV) => false,
            Err(source) => return Err(self.failed(source)),
        };
        if !ours && (request.flags != FLAG_WAIT || freeze.is_some()) {
            return Err(Error::NeedsModule);
        }
        if !ours {
            match self.device.rescue() {
                Rescue::Yes(why) => return Err(Error::Rescue(why)),
                Rescue::Undetermined(why) if !self.args.force => {
                    return Err(Error::MayRescue(why));
                }
                Rescue::Undetermined(_) | Rescue::No => {}
            }
        }
        let budget = self.room(ours.then_some(estimate.dumpextent))?;
        let bytes = budget.map(|b| b.bytes);
        // It does not listen to signals, but to this.
        let limit = bytes.filter(|_| !ours).and_then(FileSizeLimit::set);
        let mut ours_arg = Request { arg: request, freeze };
        let mut stock = MemLivedumpArg {
            compression: request.compression,
            ..MemLivedumpArg::default()
        };
        let (answer, stop) =
            watched(self.device, signals, &mut progress, bytes, || {
                let (device, file) = (self.device, temp.file());
                match changes {
                    _ if !ours => device.kerneldump(&mut stock, file),
                    Some(list) => device.minidump_listing(
                        &mut ours_arg.arg,
                        file,
                        list.file(),
                    ),
                    None => ours_arg.send(device, Some(file)),
                }
            });
        self.stopped(stop)?;
        let answer = match answer {
            Err(Errno::EIO) if !ours && is_reached(temp.file()) => {
                Err(Errno::EFBIG)
            }
            answer => answer,
        };
        let limited = limit.is_some_and(|limit| limit.is_lowered());
        if answer.is_ok() && bytes.is_some() {
            let written = temp.allocated()?;
            // What was written since the last look counts, too.
            if bytes.is_some_and(|bytes| written > bytes) {
                return Err(self.ran_out(written));
            }
        }
        match answer {
            Ok(()) if ours => {
                let mut dumped = Dumped::from_answer(&ours_arg);
                dumped.missing = Some(self.device.missing());
                dumped.outside = self.device.outside();
                if let Some(outside) = &dumped.outside {
                    dumped.registers = Some(outside.registers);
                }
                Ok(dumped)
            }
            Ok(()) => Ok(Dumped::default()),
            Err(Errno::ENOTTY | Errno::ENODEV) if !ours => {
                Err(Error::NoFacility)
            }
            Err(Errno::ENOTTY | Errno::ENODEV | Errno::EINVAL)
                if freeze.is_some() && !can_freeze(self.device) =>
            {
                Err(Error::OldModule)
            }
            Err(Errno::EFBIG) if limited => {
                Err(self.ran_out(bytes.unwrap_or(0)))
            }
            // The disk was full before the next look at what is written.
            Err(Errno::ENOSPC) if budget.is_some_and(|b| b.minfree > 0) => {
                Err(self.ran_out(temp.allocated()?))
            }
            Err(source) => Err(self.failed(source)),
        }
    }

    /// Whether a dump of `dumpextent` bytes before compression has room, and
    /// how much may be written.
    fn room(&self, dumpextent: Option<u64>) -> Result<Option<Budget>, Error> {
        if self.args.force {
            return Ok(None);
        }
        let free = self.directory.free_bytes()?;
        let minfree = self.directory.minfree_bytes()?;
        let bytes =
            free.saturating_sub(minfree).saturating_sub(COMPANION_BYTES);
        let block = PAGE_SIZE as u64;
        let need = match dumpextent {
            // How far it compresses is not known: only that there is some
            // room, and the budget ends the dump when it is used up.
            Some(_) if self.compression() != Compression::None => block,
            Some(extent) => extent
                .checked_next_multiple_of(block)
                .unwrap_or(u64::MAX)
                .saturating_add(HEADER_SIZE as u64),
            None if self.compression() != Compression::None => block,
            None => self.prepared.wired.unwrap_or(block),
        };
        match dumpextent {
            Some(extent) => self.say(&format!(
                "{} before compression; {} free, minfree: {}",
                human(extent),
                human(free),
                human(minfree)
            )),
            None => self.say(
                "using the stock live dump: its size is not known in advance, \
                 and it cannot be interrupted",
            ),
        }
        if need > bytes {
            let directory = self.args.directory.clone();
            let compressed = self.compression() != Compression::None;
            return Err(Error::Room {
                directory,
                need,
                compressed,
                free,
                minfree,
            });
        }
        Ok(Some(Budget { bytes, minfree }))
    }

    fn stopped(&self, stop: Option<Stop>) -> Result<(), Error> {
        match stop {
            None => Ok(()),
            Some(Stop::Signal(signal)) => Err(Error::Stopped(signal)),
            Some(Stop::Room(written)) => Err(self.ran_out(written)),
        }
    }

    fn ran_out(&self, written: u64) -> Error {
        Error::RanOut { directory: self.args.directory.clone(), written }
    }

    /// What the kernel was doing when it said `source`.
    fn failed(&self, source: Errno) -> Error {
        if let Some(why) = self.device.take_failure() {
            let machine = self.device.name().into();
            return OpenError::Hosted { machine, source: why.into() }.into();
        }
        let reached = self.device.status().ok().filter(|status| {
            status.last_pid == self.device.pid()
                && status.last_error == source.0
        });
        if let Some(status) = reached.filter(|_| self.args.freeze)
            && let Some(error) = self.not_frozen(&status, source)
        {
            return error;
        }
        let doing = reached
            .and_then(|status| status.last_stage())
            .map_or("requesting a dump", Stage::doing);
        Error::Dump { doing, source }
    }

    /// Why the machine was not copied while it was stopped.
    fn not_frozen(
        &self,
        status: &MemMinidumpStatus,
        source: Errno,
    ) -> Option<Error> {
        let (needs, has) = (status.last_needs, status.last_has);
        let max_ns = self.args.pause.ns();
        match (source, status.last_stage()?) {
            (Errno::ENOMEM, Stage::Prepare) if needs > 0 => {
                Some(Error::CopyMemory { needs, has })
            }
            (Errno::ETIMEDOUT, Stage::Prepare) => {
                Some(Error::PauseTooLong { needs_ns: needs, max_ns })
            }
            (Errno::ETIMEDOUT, Stage::Freeze) => {
                Some(Error::PauseExceeded { max_ns })
            }
            (Errno::EAGAIN, Stage::Freeze) => Some(Error::ChangedTooFast),
            (Errno::EOPNOTSUPP, Stage::Freeze) => Some(Error::Timers),
            _ => None,
        }
    }

    fn finish(
        &self,
        dump: Temp<'_>,
        companions: Vec<(Companion, Temp<'_>)>,
        checked: &Checked,
        dumped: &Dumped,
        verdict: &Verdict,
        signals: &Signals,
    ) -> Result<Saved, Error> {
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
            text.push_str(&dumped.info(number));
            text
        };
        let it = Finished {
            dump,
            stem: Basename::Livecore,
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
            seal: saved.companion(Companion::Seal).map(path),
            machine: self.device.name().into(),
            architecture: field(|h| clean(h.architecture)),
            hostname: field(|h| clean(h.hostname)),
            version: field(|h| clean(h.versionstring)),
            dumptime: header.as_ref().map_or(0, |h| h.dumptime),
            compression: checked.compression.name(),
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

    fn say(&self, text: &str) {
        if self.args.verbose {
            note(text);
        }
    }
}

fn clean(bytes: &[u8]) -> String {
    escape(bytes.trim_ascii_end())
}
