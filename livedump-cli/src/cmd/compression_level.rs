// SPDX-License-Identifier: BSD-2-Clause
//! `--level`, `--fast`: how much compression may cost.

use crate::quantity;
use clap::builder::ValueHint;
use memdev::ioctl::{GZIP_LEVELS, LEVEL_AUTO};
use std::fmt;

/// How much compression may cost.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct CompressionLevel {
    /// gzip: 1 to 9; zstd: -7 to 19, or auto
    #[arg(
        long,
        value_name = "N",
        allow_negative_numbers = true,
        value_parser = quantity::level,
        value_hint = ValueHint::Other
    )]
    pub level: Option<i16>,
    /// With zstd, level -N [default: 1]
    #[arg(
        long,
        value_name = "N",
        hide = true,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "1",
        conflicts_with = "level",
        value_parser = quantity::number::<i16>(1..=7),
        value_hint = ValueHint::Other
    )]
    pub fast: Option<i16>,
}

impl CompressionLevel {
    /// Whether it is a level of what compresses.
    ///
    /// # Errors
    /// Why it is none.
    pub fn check(self, gzip: bool, zstd: bool) -> Result<(), &'static str> {
        if self.fast.is_some() && !zstd {
            return Err("--fast requires -Z");
        }
        match self.level {
            Some(_) if !gzip && !zstd => Err("--level requires -z or -Z"),
            Some(level) if gzip && !GZIP_LEVELS.contains(&level) => {
                Err("--level: gzip has levels 1 to 9")
            }
            _ => Ok(()),
        }
    }

    /// As the request has it: 0 where nothing was said.
    #[must_use]
    pub fn requested(self) -> i16 {
        self.level.or(self.fast.map(|n| -n)).unwrap_or(0)
    }

    /// Whether it is left to the dump.
    #[must_use]
    pub fn is_auto(self) -> bool {
        self.level == Some(LEVEL_AUTO)
    }
}

/// As it was given.
impl fmt::Display for CompressionLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.level, self.fast) {
            (Some(LEVEL_AUTO), _) => f.write_str("--level auto"),
            (Some(level), _) => write!(f, "--level {level}"),
            (None, Some(n)) => write!(f, "--fast={n}"),
            (None, None) => f.write_str("the default level"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        level: CompressionLevel,
    }

    fn parsed(words: &str) -> Option<CompressionLevel> {
        let words = std::iter::once("livedump").chain(words.split(' '));
        Cli::try_parse_from(words).ok().map(|cli| cli.level)
    }

    #[test]
    fn fast_is_the_level_below_zero() {
        for (words, level) in [
            ("--level 3", 3),
            ("--level -7", -7),
            ("--level=-1", -1),
            ("--level auto", LEVEL_AUTO),
            ("--fast", -1),
            ("--fast=5", -5),
        ] {
            let parsed = parsed(words).unwrap();
            assert_eq!(parsed.requested(), level, "{words}");
        }
        for words in
            ["--level 0", "--level -8", "--level 20", "--fast=0", "--fast=8"]
        {
            assert!(parsed(words).is_none(), "{words}");
        }
        assert!(parsed("--fast --level 1").is_none());
        assert_eq!(CompressionLevel::default().requested(), 0);
    }

    #[test]
    fn a_level_is_one_of_the_codec() {
        let check =
            |words, gzip, zstd| parsed(words).unwrap().check(gzip, zstd);
        assert_eq!(check("--level auto", false, true), Ok(()));
        assert_eq!(check("--level 9", true, false), Ok(()));
        for (words, gzip) in [
            ("--level 10", true),
            ("--level -1", true),
            ("--level auto", true),
            ("--fast", true),
            ("--fast", false),
            ("--level 1", false),
        ] {
            assert!(check(words, gzip, false).is_err(), "{words}");
        }
    }
}
