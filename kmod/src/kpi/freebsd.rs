// SPDX-License-Identifier: BSD-2-Clause
//! The kernel this is loaded into: trait [`Kpi`] over the functions of
//! csrc/livedump_shim.h, the same list in the same order.
//!
//! What C owns crosses as a pointer in a type of its own that is neither
//! `Copy` nor made anywhere else. Memory of the live machine never crosses as
//! a pointer: the shim copies.
#![allow(unsafe_code)]

use super::{
    Compressor, Context, Debugger, DirectMap, Kpi, LinkedPage, Monitor,
    PCB_WORDS, Target, read_each_page,
};
use crate::error::{Errno, Result};
use core::cell::UnsafeCell;
use core::ffi::{c_char, c_int, c_void};
use core::marker::PhantomData;
use core::mem::{offset_of, size_of};
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use memdev::addr::{PAGE_SIZE, Paddr, Page, Vaddr};
use memdev::arch::{ENTRIES, Machine};
use memdev::kerneldump::Compression;

/// C: `struct livedump_target`.
#[repr(C)]
#[derive(Default)]
struct ShimTarget {
    root: u64,
    kernbase: u64,
    kva_end: u64,
    dmapphys: u64,
    dmapbase: u64,
    dmapend: u64,
    bitset_bits: u64,
    root_level: u32,
    minidump_version: u32,
    minidump_flags: u32,
    msgbuf_bytes: u32,
    dump_avail_bytes: u32,
    pad: u32,
}

const _: () = {
    assert!(size_of::<ShimTarget>() == 80);
    assert!(offset_of!(ShimTarget, root_level) == 56);
};

/// C: `struct livedump_debugger`.
#[repr(C)]
#[derive(Default)]
struct ShimDebugger {
    stoppcbs: u64,
    stopped_cpus: u64,
    dumppcb: u64,
    dumptid: u64,
    pcb_bytes: u32,
    cpuset_bytes: u32,
}

const _: () = {
    assert!(size_of::<ShimDebugger>() == 40);
    assert!(size_of::<Context>() == 40 + 8 * PCB_WORDS);
    assert!(offset_of!(Context, stack_bytes) == 24);
    assert!(offset_of!(Context, pcb) == 40);
};

