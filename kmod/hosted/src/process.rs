// SPDX-License-Identifier: BSD-2-Clause
//! Who asks: credentials, descriptors with their rights, signals.

use super::vnode::{FileKind, HostStream, Vnode};
use super::{Caller, HostedKernel};
use livedump_kmod::error::{Errno, Result};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// C: `struct ucred`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// Effective user id.
    pub uid: u32,
    /// Whether it is in a jail.
    pub jailed: bool,
}

impl Credentials {
    /// root, outside any jail.
    pub const ROOT: Self = Self { uid: 0, jailed: false };
    /// root of a jail.
    pub const JAILED_ROOT: Self = Self { uid: 0, jailed: true };
    /// nobody.
    pub const NOBODY: Self = Self { uid: 65534, jailed: false };

    pub(super) fn is_root(self) -> bool {
        self.uid == 0
    }
}

/// What a descriptor stands for. A clone is what dup(2) makes: the same file,
/// the same locks.
#[derive(Clone, Debug)]
#[doc(alias = "struct file")]
pub struct Descriptor {
    vnode: Arc<Vnode>,
    writable: bool,
    path_only: bool,
    cap_write: bool,
    served: bool,
    read_by_caller: bool,
}

impl Descriptor {
    /// An open file, for reading and writing, with all rights.
    #[must_use]
    pub fn new(vnode: Arc<Vnode>) -> Self {
        Self {
            vnode,
            writable: true,
            path_only: false,
            cap_write: true,
            served: false,
            read_by_caller: false,
        }
    }

    /// A file of the host, as `new`.
    ///
    /// # Errors
    /// The host's, when it cannot say what the file is.
    pub fn from_file(file: File) -> std::io::Result<Self> {
        Ok(Self::new(Vnode::from_file(file)?))
    }

    /// A pipe or a socket that a dump may be streamed into.
    #[must_use]
    pub fn of_stream(kind: FileKind, stream: Box<dyn HostStream>) -> Self {
        Self::new(Vnode::of_stream(kind, stream))
    }

    /// Something of a kind that a dump must not go to.
    #[must_use]
    pub fn of_kind(kind: FileKind) -> Self {
        Self::new(Vnode::of_kind(kind))
    }

    /// Opened `O_RDONLY`.
    #[must_use]
    pub fn read_only(self) -> Self {
        Self { writable: false, ..self }
    }

    /// Opened `O_PATH`.
    #[must_use]
    pub fn path_only(self) -> Self {
        Self { path_only: true, writable: false, ..self }
    }

    /// Limited by cap_rights_limit(2) to rights without `CAP_WRITE`.
    #[must_use]
    pub fn without_cap_write(self) -> Self {
        Self { cap_write: false, ..self }
    }

    /// Of a file system that a user process serves. C: fusefs(5).
    #[must_use]
    pub fn served_by_a_process(self) -> Self {
        Self { served: true, ..self }
    }

    /// A pipe whose other end the process has open, too.
    #[must_use]
    pub fn read_by_caller(self) -> Self {
        Self { read_by_caller: true, ..self }
    }

    /// The file behind it.
    #[must_use]
    pub fn vnode(&self) -> &Arc<Vnode> {
        &self.vnode
    }

    pub(super) fn is_writable(&self) -> bool {
        self.writable
    }

    pub(super) fn is_served(&self) -> bool {
        self.served
    }

    pub(super) fn is_read_by_caller(&self) -> bool {
        self.read_by_caller
    }

    pub(super) fn is_regular(&self) -> bool {
        self.vnode.kind() == FileKind::Regular
    }
}

/// A process; its threads share it by reference.
pub struct Process {
    kernel: Arc<HostedKernel>,
    credentials: Credentials,
    pid: i32,
    descriptors: Mutex<BTreeMap<i32, Descriptor>>,
    pending: AtomicBool,
    killed: AtomicBool,
}

// <sys/ioccom.h>
const IOCPARM_MASK: u32 = (1 << 13) - 1;
const IOC_OUT: u32 = 0x4000_0000;
const IOC_IN: u32 = 0x8000_0000;

/// Below these are the standard ones.
const FIRST_FD: i32 = 3;

