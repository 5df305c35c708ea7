// SPDX-License-Identifier: BSD-2-Clause
//! The kernel dump header and the requests' arguments: bytes in, the same
//! bytes out.
#![no_main]

use libfuzzer_sys::fuzz_target;
use memdev::ioctl::{MemLivedumpArg, MemMinidumpArg};
use memdev::kerneldump::{HEADER_SIZE, KernelDumpHeader, parity_ok};

fuzz_target!(|data: &[u8]| {
    if let Some(bytes) = data.first_chunk::<HEADER_SIZE>()
        && let Ok(header) = KernelDumpHeader::decode(bytes)
        && header.version == 4
    {
        let mut again = [0; HEADER_SIZE];
        header.encode(&mut again);
        assert!(parity_ok(&again));
        let twice = KernelDumpHeader::decode(&again);
        assert_eq!(twice.map(|h| h.dumplength), Ok(header.dumplength));
    }
    if let Some(bytes) = data.first_chunk::<128>() {
        let mut again = [0; 128];
        MemMinidumpArg::decode(bytes).encode(&mut again);
        assert_eq!(*bytes, again);
    }
    if let Some(bytes) = data.first_chunk::<32>() {
        assert_eq!(MemLivedumpArg::decode(bytes).encode(), *bytes);
    }
});
