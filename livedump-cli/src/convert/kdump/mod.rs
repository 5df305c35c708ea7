// SPDX-License-Identifier: BSD-2-Clause
//! KDUMP, as makedumpfile writes it: pages that are compressed one by one, and
//! two bitmaps. Several threads compress; one reads, orders and writes.
//!
//! ```text
//!  header       block 0: names, sizes
//!  sub header   block 1 and on: physical base, vmcoreinfo
//!  bitmap 1     pages that are memory
//!  bitmap 2     pages that are in the file
//!  descriptors  24 bytes for each of these
//!  pages        those of zeros are one
//! ```
//!
//! A stream has it flattened: records with an offset each, which
//! `makedumpfile -R` puts in their places.
//!
//! C: `struct disk_dump_header`, `struct kdump_sub_header`, `page_desc_t`
//! (makedumpfile's diskdump_mod.h).

mod bits;
mod facts;
mod header;
mod pack;
mod place;

pub use facts::Facts;
pub use pack::Codec;

use super::{Error, Job, PAGE, Runs, Sink};
use bits::Bits;
use livedump_vmcore::image::MemoryImage;
use memdev::addr::{PAGE_SIZE, Paddr};
use pack::{Packed, Packer};
use place::{Place, Queue};
use std::collections::VecDeque;
use std::sync::mpsc::Receiver;

const DESCRIPTOR: u64 = 24;
/// Pages that a thread compresses at a time.
const BATCH: usize = 64 * PAGE_SIZE;

/// Where everything is in the file.
#[derive(Clone, Copy, Debug)]
struct Places {
    max_mapnr: u64,
    sub_blocks: u64,
    bitmap: u64,
    bitmap_bytes: u64,
    descriptors: u64,
    data: u64,
}

impl Places {
    fn new(max_mapnr: u64, pages: u64, vmcoreinfo: usize) -> Option<Self> {
        let sub = header::SUB_HEADER.checked_add(vmcoreinfo as u64)?;
        let sub_blocks = sub.div_ceil(PAGE);
        let bitmap = sub_blocks.checked_add(1)?.checked_mul(PAGE)?;
        let bytes = max_mapnr.div_ceil(8).checked_next_multiple_of(PAGE)?;
        let descriptors = bitmap.checked_add(bytes.checked_mul(2)?)?;
        let size = pages.checked_mul(DESCRIPTOR)?;
        let data =
            descriptors.checked_add(size)?.checked_next_multiple_of(PAGE)?;
        u32::try_from(bytes.checked_mul(2)? / PAGE).ok()?;
        Some(Self {
            max_mapnr,
            sub_blocks,
            bitmap,
            bitmap_bytes: bytes,
            descriptors,
            data,
        })
    }
}

/// Writes all memory of `image`, with up to `threads` threads.
///
/// # Errors
/// Why it ended early.
pub fn write(
    image: &dyn MemoryImage,
    facts: &Facts,
    codec: Codec,
    threads: usize,
    sink: Sink<'_>,
    job: &mut Job<'_>,
) -> Result<(), Error> {
    let pages = super::bytes(image)? / PAGE;
    let last = facts.memory.last().map_or(0, |range| range.1);
    let max_mapnr = image.end().max(last).div_ceil(PAGE);
    let places = Places::new(max_mapnr, pages, facts.vmcoreinfo.len())
        .ok_or_else(|| Error::TooLarge(format!("{max_mapnr} pages")))?;
    let mut place = Place::new(sink)?;
    place.put(&header::header(facts, codec, places), 0)?;
    place.put(&header::sub_header(facts, places), PAGE)?;
    memory(image, facts, places, &mut place, job)?;
    let second = places.bitmap.saturating_add(places.bitmap_bytes);
    std::thread::scope(|scope| {
        let mut out = Out {
            bits: Bits::new(second),
            descriptors: Queue::new(places.descriptors),
            data: Queue::new(places.data),
            zero: None,
            place: &mut place,
            pending: VecDeque::new(),
            most: threads.saturating_mul(4).max(2),
        };
        let packer = Packer::start(scope, codec, threads);
        let mut runs = Runs::new(image);
        while let Some(run) = runs.next()? {
            job.read(image, run, &mut |pa, data| {
                // What cannot be read is not in the file.
                for (n, part) in
                    (0u64..).zip(data.unwrap_or_default().chunks(BATCH))
                {
                    let into = n.saturating_mul(BATCH as u64);
                    let pa = Paddr(pa.0.saturating_add(into));
                    out.wait(pa, packer.pack(part))?;
                }
                Ok(())
            })?;
        }
        out.finish()
    })?;
    place.finish()
}

