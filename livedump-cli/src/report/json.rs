// SPDX-License-Identifier: BSD-2-Clause
//! One JSON object and a newline.

use serde::{Serialize, Serializer};
use std::io::{self, Write};

/// An address: a string, because not every reader of JSON keeps 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hex(pub u64);

impl Serialize for Hex {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(&format_args!("{:#x}", self.0))
    }
}

impl std::fmt::Display for Hex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

pub(super) fn write<T: Serialize + ?Sized>(
    value: &T,
    out: &mut dyn Write,
) -> io::Result<()> {
    serde_json::to_writer(&mut *out, value).map_err(io::Error::from)?;
    out.write_all(b"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_string() {
        let mut out = Vec::new();
        write(&Hex(u64::MAX), &mut out).unwrap();
        assert_eq!(out, b"\"0xffffffffffffffff\"\n");
    }
}
