/* SPDX-License-Identifier: BSD-2-Clause */
/* What differs between machines. */
#ifndef LD_MACHINE_H
#define	LD_MACHINE_H

/* struct reg: its size, and where the stack pointer is. */
#define	REGS		272
#define	REG_SP		248

/* Where QEMU's virt has memory: it begins at 1 GB. */
#define	MEMORY_AT	0x48000000L

/* A register that is saved when a thread is switched away from. */
#define	COUNTER		"x19"
/*
 * Adds one to %0 and stores it at %1. A translator lets interrupts in between
 * blocks, and isb ends one.
 */
#define	COUNT_AND_STORE							\
	"add %0, %0, #1\n\tisb\n\tstr %0, %1\n\tisb"

/* As dumps are copied, in the kernel. */
#define	COPY_PAGE(from, to)	memcpy((to), (from), 4096)

#endif
