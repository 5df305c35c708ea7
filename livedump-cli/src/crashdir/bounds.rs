// SPDX-License-Identifier: BSD-2-Clause
//! `bounds`, the number of the next dump, and `minfree`, the kilobytes to
//! leave free. Mirrors `getbounds`, `writebounds` and `check_space` of
//! savecore.c, except where `bounds` is missing or is not a number:
//! savecore(8) continues with 0, which replaces the dump that has it. Here the
//! next number is then one above the highest one that a dump has.

use super::{CrashDir, Error, Temp, names};
use std::io::Read;

/// The highest number: savecore(8) reads five digits.
pub const MAX_BOUNDS: u32 = 99_999;

/// The number of the next dump.
#[derive(Debug)]
pub struct NextNumber {
    /// N.
    pub number: u32,
    /// Why it was not taken from `bounds`; `None` also where there is no
    /// `bounds`.
    pub problem: Option<Error>,
}

impl CrashDir {
    /// The number of the next dump, and why `bounds` does not have it.
    ///
    /// # Errors
    /// `bounds` does not have it and the directory cannot be read.
    pub fn next_number(&self) -> Result<NextNumber, Error> {
        let problem = match self.read_bounds() {
            Ok(Some(number)) => {
                return Ok(NextNumber { number, problem: None });
            }
            Ok(None) => None,
            Err(e) => Some(e),
        };
        let number = self.number_above()?;
        Ok(NextNumber { number, problem })
    }

    /// The number of the next dump, 0 where `maxdumps` is reached. See
    /// [`CrashDir::next_number`].
    ///
    /// # Errors
    /// `bounds` does not have it and the directory cannot be read.
    pub fn bounds(&self, maxdumps: Option<u32>) -> Result<u32, Error> {
        let n = self.next_number()?.number;
        Ok(if maxdumps.is_some_and(|max| n >= max) { 0 } else { n })
    }

    /// The number in `bounds`; `None` if there is no such file.
    pub(super) fn read_bounds(&self) -> Result<Option<u32>, Error> {
        let wanted = "a number of at most five digits";
        let n = self.number("bounds", 5, wanted)?;
        Ok(n.map(|n| u32::try_from(n).unwrap_or(0)))
    }

    /// One above the highest number of the files here. Where that is the
    /// highest there can be, the lowest one that is free.
    fn number_above(&self) -> Result<u32, Error> {
        let mut used: Vec<u32> = self
            .names()?
            .iter()
            .filter_map(|name| names::number_of(name))
            .collect();
        used.sort_unstable();
        match used.last() {
            None => Ok(0),
            Some(&n) if n < MAX_BOUNDS => Ok(after(n)),
            Some(_) => {
                let free =
                    (0..=MAX_BOUNDS).find(|n| used.binary_search(n).is_err());
                Ok(free.unwrap_or(0))
            }
        }
    }

    /// Bytes to leave free; 0 where there is no `minfree`.
    ///
    /// # Errors
    /// `minfree` cannot be read or is not a number.
    pub fn minfree_bytes(&self) -> Result<u64, Error> {
        let wanted = "a number of kilobytes";
        let kilobytes = self.number("minfree", 15, wanted)?.unwrap_or(0);
        Ok(kilobytes.saturating_mul(1024))
    }

    /// Puts the number of the next dump into a temporary file.
    pub(super) fn bounds_temp(&self, next: u32) -> Result<Temp<'_>, Error> {
        let mut temp = self.temp_with_mode(0o644)?;
        temp.write_all(format!("{next}\n").as_bytes())?;
        temp.sync()?;
        Ok(temp)
    }

    /// The number in a small file.
    fn number(
        &self,
        name: &str,
        digits: usize,
        wanted: &'static str,
    ) -> Result<Option<u64>, Error> {
        let Some(file) = self.open_plain(name)? else { return Ok(None) };
        // A link to a file of another user: its text must not be shown.
        self.check_one_link(&file, name)?;
        let mut bytes = Vec::new();
        file.take(64).read_to_end(&mut bytes).map_err(|source| Error::Io {
            doing: "reading",
            path: self.path(name),
            source,
        })?;
        let text = String::from_utf8_lossy(&bytes);
        let text = text.trim_ascii();
        let plain = !text.is_empty()
            && text.len() <= digits
            && text.bytes().all(|b| b.is_ascii_digit());
        match text.parse() {
            Ok(n) if plain => Ok(Some(n)),
            _ => Err(Error::Number {
                path: self.path(name),
                text: text.into(),
                wanted,
            }),
        }
    }
}

