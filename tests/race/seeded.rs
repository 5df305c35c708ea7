// SPDX-License-Identifier: BSD-2-Clause
//! A thousand runs, each changing the machine between calls into the kernel,
//! by a seed. `SEED=n` replays one of them.

use super::check;
use livedump_hosted::machine::Running;
use livedump_tests::decoder::judge_raw;
use livedump_tests::scenario::{Scenario, TINY, TINY_ARM64, model};
use livedump_tests::wrapped::Wrapped;
use livedump_vmcore::Vmcore;
use livedump_vmcore::elf::Kernel;
use memdev::ioctl::MemMinidumpArg;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

const SEEDS: u64 = 1000;

/// One in so many is also read with the tool's reader.
const READ: u64 = 20;

/// What a run came to.
#[derive(Default)]
struct Observed {
    walked: bool,
    torn: bool,
}

pub(super) fn recipe(seed: u64) -> String {
    let machine = [
        TINY,
        TINY_ARM64,
        "size 16M\nrelease 12.1-RELEASE\ntext 64K 4K\ndata 128K 4K\n\
         kmap 128K 4K\nkmap 4M 2M\numa 16\nnodump 4\nvmpage 4\nmsgbuf 4K",
    ];
    let mutate = [
        "mutate all 1",
        "mutate tables 4\nmutate pages 1",
        "mutate bitset 4\nmutate msgbuf 1",
        "mutate procs 2\nmutate tables 1",
    ];
    let machine = machine[seed as usize % machine.len()];
    let mutate = mutate[seed as usize / 3 % mutate.len()];
    format!("{machine}\nseed {seed}\n{mutate}")
}

/// It changes at every step, or at every so many: a machine that changes too
/// fast has nothing left that looks the same twice.
fn machine(seed: u64) -> Wrapped {
    let every = [1, 3, 11, 37][seed as usize / 2 % 4];
    Wrapped { every, ..Wrapped::new(model(&recipe(seed))) }
}

fn run(seed: u64, path: &Path) -> Result<Observed, String> {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let s = Scenario::with_file(machine(seed), file);
    let compression = (seed / 12 % 3) as u8;
    let level = i16::from(compression != 0);
    let arg = s.request(compression);
    // Threads of the engine's would make the order of the calls theirs.
    let arg = MemMinidumpArg { workers: 1, level, ..arg };
    let last = |why: String| format!("{why}; the last steps: {}", s.steps());
    let out = s.minidump(&arg).map_err(|e| last(e.to_string()))?;
    s.assert_at_rest();
    let raw = judge_raw(&s.contents()).map_err(last)?;
    if out.pages != raw.dump.pas().len() as u64 {
        return Err(last(format!("{} pages were promised", out.pages)));
    }
    check(&s.machine.model, &raw).map_err(last)?;
    let symbols = s.symbols();
    let hz = raw.dump.read32(symbols.get("hz")?)?;
    if hz != 1000 {
        return Err(format!("hz is {hz}"));
    }
    // The lists may be torn. Walking them ends all the same.
    let walk = raw.dump.allproc(&symbols);
    if !recipe(seed).contains("procs") && !recipe(seed).contains("all") {
        // Nobody touched them: they must be there, every one.
        let live = s.machine.model.processes();
        let live = live.iter().filter(|p| !p.zombie).count();
        let walked = walk.as_ref().map(Vec::len).map_err(Clone::clone)?;
        if walked != live {
            return Err(format!("{walked} of {live} processes"));
        }
    }
    let mut observed = Observed { walked: walk.is_ok(), torn: false };
    if seed.is_multiple_of(READ) {
        let kernel = path.with_extension("kernel");
        std::fs::write(&kernel, s.machine.kernel_elf().unwrap()).unwrap();
        let kernel = Kernel::open(&kernel).map_err(|e| e.to_string())?;
        let core = Vmcore::open(path).map_err(|e| e.to_string())?;
        let procs = core.procs(&kernel).map_err(|e| e.to_string())?;
        observed.torn = !procs.problems.is_empty();
        if procs.procs.len() > 10_000 {
            return Err("the reader's walk has no end".into());
        }
    }
    Ok(observed)
}

/// Runs the seeds that `next` hands out.
fn work(next: &AtomicU64, path: PathBuf) -> (u64, u64) {
    File::create(&path).unwrap();
    let (mut walked, mut torn) = (0, 0);
    loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed > SEEDS {
            return (walked, torn);
        }
        match run(seed, &path) {
            Ok(observed) => {
                walked += u64::from(observed.walked);
                torn += u64::from(observed.torn);
            }
            Err(why) => panic!("SEED={seed}\n{}\n{why}", recipe(seed)),
        }
    }
}

#[test]
fn bits_and_pages_agree_in_a_thousand_seeded_runs() {
    let dir = tempfile::tempdir().unwrap();
    if let Ok(seed) = std::env::var("SEED") {
        let seed = seed.parse().expect("SEED is a number");
        let path = dir.path().join("dump");
        File::create(&path).unwrap();
        if let Err(why) = run(seed, &path) {
            panic!("SEED={seed}\n{}\n{why}", recipe(seed));
        }
        return;
    }
    let next = AtomicU64::new(1);
    let (mut walked, mut torn) = (0, 0);
    std::thread::scope(|scope| {
        let spawn = |i| {
            let path = dir.path().join(format!("dump{i}"));
            let next = &next;
            scope.spawn(move || work(next, path))
        };
        let threads: Vec<_> = (0..2).map(spawn).collect();
        for thread in threads {
            let (w, t) = thread.join().expect("a run failed");
            walked += w;
            torn += t;
        }
    });
    eprintln!(
        "{SEEDS} seeds: allproc whole in {walked}, torn in {torn} of those read"
    );
    assert!(walked > SEEDS / 2, "allproc whole in {walked} runs alone");
}

#[test]
fn a_seed_gives_the_same_dump_again() {
    let dump = |seed| {
        let s = Scenario::on(machine(seed));
        s.kernel.set_time_second(1);
        let arg = MemMinidumpArg { workers: 1, ..s.request(0) };
        s.minidump(&arg).unwrap();
        s.contents()
    };
    for seed in 0..6 {
        assert!(dump(seed) == dump(seed), "SEED={seed}");
    }
    assert!(dump(0) != dump(3));
}
