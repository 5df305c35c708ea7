// SPDX-License-Identifier: BSD-2-Clause
//! Every thread of allproc, with its state and what it says it waits for.
//! Builds on the walk of `vmcore::procs`, which is bounded and never visits
//! anything twice. C: <sys/proc.h>.

use super::target::{Target, TargetError, read_error_text};
use super::types::{Field, Missing, RequiredFields};
use livedump_vmcore::chain;
use livedump_vmcore::procs::{self, Problem, Siblings};
use memdev::addr::Vaddr;
use std::collections::HashMap;
use std::fmt;

/// C: `TDI_*`.
pub const TDI_SUSPENDED: u32 = 1;
/// C: `TDI_SLEEPING`.
pub const TDI_SLEEPING: u32 = 2;
/// C: `TDI_LOCK`.
pub const TDI_LOCK: u32 = 8;
const TDI_SWAPPED: u32 = 4;
const TDI_IWAIT: u32 = 0x10;
/// As much of a wait message or a lock's name as is shown.
pub const TEXT_BYTES: usize = 64;
const MAX_PROBLEMS: usize = 64;
/// Of these as many are shown as reasons.
const MAX_SHOWN: usize = 16;

/// What a thread is doing. C: `td_state`, `td_inhibitors`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// C: `TDS_INACTIVE`.
    Inactive,
    /// C: `TDS_INHIBITED`, with what inhibits it.
    Inhibited(u32),
    /// C: `TDS_CAN_RUN`; idle threads are this.
    CanRun,
    /// C: `TDS_RUNQ`.
    RunQueue,
    /// C: `TDS_RUNNING`.
    Running,
    /// A value that there is not.
    Invalid(u32),
    /// The offset of `td_state` is not known.
    Unknown,
}

impl State {
    fn new(state: Option<u64>, inhibitors: Option<u64>) -> Self {
        match state {
            None => Self::Unknown,
            Some(0) => Self::Inactive,
            Some(1) => Self::Inhibited(inhibitors.unwrap_or(0) as u32),
            Some(2) => Self::CanRun,
            Some(3) => Self::RunQueue,
            Some(4) => Self::Running,
            Some(n) => Self::Invalid(n as u32),
        }
    }

    /// Every word, as an option takes it.
    pub const WORDS: [&str; 12] = [
        "canrun",
        "inactive",
        "inhibited",
        "invalid",
        "iwait",
        "lock",
        "run",
        "runq",
        "sleep",
        "suspended",
        "swapped",
        "unknown",
    ];

    /// Whether `inhibitor` is among what holds it up.
    #[must_use]
    pub fn is_inhibited_by(self, inhibitor: u32) -> bool {
        matches!(self, Self::Inhibited(n) if n & inhibitor != 0)
    }

    /// One word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Inactive => "inactive",
            Self::Inhibited(n) if n & TDI_LOCK != 0 => "lock",
            Self::Inhibited(n) if n & TDI_SLEEPING != 0 => "sleep",
            Self::Inhibited(n) if n & TDI_SUSPENDED != 0 => "suspended",
            Self::Inhibited(n) if n & TDI_IWAIT != 0 => "iwait",
            Self::Inhibited(n) if n & TDI_SWAPPED != 0 => "swapped",
            Self::Inhibited(_) => "inhibited",
            Self::CanRun => "canrun",
            Self::RunQueue => "runq",
            Self::Running => "run",
            Self::Invalid(_) => "invalid",
            Self::Unknown => "unknown",
        }
    }
}

