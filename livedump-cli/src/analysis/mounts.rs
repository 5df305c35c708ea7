// SPDX-License-Identifier: BSD-2-Clause
//! The file systems that were mounted. C: `mountlist`, vfs_mount.c.

use super::lists::walk;
use super::target::{Target, at};
use super::types::{Field, RequiredFields};
use super::unavailable::Unavailable;
use memdev::addr::Vaddr;

const MAX_MOUNTS: usize = 65536;
/// C: `MNAMELEN`, 1024 since 12.
const MAX_NAME: usize = 1024;

/// What mount(8) calls them. C: `MNT_*`, <sys/mount.h>.
const FLAGS: &[(u64, &str)] = &[
    (0x1, "read-only"),
    (0x2, "synchronous"),
    (0x4, "noexec"),
    (0x8, "nosuid"),
    (0x10, "nfsv4acls"),
    (0x20, "union"),
    (0x40, "asynchronous"),
    (0x100, "NFS exported"),
    (0x1000, "local"),
    (0x2000, "with quotas"),
    (0x10_0000, "suiddir"),
    (0x20_0000, "soft-updates"),
    (0x40_0000, "nosymfollow"),
    (0x200_0000, "gjournal"),
    (0x400_0000, "multilabel"),
    (0x800_0000, "acls"),
    (0x1000_0000, "noatime"),
    (0x4000_0000, "noclusterr"),
    (0x8000_0000, "noclusterw"),
    (0x1_0000_0000, "journaled soft-updates"),
    (0x2_0000_0000, "automounted"),
    (0x8_0000_0000, "untrusted"),
];

/// One of them. What could not be read is `None`.
#[derive(Clone, Debug)]
pub struct Mount {
    /// C: `struct mount *`.
    pub address: Vaddr,
    /// C: `f_mntonname`.
    pub on: Option<Vec<u8>>,
    /// C: `f_mntfromname`.
    pub from: Option<Vec<u8>>,
    /// C: `f_fstypename`.
    pub kind: Option<Vec<u8>>,
    /// C: `mnt_flag`.
    pub flags: Option<u64>,
    /// C: `f_blocks` and `f_bfree`, in bytes, as of the last statfs(2).
    pub size: Option<(u64, u64)>,
}

/// All of them.
#[derive(Debug)]
pub struct Mounts {
    /// In the order of the list.
    pub list: Vec<Mount>,
    /// Why there may be more.
    pub problem: Option<String>,
}

impl Mounts {
    /// Walks the list.
    ///
    /// # Errors
    /// It is not told where it is.
    pub fn new(t: &Target<'_>) -> Result<Self, Unavailable> {
        let mut f = RequiredFields::new(&t.types);
        let link = f.field("mount", "mnt_list");
        let stat = f.field("mount", "mnt_stat");
        let [on, from, kind] = ["f_mntonname", "f_mntfromname", "f_fstypename"]
            .map(|name| f.field("statfs", name));
        f.check()?;
        let of = |name| t.types.field("statfs", name);
        let flag = t.types.field("mount", "mnt_flag");
        let bytes = [of("f_bsize"), of("f_blocks"), of("f_bfree")];
        let head = t.need("mountlist")?;
        let found = walk(t, "mountlist", head, link, MAX_MOUNTS);
        let mount = |address: Vaddr| {
            let stat = at(address, stat);
            let name = |field: Field| {
                let length = usize::try_from(field.size).unwrap_or(0);
                t.c_string(at(stat, field), length.clamp(1, MAX_NAME))
            };
            let number = |field: Option<Field>| t.get(stat, field?).ok();
            let [block, all, free] = bytes.map(number);
            let in_bytes = |n: Option<u64>| n?.checked_mul(block?);
            Mount {
                address,
                on: name(on),
                from: name(from),
                kind: name(kind),
                flags: flag.and_then(|flag| t.get(address, flag).ok()),
                size: in_bytes(all).zip(in_bytes(free)),
            }
        };
        let list = found.elements.into_iter().map(mount).collect();
        Ok(Self { list, problem: found.problem })
    }
}

/// Flags in words.
#[must_use]
pub fn flag_words(flags: u64) -> Vec<&'static str> {
    let set = FLAGS.iter().filter(|(bit, _)| flags & bit != 0);
    set.map(|&(_, word)| word).collect()
}
