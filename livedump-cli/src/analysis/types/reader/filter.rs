// SPDX-License-Identifier: BSD-2-Clause
//! Whether a unit of DWARF can have a name, without reading its entries: up
//! to version 4 a name is in the unit, or is an offset of .debug_str that is.
//! Most units have neither.

use memchr::memmem::{Finder, find};

/// Places of a name in .debug_str that are looked for. A linker that merges
/// the ends of strings leaves several.
const MAX_PLACES: usize = 4;
/// What to look for.
#[derive(Debug)]
pub(super) struct Filter {
    /// Four bytes, any of which a unit has to have; none: any unit may have
    /// the name.
    words: Option<Vec<Finder<'static>>>,
}

impl Filter {
    pub(super) fn new(strings: &[u8], name: &[u8]) -> Self {
        // The start of the name where it is in the unit, with its end.
        let inline = [name, &[0]].concat();
        let Some(first) = inline.first_chunk::<4>() else {
            return Self { words: None };
        };
        let mut words = vec![Finder::new(first).into_owned()];
        let mut from = 0usize;
        while let Some(at) = find(strings.get(from..).unwrap_or(&[]), &inline) {
            if words.len() > MAX_PLACES {
                return Self { words: None };
            }
            let at = from.saturating_add(at);
            let offset = (at as u32).to_le_bytes();
            words.push(Finder::new(&offset).into_owned());
            from = at.saturating_add(1);
        }
        Self { words: Some(words) }
    }

    /// Whether a unit of this version may have the name.
    pub(super) fn may_have(&self, unit: &[u8], version: u16) -> bool {
        let Some(words) = self.words.as_ref().filter(|_| version < 5) else {
            return true;
        };
        words.iter().any(|word| word.find(unit).is_some())
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
        // At each place.
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
