// SPDX-License-Identifier: BSD-2-Clause
//! Kdumps as makedumpfile(8) writes them, made by hand: headers, bitmaps,
//! descriptors, pages.

use crate::image::kdump::codec;
use memdev::addr::Page;
use std::collections::BTreeMap;
use std::io::Write;

pub const ZLIB: u32 = codec::ZLIB;
pub const LZO: u32 = codec::LZO;
pub const SNAPPY: u32 = codec::SNAPPY;
pub const ZSTD: u32 = codec::ZSTD;

/// What a file is to have, and how.
#[derive(Clone, Debug)]
pub struct Kdump {
    /// By number.
    pub pages: BTreeMap<u64, Page>,
    /// By page number, round.
    pub codecs: Vec<u32>,
    pub max_mapnr: u64,
    pub status: u32,
    /// The numbers of a part's pages.
    pub split: Option<(u64, u64)>,
    pub notes: Vec<u8>,
    pub vmcoreinfo: Vec<u8>,
    pub phys_base: u64,
    pub sysname: &'static str,
    pub machine: &'static str,
}

impl Kdump {
    /// Of an amd64 machine of FreeBSD's with these pages; the last that it
    /// could have is before `max_mapnr`.
    pub fn new(
        pages: BTreeMap<u64, Page>,
        max_mapnr: u64,
        codecs: &[u32],
    ) -> Self {
        Self {
            pages,
            codecs: codecs.to_vec(),
            max_mapnr,
            status: codecs.iter().fold(0, |all, c| all | c),
            split: None,
            notes: Vec::new(),
            vmcoreinfo: Vec::new(),
            phys_base: 0,
            sysname: "FreeBSD",
            machine: "x86_64",
        }
    }

    /// The file.
    pub fn bytes(&self) -> Vec<u8> {
        let text = self.notes.len() + self.vmcoreinfo.len() + 104;
        let sub_blocks = text.div_ceil(4096);
        let bitmap = self.max_mapnr.div_ceil(8).next_multiple_of(4096);
        let mut out = Vec::from(b"KDUMP   ");
        out.extend(6u32.to_le_bytes());
        out.resize(464, 0);
        out[12..12 + self.sysname.len()]
            .copy_from_slice(self.sysname.as_bytes());
        out[272..272 + self.machine.len()]
            .copy_from_slice(self.machine.as_bytes());
        let mut put = |at: usize, n: u32| {
            out[at..at + 4].copy_from_slice(&n.to_le_bytes());
        };
        put(424, self.status);
        put(428, 4096);
        put(432, sub_blocks as u32);
        put(436, (bitmap / 4096 * 2) as u32);
        put(440, self.max_mapnr as u32);
        out.resize(4096 + 104, 0);
        let vmcoreinfo = 4096 + 104;
        let notes = vmcoreinfo + self.vmcoreinfo.len() as u64;
        let split = self.split.unwrap_or((0, 0));
        for (at, n) in [
            (0, self.phys_base),
            (8, 1 | u64::from(self.split.is_some()) << 32),
            (16, split.0),
            (24, split.1),
            (32, vmcoreinfo),
            (40, self.vmcoreinfo.len() as u64),
            (48, notes),
            (56, self.notes.len() as u64),
            (80, split.0),
            (88, split.1),
            (96, self.max_mapnr),
        ] {
            out[4096 + at..4096 + at + 8].copy_from_slice(&n.to_le_bytes());
        }
        out.extend(&self.vmcoreinfo);
        out.extend(&self.notes);
        out.resize(4096 * (1 + sub_blocks), 0);
        let bits = out.len();
        out.resize(bits + 2 * bitmap as usize, 0);
        for &n in self.pages.keys() {
            for half in [0, bitmap] {
                out[bits + (half + n / 8) as usize] |= 1 << (n % 8);
            }
        }
        let (first, last) = self.split.unwrap_or((0, u64::MAX));
        let mine = self.pages.range(first..last);
        let mut at = (out.len() + 24 * mine.clone().count()) as u64;
        let mut data = Vec::new();
        for (&n, page) in mine {
            let codec = self.codecs[n as usize % self.codecs.len()];
            let stored = compress(codec, page);
            let (flags, stored) = match stored.len() < 4096 {
                true => (codec, stored),
                false => (0, page.to_vec()),
            };
            out.extend(at.to_le_bytes());
            out.extend((stored.len() as u32).to_le_bytes());
            out.extend(flags.to_le_bytes());
            out.extend(0u64.to_le_bytes());
            at += stored.len() as u64;
            data.extend(stored);
        }
        out.extend(data);
        out
    }
}

/// A page as it is stored.
pub fn compress(codec: u32, page: &[u8]) -> Vec<u8> {
    match codec {
        0 => page.to_vec(),
        ZLIB => {
            let level = flate2::Compression::new(1);
            let mut e = flate2::write::ZlibEncoder::new(Vec::new(), level);
            e.write_all(page).unwrap();
            e.finish().unwrap()
        }
        LZO => lzokay::compress::compress(page).unwrap(),
        SNAPPY => snap::raw::Encoder::new().compress_vec(page).unwrap(),
        ZSTD => zstd::bulk::compress(page, 1).unwrap(),
        _ => unreachable!(),
    }
}
