// SPDX-License-Identifier: BSD-2-Clause
//! LiME, version 1: for each run of pages a header of 32 bytes, all in little
//! endian, and the pages. There is nothing for pages that are missing within
//! a run.

use super::copy::copy;
use super::{Error, Job, Runs, Sink};
use livedump_vmcore::image::MemoryImage;

/// "EMiL" in the file.
const MAGIC: u32 = 0x4c69_4d45;
const VERSION: u32 = 1;

/// Magic number, version, first and last address, 8 bytes reserved.
fn header(start: u64, end: u64) -> [u8; 32] {
    let mut header = [0; 32];
    let words = [
        u64::from(VERSION) << 32 | u64::from(MAGIC),
        start,
        end.saturating_sub(1),
    ];
    for (slot, word) in header.as_chunks_mut::<8>().0.iter_mut().zip(words) {
        *slot = word.to_le_bytes();
    }
    header
}

/// Writes all memory of `image`.
///
/// # Errors
/// Why it ended early.
pub fn write(
    image: &dyn MemoryImage,
    mut sink: Sink<'_>,
    job: &mut Job<'_>,
) -> Result<(), Error> {
    copy(image, &mut sink, job, |copier, sink, job| {
        let mut runs = Runs::new(image);
        while let Some(run) = runs.next()? {
            sink.write(&header(run.start, run.end))?;
            copier.run(run, sink, job)?;
        }
        Ok(())
    })?;
    sink.finish()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Pages, bytes, contents, image, written};
    use super::*;
    use livedump_vmcore::image::Format;

    #[test]
    fn a_header_is_that_of_lime() {
        let bytes = header(0x1000, 0x3000);
        assert_eq!(bytes[..8], *b"EMiL\x01\0\0\0");
        assert_eq!(bytes[8..16], 0x1000u64.to_le_bytes());
        assert_eq!(bytes[16..24], 0x2fffu64.to_le_bytes());
        assert_eq!(bytes[24..], [0; 8]);
    }

    #[test]
    fn what_is_written_reads_back_as_lime() {
        let memory = Pages::sample();
        let (file, stream, bad) = written(|to, job| write(&memory, to, job));
        assert!(bytes(&file) == stream && bad == 0);
        let image = image(&file);
        assert_eq!(image.format(), Format::Lime);
        assert!(contents(image.as_ref()) == memory.all());
        // Adjacent runs are one range.
        let headers = stream.chunks(16).filter(|c| c.starts_with(b"EMiL"));
        assert_eq!(headers.count(), 4);
    }
}
