// SPDX-License-Identifier: BSD-2-Clause
//! The tool stopped at every single system call that it makes while it takes
//! a dump: killed there, or told to stop there.

use super::{check, contents, dangling};
use crate::tool::{CrashDir, program};
use livedump_tests::scenario::TINY_ARM64;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// System calls of x86-64 that change a file system, or wait for it.
const CALLS: &[u64] = &[
    1,   // write
    2,   // open
    18,  // pwrite64
    73,  // flock
    74,  // fsync
    77,  // ftruncate
    257, // openat
    263, // unlinkat
    264, // renameat
    266, // symlinkat
    316, // renameat2
];

/// What is done to the tool.
#[derive(Clone, Copy, Debug, PartialEq)]
enum How {
    Kill,
    Interrupt,
}

/// How a run ended.
#[derive(Debug)]
enum End {
    /// It was over before the call it was to be stopped at.
    Ran(i32),
    Stopped(Option<i32>),
}

/// Starts the tool, stopped before its first instruction.
fn start(args: &[OsString]) -> Option<Child> {
    // A shell that waits for a line: time to take hold of it.
    let mut child = Command::new("sh")
        .args(["-c", "read line; exec \"$0\" \"$@\"", program()])
        .args(args)
        // cargo's; the loader would look through every directory of it.
        .env_remove("LD_LIBRARY_PATH")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let pid = pid(&child);
    let options = Options::PTRACE_O_TRACEEXEC
        | Options::PTRACE_O_TRACESYSGOOD
        | Options::PTRACE_O_EXITKILL;
    if let Err(e) = ptrace::seize(pid, options) {
        livedump_skip::skipped(format_args!("ptrace: {e}"));
        child.kill().unwrap();
        child.wait().unwrap();
        return None;
    }
    child.stdin.take().unwrap().write_all(b"go\n").unwrap();
    Some(child)
}

fn capture(dir: &CrashDir, machine: &str, options: &[&str]) -> Vec<OsString> {
    let words = ["capture", "--machine", machine].map(OsString::from);
    let options = options.iter().map(OsString::from);
    let all = words.into_iter().chain(options);
    all.chain([dir.path().into()]).collect()
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(child.id() as i32)
}

/// Runs the tool up to the `nth` of its calls that matter.
fn stop_at(child: &mut Child, nth: usize, how: How) -> End {
    let pid = pid(child);
    let (mut seen, mut entering, mut started) = (0, false, false);
    let mut signal = None;
    loop {
        // Only the thread that was taken hold of: the one that works.
        match waitpid(pid, Some(WaitPidFlag::__WALL)).unwrap() {
            WaitStatus::Exited(_, status) => return End::Ran(status),
            WaitStatus::Signaled(..) => return End::Stopped(None),
            WaitStatus::PtraceEvent(..) => {
                // The shell's own exec may be seen, too.
                started |= runs_the_tool(pid);
                entering = false;
            }
            WaitStatus::PtraceSyscall(_) if started => {
                entering = !entering;
                let call = ptrace::getregs(pid).unwrap().orig_rax;
                if entering && CALLS.contains(&call) {
                    seen += 1;
                    if seen == nth {
                        return end(child, how);
                    }
                }
            }
            WaitStatus::Stopped(_, Signal::SIGTRAP) => {}
            WaitStatus::Stopped(_, s) => signal = Some(s),
            _ => {}
        }
        ptrace::syscall(pid, signal.take()).unwrap();
    }
}

fn runs_the_tool(pid: Pid) -> bool {
    let runs = std::fs::read_link(format!("/proc/{pid}/exe"));
    runs.is_ok_and(|exe| exe.file_name() == Path::new(program()).file_name())
}

fn end(child: &mut Child, how: How) -> End {
    let pid = pid(child);
    match how {
        How::Kill => child.kill().unwrap(),
        How::Interrupt => {
            kill(pid, Signal::SIGINT).unwrap();
            ptrace::detach(pid, None).unwrap();
        }
    }
    End::Stopped(child.wait().unwrap().code())
}

/// Counts of a sweep.
#[derive(Debug, Default)]
struct Counts {
    named: u32,
    unnamed: u32,
    /// Interrupted when it had begun to listen.
    listened: u32,
    /// A dump was there, its info.N or kernel.N was not.
    parted: u32,
}

/// Stops it at each of its calls in turn; every `step`th of them.
fn sweep(how: How, options: &[&str], step: usize) {
    // A shell that starts us in the background has SIGINT ignored, and the
    // tool keeps to that.
    if how == How::Interrupt && livedump_cli::device::is_ignored(Signal::SIGINT)
    {
        livedump_skip::skipped("SIGINT is ignored here");
        return;
    }
    let dir = CrashDir::new();
    let machine = dir.recipe(TINY_ARM64);
    dir.capture(&machine, options).expect(0);
    let mut counts = Counts::default();
    for nth in (1..).step_by(step) {
        let before = contents(&dir);
        let args = capture(&dir, &machine, options);
        let Some(mut child) = start(&args) else { return };
        let end = stop_at(&mut child, nth, how);
        let what = format!("{how:?} at call {nth}, {options:?}: {end:?}");
        let new = check(&dir, &before).unwrap_or_else(|e| {
            panic!("{what}: {e}\n{:?}", dir.names());
        });
        match (how, &end) {
            (_, End::Ran(status)) => {
                assert_eq!((*status, new), (0, true), "{what}");
                break;
            }
            (How::Kill, _) => {}
            (How::Interrupt, End::Stopped(status)) => {
                interrupted(&dir, *status, new, &what);
                counts.listened += u32::from(status.is_some());
            }
        }
        let count = if new { &mut counts.named } else { &mut counts.unnamed };
        *count += 1;
        if !dangling(&dir).is_empty() {
            assert!(how == How::Kill, "{what}: {:?}", dangling(&dir));
            counts.parted += 1;
            // As it was, for the next round.
            dir.capture(&machine, options).expect(0);
        }
    }
    // The sweep stopped both before and after the dump got its name.
    assert!(counts.named > 1 && counts.unnamed > 10, "{counts:?}");
    assert!(how == How::Kill || counts.listened > 10, "{counts:?}");
    // A dump and what lies next to it cannot be replaced at once: killed
    // between the calls that do, it has no info.N. Never that of another.
    assert!(counts.parted <= 5, "{counts:?}");
    // The next run clears up.
    dir.capture(&machine, options).expect(0);
    let names = dir.names();
    assert!(names.iter().all(|n| !n.contains("tmp")), "{names:?}");
    assert_eq!(check(&dir, &contents(&dir)), Ok(false));
}

