// SPDX-License-Identifier: BSD-2-Clause
//! A dump's memory in the formats of other programs, one file a format. A
//! writer reads pages in ascending order and keeps none of them; what it
//! writes to is a [`Sink`].
//!
//! ```text
//!  raw    a byte's offset is its physical address
//!  lime   LiME, version 1: a range for each run of pages
//!  kdump  makedumpfile's, pages compressed; needs no kernel but likes one
//!  elf    an ELF core for lldb or gdb; script: what they have to be told
//!         besides; modules: where those are
//! ```
//!
//! Of a minidump, which lacks some of the kernel's page tables, all but elf
//! are written with these added (`tables`).
//!
//! A page that cannot be read is counted, and does not end the conversion.

#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::arithmetic_side_effects
    )
)]

pub mod elf;
pub mod kdump;
pub mod lime;
pub mod modules;
pub mod raw;
pub mod script;
pub mod tables;

mod copy;
mod progress;
mod signed;
mod sink;
#[cfg(test)]
mod testing;

pub use progress::Progress;
pub use sink::Sink;

use crate::outcome::Outcome;
use crate::signals::Signals;
use livedump_vmcore::image::{MemoryImage, Run};
use livedump_vmcore::source::SourceError;
use livedump_vmcore::{MemoryError, chain};
use memdev::addr::{PAGE_SIZE, Paddr};
use nix::sys::signal::Signal;
use std::io;

const PAGE: u64 = PAGE_SIZE as u64;
/// What is read at a time.
const PIECE: u64 = 1 << 20;
const ZERO_PAGE: [u8; PAGE_SIZE] = [0; PAGE_SIZE];

/// Why a conversion ended early. Nothing has the name of the output then.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Which pages there are cannot be told.
    #[error("reading which pages the dump has")]
    Pages(#[source] SourceError),
    /// The output does not take it.
    #[error("writing")]
    Io(#[from] io::Error),
    /// More than the format can hold.
    #[error("too large for this format: {0}")]
    TooLarge(String),
    /// A signal.
    #[error("stopped by {0}: nothing was written")]
    Stopped(Signal),
}

impl From<SourceError> for Error {
    fn from(e: SourceError) -> Self {
        Self::Pages(e)
    }
}

/// Pages that could not be read.
#[derive(Debug, Default)]
pub struct Problems {
    pages: u64,
    first: Option<(Paddr, String)>,
    /// Whether this host could not read one of them.
    environment: bool,
}

impl Problems {
    fn add(&mut self, pa: Paddr, e: &MemoryError) {
        self.add_many(pa, e, 1);
    }

    /// The same for pages that follow the first.
    fn add_many(&mut self, pa: Paddr, e: &MemoryError, pages: u64) {
        self.pages = self.pages.saturating_add(pages);
        self.environment |= e.is_environment();
        self.first.get_or_insert_with(|| (pa, chain(e)));
    }

    /// How many pages.
    #[must_use]
    pub fn pages(&self) -> u64 {
        self.pages
    }

    /// With those of another part.
    fn merge(&mut self, other: Self) {
        self.pages = self.pages.saturating_add(other.pages);
        self.environment |= other.environment;
        let firsts = [self.first.take(), other.first];
        self.first = firsts.into_iter().flatten().min_by_key(|first| first.0);
    }

    /// In a sentence without an end, and what became of them.
    #[must_use]
    pub fn text(&self, became: &str) -> Option<String> {
        let (pa, why) = self.first.as_ref()?;
        let n = self.pages;
        let pages = if n == 1 { "page" } else { "pages" };
        Some(format!(
            "{n} {pages} could not be read and {became}; the first, at \
             physical {pa}: {why}"
        ))
    }

    /// How the command ends for it.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        match (self.pages, self.environment) {
            (0, _) => Outcome::Clean,
            (_, true) => Outcome::Undetermined,
            (_, false) => Outcome::Finding,
        }
    }
}

/// Takes pages from an address on; `None` for a page that cannot be read.
type Take<'f> = dyn FnMut(Paddr, Option<&[u8]>) -> Result<(), Error> + 'f;

/// What every writer has besides its input and its output.
#[derive(Debug, Default)]
pub struct Job<'a> {
    signals: Option<&'a Signals>,
    progress: Progress,
    /// What could not be read.
    pub problems: Problems,
}

