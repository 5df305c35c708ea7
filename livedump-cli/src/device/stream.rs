// SPDX-License-Identifier: BSD-2-Clause
//! A minidump that can only be read in order, once: /dev/dumper of a kernel
//! that was started to save it, or a pipe. It goes into a file without a name,
//! and is read from there.

#![forbid(unsafe_code)]

use livedump_vmcore::path::escape_path;
use memdev::addr::PAGE_SIZE;
use memdev::minidump::{HEADER_SIZE, MinidumpHeader};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::statvfs::fstatvfs;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

/// One read.
const PIECE: usize = 1 << 20;
/// What is always left free for others.
const SPARE: u64 = 16 << 20;
/// How long nothing comes before it is looked whether anybody still waits.
const LOOK: u16 = 200;

/// Why a stream could not be read.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The file for it.
    #[error("a file for it in {directory} (TMPDIR)")]
    Temporary {
        /// Where.
        directory: String,
        /// Why not.
        source: io::Error,
    },
    /// There is no room for all of it.
    #[error(
        "{directory} (TMPDIR) has no room for it: {} read, {} free",
        crate::report::human(*read), crate::report::human(*free)
    )]
    Room {
        /// Where.
        directory: String,
        /// Bytes read until then.
        read: u64,
        /// Bytes free.
        free: u64,
    },
    /// It broke off.
    #[error("reading it at offset {at:#x}")]
    Read {
        /// Where.
        at: u64,
        /// Why.
        source: io::Error,
    },
    /// A device of another kind; nothing else of it was read.
    #[error(
        "it does not start with the header of a minidump, as /dev/dumper does"
    )]
    NoMinidump,
    /// There was nothing in it.
    #[error("it is empty")]
    Empty,
    /// The caller does not want it any more.
    #[error("interrupted")]
    Interrupted,
}

/// Whether a file that is named as a minidump has to be read in order. As
/// memory by address a device would be named as an image.
pub(super) fn is_stream(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|meta| {
        let kind = meta.file_type();
        kind.is_fifo() || kind.is_char_device()
    })
}

/// Reads all of `from` into a file without a name.
pub(super) fn spool(
    from: File,
    stop: &dyn Fn() -> bool,
) -> Result<File, StreamError> {
    let is_device =
        from.metadata().is_ok_and(|meta| meta.file_type().is_char_device());
    let spool = Spool::new(std::env::temp_dir())?;
    spool.fill(from, is_device, stop, free)
}

fn free(file: &File) -> io::Result<u64> {
    let stat = fstatvfs(file)?;
    #[allow(clippy::useless_conversion)]
    let blocks = u64::from(stat.blocks_available());
    #[allow(clippy::useless_conversion)]
    Ok(blocks.saturating_mul(u64::from(stat.fragment_size())))
}

struct Spool {
    file: File,
    place: PathBuf,
}

impl Spool {
    fn new(place: PathBuf) -> Result<Self, StreamError> {
        match tempfile::tempfile_in(&place) {
            Ok(file) => Ok(Self { file, place }),
            Err(source) => {
                let directory = escape_path(&place);
                Err(StreamError::Temporary { directory, source })
            }
        }
    }

    fn fill(
        mut self,
        mut from: impl Read + AsFd,
        is_device: bool,
        stop: &dyn Fn() -> bool,
        free: impl Fn(&File) -> io::Result<u64>,
    ) -> Result<File, StreamError> {
        let directory = || escape_path(&self.place);
        let temporary = |source| {
            let directory = directory();
            StreamError::Temporary { directory, source }
        };
        let mut buf = vec![0; PIECE];
        let mut read = 0u64;
        loop {
            // Of a device that is something else, no more than a page.
            let (first, _) = buf.split_at_mut(PAGE_SIZE);
            let part = match read {
                0 if is_device => first,
                _ => buf.as_mut_slice(),
            };
            let got = next(&mut from, part, stop)
                .map_err(|source| StreamError::Read { at: read, source })?;
            let Some(got) = got else { return Err(StreamError::Interrupted) };
            let part = part.get(..got).unwrap_or_default();
            if part.is_empty() {
                break;
            }
            if read == 0 && is_device && !is_minidump(part) {
                return Err(StreamError::NoMinidump);
            }
            let free = free(&self.file).map_err(temporary)?;
            if free < SPARE.saturating_add(part.len() as u64) {
                let directory = directory();
                return Err(StreamError::Room { directory, read, free });
            }
            self.file.write_all(part).map_err(temporary)?;
            read = read.saturating_add(got as u64);
        }
        match read {
            0 => Err(StreamError::Empty),
            _ => Ok(self.file),
        }
    }
}

fn is_minidump(page: &[u8]) -> bool {
    let head = page.first_chunk::<HEADER_SIZE>();
    head.is_some_and(|head| MinidumpHeader::decode(head).is_ok())
}

