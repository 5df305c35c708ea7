// SPDX-License-Identifier: BSD-2-Clause
//! The dumps that lie in a crash directory, and whether each is sound as far
//! as a short look tells: its `info.N` is about it and calls it good, and its
//! sections and pages are as many as they should be.

use super::retention::Soundness;
use super::{CrashDir, Error, InfoText, MAX_BOUNDS, kind, names};
use crate::error::chain;
use crate::vmcore::{OpenError, Vmcore};
use memdev::kerneldump::Compression;
use nix::sys::stat::SFlag;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::io::{ErrorKind, Read};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// As long as an info.N may be.
const INFO_BYTES: u64 = 64 << 10;

/// A dump and what lies beside it.
#[derive(Clone, Debug)]
pub struct SavedDump {
    /// N.
    pub number: u32,
    /// The dump's name.
    pub name: String,
    /// The names of what lies beside it.
    pub beside: Vec<String>,
    /// Whether it is a live dump, and not savecore's dump of a panic.
    pub live: bool,
    /// Bytes of the dump's file.
    pub length: u64,
    /// Bytes of disk that all its files take.
    pub disk_bytes: u64,
    /// When its file was last written, which is what puts dumps in order.
    pub written: SystemTime,
    /// When it was taken: as its info.N says, or when it was last written.
    pub time: SystemTime,
    /// Its info.N.
    pub info: Option<InfoText>,
}

impl SavedDump {
    /// How old it is; one from the future is new.
    #[must_use]
    pub fn age(&self, now: SystemTime) -> Duration {
        now.duration_since(self.time).unwrap_or_default()
    }
}

impl CrashDir {
    /// The dumps, the newest first: by when they were written, which
    /// [`CrashDir::finish`] sees to, and where that is the same by their
    /// numbers, of which the one below `bounds` was given last.
    ///
    /// # Errors
    /// The directory cannot be read, or `bounds` is not a number.
    pub fn dumps(&self) -> Result<Vec<SavedDump>, Error> {
        let next = self.bounds(None)?;
        let mut found: BTreeMap<u32, Vec<(String, bool)>> = BTreeMap::new();
        for name in self.names()? {
            let Some(number) = number_in(&name) else { continue };
            let number_text = number.to_string();
            if !names::set(&number_text).contains(&name) {
                continue;
            }
            let dump = names::dumps(&number_text).contains(&name);
            found.entry(number).or_default().push((name, dump));
        }
        let mut dumps = Vec::new();
        for (number, files) in found {
            dumps.extend(self.dump_of(number, files)?);
        }
        // Those at or above it are of the round before this one.
        dumps.sort_by_key(|dump: &SavedDump| {
            let n = dump.number;
            let back = match next.checked_sub(n).filter(|back| *back > 0) {
                Some(back) => back,
                None => next.saturating_add(MAX_BOUNDS + 1).saturating_sub(n),
            };
            (Reverse(dump.written), back)
        });
        Ok(dumps)
    }

    /// When the newest dump was written, whatever it is. Opens none.
    pub(super) fn last_written(&self) -> Result<Option<SystemTime>, Error> {
        let mut newest = None;
        for name in self.names()? {
            let number = number_in(&name).map(|number| number.to_string());
            if number.is_none_or(|n| !names::dumps(&n).contains(&name)) {
                continue;
            }
            let stat = self.stat(&name)?;
            let file = stat.filter(|stat| kind(stat) == SFlag::S_IFREG);
            #[allow(clippy::useless_conversion)]
            let written = file.map(|stat| {
                (i64::from(stat.st_mtime), i64::from(stat.st_mtime_nsec))
            });
            newest = newest.max(written);
        }
        Ok(newest.map(moment))
    }

