// SPDX-License-Identifier: BSD-2-Clause
//! The check of a file of many gzip members by several threads. Nothing says
//! where members start; but who writes many writes the same header before each
//! of them, which is looked for. What is found counts only where the member
//! before it ends there.

use super::sequential::check_units;
use super::unit::Units;
use super::{Check, Codec, SourceError, Stored};
use memchr::memmem::Finder;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What one thread looks at at a time.
const SHARE: u64 = 4 << 20;
/// A member's header without optional parts.
const HEADER: usize = 10;
const STEP_BYTES: usize = 128 << 10;

/// What a thread found in its share of the file.
struct Found {
    /// Where the first member starts that starts there.
    start: u64,
    /// Where the last of them ends; `None` where nothing behind it counts.
    end: Option<u64>,
    check: Check,
}

/// Checks the first `end` bytes of `file`; `None` where one thread has to.
pub(super) fn check(
    file: &Arc<dyn Stored>,
    end: u64,
    threads: usize,
    limit: u64,
) -> Result<Option<Check>, SourceError> {
    let mut header = [0; HEADER];
    let got = super::plain::read_full(file.as_ref(), 0, &mut header)?;
    let shares = end.div_ceil(SHARE);
    if threads < 2 || got < HEADER || shares < 2 {
        return Ok(None);
    }
    let (next, bytes) = (AtomicU64::new(0), AtomicU64::new(0));
    // From a member's start to the first end of one at `until` or behind it.
    let walk = |start, until| {
        let mut units =
            Units::behind(Codec::Gzip, Arc::clone(file), start, end);
        let mut check = Check::default();
        let end = check_units(&mut units, &mut check, until, &bytes, limit)?;
        Ok(Found { start, end, check })
    };
    let worker = || {
        let mut found = Vec::new();
        loop {
            let nth = next.fetch_add(1, Ordering::Relaxed);
            if nth >= shares {
                return Ok(found);
            }
            let from = nth.saturating_mul(SHARE);
            let to = from.saturating_add(SHARE).min(end);
            let start = match nth {
                0 => Some(0),
                _ => search(file.as_ref(), from, to, &header)?,
            };
            if let Some(start) = start {
                found.push(walk(start, Some(to))?);
            }
        }
    };
    let found: Vec<Result<Vec<Found>, SourceError>> = std::thread::scope(|s| {
        let threads = (threads as u64).min(shares);
        let workers: Vec<_> = (0..threads).map(|_| s.spawn(worker)).collect();
        workers.into_iter().map(super::joined).collect()
    });
    let mut all = Vec::new();
    for found in found {
        all.extend(found?);
    }
    all.sort_by_key(|found| found.start);
    join(all, end, walk)
}

/// Puts together what was found. What only looks like a header (memory may
/// hold gzip members) and what no share has is walked through once more.
fn join(
    all: Vec<Found>,
    end: u64,
    walk: impl Fn(u64, Option<u64>) -> Result<Found, SourceError>,
) -> Result<Option<Check>, SourceError> {
    let mut check = Check::default();
    let (mut expected, mut passed_over) = (0, false);
    for found in all {
        if expected < found.start {
            let missed = walk(expected, Some(found.start))?;
            check.add(missed.check);
            match missed.end {
                Some(end) => expected = end,
                None => return Ok(counted(check, passed_over)),
            }
        }
        if expected == found.start {
            check.add(found.check);
            match found.end {
                Some(end) => expected = end,
                None => return Ok(counted(check, passed_over)),
            }
        } else {
            passed_over = true;
        }
    }
    if expected < end {
        check.add(walk(expected, None)?.check);
    }
    Ok(counted(check, passed_over))
}

/// What was passed over was unpacked as well, and may be what there was too
/// much of: then one thread has to do it.
fn counted(check: Check, passed_over: bool) -> Option<Check> {
    Some(check).filter(|check| !check.limited || !passed_over)
}

