// SPDX-License-Identifier: BSD-2-Clause
//! uma(9) zones, as vmstat -z shows them; those with the most memory first.

use crate::analysis::zones::{Zone, Zones};
use crate::summary::{Absent, Body, Cell, Column, Content, Sources};

const COLUMNS: &[Column] = &[
    Column::left("zone", "ZONE"),
    Column::right("size", "SIZE"),
    Column::right("limit", "LIMIT"),
    Column::right("used", "USED"),
    Column::right("free", "FREE"),
    Column::right("requests", "REQUESTS"),
    Column::right("fails", "FAILS"),
    Column::right("sleeps", "SLEEPS"),
    Column::right("bytes", "MEMORY"),
];

pub(super) fn make(s: &Sources<'_>) -> Result<Body, Absent> {
    let zones = Zones::new(s.target()?)?;
    if zones.list.is_empty() {
        let why = zones.problems.into_iter().next();
        return Err(match why {
            Some(why) => Absent::unknown(why),
            None => Absent::none("there is no zone"),
        });
    }
    let rows = zones.list.iter().map(row).collect();
    let body = Body::of("zones", Content::Table(COLUMNS, rows));
    Ok(body.problems(zones.problems))
}

fn row(zone: &Zone) -> Vec<Cell> {
    vec![
        Cell::maybe(zone.name.as_deref()),
        Cell::number(zone.size),
        match zone.limit {
            Some(0) => Cell::None,
            limit => Cell::number(limit),
        },
        Cell::number(zone.used),
        Cell::number(zone.free),
        Cell::number(zone.requests),
        Cell::number(zone.fails),
        Cell::number(zone.sleeps),
        Cell::bytes(zone.bytes()),
    ]
}
