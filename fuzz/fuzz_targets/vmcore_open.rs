// SPDX-License-Identifier: BSD-2-Clause
//! Any file: opened as a dump, and where it opens, verified; opened as a
//! kernel, and where it opens, used as one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use livedump_vmcore::Vmcore;
use livedump_vmcore::elf::Kernel;
use std::io::Write;

fuzz_target!(|data: &[u8]| {
    let mut file = tempfile::NamedTempFile::new().expect("room for a file");
    file.write_all(data).expect("room for its bytes");
    let kernel = Kernel::open(file.path()).ok();
    if let Ok(core) = Vmcore::open(file.path()) {
        let _ = core.msgbuf_section().map(|ring| ring.unrolled());
        let _ = core.verify(kernel.as_ref(), 1);
    }
});
