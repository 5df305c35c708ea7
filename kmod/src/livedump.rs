// SPDX-License-Identifier: BSD-2-Clause
//! When a dump may be taken: the three requests, their checks in order, and
//! the locks. C: `livedump_start`, kern_vnodedumper.c.
//!
//! Order of checks; the first that fails answers:
//!
//! | check | errno |
//! |---|---|
//! | request known, argument of its size | `ENOTTY` |
//! | `PRIV_KMEM_READ`; ours: really root, not jailed | `EPERM` |
//! | version, flags, padding, level, workers | `EINVAL` |
//! | descriptor is a vnode, with `CAP_WRITE` | `EBADF`, `ENOTCAPABLE`, `EINVAL` |
//! | a stream: a pipe or a stream socket instead | the same |
//! | opened for writing | `EBADF` |
//! | a regular file (unless a stream) | `EINVAL` |
//! | list of changes: the same checks; another file | theirs, `EINVAL` |
//! | no file is served, and no stream read, by a process that is to be suspended | `EOPNOTSUPP` |
//! | compressor known, and in the kernel | `EINVAL` |
//! | no other dump | `EBUSY` (or the wait's `EINTR`) |
//! | the range lock is to be had (files) | `EAGAIN`, `EINTR` |
//! | no process has the file mapped for writing | `ETXTBSY` |
//! | livedumper_start handlers agree | theirs |
//! | user processes stop in time | `EAGAIN` |
//! | at the end: no key for the kernel's own dumps is new | `EAGAIN` |
//!
//! Locks, in this order and released in reverse on every path: the livedump
//! lock, the range lock over the whole file, then over that for the list of
//! changes; below them, for one block at a time, `vn_start_write` and the vnode
//! lock. The stock facility holds the vnode lock throughout, so that even
//! stat(2) of the file waits for the whole dump. The range lock keeps
//! truncation out, and other writers where the file system has them take it;
//! elsewhere they are detected ([`vn_check`](crate::kpi::Files::vn_check)).
//! A stream has none of these; while its reader is slow the livedump lock alone
//! is held, and a signal ends the dump.

use crate::dumper::{Level, Output, Sink};
use crate::error::{Errno, Result, Stage};
use crate::kpi::Kpi;
use crate::minidump::{self, Options, Planned, Written};
use crate::progress::{Progress, Work};
use crate::quiesce::Quiesced;
use memdev::changes::Header;
use memdev::freeze::{
    DEFAULT_MAX_PAUSE_NS, FLAG_FREEZE, LARGEST_MAX_PAUSE_NS, MEM_MINIDUMP2,
    MINIDUMP_ARG2_VERSION, MemMinidumpArg2, MinidumpFreeze,
};
use memdev::ioctl::{
    FLAG_ALL, FLAG_ESTIMATE, FLAG_QUIESCE, FLAG_REGISTERS, FLAG_STABILITY,
    FLAG_STREAM, FLAG_WAIT, GZIP_LEVELS, LEVEL_AUTO, MEM_KERNELDUMP,
    MEM_MINIDUMP, MEM_MINIDUMP_STATUS, MINIDUMP_ARG_VERSION, MemLivedumpArg,
    MemMinidumpArg, NO_FD, ZSTD_LEVELS,
};
use memdev::kerneldump::Compression;

/// More threads than this are refused.
pub const MAX_WORKERS: u32 = 64;

/// Flags of a dump that is written.
const FLAGS_OF_A_DUMP: u32 = FLAG_QUIESCE | FLAG_REGISTERS | FLAG_STABILITY;

/// The facility: one for each kernel.
#[derive(Debug, Default)]
pub struct Livedump {
    progress: Progress,
}

/// What a request asks for, whichever request it was.
#[derive(Clone, Copy, Debug)]
struct Job {
    fd: i32,
    stream: bool,
    compression: u8,
    level: i16,
    workers: u32,
    wait: bool,
    quiesce: bool,
    options: Options,
    changes_fd: i32,
}

