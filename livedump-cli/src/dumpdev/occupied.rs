// SPDX-License-Identifier: BSD-2-Clause
//! What is on a device that a dump is to go to: swap that is in use, mounted
//! file systems, what looks like anybody's data, a dump that nobody has saved.

use super::{DumpDev, Error, swap};
use memdev::kerneldump::{HEADER_SIZE, KernelDumpHeader, Magic, parity_ok};
use std::os::unix::fs::{FileTypeExt, MetadataExt};

/// Where file systems and partition tables have their magic: offset, bytes,
/// name.
const MAGICS: [(u64, &[u8], &str); 13] = [
    (510, &[0x55, 0xaa], "a partition table or a boot sector"),
    (512, b"EFI PART", "a partition table"),
    (4096, b"EFI PART", "a partition table"),
    (8192 + 1372, &[0x54, 0x19, 0x01, 0x00], "a UFS file system"),
    (65536 + 1372, &[0x54, 0x19, 0x01, 0x00], "a UFS file system"),
    (65536 + 1372, &[0x19, 0x01, 0x54, 0x19], "a UFS file system"),
    // The first name in its label's nvlist.
    (0x4018, b"version\0", "a ZFS pool"),
    (1080, &[0x53, 0xef], "an ext file system"),
    (0, b"XFSB", "an XFS file system"),
    (0, b"LUKS\xba\xbe", "an encrypted volume"),
    (0x10040, b"_BHRfS_M", "a Btrfs file system"),
    (0, b"hsqs", "a SquashFS file system"),
    (0x8001, b"CD001", "an ISO 9660 file system"),
];

impl DumpDev {
    /// Whether a dump may be written here. With `force` also where a dump is
    /// that was not saved, or what looks like data.
    ///
    /// # Errors
    /// What is there.
    pub fn check_free(&self, force: bool) -> Result<(), Error> {
        let path = || self.path.clone();
        let in_use = |by: String| Error::Used { path: path(), by };
        let meta = self
            .file
            .metadata()
            .map_err(|e| Error::Unfit { path: path(), text: e.to_string() })?;
        let kind = meta.file_type();
        if kind.is_block_device() || kind.is_char_device() {
            match swap::is_in_use(meta.rdev()) {
                Ok(true) => return Err(in_use("swap that is in use".into())),
                Ok(false) => {}
                Err(_) if force => {}
                Err(e) => {
                    return Err(Error::Doubt {
                        path: path(),
                        text: format!(
                            "whether it is swap in use is not known: {e}"
                        ),
                    });
                }
            }
        }
        if force {
            return Ok(());
        }
        let mut end = vec![0; 4096.min(self.size as usize)];
        let at = self.size.saturating_sub(end.len() as u64);
        self.read(&mut end, at)?;
        for sector in [512, 4096] {
            let at = end.len().checked_sub(sector);
            let last = at.and_then(|at| end.get(at..)).unwrap_or_default();
            let Some(header) = last.first_chunk::<HEADER_SIZE>() else {
                continue;
            };
            let magic = KernelDumpHeader::decode(header).map(|h| h.magic);
            match magic {
                Ok(Magic::Cleared) => return Ok(()),
                Ok(_) => {
                    return Err(Error::Unsaved {
                        path: path(),
                        damaged: !parity_ok(header),
                    });
                }
                Err(_) => {}
            }
            if last.starts_with(b"GEOM::") {
                return Err(Error::Data {
                    path: path(),
                    what: "metadata of geom(4) in its last sector",
                });
            }
        }
        for (at, magic, what) in MAGICS {
            let mut there = vec![0; magic.len()];
            let end = at.saturating_add(magic.len() as u64);
            // Devices give whole sectors only.
            let from = at.saturating_sub(at % 4096);
            let mut sectors = vec![0; 8192];
            if end > self.size || from.saturating_add(8192) > self.size {
                continue;
            }
            self.read(&mut sectors, from)?;
            let skip = usize::try_from(at.saturating_sub(from)).unwrap_or(0);
            let found = sectors.get(skip..).unwrap_or_default();
            for (to, from) in there.iter_mut().zip(found) {
                *to = *from;
            }
            if there == magic {
                return Err(Error::Data { path: path(), what });
            }
        }
        Ok(())
    }
}
