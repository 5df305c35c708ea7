// SPDX-License-Identifier: BSD-2-Clause
//! From whom a server takes dumps, how many, and what it has seen.

use super::allow::Cidr;
use std::net::SocketAddr;
use std::time::Duration;

/// What the server takes.
#[derive(Clone, Debug)]
pub struct Limits {
    /// From whom; nothing is from everybody.
    pub allow: Vec<Cidr>,
    /// How long a client may be silent.
    pub timeout: Duration,
    /// After how many dumps it ends.
    pub count: Option<u64>,
    /// Whether heralds and ends are reported.
    pub verbose: bool,
}

impl Limits {
    /// Whether a client may send.
    #[must_use]
    pub fn allows(&self, peer: SocketAddr) -> bool {
        let all = self.allow.is_empty();
        all || self.allow.iter().any(|allow| allow.contains(peer.ip()))
    }
}

/// What was seen, for the end and for SIGINFO.
#[derive(Clone, Copy, Debug, Default)]
pub struct Totals {
    /// Dumps that are over.
    pub dumps: u64,
    /// Datagrams that changed nothing.
    pub ignored: u64,
    /// Heralds of addresses that are not allowed.
    pub refused: u64,
}
