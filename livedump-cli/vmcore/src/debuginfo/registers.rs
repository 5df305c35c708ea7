// SPDX-License-Identifier: BSD-2-Clause
//! The registers of one frame, by their numbers in DWARF.

use memdev::arch::Machine;

/// All that have a number here.
const REGISTERS: usize = 33;

/// Registers, as far as they are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registers {
    machine: Machine,
    /// Where the frame goes on.
    pub pc: u64,
    values: [Option<u64>; REGISTERS],
}

impl Registers {
    /// None is known but where it goes on.
    #[must_use]
    pub fn new(machine: Machine, pc: u64) -> Self {
        Self { machine, pc, values: [None; REGISTERS] }
    }

    /// A register's value.
    #[must_use]
    pub fn get(&self, number: u16) -> Option<u64> {
        self.values.get(usize::from(number)).copied().flatten()
    }

    /// Sets a register, or that it is not known.
    pub fn set(&mut self, number: u16, value: Option<u64>) {
        if let Some(slot) = self.values.get_mut(usize::from(number)) {
            *slot = value;
        }
    }

    /// The stack pointer.
    #[must_use]
    pub fn sp(&self) -> Option<u64> {
        self.get(sp(self.machine))
    }

    /// The frame pointer.
    #[must_use]
    pub fn fp(&self) -> Option<u64> {
        self.get(fp(self.machine))
    }

    /// The machine they are of.
    #[must_use]
    pub fn machine(&self) -> Machine {
        self.machine
    }
}

/// The number of the stack pointer.
#[must_use]
pub fn sp(machine: Machine) -> u16 {
    match machine {
        Machine::Amd64 => 7,
        Machine::Arm64 => 31,
    }
}

/// The number of the frame pointer.
#[must_use]
pub fn fp(machine: Machine) -> u16 {
    match machine {
        Machine::Amd64 => 6,
        Machine::Arm64 => 29,
    }
}

/// Registers that a function gives back as it got them: rbx, rbp, r12 to
/// r15; x19 to x29.
#[must_use]
pub fn preserved(machine: Machine) -> &'static [u16] {
    match machine {
        Machine::Amd64 => &[3, 6, 12, 13, 14, 15],
        Machine::Arm64 => &[19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29],
    }
}
