// SPDX-License-Identifier: BSD-2-Clause
//! QEMU's dump-guest-memory, of a guest that has nothing but its firmware.

use super::{memory, open, runs};
use livedump_vmcore::image::{CpuState, Format};
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
/// Where memory starts on arm64.
const ARM: u64 = 1 << 30;

/// A guest that is stopped; killed when it is dropped.
pub struct Guest {
    /// Where its memory is.
    start: u64,
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
    /// Starts an amd64 one and lets its firmware run a moment.
    pub fn amd64() -> Option<Self> {
        let args = ["-machine", "q35,accel=tcg", "-vga", "std"];
        let mut guest = Self::start("qemu-system-x86_64", &args, 0)?;
        guest.command("cont", json!({}));
        std::thread::sleep(Duration::from_millis(500));
        guest.command("stop", json!({}));
        Some(guest)
    }

    /// Starts Linux, which says on its console that it is ready, and stops it
    /// then.
    pub fn linux(kernel: &Path, initrd: &Path) -> Option<Self> {
        let console = tempfile::NamedTempFile::new().unwrap();
        let serial = format!("file:{}", console.path().display());
        let (kernel, initrd) = (kernel.to_str()?, initrd.to_str()?);
        let args = [
            &["-machine", "q35,accel=tcg", "-cpu", "max", "-m", "256"][..],
            &["-device", "vmcoreinfo", "-kernel", kernel, "-initrd", initrd],
            &["-append", "console=ttyS0 quiet panic=-1", "-no-reboot"],
            &["-serial", &serial],
        ];
        let program = "qemu-system-x86_64";
        let mut guest = Self::start(program, &args.concat(), 0)?;
        guest.command("cont", json!({}));
        let end = Instant::now() + Duration::from_secs(400);
        loop {
            let text = std::fs::read(console.path()).unwrap();
            let text = String::from_utf8_lossy(&text);
            if text.contains("livedump: ready") {
                break;
            }
            let ended = guest.child.try_wait().unwrap();
            assert!(ended.is_none(), "{ended:?}: {text}");
            assert!(Instant::now() < end, "{text}");
            std::thread::sleep(Duration::from_millis(200));
        }
        guest.command("stop", json!({}));
        Some(guest)
    }

    /// Starts an arm64 one, which has no firmware: there are numbers in its
    /// memory, after a megabyte for its device tree.
    fn arm64() -> Option<Self> {
        let numbers = tempfile::NamedTempFile::new().unwrap();
        let bytes: Vec<u8> =
            (0..MEMORY as u32 / 8).flat_map(u32::to_be_bytes).collect();
        std::fs::write(numbers.path(), &bytes).unwrap();
        let loader = format!(
            "loader,file={},addr={:#x},force-raw=on",
            numbers.path().display(),
            ARM + (1 << 20)
        );
        let args = ["-machine", "virt,accel=tcg", "-cpu", "cortex-a57"];
        let args = [&args[..], &["-device", &loader]].concat();
        Self::start("qemu-system-aarch64", &args, ARM)
    }

    /// Starts one with two CPUs, which do not run; says why it is skipped
    /// where there is no QEMU.
    fn start(program: &str, args: &[&str], start: u64) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("qmp");
        let mut child = match Command::new(program)
            .args(["-S", "-display", "none", "-nodefaults"])
            .args(["-smp", "2", "-m", "64"])
            .args(args)
            .args(["-qmp".into(), qmp(&socket)])
            .stdin(Stdio::null())
            .spawn()
        {
            Ok(child) => child,
            Err(e) => {
                livedump_skip::skipped(format_args!("{program}: {e}"));
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
        let socket = BufReader::new(stream);
        let mut guest = Self { start, child, socket, dir };
        guest.line();
        guest.command("qmp_capabilities", json!({}));
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
        let start = self.start;
        self.command(
            "pmemsave",
            json!({ "val": start, "size": MEMORY, "filename": path }),
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

/// That an image has an amd64 guest's memory and nothing else below its end.
#[track_caller]
pub fn check(path: &Path, raw: &[u8], format: Format) {
    let image = open(path);
    assert_eq!(image.format(), format);
    let claims = image.claims();
    assert_eq!(claims.machine, Some(Machine::Amd64));
    assert!(claims.notes.is_empty(), "{:?}", claims.notes);
    assert_eq!(claims.cpus.len(), 2);
    let has_run = |cpu: &CpuState| match cpu {
        CpuState::Amd64(state) => state.pcb[7] != 0,
        CpuState::Arm64(_) => false,
    };
    assert!(claims.cpus.iter().any(has_run));
    let found = runs(image.as_ref());
    assert_eq!(found[..2], [(0, LOW), (HIGH, MEMORY)]);
    // The memory of the screen, and the firmware below 4 GiB.
    assert_eq!(found.last().unwrap().1, 4 << 30);
    let mut want = raw.to_vec();
    want[LOW as usize..HIGH as usize].fill(0);
    equal(&want, &memory(image.as_ref(), 0, MEMORY), path);
}

#[track_caller]
fn equal(want: &[u8], have: &[u8], path: &Path) {
    assert_eq!(want.len(), have.len());
    for (i, (a, b)) in want.chunks(4096).zip(have.chunks(4096)).enumerate() {
        assert!(a == b, "page {i:#x} of {}", path.display());
    }
}

/// What a format that QEMU lists is read as.
fn kind(format: &str) -> Option<Format> {
    match format {
        "elf" => Some(Format::QemuElf),
        kdump if kdump.starts_with("kdump-") => Some(Format::QemuKdump),
        _ => None,
    }
}

#[test]
fn every_page_of_a_guest_is_in_every_format() {
    let Some(mut guest) = Guest::amd64() else { return };
    let raw = guest.memory();
    assert_eq!(raw.len() as u64, MEMORY);
    assert!(raw.iter().any(|&b| b != 0), "the firmware has not run");
    for format in guest.formats() {
        let Some(kind) = kind(&format) else { continue };
        let path = guest.dump(&format);
        check(&path, &raw, kind);
    }
}

#[test]
fn every_page_of_an_arm64_guest_is_in_every_format() {
    let Some(mut guest) = Guest::arm64() else { return };
    let raw = guest.memory();
    assert!(raw[1 << 20..].starts_with(&[0, 0, 0, 0, 0, 0, 0, 1]));
    for format in guest.formats() {
        let Some(kind) = kind(&format) else { continue };
        let path = guest.dump(&format);
        let image = open(&path);
        assert_eq!(image.format(), kind);
        assert_eq!(image.claims().machine, Some(Machine::Arm64));
        // Before their first instruction: at EL1, all interrupts masked.
        let cpus = &image.claims().cpus;
        let level = |cpu: &CpuState| match cpu {
            CpuState::Arm64(cpu) => Some((cpu.pstate & 0xfff, cpu.pc)),
            CpuState::Amd64(_) => None,
        };
        let levels: Vec<_> = cpus.iter().map(level).collect();
        assert_eq!(levels, [Some((0x3c5, 0)); 2]);
        let found = runs(image.as_ref());
        assert!(found.contains(&(ARM, ARM + MEMORY)), "{found:x?}");
        equal(&raw, &memory(image.as_ref(), ARM, MEMORY), &path);
    }
}
