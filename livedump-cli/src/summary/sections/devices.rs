// SPDX-License-Identifier: BSD-2-Clause
//! Devices and the time of CPUs since boot, as iostat(8) shows them.

use crate::analysis::devices::{Device, Devices, STATES, cpu_time};
use crate::summary::{Absent, Body, Cell, Column, Content, Sources};
use livedump_vmcore::chain;

const COLUMNS: &[Column] = &[
    Column::left("device", "DEVICE"),
    Column::right("reads", "READS"),
    Column::right("read_bytes", "READ"),
    Column::right("read_seconds", "R-TIME"),
    Column::right("writes", "WRITES"),
    Column::right("written_bytes", "WRITTEN"),
    Column::right("write_seconds", "W-TIME"),
    Column::right("deletes", "DELETES"),
    Column::right("others", "OTHERS"),
    Column::right("busy_seconds", "BUSY"),
    Column::right("pending", "PENDING"),
];
const CPU: &[Column] = &[
    Column::left("state", "CPU"),
    Column::right("ticks", "TICKS"),
    Column::right("percent", "%"),
];

pub(super) fn make(s: &Sources<'_>) -> Result<Body, Absent> {
    let t = s.target()?;
    let devices = Devices::new(t)?;
    if devices.list.is_empty() {
        return Err(match devices.problem {
            Some(why) => Absent::unknown(why),
            None => Absent::none("no device counts transactions"),
        });
    }
    let rows = devices.list.iter().map(row).collect();
    let mut problems: Vec<String> = devices.problem.into_iter().collect();
    let torn = devices.list.iter().filter(|device| device.torn).count();
    if torn > 0 {
        let what = "devices that counted while they were copied";
        problems.push(format!("{what}: {torn}"));
    }
    let body = Body::of("devices", Content::Table(COLUMNS, rows));
    match cpu_time(t) {
        Ok(ticks) => {
            let body = body.and("cpu", Content::Table(CPU, times(&ticks)));
            Ok(body.problems(problems))
        }
        Err(e) => {
            problems.push(format!("the time of CPUs: {}", chain(&e)));
            Ok(body.problems(problems))
        }
    }
}

fn row(device: &Device) -> Vec<Cell> {
    let [other, read, write, delete] = device.transactions;
    let time = |s: Option<f64>| s.map_or(Cell::Unknown, Cell::Seconds);
    vec![
        Cell::maybe(device.name.as_deref()),
        Cell::number(read.count),
        Cell::bytes(read.bytes),
        time(read.seconds),
        Cell::number(write.count),
        Cell::bytes(write.bytes),
        time(write.seconds),
        Cell::number(delete.count),
        Cell::number(other.count),
        time(device.busy),
        Cell::number(device.pending),
    ]
}

fn times(ticks: &[Option<u64>; 5]) -> Vec<Vec<Cell>> {
    let add = |sum: u64, n: &Option<u64>| Some(sum.saturating_add((*n)?));
    let all = ticks.iter().try_fold(0, add);
    let row = |(state, n): (&&str, &Option<u64>)| {
        // To the nearest, as iostat(8) rounds.
        let percent = || {
            let (n, all) = ((*n)?, all?);
            let half = all / 2;
            n.saturating_mul(100).saturating_add(half).checked_div(all)
        };
        vec![
            Cell::Text((*state).into()),
            Cell::number(*n),
            Cell::number(percent()),
        ]
    };
    STATES.iter().zip(ticks).map(row).collect()
}
