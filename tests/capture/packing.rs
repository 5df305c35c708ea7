// SPDX-License-Identifier: BSD-2-Clause
//! Plain, gzip, zstd: the same dump, also for the system's own tools.

use livedump_hosted::raw::RawMachine;
use livedump_hosted::{Block, Events, OnDump};
use livedump_tests::decoder::container;
use livedump_tests::decoder::judge_raw;
use livedump_tests::scenario::Scenario;
use memdev::ioctl::LEVEL_AUTO;
use nix::unistd::{Whence, lseek};
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

const GZIP: u8 = 1;
const ZSTD: u8 = 2;

/// The system's tool over `packed`; `None` where it is not installed.
fn unpacked_by(tool: &str, packed: &[u8]) -> Option<Vec<u8>> {
    let mut child = match Command::new(tool)
        .arg("-dc")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
    {
        Ok(child) => child,
        Err(e) => {
            livedump_skip::skipped(format_args!("{tool}: {e}"));
            return None;
        }
    };
    let mut stdin = child.stdin.take().unwrap();
    let packed = packed.to_vec();
    let feeder = std::thread::spawn(move || stdin.write_all(&packed));
    let out = child.wait_with_output().unwrap();
    feeder.join().unwrap().unwrap();
    assert!(out.status.success(), "{tool} -dc: {}", out.status);
    Some(out.stdout)
}

#[test]
fn gzip_and_zstd_unpack_to_the_plain_dump_of_256_mb() {
    let s = Scenario::model("size 256M");
    s.kernel.set_time_second(1);
    let plain = s.dump(0);
    for (compression, tool) in [(GZIP, "gzip"), (ZSTD, "zstd")] {
        let packed = s.dump(compression);
        assert_eq!(packed.trailer.compression, compression);
        assert_eq!(packed.trailer.dumpextent, plain.trailer.dumplength);
        assert!(packed.packed.len() < plain.packed.len());
        assert!(packed.dump.plain() == plain.dump.plain());
        if let Some(theirs) = unpacked_by(tool, &packed.packed) {
            assert_eq!(theirs.len() as u64, plain.trailer.dumplength);
            assert!(theirs == plain.packed, "{tool} -dc differs");
        }
    }
}

#[test]
fn frames_of_all_sizes_follow_each_other() {
    // In each 256 KB more pages of noise than before, and then fewer: frames
    // that are gathered, and those that are written from where they are.
    let mut x = 1u64;
    let mut memory = vec![];
    for chunk in 0..64usize {
        let noisy = 64 - (chunk * 4 % 128).abs_diff(64);
        for page in 0..64 {
            for _ in 0..512 {
                x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let word =
                    if page < noisy { x ^ x >> 29 } else { chunk as u64 };
                memory.extend(word.to_le_bytes());
            }
        }
    }
    let mut tmp = tempfile::NamedTempFile::new().unwrap();
    tmp.write_all(&memory).unwrap();
    let s = Scenario::on(RawMachine::open(tmp.path()).unwrap());
    s.kernel.set_time_second(1);
    let plain = s.dump(0).packed;
    for level in [-5, 1, 3, 6] {
        for workers in [1, 3] {
            let mut arg = s.request(ZSTD);
            (arg.level, arg.workers) = (level, workers);
            s.minidump(&arg).unwrap();
            let raw = judge_raw(&s.contents()).unwrap();
            // All frames in order, by libzstd alone.
            let out = zstd::stream::decode_all(&raw.packed[..]).unwrap();
            assert!(out == plain, "level {level}, {workers} threads");
        }
    }
    let large = container::seek_table(&s.dump(ZSTD).packed).unwrap();
    let large = large.iter().filter(|f| f.0 >= 64 << 10).count();
    assert!((8..64).contains(&large), "{large} of 64 frames are large");
}

#[test]
fn any_number_of_threads_gives_the_same_stream() {
    let s = Scenario::model("size 16M");
    s.kernel.set_time_second(1);
    for compression in [0, GZIP, ZSTD] {
        let mut streams = [1, 2, 5].map(|workers| {
            let mut arg = s.request(compression);
            arg.workers = workers;
            s.minidump(&arg).unwrap();
            s.assert_at_rest();
            s.contents()
        });
        let first = streams[0].clone();
        assert!(streams.iter_mut().all(|other| *other == first));
    }
}

#[test]
fn a_level_is_taken_to_heart() {
    let s = Scenario::model("size 16M");
    let steps = [(GZIP, 1, 9), (ZSTD, 1, 9), (ZSTD, -1, 1), (ZSTD, -7, -1)];
    for (compression, low, high) in steps {
        let [long, short] = [low, high].map(|level| {
            let mut arg = s.request(compression);
            arg.level = level;
            let answer = s.minidump(&arg).unwrap();
            assert_eq!(answer.level, level);
            answer.dumplength
        });
        assert!(short < long, "level {high}: {short}, {low}: {long}");
    }
}

#[test]
fn the_answer_has_the_level_that_was_used() {
    let s = Scenario::model("size 16M");
    let level = |compression, level| {
        let mut arg = s.request(compression);
        arg.level = level;
        s.minidump(&arg).unwrap().level
    };
    assert_eq!([level(0, 0), level(GZIP, 0), level(ZSTD, 0)], [0, 6, 1]);
    assert!([-5, -1, 1, 3].contains(&level(ZSTD, LEVEL_AUTO)));
}

