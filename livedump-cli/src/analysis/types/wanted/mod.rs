// SPDX-License-Identifier: BSD-2-Clause
//! The structures and fields that the analysis reads. C: <sys/proc.h>,
//! <sys/_lock.h>, <sys/_mutex.h>, <sys/_sx.h>, <sys/_rwlock.h>,
//! <sys/_lockmgr.h>, subr_turnstile.c, subr_sleepqueue.c, <machine/pcb.h>,
//! <sys/jail.h>, <sys/ucred.h>, <vm/vm_page.h>, <vm/vm_phys.h>; and what
//! `analysis::explain` follows waits through.

mod system;
mod waits;

use system::SYSTEM;
use waits::WAITS;

/// A structure's tag and the name of one of its fields.
pub type FieldId = (&'static str, &'static str);

/// A structure, as C has it.
#[derive(Debug)]
pub struct Struct {
    /// Its tag.
    pub name: &'static str,
    /// Fields that are of interest; a release need not have them all.
    pub fields: &'static [&'static str],
}

const fn of(name: &'static str, fields: &'static [&'static str]) -> Struct {
    Struct { name, fields }
}

/// All of them.
pub fn structs() -> impl Iterator<Item = &'static Struct> {
    let system = SYSTEM.iter().copied().flatten();
    THREADS.iter().chain(WAITS).chain(system)
}

/// How many they are.
pub(super) fn count() -> usize {
    structs().count()
}

/// Threads, locks, and what they are found by.
const THREADS: &[Struct] = &[
    of(
        "proc",
        &[
            "p_list",
            "p_threads",
            "p_pid",
            "p_comm",
            "p_children",
            "p_sibling",
            "p_pptr",
            "p_ucred",
            "p_fd",
            "p_flag",
        ],
    ),
    of("ucred", &["cr_uid"]),
    of(
        "thread",
        &[
            "td_lock",
            "td_proc",
            "td_plist",
            "td_tid",
            "td_name",
            "td_oncpu",
            "td_pcb",
            "td_state",
            "td_inhibitors",
            "td_wchan",
            "td_wmesg",
            "td_blocked",
            "td_lockname",
            "td_slpq",
            "td_lockq",
            "td_sqqueue",
            "td_tsqueue",
            "td_kstack",
            "td_kstack_pages",
            "td_slptick",
            "td_blktick",
            "td_rw_rlocks",
            "td_sx_slocks",
            "td_lk_slocks",
            "td_wantedlock",
        ],
    ),
    of("lock_object", &["lo_name", "lo_flags"]),
    of("mtx", &["mtx_lock"]),
    of("sx", &["sx_lock"]),
    of("rwlock", &["rw_lock"]),
    of("lock", &["lk_lock"]),
    of(
        "turnstile",
        &["ts_blocked", "ts_pending", "ts_hash", "ts_lockobj", "ts_owner"],
    ),
    of("turnstile_chain", &["tc_turnstiles"]),
    of("sleepqueue", &["sq_blocked", "sq_hash", "sq_wchan", "sq_type"]),
    of("sleepqueue_chain", &["sc_queues"]),
    of("pcb", &["pcb_rbp", "pcb_rsp", "pcb_rip", "pcb_x", "pcb_lr", "pcb_sp"]),
    of("linker_file", &["link", "filename", "address", "size"]),
    of("prison", &["pr_hostname"]),
    of("vm_page", &["flags"]),
    of("vm_phys_seg", &["start", "end", "first_page"]),
];

/// Files of the kernel that have them: their units are searched first.
pub(super) const LIKELY_UNITS: &[&str] = &[
    "subr_sleepqueue.c",
    "subr_turnstile.c",
    "kern_sx.c",
    "kern_rwlock.c",
    "kern_lock.c",
    "kern_linker.c",
    "kern_shutdown.c",
    "kern_jail.c",
    "vm_phys.c",
    "kern_rmlock.c",
    "vfs_cache.c",
    "vfs_bio.c",
    "sys_pipe.c",
    "uipc_usrreq.c",
    "uma_core.c",
    "subr_taskqueue.c",
    "kern_timeout.c",
    "kern_clocksource.c",
    "kern_malloc.c",
    "vm_meter.c",
    "vfs_mount.c",
    "swap_pager.c",
    "if.c",
    "vnet.c",
    "subr_devstat.c",
];

/// The structure of this tag, if it is wanted.
pub(super) fn find(tag: &[u8]) -> Option<&'static Struct> {
    structs().find(|s| s.name.as_bytes() == tag)
}

/// The field of this name, if it is wanted.
pub(super) fn find_field(
    of: &'static Struct,
    name: &[u8],
) -> Option<&'static str> {
    of.fields.iter().find(|f| f.as_bytes() == name).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn no_structure_is_in_two_tables() {
        // The fields of the second would not be read.
        let mut seen = BTreeSet::new();
        assert_eq!(
            structs().find(|s| !seen.insert(s.name)).map(|s| s.name),
            None
        );
    }
}
