// SPDX-License-Identifier: BSD-2-Clause
//! The file that a guest's memory is in: memory-backend-file with share=on. It
//! is copied while the guest is stopped, which takes less time than QEMU takes
//! to write all of it.

use super::memory::print;
use super::qmp::{Qmp, QmpError};
use super::resume::Resumer;
use super::stream::{self, Part, write_sparse};
use super::wanted::Wanted;
use super::{EVENT, Pause, QemuError, both, claims, resumed, written};
use crate::sleep::sleep;
use livedump_vmcore::ImageFile;
use nix::errno::Errno;
use nix::libc;
use nix::unistd::{Whence, lseek};
use serde_json::{Value, json};
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

/// What is copied at a time.
const PIECE: usize = 1 << 20;
/// Between two attempts to resume.
const RETRY: Duration = Duration::from_millis(20);

/// An open file with a guest's memory.
#[derive(Debug)]
pub(super) struct Backing {
    file: File,
    bytes: u64,
}

impl Backing {
    /// The one file of a guest's memory, if that is how it has it.
    pub(super) fn find(qmp: &mut Qmp, bytes: u64) -> Option<Self> {
        let all = qmp.execute("query-memdev", json!({})).ok()?;
        let [only] = all.as_array()?.as_slice() else { return None };
        let is_shared = only.get("share").and_then(Value::as_bool);
        let size = only.get("size").and_then(Value::as_u64);
        if is_shared != Some(true) || size != Some(bytes) {
            return None;
        }
        let at = format!("/objects/{}", only.get("id")?.as_str()?);
        let mut get = |property: &str| {
            let arguments = json!({ "path": at, "property": property });
            qmp.execute("qom-get", arguments).ok()
        };
        // Older ones always begin with the file.
        let offset = get("offset").and_then(|v| v.as_u64()).unwrap_or(0);
        let path = get("mem-path")?;
        let file = File::options()
            .read(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
            .open(path.as_str()?)
            .ok()?;
        let meta = file.metadata().ok()?;
        let is_it = meta.is_file() && meta.len() == bytes && offset == 0;
        is_it.then_some(Self { file, bytes })
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Takes the memory; none where this file is not the guest's.
    pub(super) fn take(
        &self,
        qmp: &mut Qmp,
        resumer: &Resumer,
        (spool, path): (&File, &Path),
        wanted: Wanted<'_>,
        was_running: bool,
        stop: &dyn Fn() -> bool,
    ) -> Result<(Option<ImageFile>, Pause), QemuError> {
        if was_running {
            resumer.arm().map_err(QemuError::Copy)?;
        }
        let copied =
            self.copy_stopped(qmp, (spool, path), wanted, was_running, stop);
        // It goes on, whatever came of the copy.
        let pause = match was_running {
            true => go_on(qmp),
            false => resumed(qmp, false),
        };
        if pause.is_ok() {
            resumer.disarm();
        }
        both(copied, pause)
    }

    fn copy_stopped(
        &self,
        qmp: &mut Qmp,
        (spool, path): (&File, &Path),
        wanted: Wanted<'_>,
        was_running: bool,
        stop: &dyn Fn() -> bool,
    ) -> Result<Option<ImageFile>, QemuError> {
        if was_running {
            qmp.execute("stop", json!({}))?;
        }
        // The registers are not in the file, nor is what the guest has
        // announced.
        stream::dump(qmp, spool, Part::Registers, stop)?;
        let notes = claims(&written(spool, path)?);
        spool.set_len(0).map_err(QemuError::Copy)?;
        self.copy(spool, stop)?;
        let copy = spool.try_clone().map_err(QemuError::Copy)?;
        let image =
            ImageFile::raw(copy, path, notes).map_err(QemuError::Image)?;
        match is_same(qmp, &image, wanted) {
            true => Ok(Some(image)),
            false => Ok(None),
        }
    }

    /// Copies what of the file is not a hole.
    fn copy(
        &self,
        to: &File,
        stop: &dyn Fn() -> bool,
    ) -> Result<(), QemuError> {
        let mut buf = vec![0; PIECE];
        let mut at = 0u64;
        while at < self.bytes {
            let (start, end) = self.data(at).map_err(QemuError::Copy)?;
            at = start;
            while at < end {
                if stop() {
                    return Err(QemuError::Interrupted);
                }
                let n = end.saturating_sub(at).min(PIECE as u64);
                let n = usize::try_from(n).unwrap_or(PIECE);
                let piece = buf.get_mut(..n).unwrap_or_default();
                self.file
                    .read_exact_at(piece, at)
                    .and_then(|()| write_sparse(to, at, piece))
                    .map_err(QemuError::Copy)?;
                at = at.saturating_add(n as u64);
            }
        }
        to.set_len(self.bytes).map_err(QemuError::Copy)
    }

    /// The next part that is no hole; all the rest where a file system does
    /// not tell.
    fn data(&self, at: u64) -> io::Result<(u64, u64)> {
        let seek = |at: u64, whence| {
            let at = i64::try_from(at).map_err(|_| Errno::EOVERFLOW)?;
            let found = lseek(&self.file, at, whence)?;
            Ok(u64::try_from(found).unwrap_or(0))
        };
        match seek(at, Whence::SeekData) {
            Ok(start) => {
                let end = seek(start, Whence::SeekHole).unwrap_or(self.bytes);
                Ok((start.min(self.bytes), end.min(self.bytes)))
            }
            Err(Errno::ENXIO) => Ok((self.bytes, self.bytes)),
            Err(Errno::EINVAL | Errno::ENOTSUP) => Ok((at, self.bytes)),
            Err(e) => Err(e.into()),
        }
    }
}

/// Whether the file has what QEMU says of the guest's memory, where that changes
/// all the time: another guest's file may have the same name. Not of whole
/// pages: there are registers in some, put by who reads them.
fn is_same(qmp: &mut Qmp, copy: &ImageFile, wanted: Wanted<'_>) -> bool {
    let Some(memory) = wanted.memory(copy) else { return false };
    let Some(words) = wanted.words(&memory) else { return false };
    words.into_iter().all(|pa| {
        let (mut ours, mut theirs) = ([0; 8], [0; 8]);
        memory.image().read(pa, &mut ours).is_ok()
            && print(qmp, pa, &mut theirs).is_some()
            && ours == theirs
    })
}

/// Resumes the guest, which was stopped from here.
fn go_on(qmp: &mut Qmp) -> Result<Pause, QemuError> {
    let until = Instant::now() + EVENT;
    loop {
        match qmp.execute("cont", json!({})) {
            Ok(_) => return resumed(qmp, true),
            // While a dump has yet to end.
            Err(QmpError::Refused { .. }) if Instant::now() < until => {
                sleep(RETRY);
            }
            Err(e) => return Err(e.into()),
        }
    }
}
