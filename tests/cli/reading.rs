// SPDX-License-Identifier: BSD-2-Clause
//! `info`, `verify`, `dmesg` and `read`, on dumps in every shape.

use crate::tool::{CrashDir, Run, run};
use livedump_tests::decoder::container;
use livedump_tests::scenario::Scenario;
use std::path::Path;

const TEXT: &str = "size 16M\nmessage \"beastie: probed\"";

/// A directory with the same machine's dump in every shape: raw and stripped,
/// plain, gzip and zstd.
fn shapes() -> (CrashDir, Vec<String>) {
    let dir = CrashDir::new();
    let machine = dir.recipe(TEXT);
    for options in [&["--keep-kernel"][..], &["-z"], &["-Z"]] {
        dir.capture(&machine, options).expect(0);
    }
    let s = Scenario::model(TEXT);
    for (compression, name) in [(0, "raw"), (1, "raw.gz"), (2, "raw.zst")] {
        let _ = s.dump(compression);
        std::fs::write(dir.file(name), s.contents()).unwrap();
    }
    let names = [
        "livecore.0",
        "livecore.1.gz",
        "livecore.2.zst",
        "raw",
        "raw.gz",
        "raw.zst",
    ];
    (dir, names.map(String::from).into())
}

fn on(dir: &CrashDir, file: &str, command: &str, rest: &[&str]) -> Run {
    let file = dir.file(file);
    let kernel = dir.file("kernel.0");
    let mut args = vec![command];
    if ["verify", "read"].contains(&command) {
        args.extend(["-k", kernel.to_str().unwrap()]);
    }
    args.push(file.to_str().unwrap());
    args.extend(rest);
    run(args)
}

#[test]
fn every_shape_reads_the_same() {
    let (dir, names) = shapes();
    let dump = dir.judge("livecore.0");
    let symbols = dir.symbols("kernel.0");
    let hz = symbols.get("hz").unwrap();
    for name in &names {
        let read = on(&dir, name, "read", &["hz", "4"]).expect(0);
        assert!(read.text().contains("e8 03 00 00"), "{name}");
        let raw = on(&dir, name, "read", &["--raw", "hz", "4"]).expect(0);
        assert_eq!(raw.stdout, [0xe8, 3, 0, 0], "{name}");
        let at = format!("{hz:#x}");
        let raw = on(&dir, name, "read", &["--raw", &at, "4"]).expect(0);
        assert_eq!(raw.stdout, [0xe8, 3, 0, 0], "{name}");
        let json = on(&dir, name, "read", &["--json", "hz", "4"]).expect(0);
        json.json();

        let dmesg = on(&dir, name, "dmesg", &[]).expect(0);
        assert!(dmesg.text().contains("beastie: probed\n"), "{name}");

        let verify = on(&dir, name, "verify", &[]).expect(0);
        assert!(verify.text().contains("sound"), "{name}");
        assert!(verify.text().contains("not checked"), "{name}");
        on(&dir, name, "verify", &["--json"]).expect(0).json();

        let info = on(&dir, name, "info", &[]).expect(0);
        assert!(info.text().contains("amd64"), "{name}");
        on(&dir, name, "info", &["--json"]).expect(0).json();
        on(&dir, name, "dmesg", &["--json"]).expect(0).json();
    }
    // Across a page's end, and all that is mapped behind it.
    let start = hz & !0xfff;
    let at = format!("{start:#x}");
    let got = on(&dir, &names[5], "read", &["--raw", &at, "8K"]).expect(0);
    assert_eq!(got.stdout, dump.read(start, 8192).unwrap());
}

#[test]
fn what_is_not_in_the_dump_is_said_and_is_one() {
    let (dir, names) = shapes();
    for name in &names {
        let run = on(&dir, name, "read", &["0xffffffff00000000", "4"]);
        assert_ne!(run.status, Some(0), "{name}");
        assert!(!run.stderr.is_empty(), "{name}");
        let run = on(&dir, name, "read", &["no_such_symbol", "4"]).expect(2);
        assert!(run.stderr.contains("no_such_symbol"));
    }
}

/// Cuts a copy of a file off at `len`.
fn cut(dir: &CrashDir, name: &str, len: usize) -> &'static str {
    let bytes = dir.read(name);
    std::fs::write(dir.file("cut"), &bytes[..len.min(bytes.len())]).unwrap();
    "cut"
}

