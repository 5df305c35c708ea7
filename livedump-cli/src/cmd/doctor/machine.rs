// SPDX-License-Identifier: BSD-2-Clause
//! What the machine answers when it is asked for an estimate: whether the
//! module is there, whether we may, which compressors there are.

use super::Check;
use super::host;
use crate::device::{Device, OpenError, Request, Rescue};
use crate::report::{human, milliseconds};
use livedump_vmcore::chain;
use memdev::errno::Errno;
use memdev::freeze::{DEFAULT_MAX_PAUSE_NS, MinidumpFreeze};
use memdev::ioctl::{FLAG_ESTIMATE, MemMinidumpArg};
use memdev::kerneldump::Compression;
use std::io;

/// Its answers.
pub(super) struct Machine {
    name: String,
    plain: Result<MemMinidumpArg, Errno>,
    codecs: [(Compression, Result<(), Errno>); 2],
    freeze: Result<MinidumpFreeze, Errno>,
    wired: Option<u64>,
    rescue: Rescue,
}

impl Machine {
    pub(super) fn query(device: &dyn Device) -> Self {
        let query = |codec: Compression| {
            let mut arg = MemMinidumpArg {
                flags: FLAG_ESTIMATE,
                compression: codec as u8,
                ..MemMinidumpArg::new()
            };
            device.minidump(&mut arg, None).map(|()| arg)
        };
        let mut freeze = Request::forecast(0, 0);
        let freeze = freeze
            .send(device, None)
            .map(|()| freeze.freeze.unwrap_or_default());
        let codec = |codec| (codec, query(codec).map(|_| ()));
        Self {
            name: device.name().into(),
            plain: query(Compression::None),
            codecs: [codec(Compression::Gzip), codec(Compression::Zstd)],
            freeze,
            wired: device.wired_bytes(),
            rescue: device.rescue(),
        }
    }

    /// Bytes of a plain dump, as far as anybody knows.
    pub(super) fn extent(&self) -> Option<u64> {
        match &self.plain {
            Ok(arg) => Some(arg.dumpextent),
            Err(_) => self.wired,
        }
    }

    pub(super) fn checks(&self, real: bool) -> Vec<Check> {
        let mut checks = vec![Check::ok("device", &self.name)];
        checks.push(match self.plain {
            Ok(arg) => Check::ok(
                "facility",
                format!(
                    "{}dumps {} in {} pages",
                    if real { "the module is loaded and " } else { "" },
                    human(arg.dumpextent),
                    arg.pages
                ),
            ),
            // It would be waited for.
            Err(Errno::EBUSY) => Check::ok(
                "facility",
                "the module is loaded; another dump is in progress",
            ),
            Err(Errno::EPERM) => Check::fail(
                "facility",
                "the module is loaded, but only root outside jails may use it",
            )
            .fix("su -m root -c 'livedump doctor'"),
            Err(Errno::ENOTTY | Errno::ENODEV) => host::stock_facility(),
            Err(e) => Check::fail("facility", format!("estimating: {e}")),
        });
        let is_stock = matches!(self.plain, Err(Errno::ENOTTY | Errno::ENODEV));
        checks.extend(host::rescue(&self.rescue, !is_stock));
        for (codec, answer) in &self.codecs {
            checks.extend(self.codec(*codec, *answer));
        }
        checks.extend(self.freeze());
        checks
    }

    /// Whether every page can be of one instant.
    fn freeze(&self) -> Option<Check> {
        let name = "freeze";
        match (&self.freeze, &self.plain) {
            (Ok(it), _) if it.pause_ns <= DEFAULT_MAX_PAUSE_NS => {
                Some(Check::ok(
                    name,
                    format!(
                        "--freeze takes a pause of about {} and {} of memory",
                        milliseconds(it.pause_ns),
                        human(it.copy_bytes)
                    ),
                ))
            }
            (Ok(it), _) => Some(
                Check::warning(
                    name,
                    format!(
                        "--freeze takes a pause of about {}, longer than \
                         --max-pause is by default",
                        milliseconds(it.pause_ns)
                    ),
                )
                .fix("livedump estimate --freeze --max-pause 1s"),
            ),
            // The module is there, and does not know the request.
            (Err(Errno::ENOTTY | Errno::ENODEV | Errno::EINVAL), Ok(_)) => {
                Some(
                    Check::warning(
                        name,
                        "--freeze needs a newer module than the one that is \
                         loaded",
                    )
                    .fix("kldunload livedump && kldload livedump"),
                )
            }
            _ => None,
        }
    }

    fn codec(
        &self,
        codec: Compression,
        answer: Result<(), Errno>,
    ) -> Option<Check> {
        let (name, option) = match codec {
            Compression::Gzip => ("gzip", "GZIO"),
            _ => ("zstd", "ZSTDIO"),
        };
        match answer {
            Ok(()) => Some(Check::ok(name, "supported by the kernel")),
            Err(Errno::EINVAL) => Some(
                Check::warning(name, "not supported by the kernel")
                    .fix(format!("a kernel with options {option}")),
            ),
            // The stock facility is not asked without taking a dump.
            Err(Errno::ENOTTY | Errno::ENODEV) => {
                host::has_option(option).map(|has| match has {
                    true => Check::ok(name, "supported by the kernel"),
                    false => {
                        Check::warning(name, "not supported by the kernel")
                            .fix(format!("a kernel with options {option}"))
                    }
                })
            }
            Err(_) => None,
        }
    }
}

/// Why there is no machine.
pub(super) fn refused(e: &OpenError) -> Option<Check> {
    match e {
        // Said already, of the kernel.
        OpenError::NotFreeBsd { .. } => None,
        OpenError::Hosted { .. } => Some(Check::fail("machine", chain(e))),
        OpenError::Node { source, .. } => {
            let check = Check::fail("device", chain(e));
            Some(match source.kind() {
                io::ErrorKind::NotFound => check.fix("kldload mem"),
                io::ErrorKind::PermissionDenied => {
                    check.fix("su -m root -c 'livedump doctor'")
                }
                _ => check,
            })
        }
    }
}
