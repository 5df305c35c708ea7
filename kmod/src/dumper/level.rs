// SPDX-License-Identifier: BSD-2-Clause
//! Which level compresses: the one that was asked for, or, where that was left
//! open, the one at which compression just keeps up with what the dump is
//! written to.
//!
//! The thread that writes also packs while it waits for others. If it does
//! little but write, the target is what takes time, and the next higher level
//! is free; if it writes for less than half of the time, the codec is.

/// What a dump is to be compressed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// This one.
    Fixed(i32),
    /// This one, or a lower one where there is no memory for it.
    Default(i32),
    /// What keeps up. `MINIDUMP_LEVEL_AUTO`, of zstd.
    Auto,
}

/// From fast to small.
const LADDER: [i32; 4] = [-5, -1, 1, 3];
/// Level 1, until something is known.
const FIRST: usize = 2;
/// Chunks between two decisions: 8 MB.
const CHUNKS: u32 = 32;
/// Percent of the time that is spent in writing.
const MOSTLY_WRITES: u64 = 90;
const SELDOM_WRITES: u64 = 45;

/// The levels that each thread has a stream for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rungs {
    One(i32),
    Ladder,
}

impl Rungs {
    pub(super) fn of(level: Level) -> Self {
        match level {
            Level::Fixed(level) | Level::Default(level) => Self::One(level),
            Level::Auto => Self::Ladder,
        }
    }

    /// Where there is no memory for these: one level of them, or of what was
    /// not asked for the one that takes least.
    pub(super) fn less(self, asked: Level) -> Option<Self> {
        let least = Self::One(LADDER[FIRST]);
        match (self, asked) {
            (Self::Ladder, _) => Some(least),
            (Self::One(level), Level::Default(_)) if level > LADDER[FIRST] => {
                Some(least)
            }
            _ => None,
        }
    }

    pub(super) fn count(self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::Ladder => LADDER.len(),
        }
    }

    /// That of the nth stream.
    pub(super) fn level(self, nth: usize) -> i32 {
        match self {
            Self::One(level) => level,
            Self::Ladder => LADDER.get(nth).copied().unwrap_or(LADDER[FIRST]),
        }
    }
}

/// What the writing thread saw, and which rung it is on.
pub(super) struct Pace {
    rungs: Rungs,
    at: usize,
    /// Since the last decision.
    chunks: u32,
    write_ns: u64,
    since_ns: u64,
    /// Of chunks that were written, by rung.
    pages: [u64; LADDER.len()],
}

impl Pace {
    pub(super) fn new(rungs: Rungs, now_ns: u64) -> Self {
        Self {
            rungs,
            at: match rungs {
                Rungs::One(_) => 0,
                Rungs::Ladder => FIRST,
            },
            chunks: 0,
            write_ns: 0,
            since_ns: now_ns,
            pages: [0; LADDER.len()],
        }
    }

    /// Whether there is anything to decide.
    pub(super) fn is_open(&self) -> bool {
        self.rungs == Rungs::Ladder
    }

    /// The stream that the next chunk is for.
    pub(super) fn rung(&self) -> usize {
        self.at
    }

    /// So many pages, of that rung, have been written.
    pub(super) fn wrote(
        &mut self,
        rung: usize,
        pages: usize,
        start_ns: u64,
        end_ns: u64,
    ) {
        if let Some(of_rung) = self.pages.get_mut(rung) {
            *of_rung += pages as u64;
        }
        self.write_ns += end_ns.saturating_sub(start_ns);
        self.chunks += 1;
        if self.chunks < CHUNKS {
            return;
        }
        let all = end_ns.saturating_sub(self.since_ns);
        let writes = self.write_ns.saturating_mul(100);
        if writes > all.saturating_mul(MOSTLY_WRITES) {
            self.at = (self.at + 1).min(self.rungs.count() - 1);
        } else if writes < all.saturating_mul(SELDOM_WRITES) {
            self.at = self.at.saturating_sub(1);
        }
        (self.chunks, self.write_ns, self.since_ns) = (0, 0, end_ns);
    }

    /// The level of most pages.
    pub(super) fn level(&self) -> i32 {
        let most = self.pages.iter().enumerate().max_by_key(|(_, n)| **n);
        match most {
            Some((rung, n)) if self.is_open() && *n > 0 => {
                self.rungs.level(rung)
            }
            _ => self.rungs.level(self.at),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The level after so many chunks, of whose time that share is writing.
    fn after(chunks: u32, percent: u64) -> i32 {
        let mut pace = Pace::new(Rungs::Ladder, 0);
        for nth in 0..u64::from(chunks) {
            let start = nth * 1000;
            // What is not written in is before it.
            let end = start + 1000;
            pace.wrote(pace.rung(), 64, end - percent * 10, end);
        }
        pace.rungs.level(pace.rung())
    }

    #[test]
    fn a_slow_target_gets_a_higher_level_and_a_fast_one_a_lower() {
        assert_eq!(after(CHUNKS - 1, 100), 1);
        assert_eq!(after(CHUNKS, 100), 3);
        assert_eq!(after(9 * CHUNKS, 100), 3);
        assert_eq!(after(CHUNKS, 10), -1);
        assert_eq!(after(2 * CHUNKS, 10), -5);
        assert_eq!(after(9 * CHUNKS, 10), -5);
        assert_eq!(after(9 * CHUNKS, 70), 1);
    }

    #[test]
    fn only_what_was_not_asked_for_gets_less() {
        let least = Some(Rungs::One(1));
        for (asked, less) in [
            (Level::Auto, least),
            (Level::Default(3), least),
            (Level::Default(1), None),
            (Level::Default(-5), None),
            (Level::Fixed(3), None),
        ] {
            assert_eq!(Rungs::of(asked).less(asked), less, "{asked:?}");
        }
        assert_eq!(Rungs::One(1).less(Level::Auto), None);
        assert_eq!(Rungs::One(1).less(Level::Default(3)), None);
    }

    #[test]
    fn the_level_of_a_dump_is_that_of_most_of_it() {
        let mut pace = Pace::new(Rungs::Ladder, 0);
        assert_eq!(pace.level(), 1);
        pace.wrote(0, 64, 0, 1);
        pace.wrote(2, 63, 1, 2);
        assert_eq!(pace.level(), -5);
        assert_eq!(Pace::new(Rungs::One(19), 0).level(), 19);
    }
}
