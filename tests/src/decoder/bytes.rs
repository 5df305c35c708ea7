// SPDX-License-Identifier: BSD-2-Clause
//! Integers and texts out of bytes, with the offset in the complaint.

use super::Wrong;

/// `N` bytes at `at`.
///
/// # Errors
/// When they lie outside.
pub fn bytes<const N: usize>(b: &[u8], at: usize) -> Result<[u8; N], Wrong> {
    at.checked_add(N)
        .and_then(|end| b.get(at..end))
        .and_then(|s| s.try_into().ok())
        .ok_or_else(|| format!("{N} bytes at {at:#x} of {:#x}", b.len()))
}

/// A little-endian 32-bit integer.
///
/// # Errors
/// When it lies outside.
pub fn le32(b: &[u8], at: usize) -> Result<u32, Wrong> {
    Ok(u32::from_le_bytes(bytes(b, at)?))
}

/// A little-endian 64-bit integer.
///
/// # Errors
/// When it lies outside.
pub fn le64(b: &[u8], at: usize) -> Result<u64, Wrong> {
    Ok(u64::from_le_bytes(bytes(b, at)?))
}

/// A big-endian 32-bit integer.
///
/// # Errors
/// When it lies outside.
pub fn be32(b: &[u8], at: usize) -> Result<u32, Wrong> {
    Ok(u32::from_be_bytes(bytes(b, at)?))
}

/// A big-endian 64-bit integer.
///
/// # Errors
/// When it lies outside.
pub fn be64(b: &[u8], at: usize) -> Result<u64, Wrong> {
    Ok(u64::from_be_bytes(bytes(b, at)?))
}

/// A text in a field of `len` bytes, which must be NUL to its end after the
/// text.
///
/// # Errors
/// When it lies outside, is not terminated, or has bytes after its NUL.
pub fn text(b: &[u8], at: usize, len: usize) -> Result<String, Wrong> {
    let field = at.checked_add(len).and_then(|end| b.get(at..end));
    let field = field.ok_or_else(|| format!("text at {at:#x}"))?;
    let nul = field.iter().position(|&c| c == 0);
    let nul = nul.ok_or_else(|| format!("text at {at:#x} has no NUL"))?;
    zero(field, nul, len).map_err(|e| format!("text at {at:#x}: {e}"))?;
    Ok(String::from_utf8_lossy(&field[..nul]).into_owned())
}

/// That everything in `from..to` is zero.
///
/// # Errors
/// Where it is not, or when it lies outside.
pub fn zero(b: &[u8], from: usize, to: usize) -> Result<(), Wrong> {
    let b = b.get(from..to).ok_or_else(|| format!("{from:#x}..{to:#x}"))?;
    match b.iter().position(|&x| x != 0) {
        None => Ok(()),
        Some(i) => Err(format!("{:#x} at {:#x}, not zero", b[i], from + i)),
    }
}
