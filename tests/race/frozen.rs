// SPDX-License-Identifier: BSD-2-Clause
//! The same thousand kinds of change as in `seeded`, and every page is of the
//! instant all the same.

use super::check;
use super::seeded::recipe;
use crate::capture::freeze::{compare, watched};
use livedump_tests::decoder::judge_raw;
use livedump_tests::scenario::{Scenario, model};
use memdev::ioctl::MemMinidumpArg;

const SEEDS: u64 = 300;

fn run(seed: u64) -> Result<u64, String> {
    let every = [1, 3, 11, 37][seed as usize / 2 % 4];
    let cpus = 1 + seed % 3;
    let recipe = format!("{}\ncpus {cpus}", recipe(seed));
    let (machine, seen) = watched(model(&recipe), every);
    let s = Scenario::on(machine);
    let mut arg = s.frozen((seed / 12 % 3) as u8);
    let level = i16::from(arg.arg.compression != 0);
    arg.arg = MemMinidumpArg { workers: 1, level, ..arg.arg };
    let last = |why: String| format!("{why}; the last steps: {}", s.steps());
    let out = s.minidump2(&arg).map_err(|e| last(e.to_string()))?;
    s.assert_at_rest();
    let raw = judge_raw(&s.contents()).map_err(last)?;
    compare(&s.machine.model, &seen.lock().unwrap(), &raw.dump)
        .map_err(last)?;
    check(&s.machine.model, &raw).map_err(last)?;
    raw.dump.allproc(&s.symbols()).map_err(last)?;
    Ok(out.freeze.late_pages)
}

#[test]
fn every_page_is_of_the_instant_in_seeded_runs() {
    if let Ok(seed) = std::env::var("SEED") {
        let seed = seed.parse().expect("SEED is a number");
        run(seed).unwrap();
        return;
    }
    let mut late = 0;
    for seed in 1..=SEEDS {
        match run(seed) {
            Ok(pages) => late += u64::from(pages > 0),
            Err(why) => panic!("SEED={seed}\n{}\n{why}", recipe(seed)),
        }
    }
    // What came into use until the machine was stopped is there, too.
    assert!(late > 0, "no page came between");
}

#[test]
fn on_one_cpu_a_seed_gives_the_same_frozen_dump_again() {
    let dump = |seed| {
        let recipe = format!("{}\ncpus 1", recipe(seed));
        let (machine, _) = watched(model(&recipe), 1);
        let s = Scenario::on(machine);
        s.kernel.set_time_second(1);
        let mut arg = s.frozen(0);
        arg.arg.workers = 1;
        s.minidump2(&arg).unwrap();
        // The first page has the time in it, and the last the sum of that.
        let raw = judge_raw(&s.contents()).unwrap();
        raw.dump.plain()[4096..].to_vec()
    };
    for seed in 0..6 {
        assert!(dump(seed) == dump(seed), "SEED={seed}");
    }
}
