// SPDX-License-Identifier: BSD-2-Clause
//! The KPI border: every contact between the engine and the kernel it runs
//! in. Two implementations: `freebsd` (C shim behind it), and the crate
//! `livedump-hosted` (a machine built in user space).
//!
//! Methods are named after what they call. Memory crosses by copy, one page
//! or one table entry at a time: the engine never holds a reference into live
//! memory, and nothing can be read twice by accident.
//!
//! The border is split by role, one trait and one file each; [`Kpi`] is all of
//! them. What needs only some of them asks for no more: the walk of the page
//! tables runs over [`Memory`].
//!
//! Unless a method says otherwise it does not sleep, needs no lock and cannot
//! fail.
//!
//! An implementation stands for *one request of one caller*: `priv_check`,
//! descriptors and signals are the caller's.

mod caller;
mod compressor;
mod cpus;
mod events;
mod file;
#[cfg(target_os = "none")]
pub mod freebsd;
mod heap;
mod keys;
mod lock;
mod memory;
mod processes;
mod stream;
mod system;
mod threads;

pub use caller::Caller;
pub use compressor::{Compressor, Compressors, compress_bound};
pub use cpus::{Context, Cpus, Debugger, MISSING, PCB_WORDS, Stopped};
pub use events::Events;
pub use file::Files;
pub use heap::{Copies, Heap, Monitor};
pub use keys::Keys;
pub use lock::DumpLock;
pub use memory::{DirectMap, Memory, Target, read_each_page};
pub use processes::{LinkedPage, Processes};
pub use stream::Streams;
pub use system::System;
pub use threads::Threads;

/// The kernel, as one request of one caller sees it.
pub trait Kpi:
    Caller
    + Files
    + Streams
    + DumpLock
    + Processes
    + Events
    + Cpus
    + Heap
    + Keys
    + Threads
    + Memory
    + Compressors
    + System
{
}

impl<K> Kpi for K where
    K: Caller
        + Files
        + Streams
        + DumpLock
        + Processes
        + Events
        + Cpus
        + Heap
        + Keys
        + Threads
        + Memory
        + Compressors
        + System
{
}
