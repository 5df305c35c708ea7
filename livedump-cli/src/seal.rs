// SPDX-License-Identifier: BSD-2-Clause
//! The seal of a dump: how long its file was when it was finished, and a
//! digest of each part of it. It stands beside the dump as `seal.N`:
//!
//! ```text
//! livedump seal 1
//! size 54321152
//! part 4194304
//! 6d1c...e2                  XXH128 of the first part, in hexadecimal
//! ...                        one line for each part
//! end 90af...77              XXH128 of all lines before this one
//! ```
//!
//! Digests by part cost no more than one of the whole, are made by all CPUs
//! at once, and tell which part is damaged. XXH128 finds damage as surely as a
//! cryptographic digest and costs a fiftieth. It is no signature: who may
//! write the dump may write the seal.

mod begun;
mod compare;
mod digester;
mod growing;
mod hash;

pub use begun::Begun;
pub use compare::{Comparison, NoSeal, NotASeal, SealFile, open};
pub use growing::Growing;
pub use hash::{Damage, Stopped};

use std::fmt::Write;
use std::fs::File;
use std::io::{self, Read};
use xxhash_rust::xxh3::xxh3_128;

/// Parts are at least this large, and there are at most so many.
const MIN_PART: u64 = 4 << 20;
const MAX_PARTS: u64 = 4096;
/// What a seal may take.
const MAX_TEXT: u64 = 1 << 20;
const MAGIC: &str = "livedump seal 1";

/// XXH3, 128 bits, no seed.
type Sum = u128;

/// The seal of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seal {
    size: u64,
    part: u64,
    sums: Vec<Sum>,
}

/// Why a file is no seal.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// It cannot be read.
    #[error("reading the seal")]
    Io(#[from] io::Error),
    /// It is larger than any seal.
    #[error("it has more than {MAX_TEXT} bytes")]
    Long,
    /// A line that is not as it should be.
    #[error("line {line}: expected {wanted}")]
    Line {
        /// Which, from 1.
        line: usize,
        /// What it should be.
        wanted: &'static str,
    },
    /// Its own digest is another one.
    #[error("its own checksum is wrong")]
    Damaged,
}

impl Seal {
    /// How long the file was.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// How many parts it was looked at in.
    #[must_use]
    pub fn parts(&self) -> usize {
        self.sums.len()
    }

    /// Its file's text.
    #[must_use]
    pub fn text(&self) -> String {
        let (size, part) = (self.size, self.part);
        let mut text = format!("{MAGIC}\nsize {size}\npart {part}\n");
        for sum in &self.sums {
            // Writing to a String does not fail.
            let _ = writeln!(text, "{sum:032x}");
        }
        let end = xxh3_128(text.as_bytes());
        let _ = writeln!(text, "end {end:032x}");
        text
    }

    /// Reads a seal.
    ///
    /// # Errors
    /// Why it is none.
    pub fn read(file: &File) -> Result<Self, SealError> {
        let mut bytes = Vec::new();
        file.take(MAX_TEXT + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MAX_TEXT {
            return Err(SealError::Long);
        }
        Self::parse(&String::from_utf8_lossy(&bytes))
    }

    fn parse(text: &str) -> Result<Self, SealError> {
        let mut lines = text.split_inclusive('\n').enumerate();
        let mut next = |wanted: &'static str| {
            let (n, line) = lines.next().unwrap_or((0, ""));
            let error = SealError::Line { line: n + 1, wanted };
            let whole = line.strip_suffix('\n');
            whole.map_or(Err(error), |line| Ok((n + 1, line)))
        };
        let (line, magic) = next("the first line of a seal")?;
        if magic != MAGIC {
            let wanted = "the first line of a seal of a known version";
            return Err(SealError::Line { line, wanted });
        }
        let (line, size) = next("a size")?;
        let size = number(size, "size ")
            .ok_or(SealError::Line { line, wanted: "a size" })?;
        let (line, part) = next("the size of a part")?;
        let part = number(part, "part ")
            .filter(|part| *part > 0 && size.div_ceil(*part) <= MAX_PARTS)
            .ok_or(SealError::Line { line, wanted: "the size of a part" })?;
        let mut sums = Vec::new();
        for _ in 0..size.div_ceil(part) {
            let wanted = "the digest of a part";
            let (line, text) = next(wanted)?;
            sums.push(sum(text).ok_or(SealError::Line { line, wanted })?);
        }
        let wanted = "the last";
        let (line, end) = next(wanted)?;
        let seal = Self { size, part, sums };
        if lines.next().is_some() || !end.starts_with("end ") {
            return Err(SealError::Line { line, wanted });
        }
        match seal.text() == text {
            true => Ok(seal),
            false => Err(SealError::Damaged),
        }
    }
}