unsafe extern "C" {
    safe fn livedump_priv_check_kmem_read() -> c_int;
    safe fn livedump_priv_check_kmem_write() -> c_int;
    safe fn livedump_jailed() -> bool;
    safe fn livedump_sig_intr() -> c_int;
    safe fn livedump_pid() -> c_int;

    fn livedump_getvnode(fd: c_int, fpp: *mut *mut c_void) -> c_int;
    fn livedump_fdrop(fp: *mut c_void);
    fn livedump_file_is_writable(fp: *mut c_void) -> bool;
    fn livedump_vnode_is_regular(fp: *mut c_void) -> bool;
    fn livedump_same_vnode(fp: *mut c_void, other: *mut c_void) -> bool;
    fn livedump_file_is_served(fp: *mut c_void) -> bool;
    fn livedump_rangelock_wlock(
        fp: *mut c_void,
        lock: *mut *mut c_void,
    ) -> c_int;
    fn livedump_rangelock_unlock(fp: *mut c_void, lock: *mut c_void);
    fn livedump_vn_truncate(fp: *mut c_void) -> c_int;
    fn livedump_vn_write(
        fp: *mut c_void,
        offset: u64,
        data: *const u8,
        len: usize,
    ) -> c_int;
    fn livedump_vn_check(fp: *mut c_void) -> c_int;

    safe fn livedump_try_xlock() -> bool;
    safe fn livedump_xlock_sig() -> c_int;
    fn livedump_xunlock();

    safe fn livedump_quiesce() -> c_int;
    fn livedump_suspend_pass() -> u64;
    safe fn livedump_quiesced() -> c_int;
    safe fn livedump_pause();
    fn livedump_resume();

    safe fn livedump_livedumper_start() -> c_int;
    fn livedump_livedumper_dump(
        block: *const u8,
        offset: u64,
        len: usize,
    ) -> c_int;
    safe fn livedump_livedumper_finish();
    safe fn livedump_savectx();

    safe fn livedump_cpus() -> usize;
    safe fn livedump_debugger(debugger: &mut ShimDebugger);
    fn livedump_instant(
        cpus: *mut Context,
        n: usize,
        stacks: *mut Page,
        room: usize,
    ) -> c_int;

    safe fn livedump_malloc(size: usize) -> *mut c_void;
    fn livedump_free(p: *mut c_void);
    safe fn livedump_physmem() -> u64;
    safe fn livedump_monitor_init() -> *mut c_void;
    fn livedump_monitor_lock(monitor: *mut c_void);
    fn livedump_monitor_unlock(monitor: *mut c_void);
    fn livedump_monitor_wait(monitor: *mut c_void);
    fn livedump_monitor_notify(monitor: *mut c_void);
    fn livedump_monitor_fini(monitor: *mut c_void);

    safe fn livedump_ncpus() -> c_int;
    safe fn livedump_workers_limit() -> c_int;
    fn livedump_workers_start(
        n: usize,
        run: extern "C" fn(*mut c_void),
        arg: *mut c_void,
    ) -> *mut c_void;
    fn livedump_workers_join(workers: *mut c_void);

    safe fn livedump_target(target: &mut ShimTarget);
    fn livedump_dump_avail(nth: usize, pair: *mut [u64; 2]) -> bool;
    fn livedump_copy_bitset(words: *mut u64, n: usize);
    fn livedump_copy_msgbuf(text: *mut u8, len: usize);
    fn livedump_linked_pages(
        page: extern "C" fn(*mut c_void, u64, bool),
        arg: *mut c_void,
    );
    fn livedump_load_entry(table: u64, index: u64) -> u64;
    safe fn livedump_phys_in_dmap(pa: u64) -> bool;
    safe fn livedump_vm_phys_is_dumpable(pa: u64) -> bool;
    fn livedump_read_page(pa: u64, page: *mut Page);
    safe fn livedump_maybe_yield();

    safe fn livedump_compressor_avail(format: c_int) -> bool;
    safe fn livedump_compressor_init(
        format: c_int,
        level: c_int,
        bytes: usize,
    ) -> *mut c_void;
    fn livedump_compress(
        stream: *mut c_void,
        src: *const u8,
        len: usize,
        dst: *mut u8,
        room: usize,
        packed: *mut usize,
    ) -> c_int;
    fn livedump_compressor_fini(stream: *mut c_void);
    safe fn livedump_gzip_level() -> c_int;
    safe fn livedump_zstd_level() -> c_int;

    safe fn livedump_time_second() -> i64;
    safe fn livedump_nanouptime() -> u64;
    fn livedump_hostname(out: *mut c_char, len: usize) -> usize;
    fn livedump_version(out: *mut c_char, len: usize) -> usize;

    fn livedump_panic(what: *const u8, len: usize) -> !;
}

/// The running kernel and the current thread, which made the request.
#[derive(Debug)]
pub struct FreeBsd;

/// An int of the shim's. Negative ones are the kernel's own, such as ERESTART
/// for a signal whose handler wants the call restarted: a dump is not.
fn check(error: c_int) -> Result<()> {
    match error {
        0 => Ok(()),
        ..0 => Err(Errno::EINTR),
        _ => Err(Errno(error)),
    }
}

/// Why there is no memory: the wait for it ended, or a signal ended the wait.
fn no_memory() -> Errno {
    match livedump_sig_intr() {
        0 => Errno::ENOMEM,
        _ => Errno::EINTR,
    }
}

/// Stops the machine. For the panic handler alone.
pub fn panic(what: &str) -> ! {
    // SAFETY: the shim reads `len` bytes of a string that outlives us all.
    unsafe { livedump_panic(what.as_ptr(), what.len()) }
}

/// `struct file *` with a reference, which [`Kpi::fdrop`] gives back.
#[derive(Debug)]
pub struct File(NonNull<c_void>);

