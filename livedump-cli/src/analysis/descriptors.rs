// SPDX-License-Identifier: BSD-2-Clause
//! The file tables of all processes. C: `struct filedesc`, <sys/filedesc.h>;
//! `struct file`, <sys/file.h>.

use super::target::{Target, read_error_text};
use super::threads::Threads;
use super::types::{Field, FieldId, RequiredFields};
use super::unavailable::Unavailable;
use memdev::addr::Vaddr;
use std::collections::HashMap;

/// Descriptors of all processes that are looked at.
const MAX_DESCRIPTORS: u64 = 1 << 20;

/// What has to be known of them.
pub(super) const FIELDS: [FieldId; 5] = [
    ("proc", "p_fd"),
    ("filedesc", "fd_files"),
    ("fdescenttbl", "fdt_nfiles"),
    ("fdescenttbl", "fdt_ofiles"),
    ("filedescent", "fde_file"),
];

/// One that is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// The process, by its number in the list.
    pub proc: usize,
    /// Its number.
    pub number: u64,
    /// C: `struct file *`.
    pub file: Vaddr,
}

/// All of them.
#[derive(Debug, Default)]
pub struct Descriptors {
    /// Process by process.
    pub list: Vec<Descriptor>,
    /// Why there may be more.
    pub problems: Vec<String>,
}

impl Descriptors {
    /// Goes through the tables of all processes.
    ///
    /// # Errors
    /// It is not told where they are.
    pub fn new(t: &Target<'_>, threads: &Threads) -> Result<Self, Unavailable> {
        let mut f = RequiredFields::new(&t.types);
        let [fd, files, count, first, file] =
            FIELDS.map(|(of, name)| f.field(of, name));
        let size = f.size("filedescent");
        f.check()?;
        // Its type has four bytes.
        let count = Field { size: 4, ..count };
        let mut all = Self::default();
        let mut left = MAX_DESCRIPTORS;
        for (proc, p) in threads.procs.iter().enumerate() {
            let mut failed = |what: &str, why: &str| {
                let (pid, n) = (p.pid, all.problems.len());
                if n < 16 {
                    let text = format!("{what} of process {pid}: {why}");
                    all.problems.push(text);
                }
            };
            // A kernel process, or one that exits, has none.
            let Ok(table) = t.get(p.address, fd) else { continue };
            if table == 0 {
                continue;
            }
            let read = || {
                let table = Vaddr(t.get(Vaddr(table), files)?);
                Ok((table, t.get(table, count)?))
            };
            let (table, count) = match read() {
                Ok(found) => found,
                Err(e) => {
                    failed("the file table", &read_error_text(&e));
                    continue;
                }
            };
            if count > left {
                failed("some descriptors", "there are too many");
            }
            let count = count.min(left);
            left = left.saturating_sub(count);
            let start = table.0.wrapping_add(first.offset);
            let mut lost = None;
            for number in 0..count {
                let at = start.wrapping_add(number.wrapping_mul(size));
                match t.get(Vaddr(at), file) {
                    Ok(0) => {}
                    Ok(file) => {
                        let file = Vaddr(file);
                        all.list.push(Descriptor { proc, number, file });
                    }
                    Err(e) => {
                        lost = Some((number, read_error_text(&e)));
                        break;
                    }
                }
            }
            if let Some((number, why)) = lost {
                let what = format!("descriptors from {number}");
                let text = format!("{what} of process {}: {why}", p.pid);
                if all.problems.len() < 16 {
                    all.problems.push(text);
                }
            }
        }
        Ok(all)
    }

    /// The processes that have something open, by what `f_data` has: a socket,
    /// a pipe. They are numbers in the list.
    #[must_use]
    pub fn processes(&self, t: &Target<'_>) -> HashMap<u64, Vec<usize>> {
        let mut all: HashMap<u64, Vec<usize>> = HashMap::new();
        let Some(data) = t.types.field("file", "f_data") else { return all };
        // Many descriptors are of one file.
        let mut known: HashMap<u64, Option<u64>> = HashMap::new();
        for &Descriptor { proc, file, .. } in &self.list {
            let data = known.entry(file.0).or_insert_with(|| {
                t.get(file, data).ok().filter(|&data| data != 0)
            });
            let Some(data) = *data else { continue };
            let procs = all.entry(data).or_default();
            if procs.last() != Some(&proc) {
                procs.push(proc);
            }
        }
        all
    }
}
