// SPDX-License-Identifier: BSD-2-Clause
//! What `livedump deadlock` says of real kernels' dumps: of ldlock.ko's
//! threads exactly what that module knows of them, and no cycle where there
//! is none.

use crate::console::Console;
use crate::dump_check::Answer;
use livedump_cli::netdump::broker;
use serde_json::Value;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, ExitCode};

/// The first word of a command line that is the tool's.
pub(crate) const TOOL: &str = "livedump";

/// The tool itself, in a process of its own: where the command line asks for
/// that, it runs here.
pub(crate) fn run_tool() -> Option<ExitCode> {
    // What `receive` starts beside it.
    if broker::is_asked(std::env::args_os()) {
        broker::serve(std::env::args_os());
        return Some(ExitCode::SUCCESS);
    }
    let mut args = std::env::args_os().skip(1);
    if args.next()? != TOOL {
        return None;
    }
    let args = std::iter::once(OsString::from(TOOL)).chain(args);
    let cli = match livedump_cli::args::Cli::parse_from_args(args) {
        Ok(cli) => cli,
        Err(e) => e.exit(),
    };
    livedump_cli::sandbox::arm();
    Some(match cli.run() {
        Ok(outcome) => outcome.into(),
        Err(e) => {
            e.report();
            e.exit_code()
        }
    })
}

/// What it said, and its exit status.
pub(crate) struct Report {
    status: Option<i32>,
    report: Value,
}

/// Runs the tool.
pub(crate) fn tool<S: AsRef<std::ffi::OsStr>>(
    args: impl IntoIterator<Item = S>,
) -> Answer<std::process::Output> {
    let text = |e: std::io::Error| format!("{TOOL}: {e}");
    let program = std::env::current_exe().map_err(text)?;
    Command::new(program).arg(TOOL).args(args).output().map_err(text)
}

/// Runs `livedump deadlock` on a dump.
pub(crate) fn run_deadlock(kernel: &Path, dump: &Path) -> Answer<Report> {
    let text = |e: std::io::Error| format!("deadlock: {e}");
    let program = std::env::current_exe().map_err(text)?;
    let out = Command::new(program)
        .args([TOOL, "deadlock", "--json", "-k"])
        .args([kernel, dump])
        .output()
        .map_err(text)?;
    let report = serde_json::from_slice(&out.stdout).map_err(|e| {
        let complaint = String::from_utf8_lossy(&out.stderr);
        format!("deadlock: {e}: {}", complaint.trim())
    })?;
    Ok(Report { status: out.status.code(), report })
}

/// One thread's wait, as the guest or the tool has it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Wait {
    tid: u64,
    class: String,
    lock: u64,
    holder: u64,
}

/// What ldlock.ko knows.
#[derive(Debug, Default)]
struct Expected {
    pair: BTreeSet<Wait>,
    waiters: BTreeSet<Wait>,
    mix: BTreeSet<Wait>,
    /// From the thread that has what all wait for, to the last.
    chain: Vec<Wait>,
    /// That thread.
    last: u64,
}

impl Expected {
    fn read(console: &Console) -> Answer<Self> {
        let mut expected = Self::default();
        for n in 0..console.fact("waits").ok_or("no fact waits")? {
            let name = format!("wait-{n}");
            let line = console.facts.get(&name);
            let line = line.ok_or_else(|| format!("no fact {name}"))?;
            let words: Vec<_> = line.split(' ').collect();
            let &[group, tid, class, lock, holder] = &words[..] else {
                return Err(format!("{name}: {line}"));
            };
            let number = |word: &str| {
                word.parse().map_err(|e| format!("{name}: {word}: {e}"))
            };
            let wait = Wait {
                tid: number(tid)?,
                class: class.into(),
                lock: number(lock)?,
                holder: number(holder)?,
            };
            match group {
                "pair" => expected.pair.insert(wait),
                "waiter" => expected.waiters.insert(wait),
                "mix" => expected.mix.insert(wait),
                _ if class == "-" => {
                    expected.last = wait.tid;
                    true
                }
                _ => {
                    expected.chain.push(wait);
                    true
                }
            };
        }
        expected.chain.reverse();
        Ok(expected)
    }

    fn threads(&self) -> BTreeSet<u64> {
        let cycles = self.pair.iter().chain(&self.waiters).chain(&self.mix);
        let all = cycles.chain(&self.chain).map(|w| w.tid);
        all.chain([self.last]).collect()
    }
}

impl Report {
    fn list(&self, key: &str) -> Answer<&Vec<Value>> {
        self.report[key].as_array().ok_or_else(|| format!("no {key}"))
    }

    /// How many cycles are certain, and how many are not.
    fn cycles(&self) -> Answer<(usize, usize)> {
        let all = self.list("cycles")?;
        let certain = all.iter().filter(|c| c["certain"] == true).count();
        Ok((certain, all.len().saturating_sub(certain)))
    }

    /// Of a machine without a deadlock: none, or, as it ran on, undetermined;
    /// how many cycles are in doubt.
    pub(crate) fn check_none(&self) -> Answer<usize> {
        let (certain, uncertain) = self.cycles()?;
        let none = match self.status {
            Some(0) => self.report["verdict"] == "none",
            Some(3) => self.report["verdict"] == "undetermined",
            _ => false,
        };
        if !none || certain != 0 {
            let (status, cycles) = (self.status, &self.report["cycles"]);
            return Err(format!("deadlock: exit {status:?}, {cycles}"));
        }
        Ok(uncertain)
    }

