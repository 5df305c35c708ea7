// SPDX-License-Identifier: BSD-2-Clause
//! Pages without an object.

use super::heap::no_memory;
use super::memory::can_be_read;
use crate::error::{Errno, Result};
use crate::kpi::Copies;
use core::ffi::c_void;
use core::ptr::NonNull;
use memdev::addr::{Paddr, Page};

unsafe extern "C" {
    safe fn livedump_free_pages() -> usize;
    safe fn livedump_copies_alloc(n: usize) -> *mut c_void;
    fn livedump_copies_free(copies: *mut c_void);
    fn livedump_copies_page(copies: *mut c_void, at: usize, pa: u64);
    fn livedump_copies_msgbuf(copies: *mut c_void, at: usize, nth: usize);
    fn livedump_copies_read(copies: *mut c_void, at: usize, page: *mut Page);
}

/// C: `struct livedump_copies`.
#[derive(Debug)]
pub struct FreeBsdCopies {
    copies: NonNull<c_void>,
    len: usize,
}

// SAFETY: it owns its pages, and free by another thread is as good.
unsafe impl Send for FreeBsdCopies {}

// SAFETY: the shim's functions take no lock and change nothing but the page
// they are told, which is for the engine to hand to one thread alone; of two
// that write it, as of one that reads it meanwhile, the bytes are mixed: plain
// memory that nobody has a reference into.
unsafe impl Sync for FreeBsdCopies {}

impl FreeBsdCopies {
    pub(super) fn new(len: usize) -> Result<Self> {
        let copies = livedump_copies_alloc(len);
        let copies = NonNull::new(copies).ok_or_else(no_memory)?;
        Ok(Self { copies, len })
    }

    fn check(&self, at: usize) -> Result<()> {
        if at < self.len { Ok(()) } else { Err(Errno::ENOBUFS) }
    }
}

/// C: `livedump_free_pages`.
pub(super) fn free_pages() -> usize {
    livedump_free_pages()
}

impl Copies for FreeBsdCopies {
    fn places(&self) -> usize {
        self.len
    }

    fn copy_page(&self, at: usize, pa: Paddr) -> Result<()> {
        self.check(at)?;
        if !can_be_read(pa) {
            return Err(Errno::EFAULT);
        }
        // SAFETY: place `at` is one of these, and the page is in the direct
        // map.
        unsafe { livedump_copies_page(self.copies.as_ptr(), at, pa.0) };
        Ok(())
    }

    fn copy_msgbuf(&self, at: usize, nth: usize) -> Result<()> {
        self.check(at)?;
        // SAFETY: place `at` is one of these; the shim knows where the text
        // ends.
        unsafe { livedump_copies_msgbuf(self.copies.as_ptr(), at, nth) };
        Ok(())
    }

    fn read(&self, at: usize, page: &mut Page) -> Result<()> {
        self.check(at)?;
        // SAFETY: place `at` is one of these, and the page is ours.
        unsafe { livedump_copies_read(self.copies.as_ptr(), at, page) };
        Ok(())
    }
}

impl Drop for FreeBsdCopies {
    fn drop(&mut self) {
        // SAFETY: from livedump_copies_alloc, freed once, here.
        unsafe { livedump_copies_free(self.copies.as_ptr()) };
    }
}
