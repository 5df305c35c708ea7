// SPDX-License-Identifier: BSD-2-Clause
//! The threads by their stacks, as `livedump stacks` prints them.

use crate::analysis::clock::Clock;
use crate::analysis::stack_groups::{Filter, StackGroups};
use crate::analysis::threads::check_state;
use crate::report::Stacks;
use crate::report::build::{incomplete_stacks, stack_group};
use crate::summary::{Absent, Body, Content, Sources};
use livedump_vmcore::verdict::Verdict;

pub(super) fn make(s: &Sources<'_>) -> Result<Body, Absent> {
    let (t, threads) = (s.target()?, s.threads()?);
    let none =
        Filter { function: None, module: None, state: None, wmesg: None };
    let clock = Clock::new(t);
    let found = StackGroups::new(threads, s.known()?.stacks, clock, none);
    let incomplete = incomplete_stacks(&found);
    let verdict = incomplete.clone();
    let verdict = verdict.map_or(Verdict::Sound, Verdict::Undetermined);
    let groups = found.groups.iter().map(|group| stack_group(threads, group));
    let stacks = Stacks {
        file: s.info.file.clone(),
        kernel: t.kernel.path().to_string(),
        reason: verdict.reason().map(String::from),
        verdict,
        threads: threads.list.len(),
        matched: found.groups.iter().map(|g| g.members.len()).sum(),
        groups: groups.collect(),
        missing: check_state(t).err().map_or(vec![], |missing| missing.0),
        problems: threads.incomplete(),
        changed: None,
    };
    let body = Body::of("stacks", Content::report(&stacks));
    Ok(body.problems(incomplete))
}
