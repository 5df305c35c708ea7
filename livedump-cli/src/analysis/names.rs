// SPDX-License-Identifier: BSD-2-Clause
//! All symbols of a kernel and of its modules: by name, and by any address
//! that they have.

use livedump_vmcore::elf::Kernel;
use std::cell::OnceCell;

/// Code without a size, an assembler's, is not longer.
const MAX_CODE: u64 = 64 << 10;
/// Symbols at and before an address that may have it.
const NEAR: usize = 16;

/// A symbol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name<'k> {
    /// Its address.
    pub at: u64,
    /// Its bytes; 0 where the file does not say.
    pub size: u64,
    /// Its type, as nm(1) has it.
    pub letter: char,
    /// The name.
    pub name: &'k [u8],
    /// Which of the files has it.
    file: u16,
}

impl Name<'_> {
    /// Whether it is code.
    #[must_use]
    pub fn is_code(&self) -> bool {
        matches!(self.letter, 't' | 'T' | 'i' | 'W')
    }

    /// Whether it is neither in memory nor a constant that could be.
    fn is_no_place(&self) -> bool {
        matches!(self.letter, 'a' | 'A' | 'n' | 'N' | '?')
    }
}

/// The symbols of some files.
#[derive(Debug)]
pub struct Names<'k> {
    files: Vec<(&'k Kernel, Option<String>)>,
    /// In the order of their addresses.
    all: OnceCell<Vec<Name<'k>>>,
}

impl<'k> Names<'k> {
    /// Of a kernel, and of modules with their names.
    #[must_use]
    pub fn new(
        kernel: &'k Kernel,
        modules: impl Iterator<Item = (&'k Kernel, String)>,
    ) -> Self {
        let modules = modules.map(|(file, name)| (file, Some(name)));
        let files = [(kernel, None)].into_iter().chain(modules);
        Self { files: files.collect(), all: OnceCell::new() }
    }

    /// All of them, in the order of their addresses.
    pub fn all(&self) -> &[Name<'k>] {
        self.all.get_or_init(|| {
            let mut all = Vec::new();
            for (number, (file, _)) in self.files.iter().enumerate() {
                let file: &'k Kernel = file;
                let number = number.min(usize::from(u16::MAX)) as u16;
                all.extend(file.letters().map(|(name, symbol, letter)| Name {
                    at: symbol.address.0,
                    size: symbol.size,
                    letter,
                    name,
                    file: number,
                }));
            }
            // The longest of those at one address last.
            all.sort_by_key(|n| (n.at, n.size, n.is_no_place()));
            all
        })
    }

    /// The module that has a symbol; `None` for the kernel.
    #[must_use]
    pub fn module(&self, name: &Name<'_>) -> Option<&str> {
        self.files.get(usize::from(name.file))?.1.as_deref()
    }

    /// The first of a name: the kernel's own come first.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<Name<'k>> {
        let name = name.as_bytes();
        let same = self.all().iter().filter(|n| n.name == name);
        same.min_by_key(|n| n.file).copied()
    }

    /// The symbol that has an address, and how far into it that is.
    #[must_use]
    pub fn at(&self, address: u64) -> Option<(Name<'k>, u64)> {
        // Constants are at any number.
        if address >> 63 == 0 {
            return None;
        }
        let all = self.all();
        let after = all.partition_point(|n| n.at <= address);
        let near = all.get(..after)?.iter().rev().take(NEAR);
        let near = near.filter(|n| !n.is_no_place());
        near.copied().find_map(|n| {
            let offset = address.checked_sub(n.at)?;
            let reach = match n.size {
                0 if n.is_code() => MAX_CODE,
                0 => 1,
                size => size,
            };
            (offset < reach).then_some((n, offset))
        })
    }

    /// `symbol+0x10`, and the module if it is of one.
    #[must_use]
    pub fn text(&self, address: u64) -> Option<String> {
        let (name, offset) = self.at(address)?;
        let mut text = crate::report::escape(name.name);
        if offset > 0 {
            text.push_str(&format!("+{offset:#x}"));
        }
        if let Some(module) = self.module(&name) {
            text.push_str(&format!(
                " ({})",
                crate::report::escape(module.as_bytes())
            ));
        }
        Some(text)
    }

    /// Names that are near to one that is not there.
    #[must_use]
    pub fn near(&self, name: &str) -> String {
        let all = self.all().iter();
        let all = all.filter_map(|n| std::str::from_utf8(n.name).ok());
        super::expression::near::near(name, all)
    }
}
