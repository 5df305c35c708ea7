// SPDX-License-Identifier: BSD-2-Clause
//! Queues that the kernel's tables do not lead to, found from the threads on
//! them. While a dump is taken chains change, and a link of one moment leads
//! nowhere at another: what hung behind it is still there. A turnstile is
//! where its threads say; to a sleep queue their list leads back, as its
//! first thread points at the head.
//!
//! What is found so is checked like all else: it is for what the thread waits
//! for, and has the thread on it.

use super::locks::{Class, Locks};
use super::queues::{Kind, Queues, Walk};
use super::target::{Target, at};
use super::threads::{TDI_LOCK, TDI_SLEEPING, Thread, Threads};
use super::types::{Field, Missing};
use memdev::addr::Vaddr;
use std::collections::HashSet;

impl Queues {
    /// Adds them.
    ///
    /// # Errors
    /// All that is missing.
    pub fn find_unlinked(
        &mut self,
        t: &Target<'_>,
        threads: &Threads,
        locks: &Locks<'_, '_>,
    ) -> Result<(), Missing> {
        let (turnstiles, sleepqueues) = Kind::both(t)?;
        let mut walk = Walk::new(t);
        let mut tried = HashSet::new();
        let known = self.turnstiles.values().map(|q| q.address.0);
        let known: HashSet<u64> = known.collect();
        for td in &threads.list {
            if td.state.is_inhibited_by(TDI_LOCK) {
                let at = td.blocked;
                if at.0 == 0 || known.contains(&at.0) || !tried.insert(at.0) {
                    continue;
                }
                self.turnstile(&mut walk, &turnstiles, at);
            } else if td.state.is_inhibited_by(TDI_SLEEPING) {
                let lock = || locks.at(td.wchan).ok().flatten();
                let class = || lock().map(|l| l.class);
                if self.sleepqueues.contains_key(&td.wchan.0)
                    || tried.contains(&td.wchan.0)
                    || !matches!(class(), Some(Class::Sx | Class::Lockmgr))
                {
                    continue;
                }
                tried.insert(td.wchan.0);
                self.sleepqueue(&mut walk, &sleepqueues, threads, td);
            }
        }
        self.problems.append(&mut walk.problems);
        Ok(())
    }

    fn turnstile(&mut self, walk: &mut Walk<'_, '_>, k: &Kind, found: Vaddr) {
        let Ok(object) = walk.t.core.read_u64(at(found, k.object)) else {
            return;
        };
        if object != 0 && !self.turnstiles.contains_key(&object) {
            let queue = walk.queue(k, found);
            self.turnstiles.insert(object, queue);
        }
    }

    fn sleepqueue(
        &mut self,
        walk: &mut Walk<'_, '_>,
        k: &Kind,
        threads: &Threads,
        td: &Thread,
    ) {
        let core = walk.t.core;
        let mut thread = td.address;
        while walk.within_limit() {
            // C: tqe_prev: the word that points at this thread.
            let link = at(thread, k.link);
            let Ok(by) = core.read_u64(Vaddr(link.0.wrapping_add(8))) else {
                return;
            };
            if core.read_u64(Vaddr(by)).ok() != Some(thread.0) {
                return;
            }
            for nth in [0, 16] {
                let head = by.wrapping_sub(nth);
                let queue = container_of(head, k.blocked);
                let object = core.read_u64(at(queue, k.object));
                if object.is_ok_and(|object| object == td.wchan.0) {
                    let queue = walk.queue(k, queue);
                    self.sleepqueues.insert(td.wchan.0, queue);
                    return;
                }
            }
            thread = container_of(by, k.link);
            let waits = threads.at(thread).and_then(|n| threads.list.get(n));
            if waits.is_none_or(|other| other.wchan != td.wchan) {
                return;
            }
        }
    }
}

/// What has this field there.
fn container_of(address: u64, field: Field) -> Vaddr {
    Vaddr(address.wrapping_sub(field.offset))
}
