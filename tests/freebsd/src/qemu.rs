// SPDX-License-Identifier: BSD-2-Clause
//! One guest: started, listened to, ended.

use crate::arch;
use crate::console::Console;
use crate::error::{Error, Result, io};
use crate::guest::Boot;
use crate::kernel::Kernel;
use crate::outside::Outside;
use serde_json::{Value, json};
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// What to start.
#[derive(Debug)]
pub(crate) struct Machine<'a> {
    pub(crate) kernel: &'a Kernel,
    pub(crate) boot: &'a Boot,
    pub(crate) dir: &'a Path,
    pub(crate) smp: u32,
    pub(crate) mem: &'a str,
    /// Its memory is in a file.
    pub(crate) memory_file: bool,
    /// More of QEMU's arguments.
    pub(crate) more: &'a [String],
    /// With QEMU's vmcoreinfo device.
    pub(crate) vmcoreinfo: bool,
    /// QEMU's `-cpu`, if not the machine's own.
    pub(crate) cpu: Option<&'a str>,
    pub(crate) seconds: u64,
    pub(crate) verbose: bool,
}

/// Name of the disk that dumps come out on.
pub(crate) const OUTPUT: &str = "output.img";
/// Name of the dump device.
pub(crate) const DUMPDEV: &str = "dumpdev.img";

/// Where QEMU takes commands.
pub(crate) fn control(machine: &Machine<'_>) -> PathBuf {
    machine.dir.join("qmp")
}

/// Has QEMU do something.
fn command(machine: &Machine<'_>, command: &str, with: Value) -> Result<()> {
    let path = control(machine);
    let wanted = json!({ "execute": command, "arguments": with });
    let text = io("asking QEMU at", &path);
    let ask = || {
        let mut stream = UnixStream::connect(&path)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let mut answers = BufReader::new(stream.try_clone()?);
        let mut answer = String::new();
        answers.read_line(&mut answer)?;
        for command in [json!({ "execute": "qmp_capabilities" }), wanted] {
            writeln!(stream, "{command}")?;
            answer.clear();
            answers.read_line(&mut answer)?;
        }
        match answer.contains("\"error\"") {
            true => Err(std::io::Error::other(answer)),
            false => Ok(()),
        }
    };
    ask().map_err(text)
}

/// The last disk answers one more request and then none, or all of them.
fn slow_disk(machine: &Machine<'_>, on: bool) -> Result<()> {
    let mut with = json!({ "device": drive(disks(machine).len() - 1) });
    let limits = ["bps", "bps_rd", "bps_wr", "iops", "iops_rd", "iops_wr"];
    for limit in limits {
        with[limit] = json!(u8::from(on && limit == "bps"));
    }
    command(machine, "block_set_io_throttle", with)
}

/// The disks, the first of them first.
fn disks(machine: &Machine<'_>) -> Vec<&'static str> {
    let mut disks = vec![OUTPUT, "scratch.img", DUMPDEV];
    disks.extend(machine.boot.root);
    disks.extend(machine.boot.slow);
    disks
}

/// QEMU's name of a disk.
fn drive(n: usize) -> String {
    format!("d{n}")
}

/// Ended with its owner.
pub(crate) struct Guest(pub(crate) Child);

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
    listen(machine, start(machine)?)
}

