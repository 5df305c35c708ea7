// SPDX-License-Identifier: BSD-2-Clause
//! QEMU's dump-guest-memory: a guest that never ran has the image as its
//! memory, of which it changes no byte, dumps it and ends. Its start, 0.05 s,
//! counts.

use crate::Result;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub const PROGRAM: &str = "qemu-system-x86_64";
/// For QEMU to listen.
const STARTS_WITHIN: Duration = Duration::from_secs(20);

#[derive(Debug, clap::Args)]
pub struct Args {
    /// elf or kdump-zlib
    format: String,
    /// The memory
    image: PathBuf,
    /// The dump
    output: PathBuf,
}

pub fn run(args: &Args) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let socket = directory.path().join("qmp");
    let size = std::fs::metadata(&args.image)?.len();
    let mut object = OsString::from("memory-backend-file,id=memory,share=off,");
    object.push(format!("size={size},mem-path="));
    object.push(&args.image);
    let mut monitor = OsString::from("unix:");
    monitor.push(&socket);
    monitor.push(",server=on,wait=off");
    let mut guest = Command::new(PROGRAM)
        .args(["-S", "-nodefaults", "-display", "none", "-machine"])
        .args(["q35,memory-backend=memory", "-m", &format!("{size}b")])
        .arg("-object")
        .arg(object)
        .arg("-qmp")
        .arg(monitor)
        .stdin(Stdio::null())
        .spawn()?;
    let done = connect(&socket, &mut guest).and_then(|to| dump(to, args));
    if done.is_err() {
        // Where it did not listen, it did not end either.
        let _ = guest.kill();
    }
    let status = guest.wait()?;
    done?;
    match status.success() {
        true => Ok(()),
        false => Err(format!("{PROGRAM}: {status}").into()),
    }
}

fn connect(socket: &PathBuf, guest: &mut Child) -> Result<UnixStream> {
    let until = Instant::now() + STARTS_WITHIN;
    loop {
        match UnixStream::connect(socket) {
            Ok(stream) => return Ok(stream),
            Err(e) if Instant::now() > until => return Err(e.into()),
            Err(_) => {}
        }
        if let Some(status) = guest.try_wait()? {
            return Err(format!("{PROGRAM}: {status}").into());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn dump(mut to: UnixStream, args: &Args) -> Result<()> {
    let mut lines = BufReader::new(to.try_clone()?).lines();
    let mut protocol = String::from("file:");
    protocol += args.output.to_str().ok_or("the output's path is no text")?;
    let mut arguments =
        serde_json::json!({ "paging": false, "protocol": protocol });
    if args.format != "elf" {
        arguments["format"] = args.format.clone().into();
    }
    // That of the dump returns when it is written.
    for (command, arguments) in [
        ("qmp_capabilities", serde_json::json!({})),
        ("dump-guest-memory", arguments),
        ("quit", serde_json::json!({})),
    ] {
        let request = serde_json::json!({
            "execute": command, "arguments": arguments,
        });
        writeln!(to, "{request}")?;
        loop {
            let line = lines.next().ok_or("QEMU says nothing more")??;
            let said: serde_json::Value = serde_json::from_str(&line)?;
            if let Some(error) = said.get("error") {
                return Err(format!("{command}: {error}").into());
            }
            if let Some(result) = said.pointer("/data/result")
                && result.get("status") == Some(&"failed".into())
            {
                return Err(format!("{command}: {result}").into());
            }
            if said.get("return").is_some() {
                break;
            }
        }
    }
    Ok(())
}
