// SPDX-License-Identifier: BSD-2-Clause
//! What makedumpfile(8) makes of a Linux guest's memory: every codec that it
//! was built with, plain, flattened and split, with and without filters. Each
//! page is that of QEMU's ELF core, which it is made from.
//!
//! The kernel is Debian's: vmlinuz, qemu_fw_cfg.ko and a static busybox in
//! ~/.cache/livedump/linux, where `.ci/run` puts them, or beside the kernel
//! that LIVEDUMP_LINUX_KERNEL names.

use super::qemu::Guest;
use super::{open, runs};
use crate::tool::run;
use livedump_vmcore::image::{Format, MemoryImage};
use memdev::addr::Paddr;
use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Names another kernel.
const VARIABLE: &str = "LIVEDUMP_LINUX_KERNEL";

const INIT: &[u8] = b"#!/bin/busybox sh
/bin/busybox mount -t proc none /proc
/bin/busybox mount -t sysfs none /sys
/bin/busybox mount -t devtmpfs none /dev
/bin/busybox mount -t tmpfs none /tmp
/bin/busybox insmod /qemu_fw_cfg.ko
/bin/busybox dd if=/dev/urandom of=/tmp/random bs=1M count=4
/bin/busybox echo livedump: ready
while :; do /bin/busybox sleep 1000; done
";

/// The kernel's file, with the others beside it.
fn kernel() -> Option<PathBuf> {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let home = home.unwrap_or_default();
    let usual = home.join(".cache/livedump/linux/vmlinuz");
    let path = std::env::var_os(VARIABLE).map_or(usual, PathBuf::from);
    let needed = [&path, &beside(&path, MODULE), &beside(&path, "busybox")];
    if let Some(missing) = needed.iter().find(|path| !path.exists()) {
        let missing = missing.display();
        livedump_skip::skipped(format_args!("no {missing} ({VARIABLE})"));
        return None;
    }
    Some(path)
}

/// It gives QEMU the vmcoreinfo.
const MODULE: &str = "qemu_fw_cfg.ko";

fn beside(kernel: &Path, name: &str) -> PathBuf {
    kernel.with_file_name(name)
}

/// An archive of cpio(5), portable format.
#[derive(Default)]
struct Archive(Vec<u8>);

impl Archive {
    fn add(&mut self, name: &str, mode: u32, data: &[u8]) {
        let (len, name_len) = (data.len() as u32, name.len() as u32 + 1);
        let number = self.0.len() as u32;
        // The console is 5, 1.
        let device = if mode & 0o170_000 == 0o20_000 { (5, 1) } else { (0, 0) };
        self.0.extend(b"070701");
        for n in [
            number, mode, 0, 0, 1, 0, len, 0, 0, device.0, device.1, name_len,
            0,
        ] {
            self.0.extend(format!("{n:08X}").bytes());
        }
        for bytes in [name.as_bytes(), &[0]] {
            self.0.extend(bytes);
        }
        self.pad();
        self.0.extend(data);
        self.pad();
    }

    fn pad(&mut self) {
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }
}

fn initrd(kernel: &Path) -> Vec<u8> {
    let file = |name| std::fs::read(beside(kernel, name)).unwrap();
    let mut archive = Archive::default();
    for name in ["bin", "dev", "proc", "sys", "tmp"] {
        archive.add(name, 0o40755, &[]);
    }
    archive.add("dev/console", 0o20600, &[]);
    archive.add("bin/busybox", 0o100_755, &file("busybox"));
    archive.add(MODULE, 0o100_644, &file(MODULE));
    archive.add("init", 0o100_755, INIT);
    archive.add("TRAILER!!!", 0, &[]);
    archive.0
}

/// QEMU's ELF core as makedumpfile wants it: it takes program headers for what
/// follows the ELF header, where QEMU since 6.2 has section headers.
fn rearranged(core: &Path, to: &Path) {
    let mut bytes = std::fs::read(core).unwrap();
    let number = |at: usize, n: usize| {
        let mut word = [0; 8];
        word[..n].copy_from_slice(&bytes[at..at + n]);
        u64::from_le_bytes(word) as usize
    };
    let (start, count) = (number(32, 8), number(56, 2));
    assert!(count < 0xffff);
    bytes.copy_within(start..start + count * 56, 64);
    bytes[32..48].fill(0);
    bytes[32] = 64;
    bytes[52..54].copy_from_slice(&64u16.to_le_bytes());
    bytes[58..64].fill(0);
    std::fs::write(to, bytes).unwrap();
}

/// Whether makedumpfile was built with a codec.
fn has_codec(option: &str) -> bool {
    let name = match option {
        "-l" => "lzo",
        "-p" => "snappy",
        "-z" => "zstd",
        _ => return true,
    };
    let out = Command::new("makedumpfile").arg("-v").output().unwrap();
    let text = [out.stdout, out.stderr].concat();
    let text = String::from_utf8(text).unwrap();
    let mut lines = text.lines().map(|line| line.split_once('\t'));
    lines.any(|line| line == Some((name, "enabled")))
}

