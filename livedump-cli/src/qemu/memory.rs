// SPDX-License-Identifier: BSD-2-Clause
//! A guest's memory as QEMU's monitor prints it, a page at a time: enough to
//! find out which kernel runs there, without stopping it.

#![forbid(unsafe_code)]

use super::qmp::{Qmp, QmpError};
use livedump_vmcore::MemoryError;
use livedump_vmcore::image::{Claims, Format, MemoryImage, Run};
use livedump_vmcore::source::SourceError;
use memdev::addr::{PAGE_SIZE, Paddr};
use memdev::arch::Machine;
use std::sync::{Arc, Mutex, PoisonError};

const PAGE: u64 = PAGE_SIZE as u64;
/// What is asked for at a time: words, which print shorter than bytes.
const WORDS: usize = 128;
const BYTES: usize = WORDS * 8;
/// No machine of QEMU's has memory between this and 4 GiB. Which of it is there
/// below depends on the machine.
const LOW: u64 = 0xe000_0000;
const HIGH: u64 = 4 << 30;
/// Where there is memory from 4 GiB on, 2 GiB at least are below.
const LEAST_LOW: u64 = 2 << 30;
/// Where QEMU's virt machines have their memory.
const ARM64: u64 = 1 << 30;

/// Memory, by the monitor.
#[derive(Debug)]
pub(super) struct GuestMemory {
    qmp: Arc<Mutex<Qmp>>,
    /// Why nothing more is read.
    failed: Mutex<Option<QmpError>>,
    runs: [Run; 2],
    claims: Claims,
}

impl GuestMemory {
    /// Of a guest with so many bytes.
    pub(super) fn new(
        qmp: Arc<Mutex<Qmp>>,
        machine: Machine,
        bytes: u64,
    ) -> Self {
        let bytes = bytes.saturating_sub(bytes % PAGE);
        let run = |start: u64, bytes: u64| Run {
            start,
            end: start.saturating_add(bytes),
        };
        let runs = match machine {
            Machine::Amd64 => [
                run(0, bytes.min(LOW)),
                run(HIGH, bytes.saturating_sub(LEAST_LOW)),
            ],
            Machine::Arm64 => [run(ARM64, bytes), run(u64::MAX, 0)],
        };
        let claims = Claims::default();
        Self { qmp, failed: Mutex::new(None), runs, claims }
    }

    /// Why nothing more was read.
    pub(super) fn take_error(&self) -> Option<QmpError> {
        let mut failed =
            self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.take()
    }

    /// Reads `out.len()` bytes at a multiple of eight, as many as one command
    /// prints.
    fn ask(&self, at: u64, out: &mut [u8]) -> Option<()> {
        let mut failed =
            self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if failed.is_some() {
            return None;
        }
        let line = format!("xp/{}xg {at:#x}", out.len() / 8);
        let mut qmp = self.qmp.lock().unwrap_or_else(PoisonError::into_inner);
        match qmp.human(&line) {
            Ok(text) => parse(&text, out),
            Err(e) => {
                *failed = Some(e);
                None
            }
        }
    }
}

/// Reads a word by the monitor.
pub(super) fn print(
    qmp: &mut Qmp,
    pa: Paddr,
    word: &mut [u8; 8],
) -> Option<()> {
    let text = qmp.human(&format!("xp/1xg {:#x}", pa.0)).ok()?;
    parse(&text, word)
}

/// The words of "0000000000200000: 0x0001020304050607 0x...", lines of them.
fn parse(text: &str, out: &mut [u8]) -> Option<()> {
    let words = text.lines().flat_map(|line| {
        let (_, words) = line.split_once(':').unwrap_or_default();
        words.split_whitespace()
    });
    let mut words = words.map(|word| {
        let digits = word.strip_prefix("0x")?;
        u64::from_str_radix(digits, 16).ok()
    });
    for to in out.chunks_mut(8) {
        let word = words.next()??.to_le_bytes();
        to.copy_from_slice(word.get(..to.len())?);
    }
    Some(())
}

impl MemoryImage for GuestMemory {
    fn format(&self) -> Format {
        Format::Raw
    }

    fn claims(&self) -> &Claims {
        &self.claims
    }

    fn next_run(&self, from: Paddr) -> Result<Option<Run>, SourceError> {
        let from = from.0.checked_next_multiple_of(PAGE).unwrap_or(u64::MAX);
        Ok(self.runs.into_iter().find_map(|run| {
            let start = run.start.max(from);
            (start < run.end).then_some(Run { start, end: run.end })
        }))
    }

    fn read(&self, pa: Paddr, buf: &mut [u8]) -> Result<(), MemoryError> {
        let end = pa.0.saturating_add(buf.len() as u64);
        let within = |run: &Run| run.start <= pa.0 && end <= run.end;
        if !self.runs.iter().any(within) {
            return Err(MemoryError::NotDumped { pa });
        }
        let (mut at, mut left) = (pa.0, buf);
        while !left.is_empty() {
            let into = (at % 8) as usize;
            let n = left.len().min(BYTES.saturating_sub(into));
            let (part, rest) = left.split_at_mut(n);
            let mut all = [0; BYTES];
            let whole = into.saturating_add(n).next_multiple_of(8);
            let words = all.get_mut(..whole).unwrap_or_default();
            let first = at.saturating_sub(into as u64);
            self.ask(first, words)
                .ok_or(MemoryError::NotDumped { pa: Paddr(at) })?;
            let got = words.get(into..into.saturating_add(n));
            part.copy_from_slice(got.unwrap_or_default());
            at = at.saturating_add(n as u64);
            left = rest;
        }
        Ok(())
    }

    fn end(&self) -> u64 {
        let ends = self.runs.iter().filter(|run| run.start < run.end);
        ends.map(|run| run.end).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_monitor_prints_are_bytes() {
        let text = "0000000000200000: 0x0807060504030201 \
                    0x100f0e0d0c0b0a09\r\n\
                    0000000000200010: 0x1817161514131211\r\n";
        let mut bytes = [0; 24];
        assert_eq!(parse(text, &mut bytes), Some(()));
        assert!(bytes.iter().copied().eq(1..=24));
        assert_eq!(parse(text, &mut [0; 32]), None);
        assert_eq!(parse("Cannot access memory", &mut [0; 8]), None);
        assert_eq!(parse("0: 0xzz", &mut [0; 8]), None);
        assert_eq!(parse("0: 0x11112222333344445", &mut [0; 8]), None);
    }
}
