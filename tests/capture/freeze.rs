// SPDX-License-Identifier: BSD-2-Clause
//! Dumps of one instant, against the machine as it was when it was stopped.

use livedump_hosted::machine::{Machine, Running};
use livedump_hosted::model::ModelMachine;
use livedump_kmod::error::Errno;
use livedump_tests::decoder::{Dump, judge_raw};
use livedump_tests::expected;
use livedump_tests::scenario::{Scenario, model};
use livedump_tests::wrapped::Wrapped;
use memdev::addr::{Paddr, Page};
use memdev::freeze::{FreezeRecord, MemMinidumpArg2};
use memdev::ioctl::{FLAG_ESTIMATE, NO_FD};
use memdev::stage::Stage;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

/// Every version of the header, with several CPUs.
const MACHINES: [(&str, u32); 5] = [
    ("size 32M\ncpus 2\nrelease 12.1-RELEASE\nkmap 1M 4K\nkmap 4M 2M", 2),
    ("size 32M\ncpus 4\nkmap 1M 4K\nkmap 4M 2M", 3),
    ("machine arm64\nsize 32M\ncpus 3\nrelease 12.1-RELEASE\nkmap 1M 4K", 1),
    ("machine arm64\nsize 32M\ncpus 1\nrelease 13.2-RELEASE\nkmap 1M 4K", 2),
    ("machine arm64\nsize 32M\ncpus 3\nkmap 1M 4K\nkmap 4M 2M", 3),
];

/// What a machine has, while nothing of it changes.
#[derive(Default)]
pub(crate) struct Seen {
    pages: BTreeMap<u64, Page>,
    msgbuf: Vec<u8>,
    mappings: Vec<expected::Mapping>,
}

impl Seen {
    fn of(machine: &ModelMachine) -> Self {
        let mut msgbuf = vec![0; machine.target().msgbuf_bytes as usize];
        machine.copy_msgbuf(&mut msgbuf);
        let pas = expected::pages(machine).into_iter();
        let page = |pa| (pa, machine.page(Paddr(pa)).unwrap());
        let pages = pas.map(page).collect();
        Self { pages, msgbuf, mappings: expected::mappings(machine) }
    }
}

/// A machine of which everything is looked at each time it is stopped.
pub(crate) fn watched(
    machine: ModelMachine,
    every: u64,
) -> (Wrapped, Arc<Mutex<Seen>>) {
    let seen = Arc::new(Mutex::new(Seen::default()));
    let write = Arc::clone(&seen);
    let look = move |machine: &ModelMachine| {
        *write.lock().unwrap() = Seen::of(machine);
    };
    let stopped = Some(Arc::new(look) as Arc<_>);
    (Wrapped { every, stopped, ..Wrapped::new(machine) }, seen)
}

/// The dump has what the machine had, and shows the registers besides.
pub(crate) fn compare(
    machine: &ModelMachine,
    seen: &Seen,
    dump: &Dump,
) -> Result<(), String> {
    let have = dump.pas().iter().copied();
    let want = seen.pages.keys().copied();
    if !have.clone().eq(want.clone()) {
        let have: BTreeSet<u64> = have.collect();
        let want: BTreeSet<u64> = want.collect();
        let list = |set: Vec<_>| {
            let n = set.len();
            let first: Vec<_> = set.into_iter().take(4).collect();
            format!("{n}: {first:x?}")
        };
        let missing = list(want.difference(&have).collect());
        let extra = list(have.difference(&want).collect());
        return Err(format!("missing {missing}; too many {extra}"));
    }
    if dump.msgbuf() != seen.msgbuf {
        return Err("the message buffer is another".into());
    }
    let mut differ = 0;
    for (pa, page) in dump.pages() {
        let now = seen.pages.get(&pa).ok_or("a page of no one")?;
        let bytes = page.iter().zip(now).filter(|(a, b)| a != b).count();
        differ += bytes as u64;
    }
    // Registers, td_oncpu, stopped_cpus and dumptid.
    let contexts = machine.last_instant();
    let shown: u64 = contexts.iter().map(|c| u64::from(c.pcb_bytes) + 4).sum();
    if differ > shown + 128 + 4 {
        return Err(format!("{differ} bytes differ, {shown} are shown"));
    }
    for &(va, pa, bytes) in &seen.mappings {
        for off in [0, bytes - 1] {
            if dump.translate(va + off) != Ok(pa + off) {
                return Err(format!("{va:#x} is not at {pa:#x}"));
            }
        }
    }
    Ok(())
}

#[test]
fn a_frozen_dump_is_the_machine_at_the_instant_under_load() {
    is_the_machine("size ");
}