#[test]
fn what_is_slow_to_write_to_gets_the_highest_level() {
    let s = Scenario::model("size 256M");
    let slow = |_: Block<'_>| {
        std::thread::sleep(Duration::from_millis(10));
        Ok(())
    };
    let dump: Option<Arc<OnDump>> = Some(Arc::new(slow));
    s.kernel.set_events(Events { dump, ..Events::default() });
    let mut arg = s.request(ZSTD);
    arg.level = LEVEL_AUTO;
    assert_eq!(s.minidump(&arg).unwrap().level, 3);
}

#[test]
fn a_dump_whose_level_is_left_open_is_the_same_memory() {
    let s = Scenario::model("size 64M");
    s.kernel.set_time_second(1);
    let plain = s.dump(0);
    let mut arg = s.request(ZSTD);
    arg.level = LEVEL_AUTO;
    s.minidump(&arg).unwrap();
    let packed = judge_raw(&s.contents()).unwrap();
    assert!(packed.dump.plain() == plain.dump.plain());
}

#[test]
fn a_file_that_was_longer_ends_behind_the_header() {
    let s = Scenario::model("size 16M");
    s.file.set_len(1 << 30).unwrap();
    s.file.write_all_at(&[0xaa; 4096], (1 << 30) - 4096).unwrap();
    for compression in [0, GZIP, ZSTD, 0] {
        let raw = s.dump(compression);
        let len = s.file.metadata().unwrap().len();
        let data = raw.trailer.dumplength.next_multiple_of(4096);
        assert_eq!(len, data + 512);
    }
}

/// Bytes of a file that are not stored.
fn holes(file: &File) -> u64 {
    let len = file.metadata().unwrap().len() as i64;
    let (mut at, mut bytes) = (0, 0);
    while at < len {
        let Ok(hole) = lseek(file, at, Whence::SeekHole) else { break };
        // ENXIO: the rest is a hole.
        at = lseek(file, hole, Whence::SeekData).unwrap_or(len);
        bytes += at - hole;
    }
    bytes as u64
}

#[test]
fn zero_pages_take_no_room_in_a_plain_dump() {
    // Tables of a kernel map that is mostly empty: two thousand zero pages.
    let s = Scenario::model("size 16M");
    let raw = s.dump(0);
    let zeros = |bytes: &[u8]| {
        bytes.chunks(4096).filter(|c| c.iter().all(|&b| b == 0)).count()
    };
    let bytes = 4096 * zeros(raw.dump.plain()) as u64;
    assert!(bytes > 4 << 20);
    // Not the blocks that it has: when those are allocated is for the file
    // system.
    let saved = holes(&s.file);
    let len = s.file.metadata().unwrap().len();
    let empty = tempfile::tempfile().unwrap();
    empty.set_len(len).unwrap();
    if holes(&empty) == 0 {
        livedump_skip::skipped("the file system has no holes");
        return;
    }
    assert!(saved > bytes / 4 * 3, "{saved} of {bytes} bytes saved");
}

#[test]
fn frames_and_members_are_small_enough_to_seek_in() {
    let s = Scenario::model("size 32M");
    let raw = s.dump(ZSTD);
    let frames = container::seek_table(&raw.packed).unwrap();
    assert!(frames.iter().all(|f| (1..=1 << 20).contains(&f.1)));
    assert!(frames.len() > 8);
}

#[test]
fn data_pages_begin_a_frame_and_all_frames_but_two_are_of_one_size() {
    let s = Scenario::model("size 32M");
    let raw = s.dump(ZSTD);
    let frames = container::seek_table(&raw.packed).unwrap();
    let starts: Vec<usize> = frames
        .iter()
        .scan(0, |end, frame| Some(std::mem::replace(end, *end + frame.1)))
        .collect();
    let first = raw.dump.offset_of(raw.dump.pas()[0]).unwrap();
    assert!(!first.is_multiple_of(256 << 10), "an ordinary frame");
    assert!(starts.contains(&first), "{first} {starts:?}");
    let short = frames.iter().filter(|frame| frame.1 != 256 << 10);
    assert!(short.count() <= 2);
}

#[test]
fn frames_cost_less_than_two_percent_of_one_stream() {
    // What is in memory: code, strings, tables. This program's will do.
    let mut tmp = tempfile::NamedTempFile::new().unwrap();
    let mut program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    program.truncate(32 << 20);
    program.resize(program.len().next_multiple_of(4096), 0);
    tmp.write_all(&program).unwrap();
    let s = Scenario::on(RawMachine::open(tmp.path()).unwrap());
    let plain = s.dump(0).packed;
    for level in [-7, -5, -3, -1, 1, 2, 3, 6] {
        // Below -1 no short matches are looked for, of which code is full: a
        // dump of kernel memory is as small as one stream, this is not.
        let percent = if level < -1 { 10 } else { 2 };
        let mut arg = s.request(ZSTD);
        arg.level = level;
        let framed = s.minidump(&arg).unwrap().dumplength;
        let mut one = zstd::stream::Encoder::new(vec![], level.into()).unwrap();
        one.write_all(&plain).unwrap();
        let one = one.finish().unwrap().len() as u64;
        let most = one + one * percent / 100;
        assert!(framed <= most, "level {level}: {framed}, {one}");
    }
}
