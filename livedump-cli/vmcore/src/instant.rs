// SPDX-License-Identifier: BSD-2-Clause
//! Dumps of one instant: all CPUs were stopped while their pages were copied.
//! What may be torn in a dump of a machine that runs is whole in them, or a
//! thread was changing it, which then holds its lock.

use super::elf::Kernel;
use super::procs::Problem;
use super::{ReadError, Vmcore};
use memdev::addr::{PAGE_SIZE, Vaddr};
use memdev::freeze::{FreezeRecord, RecordError};

/// Of `struct lock_object`, which has had this size since 7.0: lo_name at 0,
/// lo_flags at 8. The lock's word follows it. C: <sys/_lock.h>, <sys/_sx.h>,
/// <sys/_mutex.h>.
const LOCK_OBJECT_BYTES: u64 = 24;
/// C: `LO_INITIALIZED`.
const LO_INITIALIZED: u32 = 0x10000;
/// What of a lock's word is no address of a thread.
const WORD_FLAGS: u64 = 0x1f;
/// C: `SX_LOCK_SHARED`.
const SX_LOCK_SHARED: u64 = 1;
/// C: `MTX_DESTROYED`.
const MTX_DESTROYED: u64 = 4;
/// No `struct proc` is larger.
const PROC_BYTES: usize = PAGE_SIZE;
/// The name of `p_mtx`. C: `proc_init`, kern_proc.c.
const P_MTX: &[u8] = b"process lock";
/// That of `allproc_lock`. C: `procinit`, kern_proc.c.
const ALLPROC_LOCK: &[u8] = b"allproc";

impl Vmcore {
    /// The instant that all its pages are of; `None` where it says nothing of
    /// one: the machine ran, or panicked.
    ///
    /// # Errors
    /// It says something that is not understood: what it is of is not known.
    pub fn instant(&self) -> Result<Option<&FreezeRecord>, RecordError> {
        match &self.instant {
            Ok(record) => Ok(record.as_ref()),
            Err(e) => Err(*e),
        }
    }

    /// Whether all its pages are of one instant.
    #[must_use]
    pub fn is_frozen(&self) -> bool {
        matches!(self.instant, Ok(Some(_)))
    }

    /// In a dump of one instant: whether the list that a problem is about was
    /// being changed then, so that its lock is held. `None` where that cannot
    /// be told, as in every other dump.
    #[must_use]
    pub fn is_being_changed(
        &self,
        kernel: &Kernel,
        problem: &Problem,
    ) -> Option<bool> {
        let Problem::BackLink { process, .. } = problem else { return None };
        if !self.is_frozen() {
            return None;
        }
        let held = match process {
            None => {
                let at = kernel.find("allproc_lock")?.address;
                let word = self.lock_word(at, ALLPROC_LOCK).ok()??;
                word & SX_LOCK_SHARED == 0 && word & !WORD_FLAGS != 0
            }
            Some(process) => {
                let word = self.lock_in(*process, P_MTX)?;
                word & MTX_DESTROYED == 0 && word & !WORD_FLAGS != 0
            }
        };
        Some(held)
    }

    /// The word of the lock of this name within a structure, whose offset need
    /// not be known.
    fn lock_in(&self, structure: Vaddr, name: &[u8]) -> Option<u64> {
        let offsets = (0..PROC_BYTES as u64).step_by(8);
        offsets
            .map_while(|offset| {
                let at = structure.0.checked_add(offset)?;
                // Where the structure's page ends what is read may, too.
                Some(self.lock_word(Vaddr(at), name).ok().flatten())
            })
            .flatten()
            .next()
    }

    /// The word of the lock at an address; `None` where there is none of this
    /// name.
    fn lock_word(
        &self,
        at: Vaddr,
        name: &[u8],
    ) -> Result<Option<u64>, ReadError> {
        let field = |offset| Vaddr(at.0.wrapping_add(offset));
        let flags = self.read_u32(field(8))?;
        if flags & LO_INITIALIZED == 0 {
            return Ok(None);
        }
        let text = Vaddr(self.read_u64(at)?);
        let mut found = vec![0; name.len().saturating_add(1)];
        let is_it = self.read_va(text, &mut found).is_ok()
            && found.strip_suffix(&[0]) == Some(name);
        if !is_it {
            return Ok(None);
        }
        Ok(Some(self.read_u64(field(LOCK_OBJECT_BYTES))?))
    }
}
