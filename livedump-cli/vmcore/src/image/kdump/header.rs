// SPDX-License-Identifier: BSD-2-Clause
//! The two headers, as a 64-bit little-endian machine writes them.
//! C: `struct disk_dump_header`, `struct kdump_sub_header` (makedumpfile's
//! diskdump_mod.h; QEMU's include/sysemu/dump.h has the same).

use super::super::joined::{PART, Part};
use super::super::notes::{Notes, number, system};
use super::super::{Checksums, Claims, ImageError, fields};
use super::codec;
use crate::source::Source;
use memdev::arch::Machine;
use std::num::NonZeroU64;

/// Bytes of a block: of a page, on amd64 and, by makedumpfile, on arm64. QEMU
/// takes the largest page that an arm64 machine could have.
const BLOCKS: [u64; 3] = [4096, 16384, 65536];
const HEADER_BYTES: usize = 464;
const SUB_HEADER_BYTES: usize = 104;
const UTSNAME: usize = 12;
const UTSNAME_FIELD: usize = 65;
/// The dump is not whole: the disk was full.
const INCOMPLETE: u32 = 8;
const MAX_VMCOREINFO: u64 = 1 << 20;
/// 64 TiB of addresses, which have bitmaps of 2 GiB.
const MAX_MAPNR: u64 = 1 << 34;

/// Where things are, in bytes of the file.
#[derive(Debug)]
pub(super) struct Header {
    /// Whether QEMU wrote it.
    pub(super) qemu: bool,
    /// Bytes of a block, which has one bit and one descriptor.
    pub(super) block: NonZeroU64,
    /// Bits of the second bitmap that mean something.
    pub(super) bits: u64,
    /// The second bitmap.
    pub(super) bitmap: (u64, u64),
    /// The first descriptor.
    pub(super) descriptors: u64,
    /// Blocks that this part of a split dump has, by number.
    pub(super) part: (u64, u64),
}

fn damaged(part: &'static str, offset: u64, what: String) -> ImageError {
    ImageError::Damaged { part, offset, what }
}

fn read<const N: usize>(
    source: &dyn Source,
    at: u64,
    part: &'static str,
) -> Result<[u8; N], ImageError> {
    let mut bytes = [0; N];
    let got = source.read_at(at, &mut bytes)?;
    if got < N {
        let end = at.saturating_add(got as u64);
        return Err(ImageError::Truncated { part, end });
    }
    Ok(bytes)
}

/// A string of the utsname.
fn utsname(header: &[u8], field: usize) -> &[u8] {
    let at = UTSNAME.saturating_add(field.saturating_mul(UTSNAME_FIELD));
    let rest = header.get(at..).unwrap_or_default();
    let text = rest.get(..UTSNAME_FIELD).unwrap_or_default();
    text.split(|&b| b == 0).next().unwrap_or_default()
}

