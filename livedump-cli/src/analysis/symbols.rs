// SPDX-License-Identifier: BSD-2-Clause
//! From an address of the kernel's text to the function that has it.

use crate::vmcore::elf::Kernel;
use memdev::addr::Vaddr;
use std::fmt;

/// No function is longer: what is farther behind a symbol is not its.
const MAX_FUNCTION: u64 = 1 << 20;

/// The functions of a kernel, by address.
#[derive(Debug)]
pub struct Symbols {
    /// Address, size, and the symbol's number in the file.
    functions: Vec<(u64, u64, u32)>,
    names: Vec<Box<str>>,
}

/// A place in a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The function, or module.
    pub name: String,
    /// How far into it.
    pub offset: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{:#x}", self.name, self.offset)
    }
}

impl Symbols {
    /// Sorts what `kernel` has.
    #[must_use]
    pub fn new(kernel: &Kernel) -> Self {
        let mut functions = Vec::new();
        let mut names = Vec::new();
        for (name, s) in kernel.symbols().filter(|(_, s)| s.code) {
            let Ok(number) = u32::try_from(names.len()) else { break };
            functions.push((s.address.0, s.size, number));
            names.push(String::from_utf8_lossy(name).into());
        }
        // The longest of those at one address last: it is found first.
        functions.sort_unstable();
        Self { functions, names }
    }

    /// The function that has `va`, if any.
    #[must_use]
    pub fn find(&self, va: Vaddr) -> Option<Place> {
        let behind = self.functions.partition_point(|f| f.0 <= va.0);
        // A symbol without a size, an assembler's, has what is behind it; one
        // with a size only that.
        let near = self.functions.get(..behind)?.iter().rev().take(8);
        near.copied().find_map(|(at, size, number)| {
            let offset = va.0.checked_sub(at)?;
            let reach = if size == 0 { MAX_FUNCTION } else { size };
            let name = self.names.get(number as usize)?;
            (offset < reach).then(|| Place { name: name.to_string(), offset })
        })
    }
}
