// SPDX-License-Identifier: BSD-2-Clause
//! The dumps in a crash directory, and the verdict on each as far as its
//! structure tells: its `info.N` is about it and does not call it bad, and its
//! sections and pages are as many as they should be.

use super::{CrashDir, Error, InfoText, MAX_BOUNDS, kind, names};
use livedump_vmcore::chain;
use livedump_vmcore::verdict::Verdict;
use livedump_vmcore::{OpenError, Vmcore};
use memdev::kerneldump::Compression;
use nix::sys::stat::SFlag;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A dump and what lies beside it.
#[derive(Clone, Debug)]
pub struct SavedDump {
    /// N.
    pub number: u32,
    /// The dump's name.
    pub name: String,
    /// The names of what lies beside it.
    pub companions: Vec<String>,
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
    /// Whether it is its info.N that says so.
    pub time_recorded: bool,
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
            companions: names,
            live: ["livecore.", "livecore_encrypted."]
                .iter()
                .any(|stem| name.starts_with(stem)),
            name,
            length,
            disk_bytes,
            written,
            time: time.unwrap_or(written),
            time_recorded: time.is_some(),
            info,
        }))
    }

    fn read_info(&self, number: u32) -> Result<Option<InfoText>, Error> {
        let name = names::info(number);
        // What is no file is not followed, and tells nothing.
        let Ok(Some(file)) = self.open_plain(&name) else { return Ok(None) };
        match InfoText::read(&file) {
            Ok(info) => Ok(Some(info)),
            Err(source) => {
                let path = self.path(&name);
                Err(Error::Io { doing: "reading", path, source })
            }
        }
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

    /// The verdict on a dump, as far as its info.N and its structure tell:
    /// its first megabytes are read, and no data page.
    #[must_use]
    pub fn judge(&self, dump: &SavedDump) -> Verdict {
        let core = self.open_dump(dump);
        let file = Stored::new(dump, core.as_ref().ok());
        let info = dump.info.as_ref().map(|info| info.verdict(file));
        let info = match info {
            Some(damaged @ Verdict::Damaged(_)) => return damaged,
            Some(verdict) => verdict,
            None => Verdict::Undetermined(
                "no info.N, and its length is known only after unpacking"
                    .into(),
            ),
        };
        match core {
            Ok(core) => judge_core(&core, info),
            Err(e) => e.verdict(),
        }
    }
}

/// The verdict on the structure of a dump; `info` is what its info.N says,
/// which has to do where only unpacking all of it would tell its length.
#[must_use]
pub fn judge_core(core: &Vmcore, info: Verdict) -> Verdict {
    match core.pages() {
        Err(e) if e.is_environment() => {
            return Verdict::Undetermined(chain(e));
        }
        Err(e) => return Verdict::Damaged(chain(e)),
        Ok(_) => {}
    }
    match (core.source().known_len(), core.expected_len()) {
        (Some(have), Some(want)) if have < want => Verdict::Damaged(format!(
            "length: truncated: {have} bytes, {want} by its header and bitset"
        )),
        (Some(have), Some(want))
            if have > want && !core.is_padding(want, have) =>
        {
            Verdict::Damaged(format!(
                "length: more than the dump: {have} bytes, {want} by its \
                 header and bitset"
            ))
        }
        (Some(_), _) => Verdict::Sound,
        // Its length was compared with info.N, which was written with it.
        (None, _) => info,
    }
}

/// Zeros that fill the last block of a dump: as many there may be.
const MAX_PADDING: u64 = 64 << 10;

/// What info.N is compared with.
#[derive(Clone, Copy, Debug)]
pub struct Stored {
    /// Bytes of the dump's file.
    pub length: u64,
    /// How it is compressed.
    pub compression: Compression,
    /// Bytes it should unpack to, where that is known.
    pub unpacked: Option<u64>,
}

impl Stored {
    /// A dump of a crash directory, which opens or does not.
    #[must_use]
    pub fn new(dump: &SavedDump, core: Option<&Vmcore>) -> Self {
        let by_name = || compression_in(&dump.name);
        Self {
            length: dump.length,
            compression: core.map_or_else(by_name, Vmcore::compression),
            unpacked: core.and_then(Vmcore::expected_len),
        }
    }
}

impl InfoText {
    /// What it says about a dump.
    #[must_use]
    pub fn verdict(&self, file: Stored) -> Verdict {
        // A dump that was compressed or unpacked since by somebody.
        let now = file.compression.name();
        let other = self.compression.as_ref().is_some_and(|c| c != now);
        let length = match file.unpacked {
            Some(unpacked) if other => unpacked,
            None if other => {
                return Verdict::Undetermined(format!(
                    "info.N describes another file: this one is {now}"
                ));
            }
            _ => file.length,
        };
        let more = self.dumplength.and_then(|said| length.checked_sub(said));
        match (self.dumplength, self.status.as_deref()) {
            (_, Some("bad")) => Verdict::Damaged(match &self.problem {
                Some(problem) => {
                    format!("info.N has Dump Status: bad: {problem}")
                }
                None => "info.N has Dump Status: bad".into(),
            }),
            (None, _) => Verdict::Undetermined(
                "info.N does not have the dump's length".into(),
            ),
            (Some(said), _) if more.is_none_or(|n| n > MAX_PADDING) => {
                Verdict::Damaged(format!(
                    "info.N has Dump Length: {said}, the dump has {length} \
                     bytes"
                ))
            }
            (Some(_), _) => Verdict::Sound,
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
    fn a_dump_that_info_describes_otherwise_is_damaged() {
        let tmp = tempfile::tempdir().unwrap();
        let dir = CrashDir::open(tmp.path()).unwrap();
        fs::write(tmp.path().join("livecore.0"), "x").unwrap();
        for (info, words) in [
            ("  Dump Length: 7\n", "Dump Length: 7,"),
            ("  Dump Length: 1\n  Dump Status: bad\n", "bad"),
            ("  Dump Length: 1\n  Dump Status: good\n", "it has 1 byte, fewer"),
        ] {
            fs::write(tmp.path().join("info.0"), info).unwrap();
            let dumps = dir.dumps().unwrap();
            match dir.judge(&dumps[0]) {
                Verdict::Damaged(why) => assert!(why.contains(words), "{why}"),
                other => panic!("{info}: {other:?}"),
            }
        }
    }
}
