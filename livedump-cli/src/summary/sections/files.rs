// SPDX-License-Identifier: BSD-2-Clause
//! The open files of each process, as fstat(1) shows them.

use crate::analysis::open_files::{As, OpenFile, OpenFiles};
use crate::analysis::threads::Proc;
use crate::summary::{Absent, Body, Cell, Column, Content, Sources};

const COLUMNS: &[Column] = &[
    Column::left("command", "COMMAND"),
    Column::right("pid", "PID"),
    Column::right("descriptor", "FD"),
    Column::left("type", "TYPE"),
    Column::left("mode", "R/W"),
    Column::left("vnode", "VNODE"),
    Column::left("mount", "MOUNT"),
    Column::right("inode", "INODE"),
    Column::left("path", "PATH"),
    Column::left("data", "DATA"),
];

pub(super) fn make(s: &Sources<'_>) -> Result<Body, Absent> {
    let (t, threads) = (s.target()?, s.threads()?);
    let OpenFiles { list, problems } = OpenFiles::new(t, threads)?;
    if list.is_empty() {
        return Err(match problems.into_iter().next() {
            Some(why) => Absent::unknown(why),
            None => Absent::none("no process had a file open"),
        });
    }
    let row = |it: &OpenFile| row(it, threads.procs.get(it.proc));
    let rows = list.iter().map(row).collect();
    let body = Body::of("files", Content::Table(COLUMNS, rows));
    let note = "paths are those of the name cache; one that it has dropped, or \
                the file of which is removed, is unknown";
    Ok(body.notes([note.to_string()]).problems(problems))
}

fn row(it: &OpenFile, proc: Option<&Proc>) -> Vec<Cell> {
    let word = |word: Option<&'static str>| match word {
        Some(word) => Cell::Text(word.into()),
        None => Cell::Unknown,
    };
    let mut cells = vec![
        Cell::maybe(proc.map(|proc| proc.comm.as_slice())),
        proc.map_or(Cell::Unknown, |proc| Cell::Id(proc.pid)),
        match it.open_as {
            As::Number(n) => Cell::Number(n),
            As::Text => Cell::Text("text".into()),
            As::Directory => Cell::Text("wd".into()),
            As::Root => Cell::Text("root".into()),
            As::Jail => Cell::Text("jail".into()),
        },
        word(it.kind),
        match (it.open_as, it.mode) {
            (_, Some((true, true))) => Cell::Text("rw".into()),
            (_, Some((true, false))) => Cell::Text("r".into()),
            (_, Some((false, true))) => Cell::Text("w".into()),
            (_, Some((false, false))) => Cell::None,
            (As::Number(_), None) => Cell::Unknown,
            (_, None) => Cell::None,
        },
    ];
    match &it.file {
        Some(file) => {
            let text = |text: &Option<String>| match text {
                Some(text) => Cell::Text(text.clone()),
                None => Cell::Unknown,
            };
            cells.push(word(file.kind));
            cells.push(text(&file.mount));
            cells.push(Cell::number(file.inode));
            cells.push(text(&file.path));
        }
        None => cells.extend([Cell::None, Cell::None, Cell::None, Cell::None]),
    }
    cells.push(match (&it.file, it.data) {
        (None, Some(data)) => Cell::Address(data.0),
        _ => Cell::None,
    });
    cells
}
