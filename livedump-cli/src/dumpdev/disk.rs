// SPDX-License-Identifier: BSD-2-Clause
//! A device to write to, or an image of one, as the system knows it.

#![allow(unsafe_code)]

use super::write::Medium;
use super::{DumpDev, Error};
use nix::libc;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, FileTypeExt};

/// Sector sizes that are dumped to.
const SECTORS: [usize; 2] = [512, 4096];

/// DIOCGSECTORSIZE, _IOR('d', 128, u_int), <sys/disk.h>.
#[cfg(target_os = "freebsd")]
const SECTOR_SIZE: libc::c_ulong = 0x4004_6480;
/// DIOCGFLUSH, _IO('d', 135): the disk's own cache.
#[cfg(target_os = "freebsd")]
pub const DIOCGFLUSH: libc::c_ulong = 0x2000_6487;
/// BLKSSZGET, <linux/fs.h>.
#[cfg(target_os = "linux")]
const SECTOR_SIZE: libc::c_ulong = 0x1268;

/// A device that is open for a dump.
#[derive(Debug)]
pub struct Disk<'d> {
    device: &'d DumpDev,
    sector: usize,
    is_device: bool,
}

impl<'d> Disk<'d> {
    /// Of a device; of an image, sectors are of 512 bytes unless `sector` is
    /// given.
    ///
    /// # Errors
    /// Its sectors are of another size.
    pub fn new(
        device: &'d DumpDev,
        sector: Option<usize>,
    ) -> Result<Self, Error> {
        let odd =
            |text: String| Error::Unfit { path: device.path.clone(), text };
        let meta = device.file.metadata().map_err(|e| odd(e.to_string()))?;
        let kind = meta.file_type();
        let is_device = kind.is_block_device() || kind.is_char_device();
        let own = match is_device {
            false => None,
            true => Some(sector_size(device).map_err(|e| {
                odd(format!("its sector size is not known: {e}"))
            })?),
        };
        let size = match (own, sector) {
            (Some(own), Some(named)) if own != named => {
                return Err(odd(format!(
                    "its sectors have {own} bytes, not {named}"
                )));
            }
            (own, named) => own.or(named).unwrap_or(512),
        };
        if !SECTORS.contains(&size) {
            return Err(odd(format!("its sectors have {size} bytes")));
        }
        if !device.size.is_multiple_of(size as u64) {
            return Err(odd(format!(
                "its {} bytes are not whole sectors of {size}",
                device.size
            )));
        }
        Ok(Self { device, sector: size, is_device })
    }
}

impl Medium for Disk<'_> {
    fn size(&self) -> u64 {
        self.device.size
    }

    fn sector(&self) -> usize {
        self.sector
    }

    fn write(&mut self, at: u64, sectors: &[u8]) -> io::Result<()> {
        self.device.file.write_all_at(sectors, at)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.device.file.sync_all()?;
        match self.is_device {
            true => flush_cache(self.device),
            false => Ok(()),
        }
    }

    fn read(&self, at: u64, sectors: &mut [u8]) -> io::Result<()> {
        self.device.file.read_exact_at(sectors, at)
    }
}

#[cfg(any(target_os = "freebsd", target_os = "linux"))]
fn sector_size(device: &DumpDev) -> io::Result<usize> {
    let mut size: libc::c_uint = 0;
    let fd = device.file.as_raw_fd();
    // SAFETY: the descriptor is open as long as `device` is borrowed; the
    // request writes one unsigned int, which `size` is, and nothing else.
    let answer = unsafe {
        libc::ioctl(fd, SECTOR_SIZE as _, std::ptr::from_mut(&mut size))
    };
    match answer {
        -1 => Err(io::Error::last_os_error()),
        _ => usize::try_from(size).map_err(io::Error::other),
    }
}

#[cfg(not(any(target_os = "freebsd", target_os = "linux")))]
fn sector_size(_: &DumpDev) -> io::Result<usize> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(target_os = "freebsd")]
fn flush_cache(device: &DumpDev) -> io::Result<()> {
    let fd = device.file.as_raw_fd();
    // SAFETY: the descriptor is open as long as `device` is borrowed; the
    // request has no argument.
    match unsafe { libc::ioctl(fd, DIOCGFLUSH as _) } {
        0 => Ok(()),
        _ => match io::Error::last_os_error() {
            // A disk without such a request has no cache to be flushed.
            e if matches!(
                e.raw_os_error(),
                Some(libc::ENODEV | libc::ENOTTY | libc::EOPNOTSUPP)
            ) =>
            {
                Ok(())
            }
            e => Err(e),
        },
    }
}

/// Elsewhere fsync(2) does it.
#[cfg(not(target_os = "freebsd"))]
fn flush_cache(_: &DumpDev) -> io::Result<()> {
    Ok(())
}
