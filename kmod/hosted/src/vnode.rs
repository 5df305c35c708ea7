// SPDX-License-Identifier: BSD-2-Clause
//! What a descriptor leads to: a file of the host with the locks a FreeBSD
//! vnode has, or one of the things a dump must not be written to.
//!
//! The range lock is held for a whole dump, the vnode lock for one operation,
//! so that stat(2) of the file waits for one block. Files fail on demand.

use super::errno::from_host;
use super::lock::SleepLock;
use livedump_kmod::error::{Errno, Result};
use parking_lot::Mutex;
use std::fs::File;
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What kind of file it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file.
    Regular,
    /// A directory.
    Directory,
    /// A named pipe.
    Fifo,
    /// A character or block device.
    Device,
    /// One end of pipe(2); not a vnode.
    Pipe,
    /// A socket; not a vnode.
    Socket,
}

impl FileKind {
    /// Whether getvnode takes it.
    #[must_use]
    pub fn is_vnode(self) -> bool {
        !matches!(self, Self::Pipe | Self::Socket)
    }

    /// Whether a dump may be streamed into it.
    #[must_use]
    pub fn is_stream(self) -> bool {
        matches!(self, Self::Fifo | Self::Pipe | Self::Socket)
    }

    fn of(file: &File) -> std::io::Result<Self> {
        let t = file.metadata()?.file_type();
        Ok(if t.is_file() {
            Self::Regular
        } else if t.is_dir() {
            Self::Directory
        } else if t.is_fifo() {
            Self::Fifo
        } else if t.is_socket() {
            Self::Socket
        } else {
            Self::Device
        })
    }
}

/// Room that several files share; a file gives its own back when it is
/// emptied. Overwritten bytes count twice.
#[derive(Debug)]
pub struct Disk {
    free: AtomicU64,
}

impl Disk {
    /// A disk with `bytes` free.
    #[must_use]
    pub fn new(bytes: u64) -> Arc<Self> {
        Arc::new(Self { free: AtomicU64::new(bytes) })
    }

    /// Bytes left.
    pub fn free(&self) -> u64 {
        self.free.load(Ordering::Relaxed)
    }

    fn take(&self, bytes: u64) -> bool {
        let order = Ordering::Relaxed;
        self.free.fetch_update(order, order, |n| n.checked_sub(bytes)).is_ok()
    }
}

/// How a file fails. Writes count from 1 when the file was made.
#[derive(Clone, Debug, Default)]
pub struct FileFaults {
    /// This write fails, and writes nothing.
    pub fail_write: Option<(u64, Errno)>,
    /// This write ends half way.
    pub short_write: Option<u64>,
    /// Emptying the file fails.
    pub fail_truncate: Option<Errno>,
    /// `EFBIG` beyond this size.
    pub max_size: Option<u64>,
    /// `ENOSPC` when it is full.
    pub disk: Option<Arc<Disk>>,
}

/// A pipe or a socket of the host's, as whoever passes it writes to it.
pub trait HostStream: std::fmt::Debug + Send + Sync {
    /// Writes all of `data`, or stops as soon as `stop` says so: false.
    ///
    /// # Errors
    /// The host's.
    fn send(
        &self,
        data: &[u8],
        stop: &dyn Fn() -> bool,
    ) -> std::io::Result<bool>;
}

/// A file and its locks. C: `struct vnode`.
#[derive(Debug)]
pub struct Vnode {
    kind: FileKind,
    file: Option<File>,
    stream: Option<Box<dyn HostStream>>,
    range: SleepLock,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    faults: FileFaults,
    writes: u64,
    used: u64,
}

impl Vnode {
    /// A file of the host.
    ///
    /// # Errors
    /// The host's, when it cannot say what the file is.
    pub fn from_file(file: File) -> std::io::Result<Arc<Self>> {
        Ok(Self::make(FileKind::of(&file)?, Some(file)))
    }

    /// Something with no file behind it: writing it is `EIO`.
    #[must_use]
    pub fn of_kind(kind: FileKind) -> Arc<Self> {
        Self::make(kind, None)
    }

    /// A pipe or a socket.
    #[must_use]
    pub fn of_stream(kind: FileKind, stream: Box<dyn HostStream>) -> Arc<Self> {
        let (range, state) = (SleepLock::default(), Mutex::default());
        let (file, stream) = (None, Some(stream));
        Arc::new(Self { kind, file, stream, range, state })
    }