/// What it says is what it did. Before it has begun to listen, and when it
/// has done everything, it dies of the signal, with nothing to clear up.
fn interrupted(dir: &CrashDir, status: Option<i32>, new: bool, what: &str) {
    let right = match new {
        true => matches!(status, Some(0) | None),
        false => matches!(status, Some(2) | None),
    };
    assert!(right, "{what}");
    let temp = dir.names().into_iter().find(|n| n.contains("tmp"));
    assert_eq!(temp, None, "{what}");
}

#[test]
fn killed_anywhere_a_plain_capture_leaves_whole_dumps_only() {
    sweep(How::Kill, &[], 1);
}

#[test]
fn killed_anywhere_a_capture_that_replaces_one_leaves_whole_dumps_only() {
    sweep(How::Kill, &["-m", "1", "--keep-kernel"], 1);
}

#[test]
fn killed_anywhere_a_compressed_capture_leaves_whole_dumps_only() {
    sweep(How::Kill, &["-Z", "-m", "2"], 1);
}

#[test]
fn interrupted_anywhere_a_capture_says_whether_there_is_a_dump() {
    sweep(How::Interrupt, &[], 2);
}

#[test]
fn interrupted_anywhere_a_capture_that_replaces_one_keeps_one() {
    sweep(How::Interrupt, &["-z", "-m", "1"], 2);
}

/// The files of a conversion, of which each has its checksums or none, and
/// nothing else is left but what was there.
#[derive(Clone, Debug, PartialEq)]
struct Converted {
    out: Vec<u8>,
    seal: Option<Vec<u8>>,
}

impl Converted {
    fn of(dir: &CrashDir) -> Self {
        let seal = dir.file("out.seal").exists().then(|| dir.read("out.seal"));
        Self { out: dir.read("out"), seal }
    }
}

/// A conversion that replaces an older one, stopped at each of its calls.
fn convert_sweep(how: How, to: &str, step: usize) {
    if how == How::Interrupt && livedump_cli::device::is_ignored(Signal::SIGINT)
    {
        livedump_skip::skipped("SIGINT is ignored here");
        return;
    }
    let dir = CrashDir::new();
    let machine = dir.recipe(TINY_ARM64);
    dir.capture(&machine, &["--keep-kernel", "--no-seal"]).expect(0);
    let words = |to: &str| -> Vec<OsString> {
        let (dump, out) = (dir.file("livecore.0"), dir.file("out"));
        let words = ["convert".into(), dump.into(), "--to".into()];
        words.into_iter().chain([to.into(), out.into()]).collect()
    };
    let convert = |to: &str| {
        crate::tool::run(words(to)).expect(0);
        Converted::of(&dir)
    };
    let new = convert(to);
    let old = convert("lime");
    let names = dir.names();
    let (mut kept, mut replaced) = (0, 0);
    for nth in (1..).step_by(step) {
        let Some(mut child) = start(&words(to)) else { return };
        let end = stop_at(&mut child, nth, how);
        let what = format!("{how:?} at call {nth}: {end:?}");
        let now = Converted::of(&dir);
        let seal = now.seal.as_ref();
        if let End::Ran(status) = end {
            assert_eq!((status, &now), (0, &new), "{what}");
            break;
        }
        if now.out == new.out {
            assert!(
                seal.is_none_or(|s| Some(s) == new.seal.as_ref()),
                "{what}"
            );
            replaced += 1;
        } else {
            assert!(now.out == old.out, "{what}");
            assert!(
                seal.is_none_or(|s| Some(s) == old.seal.as_ref()),
                "{what}"
            );
            kept += 1;
        }
        match (how, end) {
            (How::Interrupt, End::Stopped(Some(status))) => {
                let right = if now == new { 0 } else { 2 };
                assert_eq!(status, right, "{what}");
                assert_eq!(dir.names(), names, "{what}");
            }
            (How::Interrupt, _) => assert_eq!(dir.names(), names, "{what}"),
            (How::Kill, _) => {}
        }
        assert_eq!(convert("lime"), old);
    }
    assert!(kept > 5 && replaced > 0, "{kept} {replaced}");
}

#[test]
fn interrupted_anywhere_a_conversion_keeps_what_was_there() {
    convert_sweep(How::Interrupt, "raw", 2);
    convert_sweep(How::Interrupt, "minidump", 3);
}

#[test]
fn killed_anywhere_a_conversion_leaves_no_file_with_other_checksums() {
    convert_sweep(How::Kill, "kdump", 2);
}
