// SPDX-License-Identifier: BSD-2-Clause
//! What a minidump of an image has that only type information tells: the host
//! name, and not the pages with PG_NODUMP.

use super::Target;
use super::types::{Missing, RequiredFields};
use crate::report::note;
use livedump_vmcore::elf::Kernel;
use livedump_vmcore::image::kernel::{ImageFacts, VmPageTypes, VmPages};
use livedump_vmcore::{Vmcore, chain};
use memdev::addr::Vaddr;

/// Reads it, and reports what is not known. Nothing of a minidump, which has
/// both already.
#[must_use]
pub fn of_image(
    core: &Vmcore,
    kernel: &Kernel,
    debug: Option<&Kernel>,
) -> ImageFacts {
    if core.image().is_none() {
        return ImageFacts::default();
    }
    let target = match Target::new(core, kernel, debug) {
        Err(e) if debug.is_some() => {
            note(format_args!("{}; continuing without it", chain(&e)));
            Target::new(core, kernel, None)
        }
        target => target,
    };
    let target = match target {
        Ok(target) => target,
        Err(e) => {
            unknown(&chain(&e));
            return ImageFacts::default();
        }
    };
    let pages = vm_pages(&target).map_err(|why| unknown(&why)).ok();
    let hostname = hostname(&target).unwrap_or_default();
    ImageFacts { hostname, pages, ..ImageFacts::default() }
}

fn unknown(why: &str) {
    note(format_args!(
        "pages with PG_NODUMP are not left out of the dump: {why}"
    ));
}

fn hostname(target: &Target<'_>) -> Option<String> {
    let field = target.types.field("prison", "pr_hostname")?;
    let at = target.address("prison0")?.0.checked_add(field.offset)?;
    target.core.image()?.hostname(Vaddr(at))
}

fn vm_pages(target: &Target<'_>) -> Result<VmPages, String> {
    let mut f = RequiredFields::new(&target.types);
    let segment = "vm_phys_seg";
    let [start, end, first] =
        ["start", "end", "first_page"].map(|name| f.field(segment, name));
    let flags = f.field("vm_page", "flags");
    let types = VmPageTypes {
        segment: (f.size(segment), [start, end, first].map(|f| f.offset)),
        page: (f.size("vm_page"), flags.offset),
        flags: flags.size,
    };
    f.check().map_err(|_: Missing| {
        "neither the kernel nor a debug file beside it has type information"
    })?;
    let symbol =
        |name| target.address(name).ok_or_else(|| format!("no symbol {name}"));
    let segments = symbol("vm_phys_segs")?;
    let count = target.int("vm_phys_nsegs");
    let count = count.ok_or("no symbol vm_phys_nsegs")?;
    let memory = target.core.image().ok_or("no image")?;
    let pages = memory.vm_pages(types, segments, count);
    pages.map_err(|why| format!("vm_phys_segs: {why}"))
}