#[test]
fn a_truncated_dump_is_served_as_far_as_it_goes_and_is_not_sound() {
    let (dir, _) = shapes();
    let dump = dir.judge("livecore.0");
    let symbols = dir.symbols("kernel.0");
    let pa = dump.translate(symbols.get("hz").unwrap()).unwrap();
    let end = dump.offset_of(pa).unwrap() + 4;
    let place = ["--phys", "--raw", &format!("{pa:#x}"), "4"];
    let name = cut(&dir, "livecore.0", end);
    let read = on(&dir, name, "read", &place).expect(0);
    assert_eq!(read.stdout, [0xe8, 3, 0, 0]);
    let verify = on(&dir, name, "verify", &[]).expect(1);
    assert!(verify.text().contains("length"), "{}", verify.text());
    let info = on(&dir, name, "info", &[]);
    let message = format!("{}{}", info.text(), info.stderr);
    assert!(message.contains("truncated"), "{message}");

    let name = cut(&dir, "livecore.0", end - 4);
    let read = on(&dir, name, "read", &place).expect(1);
    assert!(read.stdout.is_empty());
    assert!(read.stderr.contains("the file ends"), "{}", read.stderr);
}

/// Flips a bit in the copy of a file.
fn flip(dir: &CrashDir, name: &str, at: usize, bit: u8) {
    let mut bytes = dir.read(name);
    bytes[at] ^= 1 << bit;
    std::fs::write(dir.file("flipped"), bytes).unwrap();
}

#[test]
fn a_flipped_bit_in_a_compressed_dump_is_found() {
    let (dir, _) = shapes();
    for name in ["livecore.1.gz", "livecore.2.zst"] {
        let len = dir.read(name).len();
        for i in 1..30 {
            // Nowhere near the first bytes, which say what it is.
            let at = 64 + (len - 128) / 30 * i;
            flip(&dir, name, at, (i % 8) as u8);
            // Some bits are nothing but padding between others.
            let compression = container::kind(&dir.read(name));
            let unpack = |name: &str| {
                container::unpack(&dir.read(name), compression).ok()
            };
            let flipped = unpack("flipped");
            if flipped.is_some() && flipped == unpack(name) {
                continue;
            }
            let run = on(&dir, "flipped", "verify", &[]);
            assert_eq!(run.status, Some(1), "{name} at {at}: {}", run.text());
        }
    }
}

#[test]
fn a_list_that_leads_nowhere_is_not_sound() {
    let (dir, _) = shapes();
    let dump = dir.judge("livecore.0");
    let symbols = dir.symbols("kernel.0");
    let first = dump.read64(symbols.get("allproc").unwrap()).unwrap();
    let next = dump.offset_of(dump.translate(first).unwrap()).unwrap();
    // The first process leads to itself, then into nothing.
    for target in [first, 0xffff_8000_dead_beef] {
        let mut bytes = dir.read("livecore.0");
        bytes[next..next + 8].copy_from_slice(&target.to_le_bytes());
        std::fs::write(dir.file("torn"), bytes).unwrap();
        let run = on(&dir, "torn", "verify", &[]).expect(1);
        assert!(run.text().contains("allproc"), "{}", run.text());
    }
}

#[test]
fn reading_does_not_change_the_file() {
    let (dir, names) = shapes();
    for name in &names {
        let before = dir.read(name);
        let modified = |p: &Path| p.metadata().unwrap().modified().unwrap();
        let time = modified(&dir.file(name));
        for command in ["info", "verify", "dmesg"] {
            on(&dir, name, command, &[]).expect(0);
        }
        assert!(dir.read(name) == before);
        assert_eq!(modified(&dir.file(name)), time);
    }
}

#[test]
fn what_lies_beside_a_dump_and_is_no_such_thing_is_no_trap() {
    let (dir, _) = shapes();
    // A FIFO would be waited for.
    let mode = nix::sys::stat::Mode::S_IRWXU;
    for name in ["changed.0", "kernel.2"] {
        nix::unistd::mkfifo(&dir.file(name), mode).unwrap();
    }
    for command in ["info", "verify", "dmesg"] {
        on(&dir, "livecore.0", command, &[]).expect(0);
    }
    let zstd = dir.file("livecore.2.zst");
    run(["read", zstd.to_str().unwrap(), "hz"]).expect(2);
    // A file that never was a dump, and a seal that is none.
    std::fs::write(dir.file("junk"), [7; 8192]).unwrap();
    let junk = dir.file("junk");
    let run = on(&dir, "junk", "verify", &["--seal", junk.to_str().unwrap()]);
    run.expect(2);
}

