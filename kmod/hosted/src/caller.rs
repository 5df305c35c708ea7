// SPDX-License-Identifier: BSD-2-Clause
//! One request of one process: the KPI as the engine sees it. Each method
//! counts its step first; what can fail may be made to, before it has done
//! anything.

use super::HostedKernel;
use super::compressor::{self, Compressor};
use super::memory::{Array, Pages, Words};
use super::method::Method;
use super::process::{Descriptor, Process};
use super::threads::{self, HostedMonitor};
use livedump_kmod::error::{Errno, Result};
use livedump_kmod::kpi::{
    Context, Debugger, DirectMap, Kpi, LinkedPage, Target, read_each_page,
};
use memdev::addr::{Paddr, Page};
use memdev::kerneldump::Compression;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// The cookie of a held range lock.
#[derive(Debug)]
pub struct RangeLock(());

/// One request of one process.
pub struct Caller<'a> {
    kernel: &'a HostedKernel,
    process: &'a Process,
    interrupted: AtomicBool,
    passes: AtomicU64,
}

impl<'a> Caller<'a> {
    /// A request of `process`.
    #[must_use]
    pub fn new(process: &'a Process) -> Self {
        let interrupted = AtomicBool::new(false);
        let passes = AtomicU64::new(0);
        Self { kernel: process.kernel(), process, interrupted, passes }
    }

    /// Whether a signal of the process's ended a wait or the dump.
    pub fn was_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    fn step(&self, method: Method) -> Result<()> {
        self.kernel.step(method)
    }

    /// The step of a method that cannot fail.
    fn pass(&self, method: Method) {
        let _ = self.kernel.step(method);
    }

    fn interrupt(&self) -> Errno {
        self.interrupted.store(true, Ordering::Relaxed);
        Errno::EINTR
    }
}

fn copy_out(s: &str, out: &mut [u8]) -> usize {
    let n = s.len().min(out.len());
    for (to, from) in out.iter_mut().zip(s.bytes()) {
        *to = from;
    }
    n
}

impl DirectMap for HostedKernel {
    fn read_page(&self, pa: Paddr, page: &mut Page) -> Result<()> {
        if let Err(errno) = self.step(Method::ReadPage) {
            page.fill(0);
            return Err(errno);
        }
        self.machine.read_page(pa, page)
    }

    fn read_pages(&self, pa: Paddr, pages: &mut [Page]) -> Result<()> {
        if let Some(read) = self.machine.read_pages(pa, pages) {
            // A step for each page, as on any other machine.
            return pages
                .iter()
                .try_for_each(|_| self.step(Method::ReadPage))
                .and(read);
        }
        read_each_page(pa, pages, |pa, page| self.read_page(pa, page))
    }
}

impl<'a> Kpi for Caller<'a> {
    type File = Descriptor;
    type Words = Words<'a>;
    type Pages = Pages<'a>;
    type Array<T: Send + Sync> = Array<'a, T>;
    type Monitor<T: Send> = HostedMonitor<T>;
    type Compressor = Compressor<'a>;
    type DirectMap = HostedKernel;
    type RangeLock = RangeLock;

    fn priv_check_kmem_read(&self) -> Result<()> {
        self.step(Method::PrivCheckKmemRead)?;
        let everyone = self.kernel.kmem_read_granted.load(Ordering::Relaxed);
        if everyone || self.process.credentials().is_root() {
            Ok(())
        } else {
            Err(Errno::EPERM)
        }
    }

    fn priv_check_root(&self) -> Result<()> {
        self.step(Method::PrivCheckRoot)?;
        let c = self.process.credentials();
        if c.is_root() && !c.jailed { Ok(()) } else { Err(Errno::EPERM) }
    }

    fn sig_intr(&self) -> Result<()> {
        self.step(Method::SigIntr)?;
        if self.process.signal_pending() {
            return Err(self.interrupt());
        }
        Ok(())
    }

    fn pid(&self) -> i32 {
        self.pass(Method::Pid);
        self.process.pid()
    }

    fn getvnode(&self, fd: i32) -> Result<Descriptor> {
        self.step(Method::Getvnode)?;
        let file = self.process.getvnode(fd)?;
        self.kernel.held.files.fetch_add(1, Ordering::SeqCst);
        Ok(file)
    }

    fn fdrop(&self, _file: &Descriptor) {
        self.pass(Method::Fdrop);
        self.kernel.held.files.fetch_sub(1, Ordering::SeqCst);
    }

    fn file_is_writable(&self, file: &Descriptor) -> bool {
        self.pass(Method::FileIsWritable);
        file.is_writable()
    }

    fn vnode_is_regular(&self, file: &Descriptor) -> bool {
        self.pass(Method::VnodeIsRegular);
        file.is_regular()
    }

