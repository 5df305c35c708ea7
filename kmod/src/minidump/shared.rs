// SPDX-License-Identifier: BSD-2-Clause
//! Work that is one thread's while the machine runs, or all CPUs' while it is
//! stopped: the same steps either way, cut into units that whoever is free
//! takes, and a bitset that all of them may change.

use crate::error::{Errno, Result};
use crate::kpi::{Caller, DirectMap, System};
use core::cell::Cell;
use core::hint::spin_loop;
use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicI32, AtomicU64, AtomicUsize};
use memdev::bitset::{WORD_BITS, words_for};

/// Turns of waiting between two looks at the clock: one outside the CPU is slow
/// to read, and those who work have to read it, too.
const TURNS: u32 = 64;

/// What is done between two units of work.
pub(super) trait Pace {
    /// Whether to go on.
    fn check(&self) -> Result<()>;

    /// Runs a unit.
    fn unit(&self, work: impl FnOnce() -> Result<()>) -> Result<()> {
        work()
    }
}

/// One thread of a machine that runs: signals end it, others get the CPU, and
/// the time that units took is measured.
pub(super) struct Unstopped<'k, K> {
    kpi: &'k K,
    spent_ns: Cell<u64>,
}

impl<'k, K> Unstopped<'k, K> {
    pub(super) fn new(kpi: &'k K) -> Self {
        Self { kpi, spent_ns: Cell::new(0) }
    }

    /// What the units took so far, without what was between them.
    pub(super) fn spent_ns(&self) -> u64 {
        self.spent_ns.get()
    }
}

impl<K: Caller + System> Pace for Unstopped<'_, K> {
    fn check(&self) -> Result<()> {
        self.kpi.sig_intr()?;
        self.kpi.maybe_yield();
        Ok(())
    }

    fn unit(&self, work: impl FnOnce() -> Result<()>) -> Result<()> {
        let begun = self.kpi.nanouptime();
        let result = work();
        let took = self.kpi.nanouptime().saturating_sub(begun);
        self.spent_ns.set(self.spent_ns.get().saturating_add(took));
        result
    }
}

/// One CPU of a machine that is stopped: nothing but the time that is left.
pub(super) struct InWindow<'m, M> {
    pub(super) memory: &'m M,
    pub(super) deadline_ns: u64,
}

impl<M: DirectMap> Pace for InWindow<'_, M> {
    fn check(&self) -> Result<()> {
        match self.memory.uptime_ns() < self.deadline_ns {
            true => Ok(()),
            false => Err(Errno::ETIMEDOUT),
        }
    }
}

/// One step after the other: everybody leaves a step when all of its units are
/// done, or when a unit failed anywhere.
pub(super) struct Steps<const N: usize> {
    steps: [Step; N],
    /// The errno of what failed first; 0 while nothing has.
    failed: AtomicI32,
}

struct Step {
    units: AtomicUsize,
    taken: AtomicUsize,
    done: AtomicUsize,
}

impl Step {
    const fn new() -> Self {
        Self {
            units: AtomicUsize::new(0),
            taken: AtomicUsize::new(0),
            done: AtomicUsize::new(0),
        }
    }
}

impl<const N: usize> Steps<N> {
    pub(super) const fn new() -> Self {
        Self { steps: [const { Step::new() }; N], failed: AtomicI32::new(0) }
    }

    /// As if nothing had been done. Nobody is in them.
    pub(super) fn restart(&self) {
        for step in &self.steps {
            step.units.store(0, Relaxed);
            step.taken.store(0, Relaxed);
            step.done.store(0, Relaxed);
        }
        self.failed.store(0, Relaxed);
    }

    /// What the others came to so far.
    fn outcome(&self) -> Result<()> {
        match self.failed.load(Relaxed) {
            0 => Ok(()),
            n => Err(Errno(n)),
        }
    }

    /// What all came to: nothing failed, and the last step has been done.
    pub(super) fn finished(&self) -> Result<()> {
        self.outcome()?;
        let last = self.steps.last().ok_or(Errno::EINTEGRITY)?;
        let units = last.units.load(Acquire);
        match units > 0 && last.done.load(Acquire) >= units {
            true => Ok(()),
            false => Err(Errno::ETIMEDOUT),
        }
    }

    fn fail(&self, errno: Errno) -> Errno {
        let first = self.failed.compare_exchange(0, errno.0, Relaxed, Relaxed);
        first.map_or_else(Errno, |_| errno)
    }

    /// Does units of step `nth` until none are left, then waits for those that
    /// others do.
    pub(super) fn run(
        &self,
        nth: usize,
        units: usize,
        pace: &impl Pace,
        mut unit: impl FnMut(usize) -> Result<()>,
    ) -> Result<()> {
        let step = self.steps.get(nth).ok_or(Errno::EINTEGRITY)?;
        step.units.store(units, Relaxed);
        loop {
            self.outcome()?;
            pace.check().map_err(|e| self.fail(e))?;
            let at = step.taken.fetch_add(1, Relaxed);
            if at >= units {
                break;
            }
            pace.unit(|| unit(at)).map_err(|e| self.fail(e))?;
            step.done.fetch_add(1, AcqRel);
        }
        let mut turn = 0u32;
        while step.done.load(Acquire) < units {
            self.outcome()?;
            if turn.is_multiple_of(TURNS) {
                pace.check().map_err(|e| self.fail(e))?;
            }
            turn = turn.wrapping_add(1);
            spin_loop();
        }
        Ok(())
    }
}

