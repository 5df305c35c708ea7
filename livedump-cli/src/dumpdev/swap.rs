// SPDX-License-Identifier: BSD-2-Clause
//! Whether a device is swap that is in use. swapon(8) opens it so that others
//! may write to it: nothing but asking protects it.

use std::io;

/// What swapctl(8) lists: `vm.swap_info`, struct xswdev in <vm/vm_param.h>.
#[cfg(target_os = "freebsd")]
pub(super) fn is_in_use(rdev: u64) -> io::Result<bool> {
    /// Of the structure: a version, and at 8 the device.
    const VERSION: u32 = 2;
    const MOST: i32 = 1024;
    for nth in 0..MOST {
        let bytes = match crate::device::sysctl_nth(c"vm.swap_info", nth) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(e) => return Err(e),
        };
        let version = bytes.first_chunk::<4>().copied().map(u32::from_ne_bytes);
        let dev = bytes.get(8..16).and_then(|b| b.first_chunk::<8>());
        match (version, dev) {
            (Some(VERSION), Some(dev)) if u64::from_ne_bytes(*dev) == rdev => {
                return Ok(true);
            }
            (Some(VERSION), Some(_)) => {}
            _ => return Err(io::Error::other("vm.swap_info has another form")),
        }
    }
    Ok(false)
}

/// What swapon(8) lists.
#[cfg(target_os = "linux")]
pub(super) fn is_in_use(rdev: u64) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let text = match std::fs::read_to_string("/proc/swaps") {
        Ok(text) => text,
        // A kernel without swap.
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(e),
    };
    let names = text.lines().skip(1).filter_map(|l| l.split(' ').next());
    Ok(names
        .filter_map(|name| std::fs::metadata(name).ok())
        .any(|meta| meta.rdev() == rdev))
}

#[cfg(not(any(target_os = "freebsd", target_os = "linux")))]
pub(super) fn is_in_use(_: u64) -> io::Result<bool> {
    Err(io::ErrorKind::Unsupported.into())
}
