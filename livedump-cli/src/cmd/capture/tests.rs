// SPDX-License-Identifier: BSD-2-Clause
//! Captures in this process, from a hosted machine, into a directory that
//! has a dump already: what fails must leave that directory as it was.

mod freeze;
mod sealed;

use super::captured::Captured;
use super::progress::Progress;
use super::watch::{Stop, watched};
use super::*;
use crate::device::{Device, HostedDevice, Rescue};
use crate::kernel_files::KernelFiles;
use crate::signals::Event;
use clap::Parser;
use livedump_hosted::Events;
use livedump_hosted::fault::Script;
use livedump_hosted::raw::RawMachine;
use livedump_vmcore::Vmcore;
use livedump_vmcore::chain;
use livedump_vmcore::verdict::Verdict;
use memdev::ioctl::{MemLivedumpArg, MemMinidumpArg, MemMinidumpStatus};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Seek, SeekFrom};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    args: Args,
}

fn args(words: &str, directory: &Path) -> Args {
    let line = ["capture"].into_iter().chain(words.split_whitespace());
    let mut args = Line::parse_from(line).args;
    args.directory = directory.into();
    args
}

/// A machine with memory that does not compress.
fn machine() -> HostedDevice {
    let mut state = 1u64;
    let noise: Vec<u8> = (0..2 << 20)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005) + 1;
            (state >> 56) as u8
        })
        .collect();
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), noise).unwrap();
    let machine = RawMachine::open(file.path()).unwrap();
    HostedDevice::new("raw", Arc::new(machine))
}

/// A directory with dump 0.
fn directory() -> tempfile::TempDir {
    let tmp = tempfile::tempdir().unwrap();
    fs::write(tmp.path().join("livecore.0"), "an older dump").unwrap();
    fs::write(tmp.path().join("info.0"), "about it").unwrap();
    fs::write(tmp.path().join("bounds"), "1\n").unwrap();
    tmp
}

fn contents(at: &Path) -> BTreeMap<String, Vec<u8>> {
    fs::read_dir(at)
        .unwrap()
        .map(|e| {
            let path = e.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            (name.to_string(), fs::read(&path).unwrap())
        })
        .collect()
}

fn take_with(
    device: &dyn Device,
    args: &Args,
    signals: &mut Signals,
) -> Result<Captured, Error> {
    check_usage(args)?;
    let directory = CrashDir::open(&args.directory).unwrap();
    let prepared = Prepared::gather(args, device)?;
    Capture { args, device, directory: &directory, prepared }.take(signals)
}

fn take(device: &dyn Device, args: &Args) -> Result<Captured, Error> {
    take_with(device, args, &mut Signals::take())
}

#[test]
fn what_is_limited_is_what_is_held_and_no_copy_of_it() {
    let tmp = directory();
    let device = machine();
    // Nothing is read from it here.
    let kernel = tmp.path().join("kernel");
    fs::write(&kernel, "").unwrap();
    let words = format!("--kernel {}", kernel.display());
    let mut prepared =
        Prepared::gather(&args(&words, tmp.path()), &device).unwrap();
    let files = KernelFiles::of_machine(Some(&kernel));
    let mut held: Vec<_> = files.files().map(AsRawFd::as_raw_fd).collect();
    prepared.keep = Some(prepare::Keep::Files(files));
    let (_, file) = prepared.kernel.as_ref().unwrap();
    held.insert(0, file.as_ref().unwrap().as_raw_fd());
    let limited = prepared.descriptors().map(|fd| fd.as_raw_fd());
    assert_eq!(limited.collect::<Vec<_>>(), held);
    assert_eq!(held.len(), 2);
}

/// Takes a dump that must fail, and returns why. The directory must be as
/// it was.
fn refusal(device: &dyn Device, args: &Args) -> String {
    let before = contents(&args.directory);
    let e = take(device, args).unwrap_err();
    assert_eq!(contents(&args.directory), before, "{e}");
    chain(&e)
}

