// SPDX-License-Identifier: BSD-2-Clause
//! `--max-pause`, of the commands that have `--freeze`.

use crate::quantity;
use clap::ValueHint;
use memdev::freeze::DEFAULT_MAX_PAUSE_NS;
use std::time::Duration;

/// How long CPUs may be stopped.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct MaxPause {
    /// Longest pause, up to 1s [default: 100ms]
    #[arg(
        long,
        value_name = "TIME",
        requires = "freeze",
        value_parser = quantity::pause,
        value_hint = ValueHint::Other
    )]
    pub max_pause: Option<Duration>,
}

impl MaxPause {
    /// In nanoseconds.
    #[must_use]
    pub fn ns(self) -> u64 {
        match self.max_pause {
            Some(max) => u64::try_from(max.as_nanos()).unwrap_or(u64::MAX),
            None => DEFAULT_MAX_PAUSE_NS,
        }
    }
}
