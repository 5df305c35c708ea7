/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * arm64: page tables, registers, what orders memory.
 */
#include <sys/param.h>
#include <sys/systm.h>
#include <sys/callout.h>
#include <sys/elf_common.h>
#include <sys/endian.h>
#include <sys/kernel.h>
#include <sys/lock.h>
#include <sys/malloc.h>
#include <sys/mutex.h>
#include <sys/proc.h>
#include <sys/smp.h>

#include <vm/vm.h>
#include <vm/vm_param.h>
#include <vm/pmap.h>

#include <machine/armreg.h>
#include <machine/atomic.h>
#include <machine/cpufunc.h>
#include <machine/frame.h>
#include <machine/machdep.h>
#include <machine/minidump.h>
#include <machine/pcb.h>
#include <machine/vmparam.h>

#include <dev/ofw/openfirm.h>

#include "livedump_arch.h"
#include "livedump_module.h"
#include "livedump_params.h"
#include "livedump_shim.h"

#if PAGE_SHIFT != 12
#error "livedump.ko: arm64 kernels with 4 KB pages only"
#endif
#if __FreeBSD_version < 1300000
#error "livedump.ko: arm64 from FreeBSD 13 on"
#endif

/* 13: 2; 14: the same with flags, which are the size of pages. */
#ifdef MINIDUMP_FLAG_PS_4K
CTASSERT(MINIDUMP_VERSION == 3);
CTASSERT(MINIDUMP_FLAG_PS_4K == 0);
#else
CTASSERT(MINIDUMP_VERSION == 2);
#endif

/*
 * With LPA2 an entry has bits 51 and 50 of an address elsewhere than the rest:
 * memory at such addresses is not supported.
 */
#define	LD_PHYS_MAX	(1UL << 48)

int
livedump_arch_check(void)
{
	uint64_t granule = READ_SPECIALREG(tcr_el1) & TCR_TG1_MASK;

	if (granule != TCR_TG1_4K) {
		printf("livedump: this kernel has %d KB pages: "
		    "only 4 KB pages are supported\n",
		    granule == TCR_TG1_16K ? 16 : 64);
		return (ENOEXEC);
	}
	if (DMAP_MAX_PHYSADDR > LD_PHYS_MAX) {
		printf("livedump: there is memory at %#jx: "
		    "only addresses below %#jx are supported\n",
		    (uintmax_t)DMAP_MAX_PHYSADDR, (uintmax_t)LD_PHYS_MAX);
		return (ENOEXEC);
	}
	return (0);
}

uint64_t
livedump_kva_end(void)
{
	return (kernel_vm_end);
}

void
livedump_arch_target(struct livedump_target *target)
{
	/* L0 of four levels. */
	target->root = kernel_pmap->pm_l0_paddr;
	target->root_level = 3;
	target->kernbase = VM_MIN_KERNEL_ADDRESS;
	target->dmapphys = DMAP_MIN_PHYSADDR;
	target->dmapbase = DMAP_MIN_ADDRESS;
	target->dmapend = DMAP_MAX_ADDRESS;
	target->minidump_version = MINIDUMP_VERSION;
}

void
livedump_arch_params(struct livedump_params *params)
{
	params->machine = EM_AARCH64;
	params->top = params->root;
	params->levels = 4;
	params->kernbase = KERNBASE;
	params->kernphys = pmap_kextract(KERNBASE + L2_SIZE);
}

#define	LD_ENTRY_PA	0x0000fffffffff000UL

/*
 * The direct map has holes where there is no memory: its tables tell. They lie
 * in it themselves, and are there to stay. As pmap_klookup(), which is too slow
 * to be asked of each page, an entry counts also while another takes its place
 * (break-before-make), when it is not valid. A table is loaded after the entry
 * that leads to it, which its address depends on.
 */