/// A thread, as it describes itself.
#[derive(Clone, Debug)]
pub struct Thread {
    /// Which process of [`Threads::procs`].
    pub proc: usize,
    /// C: `struct thread *`.
    pub address: Vaddr,
    /// C: `td_tid`.
    pub tid: i32,
    /// C: `td_name`.
    pub name: Vec<u8>,
    /// C: `td_oncpu`; `None` off any.
    pub cpu: Option<u32>,
    /// C: `td_pcb`.
    pub pcb: Vaddr,
    /// What it is doing.
    pub state: State,
    /// C: `td_wchan`.
    pub wchan: Vaddr,
    /// C: `td_wmesg`.
    pub wmesg: Text,
    /// C: `td_blocked`, a turnstile.
    pub blocked: Vaddr,
    /// C: `td_lockname`.
    pub lockname: Text,
    /// C: `td_sqqueue`: on which of two queues it sleeps.
    pub sqqueue: Option<u64>,
    /// C: `td_tsqueue`: on which of two queues it is blocked.
    pub tsqueue: Option<u64>,
    /// Its kernel stack, first byte and the one behind it.
    pub kstack: Option<(u64, u64)>,
    /// C: `td_slptick`, `td_blktick`: when it began to wait.
    pub since: Option<u32>,
    /// Rwlocks, sx and lockmgr locks it holds shared, by its own count.
    pub shared: [u64; 3],
}

impl Thread {
    /// Its state in one word: td_oncpu alone is exported, and tells enough.
    #[must_use]
    pub fn state_word(&self) -> &'static str {
        match (self.state, self.cpu) {
            (State::Unknown, Some(_)) => "run",
            (state, _) => state.word(),
        }
    }

    /// What it says it waits for: the name of a lock, or a wait message.
    #[must_use]
    pub fn wait_message(&self) -> Option<&Text> {
        match self.state_word() {
            "lock" => Some(&self.lockname),
            "sleep" => Some(&self.wmesg),
            _ => None,
        }
    }
}

/// A string of the kernel's, and where it is: names of locks are compared by
/// address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text {
    /// Where.
    pub address: u64,
    /// What it says, if it can be read and is text.
    pub text: Option<String>,
}

/// A process, without its threads.
#[derive(Clone, Debug)]
pub struct Proc {
    /// C: `struct proc *`.
    pub address: Vaddr,
    /// C: `p_pid`.
    pub pid: i32,
    /// C: `p_comm`.
    pub comm: Vec<u8>,
    /// C: `p_pptr->p_pid`, 0 without a parent; `None` where the parent is not
    /// on the list.
    pub ppid: Option<i32>,
    /// C: `p_ucred->cr_uid`.
    pub uid: Option<u32>,
}

/// All threads.
#[derive(Debug, Default)]
pub struct Threads {
    /// The processes, in the order of the list.
    pub procs: Vec<Proc>,
    /// Their threads, in the same order.
    pub list: Vec<Thread>,
    /// What was not right on the way.
    pub problems: Vec<String>,
    /// Links that do not lead back: the list changed while it was dumped. In a
    /// dump of one instant, those of lists that nobody was changing.
    pub tears: usize,
    by_address: HashMap<u64, usize>,
}

/// Fields that may be unknown.
struct Fields {
    proc: Option<Field>,
    state: Option<Field>,
    inhibitors: Option<Field>,
    wchan: Option<Field>,
    wmesg: Option<Field>,
    blocked: Option<Field>,
    lockname: Option<Field>,
    sqqueue: Option<Field>,
    tsqueue: Option<Field>,
    kstack: Option<Field>,
    kstack_pages: Option<Field>,
    slptick: Option<Field>,
    blktick: Option<Field>,
    shared: [Option<Field>; 3],
    pptr: Option<Field>,
    ucred: Option<Field>,
    uid: Option<Field>,
}

impl Fields {
    fn new(t: &Target<'_>) -> Self {
        let of = |name| t.types.field("thread", name);
        Self {
            proc: of("td_proc"),
            state: of("td_state"),
            inhibitors: of("td_inhibitors"),
            wchan: of("td_wchan"),
            wmesg: of("td_wmesg"),
            blocked: of("td_blocked"),
            lockname: of("td_lockname"),
            sqqueue: of("td_sqqueue"),
            tsqueue: of("td_tsqueue"),
            kstack: of("td_kstack"),
            kstack_pages: of("td_kstack_pages"),
            slptick: of("td_slptick"),
            blktick: of("td_blktick"),
            shared: ["td_rw_rlocks", "td_sx_slocks", "td_lk_slocks"].map(of),
            pptr: t.types.field("proc", "p_pptr"),
            ucred: t.types.field("proc", "p_ucred"),
            uid: t.types.field("ucred", "cr_uid"),
        }
    }
}

