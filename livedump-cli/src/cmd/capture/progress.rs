// SPDX-License-Identifier: BSD-2-Clause
//! The progress of a dump: a bar on a terminal, elsewhere a line for each tenth
//! with -v and otherwise nothing, so that cron(8) has no mail to send; nothing
//! with -q.

use crate::report::{human, note};
use indicatif::{ProgressBar, ProgressStyle};
use memdev::addr::PAGE_SIZE;
use memdev::ioctl::MemMinidumpStatus;
use memdev::stage::Stage;
use std::io::IsTerminal;
use std::time::Duration;

/// How progress is shown.
#[derive(Debug)]
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    tenths: bool,
    last_tenth: u64,
    /// Whether the number of pages is known, and the bar has an end.
    measured: bool,
}

impl Progress {
    /// Checks once whether standard error is a terminal.
    pub(super) fn new(quiet: bool, verbose: bool) -> Self {
        let tty = std::io::stderr().is_terminal();
        let bar = (tty && !quiet).then(|| {
            let bar = ProgressBar::new_spinner();
            bar.set_style(style("{spinner} {msg} {elapsed}"));
            bar
        });
        let tenths = bar.is_none() && verbose && !quiet;
        Self { bar, tenths, last_tenth: 0, measured: false }
    }

    /// Shows the answer of the status request, `None` where there is no such
    /// request.
    pub(super) fn update(&mut self, status: Option<&MemMinidumpStatus>) {
        if let Some(bar) = &self.bar {
            if let Some(status) = status.filter(|s| s.pages_total > 0) {
                bar.set_message(rate(status));
                if !self.measured {
                    self.measured = true;
                    bar.set_style(style(
                        "{percent:>3}% [{bar:10}] {msg}, eta {eta}",
                    ));
                }
                bar.set_length(status.pages_total);
                bar.set_position(status.pages_done);
            } else {
                bar.set_message(doing(status));
                bar.tick();
            }
        } else if self.tenths
            && let Some(status) = status
            && let Some(tenth) = percent(status).map(|p| p / 10)
            && tenth > self.last_tenth
        {
            self.last_tenth = tenth;
            self.line(Some(status), None);
        }
    }

    /// Prints one line now.
    pub(super) fn line(
        &self,
        status: Option<&MemMinidumpStatus>,
        elapsed: Option<Duration>,
    ) {
        let text = sentence(status, elapsed);
        match &self.bar {
            Some(bar) => bar.suspend(|| note(text)),
            None => note(text),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
}

fn doing(status: Option<&MemMinidumpStatus>) -> String {
    match status.map(MemMinidumpStatus::stage) {
        None => "the kernel is dumping".into(),
        Some(Some(Stage::Idle)) => "starting".into(),
        Some(Some(stage)) => stage.doing().into(),
        Some(None) => "dumping".into(),
    }
}

fn percent(status: &MemMinidumpStatus) -> Option<u64> {
    let done = u128::from(status.pages_done.min(status.pages_total));
    let part = (done * 100).checked_div(u128::from(status.pages_total))?;
    u64::try_from(part).ok()
}

/// Pages read, of how many, and bytes written.
fn amount(status: &MemMinidumpStatus) -> String {
    format!(
        "{} of {} pages, {} written",
        status.pages_done,
        status.pages_total,
        human(status.bytes_out)
    )
}

/// Bytes of memory read, the rate of that, and bytes written. At most 51
/// characters, so that the bar fits 80 columns.
fn rate(status: &MemMinidumpStatus) -> String {
    let read = status.pages_done.saturating_mul(PAGE_SIZE as u64);
    let rate = (u128::from(read) * 1_000_000_000)
        .checked_div(u128::from(status.elapsed_ns))
        .map_or(0, |rate| u64::try_from(rate).unwrap_or(u64::MAX));
    format!(
        "{} read at {}/s, {} written",
        human(read),
        human(rate),
        human(status.bytes_out)
    )
}

fn sentence(
    status: Option<&MemMinidumpStatus>,
    elapsed: Option<Duration>,
) -> String {
    let mut text = doing(status);
    if let Some(status) = status
        && let Some(percent) = percent(status)
    {
        text.push_str(&format!(": {percent} %, {}", amount(status)));
    }
    if let Some(elapsed) = elapsed {
        text.push_str(&format!(", {:.1} s", elapsed.as_secs_f64()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_how_far_and_how_long() {
        let status = MemMinidumpStatus {
            stage: Stage::Pages as u32,
            pages_done: 128,
            pages_total: 512,
            bytes_out: 1 << 20,
            ..MemMinidumpStatus::default()
        };
        assert_eq!(
            sentence(Some(&status), Some(Duration::from_millis(1500))),
            "writing data pages: 25 %, 128 of 512 pages, 1.0 MiB written, \
             1.5 s"
        );
        assert_eq!(
            sentence(None, Some(Duration::from_secs(2))),
            "the kernel is dumping, 2.0 s"
        );
    }

    #[test]
    fn odd_counts_are_no_panic() {
        let mut status = MemMinidumpStatus {
            stage: 99,
            pages_done: u64::MAX,
            ..MemMinidumpStatus::default()
        };
        assert_eq!(percent(&status), None);
        assert_eq!(sentence(Some(&status), None), "dumping");
        status.pages_total = 1;
        assert_eq!(percent(&status), Some(100));
        status.pages_total = u64::MAX;
        assert_eq!(percent(&status), Some(100));
        assert!(!sentence(Some(&status), None).is_empty());
        status.elapsed_ns = 1;
        status.bytes_out = u64::MAX;
        assert!(rate(&status).contains(" EiB read at 16.0 EiB/s"));
    }

    #[test]
    fn the_bar_fits_80_columns() {
        let bytes = (1 << 50) - (1 << 40);
        let status = MemMinidumpStatus {
            pages_done: bytes / 4096,
            pages_total: u64::MAX,
            elapsed_ns: 1_000_000_000,
            bytes_out: bytes,
            ..MemMinidumpStatus::default()
        };
        let rate = rate(&status);
        assert_eq!(rate, "1023.0 TiB read at 1023.0 TiB/s, 1023.0 TiB written");
        let bar = format!("100% [{}] {rate}, eta 59m", "#".repeat(10));
        assert!(bar.len() < 80, "{}: {bar}", bar.len());
    }
}