/// A bitset that several threads change. What they did is seen by whoever
/// comes after them in [`Steps`].
#[derive(Clone, Copy)]
pub(super) struct SharedSet<'a> {
    words: &'a [AtomicU64],
    bits: u64,
}

impl<'a> SharedSet<'a> {
    /// A set of `bits` bits; `None` where `words` is too short for them.
    pub(super) fn new(words: &'a [AtomicU64], bits: u64) -> Option<Self> {
        (words.len() as u64 >= words_for(bits)).then_some(Self { words, bits })
    }

    fn word_of(&self, bit: u64) -> Option<&AtomicU64> {
        if bit >= self.bits {
            return None;
        }
        self.words.get(usize::try_from(bit / WORD_BITS).ok()?)
    }

    /// One that does not exist is not set.
    pub(super) fn test(&self, bit: u64) -> bool {
        self.word_of(bit)
            .is_some_and(|w| w.load(Relaxed) >> (bit % WORD_BITS) & 1 == 1)
    }

    /// One that does not exist is ignored.
    pub(super) fn set(&self, bit: u64) {
        if let Some(word) = self.word_of(bit) {
            word.fetch_or(1 << (bit % WORD_BITS), Relaxed);
        }
    }

    /// Replaces word `i`, but for what is behind the last bit, which is zero.
    pub(super) fn put_word(&self, i: usize, word: u64) {
        let first = (i as u64).saturating_mul(WORD_BITS);
        let mask = match self.bits.saturating_sub(first) {
            0 => 0,
            n if n >= WORD_BITS => u64::MAX,
            n => (1 << n) - 1,
        };
        if let Some(to) = self.words.get(i) {
            to.store(word & mask, Release);
        }
    }

    /// Word `i`; 0 where there is none.
    pub(super) fn word(&self, i: usize) -> u64 {
        self.words.get(i).map_or(0, |w| w.load(Acquire))
    }
}

/// The set bits of word `i`, ascending.
pub(super) fn bits_of(i: usize, mut word: u64) -> impl Iterator<Item = u64> {
    core::iter::from_fn(move || {
        if word == 0 {
            return None;
        }
        let bit = u64::from(word.trailing_zeros());
        word &= word - 1;
        Some(i as u64 * WORD_BITS + bit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::sync::atomic::AtomicBool;
    use std::thread;
    use std::vec::Vec;

    struct Free;
    impl Pace for Free {
        fn check(&self) -> Result<()> {
            Ok(())
        }
    }

    #[test]
    fn every_unit_is_done_once_and_no_step_begins_before_the_last_ended() {
        let steps = Steps::<2>::new();
        let done: Vec<AtomicU64> =
            (0..1000).map(|_| AtomicU64::new(0)).collect();
        let early = AtomicBool::new(false);
        let work = || {
            steps.run(0, 1000, &Free, |i| {
                done[i].fetch_add(1, Relaxed);
                Ok(())
            })?;
            steps.run(1, 10, &Free, |_| {
                let all = done.iter().all(|n| n.load(Relaxed) == 1);
                early.fetch_or(!all, Relaxed);
                Ok(())
            })
        };
        thread::scope(|s| {
            let threads: Vec<_> = (0..4).map(|_| s.spawn(work)).collect();
            for t in threads {
                t.join().unwrap().unwrap();
            }
        });
        assert!(!early.load(Relaxed));
        assert_eq!(steps.finished(), Ok(()));
    }

    #[test]
    fn what_fails_in_one_ends_all_and_the_first_errno_stays() {
        let steps = Steps::<1>::new();
        let work = || {
            steps.run(0, 1000, &Free, |i| match i {
                500 => Err(Errno::ENOBUFS),
                _ => Ok(()),
            })
        };
        thread::scope(|s| {
            let threads: Vec<_> = (0..4).map(|_| s.spawn(work)).collect();
            for t in threads {
                assert_eq!(t.join().unwrap(), Err(Errno::ENOBUFS));
            }
        });
        assert_eq!(steps.finished(), Err(Errno::ENOBUFS));
        steps.restart();
        assert_eq!(steps.finished(), Err(Errno::ETIMEDOUT), "not begun");
        assert_eq!(steps.run(0, 3, &Free, |_| Ok(())), Ok(()));
    }

    #[test]
    fn a_set_has_its_bits_and_none_behind_them() {
        let words: Vec<AtomicU64> = (0..2).map(|_| AtomicU64::new(0)).collect();
        let set = SharedSet::new(&words, 70).unwrap();
        assert!(SharedSet::new(&words, 129).is_none());
        set.set(69);
        set.set(70);
        assert!(set.test(69) && !set.test(70) && !set.test(68));
        set.put_word(1, u64::MAX);
        assert_eq!(set.word(1), 0x3f);
        assert!(bits_of(1, 0b101).eq([64, 66]));
        assert_eq!(bits_of(0, 0).next(), None);
    }
}
