// SPDX-License-Identifier: BSD-2-Clause
//! What `livedump explain` reports: what the threads of a dump wait for in the
//! end, and how many wait behind it.

mod text;

use super::ReadChanged;
use super::thread::{Call, LockName, ThreadRef};
use livedump_vmcore::verdict::Verdict;
use serde::{Serialize, Serializer};

/// Where the waits of a dump lead.
#[derive(Debug, Serialize)]
pub struct Explain {
    /// As the file was named.
    pub file: String,
    /// Its kernel.
    pub kernel: String,
    /// "stuck", "none" or "undetermined".
    #[serde(serialize_with = "as_word")]
    pub verdict: Verdict,
    /// Whether something is stuck; null where it cannot be told.
    pub stuck: Option<bool>,
    /// The first root in a sentence.
    pub summary: String,
    /// That of the first root, if it is stuck.
    pub signature: Option<String>,
    /// Why it cannot be told, or not all of it.
    pub reasons: Vec<String>,
    /// A wait of so many seconds is long.
    pub limit_seconds: f64,
    /// Threads that are on the list.
    pub threads: usize,
    /// How many of them wait for something that could be followed.
    pub waiting: usize,
    /// What they wait for in the end: those that are stuck first, then by the
    /// number of threads.
    pub roots: Vec<Root>,
    /// Every wait that was followed, without stacks.
    pub waits: Vec<Wait>,
    /// Callouts and tasks that keep others from being run.
    pub handlers: Vec<Handler>,
    /// CPUs that have not taken a clock interrupt; null where that cannot be
    /// told.
    pub stalled_cpus: Option<Vec<StalledCpu>>,
    /// Threads that spin for a lock that is not recorded.
    pub spinners: Vec<Spinner>,
    /// Fields that were asked for and that no type information has.
    pub missing: Vec<String>,
    /// Where the offsets are from.
    pub types: Vec<&'static str>,
    /// What was not right with the lists.
    pub problems: Vec<String>,
    /// What of it changed, if that was looked at.
    pub changed: Option<ReadChanged>,
}

fn word(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Sound => "none",
        Verdict::Damaged(_) => "stuck",
        Verdict::Undetermined(_) => "undetermined",
    }
}

fn as_word<S: Serializer>(v: &Verdict, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(word(v))
}

/// What threads wait for in the end.
#[derive(Debug, Serialize)]
pub struct Root {
    /// "cycle", "thread", "device", "server", "memory", "zone", "buffers",
    /// "file system", "lock", "peer" or "process".
    pub kind: &'static str,
    /// Which: a device's name, a server's; null for threads.
    pub name: Option<String>,
    /// The thread at the end, if it is one.
    pub thread: Option<ThreadRef>,
    /// What that thread does: "sleeps on \"nfsreq\"".
    pub state: Option<String>,
    /// Its stack.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stack: Vec<Call>,
    /// What else is known.
    pub details: Vec<String>,
    /// It is what keeps others from going on.
    pub stuck: bool,
    /// Nothing on the way of the thread that waits longest disagrees.
    pub certain: bool,
    /// Threads behind it, and those of a cycle.
    pub count: usize,
    /// The longest wait.
    pub seconds: Option<f64>,
    /// The same for the same hang elsewhere.
    pub signature: String,
    /// The longest way to the root, a thread after the other; all of a cycle.
    pub path: Vec<Wait>,
    /// The ids of the threads behind it, the longest wait first.
    pub waiters: Vec<i32>,
}

/// One thread's wait.
#[derive(Clone, Debug, Serialize)]
pub struct Wait {
    /// Who waits.
    #[serde(flatten)]
    pub who: ThreadRef,
    /// For what, in words.
    pub object: String,
    /// The lock, if it is one.
    pub lock: Option<LockName>,
    /// The thread that it leads to.
    pub next_tid: Option<i32>,
    /// What it leads to, where that is no thread: `device da0`.
    pub next: Option<String>,
    /// It spins, and does not sleep.
    pub spins: bool,
    /// For how long.
    pub seconds: Option<f64>,
    /// What is inconsistent; the wait is uncertain then.
    pub inconsistencies: Vec<String>,
    /// Its stack, where it is the first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stack: Vec<Call>,
}

/// A callout or a task that others wait for to end.
#[derive(Debug, Serialize)]
pub struct Handler {
    /// What it is.
    pub what: String,
    /// Its function.
    pub function: Option<String>,
    /// The thread that runs it.
    #[serde(flatten)]
    pub who: ThreadRef,
    /// For how long others have waited, or it has slept.
    pub seconds: f64,
}

/// A CPU without clock interrupts.
#[derive(Debug, Serialize)]
pub struct StalledCpu {
    /// Which.
    pub cpu: u32,
    /// For how long.
    pub seconds: f64,
    /// The thread that it runs.
    pub thread: Option<ThreadRef>,
}

/// A thread that spins for a lock that is not recorded.
#[derive(Debug, Serialize)]
pub struct Spinner {
    /// Which.
    #[serde(flatten)]
    pub who: ThreadRef,
    /// The CPU.
    pub cpu: Option<u32>,
    /// Where.
    pub function: String,
}
