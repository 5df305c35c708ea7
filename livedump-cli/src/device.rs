// SPDX-License-Identifier: BSD-2-Clause
//! Where a dump comes from: the kernel's `/dev/mem`, or a hosted machine.
//!
//! Both answer the same requests with the same errno (FreeBSD's, on every
//! host), so a capture does not know which of them it talks to.

#![allow(unsafe_code)]

mod guest;
mod hosted;
mod machine;
mod opening;
mod pipe;
mod request;
mod rescue;
mod stream;

pub use guest::GuestDevice;
pub use hosted::{Facts, HostedDevice, no_facts};
pub use machine::{MachineSpec, ModelSpec, SpecError};
pub use pipe::Pipe;
pub use request::{Request, can_freeze};
pub use rescue::{Rescue, rescue};

use crate::bhyve;
use crate::host;
use crate::sandbox::Purpose;
use livedump_vmcore::verdict::Verdict;
use memdev::addr::PAGE_SIZE;
use memdev::errno::Errno;
use memdev::freeze::{FreezeRecord, MEM_MINIDUMP2, MemMinidumpArg2};
use memdev::ioctl::{
    FLAG_STREAM, MEM_KERNELDUMP, MEM_MINIDUMP, MEM_MINIDUMP_STATUS,
    MemLivedumpArg, MemMinidumpArg, MemMinidumpStatus, NO_FD,
};
use nix::libc;
use nix::sys::pthread::{Pthread, pthread_kill, pthread_self};
use nix::sys::signal::{
    SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction,
};
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::{Mutex, PoisonError};

/// The module's own node.
const DEV_LIVEDUMP: &str = "/dev/livedump";
/// The node of the stock facility, which the module takes over.
const DEV_MEM: &str = "/dev/mem";

/// The requests.
pub trait Device: Send + Sync {
    /// Its name, for messages and info.N.
    fn name(&self) -> &str;

    /// `MEM_MINIDUMP` into `file`; `None` goes with `FLAG_ESTIMATE`.
    ///
    /// # Errors
    /// The kernel's; `ENOTTY` where the module is not loaded.
    fn minidump(
        &self,
        arg: &mut MemMinidumpArg,
        file: Option<&File>,
    ) -> Result<(), Errno>;

    /// `MEM_MINIDUMP2` into `file`; `None` goes with `FLAG_ESTIMATE`.
    ///
    /// # Errors
    /// The kernel's; `ENOTTY` where the module is not loaded, or is one that
    /// does not have this request yet.
    fn minidump2(
        &self,
        arg: &mut MemMinidumpArg2,
        file: Option<&File>,
    ) -> Result<(), Errno> {
        let _ = (arg, file);
        Err(Errno::ENOTTY)
    }

    /// `MEM_MINIDUMP` into `file`, the list of changed pages into `changes`.
    ///
    /// # Errors
    /// The kernel's.
    fn minidump_listing(
        &self,
        arg: &mut MemMinidumpArg,
        file: &File,
        changes: &File,
    ) -> Result<(), Errno> {
        let _ = (arg, file, changes);
        Err(Errno::EOPNOTSUPP)
    }

    /// The stock `MEM_KERNELDUMP` into `file`.
    ///
    /// # Errors
    /// The kernel's; `ENOTTY` where it has no live dumps.
    fn kerneldump(
        &self,
        arg: &mut MemLivedumpArg,
        file: &File,
    ) -> Result<(), Errno>;

    /// `MEM_MINIDUMP_STATUS`; from any thread, also while a dump runs.
    ///
    /// # Errors
    /// The kernel's; `ENOTTY` where the module is not loaded.
    fn status(&self) -> Result<MemMinidumpStatus, Errno>;

    /// The process that asks, as the status request shows it.
    fn pid(&self) -> i32;

    /// How many bytes of its file the request in progress has written that are
    /// final and can be read, 0 before it begins; from any thread. None where
    /// who reads waits until it ends: FreeBSD holds the range lock.
    fn readable_bytes(&self) -> Option<u64> {
        None
    }

