// SPDX-License-Identifier: BSD-2-Clause
//! Which dumps are removed when there are too many, too large, or too old
//! ones. What `watch` and `prune` do is decided here, and nowhere else.
//!
//! What must hold: the newest sound dump is never among them. It alone may
//! therefore be larger or older than the limits say. Nor is one that nobody
//! can tell about: it stays, takes the place of no other, and does not count.
//! Of the others the newest stay, as many as fit; the first that does not
//! takes all older ones along.

use crate::quantity::show;
use crate::report::human;
use livedump_vmcore::verdict::Verdict;
use std::time::Duration;

/// The limits; those that are not given do not count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// How many dumps stay; at least one.
    pub keep: Option<u32>,
    /// Bytes of disk that they take together.
    pub max_bytes: Option<u64>,
    /// How old they are.
    pub max_age: Option<Duration>,
}

/// What counts of a dump.
#[derive(Clone, Copy, Debug)]
pub struct Weight {
    /// Bytes of disk.
    pub bytes: u64,
    /// How old it is.
    pub age: Duration,
}

/// What is to be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The one that stays whatever the limits say.
    pub protected: Option<usize>,
    /// Those that are removed and why, oldest first.
    pub remove: Vec<(usize, String)>,
    /// Those that stay because it cannot be told, and why not, newest first.
    pub undetermined: Vec<(usize, String)>,
}

impl Retention {
    /// Whether there is a limit at all.
    #[must_use]
    pub fn is_limited(&self) -> bool {
        *self != Self::default()
    }

    /// Decides on dumps, the newest first. `judge` is asked about each of them
    /// once, and without limits only up to the newest sound one: to check a
    /// dump takes a while.
    pub fn plan(
        &self,
        dumps: &[Weight],
        mut judge: impl FnMut(usize) -> Verdict,
    ) -> Plan {
        let mut plan = Plan::default();
        let mut others = Vec::new();
        for (i, weight) in dumps.iter().enumerate() {
            match judge(i) {
                Verdict::Sound if plan.protected.is_none() => {
                    plan.protected = Some(i);
                    if !self.is_limited() {
                        return plan;
                    }
                }
                Verdict::Sound | Verdict::Damaged(_) => {
                    others.push((i, *weight));
                }
                Verdict::Undetermined(why) => plan.undetermined.push((i, why)),
            }
        }
        let kept = plan.protected.and_then(|i| dumps.get(i));
        let mut bytes = kept.map_or(0, |weight| weight.bytes);
        let mut count = u32::from(kept.is_some());
        let mut full: Option<String> = None;
        for (i, weight) in others {
            let with = bytes.saturating_add(weight.bytes);
            let reason = full
                .clone()
                .or_else(|| self.too_many(count))
                .or_else(|| self.too_large(with));
            if reason.is_some() {
                full.clone_from(&reason);
            }
            match reason.or_else(|| self.too_old(weight.age)) {
                Some(reason) => plan.remove.push((i, reason)),
                None => {
                    bytes = with;
                    count = count.saturating_add(1);
                }
            }
        }
        plan.remove.reverse();
        plan
    }