#[test]
fn each_codec_leaves_a_sound_dump_beside_the_older_one() {
    let tmp = directory();
    let device = machine();
    for (n, words, name) in [
        (1, "", "livecore.1"),
        (2, "-z", "livecore.2.gz"),
        (3, "-Z --level 1 --workers 2", "livecore.3.zst"),
    ] {
        let report = take(&device, &args(words, tmp.path())).unwrap();
        assert_eq!(
            (report.number, &report.verdict),
            (n, &Verdict::Sound),
            "{report:?}"
        );
        assert_eq!(*report.file, *tmp.path().join(name));
        let core = Vmcore::open(&report.file).unwrap();
        assert!(core.trailer().is_none(), "{name} is not stripped");
        assert_eq!(core.expected_len(), Some(report.dumpextent));
        assert_eq!(
            fs::metadata(&report.file).unwrap().len(),
            report.dumplength
        );
        let info = fs::read_to_string(report.info.unwrap()).unwrap();
        assert!(info.contains(&format!("  Bounds: {n}\n")), "{info}");
        assert!(info.contains("\n  Dump Status: good\n"), "{info}");
        let link = tmp.path().join(name.replace(&n.to_string(), "last"));
        assert_eq!(fs::read_link(link).unwrap(), Path::new(name));
    }
    let all = contents(tmp.path());
    assert_eq!(all["livecore.0"], b"an older dump");
    assert_eq!(all["bounds"], b"4\n");
}

#[test]
fn the_report_has_its_documented_keys() {
    let tmp = directory();
    let report = take(&machine(), &args("", tmp.path())).unwrap();
    let json = serde_json::to_value(&report).unwrap();
    let keys: Vec<_> = json.as_object().unwrap().keys().collect();
    let mut wanted = [
        "number",
        "file",
        "info",
        "kernel",
        "key",
        "debug",
        "seal",
        "report",
        "machine",
        "architecture",
        "hostname",
        "version",
        "dumptime",
        "compression",
        "level",
        "dumplength",
        "dumpextent",
        "pages",
        "zero_pages",
        "elapsed_ns",
        "encryption",
        "quiesced_ns",
        "registers",
        "missing_cpus",
        "instant",
        "late_pages",
        "copy_bytes",
        "changed",
        "lists",
        "problems",
        "reason",
        "unchecked",
        "verdict",
    ];
    wanted.sort_unstable();
    assert_eq!(keys, wanted);
}

#[test]
fn a_kpi_call_that_fails_leaves_the_directory_as_it_was() {
    let tmp = directory();
    let before = contents(tmp.path());
    let device = machine();
    let faults = device.process().kernel().faults();
    let (mut n, mut failures) = (1, 0);
    loop {
        faults.install_script(Script::new().fail_step(n));
        let start = faults.steps();
        let result = take(&device, &args("-f", tmp.path()));
        let steps = faults.steps() - start;
        let failed = !faults.failed().is_empty();
        faults.stop();
        match result {
            Ok(report) => {
                assert!(
                    report.verdict.is_sound() && (!failed || n < 5),
                    "step {n}"
                );
                restore(tmp.path(), &before);
            }
            Err(e) => {
                failures += 1;
                assert!(failed, "step {n}: {e}");
                assert!(matches!(e, Error::Dump { .. }), "step {n}: {e}");
                assert_eq!(contents(tmp.path()), before, "step {n}: {e}");
            }
        }
        if n > steps {
            break;
        }
        // The start step by step, the pages by samples.
        n += if n < 60 { 1 } else { 97 };
    }
    assert!(failures > 8, "{failures} of {n}");
}

fn restore(at: &Path, wanted: &BTreeMap<String, Vec<u8>>) {
    for name in contents(at).into_keys() {
        fs::remove_file(at.join(name)).unwrap();
    }
    for (name, bytes) in wanted {
        fs::write(at.join(name), bytes).unwrap();
    }
}

