// SPDX-License-Identifier: BSD-2-Clause
//! What an image lacks. A writer may leave out memory of any kind: only what
//! the kernel itself has marked for its dumps tells what should be there.

use super::super::Vmcore;
use super::super::image::kernel::Marked;
use super::Verification;

impl Vmcore {
    pub(super) fn verify_image(&self, v: &mut Verification) {
        let name = "image";
        let Some(memory) = self.image() else { return };
        let Marked { marked, missing, first } = match memory.marked() {
            Ok(found) => found,
            Err(e) => return v.undetermined(name, crate::chain(&e)),
        };
        let Ok(pages) = self.pages() else { return };
        let (bits, set) = (pages.bits(), pages.count_set());
        let text = format!("{marked} pages are marked in vm_page_dump");
        let Some(first) = first else {
            v.ok(name, format!("{text}, none is missing"));
            return self.verify_rest(v, bits, set);
        };
        let text = format!(
            "{text}, {missing} are not in the image, the first at physical \
             {first}"
        );
        // One of all memory has pages that no dump would have; of another,
        // those with PG_NODUMP may have been left out.
        let others = bits.saturating_sub(marked);
        let have = set.saturating_sub(marked.saturating_sub(missing));
        let is_whole = have.saturating_mul(2) > others;
        if is_whole || missing.saturating_mul(10) > marked {
            v.undetermined(name, text);
        } else {
            v.ok(name, text);
            v.skip(format!(
                "whether the {missing} missing pages are marked PG_NODUMP"
            ));
        }
        self.verify_rest(v, bits, set);
    }

    /// Memory that a dump need not have.
    fn verify_rest(&self, v: &mut Verification, bits: u64, set: u64) {
        let lost = bits.saturating_sub(set);
        if self.header().has_dump_avail() && lost > 0 {
            v.skip(format!(
                "{lost} of {bits} pages of memory: the image lacks them"
            ));
        }
    }
}