    /// The option whose limit a single dump exceeds.
    #[must_use]
    pub fn exceeded_by(&self, dump: Weight) -> Option<&'static str> {
        if self.too_large(dump.bytes).is_some() {
            Some("--max-bytes")
        } else {
            self.too_old(dump.age).map(|_| "--max-age")
        }
    }

    fn too_many(&self, count: u32) -> Option<String> {
        let keep = self.keep?;
        (count >= keep).then(|| match keep {
            1 => "at most 1 is kept".into(),
            keep => format!("at most {keep} are kept"),
        })
    }

    fn too_large(&self, bytes: u64) -> Option<String> {
        let max = self.max_bytes?;
        (bytes > max).then(|| format!("at most {} are kept", human(max)))
    }

    fn too_old(&self, age: Duration) -> Option<String> {
        let max = self.max_age?;
        (age > max).then(|| format!("it is older than {}", show(max)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// "s10" is a sound one of 10 bytes, "w" a damaged one, "u" undetermined;
    /// the age of each is its place. What is left, as places.
    fn left(retention: &Retention, dumps: &str) -> Vec<usize> {
        let words: Vec<_> = dumps.split_whitespace().collect();
        let weights: Vec<_> = words
            .iter()
            .enumerate()
            .map(|(i, word)| Weight {
                bytes: word[1..].parse().unwrap(),
                age: Duration::from_secs(i as u64),
            })
            .collect();
        let plan = retention.plan(&weights, |i| match &words[i][..1] {
            "s" => Verdict::Sound,
            "u" => Verdict::Undetermined("?".into()),
            _ => Verdict::Damaged("!".into()),
        });
        let gone: Vec<_> = plan.remove.iter().map(|(i, _)| *i).collect();
        assert!(gone.is_sorted_by(|a, b| a > b), "not oldest first: {gone:?}");
        (0..words.len()).filter(|i| !gone.contains(i)).collect()
    }

    fn keep(n: u32) -> Retention {
        Retention { keep: Some(n), ..Retention::default() }
    }

    fn bytes(n: u64) -> Retention {
        Retention { max_bytes: Some(n), ..Retention::default() }
    }

    fn age(seconds: u64) -> Retention {
        let max_age = Some(Duration::from_secs(seconds));
        Retention { max_age, ..Retention::default() }
    }

    #[test]
    fn the_newest_stay_as_many_as_fit() {
        assert_eq!(left(&Retention::default(), "s1 s1 s1"), [0, 1, 2]);
        assert_eq!(left(&keep(2), "s1 s1 s1"), [0, 1]);
        assert_eq!(left(&bytes(25), "s10 s10 s10 s1"), [0, 1]);
        assert_eq!(left(&age(1), "s1 s1 s1"), [0, 1]);
        let both = Retention { keep: Some(3), ..bytes(25) };
        assert_eq!(left(&both, "s1 s1 s1 s1"), [0, 1, 2]);
        assert_eq!(left(&both, "s20 s1 s20 s1"), [0, 1]);
    }

    #[test]
    fn the_newest_sound_one_stays_whatever_the_limits_say() {
        assert_eq!(left(&keep(1), "w1 w1 s1 s1"), [2]);
        assert_eq!(left(&keep(2), "w1 w1 s1 s1"), [0, 2]);
        assert_eq!(left(&bytes(5), "s10 s1"), [0]);
        assert_eq!(left(&bytes(12), "w5 s10 s1"), [1]);
        assert_eq!(left(&age(0), "w1 s1 s1"), [0, 1]);
        let old = Retention { keep: Some(9), ..age(0) };
        assert_eq!(left(&old, "w1 w1 w1 s1"), [0, 3]);
    }

    #[test]
    fn one_that_nobody_can_tell_about_stays_and_does_not_count() {
        assert_eq!(left(&keep(1), "w1 u1 u1"), [0, 1, 2]);
        assert_eq!(left(&keep(1), "u1 s1"), [0, 1]);
        assert_eq!(left(&keep(1), "u1 s1 u1 s1 w1"), [0, 1, 2]);
        assert_eq!(left(&bytes(15), "u50 s10 u50 w5 w5"), [0, 1, 2, 3]);
        assert_eq!(left(&age(0), "w1 u1 w1"), [0, 1]);
        assert_eq!(left(&keep(1), "w1 w1"), [0]);
        assert_eq!(left(&age(0), "w1 w1"), [0]);
    }

    #[test]
    fn without_limits_only_the_newest_are_checked() {
        let weight = Weight { bytes: 1, age: Duration::ZERO };
        let mut asked = Vec::new();
        let plan = Retention::default().plan(&[weight; 9], |i| {
            asked.push(i);
            if i < 2 { Verdict::Damaged("!".into()) } else { Verdict::Sound }
        });
        assert_eq!((plan.protected, asked), (Some(2), vec![0, 1, 2]));
    }
}
