// SPDX-License-Identifier: BSD-2-Clause
//! The wait-for graph for Graphviz, with the verdict.

use super::deadlock::Deadlock;
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
