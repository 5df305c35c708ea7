// SPDX-License-Identifier: BSD-2-Clause
//! What the machine had, its limits, and what was used of them: what sysctl(8)
//! and pstat -T show.

use crate::analysis::variables::{Value, variables};
use crate::summary::{Absent, Body, Cell, Column, Content, Sources};

const COLUMNS: &[Column] =
    &[Column::left("name", "NAME"), Column::left("value", "VALUE")];

pub(super) fn make(s: &Sources<'_>) -> Result<Body, Absent> {
    let found = variables(s.target()?);
    if found.is_empty() {
        return Err(Absent::unknown("the kernel has none of these symbols"));
    }
    let rows = found.into_iter().map(|(name, value)| {
        let value = match value {
            Value::Number(n) => Cell::Number(n),
            Value::Text(text) => Cell::escaped(text.trim_ascii_end()),
        };
        vec![Cell::Text(name.into()), value]
    });
    Ok(Body::of("variables", Content::Table(COLUMNS, rows.collect())))
}
