// SPDX-License-Identifier: BSD-2-Clause
//! Why something of the system is not told.

use super::target::Target;
use super::types::Missing;
use livedump_vmcore::ReadError;
use memdev::addr::Vaddr;

/// The reason, in one line.
#[derive(Debug, thiserror::Error)]
pub enum Unavailable {
    /// Where fields stand is not known.
    #[error(transparent)]
    Types(#[from] Missing),
    /// The kernel has no such variable: it was built without, perhaps.
    #[error("the kernel has no symbol {0}")]
    Symbol(&'static str),
    /// A variable that has a value it cannot have.
    #[error("{name} is {value}")]
    Value {
        /// The variable.
        name: &'static str,
        /// What it has.
        value: u64,
    },
    /// It is not in the dump, or cannot be read from it.
    #[error("{what}")]
    Read {
        /// What was read.
        what: &'static str,
        /// Why it could not be.
        source: ReadError,
    },
}

impl Target<'_> {
    /// The address of a variable that has to be known.
    ///
    /// # Errors
    /// The kernel has none.
    pub(super) fn need(
        &self,
        name: &'static str,
    ) -> Result<Vaddr, Unavailable> {
        self.address(name).ok_or(Unavailable::Symbol(name))
    }

    /// A pointer or a long that has to be known.
    ///
    /// # Errors
    /// The kernel has none, or it is not in the dump.
    pub(super) fn need_u64(
        &self,
        name: &'static str,
    ) -> Result<u64, Unavailable> {
        let read = self.core.read_u64(self.need(name)?);
        read.map_err(|source| Unavailable::Read { what: name, source })
    }

    /// An integer that has to be known, and is not larger than `most`.
    ///
    /// # Errors
    /// It is not known, or larger.
    pub(super) fn need_number(
        &self,
        name: &'static str,
        most: u64,
    ) -> Result<u64, Unavailable> {
        self.need(name)?;
        let value = self.number(name).ok_or(Unavailable::Symbol(name))?;
        match value <= most {
            true => Ok(value),
            false => Err(Unavailable::Value { name, value }),
        }
    }
}
