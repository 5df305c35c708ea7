// SPDX-License-Identifier: BSD-2-Clause
//! A CPU's registers, and which of them a kernel keeps where in a pcb.
//! C: `makectx`, <machine/pcb.h>.

use memdev::arch::Machine;

/// The privilege level of amd64's user mode.
const USER: u64 = 3;
/// The exception level of arm64's `pstate`; 0 is user mode.
const LEVEL: u64 = 3 << 2;
/// The register that has the address of arm64's pcpu.
const PCPU: usize = 18;
/// C: `PCB_X_START`.
const FIRST_SAVED: usize = 19;
/// arm64's pcb has callee-saved registers only from this
/// `__FreeBSD_version` on.
const SHORT_ARM64_PCB: u32 = 1_400_084;

/// A CPU's registers, as a hypervisor wrote them into a note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CpuState {
    /// Those of amd64.
    Amd64(Amd64State),
    /// Those of arm64.
    Arm64(Arm64State),
}

/// Registers of a CPU of amd64.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Amd64State {
    /// r15 r14 r13 r12 rbp rsp rbx rip: as a pcb begins.
    pub pcb: [u64; 8],
    /// Code segment: the low two bits are the privilege level.
    pub cs: u64,
    /// Base of gs.
    pub gs_base: u64,
    /// What swapgs would exchange it with.
    pub kernel_gs_base: u64,
    /// Root of the page tables; 0 where the note has none.
    pub cr3: u64,
    /// Bit 12 is LA57.
    pub cr4: u64,
}

/// Registers of a CPU of arm64.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arm64State {
    /// x0 to x30. x18 of a CPU in the kernel is the address of its pcpu.
    pub x: [u64; 31],
    /// Its stack.
    pub sp: u64,
    /// Where it goes on.
    pub pc: u64,
    /// Bits 3 and 2 are the exception level.
    pub pstate: u64,
}

impl CpuState {
    /// The machine that has these registers.
    #[must_use]
    pub fn machine(&self) -> Machine {
        match self {
            Self::Amd64(_) => Machine::Amd64,
            Self::Arm64(_) => Machine::Arm64,
        }
    }

    /// Whether it ran a process, not the kernel.
    #[must_use]
    pub fn is_user(&self) -> bool {
        match self {
            Self::Amd64(state) => state.cs & USER == USER,
            Self::Arm64(state) => state.pstate & LEVEL == 0,
        }
    }

    /// Where its `struct pcpu` is, if it ran the kernel: one of them. On its
    /// first instructions there the register still has the process' value.
    #[must_use]
    pub fn pcpus(&self) -> Vec<u64> {
        match self {
            Self::Amd64(state) => vec![state.gs_base, state.kernel_gs_base],
            Self::Arm64(state) => {
                vec![state.x.get(PCPU).copied().unwrap_or(0)]
            }
        }
    }

    /// What `makectx` puts into a pcb: offsets and registers. Where arm64 has
    /// its link register, the pc is.
    #[must_use]
    pub fn pcb(&self, osreldate: u32) -> Vec<(u64, u64)> {
        let in_order = |all: &mut dyn Iterator<Item = u64>| {
            (0u64..).step_by(8).zip(all).collect::<Vec<_>>()
        };
        match self {
            Self::Amd64(state) => in_order(&mut state.pcb.into_iter()),
            Self::Arm64(state) => {
                let short = osreldate >= SHORT_ARM64_PCB;
                let skip = if short { FIRST_SAVED } else { 0 };
                // Without x30.
                let x = state.x.into_iter().take(30).skip(skip);
                let mut all = in_order(&mut x.chain([state.pc]));
                all.push((if short { 96 } else { 256 }, state.sp));
                all
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pcb_has_them_where_pcb_h_says() {
        let pcb = [1, 2, 3, 4, 5, 6, 7, 8];
        let cpu = CpuState::Amd64(Amd64State { pcb, ..Default::default() });
        let all = cpu.pcb(1_501_000);
        assert_eq!((all[0], all[7], all.len()), ((0, 1), (56, 8), 8));
        let x = std::array::from_fn(|n| 100 + n as u64);
        let cpu = Arm64State { x, sp: 1, pc: 2, pstate: 0 };
        let cpu = CpuState::Arm64(cpu);
        // x19, fp, the pc in the place of lr, sp.
        let all = cpu.pcb(1_501_000);
        let want = [(0, 119), (80, 129), (88, 2), (96, 1)];
        assert_eq!([all[0], all[10], all[11], all[12]], want);
        assert_eq!(all.len(), 13);
        // x0, fp, lr, sp.
        let all = cpu.pcb(1_302_001);
        let want = [(0, 100), (232, 129), (240, 2), (256, 1)];
        assert_eq!([all[0], all[29], all[30], all[31]], want);
        assert_eq!(all.len(), 32);
        assert_eq!(cpu.pcpus(), [118]);
    }

    #[test]
    fn user_mode_is_told_by_the_level() {
        for (pstate, user) in [(0x8000_0000, true), (0x3c5, false), (4, false)]
        {
            let cpu = Arm64State { pstate, ..Default::default() };
            assert_eq!(CpuState::Arm64(cpu).is_user(), user, "{pstate:#x}");
        }
        for (cs, user) in [(0x43, true), (0x20, false)] {
            let cpu = Amd64State { cs, ..Default::default() };
            assert_eq!(CpuState::Amd64(cpu).is_user(), user, "{cs:#x}");
        }
    }
}
