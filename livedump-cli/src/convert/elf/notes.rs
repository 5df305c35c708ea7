// SPDX-License-Identifier: BSD-2-Clause
//! Threads as the notes of a process core. lldb takes FreeBSD's, which have
//! names; gdb as it is built on Linux takes Linux's, and calls a thread an
//! LWP. No file has both: gdb reads all notes and would have every thread
//! twice.
//!
//! ```text
//!  for lldb  "FreeBSD"  NT_PRPSINFO, then for each thread NT_PRSTATUS
//!                       and NT_THRMISC, its name
//!  for gdb   "CORE"     NT_PRPSINFO, then for each thread NT_PRSTATUS
//! ```
//!
//! C: <sys/procfs.h>, <machine/reg.h>; Linux: <linux/elfcore.h>,
//! `user_regs_struct`.

use crate::analysis::stack::Saved;
use clap::ValueEnum;
use memdev::arch::Machine;

const NT_PRSTATUS: u32 = 1;
const NT_PRPSINFO: u32 = 3;
const NT_THRMISC: u32 = 7;
/// What a kernel is run with. C: `GSEL(GCODE_SEL, SEL_KPL)`.
const KERNEL_CS: u64 = 0x20;
const KERNEL_DS: u64 = 0x28;
/// Interrupts enabled; nothing else is known.
const RFLAGS: u64 = 0x202;
/// C: `PSR_M_EL1h`.
const SPSR: u64 = 5;
const NAME: &str = "kernel";

/// Which debugger a core is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, ValueEnum)]
pub enum Debugger {
    /// LLDB, on any system
    #[default]
    Lldb,
    /// GDB as Linux distributions build it
    Gdb,
}

/// A thread of the kernel.
#[derive(Clone, Debug)]
pub struct Thread {
    /// Its id.
    pub tid: i32,
    /// Its name.
    pub name: Vec<u8>,
    /// Its registers, if they are known.
    pub saved: Option<Saved>,
}

/// All of them, the current one first.
#[derive(Clone, Debug)]
pub struct Threads {
    /// Who reads them.
    pub debugger: Debugger,
    /// C: `__FreeBSD_version`.
    pub osreldate: u32,
    /// The threads.
    pub list: Vec<Thread>,
}

impl Threads {
    /// The contents of PT_NOTE.
    pub(super) fn notes(&self, machine: Machine) -> Vec<u8> {
        let mut out = Vec::new();
        match self.debugger {
            Debugger::Lldb => {
                note(&mut out, b"FreeBSD\0", NT_PRPSINFO, &freebsd_psinfo());
                for t in &self.list {
                    let status = self.freebsd_status(machine, t);
                    note(&mut out, b"FreeBSD\0", NT_PRSTATUS, &status);
                    let misc = text(&t.name, 20, 24);
                    note(&mut out, b"FreeBSD\0", NT_THRMISC, &misc);
                }
            }
            Debugger::Gdb => {
                note(&mut out, b"CORE\0", NT_PRPSINFO, &linux_psinfo());
                for t in &self.list {
                    let status = linux_status(machine, t);
                    note(&mut out, b"CORE\0", NT_PRSTATUS, &status);
                }
            }
        }
        out
    }

    /// C: `struct prstatus`.
    fn freebsd_status(&self, machine: Machine, t: &Thread) -> Vec<u8> {
        let regs = match machine {
            Machine::Amd64 => freebsd_amd64(t.saved.as_ref()),
            Machine::Arm64 => arm64(t.saved.as_ref()),
        };
        let size = 48u64.saturating_add(regs.len() as u64);
        let mut out = Vec::new();
        for word in [1, size, regs.len() as u64, 512] {
            out.extend(word.to_le_bytes());
        }
        for n in [self.osreldate, 0, t.tid.cast_unsigned(), 0] {
            out.extend(n.to_le_bytes());
        }
        out.extend(regs);
        out
    }
}

fn note(out: &mut Vec<u8>, name: &[u8], kind: u32, desc: &[u8]) {
    for n in [name.len() as u32, desc.len() as u32, kind] {
        out.extend(n.to_le_bytes());
    }
    for part in [name, desc] {
        out.extend(part);
        out.resize(out.len().next_multiple_of(4), 0);
    }
}

/// At most `limit` - 1 bytes of a text, in `size` bytes.
fn text(text: &[u8], limit: usize, size: usize) -> Vec<u8> {
    let end = text.iter().position(|&b| b == 0).unwrap_or(text.len());
    let end = end.min(limit.saturating_sub(1));
    let mut out = text.get(..end).unwrap_or_default().to_vec();
    out.resize(size, 0);
    out
}

/// C: `struct prpsinfo`.
fn freebsd_psinfo() -> Vec<u8> {
    let mut out = 1u64.to_le_bytes().to_vec();
    out.extend(120u64.to_le_bytes());
    out.extend(text(NAME.as_bytes(), 17, 17));
    out.extend(text(NAME.as_bytes(), 81, 81));
    out.resize(120, 0);
    out
}

/// Linux: `struct elf_prpsinfo`.
fn linux_psinfo() -> Vec<u8> {
    let mut out = vec![0; 40];
    out.extend(text(NAME.as_bytes(), 16, 16));
    out.extend(text(NAME.as_bytes(), 80, 80));
    out
}

