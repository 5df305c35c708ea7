// SPDX-License-Identifier: BSD-2-Clause
//! A recipe: what a model machine is made of, with everything that a text
//! does not mention filled in from the size of its memory. `parse` reads the
//! text; `layout` builds the machine.

use super::release::Release;
use memdev::arch::Machine;

/// Least memory of a machine.
pub const MIN_RAM: u64 = 16 << 20;
/// Most memory of a machine, holes not counted.
pub const MAX_RAM: u64 = 1 << 40;
/// Where memory ends at the latest: the end of amd64's direct map.
pub const MAX_PADDR: u64 = 4 << 40;
/// Ranges of memory. C: `PHYS_AVAIL_COUNT`, less the terminating pair.
pub const MAX_RANGES: usize = 62;
/// Most processes, and most threads of all of them.
pub const MAX_PROCESSES: usize = 1024;
/// See [`MAX_PROCESSES`].
pub const MAX_THREADS: usize = 32768;
/// CPUs. C: `MAXCPU` up to 14.
pub const MAX_CPUS: u64 = 256;
/// Lines of `message`, `kmap`, `device` or `offset`.
pub const MAX_LINES: usize = 4096;
/// Text or data of a kernel.
pub const MAX_KERNEL: u64 = 256 << 20;
/// Devices, all together.
pub const MAX_DEVICES: u64 = 1 << 30;
/// C: `MAXCOMLEN`.
pub const MAXCOMLEN: usize = 19;

/// Bytes that entries of one level map. C: <machine/pmap.h>, `NBPDR`, `NBPDP`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// How many.
    pub bytes: u64,
    /// Level of the entries: 0 for 4K, 1 for 2M, 2 for 1G.
    pub level: u32,
}

/// Where a thread is. C: `td_state`, `td_inhibitors`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ThreadState {
    /// In sleep(9) or on a condition variable; `td_wmesg`.
    Sleep(String),
    /// On a CPU. C: `TDS_RUNNING`, `td_oncpu`.
    Running(u32),
    /// Waiting for one. C: `TDS_RUNQ`.
    RunQueue,
    /// Waiting for a lock, by its name; perhaps only to share it.
    Wait {
        /// Which.
        lock: String,
        /// To share it.
        shared: bool,
    },
}

/// C: `lock_classes`, without the rm locks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockKind {
    /// `MTX_SPIN`.
    Spin,
    /// `MTX_DEF`.
    Mutex,
    /// `sx(9)`.
    Sx,
    /// `rwlock(9)`.
    Rw,
    /// `lock(9)`.
    Lockmgr,
}

impl LockKind {
    /// Who waits is in a turnstile, and not in a sleep queue.
    pub(super) fn spins_or_blocks(self) -> bool {
        matches!(self, Self::Spin | Self::Mutex | Self::Rw)
    }
}

/// Who has a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// Nobody.
    Nobody,
    /// A thread.
    By(i32),
    /// So many, of whom these count it as their own.
    Shared(u64, Vec<i32>),
    /// C: `LK_KERNPROC`.
    Kernel,
}

/// A lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lock {
    /// C: `lo_name`.
    pub name: String,
    /// Its class.
    pub kind: LockKind,
    /// Who has it.
    pub held: Holder,
}

/// What the kernel's file tells of its structures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TypeInfo {
    /// Nothing but the exported constants.
    None,
    /// CTF, as GENERIC has it.
    #[default]
    Ctf,
    /// DWARF, as kernel.debug has it.
    Dwarf,
}

/// A thread of a [`Process`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thread {
    /// C: `td_tid`.
    pub tid: i32,
    /// C: `td_name`.
    pub name: String,
    /// Where it is.
    pub state: ThreadState,
}

/// A process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// C: `p_pid`.
    pub pid: i32,
    /// C: `p_comm`.
    pub comm: String,
    /// C: `p_ucred->cr_uid`.
    pub uid: u32,
    /// It has exited and nobody has waited for it.
    pub zombie: bool,
    /// C: `p_threads`.
    pub threads: Vec<Thread>,
}

