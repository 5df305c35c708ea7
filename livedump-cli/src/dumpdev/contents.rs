// SPDX-License-Identifier: BSD-2-Clause
//! What is in a dump on a device, from its first byte to its last, in pieces.

use super::{DumpDev, Error, LocatedDump};

/// What is read at a time; a multiple of every block size.
const PIECE: u64 = 1 << 20;
/// Blocks of a textdump(4). C: `TEXTDUMP_BLOCKSIZE`.
pub(super) const TEXT_BLOCK: usize = 512;

impl DumpDev {
    /// Hands out the bytes of the dump, in order; `take` may end it.
    ///
    /// # Errors
    /// The device cannot be read, or what `take` says.
    pub fn contents<E: From<Error>>(
        &self,
        found: &LocatedDump,
        mut take: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut left = found.dumplength();
        let mut buf = vec![0; PIECE.min(round(left, found.block)) as usize];
        let mut done = 0;
        while left > 0 {
            let n = left.min(PIECE);
            // Whole blocks: a device hands out nothing else.
            let whole = round(n, found.block) as usize;
            let piece = buf.get_mut(..whole).unwrap_or_default();
            if found.is_text() {
                let at = found.data.end - done - n;
                self.read(piece, at)?;
                reverse(piece);
            } else {
                self.read(piece, found.data.start + done)?;
            }
            take(piece.get(..n as usize).unwrap_or_default())?;
            done += n;
            left -= n;
        }
        Ok(())
    }
}

fn round(n: u64, block: usize) -> u64 {
    n.next_multiple_of(block as u64)
}

/// The last block first.
fn reverse(piece: &mut [u8]) {
    let mut rest = piece;
    while rest.len() >= 2 * TEXT_BLOCK {
        let (first, tail) = rest.split_at_mut(TEXT_BLOCK);
        let (middle, last) = tail.split_at_mut(tail.len() - TEXT_BLOCK);
        first.swap_with_slice(last);
        rest = middle;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_reversed_and_their_bytes_are_not() {
        for blocks in 0..6u8 {
            let block = |n: u8| {
                let mut block = vec![n; TEXT_BLOCK];
                block[0] = 99;
                block
            };
            let mut bytes: Vec<_> = (0..blocks).flat_map(block).collect();
            reverse(&mut bytes);
            let want: Vec<_> = (0..blocks).rev().flat_map(block).collect();
            assert!(bytes == want, "{blocks}");
        }
    }
}
