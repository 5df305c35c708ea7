// SPDX-License-Identifier: BSD-2-Clause
//! Speed over size. Any program can be faster with a larger file, so that each
//! is compared with that level of ours which is the fastest among those that
//! are no larger than its file.

use crate::jobs::{Entry, Group, Who};
use crate::size::megabytes;
use crate::table::{Run, median, spread};
use serde::Serialize;
use std::fmt::Write;

/// All that was measured.
#[derive(Debug, Serialize)]
pub struct Measured {
    /// Of memory.
    bytes: u64,
    workers: u32,
    rows: Vec<Row>,
}

/// One program with its options.
#[derive(Debug, Serialize)]
struct Row {
    name: String,
    /// "livedump", "livedump alone": with one thread, "other", or "codec": a
    /// library's calls.
    who: &'static str,
    plain: bool,
    /// Seconds of each run.
    seconds: Vec<f64>,
    median: f64,
    least: f64,
    most: f64,
    /// Median, seconds on a CPU for 10^9 bytes.
    cpu_per_gb: f64,
    /// Bytes written for 100 of memory.
    percent: f64,
    /// Most memory at a time, in bytes.
    peak: u64,
    /// How many times as fast the fastest of ours is that is no larger.
    livedump_is: Option<f64>,
    /// Which that is.
    against: Option<String>,
}

impl Measured {
    pub fn of(
        entries: &[Entry],
        runs: &[Vec<Run>],
        bytes: u64,
        workers: u32,
    ) -> Self {
        let mut rows: Vec<Row> = entries
            .iter()
            .zip(runs)
            .filter_map(|(entry, runs)| row(entry, runs, bytes))
            .collect();
        let ours: Vec<(String, f64, f64, bool)> = rows
            .iter()
            .filter(|r| r.who == "livedump")
            .map(|r| (r.name.clone(), r.median, r.percent, r.plain))
            .collect();
        for row in rows.iter_mut().filter(|r| r.who == "other") {
            let fastest = ours
                .iter()
                .filter(|(_, _, percent, plain)| match row.plain {
                    true => *plain,
                    false => *percent <= row.percent,
                })
                .min_by(|a, b| a.1.total_cmp(&b.1));
            row.livedump_is = fastest.map(|it| row.median / it.1);
            row.against = fastest.map(|it| it.0.clone());
        }
        Self { bytes, workers, rows }
    }
}

fn row(entry: &Entry, runs: &[Run], bytes: u64) -> Option<Row> {
    let middle = median(runs)?;
    let (least, most) = spread(runs);
    let gigabytes = megabytes(bytes) / 1e3;
    Some(Row {
        name: entry.name.clone(),
        who: match entry.who {
            Who::Livedump => "livedump",
            Who::Alone => "livedump alone",
            Who::Other => "other",
            Who::Codec => "codec",
        },
        plain: entry.group == Group::Plain,
        seconds: runs.iter().map(|r| r.took.wall.as_secs_f64()).collect(),
        median: middle.took.wall.as_secs_f64(),
        least: least.as_secs_f64(),
        most: most.as_secs_f64(),
        cpu_per_gb: middle.took.cpu.as_secs_f64() / gigabytes,
        percent: 100.0 * megabytes(middle.bytes) / megabytes(bytes),
        peak: middle.took.memory,
        livedump_is: None,
        against: None,
    })
}

/// Each other program beside the fastest of ours that is no larger.
pub fn table(measured: &Measured) -> String {
    let mut text = String::from(
        "\n| at the size of | size | seconds | livedump is | with |\n\
         |---|---:|---:|---:|---|\n",
    );
    for row in measured.rows.iter().filter(|r| r.who == "other") {
        let (times, against) = match (row.livedump_is, &row.against) {
            (Some(times), Some(name)) => (format!("{times:.2} x"), &**name),
            _ => ("".into(), "none of ours is as small"),
        };
        let _ = writeln!(
            text,
            "| {} | {:.1} % | {:.3} | {times} | {against} |",
            row.name, row.percent, row.median,
        );
    }
    text
}

/// Nobody else reads the file again for checksums.
const NO_SEAL: &str = " --no-seal";

/// Of the picture, in pixels.
const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 520.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 30.0;
const TOP: f64 = 30.0;
const BOTTOM: f64 = 50.0;

