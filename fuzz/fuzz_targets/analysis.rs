// SPDX-License-Identifier: BSD-2-Clause
//! A dump of a model machine with a deadlock, patched anywhere: threads,
//! queues, stacks, the wait-for graph and what waits are followed through end,
//! whatever they lead to.
#![no_main]

use libfuzzer_sys::fuzz_target;
use livedump_cli::analysis::Target;
use livedump_cli::analysis::explain::Explanation;
use livedump_cli::analysis::stack::Stacks;
use livedump_cli::analysis::threads::Threads;
use livedump_cli::analysis::wait_chains::WaitChains;
use livedump_cli::analysis::waits::Waits;
use livedump_cli::device::{self, MachineSpec, no_facts};
use livedump_fuzz::file;
use livedump_vmcore::Vmcore;
use livedump_vmcore::elf::Kernel;
use memdev::ioctl::MemMinidumpArg;
use std::sync::OnceLock;

const RECIPE: &str = "machine amd64
size 16M
types ctf
process 200 zpool
thread 100200 zpool wait lockA
process 201 find
thread 100201 find wait lockB
process 202 sh
thread 100202 sh sleep biord
process 203 a
thread 100203 a sleep piperd
process 204 b
thread 100204 b sleep sbwait
process 205 c
thread 100205 c sleep tq_drain
thread 100206 d sleep suspfs
thread 100207 e sleep physrd
thread 100208 f sleep zonelimit
thread 100209 g sleep bo_wwait
thread 100210 h sleep nfsreq
lock lockA sx owner 100201
lock lockB lockmgr owner 100200
";

/// The dump and its kernel.
fn sample() -> &'static (Vec<u8>, Vec<u8>) {
    static SAMPLE: OnceLock<(Vec<u8>, Vec<u8>)> = OnceLock::new();
    SAMPLE.get_or_init(|| {
        let recipe = file(RECIPE.as_bytes());
        let spec: MachineSpec =
            format!("model:{}", recipe.path().display()).parse().expect("one");
        let device =
            device::open(&spec, None, &no_facts, &|| false).expect("a machine");
        let dump = file(&[]);
        let mut arg = MemMinidumpArg::new();
        device.minidump(&mut arg, Some(dump.as_file())).expect("a dump");
        let bytes = std::fs::read(dump.path()).expect("its bytes");
        (bytes, device.kernel_elf().expect("a kernel"))
    })
}

fuzz_target!(|data: &[u8]| {
    let (dump, elf) = sample();
    let mut bytes = dump.clone();
    for patch in data.as_chunks::<13>().0 {
        // Words at an aligned place, most often.
        let at = u32::from_le_bytes([patch[0], patch[1], patch[2], patch[3]]);
        let at = at as usize % (bytes.len() - 8) & !7;
        bytes[at..at + 8].copy_from_slice(&patch[4..12]);
    }
    let (dump, elf) = (file(&bytes), file(elf));
    let Ok(kernel) = Kernel::open(elf.path()) else { return };
    let Ok(core) = Vmcore::open(dump.path()) else { return };
    let Ok(target) = Target::new(&core, &kernel, None) else { return };
    let Ok(threads) = Threads::walk(&target) else { return };
    let stacks = Stacks::new(&target);
    for thread in threads.list.iter().take(64) {
        let _ = stacks.of(thread);
    }
    if let Ok(waits) = Waits::new(&target, &threads) {
        let chains = WaitChains::new(&waits);
        let on_cycles = chains.cycles.iter().flat_map(|c| &c.threads);
        assert!(on_cycles.count() <= threads.list.len());
        let found =
            Explanation::new(&target, &threads, &waits, &stacks, 10.0);
        let Ok(found) = found else { return };
        let counts = found.roots.iter().map(|root| root.count());
        assert!(counts.sum::<usize>() <= threads.list.len());
    }
});
