// SPDX-License-Identifier: BSD-2-Clause
//! `bounds`, the number of the next dump, and `minfree`, the kilobytes to
//! leave free. Mirrors `getbounds`, `writebounds` and `check_space` of
//! savecore.c, except that what is not a number is an error: going on with 0
//! would replace the dump that has it.

use super::{CrashDir, Error, Temp};
use std::io::Read;

/// The highest number: savecore(8) reads five digits.
pub const MAX_BOUNDS: u32 = 99_999;

impl CrashDir {
    /// The number of the next dump; 0 where there is no `bounds`, and where
    /// `maxdumps` is reached.
    ///
    /// # Errors
    /// `bounds` cannot be read or is not a number.
    pub fn bounds(&self, maxdumps: Option<u32>) -> Result<u32, Error> {
        let wanted = "a number of at most five digits";
        let n = match self.number("bounds", 5, wanted)? {
            None => 0,
            Some(n) => u32::try_from(n).unwrap_or(0),
        };
        Ok(if maxdumps.is_some_and(|max| n >= max) { 0 } else { n })
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

/// The number behind `n`.
pub(super) fn after(n: u32) -> u32 {
    if n >= MAX_BOUNDS { 0 } else { n + 1 }
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
    fn what_is_no_number_is_named() {
        for text in ["", "\n", "-1\n", "12a\n", "123456\n", "1 2\n", "\u{fe}"] {
            let (_tmp, dir) = dir_with("bounds", text);
            let e = dir.bounds(None).unwrap_err().to_string();
            assert!(e.contains("bounds holds"), "{text:?}: {e}");
        }
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
        std::os::unix::fs::symlink("elsewhere", tmp.path().join("bounds"))
            .unwrap();
        let e = dir.bounds(None).unwrap_err().to_string();
        assert!(e.ends_with("bounds is in the way: it is a symbolic link"));
        fs::remove_file(tmp.path().join("bounds")).unwrap();
        nix::unistd::mkfifo(
            &tmp.path().join("bounds"),
            nix::sys::stat::Mode::S_IRWXU,
        )
        .unwrap();
        assert!(matches!(
            dir.bounds(None),
            Err(Error::InTheWay { what: "a FIFO", .. })
        ));
    }

    #[test]
    fn numbers_start_again_behind_the_highest() {
        assert_eq!(after(3), 4);
        assert_eq!(after(MAX_BOUNDS), 0);
    }
}
