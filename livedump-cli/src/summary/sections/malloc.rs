// SPDX-License-Identifier: BSD-2-Clause
//! malloc(9) by type, as vmstat -m shows it; those with the most memory first.

use crate::analysis::malloc_types::{MallocType, MallocTypes};
use crate::summary::{Absent, Body, Cell, Column, Content, Sources};

const COLUMNS: &[Column] = &[
    Column::left("type", "TYPE"),
    Column::right("used", "USED"),
    Column::right("bytes", "MEMORY"),
    Column::right("requests", "REQUESTS"),
];

pub(super) fn make(s: &Sources<'_>) -> Result<Body, Absent> {
    let types = MallocTypes::new(s.target()?)?;
    // As vmstat(8) does, without those that nobody ever used.
    let unused = |it: &&MallocType| it.requests == Some(0);
    let all = types.list.len();
    let used: Vec<_> =
        types.list.iter().filter(|it| !unused(it)).map(row).collect();
    if used.is_empty() {
        return match types.problem {
            Some(why) => Err(Absent::unknown(why)),
            None => Err(Absent::none("nothing was allocated")),
        };
    }
    let left = all.saturating_sub(used.len());
    let note = match left {
        0 => None,
        1 => Some("1 type was never used".to_string()),
        n => Some(format!("{n} types were never used")),
    };
    let body = Body::of("types", Content::Table(COLUMNS, used));
    Ok(body.notes(note).problems(types.problem))
}

fn row(it: &MallocType) -> Vec<Cell> {
    vec![
        Cell::maybe(it.name.as_deref()),
        Cell::number(it.used),
        Cell::bytes(it.bytes),
        Cell::number(it.requests),
    ]
}
