// SPDX-License-Identifier: BSD-2-Clause
//! Why threads wait: each wait is followed to its root, and the roots are
//! ranked by how many threads wait behind them.
//!
//! ```text
//!  fields     fields by name; those that are missing are remembered
//!  wait       a wait, and where it leads
//!  locks      waits for locks, of the wait-for graph
//!  disks      transfers: buffers, bios, writes of a file
//!  memory     free pages, zones at their limit, buffers
//!  mounts     suspended file systems, file servers
//!  peers      the other end of a pipe or of a local socket
//!  tasks      tasks of taskqueue(9) that run
//!  callouts   callouts that run
//!  running    threads that spin, and that do not sleep
//!  hardclock  CPUs whose clock interrupt does not come
//!  vnodes     files and file systems by their names
//!  files      which process has a pipe or a socket open
//!  roots      where waits end, and how many threads are behind
//!  signature  what is the same for the same hang on another machine
//! ```
//!
//! A new kind of a wait is one file and one line in [`SLEEPS`].

mod callouts;
mod disks;
pub(super) mod fields;
mod files;
mod hardclock;
mod locks;
mod memory;
mod mounts;
mod peers;
mod roots;
mod running;
mod signature;
mod tasks;
pub(super) mod vnodes;
mod wait;

pub use hardclock::Stalled;
pub use roots::{Root, RootOf};
pub use signature::{Signature, of_root};
pub use wait::{Kind, Next, Object, Resource, Wait};

use super::clock::Clock;
use super::locks::Locks;
use super::stack::Stacks;
use super::target::Target;
use super::threads::{State, TDI_SLEEPING, Thread, Threads};
use super::types::Missing;
use super::waits::Waits;
use fields::Fields;
use files::Files;
use std::cell::{Cell, OnceCell};
use std::collections::HashSet;
use wait::Resources;

/// A wait of so many seconds is long, unless another limit is asked for.
pub const LIMIT_SECONDS: f64 = 10.0;
/// C: `P_KPROC`.
const P_KPROC: u64 = 4;

/// What a thread waits for, and where that leads; `None` where it is a sleep
/// of another kind, or one that leads nowhere.
type Found = Option<(Object, Next)>;

/// A thread that sleeps, for no lock.
struct Asleep<'w> {
    thread: usize,
    wchan: u64,
    wmesg: &'w str,
}

/// What knows of a kind of sleeps.
type Sleep = fn(&mut Context<'_, '_, '_>, &Asleep<'_>) -> Found;

/// All of them, and whether what they wait for is a message: a peer that does
/// not write may have nothing to say, and is no hang of the kernel.
const SLEEPS: [(Sleep, bool); 8] = [
    (memory::wait, false),
    (mounts::suspended, false),
    (mounts::server, false),
    (tasks::drain, false),
    (callouts::drain, false),
    (peers::pipe, true),
    (peers::socket, true),
    // It knows a buffer when it sees one, whatever the wait message.
    (disks::wait, false),
];

/// What waits are followed with.
struct Context<'c, 't, 'a> {
    fields: Fields<'t, 'a>,
    threads: &'c Threads,
    waits: &'c Waits,
    stacks: &'c Stacks<'t, 'a>,
    locks: Locks<'t, 'a>,
    clock: Option<Clock>,
    resources: Resources,
    callouts: Vec<callouts::Running>,
    tasks: OnceCell<Vec<tasks::Running>>,
    /// Not all stacks were searched for tasks.
    tasks_cut: Cell<bool>,
    /// Sleeps that lead on, and could not be followed.
    unfollowed: Vec<Unfollowed>,
    files: OnceCell<Files>,
    /// The threads of each process.
    of_process: Vec<Vec<usize>>,
}

/// Wait messages of sleeps that have to end and that lead on.
const FOLLOWED: [&str; 18] = [
    "biord",
    "biowr",
    "bo_wwait",
    "codrain",
    "gread",
    "gwrite",
    "physrd",
    "physwr",
    "suspfs",
    "swread",
    "swwrt",
    "tq_adrain",
    "tq_drain",
    "tq_qdrain",
    "vnread",
    "vnsrd",
    "wdrain",
    "zonelimit",
];

/// A sleep that leads on, and whose object could not be read.
#[derive(Clone, Debug, PartialEq)]
pub struct Unfollowed {
    /// The thread's number in the list.
    pub thread: usize,
    /// Its wait message.
    pub wmesg: String,
    /// For how long, in seconds.
    pub seconds: Option<f64>,
}

