// SPDX-License-Identifier: BSD-2-Clause
//! zstd frames, and what the memory of a kernel wants of the levels below 2.
//!
//! Pointers make short matches, which save little and cost much: libzstd looks
//! for 5 bytes in chunks of this size. And a level that suits structures spends
//! most of its time on code and text, for little. So matches are looked for as
//! the [`Contents`] of a chunk want it. For dumps of the same size that takes a
//! tenth (level -1) to a quarter (-5) less time than libzstd's own parameters.
//! Beside one stream of libzstd's at the same level, dumps of kernels are at
//! most 0.3 % larger and at level -7 a tenth smaller; programs' code is up to
//! 8 % larger below level -1.

use super::contents::Contents;
use livedump_kmod::error::{Errno, Result};
use livedump_kmod::kpi::compress_bound;
use zstd::zstd_safe::{self, CCtx, CParameter, ParamSwitch, ResetDirective};

/// How matches are looked for, and what becomes of the rest.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Search {
    /// Base two logarithm of the entries of the hash table.
    hash_log: u32,
    /// Bytes of the shortest match.
    min_match: u32,
    /// The step from one place to the next.
    acceleration: u32,
    /// Whether bytes that are in no match are packed (Huffman).
    literals: ParamSwitch,
}

/// The table fits into the CPU's first cache, and what two pointers have in
/// common is no match.
const fn bare(acceleration: u32) -> Search {
    let literals = ParamSwitch::Disable;
    Search { hash_log: 12, min_match: 7, acceleration, literals }
}

const fn packed(acceleration: u32) -> Search {
    Search { literals: ParamSwitch::Enable, ..bare(acceleration) }
}

/// With another table, and shorter matches.
const fn closely(hash_log: u32, search: Search) -> Search {
    Search { hash_log, min_match: 6, ..search }
}

/// A step that passes over nearly all matches.
const NO_MATCH: u32 = 4096;

/// A level: for text, numbers, mixed and wide and flat contents, structures.
struct Row([Search; 6]);

impl Row {
    fn search(&self, contents: Contents) -> Search {
        let Self([text, numbers, mixed, wide, flat, structures]) = *self;
        match contents {
            Contents::Text => text,
            Contents::Numbers => numbers,
            Contents::Mixed => mixed,
            Contents::Wide => wide,
            Contents::Flat => flat,
            Contents::Structures => structures,
        }
    }
}

/// From 1 down, without 0. Found by trying some thirty ways on the memory of
/// busy and idle guests and on programs: the fastest of those that make dumps
/// of this size.
static ROWS: [Row; 8] = [
    Row([
        closely(14, packed(1)),
        closely(14, packed(2)),
        closely(13, packed(1)),
        closely(13, packed(1)),
        packed(32),
        closely(12, packed(1)),
    ]),
    Row([
        packed(2),
        packed(4),
        closely(12, packed(1)),
        bare(2),
        packed(32),
        closely(12, bare(1)),
    ]),
    Row([packed(8), packed(8), packed(2), bare(2), packed(32), bare(1)]),
    Row([packed(16), packed(32), packed(2), bare(16), packed(32), bare(1)]),
    Row([
        packed(16),
        packed(NO_MATCH),
        packed(8),
        bare(32),
        packed(32),
        bare(1),
    ]),
    Row([packed(32), bare(16), packed(8), bare(32), packed(32), bare(1)]),
    Row([packed(16), bare(32), packed(16), bare(64), bare(32), bare(1)]),
    Row([packed(16), bare(32), packed(32), bare(64), bare(64), bare(2)]),
];

fn row(level: i32) -> Option<&'static Row> {
    let below = 1i32.checked_sub(level)?;
    let nth = if level < 0 { below.checked_sub(1)? } else { below };
    ROWS.get(usize::try_from(nth).ok()?)
}

/// One stream.
pub(super) struct Frames {
    context: CCtx<'static>,
    row: Option<&'static Row>,
    /// What `context` is set to.
    now: Option<Search>,
}

