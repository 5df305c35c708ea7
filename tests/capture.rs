// SPDX-License-Identifier: BSD-2-Clause
//! Machines at rest: what is in the dump is what is in the machine, to the
//! byte, on every kind of machine and in every packing.

mod contents;
pub(crate) mod freeze;
mod instant;
mod keys;
mod memory;
mod packing;
mod requests;
