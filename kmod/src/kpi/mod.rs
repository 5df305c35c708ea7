// SPDX-License-Identifier: BSD-2-Clause
//! The KPI border: every contact between the engine and the kernel it runs
//! in. Two implementations: `freebsd` (C shim behind it), and the crate
//! `livedump-hosted` (a machine built in user space).
//!
//! Methods are named after what they call. Memory crosses by copy, one page
//! or one table entry at a time: the engine never holds a reference into live
//! memory, and nothing can be read twice by accident.
//!
//! An implementation stands for *one request of one caller*: `priv_check`,
//! descriptors and signals are the caller's.

#[cfg(target_os = "none")]
pub mod freebsd;

use crate::error::Result;
use core::ops::DerefMut;
use memdev::addr::{PAGE_SIZE, Paddr, Page, Vaddr};
use memdev::arch::Machine;
use memdev::kerneldump::Compression;

/// What the running kernel is, as far as a minidump is concerned. Constant
/// while a dump runs, except `kva_end`.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The machine.
    pub machine: Machine,
    /// Version of the minidump header that this kernel's own dumps have.
    pub minidump_version: u32,
    /// arm64 version 3: the header's flags; 0 for 4 KB pages.
    pub minidump_flags: u32,
    /// The root of the kernel's page tables (a table of level
    /// `root_level`). C: `KPML4phys`, `kernel_pmap->pm_l0_paddr`.
    pub root: Paddr,
    /// Level of the root table, leaf tables being level 0: 3 on amd64 (also
    /// under LA57, where the kernel's half hangs off KPML4phys) and on arm64.
    pub root_level: u32,
    /// First address of the kernel map. C: `VM_MIN_KERNEL_ADDRESS`.
    pub kernbase: Vaddr,
    /// First address behind what the walk covers. C: amd64
    /// `MAX(KERNBASE + nkpt * NBPDR, kernel_vm_end)`, arm64 `kernel_vm_end`.
    pub kva_end: Vaddr,
    /// Physical address at `dmapbase`. C: arm64 `DMAP_MIN_PHYSADDR`.
    pub dmapphys: u64,
    /// C: `DMAP_MIN_ADDRESS`.
    pub dmapbase: Vaddr,
    /// C: `DMAP_MAX_ADDRESS`.
    pub dmapend: Vaddr,
    /// Bits in the page bitset. C: `vm_page_dump_pages`, or (12.x)
    /// `vm_page_dump_size * NBBY`.
    pub bitset_bits: u64,
    /// Bytes of the message buffer's text. C: `msgbufp->msg_size`.
    pub msgbuf_bytes: u32,
    /// `sizeof(dump_avail)`; 0 where the minidump version has no such
    /// section.
    pub dump_avail_bytes: u32,
}

/// Where debuggers look for the registers of running threads: addresses of the
/// kernel's variables, 0 where there is no such thing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Debugger {
    /// The pcb of CPU 0; those of the others follow. C: `stoppcbs`, the array
    /// or (from 14 on) what it points to.
    pub stoppcbs: Vaddr,
    /// C: `stopped_cpus`.
    pub stopped_cpus: Vaddr,
    /// C: `dumppcb`.
    pub dumppcb: Vaddr,
    /// C: `dumptid`.
    pub dumptid: Vaddr,
    /// C: `sizeof(struct pcb)`.
    pub pcb_bytes: u32,
    /// C: `sizeof(cpuset_t)`.
    pub cpuset_bytes: u32,
}

/// Words at the start of a pcb that hold all registers a debugger takes from
/// it: 8 on amd64, 33 on arm64.
pub const PCB_WORDS: usize = 34;

/// [`Context::tid`] of a CPU that did not come in time.
pub const MISSING: i32 = -1;

/// What a CPU was doing at the instant. C: `struct livedump_cpu`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Context {
    /// The thread; 0 where nothing was saved.
    pub thread: Vaddr,
    /// Where its `td_oncpu` is.
    pub oncpu: Paddr,
    /// The part of its kernel stack that was saved begins here.
    pub stack: Vaddr,
    /// And is so long.
    pub stack_bytes: u32,
    /// Bytes of `pcb` that are used.
    pub pcb_bytes: u32,
    /// The CPU's number.
    pub cpu: u32,
    /// The thread's.
    pub tid: i32,
    /// As a pcb of this machine begins.
    pub pcb: [u64; PCB_WORDS],
}

