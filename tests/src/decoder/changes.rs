// SPDX-License-Identifier: BSD-2-Clause
//! The list of changed pages, as livedump(5) describes `changed.N`.

use super::Wrong;
use super::bytes::{bytes, le32, le64, zero};

/// Pages that follow one another and have one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Physical address of the first.
    pub start: u64,
    /// How many.
    pub pages: u32,
    /// 0: page tables, 1: kernel map, 2: others.
    pub kind: u32,
}

impl Record {
    /// The first address after them.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.start + u64::from(self.pages) * 4096
    }
}

/// The list.
#[derive(Debug)]
pub struct ChangeList {
    /// Pages that were compared.
    pub compared: u64,
    /// How many had changed, by kind.
    pub changed: [u64; 3],
    /// In the order of their addresses.
    pub records: Vec<Record>,
}

impl ChangeList {
    /// Takes one apart and holds it to all of the format: the counts of the
    /// header are those of the records, and no page is listed twice.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn judge(b: &[u8]) -> Result<Self, Wrong> {
        if bytes::<24>(b, 0)? != *b"livedump changed pages\0\0" {
            return Err("no magic".into());
        }
        if (le32(b, 24)?, le64(b, 32)?) != (1, 4096) {
            return Err("another version, or pages of another size".into());
        }
        let compared = le64(b, 40)?;
        let changed = [le64(b, 48)?, le64(b, 56)?, le64(b, 64)?];
        zero(b, 72, 128)?;
        let n = le32(b, 28)? as usize;
        if b.len() != 128 + 16 * n {
            return Err(format!("{n} records in {} bytes", b.len()));
        }
        let mut records: Vec<Record> = Vec::new();
        let mut counted = [0; 3];
        for at in (128..b.len()).step_by(16) {
            let (start, pages) = (le64(b, at)?, le32(b, at + 8)?);
            let kind = le32(b, at + 12)?;
            let before = records.last().map_or(0, Record::end);
            if pages == 0 || start % 4096 != 0 || start < before {
                return Err(format!(
                    "record at {at:#x}: {pages} at {start:#x}"
                ));
            }
            let count: Option<&mut u64> = counted.get_mut(kind as usize);
            *count.ok_or(format!("kind {kind} at {at:#x}"))? +=
                u64::from(pages);
            records.push(Record { start, pages, kind });
        }
        if counted != changed {
            return Err(format!("{counted:?} listed, {changed:?} counted"));
        }
        Ok(Self { compared, changed, records })
    }
}
