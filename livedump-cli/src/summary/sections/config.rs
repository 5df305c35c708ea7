// SPDX-License-Identifier: BSD-2-Clause
//! The configuration file that the kernel was built from, as config -x shows
//! it.

use crate::analysis::variables::config;
use crate::report::lines;
use crate::summary::{Absent, Body, Content, Sources};

pub(super) fn make(s: &Sources<'_>) -> Result<Body, Absent> {
    let t = s.target()?;
    let text = config(t).ok_or_else(|| match t.address("kernconfstring") {
        Some(_) => Absent::unknown("kernconfstring cannot be read"),
        None => Absent::unknown("the kernel has no symbol kernconfstring"),
    })?;
    let lines = lines(&text, true);
    if lines.is_empty() {
        return Err(Absent::none(
            "the kernel was built without option INCLUDE_CONFIG_FILE",
        ));
    }
    Ok(Body::of("lines", Content::Lines(lines)))
}