    /// Ends the request that another thread is waiting for, if the kernel
    /// lets it be ended. Does nothing when there is none.
    fn interrupt(&self);

    /// The descriptors that a request takes, and what they are for.
    fn descriptors(&self) -> Vec<(BorrowedFd<'_>, Purpose)> {
        Vec::new()
    }

    /// What is known of a machine whose memory was taken from outside, for the
    /// last request.
    fn outside(&self) -> Option<Outside> {
        None
    }

    /// Why the last request failed, where an errno does not tell.
    fn take_failure(&self) -> Option<String> {
        None
    }

    /// What of the machine's memory should be in a dump and cannot be.
    fn missing(&self) -> Verdict {
        Verdict::Sound
    }

    /// Whether [`Device::kerneldump`] would start a rescue kernel.
    fn rescue(&self) -> Rescue {
        Rescue::No
    }

    /// Whether a dump can go to a pipe or a socket ([`FLAG_STREAM`]).
    fn can_stream(&self) -> bool {
        let flags = FLAG_STREAM;
        let mut arg = MemMinidumpArg { flags, ..MemMinidumpArg::new() };
        // A module that knows the flag looks for the descriptor: EBADF. What
        // else it refuses for is no answer to that, and comes again.
        !matches!(
            self.minidump(&mut arg, None),
            Err(Errno::EINVAL | Errno::ENOTTY | Errno::ENODEV)
        )
    }

    /// Whether the machine stands still until its dump is taken: it must not
    /// wait for a reader that may be slow.
    fn stands_still(&self) -> bool {
        false
    }

    /// What to know about its dumps.
    fn remark(&self) -> Option<&'static str> {
        None
    }

    /// Gives up what was kept for the next request.
    fn release(&self) {}

    /// The ELF kernel that belongs to the machine, where it has one at hand.
    fn kernel_elf(&self) -> Option<Vec<u8>> {
        None
    }

    /// Where the file of the machine's kernel is.
    fn kernel_path(&self) -> Option<PathBuf> {
        None
    }

    /// Bytes of memory that cannot be paged out: how large a dump may be
    /// whose size nobody tells.
    fn wired_bytes(&self) -> Option<u64> {
        None
    }
}

/// What a dump from outside has besides pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outside {
    /// The instant. No pause was too long for it.
    pub record: FreezeRecord,
    /// CPUs whose registers are where debuggers look.
    pub registers: u32,
}

