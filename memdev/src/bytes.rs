// SPDX-License-Identifier: BSD-2-Clause
//! Fixed-offset fields of a byte array. The offsets are constants of a format
//! and the array has that format's size, so nothing here can be out of range
//! for a caller that is right; a caller that is wrong reads zero.

pub(crate) fn get<const N: usize>(b: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    if let Some(src) = b.get(at..).and_then(|t| t.get(..N)) {
        out.copy_from_slice(src);
    }
    out
}

pub(crate) fn put(b: &mut [u8], at: usize, value: &[u8]) {
    if let Some(dst) = b.get_mut(at..).and_then(|t| t.get_mut(..value.len())) {
        dst.copy_from_slice(value);
    }
}

/// What is before the first NUL.
pub(crate) fn cstr(b: &[u8]) -> &[u8] {
    let end = b.iter().position(|&c| c == 0).unwrap_or(b.len());
    b.get(..end).unwrap_or(b)
}

/// strlcpy(3) into a zeroed field: at most `len - 1` bytes of `s`, up to its
/// first NUL.
pub(crate) fn put_cstr(b: &mut [u8], at: usize, len: usize, s: &[u8]) {
    let s = cstr(s);
    let n = s.len().min(len.saturating_sub(1));
    put(b, at, s.get(..n).unwrap_or(s));
}

/// FNV-1a, 32 bits: against accidents.
pub(crate) fn checksum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |sum, &b| {
        (sum ^ u32::from(b)).wrapping_mul(0x0100_0193)
    })
}