#[test]
fn a_frozen_arm64_dump_is_the_machine_at_the_instant_under_load() {
    is_the_machine("machine arm64");
}

fn is_the_machine(kind: &str) {
    let machines = MACHINES.iter().filter(|m| m.0.starts_with(kind));
    for &(recipe, version) in machines {
        let (machine, seen) = watched(model(recipe), 1);
        let s = Scenario::on(machine);
        let mutators = s.machine.model.start_mutators(2);
        for compression in [0, 1, 2, 0] {
            let arg = s.frozen(compression);
            let out = s.minidump2(&arg).unwrap();
            s.assert_at_rest();
            let raw = judge_raw(&s.contents()).unwrap();
            assert_eq!(raw.dump.version, version, "{recipe}");
            let seen = seen.lock().unwrap();
            if let Err(why) = compare(&s.machine.model, &seen, &raw.dump) {
                panic!("{recipe}: {why}");
            }
            // Its lists are whole, whatever was forked and reaped.
            raw.dump.allproc(&s.symbols()).unwrap();
            let cpus = s.machine.cpus() as u32;
            let record = record(&raw.dump);
            assert_eq!((out.freeze.cpus, record.cpus), (cpus, cpus));
            assert_eq!(record.pages, raw.dump.pas().len() as u64);
            assert_eq!(out.arg.pages, record.pages);
            assert_eq!(out.freeze.pages, record.pages);
            assert_eq!(out.freeze.pause_ns, record.pause_ns);
            assert_eq!(out.freeze.uptime_ns, record.uptime_ns);
            assert_eq!(out.freeze.time_ns, record.time_ns);
            assert_eq!(record.max_pause_ns, arg.freeze.max_pause_ns);
            assert!(out.arg.registers > 0 && out.arg.missing_cpus == 0);
        }
        drop(mutators);
    }
}

fn record(dump: &Dump) -> FreezeRecord {
    let page = dump.plain().first_chunk().unwrap();
    FreezeRecord::decode(page).unwrap().unwrap()
}

#[test]
fn a_dump_of_a_machine_that_runs_has_no_record() {
    for (recipe, _) in MACHINES {
        let s = Scenario::model(recipe);
        s.minidump(&s.request(0)).unwrap();
        let dump = judge_raw(&s.contents()).unwrap().dump;
        let page = dump.plain().first_chunk().unwrap();
        assert_eq!(FreezeRecord::decode(page), Ok(None));
    }
}

/// `ticks` and the last line of the message buffer: a pair that changes
/// together, each in a page of its own.
fn pair(dump: &Dump, ticks: u64) -> Option<i64> {
    let text = String::from_utf8_lossy(dump.msgbuf()).into_owned();
    let logged = text
        .split_inclusive('\n')
        .filter_map(|line| line.strip_suffix('\n'))
        .filter_map(|line| line.strip_prefix("model: tick "))
        .filter_map(|line| line.split('.').next()?.parse::<i64>().ok())
        .max()?;
    Some(i64::from(dump.read32(ticks).ok()?) - logged)
}

#[test]
fn a_pair_that_changes_together_agrees_in_frozen_dumps_and_not_in_live_ones() {
    let s = Scenario::model("size 32M\ncpus 2\nkmap 1M 4K");
    let ticks = s.symbols().get("ticks").unwrap();
    let mutators = s.machine.start_mutators(2);
    // Something has to be logged first.
    while s.machine.messages().is_empty() {
        std::thread::yield_now();
    }
    let mut frozen = Vec::new();
    let mut torn = 0;
    for _ in 0..12 {
        s.minidump2(&s.frozen(0)).unwrap();
        let dump = judge_raw(&s.contents()).unwrap().dump;
        frozen.extend(pair(&dump, ticks));
        s.minidump(&s.request(0)).unwrap();
        let dump = judge_raw(&s.contents()).unwrap().dump;
        let live = pair(&dump, ticks);
        let agrees = |pair| Some(pair) == frozen.last().copied();
        torn += u32::from(live.is_some_and(|pair| !agrees(pair)));
    }
    drop(mutators);
    assert!(frozen.len() >= 6, "nothing was logged: {frozen:?}");
    assert!(frozen.iter().all(|p| *p == frozen[0]), "{frozen:?}");
    // Without this the other says nothing.
    assert!(torn > 0, "the load tears no live dump");
    eprintln!("the pair is torn in {torn} of 12 live dumps");
}

