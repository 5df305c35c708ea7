// SPDX-License-Identifier: BSD-2-Clause
//! One guest: started, listened to, ended.

use crate::console::Console;
use crate::error::{Error, Result, io};
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// What to start.
#[derive(Debug)]
pub(crate) struct Machine<'a> {
    pub(crate) image: &'a Path,
    pub(crate) dir: &'a Path,
    /// The name of a fourth disk.
    pub(crate) root: Option<&'a str>,
    pub(crate) smp: u32,
    pub(crate) mem: &'a str,
    pub(crate) cpu: &'a str,
    pub(crate) seconds: u64,
    pub(crate) verbose: bool,
}

/// Name of the disk that dumps come out on.
pub(crate) const OUTPUT: &str = "output.img";
/// Name of the dump device.
pub(crate) const DUMPDEV: &str = "dumpdev.img";

/// Where QEMU takes commands.
fn control(machine: &Machine<'_>) -> PathBuf {
    machine.dir.join("qmp")
}

/// An NMI on every CPU.
fn inject_nmi(machine: &Machine<'_>) -> Result<()> {
    let path = control(machine);
    let text = io("asking QEMU at", &path);
    let ask = || {
        let mut stream = UnixStream::connect(&path)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let mut answers = BufReader::new(stream.try_clone()?);
        let mut answer = String::new();
        answers.read_line(&mut answer)?;
        for command in ["qmp_capabilities", "inject-nmi"] {
            writeln!(stream, "{{\"execute\": \"{command}\"}}")?;
            answers.read_line(&mut answer)?;
        }
        Ok(())
    };
    ask().map_err(text)
}

/// Ended with its owner.
struct Guest(Child);

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn disk(path: &Path, bytes: u64) -> Result<()> {
    let file = File::create(path).map_err(io("making", path))?;
    file.set_len(bytes).map_err(io("making", path))
}

/// Runs a guest to its end, or to the time limit.
pub(crate) fn run(machine: &Machine<'_>) -> Result<Console> {
    disk(&machine.dir.join(OUTPUT), 64 << 30)?;
    disk(&machine.dir.join(DUMPDEV), 4 << 30)?;
    let drive = |name: &str| {
        let file = machine.dir.join(name);
        format!("file={},format=raw,if=virtio,cache=unsafe", file.display())
    };
    let mut qemu = Command::new("qemu-system-x86_64");
    qemu.args(["-accel", "tcg,thread=multi", "-nodefaults", "-no-reboot"])
        .args(["-display", "none", "-vga", "none", "-serial", "stdio"])
        .args(["-cpu", machine.cpu, "-m", machine.mem])
        .args(["-smp", &machine.smp.to_string()])
        .args(["-drive", &drive(OUTPUT)])
        .args(["-drive", &drive("scratch.img")])
        .args(["-drive", &drive(DUMPDEV)]);
    if let Some(root) = machine.root {
        qemu.args(["-drive", &drive(root)]);
    }
    let control = control(machine);
    let child = qemu
        .arg("-qmp")
        .arg(format!("unix:{},server=on,wait=off", control.display()))
        .arg("-kernel")
        .arg(machine.image)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn();
    let child = match child {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Err(Error::Skip(
                "no qemu-system-x86_64 (Debian: qemu-system-x86)".into(),
            ));
        }
        other => other.map_err(io("running", "qemu-system-x86_64"))?,
    };
    listen(machine, Guest(child))
}

fn listen(machine: &Machine<'_>, mut guest: Guest) -> Result<Console> {
    let log = machine.dir.join("console.log");
    let mut log_file = File::create(&log).map_err(io("making", &log))?;
    let mut console = Console::default();
    let Some(stdout) = guest.0.stdout.take() else { return Ok(console) };
    let (send, lines) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).split(b'\n') {
            let Ok(line) = line else { break };
            if send.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                break;
            }
        }
    });
    let end = Instant::now() + Duration::from_secs(machine.seconds);
    loop {
        let left = end.saturating_duration_since(Instant::now());
        match lines.recv_timeout(left) {
            Ok(line) => {
                if machine.verbose {
                    println!("  | {}", line.trim_end());
                }
                writeln!(log_file, "{line}").map_err(io("writing", &log))?;
                console.line(&line);
                if std::mem::take(&mut console.wants_nmi) {
                    inject_nmi(machine)?;
                }
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                console
                    .failed
                    .push(format!("no end after {} seconds", machine.seconds));
                break;
            }
        }
    }
    Ok(console)
}
