// SPDX-License-Identifier: BSD-2-Clause
//! `livedump report`: one file with everything that matters about a dump, as
//! crashinfo(8) makes of one of a panic.
//!
//! ```text
//! $ livedump report -o core.txt.0 livecore.0.zst
//! ```

use super::session::{KernelArgs, Session};
use super::summarize::summarize;
use crate::error::Error;
use crate::outcome::Outcome;
use crate::output::Output;
use crate::summary::Form;
use clap::ValueHint;
use livedump_vmcore::path::escape_path;
use std::path::PathBuf;

/// Arguments of `report`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub kernel: KernelArgs,
    /// Write an HTML page that needs nothing else
    #[arg(long, conflicts_with = "json")]
    pub html: bool,
    /// Write one JSON object
    #[arg(long)]
    pub json: bool,
    /// Write to FILE, mode 0600 [default: standard output]
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub output: Option<PathBuf>,
    /// Dump file: plain, gzip or zstd
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
}

impl Args {
    fn form(&self) -> Form {
        match (self.html, self.json) {
            (true, _) => Form::Html,
            (false, true) => Form::Json,
            (false, false) => Form::Text,
        }
    }
}

/// Writes it.
///
/// # Errors
/// The file is no dump, or the kernel that was named is not its. A dump that
/// is damaged or has a deadlock is [`Outcome::Finding`]; one of which a
/// section is not known or may lack something, [`Outcome::Undetermined`].
pub fn run(args: &Args) -> Result<Outcome, Error> {
    let to = match &args.output {
        Some(path) => Output::open_private(path)?,
        None => Output::Stdout,
    };
    let keep: Vec<_> = to.descriptors().collect();
    let (readable, modules) =
        Session::open_readable(&args.file, &args.kernel, &keep, |inputs| {
            Ok(to.check_no_input(inputs)?)
        })?;
    drop(keep);
    let summary = summarize(&readable, &modules, escape_path(&args.file))?;
    to.write(&summary.write(args.form()))?;
    Ok(Outcome::from(&summary.verdict))
}
