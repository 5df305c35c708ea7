// SPDX-License-Identifier: BSD-2-Clause
//! What ddb(4) has printed while that was captured.

use crate::analysis::Unavailable;
use crate::analysis::ddb_capture::ddb_capture;
use crate::report::lines;
use crate::summary::{Absent, Body, Content, Sources};

pub(super) fn make(s: &Sources<'_>) -> Result<Body, Absent> {
    let text = match ddb_capture(s.target()?) {
        // A kernel without ddb has no such buffer.
        Err(e @ Unavailable::Symbol(_)) => {
            return Err(Absent::none(e.to_string()));
        }
        text => text?,
    };
    let lines = lines(&text, true);
    if lines.is_empty() {
        return Err(Absent::none("nothing was captured"));
    }
    Ok(Body::of("lines", Content::Lines(lines)))
}