#[test]
fn a_signal_ends_the_dump_and_leaves_the_directory_as_it_was() {
    for when in [0, 1, 2, 4] {
        let tmp = directory();
        let before = contents(tmp.path());
        let device = machine();
        let mut signals = Signals::take();
        let (sender, blocks) = (signals.sender(), AtomicU32::new(0));
        device.process().kernel().set_events(Events {
            dump: Some(Arc::new(move |_| {
                if blocks.fetch_add(1, Ordering::Relaxed) == when {
                    sender.send(Event::Stop(Signal::SIGINT)).unwrap();
                }
                std::thread::sleep(Duration::from_millis(5));
                Ok(())
            })),
            ..Events::default()
        });
        let e = take_with(&device, &args("", tmp.path()), &mut signals)
            .unwrap_err();
        assert!(matches!(e, Error::Stopped(Signal::SIGINT)), "{e}");
        assert_eq!(contents(tmp.path()), before);
    }
}

#[test]
fn a_signal_before_anything_or_behind_the_dump_counts_too() {
    let tmp = directory();
    let before = contents(tmp.path());
    let mut signals = Signals::take();
    signals.sender().send(Event::Stop(Signal::SIGTERM)).unwrap();
    let e =
        take_with(&machine(), &args("", tmp.path()), &mut signals).unwrap_err();
    assert!(matches!(e, Error::Stopped(Signal::SIGTERM)), "{e}");

    let device = machine();
    let mut signals = Signals::take();
    let sender = signals.sender();
    device.process().kernel().set_events(Events {
        finish: Some(Arc::new(move || {
            sender.send(Event::Stop(Signal::SIGTERM)).unwrap();
        })),
        ..Events::default()
    });
    let e =
        take_with(&device, &args("", tmp.path()), &mut signals).unwrap_err();
    assert!(matches!(e, Error::Stopped(Signal::SIGTERM)), "{e}");
    assert_eq!(contents(tmp.path()), before);
}

#[test]
fn too_little_room_is_told_in_figures_and_force_goes_on() {
    let tmp = directory();
    fs::write(tmp.path().join("minfree"), format!("{}\n", 1u64 << 40)).unwrap();
    for words in ["", "-Z"] {
        let e = refusal(&machine(), &args(words, tmp.path()));
        assert!(e.contains(", minfree: 1.0 PiB: "), "{e}");
        assert!(e.ends_with("-f to try anyway"), "{e}");
        assert_eq!(e.contains("use -Z, or"), words.is_empty(), "{e}");
    }
    assert!(
        take(&machine(), &args("-f", tmp.path())).unwrap().verdict.is_sound()
    );
}

#[test]
fn more_bytes_than_the_budget_end_the_dump() {
    let device = machine();
    device.process().kernel().set_events(Events {
        dump: Some(Arc::new(|_| {
            std::thread::sleep(Duration::from_millis(20));
            Ok(())
        })),
        ..Events::default()
    });
    let file = tempfile::tempfile().unwrap();
    let (answer, stop) = watched(
        &device,
        &mut Signals::take(),
        &mut Progress::new(true, false),
        Some(8192),
        &|| {},
        || device.minidump(&mut MemMinidumpArg::new(), Some(&file)),
    );
    assert_eq!(answer, Err(Errno::EINTR));
    assert!(matches!(stop, Some(Stop::Room(n)) if n > 8192), "{stop:?}");
}

#[test]
fn the_stage_that_failed_is_told() {
    let tmp = directory();
    let device = machine();
    device.process().kernel().set_events(Events {
        dump: Some(Arc::new(|block| match block {
            Some((_, offset)) if offset >= 8192 => Err(Errno::ENOSPC),
            _ => Ok(()),
        })),
        ..Events::default()
    });
    let e = refusal(&device, &args("", tmp.path()));
    assert!(e.starts_with("writing "), "{e}");
    assert!(e.ends_with(": No space left on device (28)"), "{e}");
}

/// A kernel without our module, and what it leaves in the file.
struct Stock {
    inner: HostedDevice,
    has_livedump: bool,
    rescue: Rescue,
    spoil: fn(&File),
}

impl Device for Stock {
    fn name(&self) -> &str {
        "/dev/mem"
    }

