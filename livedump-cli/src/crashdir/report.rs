// SPDX-License-Identifier: BSD-2-Clause
//! `core.txt.N`, which is made when the dump has its name already: reading all
//! of it takes longer than a dump may go without one.

use super::{Companion, CrashDir, Error, Saved, Temp, kind};
use nix::sys::stat::SFlag;
use std::fs::File;
use std::os::unix::fs::MetadataExt;

impl CrashDir {
    /// Gives a report of a dump its name, and the link that leads to it, if
    /// the dump is still there: `open` is that, open.
    ///
    /// # Errors
    /// It has no name; nothing of it is left then.
    pub fn name_report(
        &self,
        dump: &Saved,
        open: &File,
        report: Temp<'_>,
    ) -> Result<String, Error> {
        let name = Companion::Report.name(dump.number);
        report.sync()?;
        let _lock = self.lock()?;
        let gone = || Error::Gone { path: self.path(&dump.dump) };
        let stat = self.stat(&dump.dump)?.ok_or_else(gone)?;
        let meta = open.metadata().map_err(|source| Error::Io {
            doing: "measuring",
            path: self.path(&dump.dump),
            source,
        })?;
        // Narrower on some systems.
        #[allow(clippy::useless_conversion)]
        let same = u64::from(stat.st_ino) == meta.ino();
        if kind(&stat) != SFlag::S_IFREG || !same {
            return Err(gone());
        }
        self.check_not_foreign(&name)?;
        report.persist(&name)?;
        self.sync()?;
        if self.links_to(&dump.dump)? {
            self.link_last(Companion::Report, &name)?;
        }
        Ok(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crashdir::{Basename, Finished};
    use memdev::kerneldump::Compression;
    use std::fs;

    fn save(dir: &CrashDir) -> Saved {
        let mut dump = dir.temp().unwrap();
        dump.write_all(b"a dump").unwrap();
        let it = Finished {
            dump,
            stem: Basename::Livecore,
            companions: Vec::new(),
            compression: Compression::None,
            sound: true,
            maxdumps: None,
            info: &|_| String::new(),
        };
        dir.finish(it).unwrap()
    }

    #[test]
    fn a_report_gets_its_name_only_beside_its_dump() {
        let tmp = tempfile::tempdir().unwrap();
        let dir = CrashDir::open(tmp.path()).unwrap();
        let saved = save(&dir);
        let open = dir.open_plain(&saved.dump).unwrap().unwrap();
        let mut temp = dir.temp().unwrap();
        temp.write_all(b"text").unwrap();
        let name = dir.name_report(&saved, &open, temp).unwrap();
        assert_eq!(name, "core.txt.0");
        let link = fs::read_link(tmp.path().join("core.txt.last")).unwrap();
        assert_eq!(link.to_str(), Some("core.txt.0"));

        // Another dump has its name; then none.
        let second = save(&dir);
        let open = dir.open_plain(&second.dump).unwrap().unwrap();
        let path = tmp.path().join(&second.dump);
        fs::remove_file(&path).unwrap();
        fs::write(tmp.path().join("x"), "another").unwrap();
        fs::rename(tmp.path().join("x"), &path).unwrap();
        let gone = |open: &File| {
            let named = dir.name_report(&second, open, dir.temp().unwrap());
            assert!(matches!(named, Err(Error::Gone { .. })), "{named:?}");
        };
        gone(&open);
        fs::remove_file(&path).unwrap();
        gone(&open);
        assert!(!tmp.path().join("core.txt.1").exists());
        let names = dir.names().unwrap();
        assert!(names.iter().all(|n| !n.contains("tmp")), "{names:?}");
    }

    #[test]
    fn what_is_no_file_is_not_replaced() {
        let tmp = tempfile::tempdir().unwrap();
        let dir = CrashDir::open(tmp.path()).unwrap();
        let saved = save(&dir);
        let open = dir.open_plain(&saved.dump).unwrap().unwrap();
        fs::create_dir(tmp.path().join("core.txt.0")).unwrap();
        let named = dir.name_report(&saved, &open, dir.temp().unwrap());
        assert!(matches!(named, Err(Error::InTheWay { .. })), "{named:?}");
        assert!(tmp.path().join(&saved.dump).exists());
    }
}
