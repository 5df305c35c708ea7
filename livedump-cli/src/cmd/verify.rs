// SPDX-License-Identifier: BSD-2-Clause
//! `livedump verify`: check what a dump can prove, and list what it cannot.
//!
//! The exit status is the verdict. Warnings are about things that lose
//! nothing, such as the garbage which stock kernels leave in the bitset's
//! padding; `--strict` lets them count.

use super::dump_file::KeyArgs;
use super::inputs::{Opened, WhichKernel};
use crate::crashdir::compression_in;
use crate::error::Error;
use crate::examine::{RelatedFiles, examine};
use crate::outcome::Outcome;
use crate::report::{Instant, Report, Verify, note};
use crate::seal::{self, Comparison, NotASeal};
use clap::ValueHint;
use livedump_vmcore::chain;
use livedump_vmcore::changes::ChangesFile;
use livedump_vmcore::companion::companion;
use livedump_vmcore::elf::Kernel;
use livedump_vmcore::path::escape_path;
use livedump_vmcore::{OpenError, Status, Verification};
use std::path::{Path, PathBuf};
use std::thread::available_parallelism;

/// Arguments of `verify`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Kernel of the dump [default: kernel.N or /boot]
    #[arg(
        short,
        long,
        value_name = "KERNEL",
        value_hint = ValueHint::FilePath
    )]
    pub kernel: Option<PathBuf>,
    /// Checksum file [default: seal.N]
    #[arg(long, value_name = "SEAL", value_hint = ValueHint::FilePath)]
    pub seal: Option<PathBuf>,
    /// Exit 1 for warnings, too
    #[arg(long)]
    pub strict: bool,
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

/// Checks it.
///
/// # Errors
/// The file cannot be read, or the kernel or the seal that was named is none,
/// or not the dump's.
pub fn run(args: &Args) -> Result<Outcome, Error> {
    let threads = available_parallelism().map_or(1, |n| n.get().min(16));
    let sealed = seal::open(&args.file, args.seal.as_deref())?;
    let kernel = WhichKernel::Any(args.kernel.as_deref());
    let opened = Opened::open(&args.file, kernel, sealed, &args.keys)?;
    let compared = opened
        .seal
        .as_ref()
        .map(|seal| Comparison::with(&opened.dump.file, seal, threads));
    if let (Some(path), Some(compared)) = (&args.seal, &compared)
        && let Some(why) = &compared.no_seal
    {
        let (path, why) = (escape_path(path), why.clone());
        return Err(NotASeal { path, why }.into());
    }
    let mut related = RelatedFiles {
        seal: compared,
        info: opened.info(),
        info_error: opened.info_error.clone(),
        length: opened.dump.file.metadata().map(|meta| meta.len()).ok(),
        compression: args
            .file
            .file_name()
            .and_then(|name| Some(compression_in(name.to_str()?))),
        misfit: None,
    };
    let is_damaged = related.seal.as_ref().is_some_and(Comparison::is_damaged);
    let (core, kernel, changes) = match opened
        .read(|e| is_damaged || e.is_environment())
    {
        Ok(inputs) => {
            related.misfit = inputs.misfit.map(|misfit| misfit.0);
            (Ok(inputs.core), inputs.kernel, inputs.changes)
        }
        Err(Error::Open(e)) if is_dump(&args.file, &e, &related) => {
            (Err(e), None, None)
        }
        Err(Error::Open(e)) => {
            // Of what cannot be read at all it is the only thing to say.
            let sealed = related.seal.iter();
            for finding in sealed.flat_map(|s| s.findings(None)) {
                note(format_args!("{}: {}", args.file.display(), finding.text));
            }
            return Err(e.into());
        }
        Err(e) => return Err(e),
    };
    let mut found = examine(core.as_ref(), kernel.as_ref(), &related, threads);
    // What changed is not damage; a list of it that is none is odd.
    match changes.map(ChangesFile::read).transpose() {
        Ok(Some(list)) => found.add("changed", Status::Ok, list.summary()),
        Ok(None) => {}
        Err(e) => found.add("changed", Status::Warning, chain(&e)),
    }
    let instant = core.as_ref().ok().and_then(|core| core.instant().ok()?);
    let instant = instant.map(Instant::of_record);
    report(args, kernel.as_ref(), instant, &found)
}

/// Whether there is a verdict on what does not open: it is a dump by what is
/// in it, by its name, or by its seal. Of any other file there is none.
fn is_dump(file: &Path, e: &OpenError, related: &RelatedFiles) -> bool {
    let nothing = matches!(
        e,
        OpenError::Foreign { known: false, .. } | OpenError::Short { .. }
    );
    let sealed = related.seal.as_ref().is_some_and(|seal| seal.compared);
    let named = || companion(file, "seal").is_some();
    !e.is_unread() && (!nothing || sealed || named())
}

fn report(
    args: &Args,
    kernel: Option<&Kernel>,
    instant: Option<Instant>,
    found: &Verification,
) -> Result<Outcome, Error> {
    let file = escape_path(&args.file);
    let kernel = kernel.map(|kernel| kernel.path().to_string());
    let report = Verify::new(file, kernel, instant, found);
    report.print(args.json)?;
    let strict = args.strict && report.warnings > 0;
    let strict = if strict { Outcome::Finding } else { Outcome::Clean };
    Ok(Outcome::from(&report.verdict).and(strict))
}

#[cfg(test)]
mod tests {
    use super::*;
    use livedump_vmcore::sample::file;
    use livedump_vmcore::sample::{Sample, VERSIONS};

    fn outcome(change: impl Fn(&mut Sample), strict: bool) -> Outcome {
        let (machine, version) = VERSIONS[2];
        let mut s = Sample::new(machine, version);
        let kernel = file(&s.kernel());
        change(&mut s);
        let dump = file(&s.bytes());
        let args = Args {
            kernel: Some(kernel.path().to_path_buf()),
            seal: None,
            strict,
            json: true,
            keys: KeyArgs::default(),
            file: dump.path().to_path_buf(),
        };
        run(&args).unwrap()
    }

    #[test]
    fn warnings_count_only_when_strict() {
        let excess = |s: &mut Sample| s.excess = vec![99];
        assert_eq!(outcome(|_| {}, true), Outcome::Clean);
        assert_eq!(outcome(excess, false), Outcome::Clean);
        assert_eq!(outcome(excess, true), Outcome::Finding);
    }

    #[test]
    fn a_dump_whose_bits_and_pages_agree_is_damaged_without_its_lists() {
        // What a stock 13.2 dump is like: the page is missing and so is its
        // bit.
        let lost = |s: &mut Sample| {
            s.pages.remove(&0x5000);
        };
        assert_eq!(outcome(lost, false), Outcome::Finding);
        let version = |s: &mut Sample| s.image()[0x100] = b'f';
        assert_eq!(outcome(version, false), Outcome::Finding);
        let hz = |s: &mut Sample| s.image()[3] = 0xff;
        assert_eq!(outcome(hz, false), Outcome::Finding);
    }
}
