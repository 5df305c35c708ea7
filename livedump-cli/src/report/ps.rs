// SPDX-License-Identifier: BSD-2-Clause
//! What `livedump ps` says: processes, or each of their threads.

use super::thread::LockName;
use super::wrap::wrapped;
use super::{Hex, ReadChanged, Report};
use crate::analysis::clock::longest;
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
    /// In the order of the kernel's list, or as they were sorted.
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
    /// What lines are sorted by.
    #[serde(skip)]
    pub sort: Option<Sort>,
}

/// What lines are sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// Process ids, and thread ids.
    Pid,
    /// The wait, the longest first.
    Time,
    /// Names of processes, and of threads.
    Name,
}

/// One process.
#[derive(Debug, Serialize)]
pub struct Process {
    /// Its id.
    pub pid: i32,
    /// Its parent's id; null where that is not known.
    pub ppid: Option<i32>,
    /// Its effective user; null where that is not known.
    pub uid: Option<u32>,
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
    /// For how long it has waited, where that is known.
    pub seconds: Option<f64>,
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

    /// Its columns from the CPU to the wait.
    fn columns(&self) -> String {
        let cpu = or_dash(self.cpu);
        let time = self.seconds.map_or("-".into(), time);
        let (state, wait) = (self.state, self.wait());
        let wait = cut(&wait, WAIT);
        format!("{cpu:>3} {state:<9} {wait:<WAIT$} {time:>6}")
    }
}

/// Columns for a wait message, and for what is behind all others.
const WAIT: usize = 12;
const THREAD_NAME: usize = 31;
const NO_COLUMNS: &str = "  - -         -                 -";

fn or_dash(n: Option<impl ToString>) -> String {
    n.map_or("-".to_string(), |n| n.to_string())
}

/// As much of a word as fits its column.
fn cut(word: &str, columns: usize) -> &str {
    word.char_indices()
        .nth(columns)
        .map_or(word, |(at, _)| word.get(..at).unwrap_or(word))
}

/// A time in at most six columns.
fn time(seconds: f64) -> String {
    const MINUTE: f64 = 60.0;
    const HOUR: f64 = 60.0 * MINUTE;
    const DAY: f64 = 24.0 * HOUR;
    match seconds {
        s if s < 999.95 => format!("{s:.1}s"),
        s if s < 100.0 * MINUTE => format!("{:.0}m", (s / MINUTE).floor()),
        s if s < 100.0 * HOUR => format!("{:.0}h", (s / HOUR).floor()),
        s => format!("{:.0}d", (s / DAY).floor()),
    }
}

impl Process {
    /// The thread that stands for it: of those that are alike, the one that
    /// has waited longest.
    fn first(&self) -> Option<&ThreadRow> {
        self.threads.iter().min_by(|a, b| {
            a.rank().cmp(&b.rank()).then(longest(a.seconds, b.seconds))
        })
    }
}

/// Sorts processes, and the threads of each.
pub fn sort(processes: &mut [Process], by: Sort) {
    let wait = |p: &Process| p.first().and_then(|t| t.seconds);
    match by {
        Sort::Pid => processes.sort_by_key(|p| p.pid),
        Sort::Time => processes.sort_by(|a, b| longest(wait(a), wait(b))),
        Sort::Name => processes.sort_by(|a, b| a.command.cmp(&b.command)),
    }
    for threads in processes.iter_mut().map(|p| &mut p.threads) {
        match by {
            Sort::Pid => threads.sort_by_key(|t| t.tid),
            Sort::Time => {
                threads.sort_by(|a, b| longest(a.seconds, b.seconds));
            }
            Sort::Name => threads.sort_by(|a, b| a.name.cmp(&b.name)),
        }
    }
}

