// SPDX-License-Identifier: BSD-2-Clause
//! The dump that a panic in the middle of a live dump leaves at the end of
//! the dump device. `livedump save` brings it out, and so does [`extract`],
//! which knows the bytes by itself and has nothing of the tool's code.

use crate::console::Console;
use crate::deadlocks::tool;
use crate::dump_check::{Answer, DumpCheck};
use crate::kernel::Kernel;
use crate::qemu::DUMPDEV;
use crate::symbols::Symbols;
use livedump_cli::cmd::save;
use livedump_cli::outcome::Outcome;
use livedump_vmcore::image::Format;
use livedump_vmcore::{Opened, Vmcore, chain, elf};
use serde_json::Value;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// What ldtest.ko panics with.
pub(crate) const WHY: &str = "ldtest: asked to";
/// What kernels panic with where the host sent an NMI.
pub(crate) const NMI: &str = "NMI";

/// Saved as an operator does it, equal to what is on the device, readable. A
/// full dump is an ELF core, in which the kernel has to be found. Whether the
/// thread that panicked was in livedump.ko.
pub(crate) fn dump(
    kernel: &Kernel,
    dir: &Path,
    full: bool,
    console: &Console,
    why: &str,
) -> Answer<bool> {
    let disk = dir.join(DUMPDEV);
    let (want, crash) = (dir.join("panic-dump"), dir.join("panic-crash"));
    let text = |e: io::Error| e.to_string();
    extract(&disk, &want, why)?;
    let _ = std::fs::remove_dir_all(&crash);
    std::fs::create_dir(&crash).map_err(text)?;
    let ask = |check, keep| {
        let args = save::Args {
            check,
            list: false,
            offset: None,
            force: false,
            keep,
            maxdumps: None,
            no_seal: false,
            quiet: true,
            json: false,
            device: disk.clone(),
            directory: crash.clone(),
        };
        save::run(&args).map_err(|e| format!("save: {}", chain(&e)))
    };
    for (what, check, keep, outcome) in [
        ("--check", true, false, Outcome::Clean),
        ("--keep", false, true, Outcome::Clean),
        ("", false, false, Outcome::Clean),
        ("--check, afterwards", true, false, Outcome::Finding),
        ("again", false, false, Outcome::Finding),
    ] {
        if ask(check, keep)? != outcome {
            return Err(format!("save {what}: not {outcome:?}"));
        }
    }
    let saved = [crash.join("vmcore.0"), crash.join("vmcore.1")];
    for file in &saved {
        if !equal(&want, file).map_err(text)? {
            return Err(format!("{} is not what is there", file.display()));
        }
    }
    if crash.join("vmcore.2").exists() {
        return Err("saved once more after it was cleared".into());
    }
    let info = std::fs::read_to_string(crash.join("info.1")).map_err(text)?;
    if !info.contains(&format!("\n  Panic String: {why}")) {
        return Err(format!("info.1 has not {why:?}: {info}"));
    }
    let inside = readable(kernel, &saved[1], full, console, why)?;
    std::fs::remove_file(&want).map_err(text)?;
    std::fs::remove_dir_all(&crash).map_err(text)?;
    Ok(inside)
}

fn open(kernel: &Kernel, path: &Path, full: bool) -> Answer<Vmcore> {
    let file = File::open(path).map_err(|e| e.to_string())?;
    let opened = Opened::new(file, path).map_err(|e| chain(&e))?;
    let image = match opened {
        Opened::Minidump(core) if !full => return Ok(*core),
        Opened::Image(image) if full => image,
        _ => return Err("not the kind of dump that was asked for".into()),
    };
    let (format, claims) = (image.image().format(), image.image().claims());
    if format != Format::Elf || !claims.notes.is_empty() {
        return Err(format!("a full dump is {format}: {:?}", claims.notes));
    }
    let kernel = elf::Kernel::open(&kernel.path).map_err(|e| chain(&e))?;
    image.with_kernel(&kernel).map_err(|e| chain(&e))
}

pub(crate) fn readable(
    kernel: &Kernel,
    file: &Path,
    full: bool,
    told: &Console,
    why: &str,
) -> Answer<bool> {
    let symbols = Symbols::read(&kernel.path).map_err(|e| e.to_string())?;
    let core = open(kernel, file, full).map_err(|e| format!("open: {e}"))?;
    let console = Console::default();
    let mut problems = Vec::new();
    let dump_check = DumpCheck {
        core,
        arch: kernel.arch,
        symbols,
        console: &console,
        info: None,
        problems: &mut problems,
    };
    for answer in [dump_check.hz(), dump_check.msgbuf(), dump_check.allproc()] {
        answer?;
    }
    panicked(&kernel.path, file, why == NMI)?;
    let fact = |name| told.fact(name);
    let (Some(at), Some(bytes)) = (fact("module_at"), fact("module_bytes"))
    else {
        return Ok(false);
    };
    dump_check.was_in(at..at + bytes)
}

