// SPDX-License-Identifier: BSD-2-Clause
//! `livedump symbols`: the symbols of a kernel and of its modules, by name or
//! address.
//!
//! ```text
//! $ livedump symbols -k kernel hz
//! ADDRESS             SIZE  TYPE  NAME    MODULE
//! 0xffffffff81cd4c0c     4  B     hz
//! ```

use super::print::{Opened, names};
use super::session::KernelArgs;
use crate::analysis::names::{Name, Names};
use crate::analysis::pattern::Pattern;
use crate::analysis::stack::ModuleFile;
use crate::error::Error;
use crate::outcome::Outcome;
use crate::report::{Hex, Report, SymbolRow, Symbols, escape, note};
use crate::sandbox::{self, Purpose, Role};
use clap::ValueHint;
use livedump_vmcore::elf::Kernel;
use livedump_vmcore::path::escape_path;
use std::ffi::OsString;
use std::os::fd::AsFd;
use std::path::Path;

/// Arguments of `symbols`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub kernel: KernelArgs,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    /// Dump file, which -k replaces; and a part of the name, a pattern as for
    /// sh(1), or an address
    #[arg(
        value_names = ["FILE", "PATTERN"],
        required = true,
        num_args = 1..=2,
        value_hint = ValueHint::FilePath
    )]
    pub words: Vec<OsString>,
}

/// Shows them.
///
/// # Errors
/// The files cannot be read, or do not belong together. That there is no such
/// symbol is [`Outcome::Finding`].
pub fn run(args: &Args) -> Result<Outcome, Error> {
    let (file, pattern) = match args.words.as_slice() {
        [pattern] => (None, pattern),
        [file, pattern, ..] => (Some(Path::new(file)), pattern),
        [] => return Err(Error::Usage("name a symbol")),
    };
    let pattern = pattern.to_string_lossy();
    let Some(file) = file else {
        let Some(path) = args.kernel.kernel() else {
            return Err(Error::Usage("name a dump or a kernel (-k)"));
        };
        let opened = Kernel::open_file(path)?;
        let _ =
            sandbox::enter(Role::Reader, &[(opened.as_fd(), Purpose::Read)]);
        let kernel = Kernel::from_file(opened, path)?;
        let names = names(&kernel, None, &[]);
        return report(args, &pattern, None, &kernel, &names);
    };
    let opened = Opened::open(file, &args.kernel)?;
    let target = opened.session.exported_only()?;
    target.unproven.iter().for_each(note);
    let modules: Vec<ModuleFile> = opened.modules(&target);
    let names = names(target.kernel, target.debug, &modules);
    let outcome = report(args, &pattern, Some(file), target.kernel, &names)?;
    Ok(match target.unproven.is_empty() {
        true => outcome,
        false => outcome.and(Outcome::Undetermined),
    })
}

/// An address, as it is written on a command line.
fn address(text: &str) -> Option<u64> {
    let hex = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    let bare = text.len() == 16 && text.starts_with(['f', 'F']);
    let digits = hex.or(bare.then_some(text))?;
    u64::from_str_radix(digits, 16).ok()
}

fn report(
    args: &Args,
    pattern: &str,
    file: Option<&Path>,
    kernel: &Kernel,
    names: &Names<'_>,
) -> Result<Outcome, Error> {
    let row = |name: &Name<'_>, offset: Option<u64>| SymbolRow {
        address: Hex(name.at),
        size: (name.size > 0).then_some(name.size),
        letter: name.letter,
        name: escape(name.name),
        offset,
        module: names.module(name).map(|m| escape(m.as_bytes())),
    };
    let symbols: Vec<SymbolRow> = match address(pattern) {
        Some(at) => {
            let found = names.at(at);
            found.iter().map(|(name, n)| row(name, Some(*n))).collect()
        }
        None => {
            let pattern = Pattern::new(pattern);
            let all = names.all().iter();
            let all = all.filter(|n| pattern.matches(n.name));
            all.map(|name| row(name, None)).collect()
        }
    };
    let is_empty = symbols.is_empty();
    let report = Symbols {
        file: file.map(escape_path),
        kernel: kernel.path().to_string(),
        symbols,
    };
    report.print(args.json)?;
    if is_empty {
        note("no symbol matches");
        return Ok(Outcome::Finding);
    }
    Ok(Outcome::Clean)
}
