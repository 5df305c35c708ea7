/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * amd64: page tables, registers, what orders memory.
 */
#include <sys/param.h>
#include <sys/systm.h>
#include <sys/elf_common.h>
#include <sys/endian.h>
#include <sys/kernel.h>
#include <sys/lock.h>
#include <sys/mutex.h>
#include <sys/proc.h>

#include <vm/vm.h>
#include <vm/vm_param.h>
#include <vm/pmap.h>

#include <machine/atomic.h>
#include <machine/cpufunc.h>
#include <machine/frame.h>
#include <machine/md_var.h>
#include <machine/minidump.h>
#include <machine/pcb.h>
#include <machine/segments.h>
#include <machine/vmparam.h>

#include "livedump_arch.h"
#include "livedump_params.h"
#include "livedump_shim.h"

#if __FreeBSD_version < 1300000
/* 12: one bit for each page from address 0 on, and no dump_avail section. */
CTASSERT(MINIDUMP_VERSION == 2);
#else
/* 13: a bitset(9) over the ranges of dump_avail, which is in the dump. */
CTASSERT(MINIDUMP_VERSION == 3);
#endif

#ifdef DMAP_MIN_ADDRESS
#define	LD_DMAP_MIN	DMAP_MIN_ADDRESS
#define	LD_DMAP_MAX	DMAP_MAX_ADDRESS
#else
/* 15: where things are depends on LA57; VM_MIN_KERNEL_ADDRESS follows. */
#define	LD_DMAP_MIN	kva_layout.dmap_low
#define	LD_DMAP_MAX	kva_layout.dmap_high
#endif

int
livedump_arch_check(void)
{
	return (0);
}

uint64_t
livedump_kva_end(void)
{
	return (MAX(KERNBASE + (uint64_t)nkpt * NBPDR, kernel_vm_end));
}

void
livedump_arch_target(struct livedump_target *target)
{
	target->root = KPML4phys;
	target->root_level = 3;
	target->kernbase = VM_MIN_KERNEL_ADDRESS;
	target->dmapphys = 0;
	target->dmapbase = LD_DMAP_MIN;
	target->dmapend = LD_DMAP_MAX;
	target->minidump_version = MINIDUMP_VERSION;
}

void
livedump_arch_params(struct livedump_params *params)
{
	params->machine = EM_X86_64;
	params->root_variable_va = (uintptr_t)&KPML4phys;
	params->top = trunc_page(kernel_pmap->pm_cr3);
	params->levels = params->top == params->root ? 4 : 5;
	params->kernbase = KERNBASE;
	params->kernphys = pmap_kextract(KERNBASE + NBPDR);
	params->nkpt_pa = pmap_kextract((vm_offset_t)&nkpt);
}

bool
livedump_phys_in_dmap(uint64_t pa)
{
#ifdef PHYS_IN_DMAP
	return (PHYS_IN_DMAP(pa));
#else
	/* 12 has no PHYS_IN_DMAP; its PHYS_TO_DMAP asserts just this. */
	return (dmaplimit == 0 || pa < dmaplimit);
#endif
}

void
livedump_arch_pagecopy(const void *from, void *to)
{
	pagecopy(__DECONST(void *, from), to);
}

CTASSERT(offsetof(struct pcb, pcb_r15) == 0);
CTASSERT(offsetof(struct pcb, pcb_r14) == 8);
CTASSERT(offsetof(struct pcb, pcb_r13) == 16);
CTASSERT(offsetof(struct pcb, pcb_r12) == 24);
CTASSERT(offsetof(struct pcb, pcb_rbp) == 32);
CTASSERT(offsetof(struct pcb, pcb_rsp) == 40);
CTASSERT(offsetof(struct pcb, pcb_rbx) == 48);
CTASSERT(offsetof(struct pcb, pcb_rip) == 56);
#define	LD_PCB_BYTES	64

uintptr_t
livedump_arch_trapframe(struct livedump_cpu *cpu, const struct trapframe *tf)
{
	cpu->pcb[0] = tf->tf_r15;
	cpu->pcb[1] = tf->tf_r14;
	cpu->pcb[2] = tf->tf_r13;
	cpu->pcb[3] = tf->tf_r12;
	cpu->pcb[4] = tf->tf_rbp;
	cpu->pcb[5] = tf->tf_rsp;
	cpu->pcb[6] = tf->tf_rbx;
	cpu->pcb[7] = tf->tf_rip;
	cpu->pcb_bytes = LD_PCB_BYTES;
	return (tf->tf_rsp);
}

uintptr_t
livedump_arch_caller(struct livedump_cpu *cpu, const uintptr_t *fp)
{
	cpu->pcb[4] = fp[0];
	cpu->pcb[5] = (uintptr_t)(fp + 2);
	cpu->pcb[7] = fp[1];
	cpu->pcb_bytes = LD_PCB_BYTES;
	return ((uintptr_t)(fp + 2));
}

/* Counting is a locked instruction: a full fence of those who enter. */
int
livedump_arch_fence(void)
{
	atomic_thread_fence_seq_cst();
	return (0);
}

#define	FW_CFG_SELECTOR		0x510
#define	FW_CFG_DATA		0x511
#define	FW_CFG_DMA		0x514

/*
 * Only on hypervisors that are QEMU or may be, under software emulation or KVM;
 * a machine's own ports are not touched.
 */
bool
livedump_arch_fwcfg_attach(void)
{
	return (vm_guest == VM_GUEST_VM || vm_guest == VM_GUEST_KVM);
}

void
livedump_arch_fwcfg_detach(void)
{
}

void
livedump_arch_fwcfg_select(uint16_t item)
{
	outw(FW_CFG_SELECTOR, item);
}

void
livedump_arch_fwcfg_read(void *to, size_t n)
{
	uint8_t *p = to;

	while (n-- > 0)
		*p++ = inb(FW_CFG_DATA);
}

/* The second half starts it. */
void
livedump_arch_fwcfg_dma(uint64_t pa)
{
	atomic_thread_fence_seq_cst();
	outl(FW_CFG_DMA, htobe32(pa >> 32));
	outl(FW_CFG_DMA + 4, htobe32((uint32_t)pa));
}
