// SPDX-License-Identifier: BSD-2-Clause
//! One file per command: its `Args`, its `run`, its `Error`. Which there are
//! is in `args`; here none knows the list.

pub mod bt;
pub mod capture;
mod changed_pages;
pub mod completions;
mod compression_level;
pub mod convert;
pub mod deadlock;
pub mod decrypt;
pub mod dmesg;
pub mod doctor;
pub mod dump_file;
pub mod estimate;
pub mod explain;
pub mod info;
mod inputs;
pub mod list;
mod machine_options;
mod max_pause;
pub mod print;
pub mod prune;
pub mod ps;
pub mod read;
pub mod receive;
pub mod report;
pub mod save;
pub mod send;
pub mod session;
pub mod stacks;
pub(crate) mod suggested;
mod summarize;
pub mod symbols;
pub mod verify;
pub mod watch;
mod write_seal;