impl<'a> Job<'a> {
    /// One that stops at a signal.
    #[must_use]
    pub fn new(signals: Option<&'a Signals>, progress: Progress) -> Self {
        Self { signals, progress, problems: Problems::default() }
    }

    /// Whether a signal has arrived.
    fn check(&self) -> Result<(), Error> {
        match self.signals.and_then(Signals::stopped) {
            Some(signal) => Err(Error::Stopped(signal)),
            None => Ok(()),
        }
    }

    /// Reads the pages of `run`, and calls `f` with pieces of them: `None`
    /// for a page that cannot be read.
    fn read(
        &mut self,
        image: &dyn MemoryImage,
        run: Run,
        f: &mut Take<'_>,
    ) -> Result<(), Error> {
        let mut buf = vec![0; PIECE as usize];
        let mut at = run.start;
        while at < run.end {
            self.check()?;
            // To the next multiple: sources are stored in such pieces.
            let n = PIECE.saturating_sub(at % PIECE);
            let end = at.saturating_add(n).min(run.end);
            self.piece(image, Run { start: at, end }, &mut buf, f)?;
            self.progress.add(end.saturating_sub(at));
            at = end;
        }
        Ok(())
    }

    /// The same for pages that fit into `buf`.
    fn piece(
        &mut self,
        image: &dyn MemoryImage,
        run: Run,
        buf: &mut [u8],
        f: &mut Take<'_>,
    ) -> Result<(), Error> {
        let n = run.end.saturating_sub(run.start) as usize;
        let part = buf.get_mut(..n).unwrap_or_default();
        let at = Paddr(run.start);
        match image.read(at, part) {
            Ok(()) => f(at, Some(part)),
            Err(_) => self.pages(image, at, part, f),
        }
    }

    /// Page by page, where not all can be read.
    fn pages(
        &mut self,
        image: &dyn MemoryImage,
        at: Paddr,
        buf: &mut [u8],
        f: &mut Take<'_>,
    ) -> Result<(), Error> {
        for (n, page) in (0u64..).zip(buf.chunks_mut(PAGE_SIZE)) {
            self.check()?;
            let pa = Paddr(at.0.saturating_add(n.saturating_mul(PAGE)));
            match image.read(pa, page) {
                Ok(()) => f(pa, Some(page))?,
                Err(e) => {
                    self.problems.add(pa, &e);
                    f(pa, None)?;
                }
            }
        }
        Ok(())
    }
}

/// The runs of an image, adjacent ones joined.
pub(crate) struct Runs<'a> {
    image: &'a dyn MemoryImage,
    at: u64,
    next: Option<Run>,
}

impl<'a> Runs<'a> {
    pub(crate) fn new(image: &'a dyn MemoryImage) -> Self {
        Self { image, at: 0, next: None }
    }

    /// One as the image has it. Whatever an image does, this ends.
    fn piece(&mut self) -> Result<Option<Run>, SourceError> {
        let Some(run) = self.image.next_run(Paddr(self.at))? else {
            self.at = u64::MAX;
            return Ok(None);
        };
        let start = run.start.max(self.at);
        self.at = run.end.max(start.saturating_add(PAGE));
        Ok((start < run.end).then_some(Run { start, end: run.end }))
    }

    pub(crate) fn next(&mut self) -> Result<Option<Run>, SourceError> {
        let first = match self.next.take() {
            None => self.piece()?,
            run => run,
        };
        let Some(mut run) = first else { return Ok(None) };
        while let Some(more) = self.piece()? {
            if more.start != run.end {
                self.next = Some(more);
                break;
            }
            run.end = more.end;
        }
        Ok(Some(run))
    }
}

/// Bytes of all pages of an image.
///
/// # Errors
/// Which there are cannot be told.
pub fn bytes(image: &dyn MemoryImage) -> Result<u64, Error> {
    let mut runs = Runs::new(image);
    let mut all = 0u64;
    while let Some(run) = runs.next()? {
        all = all.saturating_add(run.end.saturating_sub(run.start));
    }
    Ok(all)
}

/// Whether a page is all zeros.
fn is_zero(page: &[u8]) -> bool {
    const ZEROS: [u8; PAGE_SIZE] = [0; PAGE_SIZE];
    ZEROS.get(..page.len()).is_some_and(|zeros| page == zeros)
}