const STYLE: &str = "text{font:12px sans-serif;fill:#1a1a1a}\
.page{fill:#fff}.axis{stroke:#80868b;fill:none}.grid{stroke:#e3e5e8}\
.livedump{fill:#1a56b0;stroke:#1a56b0}.other{fill:#c5221f}\
.line{fill:none;stroke:#1a56b0;stroke-width:1.5}\
@media(prefers-color-scheme:dark){text{fill:#e8eaed}.page{fill:#17181a}\
.grid{stroke:#303338}.livedump{fill:#8ab4f8;stroke:#8ab4f8}\
.line{stroke:#8ab4f8}.other{fill:#f28b82}}";

/// Where a size and a speed are.
struct Axes {
    /// Per cent and MB/s at the far ends.
    percent: f64,
    speed: f64,
}

impl Axes {
    fn x(&self, percent: f64) -> f64 {
        LEFT + percent / self.percent * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, speed: f64) -> f64 {
        HEIGHT - BOTTOM - speed / self.speed * (HEIGHT - TOP - BOTTOM)
    }
}

/// What a name or a point takes of the picture.
struct Place {
    left: f64,
    right: f64,
    middle: f64,
}

impl Place {
    fn meets(&self, other: &Self) -> bool {
        (self.middle - other.middle).abs() < 13.0
            && self.left < other.right
            && other.left < self.right
    }
}

/// What compresses: small files to the left, fast ones at the top.
pub fn svg(measured: &Measured) -> String {
    let speed = |row: &Row| megabytes(measured.bytes) / row.median;
    let rows: Vec<&Row> = measured
        .rows
        .iter()
        .filter(|r| matches!(r.who, "livedump" | "other"))
        .filter(|r| !r.plain && r.percent > 0.0)
        .filter(|r| r.who != "livedump" || r.name.ends_with(NO_SEAL))
        .collect();
    let most = |of: &dyn Fn(&Row) -> f64| {
        rows.iter().map(|r| of(r)).fold(1.0, f64::max)
    };
    let axes = Axes {
        percent: step(most(&|r| r.percent)) * 10.0,
        speed: step(most(&speed)) * 10.0,
    };
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" \
         height=\"{HEIGHT}\" viewBox=\"0 0 {WIDTH} {HEIGHT}\">\n\
         <style>{STYLE}</style>\n\
         <rect class=\"page\" width=\"100%\" height=\"100%\"/>\n"
    );
    grid(&mut out, &axes);
    let mut line: Vec<(f64, f64)> = rows
        .iter()
        .filter(|r| r.who == "livedump" && r.name.contains("-Z"))
        .map(|r| (axes.x(r.percent), axes.y(speed(r))))
        .collect();
    line.sort_by(|a, b| a.0.total_cmp(&b.0));
    let points: Vec<String> =
        line.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    let _ = writeln!(
        out,
        "<polyline class=\"line\" points=\"{}\"/>",
        points.join(" ")
    );
    // Names are placed from the top, on that side of their point and as near
    // to its height as neither points nor other names are in the way.
    let mut sorted = rows.clone();
    sorted.sort_by(|a, b| speed(b).total_cmp(&speed(a)));
    let mut taken: Vec<Place> = sorted
        .iter()
        .map(|r| (axes.x(r.percent), axes.y(speed(r))))
        .map(|(x, y)| Place { left: x - 5.0, right: x + 5.0, middle: y })
        .collect();
    for row in sorted {
        let (x, y) = (axes.x(row.percent), axes.y(speed(row)));
        let name = short(&row.name);
        // Of a letter, about.
        let width = name.len() as f64 * 6.4;
        let place = (0..40)
            .flat_map(|n| {
                let off = f64::from(n) * 2.0;
                let at =
                    |left, middle| Place { left, right: left + width, middle };
                let (right, left) = (x + 8.0, x - 8.0 - width);
                [y + off, y - off]
                    .into_iter()
                    .flat_map(move |y| [at(right, y), at(left, y)])
            })
            .find(|place| {
                place.right < WIDTH
                    && (TOP..HEIGHT - BOTTOM - 6.0).contains(&place.middle)
                    && !taken.iter().any(|t| t.meets(place))
            });
        let left = place.as_ref().map_or(x + 8.0, |p| p.left);
        let below = place.as_ref().map_or(y, |p| p.middle) + 4.0;
        taken.extend(place);
        let _ = writeln!(
            out,
            "<rect class=\"{}\" x=\"{:.1}\" y=\"{:.1}\" width=\"8\" \
             height=\"8\" rx=\"4\"/>\
             <text x=\"{left:.1}\" y=\"{below:.1}\">{name}</text>",
            row.who,
            x - 4.0,
            y - 4.0,
        );
    }
    out.push_str("</svg>\n");
    out
}