/// Where the header first stands in `from..to`.
fn search(
    file: &dyn Stored,
    from: u64,
    to: u64,
    header: &[u8],
) -> Result<Option<u64>, SourceError> {
    let finder = Finder::new(header);
    let mut buf = vec![0; STEP_BYTES];
    let mut at = from;
    while at < to {
        let got = super::plain::read_full(file, at, &mut buf)?;
        let there = buf.get(..got).unwrap_or_default();
        if let Some(n) = finder.find(there) {
            let found = at.saturating_add(n as u64);
            return Ok((found < to).then_some(found));
        }
        if got < buf.len() {
            break;
        }
        // It may stand across the end of what was read.
        at = at.saturating_add(got.saturating_sub(HEADER - 1) as u64);
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::{ALL, Sequential, Source};
    use std::io::Write;

    const MEMBER: [u8; HEADER] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];

    /// Noise, which stays as long as it is, with headers in it.
    fn noise(len: usize) -> Vec<u8> {
        let mut x = 7u64;
        let mut out: Vec<u8> = (0..len)
            .map(|_| {
                x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (x >> 56) as u8
            })
            .collect();
        for at in (500_000..len.saturating_sub(HEADER)).step_by(1_999_993) {
            out[at..at + HEADER].copy_from_slice(&MEMBER);
        }
        out
    }

    fn members(data: &[u8], size: usize) -> Vec<u8> {
        let mut packed = Vec::new();
        for part in data.chunks(size) {
            let start = packed.len();
            let level = flate2::Compression::new(1);
            let mut to = flate2::write::GzEncoder::new(packed, level);
            to.write_all(part).unwrap();
            packed = to.finish().unwrap();
            packed[start..start + HEADER].copy_from_slice(&MEMBER);
        }
        packed
    }

    /// By one thread and by several.
    fn both(packed: &[u8]) -> [Check; 2] {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(packed).unwrap();
        let end = packed.len() as u64;
        let source = Sequential::new(Codec::Gzip, Arc::new(file), end);
        [1, 3].map(|threads| source.check(threads, ALL).unwrap())
    }

    fn counts(check: &Check) -> (u64, u64, u64, u64, u64, bool) {
        let first = check.bad.first().map(ToString::to_string);
        (
            check.units,
            check.checked,
            check.bytes,
            check.padding,
            check.bad_units,
            first.is_some() == (check.bad_units > 0),
        )
    }

    #[test]
    fn several_threads_find_what_one_finds() {
        let data = noise(30 << 20);
        // Of one size, larger than a share, and so that the last share has
        // none of its own.
        for size in [256 << 10, 5 << 20, 30 << 20, 23 << 20] {
            let mut packed = members(&data, size);
            for padding in [0, 1000, 3000] {
                packed.resize(packed.len() + padding, 0);
                let [one, several] = both(&packed);
                assert_eq!(counts(&one), counts(&several), "{size}");
                assert_eq!(one.bytes, data.len() as u64);
                assert_eq!(one.bad_units, 0);
            }
        }
    }

    #[test]
    fn damage_ends_what_is_checked_where_it_does_for_one() {
        let data = noise(20 << 20);
        let whole = members(&data, 256 << 10);
        for at in [100, 5 << 20, 8 << 20, whole.len() - 5] {
            let mut packed = whole.clone();
            packed[at] ^= 0x40;
            let [one, several] = both(&packed);
            assert_eq!(counts(&one), counts(&several), "at {at}");
            assert_eq!(one.bad_units, 1, "at {at}");
        }
        let [one, several] = both(&whole[..whole.len() - 100_000]);
        assert_eq!(counts(&one), counts(&several));
        assert_eq!(one.bad_units, 1);
        let mut behind = whole;
        behind.extend(b"what is no member");
        let [one, several] = both(&behind);
        assert_eq!(counts(&one), counts(&several));
        assert_eq!(one.bad_units, 1);
    }
}
