// SPDX-License-Identifier: BSD-2-Clause
//! Any device: a dump is found on it or it is not, what is found can be
//! copied in bounded pieces, every other one as well, and clearing it clears nothing but its header.
#![no_main]

use libfuzzer_sys::fuzz_target;
use livedump_cli::dumpdev::{DumpDev, Error, LocatedDump};
use livedump_fuzz::file;
use memdev::kerneldump::{HEADER_SIZE, KernelDumpHeader, parity_ok};
use std::ops::ControlFlow;

/// The parity and the length that a header of `dumplength` bytes needs, so
/// that what follows these checks is reached, too.
fn mend(device: &mut [u8], block: usize) {
    let Some(at) = device.len().checked_sub(block) else { return };
    let Some(header) = device.get_mut(at..at + HEADER_SIZE) else { return };
    header[HEADER_SIZE - 4..].fill(0);
    let mut parity = [0; 4];
    for word in header.chunks(4) {
        for (sum, byte) in parity.iter_mut().zip(word) {
            *sum ^= byte;
        }
    }
    header[HEADER_SIZE - 4..].copy_from_slice(&parity);
    let header: [u8; HEADER_SIZE] = (&*header).try_into().expect("512 bytes");
    assert!(parity_ok(&header));
    let Ok(decoded) = KernelDumpHeader::decode(&header) else { return };
    // savecore(8) wants the same header at both ends.
    let length = usize::try_from(decoded.dumplength).unwrap_or(usize::MAX);
    let data = length.div_ceil(block).saturating_mul(block);
    if let Some(first) = at.checked_sub(data.saturating_add(block)) {
        device[first..first + HEADER_SIZE].copy_from_slice(&header);
    }
}

fn copy(dev: &DumpDev, dump: &LocatedDump, len: usize) {
    let mut copied = 0;
    let done = dev.contents(dump, |piece| {
        assert!(piece.len() <= 1 << 20);
        copied += piece.len() as u64;
        Ok::<_, Error>(())
    });
    assert!(done.is_err() || copied == dump.dumplength());
    assert!(copied <= len as u64);
}

fuzz_target!(|data: &[u8]| {
    let Some((choice, rest)) = data.split_first() else { return };
    let mut device = rest.to_vec();
    let block = 512 << (choice >> 2 & 7);
    if choice & 1 == 1 {
        mend(&mut device, block);
    }
    let file = file(&device);
    let Ok(dev) = DumpDev::open(file.path(), true) else { return };
    let all = dev.scan(|_| ControlFlow::Continue(())).unwrap_or_default();
    for it in all {
        assert!(it.offset < it.end && it.end <= device.len() as u64);
        if let Ok(dump) = dev.find_at(it.offset) {
            copy(&dev, &dump, device.len());
        }
    }
    let Ok(dump) = dev.find(choice & 2 == 2) else { return };
    copy(&dev, &dump, device.len());
    if dev.clear(&dump).is_ok() {
        let after = std::fs::read(file.path()).expect("the device");
        assert_eq!(after.len(), device.len());
        let changed = after.iter().zip(&device).filter(|(a, b)| a != b);
        assert!(changed.count() <= HEADER_SIZE);
    }
});
