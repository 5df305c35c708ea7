// SPDX-License-Identifier: BSD-2-Clause
//! Kernels that panic and send their dump to `livedump receive`.

use crate::args::Args;
use crate::console::Console;
use crate::deadlocks::TOOL;
use crate::dump_check::Answer;
use crate::error::{Result, io};
use crate::guest::{self, Files};
use crate::kernel::Kernel;
use crate::network::Network;
use crate::{panic, qemu};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// One in so many frames is lost.
const LOSS: u64 = 100;

/// What was to be seen, and what came of it.
type Results = Vec<(String, Answer<String>)>;

/// `livedump receive`, for one dump.
struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    fn start(crash: &Path) -> Answer<Self> {
        let text = |e: std::io::Error| format!("{TOOL} receive: {e}");
        let mut child = Command::new(std::env::current_exe().map_err(text)?)
            .args([TOOL, "receive", "--json", "--count", "1"])
            .args(["--timeout", "60s", "--bind", "127.0.0.1:0"])
            .arg(crash)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(text)?;
        let mut line = String::new();
        let stderr = child.stderr.take().ok_or("no standard error")?;
        let mut stderr = BufReader::new(stderr);
        stderr.read_line(&mut line).map_err(text)?;
        let address = line
            .strip_prefix("livedump: receiving at ")
            .and_then(|rest| rest.split(' ').next()?.parse().ok());
        // So that it never waits for a reader.
        std::thread::spawn(move || {
            std::io::copy(&mut stderr, &mut std::io::sink())
        });
        match address {
            Some(address) => Ok(Self { child, address }),
            None => Err(format!("{TOOL} receive: {line}")),
        }
    }

    /// What it says of the dump: it ends after one, or a minute after the
    /// guest. `None` if none came.
    fn dump(mut self) -> Answer<Value> {
        let mut text = String::new();
        let mut out = self.child.stdout.take().ok_or("no standard output")?;
        out.read_to_string(&mut text).map_err(|e| e.to_string())?;
        serde_json::from_str(&text).map_err(|e| format!("{e}: {text:?}"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Three guests, one after the other.
pub(crate) fn run(
    args: &Args,
    kernel: &Kernel,
    files: &Files,
    dir: &Path,
) -> Result<Results> {
    let mut results = Vec::new();
    for (how, loss) in
        [("plain", None), ("zstd", Some(LOSS)), ("encrypted", None)]
    {
        let crash = dir.join(format!("netdump-{how}"));
        let _ = std::fs::remove_dir_all(&crash);
        std::fs::create_dir_all(&crash).map_err(io("making", &crash))?;
        let (answer, console) =
            one(args, kernel, files, dir, how, loss, &crash)?;
        let name = format!("netdump {how}");
        for what in &console.failed {
            results.push((name.clone(), Err(what.clone())));
        }
        let answer =
            answer.and_then(|dump| check(kernel, &crash, how, &dump, &console));
        results.push((name, answer));
    }
    Ok(results)
}

fn one(
    args: &Args,
    kernel: &Kernel,
    files: &Files,
    dir: &Path,
    how: &str,
    loss: Option<u64>,
    crash: &Path,
) -> Result<(Answer<Value>, Console)> {
    let server = match Server::start(crash) {
        Ok(server) => server,
        Err(e) => return Ok((Err(e), Console::default())),
    };
    let network = Network::new(&args.nic, server.address, loss)
        .map_err(io("opening", "a network"))?;
    let interface = match args.nic.starts_with("virtio") {
        true => "vtnet0",
        false => "em0",
    };
    let env = [
        ("livedump.cases", "netdump".into()),
        ("livedump.netdump", format!("{interface},{how}")),
        ("debug.minidump", "1".into()),
        ("kern.panic_reboot_wait_time", "1".into()),
        ("debug.debugger_on_panic", "0".into()),
    ];
    let boot = guest::boot(kernel, files, None, &env, 0, dir)?;
    let console = qemu::run(&qemu::Machine {
        kernel,
        memory_file: false,
        more: &network.qemu,
        vmcoreinfo: false,
        boot: &boot,
        dir,
        smp: args.smp,
        mem: &args.mem,
        cpu: args.cpu.as_deref(),
        seconds: args.timeout,
        verbose: args.verbose,
    })?;
    Ok((server.dump(), console))
}

fn check(
    kernel: &Kernel,
    crash: &Path,
    how: &str,
    dump: &Value,
    console: &Console,
) -> Answer<String> {
    let is = |key: &str, want: Value| match dump[key] == want {
        true => Ok(()),
        false => Err(format!("{key} is {}, not {want}: {dump}", dump[key])),
    };
    is("complete", true.into())?;
    is("verdict", "sound".into())?;
    is("missing", 0.into())?;
    is("panic", panic::WHY.into())?;
    is("encrypted", (how == "encrypted").into())?;
    let name = match how {
        "zstd" => "vmcore.0.zst",
        "encrypted" => "vmcore_encrypted.0",
        _ => "vmcore.0",
    };
    let file = crash.join(name);
    let readable = match how {
        "encrypted" => decrypt(crash, &file)?,
        _ => file,
    };
    panic::readable(kernel, &readable, false, console, panic::WHY)?;
    let number = |key: &str| dump[key].as_u64().unwrap_or(0);
    let seconds = number("elapsed_ns") as f64 / 1e9;
    Ok(format!(
        "{} bytes in {seconds:.1} s, {} messages, {} again",
        number("received"),
        number("messages"),
        number("repeated")
    ))
}

/// By openssl(1), with the key that the guest has: see case_netdump.c.
fn decrypt(crash: &Path, file: &Path) -> Answer<std::path::PathBuf> {
    let text = |e: std::io::Error| e.to_string();
    let block = std::fs::read(crash.join("key.0")).map_err(text)?;
    let wrapped: Vec<u8> = (0..=255u8).rev().collect();
    let size = block.get(33..37).ok_or("key.0 is short")?;
    if size != 256u32.to_be_bytes() || block.get(37..293) != Some(&wrapped) {
        return Err("key.0 has another key".into());
    }
    let hex = |bytes: &mut dyn Iterator<Item = u8>| {
        bytes.map(|b| format!("{b:02x}")).collect::<String>()
    };
    let key = hex(&mut (0..32u8).map(|i| i * 7 + 1));
    let nonce = hex(&mut block[1..9].iter().copied());
    let plain = crash.join("vmcore.plain");
    let done = Command::new("openssl")
        .args(["enc", "-d", "-chacha20", "-K", &key, "-iv"])
        .arg(format!("0000000000000000{nonce}"))
        .arg("-in")
        .arg(file)
        .arg("-out")
        .arg(&plain)
        .output()
        .map_err(text)?;
    match done.status.success() {
        true => Ok(plain),
        false => Err(String::from_utf8_lossy(&done.stderr).into_owned()),
    }
}