    /// The dump among the files with one number. Two of them have met where
    /// a run was killed between naming the new one and removing the old one:
    /// then it is the one that was written last.
    fn dump_of(
        &self,
        number: u32,
        mut files: Vec<(String, bool)>,
    ) -> Result<Option<SavedDump>, Error> {
        files.sort();
        let mut disk_bytes = 0u64;
        let mut names = Vec::new();
        let mut newest = None;
        for (name, is_dump) in files {
            let Some(stat) = self.stat(&name)? else { continue };
            // What is no file is nobody's that we know.
            if kind(&stat) != SFlag::S_IFREG {
                continue;
            }
            let blocks = u64::try_from(stat.st_blocks).unwrap_or(0);
            disk_bytes = disk_bytes.saturating_add(blocks.saturating_mul(512));
            #[allow(clippy::useless_conversion)]
            let written =
                (i64::from(stat.st_mtime), i64::from(stat.st_mtime_nsec));
            let length = u64::try_from(stat.st_size).unwrap_or(0);
            if is_dump {
                newest = newest.max(Some((written, name.clone(), length)));
            }
            names.push(name);
        }
        let Some((written, name, length)) = newest else { return Ok(None) };
        let written = moment(written);
        names.retain(|other| *other != name);
        let info = self.read_info(number)?;
        let said = info.as_ref().and_then(|info| info.dumptime);
        let time = said.and_then(|seconds| {
            UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
        });
        Ok(Some(SavedDump {
            number,
            beside: names,
            live: name.starts_with("livecore."),
            name,
            length,
            disk_bytes,
            written,
            time: time.unwrap_or(written),
            info,
        }))
    }

    fn read_info(&self, number: u32) -> Result<Option<InfoText>, Error> {
        let name = names::info(number);
        // What is no file is not followed, and tells nothing.
        let Ok(Some(file)) = self.open_plain(&name) else { return Ok(None) };
        let mut bytes = Vec::new();
        file.take(INFO_BYTES).read_to_end(&mut bytes).map_err(|source| {
            Error::Io { doing: "reading", path: self.path(&name), source }
        })?;
        Ok(Some(InfoText::parse(&bytes)))
    }

    /// Opens a dump of this directory for reading.
    ///
    /// # Errors
    /// Why it is none.
    pub fn open_dump(&self, dump: &SavedDump) -> Result<Vmcore, OpenError> {
        let path = self.path(&dump.name);
        let name = path.display().to_string();
        match self.open_plain(&dump.name) {
            Ok(Some(file)) => Vmcore::from_file(file, &path),
            Ok(None) => Err(OpenError::Io {
                path: name,
                source: ErrorKind::NotFound.into(),
            }),
            // Also for a link, which is not followed.
            Err(Error::Io { source, .. })
                if source.kind() == ErrorKind::PermissionDenied =>
            {
                Err(OpenError::Io { path: name, source })
            }
            Err(_) => Err(OpenError::NotRegular { path: name }),
        }
    }

    /// Whether a dump is sound, as far as its info.N and the first megabytes
    /// of it tell.
    #[must_use]
    pub fn judge(&self, dump: &SavedDump) -> Soundness {
        if let Some(why) = dump.info.as_ref().and_then(|i| i.against(dump)) {
            return Soundness::Wrong(why);
        }
        match self.open_dump(dump) {
            Ok(core) => judge_core(&core, dump),
            Err(e @ (OpenError::Encrypted { .. } | OpenError::Io { .. })) => {
                Soundness::Unknown(chain(&e))
            }
            Err(e) => Soundness::Wrong(chain(&e)),
        }
    }
}

fn judge_core(core: &Vmcore, dump: &SavedDump) -> Soundness {
    if let Err(e) = core.pages() {
        return Soundness::Wrong(chain(e));
    }
    match (core.source().known_len(), core.expected_len()) {
        (Some(have), Some(want)) if have < want => Soundness::Wrong(format!(
            "it has {have} bytes, by its header and bitset {want}"
        )),
        (Some(_), _) => Soundness::Sound,
        // Its length was held against info.N, which was written with it.
        (None, _) if dump.info.is_some() => Soundness::Sound,
        (None, _) => Soundness::Unknown(
            "there is no info.N, and it is compressed without an index".into(),
        ),
    }
}

