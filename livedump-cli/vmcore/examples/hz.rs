// SPDX-License-Identifier: BSD-2-Clause
//! Prints `hz` of the kernel in a minidump or in an image of memory:
//! `cargo run -p livedump-vmcore --example hz KERNEL FILE`.

use livedump_vmcore::elf::Kernel;
use livedump_vmcore::{Opened, Vmcore, chain};
use std::error::Error;
use std::path::Path;

/// `hz` of the kernel whose memory `file` has.
pub fn hz(kernel: &Path, file: &Path) -> Result<u32, Box<dyn Error>> {
    let kernel = Kernel::open(kernel)?;
    let memory = match Opened::new(Vmcore::open_file(file)?, file)? {
        Opened::Minidump(dump) => *dump,
        Opened::Image(image) => image.with_kernel(&kernel)?,
    };
    let symbol = kernel.find("hz").ok_or("the kernel has no symbol hz")?;
    Ok(memory.read_u32(symbol.address)?)
}

fn main() {
    let args: Vec<_> = std::env::args_os().skip(1).collect();
    let [kernel, file] = args.as_slice() else {
        return eprintln!("usage: hz KERNEL FILE");
    };
    match hz(kernel.as_ref(), file.as_ref()) {
        Ok(hz) => println!("{hz}"),
        Err(e) => eprintln!("{}", chain(e.as_ref())),
    }
}
