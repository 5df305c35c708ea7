// SPDX-License-Identifier: BSD-2-Clause
//! What each CPU ran. C: `pc_curthread`, <sys/pcpu.h>.

use super::per_cpu::pcpus;
use super::target::Target;
use super::threads::Threads;
use super::types::RequiredFields;
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
        Ok(Cpu {
            number,
            thread: threads.at(address),
            address: Some(address),
            idle: idle.map(|idle| idle == td),
        })
    };
    pcpus(t)?.into_iter().map(cpu).collect()
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
            })
        })
        .collect();
    found.sort_by_key(|cpu| cpu.number);
    found
}
