// SPDX-License-Identifier: BSD-2-Clause
//! What a thread waits for, and where that leads.

use crate::analysis::locks::Lock;
use std::collections::HashMap;
use std::fmt;

/// Where a wait leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// To a thread, by its number in the list.
    Thread(usize),
    /// To what is no thread, by its number among the resources.
    Resource(usize),
}

/// What a thread waits for.
#[derive(Clone, Debug)]
pub enum Object {
    /// A lock, and what it is the lock of.
    Lock(Box<Lock>, Option<String>),
    /// Anything else, in words: `a read of 16384 bytes from da0`.
    Other(String),
}

/// One thread's wait that leads on.
#[derive(Clone, Debug)]
pub struct Wait {
    /// The thread's number in the list.
    pub waiter: usize,
    /// For what.
    pub object: Object,
    /// It spins, and does not sleep.
    pub spins: bool,
    /// It is for a message: whoever does not send it may have nothing to say.
    pub is_message: bool,
    /// Where it leads.
    pub next: Next,
    /// For how long, in seconds; of one that spins, at most that long.
    pub seconds: Option<f64>,
    /// What does not agree.
    pub inconsistencies: Vec<String>,
}

/// What kind of a thing threads wait for that is no thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A disk: transfers that have not ended.
    Device,
    /// A file server: requests without a reply.
    Server,
    /// Free pages.
    Memory,
    /// The limit of a uma(9) zone.
    Zone,
    /// Buffers of the buffer cache.
    Buffers,
    /// A file system whose writes are suspended.
    FileSystem,
    /// A lock whose holder is not recorded.
    Lock,
    /// A pipe or socket whose other end more than one process has, or none.
    Peer,
    /// A process with more than one thread.
    Process,
}

impl Kind {
    /// One word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Device => "device",
            Self::Server => "server",
            Self::Memory => "memory",
            Self::Zone => "zone",
            Self::Buffers => "buffers",
            Self::FileSystem => "file system",
            Self::Lock => "lock",
            Self::Peer => "peer",
            Self::Process => "process",
        }
    }

    /// Whether one that is waited for long does not do what it is for. A peer
    /// that does not write may have nothing to say.
    #[must_use]
    pub fn has_to_answer(self) -> bool {
        !matches!(self, Self::Peer | Self::Process)
    }
}

/// Something that threads wait for and that is no thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// What it is.
    pub kind: Kind,
    /// Which: `da0`, `server:/export`, `free pages`.
    pub name: String,
    /// What is known of it, a line each.
    pub details: Vec<String>,
    /// There is too little of it, and who is woken for a part of it in vain
    /// waits anew: no wait is as long as it lasts.
    pub is_short: bool,
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Kind::Memory | Kind::Buffers => f.write_str(&self.name),
            kind => write!(f, "{} {}", kind.word(), self.name),
        }
    }
}

/// All resources that threads wait for.
#[derive(Debug, Default)]
pub(super) struct Resources {
    pub(super) all: Vec<Resource>,
    known: HashMap<(Kind, String), usize>,
}

impl Resources {
    /// The number of one; `details` is asked the first time.
    pub(super) fn number(
        &mut self,
        kind: Kind,
        name: &str,
        details: impl FnOnce() -> Vec<String>,
    ) -> usize {
        let key = (kind, name.to_string());
        *self.known.entry(key).or_insert_with(|| {
            let name = name.to_string();
            let (details, is_short) = (details(), false);
            self.all.push(Resource { kind, name, details, is_short });
            self.all.len().saturating_sub(1)
        })
    }
}
