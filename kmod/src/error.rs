// SPDX-License-Identifier: BSD-2-Clause
//! What the engine answers with: an errno of FreeBSD's.

pub use memdev::errno::Errno;
pub use memdev::stage::Stage;

/// The engine's result.
pub type Result<T> = core::result::Result<T, Errno>;
