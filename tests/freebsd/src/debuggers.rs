// SPDX-License-Identifier: BSD-2-Clause
//! Debuggers of other systems open a real kernel's dump: stock lldb and gdb,
//! on what `livedump convert --to elf` writes. They have every thread of
//! `livedump ps`, the functions of `livedump bt`, and values that are right.

use crate::deadlocks::tool;
use crate::dump_check::Answer;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

/// Threads whose stacks are compared.
const STACKS: usize = 10;
/// The newest first.
const LLDB: [&str; 2] = ["lldb-19", "lldb"];

/// What a debugger had to say: functions by thread, and the rest.
struct Seen {
    stacks: BTreeMap<u64, Vec<String>>,
    text: String,
}

/// Opens `dump` in every debugger that is here; what was skipped.
pub(crate) fn check(kernel: &Path, dump: &Path) -> Answer<Vec<String>> {
    let mut skipped = Vec::new();
    let ps = json(&["ps".as_ref(), "-k".as_ref()], &[kernel, dump])?;
    let processes = ps["processes"].as_array().ok_or("ps: no processes")?;
    let threads = || processes.iter().filter_map(|p| p["threads"].as_array());
    let tids: BTreeSet<u64> =
        threads().flatten().filter_map(|t| t["tid"].as_u64()).collect();
    let first = processes.first().and_then(|p| p["command"].as_str());
    let first = first.ok_or("ps: no command")?;
    // A thread that runs has other registers than it had.
    let asleep = threads().flatten().filter(|t| t["state"] == "sleep");
    let asleep = asleep.filter_map(|t| t["tid"].as_u64()).take(STACKS);
    let mut stacks = Vec::new();
    for tid in asleep {
        let args = ["bt".as_ref(), "-k".as_ref()];
        let tid_text = tid.to_string();
        let files = [kernel, dump, Path::new(&tid_text)];
        let bt = json(&args, &files)?;
        let frames = bt["frames"].as_array().ok_or("bt: no frames")?;
        let names = frames.iter().filter_map(|f| f["function"].as_str());
        // Of a module bt knows no more than its name.
        let names = names.filter(|name| !name.ends_with(".ko"));
        stacks.push((tid, names.map(String::from).collect::<Vec<_>>()));
    }
    let hz = hz(kernel, dump)?;
    for debugger in ["lldb", "gdb"] {
        let out = dump.with_extension(debugger);
        let program = match debugger {
            "gdb" => find(&["gdb"]),
            _ => find(&LLDB),
        };
        let Some(program) = program else {
            skipped.push(format!("no {debugger}: apt-get install {debugger}"));
            continue;
        };
        let args = ["convert", "--to", "elf", "--for", debugger, "-k"];
        let args = args.map(OsStr::new).into_iter();
        let files = [kernel, dump, &out].map(Path::as_os_str);
        let done = tool(args.chain(files))?;
        if done.status.code() != Some(0) {
            let text = String::from_utf8_lossy(&done.stderr);
            return Err(format!("convert for {debugger}: {}", text.trim()));
        }
        let seen = match debugger {
            "gdb" => gdb(program, &out)?,
            _ => lldb(program, &out)?,
        };
        let found: BTreeSet<u64> = seen.stacks.keys().copied().collect();
        if found != tids {
            return Err(format!(
                "{program} has threads {found:?}, not {tids:?}"
            ));
        }
        for (tid, want) in &stacks {
            let found = seen.stacks.get(tid).map_or(&[][..], |s| s);
            if !is_within(want, found) {
                return Err(format!(
                    "{program}, thread {tid}: {found:?}, not {want:?}"
                ));
            }
        }
        for want in [format!(" {hz}"), format!("\"{first}\"")] {
            // gdb has the rest of the array behind it.
            let open = want.trim_end_matches('"');
            if !seen.text.contains(open) {
                return Err(format!("{program}: no {open}: {}", seen.text));
            }
        }
        for path in [
            &out,
            &livedump_cli::convert::script::path(
                &out,
                match debugger {
                    "gdb" => livedump_cli::convert::elf::Debugger::Gdb,
                    _ => livedump_cli::convert::elf::Debugger::Lldb,
                },
            ),
        ] {
            let _ = std::fs::remove_file(path);
        }
    }
    Ok(skipped)
}