/// What changes at each step, and how often.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mutate {
    /// Contents of pages, those with a known pattern excepted.
    pub pages: u32,
    /// Entries of the kernel map: remapped, unmapped, split, grown.
    pub tables: u32,
    /// Bits, as `dump_add_page` and `dump_drop_page` change them.
    pub bitset: u32,
    /// Lines in the message buffer.
    pub msgbuf: u32,
    /// Processes that fork and exit.
    pub procs: u32,
}

/// A model machine, described.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipe {
    /// amd64 or arm64.
    pub machine: Machine,
    /// The FreeBSD that it runs.
    pub release: Release,
    /// Version of its minidumps.
    pub minidump: u32,
    /// C: `hostname`.
    pub hostname: String,
    /// C: `mp_ncpus`.
    pub cpus: u32,
    /// amd64: five-level paging, and the direct map that comes with it.
    pub la57: bool,
    /// Of page contents, of where pages lie, and of mutations.
    pub seed: u64,
    /// C: `dump_avail`. Ascending, with holes.
    pub ram: Vec<(u64, u64)>,
    /// Where the kernel lies in memory. C: `kernphys`.
    pub kernphys: u64,
    /// Kernel text.
    pub text: Region,
    /// Kernel data: .rodata, .data and .bss.
    pub data: Region,
    /// Memory that malloc(9) has in the kernel map.
    pub kmap: Vec<Region>,
    /// Device registers in the kernel map: (address, bytes), never memory.
    pub devices: Vec<(u64, u64)>,
    /// Pages of UMA with a known pattern: in the direct map and in the bitset,
    /// not in the kernel map.
    pub uma_pages: u64,
    /// Pages in the kernel map with PG_NODUMP.
    pub nodump_pages: u64,
    /// Whether there is a parameter page, as livedump.ko makes one.
    pub params: bool,
    /// What a report of the whole system reads.
    pub system: bool,
    /// Pages of C: `vm_page_array`.
    pub vm_page_pages: u64,
    /// The whole message buffer with its struct. C: `kern.msgbufsize`.
    pub msgbuf_bytes: u64,
    /// What has been printed.
    pub messages: Vec<String>,
    /// Who runs; pid 0 and pid 1 are always among them.
    pub processes: Vec<Process>,
    /// The thread that `dumptid` names.
    pub dumper: Option<i32>,
    /// Offsets that differ from the release's: ("td_tid", 160).
    pub offsets: Vec<(String, u32)>,
    /// Locks, held and waited for.
    pub locks: Vec<Lock>,
    /// What the kernel's file tells of its structures.
    pub types: TypeInfo,
    /// What changes while it is dumped.
    pub mutate: Mutate,
}

impl Recipe {
    /// Bytes of memory.
    #[must_use]
    pub fn ram_bytes(&self) -> u64 {
        self.ram.iter().map(|&(start, end)| end - start).sum()
    }

    /// What nothing but the text decides.
    pub(super) fn blank() -> Self {
        Self {
            machine: Machine::Amd64,
            release: Release::default(),
            minidump: 0,
            hostname: "model".into(),
            cpus: 2,
            la57: false,
            seed: 1,
            ram: Vec::new(),
            kernphys: 0,
            text: Region { bytes: 0, level: 1 },
            data: Region { bytes: 0, level: 0 },
            kmap: Vec::new(),
            devices: Vec::new(),
            uma_pages: 0,
            nodump_pages: 0,
            params: false,
            system: false,
            vm_page_pages: 0,
            msgbuf_bytes: 96 << 10,
            messages: Vec::new(),
            processes: Vec::new(),
            dumper: None,
            offsets: Vec::new(),
            locks: Vec::new(),
            types: TypeInfo::default(),
            mutate: Mutate::default(),
        }
    }
}
