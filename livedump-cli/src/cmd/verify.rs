// SPDX-License-Identifier: BSD-2-Clause
//! `livedump verify`: check what a dump can prove, and say what it cannot.
//!
//! Exit status 1 means that something is wrong. Warnings are about things
//! that lose nothing, such as the garbage which stock kernels leave in the
//! bitset's padding; `--strict` lets them count.

use crate::error::{Error, Outcome};
use crate::report::{Report, Verify};
use crate::vmcore::{Vmcore, elf::Kernel};
use std::path::PathBuf;
use std::thread::available_parallelism;

/// What `verify` is told.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The kernel that was running: walk the dump's lists with its symbols
    #[arg(short, long, value_name = "KERNEL")]
    pub kernel: Option<PathBuf>,
    /// Exit with 1 for warnings too
    #[arg(long)]
    pub strict: bool,
    /// One JSON object instead of text
    #[arg(long)]
    pub json: bool,
    /// The dump: raw or stripped, plain, gzip or zstd
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

/// Checks it.
///
/// # Errors
/// The file is no dump, or the kernel no kernel.
pub fn run(args: &Args) -> Result<Outcome, Error> {
    let core = Vmcore::open(&args.file)?;
    let kernel = args.kernel.as_deref().map(Kernel::open).transpose()?;
    let threads = available_parallelism().map_or(1, |n| n.get().min(16));
    let verdict = core.verify(kernel.as_ref(), threads);
    let file = args.file.display().to_string();
    let kernel = kernel.map(|k| k.path().to_string());
    let report = Verify::new(file, kernel, &verdict);
    report.print(args.json)?;
    let bad = report.wrong > 0 || args.strict && report.warnings > 0;
    Ok(if bad { Outcome::Found } else { Outcome::Sound })
}