impl Context {
    /// Nothing was saved.
    pub const NONE: Self = Self {
        thread: Vaddr(0),
        oncpu: Paddr(0),
        stack: Vaddr(0),
        stack_bytes: 0,
        pcb_bytes: 0,
        cpu: 0,
        tid: 0,
        pcb: [0; PCB_WORDS],
    };
}

/// What a page through which processes are linked has to do with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkedPage {
    /// It holds part of a process or a thread.
    Page(Paddr),
    /// There is the `td_oncpu` of a thread; never across pages.
    Oncpu(Paddr),
}

/// One compressor stream. C: `struct compressor`, compressor(9).
pub trait Compressor {
    /// Compresses `src` into one complete gzip member or zstd frame (with its
    /// checksum) in `dst` and returns its length. The stream is then as new.
    ///
    /// C: `compressor_write`, `compressor_flush`, `compressor_reset`. May
    /// sleep in 12.x and later only for memory it already has: it allocates
    /// nothing.
    ///
    /// # Errors
    /// `E2BIG` where `dst` is too small; the compressor's own errno.
    fn compress(&mut self, src: &[u8], dst: &mut [u8]) -> Result<usize>;
}

/// Room that one chunk of `len` bytes may need when it does not compress.
#[must_use]
pub const fn compress_bound(len: usize) -> usize {
    len + len / 128 + 4096
}

/// Copies adjacent pages, each by a call of `read`.
///
/// # Errors
/// Those of the first page that cannot be had.
pub fn read_each_page(
    mut pa: Paddr,
    pages: &mut [Page],
    read: impl Fn(Paddr, &mut Page) -> Result<()>,
) -> Result<()> {
    for page in pages {
        read(pa, page)?;
        pa.0 = pa.0.saturating_add(PAGE_SIZE as u64);
    }
    Ok(())
}

/// Physical memory, which every thread of a dump may read: none of them need
/// be the caller's.
pub trait DirectMap: Sync {
    /// Copies one page, once, through the direct map.
    ///
    /// # Errors
    /// `EFAULT` where there is no such memory; `page` is then zero. Does not
    /// happen for a page that `phys_in_dmap` and `vm_phys_is_dumpable`.
    fn read_page(&self, pa: Paddr, page: &mut Page) -> Result<()>;

    /// Copies adjacent pages, each as [`DirectMap::read_page`] does.
    ///
    /// # Errors
    /// Those of the first page that cannot be had.
    fn read_pages(&self, pa: Paddr, pages: &mut [Page]) -> Result<()> {
        read_each_page(pa, pages, |pa, page| self.read_page(pa, page))
    }
}

/// A value that the threads of one dump share. C: `struct sx` and
/// `struct cv`.
pub trait Monitor<T> {
    /// The value, while the lock is held.
    type Guard<'a>: DerefMut<Target = T>
    where
        Self: 'a;

    /// C: `sx_xlock`.
    fn lock(&self) -> Self::Guard<'_>;

    /// Gives the lock up until [`Monitor::notify`], and takes it again. May
    /// also return early. C: `cv_wait`.
    fn wait<'a>(&'a self, guard: Self::Guard<'a>) -> Self::Guard<'a>;

    /// Wakes every waiter. C: `cv_broadcast`.
    fn notify(&self);
}

/// The kernel, as one request of one caller sees it.
///
/// Unless a method says otherwise it does not sleep, needs no lock and cannot
/// fail.
pub trait Kpi {
    /// A file the caller passed, with a reference. C: `struct file *`.
    type File;
    /// Zeroed memory of 64-bit words, freed on drop, not in the dump.
    type Words: DerefMut<Target = [u64]> + Send + Sync;
    /// Zeroed, page-aligned memory, freed on drop, not in the dump.
    type Pages: DerefMut<Target = [Page]> + Send + Sync;
    /// Values on the heap, dropped and freed on drop, not in the dump.
    type Array<T: Send + Sync>: DerefMut<Target = [T]> + Send + Sync;
    /// A lock around a value, destroyed on drop.
    type Monitor<T: Send>: Monitor<T> + Sync;
    /// One compressor stream, freed on drop.
    type Compressor: Compressor + Send + Sync;
    /// The machine's memory.
    type DirectMap: DirectMap;
    /// A held range lock. C: the cookie of `vn_rangelock_wlock`.
    type RangeLock;

