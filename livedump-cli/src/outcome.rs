// SPDX-License-Identifier: BSD-2-Clause
//! How a command that ran ends. Documented in livedump(8), EXIT STATUS.

use livedump_vmcore::verdict::Verdict;
use std::process::ExitCode;

/// What a command that ran has to say to the shell. One that could not run is
/// an [`Error`](crate::error::Error), exit status 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Sound, or nothing found, and everything was checked: exit status 0.
    Clean,
    /// Something was found: exit status 1.
    Finding,
    /// Undetermined: exit status 3.
    Undetermined,
}

impl Outcome {
    /// The outcome of two checks: a finding outweighs an undetermined one.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Finding, _) | (_, Self::Finding) => Self::Finding,
            (Self::Undetermined, _) | (_, Self::Undetermined) => {
                Self::Undetermined
            }
            (Self::Clean, Self::Clean) => Self::Clean,
        }
    }

    /// The outcome where nothing is as asked for: it is only known not to be
    /// there if everything could be read.
    #[must_use]
    pub fn or_none(self) -> Self {
        match self {
            Self::Clean => Self::Finding,
            other => other,
        }
    }
}

impl From<&Verdict> for Outcome {
    fn from(verdict: &Verdict) -> Self {
        match verdict {
            Verdict::Sound => Self::Clean,
            Verdict::Damaged(_) => Self::Finding,
            Verdict::Undetermined(_) => Self::Undetermined,
        }
    }
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Clean => Self::SUCCESS,
            Outcome::Finding => Self::from(1),
            Outcome::Undetermined => Self::from(3),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_outweighs_what_could_not_be_told() {
        use Outcome::{Clean, Finding, Undetermined};
        assert_eq!(Clean.and(Undetermined), Undetermined);
        assert_eq!(Undetermined.and(Finding), Finding);
        assert_eq!(Finding.and(Undetermined), Finding);
        assert_eq!(Clean.and(Clean), Clean);
        assert_eq!(Clean.or_none(), Finding);
        assert_eq!(Undetermined.or_none(), Undetermined);
    }
}
