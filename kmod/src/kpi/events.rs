// SPDX-License-Identifier: BSD-2-Clause
//! The livedumper events. C: <sys/eventhandler.h>, <sys/kerneldump.h>.

use crate::error::Result;

/// Handlers of the livedumper events.
pub trait Events {
    /// Asks the handlers. May sleep. C: `EVENTHANDLER_INVOKE(livedumper_start,
    /// &error)`; nothing where the kernel has no such event.
    ///
    /// # Errors
    /// A handler's veto.
    fn livedumper_start(&self) -> Result<()>;

    /// Before each block: what is about to be written, and where. May sleep.
    /// C: `EVENTHANDLER_INVOKE(livedumper_dump, virtual, offset, length,
    /// &error)`; `None` is the end of the dump (NULL, 0, 0).
    ///
    /// # Errors
    /// A handler's veto.
    fn livedumper_dump(&self, block: Option<(&[u8], u64)>) -> Result<()>;

    /// May sleep. C: `EVENTHANDLER_INVOKE(livedumper_finish)`.
    fn livedumper_finish(&self);
}
