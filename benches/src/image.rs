// SPDX-License-Identifier: BSD-2-Clause
//! Memory images: one that is made up, for those who have none, and either
//! with more zero pages than it had.
//!
//! Made-up memory is a mix, in runs of pages as allocators leave them: zero
//! pages, text, structures with kernel pointers, machine code, pages with
//! next to nothing in them, and what no codec makes smaller. The shares are
//! those that give about the ratios of the memory of a busy FreeBSD machine.

use crate::random::Random;
use crate::{Result, size};
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

const PAGE: usize = 4096;
/// Bytes of memory made, or checked, in one go.
const BLOCK: usize = 256 * PAGE;
const SEED: u64 = 1;

/// Which memory.
#[derive(Debug, clap::Args)]
pub struct Memory {
    /// The memory, byte for byte; made up by default
    #[arg(long, value_name = "FILE")]
    pub image: Option<PathBuf>,
    /// Bytes of made-up memory
    #[arg(
        long,
        value_name = "SIZE",
        value_parser = size::parse,
        default_value = "1G",
        conflicts_with = "image"
    )]
    size: u64,
    /// First clear pages until so many in a hundred are zero
    #[arg(
        long,
        value_name = "PERCENT",
        value_parser = clap::value_parser!(u8).range(..=100)
    )]
    zeros: Option<u8>,
}

impl Memory {
    /// How many bytes it has.
    pub fn bytes(&self) -> Result<u64> {
        match &self.image {
            Some(path) => Ok(path.metadata()?.len()),
            None => Ok(self.size),
        }
    }

    /// Writes it to `path`.
    pub fn put(&self, path: &Path) -> Result<()> {
        match &self.image {
            Some(image) => copy(image, path)?,
            None => make(path, self.size)?,
        }
        match self.zeros {
            Some(percent) => clear(path, percent),
            None => Ok(()),
        }
    }
}

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    memory: Memory,
    /// Where it goes
    output: PathBuf,
}

pub fn run(args: &Args) -> Result<()> {
    args.memory.put(&args.output)?;
    let (zero, all) = count(&args.output)?;
    println!("{}: {all} pages, {zero} zero", args.output.display());
    Ok(())
}

/// Without holes: they would be news to nobody but cp(1).
fn copy(from: &Path, to: &Path) -> Result<()> {
    let (mut from, mut to) = (File::open(from)?, File::create(to)?);
    let mut block = vec![0; BLOCK];
    loop {
        match from.read(&mut block) {
            Ok(0) => return Ok(()),
            Ok(n) => to.write_all(block.get(..n).unwrap_or_default())?,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e.into()),
        }
    }
}

/// Makes up `bytes` of memory.
fn make(path: &Path, bytes: u64) -> Result<()> {
    let mut out = BufWriter::with_capacity(BLOCK, File::create(path)?);
    let mut random = Random::new(SEED);
    let words = vocabulary(&mut random);
    let code = vocabulary(&mut random);
    let mut left = bytes;
    let mut run = Vec::with_capacity(BLOCK);
    while left > 0 {
        run.clear();
        let pages = 1 + random.skewed(256) as usize;
        let kind = random.below(100);
        for _ in 0..pages {
            match kind {
                0..14 => run.resize(run.len() + PAGE, 0),
                14..38 => from_words(&mut run, &words, &mut random),
                38..60 => structures(&mut run, &mut random),
                60..84 => from_words(&mut run, &code, &mut random),
                84..92 => sparse(&mut run, &mut random),
                _ => noise(&mut run, &mut random),
            }
        }
        let n = usize::try_from(left).unwrap_or(usize::MAX).min(run.len());
        out.write_all(run.get(..n).unwrap_or(&run))?;
        left -= n as u64;
    }
    out.flush()?;
    Ok(())
}

/// Byte strings, some of which are used more than others.
fn vocabulary(random: &mut Random) -> Vec<Vec<u8>> {
    let letters = b"etaoinsrhldcumfpgwybvkxjqz_(), .";
    let letter = |r: &mut Random| letters[r.skewed(32) as usize];
    (0..6000)
        .map(|_| {
            let len = 2 + random.skewed(14);
            (0..len).map(|_| letter(random)).collect()
        })
        .collect()
}

