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
    let nameless = (!nameless.is_empty()).then(|| {
        let nameless = nameless.join(", ");
        format!("no type information has those of {nameless}")
    });
    if list.is_empty() {
        return Err(match problems.into_iter().next() {
            Some(why) => Absent::unknown(why),
            None => {
                let why = format!("all counters are 0: {found}");
                let unknown = nameless.iter().map(String::as_str);
                let all = [why.as_str()].into_iter().chain(unknown);
                Absent::none(all.collect::<Vec<_>>().join("; "))
            }
        });
    }
    let rows = list.into_iter().map(row).collect();
    let body = Body::of("counters", Content::Table(COLUMNS, rows));
    let mut notes =
        vec![format!("counters that are 0 are left out, of {found}")];
    notes.extend(nameless);
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
