// SPDX-License-Identifier: BSD-2-Clause
//! The message buffer: the kernel's own, or else the dump's copy of it.

use livedump_vmcore::Vmcore;
use livedump_vmcore::elf::Kernel;
use livedump_vmcore::msgbuf::{MsgbufError, Ring};

/// One of the two.
#[derive(Debug)]
pub struct MessageBuffer {
    /// "section" for the dump's own copy, "msgbufp" for the kernel's memory.
    pub source: &'static str,
    /// Its bytes.
    pub ring: Ring,
    /// Why it is not the kernel's, which is known.
    pub problem: Option<MsgbufError>,
}

impl MessageBuffer {
    /// Whether the oldest byte is known to come first.
    #[must_use]
    pub fn ordered(&self) -> bool {
        self.ring.position.is_some() || !self.ring.is_full()
    }
}

/// Finds it.
///
/// # Errors
/// The dump has none.
pub fn message_buffer(
    core: &Vmcore,
    kernel: Option<&Kernel>,
) -> Result<MessageBuffer, MsgbufError> {
    let found = kernel.map(|kernel| {
        let header = core.msgbuf_header(kernel)?;
        core.msgbuf_ring(&header)
    });
    let problem = match found {
        Some(Ok(ring)) => {
            return Ok(MessageBuffer {
                source: "msgbufp",
                ring,
                problem: None,
            });
        }
        Some(Err(e)) => Some(e),
        None => None,
    };
    let ring = core.msgbuf_section()?;
    Ok(MessageBuffer { source: "section", ring, problem })
}
