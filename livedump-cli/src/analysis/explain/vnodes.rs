// SPDX-License-Identifier: BSD-2-Clause
//! Vnodes and mounts by their names. C: `struct vnode`, <sys/mount.h>,
//! `struct namecache` of vfs_cache.c.

use super::fields::{Fields, Pointer};
use crate::analysis::mounts::Mounts;

/// Directories above a file.
const MAX_DEPTH: usize = 64;
/// Bytes of a component, with its NUL.
const MAX_NAME: usize = 256;
/// C: `MNAMELEN`.
const MNAMELEN: usize = 1024;
const MFSNAMELEN: usize = 16;
/// C: `VV_ROOT`.
const VV_ROOT: u64 = 1;

/// A mounted file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::analysis) struct Mount {
    /// C: `f_mntonname`.
    pub(in crate::analysis) on: String,
    /// C: `f_mntfromname`.
    pub(in crate::analysis) from: String,
    /// C: `f_fstypename`.
    pub(in crate::analysis) fstype: String,
}

/// The mount at an address, if that is one.
pub(in crate::analysis) fn mount(
    f: &Fields<'_, '_>,
    at: Pointer,
) -> Option<Mount> {
    let stat = f.address(at, "mount", "mnt_stat")?;
    let text = |name, limit| f.array(stat, "statfs", name, limit);
    Some(Mount {
        on: text("f_mntonname", MNAMELEN)?,
        from: text("f_mntfromname", MNAMELEN)?,
        fstype: text("f_fstypename", MFSNAMELEN)?,
    })
}

/// The mount of a vnode.
pub(in crate::analysis) fn mount_of(
    f: &Fields<'_, '_>,
    vnode: Pointer,
) -> Option<Mount> {
    mount(f, f.pointer(vnode, "vnode", "v_mount")?)
}

/// All mounts of a file system type. C: `mountlist`.
pub(in crate::analysis) fn mounts(
    f: &Fields<'_, '_>,
    fstype: &str,
) -> Vec<Mount> {
    // Where the list is not told, neither is which server it is.
    let all = Mounts::new(f.t).map_or_else(|_| Vec::new(), |all| all.list);
    let all = all.iter().filter_map(|m| mount(f, m.address.0));
    all.filter(|m| m.fstype == fstype).collect()
}

/// The vnode that a lock is of, if it is one's.
pub(in crate::analysis) fn of_lock(
    f: &Fields<'_, '_>,
    lock: Pointer,
) -> Option<Pointer> {
    if !f.has("vnode", "v_lock") {
        return None;
    }
    let vnode = f.container(lock, "vnode", "v_lock")?;
    let own = f.pointer(vnode, "vnode", "v_vnlock")?;
    (own == lock).then_some(vnode)
}

/// The mount of a vnode, and its path where the name cache has it.
pub(in crate::analysis) fn place(
    f: &Fields<'_, '_>,
    vnode: Pointer,
) -> Option<(Mount, Option<String>)> {
    let mount = mount_of(f, vnode)?;
    let path = path(f, vnode, &mount.on);
    Some((mount, path))
}

/// `/var/log/messages on /var (ufs)`; the path where the name cache has it.
pub(in crate::analysis) fn describe(
    f: &Fields<'_, '_>,
    vnode: Pointer,
) -> Option<String> {
    let (Mount { on, fstype, .. }, path) = place(f, vnode)?;
    Some(match path {
        Some(path) => format!("{path} on {on} ({fstype})"),
        None => format!("a file on {on} ({fstype})"),
    })
}

/// Whether it is the root of its file system. C: `VV_ROOT`.
fn is_root(f: &Fields<'_, '_>, vnode: Pointer) -> bool {
    let flags = f.get(vnode, "vnode", "v_vflag");
    flags.is_some_and(|flags| flags & VV_ROOT != 0)
}

/// The path, up to the mount point.
fn path(f: &Fields<'_, '_>, vnode: Pointer, on: &str) -> Option<String> {
    let mut names = Vec::new();
    let mut at = vnode;
    while !is_root(f, at) {
        if names.len() >= MAX_DEPTH {
            return None;
        }
        let entry = f.pointer(at, "vnode", "v_cache_dst")?;
        names.push(component(f, entry)?);
        at = f.pointer(entry, "namecache", "nc_dvp")?;
    }
    if names.is_empty() {
        return Some(on.to_string());
    }
    names.reverse();
    let on = on.trim_end_matches('/');
    Some(format!("{on}/{}", names.join("/")))
}

fn component(f: &Fields<'_, '_>, entry: Pointer) -> Option<String> {
    let bytes = f.get(entry, "namecache", "nc_nlen")?;
    let name = f.array(entry, "namecache", "nc_name", MAX_NAME)?;
    (name.len() as u64 == bytes).then_some(name)
}
