// SPDX-License-Identifier: BSD-2-Clause
//! Little-endian numbers in a header; 0 where the header ends before.

fn at<const N: usize>(header: &[u8], offset: usize) -> [u8; N] {
    let rest = header.get(offset..).unwrap_or_default();
    rest.first_chunk().copied().unwrap_or([0; N])
}

pub(super) fn u16(header: &[u8], offset: usize) -> u16 {
    u16::from_le_bytes(at(header, offset))
}

pub(super) fn u32(header: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes(at(header, offset))
}

pub(super) fn u64(header: &[u8], offset: usize) -> u64 {
    u64::from_le_bytes(at(header, offset))
}
