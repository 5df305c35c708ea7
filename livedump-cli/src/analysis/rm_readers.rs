// SPDX-License-Identifier: BSD-2-Clause
//! Who holds an rmlock(9) for reading, as far as it is recorded: a writer has
//! all readers link their trackers to the lock. C: `_rm_wlock`,
//! `rm_activeReaders`, <sys/_rmlock.h>.

use super::target::{Target, at};
use memdev::addr::Vaddr;

/// Readers of one lock that are looked at.
const MAX_READERS: usize = 4096;

/// Whether `thread` is among the readers whose trackers are linked to the
/// rmlock at `lock`; `None` where that cannot be told.
pub(super) fn is_reader(
    t: &Target<'_>,
    lock: Vaddr,
    thread: Vaddr,
) -> Option<bool> {
    let tracker = |name| t.types.field("rm_priotracker", name);
    let head = t.types.field("rmlock", "rm_activeReaders")?;
    let (entry, of, td) = (
        tracker("rmp_qentry")?,
        tracker("rmp_rmlock")?,
        tracker("rmp_thread")?,
    );
    let word = |at| t.core.read_u64(at).ok();
    let mut next = word(at(lock, head))?;
    for _ in 0..MAX_READERS {
        if next == 0 {
            return Some(false);
        }
        let reader = Vaddr(next);
        // Another lock's tracker was unlinked while the dump was taken.
        if word(at(reader, of))? != lock.0 {
            return None;
        }
        if word(at(reader, td))? == thread.0 {
            return Some(true);
        }
        next = word(at(reader, entry))?;
    }
    None
}
