// SPDX-License-Identifier: BSD-2-Clause
//! `livedump dmesg`: the dumped machine's message buffer.

use super::dump_file::KeyArgs;
use super::inputs::{Inputs, WhichKernel};
use crate::error::Error;
use crate::outcome::Outcome;
use crate::report::{self, Dmesg, Report};
use clap::ValueHint;
use livedump_vmcore::chain;
use livedump_vmcore::msgbuf::{MsgbufError, Ring};
use livedump_vmcore::path::escape_path;
use livedump_vmcore::{Vmcore, elf::Kernel};
use std::path::PathBuf;

/// Arguments of `dmesg`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Kernel of the dump, to follow msgbufp
    #[arg(
        short,
        long,
        value_name = "KERNEL",
        value_hint = ValueHint::FilePath
    )]
    pub kernel: Option<PathBuf>,
    /// Include records of syslog(3), and print priorities
    #[arg(short, long)]
    pub all: bool,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub keys: KeyArgs,
    /// Dump file: plain, gzip or zstd
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
}

/// Shows it.
///
/// # Errors
/// The file is no dump, or has no message buffer.
pub fn run(args: &Args) -> Result<Outcome, Error> {
    let named = WhichKernel::Any(args.kernel.as_deref());
    let Inputs { core, kernel, .. } =
        Inputs::open(&args.file, named, &args.keys)?;
    let mut outcome = Outcome::Clean;
    let own_copy = |why: String| {
        report::note(format_args!("{why}; showing the msgbuf section"));
    };
    let (source, ring) = match kernel.map(|k| in_memory(&core, &k)) {
        Some(Ok(ring)) => ("msgbufp", ring),
        Some(Err(e)) => {
            own_copy(chain(&e));
            outcome = match e.is_environment() {
                true => Outcome::Undetermined,
                false => Outcome::Finding,
            };
            ("section", core.msgbuf_section()?)
        }
        None => ("section", core.msgbuf_section()?),
    };
    if ring.truncated {
        report::note("a part of the message buffer is not in the dump");
        outcome = outcome.and(Outcome::Finding);
    }
    let ordered = ring.position.is_some() || !ring.is_full();
    if !ordered {
        report::note(
            "the buffer has wrapped, and its start is known only with the \
             kernel (-k): the oldest lines may follow the newest",
        );
    }
    if !ordered {
        outcome = outcome.and(Outcome::Undetermined);
    }
    if ring.unrolled().is_empty() {
        report::note("the message buffer is empty");
    }
    // What is in another part is not damaged.
    if core.incomplete().is_some() && outcome == Outcome::Finding {
        outcome = Outcome::Undetermined;
    }
    let report = Dmesg {
        file: escape_path(&args.file),
        source,
        ordered,
        lines: report::lines(&ring.unrolled(), args.all),
    };
    report.print(args.json)?;
    Ok(outcome)
}

fn in_memory(core: &Vmcore, kernel: &Kernel) -> Result<Ring, MsgbufError> {
    core.msgbuf_ring(&core.msgbuf_header(kernel)?)
}
