// SPDX-License-Identifier: BSD-2-Clause
//! What was mounted, as mount(8) shows it.

use crate::analysis::mounts::{Mount, Mounts, flag_words};
use crate::summary::{Absent, Body, Cell, Column, Content, Sources};

const COLUMNS: &[Column] = &[
    Column::left("from", "FROM"),
    Column::left("on", "ON"),
    Column::left("type", "TYPE"),
    Column::right("bytes", "SIZE"),
    Column::right("free_bytes", "FREE"),
    Column::left("flags", "FLAGS"),
    Column::left("address", "ADDRESS"),
];

pub(super) fn make(s: &Sources<'_>) -> Result<Body, Absent> {
    let mounts = Mounts::new(s.target()?)?;
    if mounts.list.is_empty() {
        return match mounts.problem {
            Some(why) => Err(Absent::unknown(why)),
            None => Err(Absent::none("nothing was mounted")),
        };
    }
    let rows = mounts.list.iter().map(row).collect();
    let body = Body::of("mounts", Content::Table(COLUMNS, rows));
    let note = "sizes are of the last statfs(2)".to_string();
    Ok(body.notes([note]).problems(mounts.problem))
}

fn row(mount: &Mount) -> Vec<Cell> {
    let size = mount.size;
    vec![
        Cell::maybe(mount.from.as_deref()),
        Cell::maybe(mount.on.as_deref()),
        Cell::maybe(mount.kind.as_deref()),
        Cell::bytes(size.map(|(all, _)| all)),
        Cell::bytes(size.map(|(_, free)| free)),
        mount
            .flags
            .map_or(Cell::Unknown, |flags| Cell::Words(flag_words(flags))),
        Cell::Address(mount.address.0),
    ]
}