    fn same_vnode(&self, file: &Descriptor, other: &Descriptor) -> bool {
        self.pass(Method::SameVnode);
        Arc::ptr_eq(file.vnode(), other.vnode())
    }

    fn file_is_served(&self, file: &Descriptor) -> bool {
        self.pass(Method::FileIsServed);
        file.is_served()
    }

    fn rangelock_wlock(&self, file: &Descriptor) -> Result<RangeLock> {
        self.step(Method::RangelockWlock)?;
        file.vnode().range().lock();
        self.kernel.lock_taken();
        Ok(RangeLock(()))
    }

    fn rangelock_unlock(&self, file: &Descriptor, _lock: &RangeLock) {
        self.pass(Method::RangelockUnlock);
        self.kernel.lock_given_back(file.vnode().range().unlock());
    }

    fn vn_truncate(&self, file: &Descriptor) -> Result<()> {
        self.step(Method::VnTruncate)?;
        file.vnode().truncate()
    }

    fn vn_write(
        &self,
        file: &Descriptor,
        offset: u64,
        data: &[u8],
    ) -> Result<()> {
        self.step(Method::VnWrite)?;
        file.vnode().write(offset, data)
    }

    fn vn_check(&self, _file: &Descriptor) -> Result<()> {
        self.step(Method::VnCheck)
    }

    fn livedump_try_xlock(&self) -> bool {
        let taken = self.step(Method::LivedumpTryXlock).is_ok()
            && self.kernel.livedump_lock.try_lock();
        if taken {
            self.kernel.lock_taken();
        }
        taken
    }

    fn livedump_xlock_sig(&self) -> Result<()> {
        self.step(Method::LivedumpXlockSig)?;
        let stop = || self.process.signal_pending();
        if !self.kernel.livedump_lock.lock_unless(stop) {
            return Err(self.interrupt());
        }
        self.kernel.lock_taken();
        Ok(())
    }

    fn livedump_xunlock(&self) {
        self.pass(Method::LivedumpXunlock);
        self.kernel.lock_given_back(self.kernel.livedump_lock.unlock());
    }

    fn quiesce(&self) -> Result<()> {
        self.step(Method::Quiesce)?;
        let k = self.kernel;
        k.let_go.store(false, Ordering::SeqCst);
        if k.held.quiesces.fetch_add(1, Ordering::SeqCst) != 0 {
            k.held.misuses.fetch_add(1, Ordering::SeqCst);
        }
        Ok(())
    }

    fn suspend_pass(&self) -> u64 {
        self.pass(Method::SuspendPass);
        self.kernel.machine.set_quiesced(true);
        let before = self.passes.fetch_add(1, Ordering::Relaxed);
        let passes = self.kernel.passes.load(Ordering::Relaxed);
        passes.saturating_sub(before)
    }

    fn quiesced(&self) -> Result<()> {
        self.step(Method::Quiesced)?;
        match self.kernel.let_go.load(Ordering::SeqCst) {
            true => Err(Errno::EAGAIN),
            false => Ok(()),
        }
    }

    fn pause(&self) {
        self.pass(Method::Pause);
        // Time passes, for those who look at the clock.
        self.kernel.skipped_ns.fetch_add(10_000_000, Ordering::Relaxed);
    }

    fn resume(&self) {
        self.pass(Method::Resume);
        self.kernel.machine.set_quiesced(false);
        if self.kernel.held.quiesces.fetch_sub(1, Ordering::SeqCst) != 1 {
            self.kernel.held.misuses.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn livedumper_start(&self) -> Result<()> {
        self.step(Method::LivedumperStart)?;
        let handler = self.kernel.events.read().start.clone();
        handler.map_or(Ok(()), |h| h())
    }

    fn livedumper_dump(&self, block: Option<(&[u8], u64)>) -> Result<()> {
        self.step(Method::LivedumperDump)?;
        let handler = self.kernel.events.read().dump.clone();
        handler.map_or(Ok(()), |h| h(block))
    }

    fn livedumper_finish(&self) {
        self.pass(Method::LivedumperFinish);
        let handler = self.kernel.events.read().finish.clone();
        if let Some(h) = handler {
            h();
        }
    }

    fn dump_savectx(&self) {
        self.pass(Method::DumpSavectx);
    }

    fn cpus(&self) -> usize {
        self.pass(Method::Cpus);
        self.kernel.machine.cpus()
    }

    fn debugger(&self) -> Debugger {
        self.pass(Method::Debugger);
        self.kernel.machine.debugger()
    }

    fn instant(
        &self,
        contexts: &mut [Context],
        stacks: &mut [Page],
    ) -> Result<()> {
        self.step(Method::Instant)?;
        self.kernel.machine.instant(contexts, stacks);
        Ok(())
    }

    fn malloc_words(&self, words: usize) -> Result<Words<'a>> {
        self.step(Method::MallocWords)?;
        self.kernel.memory.words(words)
    }

    fn malloc_pages(&self, pages: usize) -> Result<Pages<'a>> {
        self.step(Method::MallocPages)?;
        self.kernel.memory.pages(pages)
    }

