// SPDX-License-Identifier: BSD-2-Clause
//! Properties of the system: sysctl(3), and where there is none the
//! files of Linux that are like it. `None` if unknown.

#[cfg(target_os = "freebsd")]
use crate::device;
use crate::device::Rescue;

/// The bytes of a value.
#[must_use]
#[cfg(target_os = "freebsd")]
pub fn sysctl(name: &str) -> Option<Vec<u8>> {
    let name = std::ffi::CString::new(name).ok()?;
    crate::device::sysctlbyname(&name).ok()
}

/// The bytes of a value.
#[must_use]
#[cfg(not(target_os = "freebsd"))]
pub fn sysctl(name: &str) -> Option<Vec<u8>> {
    use std::io::Read;
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if !name.chars().all(plain) || name.contains("..") {
        return None;
    }
    let path = format!("/proc/sys/{}", name.replace('.', "/"));
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).ok()?;
    file.take(1 << 20).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// A value that is text.
#[must_use]
pub fn sysctl_text(name: &str) -> Option<String> {
    let bytes = sysctl(name)?;
    let text = bytes.split(|&b| b == 0).next()?.trim_ascii();
    (!text.is_empty()).then(|| String::from_utf8_lossy(text).into_owned())
}

/// A value that is a number of 4 or 8 bytes.
#[must_use]
pub fn sysctl_number(name: &str) -> Option<i64> {
    let bytes = sysctl(name)?;
    if !cfg!(target_os = "freebsd") {
        return std::str::from_utf8(&bytes).ok()?.trim().parse().ok();
    }
    if let Ok(four) = <[u8; 4]>::try_from(bytes.as_slice()) {
        return Some(i32::from_ne_bytes(four).into());
    }
    <[u8; 8]>::try_from(bytes.as_slice()).ok().map(i64::from_ne_bytes)
}

/// Whether a dump by the kernel's own facility would start a rescue kernel.
#[must_use]
#[cfg(target_os = "freebsd")]
pub fn rescue() -> Rescue {
    let text = |e: std::io::Error| livedump_vmcore::chain(&e);
    let tunable = device::kenv(c"debug.rescue_minidump").map_err(text);
    let dumpers = device::sysctlbyname(c"kern.shutdown.dumpdevname");
    let dumpers = dumpers.map_err(text).map(|bytes| {
        let bytes = bytes.split(|&b| b == 0).next().unwrap_or_default();
        String::from_utf8_lossy(bytes).into_owned()
    });
    device::rescue(tunable, dumpers)
}

/// There is no such kernel.
#[must_use]
#[cfg(not(target_os = "freebsd"))]
pub fn rescue() -> Rescue {
    Rescue::No
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_has_a_name_and_what_is_not_there_is_none() {
        let name = match std::env::consts::OS {
            "freebsd" => "kern.ostype",
            "linux" => "kernel.ostype",
            _ => return livedump_skip::skipped("there is no sysctl(3) here"),
        };
        assert!(sysctl_text(name).is_some());
        for name in ["no.such.thing", "../../etc/passwd", "a b"] {
            assert_eq!(sysctl(name), None, "{name}");
        }
    }
}