/// The number after `n`.
pub(super) fn after(n: u32) -> u32 {
    if n >= MAX_BOUNDS { 0 } else { n.saturating_add(1) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn dir_with(name: &str, text: &str) -> (tempfile::TempDir, CrashDir) {
        let tmp = tempfile::tempdir().unwrap();
        fs::write(tmp.path().join(name), text).unwrap();
        let dir = CrashDir::open(tmp.path()).unwrap();
        (tmp, dir)
    }

    #[test]
    fn bounds_is_read_as_savecore_writes_it() {
        for (text, max, want) in [
            ("0\n", None, 0),
            ("7\n", None, 7),
            ("7", None, 7),
            ("00012\n", None, 12),
            ("99999\n", None, 99_999),
            ("3\n", Some(4), 3),
            ("4\n", Some(4), 0),
            ("9\n", Some(4), 0),
        ] {
            let (_tmp, dir) = dir_with("bounds", text);
            assert_eq!(dir.bounds(max).unwrap(), want, "{text:?} {max:?}");
        }
    }

    #[test]
    fn no_bounds_is_0_and_no_minfree_is_nothing() {
        let (_tmp, dir) = dir_with("other", "");
        assert_eq!(dir.bounds(None).unwrap(), 0);
        assert_eq!(dir.minfree_bytes().unwrap(), 0);
    }

    #[test]
    fn bounds_that_is_no_number_gives_one_above_the_highest() {
        for text in ["", "\n", "-1\n", "12a\n", "123456\n", "1 2\n", "\u{fe}"] {
            let (tmp, dir) = dir_with("bounds", text);
            let next = dir.next_number().unwrap();
            let e = next.problem.unwrap().to_string();
            assert!(e.contains("bounds holds"), "{text:?}: {e}");
            assert_eq!(next.number, 0);
            for name in ["vmcore.7", "info.9", "livecore.8.zst", "core.99"] {
                fs::write(tmp.path().join(name), "").unwrap();
            }
            assert_eq!(dir.bounds(None).unwrap(), 10, "{text:?}");
            assert_eq!(dir.bounds(Some(11)).unwrap(), 10);
            assert_eq!(dir.bounds(Some(10)).unwrap(), 0);
        }
    }

    #[test]
    fn a_directory_without_bounds_goes_on_above_its_dumps() {
        let (tmp, dir) = dir_with("vmcore.0", "");
        let next = dir.next_number().unwrap();
        assert_eq!((next.number, next.problem.is_none()), (1, true));
        fs::write(tmp.path().join("vmcore.99999"), "").unwrap();
        fs::write(tmp.path().join("vmcore.2.zst"), "").unwrap();
        assert_eq!(dir.bounds(None).unwrap(), 1);
    }

    #[test]
    fn minfree_that_is_no_number_is_named() {
        let (_tmp, dir) = dir_with("minfree", "2 GB");
        let e = dir.minfree_bytes().unwrap_err().to_string();
        assert!(e.contains("minfree holds \"2 GB\""), "{e}");
    }

    #[test]
    fn minfree_is_in_kilobytes() {
        let (_tmp, dir) = dir_with("minfree", "2048\n");
        assert_eq!(dir.minfree_bytes().unwrap(), 2048 * 1024);
    }

    #[test]
    fn bounds_that_is_a_link_or_a_fifo_is_not_followed() {
        let (tmp, dir) = dir_with("elsewhere", "5\n");
        let bounds = tmp.path().join("bounds");
        let problem = || {
            let next = dir.next_number().unwrap();
            assert_eq!(next.number, 0);
            next.problem.unwrap().to_string()
        };
        std::os::unix::fs::symlink("elsewhere", &bounds).unwrap();
        let e = problem();
        assert!(e.ends_with("bounds is in the way: it is a symbolic link"));
        fs::remove_file(&bounds).unwrap();
        // Of another user's file not even the text is shown.
        fs::hard_link(tmp.path().join("elsewhere"), &bounds).unwrap();
        let e = problem();
        assert!(e.ends_with("other names (hard links)"), "{e}");
        fs::remove_file(&bounds).unwrap();
        nix::unistd::mkfifo(&bounds, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(problem().ends_with("it is a FIFO"));
    }

    #[test]
    fn numbers_start_again_behind_the_highest() {
        assert_eq!(after(3), 4);
        assert_eq!(after(MAX_BOUNDS), 0);
    }
}