/// What `livedump_rangelock_wlock` answered.
#[derive(Debug)]
pub struct RangeLock(*mut c_void);

/// Bytes that dumps may take in all: an eighth of the machine's memory. More
/// would make others wait for it.
static TAKEN: AtomicU64 = AtomicU64::new(0);

/// What the shim takes for whatever is smaller.
const MALLOC_LEAST: u64 = 64 << 10;

/// A part of [`TAKEN`], given back on drop.
#[derive(Debug)]
struct Budget(u64);

impl Budget {
    fn take(bytes: u64) -> Result<Self> {
        let limit = livedump_physmem() / 8;
        TAKEN
            .fetch_update(Relaxed, Relaxed, |taken| {
                taken.checked_add(bytes).filter(|&sum| sum <= limit)
            })
            .map_err(|_| Errno::ENOMEM)?;
        Ok(Self(bytes))
    }
}

impl Drop for Budget {
    fn drop(&mut self) {
        TAKEN.fetch_sub(self.0, Relaxed);
    }
}

/// Values in memory of the kernel's, not in dumps.
#[derive(Debug)]
pub struct Array<T> {
    /// Dangling where there is no room; malloc(9) returns no such address.
    memory: NonNull<T>,
    len: usize,
    _budget: Budget,
    _values: PhantomData<T>,
}

// SAFETY: it owns its values as a Vec does, and free(9) may be called by
// another thread than malloc(9) was.
unsafe impl<T: Send> Send for Array<T> {}

// SAFETY: as of a Vec: what is shared gives shared references alone.
unsafe impl<T: Sync> Sync for Array<T> {}

impl<T> Array<T> {
    /// Room for `room` values, zeroed, of which there are none yet.
    #[inline(never)] // Its stack is not everyone's.
    fn with_room(room: usize) -> Result<Self> {
        let bytes = room.checked_mul(size_of::<T>()).ok_or(Errno::ENOMEM)?;
        if bytes == 0 {
            return Ok(Self {
                memory: NonNull::dangling(),
                len: 0,
                _budget: Budget(0),
                _values: PhantomData,
            });
        }
        let _budget = Budget::take((bytes as u64).max(MALLOC_LEAST))?;
        let p = livedump_malloc(bytes);
        let memory = NonNull::new(p.cast::<T>()).ok_or_else(no_memory)?;
        if !memory.is_aligned() {
            // Whole pages are, unless a debugging allocator shifts them.
            // SAFETY: from livedump_malloc, and not kept.
            unsafe { livedump_free(p) };
            return Err(Errno::ENOMEM);
        }
        Ok(Self { memory, len: 0, _budget, _values: PhantomData })
    }
}

/// Plain data: any bytes are a value, zeros among them. Nothing else is.
pub trait Plain {}
impl Plain for u64 {}
impl Plain for Page {}

impl<T: Plain> Array<T> {
    fn zeroed(len: usize) -> Result<Self> {
        let mut array = Self::with_room(len)?;
        // The shim has zeroed it, and zeros are values of T.
        array.len = len;
        Ok(array)
    }
}

impl<T> Deref for Array<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: `len` values have been put there (or are zeroed plain
        // data); the memory is ours until drop, and borrowed with self.
        unsafe { core::slice::from_raw_parts(self.memory.as_ptr(), self.len) }
    }
}

impl<T> DerefMut for Array<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as for deref; `&mut self` makes it the only borrow.
        unsafe {
            core::slice::from_raw_parts_mut(self.memory.as_ptr(), self.len)
        }
    }
}

impl<T> Drop for Array<T> {
    fn drop(&mut self) {
        let values: *mut [T] = &mut **self;
        // SAFETY: the values are dropped here and never seen again: `len`
        // and the memory end with this function.
        unsafe { core::ptr::drop_in_place(values) };
        if self.memory != NonNull::dangling() {
            // SAFETY: from livedump_malloc, freed once, here.
            unsafe { livedump_free(self.memory.as_ptr().cast()) };
        }
    }
}

