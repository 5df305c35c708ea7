// SPDX-License-Identifier: BSD-2-Clause
//! The programs compared: ours first in each group.

use crate::Result;
use crate::timed::Job;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What is compared with each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    Plain,
    Zstd,
    Gzip,
}

impl Group {
    pub const ALL: [Self; 3] = [Self::Plain, Self::Zstd, Self::Gzip];
}

/// Whether ours reads the file again for its seal; nobody else does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seal {
    None,
    Made,
}

/// Who does it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    Livedump,
    /// It with one thread: what the others add.
    Alone,
    Other,
    /// A library's calls, and no program: a bound, not a competitor.
    Codec,
}

/// One row.
#[derive(Debug)]
pub struct Entry {
    pub group: Group,
    pub who: Who,
    pub name: String,
    pub what: What,
}

#[derive(Debug)]
pub enum What {
    Program(Job),
    /// Calls of libzstd at a level, in so many threads.
    Codec(i32, u32),
    /// Why it cannot be run.
    Missing(&'static str),
}

/// Where everything is.
pub struct Place<'a> {
    /// The memory.
    pub image: &'a Path,
    /// The same for makedumpfile.
    pub core: &'a Path,
    /// For what is written.
    pub directory: &'a Path,
    /// Compressing threads, where one can say.
    pub workers: u32,
}

/// Levels of zstd that are measured.
const LEVELS: [i32; 9] = [-7, -6, -5, -4, -3, -2, -1, 1, 3];
/// Of those, with which the codec alone is measured.
const CODEC_LEVELS: [i32; 4] = [-5, -1, 1, 3];
const ONE: &str = "--single-thread";

/// All of them, in the order of the table.
pub fn all(place: &Place<'_>) -> Result<Vec<Entry>> {
    let threads = place.workers.to_string();
    let t = format!("-T{threads}");
    let p = format!("-p{threads}");
    let out = place.directory.join("out");
    let image = place.image.as_os_str();
    let output = out.as_os_str();
    let file = |group, options: &[&str], pipes: bool| {
        let mut words: Vec<OsString> = options.iter().map(Into::into).collect();
        words.push(image.into());
        if !pipes {
            words.push(output.into());
        }
        program(group, options.join(" "), words, &out, pipes)
    };
    let mut all = vec![
        ours(place, Group::Plain, Seal::None)?,
        ours(place, Group::Plain, Seal::Made)?,
        file(Group::Plain, &["cp"], false),
        qemu(place, Group::Plain, "elf", &out)?,
        ours(place, Group::Zstd, Seal::None)?,
        ours(place, Group::Zstd, Seal::Made)?,
    ];
    for level in LEVELS {
        if level != 1 {
            all.push(at_level(place, Group::Zstd, level, Seal::None)?);
        }
    }
    for level in CODEC_LEVELS {
        all.push(codec(level, place.workers));
    }
    if place.workers > 1 {
        all.push(alone(place)?);
        all.push(codec(1, 1));
    }
    all.push(file(Group::Zstd, &["zstd", "-1", &t, "-qc"], true));
    all.push(file(Group::Zstd, &["zstd", "--fast=5", &t, "-qc"], true));
    all.push(file(Group::Zstd, &["zstd", "-1", ONE, "-qc"], true));
    all.push(file(Group::Zstd, &["lz4", "-1", "-qc"], true));
    for option in ["-z", "-l", "-p"] {
        all.push(makedumpfile(place, option, &out));
    }
    let avml = "avml convert --source-format raw --format lime_compressed";
    let avml: Vec<_> = avml.split(' ').collect();
    let mut avml = file(Group::Zstd, &avml, false);
    avml.name = "avml convert (snappy)".into();
    all.push(avml);
    all.push(ours(place, Group::Gzip, Seal::None)?);
    all.push(ours(place, Group::Gzip, Seal::Made)?);
    all.push(file(Group::Gzip, &["pigz", "-1", &p, "-c"], true));
    all.push(qemu(place, Group::Gzip, "kdump-zlib", &out)?);
    Ok(all)
}

fn program(
    group: Group,
    name: String,
    words: Vec<OsString>,
    output: &Path,
    pipes: bool,
) -> Entry {
    let there = words.first().is_some_and(installed);
    let output = Some(output.to_path_buf());
    let what = match there {
        true => What::Program(Job { command: words, pipes, output }),
        false => What::Missing("not installed"),
    };
    Entry { group, who: Who::Other, name, what }
}

