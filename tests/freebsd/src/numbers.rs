// SPDX-License-Identifier: BSD-2-Clause
//! Figures that a guest says in lines of a kind, names and values.

use std::collections::BTreeMap;

/// The numbers of one kind, by name.
pub(crate) type Numbers = BTreeMap<String, Vec<u64>>;

/// Lines `kind name value name value...`, by kind.
pub(crate) fn kinds(lines: &[String]) -> BTreeMap<String, Numbers> {
    let mut kinds: BTreeMap<String, Numbers> = BTreeMap::new();
    for line in lines {
        let mut words = line.split(' ');
        let kind = kinds.entry(words.next().unwrap_or("").into()).or_default();
        while let (Some(name), Some(value)) = (words.next(), words.next()) {
            if let Ok(value) = value.parse() {
                kind.entry(name.into()).or_default().push(value);
            }
        }
    }
    kinds
}

pub(crate) fn sorted(numbers: &Numbers, name: &str) -> Vec<u64> {
    let mut values = numbers.get(name).cloned().unwrap_or_default();
    values.sort_unstable();
    values
}

pub(crate) fn median(sorted: &[u64]) -> u64 {
    sorted.get(sorted.len() / 2).copied().unwrap_or(0)
}
