// SPDX-License-Identifier: BSD-2-Clause
//! Removes dumps that [`Retention`] says are to go. Only live dumps: those of
//! a panic are savecore's, and nobody has asked for fewer of them.
//!
//! What lies beside a dump goes before it, so whatever is left when this is
//! killed is a whole dump, and goes with the next run.

use super::retention::{Plan, Retention, Soundness, Weight};
use super::{CrashDir, Error, SavedDump};
use std::time::SystemTime;

/// What was removed, or would be.
#[derive(Debug, Default)]
pub struct Pruned {
    /// The dumps that go and why, oldest first.
    pub removed: Vec<(SavedDump, String)>,
    /// Those that stay, newest first.
    pub kept: Vec<SavedDump>,
    /// The number of the one that stays whatever the limits say.
    pub protected: Option<u32>,
    /// What could not be done.
    pub problems: Vec<Error>,
}

impl CrashDir {
    /// Removes what is too much. With `dry_run` only tells.
    ///
    /// # Errors
    /// The directory cannot be read or locked: nothing was removed.
    pub fn prune(
        &self,
        retention: &Retention,
        now: SystemTime,
        dry_run: bool,
    ) -> Result<Pruned, Error> {
        let _lock = match dry_run {
            true => None,
            false => {
                let lock = self.lock()?;
                self.remove_stale()?;
                Some(lock)
            }
        };
        let mut dumps = self.dumps()?;
        dumps.retain(|dump| dump.live);
        let plan = self.plan(retention, &dumps, now);
        let protected = plan.protected.and_then(|i| dumps.get(i));
        let mut pruned = Pruned {
            protected: protected.map(|dump| dump.number),
            ..Pruned::default()
        };
        let mut keep = dumps.iter().map(|_| true).collect::<Vec<_>>();
        for (i, reason) in plan.remove {
            let Some(dump) = dumps.get(i) else { continue };
            let done = match dry_run {
                true => Ok(()),
                false => self.remove_dump(dump),
            };
            match done {
                Ok(()) => {
                    pruned.removed.push((dump.clone(), reason));
                    if let Some(keep) = keep.get_mut(i) {
                        *keep = false;
                    }
                }
                Err(e) => pruned.problems.push(e),
            }
        }
        let mut keep = keep.into_iter();
        dumps.retain(|_| keep.next().unwrap_or(true));
        pruned.kept = dumps;
        if !dry_run && !pruned.removed.is_empty() {
            pruned.problems.extend(self.relink_after(&pruned));
            pruned.problems.extend(self.sync().err());
        }
        Ok(pruned)
    }

    /// The number of the newest live dump that is sound, or of the newest
    /// that nobody can tell about.
    pub(super) fn newest_sound(&self) -> Result<Option<u32>, Error> {
        let mut dumps = self.dumps()?;
        dumps.retain(|dump| dump.live);
        let plan = self.plan(&Retention::default(), &dumps, SystemTime::now());
        let newest = plan.protected.and_then(|i| dumps.get(i));
        Ok(newest.map(|dump| dump.number))
    }

    fn plan(
        &self,
        retention: &Retention,
        dumps: &[SavedDump],
        now: SystemTime,
    ) -> Plan {
        let weights: Vec<_> = dumps
            .iter()
            .map(|dump| Weight { bytes: dump.disk_bytes, age: dump.age(now) })
            .collect();
        retention.plan(&weights, |i| match dumps.get(i) {
            Some(dump) => self.judge(dump),
            None => Soundness::Unknown(String::new()),
        })
    }

    fn remove_dump(&self, dump: &SavedDump) -> Result<(), Error> {
        for name in &dump.beside {
            if self.check_not_foreign(name).is_ok() {
                self.unlink(name)?;
            }
        }
        self.unlink(&dump.name)
    }