/// A lock of the kernel's around a value.
#[derive(Debug)]
pub struct FreeBsdMonitor<T> {
    monitor: NonNull<c_void>,
    value: UnsafeCell<T>,
}

// SAFETY: the value is reached only through a guard, one of which exists at a
// time: the kernel's lock sees to that.
unsafe impl<T: Send> Sync for FreeBsdMonitor<T> {}

impl<T> Drop for FreeBsdMonitor<T> {
    fn drop(&mut self) {
        // SAFETY: from livedump_monitor_init, destroyed once; no guard is
        // alive, each borrows the monitor.
        unsafe { livedump_monitor_fini(self.monitor.as_ptr()) };
    }
}

/// The lock, held.
#[derive(Debug)]
pub struct Guard<'a, T> {
    of: &'a FreeBsdMonitor<T>,
    /// A lock is released by the thread that took it: not `Send`.
    _here: PhantomData<*mut ()>,
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: this thread holds the lock until the guard is dropped.
        unsafe { &*self.of.value.get() }
    }
}

impl<T> DerefMut for Guard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as for deref; `&mut self` makes it the only borrow.
        unsafe { &mut *self.of.value.get() }
    }
}

impl<T> Drop for Guard<'_, T> {
    fn drop(&mut self) {
        // SAFETY: taken by lock() of the same monitor, which outlives us.
        unsafe { livedump_monitor_unlock(self.of.monitor.as_ptr()) };
    }
}

impl<T> Monitor<T> for FreeBsdMonitor<T> {
    type Guard<'a>
        = Guard<'a, T>
    where
        Self: 'a;

    fn lock(&self) -> Guard<'_, T> {
        // SAFETY: initialised until drop; the engine never locks twice (the
        // kernel would panic, not corrupt).
        unsafe { livedump_monitor_lock(self.monitor.as_ptr()) };
        Guard { of: self, _here: PhantomData }
    }

    fn wait<'a>(&'a self, guard: Guard<'a, T>) -> Guard<'a, T> {
        // SAFETY: the guard says that this thread holds the lock; it does
        // again when this returns, and nothing borrows the value meanwhile.
        unsafe { livedump_monitor_wait(guard.of.monitor.as_ptr()) };
        guard
    }

    fn notify(&self) {
        // SAFETY: initialised until drop.
        unsafe { livedump_monitor_notify(self.monitor.as_ptr()) };
    }
}

/// C: `struct compressor *` and where its output goes.
#[derive(Debug)]
pub struct Stream {
    stream: NonNull<c_void>,
    _budget: Budget,
}

// SAFETY: compressor(9) keeps nothing of the thread that made the stream.
unsafe impl Send for Stream {}

// SAFETY: there is nothing to do with a shared one.
unsafe impl Sync for Stream {}

impl Drop for Stream {
    fn drop(&mut self) {
        // SAFETY: from livedump_compressor_init, freed once, here.
        unsafe { livedump_compressor_fini(self.stream.as_ptr()) };
    }
}

impl Compressor for Stream {
    fn compress(&mut self, src: &[u8], dst: &mut [u8]) -> Result<usize> {
        let mut packed = 0;
        // SAFETY: the stream is ours alone (&mut self); the shim reads `src`
        // and writes at most `dst.len()` bytes, both borrowed for the call,
        // and keeps neither.
        let error = unsafe {
            livedump_compress(
                self.stream.as_ptr(),
                src.as_ptr(),
                src.len(),
                dst.as_mut_ptr(),
                dst.len(),
                &mut packed,
            )
        };
        check(error).map(|()| packed)
    }
}

/// Megabytes that a zstd stream of each level takes in the kernel
/// (`ZSTD_estimateCStreamSize` and its buffers), rounded up.
const ZSTD_STREAM_MB: [u8; 19] =
    [2, 3, 4, 6, 7, 8, 8, 8, 10, 18, 32, 32, 32, 56, 74, 74, 74, 74, 96];