impl Process {
    pub(super) fn new(
        kernel: Arc<HostedKernel>,
        credentials: Credentials,
        pid: i32,
    ) -> Self {
        Self {
            kernel,
            credentials,
            pid,
            descriptors: Mutex::default(),
            pending: AtomicBool::new(false),
            killed: AtomicBool::new(false),
        }
    }

    /// The kernel it runs on.
    pub fn kernel(&self) -> &HostedKernel {
        &self.kernel
    }

    /// Who it is.
    pub fn credentials(&self) -> Credentials {
        self.credentials
    }

    /// Its number.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Puts `descriptor` at the lowest free number.
    pub fn install(&self, descriptor: Descriptor) -> i32 {
        let mut table = self.descriptors.lock();
        let mut fd = FIRST_FD;
        while table.contains_key(&fd) {
            fd += 1;
        }
        table.insert(fd, descriptor);
        fd
    }

    /// Closes a descriptor. A request that has it keeps its reference.
    ///
    /// # Errors
    /// `EBADF` where there is none.
    pub fn close(&self, fd: i32) -> Result<()> {
        self.descriptors.lock().remove(&fd).map(drop).ok_or(Errno::EBADF)
    }

    /// Sends it a signal that it does not ignore. It stays pending until it
    /// has interrupted a request, or [`Process::take_signal`].
    pub fn signal(&self) {
        self.pending.store(true, Ordering::SeqCst);
        self.kernel.wake();
    }

    /// Whether a signal is waiting.
    pub fn signal_pending(&self) -> bool {
        self.pending.load(Ordering::SeqCst)
            || self.killed.load(Ordering::SeqCst)
    }

    /// Takes the waiting signal, as a handler does.
    pub fn take_signal(&self) -> bool {
        self.pending.swap(false, Ordering::SeqCst)
    }

    /// SIGKILL: a request in progress is interrupted for good, the
    /// descriptors are closed.
    pub fn exit(&self) {
        self.killed.store(true, Ordering::SeqCst);
        self.kernel.wake();
        self.descriptors.lock().clear();
    }

    /// ioctl(2) on `/dev/mem`: copies the argument in, asks the engine, and
    /// copies the answer out unless it failed. As many bytes as the request's
    /// number says; an argument that is shorter is `EFAULT`, as a pointer to
    /// the end of memory would be.
    ///
    /// # Errors
    /// The engine's.
    pub fn ioctl(&self, request: u32, data: &mut [u8]) -> Result<()> {
        let len = (request >> 16 & IOCPARM_MASK) as usize;
        let data = data.get_mut(..len).ok_or(Errno::EFAULT)?;
        let mut inside =
            if request & IOC_IN != 0 { data.to_vec() } else { vec![0; len] };
        let caller = Caller::new(self);
        let steps = self.kernel.faults.steps();
        let result =
            self.kernel.livedump.request(&caller, request, &mut inside);
        self.kernel.request_ended(steps);
        if caller.was_interrupted() {
            self.take_signal();
        }
        if result.is_ok() && request & IOC_OUT != 0 {
            data.copy_from_slice(&inside);
        }
        result
    }

    // getvnode's order: the number, the right, the type, O_PATH.
    pub(super) fn getvnode(&self, fd: i32) -> Result<Descriptor> {
        let table = self.descriptors.lock();
        let d = table.get(&fd).ok_or(Errno::EBADF)?;
        if !d.cap_write {
            return Err(Errno::ENOTCAPABLE);
        }
        if !d.vnode.kind().is_vnode() {
            return Err(Errno::EINVAL);
        }
        if d.path_only {
            return Err(Errno::EBADF);
        }
        Ok(d.clone())
    }

    pub(super) fn getstream(&self, fd: i32) -> Result<Descriptor> {
        let table = self.descriptors.lock();
        let d = table.get(&fd).ok_or(Errno::EBADF)?;
        if !d.cap_write {
            return Err(Errno::ENOTCAPABLE);
        }
        if !d.vnode.kind().is_stream() || d.path_only {
            return Err(Errno::EINVAL);
        }
        Ok(d.clone())
    }
}
