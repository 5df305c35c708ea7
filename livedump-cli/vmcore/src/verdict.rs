// SPDX-License-Identifier: BSD-2-Clause
//! What a check concludes. The one vocabulary for it, in text, in `--json`,
//! in pictures and in exit statuses. Documented in livedump(8), VERDICTS.

use serde::{Serialize, Serializer};
use std::fmt;

/// The conclusion of one or more checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Everything that the claim rests on was checked, and holds.
    Sound,
    /// What is damaged, and where.
    Damaged(String),
    /// Not known: what could not be read or checked, and why. Trouble
    /// of the environment is this, never damage.
    Undetermined(String),
}

impl Verdict {
    /// "sound", "damaged" or "undetermined".
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Sound => "sound",
            Self::Damaged(_) => "damaged",
            Self::Undetermined(_) => "undetermined",
        }
    }

    /// What is damaged, or why that is not known.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Sound => None,
            Self::Damaged(text) | Self::Undetermined(text) => Some(text),
        }
    }

    /// Whether it is [`Verdict::Sound`].
    #[must_use]
    pub fn is_sound(&self) -> bool {
        *self == Self::Sound
    }

    /// Whether it is [`Verdict::Damaged`].
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        matches!(self, Self::Damaged(_))
    }

    /// The verdict on two things together: damage outweighs what cannot be
    /// told, and that outweighs what is sound. Of two equal ones the first
    /// stays.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        if other.rank() > self.rank() { other } else { self }
    }

    fn rank(&self) -> u8 {
        match self {
            Self::Sound => 0,
            Self::Undetermined(_) => 1,
            Self::Damaged(_) => 2,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.reason() {
            Some(reason) => write!(f, "{}: {reason}", self.word()),
            None => f.write_str(self.word()),
        }
    }
}

/// As its word.
impl Serialize for Verdict {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.word())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_outweighs_what_cannot_be_told() {
        let damaged = || Verdict::Damaged("a".into());
        let unknown = || Verdict::Undetermined("b".into());
        assert_eq!(damaged().and(unknown()), damaged());
        assert_eq!(unknown().and(damaged()), damaged());
        assert_eq!(unknown().and(Verdict::Sound), unknown());
        assert_eq!(Verdict::Sound.and(unknown()), unknown());
        assert_eq!(Verdict::Sound.and(Verdict::Sound), Verdict::Sound);
        let first = damaged().and(Verdict::Damaged("c".into()));
        assert_eq!(first.to_string(), "damaged: a");
    }
}