/// Bytes that a stream takes, for the budget; `None`: no such level.
fn stream_bytes(format: Compression, level: i32) -> Option<u64> {
    match format {
        Compression::None => None,
        Compression::Gzip => (1..=9).contains(&level).then_some(1 << 19),
        Compression::Zstd => {
            let level = usize::try_from(level).ok()?.checked_sub(1)?;
            ZSTD_STREAM_MB.get(level).map(|&mb| u64::from(mb) << 20)
        }
    }
}

/// `body` of [`Kpi::with_workers`], as a C function on each thread.
extern "C" fn run_worker(arg: *mut c_void) {
    let worker = arg.cast::<&(dyn Fn() + Sync)>();
    // SAFETY: with_workers points it to a reference on its stack, and leaves
    // only when every thread has returned from here.
    let worker = unsafe { *worker };
    worker();
}

/// `visit` of [`Kpi::linked_pages`], as a C function.
extern "C" fn name_page(arg: *mut c_void, pa: u64, oncpu: bool) {
    let visit = arg.cast::<&mut dyn FnMut(LinkedPage)>();
    // SAFETY: linked_pages points it to a reference on its stack, which the
    // shim hands to nobody else and forgets when it returns.
    let visit = unsafe { &mut *visit };
    visit(if oncpu {
        LinkedPage::Oncpu(Paddr(pa))
    } else {
        LinkedPage::Page(Paddr(pa))
    });
}

impl DirectMap for FreeBsd {
    fn read_page(&self, pa: Paddr, page: &mut Page) -> Result<()> {
        if !self.phys_in_dmap(pa) || pa.0 % PAGE_SIZE as u64 != 0 {
            page.fill(0);
            return Err(Errno::EFAULT);
        }
        // SAFETY: the shim copies one page that is in the direct map to one
        // that is ours.
        unsafe { livedump_read_page(pa.0, page) };
        Ok(())
    }

    /// What a dump reads page by page: no lock is held.
    fn read_pages(&self, pa: Paddr, pages: &mut [Page]) -> Result<()> {
        read_each_page(pa, pages, |pa, page| {
            DirectMap::read_page(self, pa, page)
        })?;
        livedump_maybe_yield();
        Ok(())
    }
}

impl Kpi for FreeBsd {
    type File = File;
    type Words = Array<u64>;
    type Pages = Array<Page>;
    type Array<T: Send + Sync> = Array<T>;
    type Monitor<T: Send> = FreeBsdMonitor<T>;
    type Compressor = Stream;
    type DirectMap = Self;
    type RangeLock = RangeLock;

    fn priv_check_kmem_read(&self) -> Result<()> {
        check(livedump_priv_check_kmem_read())
    }

    fn priv_check_root(&self) -> Result<()> {
        // A jail is refused PRIV_KMEM_WRITE in every release so far; a policy
        // module could think otherwise.
        if livedump_jailed() {
            return Err(Errno::EPERM);
        }
        check(livedump_priv_check_kmem_write())
    }

    fn sig_intr(&self) -> Result<()> {
        check(livedump_sig_intr()).map_err(|_| Errno::EINTR)
    }

    fn pid(&self) -> i32 {
        livedump_pid()
    }

    fn getvnode(&self, fd: i32) -> Result<File> {
        let mut fp = core::ptr::null_mut();
        // SAFETY: the shim stores a referenced file there, or an error says
        // that it did not.
        check(unsafe { livedump_getvnode(fd, &mut fp) })?;
        NonNull::new(fp).map(File).ok_or(Errno::EBADF)
    }

    fn fdrop(&self, file: &File) {
        // SAFETY: a File is a reference; the engine's FileRef is the only
        // caller, in its drop, and the File goes with it.
        unsafe { livedump_fdrop(file.0.as_ptr()) };
    }

    fn file_is_writable(&self, file: &File) -> bool {
        // SAFETY: referenced from getvnode until fdrop.
        unsafe { livedump_file_is_writable(file.0.as_ptr()) }
    }

