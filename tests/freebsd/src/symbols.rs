// SPDX-License-Identifier: BSD-2-Clause
//! Addresses of a kernel's symbols, read here and not by the reader that the
//! dumps are checked with.

use crate::error::{Error, Result, io};
use memdev::addr::Vaddr;
use object::{Object, ObjectSymbol};
use std::collections::HashMap;
use std::path::Path;

/// A kernel's symbol table.
#[derive(Debug)]
pub(crate) struct Symbols(HashMap<String, u64>);

impl Symbols {
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(io("reading", path))?;
        let elf = object::File::parse(&*bytes)
            .map_err(|source| Error::Symbols { path: path.into(), source })?;
        let named = |s: object::Symbol<'_, '_>| {
            Some((s.name().ok()?.to_owned(), s.address()))
        };
        Ok(Self(
            elf.symbols()
                .filter(|s| !s.is_undefined())
                .filter_map(named)
                .collect(),
        ))
    }

    pub(crate) fn get(&self, name: &str) -> Option<Vaddr> {
        self.0.get(name).map(|&a| Vaddr(a))
    }
}