/// Why there is no machine to dump.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The kernel's node cannot be opened.
    #[error("opening {path}")]
    Node {
        /// Which.
        path: &'static str,
        /// Why.
        source: io::Error,
    },
    /// There is no FreeBSD kernel here.
    #[error(
        "this is {os}, not FreeBSD: its kernel cannot be dumped; try \
         --machine model"
    )]
    NotFreeBsd {
        /// What it is.
        os: &'static str,
    },
    /// A hosted machine could not be built.
    #[error("machine {machine}")]
    Hosted {
        /// As it was named.
        machine: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Opens a machine; `kernel` is the kernel file of one that is an image, of
/// which `facts` tells more. `stop` tells that the caller does not want it any
/// more.
///
/// # Errors
/// Why there is none.
pub fn open(
    spec: &MachineSpec,
    kernel: Option<&Path>,
    facts: &Facts<'_>,
    stop: &dyn Fn() -> bool,
) -> Result<Box<dyn Device>, OpenError> {
    match spec {
        MachineSpec::Kernel => Ok(Box::new(MemDevice::open()?)),
        MachineSpec::Qemu(socket) => {
            Ok(Box::new(GuestDevice::open(socket, kernel, facts)?))
        }
        MachineSpec::Bhyve { name, gdb: Some(address) } => {
            let machine = spec.to_string();
            let path = bhyve::path_of(name).map_err(|e| {
                let (machine, source) = (machine.clone(), e.into());
                OpenError::Hosted { machine, source }
            })?;
            let guest =
                GuestDevice::of_bhyve(machine, &path, address, kernel, facts)?;
            Ok(Box::new(guest))
        }
        MachineSpec::Libvirt(domain) => {
            Ok(Box::new(GuestDevice::of_libvirt(domain, kernel, facts)?))
        }
        _ => Ok(Box::new(HostedDevice::open(spec, kernel, facts, stop)?)),
    }
}

/// `/dev/mem` of a FreeBSD kernel, or `/dev/livedump`.
#[derive(Debug)]
pub struct MemDevice {
    node: File,
    name: &'static str,
    /// The thread that waits for a request to be answered: a pthread_t,
    /// which is a pointer on FreeBSD and nothing to be followed here.
    waiting: Mutex<Option<usize>>,
    /// Cannot be asked for in capability mode.
    rescue: Rescue,
}

impl MemDevice {
    /// Opens the node read-only: that is all the requests ask for, and works
    /// at any securelevel.
    ///
    /// # Errors
    /// Why not. Other systems' `/dev/mem` is not touched at all.
    pub fn open() -> Result<Self, OpenError> {
        if !cfg!(target_os = "freebsd") {
            return Err(OpenError::NotFreeBsd { os: std::env::consts::OS });
        }
        let mem = File::open(DEV_MEM);
        let (node, name) =
            choose(mem, serves_module, || File::open(DEV_LIVEDUMP))
                .map_err(|source| OpenError::Node { path: DEV_MEM, source })?;
        // So that it interrupts a call. It is what nobody sends to a program
        // without sockets.
        catch(Signal::SIGURG);
        let (waiting, rescue) = (Mutex::new(None), host::rescue());
        Ok(Self { node, name, waiting, rescue })
    }

    /// Calls ioctl(2), known to [`Device::interrupt`] meanwhile.
    fn wait<T>(&self, request: u32, arg: &mut T) -> Result<(), Errno> {
        let set = |thread| {
            *self.waiting.lock().unwrap_or_else(PoisonError::into_inner) =
                thread;
        };
        set(Some(pthread_self() as usize));
        let answer = self.ioctl(request, arg);
        set(None);
        answer
    }

    fn ioctl<T>(&self, request: u32, arg: &mut T) -> Result<(), Errno> {
        ioctl(&self.node, request, arg)
    }
}

/// Which node requests go to: `/dev/mem`, where the module serves them there;
/// its own where `/dev/mem` cannot be opened or the module is not to serve it
/// (`kern.livedump.mem`); `/dev/mem` again where there is no module, whose
/// kernel may have live dumps of its own.
fn choose<N>(
    mem: io::Result<N>,
    serves: impl Fn(&N) -> bool,
    livedump: impl FnOnce() -> io::Result<N>,
) -> io::Result<(N, &'static str)> {
    match mem {
        Ok(node) if serves(&node) => Ok((node, DEV_MEM)),
        mem => match livedump() {
            Ok(node) => Ok((node, DEV_LIVEDUMP)),
            Err(_) => mem.map(|node| (node, DEV_MEM)),
        },
    }
}

fn serves_module(node: &File) -> bool {
    let mut status = MemMinidumpStatus::default();
    ioctl(node, MEM_MINIDUMP_STATUS, &mut status).is_ok()
}

fn ioctl<T>(node: &File, request: u32, arg: &mut T) -> Result<(), Errno> {
    // The kernel copies as many bytes as the request's number says.
    if (request >> 16 & 0x1fff) as usize != size_of::<T>() {
        return Err(Errno::EINVAL);
    }
    let fd = node.as_raw_fd();
    // SAFETY: `node` owns the descriptor until this function's borrow of
    // it ends. `arg` is exclusively borrowed for the call, is a repr(C)
    // struct of plain integers without padding (memdev asserts each
    // layout), and has the size that was checked above: the kernel reads
    // and writes nothing else, and any bytes it writes are valid.
    let answer = unsafe { libc::ioctl(fd, request as _, ptr::from_mut(arg)) };
    if answer == -1 {
        let errno = io::Error::last_os_error().raw_os_error();
        return Err(Errno(errno.unwrap_or(Errno::EIO.0)));
    }
    Ok(())
}

impl Device for MemDevice {
    fn name(&self) -> &str {
        self.name
    }

    fn minidump(
        &self,
        arg: &mut MemMinidumpArg,
        file: Option<&File>,
    ) -> Result<(), Errno> {
        arg.fd = file.map_or(NO_FD, AsRawFd::as_raw_fd);
        self.wait(MEM_MINIDUMP, arg)
    }

    fn minidump2(
        &self,
        arg: &mut MemMinidumpArg2,
        file: Option<&File>,
    ) -> Result<(), Errno> {
        arg.arg.fd = file.map_or(NO_FD, AsRawFd::as_raw_fd);
        self.wait(MEM_MINIDUMP2, arg)
    }

    fn minidump_listing(
        &self,
        arg: &mut MemMinidumpArg,
        file: &File,
        changes: &File,
    ) -> Result<(), Errno> {
        arg.changes_fd = changes.as_raw_fd();
        self.minidump(arg, Some(file))
    }

    fn kerneldump(
        &self,
        arg: &mut MemLivedumpArg,
        file: &File,
    ) -> Result<(), Errno> {
        arg.fd = file.as_raw_fd();
        self.wait(MEM_KERNELDUMP, arg)
    }

    fn status(&self) -> Result<MemMinidumpStatus, Errno> {
        let mut status = MemMinidumpStatus::default();
        self.ioctl(MEM_MINIDUMP_STATUS, &mut status)?;
        Ok(status)
    }

    fn descriptors(&self) -> Vec<(BorrowedFd<'_>, Purpose)> {
        vec![(self.node.as_fd(), Purpose::Requests)]
    }

    fn pid(&self) -> i32 {
        nix::unistd::getpid().as_raw()
    }

    fn rescue(&self) -> Rescue {
        self.rescue.clone()
    }

    fn kernel_path(&self) -> Option<PathBuf> {
        host::sysctl_text("kern.bootfile").map(PathBuf::from)
    }

    fn wired_bytes(&self) -> Option<u64> {
        let pages = host::sysctl_number("vm.stats.vm.v_wire_count")?;
        u64::try_from(pages).ok()?.checked_mul(PAGE_SIZE as u64)
    }

    fn interrupt(&self) {
        let waiting =
            self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(thread) = *waiting {
            // It is in `wait` and cannot leave while the lock is held.
            let _ = pthread_kill(thread as Pthread, Signal::SIGURG);
        }
    }
}

/// The descriptors in a range that are open, whoever opened them. For the
/// sandbox, which limits them before anything else is opened or closed.
#[cfg(target_os = "freebsd")]
pub fn descriptors(
    range: std::ops::Range<i32>,
) -> impl Iterator<Item = BorrowedFd<'static>> {
    range.filter_map(|fd| {
        // SAFETY: F_GETFD takes no argument and changes nothing; a number
        // that is no descriptor is EBADF.
        let open = unsafe { libc::fcntl(fd, libc::F_GETFD) } != -1;
        // SAFETY: it is open. The caller uses it before it asks for the next
        // one, and closes none; the only other thread there is by then waits
        // for signals.
        open.then(|| unsafe { BorrowedFd::borrow_raw(fd) })
    })
}