    fn vnode_is_regular(&self, file: &File) -> bool {
        // SAFETY: referenced from getvnode until fdrop, and so is its vnode.
        unsafe { livedump_vnode_is_regular(file.0.as_ptr()) }
    }

    fn same_vnode(&self, file: &File, other: &File) -> bool {
        // SAFETY: both referenced from getvnode until fdrop.
        unsafe { livedump_same_vnode(file.0.as_ptr(), other.0.as_ptr()) }
    }

    fn file_is_served(&self, file: &File) -> bool {
        // SAFETY: referenced from getvnode until fdrop, and so is its vnode.
        unsafe { livedump_file_is_served(file.0.as_ptr()) }
    }

    fn rangelock_wlock(&self, file: &File) -> Result<RangeLock> {
        let mut lock = core::ptr::null_mut();
        // SAFETY: referenced from getvnode until fdrop, and so is its vnode;
        // the shim stores what it knows the lock by, or answers an error.
        check(unsafe { livedump_rangelock_wlock(file.0.as_ptr(), &mut lock) })?;
        Ok(RangeLock(lock))
    }

    fn rangelock_unlock(&self, file: &File, lock: &RangeLock) {
        // SAFETY: a RangeLock is what rangelock_wlock of this file answered;
        // the engine's guard is the only caller, in its drop, before fdrop.
        unsafe { livedump_rangelock_unlock(file.0.as_ptr(), lock.0) };
    }

    fn vn_truncate(&self, file: &File) -> Result<()> {
        // SAFETY: referenced from getvnode until fdrop, and so is its vnode.
        check(unsafe { livedump_vn_truncate(file.0.as_ptr()) })
    }

    fn vn_write(&self, file: &File, offset: u64, data: &[u8]) -> Result<()> {
        // vn_rdwr takes an int; and no one waits for more than this.
        const MOST: usize = 1 << 20;
        let mut at = offset;
        for part in data.chunks(MOST) {
            // SAFETY: referenced as above; `part` is kernel memory, borrowed
            // for the call, that the file system only reads.
            let error = unsafe {
                livedump_vn_write(
                    file.0.as_ptr(),
                    at,
                    part.as_ptr(),
                    part.len(),
                )
            };
            check(error)?;
            livedump_maybe_yield();
            at += part.len() as u64;
        }
        Ok(())
    }

    fn vn_check(&self, file: &File) -> Result<()> {
        // SAFETY: referenced from getvnode until fdrop, and so is its vnode.
        check(unsafe { livedump_vn_check(file.0.as_ptr()) })
    }

    fn livedump_try_xlock(&self) -> bool {
        livedump_try_xlock()
    }

    fn livedump_xlock_sig(&self) -> Result<()> {
        check(livedump_xlock_sig()).map_err(|_| Errno::EINTR)
    }

    fn livedump_xunlock(&self) {
        // SAFETY: the engine's guard is the only caller, in its drop, on the
        // thread that took the lock.
        unsafe { livedump_xunlock() };
    }

    fn quiesce(&self) -> Result<()> {
        check(livedump_quiesce())
    }

    fn suspend_pass(&self) -> u64 {
        // SAFETY: the engine's guard is the only caller, between quiesce and
        // resume.
        unsafe { livedump_suspend_pass() }
    }

    fn quiesced(&self) -> Result<()> {
        check(livedump_quiesced())
    }

    fn pause(&self) {
        livedump_pause();
    }

    fn resume(&self) {
        // SAFETY: the engine's guard is the only caller, in its drop, on the
        // thread for which quiesce answered that it had begun.
        unsafe { livedump_resume() };
    }

    fn livedumper_start(&self) -> Result<()> {
        check(livedump_livedumper_start())
    }

    fn livedumper_dump(&self, block: Option<(&[u8], u64)>) -> Result<()> {
        let (at, offset, len) = match block {
            Some((bytes, offset)) => (bytes.as_ptr(), offset, bytes.len()),
            None => (core::ptr::null(), 0, 0),
        };
        // SAFETY: handlers get to see the block, borrowed for the call.
        check(unsafe { livedump_livedumper_dump(at, offset, len) })
    }

