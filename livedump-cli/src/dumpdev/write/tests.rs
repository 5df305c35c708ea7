// SPDX-License-Identifier: BSD-2-Clause
use super::*;
use crate::dumpdev::{DumpDev, Error};
use memdev::kerneldump::{Compression, Magic};
use std::io::Write;
use std::os::unix::fs::FileExt;

/// What was done to a medium.
#[derive(Clone, Debug)]
enum Done {
    Write(u64, Vec<u8>),
    Flush,
}

/// A medium in memory that remembers what was done to it, and fails at one
/// call.
struct Memory {
    bytes: Vec<u8>,
    sector: usize,
    done: Vec<Done>,
    fail_at: Option<usize>,
}

impl Memory {
    fn new(bytes: Vec<u8>, sector: usize) -> Self {
        Self { bytes, sector, done: Vec::new(), fail_at: None }
    }

    fn step(&mut self, done: Done) -> io::Result<()> {
        if self.fail_at == Some(self.done.len()) {
            return Err(io::ErrorKind::Other.into());
        }
        self.done.push(done);
        Ok(())
    }
}

impl Medium for Memory {
    fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn sector(&self) -> usize {
        self.sector
    }

    fn write(&mut self, at: u64, sectors: &[u8]) -> io::Result<()> {
        assert!(at.is_multiple_of(self.sector as u64), "{at:#x}");
        assert!(sectors.len().is_multiple_of(self.sector));
        self.step(Done::Write(at, sectors.to_vec()))?;
        let at = at as usize;
        self.bytes[at..at + sectors.len()].copy_from_slice(sectors);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.step(Done::Flush)
    }

    fn read(&self, at: u64, sectors: &mut [u8]) -> io::Result<()> {
        let at = at as usize;
        sectors.copy_from_slice(&self.bytes[at..at + sectors.len()]);
        Ok(())
    }
}

fn header() -> KernelDumpHeader<'static> {
    KernelDumpHeader {
        magic: Magic::Kernel,
        architecture: b"amd64",
        version: 4,
        architecture_version: 2,
        dumplength: 0,
        dumptime: 1_700_000_000,
        dumpkeysize: 0,
        blocksize: 4096,
        hostname: b"h",
        versionstring: b"FreeBSD\n",
        panicstring: b"",
        compression: Compression::Zstd,
        dumpextent: 0,
    }
}

fn noise(length: usize, seed: u32) -> Vec<u8> {
    let mut state = seed;
    let bytes = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8 | 1
    });
    bytes.take(length).collect()
}

fn put(
    medium: &mut Memory,
    data: &[u8],
    key: &[u8],
    extent: u64,
) -> Result<(), WriteError> {
    let plan = Plan::new(medium, key.len() as u64, extent, true)?;
    let mut writer = Writer::begin(medium, plan)?;
    for piece in data.chunks(100_003) {
        writer.append(piece)?;
    }
    writer.finish(&header(), key).map(|_| ())
}

/// What savecore(8) and `livedump save` find there.
fn found(bytes: &[u8]) -> Option<(Vec<u8>, Option<Vec<u8>>)> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    let device = DumpDev::open(file.path(), false).unwrap();
    match device.find(false) {
        Ok(dump) => {
            let mut data = vec![0; dump.dumplength() as usize];
            file.as_file().read_exact_at(&mut data, dump.data.start).unwrap();
            Some((data, dump.key().map(<[u8]>::to_vec)))
        }
        // The remains of a leading header, where a trailing one is not.
        Err(Error::NoDump { .. } | Error::Shape { .. }) => None,
        Err(e) => panic!("{e}"),
    }
}

/// A key block that names a cipher.
fn key() -> Vec<u8> {
    let mut key = vec![7; 37 + 256];
    key[0] = 2;
    key[33..37].copy_from_slice(&256u32.to_be_bytes());
    key
}

#[test]
fn what_was_written_is_found() {
    for sector in [512, 4096] {
        for key in [Vec::new(), key()] {
            for length in [1, 511, 4096, 1 << 20, (1 << 20) + 1, 3_000_000] {
                let mut medium = Memory::new(vec![9; 4 << 20], sector);
                let data = noise(length, 1);
                put(&mut medium, &data, &key, length as u64).unwrap();
                let (got, k) = found(&medium.bytes).unwrap();
                assert!(got == data, "{length} bytes, sectors of {sector}");
                let k = k.unwrap_or_default();
                assert!(k.starts_with(&key) && key.is_empty() == k.is_empty());
                // What a kernel leaves alone is as it was.
                let start = &medium.bytes[..METADATA as usize];
                assert!(start.iter().all(|&b| b == 9));
            }
        }
    }
}

