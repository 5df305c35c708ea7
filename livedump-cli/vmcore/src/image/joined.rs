// SPDX-License-Identifier: BSD-2-Clause
//! The parts of a dump that was split: each has the pages of its range, and
//! says of which dump.

use super::{Claims, Format, MemoryImage, Run};
use crate::MemoryError;
use crate::source::SourceError;
use memdev::addr::Paddr;
use std::sync::Arc;

/// A part of a split dump.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// The addresses that it has the pages of.
    pub range: (u64, u64),
    /// After the last address of the whole dump.
    pub end: u64,
    /// What all parts of a dump have in common: names and time of it, its
    /// vmcoreinfo, the registers.
    pub dump: Vec<u8>,
}

/// Why parts are not those of one dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    /// One is no part of any.
    #[error("it is no part of a split dump")]
    NotAPart,
    /// One is of another dump.
    #[error("it is a part of another dump")]
    Other,
    /// Two have the same pages.
    #[error("it has pages of another part: {0:#x} is in both")]
    Twice(u64),
}

/// All parts that there are.
#[derive(Debug)]
pub struct Joined {
    /// In the order of their addresses.
    parts: Vec<(Part, Arc<dyn MemoryImage>)>,
    claims: Claims,
}

impl Joined {
    /// Puts parts together. The error: which of them cannot be.
    ///
    /// # Errors
    /// They are not those of one dump.
    pub fn new(
        images: Vec<Arc<dyn MemoryImage>>,
    ) -> Result<Self, (usize, JoinError)> {
        let mut parts = Vec::new();
        for (n, image) in images.into_iter().enumerate() {
            let part = image.claims().part.clone();
            let part = part.ok_or((n, JoinError::NotAPart))?;
            parts.push((n, part, image));
        }
        let first = parts.first().map(|(_, part, _)| part.clone());
        let first = first.ok_or((0, JoinError::NotAPart))?;
        for (n, part, _) in &parts {
            if (part.end, &part.dump) != (first.end, &first.dump) {
                return Err((*n, JoinError::Other));
            }
        }
        parts.sort_by_key(|(_, part, _)| part.range);
        let mut claims = Claims::default();
        if let Some((.., image)) = parts.first() {
            claims = image.claims().clone();
        }
        claims.part = None;
        claims.notes.clear();
        let mut at = 0u64;
        let missing = |from: u64, to: u64| {
            format!("a part of the dump is missing: {from:#x} to {to:#x}")
        };
        for (n, part, _) in &parts {
            let (start, end) = part.range;
            if start < at {
                return Err((*n, JoinError::Twice(start)));
            }
            if start > at {
                claims.notes.push(missing(at, start));
            }
            at = end.max(start);
        }
        if at < first.end {
            claims.notes.push(missing(at, first.end));
        }
        claims.incomplete = claims.notes.first().cloned();
        let own = parts.iter().flat_map(|(.., image)| &image.claims().notes);
        let own = own.filter(|note| !note.starts_with(PART));
        claims.notes.extend(own.cloned());
        let parts = parts.into_iter().map(|(_, part, image)| (part, image));
        Ok(Self { parts: parts.collect(), claims })
    }

    /// The part that has an address, or the first one after it.
    fn at_or_after(&self, pa: u64) -> &[(Part, Arc<dyn MemoryImage>)] {
        let i = self.parts.partition_point(|(part, _)| part.range.1 <= pa);
        self.parts.get(i..).unwrap_or_default()
    }
}

/// How a part's note on itself begins.
pub(super) const PART: &str = "it is one part of a split dump";

impl MemoryImage for Joined {
    fn format(&self) -> Format {
        self.parts.first().map_or(Format::Kdump, |(_, image)| image.format())
    }

    fn claims(&self) -> &Claims {
        &self.claims
    }

    fn next_run(&self, from: Paddr) -> Result<Option<Run>, SourceError> {
        for (_, image) in self.at_or_after(from.0) {
            if let Some(run) = image.next_run(from)? {
                return Ok(Some(run));
            }
        }
        Ok(None)
    }

    fn read(&self, pa: Paddr, buf: &mut [u8]) -> Result<(), MemoryError> {
        let (mut at, mut left) = (pa.0, buf);
        while !left.is_empty() {
            let missing = || MemoryError::NotDumped { pa: Paddr(at) };
            let (part, image) =
                self.at_or_after(at).first().ok_or_else(missing)?;
            let n = usize::try_from(part.range.1.saturating_sub(at));
            let n = n.unwrap_or(usize::MAX).min(left.len());
            let (now, rest) =
                left.split_at_mut_checked(n).ok_or_else(missing)?;
            image.read(Paddr(at), now)?;
            at = at.saturating_add(n as u64);
            left = rest;
        }
        Ok(())
    }

    fn end(&self) -> u64 {
        let ends = self.parts.iter().map(|(_, image)| image.end());
        ends.max().unwrap_or(0)
    }
}