impl Header {
    pub(super) fn read(
        source: &dyn Source,
    ) -> Result<(Self, Claims), ImageError> {
        let head: [u8; HEADER_BYTES] = read(source, 0, "kdump header")?;
        let word = |at| fields::u32(&head, at);
        let size = block_size(&head)?;
        let block = size.get();
        let (sub_blocks, bitmap_blocks) = (word(432), word(436));
        if i32::try_from(sub_blocks).is_err() || sub_blocks == 0 {
            let what = format!("a sub header of {sub_blocks} blocks");
            return Err(damaged("kdump header", 432, what));
        }
        let sub: [u8; SUB_HEADER_BYTES] =
            read(source, block, "kdump sub header")?;
        let version = word(8);
        let long = |at| fields::u64(&sub, at);
        let max_mapnr = match long(96) {
            n if version >= 6 && n != 0 => n,
            _ => word(440).into(),
        };
        if max_mapnr > MAX_MAPNR {
            return Err(ImageError::Unsupported(format!(
                "kdump files of more than {MAX_MAPNR} pages are not read, and \
                 it has {max_mapnr}"
            )));
        }
        let mut claims =
            Claims { checksums: checksums(word(424)), ..Claims::default() };
        let bitmaps =
            u64::from(sub_blocks).saturating_add(1).saturating_mul(block);
        let bitmap_bytes = u64::from(bitmap_blocks).saturating_mul(block);
        let descriptors = bitmaps.saturating_add(bitmap_bytes);
        let one = max_mapnr.div_ceil(8).next_multiple_of(block);
        let second = if one.saturating_mul(2) <= bitmap_bytes {
            bitmaps.saturating_add(bitmap_bytes / 2)
        } else if one <= bitmap_bytes {
            claims.notes.push("it has only one bitmap".into());
            bitmaps
        } else {
            let what = format!(
                "{bitmap_blocks} blocks cannot have the bits of {max_mapnr} \
                 pages"
            );
            return Err(damaged("bitmap", bitmaps, what));
        };
        // The header may have any number of blocks.
        let bitmap = (second, second.saturating_add(one));
        let part = part(version, &sub, max_mapnr, &mut claims);
        if let Some(it) = &mut claims.part {
            let bytes = |n: u64| n.saturating_mul(block);
            it.range = (bytes(part.0), bytes(part.1.max(part.0)));
            it.end = bytes(max_mapnr);
        }
        if word(424) & INCOMPLETE != 0 {
            claims.notes.push("its writer marked it as incomplete".into());
        }
        let machine = utsname(&head, 4);
        claims.machine = match machine {
            b"x86_64" | b"amd64" => Some(Machine::Amd64),
            b"aarch64" | b"arm64" => Some(Machine::Arm64),
            _ => None,
        };
        let mut notes = Notes::default();
        if version >= 4 {
            notes.read(source, long(48), long(56), claims.machine)?;
        }
        if version >= 3 {
            let size = long(40).min(MAX_VMCOREINFO);
            let mut text = vec![0; size as usize];
            let got = source.read_at(long(32), &mut text)?;
            text.truncate(got);
            claims.vmcoreinfo = text;
        }
        // QEMU knows no more of its guest than the machine.
        let nameless = [0, 1, 2, 3, 5].map(|f| utsname(&head, f)) == [b""; 5]
            && !machine.is_empty()
            && head.get(408..424) == Some(&[0; 16]);
        let qemu = notes.qemu || nameless;
        claims.machine = claims.machine.or(notes.machine());
        notes.into_claims(&mut claims);
        claims.phys_base =
            number(&claims.vmcoreinfo, "phys_base").or(Some(long(0)));
        let named = system(utsname(&head, 0), utsname(&head, 2));
        claims.system = named.or(claims.system);
        let Claims { part: own, vmcoreinfo, cpus, .. } = &mut claims;
        if let Some(own) = own {
            // Names and time, and what was found of the machine.
            own.dump = head.get(UTSNAME..424).unwrap_or_default().to_vec();
            own.dump.extend_from_slice(vmcoreinfo);
            own.dump.extend(format!("{cpus:?}").into_bytes());
        }
        let bits = max_mapnr;
        Ok((
            Self { qemu, block: size, bits, bitmap, descriptors, part },
            claims,
        ))
    }
}

fn block_size(head: &[u8]) -> Result<NonZeroU64, ImageError> {
    let unsupported = |what: String| Err(ImageError::Unsupported(what));
    let word = |at| u64::from(fields::u32(head, at));
    let block = word(428);
    if let Some(size) = NonZeroU64::new(block)
        && BLOCKS.contains(&block)
    {
        return Ok(size);
    }
    if BLOCKS.contains(&word(416)) {
        let what = "kdump files of 32-bit machines are not read";
        return unsupported(what.into());
    }
    if BLOCKS.contains(&fields::u32(head, 428).swap_bytes().into()) {
        let what = "kdump files of big-endian machines are not read";
        return unsupported(what.into());
    }
    unsupported(format!(
        "kdump files with blocks of {block} bytes are not read"
    ))
}

/// zlib has a checksum. lzo and snappy have none; the frames that
/// makedumpfile makes with zstd have none, either.
fn checksums(status: u32) -> Checksums {
    match status & codec::MASK {
        codec::ZLIB => Checksums::Compressed,
        _ => Checksums::None,
    }
}

/// What of a split dump is in this file.
fn part(
    version: u32,
    sub: &[u8],
    max_mapnr: u64,
    claims: &mut Claims,
) -> (u64, u64) {
    if version < 2 || fields::u32(sub, 12) == 0 {
        return (0, max_mapnr);
    }
    let at = if version >= 6 { 80 } else { 16 };
    let (start, end) =
        (fields::u64(sub, at), fields::u64(sub, at.saturating_add(8)));
    let text = format!(
        "{PART}: it has pages {start:#x} to {end:#x} of {max_mapnr:#x}, those \
         of the other parts are missing"
    );
    claims.notes.push(text.clone());
    claims.incomplete = Some(text);
    claims.part = Some(Part::default());
    (start, end)
}
