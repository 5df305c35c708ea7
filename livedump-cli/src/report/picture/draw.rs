// SPDX-License-Identifier: BSD-2-Clause
//! Rows in SVG. Each line of text is made as wide as its columns
//! (`textLength`), so that it fits whatever font there is.

use super::forest::{Kind, Row};
use super::lines::{broken, width};
use std::fmt::Write as _;

/// Columns of the picture, with indentation.
const COLUMNS: usize = 84;
/// A column, in tenths of a pixel, so that all is exact.
const COLUMN: usize = 75;
/// A line.
const LINE: usize = 17;
/// Around a row's text, and between rows.
const PAD: usize = 6;
const GAP: usize = 6;
const MARGIN: usize = 16;
/// A level of the tree.
const INDENT: usize = 22;
/// Deeper levels are not indented further, but numbered.
const MAX_DEPTH: usize = 14;
/// What is left of a row for lines of the tree.
const GUTTER: usize = 10;

const STYLE: &str = "\
text{font:12.5px ui-monospace,SFMono-Regular,Menlo,Consolas,\
'DejaVu Sans Mono',monospace;fill:#1a1a1a;white-space:pre}\
.page{fill:#fff}.box{fill:#f3f4f6;stroke:#9aa0a6}\
.cycle{fill:#fdecea;stroke:#c5221f}.head{fill:#e8f0fe;stroke:#1a56b0}\
.more{fill:none;stroke:#9aa0a6;stroke-dasharray:2 3}.b{font-weight:600}\
.dim{fill:#4a4f55}.line{fill:none;stroke:#80868b}\
.loop{fill:none;stroke:#c5221f;stroke-width:1.5}.tip{fill:#c5221f}\
@media(prefers-color-scheme:dark){text{fill:#e8eaed}.page{fill:#17181a}\
.box{fill:#26282b;stroke:#6b7177}.cycle{fill:#3b1f1e;stroke:#f28b82}\
.head{fill:#1d2a40;stroke:#8ab4f8}.more{stroke:#6b7177}.dim{fill:#bdc1c6}\
.line{stroke:#8b9197}.loop{stroke:#f28b82}.tip{fill:#f28b82}}";

/// A row with its place.
struct Placed<'r> {
    row: &'r Row,
    x: usize,
    y: usize,
    height: usize,
    title: Vec<String>,
    text: Vec<String>,
}

impl Placed<'_> {
    fn middle(&self) -> usize {
        self.y + PAD + LINE / 2
    }
}

/// The picture, with lines of text above it.
pub(super) fn svg(head: &[String], rows: &[Row]) -> String {
    let full = MARGIN * 2 + pixels(COLUMNS) + PAD * 2;
    let mut body = String::new();
    let mut y = MARGIN;
    for (n, text) in head.iter().enumerate() {
        for line in broken(text, COLUMNS) {
            text_line(&mut body, MARGIN, y + LINE - 4, &line, n == 0);
            y += LINE;
        }
        y += 2;
    }
    if rows.iter().any(|row| row.kind != Kind::More) {
        let note = "Each row waits for the row that it is indented under.";
        text_line(&mut body, MARGIN, y + LINE - 4, note, false);
        y += LINE;
    }
    y += GAP;
    let mut placed = Vec::new();
    for row in rows {
        let x = MARGIN + row.depth.min(MAX_DEPTH) * INDENT;
        let columns = (full - MARGIN - x - PAD * 2) * 10 / COLUMN;
        let title = match row.depth > MAX_DEPTH {
            true => format!("level {}: {}", row.depth, row.title),
            false => row.title.clone(),
        };
        let (title, text) =
            (broken(&title, columns), broken(&row.text, columns));
        let height = (title.len() + text.len()) * LINE + PAD * 2;
        placed.push(Placed { row, x, y, height, title, text });
        y += height + GAP;
    }
    connect(&mut body, &placed);
    loops(&mut body, &placed);
    for p in &placed {
        boxed(&mut body, p, full - MARGIN - p.x);
    }
    let height = y + MARGIN;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{full}\" \
         height=\"{height}\" viewBox=\"0 0 {full} {height}\" \
         style=\"max-width:100%;height:auto\">\n<style>{STYLE}</style>\n\
         <rect class=\"page\" width=\"100%\" height=\"100%\"/>\n{body}</svg>\n"
    )
}