    fn minidump(
        &self,
        _: &mut MemMinidumpArg,
        _: Option<&File>,
    ) -> Result<(), Errno> {
        Err(Errno::ENOTTY)
    }

    fn kerneldump(
        &self,
        arg: &mut MemLivedumpArg,
        file: &File,
    ) -> Result<(), Errno> {
        if !self.has_livedump {
            return Err(Errno::ENOTTY);
        }
        self.inner.kerneldump(arg, file)?;
        (self.spoil)(file);
        Ok(())
    }

    fn status(&self) -> Result<MemMinidumpStatus, Errno> {
        Err(Errno::ENOTTY)
    }

    fn pid(&self) -> i32 {
        self.inner.pid()
    }

    fn interrupt(&self) {}

    fn rescue(&self) -> Rescue {
        self.rescue.clone()
    }
}

fn stock(spoil: fn(&File)) -> Stock {
    let (inner, rescue) = (machine(), Rescue::No);
    Stock { inner, has_livedump: true, rescue, spoil }
}

#[test]
fn a_rescue_kernel_is_not_started() {
    let tmp = directory();
    let before = contents(tmp.path());
    let never = |_: &File| panic!("the kernel was asked");
    let why = "kenv debug.rescue_minidump is 1";
    let kernel = Stock { rescue: Rescue::Yes(why.into()), ..stock(never) };
    for words in ["", "-f", "-Z"] {
        let e = refusal(&kernel, &args(words, tmp.path()));
        assert!(e.contains(why) && e.contains("kldload livedump"), "{e}");
    }
    let why = "kenv debug.rescue_minidump: Operation not permitted";
    let unknown = Rescue::Undetermined(why.into());
    let kernel = Stock { rescue: unknown.clone(), ..stock(never) };
    let e = refusal(&kernel, &args("", tmp.path()));
    assert!(e.contains("undetermined") && e.contains(why), "{e}");
    assert_eq!(contents(tmp.path()), before);
    let kernel = Stock { rescue: unknown, ..stock(|_| {}) };
    take(&kernel, &args("-f", tmp.path())).unwrap();
    // Our module does not call the kernel's writer.
    take(&machine(), &args("", tmp.path())).unwrap();
}

#[test]
fn without_the_module_the_kernels_own_facility_dumps() {
    let tmp = directory();
    for words in ["", "-z", "-Z"] {
        let report = take(&stock(|_| {}), &args(words, tmp.path())).unwrap();
        // Nothing but its lists would tell.
        let verdict = &report.verdict;
        assert!(matches!(verdict, Verdict::Undetermined(_)), "{report:?}");
        assert_eq!(report.outcome(), Outcome::Undetermined);
        assert_eq!(report.pages, None);
        assert_eq!(report.machine, "/dev/mem");
    }
}

#[test]
fn a_level_that_the_kernels_own_facility_does_not_use_is_told() {
    let tmp = directory();
    let told = |words| super::to_file::unused_level(&args(words, tmp.path()));
    let text = told("-Z --level 5").unwrap();
    assert!(text.starts_with("--level 5 was not used"), "{text}");
    assert_eq!(told("-Z --level 5 -q"), None);
    assert_eq!(told("-Z"), None);
    assert_eq!(told(""), None);
}

