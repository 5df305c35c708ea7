// SPDX-License-Identifier: BSD-2-Clause
//! Waits for locks, as the wait-for graph has them, followed where that ends:
//! a buffer's lock leads to the transfer that it was given to.

use super::Context;
use super::wait::{Kind, Next, Object, Wait};
use super::{disks, vnodes};
use crate::analysis::locks::{Class, Holder, Lock};
use crate::analysis::waits::{Edge, WaitTarget};
use memdev::addr::Vaddr;

pub(super) fn wait(c: &mut Context<'_, '_, '_>, edge: &Edge) -> Wait {
    let mut inconsistencies = edge.inconsistencies.clone();
    let (object, next) = match &edge.to {
        WaitTarget::Thread(n) => (lock(c, &edge.lock), Next::Thread(*n)),
        WaitTarget::Shared(Some(1), candidates) if candidates.len() == 1 => {
            let only = candidates.first().copied().unwrap_or(edge.waiter);
            inconsistencies.push(
                "its reader is the only thread that shares such a lock".into(),
            );
            (lock(c, &edge.lock), Next::Thread(only))
        }
        WaitTarget::Shared(..) => held(c, edge, "readers"),
        WaitTarget::Kernel => {
            match disks::of_buffer_lock(c, edge.lock.address.0) {
                Some(found) => found,
                None => held(c, edge, "the kernel itself"),
            }
        }
        WaitTarget::NoThread => held(c, edge, "no thread"),
        WaitTarget::UnknownThread(_) => held(c, edge, "an unknown thread"),
    };
    Wait {
        waiter: edge.waiter,
        object,
        spins: false,
        is_message: false,
        next,
        seconds: edge.seconds,
        inconsistencies,
    }
}

/// Where a lock leads that a running thread spins for.
pub(super) fn of_spinner(
    c: &Context<'_, '_, '_>,
    of: &Lock,
) -> Option<(Object, Next)> {
    let Holder::Thread(at) = of.holder else { return None };
    let holder = c.threads.at(Vaddr(at.0))?;
    Some((lock(c, of), Next::Thread(holder)))
}

fn lock(c: &Context<'_, '_, '_>, lock: &Lock) -> Object {
    let f = &c.fields;
    let vnode = match lock.class {
        Class::Lockmgr => vnodes::of_lock(f, lock.address.0),
        _ => None,
    };
    let of = vnode.and_then(|vnode| vnodes::describe(f, vnode));
    Object::Lock(Box::new(lock.clone()), of)
}

/// A lock whose holder is not known is where it ends.
fn held(c: &mut Context<'_, '_, '_>, edge: &Edge, by: &str) -> (Object, Next) {
    let object = lock(c, &edge.lock);
    let class = edge.lock.class.word();
    let at = edge.lock.address;
    let name = match &edge.lock.name.text {
        Some(name) => format!("{class} \"{name}\" at {at}, held by {by}"),
        None => format!("{class} at {at}, held by {by}"),
    };
    let number = c.resources.number(Kind::Lock, &name, Vec::new);
    (object, Next::Resource(number))
}
