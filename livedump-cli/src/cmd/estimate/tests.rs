// SPDX-License-Identifier: BSD-2-Clause
//! Estimates of hosted machines: what is left behind, how good they are.

use super::sample::{SampleProgress, extrapolate};
use super::*;
use crate::device::HostedDevice;
use clap::Parser;
use livedump_hosted::Events;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    args: Args,
}

fn args(words: &str, directory: &Path) -> Args {
    let line = ["estimate"].into_iter().chain(words.split_whitespace());
    let mut args = Line::parse_from(line).args;
    args.directory = directory.into();
    args
}

fn hosted(machine: &str) -> HostedDevice {
    HostedDevice::open(
        &machine.parse().unwrap(),
        None,
        &crate::device::no_facts,
        &|| false,
    )
    .unwrap()
}

fn take(device: &dyn Device, args: &Args) -> Estimate {
    let directory = CrashDir::open(&args.directory).unwrap();
    let it = estimate(
        args,
        (device, device.wired_bytes()),
        &directory,
        &mut Signals::take(),
    )
    .unwrap();
    let left = std::fs::read_dir(&args.directory).unwrap();
    let left: Vec<_> = left
        .map(|e| e.unwrap().file_name())
        .filter(|name| name != "minfree")
        .collect();
    assert!(left.is_empty(), "{left:?}");
    it
}

#[test]
fn a_small_machine_is_measured_whole() {
    let tmp = tempfile::tempdir().unwrap();
    let it = take(&hosted("model:16M"), &args("", tmp.path()));
    let names: Vec<_> = it.codecs.iter().map(|c| c.compression).collect();
    assert_eq!(names, ["gzip", "zstd"]);
    for codec in &it.codecs {
        assert!(codec.exact && codec.bytes < it.dumpextent, "{codec:?}");
    }
    assert_eq!(it.fits, Some(true));
    assert!(it.need.unwrap() > it.dumpextent.unwrap());
}

#[test]
fn a_sample_ends_soon_and_is_near_the_truth() {
    let tmp = tempfile::tempdir().unwrap();
    let device = hosted("model:64M");
    device.process().kernel().set_events(Events {
        // A slow machine: pages come one chunk at a time.
        dump: Some(Arc::new(|_| {
            std::thread::sleep(Duration::from_millis(1));
            Ok(())
        })),
        ..Events::default()
    });
    let exact = take(&device, &args("-Z", tmp.path()));
    let it = take(&device, &args("-Z --sample 8M", tmp.path()));
    let (exact, codec) = (&exact.codecs[0], &it.codecs[0]);
    assert!(!codec.exact && codec.sampled_pages >= 1024, "{codec:?}");
    assert!(codec.sampled_pages < exact.sampled_pages, "{codec:?}");
    let (truth, guess) = (exact.bytes.unwrap(), codec.bytes.unwrap());
    assert!(guess > truth / 8 && guess < truth * 8, "{guess} for {truth}");
}

#[test]
fn too_little_room_is_outcome_1_and_nothing_is_written() {
    let tmp = tempfile::tempdir().unwrap();
    std::fs::write(tmp.path().join("minfree"), "999999999999\n").unwrap();
    let it = take(&hosted("model:16M"), &args("", tmp.path()));
    assert_eq!(it.fits, Some(false));
    let words = "--machine model:16M --sample 0 --json";
    let outcome = run(&args(words, tmp.path())).unwrap();
    assert_eq!(outcome, Outcome::Finding);
}

#[test]
fn without_room_a_sample_is_compressed_in_memory() {
    let tmp = tempfile::tempdir().unwrap();
    std::fs::write(tmp.path().join("minfree"), "999999999999\n").unwrap();
    let it = take(&hosted("model:16M"), &args("-Z", tmp.path()));
    assert!(it.codecs[0].bytes.is_some(), "{it:?}");
    assert_eq!(it.fits, Some(false));
}

#[test]
fn what_was_not_measured_is_undetermined() {
    let tmp = tempfile::tempdir().unwrap();
    let words = "-Z --machine model:16M --sample 0 --json";
    let outcome = run(&args(words, tmp.path())).unwrap();
    assert_eq!(outcome, Outcome::Undetermined);
}

#[test]
fn figures_that_make_no_sense_give_no_estimate() {
    let mut codec = Codec {
        compression: "zstd",
        bytes: None,
        exact: false,
        sampled_pages: 0,
        sampled_bytes: 0,
        elapsed_ns: 0,
    };
    for (first, last) in [
        (None, (1000, 1000)),
        (Some((10, 0)), (20, 4096)),
        (Some((u64::MAX, 0)), (0, 0)),
    ] {
        let seen = SampleProgress { first, last, ..SampleProgress::default() };
        extrapolate(&mut codec, &seen, u64::MAX);
        assert_eq!(codec.bytes, None);
    }
    let seen = SampleProgress {
        first: Some((100, 1 << 20)),
        last: (1124, 2 << 20),
        ..SampleProgress::default()
    };
    extrapolate(&mut codec, &seen, 400 << 20);
    assert_eq!(codec.bytes, Some(100 << 20));
}

#[test]
fn the_keys_of_the_json_object_are_these() {
    let tmp = tempfile::tempdir().unwrap();
    let it = take(&hosted("model:16M"), &args("-Z", tmp.path()));
    let json = serde_json::to_value(&it).unwrap();
    let keys = |v: &serde_json::Value| {
        let keys: Vec<_> = v.as_object().unwrap().keys().cloned().collect();
        keys.join(" ")
    };
    assert_eq!(
        keys(&json),
        "codecs compression directory dumpextent fits free freeze machine \
         minfree need pages paused_ns wired_bytes"
    );
    assert_eq!(
        keys(&json["codecs"][0]),
        "bytes compression elapsed_ns exact sampled_bytes sampled_pages"
    );
}