/// The most that can be had of it.
fn codec(level: i32, threads: u32) -> Entry {
    let name = format!("libzstd, level {level}, threads: {threads}");
    let what = What::Codec(level, threads);
    Entry { group: Group::Zstd, who: Who::Codec, name, what }
}

/// `livedump capture --machine raw:IMAGE`, as this program.
pub fn ours(place: &Place<'_>, group: Group, seal: Seal) -> Result<Entry> {
    at_level(place, group, 1, seal)
}

fn alone(place: &Place<'_>) -> Result<Entry> {
    let one = Place { workers: 1, ..*place };
    let entry = ours(&one, Group::Zstd, Seal::None)?;
    let name = format!("{} --workers=1", entry.name);
    Ok(Entry { who: Who::Alone, name, ..entry })
}

fn at_level(
    place: &Place<'_>,
    group: Group,
    level: i32,
    seal: Seal,
) -> Result<Entry> {
    let (format, ending) = match group {
        Group::Plain => (None, ""),
        Group::Zstd => (Some("-Z"), ".zst"),
        Group::Gzip => (Some("-z"), ".gz"),
    };
    let mut machine = OsString::from("raw:");
    machine.push(place.image);
    let mut words = tool()?;
    // Number 0 again each time.
    words.extend(["capture", "-q", "-m", "1", "--machine"].map(Into::into));
    words.push(machine);
    let mut name = "livedump capture".to_string();
    if let Some(format) = format {
        let workers = place.workers.to_string();
        let level = format!("--level={level}");
        let options = [format, &level, "--workers", &workers];
        words.extend(options.map(Into::into));
        name = format!("{name} {format} {level}");
    }
    if seal == Seal::None {
        words.push("--no-seal".into());
        name += " --no-seal";
    }
    words.push(place.directory.into());
    let output = place.directory.join(format!("livecore.0{ending}"));
    let job = Job { command: words, pipes: false, output: Some(output) };
    let what = What::Program(job);
    Ok(Entry { group, who: Who::Livedump, name, what })
}

/// livedump(8), as this program.
pub fn tool() -> Result<Vec<OsString>> {
    let this = std::env::current_exe()?.into_os_string();
    Ok(vec![this, "ours".into(), "--".into()])
}

fn qemu(
    place: &Place<'_>,
    group: Group,
    format: &str,
    out: &Path,
) -> Result<Entry> {
    let this = std::env::current_exe()?.into_os_string();
    let words = vec![
        this,
        "qemu".into(),
        format.into(),
        place.image.into(),
        out.into(),
    ];
    let name = format!("QEMU dump-guest-memory ({format})");
    let mut entry = program(group, name, words, out, false);
    if !installed(&crate::qemu::PROGRAM.into()) {
        entry.what = What::Missing("not installed");
    }
    Ok(entry)
}

/// Zero pages dropped, as everybody uses it.
fn makedumpfile(place: &Place<'_>, option: &str, out: &Path) -> Entry {
    let codec = match option {
        "-z" => "zstd",
        "-l" => "lzo",
        _ => "snappy",
    };
    let mut words: Vec<OsString> =
        ["makedumpfile", option, "-d", "1", "--message-level", "0"]
            .map(Into::into)
            .into();
    words.push(place.core.into());
    words.push(out.into());
    let name = format!("makedumpfile {option} -d 1 ({codec})");
    let mut entry = program(Group::Zstd, name, words, out, false);
    if let What::Program(_) = entry.what
        && !built_with(codec)
    {
        entry.what = What::Missing("built without it");
    }
    entry
}

/// Without its codec makedumpfile writes plain pages and says nothing.
fn built_with(codec: &str) -> bool {
    let Ok(said) = Command::new("makedumpfile").arg("-v").output() else {
        return false;
    };
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let mut lines = said.lines().map(str::split_whitespace);
    lines.any(|mut l| l.next() == Some(codec) && l.next() == Some("enabled"))
}

/// Whether there is such a program.
fn installed(program: &OsString) -> bool {
    let name = Path::new(program);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places = std::env::split_paths(&path).map(|d| d.join(name));
    name.is_absolute() || places.any(|p: PathBuf| p.is_file())
}
