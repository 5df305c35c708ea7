// SPDX-License-Identifier: BSD-2-Clause
//! Damaged lists and lock words: nothing hangs or panics, no cycle is called
//! certain that is not there, and that none is found is no answer.

use super::{Case, TWO, tids};
use livedump_cli::analysis::clock::Clock;
use livedump_cli::analysis::stack_groups::{Filter, StackGroups};
use livedump_cli::analysis::threads::Threads;
use livedump_cli::analysis::wait_chains::WaitChains;
use livedump_cli::analysis::waits::Waits;
use livedump_cli::analysis::{Target, stack::Stacks};
use livedump_vmcore::Vmcore;
use livedump_vmcore::elf::Kernel;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// The doubts of all waits.
fn inconsistencies(case: &Case) -> String {
    let found = case.deadlock(3);
    assert_eq!(found["verdict"], "undetermined");
    assert_eq!(found["deadlocked"], serde_json::Value::Null);
    assert_ne!(found["reasons"], serde_json::json!([]));
    found["waits"].to_string()
}

#[test]
fn a_lock_that_was_given_back_is_no_certain_cycle() {
    let case = Case::new(TWO);
    case.poke64(case.lock("alpha") + 24, 1);
    let said = inconsistencies(&case);
    assert!(said.contains("no thread holds it"), "{said}");
}

#[test]
fn a_word_without_waiters_is_a_doubt_and_the_cycle_is_shown() {
    let case = Case::new(TWO);
    case.poke64(case.lock("alpha") + 24, case.thread(100_200));
    let said = inconsistencies(&case);
    assert!(said.contains("has no waiters"), "{said}");
    let found = case.deadlock(3);
    assert_eq!(found["cycles"][0]["certain"], false);
    assert_eq!(tids(&found["cycles"][0]), [100_200, 100_201]);
    let text = case.run("deadlock", &[]).expect(3);
    let text = text.text();
    assert!(
        text.starts_with("possible deadlock: 2 threads in a cycle\n"),
        "{text}"
    );
    let end = "verdict: undetermined\n  a cycle of 2 threads is uncertain\n";
    assert!(text.ends_with(end), "{text}");
}

#[test]
fn owners_that_are_no_threads_end_a_chain() {
    for owner in [0x20, 0xffff_f800_0010_0000, u64::MAX << 5, 0xdead_0000] {
        let case = Case::new(TWO);
        case.poke64(case.lock("alpha") + 24, owner | 4);
        inconsistencies(&case);
    }
}

#[test]
fn queues_that_have_cycles_end() {
    let case = Case::new(
        "size 16M\nprocess 200 ab\nlock m mtx owner 100201\n\
         lock x sx owner 100200\nthread 100200 one wait m\n\
         thread 100201 two wait x\nthread 100202 three wait m\n",
    );
    assert_eq!(case.deadlock(1)["deadlocked"], true);
    // The second on the turnstile leads back to the first.
    let link = 64;
    let (first, second) = (case.thread(100_200), case.thread(100_202));
    case.poke64(second + link, first);
    // It is still there, and the rest of the list is told to be odd.
    let found = case.deadlock(1);
    let problems = found["problems"].to_string();
    assert!(problems.contains("twice"), "{problems}");
    case.poke64(first + link, 0x0123_4567_89ab_cdef);
    let problems = case.deadlock(1)["problems"].to_string();
    assert!(problems.contains("not in the dump"), "{problems}");
}

/// Sleep queues' chain, as if it had changed while it was dumped.
fn cut_chain(case: &Case, lock: &str) {
    let chains = case.machine.symbol("sleepq_chains").unwrap().0;
    let at = case.lock(lock);
    case.poke64(chains + (((at >> 8) ^ at) & 1023) * 64, 0);
}

#[test]
fn a_queue_that_its_chain_does_not_lead_to_is_found_from_its_threads() {
    // The first of three is the one that leads to the queue.
    let case = Case::new(&format!(
        "{TWO}thread 100202 three wait alpha\nthread 100203 four wait alpha\n"
    ));
    cut_chain(&case, "alpha");
    let found = case.deadlock(1);
    assert_eq!(super::tids(&found["cycles"][0]), [100_200, 100_201]);
    assert_eq!(found["cycles"][0]["waiters"], 2);
    let inconsistencies =
        |w: &serde_json::Value| w["inconsistencies"].to_string();
    for wait in found["waits"].as_array().unwrap() {
        assert_eq!(inconsistencies(wait), "[]", "{wait}");
    }

    let case = Case::new(
        "size 16M\nprocess 200 ab\nlock m mtx owner 100201\n\
         lock r rw owner 100200\nthread 100200 one wait m\n\
         thread 100201 two wait r\n",
    );
    let chains = case.machine.symbol("turnstile_chains").unwrap().0;
    for lock in ["m", "r"] {
        let nth = (case.lock(lock) >> 8) & 127;
        case.poke64(chains + nth * 40, 0);
    }
    assert_eq!(super::tids(&case.deadlock(1)["cycles"][0]), [100_200, 100_201]);
}

