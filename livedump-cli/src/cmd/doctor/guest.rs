// SPDX-License-Identifier: BSD-2-Clause
//! A guest of QEMU's: does its monitor answer, is there memory, is it FreeBSD?
//! It is not stopped.

use super::Check;
use crate::kernel_files::path::named;
use crate::qemu::libvirt::{self, ConnectError, LibvirtError};
use crate::qemu::{Guest, QemuError, QmpError, Seen};
use livedump_vmcore::chain;
use livedump_vmcore::elf::Kernel;
use std::io;
use std::path::Path;

pub(super) fn checks(socket: &Path, kernel: Option<&Path>) -> Vec<Check> {
    match Guest::connect(socket) {
        Ok(guest) => of_guest(guest, kernel),
        Err(e) => vec![unreached(socket, &e)],
    }
}

/// The same of a domain of libvirt.
pub(super) fn of_libvirt(domain: &str, kernel: Option<&Path>) -> Vec<Check> {
    match libvirt::connect(domain) {
        Ok(guest) => of_guest(guest, kernel),
        Err(e) => {
            let check = Check::fail("monitor", chain(&e));
            vec![match e {
                ConnectError::Libvirt(LibvirtError::Held { .. }) => {
                    let file = "/var/tmp/guest.elf";
                    check.fix(format!(
                        "virsh dump --memory-only {domain} {file}"
                    ))
                }
                ConnectError::Libvirt(LibvirtError::None { .. }) => {
                    check.fix("virsh list")
                }
                _ => check,
            }]
        }
    }
}

fn of_guest(mut guest: Guest, kernel: Option<&Path>) -> Vec<Check> {
    let mut checks = vec![Check::ok("monitor", "QEMU answers")];
    checks.push(match guest.state() {
        Ok(state) => {
            let memory = crate::report::human(guest.bytes());
            let text = format!("{memory} of memory; its state is {state:?}");
            Check::ok("guest", text)
        }
        Err(e) => Check::fail("guest", chain(&e)),
    });
    checks.push(match kernel {
        Some(path) => kernel_check(&guest, path),
        None => unnamed(&guest),
    });
    checks.extend(vmcoreinfo(&guest));
    checks.push(match guest.prepare() {
        Ok(()) => Check::ok("copy", guest.method()),
        Err(e) => Check::fail("copy", chain(&e))
            .fix("TMPDIR=/var/tmp livedump capture --machine ..."),
    });
    checks
}

/// Without it memory has to be searched for a parameter page.
fn vmcoreinfo(guest: &Guest) -> Option<Check> {
    let name = "vmcoreinfo";
    Some(match guest.has_vmcoreinfo()? {
        true => Check::ok(
            name,
            "QEMU has the device: livedump.ko in the guest announces itself",
        ),
        false => Check::ok(
            name,
            "QEMU has no such device (-device vmcoreinfo): without -k the \
             guest's memory is searched",
        ),
    })
}

fn unreached(socket: &Path, e: &QemuError) -> Check {
    let check = Check::fail("monitor", chain(e));
    let path = socket.display();
    match e {
        QemuError::Qmp(QmpError::Io { source, .. }) => match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                let option = format!("unix:{path},server=on,wait=off");
                check.fix(format!("qemu-system-x86_64 -qmp {option} ..."))
            }
            _ => check.fix(format!("ls -l {path}; id")),
        },
        QemuError::Qmp(QmpError::Silent { .. }) => {
            check.fix(format!("fuser {path}"))
        }
        _ => check,
    }
}

fn kernel_check(guest: &Guest, path: &Path) -> Check {
    let kernel = match Kernel::open(&named(path)) {
        Ok(kernel) => kernel,
        Err(e) => return Check::fail("kernel", chain(&e)),
    };
    match guest.live(&kernel) {
        Ok(core) => {
            let version = core.image().map_or("", |m| m.version.as_str());
            let version = version.lines().next().unwrap_or_default();
            Check::ok("kernel", format!("the guest runs it: {version}"))
        }
        Err(e) => Check::fail("kernel", chain(&e)),
    }
}

/// What runs there, as far as that can be told without its kernel.
fn unnamed(guest: &Guest) -> Check {
    let name = "kernel";
    match guest.seen() {
        Ok(Seen::FreeBsd) => Check::warning(
            name,
            "the guest runs FreeBSD; its kernel is not named: it is found if \
             livedump.ko is loaded there",
        )
        .fix("livedump doctor -k KERNEL --machine ..."),
        Ok(Seen::Unknown) => {
            Check::fail(name, "what the guest runs is not known")
                .fix("livedump doctor -k KERNEL --machine ...")
        }
        Ok(seen) => Check::fail(name, seen.to_string()),
        Err(e) => Check::fail(name, chain(&e)),
    }
}
