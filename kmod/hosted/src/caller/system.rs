// SPDX-License-Identifier: BSD-2-Clause
//! Names and clocks.

use super::Caller;
use crate::method::Method;
use livedump_kmod::kpi::System;
use std::time::{SystemTime, UNIX_EPOCH};

fn copy_out(s: &str, out: &mut [u8]) -> usize {
    let n = s.len().min(out.len());
    for (to, from) in out.iter_mut().zip(s.bytes()) {
        *to = from;
    }
    n
}

impl System for Caller<'_> {
    fn time_second(&self) -> i64 {
        self.pass(Method::TimeSecond);
        if let Some(second) = *self.kernel.clock.read() {
            return second;
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        now.map_or(0, |d| i64::try_from(d.as_secs()).unwrap_or(i64::MAX))
    }

    fn nanouptime(&self) -> u64 {
        self.pass(Method::Nanouptime);
        self.kernel.uptime_ns()
    }

    fn hostname(&self, out: &mut [u8]) -> usize {
        self.pass(Method::Hostname);
        copy_out(self.kernel.machine.hostname(), out)
    }

    fn version(&self, out: &mut [u8]) -> usize {
        self.pass(Method::Version);
        copy_out(self.kernel.machine.version(), out)
    }
}
