// SPDX-License-Identifier: BSD-2-Clause
//! The `.last` links. Mirrors `symlinks_remove` and the symlinkat(2) calls of
//! savecore.c; each link is replaced at once instead of removed and made.

use super::{Companion, CrashDir, Error, kind, kind_name, names};
use nix::errno::Errno;
use nix::fcntl::readlinkat;
use nix::sys::stat::SFlag;

impl CrashDir {
    /// Lets `.last` links lead to these files of dump `n` and takes away the
    /// other ones. Returns what could not be done; none of it harms a dump,
    /// so the rest is done anyway.
    pub(super) fn update_links(&self, n: u32, files: &[&str]) -> Vec<Error> {
        let number = n.to_string();
        let mut problems = Vec::new();
        // The two lists have the same order.
        for (link, target) in names::set("last").iter().zip(names::set(&number))
        {
            let done = if files.contains(&target.as_str()) {
                self.check_link(link)
                    .and_then(|()| self.replace_link(&target, link))
            } else {
                self.remove_link(link)
            };
            problems.extend(done.err());
        }
        problems
    }

    /// Lets the link of one companion lead to a file.
    pub(super) fn link_last(
        &self,
        companion: Companion,
        name: &str,
    ) -> Result<(), Error> {
        let link = companion.name_of("last");
        self.check_link(&link)?;
        self.replace_link(name, &link)
    }

    /// Refuses to replace what is not a link.
    fn check_link(&self, name: &str) -> Result<(), Error> {
        match self.stat(name)? {
            Some(stat) if kind(&stat) != SFlag::S_IFLNK => {
                Err(Error::InTheWay {
                    path: self.path(name),
                    what: kind_name(kind(&stat)),
                })
            }
            _ => Ok(()),
        }
    }

    /// Whether one of the links leads to a file.
    pub(super) fn links_to(&self, name: &str) -> Result<bool, Error> {
        for link in names::dumps("last") {
            match readlinkat(&self.fd, link.as_str()) {
                Ok(target) if target == name => return Ok(true),
                Ok(_) | Err(Errno::ENOENT | Errno::EINVAL) => {}
                Err(e) => return Err(self.io("reading", &link, e)),
            }
        }
        Ok(false)
    }

    fn remove_link(&self, name: &str) -> Result<(), Error> {
        match self.stat(name)? {
            Some(stat) if kind(&stat) == SFlag::S_IFLNK => self.unlink(name),
            _ => Ok(()),
        }
    }
}
