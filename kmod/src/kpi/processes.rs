// SPDX-License-Identifier: BSD-2-Clause
//! User processes: suspended while a dump is planned or taken, and the pages
//! that link them into lists.

use crate::error::Result;
use memdev::addr::Paddr;

/// What a page through which processes are linked has to do with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkedPage {
    /// It holds part of a process or a thread.
    Page(Paddr),
    /// There is the `td_oncpu` of a thread; never across pages.
    Oncpu(Paddr),
}

/// The processes of the machine.
pub trait Processes {
    /// Begins to suspend user processes, and to watch over it: when the
    /// engine shows no sign of life for some time, they are resumed. Sleeps.
    /// C: `stop_all_proc_block`, taskqueue(9).
    ///
    /// # Errors
    /// `EINTR` when a signal ends the wait for whoever else stops processes,
    /// `ENOMEM`.
    fn quiesce(&self) -> Result<()>;

    /// Suspends what can be: all processes but the caller's, its parent, the
    /// kernel's, and traced ones. How many threads are still on their way to
    /// where they stop. Sleeps.
    fn suspend_pass(&self) -> u64;

    /// Whether they are still suspended.
    ///
    /// # Errors
    /// `EAGAIN` when they had to be resumed.
    fn quiesced(&self) -> Result<()>;

    /// Sleeps for the shortest time there is. C: `pause`.
    fn pause(&self);

    /// Ends what [`Processes::quiesce`] began: every process that was suspended is
    /// resumed. Sleeps.
    fn resume(&self);

    /// Names, at least once each, the pages through which processes and their
    /// threads are linked into lists, while those lists are locked; `visit` may
    /// read them and must not sleep; and where the threads' `td_oncpu` are.
    /// Nothing where nobody else changes them. Sleeps. C: `allproc` under
    /// `allproc_lock`, `p_threads` under the process' lock.
    fn linked_pages(&self, visit: &mut dyn FnMut(LinkedPage)) {
        let _ = visit;
    }
}
