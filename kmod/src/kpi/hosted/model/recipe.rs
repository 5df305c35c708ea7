// SPDX-License-Identifier: BSD-2-Clause
//! A recipe: what a model machine is made of, with everything that a text
//! does not mention filled in from the size of its memory. `parse` reads the
//! text; `layout` builds the machine.

use super::parse;
use super::release::Release;
use super::words::{self, RecipeError};
use memdev::addr::PAGE_SIZE;
use memdev::arch::Machine;
use std::borrow::ToOwned;
use std::format;
use std::string::String;
use std::vec;
use std::vec::Vec;

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
pub const MAX_THREADS: usize = 8192;
/// CPUs. C: `MAXCPU` up to 14.
pub const MAX_CPUS: u64 = 256;
/// Lines of `message`, `kmap`, `device` or `offset`.
pub const MAX_LINES: usize = 4096;
/// C: `MAXCOMLEN`.
pub const MAXCOMLEN: usize = 19;

const M: u64 = 1 << 20;
const G: u64 = 1 << 30;

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
    /// What changes while it is dumped.
    pub mutate: Mutate,
}

impl Default for Recipe {
    /// 256 MB of amd64 running 15.1, at rest.
    fn default() -> Self {
        let mut recipe = Self::blank();
        recipe.ram = typical_ram(recipe.machine, 256 * M);
        recipe.fill(&[]);
        recipe
    }
}

impl Recipe {
    /// Reads a recipe's text.
    ///
    /// # Errors
    /// The first wrong line with its word, or what contradicts what.
    pub fn parse(text: &str) -> Result<Self, RecipeError> {
        parse::recipe(text)
    }

    /// The default machine with another size.
    ///
    /// # Errors
    /// A size below [`MIN_RAM`] or above [`MAX_RAM`].
    pub fn with_size(bytes: u64) -> Result<Self, RecipeError> {
        if !(MIN_RAM..=MAX_RAM).contains(&bytes) {
            return Err(RecipeError::machine(format!(
                "{} of memory; from {} to {} can be had",
                words::amount(bytes),
                words::amount(MIN_RAM),
                words::amount(MAX_RAM)
            )));
        }
        let mut recipe = Self::blank();
        recipe.ram = typical_ram(recipe.machine, bytes);
        recipe.fill(&[]);
        Ok(recipe)
    }

    /// Reads a size as recipes have it (`256M`, `0x10000000`); `None` where
    /// it is none, which may then be a file's name.
    #[must_use]
    pub fn size(word: &str) -> Option<u64> {
        words::number(word)
    }

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
            vm_page_pages: 0,
            msgbuf_bytes: 96 << 10,
            messages: Vec::new(),
            processes: Vec::new(),
            dumper: None,
            offsets: Vec::new(),
            mutate: Mutate::default(),
        }
    }

    /// Fills in what `given`, the directives of the text, does not have. A
    /// small machine gets a small kernel; a large one no more than can be
    /// dumped in a moment.
    pub(super) fn fill(&mut self, given: &[&str]) {
        let missing = |name| !given.contains(&name);
        let ram = self.ram_bytes();
        let pages = ram / PAGE_SIZE as u64;
        let small = ram < 64 * M;
        if missing("minidump") {
            self.minidump = self.release.minidump_version(self.machine);
        }
        if missing("kernphys") {
            self.kernphys = typical_kernphys(self.machine, &self.ram);
        }
        if missing("text") {
            self.text.bytes = if small { 2 * M } else { 4 * M };
        }
        if missing("data") {
            self.data.bytes = if small { M } else { 2 * M };
        }
        if missing("kmap") {
            let malloc = (ram / 16).min(64 * M) & !(M - 1);
            self.kmap = vec![
                Region { bytes: malloc, level: 0 },
                Region { bytes: 2 * M, level: 1 },
            ];
        }
        if missing("device") {
            // The local APIC, and QEMU's UART below all of memory.
            let pa = match self.machine {
                Machine::Amd64 => 0xfee0_0000,
                Machine::Arm64 => 0x900_0000,
            };
            let end = pa + PAGE_SIZE as u64;
            if self.ram.iter().all(|r| end <= r.0 || r.1 <= pa) {
                self.devices = vec![(pa, PAGE_SIZE as u64)];
            }
        }
        if missing("uma") {
            self.uma_pages = (pages / 16).min(16384);
        }
        if missing("nodump") {
            self.nodump_pages = 32;
        }
        if missing("vmpage") {
            let bytes = (pages * 104).min(64 * M);
            self.vm_page_pages = bytes.div_ceil(PAGE_SIZE as u64);
        }
        if missing("message") {
            self.messages = vec![
                self.release.version(),
                format!(
                    "model machine: {} CPUs, seed {}\n",
                    self.cpus, self.seed
                ),
                format!("real memory  = {ram} ({} MB)\n", ram / M),
            ];
        }
        if missing("process") {
            self.processes = typical_processes(self.cpus);
        }
        self.add_first_processes();
    }

    /// A kernel cannot be without pid 0, nor a system without pid 1.
    fn add_first_processes(&mut self) {
        for (pid, comm, tid, thread) in
            [(1, "init", 100_002, "init"), (0, "kernel", 100_000, "swapper")]
        {
            let at = match self.processes.iter().position(|p| p.pid == pid) {
                Some(at) => at,
                None => {
                    self.processes.insert(0, process(pid, comm));
                    0
                }
            };
            let taken = |tid| {
                self.processes
                    .iter()
                    .any(|p| p.threads.iter().any(|t| t.tid == tid))
            };
            let free = (tid..).find(|&tid| !taken(tid)).unwrap_or(tid);
            if let Some(p) = self.processes.get_mut(at)
                && p.threads.is_empty()
            {
                p.threads.push(sleeping(free, thread, "wait"));
            }
        }
    }
}

