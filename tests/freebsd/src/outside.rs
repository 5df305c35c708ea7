// SPDX-License-Identifier: BSD-2-Clause
//! Dumps of a guest from outside, by the tool and QEMU's monitor: they are
//! whole, of one instant, and have the registers of the CPUs. The guest goes on
//! afterwards, also when the tool is killed.

use crate::check::Found;
use crate::console::Console;
use crate::deadlocks::{run_deadlock, tool};
use crate::dump_check::{Answer, DumpCheck};
use crate::gone::Gone;
use crate::kernel::Kernel;
use crate::lockstep::List;
use crate::symbols::Symbols;
use livedump_vmcore::Vmcore;
use serde_json::{Value, json};
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Where the guest reads how many requests were served.
const BELL_OFFSET: u64 = 1 << 30;
/// The tool is killed so long after it was started, and so much later each
/// time.
const KILL: [Duration; 2] =
    [Duration::from_millis(400), Duration::from_millis(150)];
/// A guest whose dump was given up has to run by then.
const RESUMED: Duration = Duration::from_secs(2);

/// A machine that said that it is about to stop has done so by then.
const GONE: Duration = Duration::from_secs(2);

/// A guest, seen from the host.
#[derive(Debug)]
pub(crate) struct Outside<'a> {
    pub(crate) kernel: &'a Kernel,
    pub(crate) dir: &'a Path,
    /// Where QEMU takes commands.
    pub(crate) socket: PathBuf,
    /// The disk on which the guest looks.
    pub(crate) bell: PathBuf,
    /// QEMU has its vmcoreinfo device.
    pub(crate) vmcoreinfo: bool,
}

/// What came of one request.
#[derive(Debug)]
pub(crate) enum Served {
    /// A dump.
    Dump(PathBuf),
    /// Something else, in words.
    Done(String),
}

