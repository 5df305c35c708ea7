// SPDX-License-Identifier: BSD-2-Clause
//! The kernel that this runs on and what is around it: release, module,
//! securelevel, jail, dump device, kernel file.

use super::Check;
use crate::device::Rescue;
use crate::host::{sysctl_number, sysctl_text};
use crate::version::VERSION;
use std::path::{Path, PathBuf};

/// `__FreeBSD_version` of 13.2, the first with a live dump of its own.
const FIRST_LIVE: i64 = 1_302_000;
/// That of 14.2, the last whose live dumps were seen to lack most of the page
/// bitset: minidumpsys() copies as many bits as it has bytes.
const LAST_LACKING: i64 = 1_402_000;
/// The oldest the module is made for.
const OLDEST: i64 = 1_201_000;

/// The kernel and its module.
pub(super) fn kernel() -> Vec<Check> {
    if !cfg!(target_os = "freebsd") {
        let os = std::env::consts::OS;
        let release = sysctl_text("kernel.osrelease").unwrap_or_default();
        let text = format!(
            "this is {os} {release}, not FreeBSD: only a model machine can be \
             dumped"
        );
        return vec![
            Check::fail("kernel", text).fix("livedump capture --machine model"),
        ];
    }
    let release = sysctl_text("kern.osrelease").unwrap_or_default();
    let version = sysctl_number("kern.osreldate").unwrap_or(0);
    let machine = sysctl_text("hw.machine_arch").unwrap_or_default();
    let text = format!("FreeBSD {release} ({version}) on {machine}");
    let right = ["amd64", "aarch64"].contains(&machine.as_str());
    let kernel = match right && version >= OLDEST {
        true => Check::ok("kernel", text),
        false => Check::fail(
            "kernel",
            format!("{text}: 12.1 or later on amd64 or arm64 is required"),
        ),
    };
    [kernel, module()].into_iter().chain(parameter_page()).collect()
}

/// What a dump from outside finds the kernel by, without its file.
fn parameter_page() -> Option<Check> {
    let at = sysctl_number("kern.livedump.params")?;
    let name = "parameters";
    let announced = sysctl_number("kern.livedump.announced") == Some(1);
    Some(match (at, announced) {
        (0, _) => Check::warning(
            name,
            "the module had no memory for a parameter page: a dump from \
             outside needs the kernel's file",
        )
        .fix("kldunload livedump && kldload livedump"),
        (at, true) => Check::ok(
            name,
            format!("the parameter page is at {at:#x}, and QEMU knows it"),
        ),
        (at, false) => {
            Check::ok(name, format!("the parameter page is at {at:#x}"))
        }
    })
}

fn module() -> Check {
    if Path::new("/dev/livedump").exists() {
        return loaded(sysctl_text("kern.livedump.version").as_deref());
    }
    match module_file() {
        Some(path) => Check::warning(
            "module",
            format!("{} is not loaded", path.display()),
        )
        .fix("kldload livedump"),
        None => Check::warning(
            "module",
            "livedump.ko is neither loaded nor in kern.module_path",
        )
        .fix("make -C kmod install"),
    }
}

/// Requests and the parameter page may differ between versions.
fn loaded(version: Option<&str>) -> Check {
    match version {
        Some(VERSION) => {
            Check::ok("module", format!("livedump {VERSION} is loaded"))
        }
        other => Check::warning(
            "module",
            format!(
                "livedump {} is loaded, and this is {VERSION}",
                other.unwrap_or("0.1")
            ),
        )
        .fix("kldunload livedump && kldload livedump"),
    }
}

fn module_file() -> Option<PathBuf> {
    let path = sysctl_text("kern.module_path")?;
    let files = path.split(';').map(|dir| Path::new(dir).join("livedump.ko"));
    files.into_iter().find(|file| file.is_file())
}

/// Whether the kernel's own facility would start a rescue kernel.
pub(super) fn rescue(rescue: &Rescue, is_module: bool) -> Option<Check> {
    let name = "rescue";
    match (rescue, is_module) {
        (Rescue::No, _) => None,
        (Rescue::Yes(why), true) => Some(Check::ok(
            name,
            format!(
                "the kernel's own live dump would start the rescue kernel \
                 ({why}); the module's does not"
            ),
        )),
        (Rescue::Yes(why), false) => Some(
            Check::fail(
                name,
                format!(
                    "the kernel's own live dump would start the rescue kernel \
                     and not return ({why})"
                ),
            )
            .fix("kldload livedump"),
        ),
        (Rescue::Undetermined(why), true) => Some(Check::ok(
            name,
            format!(
                "whether the kernel's own live dump would start a rescue \
                 kernel is undetermined ({why}); the module's does not"
            ),
        )),
        (Rescue::Undetermined(why), false) => Some(
            Check::fail(
                name,
                format!(
                    "whether the kernel's own live dump would start a rescue \
                     kernel is undetermined ({why})"
                ),
            )
            .fix("kldload livedump"),
        ),
    }
}