    fn livedumper_finish(&self) {
        livedump_livedumper_finish();
    }

    fn dump_savectx(&self) {
        livedump_savectx();
    }

    fn cpus(&self) -> usize {
        livedump_cpus()
    }

    fn debugger(&self) -> Debugger {
        let mut d = ShimDebugger::default();
        livedump_debugger(&mut d);
        Debugger {
            stoppcbs: Vaddr(d.stoppcbs),
            stopped_cpus: Vaddr(d.stopped_cpus),
            dumppcb: Vaddr(d.dumppcb),
            dumptid: Vaddr(d.dumptid),
            pcb_bytes: d.pcb_bytes,
            cpuset_bytes: d.cpuset_bytes,
        }
    }

    fn instant(
        &self,
        contexts: &mut [Context],
        stacks: &mut [Page],
    ) -> Result<()> {
        let pages = stacks.len().checked_div(contexts.len()).unwrap_or(0);
        // A place for the caller, and any that no CPU has stay empty.
        if contexts.is_empty() {
            return Ok(());
        }
        // SAFETY: the shim writes contexts by CPU number below the last, which
        // is the caller's, and as many pages of stack for each; both are ours
        // until every CPU has gone on, which is when it returns.
        check(unsafe {
            livedump_instant(
                contexts.as_mut_ptr(),
                contexts.len(),
                stacks.as_mut_ptr(),
                pages * PAGE_SIZE,
            )
        })
    }

    fn malloc_words(&self, words: usize) -> Result<Array<u64>> {
        Array::zeroed(words)
    }

    fn malloc_pages(&self, pages: usize) -> Result<Array<Page>> {
        Array::zeroed(pages)
    }

    fn malloc_array<T: Send + Sync>(
        &self,
        len: usize,
        mut make: impl FnMut(usize) -> Result<T>,
    ) -> Result<Array<T>> {
        let mut array = Array::with_room(len)?;
        for i in 0..len {
            let value = make(i)?;
            // SAFETY: i < len, and there is room for len.
            let slot = unsafe { array.memory.add(i) };
            // SAFETY: aligned memory of ours, without a value yet; from here
            // on `len` counts it, so drop will find it.
            unsafe { slot.write(value) };
            array.len = i + 1;
        }
        Ok(array)
    }

    fn monitor<T: Send>(&self, value: T) -> Result<FreeBsdMonitor<T>> {
        let monitor =
            NonNull::new(livedump_monitor_init()).ok_or_else(no_memory)?;
        Ok(FreeBsdMonitor { monitor, value: UnsafeCell::new(value) })
    }

    fn ncpus(&self) -> usize {
        let cpus = usize::try_from(livedump_ncpus()).unwrap_or(1).max(1);
        match usize::try_from(livedump_workers_limit()) {
            Ok(limit @ 1..) => limit.min(cpus),
            _ => cpus,
        }
    }

    fn with_workers(
        &self,
        threads: usize,
        worker: &(dyn Fn() + Sync),
        body: &mut dyn FnMut(),
    ) {
        if threads == 0 {
            return body();
        }
        let arg: *const &(dyn Fn() + Sync) = &worker;
        // SAFETY: `worker` is on this stack, which the shim keeps from being
        // swapped out, until the threads are joined below.
        let workers = unsafe {
            livedump_workers_start(threads, run_worker, arg as *mut c_void)
        };
        body();
        if workers.is_null() {
            return;
        }
        // SAFETY: what was just started; panics abort, so that body always
        // comes back here.
        unsafe { livedump_workers_join(workers) };
    }

    fn target(&self) -> Target {
        let mut t = ShimTarget::default();
        livedump_target(&mut t);
        Target {
            machine: Machine::Amd64,
            minidump_version: t.minidump_version,
            minidump_flags: t.minidump_flags,
            root: Paddr(t.root),
            root_level: t.root_level,
            kernbase: Vaddr(t.kernbase),
            kva_end: Vaddr(t.kva_end),
            dmapphys: t.dmapphys,
            dmapbase: Vaddr(t.dmapbase),
            dmapend: Vaddr(t.dmapend),
            bitset_bits: t.bitset_bits,
            msgbuf_bytes: t.msgbuf_bytes,
            dump_avail_bytes: t.dump_avail_bytes,
        }
    }

