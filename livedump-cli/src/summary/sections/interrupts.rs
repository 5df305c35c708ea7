// SPDX-License-Identifier: BSD-2-Clause
//! Interrupts, as vmstat -i shows them.

use crate::analysis::interrupts::interrupts;
use crate::analysis::times::Times;
use crate::summary::{Absent, Body, Cell, Column, Content, Sources};

const COLUMNS: &[Column] = &[
    Column::left("interrupt", "INTERRUPT"),
    Column::right("total", "TOTAL"),
    Column::right("rate", "RATE"),
];

pub(super) fn make(s: &Sources<'_>) -> Result<Body, Absent> {
    let t = s.target()?;
    let found = interrupts(t)?;
    if found.is_empty() {
        return Err(Absent::none("no interrupt has happened"));
    }
    let uptime = Times::new(t).map(|times| times.uptime);
    let rate = |count: u64| count.checked_div(uptime?);
    let rows = found.iter().map(|it| {
        vec![
            Cell::escaped(&it.name),
            Cell::Number(it.count),
            Cell::number(rate(it.count)),
        ]
    });
    Ok(Body::of("interrupts", Content::Table(COLUMNS, rows.collect())))
}
