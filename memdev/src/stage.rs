// SPDX-License-Identifier: BSD-2-Clause
//! How far a dump got. The stock request answers with an errno alone; ours
//! also report the stage, so that a tool can report *what* ran out of space.

/// A stage of one dump, in the order they are passed through; those from
/// `Quiesce` on came later, and only some dumps have them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u32)]
pub enum Stage {
    /// No dump is running.
    #[default]
    Idle = 0,
    /// Request, privilege, descriptor and compressor are being checked.
    Check = 1,
    /// Waiting for another dump, the range lock, or a handler's consent.
    Lock = 2,
    /// Walking the kernel's page tables.
    Scan = 3,
    /// Sizes, and the memory the dump needs.
    Plan = 4,
    /// Emptying the file.
    Truncate = 5,
    /// Writing the minidump header.
    Header = 6,
    /// Writing the message buffer.
    Msgbuf = 7,
    /// Writing dump_avail.
    DumpAvail = 8,
    /// Writing the page bitset.
    Bitmap = 9,
    /// Writing the page tables of the kernel map.
    Pmap = 10,
    /// Writing the data pages.
    Pages = 11,
    /// Flushing, and writing the kernel dump header.
    Finish = 12,
    /// Complete.
    Done = 13,
    /// After `Lock`: waiting until user processes are suspended.
    Quiesce = 14,
    /// After `Finish`: reading the pages again, to see which changed.
    Stability = 15,
    /// After `Plan`: taking the memory for the copy, and measuring how fast it
    /// is filled.
    Prepare = 16,
    /// After `Prepare`: all CPUs are stopped, and pages are copied.
    Freeze = 17,
}

impl Stage {
    const ALL: [Stage; 18] = [
        Stage::Idle,
        Stage::Check,
        Stage::Lock,
        Stage::Scan,
        Stage::Plan,
        Stage::Truncate,
        Stage::Header,
        Stage::Msgbuf,
        Stage::DumpAvail,
        Stage::Bitmap,
        Stage::Pmap,
        Stage::Pages,
        Stage::Finish,
        Stage::Done,
        Stage::Quiesce,
        Stage::Stability,
        Stage::Prepare,
        Stage::Freeze,
    ];

    /// The stage a number stands for; `None` for one a newer kernel made.
    #[must_use]
    pub fn from_u32(n: u32) -> Option<Stage> {
        Self::ALL.get(n as usize).copied()
    }

    /// What was being done, for messages: "writing page bitset".
    #[must_use]
    pub fn doing(self) -> &'static str {
        match self {
            Stage::Idle => "idle",
            Stage::Check => "checking the request",
            Stage::Lock => "waiting for the dump locks",
            Stage::Scan => "walking the kernel map",
            Stage::Plan => "planning the dump",
            Stage::Truncate => "truncating the file",
            Stage::Header => "writing minidump header",
            Stage::Msgbuf => "writing message buffer",
            Stage::DumpAvail => "writing dump_avail",
            Stage::Bitmap => "writing page bitset",
            Stage::Pmap => "writing page tables",
            Stage::Pages => "writing data pages",
            Stage::Finish => "writing kernel dump header",
            Stage::Done => "done",
            Stage::Quiesce => "suspending user processes",
            Stage::Stability => "reading the pages again",
            Stage::Prepare => "taking memory for the copy",
            Stage::Freeze => "copying pages with all CPUs stopped",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stage_has_its_number() {
        for (n, s) in Stage::ALL.into_iter().enumerate() {
            assert_eq!(s as usize, n);
            assert_eq!(Stage::from_u32(n as u32), Some(s));
        }
        assert_eq!(Stage::from_u32(18), None);
    }
}
