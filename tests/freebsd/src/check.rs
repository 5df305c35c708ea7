// SPDX-License-Identifier: BSD-2-Clause
//! Is a dump whole? Bits that equal pages prove little (a stock dump of 13.2
//! has them, and neither a message buffer nor a process list), so: walk
//! allproc, follow msgbufp, count the pages of a known pattern, and look for
//! pages that nothing accounts for.

use crate::console::{Console, DumpAt};
use crate::deadlocks;
use crate::dump_check::{Answer, DumpCheck};
use crate::info;
use crate::kernel::Kernel;
use crate::lockstep::{List, Steps};
use crate::qemu::OUTPUT;
use crate::symbols::Symbols;
use livedump_vmcore::Vmcore;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

/// The dump that others are compared with.
pub(crate) const REFERENCE: &str = "idle-plain-0";
/// A dump with a list of pages that changed, and that list, as the guest has
/// them: by their names they belong together.
const LISTED: &str = "deadlocks-with.1";
pub(crate) const LIST: &str = "changed.1";

/// What was found in one dump.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Not the stock facility's.
    pub(crate) is_ours: bool,
    pub(crate) problems: Vec<String>,
    /// Of a machine without a deadlock: cycles that are in doubt.
    pub(crate) uncertain: Option<usize>,
    /// Whether there is one could not be told.
    pub(crate) undetermined: bool,
    /// ldstep.ko's memory.
    pub(crate) steps: Option<Steps>,
}

/// How many dumps of each kind were whole.
#[derive(Debug, Default)]
pub(crate) struct Results(BTreeMap<String, Kind>);

#[derive(Debug, Default)]
struct Kind {
    whole: u32,
    all: u32,
    problems: BTreeMap<String, u32>,
    /// Dumps that have no cycle of waiting threads, and cycles in doubt.
    sound: u32,
    uncertain: usize,
    undetermined: u32,
    steps: Vec<Steps>,
}

impl Results {
    pub(crate) fn add(&mut self, name: &str, found: &Found) {
        let kind = name.split('-').next().unwrap_or(name);
        let kind = self.0.entry(kind.into()).or_default();
        kind.all += 1;
        kind.whole += u32::from(found.problems.is_empty());
        if let Some(uncertain) = found.uncertain {
            kind.sound += 1;
            kind.uncertain += uncertain;
            kind.undetermined += u32::from(found.undetermined);
        }
        kind.steps.extend(found.steps);
        for problem in &found.problems {
            let what = problem.split(':').next().unwrap_or(problem);
            *kind.problems.entry(what.into()).or_default() += 1;
        }
    }

    /// Live dumps of counters that are in step: where not one is torn, those
    /// of one instant prove nothing.
    pub(crate) fn proves_nothing(&self) -> bool {
        self.0
            .get("running")
            .is_some_and(|kind| kind.steps.iter().all(|steps| steps.torn == 0))
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.0
            .iter()
            .map(|(name, kind)| {
                let mut line =
                    format!("{name}: {} of {} whole", kind.whole, kind.all);
                if kind.sound > 0 {
                    line.push_str(&format!(
                        "; no deadlock in {}, {} uncertain, {} undetermined",
                        kind.sound, kind.uncertain, kind.undetermined
                    ));
                }
                if !kind.steps.is_empty() {
                    line.push_str(&kind.in_step());
                }
                for (what, n) in &kind.problems {
                    line.push_str(&format!("; {what} {n}"));
                }
                line
            })
            .collect()
    }
}

impl Kind {
    fn in_step(&self) -> String {
        let sum = |f: fn(&Steps) -> u32| self.steps.iter().map(f).sum::<u32>();
        let lists =
            |list| self.steps.iter().filter(|steps| steps.list == list).count();
        format!(
            "; {} of {} pairs torn, {} one step apart; lists: {} whole, {} \
             held, {} torn",
            sum(|s| s.torn),
            sum(|s| s.pairs),
            sum(|s| s.between),
            lists(List::Whole),
            lists(List::Held),
            lists(List::Torn),
        )
    }
}

