// SPDX-License-Identifier: BSD-2-Clause
//! The tool from the outside: what it writes where, what it says, how it
//! ends.

mod capture;
mod convert;
mod install;
mod manners;
mod named_files;
mod outputs;
mod paths;
mod reading;
mod transcripts;
mod verdicts;
