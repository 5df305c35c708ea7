// SPDX-License-Identifier: BSD-2-Clause
//! One instant: registers where debuggers look, processes that stand still,
//! pages that changed.

use livedump_hosted::process::Descriptor;
use livedump_hosted::{Block, Events};
use livedump_kmod::error::Errno;
use livedump_tests::decoder::changes::ChangeList;
use livedump_tests::decoder::{Dump, judge_raw};
use livedump_tests::scenario::Scenario;
use memdev::addr::{PAGE_SIZE, Paddr};
use memdev::arch::Machine;
use memdev::ioctl::{
    FLAG_QUIESCE, FLAG_REGISTERS, FLAG_STABILITY, MemMinidumpArg, NO_FD,
};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Machines of each kind of pcb and of `stoppcbs`.
const MACHINES: [&str; 4] = [
    "size 32M\ncpus 4",
    "size 32M\ncpus 4\nrelease 12.1-RELEASE",
    "machine arm64\nsize 32M\ncpus 3",
    "machine arm64\nsize 32M\ncpus 3\nrelease 13.2-RELEASE",
];

fn dump(s: &Scenario, flags: u32) -> (MemMinidumpArg, Dump) {
    let changes_fd = match flags & FLAG_STABILITY {
        0 => 0,
        _ => NO_FD,
    };
    let arg = MemMinidumpArg { flags, changes_fd, ..s.request(2) };
    let out = s.minidump(&arg).unwrap();
    s.assert_at_rest();
    (out, judge_raw(&s.contents()).unwrap().dump)
}

/// As kgdb chooses: (fp, sp, pc) of a thread.
fn registers(s: &Scenario, dump: &Dump, td: u64) -> [u64; 3] {
    let symbols = s.symbols();
    let at = |name: &str| symbols.get(name).unwrap();
    let word = |va| dump.read64(va).unwrap();
    let int = |name: &str| u64::from(dump.read32(at(name)).unwrap());
    let field = |name: &str| td + int(name);
    let tid = dump.read32(field("thread_off_td_tid")).unwrap();
    let oncpu = dump.read32(field("thread_off_td_oncpu")).unwrap();
    let recipe = s.machine.recipe();
    let reldate = dump.read32(at("osreldate")).unwrap();
    let stopped =
        oncpu != u32::MAX && word(at("stopped_cpus")) >> oncpu & 1 == 1;
    let pcb = if tid == dump.read32(at("dumptid")).unwrap() {
        at("dumppcb")
    } else if stopped {
        let base = match reldate {
            1_400_089.. => word(at("stoppcbs")),
            _ => at("stoppcbs"),
        };
        base + u64::from(oncpu) * int("pcb_size")
    } else {
        word(field("thread_off_td_pcb"))
    };
    let offsets = match recipe.machine {
        Machine::Amd64 => [32, 40, 56],
        Machine::Arm64 if reldate >= 1_400_084 => [80, 96, 88],
        Machine::Arm64 => [232, 256, 240],
    };
    offsets.map(|offset| word(pcb + offset))
}

#[test]
fn running_threads_have_the_registers_of_the_instant() {
    for recipe in MACHINES {
        let s = Scenario::model(recipe);
        let (out, with) = dump(&s, FLAG_REGISTERS);
        let instant = s.machine.last_instant();
        assert!(instant.len() >= 2, "{recipe}");
        assert_eq!(out.registers as usize, instant.len());
        let (_, without) = dump(&s, 0);
        let words = match s.machine.recipe().machine {
            Machine::Amd64 => [4, 5, 7],
            Machine::Arm64 if instant[0].pcb_bytes == 104 => [10, 12, 11],
            Machine::Arm64 => [29, 32, 30],
        };
        for context in instant {
            let saved = words.map(|w| context.pcb[w]);
            let td = context.thread.0;
            assert_eq!(registers(&s, &with, td), saved, "{recipe}");
            // And without they are where it stopped running before.
            let stale = registers(&s, &without, td);
            assert_ne!(stale[2], saved[2], "{recipe}");
            // What it did to its stack meanwhile is not in the dump.
            let [fp, sp, _] = saved;
            for at in (sp..fp).step_by(8) {
                let later = without.read64(at).unwrap();
                assert_ne!(with.read64(at).unwrap(), later, "{recipe}");
            }
        }
    }
}

#[test]
fn registers_change_nothing_but_what_shows_them() {
    for recipe in MACHINES {
        let s = Scenario::model(recipe);
        // Both after the model's threads continued.
        let _ = dump(&s, FLAG_REGISTERS);
        let (_, without) = dump(&s, 0);
        let (out, with) = dump(&s, FLAG_REGISTERS);
        let shown: u64 = s
            .machine
            .last_instant()
            .iter()
            .map(|c| u64::from(c.stack_bytes + c.pcb_bytes) + 4)
            .sum();
        assert_eq!(with.pas(), without.pas());
        let differ = with
            .plain()
            .iter()
            .zip(without.plain())
            .filter(|(a, b)| a != b)
            .count() as u64;
        assert!(differ <= shown + 128 + 4, "{differ} bytes, {shown} shown");
        assert!(out.registers > 0);
        // Nor does the machine know of any of it.
        let (_, again) = dump(&s, 0);
        assert_eq!(again.plain(), without.plain());
    }
}

/// Runs `f` at the nth block of each dump.
fn at_block(s: &Scenario, nth: u64, f: impl Fn() + Send + Sync + 'static) {
    let n = AtomicU64::new(0);
    let dump = move |block: Block<'_>| {
        let block = block.map(|_| n.fetch_add(1, Ordering::Relaxed));
        if block == Some(nth) {
            f();
        }
        Ok(())
    };
    let dump = Some(Arc::new(dump) as Arc<_>);
    s.kernel.set_events(Events { dump, ..Events::default() });
}

