// SPDX-License-Identifier: BSD-2-Clause
//! From an address of the kernel's text to its function.

use livedump_vmcore::elf::{Functions, Kernel};
use memdev::addr::Vaddr;
use std::cell::OnceCell;
use std::collections::HashMap;

/// No function is longer: what is further after a symbol is not its.
const MAX_FUNCTION: u64 = 1 << 20;

/// The functions of a kernel, by address.
#[derive(Debug)]
pub struct Symbols {
    functions: Functions,
    /// By name, made when the first is asked for.
    by_name: OnceCell<HashMap<Vec<u8>, u64>>,
}

/// A place in a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SymbolOffset {
    /// The function, or module.
    pub name: Vec<u8>,
    /// How far into it.
    pub offset: u64,
}

impl Symbols {
    /// Sorts what `kernel` has.
    #[must_use]
    pub fn new(kernel: &Kernel) -> Self {
        let mut functions = kernel.functions();
        // The longest of those at one address last: it is found first.
        functions.all.sort_unstable();
        Self { functions, by_name: OnceCell::new() }
    }

    /// Where a function starts; the first of those with one name.
    #[must_use]
    pub fn entry(&self, name: &str) -> Option<u64> {
        let by_name = self.by_name.get_or_init(|| {
            let mut map = HashMap::new();
            for &(at, _, name) in &self.functions.all {
                let name = self.functions.name(name).to_vec();
                map.entry(name).or_insert(at);
            }
            map
        });
        by_name.get(name.as_bytes()).copied()
    }

    /// The function that has `va`, if any.
    #[must_use]
    pub fn find(&self, va: Vaddr) -> Option<SymbolOffset> {
        let all = &self.functions.all;
        let after = all.partition_point(|f| f.0 <= va.0);
        // A symbol without a size, an assembler's, has what follows it; one
        // with a size only that.
        let near = all.get(..after)?.iter().rev().take(8);
        near.copied().find_map(|(at, size, name)| {
            let offset = va.0.checked_sub(at)?;
            let reach = if size == 0 { MAX_FUNCTION } else { size };
            let name = self.functions.name(name);
            (offset < reach)
                .then(|| SymbolOffset { name: name.to_vec(), offset })
        })
    }
}
