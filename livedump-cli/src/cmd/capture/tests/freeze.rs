// SPDX-License-Identifier: BSD-2-Clause
//! `--freeze`: what it leaves, and each way to refuse it, which takes no dump.

use super::*;
use livedump_hosted::model::{ModelMachine, Recipe};
use livedump_vmcore::INSTANT;
use memdev::freeze::{FLAG_FREEZE, MemMinidumpArg2};

fn model(recipe: &str) -> HostedDevice {
    let machine = ModelMachine::build(&Recipe::parse(recipe).unwrap());
    HostedDevice::new("model", Arc::new(machine.unwrap()))
}

#[test]
fn a_dump_of_one_instant_says_so_everywhere() {
    for recipe in ["size 16M\ncpus 2", "machine arm64\nsize 16M\ncpus 3"] {
        let tmp = directory();
        let device = model(recipe);
        // A host with much else to do takes its time.
        for (max_ms, words) in [
            (1000, "--freeze --max-pause 1s"),
            (900, "--freeze --max-pause 900ms -Z"),
        ] {
            let it = take(&device, &args(words, tmp.path())).unwrap();
            assert_eq!(it.verdict, Verdict::Sound, "{it:?}");
            let instant = it.instant.clone().unwrap();
            assert_eq!(instant.max_pause_ns, max_ms * 1_000_000);
            assert!(instant.pause_ns > 0);
            assert_eq!(Some(instant.pages), it.pages);
            assert!(it.registers > Some(0));
            assert_eq!(it.missing_cpus.as_deref(), Some(&[][..]));
            assert!(it.copy_bytes > Some(0) && it.late_pages == Some(0));
            let paused = instant.pause();
            let summary = it.summary();
            assert!(summary.contains(&paused), "{summary}");
            let budget = format!(" ms (budget {max_ms} ms), ");
            assert!(paused.contains(&budget), "{paused}");
            let n = recipe.rsplit(' ').next().unwrap();
            assert!(paused.ends_with(&format!(" by {n} CPUs")), "{paused}");
            let info = it.info.as_deref().unwrap();
            let info = fs::read_to_string(info).unwrap();
            assert!(info.contains(&format!("  Paused: {paused}\n")), "{info}");
            let moment = format!("  Instant: {}\n", instant.moment());
            assert!(info.contains(&moment), "{info}");
            // And the dump has all of it itself.
            let core = Vmcore::open(&it.file).unwrap();
            let record = core.instant().unwrap().unwrap();
            assert_eq!(crate::report::Instant::of_record(record), instant);
            let found = core.verify(None, 1);
            assert!(!found.unchecked.iter().any(|t| t.starts_with(INSTANT)));
        }
    }
}

#[test]
fn a_dump_of_a_machine_that_ran_claims_no_instant() {
    let tmp = directory();
    let it = take(&model("size 16M"), &args("--registers", tmp.path()));
    let it = it.unwrap();
    assert_eq!((&it.instant, it.copy_bytes), (&None, None));
    assert!(!it.summary().contains("paused"), "{}", it.summary());
    let core = Vmcore::open(&it.file).unwrap();
    assert_eq!(core.instant(), Ok(None));
    let unchecked = core.verify(None, 1).unchecked;
    assert!(unchecked.iter().any(|text| text.starts_with(INSTANT)));
}

#[test]
fn what_a_freeze_lacks_is_named_with_both_figures() {
    let tmp = directory();
    let freeze = args("--freeze", tmp.path());
    let device = model("size 16M");
    let kernel = device.process().kernel();
    kernel.set_free_pages(10);
    let e = refusal(&device, &freeze);
    assert!(e.contains("no CPU was stopped: --freeze needs "), "{e}");
    assert!(e.ends_with(" of memory for the copy, 40.0 KiB free"), "{e}");
    kernel.set_free_pages(usize::MAX);
    kernel.set_late_cpu(true);
    let e = refusal(&device, &freeze);
    assert!(e.contains(": a CPU did not stop in time, or "), "{e}");
    assert!(e.ends_with("--max-pause, which is 100 ms"), "{e}");
    kernel.set_late_cpu(false);
    // It is none the worse for it.
    let words = "--freeze --max-pause 1s";
    take(&device, &args(words, tmp.path())).unwrap();

    let large = model("size 256M\numa 40000");
    let e = refusal(&large, &args("--freeze --max-pause 1ms", tmp.path()));
    assert!(e.contains("no CPU was stopped: the pause would take "), "{e}");
    assert!(e.ends_with(" ms, --max-pause is 1 ms"), "{e}");
}

