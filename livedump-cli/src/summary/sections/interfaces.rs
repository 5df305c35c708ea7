// SPDX-License-Identifier: BSD-2-Clause
//! Network interfaces, as netstat -i shows them.

use crate::analysis::interfaces::{Interface, Interfaces, flag_words};
use crate::summary::{Absent, Body, Cell, Column, Content, Sources};

const COLUMNS: &[Column] = &[
    Column::left("name", "NAME"),
    Column::right("vnet", "VNET"),
    Column::right("mtu", "MTU"),
    Column::left("link", "LINK"),
    Column::right("ipackets", "IPKTS"),
    Column::right("ierrors", "IERRS"),
    Column::right("opackets", "OPKTS"),
    Column::right("oerrors", "OERRS"),
    Column::right("ibytes", "IBYTES"),
    Column::right("obytes", "OBYTES"),
    Column::right("iqdrops", "IDROP"),
    Column::right("oqdrops", "ODROP"),
    Column::left("flags", "FLAGS"),
];

pub(super) fn make(s: &Sources<'_>) -> Result<Body, Absent> {
    let interfaces = Interfaces::new(s.target()?)?;
    if interfaces.list.is_empty() {
        let why = interfaces.problems.into_iter().next();
        return Err(match why {
            Some(why) => Absent::unknown(why),
            None => Absent::none("there was no interface"),
        });
    }
    let rows = interfaces.list.iter().map(row).collect();
    let body = Body::of("interfaces", Content::Table(COLUMNS, rows));
    let note = "counters that a driver reads from its hardware are not in them";
    Ok(body.notes([note.to_string()]).problems(interfaces.problems))
}

fn row(it: &Interface) -> Vec<Cell> {
    let link = match it.link {
        Some(1) => Cell::Text("down".into()),
        Some(2) => Cell::Text("up".into()),
        _ => Cell::Unknown,
    };
    let mut cells = vec![
        Cell::maybe(it.name.as_deref()),
        Cell::Number(it.vnet as u64),
        Cell::number(it.mtu),
        link,
    ];
    cells.extend(it.counters.map(Cell::number));
    let words = |flags| Cell::Words(flag_words(flags));
    cells.push(it.flags.map_or(Cell::Unknown, words));
    cells
}
