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
//!  stack        a thread's registers and backtrace
//!  stack_groups threads with the same stack
//!  waits        the wait-for graph, each edge checked from both ends
//!  wait_chains  its cycles and its long chains
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
mod exported;
pub mod expression;
pub mod facts;
pub mod identity;
pub mod locks;
pub mod modules;
pub mod names;
pub mod pattern;
pub mod queues;
pub mod stack;
pub mod stack_groups;
pub mod symbols;
pub mod target;
pub mod threads;
pub mod types;
mod unlinked_queues;
pub mod verdict;
pub mod wait_chains;
pub mod waits;

pub use target::{Target, TargetError};
