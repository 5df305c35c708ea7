// SPDX-License-Identifier: BSD-2-Clause
//! A kernel with any DWARF and CFI, and a stack of any bytes: functions and
//! lines are found or they are not, and the stack ends, each frame above the
//! one before it unless a trap is between them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use livedump_fuzz::{file, kernel};
use livedump_vmcore::debuginfo::{DebugInfo, Registers};
use livedump_vmcore::elf::Kernel;
use livedump_vmcore::unwind::{Code, How, MAX_FRAMES, Unwinder};
use memdev::arch::Machine;
use object::elf::{SHT_PROGBITS, SHT_STRTAB, SHT_SYMTAB};

const PC: u64 = 0xffff_ffff_8020_0000;
const STACK: u64 = 0xffff_fe00_0000_0000;
const BYTES: u64 = 16 << 10;

struct All<'k>(DebugInfo<'k>);

impl Code for All<'_> {
    fn debug(&self, _: u64) -> Option<&DebugInfo<'_>> {
        Some(&self.0)
    }

    fn symbol(&self, at: u64) -> Option<Vec<u8>> {
        // Every other function is the entry of a trap.
        let name: &[u8] = if at & 0x10 == 0 { b"calltrap" } else { b"f" };
        Some(name.to_vec())
    }

    fn entry(&self, _: &str) -> Option<u64> {
        Some(PC)
    }
}

/// Up to 65,535 bytes, after their number.
fn piece<'a>(data: &mut &'a [u8]) -> &'a [u8] {
    let (n, rest) = match data.split_first_chunk::<2>() {
        Some((n, rest)) => (usize::from(u16::from_le_bytes(*n)), rest),
        None => (0, *data),
    };
    let (piece, rest) = rest.split_at(n.min(rest.len()));
    *data = rest;
    piece
}

fuzz_target!(|data: &[u8]| {
    let mut rest = data;
    let mut next = || piece(&mut rest);
    let (info, abbrev, lines) = (next(), next(), next());
    let (frame, eh_frame, stack) = (next(), next(), next());
    // Of a kernel, symbols are required.
    let elf = kernel(&[
        (".symtab", SHT_SYMTAB, &[0; 24]),
        (".strtab", SHT_STRTAB, &[0]),
        (".debug_info", SHT_PROGBITS, info),
        (".debug_abbrev", SHT_PROGBITS, abbrev),
        (".debug_line", SHT_PROGBITS, lines),
        (".debug_frame", SHT_PROGBITS, frame),
        (".eh_frame", SHT_PROGBITS, eh_frame),
    ]);
    let elf = file(&elf);
    let Ok(kernel) = Kernel::open(elf.path()) else { return };
    let code = All(DebugInfo::new(&kernel, None));
    let read = |at: u64| {
        let at = at.checked_sub(STACK).filter(|&at| at < BYTES - 8);
        let at = at.ok_or("not dumped")? as usize;
        let byte = |n| u64::from(stack.get(at + n).copied().unwrap_or(0));
        Ok((0..8).map(|n| byte(n) << (8 * n)).sum())
    };
    let unwinder = Unwinder { code: &code, memory: &read, with_cfi: true };
    let mut first = Registers::new(Machine::Amd64, PC);
    first.set(7, Some(STACK));
    first.set(6, Some(STACK + 16));
    let found = unwinder.unwind(first, Some((STACK, STACK + BYTES)));
    let on_stack = |f: &&_| -> bool {
        let f: &livedump_vmcore::unwind::Frame = f;
        f.how != How::TailCall
    };
    let frames: Vec<_> = found.frames.iter().filter(on_stack).collect();
    assert!(frames.len() <= MAX_FRAMES + 1);
    for pair in frames.windows(2) {
        let [a, b] = pair else { unreachable!() };
        if b.how != How::Trap
            && let (Some(a), Some(b)) = (a.registers.sp(), b.registers.sp())
        {
            assert!(a < b, "{a:#x}, {b:#x}");
        }
        let _ = code.0.calls(b.at);
    }
});
