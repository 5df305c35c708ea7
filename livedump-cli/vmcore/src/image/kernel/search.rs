// SPDX-License-Identifier: BSD-2-Clause
//! Looking for parameter pages in an image, where nothing says where one is:
//! the first bytes of each page, once.

use super::params::Refusal;
use super::{KernelError, KernelMemory, MAX_FOUND, PAGE};
use crate::image::MemoryImage;
use crate::source::SourceError;
use memdev::addr::Paddr;
use memdev::params::MAGIC;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// No more memory than this is searched: a device says of every address that
/// it has memory there.
pub const MAX_SEARCHED: u64 = 1 << 44;
/// Refused pages that are told of one by one.
const MAX_TOLD: usize = 4;

/// A parameter page that is not used.
#[derive(Debug)]
pub struct Refused {
    /// Where it is.
    pub at: Paddr,
    /// Why not.
    pub why: Refusal,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "parameter page at {}: {}", self.at, self.why)
    }
}

/// What was looked at.
#[derive(Debug, Default)]
pub struct Search {
    /// Pages whose first bytes were read; 0 where it was enough to look at
    /// those that something tells of.
    pub pages: u64,
    /// How long that took.
    pub elapsed: Duration,
    /// The first pages that are not used.
    pub refused: Vec<Refused>,
    /// How many there are.
    pub refused_count: u64,
    /// Pages that could not be read: there may be one among them.
    pub unread: u64,
    /// There is too much memory to be searched.
    pub limited: bool,
}

impl Search {
    fn refuse(&mut self, at: Paddr, why: Refusal) {
        self.refused_count = self.refused_count.saturating_add(1);
        if self.refused.len() < MAX_TOLD {
            self.refused.push(Refused { at, why });
        }
    }

    /// That all memory was searched, and for how long.
    fn note(&self) -> String {
        format!(
            "its memory was searched for a parameter page: {} pages in {} ms",
            self.pages,
            self.elapsed.as_millis()
        )
    }
}

impl fmt::Display for Search {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((first, rest)) = self.refused.split_first() else {
            let n = self.pages;
            let ms = self.elapsed.as_millis();
            f.write_str("no parameter page was found in this memory")?;
            if n > 0 {
                write!(f, " ({n} pages were searched in {ms} ms)")?;
            }
            if self.unread > 0 {
                write!(f, "; {} pages could not be read", self.unread)?;
            }
            if self.limited {
                f.write_str("; there is too much of it to search all")?;
            }
            return Ok(());
        };
        write!(f, "{first}")?;
        for refused in rest {
            write!(f, "; {refused}")?;
        }
        let told = self.refused.len() as u64;
        match self.refused_count.saturating_sub(told) {
            0 => Ok(()),
            n => write!(f, "; and {n} more"),
        }
    }
}

impl KernelMemory {
    /// The kernel that has written a parameter page: at one of `hints`, or
    /// anywhere in the image.
    ///
    /// # Errors
    /// There is none that is to be used, or there are two.
    pub fn by_page(
        image: &Arc<dyn MemoryImage>,
        hints: &[Paddr],
    ) -> Result<Self, KernelError> {
        let mut search = Search::default();
        for &hint in hints {
            match Self::at_page(image, hint) {
                Ok(memory) => return Ok(memory),
                Err(Refusal::Absent) => {}
                Err(why) => search.refuse(hint, why),
            }
        }
        let began = Instant::now();
        let (mut found, mut at) = (Vec::new(), 0u64);
        let mut left = MAX_SEARCHED;
        let mut magic = [0; MAGIC.len()];
        while let Some(run) = image.next_run(Paddr(at)).map_err(io)? {
            let pages = run.end.saturating_sub(run.start);
            if pages > left {
                search.limited = true;
                break;
            }
            left = left.saturating_sub(pages);
            let mut page = run.start;
            while page < run.end {
                let pa = Paddr(page);
                page = page.saturating_add(PAGE);
                search.pages = search.pages.saturating_add(1);
                if image.read(pa, &mut magic).is_err() {
                    search.unread = search.unread.saturating_add(1);
                    continue;
                }
                if magic != MAGIC || hints.contains(&pa) {
                    continue;
                }
                match Self::at_page(image, pa) {
                    Ok(memory) if found.len() < MAX_FOUND => {
                        found.push((pa, memory));
                    }
                    Ok(_) | Err(Refusal::Absent) => {}
                    Err(why) => search.refuse(pa, why),
                }
            }
            at = run.end.max(at.saturating_add(PAGE));
        }
        search.elapsed = began.elapsed();
        let mut found = found.into_iter();
        match (found.next(), found.next()) {
            (Some((first, _)), Some((second, _))) => {
                Err(KernelError::Pages { first, second })
            }
            (Some((_, mut memory)), None) => {
                memory.notes.push(search.note());
                let refused = search.refused.iter().map(Refused::to_string);
                memory.notes.extend(refused);
                Ok(memory)
            }
            (None, _) => Err(KernelError::NoPage(search)),
        }
    }
}

fn io(e: SourceError) -> KernelError {
    KernelError::Image(e.into())
}
