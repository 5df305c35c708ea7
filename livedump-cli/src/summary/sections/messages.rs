// SPDX-License-Identifier: BSD-2-Clause
//! The end of the message buffer, with records of syslog(3): what dmesg -a
//! shows. Lines have a time where the kernel put one there
//! (kern.msgbuf_show_timestamp).

use crate::report::build::message_buffer;
use crate::report::lines;
use crate::summary::{Absent, Body, Content, Sources};
use livedump_vmcore::chain;

const MAX_LINES: usize = 1000;

pub(super) fn make(s: &Sources<'_>) -> Result<Body, Absent> {
    let kernel = s.known.as_ref().ok().map(|known| known.target.kernel);
    let found = message_buffer(s.core, kernel);
    let found = found.map_err(|e| Absent::unknown(chain(&e)))?;
    let mut lines = lines(&found.ring.unrolled(), true);
    if lines.is_empty() {
        return Err(Absent::none("the message buffer is empty"));
    }
    let all = lines.len();
    let more = all.saturating_sub(MAX_LINES);
    lines.drain(..more);
    let note = (more > 0).then(|| {
        format!("the last {MAX_LINES} of {all} lines (livedump dmesg -a)")
    });
    let mut problems: Vec<_> = found.problem.iter().map(|e| chain(e)).collect();
    if found.ring.truncated {
        let text = "a part of the message buffer is not in the dump";
        problems.push(text.into());
    }
    if !found.ordered() {
        let text = "the buffer has wrapped, and its start is known only with \
                    the kernel: the oldest lines may follow the newest";
        problems.push(text.into());
    }
    let body = Body::of("lines", Content::Lines(lines));
    Ok(body.notes(note).problems(problems))
}
