// SPDX-License-Identifier: BSD-2-Clause
//! The comparison, from the image to the table.

use crate::image::{self, Memory};
use crate::jobs::{self, Entry, Place, What};
use crate::pareto::Measured;
use crate::table::{self, Run};
use crate::timed::{Took, remove};
use crate::{Result, elfcore, pareto, reading, size};
use nix::sys::statvfs::statvfs;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    memory: Memory,
    /// How often everything is done
    #[arg(
        long,
        value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..),
        default_value_t = 5
    )]
    runs: u32,
    /// Compressing threads of all that have them
    #[arg(
        long,
        value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..),
        default_value_t = 2
    )]
    workers: u32,
    /// Only rows whose name has one of these in it
    #[arg(long, value_name = "WORD")]
    only: Vec<String>,
    /// Write speed over size as a picture
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Write all that was measured as one JSON object
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Where files are written; in memory (/dev/shm) if there is room
    #[arg(long, value_name = "DIRECTORY")]
    directory: Option<PathBuf>,
}

pub fn run(args: &Args) -> Result<()> {
    let bytes = args.memory.bytes()?;
    let work = tempfile::Builder::new()
        .prefix("livedump-bench")
        .tempdir_in(args.directory.clone().unwrap_or_else(|| room(bytes)))?;
    let memory = work.path().join("memory");
    args.memory.put(&memory)?;
    let core = work.path().join("core");
    elfcore::write(&memory, &core)?;
    say_what(args, &memory, work.path())?;

    let place = Place {
        image: &memory,
        core: &core,
        directory: work.path(),
        workers: args.workers,
    };
    let mut entries = jobs::all(&place)?;
    if !args.only.is_empty() {
        entries.retain(|e| args.only.iter().any(|w| e.name.contains(w)));
    }
    let runs = measure(args, &mut entries, &memory)?;
    print!("{}", table::table(&entries, &runs, bytes, args.workers));
    let measured = Measured::of(&entries, &runs, bytes, args.workers);
    print!("{}", pareto::table(&measured));
    if let Some(path) = &args.svg {
        fs::write(path, pareto::svg(&measured))?;
    }
    if let Some(path) = &args.json {
        let mut text = serde_json::to_string_pretty(&measured)?;
        text.push('\n');
        fs::write(path, text)?;
    }
    remove(&core)?;
    if args.only.is_empty() {
        reading::run(&place, args.runs)?;
    }
    Ok(())
}

/// Everybody's turn, so many times. One who fails is out.
fn measure(
    args: &Args,
    entries: &mut [Entry],
    memory: &Path,
) -> Result<Vec<Vec<Run>>> {
    let mut runs: Vec<Vec<Run>> = entries.iter().map(|_| vec![]).collect();
    for nth in 1..=args.runs {
        for (entry, runs) in entries.iter_mut().zip(&mut runs) {
            eprintln!("{nth}/{}: {}", args.runs, entry.name);
            // Elsewhere it might drive the image out of memory.
            if args.directory.is_none() {
                touch(memory)?;
            }
            match entry.what {
                What::Missing(_) => {}
                What::Codec(level, threads) => {
                    runs.push(codec(memory, level, threads)?);
                }
                What::Program(ref job) => match job.run() {
                    Ok(took) => {
                        let output = job.output.as_deref().unwrap_or(memory);
                        let bytes = output.metadata()?.blocks() * 512;
                        runs.push(Run { took, bytes });
                        remove(output)?;
                    }
                    Err(e) => {
                        eprintln!("{}: {e}", entry.name);
                        entry.what = What::Missing("failed");
                    }
                },
            }
        }
    }
    Ok(runs)
}

/// Has as much memory in use as the next one may write to: a hypervisor may
/// have taken back what was free for a while, and whoever comes first would
/// pay for it.
fn touch(memory: &Path) -> Result<()> {
    let path = memory.with_extension("touched");
    let mut file = File::create(&path)?;
    let block = vec![0; 1 << 20];
    for _ in 0..memory.metadata()?.len().div_ceil(1 << 20) {
        file.write_all(&block)?;
    }
    remove(&path)?;
    Ok(())
}

fn codec(memory: &Path, level: i32, threads: u32) -> Result<Run> {
    let out = Command::new(std::env::current_exe()?)
        .args(["libzstd", "--checksum", &format!("--level={level}")])
        .args(["--threads", &threads.to_string(), "--image"])
        .arg(memory)
        .output()?;
    let out = String::from_utf8(out.stdout)?;
    let numbers: Vec<&str> = out.split_whitespace().collect();
    let [wall, cpu, bytes] = numbers[..] else {
        return Err("the codec said nothing".into());
    };
    let time = |n: &str| n.parse().map(Duration::from_nanos);
    let took = Took { wall: time(wall)?, cpu: time(cpu)?, memory: 0 };
    Ok(Run { took, bytes: bytes.parse()? })
}

fn say_what(args: &Args, memory: &Path, directory: &Path) -> Result<()> {
    let (zero, all) = image::count(memory)?;
    let kind = match &args.memory.image {
        Some(path) => path.display().to_string(),
        None => "made-up memory".into(),
    };
    println!(
        "{kind}: {:.0} MB, {} % zero pages, in {}; medians of {}, {} workers",
        size::megabytes(all * 4096),
        zero * 100 / all.max(1),
        directory.parent().unwrap_or(directory).display(),
        args.runs,
        args.workers,
    );
    Ok(())
}

/// Where the image, a core file of it and an output have room, best in
/// memory.
fn room(bytes: u64) -> PathBuf {
    let memory = Path::new("/dev/shm");
    let free =
        statvfs(memory).map_or(0, |s| s.blocks_available() * s.fragment_size());
    if free / 4 > bytes { memory.into() } else { std::env::temp_dir() }
}
