// SPDX-License-Identifier: BSD-2-Clause
//! A device that refuses some pages, and what was read of it.

use super::*;
use crate::chain;
use crate::source::{Check, Plain};
use std::os::unix::fs::FileExt;

/// A device that refuses some pages, and remembers what was read.
#[derive(Debug)]
struct Device {
    file: Plain,
    refused: Vec<u64>,
    errno: i32,
    read: Mutex<Vec<(u64, u64)>>,
}

impl Source for Device {
    fn known_len(&self) -> Option<u64> {
        None
    }

    fn read_at(&self, at: u64, buf: &mut [u8]) -> Result<usize, SourceError> {
        let end = at + buf.len() as u64;
        self.read.lock().unwrap().push((at, end));
        if self.refused.iter().any(|&pa| pa < end && pa + PAGE > at) {
            let source = std::io::Error::from_raw_os_error(self.errno);
            return Err(SourceError::Io { offset: at, source });
        }
        self.file.read_at(at, buf)
    }

    fn check(&self, _: usize, _: u64) -> Result<Check, SourceError> {
        Ok(Check::default())
    }
}

/// Each page of 8 MiB begins with its number.
fn device(refused: &[u64], errno: i32) -> Arc<Device> {
    let file = tempfile::tempfile().unwrap();
    for page in 0u64..2048 {
        file.write_all_at(&page.to_le_bytes(), page * PAGE).unwrap();
    }
    file.set_len(8 << 20).unwrap();
    let file = Plain::new(Arc::new(file), MAX_PADDR);
    let (refused, read) = (refused.to_vec(), Mutex::default());
    Arc::new(Device { file, refused, errno, read })
}

fn range(start: u64, end: u64, address: u64) -> Range {
    Range { start, end, address }
}

fn runs(image: &Ranges) -> Vec<(u64, u64)> {
    let (mut all, mut at) = (Vec::<(u64, u64)>::new(), 0);
    while let Some(run) = image.next_run(Paddr(at)).unwrap() {
        match all.last_mut() {
            Some(last) if last.1 == run.start => last.1 = run.end,
            _ => all.push((run.start, run.end)),
        }
        at = run.end;
    }
    all
}

fn number(image: &Ranges, pa: u64) -> Option<u64> {
    let mut bytes = [0; 8];
    image.read(Paddr(pa), &mut bytes).ok()?;
    Some(u64::from_le_bytes(bytes))
}

#[test]
fn nothing_but_the_ranges_is_read_and_at_the_other_kernels_addresses() {
    let source = device(&[], 0);
    let all = [
        range(0x40_0000, 0x70_0000, 0),
        range(0x10_0000, 0x11_0000, 0x30_0000),
    ];
    let image = Ranges::new(Arc::clone(&source) as _, &all).unwrap();
    assert_eq!(runs(&image), [(0, 0x31_0000)]);
    assert_eq!(image.end(), 0x31_0000);
    assert_eq!(number(&image, 0x1000), Some(0x401));
    assert_eq!(number(&image, 0x30_1000), Some(0x101));
    assert_eq!(number(&image, 0x31_0000), None);
    // Over the border of two ranges that are not adjacent in the device.
    let mut both = [0; 2 * PAGE_SIZE];
    image.read(Paddr(0x2f_f000), &mut both).unwrap();
    assert_eq!(both[..8], 0x6ffu64.to_le_bytes());
    assert_eq!(both[PAGE_SIZE..][..8], 0x100u64.to_le_bytes());
    for &(start, end) in source.read.lock().unwrap().iter() {
        let inside = |r: &Range| r.start <= start && end <= r.end;
        assert!(all.iter().any(inside), "{start:#x}-{end:#x}");
    }
}

#[test]
fn a_page_that_the_device_refuses_is_missing() {
    for errno in MISSING {
        let source = device(&[0x3000, 0x20_0000], errno);
        let all = [range(0x1000, 0x50_0000, 0x10_0000)];
        let image = Ranges::new(source, &all).unwrap();
        let want = [
            (0x10_0000, 0x10_2000),
            (0x10_3000, 0x2f_f000),
            (0x30_0000, 0x5f_f000),
        ];
        assert_eq!(runs(&image), want);
        assert_eq!(number(&image, 0x10_2000), None);
        assert_eq!(number(&image, 0x10_3000), Some(4));
    }
    // That it may not be read says nothing about the memory.
    let source = device(&[0x3000], nix::libc::EPERM);
    let image = Ranges::new(source, &[range(0x1000, 0x5000, 0)]).unwrap();
    assert!(image.next_run(Paddr(0)).is_err());
}

#[test]
fn a_range_that_cannot_be_is_named() {
    let ranges = |all: &[Range]| {
        let made = Ranges::new(device(&[0x9000], nix::libc::EFAULT), all);
        chain(&made.unwrap_err())
    };
    let r = range;
    for (all, want) in [
        (vec![], "no range is named"),
        (vec![r(0x1000, 0x1000, 0)], "range 0x1000-0x1000@0x0 is empty"),
        (vec![r(0x2000, 0x1000, 0)], "0x2000-0x1000@0x0 ends before it"),
        (vec![r(0x1800, 0x3000, 0x1800)], "0x1800-0x3000: 0x1800 is not"),
        (vec![r(0x1000, 0x3800, 0x1000)], "0x1000-0x3800: 0x3800 is not"),
        (vec![r(0x1000, 0x3000, 0x10)], "0x1000-0x3000@0x10: 0x10 is not"),
        (vec![r(0, 1 << 53, 0)], "ends after the last physical"),
        (vec![r(0, 0x2000, 1 << 52)], "ends after the last physical"),
        (vec![r(0, 0x2000, !0xfff)], "ends after the last"),
        (
            vec![r(0x4000, 0x6000, 0), r(0x1000, 0x5000, 0x10_0000)],
            "0x1000-0x5000@0x100000 and 0x4000-0x6000@0x0 overlap",
        ),
        (
            vec![r(0, 0x2000, 0), r(0x4000, 0x6000, 0x1000)],
            "0x0-0x2000 and 0x4000-0x6000@0x1000 have the same addresses",
        ),
        (vec![r(0x9000, 0xb000, 0)], "range 0x9000-0xb000@0x0: nothing"),
        (vec![r(0x8000, 0xa000, 0)], "can be read at 0x9000: "),
        (
            vec![r(0, 16 << 20, 0)],
            "range 0x0-0x1000000: there is nothing at 0xfff000",
        ),
    ] {
        let text = ranges(&all);
        assert!(text.contains(want), "{text}");
    }
    assert!(ranges(&[r(0x9000, 0xb000, 0)]).contains("Bad address"));
}
