// SPDX-License-Identifier: BSD-2-Clause
//! Dumps from outside of machines that cannot dump themselves: no process of
//! theirs runs any more, they are in the debugger, or they have panicked.

use crate::deadlocks::run_deadlock;
use crate::dump_check::{Answer, DumpCheck};
use crate::kernel::Kernel;
use memdev::addr::Vaddr;
use std::path::Path;

/// What such a machine panics with. C: `kdb_sysctl_panic`.
pub(crate) const WHY: &str = "kdb_sysctl_panic";
/// No panic's text is longer.
const TEXT: usize = 256;

/// Why a machine is one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gone {
    /// Threads are deadlocked, and init sleeps.
    Dead,
    /// In ddb.
    Debugger,
    /// After a panic.
    Halted,
}

impl Gone {
    /// By the name of a request.
    pub(crate) fn of(name: &str) -> Option<Self> {
        match name.split('-').next().unwrap_or(name) {
            "dead" => Some(Self::Dead),
            "ddb" => Some(Self::Debugger),
            "halted" => Some(Self::Halted),
            _ => None,
        }
    }

    /// The dump shows that it is.
    pub(crate) fn check(self, check: &DumpCheck<'_>) -> Answer<()> {
        match self {
            Self::Dead => Ok(()),
            Self::Debugger => {
                let active = check.symbol("kdb_active")?;
                match check.u32_at(active)? & 0xff {
                    0 => Err("kdb_active is 0".into()),
                    _ => Ok(()),
                }
            }
            Self::Halted => {
                let at = check.u64_at(check.symbol("panicstr")?)?;
                let mut text = [0; TEXT];
                let read = check.core.read_va(Vaddr(at), &mut text);
                read.map_err(|e| format!("panicstr: {e}"))?;
                let text = text.split(|&b| b == 0).next().unwrap_or(&[]);
                match text == WHY.as_bytes() {
                    true => Ok(()),
                    false => Err(format!(
                        "panicstr: {:?}",
                        String::from_utf8_lossy(text)
                    )),
                }
            }
        }
    }

    /// The tool names the deadlocks that there are, and no others.
    pub(crate) fn check_deadlocks(
        self,
        kernel: &Kernel,
        dump: &Path,
        check: &DumpCheck<'_>,
    ) -> Answer<()> {
        if !kernel.has_types {
            return Ok(());
        }
        let report = run_deadlock(&kernel.path, dump)?;
        match self {
            Self::Dead => report.check_deadlocks(check.console, false),
            Self::Debugger | Self::Halted => report.check_none().map(|_| ()),
        }
    }
}
