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
