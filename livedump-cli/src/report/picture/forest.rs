// SPDX-License-Identifier: BSD-2-Clause
//! Who waits for whom, as rows of a tree: each thread below what it waits for.

use crate::analysis::clock::longest;
use std::collections::{BTreeMap, HashMap, HashSet};

/// Threads below one that have a row each; the others are named in one.
const MAX_CHILDREN: usize = 24;
/// Rows of a picture.
const MAX_ROWS: usize = 2000;
/// Ids in the row of those that have none of their own.
const MAX_IDS: usize = 500;

/// What a thread waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Parent {
    /// Nothing that leads on.
    None,
    /// A thread.
    Thread(i32),
    /// Anything else, in words.
    Label(String),
}

/// A thread.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) tid: i32,
    /// Its names.
    pub(super) title: String,
    /// What it waits for, or does.
    pub(super) text: String,
    pub(super) parent: Parent,
    pub(super) seconds: Option<f64>,
    pub(super) uncertain: bool,
}

/// What a row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The head of a tree that is no thread.
    Head,
    /// The head of a cycle; so many of the rows after it are on it.
    Cycle,
    /// On a cycle.
    OnCycle,
    /// Any other thread.
    Thread,
    /// Those that have no row.
    More,
}

/// A row.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) kind: Kind,
    pub(super) depth: usize,
    pub(super) title: String,
    pub(super) text: String,
    pub(super) uncertain: bool,
}

/// All of them.
pub(super) struct Forest {
    items: Vec<Item>,
    by_tid: HashMap<i32, usize>,
    /// The threads below each, the longest wait first.
    children: HashMap<usize, Vec<usize>>,
    /// The threads below what is no thread.
    labels: BTreeMap<String, Vec<usize>>,
    rows: Vec<Row>,
    drawn: HashSet<usize>,
    left_out: usize,
}

impl Forest {
    pub(super) fn new(items: Vec<Item>) -> Self {
        let mut by_tid = HashMap::new();
        for (n, item) in items.iter().enumerate() {
            // A thread's own wait says more than that it is waited for.
            by_tid.entry(item.tid).or_insert(n);
        }
        let mut children: HashMap<usize, Vec<usize>> = HashMap::new();
        let mut labels: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (n, item) in items.iter().enumerate() {
            if by_tid.get(&item.tid) != Some(&n) {
                continue;
            }
            match &item.parent {
                Parent::None => {}
                Parent::Thread(tid) => match by_tid.get(tid) {
                    Some(&parent) => {
                        children.entry(parent).or_default().push(n);
                    }
                    None => labels
                        .entry(format!("thread {tid}"))
                        .or_default()
                        .push(n),
                },
                Parent::Label(label) => {
                    labels.entry(label.clone()).or_default().push(n);
                }
            }
        }
        let seconds = |n: &usize| items.get(*n).and_then(|i| i.seconds);
        let all = children.values_mut().chain(labels.values_mut());
        for below in all {
            below
                .sort_by(|a, b| longest(seconds(a), seconds(b)).then(a.cmp(b)));
        }
        Self {
            items,
            by_tid,
            children,
            labels,
            rows: Vec::new(),
            drawn: HashSet::new(),
            left_out: 0,
        }
    }

    /// Cycles first, then the trees with the most threads.
    pub(super) fn rows(mut self) -> Vec<Row> {
        for cycle in self.cycles() {
            self.cycle(&cycle);
        }
        let mut trees: Vec<(usize, Tree)> = Vec::new();
        for (label, below) in std::mem::take(&mut self.labels) {
            let count = below.iter().map(|&n| self.count(n)).sum();
            trees.push((count, Tree::Label(label, below)));
        }
        for n in 0..self.items.len() {
            let ends = self.items.get(n).map(|i| &i.parent);
            let own = self.items.get(n).and_then(|i| self.by_tid.get(&i.tid));
            if ends == Some(&Parent::None) && own == Some(&n) {
                trees.push((self.count(n), Tree::Thread(n)));
            }
        }
        trees.sort_by_key(|tree| std::cmp::Reverse(tree.0));
        for (_, tree) in trees {
            match tree {
                Tree::Thread(n) => self.tree(n, 0),
                Tree::Label(label, below) => {
                    self.push(Kind::Head, 0, label, String::new(), false);
                    self.below(&below, 1);
                }
            }
        }
        if self.left_out > 0 {
            let text = format!("{} more rows", self.left_out);
            let row = Row {
                kind: Kind::More,
                depth: 0,
                title: text,
                text: String::new(),
                uncertain: false,
            };
            self.rows.push(row);
        }
        self.rows
    }

