// SPDX-License-Identifier: BSD-2-Clause
//! The memory of an arm64 guest, taken from outside: QEMU's ELF core, its
//! kdump, and nothing but memory. The kernel is started without a root file
//! system and stopped at its prompt for one; the reader has to find it in each
//! file, and says the same of all of them.

use crate::console::Console;
use crate::deadlocks::tool;
use crate::debuggers;
use crate::dump_check::Answer;
use crate::error::{Error, Result, io};
use crate::kernel::Kernel;
use crate::qemu::{self, Guest, Lines};
use serde_json::{Value, json};
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The last whole line before the prompt.
const PROMPT: &str = "Abort manual input";
/// Where QEMU's virt has its memory.
const START: u64 = 1 << 30;

/// What to start.
#[derive(Debug)]
pub(crate) struct Machine<'a> {
    pub(crate) dir: &'a Path,
    pub(crate) smp: u32,
    pub(crate) mem: &'a str,
    pub(crate) seconds: u64,
    pub(crate) verbose: bool,
}

/// A check by its name.
pub(crate) type Check = (&'static str, Answer<()>);

/// Starts the kernel, takes its memory, reads it: each check by its name, and
/// what was skipped.
pub(crate) fn run(
    machine: &Machine<'_>,
    kernel: &Kernel,
) -> Result<(Vec<Check>, Vec<String>)> {
    let files = take(machine, kernel)?;
    let [elf, ..] = &files;
    let mut all = vec![
        ("sound", sound(kernel, &files)),
        ("the same in all formats", same(kernel, &files)),
        ("registers of the CPUs", registers(kernel, elf, machine.smp)),
        ("minidump", minidump(machine, kernel, elf)),
    ];
    let mut skipped = Vec::new();
    match kernel.has_types {
        true => all.push((
            "debuggers",
            debuggers::check(kernel, elf, machine.dir)
                .map(|without| skipped.extend(without)),
        )),
        false => skipped.push("debuggers: no type information".into()),
    }
    Ok((all, skipped))
}

/// The guest's memory in three files.
fn take(machine: &Machine<'_>, kernel: &Kernel) -> Result<[PathBuf; 3]> {
    let bin = kernel.bin()?;
    let socket = machine.dir.join("qmp");
    let _ = std::fs::remove_file(&socket);
    let program = kernel.arch.qemu.program;
    let child = Command::new(program)
        .args(["-machine", "virt,accel=tcg", "-cpu", "cortex-a57"])
        .args(["-m", machine.mem, "-smp", &machine.smp.to_string()])
        .args(["-nodefaults", "-no-reboot", "-display", "none"])
        .args(["-serial", "stdio", "-append", "FreeBSD:", "-qmp"])
        .arg(format!("unix:{},server=on,wait=off", socket.display()))
        .arg("-kernel")
        .arg(&bin)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn();
    let child = match child {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Err(qemu::without(&kernel.arch.qemu));
        }
        other => other.map_err(io("running", program))?,
    };
    let mut guest = Guest(child);
    let log = machine.dir.join("console.log");
    let mut lines = Lines::of(&mut guest, &log, machine.verbose)?;
    let end = Instant::now() + Duration::from_secs(machine.seconds);
    let mut console = Console::default();
    loop {
        match lines.next(end, &mut console)? {
            Some(line) if line.contains(PROMPT) => break,
            Some(_) => {}
            None => {
                let log = log.display();
                let output = format!("no prompt for a root, see {log}");
                return Err(Error::Program { program: program.into(), output });
            }
        }
    }
    // The threads that it has started have gone to sleep by then.
    std::thread::sleep(Duration::from_secs(1));
    let mut qmp = Qmp::connect(&socket)?;
    qmp.command("stop", json!({}))?;
    let size = qmp.command("query-memory-size-summary", json!({}))?;
    let files = ["guest.elf", "guest.kdump", "guest.raw"];
    let [elf, kdump, raw] = files.map(|name| machine.dir.join(name));
    for (path, format) in [(&elf, "elf"), (&kdump, "kdump-zlib")] {
        let to = format!("file:{}", path.display());
        let arguments =
            json!({ "paging": false, "protocol": to, "format": format });
        qmp.command("dump-guest-memory", arguments)?;
    }
    let arguments = json!({
        "val": START, "size": size["base-memory"], "filename": raw,
    });
    qmp.command("pmemsave", arguments)?;
    Ok([elf, kdump, raw])
}

/// QEMU's control socket.
pub(crate) struct Qmp {
    socket: PathBuf,
    stream: BufReader<UnixStream>,
}

impl Qmp {
    pub(crate) fn connect(socket: &Path) -> Result<Self> {
        let doing = || io("connecting to", socket);
        let stream = UnixStream::connect(socket).map_err(doing())?;
        let timeout = Some(Duration::from_secs(120));
        stream.set_read_timeout(timeout).map_err(doing())?;
        let socket = socket.to_owned();
        let mut qmp = Self { socket, stream: BufReader::new(stream) };
        qmp.line()?;
        qmp.command("qmp_capabilities", json!({}))?;
        Ok(qmp)
    }

