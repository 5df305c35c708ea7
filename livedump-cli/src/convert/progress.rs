// SPDX-License-Identifier: BSD-2-Clause
//! A bar on a terminal, and elsewhere nothing.

use crate::report::human;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::time::Instant;

/// The progress of a conversion.
#[derive(Debug, Default)]
pub struct Progress {
    bar: Option<(ProgressBar, Instant)>,
    done: u64,
}

impl Progress {
    /// Of `total` bytes. Checks once whether standard error is a terminal.
    #[must_use]
    pub fn new(total: u64) -> Self {
        if !std::io::stderr().is_terminal() {
            return Self::default();
        }
        let bar = ProgressBar::new(total);
        let template = "{percent:>3}% [{bar:10}] {msg}, eta {eta}";
        let style = ProgressStyle::with_template(template);
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self { bar: Some((bar, Instant::now())), done: 0 }
    }

    /// So many more.
    pub fn add(&mut self, bytes: u64) {
        self.done = self.done.saturating_add(bytes);
        let Some((bar, start)) = &self.bar else { return };
        let ms = start.elapsed().as_millis();
        let rate = u128::from(self.done).saturating_mul(1000).checked_div(ms);
        let rate = u64::try_from(rate.unwrap_or(0)).unwrap_or(u64::MAX);
        bar.set_position(self.done);
        bar.set_message(format!(
            "{} converted at {}/s",
            human(self.done),
            human(rate)
        ));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some((bar, _)) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
