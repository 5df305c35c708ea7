// SPDX-License-Identifier: BSD-2-Clause
//! How much memory the tool takes for a dump.

use crate::tool::{CrashDir, program};
use std::fs::File;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

const MB: u64 = 1 << 20;

/// Memory of which the first pages are of many kinds, and the others zero.
fn memory(dir: &CrashDir, bytes: u64) -> String {
    let path = dir.path().join("memory");
    let mut file = File::create(&path).unwrap();
    let mut x = 1u64;
    for page in 0..4096u64 {
        let words = (0..512u64).flat_map(|i| {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            // From noise to next to nothing.
            (x >> (page % 64) ^ i).to_le_bytes()
        });
        file.write_all(&words.collect::<Vec<_>>()).unwrap();
    }
    file.set_len(bytes).unwrap();
    format!("raw:{}", path.display())
}

/// Bytes of memory that a capture had at most.
fn peak(bytes: u64, options: &[&str]) -> u64 {
    let dir = CrashDir::new();
    let machine = memory(&dir, bytes);
    let mut child = Command::new(program())
        .args(["capture", "-q", "--machine", &machine])
        .args(options)
        .arg(dir.path())
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    loop {
        // Zombies have none.
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|l| l.strip_prefix("VmHWM:"));
        let word = line.and_then(|l| l.split_whitespace().next());
        peak = peak.max(word.map_or(0, |kb| kb.parse().unwrap()) * 1024);
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success());
            return peak;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_large_machine_takes_no_more_memory_than_a_small_one() {
    for options in [
        &[][..],
        &["-z", "--level", "1"],
        &["-Z"],
        &["-Z", "--level", "3", "--workers", "2"],
    ] {
        let options: Vec<_> = options.to_vec();
        let small = peak(256 * MB, &options);
        let large = peak(4096 * MB, &options);
        if small == 0 {
            livedump_skip::skipped("no /proc");
            return;
        }
        assert!(large < 64 * MB, "{options:?}: {large}");
        // A megabyte of bitset and tables for the larger one.
        assert!(large < small + 4 * MB, "{options:?}: {small}, {large}");
    }
}
