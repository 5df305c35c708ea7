// SPDX-License-Identifier: BSD-2-Clause
//! Copies of pages, in memory of the host's.

use crate::HostedKernel;
use crate::memory::Allocation;
use crate::method::Method;
use livedump_kmod::error::{Errno, Result};
use livedump_kmod::kpi::{Copies, DirectMap};
use memdev::addr::{PAGE_SIZE, Paddr, Page};
use parking_lot::Mutex;

/// Pages that several threads fill, each its own.
pub struct HostedCopies<'a> {
    kernel: &'a HostedKernel,
    pages: Vec<Mutex<Option<Box<Page>>>>,
    _allocation: Allocation<'a>,
}

impl<'a> HostedCopies<'a> {
    pub(super) fn new(kernel: &'a HostedKernel, pages: usize) -> Result<Self> {
        let bytes = pages.checked_mul(PAGE_SIZE).ok_or(Errno::ENOMEM)?;
        let allocation = kernel.memory().allocate(bytes)?;
        let pages = (0..pages).map(|_| Mutex::new(None)).collect();
        Ok(Self { kernel, pages, _allocation: allocation })
    }

    fn put(&self, at: usize, page: Page) -> Result<()> {
        let to = self.pages.get(at).ok_or(Errno::ENOBUFS)?;
        *to.lock() = Some(Box::new(page));
        Ok(())
    }
}

impl Copies for HostedCopies<'_> {
    fn places(&self) -> usize {
        self.pages.len()
    }

    fn copy_page(&self, at: usize, pa: Paddr) -> Result<()> {
        let mut page = [0; PAGE_SIZE];
        self.kernel.read_page(pa, &mut page)?;
        self.put(at, page)
    }

    fn copy_msgbuf(&self, at: usize, nth: usize) -> Result<()> {
        self.kernel.step(Method::CopyMsgbuf)?;
        let machine = self.kernel.machine();
        let mut text = vec![0; machine.target().msgbuf_bytes as usize];
        machine.copy_msgbuf(&mut text);
        let mut page = [0; PAGE_SIZE];
        let text = text.get(nth * PAGE_SIZE..).unwrap_or(&[]);
        for (to, from) in page.iter_mut().zip(text) {
            *to = *from;
        }
        self.put(at, page)
    }

    fn read(&self, at: usize, page: &mut Page) -> Result<()> {
        let from = self.pages.get(at).ok_or(Errno::ENOBUFS)?;
        match &*from.lock() {
            Some(copy) => page.copy_from_slice(&**copy),
            None => page.fill(0),
        }
        Ok(())
    }
}
