// SPDX-License-Identifier: BSD-2-Clause
//! How a dump is packed: not at all, gzip members, or zstd frames with a seek
//! table in a skippable frame at the end.

use super::Wrong;
use super::bytes::le32;
use std::io::Read;

/// A packed dump may not unpack to more than this here.
const LIMIT: u64 = 8 << 30;

/// What a file begins like: 0 plain, 1 gzip, 2 zstd.
#[must_use]
pub fn kind(file: &[u8]) -> u8 {
    match file {
        [0x1f, 0x8b, ..] => 1,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => 2,
        _ => 0,
    }
}

/// The plain data.
///
/// # Errors
/// What is wrong with the packing.
pub fn unpack(packed: &[u8], compression: u8) -> Result<Vec<u8>, Wrong> {
    if kind(packed) != compression {
        return Err(format!(
            "compression {compression}, but it begins {:02x?}",
            &packed[..packed.len().min(4)]
        ));
    }
    match compression {
        0 => Ok(packed.to_vec()),
        1 => read_all(flate2::read::MultiGzDecoder::new(packed)),
        _ => zstd_frames(packed),
    }
}

fn read_all(from: impl Read) -> Result<Vec<u8>, Wrong> {
    let mut plain = Vec::new();
    let n = from.take(LIMIT).read_to_end(&mut plain);
    match n {
        Ok(n) if n as u64 == LIMIT => Err("unpacks to too much".into()),
        Ok(_) => Ok(plain),
        Err(e) => Err(format!("unpacking: {e}")),
    }
}

/// Frame by frame as the seek table says, each on its own; and the same as
/// what a decoder that knows no seek table makes of the stream.
fn zstd_frames(packed: &[u8]) -> Result<Vec<u8>, Wrong> {
    let mut plain = Vec::new();
    let mut at = 0;
    for (n, (short, long)) in seek_table(packed)?.into_iter().enumerate() {
        let frame = packed.get(at..at + short);
        let frame = frame.ok_or_else(|| format!("frame {n} at {at:#x}"))?;
        // Frame header descriptor: bit 2 is the content checksum.
        if kind(frame) != 2 || frame.get(4).is_none_or(|d| d & 4 == 0) {
            return Err(format!("frame {n} has no checksum"));
        }
        let part = read_all(
            zstd::stream::read::Decoder::with_buffer(frame)
                .map_err(|e| e.to_string())?
                .single_frame(),
        )?;
        if part.len() != long {
            return Err(format!(
                "frame {n} unpacks to {}, the table says {long}",
                part.len()
            ));
        }
        plain.extend_from_slice(&part);
        at += short;
    }
    let whole = read_all(
        zstd::stream::read::Decoder::with_buffer(packed)
            .map_err(|e| e.to_string())?,
    )?;
    if whole != plain {
        return Err("the stream is not the sum of its frames".into());
    }
    Ok(plain)
}

/// Packed and plain size of each frame.
///
/// # Errors
/// When there is no seek table, or one that does not fit.
pub fn seek_table(packed: &[u8]) -> Result<Vec<(usize, usize)>, Wrong> {
    let end = packed.len();
    let footer = end.checked_sub(9).ok_or("no room for a seek table")?;
    if le32(packed, footer + 5)? != 0x8f92_eab1 {
        return Err("no seek table at the end".into());
    }
    if packed[footer + 4] != 0 {
        return Err(format!("seek table kind {:#x}", packed[footer + 4]));
    }
    let frames = le32(packed, footer)? as usize;
    let start = end.checked_sub(8 + 8 * frames + 9);
    let start = start.ok_or_else(|| format!("{frames} frames"))?;
    if le32(packed, start)? != 0x184d_2a5e
        || le32(packed, start + 4)? as usize != 8 * frames + 9
    {
        return Err("the seek table is not a skippable frame".into());
    }
    let entries: Result<Vec<_>, Wrong> = (0..frames)
        .map(|i| start + 8 + 8 * i)
        .map(|at| {
            let short = le32(packed, at)? as usize;
            Ok((short, le32(packed, at + 4)? as usize))
        })
        .collect();
    let entries = entries?;
    let sum: usize = entries.iter().map(|e| e.0).sum();
    if sum != start {
        return Err(format!("frames of {sum} bytes before {start:#x}"));
    }
    Ok(entries)
}
