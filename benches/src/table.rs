// SPDX-License-Identifier: BSD-2-Clause
//! Medians, as a Markdown table.

use crate::jobs::{Entry, Group, What, Who};
use crate::size::megabytes;
use crate::timed::Took;
use std::fmt::Write;
use std::time::Duration;

/// One run of one job.
#[derive(Clone, Copy, Debug, Default)]
pub struct Run {
    pub took: Took,
    /// Of disk that the output has.
    pub bytes: u64,
}

/// The one in the middle, each column for itself.
pub fn median(runs: &[Run]) -> Option<Run> {
    let wall = middle(runs.iter().map(|r| r.took.wall))?;
    let cpu = middle(runs.iter().map(|r| r.took.cpu))?;
    let memory = middle(runs.iter().map(|r| r.took.memory))?;
    let bytes = middle(runs.iter().map(|r| r.bytes))?;
    Some(Run { took: Took { wall, cpu, memory }, bytes })
}

fn middle<T: Ord + Copy>(values: impl Iterator<Item = T>) -> Option<T> {
    let mut values: Vec<T> = values.collect();
    values.sort_unstable();
    values.get(values.len() / 2).copied()
}

/// The shortest and the longest.
pub fn spread(runs: &[Run]) -> (Duration, Duration) {
    let walls = || runs.iter().map(|r| r.took.wall);
    (walls().min().unwrap_or_default(), walls().max().unwrap_or_default())
}

/// How many times as long as `ours` another took.
fn times(other: Duration, ours: Duration) -> f64 {
    other.as_secs_f64() / ours.as_secs_f64()
}

/// "Ours is": how many times as fast as that row livedump is.
pub fn table(
    entries: &[Entry],
    runs: &[Vec<Run>],
    bytes: u64,
    workers: u32,
) -> String {
    let mut text = String::from(
        "\n| | seconds | from | to | CPU s/GB | MB/s | livedump is | size | \
         peak MB |\n|---|---:|---:|---:|---:|---:|---:|---:|---:|\n",
    );
    let medians: Vec<_> = runs.iter().map(|r| median(r)).collect();
    let row = |group: Group| {
        let rows = entries.iter().zip(runs).zip(&medians);
        rows.filter(move |((e, _), _)| e.group == group)
    };
    for group in Group::ALL {
        let ours = row(group).find(|((e, _), _)| e.who == Who::Livedump);
        let ours = ours.and_then(|(_, m)| *m).map(|m| m.took.wall);
        for ((entry, runs), run) in row(group) {
            let _ = match (&entry.what, run) {
                (What::Missing(why), _) => {
                    writeln!(text, "| {} | {why} | | | | | | | |", entry.name)
                }
                (_, None) => continue,
                (what, Some(run)) => {
                    let Took { wall, cpu, memory } = run.took;
                    let (least, most) = spread(runs);
                    let times = ours.map(|ours| times(wall, ours));
                    let one = entry.who == Who::Alone
                        || matches!(what, What::Codec(_, 1));
                    let times = match (times, one) {
                        (None, _) => String::new(),
                        (Some(t), true) => {
                            let each = t / f64::from(workers);
                            format!("{t:.2} x = {workers} x {each:.2}")
                        }
                        (Some(t), _) => format!("{t:.2} x"),
                    };
                    let memory = match what {
                        What::Codec(..) => String::new(),
                        _ => format!("{:.1}", megabytes(memory)),
                    };
                    writeln!(
                        text,
                        "| {} | {:.3} | {:.3} | {:.3} | {:.2} | {:.0} | \
                         {times} | {:.1} % | {memory} |",
                        entry.name,
                        wall.as_secs_f64(),
                        least.as_secs_f64(),
                        most.as_secs_f64(),
                        cpu.as_secs_f64() * 1e3 / megabytes(bytes),
                        megabytes(bytes) / wall.as_secs_f64(),
                        100.0 * megabytes(run.bytes) / megabytes(bytes),
                    )
                }
            };
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_the_one_in_the_middle() {
        let run = |bytes| Run { bytes, ..Run::default() };
        assert_eq!(median(&[]).map(|r| r.bytes), None);
        assert_eq!(median(&[run(9), run(1), run(2)]).unwrap().bytes, 2);
    }
}
