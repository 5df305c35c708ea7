// SPDX-License-Identifier: BSD-2-Clause
//! The tool as a program: run, and what came of it.

use livedump_tests::decoder::{Dump, judge_stripped};
use livedump_tests::elf::Symbols;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// The program.
pub fn program() -> &'static str {
    env!("CARGO_BIN_EXE_livedump-under-test")
}

/// What a run came to.
#[derive(Debug)]
pub struct Run {
    pub status: Option<i32>,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl From<Output> for Run {
    fn from(out: Output) -> Self {
        Self {
            status: out.status.code(),
            stdout: out.stdout,
            stderr: String::from_utf8_lossy(&out.stderr).into_owned(),
        }
    }
}

impl Run {
    /// Standard output as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).unwrap()
    }

    /// Standard output as one JSON object.
    pub fn json(&self) -> serde_json::Value {
        let value: serde_json::Value =
            serde_json::from_slice(&self.stdout).unwrap();
        assert!(value.is_object(), "{value}");
        value
    }

    /// That it ended with `status`.
    #[track_caller]
    pub fn expect(self, status: i32) -> Self {
        assert_eq!(self.status, Some(status), "{}", self.stderr);
        for line in self.stderr.lines() {
            let usage = status == 2
                && self.stderr.starts_with("livedump: ")
                && self.stderr.contains("For more information");
            // `watch` puts the time first: 2024-03-31 02:30:00 +0200
            let timed = line.get(25..).unwrap_or_default();
            let ours = [line, timed]
                .iter()
                .any(|l| l.trim_start().starts_with("livedump: "));
            assert!(ours || usage, "{line}");
        }
        self
    }
}

/// Runs the tool.
pub fn run<I: AsRef<OsStr>>(args: impl IntoIterator<Item = I>) -> Run {
    let mut command = Command::new(program());
    command.args(args).stdin(Stdio::null());
    command.output().unwrap().into()
}

/// The tool, which cannot write a byte to any regular file: a signal ends it
/// if it does (setrlimit(2), `RLIMIT_FSIZE`). Pipes are not files.
pub fn without_files() -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -f 0 && exec \"$0\" \"$@\"", program()]);
    command.stdin(Stdio::null());
    command
}

/// Runs the tool on a kernel that refuses some system calls with `errno`.
#[cfg(target_os = "linux")]
pub fn refused(calls: &[&str], errno: i32, args: &[&OsStr]) -> Run {
    use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};
    let number = |call: &&str| match *call {
        "clone3" => nix::libc::SYS_clone3,
        "faccessat2" => nix::libc::SYS_faccessat2,
        "flock" => nix::libc::SYS_flock,
        "getrandom" => nix::libc::SYS_getrandom,
        "membarrier" => nix::libc::SYS_membarrier,
        "rseq" => nix::libc::SYS_rseq,
        "statx" => nix::libc::SYS_statx,
        "symlinkat" => nix::libc::SYS_symlinkat,
        call => panic!("{call}: add its number here"),
    };
    let rules = calls.iter().map(|call| (number(call), Vec::new())).collect();
    let arch = std::env::consts::ARCH.try_into().unwrap();
    let refuse = SeccompAction::Errno(errno as u32);
    let filter =
        SeccompFilter::new(rules, SeccompAction::Allow, refuse, arch).unwrap();
    let program: BpfProgram = filter.try_into().unwrap();
    // A thread of its own, whose children inherit it.
    std::thread::scope(|scope| {
        let run = scope.spawn(|| {
            seccompiler::apply_filter(&program).unwrap();
            run(args)
        });
        run.join().unwrap()
    })
}

/// A crash directory of a test's own.
pub struct CrashDir {
    dir: tempfile::TempDir,
}

impl CrashDir {
    pub fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        let path = self.file(name);
        std::fs::read(&path)
            .unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    }

    pub fn text(&self, name: &str) -> String {
        String::from_utf8(self.read(name)).unwrap()
    }

    /// The names in it, in order.
    pub fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.path()).unwrap();
        let name = |e: std::io::Result<std::fs::DirEntry>| {
            e.unwrap().file_name().into_string().unwrap()
        };
        let mut names: Vec<_> = entries.map(name).collect();
        names.sort();
        names
    }

    /// Takes a dump into it.
    pub fn capture(&self, machine: &str, options: &[&str]) -> Run {
        let mut args: Vec<&OsStr> =
            ["capture", "--machine", machine].map(OsStr::new).into();
        args.extend(options.iter().map(OsStr::new));
        args.push(self.path().as_os_str());
        run(args)
    }

    /// A dump in it, judged.
    #[track_caller]
    pub fn judge(&self, name: &str) -> Dump {
        match judge_stripped(&self.read(name)) {
            Ok(dump) => dump,
            Err(wrong) => panic!("{name}: {wrong}"),
        }
    }

    /// The symbols of a kernel in it.
    pub fn symbols(&self, name: &str) -> Symbols {
        Symbols::parse(&self.read(name)).unwrap()
    }

    /// A recipe in a file of its own, as `--machine` takes it.
    pub fn recipe(&self, text: &str) -> String {
        let path = self.dir.path().with_extension("recipe");
        std::fs::write(&path, text).unwrap();
        format!("model:{}", path.display())
    }
}

impl Drop for CrashDir {
    fn drop(&mut self) {
        let recipe = self.dir.path().with_extension("recipe");
        let _ = std::fs::remove_file(recipe);
    }
}
