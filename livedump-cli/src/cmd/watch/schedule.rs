// SPDX-License-Identifier: BSD-2-Clause
//! When the next dump is due. Clocks are set while this runs, so it is asked
//! again and again and believes neither a last dump from the future nor that
//! it has slept as long as it wanted.

use super::cron::Cron;
use crate::host;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

/// Interval between two reads of a value.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Something whose change asks for a dump.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    name: String,
}

impl FromStr for Change {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some(("sysctl", name)) if !name.is_empty() => {
                Ok(Self { name: name.into() })
            }
            _ => Err(format!("{text:?} is not sysctl=NAME")),
        }
    }
}

/// Why a dump is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// It is time.
    Time,
    /// This has changed.
    Change(String),
}

/// Times of a crontab, and the next of them.
#[derive(Debug)]
struct At {
    cron: Cron,
    zone: TimeZone,
    next: Option<SystemTime>,
    /// When the clock was read last.
    last_poll: SystemTime,
    /// The one that there was a dump for.
    done: Option<SystemTime>,
}

impl At {
    fn new(cron: &Cron, zone: TimeZone, now: SystemTime) -> Self {
        let (cron, done) = (cron.clone(), None);
        let mut at = Self { cron, zone, next: None, last_poll: now, done };
        at.seek(now);
        at
    }

    fn seek(&mut self, now: SystemTime) {
        self.next = self.after(now);
        // A clock that was set back a little reaches the same time again.
        if self.next.is_some() && self.next == self.done {
            self.next = self.next.and_then(|next| self.after(next));
        }
    }

    fn after(&self, then: SystemTime) -> Option<SystemTime> {
        let then = Timestamp::try_from(then).ok()?;
        self.cron.after(then, &self.zone).map(SystemTime::from)
    }

    /// The clock may have been set back: the next time is earlier then.
    fn poll(&mut self, now: SystemTime) {
        if now < self.last_poll {
            self.seek(now);
        }
        self.last_poll = now;
    }
}

/// When.
#[derive(Debug)]
pub(super) struct Schedule {
    every: Option<Duration>,
    at: Option<At>,
    changes: Vec<(Change, Option<Vec<u8>>)>,
    last_poll: SystemTime,
    last: Option<SystemTime>,
}

impl Schedule {
    /// `last` is when the newest dump was taken: a restart takes none before
    /// its time. `Err` names a value that cannot be read.
    pub(super) fn new(
        every: Option<Duration>,
        at: Option<(&Cron, TimeZone)>,
        changes: &[Change],
        last: Option<SystemTime>,
        now: SystemTime,
    ) -> Result<Self, String> {
        let read = |change: &Change| match host::sysctl(&change.name) {
            Some(value) => Ok((change.clone(), Some(value))),
            None => Err(change.name.clone()),
        };
        let changes: Result<Vec<_>, _> = changes.iter().map(read).collect();
        Ok(Self {
            every,
            at: at.map(|(cron, zone)| At::new(cron, zone, now)),
            changes: changes?,
            last_poll: now,
            last,
        })
    }

    /// A dump was taken, or could not be, between these times.
    pub(super) fn done(&mut self, began: SystemTime, ended: SystemTime) {
        self.last = Some(began);
        if let Some(at) = &mut self.at {
            at.done = at.next.filter(|next| *next <= began).or(at.done);
            at.last_poll = ended;
            // Those that passed meanwhile are not made up for.
            at.seek(ended);
        }
    }

    /// When it is time; `None` where only a change counts.
    pub(super) fn next(&self, now: SystemTime) -> Option<SystemTime> {
        let at = self.at.as_ref().and_then(|at| at.next);
        let every = self.every.map(|every| match self.last {
            Some(last) => last.min(now) + every,
            None => now,
        });
        at.into_iter().chain(every).min()
    }

    /// Whether it is, and why.
    pub(super) fn now(&mut self, now: SystemTime) -> Option<Reason> {
        if let Some(at) = &mut self.at {
            at.poll(now);
        }
        if self.next(now).is_some_and(|next| next <= now) {
            return Some(Reason::Time);
        }
        let since = now.duration_since(self.last_poll).unwrap_or(POLL_INTERVAL);
        if self.changes.is_empty() || since < POLL_INTERVAL {
            return None;
        }
        self.last_poll = now;
        let mut changed = None;
        for (change, before) in &mut self.changes {
            let value = host::sysctl(&change.name);
            // What cannot be read for a while has not changed.
            if value.is_some() && value != *before {
                *before = value;
                changed = changed.or(Some(change.name.clone()));
            }
        }
        changed.map(Reason::Change)
    }

