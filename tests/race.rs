// SPDX-License-Identifier: BSD-2-Clause
//! Machines that run on while they are dumped. What a page holds may be of
//! any instant; how many there are and which, never.

mod frozen;
mod seeded;
mod threads;

use livedump_hosted::model::{ModelMachine, pattern_page};
use livedump_tests::decoder::{Dump, RawFile};

/// What holds of any dump, however the machine ran: the judge has seen to the
/// structure, and that bits and pages agree.
fn check(machine: &ModelMachine, raw: &RawFile) -> Result<(), String> {
    let dump = &raw.dump;
    for &pa in machine.pattern_pages() {
        let page = dump.page(pa.0);
        let page = page.ok_or_else(|| format!("pattern page {pa} missing"))?;
        if page != pattern_page(pa) {
            return Err(format!("pattern page {pa} is another"));
        }
    }
    // Of every other one PG_NODUMP never goes.
    for pa in machine.nodump_pages().iter().step_by(2) {
        if dump.has(pa.0) {
            return Err(format!("page {pa} has PG_NODUMP"));
        }
    }
    messages(dump)
}

/// The message buffer is of one instant: whole lines, in order.
fn messages(dump: &Dump) -> Result<(), String> {
    let text = String::from_utf8_lossy(dump.msgbuf());
    // The line that the end of the ring cuts in two is not one.
    let ticks: Vec<u64> = text
        .split_inclusive('\n')
        .filter_map(|l| l.strip_suffix('\n'))
        .filter_map(|l| l.strip_prefix("model: tick "))
        .filter_map(|l| l.split('.').next()?.parse().ok())
        .collect();
    // A ring: it may begin again once. Threads that log at the same time may
    // swap places, and one that was kept waiting logs a line of long ago.
    let back = |w: &&[u64]| w[1] + 16 < w[0] && w[2] + 16 < w[0];
    let turns: Vec<_> = ticks.windows(3).filter(back).collect();
    match turns.len() {
        0 | 1 => Ok(()),
        n => Err(format!("the message buffer jumps {n} times: {turns:?}")),
    }
}
