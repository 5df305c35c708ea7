// SPDX-License-Identifier: BSD-2-Clause
//! landlock(7): no file but those that are open, for a writer those in its
//! directory. seccomp(2): a reader keeps the calls that reading, computing
//! and writing to a pipe take, and gets EPERM for any other.

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
use std::os::fd::BorrowedFd;

/// What is asked for; an older kernel does what it can.
const WANTED: ABI = ABI::V6;

/// What a reader calls once its files are open, and may call in any way.
const CALLS: [libc::c_long; 44] = [
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
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_set_robust_list,
    libc::SYS_sigaltstack,
    libc::SYS_statx,
    libc::SYS_write,
    libc::SYS_writev,
];

pub(super) fn enter(
    role: Role,
    files: &[(BorrowedFd<'_>, Purpose)],
) -> Result<(), String> {
    let landlock = landlock(files);
    let seccomp = match role {
        Role::Reader => seccomp(),
        Role::Writer => Ok(()),
    };
    match (landlock, seccomp) {
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
            Purpose::Directory => AccessFs::from_all(WANTED),
            Purpose::Listing => AccessFs::from_read(WANTED),
            _ => continue,
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

fn seccomp() -> Result<(), String> {
    let program = program().map_err(|e| format!("seccomp: {e}"))?;
    seccompiler::apply_filter(&program).map_err(|e| format!("seccomp: {e}"))
}

fn program() -> Result<BpfProgram, seccompiler::BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        CALLS.iter().map(|&call| (call, Vec::new())).collect();
    let when = |argument, op, value| {
        let length = SeccompCmpArgLen::Dword;
        SeccompCondition::new(argument, length, op, value)
            .and_then(|condition| SeccompRule::new(vec![condition]))
    };
    // Memory yes, code no.
    let exec = SeccompCmpOp::MaskedEq(libc::PROT_EXEC as u64);
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        rules.insert(call, vec![when(2, exec.clone(), 0)?]);
    }
    // Is it a terminal, and how wide?
    let asked = [libc::TCGETS, libc::TIOCGWINSZ].into_iter();
    // Another type in other libraries.
    #[allow(clippy::unnecessary_cast)]
    let asked = asked.map(|request| when(1, SeccompCmpOp::Eq, request as u64));
    rules.insert(libc::SYS_ioctl, asked.collect::<Result<_, _>>()?);
    // abort(3) is for the process itself.
    let ours = u64::from(std::process::id());
    let own = vec![when(0, SeccompCmpOp::Eq, ours)?];
    rules.insert(libc::SYS_tgkill, own);
    let arch = std::env::consts::ARCH.try_into()?;
    let denied = SeccompAction::Errno(libc::EPERM as u32);
    SeccompFilter::new(rules, denied, SeccompAction::Allow, arch)?.try_into()
}

pub(super) fn describe() -> Confinement {
    // A thread of its own is all that is confined by trying.
    let tried = std::thread::spawn(|| enter(Role::Reader, &[])).join();
    let (works, text) = match tried {
        Ok(Ok(())) => (
            true,
            "commands that read dumps keep nothing but their files".into(),
        ),
        Ok(Err(why)) => (false, why),
        Err(_) => (false, "not confined: the attempt ended early".into()),
    };
    Confinement { mechanism: "landlock and seccomp", works, text }
}
