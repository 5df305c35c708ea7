// SPDX-License-Identifier: BSD-2-Clause
//! What `analysis::explain` follows waits through, besides what a report reads.
//! C: <sys/_rmlock.h>, <sys/vnode.h>, vfs_cache.c, <sys/buf.h>, <sys/bufobj.h>,
//! <sys/bio.h>, <geom/geom.h>, <sys/filedesc.h>, <sys/file.h>, <sys/pipe.h>,
//! <sys/socketvar.h>, <sys/unpcb.h>, subr_taskqueue.c, kern_timeout.c,
//! kern_clocksource.c.

use super::{Struct, of};

pub(super) const WAITS: &[Struct] = &[
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
    of("taskqueue_busy", &["tb_running", "tb_link"]),
    of("taskqueue", &["tq_queue", "tq_active", "tq_name"]),
    of("task", &["ta_link", "ta_func"]),
    of(
        "callout_cpu",
        &["cc_exec_entity", "cc_thread", "cc_expireq", "cc_lastscan"],
    ),
    of("callout", &["c_time"]),
    of("cc_exec", &["cc_curr", "cc_last_func", "cc_waiting"]),
    of("pcpu_state", &["now", "idle"]),
];