#[test]
fn options_that_make_no_sense_together_are_refused() {
    let tmp = directory();
    let device = model("size 16M");
    for other in ["--quiesce", "--stability"] {
        let words = format!("--freeze {other}");
        let e = refusal(&device, &args(&words, tmp.path()));
        assert!(e.starts_with("--freeze cannot be used with "), "{e}");
    }
    let mut of_file = args("--freeze", tmp.path());
    of_file.machine = "raw:/dev/null".parse().unwrap();
    let e = refusal(&machine(), &of_file);
    assert_eq!(e, NOT_RUNNING);
    for words in ["--max-pause 10ms", "--freeze --max-pause 2s"] {
        let line = ["capture"].into_iter().chain(words.split_whitespace());
        assert!(Line::try_parse_from(line).is_err(), "{words}");
    }
    // The device does not take it either, whoever asks.
    let file = tempfile::tempfile().unwrap();
    let mut arg = MemMinidumpArg2::new();
    arg.arg.flags = FLAG_FREEZE;
    let answer = machine().minidump2(&mut arg, Some(&file));
    assert_eq!(answer, Err(Errno::EOPNOTSUPP));
}

/// A module from before the request, under a kernel that answers what it does
/// not know like this.
struct Old(HostedDevice, Errno);

impl Device for Old {
    fn name(&self) -> &str {
        "/dev/mem"
    }

    fn minidump(
        &self,
        arg: &mut MemMinidumpArg,
        file: Option<&File>,
    ) -> Result<(), Errno> {
        assert_eq!(arg.version, 1);
        if arg.level < 0 {
            return Err(Errno::EINVAL);
        }
        self.0.minidump(arg, file)
    }

    fn minidump2(
        &self,
        _: &mut MemMinidumpArg2,
        _: Option<&File>,
    ) -> Result<(), Errno> {
        Err(self.1)
    }

    fn kerneldump(
        &self,
        _: &mut MemLivedumpArg,
        _: &File,
    ) -> Result<(), Errno> {
        Err(Errno::ENOTTY)
    }

    fn status(&self) -> Result<MemMinidumpStatus, Errno> {
        self.0.status()
    }

    fn pid(&self) -> i32 {
        self.0.pid()
    }

    fn interrupt(&self) {}
}

#[test]
fn an_older_module_dumps_as_ever_and_is_told_from_one_that_is_missing() {
    let tmp = directory();
    for errno in [Errno::ENOTTY, Errno::ENODEV, Errno::EINVAL] {
        let old = Old(model("size 16M"), errno);
        take(&old, &args("--registers", tmp.path())).unwrap();
        let e = refusal(&old, &args("--freeze", tmp.path()));
        assert!(e.starts_with("--freeze needs a newer module"), "{e}");
        for words in ["-Z --level -3", "-Z --level auto", "-Z --fast=7"] {
            let e = refusal(&old, &args(words, tmp.path()));
            let named = words.strip_prefix("-Z ").unwrap();
            assert!(e.starts_with(&format!("{named} was refused")), "{e}");
        }
    }
    for words in ["--freeze", "-Z --fast"] {
        let e = refusal(&stock(|_| {}), &args(words, tmp.path()));
        assert!(e.contains("need the module (kldload livedump)"), "{e}");
    }
    // Another EINVAL is not the module's age.
    let device = model("size 16M");
    device.process().kernel().set_compressors(false, false);
    let e = refusal(&device, &args("--freeze -Z", tmp.path()));
    assert!(e.contains("Invalid argument"), "{e}");
}
