// SPDX-License-Identifier: BSD-2-Clause
//! Pages, domains and counters, as vmstat -s shows them.

use crate::analysis::memory::{Domain, Memory};
use crate::summary::{Absent, Body, Cell, Column, Content, Fact, Sources};

const COLUMNS: &[Column] = &[
    Column::right("domain", "DOMAIN"),
    Column::right("pages", "PAGES"),
    Column::right("free", "FREE"),
    Column::right("active", "ACTIVE"),
    Column::right("inactive", "INACTIVE"),
    Column::right("laundry", "LAUNDRY"),
    Column::right("free_min", "FREE MIN"),
    Column::right("free_target", "FREE TARGET"),
];

pub(super) fn make(s: &Sources<'_>) -> Result<Body, Absent> {
    let memory = Memory::new(s.target()?)?;
    let fact = |key, label, n| Fact::new(key, label, Cell::number(n));
    let sum = |of: fn(&Domain) -> Option<u64>| memory.sum(of);
    let mut facts = vec![
        fact("page_size", "Bytes per page", memory.page_size),
        fact("page_count", "Pages managed", memory.pages),
        fact("free_count", "Pages free", sum(|d| d.free)),
        fact("active_count", "Pages active", sum(|d| d.active)),
        fact("inactive_count", "Pages inactive", sum(|d| d.inactive)),
        fact("laundry_count", "Pages in the laundry queue", {
            sum(|d| d.laundry)
        }),
        fact("wire_count", "Pages wired down", memory.wired),
        fact("user_wire_count", "Virtual user pages wired", memory.user_wired),
    ];
    if memory.nofree.is_some() {
        let label = "Pages permanently allocated";
        facts.push(fact("nofree_count", label, memory.nofree));
    }
    let counters = memory.counters.iter();
    let counters = counters.map(|&(key, label, n)| fact(key, label, n));
    let counters = Content::Facts(counters.collect());
    let rows = memory.domains.iter().map(row).collect();
    let body = Body::of("pages", Content::Facts(facts))
        .and("domains", Content::Table(COLUMNS, rows))
        .and("counters", counters);
    let zero = memory.sum(|d| d.free) == Some(0);
    let note = zero.then(|| "there was no free page".to_string());
    Ok(body.notes(note).problems(memory.problems))
}

fn row(domain: &Domain) -> Vec<Cell> {
    let cells = [
        Some(domain.number),
        domain.pages,
        domain.free,
        domain.active,
        domain.inactive,
        domain.laundry,
        domain.free_min,
        domain.free_target,
    ];
    cells.map(Cell::number).to_vec()
}
