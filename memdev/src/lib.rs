// SPDX-License-Identifier: BSD-2-Clause
//! The contract between the kernel module and the tools: what one side writes
//! and the other reads.
//!
//! ```text
//!  a live dump as the kernel leaves it          words
//!  +----------------------------------+ 0       page     4096 bytes
//!  | minidump header, one page        |         bit      one page in the
//!  +----------------------------------+                  page bitset
//!  | message buffer (ring, as it is)  |         rank     set bits below one
//!  +----------------------------------+         pmap     page tables of the
//!  | dump_avail[] (not in v1/amd64 v2)|                  kernel map
//!  +----------------------------------+         dumplength
//!  | page bitset, padding zero        |                  bytes of the dump
//!  +----------------------------------+         dumpextent
//!  | pmap pages                       |                  the same before
//!  +----------------------------------+                  compression
//!  | data pages, ascending bits       |
//!  +----------------------------------+ dumplength
//!  | zeros to the next 4096           |
//!  +----------------------------------+
//!  | kerneldumpheader, 512 bytes      |  savecore(8) strips it
//!  +----------------------------------+
//! ```
//!
//! No allocation, no dependency, no `unsafe`: the same source is compiled into
//! `livedump.ko`, into the tool and into the tests.

#![no_std]
#![forbid(unsafe_code)]

pub mod addr;
pub mod arch;
pub mod bitset;
pub mod changes;
pub mod dump_avail;
pub mod errno;
pub mod freeze;
pub mod ioctl;
pub mod kerneldump;
pub mod keys;
pub mod minidump;
pub mod params;
pub mod seekable;
pub mod stage;

mod bytes;