    fn push(
        &mut self,
        kind: Kind,
        depth: usize,
        title: String,
        text: String,
        uncertain: bool,
    ) {
        if self.rows.len() >= MAX_ROWS {
            self.left_out = self.left_out.saturating_add(1);
            return;
        }
        self.rows.push(Row { kind, depth, title, text, uncertain });
    }

    fn parent(&self, n: usize) -> Option<usize> {
        match &self.items.get(n)?.parent {
            Parent::Thread(tid) => self.by_tid.get(tid).copied(),
            _ => None,
        }
    }

    /// Each waits for the next, the last for the first.
    fn cycles(&self) -> Vec<Vec<usize>> {
        let mut walk_of: HashMap<usize, usize> = HashMap::new();
        let mut found = Vec::new();
        for start in 0..self.items.len() {
            let mut at = Some(start);
            while let Some(n) = at {
                match walk_of.get(&n) {
                    None => {
                        walk_of.insert(n, start);
                        at = self.parent(n);
                    }
                    Some(&walk) if walk == start => {
                        let mut cycle = vec![n];
                        let mut next = self.parent(n);
                        while let Some(m) = next.filter(|&m| m != n) {
                            cycle.push(m);
                            next = self.parent(m);
                        }
                        found.push(cycle);
                        break;
                    }
                    Some(_) => break,
                }
            }
        }
        found
    }

    fn cycle(&mut self, cycle: &[usize]) {
        let title = match cycle.len() {
            1 => "a thread that waits for itself".to_string(),
            n => format!("cycle of {n} threads, each waits for the next"),
        };
        self.push(Kind::Cycle, 0, title, String::new(), false);
        self.drawn.extend(cycle);
        for &n in cycle {
            if let Some(item) = self.items.get(n).cloned() {
                let Item { title, text, uncertain, .. } = item;
                self.push(Kind::OnCycle, 1, title, text, uncertain);
            }
            let below = self.children.get(&n).cloned().unwrap_or_default();
            let outside: Vec<_> =
                below.into_iter().filter(|b| !self.drawn.contains(b)).collect();
            self.below(&outside, 2);
        }
    }

    /// A thread and all below it. Rows are few: depth is bounded by them, and
    /// each thread is drawn once.
    fn tree(&mut self, n: usize, depth: usize) {
        let mut stack = vec![Next::Row(n, depth)];
        while let Some(next) = stack.pop() {
            let (n, depth) = match next {
                Next::Row(n, depth) => (n, depth),
                Next::More(more, depth) => {
                    self.more(&more, depth);
                    continue;
                }
            };
            if !self.drawn.insert(n) {
                continue;
            }
            let Some(item) = self.items.get(n).cloned() else { continue };
            let Item { title, text, uncertain, .. } = item;
            self.push(Kind::Thread, depth, title, text, uncertain);
            let below = self.children.get(&n).cloned().unwrap_or_default();
            let deeper = depth.saturating_add(1);
            let (shown, more) = shown(&below);
            if !more.is_empty() {
                stack.push(Next::More(more.to_vec(), deeper));
            }
            stack.extend(shown.iter().rev().map(|&b| Next::Row(b, deeper)));
        }
    }

    fn below(&mut self, below: &[usize], depth: usize) {
        let (shown, more) = shown(below);
        for &n in shown {
            self.tree(n, depth);
        }
        if !more.is_empty() {
            self.more(more, depth);
        }
    }

