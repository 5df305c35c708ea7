// SPDX-License-Identifier: BSD-2-Clause
//! One binary, one file for each thing that must hold:
//!
//! | | |
//! |---|---|
//! | `vmcore` | real FreeBSD memory, in and out |

mod vmcore;