/// "livedump capture -Z --level=-5 --no-seal" is "-Z --level=-5".
fn short(name: &str) -> String {
    let name = name.strip_prefix("livedump capture ").unwrap_or(name);
    let name = name.strip_suffix(NO_SEAL).unwrap_or(name);
    name.replace('&', "&amp;").replace('<', "&lt;")
}

fn grid(out: &mut String, axes: &Axes) {
    let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
    for nth in 0..=10 {
        let share = f64::from(nth) / 10.0;
        let (percent, speed) = (axes.percent * share, axes.speed * share);
        let (x, y) = (axes.x(percent), axes.y(speed));
        let _ = writeln!(
            out,
            "<path class=\"grid\" d=\"M{x:.1} {TOP}V{bottom}M{LEFT} \
             {y:.1}H{right}\"/>\
             <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{percent}\
             </text><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{speed}\
             </text>",
            bottom + 18.0,
            LEFT - 8.0,
            y + 4.0,
        );
    }
    let _ = writeln!(
        out,
        "<path class=\"axis\" d=\"M{LEFT} {TOP}V{bottom}H{right}\"/>\
         <text x=\"{LEFT}\" y=\"18\">MB of memory a second</text>\
         <text x=\"{right}\" y=\"{:.1}\" text-anchor=\"end\">size of the file, \
         per cent of the memory</text>",
        HEIGHT - 10.0,
    );
}

/// A tenth of an axis that has room for `most`: 1, 2, 2.5, 4 or 5, times a power
/// of ten.
fn step(most: f64) -> f64 {
    let mut unit = 0.1;
    loop {
        for factor in [1.0, 2.0, 2.5, 4.0, 5.0] {
            if unit * factor * 10.0 >= most {
                return unit * factor;
            }
        }
        unit *= 10.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobs::What;
    use crate::timed::Took;
    use std::time::Duration;

    fn measured() -> Measured {
        let rows = [
            ("livedump capture -Z --level=1 --no-seal", Who::Livedump, 4, 30),
            ("livedump capture -Z --level=-5 --no-seal", Who::Livedump, 2, 50),
            ("large", Who::Other, 4, 60),
            ("small", Who::Other, 6, 31),
            ("smallest", Who::Other, 9, 10),
        ];
        let (mut entries, mut runs) = (vec![], vec![]);
        for (name, who, seconds, bytes) in rows {
            entries.push(Entry {
                group: Group::Zstd,
                who,
                name: name.into(),
                what: What::Missing("a test"),
            });
            let wall = Duration::from_secs(seconds);
            let took = Took { wall, ..Took::default() };
            runs.push(vec![Run { took, bytes }]);
        }
        Measured::of(&entries, &runs, 100, 2)
    }

    #[test]
    fn each_is_compared_with_the_fastest_that_is_no_larger() {
        let text = table(&measured());
        assert!(text.contains("| large | 60.0 % | 4.000 | 2.00 x |"), "{text}");
        assert!(text.contains("| small | 31.0 % | 6.000 | 1.50 x |"), "{text}");
        assert!(text.contains("none of ours is as small"), "{text}");
    }

    #[test]
    fn the_picture_has_every_program() {
        let text = svg(&measured());
        for name in ["-Z --level=-5<", ">large<", ">small<", ">smallest<"] {
            assert!(text.contains(name), "{name}");
        }
    }

    #[test]
    fn an_axis_has_room_and_round_numbers() {
        assert_eq!(step(48.0), 5.0);
        assert_eq!(step(1.0), 0.1);
        assert_eq!(step(2400.0), 250.0);
        assert_eq!(step(31.0), 4.0);
    }
}
