// SPDX-License-Identifier: BSD-2-Clause
//! dump-guest-memory into a pipe. QEMU stops the guest before and resumes it
//! afterwards, also when its writes fail because nobody reads any more.

use super::qmp::{Qmp, QmpError, ready};
use super::{EVENT, Pause, QemuError, both, resumed, state, written};
use livedump_vmcore::ImageFile;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::poll::PollFlags;
use nix::unistd::{pipe, read};
use serde_json::{Value, json};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// For QEMU to write some more.
const STALL: Duration = Duration::from_secs(60);
/// How often it is looked whether to go on.
const POLL: Duration = Duration::from_millis(50);
/// What is read at a time.
const PIECE: usize = 1 << 20;
/// What is left out of the file where it is zero.
const BLOCK: usize = 4096;
/// The descriptor's name in QEMU.
const NAME: &str = "livedump";

/// What of memory is dumped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    All,
    /// As little as there may be: the registers are what is wanted.
    Registers,
}

/// Takes a guest's memory.
pub(super) fn take(
    qmp: &mut Qmp,
    (spool, path): (&File, &Path),
    was_running: bool,
    stop: &dyn Fn() -> bool,
) -> Result<(ImageFile, Pause), QemuError> {
    let dumped = dump(qmp, spool, Part::All, stop);
    // It goes on, whatever came of the dump.
    let pause = resumed(qmp, was_running);
    let ((), pause) = both(dumped, pause)?;
    let image = written(spool, path)?;
    Ok((image, pause))
}

/// Has QEMU write into the file.
pub(super) fn dump(
    qmp: &mut Qmp,
    spool: &File,
    part: Part,
    stop: &dyn Fn() -> bool,
) -> Result<(), QemuError> {
    spool.set_len(0).map_err(QemuError::Copy)?;
    let failed = |e: Errno| QemuError::Copy(e.into());
    let (from, to) = pipe().map_err(failed)?;
    for fd in [&from, &to] {
        fcntl(fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).map_err(failed)?;
    }
    // A larger one is faster; the usual one will do.
    #[cfg(target_os = "linux")]
    let _ = fcntl(&from, FcntlArg::F_SETPIPE_SZ(PIECE as i32));
    qmp.getfd(NAME, to.as_fd())?;
    drop(to);
    let mut arguments = json!({
        // The page tables of the guest's are none of QEMU's business.
        "paging": false,
        "protocol": format!("fd:{NAME}"),
        // So that QEMU answers meanwhile.
        "detach": true,
        "format": "elf",
    });
    if part == Part::Registers
        && let Some(map) = arguments.as_object_mut()
    {
        map.insert("begin".into(), json!(0));
        map.insert("length".into(), json!(BLOCK));
    }
    if let Err(e) = qmp.execute("dump-guest-memory", arguments) {
        // Without a dump it is still there.
        let _ = qmp.execute("closefd", json!({ "fdname": NAME }));
        return Err(e.into());
    }
    let copied = copy(from, spool, stop);
    let ended = end(qmp);
    copied.and(ended)
}

/// Copies what comes to its end. Where that fails nobody reads any more, and
/// QEMU's next write fails.
fn copy(
    from: OwnedFd,
    to: &File,
    stop: &dyn Fn() -> bool,
) -> Result<(), QemuError> {
    let mut buf = vec![0; PIECE];
    let mut at = 0u64;
    let mut last = Instant::now();
    loop {
        if stop() {
            return Err(QemuError::Interrupted);
        }
        let failed = |e: Errno| QemuError::Copy(e.into());
        let wanted = PollFlags::POLLIN;
        if !ready(from.as_fd(), wanted, POLL).map_err(failed)? {
            if last.elapsed() > STALL {
                return Err(QemuError::Stalled(STALL));
            }
            continue;
        }
        // Up to a multiple of a block, so that blocks are whole.
        let into = usize::try_from(at % BLOCK as u64).unwrap_or(0);
        let most = PIECE.saturating_sub(into);
        let room = buf.get_mut(..most).unwrap_or_default();
        let n = match read(&from, room) {
            Ok(0) => break,
            Ok(n) => n,
            Err(Errno::EINTR | Errno::EAGAIN) => continue,
            Err(e) => return Err(failed(e)),
        };
        last = Instant::now();
        let piece = buf.get(..n).unwrap_or_default();
        write_sparse(to, at, piece).map_err(QemuError::Copy)?;
        at = at.saturating_add(n as u64);
    }
    to.set_len(at).map_err(QemuError::Copy)
}

/// Writes what is not zero.
pub(super) fn write_sparse(to: &File, at: u64, piece: &[u8]) -> io::Result<()> {
    let mut at = at;
    let mut left = piece;
    while !left.is_empty() {
        let into = usize::try_from(at % BLOCK as u64).unwrap_or(0);
        let first = BLOCK.saturating_sub(into).min(left.len());
        let zero = is_zero(left.get(..first).unwrap_or_default());
        // Blocks that are alike go together.
        let mut n = first;
        while let Some(next) = left.get(n..n.saturating_add(BLOCK))
            && is_zero(next) == zero
        {
            n = n.saturating_add(BLOCK);
        }
        let (part, rest) = left.split_at(n.min(left.len()));
        if !zero {
            to.write_all_at(part, at)?;
        }
        at = at.saturating_add(part.len() as u64);
        left = rest;
    }
    Ok(())
}

fn is_zero(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks::<16>();
    words.iter().all(|word| u128::from_ne_bytes(*word) == 0)
        && rest.iter().all(|&b| b == 0)
}

/// What QEMU says of the dump, once it is over.
fn end(qmp: &mut Qmp) -> Result<(), QemuError> {
    if let Some(event) = qmp.event("DUMP_COMPLETED", EVENT)? {
        return match event.error {
            None => Ok(()),
            Some(text) => Err(QemuError::Failed(text)),
        };
    }
    let answer: Result<Value, QmpError> = qmp.execute("query-dump", json!({}));
    let status = answer?;
    match status.get("status").and_then(Value::as_str) {
        Some("completed") => Ok(()),
        Some(other) => Err(QemuError::Failed(other.to_owned())),
        None => Err(QemuError::Failed(state(qmp)?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_zero_is_a_hole_and_reads_the_same() {
        let file = tempfile::tempfile().unwrap();
        let mut all = vec![0u8; 10 * BLOCK + 17];
        for at in [0, BLOCK - 1, 3 * BLOCK, 7 * BLOCK + 5, 10 * BLOCK + 16] {
            all[at] = 7;
        }
        let mut at = 0;
        for n in [1, 4095, 4096, 3, 9000, 20_000, usize::MAX] {
            let left = &all[at..];
            let n = n.min(left.len());
            write_sparse(&file, at as u64, &left[..n]).unwrap();
            at += n;
        }
        assert_eq!(at, all.len());
        file.set_len(all.len() as u64).unwrap();
        let mut read = vec![9; all.len()];
        file.read_exact_at(&mut read, 0).unwrap();
        assert_eq!(read, all);
    }
}
