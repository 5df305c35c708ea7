// SPDX-License-Identifier: BSD-2-Clause
//! arm64, QEMU's virt.

use super::{Arch, IN, OUT, Offsets, Qemu, Registers};
use memdev::arch::Machine;

pub(super) static ARCH: Arch = Arch {
    machine: Machine::Arm64,
    target: "--target=aarch64-unknown-freebsd14.0",
    text: "_start",
    module: &[
        "-fPIC",
        "-mgeneral-regs-only",
        "-ffixed-x18",
        "-mbranch-protection=standard",
        "-mno-outline-atomics",
    ],
    link: &[
        "-m",
        "aarch64elf",
        "-Bshareable",
        "-znotext",
        "-znorelro",
        "--no-relax",
        "--build-id=sha1",
        "-o",
        OUT,
        IN,
    ],
    headers: &[("machine", "arm64/include")],
    qemu: Qemu {
        program: "qemu-system-aarch64",
        package: "qemu-system-arm",
        args: &["-machine", "virt"],
        // Without that, pointers are signed in software, at length.
        cpu: "max,pauth-impdef=on",
        disk: "virtio-blk-device",
        disks_backwards: true,
    },
    registers: Registers {
        // 15: pcb_x[12] has x19 to x30.
        pcb: Offsets { counter: 0, fp: 80, sp: 96, pc: 88 },
        trapframe: Offsets { counter: 200, fp: 280, sp: 0, pc: 16 },
        // SPSR_EL1: C: PSR_M_EL1h.
        kernel: (0xf, 5),
        canonical: 0xffff << 48,
        syscall: "do_el0_sync",
    },
    without: &[("nmi", "QEMU's virt has none")],
};