/// The first bitmap: dump_avail, and whatever else there is.
fn memory(
    image: &dyn MemoryImage,
    facts: &Facts,
    places: Places,
    place: &mut Place<'_>,
    job: &Job<'_>,
) -> Result<(), Error> {
    let mut bits = Bits::new(places.bitmap);
    let mut ranges = facts.memory.iter().copied().peekable();
    let mut runs = Runs::new(image);
    let mut run = runs.next()?;
    let mut done = 0u64;
    loop {
        job.check()?;
        let from_run = match (&run, ranges.peek()) {
            (None, None) => break,
            (Some(run), Some(range)) => run.start < range.0,
            (run, _) => run.is_some(),
        };
        let (start, end) = match run.filter(|_| from_run) {
            Some(found) => {
                run = runs.next()?;
                (found.start, found.end)
            }
            None => ranges.next().unwrap_or_default(),
        };
        let (start, end) = (start / PAGE, end.div_ceil(PAGE));
        bits.set(start.max(done), end, place)?;
        done = done.max(end);
    }
    bits.flush(place)
}

/// What has been compressed, in order.
struct Out<'p, 's> {
    bits: Bits,
    descriptors: Queue,
    data: Queue,
    /// Where the page of zeros is, with its size and flags.
    zero: Option<(u64, u32, u32)>,
    place: &'p mut Place<'s>,
    pending: VecDeque<(Paddr, Receiver<Packed>)>,
    most: usize,
}

impl Out<'_, '_> {
    fn wait(
        &mut self,
        pa: Paddr,
        packed: Receiver<Packed>,
    ) -> Result<(), Error> {
        self.pending.push_back((pa, packed));
        match self.pending.len() > self.most {
            true => self.next(),
            false => Ok(()),
        }
    }

    /// Writes what has been waited for longest.
    fn next(&mut self) -> Result<(), Error> {
        let Some((pa, packed)) = self.pending.pop_front() else {
            return Ok(());
        };
        let gone = || std::io::Error::other("a thread ended early");
        let packed = packed.recv().map_err(|_| gone())?;
        let first = pa.0 / PAGE;
        let mut at = 0usize;
        let mut count = 0u64;
        for page in &packed.pages {
            let end = at.saturating_add(page.size as usize);
            let data = packed.data.get(at..end).unwrap_or_default();
            at = end;
            let offset = match self.zero.filter(|_| page.zero) {
                Some((offset, ..)) => offset,
                None => self.data.put(data, self.place)?,
            };
            let (size, flags) = match self.zero.filter(|_| page.zero) {
                Some((_, size, flags)) => (size, flags),
                None => (page.size, page.flags),
            };
            if page.zero {
                self.zero = Some((offset, size, flags));
            }
            let mut raw = [0; DESCRIPTOR as usize];
            let words = [offset, u64::from(flags) << 32 | u64::from(size), 0];
            for (slot, word) in raw.as_chunks_mut().0.iter_mut().zip(words) {
                *slot = word.to_le_bytes();
            }
            self.descriptors.put(&raw, self.place)?;
            count = count.saturating_add(1);
        }
        self.bits.set(first, first.saturating_add(count), self.place)
    }

    fn finish(mut self) -> Result<(), Error> {
        while !self.pending.is_empty() {
            self.next()?;
        }
        self.bits.flush(self.place)?;
        self.descriptors.flush(self.place)?;
        self.data.flush(self.place)
    }
}

#[cfg(test)]
mod tests;