    fn make(kind: FileKind, file: Option<File>) -> Arc<Self> {
        let (range, state) = (SleepLock::default(), Mutex::default());
        Arc::new(Self { kind, file, stream: None, range, state })
    }

    /// What it is.
    pub fn kind(&self) -> FileKind {
        self.kind
    }

    /// From now on it fails like this.
    pub fn set_faults(&self, faults: FileFaults) {
        self.state.lock().faults = faults;
    }

    /// Writes so far, failed ones included.
    pub fn writes(&self) -> u64 {
        self.state.lock().writes
    }

    /// Whether somebody holds the range lock.
    pub fn is_range_locked(&self) -> bool {
        self.range.is_locked()
    }

    /// stat(2) of another process: the size, under the vnode lock.
    ///
    /// # Errors
    /// The host's.
    pub fn size(&self) -> Result<u64> {
        let _state = self.state.lock();
        let meta = self.file()?.metadata().map_err(|e| from_host(&e))?;
        Ok(meta.len())
    }

    /// pwrite(2) of another process: waits for the range lock.
    ///
    /// # Errors
    /// As `Vnode::write`.
    pub fn pwrite(&self, offset: u64, data: &[u8]) -> Result<()> {
        self.range.lock();
        let result = self.write(offset, data);
        self.range.unlock();
        result
    }

    pub(super) fn range(&self) -> &SleepLock {
        &self.range
    }

    fn file(&self) -> Result<&File> {
        self.file.as_ref().ok_or(Errno::EIO)
    }

    pub(super) fn truncate(&self) -> Result<()> {
        let mut state = self.state.lock();
        if let Some(errno) = state.faults.fail_truncate {
            return Err(errno);
        }
        self.file()?.set_len(0).map_err(|e| from_host(&e))?;
        if let Some(disk) = &state.faults.disk {
            disk.free.fetch_add(state.used, Ordering::Relaxed);
        }
        state.used = 0;
        Ok(())
    }

    /// Writes all of `data` to a pipe or a socket, or stops as soon as `stop`
    /// says so: false.
    pub(super) fn send(
        &self,
        data: &[u8],
        stop: &dyn Fn() -> bool,
    ) -> Result<bool> {
        let fail = {
            let mut state = self.state.lock();
            state.writes += 1;
            let nth = state.writes;
            state.faults.fail_write.filter(|f| f.0 == nth)
        };
        if let Some((_, errno)) = fail {
            return Err(errno);
        }
        let stream = self.stream.as_ref().ok_or(Errno::EIO)?;
        stream.send(data, stop).map_err(|e| from_host(&e))
    }

    /// Writes all of `data`; what a failed write leaves in the file is not
    /// defined.
    pub(super) fn write(&self, offset: u64, data: &[u8]) -> Result<()> {
        let mut state = self.state.lock();
        let file = self.file()?;
        state.writes += 1;
        let nth = state.writes;
        let len = data.len() as u64;
        let end = offset
            .checked_add(len)
            .filter(|&end| i64::try_from(end).is_ok())
            .ok_or(Errno::EFBIG)?;
        let faults = &state.faults;
        if let Some((_, errno)) = faults.fail_write.filter(|f| f.0 == nth) {
            return Err(errno);
        }
        if faults.max_size.is_some_and(|max| end > max) {
            return Err(Errno::EFBIG);
        }
        if faults.disk.as_ref().is_some_and(|d| !d.take(len)) {
            return Err(Errno::ENOSPC);
        }
        let short = faults.short_write == Some(nth);
        if faults.disk.is_some() {
            state.used += len;
        }
        let half = data.get(..data.len() / 2).filter(|_| short);
        file.write_all_at(half.unwrap_or(data), offset)
            .map_err(|e| from_host(&e))?;
        if short { Err(Errno::EIO) } else { Ok(()) }
    }
}

