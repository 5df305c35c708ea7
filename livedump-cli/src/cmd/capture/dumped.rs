// SPDX-License-Identifier: BSD-2-Clause
//! What the request answered.

use super::captured;
use crate::device::{Outside, Request};
use crate::report;
use crate::seal::Begun;
use livedump_vmcore::changes;
use livedump_vmcore::verdict::Verdict;
use memdev::changes::Header;
use memdev::freeze::MinidumpFreeze;
use memdev::ioctl::{FLAG_QUIESCE, FLAG_REGISTERS, FLAG_STABILITY, LEVEL_AUTO};
use std::time::Duration;

/// What the request answered.
#[derive(Default)]
pub(super) struct Dumped {
    /// Whether it was ours, and not the kernel's own.
    pub(super) ours: bool,
    /// Of compression: that of most of the dump; unknown where nothing was
    /// compressed, or the module does not tell.
    pub(super) level: Option<i16>,
    pub(super) pages: Option<u64>,
    pub(super) zero_pages: Option<u64>,
    pub(super) quiesced_ns: Option<u64>,
    pub(super) registers: Option<u32>,
    pub(super) missing_cpus: Option<Vec<u32>>,
    pub(super) changed: Option<Header>,
    pub(super) freeze: Option<MinidumpFreeze>,
    pub(super) outside: Option<Outside>,
    /// What of the machine's memory it lacks.
    pub(super) missing: Option<Verdict>,
    /// Checksums that were made while it was written.
    pub(super) begun: Option<Begun>,
}

impl Dumped {
    /// What our request answered. That something was asked for is no claim
    /// that it was done.
    pub(super) fn from_answer(answer: &Request) -> Self {
        let Request { arg, freeze } = answer;
        let asked = |flag| arg.flags & flag != 0;
        // A machine that is stopped has them anyway.
        let registers = asked(FLAG_REGISTERS) || freeze.is_some();
        let changed = Header {
            records: 0,
            pages: arg.pages,
            changed: arg.changed_by_kind,
        };
        Self {
            ours: true,
            level: Some(arg.level).filter(|&n| n != 0 && n != LEVEL_AUTO),
            pages: Some(arg.pages),
            zero_pages: Some(arg.zero_pages),
            // Asked for is not done: only what was answered counts.
            quiesced_ns: asked(FLAG_QUIESCE)
                .then_some(arg.quiesced_ns)
                .filter(|ns| *ns > 0),
            registers: registers.then_some(arg.registers),
            missing_cpus: registers.then(|| arg.missing_cpus().collect()),
            changed: asked(FLAG_STABILITY).then_some(changed),
            freeze: *freeze,
            outside: None,
            missing: None,
            begun: None,
        }
    }

    /// The instant that it is of.
    pub(super) fn instant(&self) -> Option<report::Instant> {
        let frozen = self.freeze.as_ref().map(report::Instant::of_answer);
        let outside = self.outside.as_ref();
        frozen.or(outside.map(|it| report::Instant::of_record(&it.record)))
    }

    /// What info.N has of it, behind the stock tool's lines.
    pub(super) fn info(&self, number: u32) -> String {
        let mut text = String::new();
        if let Some(instant) = self.instant() {
            text.push_str(&format!("  Instant: {}\n", instant.moment()));
            text.push_str(&format!("  Paused: {}\n", instant.pause()));
        }
        if let Some(ns) = self.quiesced_ns {
            let seconds = Duration::from_nanos(ns).as_secs_f64();
            text.push_str(&format!("  Quiesced: {seconds:.3} s\n"));
        }
        if let Some(n) = self.registers {
            text.push_str(&format!("  Registers: {n} threads\n"));
        }
        if let Some(cpus) = self.missing_cpus.as_deref()
            && !cpus.is_empty()
        {
            let cpus = captured::numbers(cpus);
            text.push_str(&format!("  Missing CPUs: {cpus}\n"));
        }
        if let Some(header) = &self.changed {
            let pages = changes::summary(header);
            text.push_str(&format!("  Changed Pages: {pages}\n"));
            text.push_str(&format!("  Changed List: changed.{number}\n"));
        }
        text
    }
}
