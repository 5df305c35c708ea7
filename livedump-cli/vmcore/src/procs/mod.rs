// SPDX-License-Identifier: BSD-2-Clause
//! The process list: from `allproc`, through the offsets that the kernel
//! exports as `proc_off_*` and `thread_off_*`.
//!
//! The lists were changing while they were dumped, so each pointer is a claim:
//! nothing is visited twice, nothing goes on for ever, and every element's
//! link back is compared with the one that led to it.

mod walk;

use super::elf::Kernel;
use super::{ReadError, Vmcore};
use memdev::addr::Vaddr;
use walk::Walk;

/// More processes than PID_MAX (99999) allows do not exist.
pub const MAX_PROCS: usize = 100_000;
/// A bound on all threads together.
pub const MAX_THREADS: usize = 1 << 18;
/// C: `PID_MAX`.
const PID_MAX: i32 = 99_999;
/// Thread ids start behind all process ids. C: `TID_MIN`.
const TID_MIN: i32 = 100_000;
/// No structure here is larger.
const MAX_OFFSET: u32 = 64 << 10;
/// C: `MAXCOMLEN` and its NUL.
const NAME_BYTES: usize = 20;

/// Why the walk could not start.
#[derive(Debug, thiserror::Error)]
pub enum ProcsError {
    /// The kernel file lacks a symbol.
    #[error("kernel {kernel} has no symbol {name}")]
    NoSymbol {
        /// The file.
        kernel: String,
        /// The symbol.
        name: &'static str,
    },
    /// It is neither in the dump nor in the kernel file.
    #[error("reading {name}")]
    Read {
        /// The symbol.
        name: &'static str,
        /// Why.
        source: ReadError,
    },
    /// It cannot be the offset of a field.
    #[error("{name} is {found}, which cannot be an offset")]
    Offset {
        /// The symbol.
        name: &'static str,
        /// The value.
        found: u32,
    },
}

/// Something on the lists that is not right.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// A pointer leads nowhere: what is behind it is lost.
    #[error("{what} at {at} cannot be read")]
    Unreadable {
        /// Process or thread.
        what: &'static str,
        /// Where it should be.
        at: Vaddr,
        /// Why.
        source: ReadError,
    },
    /// A list came back to an element it had before.
    #[error("the list of {what} has a cycle at {at}")]
    Cycle {
        /// Processes or threads.
        what: &'static str,
        /// The element.
        at: Vaddr,
    },
    /// A list without an end.
    #[error("more than {limit} {what}")]
    TooMany {
        /// Processes or threads.
        what: &'static str,
        /// The bound.
        limit: usize,
    },
    /// A number that no process or thread has.
    #[error("{what} at {at} has id {id}")]
    Id {
        /// Process or thread.
        what: &'static str,
        /// Where it is.
        at: Vaddr,
        /// The number.
        id: i32,
    },
    /// Two processes with one id.
    #[error("process {id} is on the list twice, the second time at {at}")]
    DuplicatePid {
        /// The number.
        id: i32,
        /// The second one.
        at: Vaddr,
    },
    /// An element whose link back is not the link that led to it.
    #[error("{what} at {at} is linked from {from}, but points back to {back}")]
    BackLink {
        /// Process or thread.
        what: &'static str,
        /// Where it is.
        at: Vaddr,
        /// The link that led to it.
        from: Vaddr,
        /// What it thinks leads to it.
        back: Vaddr,
        /// The process whose list it is; `None` for that of processes.
        process: Option<Vaddr>,
    },
}

impl Problem {
    /// Whether it means only that the list changed while it was dumped: what
    /// follows was read.
    #[must_use]
    pub fn is_tear(&self) -> bool {
        matches!(self, Self::BackLink { .. })
    }
}

/// One process.
#[derive(Clone, Debug)]
pub struct Proc {
    /// C: `struct proc *`.
    pub address: Vaddr,
    /// C: `p_pid`.
    pub pid: i32,
    /// C: `p_comm`, up to its NUL.
    pub comm: Vec<u8>,
    /// Its threads.
    pub threads: Vec<Thread>,
}

/// One thread.
#[derive(Clone, Debug)]
pub struct Thread {
    /// C: `struct thread *`.
    pub address: Vaddr,
    /// C: `td_tid`.
    pub tid: i32,
    /// C: `td_name`, up to its NUL.
    pub name: Vec<u8>,
    /// The CPU it was on; -1 for none. C: `td_oncpu`.
    pub oncpu: i32,
    /// C: `td_pcb`.
    pub pcb: Vaddr,
}

/// What the walk came to.
#[derive(Debug, Default)]
pub struct Procs {
    /// In the order of the list.
    pub procs: Vec<Proc>,
    /// What is not right, in the order it was met.
    pub problems: Vec<Problem>,
}