    // -- the caller

    /// C: `priv_check(td, PRIV_KMEM_READ)`. The kernel grants it to everyone
    /// (12.1, 13.2, 15.1), unless a policy of mac(4) does not.
    ///
    /// # Errors
    /// `EPERM`.
    fn priv_check_kmem_read(&self) -> Result<()>;

    /// Whether the caller may really read all of the kernel's memory: not
    /// jailed, and root or what `PRIV_KMEM_WRITE` is granted to.
    ///
    /// # Errors
    /// `EPERM`.
    fn priv_check_root(&self) -> Result<()>;

    /// Whether a signal is waiting for the caller. C: `sig_intr`, or
    /// `SIGPENDING` before it existed.
    ///
    /// # Errors
    /// `EINTR`.
    fn sig_intr(&self) -> Result<()>;

    /// The caller's process, for the status request. C: `p_pid`.
    fn pid(&self) -> i32;

    // -- the file

    /// The caller's descriptor as a vnode, with `CAP_WRITE`; takes a
    /// reference. C: `getvnode(td, fd, &cap_write_rights, &fp)`.
    ///
    /// # Errors
    /// `EBADF` no such descriptor (or `O_PATH`), `ENOTCAPABLE`, `EINVAL` not
    /// a vnode.
    fn getvnode(&self, fd: i32) -> Result<Self::File>;

    /// Gives the reference back, once. May sleep. C: `fdrop`.
    fn fdrop(&self, file: &Self::File);

    /// Whether it was opened for writing. C: `fp->f_flag & FWRITE`.
    fn file_is_writable(&self, file: &Self::File) -> bool;

    /// Whether it is a regular file. C: `vp->v_type == VREG`.
    fn vnode_is_regular(&self, file: &Self::File) -> bool;

    /// Whether two descriptors are of one file. C: `fp->f_vnode`.
    fn same_vnode(&self, file: &Self::File, other: &Self::File) -> bool;

    /// Whether a user process serves the file system: with that process
    /// suspended, writing would wait for ever. C: `f_fstypename`.
    fn file_is_served(&self, file: &Self::File) -> bool;

    /// Locks the whole file against truncation, and against other writers as
    /// far as the file system has them take this lock. Sleeps, for a bounded
    /// time. C: `vn_rangelock_trywlock(vp, 0, OFF_MAX)`.
    ///
    /// # Errors
    /// `EINTR`; `EAGAIN` when somebody else holds it for too long; `ETXTBSY`
    /// when a process has the file mapped so that it can write to it.
    fn rangelock_wlock(&self, file: &Self::File) -> Result<Self::RangeLock>;

    /// Gives the lock back, once. C: `vn_rangelock_unlock`.
    fn rangelock_unlock(&self, file: &Self::File, lock: &Self::RangeLock);

    /// Empties the file, under the range lock and with `vn_start_write` and
    /// the vnode lock around it. Sleeps. C: `VOP_SETATTR` with va_size 0 (what
    /// `vn_truncate_locked` does).
    ///
    /// # Errors
    /// The file system's; `EINTR` while the file system is suspended, or the
    /// vnode locked by somebody else.
    fn vn_truncate(&self, file: &Self::File) -> Result<()>;

    /// Writes all of `data` at `offset` with the caller's credential, under
    /// the range lock. Sleeps; takes `vn_start_write` and the vnode lock for
    /// this write alone, so that a suspension of the file system and other
    /// users of the vnode wait for one block, not for a whole dump.
    /// C: `vn_rdwr(UIO_WRITE, IO_NODELOCKED | IO_RANGELOCKED | IO_UNIT)`.
    ///
    /// # Errors
    /// The file system's (`ENOSPC`, `EFBIG`, `EDQUOT`, `EROFS`, `EIO` ...);
    /// a short write is `EIO`; those of [`Kpi::vn_check`].
    fn vn_write(
        &self,
        file: &Self::File,
        offset: u64,
        data: &[u8],
    ) -> Result<()>;

    /// Whether the file is as the last write left it, where the range lock
    /// does not see to that. C: `va_mtime`, `va_size`; `writemappings`.
    ///
    /// # Errors
    /// `EINTEGRITY` when somebody else wrote to it, or can without a system
    /// call; `EINTR`.
    fn vn_check(&self, file: &Self::File) -> Result<()>;