fn from_words(run: &mut Vec<u8>, words: &[Vec<u8>], random: &mut Random) {
    let end = run.len() + PAGE;
    while run.len() < end {
        let word = random.skewed(words.len() as u64) as usize;
        run.extend(words.get(word).into_iter().flatten());
        run.push(b' ');
    }
    run.truncate(end);
}

/// Of one kind a page: pointers near each other, counters, flags, nothing.
fn structures(run: &mut Vec<u8>, random: &mut Random) {
    let end = run.len() + PAGE;
    let fields: Vec<_> = (0..4 + random.below(28))
        .map(|_| (random.below(6), random.next()))
        .collect();
    let heap = 0xffff_f800_0000_0000 | random.below(1 << 30);
    while run.len() < end {
        for &(kind, fixed) in &fields {
            let word = match kind {
                0 => heap + (random.skewed(1 << 16) & !63),
                1 => random.skewed(1 << 12),
                2 => fixed & 0xffff,
                3 => 0xffff_ffff_8000_0000 | fixed & 0xff_fff0,
                _ => 0,
            };
            run.extend(word.to_le_bytes());
        }
    }
    run.truncate(end);
}

fn sparse(run: &mut Vec<u8>, random: &mut Random) {
    let mut page = [0; PAGE];
    for _ in 0..1 + random.below(12) {
        let at = random.below(PAGE as u64 / 8) as usize;
        let word = random.next().to_le_bytes();
        if let Some(to) = page.as_chunks_mut().0.get_mut(at) {
            *to = word;
        }
    }
    run.extend(page);
}

fn noise(run: &mut Vec<u8>, random: &mut Random) {
    run.extend((0..PAGE / 8).flat_map(|_| random.next().to_le_bytes()));
}

/// Clears runs of pages until `percent` of all are zero.
fn clear(path: &Path, percent: u8) -> Result<()> {
    use std::os::unix::fs::FileExt;
    let (zero, all) = count(path)?;
    let want = all * u64::from(percent) / 100;
    let (missing, full) = (want.saturating_sub(zero), all - zero);
    if missing == 0 {
        return Ok(());
    }
    let file = File::options().read(true).write(true).open(path)?;
    let len = file.metadata()?.len();
    let mut random = Random::new(SEED);
    let nothing = [0; BLOCK];
    let mut at = 0;
    while at < all {
        let pages = (1 + random.skewed(256)).min(all - at);
        if random.below(full) < missing {
            let from = at * PAGE as u64;
            let n = (pages * PAGE as u64).min(len - from) as usize;
            file.write_all_at(nothing.get(..n).unwrap_or(&nothing), from)?;
        }
        at += pages;
    }
    Ok(())
}

/// How many pages are zero, and how many there are.
pub fn count(path: &Path) -> Result<(u64, u64)> {
    let mut file = File::open(path)?;
    let mut block = vec![0; BLOCK];
    let (mut zero, mut all) = (0, 0);
    loop {
        let mut have = 0;
        while let Some(rest) = block.get_mut(have..).filter(|r| !r.is_empty()) {
            match file.read(rest)? {
                0 => break,
                n => have += n,
            }
        }
        if have == 0 {
            return Ok((zero, all));
        }
        for page in block.get(..have).unwrap_or_default().chunks(PAGE) {
            all += 1;
            zero += u64::from(page.iter().all(|&b| b == 0));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_the_same_each_time_and_get_the_zeros_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let [a, b] = ["a", "b"].map(|name| dir.path().join(name));
        make(&a, 8 << 20).unwrap();
        make(&b, 8 << 20).unwrap();
        let bytes = std::fs::read(&a).unwrap();
        assert!(bytes.len() == 8 << 20 && bytes == std::fs::read(&b).unwrap());
        clear(&a, 70).unwrap();
        let (zero, all) = count(&a).unwrap();
        assert_eq!(all, 2048);
        assert!((55..85).contains(&(zero * 100 / all)), "{zero} of {all}");
    }
}
