// SPDX-License-Identifier: BSD-2-Clause
//! Waits as a picture, in SVG: a tree in which each thread stands below what it
//! waits for, one row a thread, so that nothing can overlap however many there
//! are and however long their names.
//!
//! ```text
//!  forest  who waits for whom, in the order of the rows
//!  lines   text that is broken where its room ends
//!  draw    the rows in SVG, in colors for light and dark
//! ```

mod draw;
mod forest;
mod lines;

use super::deadlock::Deadlock;
use super::explain::Explain;
use super::thread::ThreadRef;
use forest::{Forest, Item, Parent};
use livedump_vmcore::verdict::Verdict;

/// Reasons that are drawn.
const MAX_REASONS: usize = 4;

/// The waits for locks of a dump.
#[must_use]
pub fn deadlock_svg(report: &Deadlock) -> String {
    let mut items = Vec::new();
    for w in &report.waits {
        let share = match w.shared {
            Some(true) => " (shared)",
            _ => "",
        };
        items.push(Item {
            tid: w.who.tid,
            title: title(&w.who),
            text: waits("waits", w.seconds, &format!("{}{share}", w.lock)),
            parent: match (w.holder.kind, w.holder.tid) {
                ("thread", Some(tid)) => Parent::Thread(tid),
                _ => {
                    let holder = &w.holder.text;
                    Parent::Label(format!("{}: held by {holder}", w.lock))
                }
            },
            seconds: w.seconds,
            uncertain: !w.inconsistencies.is_empty(),
        });
    }
    for last in report.chains.iter().filter_map(|c| c.last.as_ref()) {
        items.push(end(&last.who, &last.state));
    }
    let head = format!("verdict: {}", report.word());
    drawn(vec![head], &report.reasons, items)
}

/// All waits of a dump that were followed.
#[must_use]
pub fn explain_svg(report: &Explain) -> String {
    let waits_of = |w: &super::explain::Wait| Item {
        tid: w.who.tid,
        title: title(&w.who),
        text: waits(
            if w.spins { "spins" } else { "waits" },
            w.seconds,
            &w.object,
        ),
        parent: match (w.next_tid, &w.next) {
            (Some(tid), _) => Parent::Thread(tid),
            (None, next) => Parent::Label(next.clone().unwrap_or_default()),
        },
        seconds: w.seconds,
        uncertain: !w.inconsistencies.is_empty(),
    };
    let mut items: Vec<_> = report.waits.iter().map(waits_of).collect();
    for root in &report.roots {
        if let (Some(who), Some(state)) = (&root.thread, &root.state) {
            items.push(end(who, state));
        }
    }
    let verdict = match &report.verdict {
        Verdict::Damaged(what) => format!("verdict: stuck: {what}"),
        Verdict::Sound => "verdict: none".into(),
        Verdict::Undetermined(_) => "verdict: undetermined".into(),
    };
    drawn(vec![report.summary.clone(), verdict], &report.reasons, items)
}

/// A thread that waits for nothing that leads on.
fn end(who: &ThreadRef, state: &str) -> Item {
    Item {
        tid: who.tid,
        title: title(who),
        text: state.to_string(),
        parent: Parent::None,
        seconds: None,
        uncertain: false,
    }
}

fn title(who: &ThreadRef) -> String {
    let ThreadRef { tid, name, pid, command } = who;
    match name == command || name.is_empty() {
        true => format!("{tid} {command} (pid {pid})"),
        false => format!("{tid} {name} of {command} (pid {pid})"),
    }
}

fn waits(verb: &str, seconds: Option<f64>, object: &str) -> String {
    match seconds.filter(|&s| s >= 0.0) {
        Some(seconds) => format!("{verb} {seconds:.1} s for {object}"),
        None => format!("{verb} for {object}"),
    }
}

fn drawn(
    mut head: Vec<String>,
    reasons: &[String],
    items: Vec<Item>,
) -> String {
    head.extend(reasons.iter().take(MAX_REASONS).cloned());
    let more = reasons.len().saturating_sub(MAX_REASONS);
    if more > 0 {
        head.push(format!("and {more} more"));
    }
    draw::svg(&head, &Forest::new(items).rows())
}
