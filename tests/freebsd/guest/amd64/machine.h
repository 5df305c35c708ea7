/* SPDX-License-Identifier: BSD-2-Clause */
/* What differs between machines. */
#ifndef LD_MACHINE_H
#define	LD_MACHINE_H

/* struct reg: its size, and where the stack pointer is. */
#define	REGS		176
#define	REG_SP		160

/* Where memory is. */
#define	MEMORY_AT	0x200000L

/* A register that is saved when a thread is switched away from. */
#define	COUNTER		"rbx"
/*
 * Adds one to %0 and stores it at %1. A translator lets interrupts in between
 * blocks, and pause ends one.
 */
#define	COUNT_AND_STORE							\
	"incq %0\n\tpause\n\tmovq %0, %1\n\tpause"

/* As dumps are copied, in the kernel. */
#define	COPY_PAGE(from, to)	pagecopy(from, to)

#endif
