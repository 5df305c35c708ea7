// SPDX-License-Identifier: BSD-2-Clause
//! `livedump verify`: check what a dump can prove, and say what it cannot.
//!
//! Exit status 1 means that something is wrong. Warnings are about things
//! that lose nothing, such as the garbage which stock kernels leave in the
//! bitset's padding; `--strict` lets them count.

mod seal;

use super::Inputs;
use super::inputs::Opened;
use crate::error::{Error, chain};
use crate::outcome::Outcome;
use crate::path::escape_path;
use crate::report::{Report, Verify, note};
use crate::vmcore::changes::Unread;
use crate::vmcore::{Status, Verification};
use clap::ValueHint;
use memdev::kerneldump::Compression;
use std::path::PathBuf;
use std::thread::available_parallelism;

/// Arguments of `verify`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Kernel of the dump [default: kernel.N]
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
    /// Dump file: plain, gzip or zstd
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
}

/// Checks it.
///
/// # Errors
/// The file is no dump, or the kernel no kernel.
pub fn run(args: &Args) -> Result<Outcome, Error> {
    let threads = available_parallelism().map_or(1, |n| n.get().min(16));
    let sealed = seal::open(&args.file, args.seal.as_deref())?;
    let opened = Opened::open(&args.file, args.kernel.as_deref(), sealed)?;
    let sealed = opened
        .seal
        .as_ref()
        .map(|sealed| seal::check(&opened.dump, sealed, threads));
    let Inputs { core, kernel, changes } = match (opened.read(), &sealed) {
        (Ok(inputs), _) => inputs,
        // A dump it was, when it was sealed.
        (Err(Error::Open(e)), Some(sealed))
            if sealed.usable && !sealed.holds && e.is_of_contents() =>
        {
            let mut verdict = Verification::default();
            verdict.add("header", Status::Wrong, chain(&e));
            verdict.add_seal(sealed.findings(None), false);
            verdict.unchecked.push("everything behind the header".into());
            return tell(args, None, &verdict);
        }
        (Err(e), sealed) => {
            // Of what cannot be read at all it is the only thing to say.
            for finding in sealed.iter().flat_map(|s| s.findings(None)) {
                note(format_args!("{}: {}", args.file.display(), finding.text));
            }
            return Err(e);
        }
    };
    let mut verdict = core.verify(kernel.as_ref(), threads);
    if let Some(sealed) = &sealed {
        let plain = core.compression() == Compression::None;
        let layout = plain.then(|| core.layout());
        verdict.add_seal(sealed.findings(layout), sealed.holds);
    }
    // What changed is no fault of the dump's; a list that is none is.
    match changes.map(Unread::read).transpose() {
        Ok(Some(list)) => verdict.add("changed", Status::Ok, list.summary()),
        Ok(None) => {}
        Err(e) => verdict.add("changed", Status::Warning, chain(&e)),
    }
    tell(args, kernel.map(|k| k.path().to_string()), &verdict)
}

fn tell(
    args: &Args,
    kernel: Option<String>,
    verdict: &Verification,
) -> Result<Outcome, Error> {
    let file = escape_path(&args.file);
    let report = Verify::new(file, kernel, verdict);
    report.print(args.json)?;
    let bad = report.wrong > 0 || args.strict && report.warnings > 0;
    Ok(if bad { Outcome::Finding } else { Outcome::Clean })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vmcore::tests::file;
    use crate::vmcore::tests::sample::{Sample, VERSIONS};

    fn outcome(change: impl Fn(&mut Sample), strict: bool) -> Outcome {
        let (machine, version) = VERSIONS[2];
        let mut s = Sample::new(machine, version);
        change(&mut s);
        let (dump, kernel) = (file(&s.bytes()), file(&s.kernel()));
        let args = Args {
            kernel: Some(kernel.path().to_path_buf()),
            seal: None,
            strict,
            json: true,
            file: dump.path().to_path_buf(),
        };
        run(&args).unwrap()
    }

    #[test]
    fn warnings_count_only_when_strict() {
        let stray = |s: &mut Sample| s.stray = vec![99];
        assert_eq!(outcome(|_| {}, true), Outcome::Clean);
        assert_eq!(outcome(stray, false), Outcome::Clean);
        assert_eq!(outcome(stray, true), Outcome::Finding);
    }

    #[test]
    fn a_dump_whose_bits_and_pages_agree_is_wrong_without_its_lists() {
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
