// SPDX-License-Identifier: BSD-2-Clause
//! Debuggers of other systems open a real kernel's dump: stock lldb and gdb,
//! on what `livedump convert --to elf` writes. They have every thread of
//! `livedump ps`, the frames of `livedump bt -a`, values that are right, and
//! livedump.ko where it was loaded.
//!
//! Frames are equal one by one, inlined ones too: their functions, and for
//! lldb the source lines. What is left out is where debuggers cannot follow:
//! they take a trap frame for a frame like any other, so that nothing behind
//! it is right; they do not know that fork_trampoline ends a stack; and of a
//! frame that ended by a call lldb shows only the innermost function that is
//! inlined there, gdb none at all where the call was by a pointer. Threads
//! that were running, or about to, have registers and a stack of two moments.

use crate::deadlocks::tool;
use crate::dump_check::Answer;
use crate::kernel::Kernel;
use object::{Object, ObjectSection, ObjectSymbol};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

/// A function of livedump.ko, which is loaded in the guest.
const FUNCTION: &str = "livedump_modevent";
/// The newest first.
const LLDB: [&str; 2] = ["lldb-19", "lldb"];

/// A frame: its function, its source file and line, and whether it ended by a
/// call.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Frame {
    function: String,
    line: Option<(String, u64)>,
    is_tail: bool,
    inlined: bool,
}

/// A thread's frames, up to the first trap.
struct Stack {
    tid: u64,
    frames: Vec<Frame>,
    /// There was one.
    is_trap: bool,
}

/// A function that has no name.
const UNKNOWN: &str = "??";

/// What a debugger had to say: frames by thread, and the rest.
struct Seen {
    stacks: BTreeMap<u64, Vec<Frame>>,
    text: String,
}