impl InfoText {
    /// What it says that its dump is not, or that the dump is not good.
    fn against(&self, dump: &SavedDump) -> Option<String> {
        match self.dumplength {
            Some(said) if said != dump.length => Some(format!(
                "info.{} tells of {said} bytes, it has {}",
                dump.number, dump.length
            )),
            _ if self.status.as_deref() == Some("bad") => {
                Some(format!("info.{} calls it bad", dump.number))
            }
            _ => None,
        }
    }
}

fn moment((seconds, nanoseconds): (i64, i64)) -> SystemTime {
    let seconds = u64::try_from(seconds).unwrap_or(0);
    let nanoseconds = u64::try_from(nanoseconds).unwrap_or(0);
    let then = Duration::from_secs(seconds)
        .saturating_add(Duration::from_nanos(nanoseconds));
    UNIX_EPOCH.checked_add(then).unwrap_or(UNIX_EPOCH)
}

/// The N of `livecore.N.zst`.
fn number_in(name: &str) -> Option<u32> {
    name.split('.').find_map(|part| {
        let digits =
            part.len() <= 5 && part.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| part.parse().ok()).flatten()
    })
}

/// What a dump is compressed with, by its name.
#[must_use]
pub fn compression_in(name: &str) -> Compression {
    match name.rsplit_once('.') {
        Some((_, "gz")) => Compression::Gzip,
        Some((_, "zst")) => Compression::Zstd,
        _ => Compression::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// Written in the order they are named in, or all at once.
    fn names(files: &[&str], bounds: &str, step: u64) -> Vec<String> {
        let tmp = tempfile::tempdir().unwrap();
        for (i, name) in files.iter().enumerate() {
            let file = fs::File::create(tmp.path().join(name)).unwrap();
            let then = Duration::from_secs(1_700_000_000 + i as u64 * step);
            file.set_modified(UNIX_EPOCH + then).unwrap();
        }
        if !bounds.is_empty() {
            fs::write(tmp.path().join("bounds"), bounds).unwrap();
        }
        let dir = CrashDir::open(tmp.path()).unwrap();
        dir.dumps().unwrap().into_iter().map(|d| d.name).collect()
    }

    #[test]
    fn the_newest_comes_first_by_its_time_or_else_by_its_number() {
        let files = ["livecore.0", "livecore.1.gz", "livecore.2.zst"];
        let [zero, one, two] = files;
        assert_eq!(names(&[two, zero, one], "3\n", 1), [one, zero, two]);
        assert_eq!(names(&files, "3\n", 0), [two, one, zero]);
        assert_eq!(names(&files, "1\n", 0), [zero, two, one]);
        assert_eq!(names(&files, "", 0), [two, one, zero]);
        let ends = ["livecore.0", "livecore.99999"];
        assert_eq!(names(&ends, "1\n", 0), ends);
    }

    #[test]
    fn what_is_no_dump_is_none() {
        let files = [
            "info.1",
            "livecore.x",
            "livecore.000001",
            "livecore.01",
            "livecore.1.xz",
            "livecore.tmp.123456",
            "livecore.tmp.info.1.2",
            "core.7",
        ];
        assert_eq!(names(&files, "9\n", 1), [""; 0]);
        let all = ["vmcore.1", "info.1", "textdump.tar.2.gz"];
        assert_eq!(names(&all, "3\n", 1), ["textdump.tar.2.gz", "vmcore.1"]);
    }

    #[test]
    fn a_dump_that_info_tells_something_else_of_is_wrong() {
        let tmp = tempfile::tempdir().unwrap();
        let dir = CrashDir::open(tmp.path()).unwrap();
        fs::write(tmp.path().join("livecore.0"), "x").unwrap();
        for (info, words) in [
            ("  Dump Length: 7\n", "7 bytes"),
            ("  Dump Length: 1\n  Dump Status: bad\n", "bad"),
            ("  Dump Length: 1\n  Dump Status: good\n", "ends after 1 bytes"),
        ] {
            fs::write(tmp.path().join("info.0"), info).unwrap();
            let dumps = dir.dumps().unwrap();
            match dir.judge(&dumps[0]) {
                Soundness::Wrong(why) => assert!(why.contains(words), "{why}"),
                other => panic!("{info}: {other:?}"),
            }
        }
    }
}
