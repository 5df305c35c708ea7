// SPDX-License-Identifier: BSD-2-Clause
//! Statistics of the protocols, as netstat -s shows them.

use crate::analysis::protocols::{Counter, Protocols};
use crate::summary::{Absent, Body, Cell, Column, Content, Sources};

const COLUMNS: &[Column] = &[
    Column::right("vnet", "VNET"),
    Column::left("protocol", "PROTOCOL"),
    Column::left("counter", "COUNTER"),
    Column::right("value", "VALUE"),
];

pub(super) fn make(s: &Sources<'_>) -> Result<Body, Absent> {
    let Protocols { list, found, nameless, problems } =
        Protocols::new(s.target()?)?;
    let found = found.join(", ");
    if list.is_empty() {
        return Err(match problems.into_iter().next() {
            Some(why) => Absent::unknown(why),
            None => Absent::none(format!("all counters are 0: {found}")),
        });
    }
    let rows = list.into_iter().map(row).collect();
    let body = Body::of("counters", Content::Table(COLUMNS, rows));
    let mut notes =
        vec![format!("counters that are 0 are left out, of {found}")];
    if !nameless.is_empty() {
        let nameless = nameless.join(", ");
        notes.push(format!("no type information has those of {nameless}"));
    }
    Ok(body.notes(notes).problems(problems))
}

fn row(it: Counter) -> Vec<Cell> {
    vec![
        Cell::Number(it.vnet as u64),
        Cell::Text(it.protocol.into()),
        Cell::escaped(it.name.as_bytes()),
        Cell::Number(it.value),
    ]
}
