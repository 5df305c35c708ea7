// SPDX-License-Identifier: BSD-2-Clause
//! From what the analysis found to what is reported: what more than one
//! command reports.

mod deadlock;
mod dmesg;
mod explain;
mod info;
mod ps;
mod stacks;
mod waits;

pub use deadlock::deadlock;
pub use dmesg::{MessageBuffer, message_buffer};
pub use explain::Explained;
pub use info::{info, info_file};
pub use ps::{processes, unknown_columns};
pub use stacks::{incomplete_stacks, stack_group};
pub use waits::{Builder, holder};