    /// Those that have no row, and all below them.
    fn more(&mut self, more: &[usize], depth: usize) {
        let mut ids = Vec::new();
        let mut next = more.to_vec();
        while let Some(n) = next.pop() {
            if !self.drawn.insert(n) {
                continue;
            }
            ids.extend(self.items.get(n).map(|i| i.tid));
            next.extend(self.children.get(&n).into_iter().flatten());
        }
        ids.sort_unstable();
        let title = format!("and {} more threads wait", ids.len());
        let mut shown: Vec<_> =
            ids.iter().take(MAX_IDS).map(i32::to_string).collect();
        if ids.len() > MAX_IDS {
            shown.push("...".into());
        }
        self.push(Kind::More, depth, title, shown.join(" "), false);
    }

    /// A thread, and all that are below it.
    fn count(&self, n: usize) -> usize {
        let mut seen = HashSet::new();
        let mut next = vec![n];
        while let Some(n) = next.pop() {
            if seen.insert(n) {
                next.extend(self.children.get(&n).into_iter().flatten());
            }
        }
        seen.len()
    }
}

/// What is drawn next.
enum Next {
    Row(usize, usize),
    More(Vec<usize>, usize),
}

enum Tree {
    Thread(usize),
    Label(String, Vec<usize>),
}

/// One more is not worth a row of its own.
fn shown(below: &[usize]) -> (&[usize], &[usize]) {
    match below.len() > MAX_CHILDREN + 1 {
        true => below.split_at(MAX_CHILDREN),
        false => (below, &[]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(tid: i32, parent: Parent) -> Item {
        Item {
            tid,
            title: tid.to_string(),
            text: String::new(),
            parent,
            seconds: None,
            uncertain: false,
        }
    }

    fn drawn(items: Vec<Item>) -> Vec<(Kind, usize, String)> {
        let rows = Forest::new(items).rows().into_iter();
        rows.map(|r| (r.kind, r.depth, r.title)).collect()
    }

    #[test]
    fn each_thread_is_below_what_it_waits_for() {
        let rows = drawn(vec![
            item(1, Parent::Thread(2)),
            item(2, Parent::Thread(3)),
            item(4, Parent::Thread(3)),
            item(5, Parent::Label("da0".into())),
            item(3, Parent::None),
        ]);
        let expected: [(Kind, usize, &str); 6] = [
            (Kind::Thread, 0, "3"),
            (Kind::Thread, 1, "2"),
            (Kind::Thread, 2, "1"),
            (Kind::Thread, 1, "4"),
            (Kind::Head, 0, "da0"),
            (Kind::Thread, 1, "5"),
        ];
        let expected = expected.map(|(k, d, t)| (k, d, t.to_string()));
        assert_eq!(rows, expected);
    }

    #[test]
    fn a_cycle_is_first_and_has_those_behind_it() {
        let rows = drawn(vec![
            item(9, Parent::Thread(2)),
            item(1, Parent::Thread(2)),
            item(2, Parent::Thread(1)),
        ]);
        let kinds: Vec<_> = rows.iter().map(|r| (r.0, r.1)).collect();
        assert_eq!(kinds[0], (Kind::Cycle, 0));
        assert_eq!(rows.len(), 4);
        assert_eq!(rows.iter().filter(|r| r.0 == Kind::OnCycle).count(), 2);
        assert!(rows.iter().any(|r| r.1 == 2 && r.2 == "9"));
    }

    #[test]
    fn many_waiters_are_named_in_one_row() {
        let mut items: Vec<_> =
            (1..=200).map(|n| item(n, Parent::Thread(1000))).collect();
        items.push(item(1000, Parent::None));
        let rows = drawn(items);
        assert_eq!(rows.len(), 1 + MAX_CHILDREN + 1);
        assert_eq!(rows.last().unwrap().2, "and 176 more threads wait");
        // A chain is as long as it is.
        let mut items: Vec<_> =
            (0..3000).map(|n| item(n, Parent::Thread(n + 1))).collect();
        items.push(item(3000, Parent::None));
        let rows = drawn(items);
        assert_eq!(rows.len(), MAX_ROWS + 1);
        assert_eq!(rows[MAX_ROWS].2, "1001 more rows");
    }
}
