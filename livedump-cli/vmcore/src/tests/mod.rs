// SPDX-License-Identifier: BSD-2-Clause
//! The reader as a whole, on dumps made by hand and on real ones.

mod contents;
mod hostile;
mod instant;
mod real;
mod shapes;

use crate::elf::Kernel;
use crate::sample::{self, file, open};
use std::io::Write;

fn kernel(bytes: &[u8]) -> Kernel {
    Kernel::open(file(bytes).path()).unwrap()
}

fn gzip(data: &[u8], member: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for part in data.chunks(member) {
        let mut e = flate2::write::GzEncoder::new(
            &mut out,
            flate2::Compression::new(1),
        );
        e.write_all(part).unwrap();
        e.finish().unwrap();
    }
    out
}

fn zstd_frame(data: &[u8]) -> Vec<u8> {
    let mut e = zstd::stream::Encoder::new(Vec::new(), 1).unwrap();
    e.include_checksum(true).unwrap();
    e.write_all(data).unwrap();
    e.finish().unwrap()
}

/// Independent frames, with a seek table or without.
fn zstd(data: &[u8], frame: usize, table: bool) -> Vec<u8> {
    use memdev::seekable::{SeekEntry, encode_footer, encode_header};
    let mut out = Vec::new();
    let mut entries = Vec::new();
    for part in data.chunks(frame) {
        let f = zstd_frame(part);
        let entry = SeekEntry {
            compressed: f.len() as u32,
            decompressed: part.len() as u32,
        };
        entries.extend(entry.encode());
        out.extend(f);
    }
    if table {
        let n = entries.len() / 8;
        out.extend(encode_header(n as u64).unwrap());
        out.extend(entries);
        out.extend(encode_footer(n as u32));
    }
    out
}