/// Takes a descriptor that recvmsg(2) has brought.
#[must_use]
pub fn owned(fd: std::os::fd::RawFd) -> OwnedFd {
    // SAFETY: the kernel has made it for the one message that it came with,
    // and nothing else in the process knows it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

extern "C" fn nothing(_: libc::c_int) {}

/// Gives a signal that does nothing by default a handler that does nothing:
/// it then interrupts calls, and FreeBSD does not discard it before
/// sigwait(2) has seen it.
pub fn catch(signal: Signal) {
    let action = SigAction::new(
        SigHandler::Handler(nothing),
        SaFlags::empty(),
        SigSet::empty(),
    );
    // SAFETY: the handler does nothing, so it is safe whenever it runs, and
    // it is a function that lives as long as the process.
    let _ = unsafe { sigaction(signal, &action) };
}

/// Whether whoever started us wants a signal ignored, as nohup(1) does.
#[must_use]
pub fn is_ignored(signal: Signal) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: a null new action changes nothing; the old one is written to
    // `action`, which is one sigaction large and ours until we return.
    let answer = unsafe {
        libc::sigaction(signal as _, ptr::null(), action.as_mut_ptr())
    };
    // SAFETY: sigaction is a C struct of integers, pointers and an optional
    // function, for all of which the zero it was filled with is valid, too.
    let action = unsafe { action.assume_init() };
    answer == 0 && action.sa_sigaction == libc::SIG_IGN
}