/// The thread that took the dump has the registers of that moment: what it
/// was in is a panic. The stack of an NMI ends with it.
fn panicked(kernel: &Path, file: &Path, nmi: bool) -> Answer<()> {
    let says = |args: &[&OsStr]| {
        let out = tool(args)?;
        match out.status.code() {
            Some(0) => Ok(out.stdout),
            Some(3) if nmi => Ok(out.stdout),
            code => {
                let text = String::from_utf8_lossy(&out.stderr);
                Err(format!("{:?}: {code:?}: {}", args.first(), text.trim()))
            }
        }
    };
    let (kernel, file) = (kernel.as_os_str(), file.as_os_str());
    let [read, raw, k, bt, json] =
        ["read", "--raw", "-k", "bt", "--json"].map(OsStr::new);
    let [name, bytes] = ["dumptid", "4"].map(OsStr::new);
    let tid = says(&[read, raw, k, kernel, file, name, bytes])?;
    let tid = tid.try_into().map_err(|_| "read: no dumptid")?;
    let tid = u32::from_le_bytes(tid).to_string();
    let text = says(&[bt, json, k, kernel, file, tid.as_ref()])?;
    let bt: Value = serde_json::from_slice(&text).map_err(|e| e.to_string())?;
    let frames = bt["frames"].as_array().ok_or("bt: no frames")?;
    let in_panic = frames.iter().any(|frame| frame["function"] == "vpanic");
    match bt["registers"] == "dumppcb" && in_panic {
        true => Ok(()),
        false => Err(format!("bt of the thread that took the dump: {bt}")),
    }
}

fn equal(a: &Path, b: &Path) -> io::Result<bool> {
    let (a, b) = (File::open(a)?, File::open(b)?);
    if a.metadata()?.len() != b.metadata()?.len() {
        return Ok(false);
    }
    let (mut a, mut b) = (BufReader::new(a).bytes(), BufReader::new(b).bytes());
    loop {
        match (a.next().transpose()?, b.next().transpose()?) {
            (None, None) => return Ok(true),
            (a, b) if a != b => return Ok(false),
            _ => {}
        }
    }
}

/// The plain dump at the end of a disk with 512-byte blocks, whose headers
/// are of version 4:
///
/// ```text
///  leading header   512 bytes
///  dump             dumpextent bytes
///  trailing header  512 bytes, the disk's last
/// ```
fn extract(disk: &Path, to: &Path, why: &str) -> Answer<()> {
    let text = |e: io::Error| format!("the dump device: {e}");
    let file = File::open(disk).map_err(text)?;
    let size = file.metadata().map_err(text)?.len();
    let header = |at: u64| {
        let mut block = [0; 512];
        file.read_exact_at(&mut block, at).map(|()| block).map_err(text)
    };
    let trailing = header(size - 512)?;
    let number = |at: usize| {
        let bytes = trailing[at..at + 8].try_into().unwrap_or_default();
        u64::from_be_bytes(bytes)
    };
    if !trailing.starts_with(b"FreeBSD Kernel Dump\0") {
        return Err("no dump at the end of the dump device".into());
    }
    if !trailing[320..].starts_with(why.as_bytes()) {
        return Err("the dump on the device is not of our panic".into());
    }
    // dumplength@40, dumpextent@496; dumpkeysize and blocksize@56.
    let (length, extent) = (number(40), number(496));
    if number(56) != 512 || length > extent || extent > size - 1024 {
        return Err(format!(
            "dumpkeysize and blocksize are {:#x}, dumplength {length}, \
             dumpextent {extent}",
            number(56)
        ));
    }
    let start = size - 512 - extent;
    if header(start - 512)? != trailing {
        return Err("the headers before and behind the dump differ".into());
    }
    let out = File::create(to).map_err(text)?;
    let mut piece = vec![0; 1 << 20];
    let mut at = 0;
    while at < length {
        let n = (length - at).min(piece.len() as u64) as usize;
        file.read_exact_at(&mut piece[..n], start + at).map_err(text)?;
        out.write_all_at(&piece[..n], at).map_err(text)?;
        at += n as u64;
    }
    Ok(())
}
