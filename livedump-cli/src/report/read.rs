// SPDX-License-Identifier: BSD-2-Clause
//! Memory as `livedump read --json` gives it.

use super::{Hex, Hexdump, Report};
use serde::{Serialize, Serializer};
use std::io::{self, Write};

/// A piece of memory.
#[derive(Debug, Serialize)]
pub struct Read {
    /// As the file was named.
    pub file: String,
    /// The symbol that was asked for.
    pub symbol: Option<String>,
    /// "virtual" or "physical".
    pub space: &'static str,
    /// Where it starts.
    pub address: Hex,
    /// Bytes that were asked for.
    pub length: u64,
    /// Bytes that are there, in hexadecimal.
    #[serde(serialize_with = "hex")]
    pub data: Vec<u8>,
    /// What is not there.
    pub missing: Option<Missing>,
    /// Pages that changed, if they were recorded.
    pub changed: Option<ReadChanged>,
}

/// Of pages that a command went by, those that changed while the dump was
/// written.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct ReadChanged {
    /// Pages that were read.
    pub checked: u64,
    /// Those of them that changed.
    pub pages: u64,
}

/// Why data end early.
#[derive(Debug, Serialize)]
pub struct Missing {
    /// The first address that is not there.
    pub address: Hex,
    /// Why not.
    pub reason: String,
}

fn hex<S: Serializer>(data: &[u8], s: S) -> Result<S::Ok, S::Error> {
    let text: String = data.iter().map(|b| format!("{b:02x}")).collect();
    s.serialize_str(&text)
}

impl Report for Read {
    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut dump = Hexdump::new(self.address.0);
        dump.push(&self.data, out)?;
        dump.finish(out)
    }
}