/// What sysctlbyname(3) says, as bytes.
///
/// # Errors
/// There is no such name, or it cannot be read.
#[cfg(target_os = "freebsd")]
pub fn sysctlbyname(name: &std::ffi::CStr) -> io::Result<Vec<u8>> {
    let ask = |buf: *mut libc::c_void, len: &mut usize| {
        // SAFETY: `name` ends in a NUL and outlives the call; `buf` is null
        // or has `len` bytes that the caller owns until it returns; nothing
        // is set, so the last two say there is nothing.
        let answer = unsafe {
            libc::sysctlbyname(name.as_ptr(), buf, len, ptr::null(), 0)
        };
        match answer {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    };
    let mut len = 0;
    ask(ptr::null_mut(), &mut len)?;
    // It may have grown meanwhile; a bound, because it is only asked twice.
    let mut bytes = vec![0u8; (len + 64).min(1 << 20)];
    let mut len = bytes.len();
    ask(bytes.as_mut_ptr().cast(), &mut len)?;
    bytes.truncate(len);
    Ok(bytes)
}

/// What sysctl(3) says of the nth of a name's.
///
/// # Errors
/// There is no such one, or it cannot be read.
#[cfg(target_os = "freebsd")]
pub fn sysctl_nth(name: &std::ffi::CStr, nth: i32) -> io::Result<Vec<u8>> {
    /// CTL_MAXNAME, <sys/sysctl.h>.
    const DEEPEST: usize = 24;
    let mut mib = [0 as libc::c_int; DEEPEST];
    let mut len = DEEPEST - 1;
    // SAFETY: `name` ends in a NUL and outlives the call; `mib` has `len`
    // numbers, which are ours, and `len` is told how many were stored.
    let answer = unsafe {
        libc::sysctlnametomib(name.as_ptr(), mib.as_mut_ptr(), &mut len)
    };
    if answer != 0 {
        return Err(io::Error::last_os_error());
    }
    if let Some(last) = mib.get_mut(len) {
        *last = nth;
    }
    let mut bytes = vec![0u8; 256];
    let mut size = bytes.len();
    let count = libc::c_uint::try_from(len + 1).unwrap_or(0);
    // SAFETY: `mib` has `count` numbers, one more than were stored, for which
    // there is room; `bytes` has `size` bytes, which are ours; nothing is set.
    let answer = unsafe {
        libc::sysctl(
            mib.as_ptr(),
            count,
            bytes.as_mut_ptr().cast(),
            &mut size,
            ptr::null(),
            0,
        )
    };
    if answer != 0 {
        return Err(io::Error::last_os_error());
    }
    bytes.truncate(size);
    Ok(bytes)
}

/// A variable of the kernel's environment, as kenv(1) prints it; `None` where
/// it is not set.
///
/// # Errors
/// It cannot be read.
#[cfg(target_os = "freebsd")]
pub fn kenv(name: &std::ffi::CStr) -> io::Result<Option<String>> {
    // With the NUL. A longer value is cut off.
    let mut value = [0u8; 1024];
    let (buf, len) = (value.as_mut_ptr(), value.len() as libc::c_int);
    // SAFETY: `name` ends in a NUL and outlives the call; `buf` has `len`
    // bytes, which are ours until this function returns, and the kernel writes
    // no more than that.
    let got =
        unsafe { libc::kenv(libc::KENV_GET, name.as_ptr(), buf.cast(), len) };
    if got == -1 {
        let e = io::Error::last_os_error();
        return match e.raw_os_error() {
            Some(libc::ENOENT) => Ok(None),
            _ => Err(e),
        };
    }
    let text = value.split(|&b| b == 0).next().unwrap_or_default();
    Ok(Some(String::from_utf8_lossy(text).into_owned()))
}

/// Connects to syslogd(8), as a daemon of our name.
pub fn openlog() {
    let ident = c"livedump";
    let options = libc::LOG_PID | libc::LOG_NDELAY;
    // SAFETY: `ident`, which syslog(3) keeps a pointer to, is a constant of
    // the program.
    unsafe { libc::openlog(ident.as_ptr(), options, libc::LOG_DAEMON) }
}

/// One line for syslogd(8).
pub fn syslog(level: i32, line: &str) {
    // What is behind a NUL is left out; there is none in a line.
    let line = line.split('\0').next().unwrap_or_default();
    let Ok(line) = std::ffi::CString::new(line) else { return };
    let format = c"%s";
    // SAFETY: the format takes one string, which ends in a NUL; both outlive
    // the call.
    unsafe { libc::syslog(level, format.as_ptr(), line.as_ptr()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dev_mem_is_asked_first_and_the_modules_own_node_where_that_is_refused() {
        let refused = || io::Error::from_raw_os_error(libc::EACCES);
        let none = || Err(io::Error::from_raw_os_error(libc::ENOENT));
        let serves = |node: &i32| *node == 1;
        // The module serves requests on /dev/mem: its own node is not opened.
        let (_, name) = choose(Ok(1), serves, || panic!("opened")).unwrap();
        assert_eq!(name, DEV_MEM);
        // It does not, or /dev/mem cannot be opened.
        let (node, name) = choose(Ok(2), serves, || Ok(3)).unwrap();
        assert_eq!((node, name), (3, DEV_LIVEDUMP));
        let (_, name) = choose(Err(refused()), serves, || Ok(3)).unwrap();
        assert_eq!(name, DEV_LIVEDUMP);
        // There is no module.
        let (node, name) = choose(Ok(2), serves, none).unwrap();
        assert_eq!((node, name), (2, DEV_MEM));
        let e = choose(Err(refused()), serves, none).unwrap_err();
        assert_eq!(e.raw_os_error(), Some(libc::EACCES));
    }

    #[test]
    fn a_kernel_that_is_not_freebsds_is_not_asked() {
        if cfg!(target_os = "freebsd") {
            return;
        }
        let e = MemDevice::open().unwrap_err().to_string();
        assert!(e.contains("not FreeBSD"), "{e}");
        assert!(e.contains("--machine model"), "{e}");
    }

    #[test]
    fn a_signal_nobody_ignores_is_not_ignored() {
        assert!(!is_ignored(Signal::SIGUSR2));
    }

    #[test]
    fn an_argument_of_the_wrong_size_never_reaches_the_kernel() {
        let node = File::open("/dev/null").unwrap();
        let (waiting, rescue) = (Mutex::new(None), Rescue::No);
        let device = MemDevice { node, name: DEV_MEM, waiting, rescue };
        let mut short = 0u64;
        assert_eq!(device.ioctl(MEM_MINIDUMP, &mut short), Err(Errno::EINVAL));
    }
}
