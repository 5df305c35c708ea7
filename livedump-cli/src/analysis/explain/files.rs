// SPDX-License-Identifier: BSD-2-Clause
//! Which processes have a pipe or a socket open. C: <sys/file.h>.

use super::fields::{Fields, Pointer};
use crate::analysis::descriptors::{self, Descriptor, Descriptors};
use crate::analysis::threads::Threads;
use std::collections::HashMap;

/// C: `DTYPE_SOCKET`, `DTYPE_PIPE`.
const TYPES: [u64; 2] = [2, 3];

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
        for (of, name) in descriptors::FIELDS {
            // Remembered where it is missing.
            let _ = f.field(of, name);
        }
        let Ok(found) = Descriptors::new(f.t, threads) else {
            files.is_incomplete = true;
            return files;
        };
        files.is_incomplete = !found.problems.is_empty();
        // Many descriptors are of one file.
        let mut known: HashMap<Pointer, Option<Pointer>> = HashMap::new();
        for Descriptor { proc, file, .. } in found.list {
            let file = file.0;
            let data = known.entry(file).or_insert_with(|| {
                let kind = f.get(file, "file", "f_type")? & 0xffff;
                let wanted = TYPES.contains(&kind);
                f.pointer(file, "file", "f_data").filter(|_| wanted)
            });
            let Some(data) = *data else { continue };
            let procs = files.open.entry(data).or_default();
            if procs.last() != Some(&proc) {
                procs.push(proc);
            }
        }
        files
    }

    /// The processes that have it open.
    pub(super) fn of(&self, data: Pointer) -> &[usize] {
        self.open.get(&data).map_or(&[], Vec::as_slice)
    }
}
