// SPDX-License-Identifier: BSD-2-Clause
//! Notes: registers and vmcoreinfo. ELF cores and kdump have the same.
//!
//! QEMU writes, for each CPU, a NT_PRSTATUS as Linux does, whose size differs
//! with the mode the CPU is in, and a note of its own (C: `QEMUCPUState`),
//! which has the control registers. Where both are, the second is used.

use super::{Amd64State, Arm64State, Claims, CpuState, fields};
use crate::source::{Source, SourceError};
use memdev::arch::Machine;

/// Bytes of notes that are looked at: 4096 CPUs have some 3 MB.
const MAX_BYTES: u64 = 16 << 20;
const MAX_NOTES: u64 = 1 << 16;
const MAX_CPUS: usize = 1 << 14;
/// QEMU does not take a longer one from its guest.
const MAX_VMCOREINFO: u64 = 1 << 20;
const HEADER: u64 = 12;
const NT_PRSTATUS: u32 = 1;
/// C: `struct elf_prstatus` of Linux, for two machines.
const AMD64_PRSTATUS: usize = 336;
const ARM64_PRSTATUS: usize = 392;

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Notes {
    /// Whether QEMU wrote them.
    pub(super) qemu: bool,
    /// Whether they do not end as they should.
    pub(super) damaged: bool,
    qemu_cpus: Vec<CpuState>,
    prstatus: Vec<CpuState>,
    vmcoreinfo: Vec<u8>,
}

impl Notes {
    /// Reads `[offset, offset + size)` of a file; registers of another machine
    /// than `machine`, if it is known, are left out.
    pub(super) fn read(
        &mut self,
        source: &dyn Source,
        offset: u64,
        size: u64,
        machine: Option<Machine>,
    ) -> Result<(), SourceError> {
        let end = offset.saturating_add(size.min(MAX_BYTES));
        let mut at = offset;
        let mut left = MAX_NOTES;
        while at.saturating_add(HEADER) <= end {
            let mut head = [0; HEADER as usize];
            let got = source.read_at(at, &mut head)?;
            left = left.saturating_sub(1);
            if left == 0 || got < head.len() {
                self.damaged = true;
                break;
            }
            let name_len = u64::from(fields::u32(&head, 0));
            let len = u64::from(fields::u32(&head, 4));
            let kind = fields::u32(&head, 8);
            let name_at = at.saturating_add(HEADER);
            let pad = |n: u64| n.next_multiple_of(4);
            let desc = name_at.saturating_add(pad(name_len));
            at = desc.saturating_add(pad(len));
            // The last one's padding may be missing.
            if desc.saturating_add(len) > end {
                self.damaged = true;
                break;
            }
            let mut name = [0; 16];
            let n = usize::try_from(name_len).unwrap_or(usize::MAX).min(16);
            let name = name.get_mut(..n).unwrap_or_default();
            source.read_at(name_at, name)?;
            let name = name.strip_suffix(&[0]).unwrap_or(name);
            let keep = match name {
                b"VMCOREINFO" => len.min(MAX_VMCOREINFO),
                _ => len.min(512),
            };
            let mut body = vec![0; keep as usize];
            let got = source.read_at(desc, &mut body)?;
            body.truncate(got);
            self.add(name, kind, body, machine);
        }
        Ok(())
    }

    fn add(
        &mut self,
        name: &[u8],
        kind: u32,
        body: Vec<u8>,
        machine: Option<Machine>,
    ) {
        let fits = |cpu: &CpuState| machine.is_none_or(|m| m == cpu.machine());
        let (cpus, cpu) = match name {
            b"QEMU" => {
                self.qemu = true;
                (&mut self.qemu_cpus, qemu(&body))
            }
            b"CORE" if kind == NT_PRSTATUS => {
                (&mut self.prstatus, prstatus(&body))
            }
            b"VMCOREINFO" => {
                self.vmcoreinfo = body;
                return;
            }
            _ => return,
        };
        if let Some(cpu) = cpu.filter(fits)
            && cpus.len() < MAX_CPUS
        {
            cpus.push(cpu);
        }
    }

    /// The machine whose registers they are.
    pub(super) fn machine(&self) -> Option<Machine> {
        let mut all = self.qemu_cpus.iter().chain(&self.prstatus);
        all.next().map(CpuState::machine)
    }

    /// Puts them where they are looked for.
    pub(super) fn into_claims(self, claims: &mut Claims) {
        claims.cpus = match self.qemu_cpus.is_empty() {
            false => self.qemu_cpus,
            true => self.prstatus,
        };
        if claims.vmcoreinfo.is_empty() {
            claims.vmcoreinfo = self.vmcoreinfo;
        }
        claims.system = linux(&claims.vmcoreinfo);
        if self.damaged {
            claims.notes.push("its notes are damaged".into());
        }
    }
}

