// SPDX-License-Identifier: BSD-2-Clause
//! Any file: opened as a memory image, and where it opens, its runs rise and
//! its pages can be read or cannot.
#![no_main]

use libfuzzer_sys::fuzz_target;
use livedump_fuzz::file;
use livedump_vmcore::image;
use livedump_vmcore::source::Plain;
use memdev::addr::Paddr;
use std::sync::Arc;

fuzz_target!(|data: &[u8]| {
    let source =
        Plain::new(Arc::new(file(data).into_file()), data.len() as u64);
    let Ok(Some(image)) = image::open(&(Arc::new(source) as _)) else { return };
    let mut at = 0;
    let mut page = [0; 4096];
    for _ in 0..64 {
        let Ok(Some(run)) = image.next_run(Paddr(at)) else { break };
        assert!(run.start >= at && run.start < run.end);
        assert!(run.start % 4096 == 0 && run.end % 4096 == 0);
        for pa in [run.start, run.start + 4096, run.end - 4096] {
            let first = image.read(Paddr(pa), &mut page).is_ok();
            let mut part = [0; 16];
            let again = image.read(Paddr(pa + 8), &mut part).is_ok();
            // What a page has does not depend on how it is read.
            assert!(!first || again && part == page[8..24]);
        }
        at = run.end;
    }
    let _ = image.read(Paddr(at.wrapping_sub(6000)), &mut [0; 9000]);
});