impl Outside<'_> {
    /// Serves a request of the guest's.
    pub(crate) fn serve(&self, name: &str, console: &mut Console) {
        let kind = name.split('-').next().unwrap_or(name);
        let served = match kind {
            "killed" => self.kill(console.served.len()).map(Served::Done),
            "own" => self.own_dump().map(Served::Done),
            _ if Gone::of(name).is_some() => self.last(name, console),
            "page" => self.by_page(name).map(Served::Dump),
            "pageless" => self.without_page().map(Served::Done),
            _ => self.capture(name).map(Served::Dump),
        };
        console.served.push((name.to_owned(), served));
        if let Err(e) = self.ring(console.served.len() as u64) {
            console.failed.push(format!("{name}: {e}"));
        }
    }

    fn ring(&self, count: u64) -> Answer<()> {
        let text = |e: std::io::Error| format!("telling the guest: {e}");
        let disk = File::options().write(true).open(&self.bell);
        let disk = disk.map_err(text)?;
        disk.write_all_at(&count.to_le_bytes(), BELL_OFFSET).map_err(text)
    }

    fn args(&self, crash: &Path) -> Vec<std::ffi::OsString> {
        let mut all = self.args_unnamed(crash);
        all.extend(["-k".into(), self.kernel.path.as_os_str().into()]);
        all
    }

    /// Without the kernel's file.
    pub(crate) fn args_unnamed(&self, crash: &Path) -> Vec<std::ffi::OsString> {
        let machine = format!("qemu:{}", self.socket.display());
        let words = ["capture", "--json", "--machine", &machine];
        let words = words.into_iter().map(Into::into);
        words.chain([crash.as_os_str().into()]).collect()
    }

    pub(crate) fn crash(&self, name: &str) -> Answer<PathBuf> {
        let crash = self.dir.join(format!("crash-{name}"));
        let _ = std::fs::remove_dir_all(&crash);
        std::fs::create_dir(&crash).map_err(|e| e.to_string())?;
        Ok(crash)
    }

    fn capture(&self, name: &str) -> Answer<PathBuf> {
        let crash = self.crash(name)?;
        let out = tool(self.args(&crash))?;
        let text = String::from_utf8_lossy(&out.stderr);
        if out.status.code() != Some(0) {
            return Err(format!("capture: {}: {}", out.status, text.trim()));
        }
        std::fs::write(crash.join("json"), &out.stdout)
            .map_err(|e| e.to_string())?;
        Ok(crash)
    }

    /// A machine that asks for nothing any more: it is ended afterwards.
    fn last(&self, name: &str, console: &mut Console) -> Answer<Served> {
        std::thread::sleep(GONE);
        let crash = self.capture(name);
        let mut monitor = Monitor::connect(&self.socket)?;
        let status = monitor.command("query-status", json!({}))?;
        console.ended = true;
        monitor.command("quit", json!({}))?;
        match status["status"] == "running" {
            true => crash.map(Served::Dump),
            false => Err(format!("{name}: the guest is {status}")),
        }
    }

    /// Kills the tool while it works: the guest runs on.
    fn kill(&self, nth: usize) -> Answer<String> {
        let crash = self.crash("killed")?;
        let text = |e: std::io::Error| e.to_string();
        let program = std::env::current_exe().map_err(text)?;
        let mut child = Command::new(program)
            .arg("livedump")
            .args(self.args(&crash))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(text)?;
        let [first, step] = KILL;
        std::thread::sleep(first + step * u32::try_from(nth % 8).unwrap_or(0));
        let was_running = child.try_wait().map_err(text)?.is_none();
        child.kill().map_err(text)?;
        let killed = Instant::now();
        child.wait().map_err(text)?;
        let mut monitor = Monitor::connect(&self.socket)?;
        loop {
            let status = monitor.command("query-status", json!({}))?;
            if status["status"] == "running" {
                break;
            }
            if killed.elapsed() > RESUMED {
                return Err(format!("killed: the guest is {status}"));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let dump = monitor.command("query-dump", json!({}))?;
        let during = match was_running {
            true => format!("QEMU's dump {}", dump["status"]),
            false => "it was done before".into(),
        };
        let ms = killed.elapsed().as_millis();
        Ok(format!("killed: runs within {ms} ms; {during}"))
    }

    /// For how long QEMU's own command stops the guest.
    fn own_dump(&self) -> Answer<String> {
        let path = self.dir.join("own.elf");
        let mut monitor = Monitor::connect(&self.socket)?;
        let to = format!("file:{}", path.display());
        let arguments = json!({ "paging": false, "protocol": to });
        monitor.command("dump-guest-memory", arguments)?;
        monitor.command("query-status", json!({}))?;
        let _ = std::fs::remove_file(&path);
        let at =
            |name: &str| monitor.events.iter().find(|e| e["event"] == name);
        let us = |event: Option<&Value>| {
            let stamp = &event?["timestamp"];
            let seconds = stamp["seconds"].as_u64()?;
            Some(seconds * 1_000_000 + stamp["microseconds"].as_u64()?)
        };
        match (us(at("STOP")), us(at("RESUME"))) {
            (Some(from), Some(to)) => {
                let ms = to.saturating_sub(from) / 1000;
                Ok(format!("pause of QEMU's dump-guest-memory: {ms} ms"))
            }
            _ => Err("no STOP and RESUME".into()),
        }
    }
}

/// QEMU's monitor, in answers that are all awaited.
struct Monitor {
    stream: BufReader<UnixStream>,
    events: Vec<Value>,
}

impl Monitor {
    fn connect(socket: &Path) -> Answer<Self> {
        let text = |e: std::io::Error| format!("{}: {e}", socket.display());
        let stream = UnixStream::connect(socket).map_err(text)?;
        let timeout = Some(Duration::from_secs(60));
        stream.set_read_timeout(timeout).map_err(text)?;
        let stream = BufReader::new(stream);
        let mut monitor = Self { stream, events: Vec::new() };
        // What a client that was killed had still to get comes first.
        while monitor.line()?.get("QMP").is_none() {}
        monitor.command("qmp_capabilities", json!({}))?;
        Ok(monitor)
    }

    fn line(&mut self) -> Answer<Value> {
        let mut line = String::new();
        self.stream.read_line(&mut line).map_err(|e| e.to_string())?;
        serde_json::from_str(&line).map_err(|e| e.to_string())
    }

    fn command(&mut self, name: &str, arguments: Value) -> Answer<Value> {
        let command = json!({ "execute": name, "arguments": arguments });
        writeln!(self.stream.get_mut(), "{command}")
            .map_err(|e| e.to_string())?;
        loop {
            let mut answer = self.line()?;
            if let Some(value) = answer.get_mut("return") {
                return Ok(value.take());
            }
            match answer.get("event") {
                Some(_) => self.events.push(answer),
                None => return Err(format!("{name}: {answer}")),
            }
        }
    }
}

/// Checks what the tool has left in a directory.
pub(crate) fn check(
    kernel: &Kernel,
    console: &Console,
    name: &str,
    crash: &Path,
) -> (Found, Option<u64>) {
    let mut found = Found { is_ours: true, ..Found::default() };
    let mut pause = None;
    if let Err(e) =
        check_all(kernel, console, name, crash, &mut found, &mut pause)
    {
        found.problems.push(e);
    }
    if found.problems.is_empty() {
        let _ = std::fs::remove_dir_all(crash);
    }
    (found, pause)
}

fn check_all(
    kernel: &Kernel,
    console: &Console,
    name: &str,
    crash: &Path,
    found: &mut Found,
    pause: &mut Option<u64>,
) -> Answer<()> {
    let read = |name: &str| {
        std::fs::read_to_string(crash.join(name)).map_err(|e| e.to_string())
    };
    let json: Value =
        serde_json::from_str(&read("json")?).map_err(|e| e.to_string())?;
    *pause = json["instant"]["pause_ns"].as_u64();
    if pause.is_none_or(|ns| ns == 0) || json["instant"]["outside"] != true {
        return Err(format!("pause: {json}"));
    }
    if json["verdict"] != "sound" {
        return Err(format!("verdict: {json}"));
    }
    let (info, path) = (read("info.0")?, crash.join("livecore.0"));
    let length = std::fs::metadata(&path).map_err(|e| e.to_string())?.len();
    let symbols = Symbols::read(&kernel.path).map_err(|e| e.to_string())?;
    let core = Vmcore::open(&path).map_err(|e| format!("open: {e}"))?;
    let mut problems = Vec::new();
    let info = Some((info.as_str(), "good"));
    let check = DumpCheck {
        core,
        arch: kernel.arch,
        symbols,
        console,
        info,
        problems: &mut problems,
    };
    check.taken_outside()?;
    let gone = Gone::of(name);
    if let Some(gone) = gone {
        gone.check(&check)?;
        gone.check_deadlocks(kernel, &path, &check)?;
    } else if name.starts_with("spun") {
        check.spins()?;
        check.turns()?;
    } else {
        let steps = check.steps()?;
        found.steps = Some(steps);
        if steps.torn != 0 || steps.list == List::Torn {
            return Err(format!("lockstep: {steps:?}"));
        }
    }
    check.all(length);
    found.problems.extend(problems);
    if kernel.has_types && gone.is_none() {
        let report = run_deadlock(&kernel.path, &path)?;
        found.uncertain = Some(report.check_none()?);
        found.undetermined = report.is_undetermined();
    }
    Ok(())
}
