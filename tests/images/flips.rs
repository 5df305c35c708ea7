// SPDX-License-Identifier: BSD-2-Clause
//! A flipped bit anywhere in an image of any format: commands answer, and no
//! other memory comes out where the format has checksums.

use super::model::{Case, TWO};
use crate::tool::run;
use livedump_cli::convert::{self, Job, Progress, Sink};
use livedump_vmcore::elf::Kernel;
use livedump_vmcore::image::{Checksums, MemoryImage};
use livedump_vmcore::sample::kdump::{Kdump, LZO, SNAPPY, ZLIB, compress};
use livedump_vmcore::{Opened, Vmcore};
use memdev::addr::Paddr;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::ops::Range;
use std::path::Path;

/// Flips of each format.
const FLIPS: usize = 60;
/// Of these as many through the program.
const RUN: usize = 2;

pub(super) type Memory = BTreeMap<u64, Vec<u8>>;

fn memory(image: &dyn MemoryImage) -> Memory {
    let mut all = Memory::new();
    let mut at = 0;
    while let Ok(Some(run)) = image.next_run(Paddr(at)) {
        for pa in (run.start..run.end).step_by(4096) {
            let mut page = vec![0; 4096];
            if image.read(Paddr(pa), &mut page).is_ok() {
                all.insert(pa, page);
            }
        }
        at = run.end;
    }
    all
}

/// Everything that commands do with a file; and its memory, if it is wanted.
fn read(
    path: &Path,
    kernel: &Kernel,
    wanted: bool,
) -> Option<(Memory, Checksums)> {
    let file = File::open(path).unwrap();
    let (image, core) = match Opened::new(file, path).ok()? {
        Opened::Minidump(core) => (None, Some(*core)),
        Opened::Image(image) => {
            let core = image.with_kernel(kernel).ok();
            (Some(image), core)
        }
    };
    if let Some(core) = &core {
        let _ = core.procs(kernel).map(|found| found.thread_count());
        let _ = core.msgbuf_section().map(|ring| ring.unrolled());
        let _ = core.verify(Some(kernel), 1).verdict();
    }
    let image: &dyn MemoryImage = match (&image, &core) {
        (Some(image), _) => image.image().as_ref(),
        (None, Some(core)) => core,
        (None, None) => return None,
    };
    let mut job = Job::new(None, Progress::default());
    let sink = Sink::stream(std::io::sink());
    let _ = convert::raw::write(image, sink, &mut job);
    let pages = if wanted { memory(image) } else { Memory::new() };
    Some((pages, image.claims().checksums))
}

/// Flips bits of `bytes`. `covered`: where every bit is of a page's checksum.
fn flip(case: &Case, name: &str, bytes: &[u8], covered: Range<usize>) {
    let kernel = Kernel::open(&case.path("kernel")).unwrap();
    let path = case.path(name);
    std::fs::write(&path, bytes).unwrap();
    let (truth, checksums) = read(&path, &kernel, true).unwrap();
    assert_eq!(checksums == Checksums::None, covered.is_empty(), "{name}");
    let kernel_text = case.text("kernel");
    let mut x = 0x2545_f491_4f6c_dd1du64 ^ bytes.len() as u64;
    let mut seen = 0;
    for n in 0..FLIPS {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        // A third of them in what comes first, where they do most.
        let within = if n % 3 == 0 { 8192 } else { bytes.len() };
        let at = (x >> 8) as usize % within.min(bytes.len());
        let mut bad = bytes.to_vec();
        bad[at] ^= 1 << (x % 8);
        std::fs::write(&path, bad).unwrap();
        let found = read(&path, &kernel, covered.contains(&at));
        if covered.contains(&at) {
            let (found, _) = found.expect(name);
            for (pa, page) in &found {
                let was = truth.get(pa);
                assert!(was == Some(page), "{name}: bit {at}, page {pa:#x}");
            }
            // Some bits, such as those that fill the last byte of a page, mean
            // nothing.
            seen += usize::from(found.len() < truth.len());
        }
        if n < RUN {
            let (file, out) = (case.text(name), case.text("out"));
            let all = [
                vec!["ps", "-k", &kernel_text, &file],
                vec!["verify", "-k", &kernel_text, &file],
                vec!["info", &file],
                vec!["convert", "-k", &kernel_text, &file, "--to", "raw", &out],
                vec!["convert", "-k", &kernel_text, &file, "--to", "elf", &out],
            ];
            for words in all {
                let run = run(&words);
                let ended = matches!(run.status, Some(0..=3));
                assert!(ended, "{words:?}: {:?} {}", run.status, run.stderr);
            }
        }
    }
    assert!(covered.is_empty() || seen > 20, "{name}: {seen}");
}