/// Opens `dump` in every debugger that is here; what was skipped.
/// `modules`: where the files of the modules are.
pub(crate) fn check(
    kernel: &Kernel,
    dump: &Path,
    modules: &Path,
) -> Answer<Vec<String>> {
    let is_arm64 = kernel.arch.is_arm64();
    let gdb_name = if is_arm64 { "gdb-multiarch" } else { "gdb" };
    let kernel = kernel.path.as_path();
    let mut skipped = Vec::new();
    let ps = json(&["ps".as_ref(), "-k".as_ref()], &[kernel, dump])?;
    let processes = ps["processes"].as_array().ok_or("ps: no processes")?;
    let threads = || processes.iter().filter_map(|p| p["threads"].as_array());
    let tids: BTreeSet<u64> =
        threads().flatten().filter_map(|t| t["tid"].as_u64()).collect();
    let first = processes.first().and_then(|p| p["command"].as_str());
    let first = first.ok_or("ps: no command")?;
    let stacks = ours(kernel, dump, modules, is_arm64)?;
    let hz = hz(kernel, dump)?;
    // The case image has no module.
    let module = modules.join("livedump.ko");
    let code = match module.is_file() {
        true => Some(code(&module)?),
        false => None,
    };
    for debugger in ["lldb", "gdb"] {
        let out = dump.with_extension(debugger);
        let program = match debugger {
            "gdb" => find(&[gdb_name]),
            _ => find(&LLDB),
        };
        let Some(program) = program else {
            skipped.push(format!("no {debugger}: apt-get install {debugger}"));
            continue;
        };
        let args = ["convert", "--to", "elf", "--for", debugger];
        let args = args.map(OsStr::new).into_iter();
        let named = named(kernel, modules);
        let files = [dump, &out].map(Path::as_os_str);
        let done = tool(args.chain(named).chain(files))?;
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
        for Stack { tid, frames: want, is_trap } in &stacks {
            let found = seen.stacks.get(tid).map_or(&[][..], |s| s);
            // On arm64 one may leave out where a stack begins, in assembly.
            let (want, found) = match is_arm64 {
                true => (below_assembly(want), below_assembly(found)),
                false => (want.as_slice(), found),
            };
            let equal = match debugger {
                "gdb" => equals_gdb(want, found, *is_trap),
                _ => equals_lldb(want, found, *is_trap),
            };
            if !equal {
                return Err(format!(
                    "{program}, thread {tid}: {found:#?}, not {want:#?}"
                ));
            }
        }
        if let Some(code) = &code
            && !seen.text.contains(code)
        {
            let text = &seen.text;
            return Err(format!("{program}: no {code} at {FUNCTION}: {text}"));
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

/// How a debugger shows the first word of the module's function: nothing is
/// relocated there.
fn code(module: &Path) -> Answer<String> {
    let failed = |what: &str| format!("{}: {what}", module.display());
    let bytes = std::fs::read(module).map_err(|e| failed(&e.to_string()))?;
    let elf =
        object::File::parse(&*bytes).map_err(|e| failed(&e.to_string()))?;
    let symbol = elf.symbol_by_name(FUNCTION);
    let symbol = symbol.ok_or_else(|| failed("no symbol"))?;
    let section = symbol.section_index();
    let section = section.and_then(|i| elf.section_by_index(i).ok());
    // In what is linked already it is an address.
    let at = section.as_ref().map_or(0, |section| section.address());
    let at = symbol.address().wrapping_sub(at) as usize;
    let data = section.and_then(|section| section.data().ok());
    let word = data.and_then(|data| data.get(at..at.checked_add(4)?));
    let word = word.and_then(|word| word.try_into().ok());
    let word = word.map(u32::from_le_bytes).ok_or_else(|| failed("no code"))?;
    Ok(format!("{word:#010x}"))
}

/// `-k` for the kernel and its modules.
fn named<'p>(kernel: &'p Path, modules: &'p Path) -> [&'p OsStr; 4] {
    let k = OsStr::new("-k");
    [k, kernel.as_os_str(), k, modules.as_os_str()]
}

/// Fewer threads than this are not enough.
const MIN_THREADS: usize = 20;

/// What `livedump bt -a` shows of the threads that neither ran nor were about
/// to, up to the first trap.
fn ours(
    kernel: &Path,
    dump: &Path,
    modules: &Path,
    is_arm64: bool,
) -> Answer<Vec<Stack>> {
    let args = ["bt", "-a", "--json"].map(OsStr::new).into_iter();
    let args = args.chain(named(kernel, modules));
    let out = tool(args.chain([dump.as_os_str()]))?;
    let bt: Value = serde_json::from_slice(&out.stdout).map_err(|e| {
        let text = String::from_utf8_lossy(&out.stderr);
        format!("bt: {e}: {}", text.trim())
    })?;
    let threads = bt["threads"].as_array().ok_or("bt: no threads")?;
    let moves = |t: &Value| t["state"] == "run" || t["state"] == "runq";
    let kept = threads.iter().filter(|t| {
        t["registers"] == "stoppcbs" || !moves(t) && t["verdict"] == "sound"
    });
    let mut all = Vec::new();
    // A pcb of arm64 has no link register, which debuggers take of functions
    // that save none.
    let is_kept = |t: &&Value| !(is_arm64 && t["registers"] == "stoppcbs");
    let kept = kept.filter(is_kept);
    for thread in kept {
        let tid = thread["tid"].as_u64().ok_or("bt: no tid")?;
        let frames = thread["frames"].as_array().ok_or("bt: no frames")?;
        let trap = frames.iter().position(|f| f["how"] == "trap");
        let frames = frames.iter().take(trap.unwrap_or(frames.len()));
        let frames = frames.map(frame).collect();
        all.push(Stack { tid, frames, is_trap: trap.is_some() });
    }
    match all.len() {
        n if n < MIN_THREADS => Err(format!("bt: {n} threads to compare")),
        _ => Ok(all),
    }
}

fn frame(f: &Value) -> Frame {
    // Of a module without a file bt knows no more than its name.
    let name = f["function"].as_str().filter(|n| !n.ends_with(".ko"));
    let line = f["file"].as_str().map(|path| {
        let name = path.rsplit('/').next().unwrap_or_default();
        (name.into(), f["line"].as_u64().unwrap_or(0))
    });
    Frame {
        function: name.unwrap_or(UNKNOWN).into(),
        line,
        is_tail: f["how"] == "tail call",
        inlined: f["inlined"] == true,
    }
}

/// A debugger's frame: `rest` is what comes behind the function.
fn seen(function: &str, rest: &str) -> Frame {
    // Rust's names end with a hash in lldb.
    let function = match function.rsplit_once("::h") {
        Some((name, hash)) if hash.len() == 16 => name,
        _ => function,
    };
    // Values may have an " at FILE:LINE" as well: it is the last.
    let place = rest.rsplit_once(" at ").map(|(_, place)| place);
    let line = place.and_then(|place| {
        let mut parts = place.split([':', ' ']);
        let path = parts.next()?;
        let name = path.rsplit('/').next()?.to_string();
        Some((name, leading(parts.next()?)))
    });
    let (is_tail, inlined) = (false, false);
    Frame { function: function.into(), line, is_tail, inlined }
}

/// Without the outermost frame, if that is assembly and not the only one.
fn below_assembly(frames: &[Frame]) -> &[Frame] {
    let is_assembly = |f: &Frame| {
        f.line.as_ref().is_some_and(|(file, _)| file.ends_with(".S"))
    };
    match frames.split_last() {
        Some((last, rest)) if is_assembly(last) && !rest.is_empty() => rest,
        _ => frames,
    }
}

/// Frame by frame, with lines; what is behind a trap is not compared.
fn equals_lldb(ours: &[Frame], theirs: &[Frame], is_trap: bool) -> bool {
    let mut want: Vec<&Frame> = Vec::new();
    for f in ours {
        // Those around it are not shown.
        let around = f.is_tail && want.last().is_some_and(|w| w.is_tail);
        if !(around && is_around(ours, f)) {
            want.push(f);
        }
    }
    let theirs = match theirs.first() {
        Some(f) if f.function == "fork_trampoline" => &theirs[..1],
        _ => theirs,
    };
    let same = |(a, b): (&&Frame, &Frame)| {
        a.function == b.function && a.line == b.line
    };
    !want.is_empty()
        && (want.len() == theirs.len() || is_trap && want.len() < theirs.len())
        && want.iter().zip(theirs).all(same)
}

/// Whether the frame before this one is inlined in it.
fn is_around(all: &[Frame], f: &Frame) -> bool {
    let at = all.iter().position(|other| std::ptr::eq(other, f));
    let before = at.and_then(|n| n.checked_sub(1)).and_then(|n| all.get(n));
    before.is_some_and(|b| b.is_tail && b.inlined)
}

/// Frame by frame up to where gdb has no name, but for those that ended by a
/// call, and what is behind a trap.
fn equals_gdb(ours: &[Frame], theirs: &[Frame], is_trap: bool) -> bool {
    let named = |f: &&Frame| f.function != UNKNOWN;
    // A thread that has not run yet.
    let theirs = match theirs.first() {
        Some(f) if f.function == "fork_trampoline" => &theirs[..1],
        _ => theirs,
    };
    let mut theirs = theirs.iter().take_while(named).peekable();
    let is_empty = theirs.peek().is_none();
    for f in ours.iter().take_while(named) {
        match theirs.peek() {
            Some(t) if t.function == f.function => {
                theirs.next();
            }
            _ if f.is_tail => {}
            _ => return false,
        }
    }
    !is_empty && (is_trap || theirs.next().is_none())
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
            .args(["-o", "p hz", "-o", "p allproc.lh_first->p_comm"])
            .arg("-o")
            .arg(format!("p/x *(unsigned int *)(int (*)()){FUNCTION}")),
    )?;
    let mut ids = BTreeMap::new();
    let mut stacks: BTreeMap<u64, Vec<Frame>> = BTreeMap::new();
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
        } else if line.starts_with("frame #") {
            let rest = line.split_once('`').map(|(_, rest)| rest);
            let rest = rest.map_or(UNKNOWN, |rest| {
                let inlined = rest.split_once(" [inlined] ");
                inlined.map_or(rest, |(_, rest)| rest)
            });
            let name = rest.split(['(', ' ']).next().unwrap_or_default();
            let stack = stacks.entry(current.unwrap_or(0)).or_default();
            stack.push(seen(name, rest));
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
            .args(["-ex", "p allproc.lh_first->p_comm"])
            .arg("-ex")
            .arg(format!("x/1xw {FUNCTION}")),
    )?;
    let mut stacks: BTreeMap<u64, Vec<Frame>> = BTreeMap::new();
    let mut current = 0;
    for line in text.lines() {
        if let Some((_, rest)) = line.split_once("(LWP ")
            && line.starts_with("Thread ")
        {
            current = leading(rest);
            stacks.entry(current).or_default();
        } else if line.starts_with('#')
            && let Some((_, rest)) = line.split_once(' ')
        {
            let rest = rest.trim_start();
            let rest = rest.split_once(" in ").map_or(rest, |(_, rest)| rest);
            let name = rest.split([' ', '(']).next().unwrap_or_default();
            stacks.entry(current).or_default().push(seen(name, rest));
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
