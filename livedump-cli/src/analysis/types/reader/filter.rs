// SPDX-License-Identifier: BSD-2-Clause
//! Whether a unit of DWARF can have a name, without reading its entries: up
//! to version 4 a name is in the unit, or is an offset of .debug_str that is.
//! Most units have neither.

/// Places of a name in .debug_str that are looked for. A linker that merges
/// the ends of strings leaves several.
const MAX_PLACES: usize = 4;
/// Bytes that are compared before the result is looked at.
const STRIDE: usize = 128;

/// What to look for.
#[derive(Debug)]
pub(super) struct Filter {
    /// Four bytes, any of which a unit has to have; none: any unit may have
    /// the name.
    words: Option<Vec<u32>>,
}

impl Filter {
    pub(super) fn new(strings: &[u8], name: &[u8]) -> Self {
        // The start of the name where it is in the unit, with its end.
        let inline = [name, &[0]].concat();
        let Some(first) = inline.first_chunk::<4>() else {
            return Self { words: None };
        };
        let mut words = vec![u32::from_le_bytes(*first)];
        let mut from = 0;
        while let Some(at) = find(strings, &inline, from) {
            if words.len() > MAX_PLACES {
                return Self { words: None };
            }
            words.push(at as u32);
            from = at.saturating_add(1);
        }
        Self { words: Some(words) }
    }

    /// Whether a unit of this version may have the name.
    pub(super) fn may_have(&self, unit: &[u8], version: u16) -> bool {
        let Some(words) = self.words.as_ref().filter(|_| version < 5) else {
            return true;
        };
        words.iter().any(|&word| has_word(unit, word))
    }
}

/// Whether four bytes are anywhere in others.
fn has_word(bytes: &[u8], word: u32) -> bool {
    let mut rest = bytes;
    loop {
        let n = rest.len().min(STRIDE.saturating_add(3));
        let part = rest.get(..n).unwrap_or_default();
        // Without a branch for each byte, so that a compiler can make
        // vectors of it.
        let mut found = false;
        for bytes in part.windows(4) {
            let here =
                bytes.first_chunk::<4>().map_or(0, |b| u32::from_le_bytes(*b));
            found |= here == word;
        }
        if found {
            return part.windows(4).any(|b| b == word.to_le_bytes());
        }
        match rest.get(STRIDE..) {
            Some(more) => rest = more,
            None => return false,
        }
    }
}

/// Where `text` is at or after an offset.
fn find(bytes: &[u8], text: &[u8], from: usize) -> Option<usize> {
    let first = *text.first()?;
    let mut at = from;
    loop {
        let rest = bytes.get(at..)?;
        let next = rest.iter().position(|&b| b == first)?;
        at = at.checked_add(next)?;
        if bytes.get(at..)?.starts_with(text) {
            return Some(at);
        }
        at = at.checked_add(1)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_in_line_and_by_its_offset() {
        let strings = b"\0alpha\0proc\0xproc\0";
        let filter = Filter::new(strings, b"proc");
        let mut unit = vec![0xff; 300];
        assert!(!filter.may_have(&unit, 4));
        unit[251..255].copy_from_slice(&7u32.to_le_bytes());
        assert!(filter.may_have(&unit, 4));
        // The end of another string.
        unit[251..255].copy_from_slice(&13u32.to_le_bytes());
        assert!(filter.may_have(&unit, 4));
        unit[251..255].copy_from_slice(b"proc");
        assert!(filter.may_have(&unit, 4));
        unit[251..255].copy_from_slice(b"prod");
        assert!(!filter.may_have(&unit, 4));
        assert!(filter.may_have(&unit, 5));
        assert!(!filter.may_have(b"", 4));
        // At each place of a stride.
        for at in 0..296 {
            let mut unit = vec![0xff; 300];
            unit[at..at + 4].copy_from_slice(&7u32.to_le_bytes());
            assert!(filter.may_have(&unit, 4), "{at}");
        }
    }

    #[test]
    fn a_short_name_may_be_anywhere() {
        assert!(Filter::new(b"\0ab\0", b"ab").may_have(b"", 4));
        let many = [b"abc\0".as_slice(); 9].concat();
        assert!(Filter::new(&many, b"abc").may_have(b"", 4));
    }
}
