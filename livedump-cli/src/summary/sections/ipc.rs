// SPDX-License-Identifier: BSD-2-Clause
//! System V IPC, as ipcs -a and -T show it.

use crate::analysis::Unavailable;
use crate::analysis::ipc::{Ipc, Objects, Queue, Segment, Semaphores};
use crate::summary::{Absent, Body, Cell, Column, Content, Sources};
use livedump_vmcore::chain;

const ID: Column = Column::right("id", "ID");
const KEY: Column = Column::right("key", "KEY");
const MODE: Column = Column::right("mode", "MODE");
const UID: Column = Column::right("uid", "UID");
const GID: Column = Column::right("gid", "GID");
const CREATOR: Column = Column::right("creator", "CREATOR");

const QUEUES: &[Column] = &[
    ID,
    KEY,
    MODE,
    UID,
    GID,
    CREATOR,
    Column::right("messages", "MESSAGES"),
    Column::right("bytes", "BYTES"),
    Column::right("limit_bytes", "LIMIT"),
    Column::right("last_sender", "LAST SENDER"),
    Column::right("last_receiver", "LAST RECEIVER"),
];
const SEMAPHORES: &[Column] = &[
    ID,
    KEY,
    MODE,
    UID,
    GID,
    CREATOR,
    Column::right("semaphores", "SEMAPHORES"),
];
const SEGMENTS: &[Column] = &[
    ID,
    KEY,
    MODE,
    UID,
    GID,
    CREATOR,
    Column::right("bytes", "SEGMENT"),
    Column::right("attached", "ATTACHED"),
    Column::right("creator_pid", "CREATED BY"),
    Column::right("last_pid", "LAST USED BY"),
    Column::left("removed", "REMOVED"),
];
const LIMITS: &[Column] =
    &[Column::left("limit", "LIMIT"), Column::right("value", "VALUE")];

pub(super) fn make(s: &Sources<'_>) -> Result<Body, Absent> {
    let all = Objects::new(s.target()?);
    let mut problems = all.problems;
    let mut empty = Vec::new();
    let mut body = Body::default();
    let parts = [
        ("queues", QUEUES, "message queues", rows(all.queues, queue)),
        (
            "semaphores",
            SEMAPHORES,
            "semaphores",
            rows(all.semaphores, semaphores),
        ),
        ("segments", SEGMENTS, "shared memory", rows(all.segments, segment)),
    ];
    for (key, columns, what, rows) in parts {
        match rows {
            Ok(rows) if rows.is_empty() => empty.push(what),
            Ok(rows) => body = body.and(key, Content::Table(columns, rows)),
            Err(why) => problems.push(format!("{what}: {why}")),
        }
    }
    if body.is_empty() {
        let none = "there were no message queues, semaphores or shared memory";
        return Err(match problems.into_iter().next() {
            Some(why) => Absent::unknown(why),
            None => Absent::none(none),
        });
    }
    if !empty.is_empty() {
        body = body.notes([format!("no {}", empty.join(", no "))]);
    }
    let limit = |(name, value): (&str, u64)| {
        vec![Cell::Text(name.into()), Cell::Number(value)]
    };
    let limits = all.limits.into_iter().map(limit).collect();
    let body = body.and("limits", Content::Table(LIMITS, limits));
    Ok(body.problems(problems))
}

type Rows = Result<Vec<Vec<Cell>>, String>;

fn rows<T>(
    all: Result<Vec<T>, Unavailable>,
    row: impl Fn(&T) -> Vec<Cell>,
) -> Rows {
    match all {
        Ok(all) => Ok(all.iter().map(row).collect()),
        Err(e) => Err(chain(&e)),
    }
}

fn ipc(it: &Ipc) -> Vec<Cell> {
    let mode = it.mode.map(|mode| Cell::Text(format!("{mode:03o}")));
    vec![
        Cell::number(it.id),
        it.key.map_or(Cell::Unknown, |key| Cell::Id(key as i32)),
        mode.unwrap_or(Cell::Unknown),
        Cell::number(it.uid),
        Cell::number(it.gid),
        Cell::number(it.creator),
    ]
}

fn queue(it: &Queue) -> Vec<Cell> {
    let mut cells = ipc(&it.ipc);
    cells.push(Cell::number(it.messages));
    cells.push(Cell::bytes(it.bytes));
    cells.push(Cell::Bytes(it.limit));
    cells.extend(it.last.map(Cell::number));
    cells
}

fn semaphores(it: &Semaphores) -> Vec<Cell> {
    let mut cells = ipc(&it.ipc);
    cells.push(Cell::number(it.count));
    cells
}

fn segment(it: &Segment) -> Vec<Cell> {
    let mut cells = ipc(&it.ipc);
    cells.push(Cell::bytes(it.bytes));
    cells.push(Cell::number(it.attached));
    cells.extend(it.processes.map(Cell::number));
    cells.push(Cell::Flag(it.removed));
    cells
}