/// Whether all of `part` is in `all`, in this order: a debugger shows inlined
/// functions too, and those that have no frame pointer.
fn is_within(part: &[String], all: &[String]) -> bool {
    let mut all = all.iter();
    !part.is_empty() && part.iter().all(|p| all.any(|a| a == p))
}

fn find(names: &[&'static str]) -> Option<&'static str> {
    let runs = |name: &&&str| {
        let run = Command::new(name).arg("--version").output();
        run.is_ok_and(|out| out.status.success())
    };
    names.iter().find(runs).copied()
}

fn json(args: &[&OsStr], files: &[&Path]) -> Answer<Value> {
    let files = files.iter().map(|file| file.as_os_str());
    let args = args.iter().copied().chain(files);
    let out = tool(args.chain(["--json".as_ref()]))?;
    serde_json::from_slice(&out.stdout).map_err(|e| {
        let text = String::from_utf8_lossy(&out.stderr);
        format!("{e}: {}", text.trim())
    })
}

fn hz(kernel: &Path, dump: &Path) -> Answer<u32> {
    let args = ["read", "--raw", "-k"].map(OsStr::new).into_iter();
    let files = [kernel.as_os_str(), dump.as_os_str()];
    let out = tool(args.chain(files).chain(["hz".as_ref(), "4".as_ref()]))?;
    let bytes = out.stdout.try_into().map_err(|_| "read: no hz")?;
    Ok(u32::from_le_bytes(bytes))
}

fn output(command: &mut Command) -> Answer<String> {
    let out = command.output().map_err(|e| format!("{command:?}: {e}"))?;
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

/// `frame #1: 0xffffffff806a2d6c kernel.debug`mi_switch(flags=259) at ...`,
/// below `thread #5, ...`, whose id is in the list of threads.
fn lldb(program: &str, core: &Path) -> Answer<Seen> {
    let mut script = core.as_os_str().to_owned();
    script.push(".lldb");
    let text = output(
        Command::new(program)
            .args(["--batch", "-s"])
            .arg(script)
            .args(["-o", "thread list", "-o", "thread backtrace all"])
            .args(["-o", "p hz", "-o", "p allproc.lh_first->p_comm"]),
    )?;
    let mut ids = BTreeMap::new();
    let mut stacks: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    let mut current = None;
    for line in text.lines() {
        let line = line.trim_start_matches([' ', '*']);
        if let Some(rest) = line.strip_prefix("thread #") {
            let number = leading(rest);
            if let Some((_, tid)) = rest.split_once("tid = ") {
                ids.insert(number, leading(tid));
            }
            current = ids.get(&number).copied();
            stacks.entry(current.unwrap_or(0)).or_default();
        } else if let Some((_, rest)) = line.split_once('`')
            && line.starts_with("frame #")
        {
            let name = rest.split(['(', ' ']).next().unwrap_or_default();
            let stack = stacks.entry(current.unwrap_or(0)).or_default();
            stack.push(name.into());
        }
    }
    Ok(Seen { stacks, text })
}

/// `#1  0xffffffff806a2d6c in mi_switch (flags=259) at ...`, below
/// `Thread 5 (LWP 100061 "name"):`.
fn gdb(program: &str, core: &Path) -> Answer<Seen> {
    let mut script = core.as_os_str().to_owned();
    script.push(".gdb");
    let text = output(
        Command::new(program)
            .args(["-nx", "-batch", "-x"])
            .arg(script)
            .args(["-ex", "thread apply all bt", "-ex", "p hz"])
            .args(["-ex", "p allproc.lh_first->p_comm"]),
    )?;
    let mut stacks: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    let mut current = 0;
    for line in text.lines() {
        if let Some((_, rest)) = line.split_once("(LWP ")
            && line.starts_with("Thread ")
        {
            current = leading(rest);
            stacks.entry(current).or_default();
        } else if line.starts_with('#')
            && let Some((_, rest)) = line.split_once("  ")
        {
            let rest = rest.split_once(" in ").map_or(rest, |(_, rest)| rest);
            let name = rest.split([' ', '(']).next().unwrap_or_default();
            stacks.entry(current).or_default().push(name.into());
        }
    }
    // The current one's first frame comes before all threads.
    stacks.remove(&0);
    Ok(Seen { stacks, text })
}

/// The number that a text starts with.
fn leading(text: &str) -> u64 {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text[..end].parse().unwrap_or(0)
}