/// Parts of a file with so many bytes.
fn part_size(size: u64) -> u64 {
    size.div_ceil(MAX_PARTS).next_power_of_two().max(MIN_PART)
}

fn number(line: &str, label: &str) -> Option<u64> {
    let digits = line.strip_prefix(label)?;
    let plain = digits.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| digits.parse().ok()).flatten()
}

/// As `xxh128sum` prints it, and no other way.
fn sum(text: &str) -> Option<Sum> {
    let sum = Sum::from_str_radix(text, 16).ok()?;
    (format!("{sum:032x}") == text).then_some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    fn seal(bytes: &[u8]) -> Seal {
        Seal::of(&file(bytes), 2, &mut || false).unwrap()
    }

    #[test]
    fn it_is_as_documented() {
        let text = seal(b"abc").text();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[..3], ["livedump seal 1", "size 3", "part 4194304"]);
        // What xxh128sum(1) prints.
        assert_eq!(lines[3], "06b05ab6733a618578af5f94892f3950");
        assert!(lines[4].starts_with("end ") && lines.len() == 5);
        assert_eq!(seal(b"").text().lines().count(), 4);
    }

    #[test]
    fn parts_are_few_whatever_the_size() {
        for size in [0, 1, MIN_PART, MIN_PART + 1, 1 << 40, u64::MAX / 2] {
            let part = part_size(size);
            assert!(size.div_ceil(part) <= MAX_PARTS, "{size}");
            assert!(part >= MIN_PART);
        }
        assert_eq!(part_size(16 << 30), 4 << 20);
        assert_eq!(part_size(1 << 40), 256 << 20);
    }

    #[test]
    fn any_damage_to_a_seal_is_seen() {
        let good = seal(&[7; 5 << 20]).text();
        assert_eq!(Seal::parse(&good).unwrap(), seal(&[7; 5 << 20]));
        for at in 0..good.len() {
            let mut bytes = good.clone().into_bytes();
            bytes[at] ^= 1;
            let text = String::from_utf8_lossy(&bytes);
            assert!(Seal::parse(&text).is_err(), "byte {at}");
            assert!(Seal::parse(&good[..at]).is_err(), "cut at {at}");
        }
        assert!(Seal::parse(&format!("{good}\n")).is_err());
    }

    #[test]
    fn sizes_that_lie_take_no_time_and_no_memory() {
        for (size, part) in [
            ("18446744073709551615", "1"),
            ("18446744073709551615", "18446744073709551615"),
            ("1", "0"),
            ("-1", "1"),
            ("99999999999999999999999", "4194304"),
        ] {
            let text = format!("{MAGIC}\nsize {size}\npart {part}\n");
            assert!(Seal::parse(&text).is_err(), "{size} {part}");
        }
        let long = file(&vec![b'a'; MAX_TEXT as usize + 1]);
        use std::io::{Seek, SeekFrom};
        (&long).seek(SeekFrom::Start(0)).unwrap();
        assert!(matches!(Seal::read(&long), Err(SealError::Long)));
    }
}
