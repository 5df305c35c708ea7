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
    /// The device cannot be read, or the error of `take`.
    pub fn contents<E: From<Error>>(
        &self,
        found: &LocatedDump,
        mut take: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let length = found.dumplength();
        let mut buf =
            vec![0; PIECE.min(round_up(length, found.block)) as usize];
        let mut done: u64 = 0;
        while let Some(left) = length.checked_sub(done).filter(|n| *n > 0) {
            let n = left.min(PIECE);
            // Whole blocks: a device hands out nothing else.
            let whole = round_up(n, found.block) as usize;
            let piece = buf.get_mut(..whole).unwrap_or_default();
            if found.is_text() {
                // Within the data, of which so much is left.
                let end = found.data.end.saturating_sub(done);
                self.read(piece, end.saturating_sub(n))?;
                reverse(piece);
            } else {
                self.read(piece, found.data.start.saturating_add(done))?;
            }
            take(piece.get(..n as usize).unwrap_or_default())?;
            done = done.saturating_add(n);
        }
        Ok(())
    }
}

fn round_up(n: u64, block: usize) -> u64 {
    n.checked_next_multiple_of(block as u64).unwrap_or(u64::MAX)
}

/// The last block first.
fn reverse(piece: &mut [u8]) {
    let mut rest = piece;
    while let Some((first, tail)) = rest.split_first_chunk_mut::<TEXT_BLOCK>()
        && let Some((middle, last)) = tail.split_last_chunk_mut::<TEXT_BLOCK>()
    {
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
