// SPDX-License-Identifier: BSD-2-Clause
//! The guest's console: its lines (rt.h), and what the kernel says that it
//! should not.

use crate::dump_check::Answer;
use crate::outside::Served;
use crate::pauses::Clock;
use std::collections::BTreeMap;
use std::time::Instant;

/// A file on the output disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DumpAt {
    pub(crate) name: String,
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

/// All that was said.
#[derive(Debug, Default)]
pub(crate) struct Console {
    pub(crate) passed: Vec<String>,
    pub(crate) failed: Vec<String>,
    pub(crate) skipped: Vec<String>,
    pub(crate) facts: BTreeMap<String, String>,
    pub(crate) dumps: Vec<DumpAt>,
    /// info.N of a dump, by the dump's name.
    pub(crate) infos: BTreeMap<String, String>,
    pub(crate) times: Vec<String>,
    /// What dumps of one instant came to.
    pub(crate) freezes: Vec<String>,
    /// What dumps cost.
    pub(crate) costs: Vec<String>,
    pub(crate) clocks: Vec<Clock>,
    /// It waits for something to be done from outside, by this name.
    pub(crate) wants_outside: Option<String>,
    /// What came of that.
    pub(crate) served: Vec<(String, Answer<Served>)>,
    /// It waits for an NMI.
    pub(crate) wants_nmi: bool,
    /// It wants the slow disk to stop, or to go on.
    pub(crate) wants_slow: Option<bool>,
    /// WITNESS, KASSERT, panics, leaks of the module.
    pub(crate) complaints: Vec<String>,
    pub(crate) ended: bool,
}

/// What no kernel should say while the cases run.
const COMPLAINTS: [&str; 8] = [
    "lock order reversal",
    "panic:",
    "KASSERT",
    "Sleeping on ",
    "acquiring duplicate lock",
    "could sleep with",
    "leaked memory",
    "Fatal trap",
];

impl Console {
    pub(crate) fn line(&mut self, line: &str) {
        // The kernel's own lines may come in between.
        let line = line.trim_end_matches('\r');
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "PASS" => self.passed.push(rest.into()),
            "FAIL" => self.failed.push(rest.into()),
            "SKIP" => self.skipped.push(rest.into()),
            "TIME" => self.times.push(rest.into()),
            "END" => self.ended = true,
            "NMI" => self.wants_nmi = true,
            "SLOW" => self.wants_slow = Some(rest == "on"),
            "OUTSIDE" => self.wants_outside = Some(rest.into()),
            "FREEZE" => self.freezes.push(rest.into()),
            "COST" => self.costs.push(rest.into()),
            "CLOCK" => self.clocks.extend(clock_at(rest)),
            "FACT" => {
                let (name, value) = rest.split_once(' ').unwrap_or((rest, ""));
                self.facts.insert(name.into(), value.into());
            }
            "INFO" => {
                let (name, line) = rest.split_once(' ').unwrap_or((rest, ""));
                let text = self.infos.entry(name.into()).or_default();
                text.push_str(line);
                text.push('\n');
            }
            "DUMP" => match dump_at(rest) {
                Some(dump) => self.dumps.push(dump),
                None => self.failed.push(format!("garbled: {line}")),
            },
            _ if COMPLAINTS.iter().any(|c| line.contains(c)) => {
                self.complaints.push(line.into());
            }
            _ => {}
        }
    }

    pub(crate) fn fact(&self, name: &str) -> Option<u64> {
        self.facts.get(name)?.parse().ok()
    }
}

/// A clock as the guest has it, and now.
fn clock_at(rest: &str) -> Option<Clock> {
    let (when, us) = rest.split_once(' ')?;
    let guest_us = us.parse().ok()?;
    Some(Clock { when: when.into(), guest_us, host: Instant::now() })
}

fn dump_at(rest: &str) -> Option<DumpAt> {
    let mut words = rest.split(' ');
    let name = words.next()?.into();
    let offset = words.next()?.parse().ok()?;
    let length = words.next()?.parse().ok()?;
    words.next().is_none().then_some(DumpAt { name, offset, length })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_sorted_by_their_first_word() {
        let mut c = Console::default();
        for line in [
            "PASS a pipe",
            "FAIL x: result, got 0, want -9\r",
            "FACT hz 100",
            "DUMP idle-plain-0 4096 512",
            "DUMP garbled 1",
            "INFO capture-plain Dump header from device: /dev/mem",
            "INFO capture-plain   Architecture: amd64",
            "lock order reversal:",
            "da0: something",
            "END",
        ] {
            c.line(line);
        }
        assert_eq!(c.passed, ["a pipe"]);
        assert_eq!(c.failed.len(), 2);
        assert_eq!(c.fact("hz"), Some(100));
        assert_eq!(c.dumps.len(), 1);
        assert_eq!((c.dumps[0].offset, c.dumps[0].length), (4096, 512));
        assert_eq!(
            c.infos["capture-plain"],
            "Dump header from device: /dev/mem\n  Architecture: amd64\n"
        );
        assert_eq!(c.complaints, ["lock order reversal:"]);
        assert!(c.ended);
    }
}