/// Reads on, if the caller does: a pipe may have nothing for a long time.
fn next(
    from: &mut (impl Read + AsFd),
    buf: &mut [u8],
    stop: &dyn Fn() -> bool,
) -> io::Result<Option<usize>> {
    loop {
        if stop() {
            return Ok(None);
        }
        let mut fds = [PollFd::new(from.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::from(LOOK)) {
            Ok(0) | Err(Errno::EINTR) => continue,
            // What cannot be waited for is read.
            _ => {}
        }
        match from.read(buf) {
            Err(e)
                if matches!(
                    e.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                ) => {}
            got => return got.map(Some),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use livedump_vmcore::chain;
    use std::os::fd::{BorrowedFd, OwnedFd};
    use std::os::unix::fs::FileExt;

    const ROOM: fn(&File) -> io::Result<u64> = |_| Ok(u64::MAX);

    fn spool() -> Spool {
        Spool::new(std::env::temp_dir()).unwrap()
    }

    /// A pipe with `bytes` and nobody who will write more.
    fn pipe(bytes: &[u8]) -> File {
        let (from, to) = nix::unistd::pipe().unwrap();
        File::from(to).write_all(bytes).unwrap();
        File::from(from)
    }

    fn no() -> bool {
        false
    }

    /// Reads pieces, the last of which may be an error.
    struct Pieces(Vec<io::Result<Vec<u8>>>, OwnedFd);

    impl Pieces {
        fn new(pieces: Vec<io::Result<Vec<u8>>>) -> Self {
            Self(pieces, File::open("/dev/null").unwrap().into())
        }
    }

    impl AsFd for Pieces {
        fn as_fd(&self) -> BorrowedFd<'_> {
            self.1.as_fd()
        }
    }

    impl Read for Pieces {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            if self.0.is_empty() {
                return Ok(0);
            }
            let piece = self.0.remove(0)?;
            buf[..piece.len()].copy_from_slice(&piece);
            Ok(piece.len())
        }
    }

    #[test]
    fn all_of_a_stream_is_in_the_file() {
        let bytes: Vec<u8> = (0..60_000u32).map(|n| n as u8).collect();
        let file = spool().fill(pipe(&bytes), false, &no, ROOM).unwrap();
        let mut all = vec![0; bytes.len() + 1];
        assert_eq!(file.read_at(&mut all, 0).unwrap(), bytes.len());
        assert!(all.starts_with(&bytes));
        let pieces = vec![
            Ok(vec![1; 5]),
            Err(io::ErrorKind::Interrupted.into()),
            Ok(vec![2; 5]),
        ];
        let from = Pieces::new(pieces);
        let file = spool().fill(from, false, &no, ROOM).unwrap();
        assert_eq!(file.metadata().unwrap().len(), 10);
    }

    #[test]
    fn a_stream_that_breaks_off_says_where() {
        let failed = io::Error::from_raw_os_error(nix::libc::EIO);
        let from = Pieces::new(vec![Ok(vec![1; 4096]), Err(failed)]);
        let e = spool().fill(from, false, &no, ROOM).unwrap_err();
        assert!(chain(&e).starts_with("reading it at offset 0x1000: "), "{e}");
        let e = spool().fill(pipe(&[]), false, &no, ROOM).unwrap_err();
        assert_eq!(e.to_string(), "it is empty");
    }

    #[test]
    fn no_room_names_the_directory_and_both_figures() {
        let free = |_: &File| Ok((16 << 20) + 100);
        let from = Pieces::new(vec![Ok(vec![1; 100]), Ok(vec![1; 101])]);
        let e = spool().fill(from, false, &no, free).unwrap_err().to_string();
        let place = escape_path(&std::env::temp_dir());
        assert!(e.starts_with(&format!("{place} (TMPDIR) has no room")), "{e}");
        assert!(e.contains("100 B read") && e.contains("16.0 MiB free"), "{e}");
        let e = Spool::new("/nonexistent".into()).err().unwrap();
        let e = chain(&e);
        assert!(e.contains("/nonexistent (TMPDIR): No such file"), "{e}");
    }

    #[test]
    fn of_a_device_that_has_no_minidump_one_page_is_read() {
        let from = Pieces::new(vec![Ok(vec![0; PAGE_SIZE]), Ok(vec![0; 1])]);
        let spool = spool();
        let copy = spool.file.try_clone().unwrap();
        let e = spool.fill(from, true, &no, ROOM).unwrap_err();
        assert!(matches!(e, StreamError::NoMinidump), "{e}");
        assert_eq!(copy.metadata().unwrap().len(), 0);
        assert!(is_stream(Path::new("/dev/null")));
        let tmp = tempfile::NamedTempFile::new().unwrap();
        assert!(!is_stream(tmp.path()));
    }

    #[test]
    fn a_pipe_with_nothing_in_it_is_waited_for_until_the_caller_stops() {
        let (from, _to) = nix::unistd::pipe().unwrap();
        let looks = std::cell::Cell::new(0);
        let stop = || {
            looks.set(looks.get() + 1);
            looks.get() > 2
        };
        let from = File::from(from);
        let e = spool().fill(from, false, &stop, ROOM).unwrap_err();
        assert!(matches!(e, StreamError::Interrupted), "{e}");
    }
}