#[track_caller]
fn makedumpfile(options: &[&str], files: &[&Path], stdout: Stdio) {
    let out = Command::new("makedumpfile")
        .args(options)
        .args(files)
        .stdout(stdout)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{options:?}: {text}");
}

/// Pages that one image has and another, too, with the same bytes.
#[track_caller]
fn compare(some: &dyn MemoryImage, all: &dyn MemoryImage) -> BTreeSet<u64> {
    let mut pages = BTreeSet::new();
    for pa in runs(some).into_iter().flat_map(|(a, b)| (a..b).step_by(4096)) {
        let (mut found, mut want) = ([0; 4096], [1; 4096]);
        some.read(Paddr(pa), &mut found).unwrap();
        all.read(Paddr(pa), &mut want).unwrap();
        assert!(found == want, "{pa:#x}");
        pages.insert(pa);
    }
    pages
}

#[test]
fn every_page_that_makedumpfile_writes_is_that_of_the_guest() {
    let Some(kernel) = kernel() else { return };
    if let Err(e) = Command::new("makedumpfile").arg("-v").output() {
        return livedump_skip::skipped(format_args!("makedumpfile: {e}"));
    }
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    std::fs::write(path("initrd"), initrd(&kernel)).unwrap();
    let Some(mut guest) = Guest::linux(&kernel, &path("initrd")) else {
        return;
    };
    let qemu = guest.dump("elf");
    rearranged(&qemu, &path("elf"));
    let all = open(&qemu);
    assert_eq!(all.format(), Format::QemuElf);
    let memory = runs(all.as_ref())[0];
    for option in ["-c", "-l", "-p", "-z", ""] {
        if !has_codec(option) {
            continue;
        }
        let codec: Vec<&str> =
            [option].into_iter().filter(|o| !o.is_empty()).collect();
        let mut sets = Vec::new();
        for level in ["0", "1", "31"] {
            let out = path("out");
            let options = [&codec, &["-d", level][..]].concat();
            makedumpfile(&options, &[&path("elf"), &out], Stdio::null());
            let image = open(&out);
            sets.push(compare(image.as_ref(), all.as_ref()));
            let _ = std::fs::remove_file(out);
        }
        // Nothing is left out; pages of zeros are one; what is free, or of
        // files and of processes, is left out.
        let memory = (memory.0..memory.1).step_by(4096).collect();
        assert_eq!([&sets[0], &sets[1]], [&memory; 2], "{option}");
        assert!(sets[2].len() > 1000, "{option}: {}", sets[2].len());
        assert!(sets[2].len() < memory.len() / 2, "{option}");

        let whole = path("whole");
        let options = [&codec, &["-d", "31"][..]].concat();
        makedumpfile(&options, &[&path("elf"), &whole], Stdio::null());
        let flat = File::create(path("flat")).unwrap();
        let flattened = [&options, &["-F"][..]].concat();
        makedumpfile(&flattened, &[&path("elf")], flat.into());
        let found = compare(open(&path("flat")).as_ref(), all.as_ref());
        assert_eq!(found, sets[2], "{option}");
        let parts = ["0", "1", "2"].map(path);
        let split = ["--splitblock-size", "1024", "--split"];
        let [a, b, c] = &parts;
        let split = [&options, &split[..]].concat();
        makedumpfile(&split, &[&path("elf"), a, b, c], Stdio::null());
        joined(&whole, &parts, &path("raw"));
        for part in &parts {
            let image = open(part);
            assert!(image.claims().part.is_some());
            let found = compare(image.as_ref(), all.as_ref());
            assert!(!found.is_empty() && found.is_subset(&sets[2]));
        }
        is_of_linux(&whole);
        // It writes over no file.
        for file in parts.iter().chain([&whole]) {
            std::fs::remove_file(file).unwrap();
        }
    }
    is_of_linux(&qemu);
}

/// The parts convert to what the whole converts to.
fn joined(whole: &Path, parts: &[PathBuf; 3], raw: &Path) {
    let convert = |words: &[&Path]| {
        let options: [&Path; 4] =
            ["convert", "--no-seal", "--to", "raw"].map(Path::new);
        run(options.iter().chain(words).chain([&raw])).expect(0);
        std::fs::read(raw).unwrap()
    };
    let want = convert(&[whole]);
    let [a, b, c] = parts;
    let more = Path::new("--part");
    let found = convert(&[b, more, c, more, a]);
    assert!(found == want, "{}", whole.display());
    let _ = std::fs::remove_file(raw);
}

/// That commands say whose memory it is, and not that it is damaged.
fn is_of_linux(path: &Path) {
    let path = path.to_str().unwrap();
    let shown = run(["info", path]).expect(0);
    assert!(shown.text().contains("System:               Linux "));
    for (command, exit) in [("verify", 3), ("ps", 2), ("dmesg", 2)] {
        let run = run([command, path]).expect(exit);
        let text = format!("{}{}", run.text(), run.stderr);
        assert!(text.contains("the memory of Linux "), "{command}: {text}");
        assert!(!text.contains("damaged"), "{command}: {text}");
    }
}
