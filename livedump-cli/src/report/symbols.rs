// SPDX-License-Identifier: BSD-2-Clause
//! Symbols as nm(1) has them.

use super::{Hex, Report, Table};
use serde::Serialize;
use std::io::{self, Write};

/// Symbols.
#[derive(Debug, Serialize)]
pub struct Symbols {
    /// The dump, if one was named.
    pub file: Option<String>,
    /// The kernel's file.
    pub kernel: String,
    /// In the order of their addresses.
    pub symbols: Vec<SymbolRow>,
}

/// One of them.
#[derive(Debug, Serialize)]
pub struct SymbolRow {
    /// Its address.
    pub address: Hex,
    /// Its bytes, where the file says.
    pub size: Option<u64>,
    /// Its letter.
    #[serde(rename = "type")]
    pub letter: char,
    /// Its name.
    pub name: String,
    /// How far into it the address is that was asked for.
    pub offset: Option<u64>,
    /// The module that has it; none for the kernel.
    pub module: Option<String>,
}

impl Report for Symbols {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.symbols.is_empty() {
            return Ok(());
        }
        let mut table =
            Table::new(&["ADDRESS", ">SIZE", "TYPE", "NAME", "MODULE"]);
        for s in &self.symbols {
            let name = match s.offset {
                Some(n) if n > 0 => format!("{}+{n:#x}", s.name),
                _ => s.name.clone(),
            };
            let size = s.size.map(|n| n.to_string());
            table.row(vec![
                s.address.to_string(),
                size.unwrap_or_else(|| "-".into()),
                s.letter.to_string(),
                name,
                s.module.clone().unwrap_or_default(),
            ]);
        }
        table.write(out)
    }
}