/// What a dump came to.
#[derive(Clone, Copy, Debug, Default)]
struct Outcome {
    planned: Planned,
    level: i16,
    zero_pages: u64,
    dumplength: u64,
    registers: u32,
    missing_cpus: u64,
    changes: Header,
    quiesced_ns: u64,
    freeze: MinidumpFreeze,
}

impl Livedump {
    /// No dump has been taken.
    #[must_use]
    pub const fn new() -> Self {
        Self { progress: Progress::new() }
    }

    /// Counters, for sysctls and the status request.
    #[must_use]
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Serves one ioctl(2) of one caller. `data` is the argument as copied
    /// in, and is what will be copied out when the answer is good.
    ///
    /// # Errors
    /// As the table above has it, then whatever writing the dump met. On any
    /// error no lock is held, no reference kept, and the file, if it was
    /// touched at all, is empty again as far as the file system let us.
    pub fn request<K: Kpi>(
        &self,
        kpi: &K,
        request: u32,
        data: &mut [u8],
    ) -> Result<()> {
        match request {
            MEM_KERNELDUMP => {
                let data = <&mut [u8; 32]>::try_from(data)
                    .map_err(|_| Errno::ENOTTY)?;
                self.kerneldump(kpi, &MemLivedumpArg::decode(data))
            }
            MEM_MINIDUMP => {
                let data = <&mut [u8; 128]>::try_from(data)
                    .map_err(|_| Errno::ENOTTY)?;
                let mut arg = MemMinidumpArg::decode(data);
                self.minidump(kpi, &mut arg, None)?;
                arg.encode(data);
                Ok(())
            }
            MEM_MINIDUMP2 => self.minidump2(kpi, data),
            MEM_MINIDUMP_STATUS => {
                let data = <&mut [u8; 128]>::try_from(data)
                    .map_err(|_| Errno::ENOTTY)?;
                kpi.priv_check_kmem_read()?;
                kpi.priv_check_root()?;
                self.progress.status(kpi.nanouptime()).encode(data);
                Ok(())
            }
            _ => Err(Errno::ENOTTY),
        }
    }

    /// The stock request. C: `MEM_KERNELDUMP`.
    fn kerneldump<K: Kpi>(&self, kpi: &K, arg: &MemLivedumpArg) -> Result<()> {
        kpi.priv_check_kmem_read()?;
        if arg.flags != 0 {
            return Err(Errno::EINVAL);
        }
        let job = Job {
            fd: arg.fd,
            stream: false,
            compression: arg.compression,
            level: 0,
            workers: 0,
            wait: false,
            quiesce: false,
            options: Options::default(),
            changes_fd: NO_FD,
        };
        self.livedump_start(kpi, &job, &mut Outcome::default())
    }

    /// Our request, with the larger argument.
    fn minidump2<K: Kpi>(&self, kpi: &K, data: &mut [u8]) -> Result<()> {
        let data =
            <&mut [u8; 192]>::try_from(data).map_err(|_| Errno::ENOTTY)?;
        let MemMinidumpArg2 { mut arg, mut freeze } =
            MemMinidumpArg2::decode(data);
        self.minidump(kpi, &mut arg, Some(&mut freeze))?;
        MemMinidumpArg2 { arg, freeze }.encode(data);
        Ok(())
    }