fn converted(case: &Case, to: &[&str]) -> Vec<u8> {
    let (kernel, raw) = (case.text("kernel"), case.text("raw"));
    let out = case.text("converted");
    let words = ["convert", "--no-seal", "-k", &kernel, &raw, "--to"];
    run(words.iter().chain(to).chain([&out.as_str()])).expect(0);
    std::fs::read(&out).unwrap()
}

#[test]
fn formats_without_checksums_are_read_to_an_end() {
    let case = Case::new(TWO);
    for to in [&["elf"][..], &["lime"], &["kdump"], &["minidump"]] {
        flip(&case, to[0], &converted(&case, to), 0..0);
    }
    let raw = std::fs::read(case.path("raw")).unwrap();
    flip(&case, "memory", &raw, 0..0);
    let pages = memory_of(&case);
    for codec in [LZO, SNAPPY] {
        flip(&case, "foreign", &kdump(&pages, codec), 0..0);
    }
}

#[test]
fn with_checksums_no_other_memory_comes_out() {
    let case = Case::new(TWO);
    let pages = memory_of(&case);
    // Only pages that became smaller have one.
    let mut small = pages.clone();
    small.retain(|_, page| compress(ZLIB, page).len() < 4096);
    let zlib = kdump(&small, ZLIB);
    let data = zlib.len() - data_bytes(&small, ZLIB)..zlib.len();
    flip(&case, "zlib", &zlib, data);
    // One block: its frame is between the header and the length.
    let (&first, _) = pages.first_key_value().unwrap();
    let run = pages.range(first..).zip((first..).step_by(4096));
    let run: Vec<u8> = run
        .take_while(|((pa, _), want)| *pa == want)
        .flat_map(|((_, page), _)| page.clone())
        .collect();
    let avml = avml(first, &run);
    let frame = 32..avml.len() - 8;
    flip(&case, "avml", &avml, frame);
}

/// All pages of the machine.
pub(super) fn memory_of(case: &Case) -> Memory {
    let kernel = Kernel::open(&case.path("kernel")).unwrap();
    let path = case.path("raw");
    let opened = Opened::new(File::open(&path).unwrap(), &path).unwrap();
    let Opened::Image(image) = opened else { panic!("no image") };
    let core: Vmcore = image.with_kernel(&kernel).unwrap();
    memory(&core)
}

fn data_bytes(pages: &Memory, codec: u32) -> usize {
    pages.values().map(|page| compress(codec, page).len().min(4096)).sum()
}

/// A kdump as makedumpfile makes them, of one codec.
fn kdump(pages: &Memory, codec: u32) -> Vec<u8> {
    kdump_part(pages, codec, None)
}

/// The part of it that has the pages of a range of numbers, or the whole.
pub(super) fn kdump_part(
    pages: &Memory,
    codec: u32,
    part: Option<Range<u64>>,
) -> Vec<u8> {
    let page = |(&pa, page): (&u64, &Vec<u8>)| {
        (pa / 4096, page.as_slice().try_into().unwrap())
    };
    let end = pages.keys().next_back().unwrap() / 4096 + 1;
    let mut kdump = Kdump::new(pages.iter().map(page).collect(), end, &[codec]);
    kdump.split = part.map(|part| (part.start, part.end));
    kdump.bytes()
}

/// A block of AVML version 2.
fn avml(start: u64, memory: &[u8]) -> Vec<u8> {
    let mut out = Vec::from(b"AVML");
    out.extend(2u32.to_le_bytes());
    out.extend(start.to_le_bytes());
    out.extend((start + memory.len() as u64 - 1).to_le_bytes());
    out.resize(32, 0);
    let mut e = snap::write::FrameEncoder::new(Vec::new());
    for page in memory.chunks(4096) {
        e.write_all(page).unwrap();
    }
    let frame = e.into_inner().unwrap();
    out.extend(&frame);
    out.extend((frame.len() as u64).to_le_bytes());
    out
}