/// A callout or a task that others of its kind wait for to end.
#[derive(Clone, Debug, PartialEq)]
pub struct Handler {
    /// `callout foo on CPU 1`, `task foo of taskqueue "bar"`.
    pub what: String,
    /// Its function.
    pub function: Option<String>,
    /// The thread that runs it, by its number in the list.
    pub thread: usize,
    /// For how long another has waited for it, or it has slept.
    pub seconds: f64,
}

/// Every wait, and where they lead.
#[derive(Debug)]
pub struct Explanation {
    /// One for each thread of the list.
    pub waits: Vec<Option<Wait>>,
    /// What is no thread.
    pub resources: Vec<Resource>,
    /// Those with threads behind, the first the most likely cause.
    pub roots: Vec<Root>,
    /// Callouts and tasks that keep others from being run for long.
    pub handlers: Vec<Handler>,
    /// CPUs without a clock interrupt; `None` where that cannot be told.
    pub stalled: Option<Vec<Stalled>>,
    /// Threads that spin for a lock that is not recorded, and where.
    pub spinners: Vec<(usize, String)>,
    /// Sleeps whose wait message says that they lead on, and that could not be
    /// followed.
    pub unfollowed: Vec<Unfollowed>,
    /// Fields that were asked for and that no type information has.
    pub missing: Vec<String>,
    /// What was not right on the way.
    pub problems: Vec<String>,
}

impl Explanation {
    /// Follows every wait. One of at least `limit` seconds is long.
    ///
    /// # Errors
    /// All that is missing for locks.
    pub fn new(
        t: &Target<'_>,
        threads: &Threads,
        waits: &Waits,
        stacks: &Stacks<'_, '_>,
        limit: f64,
    ) -> Result<Self, Missing> {
        let fields = Fields::new(t);
        let mut of_process = vec![Vec::new(); threads.procs.len()];
        for (n, td) in threads.list.iter().enumerate() {
            if let Some(all) = of_process.get_mut(td.proc) {
                all.push(n);
            }
        }
        let mut c = Context {
            callouts: callouts::running(&fields, threads, stacks),
            fields,
            threads,
            waits,
            stacks,
            locks: Locks::new(t)?,
            clock: Clock::new(t),
            resources: Resources::default(),
            tasks: OnceCell::new(),
            tasks_cut: Cell::new(false),
            unfollowed: Vec::new(),
            files: OnceCell::new(),
            of_process,
        };
        let mut spinners = Vec::new();
        let all: Vec<_> =
            (0..threads.list.len()).map(|n| c.wait(n, &mut spinners)).collect();
        let handlers = c.handlers(limit);
        let stalled = hardclock::stalled(&c.fields, limit);
        let mut problems = Vec::new();
        if c.files.get().is_some_and(|files| files.is_incomplete) {
            problems.push("not all descriptors were looked at".to_string());
        }
        if c.tasks_cut.get() {
            problems.push("not all stacks were searched for tasks".into());
        }
        let roots = roots::roots(&all, &c.resources.all, limit);
        Ok(Self {
            waits: all,
            roots,
            handlers,
            stalled,
            spinners,
            unfollowed: c.unfollowed,
            missing: c.fields.missing(),
            resources: c.resources.all,
            problems,
        })
    }

    /// The wait of a thread.
    #[must_use]
    pub fn of(&self, thread: usize) -> Option<&Wait> {
        self.waits.get(thread)?.as_ref()
    }

    /// The threads from one on, each waiting for the next, up to where that
    /// ends or comes back.
    #[must_use]
    pub fn path(&self, start: usize) -> Vec<usize> {
        let mut path = vec![start];
        let mut seen = HashSet::from([start]);
        let mut at = start;
        while let Some(Next::Thread(next)) = self.of(at).map(|w| w.next) {
            if !seen.insert(next) {
                break;
            }
            path.push(next);
            at = next;
        }
        path
    }
}