    /// Where the links led to a dump that is gone they lead to the newest
    /// one that is left.
    fn relink_after(&self, pruned: &Pruned) -> Vec<Error> {
        let gone = pruned
            .removed
            .iter()
            .any(|(dump, _)| self.links_to(&dump.name).unwrap_or(false));
        if !gone {
            return Vec::new();
        }
        match pruned.kept.first() {
            Some(dump) => {
                let mut files = vec![dump.name.as_str()];
                files.extend(dump.beside.iter().map(String::as_str));
                self.relink(dump.number, &files)
            }
            None => self.relink(0, &[]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vmcore::tests::sample::{Sample, VERSIONS};
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    /// Dumps 0, 1, ... : "s" sound, "w" wrong, "p" of a panic.
    fn directory(kinds: &str) -> tempfile::TempDir {
        let (machine, version) = VERSIONS[2];
        let bytes = Sample::new(machine, version).bytes();
        let tmp = tempfile::tempdir().unwrap();
        let put = |name: String, bytes: &[u8]| {
            fs::write(tmp.path().join(name), bytes).unwrap();
        };
        for (n, kind) in kinds.chars().enumerate() {
            let stem = if kind == 'p' { "vmcore" } else { "livecore" };
            let end = if kind == 'w' { 5000 } else { bytes.len() };
            put(format!("{stem}.{n}"), &bytes[..end]);
            put(format!("info.{n}"), b"");
        }
        put("bounds".into(), format!("{}\n", kinds.len()).as_bytes());
        tmp
    }

    fn link(at: &Path, n: u32) {
        for stem in ["livecore", "info"] {
            let target = format!("{stem}.{n}");
            symlink(target, at.join(format!("{stem}.last"))).unwrap();
        }
    }

    fn prune(at: &Path, keep: u32, dry_run: bool) -> Pruned {
        let retention = Retention { keep: Some(keep), ..Retention::default() };
        let dir = CrashDir::open(at).unwrap();
        let pruned = dir.prune(&retention, SystemTime::now(), dry_run).unwrap();
        assert!(pruned.problems.is_empty(), "{:?}", pruned.problems);
        pruned
    }

    fn listing(at: &Path) -> String {
        let mut names: Vec<_> = fs::read_dir(at)
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names.join(" ")
    }

    #[test]
    fn old_dumps_go_with_what_lies_beside_them() {
        let tmp = directory("sss");
        fs::write(tmp.path().join("kernel.0"), "").unwrap();
        link(tmp.path(), 2);
        let before = listing(tmp.path());
        let told = prune(tmp.path(), 1, true);
        assert_eq!(listing(tmp.path()), before);
        let done = prune(tmp.path(), 1, false);
        assert_eq!(
            listing(tmp.path()),
            "bounds info.2 info.last livecore.2 livecore.last"
        );
        for pruned in [told, done] {
            let numbers: Vec<_> =
                pruned.removed.iter().map(|(d, _)| d.number).collect();
            assert_eq!(numbers, [0, 1]);
            assert_eq!(pruned.protected, Some(2));
            assert_eq!(pruned.kept.len(), 1);
        }
    }

    #[test]
    fn the_links_lead_to_the_newest_that_is_left() {
        let tmp = directory("ssw");
        link(tmp.path(), 2);
        prune(tmp.path(), 1, false);
        assert_eq!(
            fs::read_link(tmp.path().join("livecore.last")).unwrap(),
            Path::new("livecore.1")
        );
        assert_eq!(
            fs::read_link(tmp.path().join("info.last")).unwrap(),
            Path::new("info.1")
        );
    }

    #[test]
    fn dumps_of_a_panic_and_foreign_files_stay() {
        let tmp = directory("psps");
        fs::create_dir(tmp.path().join("livecore.9")).unwrap();
        fs::write(tmp.path().join("notes"), "").unwrap();
        prune(tmp.path(), 1, false);
        assert_eq!(
            listing(tmp.path()),
            "bounds info.0 info.2 info.3 livecore.3 livecore.9 notes \
             vmcore.0 vmcore.2"
        );
    }
}