    fn dump_avail(&self, ranges: &mut [(u64, u64)]) -> usize {
        let mut n = 0;
        for slot in ranges {
            let mut pair = [0; 2];
            // SAFETY: the shim writes one pair at most, into this one.
            let got = unsafe { livedump_dump_avail(n, &mut pair) };
            if !got {
                break;
            }
            *slot = (pair[0], pair[1]);
            n += 1;
        }
        n
    }

    fn copy_bitset(&self, words: &mut [u64]) {
        // SAFETY: the shim writes at most `len` words, all ours.
        unsafe { livedump_copy_bitset(words.as_mut_ptr(), words.len()) };
    }

    fn copy_msgbuf(&self, text: &mut [u8]) {
        // SAFETY: the shim writes at most `len` bytes, all ours.
        unsafe { livedump_copy_msgbuf(text.as_mut_ptr(), text.len()) };
    }

    fn linked_pages(&self, mut visit: &mut dyn FnMut(LinkedPage)) {
        let arg: *mut &mut dyn FnMut(LinkedPage) = &mut visit;
        // SAFETY: the shim calls name_page with this, on this thread, before
        // it returns.
        unsafe { livedump_linked_pages(name_page, arg.cast()) };
    }

    fn load_entry(&self, table: Paddr, index: u64) -> u64 {
        // A stray entry must not lead outside the direct map.
        if !self.phys_in_dmap(table) {
            return 0;
        }
        // SAFETY: a page in the direct map, and an entry of it. It may change
        // at any time: the shim loads it once.
        unsafe { livedump_load_entry(table.0, index % ENTRIES) }
    }

    fn phys_in_dmap(&self, pa: Paddr) -> bool {
        livedump_phys_in_dmap(pa.0)
    }

    fn vm_phys_is_dumpable(&self, pa: Paddr) -> bool {
        livedump_vm_phys_is_dumpable(pa.0)
    }

    fn direct_map(&self) -> &Self {
        self
    }

    fn maybe_yield(&self) {
        livedump_maybe_yield();
    }

    fn compressor_avail(&self, format: Compression) -> bool {
        livedump_compressor_avail(format as c_int)
    }

    fn compressor_level(&self, format: Compression) -> i32 {
        match format {
            Compression::None => 0,
            Compression::Gzip => livedump_gzip_level().clamp(1, 9),
            Compression::Zstd => livedump_zstd_level().clamp(1, 19),
        }
    }

    fn compressor_init(
        &self,
        format: Compression,
        _chunk: usize,
        level: i32,
    ) -> Result<Stream> {
        let bytes = stream_bytes(format, level).ok_or(Errno::EINVAL)?;
        let budget = Budget::take(bytes)?;
        let room = usize::try_from(bytes).map_err(|_| Errno::ENOMEM)?;
        let stream = livedump_compressor_init(format as c_int, level, room);
        // The level is a known one: what it may lack is memory.
        let stream = NonNull::new(stream).ok_or_else(no_memory)?;
        Ok(Stream { stream, _budget: budget })
    }

    fn time_second(&self) -> i64 {
        livedump_time_second()
    }

    fn nanouptime(&self) -> u64 {
        livedump_nanouptime()
    }

    fn hostname(&self, out: &mut [u8]) -> usize {
        // SAFETY: the shim writes at most `len` bytes, all ours.
        unsafe { livedump_hostname(out.as_mut_ptr().cast(), out.len()) }
    }

    fn version(&self, out: &mut [u8]) -> usize {
        // SAFETY: the shim writes at most `len` bytes, all ours.
        unsafe { livedump_version(out.as_mut_ptr().cast(), out.len()) }
    }
}