#[test]
fn a_thread_that_is_not_in_its_queue_is_a_doubt() {
    // td_slpq, and behind it who points there.
    for prev in [0, 1, 0x0123_4567_89ab_cdef] {
        let case = Case::new(TWO);
        cut_chain(&case, "alpha");
        case.poke64(case.thread(100_201) + 48 + 8, prev);
        let said = inconsistencies(&case);
        assert!(said.contains("no sleep queue"), "{said}");
    }
    // Two threads whose lists lead to each other.
    let case = Case::new(&format!("{TWO}thread 100202 three wait alpha\n"));
    cut_chain(&case, "alpha");
    let (two, three) = (case.thread(100_201), case.thread(100_202));
    for (td, other) in [(two, three), (three, two)] {
        case.poke64(td + 48, other);
        case.poke64(td + 48 + 8, other + 48);
    }
    let said = inconsistencies(&case);
    assert!(said.contains("no sleep queue"), "{said}");
}

#[test]
fn a_wait_that_began_during_the_dump_is_a_doubt() {
    let case = Case::new(TWO);
    // Fifteen seconds are left: half of one is not enough.
    let ticks = case.machine.symbol("ticks").unwrap().0;
    case.poke(ticks, &(0x4000u32 - 14_500).to_le_bytes());
    let said = inconsistencies(&case);
    assert!(said.contains("less than a second"), "{said}");
    // In a panic time stands still.
    let panicstr = case.machine.symbol("panicstr").unwrap().0;
    case.poke64(panicstr, case.machine.symbol("version").unwrap().0);
    case.deadlock(1);
}

/// Reads whatever is in `file`, and says which cycles are certain.
fn certain(file: &Path, kernel: &Kernel) -> Vec<Vec<i32>> {
    let Ok(core) = Vmcore::open(file) else { return Vec::new() };
    let Ok(target) = Target::new(&core, kernel, None) else {
        return Vec::new();
    };
    let Ok(threads) = Threads::walk(&target) else { return Vec::new() };
    let stacks = Stacks::new(&target);
    for thread in &threads.list {
        assert!(stacks.of(thread).frames.len() <= 256);
    }
    let clock = Clock::new(&target);
    let groups = StackGroups::new(&threads, &stacks, clock, Filter::default());
    let members = groups.groups.iter().map(|g| g.members.len());
    assert_eq!(members.sum::<usize>(), threads.list.len());
    let Ok(waits) = Waits::new(&target, &threads) else { return Vec::new() };
    let wait_chains = WaitChains::new(&waits);
    let tids = |c: &[usize]| c.iter().map(|&n| threads.list[n].tid).collect();
    let all = wait_chains.cycles.iter().filter(|c| c.certain);
    all.map(|c| tids(&c.threads)).collect()
}

#[test]
fn random_damage_never_makes_a_certain_cycle() {
    let case = Case::new(
        "size 16M\ntext 64K 4K\ndata 256K 4K\nprocess 200 ab\n\
         lock m mtx owner 100201\nlock x sx owner 100202\n\
         lock k lockmgr owner 100203\nlock r rw owner 100204\n\
         thread 100200 one wait m\nthread 100201 two wait x\n\
         thread 100202 three wait k\nthread 100203 four wait r\n\
         thread 100204 five runq\nthread 100205 six wait r shared\n",
    );
    let tids = 100_200..100_206;
    let mut places: Vec<u64> =
        tids.clone().map(|tid| case.thread(tid)).collect();
    for name in ["m", "x", "k", "r"] {
        places.push(case.lock(name));
        // The queue was made behind its lock.
        places.push(case.lock(name) + 256);
    }
    let values = places.clone();
    let dump = case.dir.judge("livecore.0");
    let offsets: Vec<u64> = places
        .iter()
        .map(|&va| {
            let pa = dump.translate(va).unwrap();
            dump.offset_of(pa).unwrap() as u64
        })
        .collect();
    let path = case.dir.file("livecore.0");
    let kernel = Kernel::open(&case.dir.file("kernel.0")).unwrap();
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    let whole = case.dir.read("livecore.0");
    assert!(certain(&path, &kernel).is_empty());
    let words = prop::collection::vec(
        (any::<prop::sample::Index>(), 0u64..32, 0u64..8, any::<u64>()),
        1..12,
    );
    let config = ProptestConfig {
        // The same damage each time, so that a failure can be looked at.
        rng_seed: RngSeed::Fixed(1),
        failure_persistence: None,
        ..ProptestConfig::with_cases(400)
    };
    proptest!(config, |(words in words)| {
        for (which, field, how, random) in &words {
            let at = offsets[which.index(offsets.len())];
            // Locks and queues are small, threads are not.
            let field = if random % 3 == 0 { field * 16 } else { *field };
            let pick = values[(random % values.len() as u64) as usize];
            let value = match how {
                0 => 0,
                1 => *random,
                2 => pick | 4,
                3 => pick | 2,
                _ => pick,
            };
            file.write_all_at(&value.to_le_bytes(), at + field * 8).unwrap();
        }
        let found = certain(&path, &kernel);
        for (which, ..) in &words {
            let at = offsets[which.index(offsets.len())] as usize;
            let end = (at + 4096).min(whole.len());
            file.write_all_at(&whole[at..end], at as u64).unwrap();
        }
        // Nothing but its own word says who holds a lock: a flaw there may
        // spell a holder. Any other completes no cycle by itself.
        let spells = words.iter().any(|w| w.1 == 3);
        prop_assert!(found.len() <= 1, "{found:?}");
        if words.len() < 3 && !spells {
            prop_assert!(found.is_empty(), "{found:?}");
        }
    });
}
