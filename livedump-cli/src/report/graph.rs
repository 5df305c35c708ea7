// SPDX-License-Identifier: BSD-2-Clause
//! The wait-for graph drawn: for Graphviz, or as SVG, a column for each cycle
//! and chain. Both carry the verdict.

use super::deadlock::{Deadlock, Wait};
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// A graph in Graphviz's language: threads are boxes, locks ellipses; what is
/// on a certain cycle is red, what is uncertain is dashed.
#[must_use]
pub fn dot(report: &Deadlock) -> String {
    let certain = report.cycles.iter().filter(|c| c.certain);
    let (threads, locks): (BTreeSet<i32>, BTreeSet<u64>) = certain
        .flat_map(|c| &c.waits)
        .map(|w| (w.who.tid, w.lock.address.0))
        .unzip();
    let red = |yes| if yes { " color=red" } else { "" };
    let mut out = String::from("digraph waits {\n  node [fontsize=10];\n");
    let label = quoted(&verdict(report).join("\n"));
    let _ = writeln!(out, "  graph [labelloc=t label={label}];");
    let mut nodes = BTreeSet::new();
    let mut edges = String::new();
    for w in &report.waits {
        let tid = w.who.tid;
        let lock = w.lock.address.0;
        let color = red(threads.contains(&tid));
        let held = red(locks.contains(&lock));
        let style = match w.inconsistencies.is_empty() {
            true => "",
            false => " style=dashed",
        };
        let who = &w.who;
        let label = format!("{tid} {}\npid {}", who.name, who.pid);
        let label = quoted(&label);
        nodes.insert(format!("t{tid} [shape=box label={label}{color}]"));
        let name = w.lock.name.as_deref().unwrap_or("?");
        let label = format!("{} {name}\n{lock:#x}", w.lock.class);
        nodes.insert(format!("l{lock:x} [label={}{held}]", quoted(&label)));
        let _ = writeln!(
            edges,
            "  t{tid} -> l{lock:x} [label=\"\"{color}{style}];"
        );
        let (to, label) = match (w.holder.kind, w.holder.tid) {
            ("thread", Some(tid)) => (format!("t{tid}"), None),
            _ => (format!("h{lock:x}"), Some(&w.holder.text)),
        };
        if let Some(label) = label {
            let label = quoted(label);
            nodes.insert(format!("{to} [shape=plaintext label={label}]"));
        }
        let label = "label=\"held by\" fontsize=8";
        let _ = writeln!(edges, "  l{lock:x} -> {to} [{label}{held}];");
    }
    // Who only holds has no wait, and no label yet.
    for last in report.chains.iter().filter_map(|c| c.last.as_ref()) {
        let who = &last.who;
        let label = format!("{} {}\npid {}", who.tid, who.name, who.pid);
        let label = quoted(&label);
        nodes.insert(format!("t{} [shape=box label={label}]", who.tid));
    }
    for node in nodes {
        let _ = writeln!(out, "  {node};");
    }
    // The same lock is waited for by many, and held once.
    let mut seen = BTreeSet::new();
    for edge in edges.lines().filter(|e| seen.insert(e.to_string())) {
        let _ = writeln!(out, "{edge}");
    }
    out.push_str("}\n");
    out
}

/// The verdict, and the first of its reasons.
fn verdict(report: &Deadlock) -> Vec<String> {
    let more = report.reasons.len().saturating_sub(MAX_REASONS);
    let more = (more > 0).then(|| format!("and {more} more"));
    let reasons = report.reasons.iter().take(MAX_REASONS).cloned();
    let first = format!("verdict: {}", report.word());
    [first].into_iter().chain(reasons).chain(more).collect()
}

fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            c if c.is_control() => out.push('?'),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Reasons that are drawn.
const MAX_REASONS: usize = 4;
const LINE: usize = 16;
const MAX_LINE: usize = 110;
const MAX_LABEL: usize = 48;
const WIDTH: usize = 300;
const BOX: usize = 44;
const STEP: usize = 100;
const GAP: usize = 60;

