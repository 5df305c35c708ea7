// SPDX-License-Identifier: BSD-2-Clause
//! The real vmcores in the formats of other programs: stock lldb and gdb open
//! them with every thread, libkdumpfile has every page.
//!
//! Their kernels are descriptions: a few symbols without types, no code and
//! no `version`. So debuggers show addresses and no names, gdb has no caller
//! of any frame that is right, and commands find no kernel in them once they
//! are images. The dumps end before all their pages do, which is reported.

use crate::images::{makedumpfile, open, runs};
use crate::tool::run;
use livedump_tests::vmcores::{self, Real};
use memdev::addr::Paddr;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

struct Case {
    dir: TempDir,
    real: Real,
    arch: &'static str,
}

/// The bytes of hz, its address, the thread that took the dump, and pages.
struct Known {
    hz: u32,
    tid: u64,
    threads: usize,
    missing: &'static str,
    pages: u64,
}

impl Case {
    fn new(arch: &'static str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let real = vmcores::unpack(arch, dir.path())?;
        Some(Self { dir, real, arch })
    }

    fn known(&self) -> Known {
        match self.arch {
            "amd64" => Known {
                hz: 100,
                tid: 100_670,
                threads: 16,
                missing: "1393 pages could not be read",
                pages: 22_751,
            },
            _ => Known {
                hz: 1000,
                tid: 100_137,
                threads: 10,
                missing: "2323 pages could not be read",
                pages: 16_973,
            },
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// `livedump WORDS -k KERNEL VMCORE MORE`.
    fn run(&self, words: &[&str], more: &[&str]) -> crate::tool::Run {
        let kernel = self.real.kernel.to_str().unwrap();
        let core = self.real.vmcore.to_str().unwrap();
        let files = ["-k", kernel, core];
        run(words.iter().chain(&files).chain(more))
    }

    /// Converts it: what is missing in the file is a finding.
    #[track_caller]
    fn convert(&self, to: &[&str], name: &str) -> PathBuf {
        let out = self.path(name);
        let words = [&["convert", "--no-seal", "--to"], to].concat();
        let run = self.run(&words, &[out.to_str().unwrap()]).expect(1);
        let missing = self.known().missing;
        assert!(run.stderr.contains(missing), "{}", run.stderr);
        out
    }

    /// The threads of `livedump ps`.
    fn threads(&self) -> BTreeSet<u64> {
        let ps = self.run(&["ps", "--json"], &[]).expect(3).json();
        let processes = ps["processes"].as_array().unwrap();
        let threads = processes.iter().flat_map(|p| p["threads"].as_array());
        let tids = threads.flatten().map(|t| t["tid"].as_u64().unwrap());
        let tids: BTreeSet<u64> = tids.collect();
        assert_eq!(tids.len(), self.known().threads);
        assert!(tids.contains(&self.known().tid));
        tids
    }

    /// The addresses of a stack in `livedump bt`.
    fn stack(&self, tid: u64) -> Vec<String> {
        let json = self.run(&["bt", "--json"], &[&tid.to_string()]).json();
        let frames = json["frames"].as_array().unwrap();
        let pc = |f: &serde_json::Value| f["pc"].as_str().unwrap().to_owned();
        frames.iter().map(pc).collect()
    }
}

/// A debugger's output; `None` where it is not here.
fn debugger(program: &str, args: &[&str], script: &Path) -> Option<String> {
    let run = Command::new(program)
        .args(args)
        .arg(script)
        .args(match args.contains(&"--batch") {
            true => &LLDB[..],
            false => &GDB,
        })
        .output();
    match run {
        Ok(out) => {
            let text = String::from_utf8_lossy(&out.stdout).into_owned();
            let said = String::from_utf8_lossy(&out.stderr);
            assert!(out.status.success(), "{program}: {text}{said}");
            Some(text)
        }
        Err(e) => {
            livedump_skip::skipped(format_args!("{program}: {e}"));
            None
        }
    }
}

const LLDB: [&str; 6] =
    ["-o", "thread list", "-o", "thread backtrace 1", "-o", "x/1wd &hz"];
const GDB: [&str; 4] = ["-ex", "info threads", "-ex", "x/1dw &hz"];

/// The numbers after `word`.
fn numbers(text: &str, word: &str) -> BTreeSet<u64> {
    let parts = text.split(word).skip(1);
    let number = |part: &str| {
        let end = part.find(|c: char| !c.is_ascii_digit());
        part[..end.unwrap_or(part.len())].parse().unwrap()
    };
    parts.map(number).collect()
}

fn script(core: &Path, suffix: &str) -> PathBuf {
    let mut path = core.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

fn open_in_debuggers(arch: &'static str, gdb: &str) {
    let Some(case) = Case::new(arch) else { return };
    let (tids, known) = (case.threads(), case.known());
    let core = case.convert(&["elf"], "lldb");
    let path = script(&core, ".lldb");
    if let Some(text) = debugger("lldb-19", &["--batch", "-s"], &path) {
        assert_eq!(numbers(&text, "tid = "), tids, "{text}");
        assert!(text.contains(&format!(": {}\n", known.hz)), "{text}");
        // Up to where the code is that it looks into and that is not there.
        let frames: Vec<_> = text
            .lines()
            .filter_map(|line| line.split_once("frame #")?.1.split_once(": "))
            .map(|(_, pc)| pc.trim().to_owned())
            .collect();
        let ours = case.stack(known.tid);
        assert!(!frames.is_empty() && ours.starts_with(&frames), "{text}");
        assert!(frames.len() >= 10 || arch == "arm64", "{text}");
    }
    let core = case.convert(&["elf", "--for", "gdb"], "gdb");
    let path = script(&core, ".gdb");
    if let Some(text) = debugger(gdb, &["-nx", "-batch", "-x"], &path) {
        assert_eq!(numbers(&text, "LWP "), tids, "{text}");
        assert!(text.contains(&format!("<hz>:\t{}\n", known.hz)), "{text}");
        let name = format!("(LWP {})", known.tid);
        assert!(text.contains(&name) || text.contains("\"sysctl\""), "{text}");
    }
}

#[test]
fn lldb_and_gdb_open_the_real_amd64_vmcore() {
    open_in_debuggers("amd64", "gdb");
}

#[test]
fn lldb_and_gdb_open_the_real_arm64_vmcore() {
    open_in_debuggers("arm64", "gdb-multiarch");
}

/// Every page in each of them, and libkdumpfile's.
fn has_the_same_pages(arch: &'static str) {
    let Some(case) = Case::new(arch) else { return };
    let known = case.known();
    let raw = case.convert(&["raw"], "raw");
    let kdump = case.convert(&["kdump"], "kdump");
    if let Some(pages) = makedumpfile::libkdumpfile(&kdump, &raw) {
        assert_eq!(pages, known.pages);
    }
    let (kdump, raw) = (open(&kdump), std::fs::File::open(raw).unwrap());
    let lime = open(&case.convert(&["lime"], "lime"));
    let mut pages = 0;
    for (start, end) in runs(kdump.as_ref()) {
        for pa in (start..end).step_by(4096) {
            use std::os::unix::fs::FileExt;
            let mut found = [[0; 4096], [1; 4096], [2; 4096]];
            kdump.read(Paddr(pa), &mut found[0]).unwrap();
            lime.read(Paddr(pa), &mut found[1]).unwrap();
            raw.read_exact_at(&mut found[2], pa).unwrap();
            assert!(found[0] == found[1] && found[0] == found[2], "{pa:#x}");
            pages += 1;
        }
    }
    assert_eq!(pages, known.pages);
    // The engine takes what is after the end for pages that were not dumped.
    let out = case.path("minidump");
    let words = ["convert", "--no-seal", "--to", "minidump"];
    let run = case.run(&words, &[out.to_str().unwrap()]).expect(1);
    assert!(run.stderr.contains("after the end of the file"), "{}", run.stderr);
    let kernel = case.real.kernel.to_str().unwrap();
    let words = ["read", "-k", kernel, "--raw", out.to_str().unwrap()];
    let run = self::run(words.iter().chain(&["hz", "4"])).expect(0);
    assert_eq!(run.stdout, known.hz.to_le_bytes());
    // Nothing tells where a kernel without a version is.
    let words = ["ps", "-k", kernel, case.dir.path().to_str().unwrap()];
    let image = format!("{}/kdump", words[3]);
    let run = self::run(["ps", "-k", kernel, &image]).expect(2);
    assert!(run.stderr.contains("`version`"), "{}", run.stderr);
}

#[test]
fn the_real_amd64_vmcore_has_its_pages_in_every_format() {
    has_the_same_pages("amd64");
}

#[test]
fn the_real_arm64_vmcore_has_its_pages_in_every_format() {
    has_the_same_pages("arm64");
}
