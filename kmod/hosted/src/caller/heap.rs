// SPDX-License-Identifier: BSD-2-Clause
//! Memory of the host's, counted.

use super::Caller;
use crate::copies::HostedCopies;
use crate::memory::{Array, Pages, Words};
use crate::method::Method;
use crate::threads::HostedMonitor;
use livedump_kmod::error::Result;
use livedump_kmod::kpi::Heap;
use std::sync::atomic::Ordering;

impl<'a> Heap for Caller<'a> {
    type Words = Words<'a>;
    type Pages = Pages<'a>;
    type Array<T: Send + Sync> = Array<'a, T>;
    type Monitor<T: Send> = HostedMonitor<T>;
    type Copies = HostedCopies<'a>;

    fn set_waits(&self, waits: bool) {
        self.kernel.memory.set_waits(waits);
    }

    fn malloc_words(&self, words: usize) -> Result<Words<'a>> {
        self.step(Method::MallocWords)?;
        self.kernel.memory.words(words)
    }

    fn malloc_pages(&self, pages: usize) -> Result<Pages<'a>> {
        self.step(Method::MallocPages)?;
        self.kernel.memory.pages(pages)
    }

    fn malloc_array<T: Send + Sync>(
        &self,
        len: usize,
        make: impl FnMut(usize) -> Result<T>,
    ) -> Result<Array<'a, T>> {
        self.step(Method::MallocArray)?;
        self.kernel.memory.array(len, make)
    }

    fn free_pages(&self) -> usize {
        self.pass(Method::FreePages);
        self.kernel.free_pages.load(Ordering::Relaxed)
    }

    fn copies(&self, pages: usize) -> Result<HostedCopies<'a>> {
        self.step(Method::Copies)?;
        HostedCopies::new(self.kernel, pages)
    }

    fn monitor<T: Send>(&self, value: T) -> Result<HostedMonitor<T>> {
        self.step(Method::Monitor)?;
        Ok(HostedMonitor::new(value))
    }
}
