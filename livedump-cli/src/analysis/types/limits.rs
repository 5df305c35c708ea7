// SPDX-License-Identifier: BSD-2-Clause
//! What reading type information may cost. A file that asks for more is
//! refused: it may mean harm, and no kernel's does.

use std::cell::Cell;

/// Bytes of sections that are kept in memory at a time. GENERIC's have 30 MB.
const ROOM: u64 = 128 << 20;
/// An entry or an attribute of DWARF, a member or a type of CTF is a step of
/// some nanoseconds. All of GENERIC's DWARF takes 400 million.
const STEPS: u64 = 600_000_000;

/// Memory.
#[derive(Debug)]
pub(super) struct MemoryLimit(u64);

impl MemoryLimit {
    pub(super) fn new() -> Self {
        Self(ROOM)
    }

    /// Whether there is room for so many bytes more.
    pub(super) fn charge(&mut self, bytes: u64) -> bool {
        let left = self.0.checked_sub(bytes);
        self.0 = left.unwrap_or(self.0);
        left.is_some()
    }
}

/// There are none left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LimitExceeded;

/// Steps.
#[derive(Debug)]
pub(super) struct Steps(Cell<u64>);

impl Steps {
    pub(super) fn new() -> Self {
        Self(Cell::new(STEPS))
    }

    /// So many times as much: for a number of questions.
    pub(super) fn times(n: u64) -> Self {
        Self(Cell::new(STEPS.saturating_mul(n)))
    }

    /// Takes so many.
    pub(super) fn charge(&self, n: usize) -> Result<(), LimitExceeded> {
        let left = self.0.get().checked_sub(n as u64).ok_or(LimitExceeded)?;
        self.0.set(left);
        Ok(())
    }
}
