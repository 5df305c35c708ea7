// SPDX-License-Identifier: BSD-2-Clause
//! What the status request reads while a dump runs: counters that one thread
//! writes and any number read, without a lock. A reader may see one counter a
//! moment older than another; each by itself only grows while pages are written.

use crate::error::{Errno, Result, Stage};
use core::sync::atomic::{
    AtomicI32, AtomicI64, AtomicU32, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};
use memdev::ioctl::{MINIDUMP_ARG_VERSION, MemMinidumpStatus};

/// What a request that has the livedump lock does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// Writes a dump.
    Dump,
    /// Counts, and writes nothing.
    Estimate,
}

/// Counters of the dump in progress, and how the last one ended.
#[derive(Debug, Default)]
pub struct Progress {
    stage: AtomicU32,
    pages_done: AtomicU64,
    pages_total: AtomicU64,
    bytes_out: AtomicU64,
    dumpextent: AtomicU64,
    start_sec: AtomicI64,
    start_ns: AtomicU64,
    started: AtomicU64,
    completed: AtomicU64,
    estimates: AtomicU64,
    pid: AtomicI32,
    last_stage: AtomicU32,
    last_error: AtomicI32,
    last_pid: AtomicI32,
    needs: AtomicU64,
    has: AtomicU64,
}

impl Progress {
    /// Nothing has run.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            stage: AtomicU32::new(Stage::Idle as u32),
            pages_done: AtomicU64::new(0),
            pages_total: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            dumpextent: AtomicU64::new(0),
            start_sec: AtomicI64::new(0),
            start_ns: AtomicU64::new(0),
            started: AtomicU64::new(0),
            completed: AtomicU64::new(0),
            estimates: AtomicU64::new(0),
            pid: AtomicI32::new(0),
            last_stage: AtomicU32::new(Stage::Idle as u32),
            last_error: AtomicI32::new(0),
            last_pid: AtomicI32::new(0),
            needs: AtomicU64::new(0),
            has: AtomicU64::new(0),
        }
    }

    /// A request has the livedump lock. An estimate is not a dump, and the
    /// counters of dumps leave it out.
    pub(crate) fn begin(
        &self,
        what: Work,
        pid: i32,
        now_sec: i64,
        now_ns: u64,
    ) {
        self.pages_done.store(0, Relaxed);
        self.pages_total.store(0, Relaxed);
        self.bytes_out.store(0, Relaxed);
        self.dumpextent.store(0, Relaxed);
        self.short(0, 0);
        self.start_sec.store(now_sec, Relaxed);
        self.start_ns.store(now_ns, Relaxed);
        match what {
            Work::Dump => self.started.fetch_add(1, Relaxed),
            Work::Estimate => self.estimates.fetch_add(1, Relaxed),
        };
        // And who sees that one runs, that the counters are its.
        self.pid.store(pid, Release);
        self.stage(Stage::Lock);
    }

    /// The request that began has ended.
    pub(crate) fn end(&self, what: Work, result: &Result<()>) {
        let stage = self.stage.load(Relaxed);
        self.last_stage.store(stage, Relaxed);
        self.last_pid.store(self.pid.load(Relaxed), Relaxed);
        self.last_error.store(
            match result {
                Ok(()) => 0,
                Err(Errno(n)) => *n,
            },
            Relaxed,
        );
        if result.is_ok() && what == Work::Dump {
            self.completed.fetch_add(1, Relaxed);
        }
        // Who sees that no dump runs sees what became of the last one.
        self.pid.store(0, Release);
        self.stage(Stage::Idle);
    }

    pub(crate) fn stage(&self, stage: Stage) {
        self.stage.store(stage as u32, Relaxed);
    }

    /// What it is about to fail for want of, and how much of it there is: bytes,
    /// or nanoseconds.
    pub(crate) fn short(&self, needs: u64, has: u64) {
        self.needs.store(needs, Relaxed);
        self.has.store(has, Relaxed);
    }

    pub(crate) fn planned(&self, pages: u64, dumpextent: u64) {
        self.pages_total.store(pages, Relaxed);
        self.dumpextent.store(dumpextent, Relaxed);
    }

    pub(crate) fn pages_done(&self, pages: usize) {
        // One writer: no read-modify-write is needed.
        let n = self.pages_done.load(Relaxed);
        self.pages_done.store(n + pages as u64, Relaxed);
    }

    pub(crate) fn bytes_out(&self, bytes: u64) {
        // Who sees so many finds them in the file, if it is that long: there
        // may be a hole at its end.
        self.bytes_out.store(bytes, Release);
    }

    /// Where the dump in progress, or the one that just ended, stands.
    #[must_use]
    pub fn current_stage(&self) -> Stage {
        Stage::from_u32(self.stage.load(Relaxed)).unwrap_or_default()
    }

    /// The status request's answer. While no dump runs, the counters are those
    /// of the last one.
    #[must_use]
    pub fn status(&self, now_ns: u64) -> MemMinidumpStatus {
        let pid = self.pid.load(Acquire);
        let start_ns = self.start_ns.load(Relaxed);
        MemMinidumpStatus {
            version: MINIDUMP_ARG_VERSION,
            stage: self.stage.load(Relaxed),
            pages_done: self.pages_done.load(Relaxed),
            pages_total: self.pages_total.load(Relaxed),
            bytes_out: self.bytes_out.load(Acquire),
            dumpextent: self.dumpextent.load(Relaxed),
            start_sec: self.start_sec.load(Relaxed),
            elapsed_ns: match pid {
                0 => 0,
                _ => now_ns.saturating_sub(start_ns),
            },
            started: self.started.load(Relaxed),
            completed: self.completed.load(Relaxed),
            estimates: self.estimates.load(Relaxed),
            last_stage: self.last_stage.load(Relaxed),
            last_error: self.last_error.load(Relaxed),
            pid,
            last_pid: self.last_pid.load(Relaxed),
            last_needs: self.needs.load(Relaxed),
            last_has: self.has.load(Relaxed),
            ..MemMinidumpStatus::default()
        }
    }
}