#[test]
fn a_dump_whose_lists_do_not_walk_is_called_bad() {
    let tmp = directory();
    let machine = crate::device::open(
        &"model:16M".parse().unwrap(),
        None,
        &crate::device::no_facts,
        &|| false,
    )
    .unwrap();
    let kernel = tmp.path().join("kernel");
    fs::write(&kernel, machine.kernel_elf().unwrap()).unwrap();
    let other = tmp.path().join("other");
    let spec = "model:32M".parse().unwrap();
    let another =
        crate::device::open(&spec, None, &crate::device::no_facts, &|| false)
            .unwrap();
    fs::write(&other, another.kernel_elf().unwrap()).unwrap();
    let words = |codec: &str, file: &Path| {
        args(&format!("{codec} --kernel {}", file.display()), tmp.path())
    };
    for codec in ["", "-Z"] {
        let it = take(machine.as_ref(), &words(codec, &kernel)).unwrap();
        assert_eq!(
            (it.lists, it.verdict.word()),
            (Some(true), "sound"),
            "{it:?}"
        );
    }
    // Nothing of a kernel is in it.
    let it = take(&stock(|_| {}), &words("", &kernel)).unwrap();
    assert_eq!(
        (it.lists, it.verdict.word()),
        (Some(false), "damaged"),
        "{it:?}"
    );
    let info = fs::read_to_string(it.info.unwrap()).unwrap();
    assert!(info.contains("\n  Dump Status: bad\n"), "{info}");
    // What was not looked at is said, and is no fault of the dump's.
    let it = take(&stock(|_| {}), &words("-z", &kernel)).unwrap();
    let verdict = it.verdict.word();
    assert_eq!((it.lists, verdict), (None, "undetermined"), "{it:?}");
    assert_eq!(it.unchecked.len(), 1, "{it:?}");
    // What cannot be used is refused before there is a dump.
    let none = tmp.path().join("none");
    let e = refusal(&stock(|_| {}), &words("", &none));
    assert!(e.contains("opening kernel"), "{e}");
    let none = take(&stock(|_| {}), &args("", tmp.path())).unwrap();
    assert!(none.unchecked[0].contains("verify -k"), "{none:?}");
}

#[test]
fn a_kernel_without_live_dumps_is_told_with_the_way_out() {
    let tmp = directory();
    let device = Stock { has_livedump: false, ..stock(|_| {}) };
    let e = refusal(&device, &args("", tmp.path()));
    assert!(e.contains("kldload livedump"), "{e}");
}

#[test]
fn what_is_no_dump_is_not_kept() {
    let tmp = directory();
    for (spoil, words) in [
        // Some kernels answer well and have written nothing.
        ((|f| f.set_len(0).unwrap()) as fn(&File), "0 bytes"),
        (|f| f.set_len(4096).unwrap(), "not a dump header"),
        (
            |mut f| {
                let len = f.seek(SeekFrom::End(0)).unwrap();
                f.write_all_at(b"x", len - 1).unwrap();
            },
            "parity",
        ),
    ] {
        let e = refusal(&stock(spoil), &args("", tmp.path()));
        assert!(e.contains(words), "{e}");
    }
}

#[test]
fn a_dump_that_contradicts_itself_is_kept_and_called_bad() {
    let tmp = directory();
    // The bitset stands behind header, message buffer and dump_avail; a bit
    // less is a page too many.
    let device = stock(|f| f.write_all_at(&[0xfe], 3 * 4096).unwrap());
    let report = take(&device, &args("", tmp.path())).unwrap();
    assert!(report.verdict.is_damaged());
    assert_eq!(report.problems.len(), 1, "{:?}", report.problems);
    let info = fs::read_to_string(report.info.unwrap()).unwrap();
    assert!(info.contains("\n  Dump Status: bad\n"), "{info}");
}

#[test]
fn options_that_contradict_each_other_are_refused() {
    let tmp = directory();
    for (words, named) in [
        ("--level 3", "--level requires"),
        ("-z --level 10", "levels 1 to 9"),
        ("-z --level auto", "levels 1 to 9"),
        ("-z --fast", "--fast requires"),
        ("--keep-kernel", "--keep-kernel"),
    ] {
        let e = refusal(&machine(), &args(words, tmp.path()));
        assert!(e.contains(named), "{words}: {e}");
    }
    for words in ["-z -Z", "-v -q", "-m 0", "--level 20", "--workers 65"] {
        let line = ["capture"].into_iter().chain(words.split_whitespace());
        assert!(Line::try_parse_from(line).is_err(), "{words}");
    }
}

#[test]
fn what_a_killed_run_left_goes_before_the_next_dump() {
    let tmp = directory();
    fs::write(tmp.path().join("livecore.tmp.123456"), "left over").unwrap();
    take(&machine(), &args("", tmp.path())).unwrap();
    let left = contents(tmp.path());
    assert!(!left.keys().any(|name| name.contains("tmp")), "{left:?}");
}
