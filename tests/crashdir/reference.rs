// SPDX-License-Identifier: BSD-2-Clause
//! A small model of a crash directory: what savecore(8) would have there
//! after the same calls, and what this project promises beyond that.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// A file with a dump's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Which dump it is.
    pub id: u32,
    pub name: String,
    pub sound: bool,
    /// One of a panic, which is savecore's.
    pub panic: bool,
    pub bytes: u64,
}

/// The directory.
#[derive(Clone, Debug, Default)]
pub struct Reference {
    /// What `bounds` says.
    pub next: u32,
    pub dumps: BTreeMap<u32, Entry>,
    /// What a run that was killed has not removed, or could not.
    pub extra: BTreeSet<String>,
    /// What nobody of us has put there.
    pub foreign: BTreeSet<String>,
}

impl Reference {
    /// Live dumps, the newest first.
    pub fn newest_first(&self) -> Vec<&Entry> {
        let dumps = self.dumps.values();
        let mut live: Vec<_> = dumps.filter(|dump| !dump.panic).collect();
        live.sort_by_key(|dump| Reverse(dump.id));
        live
    }

    pub fn newest_sound(&self) -> Option<&Entry> {
        self.newest_first().into_iter().find(|dump| dump.sound)
    }

    /// savecore's number, unless a dump that is not sound would take the
    /// place of the newest one that is. `None`: there is no other place.
    pub fn number(&self, max: Option<u32>, sound: bool) -> Option<u32> {
        let wrapped = |n| if max.is_some_and(|max| n >= max) { 0 } else { n };
        let n = wrapped(self.next);
        let newest = self.newest_sound().map(|dump| dump.id);
        let there = self.dumps.get(&n).map(|dump| dump.id);
        if sound || newest.is_none() || newest != there {
            return Some(n);
        }
        let other = wrapped(n + 1);
        (other != n).then_some(other)
    }

    /// Gives a number to a dump.
    pub fn put(&mut self, n: u32, dump: Entry) {
        self.next = n + 1;
        let old = self.dumps.insert(n, dump.clone());
        // It may have been there as something else, too.
        self.extra.remove(&dump.name);
        if let Some(old) = old.filter(|old| old.name != dump.name) {
            self.extra.insert(old.name);
        }
    }

    /// What is left of older dumps with this number goes.
    pub fn clear(&mut self, n: u32) {
        let n = n.to_string();
        self.extra.retain(|name| name.split('.').nth(1) != Some(&n));
    }

    /// Keeps the newest sound dump and then the newest ones that fit.
    pub fn prune(&mut self, keep: Option<u32>, max_bytes: Option<u64>) {
        let dumps = self.newest_first();
        let first = self.newest_sound().map(|dump| dump.id);
        let (mut first, others): (Vec<&Entry>, Vec<_>) =
            dumps.into_iter().partition(|dump| Some(dump.id) == first);
        let fits = |kept: &[&Entry]| {
            let bytes = kept.iter().map(|dump| dump.bytes).sum::<u64>();
            keep.is_none_or(|keep| kept.len() <= keep as usize)
                && max_bytes.is_none_or(|max| bytes <= max)
        };
        for dump in others {
            first.push(dump);
            if !fits(&first) {
                first.pop();
                break;
            }
        }
        let kept: BTreeSet<_> = first.iter().map(|dump| dump.id).collect();
        let gone: Vec<_> = self
            .dumps
            .iter()
            .filter(|(_, dump)| !dump.panic && !kept.contains(&dump.id))
            .map(|(n, _)| *n)
            .collect();
        for n in gone {
            self.dumps.remove(&n);
            self.clear(n);
        }
    }
}
