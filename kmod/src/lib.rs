// SPDX-License-Identifier: BSD-2-Clause
//! The live dump engine: what `livedump.ko` does, over whatever kernel
//! [`kpi::Kpi`] stands for.
//!
//! 1. [`livedump`] takes a request apart: privilege, flags, descriptor,
//!    compressor; then one dump at a time, and the file's range lock.
//! 2. [`minidump`] *scans*: private copies of the page bitset and the message
//!    buffer, then the kernel's page tables, which add what they map.
//! 3. It *plans*: bits of pages that do not belong in a dump go, the rest is
//!    counted, and every size is known. An estimate ends here.
//! 4. The file is emptied, and what was planned is *emitted* in file order:
//!    from here on bits, counts and tables are the private copies; only page
//!    contents are still read from the live machine, once each.
//! 5. [`dumper`] takes the bits of data pages, has chunks of them copied and
//!    compressed, gathers whole blocks and writes them; last of all the kernel
//!    dump header.
//!
//! Imports run one way: `entry -> livedump -> minidump -> dumper -> kpi`. The
//! border [`kpi`] is split by role; what runs over memory alone asks for
//! [`kpi::Memory`]. Machines in user space are the crate `livedump-hosted`.
//! No allocation but through the KPI, and none once the first byte is out; no
//! panic; locks are guards.

#![no_std]
#[cfg(test)]
extern crate std;

pub mod dumper;
#[cfg(target_os = "none")]
pub mod entry;
pub mod error;
pub mod kpi;
pub mod livedump;
pub mod minidump;
pub mod progress;
mod quiesce;
