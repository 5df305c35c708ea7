// SPDX-License-Identifier: BSD-2-Clause
//! Which files belong together: a dump and its kernel, a kernel and its debug
//! file. That release and configuration are the same proves nothing: two
//! builds of one source have the same version line and other addresses.
//!
//! A kernel is the dump's where the dump has its build-id, or the same
//! read-only data. Code proves nothing: it is patched at boot. A debug file is
//! a kernel's where both have the same build-id, or where it has the checksum
//! that the kernel's .gnu_debuglink names.

use super::exported::EXPORTED;
use livedump_vmcore::Vmcore;
use livedump_vmcore::elf::{BuildId, Kernel};
use memdev::addr::{PAGE_SIZE, Vaddr};
use std::collections::HashMap;

/// Pages of read-only data that are compared.
const MAX_PAGES: u64 = 64;
/// Bytes of a page that may differ in a damaged dump. Pages of another build
/// differ in most.
const FLIPPED: usize = 64;
/// Symbols whose addresses are compared.
const MAX_SYMBOLS: usize = 512;
/// Names that are longer are not compared.
const MAX_NAME: usize = 64;

/// Whether two files belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// They do: what proves it.
    Same(&'static str),
    /// They do not: what differs.
    Other(String),
    /// It cannot be told: why.
    Unknown(String),
}

/// Whether a kernel of the dump's machine and version is the dump's.
#[must_use]
pub fn kernel_identity(core: &Vmcore, kernel: &Kernel) -> Identity {
    if let Some(differs) = exported_differ(core, kernel) {
        return Identity::Other(differs);
    }
    if let Some(ours) = kernel.build_id()
        && let Some(identity) = build_id_in(core, &ours)
    {
        return identity;
    }
    read_only_data(core, kernel)
}

/// The constants that kernels export are never written to.
fn exported_differ(core: &Vmcore, kernel: &Kernel) -> Option<String> {
    EXPORTED.iter().find_map(|(name, _)| {
        let symbol = kernel.find(name)?;
        let mut raw = [0; 4];
        if !kernel.read(symbol.address, &mut raw) {
            return None;
        }
        let ours = u32::from_le_bytes(raw);
        let theirs = core.read_u32(symbol.address).ok()?;
        // A hole, as in a dump that was cut or made sparse.
        (theirs != 0 && theirs != ours)
            .then(|| format!("{name} is {ours}, in the dump {theirs}"))
    })
}

/// What the dump has where the kernel has its build-id; `None` where that is
/// not in the dump.
fn build_id_in(core: &Vmcore, ours: &BuildId) -> Option<Identity> {
    if ours.address.0 == 0 {
        return None;
    }
    let mut theirs = vec![0; ours.note.len()];
    core.read_va(ours.address, &mut theirs).ok()?;
    if theirs.iter().all(|&b| b == 0) {
        return None;
    }
    if theirs == ours.note {
        return Some(Identity::Same("its build-id"));
    }
    Some(Identity::Other(format!(
        "its build-id is {ours}, the dump has another one"
    )))
}

fn read_only_data(core: &Vmcore, kernel: &Kernel) -> Identity {
    const PAGE: u64 = PAGE_SIZE as u64;
    let sections: Vec<_> = kernel.read_only().take(64).collect();
    let pages: u64 = sections.iter().map(|s| s.1.div_ceil(PAGE)).sum();
    let step = pages.div_ceil(MAX_PAGES).max(1);
    let (mut compared, mut other, mut flipped) = (0u64, 0u64, 0u64);
    for (start, size) in sections {
        let mut at = 0u64;
        while at < size {
            let here = Vaddr(start.0.saturating_add(at));
            let n = size.saturating_sub(at).min(PAGE) as usize;
            at = at.saturating_add(PAGE.saturating_mul(step));
            let (mut ours, mut theirs) = (vec![0; n], vec![0; n]);
            if !kernel.read(here, &mut ours)
                || core.read_va(here, &mut theirs).is_err()
            {
                continue;
            }
            let empty = |page: &[u8]| page.iter().all(|&b| b == 0);
            if empty(&ours) || empty(&theirs) {
                continue;
            }
            compared = compared.saturating_add(1);
            match ours.iter().zip(&theirs).filter(|(a, b)| a != b).count() {
                0 => {}
                1..=FLIPPED => flipped = flipped.saturating_add(1),
                _ => other = other.saturating_add(1),
            }
        }
    }
    if compared == 0 {
        return Identity::Unknown(
            "there is no build-id or read-only data in both to compare".into(),
        );
    }
    let differ = other.saturating_add(flipped);
    let text = format!("{differ} of {compared} pages of read-only data differ");
    if other.saturating_mul(2) > compared {
        Identity::Other(text)
    } else if differ.saturating_mul(2) > compared {
        Identity::Unknown(text)
    } else {
        Identity::Same("its read-only data")
    }
}

