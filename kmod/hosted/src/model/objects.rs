// SPDX-License-Identifier: BSD-2-Clause
//! Structures of which the model has no instance, as 15.1 has them on amd64:
//! readers look for their members, and tests make some.

/// A structure: its tag, its size, and members with offset and bytes.
pub(super) type Layout = (&'static str, u32, &'static [Span]);
/// A member: its name, offset and bytes.
pub(super) type Span = (&'static str, u32, u32);

pub(super) const OBJECTS: &[Layout] = &[
    ("rmlock", 192, &[("rm_activeReaders", 152, 8)]),
    (
        "rm_priotracker",
        56,
        &[("rmp_qentry", 40, 16), ("rmp_thread", 24, 8), ("rmp_rmlock", 16, 8)],
    ),
    (
        "vnode",
        440,
        &[
            ("v_type", 0, 1),
            ("v_data", 24, 8),
            ("v_mount", 32, 8),
            ("v_rdev", 56, 8),
            ("v_cache_dst", 88, 16),
            ("v_lock", 112, 40),
            ("v_vnlock", 184, 8),
            ("v_bufobj", 224, 152),
            ("v_vflag", 426, 2),
        ],
    ),
    (
        "namecache",
        64,
        &[("nc_dvp", 40, 8), ("nc_nlen", 57, 1), ("nc_name", 58, 0)],
    ),
    (
        "mount",
        2816,
        &[
            ("mnt_list", 104, 16),
            ("mnt_stat", 176, 2344),
            ("mnt_flag", 8, 8),
            ("mnt_susp_owner", 2584, 8),
        ],
    ),
    (
        "statfs",
        2344,
        &[
            ("f_mntonname", 1320, 1024),
            ("f_mntfromname", 296, 1024),
            ("f_fstypename", 280, 16),
        ],
    ),
    (
        "buf",
        344,
        &[
            ("b_lock", 128, 40),
            ("b_vp", 208, 8),
            ("b_bcount", 8, 8),
            ("b_iocmd", 32, 2),
        ],
    ),
    ("bufobj", 152, &[("bo_numoutput", 136, 4)]),
    ("cdev", 480, &[("si_name", 224, 256)]),
    (
        "bio",
        416,
        &[
            ("bio_cmd", 0, 2),
            ("bio_dev", 8, 8),
            ("bio_to", 280, 8),
            ("bio_offset", 24, 8),
            ("bio_length", 288, 8),
        ],
    ),
    ("g_provider", 152, &[("name", 0, 8)]),
    ("filedesc", 88, &[("fd_files", 0, 8)]),
    ("fdescenttbl", 8, &[("fdt_nfiles", 0, 4), ("fdt_ofiles", 8, 0)]),
    ("filedescent", 48, &[("fde_file", 0, 8)]),
    (
        "file",
        80,
        &[
            ("f_flag", 0, 4),
            ("f_data", 8, 8),
            ("f_vnode", 24, 8),
            ("f_type", 40, 2),
        ],
    ),
    ("inode", 192, &[("i_number", 64, 8)]),
    ("pipe", 344, &[("pipe_peer", 304, 8)]),
    (
        "socket",
        1024,
        &[
            ("so_options", 184, 4),
            ("so_state", 190, 2),
            ("so_pcb", 192, 8),
            ("so_rcv", 512, 208),
            ("so_snd", 720, 208),
            ("sol_qlen", 544, 4),
            ("sol_incqlen", 548, 4),
            ("sol_qlimit", 552, 4),
        ],
    ),
    ("sockbuf", 208, &[("sb_acc", 12, 4), ("sb_ccc", 16, 4)]),
    (
        "unpcb",
        320,
        &[
            ("unp_socket", 56, 8),
            ("unp_conn", 32, 8),
            ("unp_addr", 48, 8),
            ("unp_link", 184, 16),
        ],
    ),
    ("in_conninfo", 44, &[("inc_ie", 4, 40)]),
    (
        "in_endpoints",
        40,
        &[
            ("ie_fport", 0, 2),
            ("ie_lport", 2, 2),
            ("ie_dependfaddr", 4, 16),
            ("ie_dependladdr", 20, 16),
        ],
    ),
    ("uma_zone", 384, &[("uz_max_items", 32, 8), ("uz_name", 168, 8)]),
    (
        "vm_domain",
        1664,
        &[("vmd_free_count", 768, 4), ("vmd_free_min", 1576, 4)],
    ),
    ("taskqueue_busy", 32, &[("tb_running", 0, 8), ("tb_link", 16, 16)]),
    (
        "taskqueue",
        256,
        &[("tq_queue", 0, 16), ("tq_active", 16, 8), ("tq_name", 144, 8)],
    ),
    ("task", 32, &[("ta_link", 0, 8), ("ta_func", 16, 8)]),
    (
        "callout_cpu",
        256,
        &[
            ("cc_exec_entity", 64, 128),
            ("cc_thread", 240, 8),
            ("cc_expireq", 208, 16),
            ("cc_lastscan", 232, 8),
        ],
    ),
    ("callout", 64, &[("c_time", 16, 8)]),
    ("pcpu", 4096, &[("pc_curthread", 0, 8), ("pc_switchticks", 56, 4)]),
    (
        "cc_exec",
        64,
        &[("cc_curr", 0, 8), ("cc_last_func", 8, 8), ("cc_waiting", 61, 1)],
    ),
    ("pcpu_state", 112, &[("now", 40, 8), ("idle", 108, 4)]),
];

/// Where a member is.
pub(super) fn offset(of: &str, member: &str) -> u64 {
    let structs = OBJECTS.iter().filter(|s| s.0 == of);
    let mut spans = structs.flat_map(|s| s.2).filter(|m| m.0 == member);
    let found = spans.next();
    debug_assert!(found.is_some(), "{of}.{member}");
    found.map_or(0, |span| u64::from(span.1))
}