bool
livedump_phys_in_dmap(uint64_t pa)
{
	const volatile uint64_t *table;
	uint64_t entry, va;
	int shift;

	if (pa < DMAP_MIN_PHYSADDR || pa >= DMAP_MAX_PHYSADDR)
		return (false);
	va = PHYS_TO_DMAP(pa);
	table = (const volatile uint64_t *)
	    PHYS_TO_DMAP(kernel_pmap->pm_l0_paddr);
	for (shift = L0_SHIFT; shift > L3_SHIFT; shift -= Ln_ENTRIES_SHIFT) {
		entry = table[(va >> shift) & Ln_ADDR_MASK];
		if (entry == 0)
			return (false);
		if ((entry & ATTR_DESCR_TYPE_MASK) == ATTR_DESCR_TYPE_BLOCK)
			return (true);
		table = (const volatile uint64_t *)
		    PHYS_TO_DMAP(entry & LD_ENTRY_PA);
	}
	return (table[(va >> L3_SHIFT) & Ln_ADDR_MASK] != 0);
}

void
livedump_arch_pagecopy(const void *from, void *to)
{
	memcpy(to, from, PAGE_SIZE);
}

/*
 * A pcb begins with these words. As makectx() does, where the link register is
 * saved goes the address that was interrupted.
 */
#ifdef PCB_LR
/* 14: what functions preserve. */
#define	LD_PCB_FIRST	PCB_X_START
#define	LD_PCB_FP	PCB_FP
#define	LD_PCB_PC	PCB_LR
CTASSERT(PCB_FP == 29 - PCB_X_START);
CTASSERT(offsetof(struct pcb, pcb_x[PCB_LR]) == 8 * LD_PCB_PC);
#else
/* 13: all registers. */
#define	LD_PCB_FIRST	0
#define	LD_PCB_FP	29
#define	LD_PCB_PC	30
CTASSERT(offsetof(struct pcb, pcb_lr) == 8 * LD_PCB_PC);
#endif
#define	LD_PCB_SP	(offsetof(struct pcb, pcb_sp) / 8)
#define	LD_PCB_WORDS	(LD_PCB_SP + 1)
CTASSERT(offsetof(struct pcb, pcb_x) == 0);
CTASSERT(offsetof(struct pcb, pcb_sp) % 8 == 0);
CTASSERT(LD_PCB_SP > LD_PCB_PC);
CTASSERT(LD_PCB_WORDS <= LIVEDUMP_PCB_WORDS);

uintptr_t
livedump_arch_trapframe(struct livedump_cpu *cpu, const struct trapframe *tf)
{
	int i;

	for (i = 0; i <= LD_PCB_FP; i++)
		cpu->pcb[i] = tf->tf_x[LD_PCB_FIRST + i];
	cpu->pcb[LD_PCB_PC] = tf->tf_elr;
	cpu->pcb[LD_PCB_SP] = tf->tf_sp;
	cpu->pcb_bytes = 8 * LD_PCB_WORDS;
	return (tf->tf_sp);
}

/*
 * A saved return address is signed where CPUs can (15), by pointer
 * authentication: in the bits that are all ones in every kernel address. A frame
 * record is anywhere in its function's frame: where the caller's begins is not
 * known, but above it.
 */
uintptr_t
livedump_arch_caller(struct livedump_cpu *cpu, const uintptr_t *fp)
{
	cpu->pcb[LD_PCB_FP] = fp[0];
	cpu->pcb[LD_PCB_PC] = fp[1] | VM_MIN_KERNEL_ADDRESS;
	cpu->pcb[LD_PCB_SP] = (uintptr_t)fp;
	cpu->pcb_bytes = 8 * LD_PCB_WORDS;
	return ((uintptr_t)fp);
}

/*
 * atomic_add_long() orders nothing here, and the mutex that is released after
 * it does not keep later loads back: whoever enters may have loaded the entry
 * before others see him counted. So every CPU executes a fence. One that was
 * between the two in its program has counted by then, as seen from here; one
 * that was before both loads what was stored; and so does everyone later.
 *
 * cpus_fence_seq_cst() waits for CPUs without a limit, and livedump.ko is also
 * unloaded from machines where one hangs.
 */
#define	LD_FENCE_SECONDS	5

struct ld_fence {
	volatile u_int	done;
	struct callout	callout[];
};

static void
livedump_fence_here(void *arg)
{
	struct ld_fence *fence = arg;

	atomic_thread_fence_seq_cst();
	atomic_add_rel_int(&fence->done, 1);
}

