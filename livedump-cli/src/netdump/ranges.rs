// SPDX-License-Identifier: BSD-2-Clause
//! Which bytes of a dump have arrived. Nothing says how long it is before its
//! header does, and messages come in any order and more than once.

use std::collections::BTreeMap;

/// Ranges that are kept apart: a dump that arrives in order is one. More are
/// refused, since each costs memory.
const MOST: usize = 1 << 18;

/// Ranges of bytes, neither empty nor touching.
#[derive(Clone, Debug, Default)]
pub struct Ranges {
    /// End by start.
    ranges: BTreeMap<u64, u64>,
    bytes: u64,
}

/// There are too many gaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("more than 262144 gaps")]
pub struct TooMany;

impl Ranges {
    /// Adds `len` bytes at `start`; how many of them were missing.
    ///
    /// # Errors
    /// It would be one range too many; nothing is added then.
    pub fn insert(&mut self, start: u64, len: u64) -> Result<u64, TooMany> {
        let end = start.saturating_add(len);
        if end == start {
            return Ok(0);
        }
        // Mostly the next one after the last.
        let (mut first, mut last) = (start, end);
        let mut covered = 0u64;
        let mut gone = Vec::new();
        for (&from, &to) in self.ranges.range(..=end).rev() {
            if to < start {
                break;
            }
            let common = to.min(end).saturating_sub(from.max(start));
            covered = covered.saturating_add(common);
            (first, last) = (first.min(from), last.max(to));
            gone.push(from);
        }
        if gone.is_empty() && self.ranges.len() >= MOST {
            return Err(TooMany);
        }
        for from in gone {
            self.ranges.remove(&from);
        }
        self.ranges.insert(first, last);
        let new = end.saturating_sub(start).saturating_sub(covered);
        self.bytes = self.bytes.saturating_add(new);
        Ok(new)
    }

    /// Whether all of a range is there.
    #[must_use]
    pub fn contains(&self, start: u64, len: u64) -> bool {
        let end = start.saturating_add(len);
        let before = self.ranges.range(..=start).next_back();
        len == 0 || before.is_some_and(|(_, &to)| to >= end)
    }

    /// Bytes that have arrived.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The end of the last range.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.ranges.last_key_value().map_or(0, |(_, &end)| end)
    }

    /// Start and length of what is missing below `end`.
    pub fn holes(&self, end: u64) -> impl Iterator<Item = (u64, u64)> + '_ {
        let mut at = 0u64;
        let ranges = self.ranges.iter().map(|(&from, &to)| (from, to));
        let ranges = ranges.chain([(end, u64::MAX)]);
        ranges.filter_map(move |(from, to)| {
            let start = std::mem::replace(&mut at, to);
            let hole = from.min(end).saturating_sub(start);
            (hole > 0).then_some((start, hole))
        })
    }

    /// How many holes there are below `end`, and their bytes.
    #[must_use]
    pub fn missing(&self, end: u64) -> (u64, u64) {
        self.holes(end).fold((0, 0), |(holes, bytes), (_, len)| {
            (u64::saturating_add(holes, 1), u64::saturating_add(bytes, len))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_as_a_map_of_bytes_has_them() {
        let mut seed = 0x2545_f491_4f6c_dd1du64;
        for _ in 0..200 {
            let mut ranges = Ranges::default();
            let mut map = [false; 64];
            for _ in 0..12 {
                seed ^= seed << 13;
                seed ^= seed >> 7;
                seed ^= seed << 17;
                let start = (seed % 60) as usize;
                let len = (seed >> 8) as usize % (65 - start).min(12);
                let piece = &mut map[start..start + len];
                let want = piece.iter().filter(|b| !**b).count() as u64;
                piece.fill(true);
                let got = ranges.insert(start as u64, len as u64);
                assert_eq!(got, Ok(want));
                let there = map.iter().filter(|b| **b).count() as u64;
                assert_eq!(ranges.bytes(), there);
                let end = map.iter().rposition(|b| *b).map_or(0, |n| n + 1);
                assert_eq!(ranges.end(), end as u64);
                let mut seen = map;
                for (start, len) in ranges.holes(64) {
                    let hole = start as usize..(start + len) as usize;
                    assert!(hole.start == 0 || map[hole.start - 1]);
                    assert!(hole.end == 64 || map[hole.end]);
                    seen[hole].iter_mut().for_each(|b| {
                        assert!(!*b);
                        *b = true;
                    });
                }
                assert!(seen.iter().all(|b| *b));
                for start in 0..64 {
                    for len in 0..=64 - start {
                        let all = map[start..start + len].iter().all(|b| *b);
                        let (start, len) = (start as u64, len as u64);
                        assert_eq!(ranges.contains(start, len), all);
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_missing_ends_where_the_dump_does() {
        let mut ranges = Ranges::default();
        assert_eq!(ranges.missing(0), (0, 0));
        assert_eq!(ranges.missing(9), (1, 9));
        ranges.insert(4, 2).unwrap();
        assert_eq!(ranges.missing(5), (1, 4));
        assert_eq!(ranges.holes(10).collect::<Vec<_>>(), [(0, 4), (6, 4)]);
        ranges.insert(u64::MAX - 1, 1).unwrap();
        assert_eq!(ranges.missing(10), (2, 8));
        assert_eq!(ranges.end(), u64::MAX);
    }

    #[test]
    fn gaps_are_bounded() {
        let mut ranges = Ranges::default();
        for n in 0..MOST as u64 {
            ranges.insert(n * 2, 1).unwrap();
        }
        assert_eq!(ranges.insert(u64::MAX - 2, 1), Err(TooMany));
        assert_eq!(ranges.insert(1, 1), Ok(1));
    }
}