impl Threads {
    /// Walks them.
    ///
    /// # Errors
    /// The walk cannot even start.
    pub fn walk(t: &Target<'_>) -> Result<Self, TargetError> {
        let found = t.core.procs(t.kernel)?;
        let mut threads = Self::default();
        let (tears, lost): (Vec<_>, Vec<_>) =
            found.problems.iter().partition(|p| p.is_tear());
        let changing =
            |p: &&&Problem| t.core.is_being_changed(t.kernel, p) == Some(true);
        threads.tears = tears.iter().filter(|p| !changing(p)).count();
        for p in lost {
            threads.problem(chain(p));
        }
        let mut reader = Reader { t, f: Fields::new(t), texts: HashMap::new() };
        let exiting = exiting(t, &found.procs)?;
        let listed = found.procs.len();
        let all = found.procs.iter().chain(&exiting);
        let pids: HashMap<u64, i32> =
            all.map(|p| (p.address.0, p.pid)).collect();
        for p in found.procs.into_iter().chain(exiting) {
            let proc = threads.procs.len();
            threads.procs.push(Proc {
                address: p.address,
                pid: p.pid,
                comm: p.comm,
                ppid: reader.parent(p.address).and_then(|at| match at {
                    0 => Some(0),
                    at => pids.get(&at).copied(),
                }),
                uid: reader.uid(p.address),
            });
            for td in p.threads {
                let (thread, problem) = reader.thread((proc, p.address), td);
                if problem.is_some() && proc >= listed {
                    continue;
                }
                if let Some(problem) = problem {
                    let tid = thread.tid;
                    threads.problem(format!("thread {tid}: {problem}"));
                }
                let n = threads.list.len();
                threads.by_address.insert(thread.address.0, n);
                threads.list.push(thread);
            }
        }
        if threads.procs.is_empty() {
            threads.problem(
                "allproc is empty: the dump is damaged, or the kernel is from \
                 another build"
                    .into(),
            );
        } else if !threads.has_kernel_process() {
            // The first that ever was, and so the last of the list.
            threads.problem("process 0 is missing: the list ends early".into());
        }
        Ok(threads)
    }

    fn has_kernel_process(&self) -> bool {
        let first = self.procs.iter().position(|p| p.pid == 0);
        first.is_some_and(|n| self.list.iter().any(|td| td.proc == n))
    }

    /// Why there may be threads that are not in it; nothing where it is whole.
    #[must_use]
    pub fn incomplete(&self) -> Vec<String> {
        let tears = (self.tears > 0).then(|| match self.tears {
            1 => "1 back link does not match".into(),
            n => format!("{n} back links do not match"),
        });
        let problems = self.problems.iter().take(MAX_SHOWN).cloned();
        let all = tears.into_iter().chain(problems);
        all.map(|text| format!("the process list: {text}")).collect()
    }

    fn problem(&mut self, text: String) {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(text);
        }
    }

    /// Its number in the list, by its address.
    #[must_use]
    pub fn at(&self, address: Vaddr) -> Option<usize> {
        self.by_address.get(&address.0).copied()
    }

    /// Its number in the list, by its id.
    #[must_use]
    pub fn by_tid(&self, tid: i32) -> Option<usize> {
        self.list.iter().position(|t| t.tid == tid)
    }

    /// The process of a thread.
    #[must_use]
    pub fn proc_of(&self, thread: &Thread) -> Option<&Proc> {
        self.procs.get(thread.proc)
    }
}

/// Whether the fields are known that say in what state threads are, and for
/// what they wait.
///
/// # Errors
/// Those that are not.
pub fn check_state(t: &Target<'_>) -> Result<(), Missing> {
    let mut required = RequiredFields::new(&t.types);
    for field in ["td_state", "td_inhibitors", "td_wmesg", "td_lockname"] {
        required.field("thread", field);
    }
    required.check()
}