#[test]
fn what_has_no_room_is_refused_before_the_first_byte() {
    for sector in [512u64, 4096] {
        let fits = METADATA + 2 * sector + (1 << 20);
        let mut exact = Memory::new(vec![0; fits as usize], sector as usize);
        put(&mut exact, &noise(1 << 20, 1), &[], 1 << 20).unwrap();
        assert!(found(&exact.bytes).is_some());
        let less = fits - sector;
        let small = Memory::new(vec![0; less as usize], sector as usize);
        let plan = Plan::new(&small, 0, 1 << 20, false);
        assert!(matches!(plan, Err(WriteError::Small { .. })), "{plan:?}");
        // What is compressed may yet fit.
        let plan = Plan::new(&small, 0, 1 << 20, true).unwrap();
        assert_eq!(plan.extent(), (1 << 20) - sector);
    }
    for size in [0usize, 512, 65536, 65536 + 1024] {
        let small = Memory::new(vec![0; size], 512);
        assert!(Plan::new(&small, 0, 512, true).is_err(), "{size}");
    }
    let any = Memory::new(vec![0; 1 << 20], 512);
    for (key, extent) in [(u64::MAX, 1), (1, u64::MAX), (u64::MAX, u64::MAX)] {
        assert!(Plan::new(&any, key, extent, false).is_err());
    }
}

#[test]
fn a_compressed_dump_that_turns_out_too_large_leaves_none() {
    let mut medium = Memory::new(vec![0; 1 << 20], 512);
    put(&mut medium, &noise(1000, 2), &[], 1000).unwrap();
    assert!(found(&medium.bytes).is_some());
    let e = put(&mut medium, &noise(1 << 20, 1), &[], 1 << 20).unwrap_err();
    assert!(matches!(e, WriteError::Full { .. }), "{e}");
    assert!(found(&medium.bytes).is_none());
}

#[test]
fn every_failing_call_is_an_error_and_leaves_no_dump() {
    let data = noise(2_500_000, 3);
    let mut whole = Memory::new(vec![0; 4 << 20], 512);
    put(&mut whole, &data, &key(), data.len() as u64).unwrap();
    let last = whole.done.len() - 1;
    for nth in 0..=last {
        let mut medium = Memory::new(vec![0; 4 << 20], 512);
        medium.fail_at = Some(nth);
        let e = put(&mut medium, &data, &key(), data.len() as u64);
        assert!(matches!(e, Err(WriteError::Io { .. })), "{nth}: {e:?}");
        // The last flush failed: whether the header is there is not known.
        assert!(nth == last || found(&medium.bytes).is_none(), "{nth}");
    }
}

/// Power goes away after each call in turn. What was flushed is there; of what
/// was not, any part may be: all, none, or all but one write.
#[test]
fn a_power_cut_leaves_the_old_dump_the_new_one_or_none() {
    let old = noise(1_800_000, 4);
    let new = noise(2_500_000, 5);
    for sector in [512, 4096] {
        let mut medium = Memory::new(vec![0; 4 << 20], sector);
        put(&mut medium, &old, &[], old.len() as u64).unwrap();
        let before = medium.bytes.clone();
        medium.done.clear();
        put(&mut medium, &new, &key(), new.len() as u64).unwrap();
        let mut kinds = [0; 3];
        for cut in 0..=medium.done.len() {
            let done = &medium.done[..cut];
            let flushed = done.iter().rposition(|d| matches!(d, Done::Flush));
            let (sure, open) = done.split_at(flushed.map_or(0, |n| n + 1));
            let masks = (0..open.len()).map(Some).chain([None]);
            for left_out in masks {
                for only_sure in [false, true] {
                    let mut bytes = before.clone();
                    let some = open
                        .iter()
                        .enumerate()
                        .filter(|(n, _)| !only_sure && Some(*n) != left_out);
                    let all = sure.iter().chain(some.map(|(_, d)| d));
                    for write in all {
                        let Done::Write(at, data) = write else { continue };
                        let at = *at as usize;
                        bytes[at..at + data.len()].copy_from_slice(data);
                    }
                    match found(&bytes) {
                        None => kinds[0] += 1,
                        Some((data, None)) if data == old => kinds[1] += 1,
                        Some((data, Some(k)))
                            if data == new && k.starts_with(&key()) =>
                        {
                            kinds[2] += 1;
                        }
                        Some(_) => panic!("a mixture after {cut} calls"),
                    }
                }
            }
        }
        assert!(kinds.iter().all(|&n| n > 0), "{kinds:?}");
    }
}