#[cfg(test)]
pub(super) fn scratch_file(name: &str) -> File {
    // Tests run beside each other, and some ask for the same name.
    static NTH: AtomicU64 = AtomicU64::new(0);
    let nth = NTH.fetch_add(1, Ordering::Relaxed);
    let path = std::env::temp_dir()
        .join(std::format!("livedump-{}-{nth}-{name}", std::process::id()));
    let file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(&path)
        .unwrap();
    std::fs::remove_file(&path).unwrap();
    file
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vnode(name: &str, faults: FileFaults) -> Arc<Vnode> {
        let v = Vnode::from_file(scratch_file(name)).unwrap();
        v.set_faults(faults);
        v
    }

    #[test]
    fn writes_land_where_they_should_and_truncation_empties() {
        let v = vnode("plain", FileFaults::default());
        v.write(4096, &[7; 100]).unwrap();
        assert_eq!(v.size(), Ok(4196));
        let mut back = vec![0; 4196];
        v.file().unwrap().read_exact_at(&mut back, 0).unwrap();
        assert!(back[..4096].iter().all(|&b| b == 0));
        assert!(back[4096..].iter().all(|&b| b == 7));
        v.truncate().unwrap();
        assert_eq!(v.size(), Ok(0));
        assert_eq!(v.write(u64::MAX, &[1]), Err(Errno::EFBIG));
        assert_eq!(v.write(i64::MAX as u64, &[1]), Err(Errno::EFBIG));
    }

    #[test]
    fn the_write_that_shall_fail_does_and_no_other() {
        let v = vnode(
            "nth",
            FileFaults {
                fail_write: Some((2, Errno::EDQUOT)),
                short_write: Some(3),
                fail_truncate: Some(Errno::EROFS),
                ..FileFaults::default()
            },
        );
        assert_eq!(v.write(0, &[1; 10]), Ok(()));
        assert_eq!(v.write(10, &[1; 10]), Err(Errno::EDQUOT));
        assert_eq!(v.size(), Ok(10));
        assert_eq!(v.write(10, &[1; 10]), Err(Errno::EIO));
        assert_eq!(v.size(), Ok(15));
        assert_eq!(v.write(10, &[1; 10]), Ok(()));
        assert_eq!(v.truncate(), Err(Errno::EROFS));
        assert_eq!(v.writes(), 4);
    }

    #[test]
    fn a_full_disk_has_room_again_when_a_file_is_emptied() {
        let disk = Disk::new(1000);
        let faults = || FileFaults {
            disk: Some(Arc::clone(&disk)),
            max_size: Some(900),
            ..FileFaults::default()
        };
        let (a, b) = (vnode("a", faults()), vnode("b", faults()));
        assert_eq!(a.write(0, &[1; 901]), Err(Errno::EFBIG));
        a.write(0, &[1; 600]).unwrap();
        assert_eq!(b.write(0, &[1; 401]), Err(Errno::ENOSPC));
        b.write(0, &[1; 400]).unwrap();
        assert_eq!(disk.free(), 0);
        a.truncate().unwrap();
        assert_eq!(disk.free(), 600);
    }

    #[test]
    fn the_host_says_what_a_file_is() {
        let dir = File::open(std::env::temp_dir()).unwrap();
        assert_eq!(Vnode::from_file(dir).unwrap().kind(), FileKind::Directory);
        let null = File::open("/dev/null").unwrap();
        assert_eq!(Vnode::from_file(null).unwrap().kind(), FileKind::Device);
        let v = Vnode::of_kind(FileKind::Fifo);
        assert_eq!(v.write(0, &[1]), Err(Errno::EIO));
        assert!(v.kind().is_vnode() && !FileKind::Pipe.is_vnode());
    }

    #[test]
    fn a_host_file_that_refuses_gives_freebsds_errno() {
        let full = File::options().write(true).open("/dev/full");
        if let Ok(full) = full {
            let v = Vnode::from_file(full).unwrap();
            assert_eq!(v.write(0, &[1; 4096]), Err(Errno::ENOSPC));
        }
        let null = File::open("/dev/null").unwrap();
        let v = Vnode::from_file(null).unwrap();
        assert_eq!(v.write(0, &[1]), Err(Errno::EBADF));
    }

    #[test]
    fn another_writer_waits_for_the_range_lock_and_stat_does_not() {
        let v = vnode("range", FileFaults::default());
        v.range().lock();
        std::thread::scope(|s| {
            let writer = s.spawn(|| v.pwrite(0, &[1; 8]));
            assert_eq!(v.size(), Ok(0));
            assert!(!writer.is_finished());
            v.range().unlock();
            assert_eq!(writer.join().unwrap(), Ok(()));
        });
        assert_eq!(v.size(), Ok(8));
        assert!(!v.is_range_locked());
    }
}