    // -- one dump at a time

    /// Takes the livedump lock if it is free. C: a flag under a mutex; the
    /// stock facility has an sx lock, whose waiters spin.
    fn livedump_try_xlock(&self) -> bool;

    /// Takes the livedump lock; sleeps until it is free. C: `cv_wait_sig`.
    ///
    /// # Errors
    /// `EINTR` when a signal ends the wait; the lock is not held then.
    fn livedump_xlock_sig(&self) -> Result<()>;

    /// Gives it back. C: `cv_broadcast`.
    fn livedump_xunlock(&self);

    // -- suspended processes

    /// Begins to suspend user processes, and to watch over it: when the
    /// engine shows no sign of life for some time, they are resumed. Sleeps.
    /// C: `stop_all_proc_block`, taskqueue(9).
    ///
    /// # Errors
    /// `EINTR` when a signal ends the wait for whoever else stops processes,
    /// `ENOMEM`.
    fn quiesce(&self) -> Result<()>;

    /// Suspends what can be: all processes but the caller's, its parent, the
    /// kernel's, and traced ones. How many threads are still on their way to
    /// where they stop. Sleeps.
    fn suspend_pass(&self) -> u64;

    /// Whether they are still suspended.
    ///
    /// # Errors
    /// `EAGAIN` when they had to be resumed.
    fn quiesced(&self) -> Result<()>;

    /// Sleeps for the shortest time there is. C: `pause`.
    fn pause(&self);

    /// Ends what [`Kpi::quiesce`] began: every process that was suspended is
    /// resumed. Sleeps.
    fn resume(&self);

    // -- livedumper events

    /// Asks the handlers. May sleep. C: `EVENTHANDLER_INVOKE(livedumper_start,
    /// &error)`; nothing where the kernel has no such event.
    ///
    /// # Errors
    /// A handler's veto.
    fn livedumper_start(&self) -> Result<()>;

    /// Before each block: what is about to be written, and where. May sleep.
    /// C: `EVENTHANDLER_INVOKE(livedumper_dump, virtual, offset, length,
    /// &error)`; `None` is the end of the dump (NULL, 0, 0).
    ///
    /// # Errors
    /// A handler's veto.
    fn livedumper_dump(&self, block: Option<(&[u8], u64)>) -> Result<()>;

    /// May sleep. C: `EVENTHANDLER_INVOKE(livedumper_finish)`.
    fn livedumper_finish(&self);

    /// Saves this thread's context where debuggers look (`dumppcb`,
    /// `dumptid`). C: `dump_savectx`.
    fn dump_savectx(&self);

    // -- one instant

    /// CPUs there may be. C: `mp_maxid` + 1.
    fn cpus(&self) -> usize;

    /// Where debuggers look.
    fn debugger(&self) -> Debugger;

    /// Interrupts all CPUs and saves what each was doing, and the upper part
    /// of the stack it was on. `contexts` has a place for each CPU and one
    /// more, the last, for the caller; `stacks` as many pages for each. A CPU
    /// that has interrupts off for longer than 100 ms is [`MISSING`].
    /// C: `callout_reset_sbt_on(C_DIRECT_EXEC)`.
    ///
    /// # Errors
    /// `ENOMEM`.
    fn instant(
        &self,
        contexts: &mut [Context],
        stacks: &mut [Page],
    ) -> Result<()>;

    // -- memory

    /// Zeroed words. Waits for memory no longer than all of a request may
    /// together (2 s); only before the first byte is out.
    /// C: `malloc(M_NOWAIT | M_ZERO | M_NODUMP)`.
    ///
    /// # Errors
    /// `ENOMEM` for what cannot be had; `EINTR`.
    fn malloc_words(&self, words: usize) -> Result<Self::Words>;

    /// Zeroed pages; as [`Kpi::malloc_words`].
    ///
    /// # Errors
    /// Its own.
    fn malloc_pages(&self, pages: usize) -> Result<Self::Pages>;

    /// `len` values that `make` gives; as [`Kpi::malloc_words`].
    ///
    /// # Errors
    /// Its own, and `make`'s.
    fn malloc_array<T: Send + Sync>(
        &self,
        len: usize,
        make: impl FnMut(usize) -> Result<T>,
    ) -> Result<Self::Array<T>>;