/// Whether a debug file is that of a kernel.
#[must_use]
pub fn debug_identity(kernel: &Kernel, debug: &Kernel) -> Identity {
    if kernel.machine() != debug.machine() {
        let (ours, theirs) = (kernel.machine().name(), debug.machine().name());
        return Identity::Other(format!(
            "it is of {theirs}, the kernel of {ours}"
        ));
    }
    if let Some(differs) = symbols_differ(kernel, debug) {
        return Identity::Other(differs);
    }
    if let (Some(ours), Some(theirs)) = (kernel.build_id(), debug.build_id()) {
        return match ours.id == theirs.id {
            true => Identity::Same("its build-id"),
            false => Identity::Other(format!(
                "its build-id is {theirs}, the kernel's {ours}"
            )),
        };
    }
    let Some(link) = kernel.debug_link() else {
        return Identity::Unknown(
            "there is no build-id in both and no .gnu_debuglink".into(),
        );
    };
    match debug.crc32() {
        Some(crc) if crc == link.crc => Identity::Same("its checksum"),
        Some(crc) => Identity::Other(format!(
            "its CRC-32 is {crc:08x}, the kernel's .gnu_debuglink says {:08x}",
            link.crc
        )),
        None => Identity::Unknown("its checksum could not be computed".into()),
    }
}

/// Addresses of the same names: one that is elsewhere is enough, and so is
/// that there are none.
fn symbols_differ(kernel: &Kernel, debug: &Kernel) -> Option<String> {
    let mut ours: HashMap<&[u8], Vec<u64>> = HashMap::new();
    let step = kernel.symbol_count().div_ceil(MAX_SYMBOLS).max(1);
    for (name, _) in kernel.symbols().step_by(step) {
        if name.len() <= MAX_NAME {
            ours.entry(name).or_default();
        }
    }
    for name in ["version", "allproc", "thread0_st"] {
        ours.entry(name.as_bytes()).or_default();
    }
    // Functions that are local to a file may have the same name.
    let mut theirs = ours.clone();
    for (file, found) in [(kernel, &mut ours), (debug, &mut theirs)] {
        for (name, symbol) in file.symbols() {
            if let Some(all) = found.get_mut(name)
                && all.len() < MAX_SYMBOLS
            {
                all.push(symbol.address.0);
            }
        }
    }
    let common = ours.iter().any(|(name, ours)| {
        let theirs = theirs.get(name).is_some_and(|all| !all.is_empty());
        !ours.is_empty() && theirs
    });
    if !common && kernel.symbol_count() > 0 {
        return Some("it has none of the kernel's symbols".into());
    }
    ours.iter().find_map(|(name, ours)| {
        let theirs = theirs.get(name).filter(|all| !all.is_empty())?;
        let elsewhere = !ours.iter().any(|at| theirs.contains(at));
        let (&expected, &found) = (ours.first()?, theirs.first()?);
        let name = String::from_utf8_lossy(name);
        elsewhere.then(|| {
            format!("it has {name} at {found:#x}, the kernel at {expected:#x}")
        })
    })
}
