// SPDX-License-Identifier: BSD-2-Clause
//! What `livedump ps` says: processes, or each of their threads.

use super::thread::LockName;
use super::{Hex, ReadChanged, Report};
use livedump_vmcore::verdict::Verdict;
use serde::Serialize;
use std::io::{self, Write};

/// The processes of a dump.
#[derive(Debug, Serialize)]
pub struct Ps {
    /// As the file was named.
    pub file: String,
    /// Its kernel.
    pub kernel: String,
    /// Sound, or undetermined where the lists could not be read to the end.
    pub verdict: Verdict,
    /// The first reason why, where it is not sound.
    pub reason: Option<String>,
    /// In the order of the kernel's list.
    pub processes: Vec<Process>,
    /// Fields that could not be shown because nobody tells where they are.
    pub missing: Vec<String>,
    /// What was not right with the lists.
    pub problems: Vec<String>,
    /// What of it changed, if that was looked at.
    pub changed: Option<ReadChanged>,
    /// A line for each thread.
    #[serde(skip)]
    pub each_thread: bool,
}

/// One process.
#[derive(Debug, Serialize)]
pub struct Process {
    /// Its id.
    pub pid: i32,
    /// Its name.
    pub command: String,
    /// Its threads.
    pub threads: Vec<ThreadRow>,
}

/// One thread.
#[derive(Debug, Serialize)]
pub struct ThreadRow {
    /// Its id.
    pub tid: i32,
    /// Its name.
    pub name: String,
    /// Where it is.
    pub address: Hex,
    /// "run", "runq", "lock", "sleep" and so on.
    pub state: &'static str,
    /// The CPU that it is on.
    pub cpu: Option<u32>,
    /// Its wait message, or the name of the lock that it is blocked on.
    pub wait_message: Option<String>,
    /// The address that it sleeps on.
    pub wait_channel: Option<Hex>,
    /// The lock that it waits for.
    pub lock: Option<LockName>,
    /// Who has that, in words.
    pub holder: Option<String>,
}

impl ThreadRow {
    /// What deserves to stand for a process of several threads comes first.
    fn rank(&self) -> u8 {
        match self.state {
            "run" => 0,
            "lock" => 1,
            "runq" => 2,
            "sleep" => 3,
            _ => 4,
        }
    }

    fn wait(&self) -> String {
        let message = self.wait_message.as_deref();
        match self.state {
            "lock" => format!("*{}", message.unwrap_or("?")),
            "sleep" => message.unwrap_or("?").to_string(),
            _ => "-".to_string(),
        }
    }

    fn cpu(&self) -> String {
        self.cpu.map_or("-".to_string(), |n| n.to_string())
    }
}

impl Report for Ps {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.each_thread {
            return self.threads(out);
        }
        let head = ["PID", "THR", "CPU", "STATE", "WAIT"];
        line(out, head, "COMMAND")?;
        for p in &self.processes {
            let first = p.threads.iter().min_by_key(|t| t.rank());
            let (cpu, state, wait) = match first {
                Some(t) => (t.cpu(), t.state, t.wait()),
                None => ("-".into(), "-", "-".into()),
            };
            let (pid, n) = (p.pid.to_string(), p.threads.len().to_string());
            line(out, [&pid, &n, &cpu, state, &wait], &p.command)?;
        }
        Ok(())
    }
}

impl Ps {
    fn threads(&self, out: &mut dyn Write) -> io::Result<()> {
        let head = ["PID", "TID", "CPU", "STATE", "WAIT"];
        line(out, head, "COMMAND/THREAD")?;
        for p in &self.processes {
            for t in &p.threads {
                let mut name = p.command.clone();
                if t.name != p.command && !t.name.is_empty() {
                    name.push('/');
                    name.push_str(&t.name);
                }
                if let Some(lock) = &t.lock {
                    let holder = t.holder.as_deref().unwrap_or("no thread");
                    name.push_str(&format!("  {lock}, held by {holder}"));
                }
                let (pid, tid) = (p.pid.to_string(), t.tid.to_string());
                let (cpu, wait) = (t.cpu(), t.wait());
                line(out, [&pid, &tid, &cpu, t.state, &wait], &name)?;
            }
        }
        Ok(())
    }
}

fn line(
    out: &mut dyn Write,
    [id, n, cpu, state, wait]: [&str; 5],
    name: &str,
) -> io::Result<()> {
    writeln!(out, "{id:>6} {n:>6} {cpu:>3} {state:<9} {wait:<16} {name}")
}
