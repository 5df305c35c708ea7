// SPDX-License-Identifier: BSD-2-Clause
//! How long machines were stopped for dumps of one instant, and whether their
//! clocks are right afterwards.

use crate::console::Console;
use crate::numbers::{Numbers, kinds, median, sorted};
use std::time::Instant;

/// What the guest's clock may differ from the host's.
const CLOCK_US: f64 = 10_000.0;

/// A look at both clocks.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    pub(crate) when: String,
    pub(crate) guest_us: u64,
    pub(crate) host: Instant,
}

/// Machines that were stopped for longer than was allowed.
pub(crate) fn over_budget(console: &Console) -> Vec<String> {
    let over = |kind: &str, numbers: &Numbers| {
        let list = |name| numbers.get(name).cloned().unwrap_or_default();
        list("pause_us")
            .iter()
            .zip(list("budget_us"))
            .filter(|&(&pause, budget)| pause > budget)
            .map(|(pause, budget)| {
                format!("{kind}: paused {pause} us of {budget} us")
            })
            .collect::<Vec<_>>()
    };
    kinds(&console.freezes).iter().flat_map(|(k, n)| over(k, n)).collect()
}

/// A line for each kind.
pub(crate) fn lines(console: &Console) -> Vec<String> {
    let kinds = kinds(&console.freezes);
    let copy_ns = kinds.get("all").map(|all| median(&sorted(all, "copy_ns")));
    let line = |(kind, numbers): (&String, &Numbers)| {
        let pauses = sorted(numbers, "pause_us");
        let &most = pauses.last()?;
        let (pause, pages) =
            (median(&pauses), median(&sorted(numbers, "pages")));
        let mut line = format!(
            "{kind}: {} frozen, {} given up; paused {pause} us (median), \
             {most} us at most, {pages} pages, {} zero, {} late at most, {} \
             CPUs",
            pauses.len(),
            sorted(numbers, "given_up").len(),
            median(&sorted(numbers, "zero")),
            sorted(numbers, "late").last().unwrap_or(&0),
            median(&sorted(numbers, "cpus")),
        );
        let copied = pages - median(&sorted(numbers, "zero")).min(pages);
        if let Some(copy_ns) = copy_ns
            && let Some(percent) = (copied * copy_ns / 10).checked_div(pause)
        {
            line.push_str(&format!("; {percent} % of one CPU's pagecopy"));
        }
        line.push_str(&format!(
            "; the dump {} ms",
            median(&sorted(numbers, "elapsed_ms"))
        ));
        for (what, name) in [
            ("live", "live_ms"),
            ("with stock's level", "frozen0_ms"),
            ("live", "live0_ms"),
            ("stock", "stock0_ms"),
        ] {
            let times = sorted(numbers, name);
            if !times.is_empty() {
                line.push_str(&format!(", {what} {} ms", median(&times)));
            }
        }
        Some(line)
    };
    kinds.iter().filter_map(line).collect()
}

/// How far the guest's clock went from the host's between two looks, in us. Of
/// each look the line that was fastest counts.
fn drift(console: &Console, from: &str, to: &str) -> Option<(f64, f64)> {
    let start = console.clocks.first()?.host;
    let at = |when: &str| {
        console
            .clocks
            .iter()
            .filter(|c| c.when == when)
            .map(|c| {
                let host = c.host.duration_since(start).as_micros() as f64;
                (host - c.guest_us as f64, host)
            })
            .min_by(|a, b| a.0.total_cmp(&b.0))
    };
    let (from, to) = (at(from)?, at(to)?);
    Some((from.0 - to.0, to.1 - from.1))
}

/// Over the freezes, less what it does without any.
pub(crate) fn clock(console: &Console) -> Option<Result<String, String>> {
    let (idle, idle_us) = drift(console, "idle", "before")?;
    let (frozen, us) = drift(console, "before", "after")?;
    let lost = idle / idle_us * us - frozen;
    let line = format!(
        "clock: {frozen:.0} us ahead of the host's after {:.1} s with \
         freezes, {idle:.0} us after {:.1} s without",
        us / 1e6,
        idle_us / 1e6,
    );
    Some(match lost.abs() < CLOCK_US || frozen.abs() < CLOCK_US {
        true => Ok(line),
        false => Err(line),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn console(lines: &[&str]) -> Console {
        let mut console = Console::default();
        lines.iter().for_each(|line| console.line(line));
        console
    }

    #[test]
    fn each_kind_has_its_line() {
        let console = console(&[
            "FREEZE all copy_ns 500",
            "FREEZE idle pause_us 10 budget_us 50 pages 80 zero 3 late 1 \
             cpus 2 copy_kb 1 elapsed_ms 7",
            "FREEZE idle pause_us 60 budget_us 50 pages 80 zero 3 late 9 \
             cpus 2 copy_kb 1 elapsed_ms 9",
            "FREEZE idle given_up 60 stage 17 needs_us 0",
            "FREEZE idle live_ms 4",
        ]);
        assert_eq!(
            lines(&console),
            ["idle: 2 frozen, 1 given up; paused 60 us (median), 60 us at \
              most, 80 pages, 3 zero, 9 late at most, 2 CPUs; 64 % of one \
              CPU's pagecopy; the dump 9 ms, live 4 ms"]
        );
        assert_eq!(over_budget(&console), ["idle: paused 60 us of 50 us"]);
    }

    #[test]
    fn a_clock_that_loses_time_is_seen() {
        let start = Instant::now();
        let clock_of = |late_us: u64| {
            let mut console = Console::default();
            for (when, us) in [("idle", 0), ("before", 1), ("after", 2)] {
                let us = us * 1_000_000;
                for slow in [700, 0, 90] {
                    console.clocks.push(Clock {
                        when: when.into(),
                        guest_us: us - us / 2_000_000 * late_us,
                        host: start + Duration::from_micros(us + slow),
                    });
                }
            }
            clock(&console).unwrap()
        };
        assert!(clock_of(9_000).is_ok());
        assert!(clock_of(11_000).is_err());
        assert!(clock(&Console::default()).is_none());
    }
}
