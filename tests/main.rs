// SPDX-License-Identifier: BSD-2-Clause
//! One binary, one file for each thing that must hold:
//!
//! | | |
//! |---|---|
//! | `capture` | machines at rest: the dump is the machine |
//! | `vmcore` | real FreeBSD memory, in and out |

mod capture;
mod vmcore;
