// SPDX-License-Identifier: BSD-2-Clause
//! What each CPU ran. C: `pc_curthread`, <sys/pcpu.h>.

use super::per_cpu::pcpus;
use super::target::{Target, at};
use super::threads::Threads;
use super::types::{Field, RequiredFields};
use super::unavailable::Unavailable;
use memdev::addr::Vaddr;

/// One CPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cpu {
    /// Its number.
    pub number: u32,
    /// Which of the threads it ran; `None` where that is not on the list.
    pub thread: Option<usize>,
    /// The address of it, where that is known.
    pub address: Option<Vaddr>,
    /// Whether that is its idle thread.
    pub idle: Option<bool>,
    /// What a thread that is not on the list says about itself: in a live
    /// dump it may have started after the list was copied.
    pub unlisted: Option<Unlisted>,
}

/// A thread that is not on the list. What could not be read is `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unlisted {
    /// C: `td_tid`.
    pub tid: Option<i32>,
    /// C: `td_name`.
    pub name: Option<Vec<u8>>,
    /// C: `p_pid`.
    pub pid: Option<i32>,
    /// C: `p_comm`.
    pub comm: Option<Vec<u8>>,
}

/// The CPUs, and how it is known what they ran.
#[derive(Debug)]
pub struct Cpus {
    /// By their numbers.
    pub list: Vec<Cpu>,
    /// "pc_curthread", or "td_oncpu" where no pcpu is to be had.
    pub source: &'static str,
    /// Why it is not the first.
    pub problem: Option<String>,
}

impl Cpus {
    /// Reads them; without pcpus it is the threads that tell.
    #[must_use]
    pub fn new(t: &Target<'_>, threads: &Threads) -> Self {
        match of_pcpu(t, threads) {
            Ok(list) => Self { list, source: "pc_curthread", problem: None },
            Err(e) => Self {
                list: of_threads(threads),
                source: "td_oncpu",
                problem: Some(livedump_vmcore::chain(&e)),
            },
        }
    }
}

fn of_pcpu(t: &Target<'_>, threads: &Threads) -> Result<Vec<Cpu>, Unavailable> {
    let mut f = RequiredFields::new(&t.types);
    let curthread = f.field("pcpu", "pc_curthread");
    let idlethread = f.field("pcpu", "pc_idlethread");
    f.check()?;
    let cpu = |(number, pcpu)| {
        let read = t.get(pcpu, curthread);
        let td =
            read.map_err(|source| Unavailable::Read { what: "pcpu", source })?;
        let idle = t.get(pcpu, idlethread).ok();
        let address = Vaddr(td);
        let thread = threads.at(address);
        Ok(Cpu {
            number,
            thread,
            unlisted: match thread {
                None if td != 0 => Some(unlisted(t, address)),
                _ => None,
            },
            address: (td != 0).then_some(address),
            idle: idle.filter(|_| td != 0).map(|idle| idle == td),
        })
    };
    pcpus(t)?.into_iter().map(cpu).collect()
}

/// C: MAXCOMLEN + 1 is 20.
const MAX_NAME: usize = 64;

fn unlisted(t: &Target<'_>, td: Vaddr) -> Unlisted {
    let of = |of, name| t.types.field(of, name);
    let id = |at: Vaddr, field: Option<Field>| {
        let n = t.get(at, Field { size: 4, ..field? }).ok()?;
        // Both are signed.
        Some(n as u32 as i32)
    };
    let name =
        |va: Vaddr, field: Option<Field>| t.c_string(at(va, field?), MAX_NAME);
    let proc = of("thread", "td_proc").and_then(|f| t.get(td, f).ok());
    let proc = proc.filter(|&proc| proc != 0).map(Vaddr);
    Unlisted {
        tid: id(td, of("thread", "td_tid")),
        name: name(td, of("thread", "td_name")),
        pid: proc.and_then(|proc| id(proc, of("proc", "p_pid"))),
        comm: proc.and_then(|proc| name(proc, of("proc", "p_comm"))),
    }
}

fn of_threads(threads: &Threads) -> Vec<Cpu> {
    let all = threads.list.iter().enumerate();
    let mut found: Vec<_> = all
        .filter_map(|(n, td)| {
            Some(Cpu {
                number: td.cpu?,
                thread: Some(n),
                address: Some(td.address),
                idle: None,
                unlisted: None,
            })
        })
        .collect();
    found.sort_by_key(|cpu| cpu.number);
    found
}