/// How many problems are kept.
const MAX_PROBLEMS: usize = 64;

impl Procs {
    fn problem(&mut self, p: Problem) {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(p);
        }
    }

    /// Threads of all processes.
    #[must_use]
    pub fn thread_count(&self) -> usize {
        self.procs.iter().map(|p| p.threads.len()).sum()
    }
}

/// Offsets of fields. C: `proc_off_*`, `thread_off_*`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offsets {
    /// Of `struct proc`.
    pub p_list: u64,
    /// Of `struct proc`.
    pub p_pid: u64,
    /// Of `struct proc`.
    pub p_comm: u64,
    /// Of `struct proc`.
    pub p_threads: u64,
    /// Of `struct thread`.
    pub td_plist: u64,
    /// Of `struct thread`.
    pub td_tid: u64,
    /// Of `struct thread`.
    pub td_name: u64,
    /// Of `struct thread`.
    pub td_oncpu: u64,
    /// Of `struct thread`.
    pub td_pcb: u64,
}

/// Offsets of fields of `struct proc` that the kernel does not export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Siblings {
    /// C: `p_children`.
    pub p_children: u64,
    /// C: `p_sibling`.
    pub p_sibling: u64,
}

fn no_symbol(kernel: &Kernel, name: &'static str) -> ProcsError {
    ProcsError::NoSymbol { kernel: kernel.path().to_string(), name }
}

/// The field of a structure.
fn field(at: Vaddr, offset: u64) -> Vaddr {
    Vaddr(at.0.wrapping_add(offset))
}

impl Vmcore {
    /// An `int` of the kernel: as the dump has it, or else as the kernel
    /// file does.
    ///
    /// # Errors
    /// Neither has it.
    pub fn kernel_int(
        &self,
        kernel: &Kernel,
        name: &'static str,
    ) -> Result<u32, ProcsError> {
        let symbol =
            kernel.find(name).ok_or_else(|| no_symbol(kernel, name))?;
        let mut raw = [0; 4];
        match self.read_u32(symbol.address) {
            Ok(value) => Ok(value),
            Err(_) if kernel.read(symbol.address, &mut raw) => {
                Ok(u32::from_le_bytes(raw))
            }
            Err(source) => Err(ProcsError::Read { name, source }),
        }
    }

    /// The offsets that the walk needs.
    ///
    /// # Errors
    /// One of them is not to be had.
    pub fn proc_offsets(&self, kernel: &Kernel) -> Result<Offsets, ProcsError> {
        let get = |name| match self.kernel_int(kernel, name)? {
            found if found > MAX_OFFSET => {
                Err(ProcsError::Offset { name, found })
            }
            offset => Ok(u64::from(offset)),
        };
        Ok(Offsets {
            p_list: get("proc_off_p_list")?,
            p_pid: get("proc_off_p_pid")?,
            p_comm: get("proc_off_p_comm")?,
            p_threads: get("proc_off_p_threads")?,
            td_plist: get("thread_off_td_plist")?,
            td_tid: get("thread_off_td_tid")?,
            td_name: get("thread_off_td_name")?,
            td_oncpu: get("thread_off_td_oncpu")?,
            td_pcb: get("thread_off_td_pcb")?,
        })
    }

    /// Walks allproc and every process's threads.
    ///
    /// # Errors
    /// The walk cannot even start.
    pub fn procs(&self, kernel: &Kernel) -> Result<Procs, ProcsError> {
        let offsets = self.proc_offsets(kernel)?;
        let name = "allproc";
        let symbol =
            kernel.find(name).ok_or_else(|| no_symbol(kernel, name))?;
        let first = self
            .read_u64(symbol.address)
            .map_err(|source| ProcsError::Read { name, source })?;
        let walk = Walk::new(self, offsets);
        Ok(walk.run(symbol.address, Vaddr(first)))
    }

    /// The children of `known` that are not among them: processes that exit
    /// leave allproc while their last thread still runs and holds locks.
    /// C: `exit1`.
    ///
    /// # Errors
    /// The walk cannot even start.
    pub fn exiting(
        &self,
        kernel: &Kernel,
        known: &[Proc],
        siblings: &Siblings,
    ) -> Result<Vec<Proc>, ProcsError> {
        let walk = Walk::new(self, self.proc_offsets(kernel)?);
        Ok(walk.run_children(known, siblings))
    }

    /// A C string of at most `NAME_BYTES`.
    fn name_at(&self, at: Vaddr) -> Result<Vec<u8>, ReadError> {
        let mut raw = [0; NAME_BYTES];
        self.read_va(at, &mut raw)?;
        Ok(raw.into_iter().take_while(|&b| b != 0).collect())
    }
}