/// Processes that have left allproc and have yet to be reaped; none where the
/// kernel's types are not known.
fn exiting(
    t: &Target<'_>,
    known: &[procs::Proc],
) -> Result<Vec<procs::Proc>, TargetError> {
    let of = |name| t.types.field("proc", name).map(|f| f.offset);
    let Some((p_children, p_sibling)) = of("p_children").zip(of("p_sibling"))
    else {
        return Ok(Vec::new());
    };
    let siblings = Siblings { p_children, p_sibling };
    Ok(t.core.exiting(t.kernel, known, &siblings)?)
}

struct Reader<'t, 'a> {
    t: &'t Target<'a>,
    f: Fields,
    /// Wait messages are few, and each is many threads'.
    texts: HashMap<u64, Option<String>>,
}

impl Reader<'_, '_> {
    fn text(&mut self, address: u64) -> Text {
        let t = self.t;
        let read = || match address {
            0 => None,
            _ => t.text(Vaddr(address), TEXT_BYTES),
        };
        let text = self.texts.entry(address).or_insert_with(read).clone();
        Text { address, text }
    }

    /// The parent's address.
    fn parent(&self, proc: Vaddr) -> Option<u64> {
        self.t.get(proc, self.f.pptr?).ok()
    }

    fn uid(&self, proc: Vaddr) -> Option<u32> {
        let cred = self.t.get(proc, self.f.ucred?).ok()?;
        let uid = self.t.get(Vaddr(cred), self.f.uid?).ok()?;
        u32::try_from(uid).ok().filter(|_| cred != 0)
    }

    fn thread(
        &mut self,
        (proc, proc_address): (usize, Vaddr),
        td: livedump_vmcore::procs::Thread,
    ) -> (Thread, Option<String>) {
        let t = self.t;
        let mut problem = None;
        let mut get = |field: Option<Field>| match t.get(td.address, field?) {
            Ok(n) => Some(n),
            Err(e) => {
                problem.get_or_insert_with(|| read_error_text(&e));
                None
            }
        };
        let f = &self.f;
        let of = get(f.proc);
        let state = State::new(get(f.state), get(f.inhibitors));
        let ticks = match state.is_inhibited_by(TDI_LOCK) {
            true => f.blktick,
            false => f.slptick,
        };
        let since = get(ticks).map(|n| n as u32);
        let pages = get(f.kstack_pages).filter(|n| (1..=64).contains(n));
        let kstack = get(f.kstack).zip(pages).and_then(|(start, pages)| {
            let end = start.checked_add(pages.checked_mul(4096)?)?;
            (start != 0).then_some((start, end))
        });
        let [wchan, wmesg, blocked, lockname] =
            [f.wchan, f.wmesg, f.blocked, f.lockname]
                .map(|f| get(f).unwrap_or(0));
        let thread = Thread {
            proc,
            address: td.address,
            tid: td.tid,
            cpu: u32::try_from(td.oncpu).ok(),
            pcb: td.pcb,
            state,
            wchan: Vaddr(wchan),
            blocked: Vaddr(blocked),
            sqqueue: get(f.sqqueue),
            tsqueue: get(f.tsqueue),
            kstack,
            since: since.filter(|&n| n != 0),
            shared: f.shared.map(|f| get(f).unwrap_or(0)),
            name: td.name,
            wmesg: Text::default(),
            lockname: Text::default(),
        };
        if of.is_some_and(|of| of != proc_address.0) {
            // What follows it on this list is that process's, too.
            problem.get_or_insert("it belongs to another process".into());
        }
        if let State::Invalid(n) = state {
            problem.get_or_insert(format!("it is in state {n}"));
        }
        let [wmesg, lockname] = [wmesg, lockname].map(|at| self.text(at));
        (Thread { wmesg, lockname, ..thread }, problem)
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.text {
            Some(text) => f.write_str(text),
            None if self.address == 0 => Ok(()),
            None => write!(f, "{:#x}", self.address),
        }
    }
}
