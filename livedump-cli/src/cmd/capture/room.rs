// SPDX-License-Identifier: BSD-2-Clause
//! How much a dump may take of the file system that it goes to.

use super::Error;
use super::dump::Capture;
use crate::report::human;
use memdev::addr::PAGE_SIZE;
use memdev::kerneldump::{Compression, HEADER_SIZE};

/// Bytes for what lies beside a dump.
const COMPANION_BYTES: u64 = 64 << 10;

/// What a dump may take of the file system.
#[derive(Clone, Copy)]
pub(super) struct Budget {
    pub(super) bytes: u64,
    /// Bytes that are to stay free, and are not among them.
    pub(super) minfree: u64,
}

impl Capture<'_> {
    /// Whether a dump of `dumpextent` bytes before compression has room, and
    /// how much may be written.
    pub(super) fn room(
        &self,
        dumpextent: Option<u64>,
    ) -> Result<Option<Budget>, Error> {
        let asking = self.asking();
        if self.args.force {
            return Ok(None);
        }
        let free = self.directory.free_bytes()?;
        let minfree = self.directory.minfree_bytes()?;
        let bytes =
            free.saturating_sub(minfree).saturating_sub(COMPANION_BYTES);
        let block = PAGE_SIZE as u64;
        let need = match dumpextent {
            // How far it compresses is not known: only that there is some
            // room, and the budget ends the dump when it is used up.
            Some(_) if asking.compression() != Compression::None => block,
            Some(extent) => extent
                .checked_next_multiple_of(block)
                .unwrap_or(u64::MAX)
                .saturating_add(HEADER_SIZE as u64),
            None if asking.compression() != Compression::None => block,
            None => self.prepared.wired.unwrap_or(block),
        };
        match dumpextent {
            Some(extent) => asking.say(&format!(
                "{} before compression; {} free, minfree: {}",
                human(extent),
                human(free),
                human(minfree)
            )),
            None => asking.say(
                "using the stock live dump: its size is not known in advance, \
                 and it cannot be interrupted",
            ),
        }
        if need > bytes {
            let directory = self.args.directory.clone();
            let compressed = asking.compression() != Compression::None;
            return Err(Error::Room {
                directory,
                need,
                compressed,
                free,
                minfree,
            });
        }
        Ok(Some(Budget { bytes, minfree }))
    }
}
