// SPDX-License-Identifier: BSD-2-Clause
//! The panic, and the stack of the thread that was in it.

use crate::analysis::threads::Thread;
use crate::report::escape;
use crate::report::thread::{ThreadRef, calls};
use crate::summary::{Absent, Body, Cell, Content, Fact, Known, Sources};

/// C: the buffer that `panicstr` leads to has 256 bytes.
const MAX_TEXT: usize = 256;

pub(super) fn make(s: &Sources<'_>) -> Result<Body, Absent> {
    let known = s.known.as_ref();
    let panic = known.ok().and_then(|known| {
        let at = known.target.pointer("panicstr")?;
        let text = known.target.c_string(at, MAX_TEXT)?;
        Some(escape(text.trim_ascii_end()))
    });
    let header = s.info.dump_header.as_ref().map(|h| h.panic_string.clone());
    let beside = s.info.info.as_ref().and_then(|info| info.panic.clone());
    let of_header = header.filter(|text| !text.is_empty()).or(beside);
    let Some(text) = panic.or(of_header) else {
        return match known {
            Ok(known) if known.target.address("panicstr").is_some() => {
                Err(Absent::none("the kernel had not panicked"))
            }
            _ if s.info.dump_header.is_some() => {
                Err(Absent::none("the dump has no panic string"))
            }
            _ => Err(Absent::unknown("the dump has no header")),
        };
    };
    let fact = |key, label, value| Fact::new(key, label, value);
    let mut facts = vec![fact("panic", "Panic", Cell::Text(text))];
    let known = match known {
        Ok(known) => known,
        Err(why) => {
            let body = Body::of("facts", Content::Facts(facts));
            return Ok(body.problems([format!("the stack: {why}")]));
        }
    };
    let tid = known.target.int("dumptid");
    let thread = tid.and_then(|tid| {
        let threads = known.threads.as_ref().ok()?;
        let n = threads.by_tid(i32::try_from(tid).ok()?)?;
        threads.list.get(n)
    });
    let Some(thread) = thread else {
        let body = Body::of("facts", Content::Facts(facts));
        let why = "the thread that dumped (dumptid) is not known";
        return Ok(body.problems([why.to_string()]));
    };
    if let Ok(threads) = &known.threads {
        let who = ThreadRef::new(threads, thread).to_string();
        facts.push(fact("thread", "Thread", Cell::Text(who)));
    }
    let (lines, broken) = backtrace(known, thread);
    let body = Body::of("facts", Content::Facts(facts));
    Ok(body.and("stack", Content::Lines(lines)).problems(broken))
}

/// A stack with its lines of source, and why it has no more.
pub(super) fn backtrace(
    known: &Known<'_>,
    thread: &Thread,
) -> (Vec<String>, Option<String>) {
    let stack = known.stacks.of(thread);
    let calls = calls(&stack);
    let line = |(n, call)| format!("{:>4} {call}", format!("#{n}"));
    let lines = calls.iter().enumerate().map(line).collect();
    (lines, stack.broken.map(|why| format!("the stack: {why}")))
}