/// A system and its release, if they are as they should be.
pub(super) fn system(name: &[u8], release: &[u8]) -> Option<String> {
    let text = |bytes| {
        let text: &str = std::str::from_utf8(bytes).ok()?;
        let plain = text.bytes().all(|b| b.is_ascii_graphic());
        (plain && !text.is_empty() && text.len() <= 64).then_some(text)
    };
    Some(format!("{} {}", text(name)?, text(release)?))
}

/// What a vmcoreinfo is of that has a symbol which only Linux has.
fn linux(vmcoreinfo: &[u8]) -> Option<String> {
    let value = |key: &[u8]| {
        let mut lines = vmcoreinfo.split(|&b| b == b'\n');
        lines.find_map(|line| line.strip_prefix(key))
    };
    value(b"SYMBOL(init_uts_ns)=")?;
    system(b"Linux", value(b"OSRELEASE=")?)
}

/// C: `QEMUCPUState` of QEMU's target/i386/arch_dump.c, version 1: size, 18
/// registers, 10 segments of 24 bytes, cr0 to cr4, kernel_gs_base.
fn qemu(body: &[u8]) -> Option<CpuState> {
    if body.len() < 432 || fields::u32(body, 0) != 1 {
        return None;
    }
    let at = |offset| fields::u64(body, offset);
    Some(CpuState::Amd64(Amd64State {
        pcb: [128, 120, 112, 104, 64, 56, 16, 136].map(at),
        cs: u64::from(fields::u32(body, 152)),
        gs_base: at(264),
        // Absent before QEMU 3.0.
        kernel_gs_base: at(432),
        cr3: at(416),
        cr4: at(424),
    }))
}

/// C: `struct elf_prstatus` of Linux; registers at 112. Their size tells the
/// machine.
fn prstatus(body: &[u8]) -> Option<CpuState> {
    let at = |register| fields::u64(body, 112usize.saturating_add(register));
    match body.len() {
        // r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax
        // rip cs eflags rsp ss fs_base gs_base
        AMD64_PRSTATUS => Some(CpuState::Amd64(Amd64State {
            pcb: [0, 8, 16, 24, 32, 152, 40, 128].map(at),
            cs: at(136),
            gs_base: at(176),
            ..Amd64State::default()
        })),
        // x0 to x30, sp, pc, pstate
        ARM64_PRSTATUS => Some(CpuState::Arm64(Arm64State {
            x: std::array::from_fn(|n| at(n.saturating_mul(8))),
            sp: at(248),
            pc: at(256),
            pstate: at(264),
        })),
        _ => None,
    }
}