fn pixels(columns: usize) -> usize {
    (columns * COLUMN).div_ceil(10)
}

/// From each row to the one that it is under.
fn connect(out: &mut String, placed: &[Placed<'_>]) {
    let mut above: Vec<&Placed<'_>> = Vec::new();
    for p in placed {
        while above.last().is_some_and(|a| a.row.depth >= p.row.depth) {
            above.pop();
        }
        let parent = above.last().filter(|a| {
            // Those of a cycle have a line of their own.
            !(p.row.kind == Kind::OnCycle && a.row.kind == Kind::Cycle)
        });
        if let Some(parent) = parent {
            let x = parent.x + GUTTER;
            let (top, middle) = (parent.y + parent.height, p.middle());
            let dash = dash(p.row);
            if parent.x == p.x {
                // Only to the next row: others would be crossed.
                if top + GAP == p.y {
                    let _ = writeln!(
                        out,
                        "<path class=\"line\" d=\"M{x},{top}V{}\"{dash}/>",
                        p.y
                    );
                }
                above.push(p);
                continue;
            }
            let _ = writeln!(
                out,
                "<path class=\"line\" d=\"M{x},{top}V{middle}H{}\"{dash}/>",
                p.x
            );
        }
        above.push(p);
    }
}

/// Around the rows of each cycle: down, and from the last back to the first.
fn loops(out: &mut String, placed: &[Placed<'_>]) {
    let mut n = 0;
    while let Some(p) = placed.get(n) {
        n += 1;
        if p.row.kind != Kind::Cycle {
            continue;
        }
        let rest = placed.get(n..).unwrap_or_default();
        let of_cycle = rest.iter().take_while(|r| r.row.depth > 0);
        let on: Vec<_> =
            of_cycle.filter(|r| r.row.kind == Kind::OnCycle).collect();
        let (Some(first), Some(last)) = (on.first(), on.last()) else {
            continue;
        };
        let x = p.x + 6;
        let (top, low) = (first.middle(), last.middle());
        let low = if on.len() == 1 { top + LINE } else { low };
        let _ = writeln!(
            out,
            "<path class=\"loop\" d=\"M{},{low}H{x}V{top}H{}\"/>",
            last.x, first.x
        );
        for r in on.iter().skip(1) {
            let y = r.middle();
            let _ =
                writeln!(out, "<path class=\"loop\" d=\"M{x},{y}H{}\"/>", r.x);
        }
        let (tip, back) = (first.x, first.x.saturating_sub(7));
        let _ = writeln!(
            out,
            "<path class=\"tip\" d=\"M{tip},{top}L{back},{}V{}Z\"/>",
            top - 4,
            top + 4
        );
    }
}

fn dash(row: &Row) -> &'static str {
    if row.uncertain { " stroke-dasharray=\"4\"" } else { "" }
}

fn boxed(out: &mut String, p: &Placed<'_>, wide: usize) {
    let class = match p.row.kind {
        Kind::Cycle | Kind::OnCycle => "cycle",
        Kind::Head => "head",
        Kind::Thread => "box",
        Kind::More => "more",
    };
    let _ = writeln!(
        out,
        "<rect class=\"{class}\" x=\"{}\" y=\"{}\" width=\"{wide}\" \
         height=\"{}\" rx=\"3\"{}/>",
        p.x,
        p.y,
        p.height,
        dash(p.row)
    );
    let mut y = p.y + PAD + LINE - 5;
    for line in &p.title {
        text_line(out, p.x + PAD, y, line, true);
        y += LINE;
    }
    for line in &p.text {
        text_line(out, p.x + PAD, y, line, false);
        y += LINE;
    }
}

fn text_line(out: &mut String, x: usize, y: usize, text: &str, bold: bool) {
    let class = if bold { "b" } else { "dim" };
    let tenths = width(text) * COLUMN;
    let (whole, tenth) = (tenths / 10, tenths % 10);
    let _ = write!(
        out,
        "<text class=\"{class}\" x=\"{x}\" y=\"{y}\" \
         textLength=\"{whole}.{tenth}\" lengthAdjust=\"spacingAndGlyphs\">"
    );
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            c if c.is_control() => out.push('?'),
            c => out.push(c),
        }
    }
    out.push_str("</text>\n");
}
