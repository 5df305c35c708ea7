// SPDX-License-Identifier: BSD-2-Clause
//! landlock(7): no file but those that are open, and those in a directory
//! that was named. seccomp(2): the calls that reading, computing and writing
//! to a pipe take, with a directory those for files in it. Any other is
//! ENOSYS, as on a kernel that does not have it: libraries know what to do
//! then, and no process is killed.
//!
//! Which calls a library makes depends on the kernel, too. The list has those
//! of kernels without statx(2), rseq(2) or clone3(2). Where there is no
//! getrandom(2) the random numbers of hash tables come from /dev/urandom,
//! which [`enter`](super::enter) has them read before.

use super::{Confinement, Purpose, Role};
use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, PathBeneath,
    Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus,
    Scope,
};
use nix::libc;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp,
    SeccompCondition, SeccompFilter, SeccompRule,
};
use std::collections::BTreeMap;
use std::os::fd::{AsRawFd, BorrowedFd};

/// What is asked for; an older kernel does what it can.
const WANTED: ABI = ABI::V6;

/// What a reader calls once its files are open, and may call in any way.
const CALLS: [libc::c_long; 48] = [
    libc::SYS_brk,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_clone,
    libc::SYS_clone3,
    libc::SYS_close,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_fcntl,
    libc::SYS_fstat,
    libc::SYS_ftruncate,
    libc::SYS_futex,
    libc::SYS_geteuid,
    libc::SYS_getpid,
    libc::SYS_getrandom,
    libc::SYS_gettid,
    libc::SYS_gettimeofday,
    libc::SYS_lseek,
    libc::SYS_madvise,
    libc::SYS_membarrier,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_nanosleep,
    // Of a dump that is streamed.
    libc::SYS_pipe2,
    POLL,
    libc::SYS_ppoll,
    libc::SYS_prctl,
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_pwrite64,
    libc::SYS_pwritev,
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_restart_syscall,
    libc::SYS_rseq,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_set_robust_list,
    libc::SYS_sigaltstack,
    libc::SYS_statx,
    libc::SYS_write,
    libc::SYS_writev,
];

/// What files of a directory are found and opened with.
const LISTING: [libc::c_long; 5] = [
    libc::SYS_fstatfs,
    libc::SYS_getdents64,
    libc::SYS_newfstatat,
    libc::SYS_openat,
    libc::SYS_readlinkat,
];

/// What they are made, written, renamed and removed with; and what else takes
/// part in a dump.
const DIRECTORY: [libc::c_long; 13] = [
    // syslog(3), over a socket that is connected.
    libc::SYS_sendto,
    libc::SYS_copy_file_range,
    libc::SYS_fallocate,
    libc::SYS_fdatasync,
    libc::SYS_flock,
    libc::SYS_fsync,
    libc::SYS_linkat,
    libc::SYS_prlimit64,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_symlinkat,
    libc::SYS_unlinkat,
    libc::SYS_utimensat,
];

/// What a connected socket is used with, and a pipe whose end goes through it.
const MONITOR: [libc::c_long; 5] = [
    libc::SYS_pipe2,
    libc::SYS_recvfrom,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    POLL,
];

/// What datagrams are received and answered with, and descriptors with them.
const DATAGRAMS: [libc::c_long; 5] = [
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    POLL,
];

/// What a new socket is connected with.
const SOCKETS: [libc::c_long; 3] =
    [libc::SYS_bind, libc::SYS_connect, libc::SYS_setsockopt];

#[cfg(target_arch = "x86_64")]
const POLL: libc::c_long = libc::SYS_poll;
#[cfg(not(target_arch = "x86_64"))]
const POLL: libc::c_long = libc::SYS_ppoll;

/// The same by the names that old libraries have for them.
#[cfg(target_arch = "x86_64")]
const OLD: [libc::c_long; 4] =
    [libc::SYS_open, libc::SYS_rename, libc::SYS_symlink, libc::SYS_unlink];
#[cfg(not(target_arch = "x86_64"))]
const OLD: [libc::c_long; 0] = [];