/// NUMBER(`name`) of a vmcoreinfo, in decimal as makedumpfile, crash and
/// libkdumpfile read it; QEMU reads hexadecimal.
pub(super) fn number(vmcoreinfo: &[u8], name: &str) -> Option<u64> {
    let key = format!("NUMBER({name})=");
    vmcoreinfo
        .split(|&b| b == b'\n')
        .find_map(|line| line.strip_prefix(key.as_bytes()))
        .and_then(|value| std::str::from_utf8(value).ok()?.trim().parse().ok())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::source::Plain;
    use std::io::Write;
    use std::sync::Arc;

    #[test]
    fn linux_is_known_by_a_symbol_of_its_own() {
        let text = b"OSRELEASE=6.1.0-56\nSYMBOL(init_uts_ns)=ffffffff82bf9b60";
        assert_eq!(linux(text).as_deref(), Some("Linux 6.1.0-56"));
        assert_eq!(linux(b"OSRELEASE=15.1-RELEASE\n"), None);
        let text = b"OSRELEASE=\x1b[2J\nSYMBOL(init_uts_ns)=0";
        assert_eq!(linux(text), None);
    }

    /// One note, padded.
    pub fn note(name: &[u8], kind: u32, body: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend((name.len() as u32 + 1).to_le_bytes());
        out.extend((body.len() as u32).to_le_bytes());
        out.extend(kind.to_le_bytes());
        for part in [&[name, &[0]].concat()[..], body] {
            out.extend(part);
            out.resize(out.len().next_multiple_of(4), 0);
        }
        out
    }

    /// QEMU's of a CPU; each register has its offset and `cpu`.
    pub fn qemu_note(cpu: u64) -> Vec<u8> {
        let mut body = [0; 440];
        for at in (8..440).step_by(8) {
            let value = cpu << 32 | at as u64;
            body[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        body[0] = 1;
        note(b"QEMU", 0, &body)
    }

    fn read_notes(bytes: &[u8], machine: Option<Machine>) -> Notes {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        let len = bytes.len() as u64;
        let source = Plain::new(Arc::new(file), len);
        let mut notes = Notes::default();
        notes.read(&source, 0, len, machine).unwrap();
        notes
    }

    fn read(bytes: &[u8]) -> Claims {
        let mut claims = Claims::default();
        let notes = read_notes(bytes, Some(Machine::Amd64));
        notes.into_claims(&mut claims);
        claims
    }

    #[track_caller]
    fn amd64(cpu: &CpuState) -> &Amd64State {
        match cpu {
            CpuState::Amd64(state) => state,
            CpuState::Arm64(_) => panic!("{cpu:?}"),
        }
    }

    #[test]
    fn registers_are_where_qemu_has_them() {
        let bytes = [
            note(b"CORE", 1, &[7; 336]),
            qemu_note(0),
            qemu_note(1),
            note(b"VMCOREINFO", 0, b"OSRELEASE=15.1\nNUMBER(phys_base)=16\n"),
        ];
        let claims = read(&bytes.concat());
        assert_eq!(claims.cpus.len(), 2);
        let cpu = amd64(&claims.cpus[1]);
        let one = |n: u64| 1 << 32 | n;
        assert_eq!(cpu.pcb, [128, 120, 112, 104, 64, 56, 16, 136].map(one));
        assert_eq!((cpu.gs_base, cpu.kernel_gs_base), (one(264), one(432)));
        assert_eq!((cpu.cs, cpu.cr3, cpu.cr4), (152, one(416), one(424)));
        assert_eq!(number(&claims.vmcoreinfo, "phys_base"), Some(16));
        assert_eq!(number(&claims.vmcoreinfo, "kernphys"), None);
        assert!(claims.notes.is_empty(), "{:?}", claims.notes);
    }

    #[test]
    fn without_qemus_notes_linux_ones_serve() {
        let mut body = [0; 336];
        for (i, at) in (112..328).step_by(8).enumerate() {
            body[at] = i as u8;
        }
        let claims = read(&note(b"CORE", 1, &body));
        let cpu = amd64(&claims.cpus[0]);
        assert_eq!(cpu.pcb, [0, 1, 2, 3, 4, 19, 5, 16]);
        assert_eq!((cpu.cs, cpu.gs_base, cpu.cr3), (17, 22, 0));
    }

    #[test]
    fn the_size_of_arm64s_registers_tells_the_machine() {
        let mut body = [0; 392];
        for (i, at) in (112..384).step_by(8).enumerate() {
            body[at] = i as u8;
        }
        let bytes = note(b"CORE", 1, &body);
        for (machine, taken) in [
            (None, true),
            (Some(Machine::Arm64), true),
            (Some(Machine::Amd64), false),
        ] {
            let notes = read_notes(&bytes, machine);
            assert_eq!(notes.machine(), taken.then_some(Machine::Arm64));
        }
        let mut claims = Claims::default();
        read_notes(&bytes, None).into_claims(&mut claims);
        let state = Arm64State {
            x: std::array::from_fn(|n| n as u64),
            sp: 31,
            pc: 32,
            pstate: 33,
        };
        assert_eq!(claims.cpus, [CpuState::Arm64(state)]);
    }

    #[test]
    fn registers_of_other_machines_are_not_taken_for_amd64s() {
        for len in [144, 392, 400] {
            let bytes = note(b"CORE", 1, &vec![7; len]);
            let notes = read_notes(&bytes, Some(Machine::Amd64));
            assert!(notes.prstatus.is_empty(), "{len}");
        }
        let bytes = [note(b"CORE", 1, &[7; 336]), qemu_note(0)].concat();
        let notes = read_notes(&bytes, Some(Machine::Arm64));
        assert_eq!((notes.machine(), notes.qemu), (None, true));
    }

    #[test]
    fn sizes_that_lie_end_the_notes() {
        for at in [0, 4] {
            let mut bytes = [qemu_note(0), qemu_note(1)].concat();
            bytes[at..at + 4].copy_from_slice(&[0xff; 4]);
            let claims = read(&bytes);
            assert!(claims.cpus.is_empty());
            assert_eq!(claims.notes, ["its notes are damaged"]);
        }
        let bytes = qemu_note(0);
        assert!(read(&bytes[..bytes.len() - 30]).cpus.is_empty());
    }
}