    fn malloc_array<T: Send + Sync>(
        &self,
        len: usize,
        make: impl FnMut(usize) -> Result<T>,
    ) -> Result<Array<'a, T>> {
        self.step(Method::MallocArray)?;
        self.kernel.memory.array(len, make)
    }

    fn monitor<T: Send>(&self, value: T) -> Result<HostedMonitor<T>> {
        self.step(Method::Monitor)?;
        Ok(HostedMonitor::new(value))
    }

    fn ncpus(&self) -> usize {
        self.pass(Method::Ncpus);
        self.kernel.ncpus.load(Ordering::Relaxed)
    }

    // A failed step is a host without threads, which is no error.
    fn with_workers(
        &self,
        threads: usize,
        worker: &(dyn Fn() + Sync),
        body: &mut dyn FnMut(),
    ) {
        let refused = self.step(Method::WithWorkers).is_err();
        let threads = if refused { 0 } else { threads };
        threads::with_workers(threads, worker, body);
    }

    fn target(&self) -> Target {
        self.pass(Method::Target);
        self.kernel.machine.target()
    }

    fn dump_avail(&self, ranges: &mut [(u64, u64)]) -> usize {
        self.pass(Method::DumpAvail);
        let all = self.kernel.machine.dump_avail();
        for (to, from) in ranges.iter_mut().zip(all) {
            *to = *from;
        }
        all.len().min(ranges.len())
    }

    fn copy_bitset(&self, words: &mut [u64]) {
        self.pass(Method::CopyBitset);
        self.kernel.machine.copy_bitset(words);
    }

    fn copy_msgbuf(&self, text: &mut [u8]) {
        self.pass(Method::CopyMsgbuf);
        self.kernel.machine.copy_msgbuf(text);
    }

    fn linked_pages(&self, visit: &mut dyn FnMut(LinkedPage)) {
        self.pass(Method::LinkedPages);
        for pa in self.kernel.machine.oncpus() {
            visit(LinkedPage::Oncpu(pa));
        }
    }

    fn load_entry(&self, table: Paddr, index: u64) -> u64 {
        self.pass(Method::LoadEntry);
        self.kernel.machine.load_entry(table, index)
    }

    fn phys_in_dmap(&self, pa: Paddr) -> bool {
        self.pass(Method::PhysInDmap);
        self.kernel.machine.phys_in_dmap(pa)
    }

    fn vm_phys_is_dumpable(&self, pa: Paddr) -> bool {
        self.pass(Method::VmPhysIsDumpable);
        self.kernel.machine.vm_phys_is_dumpable(pa)
    }

    fn direct_map(&self) -> &HostedKernel {
        self.kernel
    }

    fn maybe_yield(&self) {
        self.pass(Method::MaybeYield);
    }

    fn compressor_avail(&self, format: Compression) -> bool {
        self.pass(Method::CompressorAvail);
        match format {
            Compression::None => false,
            Compression::Gzip => self.kernel.has_gzip.load(Ordering::Relaxed),
            Compression::Zstd => self.kernel.has_zstd.load(Ordering::Relaxed),
        }
    }

    fn compressor_level(&self, format: Compression) -> i32 {
        self.pass(Method::CompressorLevel);
        compressor::level(format)
    }

    fn compressor_init(
        &self,
        format: Compression,
        chunk: usize,
        level: i32,
    ) -> Result<Compressor<'a>> {
        self.step(Method::CompressorInit)?;
        Compressor::new(self.kernel, format, chunk, level)
    }

    fn time_second(&self) -> i64 {
        self.pass(Method::TimeSecond);
        if let Some(second) = *self.kernel.clock.read() {
            return second;
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        now.map_or(0, |d| i64::try_from(d.as_secs()).unwrap_or(i64::MAX))
    }

    fn nanouptime(&self) -> u64 {
        self.pass(Method::Nanouptime);
        let up = self.kernel.booted.elapsed().as_nanos();
        let skipped = self.kernel.skipped_ns.load(Ordering::Relaxed);
        u64::try_from(up).unwrap_or(u64::MAX).saturating_add(skipped)
    }

    fn hostname(&self, out: &mut [u8]) -> usize {
        self.pass(Method::Hostname);
        copy_out(self.kernel.machine.hostname(), out)
    }

    fn version(&self, out: &mut [u8]) -> usize {
        self.pass(Method::Version);
        copy_out(self.kernel.machine.version(), out)
    }
}