    /// Our request; `freeze` where the argument has it.
    fn minidump<K: Kpi>(
        &self,
        kpi: &K,
        arg: &mut MemMinidumpArg,
        freeze: Option<&mut MinidumpFreeze>,
    ) -> Result<()> {
        kpi.priv_check_kmem_read()?;
        kpi.priv_check_root()?;
        let started = kpi.nanouptime();
        check_arg(arg, freeze.as_deref())?;
        let frozen = arg.flags & FLAG_FREEZE != 0;
        let job = Job {
            fd: arg.fd,
            stream: arg.flags & FLAG_STREAM != 0,
            compression: arg.compression,
            level: arg.level,
            workers: arg.workers,
            wait: arg.flags & FLAG_WAIT != 0,
            quiesce: arg.flags & FLAG_QUIESCE != 0,
            options: Options {
                registers: arg.flags & FLAG_REGISTERS != 0,
                stability: arg.flags & FLAG_STABILITY != 0,
                max_pause_ns: match freeze.as_deref() {
                    Some(f) if frozen && f.max_pause_ns != 0 => f.max_pause_ns,
                    _ if frozen => DEFAULT_MAX_PAUSE_NS,
                    _ => 0,
                },
            },
            changes_fd: match arg.flags & FLAG_STABILITY {
                0 => NO_FD,
                _ => arg.changes_fd,
            },
        };
        let mut out = Outcome::default();
        if arg.flags & FLAG_ESTIMATE != 0 {
            self.estimate(kpi, &job, &mut out)?;
        } else {
            self.livedump_start(kpi, &job, &mut out)?;
            arg.stage = Stage::Done as u32;
            arg.level = out.level;
        }
        arg.minidump_version = out.planned.version;
        arg.pages = out.planned.pages;
        arg.zero_pages = out.zero_pages;
        arg.changed_pages = out.changes.total();
        arg.changed_by_kind = out.changes.changed;
        arg.registers = out.registers;
        arg.missing_cpus = out.missing_cpus;
        arg.dumplength = out.dumplength;
        arg.dumpextent = out.planned.dumpsize;
        arg.elapsed_ns = kpi.nanouptime().saturating_sub(started);
        arg.quiesced_ns = out.quiesced_ns;
        if let Some(freeze) = freeze {
            let max_pause_ns = freeze.max_pause_ns;
            *freeze = MinidumpFreeze { max_pause_ns, ..out.freeze };
        }
        Ok(())
    }

    /// Scan and plan, nothing else.
    fn estimate<K: Kpi>(
        &self,
        kpi: &K,
        job: &Job,
        out: &mut Outcome,
    ) -> Result<()> {
        if job.fd != NO_FD {
            return Err(Errno::EINVAL);
        }
        compressor(kpi, job.compression)?;
        let _lock = LivedumpLock::acquire(kpi, job.wait)?;
        let running = Running::begin(kpi, &self.progress, Work::Estimate);
        let freeze = job.options.max_pause_ns != 0;
        let result = minidump::estimate(kpi, freeze, &self.progress);
        if let Ok((planned, freeze)) = &result {
            out.planned = *planned;
            out.freeze = *freeze;
        }
        running.end(result.map(|_| ()))
    }

