// SPDX-License-Identifier: BSD-2-Clause
//! The image as an ELF core file, which is what makedumpfile reads: one
//! segment of physical memory and an empty note. It has no VMCOREINFO, as the
//! memory is no Linux kernel's; at dump levels 0 and 1 (drop zero pages)
//! makedumpfile wants none.

use crate::Result;
use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;

const HEADER: u64 = 64;
const SEGMENT: u16 = 56;
const DATA: u64 = 4096;
const PT_LOAD: u32 = 1;
const PT_NOTE: u32 = 4;
const ET_CORE: u16 = 4;
const EM_X86_64: u16 = 62;
/// Where Linux maps physical memory.
const PAGE_OFFSET: u64 = 0xffff_8880_0000_0000;

/// Writes `image` as a core file to `path`.
pub fn write(image: &Path, path: &Path) -> Result<()> {
    let mut memory = File::open(image)?;
    let bytes = memory.metadata()?.len();
    let mut out = File::create(path)?;
    out.write_all(&header(bytes))?;
    out.seek(SeekFrom::Start(DATA))?;
    io::copy(&mut memory, &mut out)?;
    Ok(())
}

fn header(bytes: u64) -> Vec<u8> {
    let mut b = b"\x7fELF\x02\x01\x01".to_vec();
    b.resize(16, 0);
    b.extend(ET_CORE.to_le_bytes());
    b.extend(EM_X86_64.to_le_bytes());
    b.extend(1u32.to_le_bytes());
    for at in [0, HEADER, 0] {
        b.extend(u64::to_le_bytes(at));
    }
    b.extend(0u32.to_le_bytes());
    for n in [HEADER as u16, SEGMENT, 2, 0, 0, 0] {
        b.extend(n.to_le_bytes());
    }
    let note = HEADER + 2 * u64::from(SEGMENT);
    segment(&mut b, PT_NOTE, note, [0, 0], NOTE.len() as u64);
    segment(&mut b, PT_LOAD, DATA, [PAGE_OFFSET, 0], bytes);
    b.extend(NOTE);
    b
}

/// No name, nothing in it, type 0.
const NOTE: [u8; 12] = [0; 12];

fn segment(b: &mut Vec<u8>, kind: u32, at: u64, address: [u64; 2], size: u64) {
    const READ_WRITE: u32 = 6;
    b.extend(kind.to_le_bytes());
    b.extend(READ_WRITE.to_le_bytes());
    for n in [at, address[0], address[1], size, size, 0] {
        b.extend(n.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_ends_with_its_note() {
        let b = header(1 << 30);
        assert_eq!(b.len(), 64 + 2 * 56 + 12);
        assert_eq!(b[64 + 56..64 + 60], PT_LOAD.to_le_bytes());
    }
}
