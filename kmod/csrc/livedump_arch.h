/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What differs between architectures: livedump_amd64.c, livedump_arm64.c. Of
 * livedump_shim.h each has livedump_kva_end() and livedump_phys_in_dmap(), too.
 */
#ifndef _LIVEDUMP_ARCH_H_
#define	_LIVEDUMP_ARCH_H_

#include <sys/types.h>

struct livedump_cpu;
struct livedump_params;
struct livedump_target;
struct trapframe;

/* Whether this kernel's memory can be dumped; if not, says why: ENOEXEC. */
int	livedump_arch_check(void);
/* Page tables, the direct map, the version of minidumps. */
void	livedump_arch_target(struct livedump_target *target);
/* The same, for the parameter page; all else is zero or set. */
void	livedump_arch_params(struct livedump_params *params);

/* Copies a page; what the kernel has for that. */
void	livedump_arch_pagecopy(const void *from, void *to);

/*
 * Registers, as a pcb has them. An interrupt handler's frame; the stack pointer
 * in it.
 */
uintptr_t livedump_arch_trapframe(struct livedump_cpu *cpu,
	    const struct trapframe *tf);
/*
 * The registers of the function that called the one whose frame pointer fp is,
 * as far as they are known; from where on up its stack is.
 */
uintptr_t livedump_arch_caller(struct livedump_cpu *cpu, const uintptr_t *fp);

/*
 * Between a store that turns others away and a look at the count of those who
 * are inside: who enters counts first (atomic_add_long()), and then loads what
 * was stored. EBUSY: some CPU does not take part, and nothing is known.
 */
int	livedump_arch_fence(void);

/*
 * QEMU's firmware configuration: selects an item; reads the next bytes of it;
 * hands over a transfer at pa. fwcfg_attach: whether there is one.
 */
bool	livedump_arch_fwcfg_attach(void);
void	livedump_arch_fwcfg_detach(void);
void	livedump_arch_fwcfg_select(uint16_t item);
void	livedump_arch_fwcfg_read(void *to, size_t n);
void	livedump_arch_fwcfg_dma(uint64_t pa);

#endif /* !_LIVEDUMP_ARCH_H_ */
