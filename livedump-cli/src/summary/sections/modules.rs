// SPDX-License-Identifier: BSD-2-Clause
//! What the kernel linker had loaded, as kldstat(8) shows it.

use crate::analysis::modules::{Module, modules};
use crate::report::escape;
use crate::summary::{Absent, Body, Cell, Column, Content, Sources};

const COLUMNS: &[Column] = &[
    Column::left("name", "NAME"),
    Column::left("address", "ADDRESS"),
    Column::right("bytes", "SIZE"),
];

pub(super) fn make(s: &Sources<'_>) -> Result<Body, Absent> {
    let t = s.target()?;
    let known = ["link", "filename", "address"]
        .iter()
        .all(|name| t.types.field("linker_file", name).is_some());
    if !known {
        return Err(Absent::unknown(
            "where linker_file has its fields is not known",
        ));
    }
    if t.address("linker_files").is_none() {
        return Err(Absent::unknown("the kernel has no symbol linker_files"));
    }
    let mut found = modules(t);
    if found.is_empty() {
        return Err(Absent::none("no module was loaded"));
    }
    found.reverse();
    let row = |it: &Module| {
        vec![
            Cell::Text(escape(it.name.as_bytes())),
            Cell::Address(it.start),
            Cell::bytes(it.size),
        ]
    };
    let rows = found.iter().map(row).collect();
    Ok(Body::of("modules", Content::Table(COLUMNS, rows)))
}
