// SPDX-License-Identifier: BSD-2-Clause
//! Which processes have a pipe or a socket open. C: <sys/filedesc.h>,
//! <sys/file.h>.

use super::fields::{Fields, Pointer};
use crate::analysis::threads::Threads;
use std::collections::HashMap;

/// C: `DTYPE_SOCKET`, `DTYPE_PIPE`.
const TYPES: [u64; 2] = [2, 3];
/// Descriptors of all processes that are looked at.
const MAX_DESCRIPTORS: u64 = 1 << 20;

/// Open pipes and sockets, by their `f_data`.
#[derive(Debug, Default)]
pub(super) struct Files {
    /// The processes that have each, by their numbers in the list.
    open: HashMap<Pointer, Vec<usize>>,
    /// Some could not be looked at.
    pub(super) is_incomplete: bool,
}

impl Files {
    /// Goes through the descriptors of all processes.
    pub(super) fn new(f: &Fields<'_, '_>, threads: &Threads) -> Self {
        let mut files = Self::default();
        let mut left = MAX_DESCRIPTORS;
        // Many descriptors are of one file.
        let mut known: HashMap<Pointer, Option<Pointer>> = HashMap::new();
        for (n, proc) in threads.procs.iter().enumerate() {
            let table = f
                .pointer(proc.address.0, "proc", "p_fd")
                .and_then(|fd| f.pointer(fd, "filedesc", "fd_files"));
            // A kernel process, or one that exits, has none.
            let Some(table) = table else { continue };
            let count = f.get(table, "fdescenttbl", "fdt_nfiles");
            let count = count.map_or(0, |n| n & 0xffff_ffff);
            let first = f.address(table, "fdescenttbl", "fdt_ofiles");
            let size = f.t.types.size("filedescent");
            let Some((first, size)) = first.zip(size) else {
                files.is_incomplete = true;
                return files;
            };
            if count > left {
                files.is_incomplete = true;
            }
            let count = count.min(left);
            left = left.saturating_sub(count);
            for i in 0..count {
                let at = first.wrapping_add(i.wrapping_mul(size));
                let file = f.pointer(at, "filedescent", "fde_file");
                let Some(file) = file else { continue };
                let data = known.entry(file).or_insert_with(|| {
                    let kind = f.get(file, "file", "f_type")? & 0xffff;
                    let wanted = TYPES.contains(&kind);
                    f.pointer(file, "file", "f_data").filter(|_| wanted)
                });
                let Some(data) = *data else { continue };
                let procs = files.open.entry(data).or_default();
                if procs.last() != Some(&n) {
                    procs.push(n);
                }
            }
        }
        files
    }

    /// The processes that have it open.
    pub(super) fn of(&self, data: Pointer) -> &[usize] {
        self.open.get(&data).map_or(&[], Vec::as_slice)
    }
}
