// SPDX-License-Identifier: BSD-2-Clause
//! amd64.

use super::{Arch, IN, OUT, Offsets, Qemu, Registers};
use memdev::arch::Machine;

pub(super) static ARCH: Arch = Arch {
    machine: Machine::Amd64,
    target: "--target=x86_64-unknown-freebsd14.0",
    text: "btext",
    module: &[
        "-mcmodel=kernel",
        "-mno-red-zone",
        "-mno-mmx",
        "-mno-sse",
        "-msoft-float",
    ],
    link: &["-m", "elf_x86_64_fbsd", "-r", "--build-id=sha1", "-o", OUT, IN],
    headers: &[
        ("machine", "amd64/include"),
        ("x86", "x86/include"),
        ("i386", "i386/include"),
    ],
    qemu: Qemu {
        program: "qemu-system-x86_64",
        package: "qemu-system-x86",
        args: &["-vga", "none"],
        // An emulator runs ERMS, which kernels copy with, byte by byte.
        cpu: "max,erms=off",
        disk: "virtio-blk-pci",
        disks_backwards: false,
    },
    registers: Registers {
        pcb: Offsets { counter: 48, fp: 32, sp: 40, pc: 56 },
        trapframe: Offsets { counter: 56, fp: 64, sp: 176, pc: 152 },
        // C: GSEL(GCODE_SEL, SEL_KPL).
        kernel: (u64::MAX, 0x20),
        canonical: 0,
        syscall: "amd64_syscall",
    },
    without: &[],
};