/// The same as SVG: each cycle and each chain is a column.
#[must_use]
pub fn svg(report: &Deadlock) -> String {
    let mut columns = Vec::new();
    for c in &report.cycles {
        let title = match c.certain {
            true => "deadlock",
            false => "possible deadlock",
        };
        columns.push(Column {
            title,
            waits: &c.waits,
            end: None,
            is_cycle: true,
        });
    }
    for c in &report.chains {
        let end = match (&c.last, c.waits.last()) {
            (Some(last), _) => {
                let state = last.state.clone();
                Some((format!("{} {}", last.who.tid, last.who.name), state))
            }
            (None, Some(w)) => Some((w.holder.text.clone(), String::new())),
            (None, None) => None,
        };
        let waits = &c.waits;
        columns.push(Column { title: "chain", waits, end, is_cycle: false });
    }
    let rows = columns.iter().map(|c| c.rows()).max().unwrap_or(0);
    let said = verdict(report);
    let width = columns.len().max(2).saturating_mul(WIDTH + GAP) + GAP;
    let foot = rows.saturating_mul(STEP).saturating_add(GAP * 2);
    let height = said.len().saturating_mul(LINE).saturating_add(foot);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" \
         height=\"{height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <defs><marker id=\"a\" viewBox=\"0 0 8 8\" refX=\"8\" refY=\"4\" \
         markerWidth=\"8\" markerHeight=\"8\" orient=\"auto\">\
         <path d=\"M0,0 L8,4 L0,8 z\"/></marker></defs>\n"
    );
    for (n, line) in said.iter().enumerate() {
        let y = n.saturating_mul(LINE).saturating_add(foot);
        text(&mut out, GAP, y, line, MAX_LINE);
    }
    for (i, column) in columns.iter().enumerate() {
        column.draw(&mut out, i.saturating_mul(WIDTH + GAP) + GAP);
    }
    out.push_str("</svg>\n");
    out
}

struct Column<'r> {
    title: &'static str,
    waits: &'r [Wait],
    /// What the last one waits for in the end: two lines.
    end: Option<(String, String)>,
    is_cycle: bool,
}

impl Column<'_> {
    fn rows(&self) -> usize {
        self.waits.len().saturating_add(usize::from(self.end.is_some()))
    }

    fn draw(&self, out: &mut String, x: usize) {
        let color = if self.title == "deadlock" { "#c00" } else { "#333" };
        text(out, x, GAP - 20, self.title, MAX_LABEL);
        let row = |n: usize| n.saturating_mul(STEP).saturating_add(GAP);
        let mid = x + WIDTH / 2;
        for (n, w) in self.waits.iter().enumerate() {
            let y = row(n);
            let who = format!("{} {}", w.who.tid, w.who.name);
            let of = format!("{} (pid {})", w.who.command, w.who.pid);
            boxed(out, (x, y), color, &who, &of);
            let name = w.lock.name.as_deref().unwrap_or("?");
            let lock = format!("waits for {} \"{name}\"", w.lock.class);
            let last = n.saturating_add(1) == self.waits.len();
            let dash = match w.inconsistencies.is_empty() {
                true => "",
                false => " stroke-dasharray=\"4\"",
            };
            let (from, to) = (y + BOX, row(n.saturating_add(1)));
            text(out, mid + 8, from + 30, &lock, MAX_LABEL);
            let path = if last && self.is_cycle {
                // Back to the first, around all of them.
                let (side, top) = (x + WIDTH, row(0) + BOX / 2);
                let (low, far) = (from + 40, side + 30);
                format!("M{mid},{from} V{low} H{far} V{top} H{side}")
            } else if last && self.end.is_none() {
                continue;
            } else {
                format!("M{mid},{from} V{to}")
            };
            let _ = writeln!(
                out,
                "<path d=\"{path}\" fill=\"none\" stroke=\"{color}\" \
                 marker-end=\"url(#a)\"{dash}/>"
            );
        }
        if let Some((first, second)) = &self.end {
            boxed(out, (x, row(self.waits.len())), "#333", first, second);
        }
    }
}

fn boxed(
    out: &mut String,
    (x, y): (usize, usize),
    color: &str,
    first: &str,
    second: &str,
) {
    let _ = writeln!(
        out,
        "<rect x=\"{x}\" y=\"{y}\" width=\"{WIDTH}\" height=\"{BOX}\" \
         rx=\"4\" fill=\"#f4f4f4\" stroke=\"{color}\"/>"
    );
    text(out, x + 8, y + 18, first, MAX_LABEL);
    text(out, x + 8, y + 36, second, MAX_LABEL);
}

/// Text, cut off after so many characters.
fn text(out: &mut String, x: usize, y: usize, text: &str, most: usize) {
    let _ = write!(out, "<text x=\"{x}\" y=\"{y}\">");
    for c in text.chars().take(most) {
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
