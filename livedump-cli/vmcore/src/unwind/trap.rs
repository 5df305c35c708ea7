// SPDX-License-Identifier: BSD-2-Clause
//! Trap frames: what the entry of a trap or an interrupt has saved. Its stack
//! pointer is at it when it calls on. C: `struct trapframe`,
//! <machine/frame.h>; `db_nextframe`, sys/amd64/amd64/db_trace.c.

use crate::debuginfo::{self, Registers};
use memdev::arch::Machine;

/// C: `GSEL(GCODE_SEL, SEL_KPL)`, `GSEL(GDATA_SEL, SEL_KPL)`.
const KERNEL_CS: u64 = 0x20;
const KERNEL_SS: [u64; 2] = [0, 0x28];
/// Bits that are always set in rflags, and that never are.
const RFLAGS_ONE: u64 = 2;
const RFLAGS_ZERO: u64 = 0xffff_ffff_ffc0_8028;
/// C: `PSR_M_MASK`, `PSR_M_EL0t`, `PSR_M_EL1t`, `PSR_M_EL1h`.
const PSR_M: u64 = 0xf;
const PSR_EL1: [u64; 2] = [4, 5];

/// Registers of amd64 by their numbers in DWARF, with their offsets.
const AMD64: [(u16, u64); 15] = [
    (5, 0x00),
    (4, 0x08),
    (1, 0x10),
    (2, 0x18),
    (8, 0x20),
    (9, 0x28),
    (0, 0x30),
    (3, 0x38),
    (6, 0x40),
    (10, 0x48),
    (11, 0x50),
    (12, 0x58),
    (13, 0x60),
    (14, 0x68),
    (15, 0x70),
];
const AMD64_RIP: u64 = 0x98;
const AMD64_CS: u64 = 0xa0;
const AMD64_RFLAGS: u64 = 0xa8;
const AMD64_RSP: u64 = 0xb0;
const AMD64_SS: u64 = 0xb8;
/// `tf_sp`, `tf_lr`, `tf_elr`, `tf_spsr`.
const ARM64_LR: u64 = 8;
const ARM64_ELR: u64 = 16;
const ARM64_SPSR: u64 = 24;
/// Where `tf_x` is, the last there is: with `tf_far`, as in 15.1; with wider
/// ones before it; as in 12.1 and 13.2.
const ARM64_X: [u64; 3] = [48, 40, 32];
/// `tf_x[30]`.
const ARM64_X_BYTES: u64 = 240;
/// What the entry leaves between the frame and what was interrupted: in 15.1,
/// and with a frame record, as in 13.2. C: `save_registers_head`.
const ARM64_GAPS: [u64; 2] = [128, 144];

/// What was interrupted.
#[derive(Debug)]
pub(super) enum From {
    User,
    Kernel(Box<Registers>),
}

/// Whether a function is the entry of traps, interrupts or system calls. C:
/// sys/amd64/amd64/exception.S, apic_vector.S; sys/arm64/arm64/exception.S.
pub(super) fn is_entry(machine: Machine, name: &[u8]) -> bool {
    match machine {
        Machine::Amd64 => {
            name.ends_with(b"calltrap")
                || name.starts_with(b"alltraps")
                || name.starts_with(b"fast_syscall")
                || name.starts_with(b"doreti")
                || name.starts_with(b"X")
        }
        Machine::Arm64 => name.starts_with(b"handle_el"),
    }
}

/// What the frame with these registers, one of an entry, was called by.
pub(super) fn read(
    of: &Registers,
    memory: &dyn Fn(u64) -> Result<u64, String>,
) -> Option<From> {
    match of.machine() {
        Machine::Amd64 => amd64(of.sp()?, memory),
        Machine::Arm64 => {
            let fp = of.fp().filter(|fp| fp.is_multiple_of(8))?;
            ARM64_X.iter().find_map(|&x| arm64(fp, x, memory))
        }
    }
}

/// The frame pointer of an entry is behind its trap frame.
fn arm64(
    fp: u64,
    x: u64,
    memory: &dyn Fn(u64) -> Result<u64, String>,
) -> Option<From> {
    let at = fp.checked_sub(x.saturating_add(ARM64_X_BYTES))?;
    let get = |n: u64| memory(at.wrapping_add(n)).ok();
    let pc = super::code(Machine::Arm64, get(ARM64_ELR)?);
    let mode = get(ARM64_SPSR)? & PSR_M;
    if mode == 0 && pc >> 63 == 0 {
        return Some(From::User);
    }
    let sp = get(0)?;
    let gap = sp.wrapping_sub(fp);
    if !PSR_EL1.contains(&mode) || pc >> 63 == 0 || !ARM64_GAPS.contains(&gap) {
        return None;
    }
    let mut out = Registers::new(Machine::Arm64, pc);
    out.set(debuginfo::sp(Machine::Arm64), Some(sp));
    out.set(30, get(ARM64_LR));
    for n in 0..30u16 {
        let offset = u64::from(n).saturating_mul(8).saturating_add(x);
        out.set(n, get(offset));
    }
    Some(From::Kernel(Box::new(out)))
}

fn amd64(at: u64, memory: &dyn Fn(u64) -> Result<u64, String>) -> Option<From> {
    if !at.is_multiple_of(8) {
        return None;
    }
    let get = |n: u64| memory(at.wrapping_add(n)).ok();
    let (pc, cs) = (get(AMD64_RIP)?, get(AMD64_CS)?);
    let flags = get(AMD64_RFLAGS)?;
    let valid = flags & RFLAGS_ONE != 0 && flags & RFLAGS_ZERO == 0;
    if valid && cs & 3 == 3 && cs < 0x80 {
        return Some(From::User);
    }
    let (sp, ss) = (get(AMD64_RSP)?, get(AMD64_SS)?);
    let kernel = cs == KERNEL_CS && KERNEL_SS.contains(&ss);
    if !valid || !kernel || pc >> 63 == 0 || sp >> 63 == 0 {
        return None;
    }
    let mut out = Registers::new(Machine::Amd64, pc);
    for (n, offset) in AMD64 {
        out.set(n, get(offset));
    }
    out.set(debuginfo::sp(Machine::Amd64), Some(sp));
    Some(From::Kernel(Box::new(out)))
}