    pub(crate) fn is_undetermined(&self) -> bool {
        self.status == Some(3)
    }

    /// Why it is.
    pub(crate) fn reasons(&self) -> String {
        format!("deadlock: undetermined: {}", self.report["reasons"])
    }

    /// Of ldlock.ko's deadlocks: each thread and each lock, and no others.
    /// `listed`: a list of the pages that changed lies beside the dump.
    pub(crate) fn check_deadlocks(
        &self,
        console: &Console,
        listed: bool,
    ) -> Answer<()> {
        let expected = Expected::read(console)?;
        if self.status != Some(1) || self.report["deadlocked"] != true {
            return Err(format!("deadlock: exit {:?}", self.status));
        }
        let mut found = BTreeSet::new();
        for cycle in self.list("cycles")? {
            if cycle["certain"] != true {
                return Err(format!("an uncertain cycle: {cycle}"));
            }
            let waits = waits(&cycle["waits"])?;
            in_turn(&waits, waits.first().map_or(0, |w| w.tid))?;
            found.insert(waits.iter().cloned().collect::<BTreeSet<_>>());
            let waiters = match found.contains(&expected.pair) {
                true if waits.len() == expected.pair.len() => {
                    expected.waiters.len()
                }
                _ => 0,
            };
            if cycle["waiters"] != waiters as u64 {
                return Err(format!("not {waiters} waiters of {cycle}"));
            }
        }
        let want =
            BTreeSet::from([expected.pair.clone(), expected.mix.clone()]);
        if found != want || self.list("cycles")?.len() != want.len() {
            return Err(format!("cycles of {found:?}, not {expected:?}"));
        }
        self.chain(&expected)?;
        self.all(&expected)?;
        self.changed(listed)
    }

    /// The chain, and none of its threads or others of ours in another one.
    fn chain(&self, expected: &Expected) -> Answer<()> {
        let our_threads = expected.threads();
        let mut found = 0;
        for chain in self.list("chains")? {
            let is_ours = |w: &Wait| our_threads.contains(&w.tid);
            if !waits_of(&chain["waits"])?.iter().any(is_ours) {
                continue;
            }
            let waits = waits(&chain["waits"])?;
            let last = chain["last"]["tid"].as_u64();
            if waits != expected.chain || last != Some(expected.last) {
                return Err(format!("{chain} is not {:?}", expected.chain));
            }
            in_turn(&waits, expected.last)?;
            found += 1;
        }
        match found {
            1 => Ok(()),
            n => Err(format!("{n} chains")),
        }
    }

    /// With a list the tool warns: threads are busy, and theirs are pages that
    /// all of this rests on.
    fn changed(&self, listed: bool) -> Answer<()> {
        let changed = &self.report["changed"];
        match (listed, changed["checked"].as_u64(), changed["pages"].as_u64()) {
            (false, None, None) => Ok(()),
            (true, Some(checked), Some(1..)) if checked > 20 => Ok(()),
            _ => Err(format!("a list: {listed}, changed: {changed}")),
        }
    }

    /// Every wait of our threads, each once.
    fn all(&self, expected: &Expected) -> Answer<()> {
        let our_threads = expected.threads();
        let mut found = waits_of(&self.report["waits"])?;
        found.retain(|w| our_threads.contains(&w.tid));
        found.sort();
        let cycles = expected.pair.iter().chain(&expected.waiters);
        let cycles = cycles.chain(&expected.mix).chain(&expected.chain);
        let mut want: Vec<_> = cycles.cloned().collect();
        want.sort();
        match found == want {
            true => Ok(()),
            false => Err(format!("waits {found:?}, not {want:?}")),
        }
    }
}

/// Waits that are beyond doubt, with stacks that lead to where threads begin.
fn waits(list: &Value) -> Answer<Vec<Wait>> {
    for wait in list.as_array().into_iter().flatten() {
        let inconsistencies = wait["inconsistencies"].as_array();
        if inconsistencies.is_none_or(|d| !d.is_empty()) {
            return Err(format!("uncertain: {wait}"));
        }
        let stack = wait["stack"].as_array().into_iter().flatten();
        if !stack.into_iter().any(|c| c["function"] == "fork_exit") {
            return Err(format!("its stack does not begin: {wait}"));
        }
    }
    waits_of(list)
}

fn waits_of(list: &Value) -> Answer<Vec<Wait>> {
    let list = list.as_array().ok_or("no list of waits")?;
    let of = |wait: &Value| {
        let lock = wait["lock"]["address"].as_str()?.strip_prefix("0x")?;
        Some(Wait {
            tid: wait["tid"].as_u64()?,
            class: wait["lock"]["class"].as_str()?.into(),
            lock: u64::from_str_radix(lock, 16).ok()?,
            // Of a lock that is shared nobody is named.
            holder: wait["holder"]["tid"].as_u64().unwrap_or(0),
        })
    };
    let of = |wait| of(wait).ok_or_else(|| format!("garbled: {wait}"));
    list.iter().map(of).collect()
}

/// Each waits for the next one, and the last for `end`.
fn in_turn(waits: &[Wait], end: u64) -> Answer<()> {
    let next = waits.iter().skip(1).map(|w| w.tid).chain([end]);
    match waits.iter().zip(next).all(|(w, next)| w.holder == next) {
        true => Ok(()),
        false => Err(format!("not in turn: {waits:?}")),
    }
}
