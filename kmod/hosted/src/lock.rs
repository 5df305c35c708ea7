// SPDX-License-Identifier: BSD-2-Clause
//! A lock that one thread may take and another give back, as an sx(9) or a
//! range lock is used by the engine: the cookie travels, the guard cannot.

use parking_lot::{Condvar, Mutex};

/// A sleepable exclusive lock.
#[derive(Debug, Default)]
pub struct SleepLock {
    held: Mutex<bool>,
    free: Condvar,
}

impl SleepLock {
    /// Takes it if nobody holds it.
    pub fn try_lock(&self) -> bool {
        !core::mem::replace(&mut *self.held.lock(), true)
    }

    /// Takes it; sleeps until it is free.
    pub fn lock(&self) {
        self.lock_unless(|| false);
    }

    /// Takes it; gives up, and returns false, once `stop` holds. Whoever makes
    /// `stop` true calls [`SleepLock::wake`] afterwards.
    pub fn lock_unless(&self, stop: impl Fn() -> bool) -> bool {
        let mut held = self.held.lock();
        while *held {
            if stop() {
                return false;
            }
            self.free.wait(&mut held);
        }
        *held = true;
        true
    }

    /// Gives it back; false where nobody held it.
    pub fn unlock(&self) -> bool {
        let was = core::mem::replace(&mut *self.held.lock(), false);
        self.free.notify_all();
        was
    }

    /// Makes every sleeper look at its `stop` again.
    pub fn wake(&self) {
        // Under the lock: a sleeper between its look and its wait would miss
        // the call otherwise.
        let _held = self.held.lock();
        self.free.notify_all();
    }

    /// Whether somebody holds it.
    pub fn is_locked(&self) -> bool {
        *self.held.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

    #[test]
    fn one_holder_at_a_time() {
        let lock = SleepLock::default();
        let inside = AtomicU32::new(0);
        std::thread::scope(|s| {
            for _ in 0..4 {
                s.spawn(|| {
                    for _ in 0..500 {
                        lock.lock();
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        inside.fetch_sub(1, Ordering::SeqCst);
                        assert!(lock.unlock());
                    }
                });
            }
        });
        assert!(!lock.is_locked());
        assert!(!lock.unlock(), "giving back what nobody holds is seen");
    }

    #[test]
    fn a_wait_ends_when_it_is_told_to() {
        let lock = SleepLock::default();
        assert!(lock.try_lock());
        assert!(!lock.try_lock());
        let stop = AtomicBool::new(false);
        std::thread::scope(|s| {
            let waiter =
                s.spawn(|| lock.lock_unless(|| stop.load(Ordering::SeqCst)));
            stop.store(true, Ordering::SeqCst);
            lock.wake();
            assert!(!waiter.join().unwrap());
        });
        assert!(lock.is_locked());
        assert!(lock.unlock());
        assert!(lock.lock_unless(|| true), "a free lock is simply taken");
    }
}
