// SPDX-License-Identifier: BSD-2-Clause
//! A dump of all memory, made of one that has little of it: what that lacks is
//! a hole of the file, so that 64 GB take up no more than what was dumped.

use livedump_vmcore::Vmcore;
use memdev::addr::{PAGE_SIZE, Page};
use memdev::dump_avail::DumpAvail;
use std::fs::File;
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Fills the plain minidump `from`, into `to`; returns its length.
///
/// # Panics
/// It is none, or cannot be written.
pub fn fill(from: &Path, to: &Path) -> u64 {
    let core = Vmcore::open(from).unwrap();
    let (layout, pages) = (*core.layout(), core.pages().unwrap());
    let avail = DumpAvail::new(pages.ranges()).unwrap();
    let file = File::create(to).unwrap();
    let mut sections = vec![0; layout.pages as usize];
    let got = core.source().read_at(0, &mut sections).unwrap();
    assert_eq!(got, sections.len());
    let bitmap = layout.bitmap as usize..layout.pmap as usize;
    let bits = avail.bits();
    for (n, byte) in (0u64..).zip(&mut sections[bitmap]) {
        let bits = bits.saturating_sub(8 * n).min(8);
        *byte = u8::try_from((1u32 << bits) - 1).unwrap();
    }
    file.write_all_at(&sections, 0).unwrap();
    let place = |bit| layout.pages + bit * PAGE_SIZE as u64;
    let each = core.for_each_page(|pa, _| {
        let mut page: Page = [0; PAGE_SIZE];
        core.read_phys(pa, &mut page).unwrap();
        if page != [0; PAGE_SIZE] {
            let bit = avail.bit_of(pa).unwrap();
            file.write_all_at(&page, place(bit)).unwrap();
        }
        ControlFlow::Continue(())
    });
    each.unwrap();
    file.set_len(place(bits)).unwrap();
    place(bits)
}
