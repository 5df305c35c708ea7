// SPDX-License-Identifier: BSD-2-Clause
//! The wait-for graph and the verdict on it.

use super::waits::Builder;
use crate::analysis::Target;
use crate::analysis::stack::Stacks;
use crate::analysis::threads::Threads;
use crate::analysis::verdict::Conclusion;
use crate::analysis::wait_chains::WaitChains;
use crate::analysis::waits::Waits;
use crate::report::{Chain, Cycle, Deadlock};
use livedump_vmcore::verdict::Verdict;

/// What is known of them; the caller knows what the file is called.
#[must_use]
pub fn deadlock(
    target: &Target<'_>,
    threads: &Threads,
    waits: &Waits,
    stacks: &Stacks<'_, '_>,
) -> Deadlock {
    let wait_chains = WaitChains::new(waits);
    let builder = Builder { threads, waits, stacks };
    let Conclusion { verdict, reasons } =
        Conclusion::new(&target.unproven, threads, waits, &wait_chains);
    let problems = threads.problems.iter().map(|p| format!("threads: {p}"));
    let queues = waits.problems.iter().map(|p| format!("waits: {p}"));
    let cycles = wait_chains.cycles.iter().map(|c| Cycle {
        certain: c.certain,
        waits: builder.waits(&c.threads),
        waiters: c.waiters,
    });
    let chains = wait_chains.chains.iter().map(|c| Chain {
        waits: builder.waits(&c.threads),
        last: c.threads.last().and_then(|&n| builder.last(n)),
        waiters: c.waiters,
    });
    Deadlock {
        file: String::new(),
        kernel: target.kernel.path().to_string(),
        deadlocked: match verdict {
            Verdict::Sound => Some(false),
            Verdict::Damaged(_) => Some(true),
            Verdict::Undetermined(_) => None,
        },
        verdict,
        reasons,
        threads: threads.list.len(),
        waiting: waits.all().count(),
        cycles: cycles.collect(),
        chains: chains.collect(),
        waits: waits.all().filter_map(|e| builder.wait(e, false)).collect(),
        types: target.types.sources().to_vec(),
        problems: problems.chain(queues).collect(),
        changed: None,
    }
}