impl Frames {
    /// For chunks of at most so many bytes.
    pub(super) fn new(level: i32, chunk: usize) -> Result<Self> {
        if level == 0 || !zstd::compression_level_range().contains(&level) {
            return Err(Errno::EINVAL);
        }
        let mut context = CCtx::try_create().ok_or(Errno::ENOMEM)?;
        let all = [
            CParameter::CompressionLevel(level),
            CParameter::ChecksumFlag(true),
        ];
        for parameter in all {
            context.set_parameter(parameter).or(Err(Errno::EINVAL))?;
        }
        let mut frames = Self { context, row: row(level), now: None };
        // The context grows to what a chunk needs when it first sees one, of
        // the largest table. zstd shrinks a context that has been too large for
        // a while, but never below what the chunks of this stream need.
        let zeros = vec![0; chunk];
        let mut out = vec![0; compress_bound(chunk)];
        let each = frames.row.map_or(&[][..], |Row(each)| &each[..]);
        if let Some(largest) = each.iter().max_by_key(|s| s.hash_log) {
            frames.set(*largest)?;
        }
        frames.frame(&zeros, &mut out).or(Err(Errno::ENOMEM))?;
        Ok(frames)
    }

    /// Bytes that it takes.
    pub(super) fn sizeof(&self) -> usize {
        self.context.sizeof()
    }

    /// One frame.
    pub(super) fn compress(
        &mut self,
        src: &[u8],
        dst: &mut [u8],
    ) -> Result<usize> {
        if let Some(row) = self.row {
            self.set(row.search(Contents::of(src)))?;
        }
        self.frame(src, dst)
    }

    /// Parameters may change between frames.
    fn set(&mut self, search: Search) -> Result<()> {
        if self.now == Some(search) {
            return Ok(());
        }
        let Search { hash_log, min_match, acceleration, literals } = search;
        for parameter in [
            CParameter::HashLog(hash_log),
            CParameter::MinMatch(min_match),
            CParameter::TargetLength(acceleration),
            CParameter::LiteralCompressionMode(literals),
        ] {
            self.context.set_parameter(parameter).or(Err(Errno::EINVAL))?;
        }
        self.now = Some(search);
        Ok(())
    }

    fn frame(&mut self, src: &[u8], dst: &mut [u8]) -> Result<usize> {
        self.context.compress2(dst, src).map_err(|code| {
            // The frame was begun: forget it, keep the parameters.
            let _ = self.context.reset(ResetDirective::SessionOnly);
            errno_of(code)
        })
    }
}

/// zstd's errors are the negated numbers of `ZSTD_ErrorCode`.
fn errno_of(code: zstd_safe::ErrorCode) -> Errno {
    const DST_SIZE_TOO_SMALL: usize = 70;
    const MEMORY_ALLOCATION: usize = 64;
    match code.wrapping_neg() {
        DST_SIZE_TOO_SMALL => Errno::E2BIG,
        MEMORY_ALLOCATION => Errno::ENOMEM,
        _ => Errno::EIO,
    }
}

#[cfg(test)]
mod tests {
    use super::super::contents::tests::{
        CHUNK, code, letters, noise, numbers, structures,
    };
    use super::*;

    fn size(level: i32, src: &[u8]) -> usize {
        let mut out = vec![0; compress_bound(CHUNK)];
        let mut frames = Frames::new(level, CHUNK).unwrap();
        frames.compress(src, &mut out).unwrap()
    }

    /// One context, whose parameters change from chunk to chunk.
    #[test]
    fn each_level_is_read_back() {
        let all = [
            structures(),
            noise(),
            vec![0; CHUNK],
            letters(),
            numbers(),
            code(),
            structures(),
            vec![7; 100],
            Vec::new(),
        ];
        for level in [-8, -7, -6, -5, -4, -3, -2, -1, 1, 2, 3] {
            let mut frames = Frames::new(level, CHUNK).unwrap();
            let mut out = vec![0; compress_bound(CHUNK)];
            for src in &all {
                let n = frames.compress(src, &mut out).unwrap();
                assert_eq!(zstd::decode_all(&out[..n]).unwrap(), *src);
                // What came before leaves no trace.
                assert_eq!(n, size(level, src), "level {level}");
            }
        }
    }

    #[test]
    fn levels_have_their_row() {
        let nth = |level| {
            row(level)
                .and_then(|row| ROWS.iter().position(|r| std::ptr::eq(r, row)))
        };
        assert_eq!(nth(2), None);
        assert_eq!(nth(1), Some(0));
        assert_eq!(nth(-1), Some(1));
        assert_eq!(nth(-7), Some(7));
        assert_eq!(nth(-8), None);
        assert_eq!(nth(i32::MIN), None);
        assert!(Frames::new(0, CHUNK).is_err());
    }

    #[test]
    fn what_is_not_in_matches_is_packed_where_that_is_worth_it() {
        assert!(size(-7, &letters()) < CHUNK * 7 / 10);
        assert!(size(-4, &numbers()) < CHUNK * 9 / 10);
        assert!(size(-7, &numbers()) > CHUNK * 9 / 10);
        assert!(size(-7, &structures()) < CHUNK / 3);
    }
}