    /// C: `livedump_start`.
    fn livedump_start<K: Kpi>(
        &self,
        kpi: &K,
        job: &Job,
        out: &mut Outcome,
    ) -> Result<()> {
        let file = match job.stream {
            true => FileRef::stream(kpi, job.fd)?,
            false => FileRef::get(kpi, job.fd)?,
        };
        let changes = match job.changes_fd {
            NO_FD => None,
            fd => Some(FileRef::get(kpi, fd)?),
        };
        if let Some(changes) = &changes
            && kpi.same_vnode(&file.file, &changes.file)
        {
            return Err(Errno::EINVAL);
        }
        let is_served = |f: &FileRef<'_, K>| kpi.file_is_served(&f.file);
        let waits = |f: &FileRef<'_, K>| match job.stream {
            true => !kpi.is_read_by_caller(&f.file),
            false => is_served(f),
        };
        if job.quiesce
            && (waits(&file) || changes.as_ref().is_some_and(is_served))
        {
            return Err(Errno::EOPNOTSUPP);
        }
        let format = compressor(kpi, job.compression)?;
        let _lock = LivedumpLock::acquire(kpi, job.wait)?;
        let running = Running::begin(kpi, &self.progress, Work::Dump);
        let changes = changes.as_ref().map(|f| &f.file);
        let result =
            self.range_locked(kpi, &file.file, format, changes, job, out);
        running.end(result)
    }

    /// With the livedump lock.
    fn range_locked<K: Kpi>(
        &self,
        kpi: &K,
        file: &K::File,
        format: Compression,
        changes: Option<&K::File>,
        job: &Job,
        out: &mut Outcome,
    ) -> Result<()> {
        let sink = match job.stream {
            true => Sink::Stream(file),
            false => Sink::Vnode(file),
        };
        let _range = match job.stream {
            true => None,
            false => Some(RangeLock::acquire(kpi, file)?),
        };
        let _changes_range = match changes {
            Some(file) => Some(RangeLock::acquire(kpi, file)?),
            None => None,
        };
        let output = Output {
            sink,
            format,
            level: match job.level {
                0 => Level::Default(kpi.compressor_level(format)),
                LEVEL_AUTO => Level::Auto,
                level => Level::Fixed(level.into()),
            },
            workers: job.workers,
        };
        self.dump(kpi, &output, changes, job, out)
    }

    /// Between the locks. livedumper_finish answers every livedumper_start
    /// that agreed.
    fn dump<K: Kpi>(
        &self,
        kpi: &K,
        output: &Output<'_, K>,
        changes: Option<&K::File>,
        job: &Job,
        out: &mut Outcome,
    ) -> Result<()> {
        kpi.livedumper_start()?;
        let result = self.quiesced(kpi, output, changes, job, out);
        kpi.livedumper_finish();
        let written = result?;
        out.planned = written.planned;
        out.level = i16::try_from(written.level).unwrap_or(0);
        out.zero_pages = written.zero_pages;
        out.dumplength = written.dumplength;
        out.registers = written.registers;
        out.missing_cpus = written.missing_cpus;
        out.changes = written.changes;
        out.freeze = written.freeze;
        Ok(())
    }

    /// Processes are suspended here, where that was asked for.
    fn quiesced<K: Kpi>(
        &self,
        kpi: &K,
        output: &Output<'_, K>,
        changes: Option<&K::File>,
        job: &Job,
        out: &mut Outcome,
    ) -> Result<Written> {
        let quiesced = match job.quiesce {
            true => {
                self.progress.stage(Stage::Quiesce);
                Some(Quiesced::acquire(kpi)?)
            }
            false => None,
        };
        let check = || match job.quiesce {
            true => kpi.quiesced(),
            false => Ok(()),
        };
        if !job.options.registers && job.options.max_pause_ns == 0 {
            kpi.dump_savectx();
        }
        let written = minidump::minidumpsys(
            kpi,
            output,
            job.options,
            changes,
            &check,
            &self.progress,
        )?;
        if let Some(quiesced) = quiesced {
            out.quiesced_ns = quiesced.release();
        }
        Ok(written)
    }
}

fn check_arg(
    arg: &MemMinidumpArg,
    freeze: Option<&MinidumpFreeze>,
) -> Result<()> {
    let (version, flags) = match freeze {
        None => (MINIDUMP_ARG_VERSION, FLAG_ALL),
        Some(_) => (MINIDUMP_ARG2_VERSION, FLAG_ALL | FLAG_FREEZE),
    };
    if arg.version != version
        || arg.flags & !flags != 0
        || !arg.padding_is_zero()
        || arg.workers > MAX_WORKERS
        || !level_is_known(arg.compression, arg.level)
        || !freeze.is_none_or(|freeze| freeze_is_known(arg, freeze))
    {
        return Err(Errno::EINVAL);
    }
    if arg.flags & FLAG_ESTIMATE != 0 && arg.flags & FLAGS_OF_A_DUMP != 0 {
        return Err(Errno::EINVAL);
    }
    // The last look would come after a header that cannot be taken back.
    if arg.flags & FLAG_STREAM != 0 && arg.flags & FLAG_STABILITY != 0 {
        return Err(Errno::EINVAL);
    }
    Ok(())
}

/// A budget that can be kept; and nothing that a machine that is stopped has
/// anyway, or cannot have.
fn freeze_is_known(arg: &MemMinidumpArg, freeze: &MinidumpFreeze) -> bool {
    if arg.flags & FLAG_FREEZE == 0 {
        return *freeze == MinidumpFreeze::default();
    }
    freeze.padding_is_zero()
        && freeze.max_pause_ns <= LARGEST_MAX_PAUSE_NS
        && arg.flags & (FLAG_QUIESCE | FLAG_STABILITY) == 0
}