/// What there is without the module.
pub(super) fn stock_facility() -> Check {
    let version = sysctl_number("kern.osreldate").unwrap_or(0);
    if version < FIRST_LIVE {
        return Check::fail(
            "facility",
            "this kernel has no live dumps, and the module is not loaded",
        )
        .fix("kldload livedump");
    }
    let text = match version <= LAST_LACKING {
        true => {
            "the stock live dump, which lacks most of the memory on this \
             release"
        }
        false => {
            "the stock live dump: no size in advance, no progress, and it \
             cannot be interrupted"
        }
    };
    Check::warning("facility", text).fix("kldload livedump")
}

/// Whether the kernel was configured with an option; `None` where it does
/// not say.
pub(super) fn has_option(option: &str) -> Option<bool> {
    let config = sysctl_text("kern.conftxt")?;
    let mut lines = config.lines().map(str::split_whitespace);
    Some(lines.any(|mut words| {
        words.next() == Some("options") && words.next() == Some(option)
    }))
}

/// What else counts on FreeBSD.
pub(super) fn host_checks() -> Vec<Check> {
    if !cfg!(target_os = "freebsd") {
        return Vec::new();
    }
    vec![securelevel(), jail(), user(), dumpdev(), bootfile()]
}

fn securelevel() -> Check {
    let name = "securelevel";
    let loaded = Path::new("/dev/livedump").exists();
    match sysctl_number("kern.securelevel") {
        Some(level) if level > 0 && !loaded => Check::warning(
            name,
            format!("is {level}: dumps work, the module cannot be loaded"),
        )
        .fix("sysrc -f /boot/loader.conf livedump_load=YES"),
        Some(level) => Check::ok(name, format!("is {level}: dumps work")),
        None => Check::ok(name, "unknown"),
    }
}

/// Without the module a jail that sees /dev/mem can dump its host.
fn jail() -> Check {
    let text = "yes: run livedump on the host";
    match sysctl_number("security.jail.jailed") {
        Some(1) => {
            Check::warning("jail", text).fix("livedump doctor, on the host")
        }
        _ => Check::ok("jail", "none"),
    }
}

fn user() -> Check {
    let uid = nix::unistd::geteuid();
    match uid.is_root() {
        true => Check::ok("user", "root"),
        // Whether that is enough the device has said.
        false => {
            Check::warning("user", format!("{uid}: only root may take dumps"))
        }
    }
}

fn dumpdev() -> Check {
    match sysctl_text("kern.shutdown.dumpdevname") {
        Some(name) if name != "/dev/null" => {
            Check::ok("dumpon", format!("a panic would dump to {name}"))
        }
        _ => Check::warning(
            "dumpon",
            "no dump device: a panic would not be dumped",
        )
        .fix("sysrc dumpdev=AUTO && service dumpon start"),
    }
}

/// With it the lists of a dump are walked.
fn bootfile() -> Check {
    match sysctl_text("kern.bootfile") {
        Some(path) if std::fs::File::open(&path).is_ok() => {
            Check::ok("bootfile", format!("{path} is readable"))
        }
        Some(path) => Check::warning(
            "bootfile",
            format!("{path} is not readable: dumps are not checked with it"),
        )
        .fix("livedump capture --kernel KERNEL"),
        None => Check::warning("bootfile", "unknown"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rescue_kernel_is_reported_and_what_is_not_known_is_no_no() {
        let yes = Rescue::Yes("kenv debug.rescue_minidump is 1".into());
        let unknown = Rescue::Undetermined("kenv: denied".into());
        for is_module in [false, true] {
            let status = if is_module { "ok" } else { "fail" };
            for (it, word) in
                [(&yes, "rescue_minidump is 1"), (&unknown, "undetermined")]
            {
                let check = rescue(it, is_module).unwrap();
                assert_eq!(check.status, status, "{check:?}");
                assert!(check.text.contains(word), "{check:?}");
                assert_eq!(check.fix.is_some(), !is_module);
            }
            assert!(rescue(&Rescue::No, is_module).is_none());
        }
    }
}
