// SPDX-License-Identifier: BSD-2-Clause
//! The kernel dump header after a live dump: 512 bytes, big-endian, parity
//! over all of it.

use super::Wrong;
use super::bytes::{be32, be64, text, zero};

const SIZE: usize = 512;
const PAGE: usize = 4096;

/// What a header of version 4 says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trailer {
    /// MACHINE_ARCH.
    pub architecture: String,
    /// Of the header's machine part.
    pub architecture_version: u32,
    /// Bytes of data in the file.
    pub dumplength: u64,
    /// Bytes of data when unpacked.
    pub dumpextent: u64,
    /// Unix seconds.
    pub dumptime: u64,
    /// Block size of the dumper.
    pub blocksize: u32,
    /// Host name.
    pub hostname: String,
    /// The kernel's version.
    pub versionstring: String,
    /// Empty: nothing panicked.
    pub panicstring: String,
    /// 0 none, 1 gzip, 2 zstd.
    pub compression: u8,
}

/// Decodes a header.
///
/// # Errors
/// The first field that is wrong.
pub fn decode(b: &[u8]) -> Result<Trailer, Wrong> {
    if b.len() != SIZE {
        return Err(format!("a header of {} bytes", b.len()));
    }
    for column in 0..4 {
        let sum = b.iter().skip(column).step_by(4).fold(0, |a, x| a ^ x);
        if sum != 0 {
            return Err(format!("parity: byte {column} sums to {sum:#x}"));
        }
    }
    let magic = text(b, 0, 20)?;
    if magic != "FreeBSD Kernel Dump" {
        return Err(format!("magic {magic:?}"));
    }
    let version = be32(b, 32)?;
    if version != 4 {
        return Err(format!("header version {version}"));
    }
    if be32(b, 56)? != 0 {
        return Err("a key block, in a live dump".into());
    }
    zero(b, 504, 508)?;
    Ok(Trailer {
        architecture: text(b, 20, 12)?,
        architecture_version: be32(b, 36)?,
        dumplength: be64(b, 40)?,
        dumptime: be64(b, 48)?,
        blocksize: be32(b, 60)?,
        hostname: text(b, 64, 64)?,
        versionstring: text(b, 128, 192)?,
        panicstring: text(b, 320, 175)?,
        compression: b[495],
        dumpextent: be64(b, 496)?,
    })
}

/// Splits a raw file into its header and its data; what lies between must be
/// zero, and the file must be exactly as long as it has to be.
///
/// # Errors
/// What is wrong.
pub fn split(file: &[u8]) -> Result<(Trailer, &[u8]), Wrong> {
    let at = file.len().checked_sub(SIZE).ok_or("shorter than a header")?;
    let trailer = decode(&file[at..])?;
    let length = usize::try_from(trailer.dumplength)
        .map_err(|_| format!("dumplength {}", trailer.dumplength))?;
    if length.checked_next_multiple_of(PAGE) != Some(at) {
        return Err(format!(
            "dumplength {length} in a file with {at} bytes before its header"
        ));
    }
    zero(file, length, at).map_err(|e| format!("before the header: {e}"))?;
    if trailer.blocksize != 4096 || trailer.compression > 2 {
        return Err(format!(
            "blocksize {}, compression {}",
            trailer.blocksize, trailer.compression
        ));
    }
    if !trailer.panicstring.is_empty() {
        return Err(format!("a panic: {:?}", trailer.panicstring));
    }
    Ok((trailer, &file[..length]))
}
