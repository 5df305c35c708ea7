// SPDX-License-Identifier: BSD-2-Clause
//! Live kernel minidumps for FreeBSD: taken, checked and read.
//!
//! The tool `livedump` is this library behind a command line. A live dump is
//! of many moments: the machine runs on while its memory is copied, unless it
//! was stopped for that, and everything here is written with that in mind.
//!
//! ```text
//!  args -> cmd/*  one file per command
//!           |  device    where a dump comes from: /dev/mem, a hosted machine
//!           |  qemu      a guest's memory from outside, by QEMU's monitor
//!           |  host      what the system says about itself
//!           |  crashdir  where it goes: savecore's directory
//!           |  dumpdev   where a panic left one
//!           |  ekcd      dumps that are encrypted
//!           |  netdump   dumps over the network, sent and received
//!           |  kernel_files  which kernel is the dump's, which its debug file
//!           |  vmcore    a dump as a file: open, check, read
//!           |  convert   a dump in another format
//!           |  examine   all checks of one dump, and their verdict
//!           |  summary   a report of a whole dump, section by section
//!           '- report    what is said about it, as text and as JSON
//! ```

#![cfg_attr(test, allow(clippy::disallowed_methods))]

pub mod analysis;
pub mod args;
pub mod bhyve;
pub mod cmd;
pub mod convert;
pub mod crashdir;
pub mod device;
pub mod dumpdev;
pub mod ekcd;
pub mod error;
pub mod examine;
pub mod host;
pub mod kernel_files;
pub mod netdump;
pub mod outcome;
pub mod output;
pub mod qemu;
pub mod quantity;
pub mod report;
pub mod sandbox;
pub mod seal;
pub mod shell;
pub mod signals;
pub mod sleep;
pub mod spool;
pub mod summary;
pub mod version;
