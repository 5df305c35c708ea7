// SPDX-License-Identifier: BSD-2-Clause
//! The two headers, version 6, as a 64-bit machine writes them.

use super::super::PAGE;
use super::{Codec, Facts, Places};
use memdev::arch::Machine;

const SIGNATURE: &[u8; 8] = b"KDUMP   ";
/// 64-bit page numbers.
const VERSION: u32 = 6;
pub(super) const SUB_HEADER: u64 = 104;
const UTSNAME: usize = 12;
const UTSNAME_FIELD: usize = 65;

fn put(out: &mut [u8], at: usize, bytes: &[u8]) {
    let end = at.saturating_add(bytes.len());
    if let Some(slot) = out.get_mut(at..end) {
        slot.copy_from_slice(bytes);
    }
}

fn word(out: &mut [u8], at: usize, value: u64) {
    let value = u32::try_from(value).unwrap_or(u32::MAX);
    put(out, at, &value.to_le_bytes());
}

/// C: `struct disk_dump_header`.
pub(super) fn header(facts: &Facts, codec: Codec, places: Places) -> Vec<u8> {
    let mut out = vec![0; PAGE as usize];
    put(&mut out, 0, SIGNATURE);
    word(&mut out, 8, VERSION.into());
    let machine = match facts.machine {
        Some(Machine::Amd64) => "x86_64",
        Some(Machine::Arm64) => "aarch64",
        None => "",
    };
    let names = ["FreeBSD", "", &facts.release, &facts.version, machine, ""];
    for (n, name) in names.iter().enumerate() {
        let bytes = name.as_bytes();
        let most = UTSNAME_FIELD.saturating_sub(1).min(bytes.len());
        let at = UTSNAME.saturating_add(n.saturating_mul(UTSNAME_FIELD));
        put(&mut out, at, bytes.get(..most).unwrap_or_default());
    }
    let bitmaps = places.bitmap_bytes.saturating_mul(2) / PAGE;
    for (at, value) in [
        (424, codec.flags().into()),
        (428, PAGE),
        (432, places.sub_blocks),
        (436, bitmaps),
        (440, places.max_mapnr),
        (460, 1),
    ] {
        word(&mut out, at, value);
    }
    out
}

/// C: `struct kdump_sub_header`, with the vmcoreinfo behind it.
pub(super) fn sub_header(facts: &Facts, places: Places) -> Vec<u8> {
    let mut out = vec![0; SUB_HEADER as usize];
    put(&mut out, 0, &facts.phys_base.unwrap_or(0).to_le_bytes());
    let info = facts.vmcoreinfo.len() as u64;
    let at = PAGE.saturating_add(SUB_HEADER);
    let at = if info > 0 { at } else { 0 };
    for (offset, value) in [(32, at), (40, info), (96, places.max_mapnr)] {
        put(&mut out, offset, &value.to_le_bytes());
    }
    out.extend(&facts.vmcoreinfo);
    out
}
