// SPDX-License-Identifier: BSD-2-Clause
//! Tunables and what the loader handed over, as kenv(1) shows them, but for
//! secrets.

use crate::analysis::environment::{Environment, Variable};
use crate::summary::{Absent, Body, Cell, Column, Content, Sources};

const COLUMNS: &[Column] = &[
    Column::left("name", "NAME"),
    Column::left("value", "VALUE"),
    Column::left("masked", "MASKED"),
];

pub(super) fn make(s: &Sources<'_>) -> Result<Body, Absent> {
    let found = Environment::new(s.target()?)?;
    if found.list.is_empty() {
        return Err(match found.problem {
            Some(why) => Absent::unknown(why),
            None => Absent::none("it is empty"),
        });
    }
    let masked = found.list.iter().filter(|it| it.value.is_none()).count();
    let note = (masked > 0).then(|| {
        format!("{masked} not shown: their names look as if they were secret")
    });
    let row = |it: &Variable| {
        vec![
            Cell::escaped(&it.name),
            it.value.as_deref().map_or(Cell::None, Cell::escaped),
            Cell::Flag(it.value.is_none()),
        ]
    };
    let rows = found.list.iter().map(row).collect();
    let body = Body::of("variables", Content::Table(COLUMNS, rows));
    let source = format!("from {}", found.source);
    Ok(body.notes([source]).notes(note).problems(found.problem))
}
