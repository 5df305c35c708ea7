// SPDX-License-Identifier: BSD-2-Clause
//! A FreeBSD kernel in an image of physical memory. Its virtual addresses are
//! fixed; where it was loaded is not, and is found by content: a piece of the
//! kernel file that never changes is looked for at every place where the
//! loader may have put it, and the kernel's own page tables have to lead
//! there. What the image says about that is only compared.
//!
//! Without a kernel file, a parameter page may say all that: `params`.
//!
//! ```text
//!  physical base   a page of .rodata, every 2 MiB; several: the tables decide
//!  root            KPML4phys; arm64: the value in kernel_pmap_store that works
//!  maps            kva_layout or the constants, nkpt, kernel_vm_end
//!  the dump's      dump_avail, vm_page_dump, msgbufp
//! ```

mod facts;
mod marked;
mod params;
mod registers;
mod search;
mod tables;
mod variables;

use super::{Format, ImageError, MemoryImage};
use crate::elf::Kernel;
use memdev::addr::{PAGE_SIZE, Paddr, Vaddr};
use memdev::arch::Machine;
use memdev::params::Params;
use std::sync::Arc;

pub use facts::{ImageFacts, VmPageTypes, VmPages};
pub use marked::Marked;
pub use params::Refusal;
pub use search::{MAX_SEARCHED, Refused, Search};
pub use tables::{ROOT_LEVEL, Walker};

const PAGE: u64 = PAGE_SIZE as u64;
/// A kernel is loaded at a multiple of this. C: `NBPDR`, `L2_SIZE`.
const STEP: u64 = 2 << 20;
/// Places that are tried, the lowest; on amd64 those below 4 GiB.
const MAX_PLACES: u64 = 1 << 16;
/// Copies of a kernel that are looked into.
const MAX_FOUND: usize = 8;
/// Bytes that are compared.
const SAMPLE: usize = 1024;

/// Why no kernel was found in an image.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// The kernel file cannot be used for that.
    #[error("kernel {kernel}: {what}")]
    Kernel {
        /// The file.
        kernel: String,
        /// What it lacks.
        what: String,
    },
    /// It is not in the image.
    #[error("kernel {kernel} is not in this memory: {why}")]
    NotFound {
        /// The file.
        kernel: String,
        /// How far it got.
        why: String,
    },
    /// It is there more than once, and nothing tells which of them ran.
    #[error(
        "kernel {kernel} is in this memory at {first:#x} and at {second:#x}, \
         and both have whole lists"
    )]
    Ambiguous {
        /// The file.
        kernel: String,
        /// One physical base.
        first: u64,
        /// Another.
        second: u64,
    },
    /// Page tables that the image lacks.
    #[error(
        "{missing} page tables of the kernel map are not in the image, or not \
         within dump_avail, the first at physical {first}"
    )]
    Tables {
        /// How many.
        missing: u64,
        /// One.
        first: Paddr,
    },
    /// A variable of the kernel that cannot be.
    #[error("{name}: {what}")]
    Variable {
        /// Which.
        name: &'static str,
        /// What is wrong with it.
        what: String,
    },
    /// No kernel is named, and its memory has no parameter page.
    #[error("{0}")]
    NoPage(Search),
    /// Two kernels wrote one, and nothing tells which of them ran.
    #[error(
        "there are parameter pages at {first} and at {second}, and both are \
         in use"
    )]
    Pages {
        /// One of them.
        first: Paddr,
        /// Another.
        second: Paddr,
    },
    /// The image cannot be read.
    #[error(transparent)]
    Image(#[from] ImageError),
}

/// The memory of a FreeBSD kernel: where everything is that a minidump is made
/// of.
#[derive(Debug)]
pub struct KernelMemory {
    pub(super) walker: Walker,
    /// Physical address at KERNBASE: C: `kernphys` - `KERNLOAD` on amd64.
    pub base: Paddr,
    /// Version of the minidumps of this kernel.
    pub minidump_version: u32,
    /// C: `VM_MIN_KERNEL_ADDRESS`.
    pub kernbase: Vaddr,
    /// After what the walk covers.
    pub kva_end: Vaddr,
    /// C: `dump_avail[]`, without the terminating pair.
    pub dump_avail: Vec<(u64, u64)>,
    /// C: `sizeof(dump_avail)`; 0 where its minidumps have no such section.
    pub dump_avail_bytes: u32,
    /// C: `vm_page_dump`.
    pub bitset: Vaddr,
    /// Bits of it.
    pub bitset_bits: u64,
    /// C: `msgbufp->msg_ptr`.
    pub msgbuf: Vaddr,
    /// C: `msgbufp->msg_size`.
    pub msgbuf_bytes: u32,
    /// C: `version`.
    pub version: String,
    /// CPUs whose registers are put where debuggers look, of the image's.
    pub registers: u32,
    /// What the image says and is not so, in sentences without an end.
    pub notes: Vec<String>,
    /// The parameter page that all this is from; `None`: it is from a kernel
    /// file.
    pub params: Option<Box<Params>>,
}

