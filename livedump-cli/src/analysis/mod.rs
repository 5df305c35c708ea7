// SPDX-License-Identifier: BSD-2-Clause
//! What the dumped kernel was doing: its threads, their stacks, what each
//! waits for, and what holds that.
//!
//! ```text
//!  identity     whether a kernel is the dump's, a debug file the kernel's
//!  types        offsets of fields: exported, CTF, DWARF
//!  symbols      addresses to functions
//!  names        addresses to symbols of any kind, and back
//!  expression   expressions of C, for `print`
//!  target       a dump with its kernel: the three above, reading by field
//!  clock        how long a thread has waited
//!  threads      every thread of allproc, its state and what it waits for
//!  locks        a lock's class, word and holder
//!  queues       turnstile_chains and sleepq_chains
//!  unlinked_queues  queues that these do not lead to any more
//!  modules      what the kernel linker has loaded
//!  lists        lists of the kernel's, walked within bounds
//!  per_cpu      zpcpu(9) memory, and counter(9)
//!  vnets        variables of each vnet
//!  descriptors  file tables
//!  unavailable  why something is not told
//!  cpus  times  variables  mounts  memory  zones  malloc_types  interrupts
//!  interfaces  environment  swap  ddb_capture  protocols  devices  sockets
//!  open_files  ipc
//!               what the system was like, a file for each
//!  stack        a thread's registers and backtrace
//!  stack_groups threads with the same stack
//!  waits        the wait-for graph, each edge checked from both ends
//!  wait_chains  its cycles and its long chains
//!  rm_readers   who holds an rmlock for reading
//!  explain      what each thread waits for in the end, and for how long
//!  verdict      whether there is a deadlock, or that it cannot be told
//! ```
//!
//! A live dump's structures were copied at different moments, and another
//! machine's dump may be anything: each walk is bounded, each pointer is a
//! claim, and what does not agree with itself is a doubt that is reported,
//! never a certainty.

#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::arithmetic_side_effects
    )
)]

pub mod clock;
pub mod cpus;
pub mod ddb_capture;
pub mod descriptors;
pub mod devices;
pub mod environment;
pub mod explain;
mod exported;
pub mod expression;
pub mod facts;
pub mod identity;
pub mod interfaces;
pub mod interrupts;
pub mod ipc;
mod lists;
pub mod locks;
pub mod malloc_types;
pub mod memory;
pub mod modules;
pub mod mounts;
pub mod names;
pub mod open_files;
pub mod pattern;
pub mod per_cpu;
pub mod protocols;
pub mod queues;
mod rm_readers;
pub mod sockets;
pub mod stack;
pub mod stack_groups;
pub mod swap;
pub mod symbols;
pub mod target;
pub mod threads;
pub mod times;
pub mod types;
pub mod unavailable;
mod unlinked_queues;
pub mod variables;
pub mod verdict;
mod vnets;
pub mod wait_chains;
pub mod waits;
pub mod zones;

pub use target::{Target, TargetError};
pub use unavailable::Unavailable;
