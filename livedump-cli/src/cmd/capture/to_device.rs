// SPDX-License-Identifier: BSD-2-Clause
//! `livedump capture --to-device`: a dump onto a dump device, where
//! savecore(8) and `livedump save` find it.

use super::prepare::Prepared;
use super::request::Asking;
use super::streamed::{self, Flow};
use super::{Args, Error, confine};
use crate::device;
use crate::dumpdev::DumpDev;
use crate::dumpdev::disk::Disk;
use crate::dumpdev::write::{Plan, WriteError, Writer};
use crate::ekcd::Encrypting;
use crate::kernel_files::image_facts;
use crate::outcome::Outcome;
use crate::report::{human, note};
use crate::sandbox::Purpose;
use crate::signals::Signals;
use livedump_vmcore::path::escape_path;
use memdev::bitset::Bitset;
use memdev::kerneldump::{Compression, KernelDumpHeader};
use memdev::minidump::{self, MinidumpHeader};
use std::io::{self, BufRead, Read};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// What comes before the page tables of a plain dump, at most: its bitset has
/// a bit for each page.
const FRONT: u64 = 1 << 30;

/// Takes a dump and writes it to `path`.
pub(super) fn run(args: &Args, path: &Path) -> Result<Outcome, Error> {
    super::check_usage(args)?;
    check_usage(args)?;
    let mut signals = Signals::take();
    streamed::prepare();
    let target = DumpDev::open_for_dump(path)?;
    let claim = target.claim()?;
    target.check_free(args.force)?;
    let mut disk = Disk::new(&target, args.sector_size)?;
    let machine = args.options.apply(&args.machine)?;
    let stop = &|| signals.stopped().is_some();
    let device =
        device::open(&machine, args.kernel.as_deref(), &image_facts, stop)?;
    let device = device.as_ref();
    if !device.can_stream() {
        return Err(Error::NoStream);
    }
    let prepared = Prepared::gather(args, device)?;
    let encryption = prepared.encryption()?;
    let key = match &encryption {
        Some(encryption) => encryption.key_block()?,
        None => Vec::new(),
    };
    let mut more = vec![(target.file().as_fd(), Purpose::Disk)];
    more.extend(claim.descriptor().map(|fd| (fd, Purpose::Lock)));
    confine(args, device, None, &prepared, &more);
    prepared.check_named()?;
    let began = AtomicBool::new(false);
    let failed = |source| Error::ToDevice {
        path: path.into(),
        began: began.load(Ordering::SeqCst),
        source,
    };
    let asking = Asking { args, device };
    let compressed = asking.compression() != Compression::None;
    let room = |_| Ok(None);
    let streamed = asking.streamed(&mut signals, room, |from, flow| {
        let (front, extent) = match compressed {
            true => (Vec::new(), with_slack(flow.dumpextent)),
            false => exact(from)?,
        };
        let plan = Plan::new(&disk, key.len() as u64, extent, compressed)
            .map_err(failed)?;
        began.store(true, Ordering::SeqCst);
        let mut writer = Writer::begin(&mut disk, plan).map_err(failed)?;
        let mut all = front.as_slice().chain(from);
        match &encryption {
            None => written(&mut all, &flow, &mut writer)?,
            Some(encryption) => {
                let encryptor = encryption.encryptor();
                let mut all = Encrypting::new(all, encryptor);
                written(&mut all, &flow, &mut writer)?
            }
        }
        .map_err(failed)?;
        Ok(writer)
    });
    device.release();
    let streamed = streamed.inspect_err(|e| {
        let told = matches!(e, Error::ToDevice { .. });
        if !told && began.load(Ordering::SeqCst) {
            note(format_args!("{} has no dump now", escape_path(path)));
        }
    })?;
    let outcome = streamed.outcome();
    let header = KernelDumpHeader::decode(&streamed.checked.bytes)
        .map_err(|e| Error::Taking(io::Error::other(e)))?;
    let bytes = streamed.taken.length();
    streamed.taken.finish(&header, &key).map_err(failed)?;
    target.find(false)?;
    if !args.quiet {
        note(format_args!(
            "{} to {}{}, not checked: livedump save or savecore(8) copies it",
            human(bytes),
            escape_path(path),
            match streamed.checked.compression {
                Compression::None => String::new(),
                codec => format!(" ({})", codec.name()),
            }
        ));
    }
    Ok(outcome)
}

fn check_usage(args: &Args) -> Result<(), Error> {
    let beside = args.keep_kernel || args.stability;
    if beside || args.maxdumps.is_some() || args.json {
        return Err(Error::Usage(
            "-m, --json, --keep-kernel and --stability cannot be used with \
             --to-device: only the dump is written",
        ));
    }
    Ok(())
}

/// The machine runs: there may be more pages than were estimated.
fn with_slack(estimate: u64) -> u64 {
    estimate.saturating_add(estimate / 32).saturating_add(1 << 20)
}

/// Reads as much of a plain dump as tells how long it is: its header and what
/// is up to the end of its bitset. C: `kerneldump_dumpextent` is the length of
/// a dump that is not compressed.
fn exact(from: &mut dyn BufRead) -> Result<(Vec<u8>, u64), Error> {
    let odd = |text| Error::Taking(io::Error::other(text));
    let mut front = Vec::new();
    let mut more = |front: &mut Vec<u8>, upto: u64| {
        let n = upto.saturating_sub(front.len() as u64);
        (&mut *from).take(n).read_to_end(front).map_err(Error::Taking)
    };
    more(&mut front, minidump::HEADER_SIZE as u64)?;
    let head = front.first_chunk().ok_or_else(|| odd("no minidump header"))?;
    let header = MinidumpHeader::decode(head)
        .map_err(|e| Error::Taking(io::Error::other(e)))?;
    let layout = header.layout();
    let bytes = u64::from(header.bitmapsize);
    let end = layout.bitmap.saturating_add(bytes);
    if end > FRONT {
        return Err(odd("its bitset is too large"));
    }
    more(&mut front, end)?;
    let start = usize::try_from(layout.bitmap).unwrap_or(usize::MAX);
    let bitmap = front.get(start..).unwrap_or_default();
    let words = bitmap.as_chunks::<8>().0.iter();
    let words: Vec<u64> = words.map(|w| u64::from_le_bytes(*w)).collect();
    let bits = bytes.saturating_mul(8);
    let set = Bitset::new(words, bits).ok_or_else(|| odd("its bitset"))?;
    let length = header.dumpsize(set.count());
    Ok((front, length.ok_or_else(|| odd("its length"))?))
}

/// Writes what comes, until the end or a signal.
fn written(
    from: &mut dyn BufRead,
    flow: &Flow<'_>,
    writer: &mut Writer<'_>,
) -> Result<Result<(), WriteError>, Error> {
    loop {
        let piece = from.fill_buf().map_err(Error::Taking)?;
        if piece.is_empty() {
            return Ok(Ok(()));
        }
        let n = piece.len();
        if let Err(e) = writer.append(piece) {
            return Ok(Err(e));
        }
        from.consume(n);
        flow.go_on().map_err(Error::Taking)?;
    }
}
