// SPDX-License-Identifier: BSD-2-Clause
//! The kernel's message buffer: a ring of text with `struct msgbuf` behind it,
//! as `msgbuf_init` lays it out. C: <sys/msgbuf.h>.

use super::memory::Memory;
use livedump_kmod::error::Result;
use memdev::addr::Paddr;
use std::collections::VecDeque;

/// C: `sizeof(struct msgbuf)`.
pub(super) const STRUCT_BYTES: u64 = 72;
/// C: `MSG_MAGIC`.
const MSG_MAGIC: u32 = 0x063062;

// Offsets in struct msgbuf.
const MAGIC: u64 = 8;
const SIZE: u64 = 12;
const WSEQ: u64 = 16;
const CKSUM: u64 = 24;
const SEQMOD: u64 = 28;
const LASTPRI: u64 = 32;

/// The ring.
#[derive(Debug)]
pub(super) struct Ring {
    /// Physical address of the text; memory in one piece.
    text: u64,
    /// C: `msg_size`.
    size: u32,
    wseq: u32,
    cksum: u32,
    /// What a reader should find, kept apart from the memory.
    log: VecDeque<u8>,
}

impl Ring {
    /// Sets up a buffer of `bytes` bytes at `text`, which the kernel sees at
    /// `va`. C: `msgbuf_init`.
    pub(super) fn new(
        mem: &Memory,
        text: u64,
        va: u64,
        bytes: u64,
    ) -> Result<Self> {
        let size = (bytes - STRUCT_BYTES) as u32;
        let log = VecDeque::new();
        let ring = Self { text, size, wseq: 0, cksum: 0, log };
        mem.phys.store(Paddr(ring.header()), va)?;
        ring.put(mem, MAGIC, MSG_MAGIC)?;
        ring.put(mem, SIZE, size)?;
        ring.put(mem, SEQMOD, ring.seqmod())?;
        // No priority yet: -1.
        ring.put(mem, LASTPRI, u32::MAX)?;
        Ok(ring)
    }

    pub(super) fn size(&self) -> u32 {
        self.size
    }

    pub(super) fn header(&self) -> u64 {
        self.text + u64::from(self.size)
    }

    /// Sequence numbers wrap here. C: `SEQMOD`.
    fn seqmod(&self) -> u32 {
        self.size * 16
    }

    fn put(&self, mem: &Memory, field: u64, value: u32) -> Result<()> {
        mem.phys.write(Paddr(self.header() + field), &value.to_le_bytes())
    }

    /// Prints. C: `msgbuf_addstr`.
    pub(super) fn append(&mut self, mem: &Memory, text: &str) -> Result<()> {
        let sum = |b: &[u8]| b.iter().map(|&b| u32::from(b)).sum::<u32>();
        let mut left = text.as_bytes();
        while !left.is_empty() {
            let at = self.wseq % self.size;
            let room = (self.size - at) as usize;
            let (piece, behind) = left.split_at(left.len().min(room));
            let pa = Paddr(self.text + u64::from(at));
            let mut old = vec![0; piece.len()];
            mem.phys.read(pa, &mut old)?;
            mem.phys.write(pa, piece)?;
            self.cksum =
                self.cksum.wrapping_add(sum(piece)).wrapping_sub(sum(&old));
            self.wseq = (self.wseq + piece.len() as u32) % self.seqmod();
            left = behind;
        }
        self.log.extend(text.as_bytes());
        let over = self.log.len().saturating_sub(self.size as usize);
        self.log.drain(..over);
        self.put(mem, CKSUM, self.cksum)?;
        self.put(mem, WSEQ, self.wseq)
    }

    /// The text as it is in memory, not unrolled.
    pub(super) fn copy(&self, mem: &Memory, text: &mut [u8]) {
        text.fill(0);
        let len = text.len().min(self.size as usize);
        if let Some(text) = text.get_mut(..len) {
            let _ = mem.phys.read(Paddr(self.text), text);
        }
    }

    /// All that is still in it, oldest first.
    pub(super) fn log(&self) -> Vec<u8> {
        self.log.iter().copied().collect()
    }
}
