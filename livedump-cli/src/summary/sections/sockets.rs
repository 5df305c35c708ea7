// SPDX-License-Identifier: BSD-2-Clause
//! Sockets, as netstat -a and -aL show them, with the processes that have them
//! open.

use crate::analysis::descriptors::Descriptors;
use crate::analysis::sockets::{Common, Inet, Local, Sockets};
use crate::analysis::threads::Threads;
use crate::analysis::{Target, Unavailable};
use crate::report::escape;
use crate::summary::{Absent, Body, Cell, Column, Content, Sources};
use livedump_vmcore::chain;
use memdev::addr::Vaddr;
use std::collections::HashMap;

const INET: &[Column] = &[
    Column::right("vnet", "VNET"),
    Column::left("protocol", "PROTO"),
    Column::right("receive_bytes", "RECV-Q"),
    Column::right("send_bytes", "SEND-Q"),
    Column::left("local", "LOCAL"),
    Column::left("foreign", "FOREIGN"),
    Column::left("state", "STATE"),
    Column::right("complete", "QLEN"),
    Column::right("incomplete", "INCQLEN"),
    Column::right("limit", "MAXQLEN"),
    Column::left("processes", "PROCESSES"),
    Column::left("pcb", "PCB"),
    Column::left("socket", "SOCKET"),
];
const LOCAL: &[Column] = &[
    Column::left("type", "TYPE"),
    Column::right("receive_bytes", "RECV-Q"),
    Column::right("send_bytes", "SEND-Q"),
    Column::left("path", "PATH"),
    Column::left("peer", "PEER"),
    Column::left("peer_path", "PEER PATH"),
    Column::right("complete", "QLEN"),
    Column::right("incomplete", "INCQLEN"),
    Column::right("limit", "MAXQLEN"),
    Column::left("processes", "PROCESSES"),
    Column::left("pcb", "PCB"),
    Column::left("socket", "SOCKET"),
];
/// Processes of a socket that are named.
const SHOWN: usize = 4;

pub(super) fn make(s: &Sources<'_>) -> Result<Body, Absent> {
    let t = s.target()?;
    let Sockets { inet, local, mut problems } = Sockets::new(t)?;
    if inet.is_empty() && local.is_empty() {
        return Err(match problems.into_iter().next() {
            Some(why) => Absent::unknown(why),
            None => Absent::none("there was no socket"),
        });
    }
    let mut owners = Owners::default();
    match s.threads() {
        Ok(threads) => match owners.read(t, threads) {
            Ok(more) => problems.extend(more),
            Err(e) => problems.push(format!("processes: {}", chain(&e))),
        },
        Err(why) => problems.push(format!("processes: {}", why.reason())),
    }
    let rows = inet.iter().map(|it| inet_row(it, &owners)).collect();
    let body = Body::of("inet", Content::Table(INET, rows));
    let rows = local.iter().map(|it| local_row(it, &owners)).collect();
    let body = body.and("local", Content::Table(LOCAL, rows));
    Ok(body.problems(problems))
}

/// The processes that have a socket open.
#[derive(Default)]
struct Owners {
    known: bool,
    /// By what `f_data` has.
    all: HashMap<u64, Vec<usize>>,
    names: Vec<String>,
}

impl Owners {
    /// Goes through the file tables; why some may be missing.
    fn read(
        &mut self,
        t: &Target<'_>,
        threads: &Threads,
    ) -> Result<Vec<String>, Unavailable> {
        let found = Descriptors::new(t, threads)?;
        self.known = true;
        self.all = found.processes(t);
        let names = threads.procs.iter();
        self.names =
            names.map(|p| format!("{} ({})", escape(&p.comm), p.pid)).collect();
        Ok(found.problems)
    }

    fn cell(&self, socket: Option<Vaddr>) -> Cell {
        let Some(socket) = socket.filter(|_| self.known) else {
            return if self.known { Cell::None } else { Cell::Unknown };
        };
        let Some(procs) = self.all.get(&socket.0) else { return Cell::None };
        let name = |n: &usize| self.names.get(*n).cloned();
        let names: Vec<_> = procs.iter().take(SHOWN).filter_map(name).collect();
        let mut names = names.join(", ");
        if procs.len() > SHOWN {
            let more = procs.len().saturating_sub(SHOWN);
            names.push_str(&format!(" and {more} more"));
        }
        Cell::Text(names)
    }
}

fn queue(common: &Common) -> [Cell; 3] {
    match common.queue {
        Some(queue) => queue.map(Cell::number),
        None => [Cell::None, Cell::None, Cell::None],
    }
}

/// What a socket that listens, or a connection without one, does not have.
fn buffer(common: &Common, bytes: Option<u64>) -> Cell {
    match (common.socket, common.queue) {
        (None, _) | (_, Some(_)) => Cell::None,
        _ => Cell::number(bytes),
    }
}

fn address(at: Option<Vaddr>) -> Cell {
    at.map_or(Cell::None, |at| Cell::Address(at.0))
}

fn inet_row(it: &Inet, owners: &Owners) -> Vec<Cell> {
    let end = |end: &Option<String>| match end {
        Some(end) => Cell::Text(end.clone()),
        None => Cell::Unknown,
    };
    let state = match it.state {
        None if it.protocol.starts_with("tcp") => Cell::Unknown,
        state => Cell::text(state),
    };
    let mut cells = vec![
        Cell::Number(it.vnet as u64),
        Cell::Text(it.protocol.clone()),
        buffer(&it.common, it.common.receive),
        buffer(&it.common, it.common.send),
        end(&it.local),
        end(&it.foreign),
        state,
    ];
    cells.extend(queue(&it.common));
    cells.push(owners.cell(it.common.socket));
    cells.push(Cell::Address(it.pcb.0));
    cells.push(address(it.common.socket));
    cells
}

fn local_row(it: &Local, owners: &Owners) -> Vec<Cell> {
    let path = |path: &Option<Vec<u8>>| match path {
        Some(path) => Cell::escaped(path),
        None => Cell::None,
    };
    let mut cells = vec![
        Cell::Text(it.kind.into()),
        buffer(&it.common, it.common.receive),
        buffer(&it.common, it.common.send),
        path(&it.path),
        address(it.peer),
        path(&it.peer_path),
    ];
    cells.extend(queue(&it.common));
    cells.push(owners.cell(it.common.socket));
    cells.push(Cell::Address(it.pcb.0));
    cells.push(address(it.common.socket));
    cells
}