impl Context<'_, '_, '_> {
    fn threads_of(&self, process: usize) -> &[usize] {
        self.of_process.get(process).map_or(&[], Vec::as_slice)
    }

    /// `sh (pid 200)`.
    fn process_name(&self, process: usize) -> String {
        let Some(proc) = self.threads.procs.get(process) else {
            return "a process".into();
        };
        let comm = String::from_utf8_lossy(&proc.comm);
        format!("{comm} (pid {})", proc.pid)
    }

    fn files(&self) -> &Files {
        self.files.get_or_init(|| Files::new(&self.fields, self.threads))
    }

    /// The tasks that run. Only threads of kernel processes run any.
    fn tasks(&self) -> &[tasks::Running] {
        self.tasks.get_or_init(|| {
            let mut found = Vec::new();
            let mut left = tasks::MAX_WORDS;
            if !self.fields.has("proc", "p_flag") {
                return found;
            }
            for (n, td) in self.threads.list.iter().enumerate() {
                let proc = self.threads.procs.get(td.proc);
                let flags = proc.and_then(|p| {
                    self.fields.get(p.address.0, "proc", "p_flag")
                });
                if flags.is_some_and(|flags| flags & P_KPROC != 0) {
                    let (fields, stacks) = (&self.fields, self.stacks);
                    let all =
                        tasks::running(fields, stacks, (n, td), &mut left);
                    found.extend(all);
                }
            }
            self.tasks_cut.set(left == 0);
            found
        })
    }

    fn wait(
        &mut self,
        n: usize,
        spinners: &mut Vec<(usize, String)>,
    ) -> Option<Wait> {
        let threads = self.threads;
        let td = threads.list.get(n)?;
        if matches!(td.state, State::Running | State::RunQueue) {
            return self.spin(n, td, spinners);
        }
        let waits = self.waits;
        if let Some(edge) = waits.of(n) {
            return Some(locks::wait(self, edge));
        }
        if !td.state.is_inhibited_by(TDI_SLEEPING) || td.wchan.0 == 0 {
            return None;
        }
        let wmesg = td.wmesg.text.as_deref().unwrap_or_default();
        let asleep = Asleep { thread: n, wchan: td.wchan.0, wmesg };
        let found = SLEEPS.iter().find_map(|(sleep, is_message)| {
            Some((sleep(self, &asleep)?, *is_message))
        });
        let seconds = self.clock.and_then(|clock| clock.waited(td));
        let Some(((object, next), is_message)) = found else {
            if FOLLOWED.contains(&wmesg) {
                let wmesg = wmesg.to_string();
                let unfollowed = Unfollowed { thread: n, wmesg, seconds };
                self.unfollowed.push(unfollowed);
            }
            return None;
        };
        Some(Wait {
            waiter: n,
            object,
            spins: false,
            is_message,
            next,
            seconds,
            inconsistencies: self.doubts(seconds),
        })
    }

    /// What was copied while the machine ran may be of different moments.
    fn doubts(&self, seconds: Option<f64>) -> Vec<String> {
        let t = self.fields.t;
        if t.core.is_frozen() || t.has_panicked() {
            return Vec::new();
        }
        let doubt = match seconds {
            None => "its start time is not known",
            Some(seconds) if seconds < 1.0 => {
                "it began less than a second before the dump, or during it"
            }
            Some(_) => return Vec::new(),
        };
        vec![doubt.to_string()]
    }

    fn spin(
        &self,
        n: usize,
        td: &Thread,
        spinners: &mut Vec<(usize, String)>,
    ) -> Option<Wait> {
        match running::spins(&self.fields, &self.locks, self.stacks, td)? {
            running::Spins::For(lock) => {
                let (object, next) = locks::of_spinner(self, &lock)?;
                let seconds = running::has_run(&self.fields, self.clock, td);
                Some(Wait {
                    waiter: n,
                    object,
                    spins: true,
                    is_message: false,
                    next,
                    seconds,
                    inconsistencies: self.doubts(seconds),
                })
            }
            running::Spins::Unknown(function) => {
                spinners.push((n, function));
                None
            }
        }
    }

    /// Callouts that keep others from being run for `limit` seconds, and tasks
    /// that others are queued behind and that have slept so long.
    fn handlers(&self, limit: f64) -> Vec<Handler> {
        let callouts = self.callouts.iter().filter_map(|r| {
            let (thread, cpu) = (r.thread?, r.cpu);
            let function = r.function.clone();
            let what = match &function {
                Some(function) => format!("callout {function} on CPU {cpu}"),
                None => format!("a callout on CPU {cpu}"),
            };
            Some(Handler { what, function, thread, seconds: r.late? })
        });
        let tasks = self.tasks().iter().filter_map(|r| {
            let td = self.threads.list.get(r.thread)?;
            let seconds = self.clock?.waited(td)?;
            let function = r.function.clone();
            let function_name = function.as_deref().unwrap_or("unknown");
            let what = match &r.name {
                Some(q) => format!("task {function_name} of taskqueue \"{q}\""),
                None => format!("task {function_name}"),
            };
            let handler = Handler { what, function, thread: r.thread, seconds };
            (!r.queued.is_empty()).then_some(handler)
        });
        callouts.chain(tasks).filter(|h| h.seconds >= limit).collect()
    }
}
