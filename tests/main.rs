// SPDX-License-Identifier: BSD-2-Clause
//! One binary, one file for each thing that must hold:
//!
//! | | |
//! |---|---|
//! | `abi` | bytes and numbers that others rely on |
//! | `analysis` | threads and locks that are known: what is reported of them |
//! | `capture` | machines at rest: the dump is the machine |
//! | `cli` | the tool from the outside: files, streams, exit status |
//! | `crashdir` | killed, out of room, not alone: earlier dumps survive |
//! | `encrypted` | encrypted dumps: opened by their key and by nothing else |
//! | `faults` | what goes wrong: the answer, and what remains |
//! | `golden` | files that were written once: read as they were |
//! | `hostile` | files that mean harm: an answer soon, in little memory |
//! | `images` | memory that other programs wrote: every page of it |
//! | `netdump` | dumps over the network: all of it, or it is said what is missing |
//! | `race` | machines that run on: bits and pages agree, lists end |
//! | `reads` | large dumps: no more is read than the answer needs |
//! | `save` | dump devices and images of them: what comes off, what stays on |
//! | `vmcore` | real FreeBSD memory, in and out |

mod abi;
mod analysis;
mod capture;
mod cli;
mod crashdir;
mod encrypted;
mod faults;
mod golden;
mod hostile;
mod images;
mod netdump;
mod race;
mod reads;
mod save;
mod tool;
mod vmcore;
