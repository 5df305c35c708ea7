// SPDX-License-Identifier: BSD-2-Clause
//! Scenarios over the whole of livedump, and the means to judge them.
//!
//! The writer is never checked by the writer: [`decoder`] reads dumps by its
//! own code, and what a model machine holds is asked of the model itself.

pub mod decoder;
pub mod dumpdisk;
pub mod elf;
pub mod expected;
pub mod filled;
pub mod scenario;
pub mod vmcores;
pub mod wrapped;
