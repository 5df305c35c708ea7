// SPDX-License-Identifier: BSD-2-Clause
//! What the kernel linker has loaded. C: `linker_files`, <sys/linker.h>.

use super::target::{Target, at};
use super::types::Field;
use memdev::addr::Vaddr;

const MAX_MODULES: usize = 1024;
/// Modules whose size is not known are not larger.
pub const MAX_MODULE: u64 = 64 << 20;

/// A file of the kernel linker's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// C: `filename`, without a directory.
    pub name: String,
    /// C: `address`.
    pub start: u64,
    /// C: `size`, where its offset is known.
    pub size: Option<u64>,
}

/// The files behind the kernel, the highest first. C: `linker_files`.
#[must_use]
pub fn modules(t: &Target<'_>) -> Vec<Module> {
    let of = |name| t.types.field("linker_file", name);
    let (Some(next), Some(filename), Some(address)) =
        (of("link"), of("filename"), of("address"))
    else {
        return Vec::new();
    };
    let mut found = Vec::new();
    let Some(mut file) = t.pointer("linker_files") else { return found };
    for _ in 0..MAX_MODULES {
        let get =
            |f: Field| t.core.read_u64(at(file, Field { size: 8, ..f })).ok();
        if let (Some(name), Some(start)) = (get(filename), get(address))
            && let Some(name) = t.text(Vaddr(name), 64)
            && name != "kernel"
        {
            let size = of("size").and_then(get);
            let size = size.map(|size| size.min(MAX_MODULE));
            found.push(Module { name, start, size });
        }
        match get(next) {
            Some(next) if next != 0 => file = Vaddr(next),
            _ => break,
        }
    }
    // The nearest below comes first.
    found.sort_by_key(|m| core::cmp::Reverse(m.start));
    found
}
