// SPDX-License-Identifier: BSD-2-Clause
//! A checkpoint of bhyve's: FILE has the guest's memory, FILE.meta says how
//! much, in JSON, and FILE.kern has its CPUs and devices. bhyve: `vm_checkpoint`
//! of snapshot.c.
//!
//! ```text
//!  FILE  memory below 3 GiB, then memory from 4 GiB on
//! ```
//!
//! FILE.kern has neither a version nor a description; its layout depends on the
//! host's release and on the maker of its CPU. It is not read.

use super::raw::Raw;
use super::{Claims, Format, ImageError, MemoryImage, Run};
use crate::MemoryError;
use crate::regular;
use crate::source::{Source, SourceError};
use memdev::addr::{PAGE_SIZE, Paddr};
use memdev::arch::Machine;
use serde::Deserialize;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Memory below the hole. C: `VM_LOWMEM_LIMIT`.
const LOW: u64 = 3 << 30;
/// A description is some kilobytes; of one that is larger no more is read.
const MAX_META: usize = 1 << 20;
/// Physical addresses have 52 bits at most.
const MAX_MEMORY: u64 = 1 << 52;

/// The start of FILE.meta; the rest is of FILE.kern.
#[derive(Debug, Deserialize)]
struct Meta {
    #[serde(rename = "basic metadata")]
    basic: Basic,
}

#[derive(Debug, Deserialize)]
struct Basic {
    memsize: u64,
    #[serde(default)]
    ncpus: u64,
}

/// The description of a checkpoint, which is open.
#[derive(Debug)]
pub struct CheckpointFile {
    file: File,
}

impl AsRef<File> for CheckpointFile {
    fn as_ref(&self) -> &File {
        &self.file
    }
}

impl CheckpointFile {
    /// Opens what may be the description of the checkpoint at `path`.
    #[must_use]
    pub fn beside(path: &Path) -> Option<Self> {
        let mut name = path.as_os_str().to_owned();
        name.push(".meta");
        let file = regular::open(&PathBuf::from(name)).ok().flatten()?;
        Some(Self { file })
    }

    /// `None` where it is of something else.
    fn read(&self) -> Option<Basic> {
        let mut text = vec![0; MAX_META];
        let mut got = 0usize;
        while let Some(rest) = text.get_mut(got..).filter(|r| !r.is_empty()) {
            match self.file.read_at(rest, got as u64) {
                Ok(0) => break,
                Ok(n) => got = got.saturating_add(n),
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => return None,
            }
        }
        let text = text.get(..got)?;
        Some(serde_json::from_slice::<Meta>(text).ok()?.basic)
    }
}

/// The memory of a checkpoint.
#[derive(Debug)]
pub struct Checkpoint {
    memory: Raw,
    claims: Claims,
}

impl Checkpoint {
    /// The memory in `source`, which has `len` bytes, if `meta` describes it.
    ///
    /// # Errors
    /// It does, and that cannot be.
    pub fn new(
        source: Arc<dyn Source>,
        len: u64,
        meta: &CheckpointFile,
    ) -> Result<Option<Self>, ImageError> {
        let Some(Basic { memsize, ncpus }) = meta.read() else {
            return Ok(None);
        };
        if memsize == 0
            || memsize > MAX_MEMORY
            || !memsize.is_multiple_of(PAGE_SIZE as u64)
        {
            return Err(ImageError::Unsupported(format!(
                "its FILE.meta has a memsize of {memsize:#x}, which no guest \
                 has"
            )));
        }
        if len < memsize {
            let part = "memory, by FILE.meta,";
            return Err(ImageError::Truncated { part, end: len });
        }
        let memory = Raw::new(source, memsize).with_hole(LOW);
        let mut claims =
            Claims { machine: Some(Machine::Amd64), ..Claims::default() };
        claims.notes.push(format!(
            "registers of its {ncpus} vCPUs are not read: FILE.kern has no \
             version"
        ));
        if len > memsize {
            claims.notes.push(format!(
                "it has {len:#x} bytes, memsize in FILE.meta is {memsize:#x}"
            ));
        }
        Ok(Some(Self { memory, claims }))
    }
}

