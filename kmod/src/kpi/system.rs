// SPDX-License-Identifier: BSD-2-Clause
//! Names and clocks, for the headers.

/// What the machine is called and what time it is.
pub trait System {
    /// Unix seconds. C: `time_second`.
    fn time_second(&self) -> i64;

    /// Nanoseconds since some fixed moment. C: `nanouptime`.
    fn nanouptime(&self) -> u64;

    /// Copies prison0's host name and returns its length. Takes a lock.
    /// C: `getcredhostname`.
    fn hostname(&self, out: &mut [u8]) -> usize;

    /// Copies the kernel's `version` and returns its length.
    fn version(&self, out: &mut [u8]) -> usize;
}
