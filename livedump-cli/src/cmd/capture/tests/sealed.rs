// SPDX-License-Identifier: BSD-2-Clause
//! Checksums that are begun while a dump is written.

use super::super::encrypted::EncryptArgs;
use super::*;
use crate::seal::Seal;
use std::process::Command;
use std::thread::{available_parallelism, sleep};

/// Bytes of memory: some parts of noise, some of nothing, some of noise.
const NOISE: usize = 18 << 20;
const ZEROS: usize = 14 << 20;

/// Options that leave a CPU for checksums where there are two.
const FORMATS: [&str; 3] = ["", "-z --workers 1", "-Z --level 1 --workers 1"];

fn large_machine() -> HostedDevice {
    let mut state = 1u64;
    let mut memory: Vec<u8> = (0..2 * NOISE + ZEROS)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005) + 1;
            (state >> 56) as u8
        })
        .collect();
    memory[NOISE..NOISE + ZEROS].fill(0);
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), memory).unwrap();
    let machine = RawMachine::open(file.path()).unwrap();
    HostedDevice::new("raw", Arc::new(machine))
}

/// Calls `at` before each block that is written, with where it begins.
fn before_blocks(
    device: &HostedDevice,
    at: impl Fn(u64) -> Result<(), Errno> + Send + Sync + 'static,
) {
    device.process().kernel().set_events(Events {
        dump: Some(Arc::new(move |block| match block {
            Some((_, offset)) => at(offset),
            None => Ok(()),
        })),
        ..Events::default()
    });
}

/// As it is without any that were begun.
fn assert_sealed(report: &Captured) {
    let seal = report.seal.as_ref().expect("a seal");
    let dump = File::open(&*report.file).unwrap();
    let wanted = Seal::of(&dump, 1, &mut || false).unwrap();
    assert!(wanted.parts() > 2, "{}", wanted.parts());
    assert_eq!(fs::read_to_string(&**seal).unwrap(), wanted.text());
}

#[test]
fn a_seal_is_that_of_the_file_whichever_is_faster() {
    let tmp = directory();
    let device = large_machine();
    for words in FORMATS {
        for slow in [true, false] {
            before_blocks(&device, move |_| {
                sleep(Duration::from_millis(u64::from(slow)));
                Ok(())
            });
            let report = take(&device, &args(words, tmp.path())).unwrap();
            assert!(report.verdict.is_sound(), "{report:?}");
            assert_sealed(&report);
        }
    }
}

#[test]
fn an_encrypted_dump_is_sealed_as_it_is_in_the_file() {
    let keys = tempfile::tempdir().unwrap();
    let pem = |name: &str| keys.path().join(name).display().to_string();
    for line in [
        format!("genrsa -out {} 2048", pem("private")),
        format!("rsa -in {} -pubout -out {}", pem("private"), pem("public")),
    ] {
        let out = Command::new("openssl").args(line.split(' ')).output();
        assert!(out.unwrap().status.success(), "{line}");
    }
    let tmp = directory();
    let device = large_machine();
    for words in ["", "-Z --workers 1"] {
        let encrypt = Some(pem("public").into());
        let encryption = EncryptArgs { encrypt, ..EncryptArgs::default() };
        let args = Args { encryption, ..args(words, tmp.path()) };
        let report = take(&device, &args).unwrap();
        assert!(report.verdict.is_sound(), "{report:?}");
        assert_sealed(&report);
    }
}

#[test]
fn checksums_are_begun_before_the_dump_is_written() {
    if available_parallelism().map_or(1, usize::from) < 2 {
        return livedump_skip::skipped("there is one CPU");
    }
    let tmp = directory();
    let directory = CrashDir::open(tmp.path()).unwrap();
    let device = &large_machine();
    before_blocks(device, |offset| {
        // Once several parts are there.
        if offset > 16 << 20 {
            sleep(Duration::from_millis(20));
        }
        Ok(())
    });
    for (words, begins) in [
        ("", true),
        ("-Z --workers 1", true),
        // No CPU is left.
        ("-Z --workers 64", false),
        ("--no-seal", false),
    ] {
        let args = &args(words, tmp.path());
        let prepared = Prepared::gather(args, device).unwrap();
        let capture = Capture { args, device, directory: &directory, prepared };
        let temp = directory.temp().unwrap();
        let dumped = capture.dump(&temp, None, &mut Signals::take()).unwrap();
        let begun = dumped.begun.filter(|begun| !begun.is_empty());
        assert_eq!(begun.is_some(), begins, "{words}");
    }
}

#[test]
fn a_dump_that_fails_behind_its_first_parts_leaves_nothing() {
    let tmp = directory();
    let device = large_machine();
    before_blocks(&device, |offset| {
        sleep(Duration::from_millis(1));
        if offset > 16 << 20 { Err(Errno::ENOSPC) } else { Ok(()) }
    });
    for words in FORMATS {
        let e = refusal(&device, &args(words, tmp.path()));
        assert!(e.ends_with(": No space left on device (28)"), "{e}");
    }
}

#[test]
fn a_signal_behind_the_first_parts_ends_the_dump_and_leaves_nothing() {
    let tmp = directory();
    let before = contents(tmp.path());
    let device = large_machine();
    for words in FORMATS {
        let mut signals = Signals::take();
        let sender = signals.sender();
        before_blocks(&device, move |offset| {
            if offset > 16 << 20 {
                let _ = sender.send(Event::Stop(Signal::SIGINT));
            }
            sleep(Duration::from_millis(1));
            Ok(())
        });
        let e = take_with(&device, &args(words, tmp.path()), &mut signals)
            .unwrap_err();
        assert!(matches!(e, Error::Stopped(Signal::SIGINT)), "{e}");
        assert_eq!(contents(tmp.path()), before);
    }
}

#[test]
fn each_dump_of_a_device_begins_anew() {
    let tmp = directory();
    let device = large_machine();
    assert_eq!(device.readable_bytes(), Some(0));
    for _ in 0..3 {
        assert_sealed(&take(&device, &args("", tmp.path())).unwrap());
        // Not those of the last one.
        assert_eq!(device.readable_bytes(), Some(0));
    }
}