/// Takes a dump off the output disk and looks at it.
pub(crate) fn dump(
    kernel: &Kernel,
    dir: &Path,
    console: &Console,
    at: &DumpAt,
) -> Found {
    let is_ours = !at.name.starts_with("stock");
    let mut found = Found { is_ours, ..Found::default() };
    let path = dir.join(&at.name);
    let result = extract(&dir.join(OUTPUT), at, &path).and_then(|()| {
        let symbols = Symbols::read(&kernel.path).map_err(|e| e.to_string())?;
        let core = Vmcore::open(&path).map_err(|e| format!("open: {e}"))?;
        let status = format!("dump-status-{}", at.name);
        let status = console.facts.get(&status).map_or("good", String::as_str);
        let info = console.infos.get(&at.name).map(|i| (i.as_str(), status));
        let mut problems = Vec::new();
        let dump_check = DumpCheck {
            core,
            arch: kernel.arch,
            symbols,
            console,
            info,
            problems: &mut problems,
        };
        if at.name.starts_with("migrate") {
            dump_check.text_equals(&dir.join(REFERENCE))?;
        }
        match at.name.split('-').next() {
            Some("keyed") => dump_check.keys(1)?,
            Some("unkeyed" | "idle") => dump_check.keys(0)?,
            _ => {}
        }
        let saved = match at.name.split('-').next() {
            Some("registers") => Some(true),
            Some("stale") => Some(false),
            _ => None,
        };
        if let Some(saved) = saved {
            dump_check.spinner(saved)?;
        }
        let in_step = dump_check.lockstep(&at.name, &mut found);
        dump_check.all(at.length);
        found.problems.extend(problems);
        in_step?;
        match at.name.split('-').next() {
            _ if !kernel.has_types => {}
            Some("idle" | "load" | "healthy") => {
                let report = deadlocks::run_deadlock(&kernel.path, &path)?;
                found.uncertain = Some(report.check_none()?);
            }
            Some("freeze") => {
                let report = deadlocks::run_deadlock(&kernel.path, &path)?;
                found.uncertain = Some(report.check_none()?);
                found.undetermined = report.is_undetermined();
                if found.undetermined {
                    return Err(report.reasons());
                }
            }
            Some("running") => {
                let report = deadlocks::run_deadlock(&kernel.path, &path)?;
                found.uncertain = Some(report.check_none()?);
                found.undetermined = report.is_undetermined();
            }
            Some("deadlocks") => {
                let report = deadlocks::run_deadlock(&kernel.path, &path)?;
                let listed = LISTED == at.name;
                report.check_deadlocks(console, listed)?;
            }
            _ => {}
        }
        Ok(())
    });
    if let Err(e) = result {
        found.problems.push(e);
    }
    if found.problems.is_empty() && at.name != REFERENCE {
        let _ = std::fs::remove_file(&path);
    }
    found
}

pub(crate) fn extract(
    disk: &Path,
    at: &DumpAt,
    to: &Path,
) -> Result<(), String> {
    let text = |e: std::io::Error| format!("extract: {e}");
    let mut disk = File::open(disk).map_err(text)?;
    disk.seek(SeekFrom::Start(at.offset)).map_err(text)?;
    let mut out = File::create(to).map_err(text)?;
    std::io::copy(&mut disk.take(at.length), &mut out).map_err(text)?;
    Ok(())
}

/// Each info.N that is not the stock tool's, against the stock tool's of a
/// dump with the same compression.
pub(crate) fn infos(console: &Console) -> Vec<(String, Answer<()>)> {
    let codec = |name: &str| name.rsplit('-').next().map(String::from);
    let mut answers = Vec::new();
    for (name, text) in &console.infos {
        let stock = console.infos.iter().find(|(other, _)| {
            other.starts_with("stock-savecore") && codec(other) == codec(name)
        });
        if let Some((other, stock)) = stock
            && other != name
        {
            answers.push((name.clone(), info::compare(text, stock)));
        }
    }
    answers
}
