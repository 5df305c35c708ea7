// SPDX-License-Identifier: BSD-2-Clause
//! What differs between machines: compilers' flags, QEMU, registers.

mod amd64;
mod arm64;

use memdev::arch::Machine;
use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// One machine.
#[derive(Debug)]
pub(crate) struct Arch {
    pub(crate) machine: Machine,
    /// Of clang.
    pub(crate) target: &'static str,
    /// The symbol that kernel text begins with.
    pub(crate) text: &'static str,
    /// What kernel modules are compiled with.
    pub(crate) module: &'static [&'static str],
    /// ld.lld's arguments for one; see [`IN`] and [`OUT`].
    pub(crate) link: &'static [&'static str],
    /// What `#include <machine/...>` and its kin are, below sys/.
    pub(crate) headers: &'static [(&'static str, &'static str)],
    pub(crate) qemu: Qemu,
    pub(crate) registers: Registers,
    /// Cases that this machine has not, and why.
    pub(crate) without: &'static [(&'static str, &'static str)],
}

/// Stands for what is linked.
pub(crate) const IN: &str = "<in>";
/// Stands for what comes of it.
pub(crate) const OUT: &str = "<out>";

/// How a guest is started.
#[derive(Debug)]
pub(crate) struct Qemu {
    pub(crate) program: &'static str,
    /// Debian's package.
    pub(crate) package: &'static str,
    pub(crate) args: &'static [&'static str],
    pub(crate) cpu: &'static str,
    /// The device of a disk.
    pub(crate) disk: &'static str,
    /// The disk that is named last is the first.
    pub(crate) disks_backwards: bool,
}

/// Where registers are: offsets in bytes.
#[derive(Debug)]
pub(crate) struct Registers {
    /// C: `struct pcb`.
    pub(crate) pcb: Offsets,
    /// C: `struct trapframe`, of an interrupt in the kernel.
    pub(crate) trapframe: Offsets,
    /// The word behind the pc says so: which bits of it, and what they are.
    pub(crate) kernel: (u64, u64),
    /// What is set in each address of the kernel: pointers that are signed
    /// have other bits there.
    pub(crate) canonical: u64,
    /// The function that a system call of the kernel's caller returns to.
    pub(crate) syscall: &'static str,
}

/// Of the registers that lead through a stack, and of the one that ldhang.ko
/// counts in.
#[derive(Debug)]
pub(crate) struct Offsets {
    pub(crate) counter: u64,
    pub(crate) fp: u64,
    pub(crate) sp: u64,
    pub(crate) pc: u64,
}

impl Arch {
    /// By e_machine. C: `EM_AARCH64`; all else is amd64's to refuse.
    pub(crate) fn of(kernel: &Path) -> &'static Self {
        let mut head = [0; 20];
        let read = File::open(kernel).and_then(|mut f| f.read_exact(&mut head));
        match read.is_ok() && head.ends_with(&[183, 0]) {
            true => &arm64::ARCH,
            false => &amd64::ARCH,
        }
    }

    pub(crate) fn is_arm64(&self) -> bool {
        self.machine == Machine::Arm64
    }

    /// ld.lld's arguments for linking `object` into `module`.
    pub(crate) fn link<'a>(
        &self,
        object: &'a Path,
        module: &'a Path,
    ) -> Vec<&'a OsStr> {
        let put = |&arg: &&'static str| match arg {
            IN => object.as_os_str(),
            OUT => module.as_os_str(),
            arg => OsStr::new(arg),
        };
        self.link.iter().map(put).collect()
    }
}
