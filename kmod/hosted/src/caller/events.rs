// SPDX-License-Identifier: BSD-2-Clause
//! The livedumper events: the kernel's handlers.

use super::Caller;
use crate::method::Method;
use livedump_kmod::error::Result;
use livedump_kmod::kpi::Events;

impl Events for Caller<'_> {
    fn livedumper_start(&self) -> Result<()> {
        self.step(Method::LivedumperStart)?;
        let handler = self.kernel.events.read().start.clone();
        handler.map_or(Ok(()), |h| h())
    }

    fn livedumper_dump(&self, block: Option<(&[u8], u64)>) -> Result<()> {
        self.step(Method::LivedumperDump)?;
        let handler = self.kernel.events.read().dump.clone();
        handler.map_or(Ok(()), |h| h(block))
    }

    fn livedumper_finish(&self) {
        self.pass(Method::LivedumperFinish);
        let handler = self.kernel.events.read().finish.clone();
        if let Some(h) = handler {
            h();
        }
    }
}
