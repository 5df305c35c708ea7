// SPDX-License-Identifier: BSD-2-Clause
//! Names that may have been meant by one that is not there.

/// How many are named.
const MAX_NAMES: usize = 3;
/// Letters that may differ.
const MAX_DISTANCE: usize = 2;
/// Longer names are not compared.
const MAX_LETTERS: usize = 64;

/// `; near names: a, b`, or nothing. Names are printable or passed over.
pub fn near<'n>(wanted: &str, names: impl Iterator<Item = &'n str>) -> String {
    let mut found: Vec<(usize, &str)> = Vec::new();
    let allowed = MAX_DISTANCE.min(wanted.len() / 2);
    for name in names {
        if name.len().abs_diff(wanted.len()) > allowed
            || name.len().max(wanted.len()) > MAX_LETTERS
            || !name.bytes().all(|b| b.is_ascii_graphic())
        {
            continue;
        }
        let distance = distance(wanted.as_bytes(), name.as_bytes());
        if distance <= allowed && found.iter().all(|f| f.1 != name) {
            found.push((distance, name));
            found.sort_unstable();
            found.truncate(MAX_NAMES);
        }
    }
    if found.is_empty() {
        return String::new();
    }
    let names: Vec<_> = found.iter().map(|f| f.1).collect();
    format!("; similar: {}", names.join(", "))
}

/// Letters that have to be added, removed or replaced.
fn distance(a: &[u8], b: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = i;
        let mut left = i.saturating_add(1);
        let mut next = vec![left];
        for (y, &up) in b.iter().zip(row.iter().skip(1)) {
            let same = diagonal.saturating_add(usize::from(x != y));
            let best = same.min(up.min(left).saturating_add(1));
            next.push(best);
            (diagonal, left) = (up, best);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_names_are_named_first() {
        let names = ["p_comm", "p_command", "p_com", "p_pid", "td_name"];
        let near = |wanted| near(wanted, names.into_iter());
        assert_eq!(near("p_conm"), "; similar: p_com, p_comm");
        assert_eq!(near("p_pidd"), "; similar: p_pid");
        assert_eq!(near("nothing"), "");
        assert_eq!(near(""), "");
        assert_eq!(distance(b"kitten", b"sitting"), 3);
        assert_eq!(distance(b"", b"ab"), 2);
        assert_eq!(distance(b"ab", b"ab"), 0);
    }
}
