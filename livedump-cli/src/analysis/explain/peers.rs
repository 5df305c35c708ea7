// SPDX-License-Identifier: BSD-2-Clause
//! Threads that wait for the other end of a pipe or of a local socket. C:
//! `pipe_read`, `pipe_write`, `sbwait`; <sys/pipe.h>, <sys/unpcb.h>.

use super::fields::{Fields, Pointer};
use super::wait::{Kind, Next, Object};
use super::{Asleep, Context, Found};

/// Processes that are named.
const SHOWN: usize = 4;

pub(super) fn pipe(c: &mut Context<'_, '_, '_>, td: &Asleep<'_>) -> Found {
    let f = &c.fields;
    // Data is in the end that is slept on, and comes from the other.
    let (peer, text) = match td.wmesg {
        "piperd" => {
            let peer = f.pointer(td.wchan, "pipe", "pipe_peer")?;
            let back = f.pointer(peer, "pipe", "pipe_peer")?;
            (Some(peer).filter(|_| back == td.wchan)?, "data from a pipe")
        }
        "pipewr" | "pipbww" | "pipdwt" | "pipdwc" => {
            (td.wchan, "room in a pipe")
        }
        _ => return None,
    };
    leads_to(c, td, peer, text)
}

pub(super) fn socket(c: &mut Context<'_, '_, '_>, td: &Asleep<'_>) -> Found {
    if td.wmesg != "sbwait" {
        return None;
    }
    let f = &c.fields;
    let of = |buffer: &'static str| {
        let sb = f.container(td.wchan, "sockbuf", "sb_acc")?;
        f.container(sb, "socket", buffer)
    };
    let is_open = |so: &Pointer| !c.files().of(*so).is_empty();
    let (so, receives) = match of("so_rcv").filter(is_open) {
        Some(so) => (so, true),
        None => (of("so_snd").filter(is_open)?, false),
    };
    let own = c.threads.list.get(td.thread)?.proc;
    let (peer, text) = match (receives, c.files().of(so).contains(&own)) {
        (true, true) => (peer(f, so)?, "data from a local socket"),
        (false, true) => (peer(f, so)?, "room in a local socket"),
        // The receive buffer of the peer is what is written to.
        (true, false) => (so, "room in a local socket"),
        (false, false) => return None,
    };
    leads_to(c, td, peer, text)
}

/// The socket that a local one is connected to.
fn peer(f: &Fields<'_, '_>, so: Pointer) -> Option<Pointer> {
    let pcb = f.pointer(so, "socket", "so_pcb")?;
    // Another protocol's has something else there.
    let back = f.pointer(pcb, "unpcb", "unp_socket")?;
    let other = f.pointer(pcb, "unpcb", "unp_conn").filter(|_| back == so)?;
    f.pointer(other, "unpcb", "unp_socket")
}

/// To the thread that has the other end, if there is one only.
fn leads_to(
    c: &mut Context<'_, '_, '_>,
    td: &Asleep<'_>,
    peer: Pointer,
    text: &str,
) -> Found {
    let own = c.threads.list.get(td.thread)?.proc;
    // One that sleeps cannot be its own other end.
    let is_alone = c.threads_of(own).len() == 1;
    let procs = c.files().of(peer).iter().copied();
    let procs: Vec<_> = procs.filter(|&p| p != own || !is_alone).collect();
    let (kind, name) = match *procs.as_slice() {
        [] => return None,
        [one] => match *c.threads_of(one) {
            [thread] => {
                let object = Object::Other(text.to_string());
                return Some((object, Next::Thread(thread)));
            }
            _ => (Kind::Process, c.process_name(one)),
        },
        ref all => {
            let shown = all.iter().take(SHOWN).map(|&p| c.process_name(p));
            let mut names = shown.collect::<Vec<_>>().join(", ");
            if all.len() > SHOWN {
                names.push_str(", ...");
            }
            (Kind::Peer, format!("one of {names}"))
        }
    };
    let number = c.resources.number(kind, &name, Vec::new);
    Some((Object::Other(text.to_string()), Next::Resource(number)))
}