impl KernelMemory {
    /// Finds `kernel` in `image`; one for each place where it is, as that of
    /// a machine that was started again may be, which no other is left of.
    ///
    /// # Errors
    /// It is not there, or not as a whole.
    pub fn find(
        image: &Arc<dyn MemoryImage>,
        kernel: &Kernel,
    ) -> Result<Vec<Self>, KernelError> {
        let sample = Sample::of(kernel)?;
        let mut walkers = Vec::new();
        let mut why = format!("no copy of its {} bytes", sample.bytes.len());
        for base in places(image.as_ref(), kernel.machine())? {
            if !sample.is_at(image.as_ref(), base) {
                continue;
            }
            match Walker::at(Arc::clone(image), kernel, base) {
                Ok(walker) if walkers.len() < MAX_FOUND => walkers.push(walker),
                Ok(_) => break,
                Err(e) => why = format!("its copy at {base:#x}: {e}"),
            }
        }
        let mut found = Vec::new();
        let mut failed = None;
        for walker in walkers {
            match variables::read(walker, kernel) {
                Ok(memory) => found.push(memory),
                Err(e) => failed = Some(e),
            }
        }
        match (found.is_empty(), failed) {
            (false, _) => Ok(found),
            (true, Some(e)) => Err(e),
            (true, None) => {
                let kernel = kernel.path().to_owned();
                Err(KernelError::NotFound { kernel, why })
            }
        }
    }