#[test]
fn a_flipped_bit_in_a_sealed_dump_is_found_in_its_part() {
    let (dir, _) = shapes();
    for (name, n) in [("livecore.0", 0), ("livecore.2.zst", 2)] {
        let info = dir.text(&format!("info.{n}"));
        assert!(info.ends_with(&format!("  Seal: seal.{n}\n")), "{info}");
        let sound = on(&dir, name, "verify", &[]).expect(0);
        let text = sound.text();
        assert!(text.contains("checksums match"), "{text}");
        assert!(!text.contains("flipped bits"), "{text}");
        let whole = dir.read(name);
        let len = whole.len();
        for at in [len - 100, len / 2] {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            std::fs::write(dir.file(name), bytes).unwrap();
            let run = on(&dir, name, "verify", &[]).expect(1);
            let part = at >> 22 << 22;
            let message = format!("bytes {part} to ");
            let line = run.text().lines().find(|l| l.contains(&message));
            let line = line.unwrap_or_else(|| panic!("{}", run.text()));
            assert!(line.contains("checksum mismatch"), "{line}");
            let section = line.contains("pmap") || line.contains("pages)");
            assert_eq!(section, n == 0, "{line}");
        }
        std::fs::write(dir.file(name), &whole[..len - 1]).unwrap();
        let run = on(&dir, name, "verify", &[]).expect(1);
        let message = format!("has {} bytes, expected {len}", len - 1);
        assert!(run.text().contains(&message), "{}", run.text());
        // What is no dump any more still has a seal to be held against.
        let mut bytes = whole.clone();
        bytes[..64].fill(0xff);
        std::fs::write(dir.file(name), bytes).unwrap();
        let run = on(&dir, name, "verify", &[]).expect(1);
        assert!(run.text().contains("bytes 0 to "), "{}", run.text());
        assert!(run.text().contains("FAIL         header"), "{}", run.text());
        std::fs::write(dir.file(name), whole).unwrap();
    }
    // By name, and a seal that is damaged.
    let seal = dir.file("seal.0");
    let seal = seal.to_str().unwrap();
    on(&dir, "livecore.0", "verify", &["--seal", seal]).expect(0);
    let run = on(&dir, "raw", "verify", &["--seal", seal]).expect(1);
    assert!(run.text().contains("bytes, expected "), "{}", run.text());
    let mut text = dir.text("seal.0");
    text.push('x');
    std::fs::write(seal, text).unwrap();
    let run = on(&dir, "livecore.0", "verify", &[]).expect(1);
    assert!(run.text().contains("the seal cannot be used"));
    std::fs::remove_file(seal).unwrap();
    let run = on(&dir, "livecore.0", "verify", &[]).expect(0);
    assert!(run.text().contains("flipped bits"));
    let run = on(&dir, "livecore.0", "verify", &["--seal", seal]).expect(2);
    assert!(run.stderr.contains("seal.0"), "{}", run.stderr);
}

#[test]
fn who_wants_no_seal_gets_none() {
    let dir = CrashDir::new();
    dir.capture("model:16M", &["--no-seal"]).expect(0);
    assert!(!dir.names().iter().any(|name| name.starts_with("seal")));
    assert!(dir.text("info.0").ends_with("  Dump Status: good\n"));
}

#[test]
fn lines_with_an_uptime_have_a_time() {
    let dir = CrashDir::new();
    let recipe = dir.recipe(
        "size 16M\nmessage \"[12] beastie: slow\"\nmessage \"plain\"\n",
    );
    dir.capture(&recipe, &["--keep-kernel", "-q"]).expect(0);
    let found = on(&dir, "livecore.0", "dmesg", &["-T", "--json"]).expect(0);
    let found = found.json();
    let boot = found["boot_time"].as_u64().unwrap();
    let lines = found["lines"].as_array().unwrap();
    let time = livedump_cli::report::local_time(boot + 12);
    let slow = format!("[{time}] beastie: slow");
    assert!(lines.iter().any(|l| *l == *slow), "{slow}: {found}");
    assert!(lines.iter().any(|l| l == "plain"));
    let plain = on(&dir, "livecore.0", "dmesg", &["--json"]).expect(0).json();
    assert_eq!(plain["boot_time"], serde_json::Value::Null);
    // Without the kernel it is not known when that was.
    std::fs::remove_file(dir.file("kernel.0")).unwrap();
    let run = on(&dir, "livecore.0", "dmesg", &["-T"]).expect(3);
    assert!(run.text().contains("[12] beastie: slow"));
    assert!(run.stderr.contains("known only with the kernel"));
}
