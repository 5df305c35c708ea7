// SPDX-License-Identifier: BSD-2-Clause
//! The kernel dump header: 512 bytes, integers big-endian.
//! C: `struct kerneldumpheader`, <sys/kerneldump.h>.

use crate::bytes::{cstr, get, put, put_cstr};

/// Bytes of a kernel dump header, on every version.
pub const HEADER_SIZE: usize = 512;
/// The version written, and the newest one read. C: `KERNELDUMPVERSION`.
pub const VERSION: u32 = 4;
/// C: `KERNELDUMPMAGIC`.
pub const MAGIC_KERNEL: &[u8] = b"FreeBSD Kernel Dump";
/// C: `TEXTDUMPMAGIC`.
pub const MAGIC_TEXT: &[u8] = b"FreeBSD Text Dump";
/// C: `KERNELDUMPMAGIC_CLEARED`.
pub const MAGIC_CLEARED: &[u8] = b"Cleared Kernel Dump";

const PARITY: usize = 508;
const VERSIONSTRING_LEN: usize = 192;

/// What a dump is compressed with. C: `KERNELDUMP_COMP_*`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Compression {
    /// As it is.
    #[default]
    None = 0,
    /// gzip members.
    Gzip = 1,
    /// Zstandard frames.
    Zstd = 2,
}

impl Compression {
    /// The codec a number stands for.
    #[must_use]
    pub fn from_u8(n: u8) -> Option<Self> {
        match n {
            0 => Some(Self::None),
            1 => Some(Self::Gzip),
            2 => Some(Self::Zstd),
            _ => None,
        }
    }

    /// The name info.N uses.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }

    /// The suffix of a file so compressed, with its dot.
    #[must_use]
    pub fn suffix(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Gzip => ".gz",
            Self::Zstd => ".zst",
        }
    }
}

/// What a header heads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Magic {
    /// A kernel dump.
    Kernel,
    /// A textdump(4).
    Text,
    /// One that savecore(8) has saved already.
    Cleared,
}

impl Magic {
    /// The text in the header.
    #[must_use]
    pub fn text(self) -> &'static [u8] {
        match self {
            Self::Kernel => MAGIC_KERNEL,
            Self::Text => MAGIC_TEXT,
            Self::Cleared => MAGIC_CLEARED,
        }
    }
}

/// Why 512 bytes are not a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderError {
    /// The first 20 bytes are none of the three magics.
    Magic,
    /// A version that no release wrote, or a newer one.
    Version(u32),
    /// A compression byte that has no meaning.
    Compression(u8),
}

impl core::fmt::Display for HeaderError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Magic => {
                f.write_str("no kernel dump header (magic at offset 0)")
            }
            Self::Version(v) => write!(
                f,
                "kernel dump header version {v} at offset 32, \
                 expected 1, 2 or 4"
            ),
            Self::Compression(c) => {
                write!(f, "unknown compression {c} at offset 495")
            }
        }
    }
}

impl core::error::Error for HeaderError {}

/// C: `struct kerneldumpheader`. Text fields end at their first NUL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[doc(alias = "kerneldumpheader")]
pub struct KernelDumpHeader<'a> {
    /// What it heads.
    pub magic: Magic,
    /// `MACHINE_ARCH`: amd64, aarch64.
    pub architecture: &'a [u8],
    /// Header version: 1, 2 or 4.
    pub version: u32,
    /// Of the dump header's machine part: 2 on amd64, 1 on arm64.
    pub architecture_version: u32,
    /// Bytes of dump data.
    pub dumplength: u64,
    /// Unix seconds.
    pub dumptime: u64,
    /// Bytes of the key block; 0 when not encrypted.
    pub dumpkeysize: u32,
    /// Block size of the dumper.
    pub blocksize: u32,
    /// Host name of prison0.
    pub hostname: &'a [u8],
    /// The kernel's `version`.
    pub versionstring: &'a [u8],
    /// `panicstr`; empty in a live dump.
    pub panicstring: &'a [u8],
    /// None before version 4.
    pub compression: Compression,
    /// Bytes of data before compression; dumplength before version 4.
    pub dumpextent: u64,
}

/// XOR of the 128 words of a header; 0 in one that is whole. In memory order,
/// so that it is the same on machines of either byte order.
#[must_use]
pub fn parity(b: &[u8; HEADER_SIZE]) -> [u8; 4] {
    let mut p = [0u8; 4];
    for (i, byte) in b.iter().enumerate() {
        p[i % 4] ^= byte;
    }
    p
}