impl Report for Ps {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.each_thread {
            return self.threads(out);
        }
        writeln!(
            out,
            "   PID   PPID   UID  THR CPU STATE     WAIT         WAITED COMMAND"
        )?;
        for p in &self.processes {
            let (pid, command, n) = (p.pid, &p.command, p.threads.len());
            let (ppid, uid) = (or_dash(p.ppid), or_dash(p.uid));
            let first = p.first().map(ThreadRow::columns);
            let columns = first.as_deref().unwrap_or(NO_COLUMNS);
            writeln!(
                out,
                "{pid:>6} {ppid:>6} {uid:>5} {n:>4} {columns} {command}"
            )?;
        }
        Ok(())
    }
}

impl Ps {
    fn threads(&self, out: &mut dyn Write) -> io::Result<()> {
        let all = self.processes.iter();
        let mut all: Vec<_> =
            all.flat_map(|p| p.threads.iter().map(move |t| (p, t))).collect();
        // Processes are, by the thread that stands for each.
        if self.sort == Some(Sort::Time) {
            all.sort_by(|a, b| longest(a.1.seconds, b.1.seconds));
        }
        writeln!(
            out,
            "   PID    TID CPU STATE     WAIT         WAITED COMMAND/THREAD"
        )?;
        for (p, t) in all {
            let mut name = p.command.clone();
            if t.name != p.command && !t.name.is_empty() {
                name.push('/');
                name.push_str(&t.name);
            }
            let (pid, tid) = (p.pid, t.tid);
            let (columns, name) = (t.columns(), cut(&name, THREAD_NAME));
            writeln!(out, "{pid:>6} {tid:>6} {columns} {name}")?;
            if let Some(lock) = &t.lock {
                let holder = t.holder.as_deref().unwrap_or("no thread");
                let lock = lock.to_string();
                wrapped(out, "       waits for", lock.split(' '))?;
                wrapped(out, "       held by", holder.split(' '))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thread(
        tid: i32,
        state: &'static str,
        seconds: Option<f64>,
    ) -> ThreadRow {
        ThreadRow {
            tid,
            name: format!("t{tid}"),
            address: Hex(0),
            state,
            cpu: None,
            wait_message: Some("a_long_wait_message".into()),
            seconds,
            wait_channel: None,
            lock: None,
            holder: None,
        }
    }

    fn process(pid: i32, command: &str, threads: Vec<ThreadRow>) -> Process {
        let command = command.to_string();
        Process { pid, ppid: Some(1), uid: None, command, threads }
    }

    fn pids(processes: &mut [Process], by: Sort) -> Vec<i32> {
        sort(processes, by);
        processes.iter().map(|p| p.pid).collect()
    }

    #[test]
    fn processes_are_sorted_by_what_their_lines_show() {
        let mut all = [
            process(3, "b", vec![thread(7, "sleep", Some(1.0))]),
            process(
                1,
                "c",
                vec![
                    thread(9, "sleep", Some(2.0)),
                    thread(8, "sleep", Some(90.0)),
                ],
            ),
            process(
                2,
                "a",
                vec![thread(6, "run", None), thread(5, "sleep", Some(99.0))],
            ),
        ];
        assert_eq!(pids(&mut all, Sort::Name), [2, 3, 1]);
        assert_eq!(pids(&mut all, Sort::Pid), [1, 2, 3]);
        assert_eq!(pids(&mut all, Sort::Time), [1, 3, 2]);
        let tids: Vec<_> = all[0].threads.iter().map(|t| t.tid).collect();
        assert_eq!(tids, [8, 9]);
    }

    #[test]
    fn columns_have_the_same_widths_in_every_line() {
        assert_eq!(
            thread(1, "sleep", Some(15.0)).columns(),
            "  - sleep     a_long_wait_  15.0s"
        );
        let columns = thread(1, "run", None).columns();
        assert_eq!(columns.len(), NO_COLUMNS.len());
    }

    #[test]
    fn a_time_fits_its_column() {
        for (seconds, text) in [
            (0.0, "0.0s"),
            (999.9, "999.9s"),
            (999.96, "16m"),
            (5_999.0, "99m"),
            (6_000.0, "1h"),
            (359_999.0, "99h"),
            (360_000.0, "4d"),
            (4_294_967.0, "49d"),
        ] {
            assert_eq!(time(seconds), text);
        }
    }
}
