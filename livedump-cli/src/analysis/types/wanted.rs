// SPDX-License-Identifier: BSD-2-Clause
//! The structures and fields that the analysis reads. C: <sys/proc.h>,
//! <sys/_lock.h>, <sys/_mutex.h>, <sys/_sx.h>, <sys/_rwlock.h>,
//! <sys/_lockmgr.h>, subr_turnstile.c, subr_sleepqueue.c, <machine/pcb.h>,
//! <sys/jail.h>, <sys/ucred.h>, <vm/vm_page.h>, <vm/vm_phys.h>; and what
//! `analysis::explain` follows waits through.

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
pub const STRUCTS: &[Struct] = &[
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
    of("rmlock", &["rm_activeReaders"]),
    of("rm_priotracker", &["rmp_qentry", "rmp_thread", "rmp_rmlock"]),
    of(
        "vnode",
        &[
            "v_type",
            "v_mount",
            "v_rdev",
            "v_cache_dst",
            "v_lock",
            "v_vnlock",
            "v_bufobj",
            "v_vflag",
        ],
    ),
    of("namecache", &["nc_dvp", "nc_nlen", "nc_name"]),
    of("mount", &["mnt_list", "mnt_stat", "mnt_flag", "mnt_susp_owner"]),
    of("statfs", &["f_mntonname", "f_mntfromname", "f_fstypename"]),
    of("buf", &["b_lock", "b_vp", "b_bcount", "b_iocmd"]),
    of("bufobj", &["bo_numoutput"]),
    of("cdev", &["si_name"]),
    of("bio", &["bio_cmd", "bio_dev", "bio_to", "bio_offset", "bio_length"]),
    of("g_provider", &["name"]),
    of("filedesc", &["fd_files"]),
    of("fdescenttbl", &["fdt_nfiles", "fdt_ofiles"]),
    of("filedescent", &["fde_file"]),
    of("file", &["f_data", "f_type"]),
    of("pipe", &["pipe_peer"]),
    of("socket", &["so_rcv", "so_snd", "so_pcb"]),
    of("sockbuf", &["sb_acc"]),
    of("unpcb", &["unp_socket", "unp_conn"]),
    of("uma_zone", &["uz_max_items", "uz_name"]),
    of("vm_domain", &["vmd_free_count", "vmd_free_min"]),
    of("taskqueue_busy", &["tb_running", "tb_link"]),
    of("taskqueue", &["tq_queue", "tq_active", "tq_name"]),
    of("task", &["ta_link", "ta_func"]),
    of(
        "callout_cpu",
        &["cc_exec_entity", "cc_thread", "cc_expireq", "cc_lastscan"],
    ),
    of("callout", &["c_time"]),
    of("pcpu", &["pc_curthread", "pc_switchticks"]),
    of("cc_exec", &["cc_curr", "cc_last_func", "cc_waiting"]),
    of("pcpu_state", &["now", "idle"]),
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
];

/// The structure of this tag, if it is wanted.
pub(super) fn find(tag: &[u8]) -> Option<&'static Struct> {
    STRUCTS.iter().find(|s| s.name.as_bytes() == tag)
}

/// The field of this name, if it is wanted.
pub(super) fn find_field(
    of: &'static Struct,
    name: &[u8],
) -> Option<&'static str> {
    of.fields.iter().find(|f| f.as_bytes() == name).copied()
}
