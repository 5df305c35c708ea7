// SPDX-License-Identifier: BSD-2-Clause
//! One run of one program in a process between us and it: the resources of
//! all children of that process are those of the program.

use crate::Result;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What one run took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Took {
    /// From start to end, the output on its disk.
    pub wall: Duration,
    /// Of all CPUs, in the program and in the kernel for it.
    pub cpu: Duration,
    /// The most memory it had at a time, in bytes.
    pub memory: u64,
}

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where its standard output goes
    #[arg(long)]
    stdout: Option<PathBuf>,
    /// A file to be on disk in the end
    #[arg(long)]
    sync: Option<PathBuf>,
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

pub fn run(args: &Args) -> Result<()> {
    let (program, rest) = args.command.split_first().ok_or("no program")?;
    let stdout = match &args.stdout {
        Some(path) => File::create(path)?.into(),
        None => Stdio::null(),
    };
    let started = Instant::now();
    let status = Command::new(program)
        .args(rest)
        .stdin(Stdio::null())
        .stdout(stdout)
        .status()?;
    if !status.success() {
        return Err(format!("{}: {status}", program.display()).into());
    }
    if let Some(path) = &args.sync {
        File::open(path)?.sync_all()?;
    }
    let wall = started.elapsed().as_nanos();
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let cpu = usage.user_time() + usage.system_time();
    println!("{wall} {} {}", cpu.num_microseconds(), usage.max_rss());
    Ok(())
}

/// What a program shall do.
#[derive(Clone, Debug, Default)]
pub struct Job {
    /// Program and arguments.
    pub command: Vec<OsString>,
    /// Whether its standard output is the output.
    pub pipes: bool,
    /// The file it writes; removed before and after.
    pub output: Option<PathBuf>,
}

impl Job {
    /// Runs it once. Its output stays.
    pub fn run(&self) -> Result<Took> {
        if let Some(path) = &self.output {
            remove(path)?;
        }
        let mut timed = Command::new(std::env::current_exe()?);
        timed.arg("timed");
        if let Some(path) = &self.output {
            let option = if self.pipes { "--stdout" } else { "--sync" };
            timed.args([OsStr::new(option), path.as_os_str()]);
            if self.pipes {
                timed.args([OsStr::new("--sync"), path.as_os_str()]);
            }
        }
        timed.arg("--").args(&self.command);
        let out = timed.stdin(Stdio::null()).output()?;
        if !out.status.success() {
            let said = String::from_utf8_lossy(&out.stderr);
            return Err(said.trim().into());
        }
        parse(&String::from_utf8(out.stdout)?).ok_or("no times".into())
    }
}

fn parse(line: &str) -> Option<Took> {
    let mut numbers = line.split_whitespace().map(str::parse::<u64>);
    let mut number = || numbers.next()?.ok();
    Some(Took {
        wall: Duration::from_nanos(number()?),
        cpu: Duration::from_micros(number()?),
        memory: number()? * 1024,
    })
}

/// Removes a file that may not be there.
pub fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e.into()),
        _ => Ok(()),
    }
}
