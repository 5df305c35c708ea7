// SPDX-License-Identifier: BSD-2-Clause
//! The symbols of an ELF kernel: section headers, symbol table, strings.
//! Ours, so that neither the model's writer nor the tool's reader is judge in
//! its own case.

pub mod dwarf;
pub mod sections;
pub mod yaml;

use crate::decoder::Wrong;
use crate::decoder::bytes::{bytes, le32, le64};
use std::collections::BTreeMap;

const SHT_SYMTAB: u32 = 2;
const SYMBOL: usize = 24;
const SECTION: usize = 64;

/// Names and values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Symbols(BTreeMap<String, u64>);

impl Symbols {
    /// Reads the symbol table of a 64-bit little-endian ELF file.
    ///
    /// # Errors
    /// When it is none, or has none.
    pub fn parse(elf: &[u8]) -> Result<Self, Wrong> {
        if bytes::<6>(elf, 0)? != *b"\x7fELF\x02\x01" {
            return Err("not a 64-bit little-endian ELF file".into());
        }
        let shoff = le64(elf, 40)? as usize;
        let shnum = u16::from_le_bytes(bytes(elf, 60)?) as usize;
        let header = |i: usize| {
            let at = shoff + SECTION * i;
            let offset = le64(elf, at + 24)? as usize;
            let size = le64(elf, at + 32)? as usize;
            Ok::<_, Wrong>((le32(elf, at + 4)?, offset, size, at))
        };
        let mut names = BTreeMap::new();
        for i in 0..shnum {
            let (kind, offset, size, at) = header(i)?;
            if kind != SHT_SYMTAB {
                continue;
            }
            let (_, strings, _, _) = header(le32(elf, at + 40)? as usize)?;
            for symbol in (offset..offset + size).step_by(SYMBOL) {
                let name = strings + le32(elf, symbol)? as usize;
                let name = elf.get(name..).unwrap_or(&[]);
                let name = name.split(|&c| c == 0).next().unwrap_or(&[]);
                let name = String::from_utf8_lossy(name).into_owned();
                if !name.is_empty() {
                    names.insert(name, le64(elf, symbol + 8)?);
                }
            }
        }
        match names.is_empty() {
            true => Err("no symbol table".into()),
            false => Ok(Self(names)),
        }
    }

    /// A symbol's value.
    ///
    /// # Errors
    /// When there is no such symbol.
    pub fn get(&self, name: &str) -> Result<u64, Wrong> {
        let value = self.0.get(name).copied();
        value.ok_or_else(|| format!("no symbol {name}"))
    }
}
