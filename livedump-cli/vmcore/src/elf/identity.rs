// SPDX-License-Identifier: BSD-2-Clause
//! Which build a kernel is of: its build-id, the checksum that names its debug
//! file, and what of it is never written to.

use super::{Kernel, text_at};
use crate::source::Source;
use memdev::addr::Vaddr;
use object::elf::{
    SHF_ALLOC, SHF_COMPRESSED, SHF_EXECINSTR, SHF_WRITE, SHT_NOBITS, SHT_NOTE,
};

/// Of a note section.
const MAX_NOTES: u64 = 4096;
/// Of .gnu_debuglink: a file name and four bytes.
const MAX_LINK: u64 = 4096;
/// A file whose checksum takes longer to compute is not checked.
const MAX_CHECKSUM: u64 = 1 << 30;
/// C: `NT_GNU_BUILD_ID`.
const NT_GNU_BUILD_ID: u32 = 3;

/// A build-id, and where the running kernel has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildId {
    /// Of the note's first byte; 0 where it is not loaded.
    pub address: Vaddr,
    /// The whole note section, with the note's header.
    pub note: Vec<u8>,
    /// The id.
    pub id: Vec<u8>,
}

impl std::fmt::Display for BuildId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.id.iter().take(32).try_for_each(|b| write!(f, "{b:02x}"))
    }
}

/// What .gnu_debuglink says: the name of the debug file, and its CRC-32.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DebugLink {
    /// A file name without a directory.
    pub name: Vec<u8>,
    /// Of the whole file.
    pub crc: u32,
}

impl Kernel {
    /// The build-id, where the linker put one in.
    #[must_use]
    pub fn build_id(&self) -> Option<BuildId> {
        let mut notes = self
            .sections
            .iter()
            .filter(|s| s.kind == SHT_NOTE && s.size <= MAX_NOTES)
            .take(16);
        notes.find_map(|s| {
            let mut note = vec![0; s.size as usize];
            let got = self.file.read_at(s.offset, &mut note).ok()?;
            note.truncate(got);
            let id = build_id_in(&note)?.to_vec();
            let loaded = s.flags & u64::from(SHF_ALLOC) != 0;
            let address = Vaddr(if loaded { s.address } else { 0 });
            Some(BuildId { address, note, id })
        })
    }

    /// The debug file that it names, if it names one.
    #[must_use]
    pub fn debug_link(&self) -> Option<DebugLink> {
        let at = self.section(".gnu_debuglink")?;
        let mut raw = vec![0; at.size.min(MAX_LINK) as usize];
        let got = self.file.read_at(at.offset, &mut raw).ok()?;
        let raw = raw.get(..got)?;
        let name = raw.split(|&b| b == 0).next()?.to_vec();
        // The checksum is at the next multiple of four after the NUL.
        let crc = name.len().checked_add(1)?.checked_next_multiple_of(4)?;
        let crc = u32::from_le_bytes(*raw.get(crc..)?.first_chunk::<4>()?);
        (!name.is_empty()).then_some(DebugLink { name, crc })
    }

    /// The CRC-32 of the whole file, as .gnu_debuglink has it; `None` where
    /// it cannot be read or is too large.
    #[must_use]
    pub fn crc32(&self) -> Option<u32> {
        let len = self.file.known_len().filter(|&len| len <= MAX_CHECKSUM)?;
        let mut crc = flate2::Crc::new();
        let mut buf = vec![0; 256 << 10];
        let mut at = 0;
        while at < len {
            let got = self.file.read_at(at, &mut buf).ok()?;
            let part = buf.get(..got).filter(|part| !part.is_empty())?;
            crc.update(part);
            at = at.saturating_add(got as u64);
        }
        Some(crc.sum())
    }

    /// Addresses and sizes of sections that the running kernel never writes
    /// to and that nothing patches when it boots: .rodata, not code.
    pub fn read_only(&self) -> impl Iterator<Item = (Vaddr, u64)> {
        let excluded = u64::from(SHF_WRITE | SHF_EXECINSTR | SHF_COMPRESSED);
        self.sections
            .iter()
            .filter(move |s| {
                s.kind != SHT_NOBITS
                    && s.flags & u64::from(SHF_ALLOC) != 0
                    && s.flags & excluded == 0
                    && s.address != 0
                    && text_at(&self.section_names, s.name)
                        .starts_with(b".rodata")
            })
            .map(|s| (Vaddr(s.address), s.size))
    }
}

/// The id in a note section. C: `Elf_Note`.
fn build_id_in(notes: &[u8]) -> Option<&[u8]> {
    let word = |b: &[u8]| b.first_chunk::<4>().map(|b| u32::from_le_bytes(*b));
    let mut rest = notes;
    loop {
        let name_len = word(rest)? as usize;
        let id_len = word(rest.get(4..)?)? as usize;
        let kind = word(rest.get(8..)?)?;
        let name = rest.get(12..)?.get(..name_len)?;
        let after = name_len.checked_next_multiple_of(4)?.checked_add(12)?;
        let id = rest.get(after..)?.get(..id_len)?;
        if kind == NT_GNU_BUILD_ID && name == b"GNU\0" && !id.is_empty() {
            return Some(id);
        }
        let next = id_len.checked_next_multiple_of(4)?.checked_add(after)?;
        rest = rest.get(next..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_id_is_found_among_other_notes() {
        let note = |name: &[u8], kind: u32, id: &[u8]| {
            let mut n = Vec::new();
            n.extend((name.len() as u32).to_le_bytes());
            n.extend((id.len() as u32).to_le_bytes());
            n.extend(kind.to_le_bytes());
            n.extend(name);
            n.resize(n.len().next_multiple_of(4), 0);
            n.extend(id);
            n.resize(n.len().next_multiple_of(4), 0);
            n
        };
        let other = note(b"FreeBSD\0", 1, &[1, 2, 3]);
        let matching = note(b"GNU\0", 3, &[0xab; 20]);
        let all = [&other[..], &matching].concat();
        assert_eq!(build_id_in(&all), Some(&[0xab; 20][..]));
        assert_eq!(build_id_in(&other), None);
        assert_eq!(build_id_in(&all[..all.len() - 1]), None);
        assert_eq!(build_id_in(&[0xff; 64]), None);
        assert_eq!(build_id_in(&[]), None);
    }
}
