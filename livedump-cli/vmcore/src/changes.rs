// SPDX-License-Identifier: BSD-2-Clause
//! `changed.N`: pages that did not hold at the end of a dump what the dump has
//! of them. It is next to the dump, if there is one. Like the dump it
//! may be malicious.

use super::companion::companion_any;
use super::regular;
use memdev::addr::Paddr;
use memdev::changes::{
    BadChanges, HEADER_BYTES, Header, Kind, RECORD_BYTES, Record,
};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Records that are read: more than that are ignored.
const MAX_RECORDS: u64 = 1 << 22;
const MAX_BYTES: u64 = HEADER_BYTES as u64 + MAX_RECORDS * RECORD_BYTES as u64;

/// Why there is no list.
#[derive(Debug, thiserror::Error)]
pub enum ChangesError {
    /// It cannot be read.
    #[error("reading {}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is none.
    #[error("{}", path.display())]
    Bad {
        /// Which.
        path: PathBuf,
        /// Why.
        source: BadChanges,
    },
}

/// A list that is open and not yet read.
#[derive(Debug)]
pub struct ChangesFile {
    /// The file.
    pub file: File,
    path: PathBuf,
}

impl ChangesFile {
    /// That of a dump, if there is one: `changed.N` next to `livecore.N`,
    /// whatever the dump is compressed with.
    ///
    /// # Errors
    /// There is one, and it cannot be opened.
    pub fn open_for(dump: &Path) -> Result<Option<Self>, ChangesError> {
        let Some(path) = companion_any(dump, "changed") else {
            return Ok(None);
        };
        match regular::open(&path) {
            Ok(Some(file)) => Ok(Some(Self { file, path })),
            Ok(None) => Err(ChangesError::Io {
                path,
                source: io::Error::other("not a regular file"),
            }),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(ChangesError::Io { path, source }),
        }
    }

    /// Looks into it.
    ///
    /// # Errors
    /// It cannot be read, or is none.
    pub fn read(self) -> Result<Changes, ChangesError> {
        Changes::read(self.file, &self.path)
    }
}

/// The list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changes {
    /// The file.
    pub path: PathBuf,
    /// Pages that were checked, and how many had changed.
    pub header: Header,
    records: Vec<Record>,
}

impl Changes {
    /// Reads a list.
    ///
    /// # Errors
    /// It cannot be read, or is none.
    pub fn read(file: impl Read, path: &Path) -> Result<Self, ChangesError> {
        let bad = |source| ChangesError::Bad { path: path.into(), source };
        let mut bytes = Vec::new();
        file.take(MAX_BYTES)
            .read_to_end(&mut bytes)
            .map_err(|source| ChangesError::Io { path: path.into(), source })?;
        let (head, rest) = bytes
            .split_first_chunk::<HEADER_BYTES>()
            .ok_or_else(|| bad(BadChanges::Magic))?;
        let header = Header::decode(head).map_err(bad)?;
        let want = usize::try_from(header.records).unwrap_or(usize::MAX);
        let mut records = Vec::new();
        let mut end = 0;
        for (n, bytes) in rest.as_chunks().0.iter().take(want).enumerate() {
            let record = Record::decode(bytes).filter(|r| r.start.0 >= end);
            let nth = u32::try_from(n).unwrap_or(u32::MAX);
            let record = record.ok_or_else(|| bad(BadChanges::Record(nth)))?;
            end = record.end();
            records.push(record);
        }
        if records.len() != want {
            return Err(bad(BadChanges::Truncated));
        }
        Ok(Self { path: path.into(), header, records })
    }

    /// Whether the page at `pa` changed, and what it is.
    #[must_use]
    pub fn changed(&self, pa: Paddr) -> Option<Kind> {
        let after = self.records.partition_point(|r| r.start.0 <= pa.0);
        let record = self.records.get(after.checked_sub(1)?)?;
        (pa.0 < record.end()).then_some(record.kind)
    }

    /// The ranges, ascending.
    #[must_use]
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// One line about it.
    #[must_use]
    pub fn summary(&self) -> String {
        summary(&self.header)
    }
}

/// How many pages changed, and which.
#[must_use]
pub fn summary(header: &Header) -> String {
    let kinds: Vec<_> = Kind::ALL
        .iter()
        .zip(header.changed)
        .map(|(kind, n)| format!("{} {n}", kind.name()))
        .collect();
    let (total, pages) = (header.total(), header.pages);
    format!("{total} of {pages} ({})", kinds.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(records: &[Record], says: u32) -> Vec<u8> {
        let changed = [0, records.len() as u64, 0];
        let header = Header { records: says, pages: 100, changed };
        let mut bytes = header.encode().to_vec();
        for r in records {
            bytes.extend(r.encode());
        }
        bytes
    }

    fn record(start: u64, pages: u32) -> Record {
        Record { start: Paddr(start), pages, kind: Kind::KernelMap }
    }

    fn read(bytes: &[u8]) -> Result<Changes, ChangesError> {
        Changes::read(bytes, Path::new("changed.0"))
    }

    #[test]
    fn pages_are_found_in_their_ranges() {
        let bytes = list(&[record(0x2000, 2), record(0x8000, 1)], 2);
        let list = read(&bytes).unwrap();
        for (pa, want) in [
            (0x1fff, false),
            (0x2000, true),
            (0x3fff, true),
            (0x4000, false),
            (0x8abc, true),
            (0x9000, false),
        ] {
            assert_eq!(list.changed(Paddr(pa)).is_some(), want, "{pa:#x}");
        }
        let want = "2 of 100 (page tables 0, kernel map 2, direct map 0)";
        assert_eq!(list.summary(), want);
    }

    #[test]
    fn hostile_lists_are_refused() {
        let bad = |bytes: &[u8]| match read(bytes) {
            Err(ChangesError::Bad { source, .. }) => source,
            other => panic!("{other:?}"),
        };
        assert_eq!(bad(b""), BadChanges::Magic);
        assert_eq!(bad(&list(&[], u32::MAX)), BadChanges::Truncated);
        let back = [record(0x8000, 1), record(0x2000, 1)];
        assert_eq!(bad(&list(&back, 2)), BadChanges::Record(1));
        let twice = [record(0x2000, 2), record(0x3000, 1)];
        assert_eq!(bad(&list(&twice, 2)), BadChanges::Record(1));
    }
}
