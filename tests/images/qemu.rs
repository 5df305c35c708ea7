// SPDX-License-Identifier: BSD-2-Clause
//! QEMU's dump-guest-memory, of a guest that has nothing but its firmware.

use super::{memory, open, runs};
use livedump_vmcore::image::Format;
use memdev::arch::Machine;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const MEMORY: u64 = 64 << 20;
/// What the firmware has of the first megabyte is for devices.
const LOW: u64 = 0xa_0000;
const HIGH: u64 = 0xc_0000;

/// A guest that is stopped; killed when it is dropped.
pub struct Guest {
    child: Child,
    socket: BufReader<UnixStream>,
    dir: tempfile::TempDir,
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Guest {
    /// Starts one with two CPUs and lets it run a moment; says why it is
    /// skipped where there is no QEMU.
    pub fn start() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("qmp");
        let mut child = match Command::new("qemu-system-x86_64")
            .args(["-S", "-display", "none", "-smp", "2", "-nodefaults"])
            .args(["-machine", "q35,accel=tcg", "-m", "64", "-vga", "std"])
            .args(["-qmp".into(), qmp(&socket)])
            .stdin(Stdio::null())
            .spawn()
        {
            Ok(child) => child,
            Err(e) => {
                livedump_skip::skipped(format_args!("qemu-system-x86_64: {e}"));
                return None;
            }
        };
        let end = Instant::now() + Duration::from_secs(60);
        let stream = loop {
            match UnixStream::connect(&socket) {
                Ok(stream) => break stream,
                Err(e) => {
                    let ended = child.try_wait().unwrap();
                    assert!(ended.is_none(), "{ended:?}");
                    assert!(Instant::now() < end, "{e}");
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
        };
        let timeout = Some(Duration::from_secs(120));
        stream.set_read_timeout(timeout).unwrap();
        let mut guest = Self { child, socket: BufReader::new(stream), dir };
        guest.line();
        guest.command("qmp_capabilities", json!({}));
        guest.command("cont", json!({}));
        std::thread::sleep(Duration::from_millis(500));
        guest.command("stop", json!({}));
        Some(guest)
    }

    fn line(&mut self) -> Value {
        let mut line = String::new();
        self.socket.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }

    fn command(&mut self, name: &str, arguments: Value) -> Value {
        let command = json!({ "execute": name, "arguments": arguments });
        writeln!(self.socket.get_mut(), "{command}").unwrap();
        loop {
            let mut answer = self.line();
            assert!(answer.get("error").is_none(), "{name}: {answer}");
            if let Some(value) = answer.get_mut("return") {
                return value.take();
            }
        }
    }

    /// The formats that this QEMU has.
    fn formats(&mut self) -> Vec<String> {
        let answer =
            self.command("query-dump-guest-memory-capability", json!({}));
        serde_json::from_value(answer["formats"].clone()).unwrap()
    }

    /// Its memory in one of them.
    pub fn dump(&mut self, format: &str) -> PathBuf {
        let path = self.dir.path().join(format);
        let protocol = format!("file:{}", path.display());
        self.command(
            "dump-guest-memory",
            json!({ "paging": false, "protocol": protocol, "format": format }),
        );
        path
    }

    /// Its memory without a format.
    pub fn memory(&mut self) -> Vec<u8> {
        let path = self.dir.path().join("memory");
        self.command(
            "pmemsave",
            json!({ "val": 0, "size": MEMORY, "filename": path }),
        );
        std::fs::read(path).unwrap()
    }
}

fn qmp(socket: &Path) -> std::ffi::OsString {
    let mut arg = std::ffi::OsString::from("unix:");
    arg.push(socket);
    arg.push(",server=on,wait=off");
    arg
}

/// That an image has the memory and nothing else below its end.
#[track_caller]
pub fn check(path: &Path, raw: &[u8], format: Format) {
    let image = open(path);
    assert_eq!(image.format(), format);
    let claims = image.claims();
    assert_eq!(claims.machine, Some(Machine::Amd64));
    assert!(claims.notes.is_empty(), "{:?}", claims.notes);
    assert_eq!(claims.cpus.len(), 2);
    assert!(claims.cpus.iter().any(|cpu| cpu.pcb[7] != 0));
    let found = runs(image.as_ref());
    assert_eq!(found[..2], [(0, LOW), (HIGH, MEMORY)]);
    // The memory of the screen, and the firmware below 4 GiB.
    assert_eq!(found.last().unwrap().1, 4 << 30);
    let mut want = raw.to_vec();
    want[LOW as usize..HIGH as usize].fill(0);
    let have = memory(image.as_ref(), MEMORY);
    for (i, (a, b)) in want.chunks(4096).zip(have.chunks(4096)).enumerate() {
        assert!(a == b, "page {i:#x} of {}", path.display());
    }
}

#[test]
fn every_page_of_a_guest_is_in_every_format() {
    let Some(mut guest) = Guest::start() else { return };
    let raw = guest.memory();
    assert_eq!(raw.len() as u64, MEMORY);
    assert!(raw.iter().any(|&b| b != 0), "the firmware has not run");
    for format in guest.formats() {
        let kind = match format.as_str() {
            "elf" => Format::QemuElf,
            kdump if kdump.starts_with("kdump-") => Format::QemuKdump,
            _ => continue,
        };
        let path = guest.dump(&format);
        check(&path, &raw, kind);
    }
}