#[test]
fn a_cpu_that_does_not_come_ends_it_and_nothing_is_written() {
    let s = Scenario::model("size 16M\ncpus 4");
    s.kernel.set_late_cpu(true);
    assert_eq!(s.minidump2(&s.frozen(0)), Err(Errno::ETIMEDOUT));
    s.assert_at_rest();
    assert!(s.contents().is_empty());
    let status = s.status();
    assert_eq!(status.last_stage(), Some(Stage::Freeze));
    assert_eq!(status.last_error, Errno::ETIMEDOUT.0);
    assert_eq!(status.last_has, s.frozen(0).freeze.max_pause_ns);
    s.kernel.set_late_cpu(false);
    s.minidump2(&s.frozen(0)).unwrap();
    judge_raw(&s.contents()).unwrap();
    let status = s.status();
    assert_eq!((status.last_needs, status.last_has), (0, 0));
}

#[test]
fn too_little_memory_is_told_with_both_figures_and_stops_nothing() {
    let s = Scenario::model("size 16M\ncpus 2");
    let out = s.minidump2(&s.frozen(0)).unwrap();
    let pages = out.freeze.copy_bytes.div_ceil(4096);
    s.file.set_len(0).unwrap();
    s.kernel.set_free_pages(pages as usize - 1);
    assert_eq!(s.minidump2(&s.frozen(0)), Err(Errno::ENOMEM));
    s.assert_at_rest();
    assert!(s.contents().is_empty());
    let status = s.status();
    assert_eq!(status.last_stage(), Some(Stage::Prepare));
    assert_eq!(status.last_needs, pages * 4096);
    assert_eq!(status.last_has, (pages - 1) * 4096);
    // A live dump needs none of it.
    s.minidump(&s.request(0)).unwrap();
    s.kernel.set_free_pages(pages as usize);
    s.minidump2(&s.frozen(0)).unwrap();
}

#[test]
fn a_pause_that_is_too_long_is_told_with_both_figures_and_stops_nothing() {
    let s = Scenario::model("size 16M\ncpus 2");
    let mut arg = s.frozen(0);
    arg.freeze.max_pause_ns = 1;
    assert_eq!(s.minidump2(&arg), Err(Errno::ETIMEDOUT));
    s.assert_at_rest();
    assert!(s.contents().is_empty());
    let status = s.status();
    assert_eq!(status.last_stage(), Some(Stage::Prepare));
    assert!(status.last_needs > status.last_has);
    assert_eq!(status.last_has, 1);
}

#[test]
fn an_estimate_tells_what_the_freeze_takes_and_stops_nothing() {
    for (recipe, _) in MACHINES {
        let (machine, seen) = watched(model(recipe), 1);
        let s = Scenario::on(machine);
        let mut arg = s.frozen(0);
        arg.arg.flags |= FLAG_ESTIMATE;
        arg.arg.fd = NO_FD;
        let estimate = s.minidump2(&arg).unwrap();
        s.assert_at_rest();
        assert!(s.contents().is_empty());
        assert!(seen.lock().unwrap().pages.is_empty(), "it was stopped");
        let out = s.minidump2(&s.frozen(0)).unwrap();
        let MemMinidumpArg2 { arg, freeze } = estimate;
        assert_eq!(arg.dumpextent, out.arg.dumpextent);
        assert_eq!(freeze.pages, out.freeze.pages);
        assert_eq!(freeze.cpus, out.freeze.cpus);
        assert_eq!(freeze.copy_bytes, out.freeze.copy_bytes, "{recipe}");
        assert!(freeze.pause_ns > 0);
        assert_eq!((freeze.uptime_ns, freeze.time_ns), (0, 0));
    }
}

/// Besides the copy: what any dump of that machine takes, the set of pages and
/// what CPUs do.
const BESIDES: u64 = 256 << 10;

#[test]
fn memory_is_what_was_told_and_all_of_it_is_given_back() {
    for recipe in ["size 16M\ncpus 1", "size 256M\ncpus 2\numa 4000"] {
        let s = Scenario::model(recipe);
        let memory = s.kernel.memory();
        let mut plain = s.request(0);
        plain.workers = 1;
        s.minidump(&plain).unwrap();
        let live = memory.peak() as u64;
        memory.reset_peak();
        let mut arg = s.frozen(0);
        arg.arg.workers = 1;
        let out = s.minidump2(&arg).unwrap();
        let peak = memory.peak() as u64;
        let copy = out.freeze.copy_bytes;
        let data = (out.arg.pages - out.arg.zero_pages) * 4096;
        assert!(copy >= data, "{recipe}: {copy} for {data}");
        // A sixteenth, 2 MB, and the list.
        assert!(copy < data + data / 8 + (3 << 20), "{recipe}: {copy}");
        assert!(peak <= copy + live + BESIDES, "{recipe}: {peak}, {copy}");
        s.assert_at_rest();
    }
}
