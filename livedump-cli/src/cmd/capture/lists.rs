// SPDX-License-Identifier: BSD-2-Clause
//! Do the lists of a fresh dump walk? The stock facility of 13.2 leaves out
//! most pages and their bits with them: such a dump agrees with itself and is
//! of no use. Done where it costs little, which is where any page can be read
//! at once; `livedump verify` does it for the others.

use crate::analysis::target::check_match;
use crate::kernel_files;
use livedump_vmcore::chain;
use livedump_vmcore::elf::Kernel;
use livedump_vmcore::verdict::Verdict;
use livedump_vmcore::{Status, Vmcore};
use memdev::kerneldump::Compression;
use std::fs::File;
use std::path::PathBuf;

/// What came of it.
#[derive(Debug)]
pub(in crate::cmd) struct Lists {
    /// Whether they do, where they were walked.
    pub(in crate::cmd) walked: Option<bool>,
    /// What does not hold, or could not be read. Lists that were not walked
    /// say nothing against a dump: see `unchecked`.
    pub(in crate::cmd) verdict: Verdict,
    /// What was not checked, and why.
    pub(in crate::cmd) unchecked: Option<String>,
}

/// The file of a kernel, opened before, or why it could not be.
pub(in crate::cmd) type KernelFile = (PathBuf, Result<File, String>);

/// Walks those of a dump, with the first of some kernels that is its.
/// `is_named`: that is the one that was named, and has to be.
pub(in crate::cmd) fn walk(
    core: &Vmcore,
    kernels: &[&KernelFile],
    is_named: bool,
) -> Lists {
    if kernels.is_empty() {
        return skipped("its kernel's file is not known (livedump verify -k)");
    }
    let plain = core.compression() == Compression::None;
    if !plain && core.source().parts().is_none() {
        return skipped("it is compressed without an index (livedump verify)");
    }
    let unfit = |why: &str| match is_named {
        true => {
            Lists { verdict: Verdict::Undetermined(why.into()), ..skipped(why) }
        }
        false => skipped(why),
    };
    let kernel = match choose(core, kernels) {
        Ok(kernel) => kernel,
        Err(why) => return unfit(&why),
    };
    let found = core.verify_lists_only(&kernel);
    // Another kernel's file says nothing about the dump.
    let another = found
        .findings
        .iter()
        .find(|f| f.check == "kernel" && f.status == Status::Undetermined);
    if let Some(f) = another.filter(|_| !found.walked) {
        return unfit(&format!("{}: {}", kernel.path(), f.text));
    }
    let verdict = found.verdict();
    match &verdict {
        Verdict::Sound if !found.walked => skipped(&found.unchecked.join("; ")),
        Verdict::Undetermined(_) => {
            Lists { walked: None, verdict, unchecked: None }
        }
        Verdict::Sound | Verdict::Damaged(_) => {
            Lists { walked: Some(verdict.is_sound()), verdict, unchecked: None }
        }
    }
}

/// Lists that were not walked.
pub(in crate::cmd) fn skipped(why: &str) -> Lists {
    Lists {
        walked: None,
        verdict: Verdict::Sound,
        unchecked: Some(format!("the dump's lists were not walked: {why}")),
    }
}

/// The dump's kernel: another's file says nothing about it.
pub(in crate::cmd) fn choose(
    core: &Vmcore,
    kernels: &[&KernelFile],
) -> Result<Kernel, String> {
    let mut unproved = None;
    let mut failed = Vec::new();
    for file in kernels {
        let opened = read(file).and_then(|kernel| {
            let found = check_match(core, &kernel);
            found.map(|why| (kernel, why.is_some())).map_err(|e| chain(&e))
        });
        match opened {
            Ok((kernel, false)) => return Ok(kernel),
            Ok((kernel, true)) => {
                unproved.get_or_insert(kernel);
            }
            Err(why) => failed.push(why),
        }
    }
    unproved.ok_or_else(|| failed.join("; "))
}

/// Whether the files of kernels can be read and are kernels of FreeBSD.
pub(in crate::cmd) fn check_usable(
    kernels: &[KernelFile],
) -> Result<(), kernel_files::Error> {
    for (path, file) in kernels {
        // One that cannot be opened was refused before.
        if let Ok(file) = file {
            kernel_files::check_usable(path, file)?;
        }
    }
    Ok(())
}

/// Reads one.
pub(in crate::cmd) fn read(
    (path, file): &KernelFile,
) -> Result<Kernel, String> {
    let file = file.as_ref().map_err(Clone::clone)?;
    let file = file.try_clone().map_err(|e| e.to_string())?;
    Kernel::from_file(file, path).map_err(|e| chain(&e))
}