/// The parity field of a header as savecore(8) shows it in info.N: the one
/// field that is in the byte order of the machine, little-endian on all here.
#[must_use]
pub fn parity_field(b: &[u8; HEADER_SIZE]) -> u32 {
    u32::from_le_bytes(get(b, PARITY))
}

/// Whether parity holds.
#[must_use]
pub fn parity_ok(b: &[u8; HEADER_SIZE]) -> bool {
    parity(b) == [0; 4]
}

fn seal(b: &mut [u8; HEADER_SIZE]) {
    put(b, PARITY, &[0; 4]);
    let p = parity(b);
    put(b, PARITY, &p);
}

/// Marks a header as saved, as savecore(8) does when it clears a dump.
pub fn clear(b: &mut [u8; HEADER_SIZE]) {
    put(b, 0, &[0; 20]);
    put(b, 0, MAGIC_CLEARED);
    seal(b);
}

impl<'a> KernelDumpHeader<'a> {
    /// Reads any version. Parity is a matter of its own ([`parity_ok`]): a
    /// tool may be asked to continue without it.
    ///
    /// # Errors
    /// What is not as <sys/kerneldump.h> has it.
    pub fn decode(b: &'a [u8; HEADER_SIZE]) -> Result<Self, HeaderError> {
        let magic = match cstr(&b[..20]) {
            MAGIC_KERNEL => Magic::Kernel,
            MAGIC_TEXT => Magic::Text,
            MAGIC_CLEARED => Magic::Cleared,
            _ => return Err(HeaderError::Magic),
        };
        let be32 = |at| u32::from_be_bytes(get(b, at));
        let be64 = |at| u64::from_be_bytes(get(b, at));
        let version = be32(32);
        // Version 2 put dumpkeysize before blocksize and moved the rest by
        // four bytes; 4 took the end of panicstring for its two new fields.
        let (dumpkeysize, at) = match version {
            1 => (0, 56),
            2 | 4 => (be32(56), 60),
            v => return Err(HeaderError::Version(v)),
        };
        let panic_end = if version == 4 { 495 } else { PARITY };
        let compression = match version {
            4 => Compression::from_u8(b[495])
                .ok_or(HeaderError::Compression(b[495]))?,
            _ => Compression::None,
        };
        let dumplength = be64(40);
        Ok(Self {
            magic,
            architecture: cstr(&b[20..32]),
            version,
            architecture_version: be32(36),
            dumplength,
            dumptime: be64(48),
            dumpkeysize,
            blocksize: be32(at),
            hostname: cstr(&b[at + 4..at + 68]),
            versionstring: cstr(&b[at + 68..at + 260]),
            panicstring: cstr(&b[at + 260..panic_end]),
            compression,
            dumpextent: if version == 4 { be64(496) } else { dumplength },
        })
    }

    /// Writes version 4, regardless of `version`. A version string that does
    /// not fit ends in a newline, as the kernel's does.
    /// C: `dump_init_header`.
    pub fn encode(&self, b: &mut [u8; HEADER_SIZE]) {
        b.fill(0);
        put(b, 0, self.magic.text());
        put_cstr(b, 20, 12, self.architecture);
        put(b, 32, &VERSION.to_be_bytes());
        put(b, 36, &self.architecture_version.to_be_bytes());
        put(b, 40, &self.dumplength.to_be_bytes());
        put(b, 48, &self.dumptime.to_be_bytes());
        put(b, 56, &self.dumpkeysize.to_be_bytes());
        put(b, 60, &self.blocksize.to_be_bytes());
        put_cstr(b, 64, 64, self.hostname);
        put_cstr(b, 128, VERSIONSTRING_LEN, self.versionstring);
        if cstr(self.versionstring).len() >= VERSIONSTRING_LEN {
            b[128 + VERSIONSTRING_LEN - 2] = b'\n';
        }
        put_cstr(b, 320, 175, self.panicstring);
        b[495] = self.compression as u8;
        put(b, 496, &self.dumpextent.to_be_bytes());
        seal(b);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> KernelDumpHeader<'static> {
        KernelDumpHeader {
            magic: Magic::Kernel,
            architecture: b"amd64",
            version: 4,
            architecture_version: 2,
            dumplength: 0x0102_0304_0506_0708,
            dumptime: 0x6655_4433,
            dumpkeysize: 0,
            blocksize: 4096,
            hostname: b"host.example",
            versionstring: b"FreeBSD 15.1\n",
            panicstring: b"",
            compression: Compression::Zstd,
            dumpextent: 0x1122,
        }
    }