impl MemoryImage for Checkpoint {
    fn format(&self) -> Format {
        Format::Bhyve
    }

    fn claims(&self) -> &Claims {
        &self.claims
    }

    fn next_run(&self, from: Paddr) -> Result<Option<Run>, SourceError> {
        self.memory.next_run(from)
    }

    fn read(&self, pa: Paddr, buf: &mut [u8]) -> Result<(), MemoryError> {
        self.memory.read(pa, buf)
    }

    fn end(&self) -> u64 {
        self.memory.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain;
    use crate::image::raw::HIGH;
    use crate::source::Plain;

    /// As bhyve writes it.
    fn text(memsize: &str) -> String {
        format!(
            "{{\"basic metadata\": {{\n  \"ncpus\": 2,\n  \"vmname\": \
             \"guest\",\n  \"memsize\": {memsize},\n  \"memflags\": 0\n}}, \
             \"kern_structs\": [{{\"device\": \"vhpet\", \"size\": 240, \
             \"file_offset\": 0}}], \"devices\": []}}\n"
        )
    }

    fn meta(text: &str) -> CheckpointFile {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(text.as_bytes(), 0).unwrap();
        CheckpointFile { file }
    }

    fn open(len: u64, text: &str) -> Result<Option<Checkpoint>, ImageError> {
        let file = tempfile::tempfile().unwrap();
        file.set_len(len).unwrap();
        for at in [0, LOW] {
            if at < len {
                file.write_all_at(&(at + 1).to_le_bytes(), at).unwrap();
            }
        }
        let source = Arc::new(Plain::new(Arc::new(file), len));
        Checkpoint::new(source, len, &meta(text))
    }

    fn word(image: &Checkpoint, pa: u64) -> Option<u64> {
        let mut bytes = [0; 8];
        image.read(Paddr(pa), &mut bytes).ok()?;
        Some(u64::from_le_bytes(bytes))
    }

    #[test]
    fn memory_beyond_three_gigabytes_goes_on_at_four() {
        let len = LOW + (1 << 20);
        let image = open(len, &text(&len.to_string())).unwrap().unwrap();
        assert_eq!(image.format(), Format::Bhyve);
        assert_eq!((image.end(), word(&image, 0)), (HIGH + (1 << 20), Some(1)));
        assert_eq!(word(&image, HIGH), Some(LOW + 1));
        assert_eq!(word(&image, LOW), None);
        let run = |at| image.next_run(Paddr(at)).unwrap();
        assert_eq!(run(0), Some(Run { start: 0, end: LOW }));
        let end = HIGH + (1 << 20);
        assert_eq!(run(LOW), Some(Run { start: HIGH, end }));
        let small = open(8 << 20, &text("8388608")).unwrap().unwrap();
        assert_eq!(small.end(), 8 << 20);
        assert!(small.claims.notes[0].contains("2 vCPUs"));
    }

    #[test]
    fn a_description_that_is_none_is_left_alone_and_a_wrong_one_named() {
        for other in ["", "{", "[]", "{\"memsize\": 4096}", "\u{0}", "7"] {
            assert!(open(8192, other).unwrap().is_none(), "{other:?}");
        }
        for odd in ["-1", "1e99", "\"x\"", "null", "18446744073709551616"] {
            assert!(open(8192, &text(odd)).unwrap().is_none(), "{odd}");
        }
        let deep = "[".repeat(100_000);
        assert!(open(8192, &deep).unwrap().is_none());
        for wrong in ["0", "4095", "18446744073709547520"] {
            let e = chain(&open(8192, &text(wrong)).unwrap_err());
            assert!(e.contains("memsize"), "{e}");
        }
        let e = open(8192, &text("12288")).unwrap_err();
        assert!(chain(&e).contains("it ends at 0x2000"), "{e}");
        let long = open(12288, &text("8192")).unwrap().unwrap();
        assert!(long.claims.notes[1].contains("0x3000"), "{long:?}");
        assert_eq!(long.end(), 8192);
    }
}