/// Levels of zlib and of zstd (those without huge windows). A codec that is
/// unknown is not a matter of its level, and is answered later.
fn level_is_known(compression: u8, level: i16) -> bool {
    match Compression::from_u8(compression) {
        Some(Compression::None) => level == 0,
        Some(Compression::Gzip) => level == 0 || GZIP_LEVELS.contains(&level),
        Some(Compression::Zstd) => {
            level == 0 || level == LEVEL_AUTO || ZSTD_LEVELS.contains(&level)
        }
        None => true,
    }
}

fn compressor<K: Kpi>(kpi: &K, number: u8) -> Result<Compression> {
    let format = Compression::from_u8(number).ok_or(Errno::EINVAL)?;
    if format != Compression::None && !kpi.compressor_avail(format) {
        return Err(Errno::EINVAL);
    }
    Ok(format)
}

/// A reference to the caller's file.
struct FileRef<'k, K: Kpi> {
    kpi: &'k K,
    file: K::File,
}

impl<'k, K: Kpi> FileRef<'k, K> {
    /// One that a dump may go to.
    fn get(kpi: &'k K, fd: i32) -> Result<Self> {
        let file = Self { kpi, file: kpi.getvnode(fd)? };
        if !kpi.file_is_writable(&file.file) {
            return Err(Errno::EBADF);
        }
        if !kpi.vnode_is_regular(&file.file) {
            return Err(Errno::EINVAL);
        }
        Ok(file)
    }

    /// A pipe or a socket that a dump may go to.
    fn stream(kpi: &'k K, fd: i32) -> Result<Self> {
        let file = Self { kpi, file: kpi.getstream(fd)? };
        if !kpi.file_is_writable(&file.file) {
            return Err(Errno::EBADF);
        }
        Ok(file)
    }
}

impl<K: Kpi> Drop for FileRef<'_, K> {
    fn drop(&mut self) {
        self.kpi.fdrop(&self.file);
    }
}

/// The livedump lock.
struct LivedumpLock<'k, K: Kpi> {
    kpi: &'k K,
}

impl<'k, K: Kpi> LivedumpLock<'k, K> {
    fn acquire(kpi: &'k K, wait: bool) -> Result<Self> {
        if wait {
            kpi.livedump_xlock_sig()?;
        } else if !kpi.livedump_try_xlock() {
            return Err(Errno::EBUSY);
        }
        Ok(Self { kpi })
    }
}

impl<K: Kpi> Drop for LivedumpLock<'_, K> {
    fn drop(&mut self) {
        self.kpi.livedump_xunlock();
    }
}

/// The range lock over the whole file.
struct RangeLock<'k, K: Kpi> {
    kpi: &'k K,
    file: &'k K::File,
    lock: K::RangeLock,
}

impl<'k, K: Kpi> RangeLock<'k, K> {
    fn acquire(kpi: &'k K, file: &'k K::File) -> Result<Self> {
        Ok(Self { kpi, file, lock: kpi.rangelock_wlock(file)? })
    }
}

impl<K: Kpi> Drop for RangeLock<'_, K> {
    fn drop(&mut self) {
        self.kpi.rangelock_unlock(self.file, &self.lock);
    }
}

/// The dump in progress, as the status request shows it. Begun and ended
/// under the livedump lock.
struct Running<'p> {
    progress: &'p Progress,
    work: Work,
}

impl<'p> Running<'p> {
    fn begin<K: Kpi>(kpi: &K, progress: &'p Progress, work: Work) -> Self {
        progress.begin(work, kpi.pid(), kpi.time_second(), kpi.nanouptime());
        Self { progress, work }
    }

    fn end(self, result: Result<()>) -> Result<()> {
        self.progress.end(self.work, &result);
        result
    }
}
