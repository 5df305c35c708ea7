// SPDX-License-Identifier: BSD-2-Clause
//! Threads that wait for a file system whose writes are suspended, and for
//! file servers. C: `vn_start_write`, `vfs_write_suspend`; `clnt_vc_call`,
//! `clnt_dg_call`.

use super::vnodes;
use super::wait::{Kind, Next, Object};
use super::{Asleep, Context, Found};
use memdev::addr::Vaddr;

pub(super) fn suspended(c: &mut Context<'_, '_, '_>, td: &Asleep<'_>) -> Found {
    if td.wmesg != "suspfs" {
        return None;
    }
    let mount = c.fields.container(td.wchan, "mount", "mnt_flag")?;
    let named = vnodes::mount(&c.fields, mount)?;
    let text = format!("{}, which is suspended", named.on);
    let owner = c.fields.pointer(mount, "mount", "mnt_susp_owner");
    let owner = owner.and_then(|td| c.threads.at(Vaddr(td)));
    let next = match owner {
        Some(owner) => Next::Thread(owner),
        None => {
            let kind = Kind::FileSystem;
            let number = c.resources.number(kind, &named.on, Vec::new);
            Next::Resource(number)
        }
    };
    Some((Object::Other(text), next))
}

/// A request without a reply. Which server it is for is told by a file of it
/// that the thread has locked, or by there being one only.
pub(super) fn server(c: &mut Context<'_, '_, '_>, td: &Asleep<'_>) -> Found {
    if !matches!(td.wmesg, "nfsreq" | "rpcrecv" | "nfscon" | "rpccon") {
        return None;
    }
    let f = &c.fields;
    let locked = c.waits.all().filter(|e| e.next() == Some(td.thread));
    let mut locked = locked.filter_map(|e| {
        let vnode = vnodes::of_lock(f, e.lock.address.0)?;
        vnodes::mount_of(f, vnode).filter(|m| m.fstype == "nfs")
    });
    let found = locked.next().or_else(|| {
        let mut all = vnodes::mounts(f, "nfs");
        all.pop().filter(|_| all.is_empty())
    });
    let (name, text) = match found {
        Some(m) => {
            let text = format!("a reply of {} ({})", m.from, m.on);
            (m.from, text)
        }
        None => ("unknown".into(), "a reply of a server".into()),
    };
    let number = c.resources.number(Kind::Server, &name, Vec::new);
    Some((Object::Other(text), Next::Resource(number)))
}