    fn line(&mut self) -> Result<Value> {
        let mut line = String::new();
        let read = self.stream.read_line(&mut line);
        read.map_err(io("reading", &self.socket))?;
        serde_json::from_str(&line)
            .map_err(std::io::Error::other)
            .map_err(io("reading", &self.socket))
    }

    pub(crate) fn command(
        &mut self,
        name: &str,
        arguments: Value,
    ) -> Result<Value> {
        let command = json!({ "execute": name, "arguments": arguments });
        writeln!(self.stream.get_mut(), "{command}")
            .map_err(io("writing", &self.socket))?;
        loop {
            let mut answer = self.line()?;
            if let Some(value) = answer.get_mut("return") {
                return Ok(value.take());
            }
            if answer.get("error").is_some() {
                let (program, output) = (name.into(), answer.to_string());
                return Err(Error::Program { program, output });
            }
        }
    }
}

/// A command's standard output; it has to succeed.
fn says(args: &[&str], kernel: &Kernel, files: &[&Path]) -> Answer<String> {
    let args = args.iter().map(OsStr::new);
    let k = [OsStr::new("-k"), kernel.path.as_os_str()];
    let files = files.iter().map(|file| file.as_os_str());
    let all: Vec<&OsStr> = args.chain(k).chain(files).collect();
    let out = tool(&all)?;
    match out.status.code() {
        Some(0) => Ok(String::from_utf8_lossy(&out.stdout).into_owned()),
        code => {
            let text = String::from_utf8_lossy(&out.stderr);
            Err(format!("{all:?}: {code:?}: {}", text.trim()))
        }
    }
}

fn sound(kernel: &Kernel, files: &[PathBuf; 3]) -> Answer<()> {
    for file in files {
        says(&["verify"], kernel, &[file])?;
        says(&["deadlock"], kernel, &[file])?;
    }
    Ok(())
}

fn same(kernel: &Kernel, files: &[PathBuf; 3]) -> Answer<()> {
    let commands: [&[&str]; 2] = [&["ps", "--threads"], &["dmesg"]];
    let wanted = ["idle: cpu0", "Release APs"];
    for (command, want) in commands.into_iter().zip(wanted) {
        let [first, others @ ..] = files;
        let text = says(command, kernel, &[first])?;
        if !text.contains(want) {
            return Err(format!("{command:?}: no {want:?}: {text}"));
        }
        for file in others {
            if says(command, kernel, &[file])? != text {
                let file = file.display();
                return Err(format!("{command:?} differs in {file}"));
            }
        }
    }
    Ok(())
}

/// Each CPU's thread has the registers of QEMU's notes, and its stack goes
/// down to where threads begin.
fn registers(kernel: &Kernel, elf: &Path, smp: u32) -> Answer<()> {
    let ps = says(&["ps", "--json"], kernel, &[elf])?;
    let ps: Value = serde_json::from_str(&ps).map_err(|e| e.to_string())?;
    let processes = ps["processes"].as_array().ok_or("ps: no processes")?;
    let threads = processes.iter().filter_map(|p| p["threads"].as_array());
    let mut stopped = 0;
    for tid in threads.flatten().filter_map(|t| t["tid"].as_u64()) {
        let tid = tid.to_string();
        let args = ["bt", "--json"];
        let bt = says(&args, kernel, &[elf, Path::new(&tid)])?;
        let bt: Value = serde_json::from_str(&bt).map_err(|e| e.to_string())?;
        if bt["registers"] != "stoppcbs" {
            continue;
        }
        stopped += 1;
        let frames = bt["frames"].as_array().ok_or("bt: no frames")?;
        let ends = ["fork_exit", "mi_startup"];
        if !frames.iter().any(|f| ends.iter().any(|&e| f["function"] == e)) {
            return Err(format!("thread {tid}: {bt}"));
        }
    }
    match stopped == smp {
        true => Ok(()),
        false => Err(format!("registers of {stopped} of {smp} CPUs")),
    }
}

/// The engine makes one, which says the same.
fn minidump(machine: &Machine<'_>, kernel: &Kernel, elf: &Path) -> Answer<()> {
    let crash = machine.dir.join("image-crash");
    let _ = std::fs::remove_dir_all(&crash);
    std::fs::create_dir(&crash).map_err(|e| e.to_string())?;
    let source = format!("image:{}", elf.display());
    let args = ["capture", "-q", "--machine", &source];
    says(&args, kernel, &[&crash])?;
    let mini = crash.join("livecore.0");
    says(&["verify"], kernel, &[&mini])?;
    for command in ["ps", "dmesg"] {
        let [of_mini, of_elf] =
            [&mini, elf].map(|file| says(&[command], kernel, &[file]));
        if of_mini? != of_elf? {
            return Err(format!("{command} differs"));
        }
    }
    Ok(())
}
