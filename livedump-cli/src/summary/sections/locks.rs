// SPDX-License-Identifier: BSD-2-Clause
//! Who waits for which lock, and who has it.

use crate::report::Wait;
use crate::summary::{Absent, Body, Cell, Column, Content, Sources};

const COLUMNS: &[Column] = &[
    Column::right("tid", "TID"),
    Column::right("pid", "PID"),
    Column::left("command", "COMMAND"),
    Column::left("thread", "THREAD"),
    Column::right("seconds", "WAITED"),
    Column::left("class", "CLASS"),
    Column::left("lock", "LOCK"),
    Column::left("address", "ADDRESS"),
    Column::left("shared", "SHARED"),
    Column::left("holder", "HELD BY"),
    Column::left("certain", "CERTAIN"),
];

pub(super) fn make(s: &Sources<'_>) -> Result<Body, Absent> {
    let deadlock = &s.waiting()?.deadlock;
    let problems = deadlock.problems.clone();
    if deadlock.waits.is_empty() {
        return match problems.into_iter().next() {
            Some(why) => Err(Absent::unknown(why)),
            None => Err(Absent::none("no thread waited for a lock")),
        };
    }
    let rows = deadlock.waits.iter().map(row).collect();
    let body = Body::of("waits", Content::Table(COLUMNS, rows));
    Ok(body.problems(problems))
}

fn row(wait: &Wait) -> Vec<Cell> {
    let waited = wait.seconds.filter(|&seconds| seconds >= 0.0);
    vec![
        Cell::Id(wait.who.tid),
        Cell::Id(wait.who.pid),
        Cell::Text(wait.who.command.clone()),
        Cell::Text(wait.who.name.clone()),
        waited.map_or(Cell::Unknown, Cell::Seconds),
        Cell::Text(wait.lock.class.into()),
        wait.lock.name.clone().map_or(Cell::Unknown, Cell::Text),
        Cell::Address(wait.lock.address.0),
        wait.shared.map_or(Cell::Unknown, Cell::Flag),
        Cell::Text(wait.holder.text.clone()),
        Cell::Flag(wait.inconsistencies.is_empty()),
    ]
}
