// SPDX-License-Identifier: BSD-2-Clause
//! textdump(4): a tar archive of a few small files, which is what ddb(4)
//! scripts leave instead of a minidump. Its headers have checksums, which is
//! all that can be checked of one.

use super::source::{Source, SourceError};

const BLOCK: usize = 512;
const MAGIC: &[u8] = b"ustar";
/// More files than any textdump has: there are five kinds.
const MAX_FILES: u64 = 1024;

/// What became of a walk through an archive.
pub(super) type Walked = Result<u64, String>;

/// How many files the archive has, or what is damaged in it. `None` where it
/// is none.
pub(super) fn walk(source: &dyn Source) -> Result<Option<Walked>, SourceError> {
    let mut block = [0; BLOCK];
    let got = source.read_at(0, &mut block)?;
    if got < BLOCK || block.get(257..262) != Some(MAGIC) {
        return Ok(None);
    }
    let (mut at, mut files) = (0u64, 0u64);
    loop {
        let got = source.read_at(at, &mut block)?;
        let end = block.get(..got).unwrap_or_default();
        // A textdump ends with its last file, other archives with zeros.
        if files > 0 && end.iter().all(|&b| b == 0) {
            return Ok(Some(Ok(files)));
        }
        let place = format!("file {files}, at {at:#x}");
        let damaged = |what: &str| Ok(Some(Err(format!("{place}: {what}"))));
        if got < BLOCK {
            return damaged("its header is truncated");
        }
        if octal(block.get(148..156)) != Some(sum(&block)) {
            return damaged("checksum mismatch of its header");
        }
        let Some(size) = octal(block.get(124..136)) else {
            return damaged("its size is not a number");
        };
        let data = at.saturating_add(BLOCK as u64);
        let Some(padded) = size.checked_next_multiple_of(BLOCK as u64) else {
            return damaged("its size is not valid");
        };
        let mut last = [0];
        let there = match size.checked_sub(1) {
            Some(n) => source.read_at(data.saturating_add(n), &mut last)?,
            None => 1,
        };
        files = files.saturating_add(1);
        if there == 0 {
            return damaged("it is truncated");
        }
        if files > MAX_FILES {
            return damaged("more files than a textdump has");
        }
        at = data.saturating_add(padded);
    }
}

/// C: `textdump_mkustar`: all bytes, with blanks for those of the sum.
fn sum(block: &[u8; BLOCK]) -> u64 {
    let bytes = block.iter().enumerate().map(|(i, &b)| match i {
        148..156 => u64::from(b' '),
        _ => u64::from(b),
    });
    bytes.sum()
}

fn octal(field: Option<&[u8]>) -> Option<u64> {
    let text = std::str::from_utf8(field?).ok()?;
    let digits = text.trim_matches([' ', '\0']);
    u64::from_str_radix(digits, 8).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Plain;
    use std::io::Write;
    use std::sync::Arc;

    fn file(name: &str, data: &[u8]) -> Vec<u8> {
        let mut h = [0; BLOCK];
        h[..name.len()].copy_from_slice(name.as_bytes());
        h[124..136]
            .copy_from_slice(format!("{:011o}\0", data.len()).as_bytes());
        h[257..265].copy_from_slice(b"ustar\x0000");
        let sum = sum(&h);
        h[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        let mut all = h.to_vec();
        all.extend(data);
        all.resize(all.len().next_multiple_of(BLOCK), 0);
        all
    }

    fn walked(bytes: &[u8]) -> Option<Walked> {
        let mut f = tempfile::tempfile().unwrap();
        f.write_all(bytes).unwrap();
        walk(&Plain::new(Arc::new(f), bytes.len() as u64)).unwrap()
    }

    #[test]
    fn a_whole_archive_is_sound_and_any_other_is_not() {
        let mut tar = file("ddb.txt", &[b'x'; 700]);
        tar.extend(file("panic.txt", b"panic"));
        tar.extend(file("empty", b""));
        assert_eq!(walked(&tar), Some(Ok(3)));
        tar.resize(tar.len() + 1024, 0);
        assert_eq!(walked(&tar), Some(Ok(3)));
        assert_eq!(walked(b"x"), None);
        assert_eq!(walked(&[0; 1024]), None);
        for (end, words) in [(1000, "truncated"), (1536 + 100, "truncated")] {
            let text = walked(&tar[..end]).unwrap().unwrap_err();
            assert!(text.contains(words), "{end}: {text}");
        }
        tar[1536 + 3] ^= 1;
        let text = walked(&tar).unwrap().unwrap_err();
        assert!(text.contains("checksum mismatch"), "{text}");
        let huge = file("x", b"")
            .iter()
            .enumerate()
            .map(|(i, b)| if (124..135).contains(&i) { b'7' } else { *b })
            .collect::<Vec<_>>();
        assert!(walked(&huge).unwrap().is_err());
    }
}
