// SPDX-License-Identifier: BSD-2-Clause
//! What a report of the whole system reads, a table for each analysis. C:
//! <sys/pcpu.h>, <sys/vmmeter.h>, <vm/vm_pagequeue.h>, vm/uma_int.h,
//! <sys/malloc.h>, <sys/mount.h>, <net/vnet.h>, <net/if_var.h> and since 15
//! <net/if_private.h>, <vm/swap_pager.h>, <sys/conf.h>, <sys/devicestat.h>.

use super::{Struct, of};

/// A table for each.
pub(super) const SYSTEM: &[&[Struct]] =
    &[CPUS, MEMORY, ZONES, MALLOC, MOUNTS, INTERFACES, SWAP, DEVICES];

const CPUS: &[Struct] = &[of(
    "pcpu",
    &[
        "pc_curthread",
        "pc_idlethread",
        "pc_cpuid",
        "pc_zpcpu_offset",
        "pc_switchticks",
        "pc_cp_time",
    ],
)];

const MEMORY: &[Struct] = &[
    of(
        "vmmeter",
        &[
            "v_swtch",
            "v_trap",
            "v_syscall",
            "v_intr",
            "v_soft",
            "v_vm_faults",
            "v_io_faults",
            "v_cow_faults",
            "v_cow_optim",
            "v_zfod",
            "v_ozfod",
            "v_swapin",
            "v_swapout",
            "v_swappgsin",
            "v_swappgsout",
            "v_vnodein",
            "v_vnodeout",
            "v_vnodepgsin",
            "v_vnodepgsout",
            "v_intrans",
            "v_reactivated",
            "v_pdwakeups",
            "v_pdpages",
            "v_pdshortfalls",
            "v_dfree",
            "v_pfree",
            "v_tfree",
            "v_forks",
            "v_vforks",
            "v_rforks",
            "v_kthreads",
            "v_forkpages",
            "v_vforkpages",
            "v_rforkpages",
            "v_kthreadpages",
            "v_wire_count",
            "v_nofree_count",
            "v_page_size",
            "v_page_count",
        ],
    ),
    of(
        "vm_domain",
        &[
            "vmd_pagequeues",
            "vmd_page_count",
            "vmd_free_count",
            "vmd_free_min",
            "vmd_free_target",
        ],
    ),
    of("vm_pagequeue", &["pq_cnt"]),
];

const ZONES: &[Struct] = &[
    of("uma_keg", &["uk_zones", "uk_link", "uk_flags", "uk_size", "uk_domain"]),
    of("uma_domain", &["ud_free_items"]),
    of(
        "uma_zone",
        &[
            "uz_name",
            "uz_link",
            "uz_size",
            "uz_flags",
            "uz_max_items",
            "uz_allocs",
            "uz_frees",
            "uz_fails",
            "uz_xdomain",
            "uz_sleeps",
            "uz_cpu",
        ],
    ),
    of(
        "uma_cache",
        &[
            "uc_freebucket",
            "uc_allocbucket",
            "uc_crossbucket",
            "uc_allocs",
            "uc_frees",
        ],
    ),
    of("uma_cache_bucket", &["ucb_cnt"]),
    of("uma_zone_domain", &["uzd_nitems"]),
];

const MALLOC: &[Struct] = &[
    of("malloc_type", &["ks_next", "ks_shortdesc", "ks_mti"]),
    of("malloc_type_internal", &["mti_stats"]),
    of(
        "malloc_type_stats",
        &["mts_memalloced", "mts_memfreed", "mts_numallocs", "mts_numfrees"],
    ),
];

const MOUNTS: &[Struct] = &[
    of(
        "mount",
        &["mnt_list", "mnt_stat", "mnt_flag", "mnt_ref", "mnt_susp_owner"],
    ),
    of(
        "statfs",
        &[
            "f_fstypename",
            "f_mntfromname",
            "f_mntonname",
            "f_bsize",
            "f_blocks",
            "f_bfree",
        ],
    ),
];

const INTERFACES: &[Struct] = &[
    of("vnet", &["vnet_le", "vnet_data_base"]),
    of(
        "ifnet",
        &[
            "if_link",
            "if_index",
            "if_xname",
            "if_flags",
            "if_drv_flags",
            "if_link_state",
            "if_mtu",
            "if_counters",
        ],
    ),
];

const SWAP: &[Struct] =
    &[of("swdevt", &["sw_list", "sw_nblks", "sw_used", "sw_vp"])];

const DEVICES: &[Struct] = &[of(
    "devstat",
    &[
        "sequence0",
        "sequence1",
        "start_count",
        "end_count",
        "dev_links",
        "device_name",
        "unit_number",
        "bytes",
        "operations",
        "duration",
        "busy_time",
    ],
)];
