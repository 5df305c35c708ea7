// SPDX-License-Identifier: BSD-2-Clause
//! Little files that want much: of the tool itself, with little memory to
//! have and little time.

use super::{Bench, Sound, serves_the_truth};
use crate::tool::{Run, program};
use std::io::Write;
use std::path::Path;
use std::process::Command;

/// Address space that the tool has here, in kilobytes.
const KILOBYTES: u32 = 400 << 10;
/// CPU time that it has.
const CPU_SECONDS: u32 = 10;

/// Runs the tool in little memory; it must end soon and not by a signal.
fn frugal(args: &[&str], core: &Path) -> Run {
    // CPU time: a machine at work takes longer, but not more of it.
    let script = format!(
        "ulimit -v {KILOBYTES}; ulimit -t {CPU_SECONDS}; exec \"$0\" \"$@\""
    );
    let run = Command::new("sh")
        .args(["-c", &script, program()])
        .args(args)
        .arg(core)
        .args(if args[0] == "read" { &["0"][..] } else { &[] })
        .output()
        .unwrap();
    let run = Run::from(run);
    assert!(matches!(run.status, Some(0..=3)), "{args:?}: {}", run.stderr);
    assert!(!run.stderr.contains("panicked"), "{}", run.stderr);
    run
}

fn all(core: &Path) {
    for command in ["info", "verify", "dmesg", "read"] {
        frugal(&[command], core);
    }
}

/// The header page of a dump, then zeros, in a gzip member.
fn gzip_of_zeros(head: &[u8], megabytes: usize) -> Vec<u8> {
    let level = flate2::Compression::fast();
    let mut z = flate2::write::GzEncoder::new(Vec::new(), level);
    z.write_all(head).unwrap();
    for _ in 0..megabytes {
        z.write_all(&[0; 1 << 20]).unwrap();
    }
    z.finish().unwrap()
}

#[test]
fn a_gigabyte_of_zeros_in_a_megabyte_is_read_in_little_memory() {
    let bench = Bench::new();
    let sound = Sound::arm64();
    let mut head = sound.raw[..4096].to_vec();
    // The message buffer and the bitmap want all of it.
    head[28..32].copy_from_slice(&0x3fff_f000_u32.to_le_bytes());
    head[32..36].copy_from_slice(&0x1fff_f000_u32.to_le_bytes());
    let file = gzip_of_zeros(&head, 1024);
    all(&bench.put("bomb.gz", &file));
    let packed = zstd::bulk::compress(&vec![0; 512 << 20], 1).unwrap();
    let head = zstd::bulk::compress(&head, 1).unwrap();
    all(&bench.put("bomb.zst", &[head, packed].concat()));
}

#[test]
fn a_frame_with_a_window_of_gigabytes_is_refused() {
    let bench = Bench::new();
    // Magic, no single segment, window of 2^41 bytes, one raw block.
    let mut file = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xff];
    file.extend([0x01 | 8 << 3, 0, 0]);
    file.extend([0; 8]);
    all(&bench.put("window.zst", &file));
    // A single segment of 2^40 bytes.
    let mut file = vec![0x28, 0xb5, 0x2f, 0xfd, 0xe0];
    file.extend((1_u64 << 40).to_le_bytes());
    file.extend([0x03, 0xff, 0xff, 0xff]);
    all(&bench.put("segment.zst", &file));
}

#[test]
fn a_seek_table_may_lie_about_everything() {
    let bench = Bench::new();
    let sound = Sound::new(super::TINY_ARM64, 2);
    let raw = livedump_tests::decoder::judge_raw(&sound.raw).unwrap();
    let packed = raw.packed;
    let footer = packed.len() - 9;
    let frames =
        u32::from_le_bytes(packed[footer..footer + 4].try_into().unwrap());
    let table = footer - 8 * frames as usize;
    for n in [0, 1, 2, 0x07ff_ffff, 0x0800_0000, 0x1fff_ffff, u32::MAX] {
        let n = n.to_le_bytes();
        // As the number of frames, the frame's size, and both sizes of each.
        for places in [
            vec![footer],
            vec![table - 4],
            vec![table],
            vec![table + 4],
            (table..footer).step_by(4).collect(),
        ] {
            let mut file = packed.clone();
            for at in places {
                if file[at..at + 4] != n {
                    file[at..at + 4].copy_from_slice(&n);
                }
            }
            let path = bench.put("lie.zst", &file);
            let run = frugal(&["verify"], &path);
            let served = serves_the_truth(&path, &raw.dump);
            // It may do without the table, but then it has all pages.
            let whole = served == raw.dump.pas().len();
            assert!(run.status != Some(0) || whole, "{}", run.text());
        }
    }
}

#[test]
fn a_bitset_for_all_of_memory_costs_little() {
    let bench = Bench::new();
    let sound = Sound::arm64();
    // A bitmap of nearly 4 GB in a file that is mostly a hole.
    let path = bench.put("huge", &sound.raw[..4096]);
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.set_len(6 << 30).unwrap();
    let bitmap = 0xffff_f000_u32.to_le_bytes();
    std::os::unix::fs::FileExt::write_all_at(&file, &bitmap, 32).unwrap();
    all(&path);
}
