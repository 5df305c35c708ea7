// SPDX-License-Identifier: BSD-2-Clause
//! What a dump of ours says of itself in the rest of its first page.

use super::Vmcore;
use super::source::{Source, SourceError};
use memdev::addr::PAGE_SIZE;
use memdev::freeze::{self, FreezeRecord, RecordError};
use memdev::keys::{self, KeysRecord};

/// What it says of an instant.
pub(super) type Instant = Result<Option<FreezeRecord>, RecordError>;

/// The records.
pub(super) fn records(
    from: &dyn Source,
) -> Result<(Instant, Option<KeysRecord>), SourceError> {
    let mut page = [0; PAGE_SIZE];
    from.read_at(0, &mut page)?;
    Ok((FreezeRecord::decode(&page), KeysRecord::decode(&page)))
}

impl Vmcore {
    /// How many keys the kernel had for its own dumps (dumpon(8) `-k`), which
    /// are zeros in this one; `None` where the dump does not say, and may have
    /// them.
    #[must_use]
    pub fn keys_overwritten(&self) -> Option<u32> {
        self.keys.map(|keys| keys.overwritten)
    }

    /// Zeros in place of the records that are understood; what is left of the
    /// page should be zero, too.
    pub(super) fn without_records(&self, page: &mut [u8; PAGE_SIZE]) {
        let instant = (freeze::RECORD_OFFSET, freeze::RECORD_BYTES);
        let keys = (keys::RECORD_OFFSET, keys::RECORD_BYTES);
        for ((at, len), is_there) in
            [(instant, self.is_frozen()), (keys, self.keys.is_some())]
        {
            let record = page.get_mut(at..at.saturating_add(len));
            if let Some(record) = record.filter(|_| is_there) {
                record.fill(0);
            }
        }
    }
}
