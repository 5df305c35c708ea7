// SPDX-License-Identifier: BSD-2-Clause
//! Nothing but memory: a byte's offset is its physical address. What the
//! image lacks is zeros, a hole of the file.

use super::copy::copy;
use super::{Error, Job, Runs, Sink};
use livedump_vmcore::image::MemoryImage;

/// Writes all memory of `image`, up to its end.
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
            sink.skip_to(run.start, job)?;
            copier.run(run, sink, job)?;
        }
        Ok(())
    })?;
    sink.skip_to(image.end(), job)?;
    sink.finish()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Pages, bytes, written};
    use super::write;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn an_offset_is_an_address_and_what_is_missing_is_a_hole() {
        let memory = Pages::sample();
        let (file, stream, bad) = written(|to, job| write(&memory, to, job));
        let mut want = vec![0; memory.end as usize];
        for (&pa, page) in &memory.pages {
            want[pa as usize..pa as usize + 4096].copy_from_slice(page);
        }
        assert!(bytes(&file) == want && stream == want);
        assert_eq!(bad, 0);
        let most = (memory.pages.len() as u64 + 16) * 4096;
        assert!(file.metadata().unwrap().blocks() * 512 < most);
    }

    #[test]
    fn a_page_that_cannot_be_read_does_not_end_it() {
        let mut memory = Pages::sample();
        memory.broken = [0x3000, 201 * 4096, 599 * 4096].into();
        let (file, stream, bad) = written(|to, job| write(&memory, to, job));
        let found = bytes(&file);
        assert!(found == stream && found.len() as u64 == memory.end);
        assert_eq!(bad, 3);
        for (&pa, page) in &memory.pages {
            let at = pa as usize;
            let broken = memory.broken.contains(&pa);
            let want = if broken { vec![0; 4096] } else { page.clone() };
            assert!(found[at..at + 4096] == want, "{pa:#x}");
        }
    }
}