    /// How long to do nothing before asking again.
    pub(super) fn wait(&self, now: SystemTime) -> Duration {
        let next = self.next(now).map_or(POLL_INTERVAL, |next| {
            next.duration_since(now).unwrap_or_default()
        });
        // Not longer: the clock may be set.
        next.min(POLL_INTERVAL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::UNIX_EPOCH;

    fn second(n: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_700_000_000 + n)
    }

    fn every(seconds: u64, last: Option<SystemTime>) -> Schedule {
        let every = Some(Duration::from_secs(seconds));
        Schedule::new(every, None, &[], last, second(0)).unwrap()
    }

    #[test]
    fn the_first_dump_is_due_at_once_and_the_next_when_it_is_time() {
        let mut schedule = every(60, None);
        assert_eq!(schedule.now(second(0)), Some(Reason::Time));
        schedule.done(second(1), second(2));
        assert_eq!(schedule.now(second(60)), None);
        assert_eq!(schedule.wait(second(0)), POLL_INTERVAL);
        assert_eq!(schedule.now(second(61)), Some(Reason::Time));
    }

    #[test]
    fn a_restart_waits_for_the_rest_of_the_time() {
        let mut schedule = every(60, Some(second(0) - Duration::from_secs(50)));
        assert_eq!(schedule.now(second(9)), None);
        assert_eq!(schedule.now(second(10)), Some(Reason::Time));
    }

    #[test]
    fn a_last_dump_from_the_future_does_not_stop_it_for_years() {
        let schedule = every(60, Some(second(1 << 30)));
        assert_eq!(schedule.next(second(0)), Some(second(60)));
    }

    #[test]
    fn a_time_of_day_that_was_missed_is_not_made_up_for() {
        let cron: Cron = "* * * * *".parse().unwrap();
        let at = Some((&cron, TimeZone::UTC));
        let mut schedule =
            Schedule::new(None, at, &[], None, second(0)).unwrap();
        assert_eq!(schedule.now(second(0)), None);
        assert_eq!(schedule.now(second(600)), Some(Reason::Time));
        // The dump took ten minutes.
        schedule.done(second(600), second(1200));
        assert_eq!(schedule.now(second(1200)), None);
    }

    #[test]
    fn a_clock_that_is_set_back_does_not_stop_it() {
        let cron: Cron = "* * * * *".parse().unwrap();
        let at = Some((&cron, TimeZone::UTC));
        let years = 10 * 366 * 86_400;
        let mut schedule =
            Schedule::new(None, at, &[], None, second(years)).unwrap();
        assert_eq!(schedule.now(second(years + 1)), None);
        assert_eq!(schedule.now(second(0)), None);
        // Seconds 0 is 20 seconds after a minute.
        assert_eq!(schedule.next(second(0)), Some(second(40)));
        assert_eq!(schedule.now(second(40)), Some(Reason::Time));
        schedule.done(second(40), second(41));
        // Back by a second: the same minute has had its dump.
        assert_eq!(schedule.now(second(39)), None);
        assert_eq!(schedule.now(second(45)), None);
        assert_eq!(schedule.next(second(45)), Some(second(100)));
        assert_eq!(schedule.now(second(100)), Some(Reason::Time));
    }

    #[test]
    fn a_clock_that_is_set_forward_makes_one_dump() {
        let cron: Cron = "0 * * * *".parse().unwrap();
        let at = Some((&cron, TimeZone::UTC));
        let mut schedule =
            Schedule::new(None, at, &[], None, second(0)).unwrap();
        let years = 10 * 366 * 86_400;
        assert_eq!(schedule.now(second(years)), Some(Reason::Time));
        schedule.done(second(years), second(years));
        assert_eq!(schedule.now(second(years)), None);
    }

    #[test]
    fn a_value_that_changes_asks_for_a_dump() {
        // Another one whenever it is read.
        let uuid: Change = "sysctl=kernel.random.uuid".parse().unwrap();
        let Ok(mut schedule) =
            Schedule::new(None, None, &[uuid], None, second(0))
        else {
            return livedump_skip::skipped("there is no kernel.random.uuid");
        };
        assert_eq!(schedule.now(second(0)), None);
        let changed = Reason::Change("kernel.random.uuid".into());
        assert_eq!(schedule.now(second(2)), Some(changed));
        assert_eq!(schedule.next(second(2)), None);
        let none: Change = "sysctl=no.such.thing".parse().unwrap();
        let e =
            Schedule::new(None, None, &[none], None, second(0)).unwrap_err();
        assert_eq!(e, "no.such.thing");
        for text in ["", "sysctl", "sysctl=", "file=x"] {
            assert!(text.parse::<Change>().is_err(), "{text}");
        }
    }
}