int
livedump_arch_fence(void)
{
	struct ld_fence *fence;
	u_int cpu, n = 0;
	int error, tries;

	fence = livedump_malloc_of(sizeof(*fence) +
	    (mp_maxid + 1) * sizeof(fence->callout[0]), M_LIVEDUMP, 0);
	if (fence == NULL)
		return (ENOMEM);
	atomic_thread_fence_seq_cst();
	CPU_FOREACH(cpu) {
		n++;
		callout_init(&fence->callout[cpu], 1);
		callout_reset_sbt_on(&fence->callout[cpu], 0, 0,
		    livedump_fence_here, fence, cpu, C_DIRECT_EXEC);
	}
	for (tries = 0; atomic_load_acq_int(&fence->done) < n &&
	    tries < LD_FENCE_SECONDS * hz; tries++)
		pause("ldfence", 1);
	CPU_FOREACH(cpu)
		callout_drain(&fence->callout[cpu]);
	error = atomic_load_acq_int(&fence->done) < n ? EBUSY : 0;
	free(fence, M_LIVEDUMP);
	return (error);
}

/*
 * QEMU's virt has its configuration in memory, and says where in the device
 * tree; of a machine that ACPI describes it is not looked for.
 */
#define	FW_CFG_DATA		0
#define	FW_CFG_SELECTOR		8	/* big endian */
#define	FW_CFG_DMA		16	/* big endian */
#define	FW_CFG_BYTES		24

static uint8_t *livedump_fwcfg;

/* Nodes below the root that are looked at. */
#define	LD_NODES	256

static vm_paddr_t
livedump_fwcfg_find(void)
{
	static const char name[] = "qemu,fw-cfg-mmio";
	phandle_t root = OF_peer(0), node;
	pcell_t cells, reg[4];
	char compatible[sizeof(name)];
	ssize_t len;
	int i;

	if (root == 0 || root == (phandle_t)-1)
		return (0);
	node = OF_child(root);
	for (i = 0; i < LD_NODES && node != 0; i++, node = OF_peer(node)) {
		len = OF_getprop(node, "compatible", compatible,
		    sizeof(compatible));
		if (len == sizeof(name) &&
		    memcmp(compatible, name, sizeof(name)) == 0)
			break;
	}
	if (i == LD_NODES || node == 0 ||
	    OF_getencprop(root, "#address-cells", &cells,
	    sizeof(cells)) != sizeof(cells) || cells != 2 ||
	    OF_getencprop(root, "#size-cells", &cells,
	    sizeof(cells)) != sizeof(cells) || cells != 2 ||
	    OF_getencprop(node, "reg", reg, sizeof(reg)) != sizeof(reg) ||
	    reg[2] != 0 || reg[3] < FW_CFG_BYTES)
		return (0);
	return ((vm_paddr_t)reg[0] << 32 | reg[1]);
}

bool
livedump_arch_fwcfg_attach(void)
{
	vm_paddr_t pa;

	if (arm64_bus_method != ARM64_BUS_FDT)
		return (false);
	pa = livedump_fwcfg_find();
	if (pa != 0)
		livedump_fwcfg = pmap_mapdev(pa, FW_CFG_BYTES);
	return (livedump_fwcfg != NULL);
}

void
livedump_arch_fwcfg_detach(void)
{
#if __FreeBSD_version >= 1400000
	pmap_unmapdev(livedump_fwcfg, FW_CFG_BYTES);
#else
	pmap_unmapdev((vm_offset_t)livedump_fwcfg, FW_CFG_BYTES);
#endif
	livedump_fwcfg = NULL;
}

void
livedump_arch_fwcfg_select(uint16_t item)
{
	*(volatile uint16_t *)(livedump_fwcfg + FW_CFG_SELECTOR) =
	    htobe16(item);
}

void
livedump_arch_fwcfg_read(void *to, size_t n)
{
	uint8_t *p = to;

	while (n-- > 0)
		*p++ = *(volatile uint8_t *)(livedump_fwcfg + FW_CFG_DATA);
}

/* What it is to read is in memory before it is told. */
void
livedump_arch_fwcfg_dma(uint64_t pa)
{
	dsb(sy);
	*(volatile uint64_t *)(livedump_fwcfg + FW_CFG_DMA) = htobe64(pa);
}