    #[test]
    fn version_4_has_its_fields_at_the_documented_offsets() {
        let mut b = [0xff; HEADER_SIZE];
        sample().encode(&mut b);
        assert_eq!(&b[..20], b"FreeBSD Kernel Dump\0");
        assert_eq!(&b[20..32], b"amd64\0\0\0\0\0\0\0");
        assert_eq!(b[32..40], [0, 0, 0, 4, 0, 0, 0, 2]);
        assert_eq!(b[40..48], [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(b[48..56], [0, 0, 0, 0, 0x66, 0x55, 0x44, 0x33]);
        assert_eq!(b[56..64], [0, 0, 0, 0, 0, 0, 0x10, 0]);
        assert_eq!(&b[64..77], b"host.example\0");
        assert_eq!(&b[128..142], b"FreeBSD 15.1\n\0");
        assert_eq!(b[495], 2);
        assert_eq!(b[496..504], [0, 0, 0, 0, 0, 0, 0x11, 0x22]);
        assert!(parity_ok(&b));
        assert_eq!(KernelDumpHeader::decode(&b), Ok(sample()));
    }

    #[test]
    fn any_flipped_bit_breaks_parity() {
        let mut b = [0; HEADER_SIZE];
        sample().encode(&mut b);
        for at in 0..HEADER_SIZE {
            b[at] ^= 0x10;
            assert!(!parity_ok(&b), "byte {at}");
            b[at] ^= 0x10;
        }
    }

    #[test]
    fn a_long_version_string_ends_in_a_newline() {
        let mut b = [0; HEADER_SIZE];
        let long = [b'v'; 300];
        KernelDumpHeader { versionstring: &long, ..sample() }.encode(&mut b);
        assert_eq!(b[128 + 189], b'v');
        assert_eq!(b[128 + 190], b'\n');
        assert_eq!(b[128 + 191], 0);
        assert_eq!(b[320], 0);
    }

    #[test]
    fn versions_1_and_2_are_read_at_their_own_offsets() {
        let mut b = [0; HEADER_SIZE];
        put(&mut b, 0, MAGIC_KERNEL);
        put(&mut b, 20, b"i386");
        b[35] = 1;
        put(&mut b, 40, &77u64.to_be_bytes());
        put(&mut b, 56, &512u32.to_be_bytes());
        put(&mut b, 60, b"old");
        put(&mut b, 124, b"FreeBSD 9\n");
        put(&mut b, 316, b"page fault");
        let h = KernelDumpHeader::decode(&b).unwrap();
        assert_eq!((h.version, h.blocksize, h.dumpextent), (1, 512, 77));
        assert_eq!(
            (h.hostname, h.panicstring),
            (&b"old"[..], &b"page fault"[..])
        );
        assert_eq!(h.versionstring, b"FreeBSD 9\n");

        b[35] = 2;
        put(&mut b, 56, &64u32.to_be_bytes());
        put(&mut b, 60, &1024u32.to_be_bytes());
        put(&mut b, 64, b"two\0");
        let h = KernelDumpHeader::decode(&b).unwrap();
        assert_eq!((h.dumpkeysize, h.blocksize), (64, 1024));
        assert_eq!(h.hostname, b"two");
    }

    #[test]
    fn what_is_not_a_header_is_named() {
        let mut b = [0; HEADER_SIZE];
        assert_eq!(KernelDumpHeader::decode(&b), Err(HeaderError::Magic));
        sample().encode(&mut b);
        b[35] = 3;
        assert_eq!(KernelDumpHeader::decode(&b), Err(HeaderError::Version(3)));
        b[35] = 4;
        b[495] = 9;
        assert_eq!(
            KernelDumpHeader::decode(&b),
            Err(HeaderError::Compression(9))
        );
    }

    #[test]
    fn a_cleared_header_is_still_whole() {
        let mut b = [0; HEADER_SIZE];
        sample().encode(&mut b);
        clear(&mut b);
        assert!(parity_ok(&b));
        assert_eq!(KernelDumpHeader::decode(&b).unwrap().magic, Magic::Cleared);
    }
}