    /// A lock around `value`; as [`Kpi::malloc_words`].
    ///
    /// # Errors
    /// Its own.
    fn monitor<T: Send>(&self, value: T) -> Result<Self::Monitor<T>>;

    // -- threads

    /// CPUs that run threads. C: `mp_ncpus`.
    fn ncpus(&self) -> usize;

    /// Runs `body` here while up to `threads` other threads run `worker`
    /// once; returns when all of them have returned. Fewer threads, or none,
    /// is no error: `body` runs in any case. May sleep. C: taskqueue(9).
    fn with_workers(
        &self,
        threads: usize,
        worker: &(dyn Fn() + Sync),
        body: &mut dyn FnMut(),
    );

    /// What the running kernel is.
    fn target(&self) -> Target;

    /// Copies the ranges of dump_avail, up to the pair whose end is 0 or as
    /// many as fit, and returns how many. C: `dump_avail[]`.
    fn dump_avail(&self, ranges: &mut [(u64, u64)]) -> usize;

    /// Copies the page bitset, every word of it, each read once.
    /// C: `vm_page_dump`.
    fn copy_bitset(&self, words: &mut [u64]);

    /// Copies the message buffer's text, under its lock. `text` is
    /// `msgbuf_bytes` long. C: `msgbufp->msg_ptr`.
    fn copy_msgbuf(&self, text: &mut [u8]);

    /// Names, at least once each, the pages through which processes and their
    /// threads are linked into lists, while those lists are locked; `visit` may
    /// read them and must not sleep; and where the threads' `td_oncpu` are.
    /// Nothing where nobody else changes them. Sleeps. C: `allproc` under
    /// `allproc_lock`, `p_threads` under the process' lock.
    fn linked_pages(&self, visit: &mut dyn FnMut(LinkedPage)) {
        let _ = visit;
    }

    /// Loads one entry of the page table at `table` (a table in the direct
    /// map; `index` is below 512). C: `atomic_load_64` through
    /// `PHYS_TO_DMAP`.
    fn load_entry(&self, table: Paddr, index: u64) -> u64;

    /// Whether `pa` may be read through the direct map. C: `PHYS_IN_DMAP`.
    fn phys_in_dmap(&self, pa: Paddr) -> bool;

    /// Whether a page belongs in a dump: PG_NODUMP clear, or, where there is
    /// no vm_page, within dump_avail. C: `vm_phys_is_dumpable`.
    fn vm_phys_is_dumpable(&self, pa: Paddr) -> bool;

    /// The memory itself.
    fn direct_map(&self) -> &Self::DirectMap;

    /// Copies one page, as [`DirectMap::read_page`] does.
    ///
    /// # Errors
    /// Its own.
    fn read_page(&self, pa: Paddr, page: &mut Page) -> Result<()> {
        self.direct_map().read_page(pa, page)
    }

    /// Lets others run; the walk of a large machine takes seconds.
    /// C: `kern_yield(PRI_USER)`.
    fn maybe_yield(&self);

    // -- compression

    /// Whether the kernel has this compressor. C: `compressor_avail`.
    fn compressor_avail(&self, format: Compression) -> bool;

    /// The level of requests that name none; 0 where nothing is compressed.
    /// C: `kern.livedump.gzip_level`, `kern.livedump.zstd_level`.
    fn compressor_level(&self, format: Compression) -> i32;

    /// A stream for chunks of at most `chunk` bytes; as
    /// [`Kpi::malloc_words`]. C: `compressor_init`.
    ///
    /// # Errors
    /// Its own; `EINVAL` when there is no such level.
    fn compressor_init(
        &self,
        format: Compression,
        chunk: usize,
        level: i32,
    ) -> Result<Self::Compressor>;

    // -- for the headers

    /// Unix seconds. C: `time_second`.
    fn time_second(&self) -> i64;

    /// Nanoseconds since some fixed moment. C: `nanouptime`.
    fn nanouptime(&self) -> u64;

    /// Copies prison0's host name and returns its length. Takes a lock.
    /// C: `getcredhostname`.
    fn hostname(&self, out: &mut [u8]) -> usize;

    /// Copies the kernel's `version` and returns its length.
    fn version(&self, out: &mut [u8]) -> usize;
}