#[test]
fn processes_stand_still_while_they_are_suspended() {
    let s = Scenario::model("size 32M\nkmap 1M 4K");
    let machine = s.machine.clone();
    let mutators = s.machine.start_mutators(2);
    let moved = Arc::new(AtomicU64::new(0));
    let (seen, first) = (Arc::clone(&moved), AtomicU64::new(0));
    let pids = move || {
        let mut pids: Vec<_> =
            machine.processes().iter().map(|p| (p.pid, p.zombie)).collect();
        pids.sort_unstable();
        pids.iter().fold(1u64, |h, p| {
            h.wrapping_mul(31).wrapping_add(p.0 as u64 * 2 + u64::from(p.1))
        })
    };
    let dump = move |_: Block<'_>| {
        let now = pids();
        let before = first.swap(now, Ordering::SeqCst);
        seen.fetch_add(
            u64::from(before != 0 && before != now),
            Ordering::SeqCst,
        );
        Ok(())
    };
    let dump = Some(Arc::new(dump) as Arc<_>);
    s.kernel.set_events(Events { dump, ..Events::default() });
    s.kernel.set_passes(4);
    let arg = MemMinidumpArg { flags: FLAG_QUIESCE, ..s.request(0) };
    let out = s.minidump(&arg).unwrap();
    s.assert_at_rest();
    assert_eq!(moved.load(Ordering::SeqCst), 0);
    assert!(out.quiesced_ns > 0 && out.quiesced_ns <= out.elapsed_ns);
    drop(mutators);
}

#[test]
fn threads_that_do_not_stop_are_eagain_in_bounded_time() {
    let s = Scenario::model("size 16M");
    s.kernel.set_passes(u64::MAX);
    let arg = MemMinidumpArg { flags: FLAG_QUIESCE, ..s.request(0) };
    assert_eq!(s.minidump(&arg), Err(Errno::EAGAIN));
    s.assert_at_rest();
    assert!(s.contents().is_empty());
}

#[test]
fn a_dump_whose_processes_had_to_go_on_is_none() {
    let s = Scenario::model("size 32M\numa 2000");
    let kernel = Arc::clone(&s.kernel);
    at_block(&s, 3, move || kernel.let_go());
    let arg = MemMinidumpArg { flags: FLAG_QUIESCE, ..s.request(0) };
    assert_eq!(s.minidump(&arg), Err(Errno::EAGAIN));
    s.assert_at_rest();
    assert!(s.contents().is_empty());
}

fn list(file: &mut File) -> ChangeList {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0)).unwrap();
    file.read_to_end(&mut bytes).unwrap();
    ChangeList::judge(&bytes).unwrap()
}

fn stable_dump(s: &Scenario) -> (MemMinidumpArg, ChangeList) {
    let mut file = tempfile::tempfile().unwrap();
    let descriptor = Descriptor::from_file(file.try_clone().unwrap());
    let changes_fd = s.process.install(descriptor.unwrap());
    let arg =
        MemMinidumpArg { flags: FLAG_STABILITY, changes_fd, ..s.request(0) };
    let out = s.minidump(&arg).unwrap();
    s.assert_at_rest();
    judge_raw(&s.contents()).unwrap();
    (out, list(&mut file))
}

#[test]
fn a_machine_at_rest_is_stable() {
    for recipe in MACHINES {
        let s = Scenario::model(recipe);
        let (out, listed) = stable_dump(&s);
        assert_eq!(out.changed_pages, 0);
        assert_eq!(listed.records, []);
        assert_eq!(listed.compared, out.pages);
    }
}

#[test]
fn a_page_that_is_rewritten_is_listed_and_one_that_is_not_is_not() {
    let s = Scenario::model("size 64M\numa 6000\nkmap 4M 4K");
    let machine = s.machine.clone();
    // Everything but the pattern may change once most is written.
    at_block(&s, 60, move || {
        let mutators = machine.start_mutators(2);
        std::thread::sleep(Duration::from_millis(100));
        drop(mutators);
    });
    let (out, listed) = stable_dump(&s);
    assert!(out.changed_pages > 0);
    assert_eq!(listed.changed, out.changed_by_kind);
    let pages: u64 = listed.records.iter().map(|r| u64::from(r.pages)).sum();
    assert_eq!(pages, out.changed_pages);
    let holds = |pa: &Paddr| {
        listed.records.iter().any(|r| (r.start..r.end()).contains(&pa.0))
    };
    assert!(!s.machine.pattern_pages().iter().any(holds));
    // What is listed is not what the machine has now; the rest is. (The
    // machine is at rest since.)
    let dump = judge_raw(&s.contents()).unwrap().dump;
    for (pa, page) in dump.pages() {
        let now = s.machine.page(Paddr(pa)).unwrap();
        assert_eq!(now[..] != *page, holds(&Paddr(pa)), "{pa:#x}");
    }
    for record in &listed.records {
        if record.kind == 0 {
            assert!(record.pages as usize * PAGE_SIZE < 1 << 20);
        }
    }
}

#[test]
fn the_list_goes_to_a_file_of_its_own() {
    let s = Scenario::model("size 16M");
    let same = MemMinidumpArg {
        flags: FLAG_STABILITY,
        changes_fd: s.fd,
        ..s.request(0)
    };
    assert_eq!(s.minidump(&same), Err(Errno::EINVAL));
    let none = MemMinidumpArg { changes_fd: NO_FD, ..same };
    assert_eq!(s.minidump(&none).unwrap().changed_pages, 0);
    s.assert_at_rest();
}
