// SPDX-License-Identifier: BSD-2-Clause
//! Files that lie: an error or a part of the truth, in bounded time and
//! memory, and never a panic.

use super::sample::{Sample, VERSIONS};
use super::{file, gzip, kernel, open, zstd};
use crate::elf::Kernel;
use crate::{OpenError, Vmcore};
use memdev::addr::{Paddr, Vaddr};
use memdev::kerneldump::Compression;
use nix::sys::resource::{UsageWho, getrusage};
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::ops::ControlFlow;

fn noise(n: u64) -> u64 {
    let mut x = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x55aa;
    x ^= x >> 29;
    x = x.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x ^ x >> 32
}

/// Seconds of CPU time that this thread has used: a machine at work takes
/// longer, but not more of these.
fn cpu_seconds() -> i64 {
    let usage = getrusage(UsageWho::RUSAGE_THREAD).unwrap();
    usage.user_time().tv_sec() + usage.system_time().tv_sec()
}

/// Everything a reader can be asked.
fn read_everything(bytes: &[u8], elf: &[u8], s: &Sample) {
    let start = cpu_seconds();
    let k = Kernel::open(file(elf).path()).ok();
    if let Ok(core) = Vmcore::open(file(bytes).path()) {
        let mut buf = [0; 5000];
        let base = s.base();
        for va in [base, base + 0xff0, s.dmap(0x8ff8), u64::MAX, 0] {
            let _ = core.read_va(Vaddr(va), &mut buf);
            let _ = core.read_phys(Paddr(va), &mut buf);
        }
        let mut n = 0;
        let _ = core.for_each_page(|_, _| {
            n += 1;
            if n < 10_000 {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        });
        if let Some(k) = &k {
            let _ = core.procs(k);
            let _ = core
                .msgbuf_header(k)
                .map(|h| core.msgbuf_ring(&h).map(|r| r.unrolled()));
        }
        let _ = core.msgbuf_section();
        let _ = core.verify(k.as_ref(), 1);
    }
    let took = cpu_seconds() - start;
    assert!(took < 10, "{took} s");
}

#[test]
fn a_file_cut_at_any_boundary_is_an_error_or_a_part() {
    for (machine, version) in VERSIONS {
        let s = Sample::new(machine, version);
        let (data, elf) = (s.bytes(), s.kernel());
        let raw = s.raw(&data, Compression::None);
        let l = s.header.layout();
        let ends = [
            0,
            8,
            24,
            79,
            80,
            l.msgbuf,
            l.dump_avail,
            l.bitmap,
            l.pmap,
            l.pages,
            data.len() as u64,
            raw.len() as u64 - 512,
        ];
        for end in ends {
            for cut in [end.saturating_sub(1), end, end + 1, end + 511] {
                let cut = usize::try_from(cut).unwrap().min(raw.len());
                read_everything(&raw[..cut], &elf, &s);
            }
        }
        let core = open(&data[..l.bitmap as usize + 1]);
        assert!(core.pages().is_err());
        assert!(core.verify(None, 1).verdict().is_damaged());
    }
}

#[test]
fn corrupted_bytes_never_panic_or_hang() {
    for (which, (machine, version)) in VERSIONS.into_iter().enumerate() {
        let s = Sample::new(machine, version);
        let (data, elf) = (s.bytes(), s.kernel());
        let l = s.header.layout();
        for seed in 0..60 {
            let seed = (which as u64) << 32 | seed;
            let mut bytes = s.raw(&data, Compression::None);
            let mut elf = elf.clone();
            for i in 0..1 + noise(seed) % 16 {
                let r = noise(seed ^ i << 40);
                // The header and tables more often than the pages.
                let area = [80, l.pages, bytes.len() as u64];
                let at = noise(r) % area[(r % 3) as usize];
                bytes[at as usize] = (r >> 16) as u8;
                if r.is_multiple_of(5) {
                    let n = elf.len() as u64;
                    elf[(noise(r ^ 1) % n) as usize] = (r >> 24) as u8;
                }
            }
            read_everything(&bytes, &elf, &s);
        }
    }
}

#[test]
fn corrupted_packed_bytes_never_panic_or_hang() {
    let (machine, version) = VERSIONS[2];
    let s = Sample::new(machine, version);
    let (data, elf) = (s.bytes(), s.kernel());
    for (which, stored) in
        [gzip(&data, 9000), zstd(&data, 9000, false), zstd(&data, 9000, true)]
            .into_iter()
            .enumerate()
    {
        for seed in 0..60 {
            let seed = (which as u64) << 32 | seed | 1 << 50;
            let mut bytes = stored.clone();
            for i in 0..1 + noise(seed) % 4 {
                let r = noise(seed ^ i << 40);
                // The seek table more often than the frames.
                let n = bytes.len() as u64;
                let at = match r % 3 {
                    0 => n - 1 - noise(r) % 60,
                    _ => noise(r) % n,
                };
                bytes[at as usize] = (r >> 16) as u8;
            }
            if seed.is_multiple_of(7) {
                bytes.truncate((noise(seed ^ 9) % bytes.len() as u64) as usize);
            }
            read_everything(&bytes, &elf, &s);
        }
    }
}

#[test]
fn sizes_of_four_gigabytes_are_not_believed() {
    for field in [28, 32, 36, 64] {
        let (machine, version) = VERSIONS[2];
        let s = Sample::new(machine, version);
        let mut bytes = s.bytes();
        bytes[field..field + 4].copy_from_slice(&0xffff_f000u32.to_le_bytes());
        read_everything(&bytes, &s.kernel(), &s);
        // The same in a file that is as large as it says, all holes.
        let mut f = file(&bytes);
        f.as_file_mut().set_len(20 << 30).unwrap();
        let refused = Vmcore::open(f.path());
        assert!(
            matches!(refused, Err(OpenError::Size { .. })),
            "field {field}: {refused:?}"
        );
    }
}

#[test]
fn a_terabyte_of_holes_opens_at_once() {
    let (machine, version) = VERSIONS[2];
    let mut s = Sample::new(machine, version);
    // 2^28 pages: a bitmap of 32 MB. The last page of memory is dumped.
    let end = 1u64 << 40;
    s.header.bitmapsize = 32 << 20;
    s.ranges = vec![(0, end)];
    s.pages.insert(end - 4096, [0xee; 4096]);
    let f = tempfile::NamedTempFile::new().unwrap();
    write_sparse(f.as_file(), &s.bytes());
    let start = cpu_seconds();
    let core = Vmcore::open(f.path()).unwrap();
    let mut b = [0; 2];
    core.read_phys(Paddr(end - 2), &mut b).unwrap();
    let took = cpu_seconds() - start;
    assert_eq!(b, [0xee; 2]);
    assert!(took < 2, "{took} s");
}

fn write_sparse(mut f: &File, bytes: &[u8]) {
    for (i, page) in bytes.chunks(4096).enumerate() {
        if page.iter().any(|&b| b != 0) {
            f.seek(SeekFrom::Start(i as u64 * 4096)).unwrap();
            f.write_all(page).unwrap();
        }
    }
    f.set_len(bytes.len() as u64).unwrap();
}

#[test]
fn a_kernel_file_that_claims_the_world_is_refused() {
    let (machine, version) = VERSIONS[2];
    let s = Sample::new(machine, version);
    let elf = s.kernel();
    for at in 0..elf.len().min(64) {
        let mut bad = elf.clone();
        bad[at] = 0xff;
        let _ = Kernel::open(file(&bad).path());
    }
    let sections = elf.len() - 4 * 64;
    for at in sections..elf.len() {
        let mut bad = elf.clone();
        bad[at] ^= 0xff;
        if let Ok(k) = Kernel::open(file(&bad).path()) {
            let _ = k.find("hz");
            let mut b = [0; 9];
            let _ = k.read(Vaddr(s.base()), &mut b);
        }
    }
    let k = kernel(&elf);
    assert_eq!(k.find("hz").unwrap().size, 4);
    assert!(k.find("none").is_none());
}
