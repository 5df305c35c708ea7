// SPDX-License-Identifier: BSD-2-Clause
//! Names by a pattern of the shell's. C: fnmatch(3).

/// What names are looked for by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// With `*`, `?` or `[`: all of the name.
    Glob(Vec<u8>),
    /// A part of the name.
    Part(Vec<u8>),
}

impl Pattern {
    /// From a command line.
    #[must_use]
    pub fn new(text: &str) -> Self {
        match text.contains(['*', '?', '[']) {
            true => Self::Glob(text.into()),
            false => Self::Part(text.into()),
        }
    }

    /// Whether a name is one of it.
    #[must_use]
    pub fn matches(&self, name: &[u8]) -> bool {
        match self {
            Self::Glob(pattern) => glob(pattern, name),
            Self::Part(part) => {
                part.is_empty() || name.windows(part.len()).any(|w| w == part)
            }
        }
    }
}

/// The last star is tried again with one byte more, so that it takes no more
/// than the product of both lengths.
fn glob(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (pattern, name);
    let mut again: Option<(&[u8], &[u8])> = None;
    loop {
        match (p.split_first(), n.split_first()) {
            (None, None) => return true,
            (Some((b'*', rest)), _) => {
                again = Some((rest, n));
                p = rest;
                continue;
            }
            (Some(_), Some((&byte, after))) => {
                if let Some(rest) = one(p, byte) {
                    (p, n) = (rest, after);
                    continue;
                }
            }
            _ => {}
        }
        let Some((rest, from)) = again else { return false };
        let Some((_, from)) = from.split_first() else { return false };
        again = Some((rest, from));
        (p, n) = (rest, from);
    }
}

/// What follows in the pattern after something that one byte matches.
fn one(pattern: &[u8], byte: u8) -> Option<&[u8]> {
    let (first, rest) = pattern.split_first()?;
    match first {
        b'?' => Some(rest),
        b'[' => match set(rest, byte) {
            Some((is_in, after)) => is_in.then_some(after),
            // Not closed: itself.
            None => (byte == b'[').then_some(rest),
        },
        b'\\' => match rest.split_first() {
            Some((&escaped, after)) => (escaped == byte).then_some(after),
            None => (byte == b'\\').then_some(rest),
        },
        &other => (other == byte).then_some(rest),
    }
}

/// Whether a byte is in a set, and what follows the set.
fn set(text: &[u8], byte: u8) -> Option<(bool, &[u8])> {
    let (inverted, mut rest) = match text.split_first() {
        Some((b'!' | b'^', rest)) => (true, rest),
        _ => (false, text),
    };
    let (mut is_in, mut is_first) = (false, true);
    loop {
        let (&low, after) = rest.split_first()?;
        if low == b']' && !is_first {
            return Some((is_in != inverted, after));
        }
        is_first = false;
        rest = after;
        let high = match rest {
            [b'-', high, after @ ..] if *high != b']' => {
                rest = after;
                *high
            }
            _ => low,
        };
        is_in |= (low..=high).contains(&byte);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_the_shells_and_others_are_parts() {
        for (pattern, name, is) in [
            ("hz", "hz", true),
            ("hz", "stathz", true),
            ("h?", "hz", true),
            ("h?", "hzz", false),
            ("*", "", true),
            ("vm_*", "vm_page_array", true),
            ("vm_*", "uvm_page", false),
            ("*_lock", "proc_lock_lock", true),
            ("*a*b*c", "xaxbxbxc", true),
            ("*a*b*c", "xaxbxbx", false),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("[]]x", "]x", true),
            ("[", "[", true),
            ("\\**", "*x", true),
            ("", "x", true),
        ] {
            let found = Pattern::new(pattern).matches(name.as_bytes());
            assert_eq!(found, is, "{pattern} {name}");
        }
        let hostile = "*a".repeat(200) + "b";
        let name = "a".repeat(1024);
        assert!(!Pattern::new(&hostile).matches(name.as_bytes()));
    }
}
