// SPDX-License-Identifier: BSD-2-Clause
//! Groups of threads with the same stack.

use crate::analysis::stack_groups::{Group, Member, StackGroups};
use crate::analysis::threads::Threads;
use crate::report::thread::{ThreadRef, shown};
use crate::report::{StackFrame, StackGroup, StackThread};
use std::collections::HashMap;

/// How many stacks could not be read to their ends, and why the first.
#[must_use]
pub fn incomplete_stacks(found: &StackGroups) -> Option<String> {
    let why = found.reason.as_ref()?;
    let stacks = match found.incomplete {
        1 => "1 stack is incomplete".to_string(),
        n => format!("{n} stacks are incomplete"),
    };
    Some(format!("{stacks}: {why}"))
}

/// Threads with the same stack.
#[must_use]
pub fn stack_group(threads: &Threads, group: &Group) -> StackGroup {
    let members = group.members.iter();
    let all: Vec<_> =
        members.filter_map(|member| thread(threads, member)).collect();
    let (stack, broken) = match &group.stack {
        Ok(places) => (places.iter().map(StackFrame::new).collect(), None),
        Err(why) => (Vec::new(), Some(why.clone())),
    };
    StackGroup {
        count: group.members.len(),
        state: group.state,
        wait_messages: messages(&all),
        seconds: group.seconds(),
        stack,
        broken,
        threads: all,
    }
}

fn thread(threads: &Threads, member: &Member) -> Option<StackThread> {
    let td = threads.list.get(member.thread)?;
    Some(StackThread {
        who: ThreadRef::new(threads, td),
        wait_message: td.wait_message().and_then(shown),
        seconds: member.seconds,
    })
}

/// The most frequent first.
fn messages(threads: &[StackThread]) -> Vec<String> {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for message in threads.iter().filter_map(|t| t.wait_message.as_deref()) {
        let count = counts.entry(message).or_default();
        *count = count.saturating_add(1);
    }
    let mut all: Vec<_> = counts.into_iter().collect();
    all.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    all.into_iter().map(|(message, _)| message.to_string()).collect()
}