pub(super) fn enter(
    _role: Role,
    files: &[(BorrowedFd<'_>, Purpose)],
) -> Result<(), String> {
    match (landlock(files), seccomp(files)) {
        (Ok(()), Ok(())) => Ok(()),
        (Err(a), Err(b)) => Err(format!("not confined: {a}; {b}")),
        (Err(a), Ok(())) | (Ok(()), Err(a)) => {
            Err(format!("partly confined: {a}"))
        }
    }
}

fn landlock(files: &[(BorrowedFd<'_>, Purpose)]) -> Result<(), String> {
    let failed = |e: RulesetError| format!("landlock: {e}");
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(WANTED))
        .and_then(|rules| rules.handle_access(AccessNet::from_all(WANTED)))
        .and_then(|rules| rules.scope(Scope::from_all(WANTED)))
        .and_then(Ruleset::create)
        .map_err(failed)?;
    for (fd, purpose) in files {
        let access = match purpose {
            Purpose::Directory => {
                AccessFs::ReadFile
                    | AccessFs::ReadDir
                    | AccessFs::WriteFile
                    | AccessFs::Truncate
                    | AccessFs::MakeReg
                    | AccessFs::MakeSym
                    | AccessFs::RemoveFile
            }
            Purpose::Listing => AccessFs::ReadFile | AccessFs::ReadDir,
            Purpose::Replace => AccessFs::MakeReg | AccessFs::RemoveFile,
            Purpose::Read
            | Purpose::Update
            | Purpose::Disk
            | Purpose::Requests
            | Purpose::Monitor
            | Purpose::Datagrams
            | Purpose::Sockets
            | Purpose::Lock => continue,
        };
        let beneath = PathBeneath::new(fd, access);
        rules = rules.add_rule(beneath).map_err(failed)?;
    }
    let status = rules.restrict_self().map_err(failed)?;
    match status.ruleset {
        RulesetStatus::NotEnforced => Err("this kernel has no landlock".into()),
        // Without network or scopes it is still no file but ours.
        _ => Ok(()),
    }
}

fn seccomp(files: &[(BorrowedFd<'_>, Purpose)]) -> Result<(), String> {
    let program = program(files).map_err(|e| format!("seccomp: {e}"))?;
    seccompiler::apply_filter(&program).map_err(|e| format!("seccomp: {e}"))
}

fn program(
    files: &[(BorrowedFd<'_>, Purpose)],
) -> Result<BpfProgram, seccompiler::BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        CALLS.iter().map(|&call| (call, Vec::new())).collect();
    let condition = |argument, op, value| {
        SeccompCondition::new(argument, SeccompCmpArgLen::Dword, op, value)
    };
    let when = |argument, op, value| {
        let condition = condition(argument, op, value)?;
        SeccompRule::new(vec![condition])
    };
    // fstat(2) of libraries that do not have statx(2).
    let empty = libc::AT_EMPTY_PATH as u64;
    let empty = when(3, SeccompCmpOp::MaskedEq(empty), empty)?;
    rules.insert(libc::SYS_newfstatat, vec![empty]);
    for (fd, purpose) in files {
        // As an argument is compared.
        let fd = u64::from(fd.as_raw_fd().cast_unsigned());
        match purpose {
            Purpose::Replace => {
                let source = condition(0, SeccompCmpOp::Eq, fd)?;
                let target = condition(2, SeccompCmpOp::Eq, fd)?;
                let both = SeccompRule::new(vec![source, target])?;
                for call in
                    [libc::SYS_renameat, libc::SYS_renameat2, libc::SYS_linkat]
                {
                    rules.entry(call).or_default().push(both.clone());
                }
                let unlink = when(0, SeccompCmpOp::Eq, fd)?;
                rules.entry(libc::SYS_unlinkat).or_default().push(unlink);
                rules.insert(libc::SYS_fsync, Vec::new());
            }
            Purpose::Update | Purpose::Disk => {
                rules.insert(libc::SYS_fsync, Vec::new());
            }
            Purpose::Lock => {
                rules.insert(libc::SYS_flock, Vec::new());
            }
            _ => {}
        }
    }
    let has =
        |wanted: &[Purpose]| files.iter().any(|(_, p)| wanted.contains(p));
    // No rule is any argument, so these come last.
    if has(&[Purpose::Listing, Purpose::Directory]) {
        rules.extend(LISTING.map(|call| (call, Vec::new())));
    }
    if has(&[Purpose::Directory]) {
        let calls = DIRECTORY.into_iter().chain(OLD);
        rules.extend(calls.map(|call| (call, Vec::new())));
    }
    if has(&[Purpose::Monitor]) {
        rules.extend(MONITOR.map(|call| (call, Vec::new())));
    }
    if has(&[Purpose::Datagrams, Purpose::Sockets]) {
        rules.extend(DATAGRAMS.map(|call| (call, Vec::new())));
    }
    if has(&[Purpose::Sockets]) {
        rules.extend(SOCKETS.map(|call| (call, Vec::new())));
        let mut families = Vec::new();
        for family in [libc::AF_INET, libc::AF_INET6] {
            let family = u64::from(family.cast_unsigned());
            let family = condition(0, SeccompCmpOp::Eq, family)?;
            // Of flags and type the low bits are the type.
            let datagram = u64::from(libc::SOCK_DGRAM.cast_unsigned());
            let kind = condition(1, SeccompCmpOp::MaskedEq(0xf), datagram)?;
            families.push(SeccompRule::new(vec![family, kind])?);
        }
        rules.insert(libc::SYS_socket, families);
    }
    // Memory yes, code no.
    let exec = SeccompCmpOp::MaskedEq(libc::PROT_EXEC as u64);
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        rules.insert(call, vec![when(2, exec.clone(), 0)?]);
    }
    // Is it a terminal, and how wide?
    let asked = [libc::TCGETS, libc::TIOCGWINSZ].into_iter();
    let blocking = has(&[Purpose::Sockets]).then_some(libc::FIONBIO);
    let asked = asked.chain(blocking);
    // Another type in other libraries.
    #[allow(clippy::unnecessary_cast)]
    let asked = asked.map(|request| when(1, SeccompCmpOp::Eq, request as u64));
    rules.insert(libc::SYS_ioctl, asked.collect::<Result<_, _>>()?);
    // abort(3) is for the process itself.
    let ours = u64::from(std::process::id());
    let own = vec![when(0, SeccompCmpOp::Eq, ours)?];
    rules.insert(libc::SYS_tgkill, own);
    let arch = std::env::consts::ARCH.try_into()?;
    let denied = SeccompAction::Errno(libc::ENOSYS as u32);
    SeccompFilter::new(rules, denied, SeccompAction::Allow, arch)?.try_into()
}

pub(super) fn describe() -> Confinement {
    // A thread of its own is all that is confined by trying.
    let tried = std::thread::spawn(|| enter(Role::Reader, &[])).join();
    let (works, text) = match tried {
        Ok(Ok(())) => (
            true,
            "every command is restricted to its files and directory".into(),
        ),
        Ok(Err(why)) => (false, why),
        Err(_) => (false, "not confined: the attempt ended early".into()),
    };
    Confinement { mechanism: "landlock and seccomp", works, text }
}