/// Starts a guest.
pub(crate) fn start(machine: &Machine<'_>) -> Result<Guest> {
    disk(&machine.dir.join(OUTPUT), 64 << 30)?;
    disk(&machine.dir.join(DUMPDEV), 4 << 30)?;
    let arch = &machine.kernel.arch.qemu;
    let mut qemu = Command::new(arch.program);
    qemu.args(["-accel", "tcg,thread=multi", "-nodefaults", "-no-reboot"])
        .args(["-display", "none", "-serial", "stdio"])
        .args(arch.args)
        .args(["-cpu", machine.cpu.unwrap_or(arch.cpu), "-m", machine.mem])
        .args(["-smp", &machine.smp.to_string()]);
    let mut disks: Vec<_> = disks(machine).into_iter().enumerate().collect();
    if arch.disks_backwards {
        disks.reverse();
    }
    for (n, name) in disks {
        let (file, drive) = (machine.dir.join(name), drive(n));
        let file = file.display();
        qemu.arg("-drive")
            .arg(format!(
                "file={file},format=raw,if=none,id={drive},cache=unsafe"
            ))
            .args(["-device", &format!("{},drive={drive}", arch.disk)]);
    }
    let control = control(machine);
    if machine.memory_file {
        let (path, size) = (machine.dir.join("memory"), machine.mem);
        let backend = format!(
            "memory-backend-file,id=ram0,size={size},mem-path={},share=on",
            path.display()
        );
        qemu.args(["-object", &backend, "-machine", "memory-backend=ram0"]);
    }
    if machine.vmcoreinfo {
        qemu.args(["-device", "vmcoreinfo"]);
    }
    if let Some(append) = &machine.boot.append {
        qemu.args(["-append", append]);
    }
    let child = qemu
        .args(machine.more)
        .arg("-qmp")
        .arg(format!("unix:{},server=on,wait=off", control.display()))
        .arg("-kernel")
        .arg(&machine.boot.kernel)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn();
    let child = match child {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Err(without(arch));
        }
        other => other.map_err(io("running", arch.program))?,
    };
    Ok(Guest(child))
}

/// Its program is not there.
pub(crate) fn without(qemu: &arch::Qemu) -> Error {
    let (program, package) = (qemu.program, qemu.package);
    Error::Skip(format!("no {program} (Debian: {package})"))
}

fn listen(machine: &Machine<'_>, mut guest: Guest) -> Result<Console> {
    let log = machine.dir.join("console.log");
    let mut lines = Lines::of(&mut guest, &log, machine.verbose)?;
    let end = Instant::now() + Duration::from_secs(machine.seconds);
    let mut console = Console::default();
    while lines.next(end, &mut console)?.is_some() {
        if std::mem::take(&mut console.wants_nmi) {
            command(machine, "inject-nmi", json!({}))?;
        }
        if let Some(on) = console.wants_slow.take() {
            slow_disk(machine, on)?;
        }
        if let Some(name) = console.wants_outside.take() {
            let (kernel, dir) = (machine.kernel, machine.dir);
            let (socket, bell) = (control(machine), dir.join(DUMPDEV));
            let vmcoreinfo = machine.vmcoreinfo;
            let outside = Outside { kernel, dir, socket, bell, vmcoreinfo };
            outside.serve(&name, &mut console);
        }
    }
    if Instant::now() >= end {
        let text = format!("no end after {} seconds", machine.seconds);
        console.failed.push(text);
    }
    Ok(console)
}

/// The lines of a guest's console.
pub(crate) struct Lines {
    lines: Receiver<String>,
    log: File,
    path: PathBuf,
    verbose: bool,
}

impl Lines {
    /// Those of a guest that was just started; they go to `log` as well.
    pub(crate) fn of(
        guest: &mut Guest,
        log: &Path,
        verbose: bool,
    ) -> Result<Self> {
        let path = log.to_owned();
        let log = File::create(log).map_err(io("making", log))?;
        let (send, lines) = channel();
        if let Some(stdout) = guest.0.stdout.take() {
            std::thread::spawn(move || {
                for line in BufReader::new(stdout).split(b'\n') {
                    let Ok(line) = line else { break };
                    let line = String::from_utf8_lossy(&line).into_owned();
                    if send.send(line).is_err() {
                        break;
                    }
                }
            });
        }
        Ok(Self { lines, log, path, verbose })
    }

    /// The next line, unless the guest or the time ends before.
    pub(crate) fn next(
        &mut self,
        end: Instant,
        console: &mut Console,
    ) -> Result<Option<String>> {
        let left = end.saturating_duration_since(Instant::now());
        let Ok(line) = self.lines.recv_timeout(left) else { return Ok(None) };
        if self.verbose {
            println!("  | {}", line.trim_end());
        }
        writeln!(self.log, "{line}").map_err(io("writing", &self.path))?;
        console.line(&line);
        Ok(Some(line))
    }
}