/// Where memory of some size usually lies.
pub(super) fn typical_ram(machine: Machine, bytes: u64) -> Vec<(u64, u64)> {
    match machine {
        // Below the BIOS, above it, and above the devices' hole at 3 GB.
        Machine::Amd64 => {
            let mut ram = vec![(0, 0x9f000), (M, bytes.min(3 * G))];
            if bytes > 3 * G {
                ram.push((4 * G, G + bytes));
            }
            ram
        }
        // QEMU's virt, with firmware near the end.
        Machine::Arm64 => {
            let end = G + bytes;
            vec![(G, end - 4 * M), (end - 4 * M + 0x1_0000, end)]
        }
    }
}

/// Where a loader puts the kernel.
fn typical_kernphys(machine: Machine, ram: &[(u64, u64)]) -> u64 {
    match machine {
        Machine::Amd64 => 2 * M,
        Machine::Arm64 => ram
            .iter()
            .map(|r| (r.0.next_multiple_of(2 * M), r.1))
            .find(|&(start, end)| start + 8 * M <= end)
            .map_or(0, |r| r.0),
    }
}

fn process(pid: i32, comm: &str) -> Process {
    let comm = comm.to_owned();
    Process { pid, comm, zombie: false, threads: Vec::new() }
}

fn sleeping(tid: i32, name: &str, wmesg: &str) -> Thread {
    let state = ThreadState::Sleep(wmesg.to_owned());
    Thread { tid, name: name.to_owned(), state }
}

fn typical_processes(cpus: u32) -> Vec<Process> {
    let one = |pid, comm: &str, threads: &[(i32, &str, &str)]| Process {
        threads: threads.iter().map(|&(t, n, w)| sleeping(t, n, w)).collect(),
        ..process(pid, comm)
    };
    let mut idle = process(11, "idle");
    for cpu in 0..cpus {
        // CPU 0 is busy with the dump.
        let state = match cpu {
            0 => ThreadState::RunQueue,
            _ => ThreadState::Running(cpu),
        };
        let tid = 100_003 + cpu as i32;
        idle.threads.push(Thread {
            tid,
            name: format!("idle: cpu{cpu}"),
            state,
        });
    }
    let mut dumper = process(843, "livedump");
    dumper.threads.push(Thread {
        tid: 100_670,
        name: "livedump".into(),
        state: ThreadState::Running(0),
    });
    vec![
        one(
            0,
            "kernel",
            &[(100_000, "swapper", "swapin"), (100_019, "softirq_0", "-")],
        ),
        one(1, "init", &[(100_002, "init", "wait")]),
        idle,
        one(
            28,
            "pagedaemon",
            &[
                (100_510, "dom0", "psleep"),
                (100_514, "laundry: dom0", "launds"),
                (100_515, "uma", "umarcl"),
            ],
        ),
        one(31, "syncer", &[(100_518, "syncer", "syncer")]),
        Process { zombie: true, ..process(401, "cron") },
        one(530, "syslogd", &[(100_600, "syslogd", "select")]),
        one(800, "sh", &[(100_640, "sh", "wait")]),
        dumper,
    ]
}
