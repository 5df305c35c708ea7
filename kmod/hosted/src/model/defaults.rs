// SPDX-License-Identifier: BSD-2-Clause
//! What a recipe does not mention: a machine as they usually are. A small one
//! gets a small kernel; a large one no more than can be dumped in a moment.

use super::recipe::{Process, Recipe, Region, Thread, ThreadState};
use memdev::addr::PAGE_SIZE;
use memdev::arch::Machine;

const M: u64 = 1 << 20;
const G: u64 = 1 << 30;

impl Recipe {
    /// Fills in what `given`, the directives of the text, does not have.
    pub(super) fn fill(&mut self, given: &[&str]) {
        let missing = |name| !given.contains(&name);
        let ram = self.ram_bytes();
        let pages = ram / PAGE_SIZE as u64;
        let small = ram < 64 * M;
        if missing("minidump") {
            self.minidump = self.release.minidump_version(self.machine);
        }
        if missing("kernphys") {
            self.kernphys = default_kernphys(self.machine, &self.ram);
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
            self.processes = default_processes(self.cpus);
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
pub(super) fn default_ram(machine: Machine, bytes: u64) -> Vec<(u64, u64)> {
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
fn default_kernphys(machine: Machine, ram: &[(u64, u64)]) -> u64 {
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
    Process { pid, comm, uid: 0, zombie: false, threads: Vec::new() }
}

fn sleeping(tid: i32, name: &str, wmesg: &str) -> Thread {
    let state = ThreadState::Sleep(wmesg.to_owned());
    Thread { tid, name: name.to_owned(), state }
}

fn default_processes(cpus: u32) -> Vec<Process> {
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
