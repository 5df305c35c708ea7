// SPDX-License-Identifier: BSD-2-Clause
//! Offsets that kernels export for debuggers. C: kern_proc.c, kern_thread.c,
//! kern_linker.c.

use super::types::FieldId;

/// The constants that kernels export for debuggers, and what each tells.
pub(super) const EXPORTED: &[(&str, FieldId)] = &[
    ("proc_off_p_list", ("proc", "p_list")),
    ("proc_off_p_threads", ("proc", "p_threads")),
    ("proc_off_p_pid", ("proc", "p_pid")),
    ("proc_off_p_comm", ("proc", "p_comm")),
    ("thread_off_td_plist", ("thread", "td_plist")),
    ("thread_off_td_tid", ("thread", "td_tid")),
    ("thread_off_td_name", ("thread", "td_name")),
    ("thread_off_td_oncpu", ("thread", "td_oncpu")),
    ("thread_off_td_pcb", ("thread", "td_pcb")),
    ("kld_off_address", ("linker_file", "address")),
    ("kld_off_filename", ("linker_file", "filename")),
    ("kld_off_next", ("linker_file", "link")),
];
