// SPDX-License-Identifier: BSD-2-Clause
//! Dumps over the network: netdump(4), as kernels send them when they panic
//! and as `livedump send` does.
//!
//! ```text
//!  wire      the messages
//!  ranges    which bytes of a dump have arrived
//!  burst     which messages are acknowledged, and when
//!  session   one dump that arrives
//!  facts     what it says about itself, and what is wrong with it
//!  keep      its name in the crash directory
//!  received  what it came to
//!  allow     from whom
//!  listener  sockets for heralds
//!  kdumpd    the same of macOS, another protocol
//!  server    all clients of a host
//!  cores     those of them that send with kdumpd's
//!  limits    from whom they take, and how many
//!  room      how much space they may take
//!  broker    a process that connects sockets, and runs commands
//!  client    sends a dump
//!  outgoing  a dump in a file, with a header for it
//!  place     where to
//!  window    which messages it sends again, and how many are under way
//! ```
//!
//! # A dump, message by message
//!
//! ```text
//!  client:20024                         server
//!    HERALD [path]       -> :20023
//!                        <- :P  ack     P is the port from here on
//!    EKCD_KEY            -> :P          an encrypted dump only
//!    VMCORE              -> :P          64 KB, then the next once all of them
//!                        <- :P  acks    are acknowledged
//!    KDH                 -> :P          the kernel dump header
//!    FINISHED            -> :P
//! ```
//!
//! Nothing in it is secret or authenticated. Whoever can send with the address
//! of a client can spoil that client's dump, and no other: each dump has a
//! socket of its own, which takes messages from one address and port, and a
//! second herald of a client starts a second dump beside the first.

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

pub mod allow;
pub mod broker;
pub mod burst;
pub mod client;
mod commands;
mod cores;
mod facts;
pub mod kdumpd;
pub mod keep;
pub mod limits;
pub mod listener;
pub mod outgoing;
pub mod place;
pub mod ranges;
pub mod received;
pub mod room;
pub mod server;
pub mod session;
mod window;
pub mod wire;
