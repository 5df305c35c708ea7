// SPDX-License-Identifier: BSD-2-Clause
//! Do the lists of a fresh dump walk? The stock facility of 13.2 leaves out
//! most pages and their bits with them: such a dump agrees with itself and is
//! of no use. Done where it costs little, which is where any page can be read
//! at once; `livedump verify` does it for the others.

use crate::error::chain;
use crate::vmcore::elf::Kernel;
use crate::vmcore::{Status, Vmcore};
use memdev::kerneldump::Compression;
use std::fs::File;
use std::path::{Path, PathBuf};

/// What came of it.
#[derive(Debug, Default)]
pub(in crate::cmd) struct Lists {
    /// Whether they do; `None` where nobody could tell.
    pub(in crate::cmd) walked: Option<bool>,
    /// What is wrong with them.
    pub(in crate::cmd) problems: Vec<String>,
    /// What was not looked at, and why.
    pub(in crate::cmd) unchecked: Vec<String>,
}

/// The file of a kernel, opened before, or why it could not be.
pub(in crate::cmd) type KernelFile = (PathBuf, Result<File, String>);

/// Walks those of a file, with the kernel that is running.
pub(super) fn walk(
    file: &File,
    path: &Path,
    kernel: Option<&KernelFile>,
) -> Lists {
    let opened = file.try_clone().ok();
    match opened.and_then(|file| Vmcore::from_file(file, path).ok()) {
        Some(core) => walk_core(&core, kernel),
        // Said already where its structure was looked at.
        None => Lists::default(),
    }
}

/// Walks those of a dump.
pub(in crate::cmd) fn walk_core(
    core: &Vmcore,
    kernel: Option<&KernelFile>,
) -> Lists {
    let skip = |why: String| Lists {
        unchecked: vec![format!(
            "whether the dump is complete was not checked: {why}"
        )],
        ..Lists::default()
    };
    let Some(kernel) = kernel else {
        let why = "its kernel's file is not known (livedump verify -k)";
        return skip(why.into());
    };
    let plain = core.compression() == Compression::None;
    if !plain && core.source().parts().is_none() {
        let why = "it is compressed without an index (livedump verify -k)";
        return skip(why.into());
    }
    let kernel = match read(kernel) {
        Ok(kernel) => kernel,
        Err(why) => return skip(why),
    };
    let verdict = core.verify_lists_only(&kernel);
    let wrong = verdict.findings.iter().filter(|f| f.status == Status::Wrong);
    // Another kernel's file says nothing about the dump.
    let another = wrong.clone().find(|f| f.check == "kernel");
    if let Some(f) = another.filter(|_| !verdict.walked) {
        return skip(format!("{}: {}", kernel.path(), f.text));
    }
    let problems: Vec<_> =
        wrong.map(|f| format!("{}: {}", f.check, f.text)).collect();
    let walked = verdict.walked && problems.is_empty();
    if !walked && problems.is_empty() {
        return skip(verdict.unchecked.join("; "));
    }
    Lists { walked: Some(walked), problems, unchecked: Vec::new() }
}

fn read((path, file): &KernelFile) -> Result<Kernel, String> {
    let file = file.as_ref().map_err(Clone::clone)?;
    let file = file.try_clone().map_err(|e| e.to_string())?;
    Kernel::from_file(file, path).map_err(|e| chain(&e))
}