/// A register by its number in DWARF; 0 where it is not known.
fn register(saved: Option<&Saved>, number: u16) -> u64 {
    let find = |s: &Saved| {
        s.general.iter().find(|(n, _)| *n == number).map(|(_, value)| *value)
    };
    saved.and_then(find).unwrap_or(0)
}

/// C: `struct reg`: r15 to r8, rdi, rsi, rbp, rbx, rdx, rcx, rax; trapno, fs,
/// gs, err, es, ds; rip, cs, rflags, rsp, ss.
fn freebsd_amd64(saved: Option<&Saved>) -> Vec<u8> {
    const ORDER: [u16; 15] =
        [15, 14, 13, 12, 11, 10, 9, 8, 5, 4, 6, 3, 1, 2, 0];
    let (pc, sp) = saved.map_or((0, 0), |s| (s.pc, s.sp));
    let general = ORDER.map(|n| register(saved, n));
    let rest = [0, 0, pc, KERNEL_CS, RFLAGS, sp, KERNEL_DS];
    general.into_iter().chain(rest).flat_map(u64::to_le_bytes).collect()
}

/// x0 to x30, sp, pc, pstate; both systems'.
fn arm64(saved: Option<&Saved>) -> Vec<u8> {
    let (pc, sp) = saved.map_or((0, 0), |s| (s.pc, s.sp));
    let general = (0..31).map(|n| register(saved, n));
    general.chain([sp, pc, SPSR]).flat_map(u64::to_le_bytes).collect()
}

/// Linux' `user_regs_struct`: r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx
/// rdx rsi rdi orig_rax rip cs eflags rsp ss fs_base gs_base ds es fs gs.
fn linux_amd64(saved: Option<&Saved>) -> Vec<u8> {
    const ORDER: [u16; 15] =
        [15, 14, 13, 12, 6, 3, 11, 10, 9, 8, 0, 2, 1, 4, 5];
    let (pc, sp) = saved.map_or((0, 0), |s| (s.pc, s.sp));
    let general = ORDER.map(|n| register(saved, n));
    let rest = [u64::MAX, pc, KERNEL_CS, RFLAGS, sp, KERNEL_DS];
    let all = general.into_iter().chain(rest).chain([0; 6]);
    all.flat_map(u64::to_le_bytes).collect()
}

/// Linux: `struct elf_prstatus`.
fn linux_status(machine: Machine, t: &Thread) -> Vec<u8> {
    let mut out = vec![0; 32];
    out.extend(t.tid.to_le_bytes());
    out.resize(112, 0);
    out.extend(match machine {
        Machine::Amd64 => linux_amd64(t.saved.as_ref()),
        Machine::Arm64 => arm64(t.saved.as_ref()),
    });
    // No floating point, and the padding.
    out.extend([0; 8]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thread() -> Thread {
        Thread {
            tid: 100_123,
            name: b"a name of more than twenty bytes".to_vec(),
            saved: Some(Saved {
                pc: 0x11,
                sp: 0x22,
                general: (0..31).map(|n| (n, 0x100 + u64::from(n))).collect(),
            }),
        }
    }

    fn word(bytes: &[u8], at: usize) -> u64 {
        u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
    }

    #[test]
    fn freebsds_prstatus_is_laid_out_as_its_headers_say() {
        let threads = Threads {
            debugger: Debugger::Lldb,
            osreldate: 1_501_000,
            list: vec![thread()],
        };
        let s = threads.freebsd_status(Machine::Amd64, &thread());
        assert_eq!((s.len(), word(&s, 8), word(&s, 16)), (224, 224, 176));
        assert_eq!(word(&s, 32), 1_501_000);
        assert_eq!(word(&s, 40), 100_123);
        // r15, rdi, rbp, rax, rip, rsp.
        for (at, want) in [
            (48, 0x10f),
            (112, 0x105),
            (128, 0x106),
            (160, 0x100),
            (184, 0x11),
            (208, 0x22),
        ] {
            assert_eq!(word(&s, at), want, "{at}");
        }
        let s = threads.freebsd_status(Machine::Arm64, &thread());
        assert_eq!((s.len(), word(&s, 16)), (320, 272));
        assert_eq!(
            (word(&s, 48 + 30 * 8), word(&s, 48 + 32 * 8)),
            (0x11e, 0x11)
        );
        let name = text(&thread().name, 20, 24);
        assert_eq!(name, b"a name of more than\0\0\0\0\0");
        assert_eq!((freebsd_psinfo().len(), linux_psinfo().len()), (120, 136));
    }

    #[test]
    fn linux_prstatus_is_laid_out_as_its_headers_say() {
        let s = linux_status(Machine::Amd64, &thread());
        assert_eq!((s.len(), word(&s, 32)), (336, 100_123));
        // r15, rbp, rbx, rip, rsp.
        for (at, want) in
            [(0, 0x10f), (4, 0x106), (5, 0x103), (16, 0x11), (19, 0x22)]
        {
            assert_eq!(word(&s, 112 + at * 8), want, "{at}");
        }
        let s = linux_status(Machine::Arm64, &thread());
        assert_eq!((s.len(), word(&s, 112 + 32 * 8)), (392, 0x11));
    }
}
