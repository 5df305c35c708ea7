// SPDX-License-Identifier: BSD-2-Clause
//! An ELF file with more sections than it had, or others.

/// A section to add. One of the same name is replaced.
#[derive(Clone, Debug)]
pub struct Section<'a> {
    /// Its name.
    pub name: &'a str,
    /// C: `sh_type`.
    pub kind: u32,
    /// C: `sh_flags`.
    pub flags: u64,
    /// C: `sh_addr`.
    pub address: u64,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

impl<'a> Section<'a> {
    /// One that is not loaded.
    #[must_use]
    pub fn new(name: &'a str, bytes: Vec<u8>) -> Self {
        Self { name, kind: 1, flags: 0, address: 0, bytes }
    }

    /// One that is compressed by zlib, and claims so many bytes.
    #[must_use]
    pub fn zlib(name: &'a str, claims: u64, packed: &[u8]) -> Self {
        let mut bytes = Vec::new();
        bytes.extend(1u32.to_le_bytes());
        bytes.extend(0u32.to_le_bytes());
        bytes.extend(claims.to_le_bytes());
        bytes.extend(1u64.to_le_bytes());
        bytes.extend(packed);
        Self { flags: 0x800, ..Self::new(name, bytes) }
    }
}

/// A build-id note, as the linker writes it.
#[must_use]
pub fn build_id(id: &[u8]) -> Vec<u8> {
    let mut note = Vec::new();
    note.extend(4u32.to_le_bytes());
    note.extend((id.len() as u32).to_le_bytes());
    note.extend(3u32.to_le_bytes());
    note.extend(b"GNU\0");
    note.extend(id);
    note
}

/// What .gnu_debuglink has.
#[must_use]
pub fn debug_link(name: &str, crc: u32) -> Vec<u8> {
    let mut link = name.as_bytes().to_vec();
    link.push(0);
    link.resize(link.len().next_multiple_of(4), 0);
    link.extend(crc.to_le_bytes());
    link
}

/// `elf` with these sections.
///
/// # Panics
/// It is not a 64-bit ELF file with section headers.
#[must_use]
pub fn with_sections(elf: &[u8], add: &[Section<'_>]) -> Vec<u8> {
    let half = |b: &[u8], at: usize| {
        usize::from(u16::from_le_bytes(b[at..at + 2].try_into().unwrap()))
    };
    let long = |b: &[u8], at: usize| {
        u64::from_le_bytes(b[at..at + 8].try_into().unwrap())
    };
    let (table, count, names) =
        (long(elf, 40) as usize, half(elf, 60), half(elf, 62));
    let mut headers: Vec<[u8; 64]> = (0..count)
        .map(|i| elf[table + 64 * i..][..64].try_into().unwrap())
        .collect();
    let (at, len) = (long(&headers[names], 24), long(&headers[names], 32));
    let mut strings = elf[at as usize..][..len as usize].to_vec();
    let mut out = elf.to_vec();
    for s in add {
        out.resize(out.len().next_multiple_of(8), 0);
        let offset = out.len() as u64;
        out.extend(&s.bytes);
        let found = headers.iter().position(|h| {
            let at = u32::from_le_bytes(h[..4].try_into().unwrap()) as usize;
            let name = strings[at..].split(|&b| b == 0).next();
            name == Some(s.name.as_bytes())
        });
        let i = found.unwrap_or_else(|| {
            let mut header = [0; 64];
            header[..4].copy_from_slice(&(strings.len() as u32).to_le_bytes());
            strings.extend(s.name.as_bytes());
            strings.push(0);
            headers.push(header);
            headers.len() - 1
        });
        let h = &mut headers[i];
        h[4..8].copy_from_slice(&s.kind.to_le_bytes());
        h[8..16].copy_from_slice(&s.flags.to_le_bytes());
        h[16..24].copy_from_slice(&s.address.to_le_bytes());
        h[24..32].copy_from_slice(&offset.to_le_bytes());
        h[32..40].copy_from_slice(&(s.bytes.len() as u64).to_le_bytes());
    }
    let offset = out.len() as u64;
    out.extend(&strings);
    headers[names][24..32].copy_from_slice(&offset.to_le_bytes());
    headers[names][32..40]
        .copy_from_slice(&(strings.len() as u64).to_le_bytes());
    out.resize(out.len().next_multiple_of(8), 0);
    let table = out.len() as u64;
    headers.iter().for_each(|h| out.extend(h));
    out[40..48].copy_from_slice(&table.to_le_bytes());
    out[60..62].copy_from_slice(&(headers.len() as u16).to_le_bytes());
    out
}
