// SPDX-License-Identifier: BSD-2-Clause
//! Our request for a dump, with the smallest argument that holds it: modules
//! that only have that one go on working.

#![deny(unsafe_code)]

use super::Device;
use memdev::errno::Errno;
use memdev::freeze::{
    FLAG_FREEZE, MINIDUMP_ARG2_VERSION, MemMinidumpArg2, MinidumpFreeze,
};
use memdev::ioctl::{FLAG_ESTIMATE, MINIDUMP_ARG_VERSION, MemMinidumpArg};
use std::fs::File;

/// A request for a dump, or for an estimate; afterwards the answer.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// Without [`FLAG_FREEZE`].
    pub arg: MemMinidumpArg,
    /// Every page is to be of one instant.
    pub freeze: Option<MinidumpFreeze>,
}

impl Request {
    /// Sends it: as `MEM_MINIDUMP`, or, where the machine is to be stopped, as
    /// `MEM_MINIDUMP2`.
    ///
    /// # Errors
    /// The kernel's.
    pub fn send(
        &mut self,
        device: &dyn Device,
        file: Option<&File>,
    ) -> Result<(), Errno> {
        let Some(freeze) = self.freeze else {
            return device.minidump(&mut self.arg, file);
        };
        let (version, flags) = (MINIDUMP_ARG2_VERSION, self.arg.flags);
        let arg =
            MemMinidumpArg { version, flags: flags | FLAG_FREEZE, ..self.arg };
        let mut both = MemMinidumpArg2 { arg, freeze };
        device.minidump2(&mut both, file)?;
        let version = MINIDUMP_ARG_VERSION;
        self.arg = MemMinidumpArg { version, flags, ..both.arg };
        self.freeze = Some(both.freeze);
        Ok(())
    }

    /// What a dump of one instant would take.
    #[must_use]
    pub fn forecast(max_pause_ns: u64, flags: u32) -> Self {
        Self {
            arg: MemMinidumpArg {
                flags: FLAG_ESTIMATE | flags,
                ..MemMinidumpArg::new()
            },
            freeze: Some(MinidumpFreeze {
                max_pause_ns,
                ..MinidumpFreeze::default()
            }),
        }
    }
}

/// Whether the module is one that can stop the machine: older ones do not know
/// the request, and /dev/mem answers what it answers to any that it does not
/// know. Other failures are no answer to that.
#[must_use]
pub fn can_freeze(device: &dyn Device) -> bool {
    let answer = Request::forecast(0, 0).send(device, None);
    !matches!(answer, Err(Errno::ENOTTY | Errno::ENODEV | Errno::EINVAL))
}