    /// Where the memory of `image` may start, by what a kernel in it has,
    /// although the image says 0.
    #[must_use]
    pub fn starts(image: &dyn MemoryImage, kernel: &Kernel) -> Vec<u64> {
        let places = Sample::of(kernel)
            .and_then(|sample| Ok((sample, places(image, kernel.machine())?)));
        let Ok((sample, places)) = places else { return Vec::new() };
        let mut all: Vec<u64> = places
            .into_iter()
            .filter(|&base| sample.is_at(image, base))
            .flat_map(|base| variables::starts(image, kernel, base))
            .collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// The memory.
    #[must_use]
    pub fn image(&self) -> &Arc<dyn MemoryImage> {
        self.walker.image()
    }

    /// What wrote it.
    #[must_use]
    pub fn format(&self) -> Format {
        self.image().format()
    }

    /// The machine.
    #[must_use]
    pub fn machine(&self) -> Machine {
        self.walker.machine()
    }

    /// Its page tables and the direct map.
    #[must_use]
    pub fn walker(&self) -> &Walker {
        &self.walker
    }

    /// Reads everything that a minidump is made from once: the page bitset,
    /// the message buffer and the page tables of the kernel map. Made without
    /// a part of them, it would silently lack memory.
    ///
    /// # Errors
    /// The image lacks a part of them.
    pub fn check_dumpable(&self) -> Result<(), KernelError> {
        let bitset = self.bitset_bits.div_ceil(8);
        let msgbuf = u64::from(self.msgbuf_bytes);
        for (name, start, bytes) in [
            ("vm_page_dump", self.bitset, bitset),
            ("msgbufp", self.msgbuf, msgbuf),
        ] {
            self.for_each_page(name, start, bytes, &mut |_, _| {})?;
        }
        let (start, end) = (self.kernbase, self.kva_end);
        match self.walker.missing_tables(start, end, &self.dump_avail) {
            (_, None) => Ok(()),
            (missing, Some(first)) => {
                Err(KernelError::Tables { missing, first })
            }
        }
    }

    /// Calls `f` with the pages of a variable, and where in it they are.
    fn for_each_page(
        &self,
        name: &'static str,
        start: Vaddr,
        bytes: u64,
        f: &mut dyn FnMut(u64, &[u8]),
    ) -> Result<(), KernelError> {
        let mut page = [0; PAGE_SIZE];
        let mut at = 0u64;
        while at < bytes {
            let n = bytes.saturating_sub(at).min(PAGE) as usize;
            let part = page.get_mut(..n).unwrap_or_default();
            let va = Vaddr(start.0.saturating_add(at));
            self.walker.read(va, part).map_err(|e| {
                let what = crate::chain(&e);
                KernelError::Variable { name, what }
            })?;
            f(at, part);
            at = at.saturating_add(PAGE);
        }
        Ok(())
    }

    /// Copies memory; what the image lacks of it is zero.
    pub fn copy(&self, va: Vaddr, out: &mut [u8]) {
        self.walker.copy(va, out);
    }

    /// Whether the image has the last page of dump_avail.
    #[must_use]
    pub fn has_last_page(&self) -> bool {
        let last = self.dump_avail.last().map_or(0, |r| r.1);
        last > 0 && self.has_page(Paddr(last.saturating_sub(1)))
    }

    /// Whether the image has a page.
    #[must_use]
    pub fn has_page(&self, pa: Paddr) -> bool {
        let page = pa.0.saturating_sub(pa.0 % PAGE);
        let run = self.image().next_run(Paddr(page));
        run.is_ok_and(|run| run.is_some_and(|run| run.start == page))
    }
}

/// Bytes of the kernel file that the running kernel has, too.
struct Sample {
    at: u64,
    bytes: Vec<u8>,
}

impl Sample {
    /// Around `version`, which no two builds have in common.
    fn of(kernel: &Kernel) -> Result<Self, KernelError> {
        let bad = |what: &str| KernelError::Kernel {
            kernel: kernel.path().to_owned(),
            what: what.to_owned(),
        };
        let version = kernel
            .find("version")
            .ok_or_else(|| bad("it has no symbol `version`"))?;
        let at = version.address.0;
        let mut read_only = kernel.read_only();
        let n = read_only.find_map(|(start, size)| {
            let into = at.checked_sub(start.0)?;
            let left = size.checked_sub(into)?;
            // Within a page: the next one may be anywhere in the file.
            let page = PAGE.saturating_sub(at % PAGE);
            Some(left.min(page).min(SAMPLE as u64))
        });
        let n = n.unwrap_or(version.size.min(256)).max(32);
        let mut bytes = vec![0; usize::try_from(n).unwrap_or(0)];
        if !kernel.read(version.address, &mut bytes) {
            return Err(bad("it has no contents of `version`"));
        }
        let kernbase = variables::kernbase(kernel.machine());
        let at = at
            .checked_sub(kernbase)
            .ok_or_else(|| bad("`version` is below KERNBASE"))?;
        Ok(Self { at, bytes })
    }

    fn is_at(&self, image: &dyn MemoryImage, base: u64) -> bool {
        let Some(at) = base.checked_add(self.at) else { return false };
        let mut found = vec![0; self.bytes.len()];
        image.read(Paddr(at), &mut found).is_ok() && found == self.bytes
    }
}

/// Physical addresses at KERNBASE that are possible.
fn places(
    image: &dyn MemoryImage,
    machine: Machine,
) -> Result<Vec<u64>, KernelError> {
    let end = match machine {
        // C: the loader's tables are below 4 GB.
        Machine::Amd64 => (4u64 << 30).min(image.end()),
        Machine::Arm64 => image.end(),
    };
    let mut all = Vec::new();
    let mut at = 0u64;
    while let Some(run) = image.next_run(Paddr(at)).map_err(ImageError::from)? {
        if run.start >= end {
            break;
        }
        let first = run.start.saturating_sub(run.start % STEP);
        let last = run.end.min(end);
        let mut place =
            first.max(all.last().map_or(0, |&p: &u64| p.saturating_add(STEP)));
        while place < last {
            if all.len() as u64 >= MAX_PLACES {
                return Ok(all);
            }
            all.push(place);
            place = place.saturating_add(STEP);
        }
        // The next run may be in the same 2 MiB.
        at = run.end;
        if let Some(&p) = all.last() {
            at = at.max(p.saturating_add(STEP).min(last));
        }
    }
    Ok(all)
}
