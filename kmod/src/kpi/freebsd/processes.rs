// SPDX-License-Identifier: BSD-2-Clause
//! User processes, suspended and listed.

use super::{FreeBsd, check};
use crate::error::Result;
use crate::kpi::{LinkedPage, Processes};
use core::ffi::{c_int, c_void};
use memdev::addr::Paddr;

unsafe extern "C" {
    safe fn livedump_quiesce() -> c_int;
    fn livedump_suspend_pass() -> u64;
    safe fn livedump_quiesced() -> c_int;
    safe fn livedump_pause();
    fn livedump_resume();
    fn livedump_linked_pages(
        page: extern "C" fn(*mut c_void, u64, bool),
        arg: *mut c_void,
    );
}

/// `visit` of [`Processes::linked_pages`], as a C function.
extern "C" fn name_page(arg: *mut c_void, pa: u64, oncpu: bool) {
    let visit = arg.cast::<&mut dyn FnMut(LinkedPage)>();
    // SAFETY: linked_pages points it to a reference on its stack, which the
    // shim hands to nobody else and forgets when it returns.
    let visit = unsafe { &mut *visit };
    visit(if oncpu {
        LinkedPage::Oncpu(Paddr(pa))
    } else {
        LinkedPage::Page(Paddr(pa))
    });
}

impl Processes for FreeBsd {
    fn quiesce(&self) -> Result<()> {
        check(livedump_quiesce())
    }

    fn suspend_pass(&self) -> u64 {
        // SAFETY: the engine's guard is the only caller, between quiesce and
        // resume.
        unsafe { livedump_suspend_pass() }
    }

    fn quiesced(&self) -> Result<()> {
        check(livedump_quiesced())
    }

    fn pause(&self) {
        livedump_pause();
    }

    fn resume(&self) {
        // SAFETY: the engine's guard is the only caller, in its drop, on the
        // thread for which quiesce answered that it had begun.
        unsafe { livedump_resume() };
    }

    fn linked_pages(&self, mut visit: &mut dyn FnMut(LinkedPage)) {
        let arg: *mut &mut dyn FnMut(LinkedPage) = &mut visit;
        // SAFETY: the shim calls name_page with this, on this thread, before
        // it returns.
        unsafe { livedump_linked_pages(name_page, arg.cast()) };
    }
}
