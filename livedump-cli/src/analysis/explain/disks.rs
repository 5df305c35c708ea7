// SPDX-License-Identifier: BSD-2-Clause
//! Threads that wait for a transfer. C: `bwait`, `biowait`, `bufobj_wwait`,
//! `swap_pager_getpages`; <sys/buf.h>, <sys/bio.h>.

use super::fields::{Fields, Pointer};
use super::vnodes;
use super::wait::{Kind, Next, Object};
use super::{Asleep, Context, Found};
use crate::analysis::locks::Class;
use memdev::addr::Vaddr;

/// Of a device's name. C: `SPECNAMELEN`.
const MAX_NAME: usize = 256;
/// Wait messages of bwait: some of them, it may have any.
const BUF_WAITS: [&str; 5] = ["biord", "biowr", "swwrt", "vnread", "vnsrd"];
/// Wait messages of biowait.
const BIO_WAITS: [&str; 9] = [
    "biowait", "ggetattr", "gjmdu", "gjs_read", "gread", "gwrite", "physrd",
    "physwr", "rdunion",
];
/// C: `BIO_READ`, `BIO_WRITE`.
const COMMANDS: [(u64, &str); 2] = [(1, "read"), (2, "write")];

/// A transfer.
struct Transfer {
    /// `da0`.
    device: String,
    /// `a read of 16384 bytes at 4096 from da0`.
    text: String,
    /// The file that it is of.
    file: Option<String>,
}

pub(super) fn wait(c: &mut Context<'_, '_, '_>, td: &Asleep<'_>) -> Found {
    let f = &c.fields;
    let transfer = match td.wmesg {
        "swread" => Transfer {
            device: "swap".into(),
            text: "a page from swap".into(),
            file: None,
        },
        "bo_wwait" => writes(f, td.wchan)?,
        wmesg if BIO_WAITS.contains(&wmesg) => bio(f, td.wchan)?,
        wmesg if f.has("buf", "b_lock") || BUF_WAITS.contains(&wmesg) => {
            buf(c, td.wchan)?
        }
        _ => return None,
    };
    Some(found(c, transfer))
}

/// The transfer that a buffer's lock was given to. C: `LK_KERNPROC`.
pub(super) fn of_buffer_lock(
    c: &mut Context<'_, '_, '_>,
    lock: Pointer,
) -> Option<(Object, Next)> {
    if !c.fields.has("buf", "b_lock") {
        return None;
    }
    let buf_at = c.fields.container(lock, "buf", "b_lock")?;
    let transfer = buf(c, buf_at)?;
    Some(found(c, transfer))
}

fn found(c: &mut Context<'_, '_, '_>, transfer: Transfer) -> (Object, Next) {
    let Transfer { device, text, file } = transfer;
    let number = c.resources.number(Kind::Device, &device, Vec::new);
    let text = match file {
        Some(file) => format!("{text}, {file}"),
        None => text,
    };
    (Object::Other(text), Next::Resource(number))
}

/// A buffer is known by its lock.
fn buf(c: &Context<'_, '_, '_>, at: Pointer) -> Option<Transfer> {
    let f = &c.fields;
    let lock = f.address(at, "buf", "b_lock")?;
    let lock = c.locks.at(Vaddr(lock)).ok()??;
    if lock.class != Class::Lockmgr
        || lock.name.text.as_deref() != Some("bufwait")
    {
        return None;
    }
    let vnode = f.pointer(at, "buf", "b_vp")?;
    let (device, file) = device(f, vnode)?;
    let bytes = f.get(at, "buf", "b_bcount").map(|n| n & 0xffff_ffff);
    let command = f.get(at, "buf", "b_iocmd").map(|n| n & 0xffff);
    let text = describe(command, bytes, None, &device);
    Some(Transfer { device, text, file })
}

fn bio(f: &Fields<'_, '_>, at: Pointer) -> Option<Transfer> {
    let command = f.get(at, "bio", "bio_cmd").map(|n| n & 0xffff)?;
    let device = match f.pointer(at, "bio", "bio_to") {
        Some(to) => {
            let name = f.pointer(to, "g_provider", "name")?;
            f.text(name, MAX_NAME)?
        }
        None => cdev(f, f.pointer(at, "bio", "bio_dev")?)?,
    };
    let bytes = f.get(at, "bio", "bio_length");
    let offset = f.get(at, "bio", "bio_offset");
    let text = describe(Some(command), bytes, offset, &device);
    Some(Transfer { device, text, file: None })
}

/// Writes of a file's buffers.
fn writes(f: &Fields<'_, '_>, wchan: Pointer) -> Option<Transfer> {
    let bufobj = f.container(wchan, "bufobj", "bo_numoutput")?;
    let vnode = f.container(bufobj, "vnode", "v_bufobj")?;
    let (device, file) = device(f, vnode)?;
    let text = format!("writes to {device}");
    Some(Transfer { device, text, file })
}

/// The device that a vnode's buffers are on, and which file it is, if it is
/// not the device itself.
fn device(
    f: &Fields<'_, '_>,
    vnode: Pointer,
) -> Option<(String, Option<String>)> {
    /// C: `VCHR`.
    const VCHR: u64 = 4;
    let kind = f.get(vnode, "vnode", "v_type").map(|n| n & 0xff)?;
    if kind == VCHR {
        let name = cdev(f, f.pointer(vnode, "vnode", "v_rdev")?)?;
        return Some((name, None));
    }
    let mount = vnodes::mount_of(f, vnode)?;
    let name = mount.from.strip_prefix("/dev/").unwrap_or(&mount.from);
    Some((name.to_string(), vnodes::describe(f, vnode)))
}

fn cdev(f: &Fields<'_, '_>, at: Pointer) -> Option<String> {
    f.array(at, "cdev", "si_name", MAX_NAME)
}

fn describe(
    command: Option<u64>,
    bytes: Option<u64>,
    offset: Option<u64>,
    device: &str,
) -> String {
    let named = COMMANDS.iter().find(|c| Some(c.0) == command);
    let (what, preposition) = match named {
        Some((_, "read")) => ("a read", "from"),
        Some((_, "write")) => ("a write", "to"),
        _ => ("a request", "to"),
    };
    let bytes = bytes.filter(|_| named.is_some());
    let bytes = bytes.map_or(String::new(), |n| format!(" of {n} bytes"));
    let offset = offset.filter(|_| named.is_some());
    let offset = offset.map_or(String::new(), |n| format!(" at {n}"));
    format!("{what}{bytes}{offset} {preposition} {device}")
}
