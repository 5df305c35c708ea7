/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The machine's memory as the kernel keeps it: dump_avail, page bitset,
 * message buffer, page tables, direct map.
 */
#include <sys/param.h>
#include <sys/systm.h>
#include <sys/kernel.h>
#include <sys/lock.h>
#include <sys/msgbuf.h>
#include <sys/mutex.h>
#include <sys/proc.h>
#include <sys/sx.h>

#include <vm/vm.h>
#include <vm/vm_param.h>
#include <vm/pmap.h>
#include <vm/vm_page.h>
#include <vm/vm_phys.h>
#if __FreeBSD_version >= 1300000
#include <sys/bitset.h>
#include <vm/vm_dumpset.h>
#endif

#include <machine/md_var.h>
#include <machine/vmparam.h>

#include "livedump_arch.h"
#include "livedump_module.h"
#include "livedump_params.h"
#include "livedump_shim.h"

#if __FreeBSD_version < 1300000
/* 12: one bit for each page from address 0 on, and no dump_avail section. */
#define	LD_BITSET_WORDS	((const volatile uint64_t *)vm_page_dump)
#define	LD_BITSET_BITS	((uint64_t)vm_page_dump_size * NBBY)
#define	LD_DUMP_AVAIL_BYTES	0
#else
/* 13: a bitset(9) over the ranges of dump_avail, which is in the dump. */
CTASSERT(sizeof(vm_page_dump->__bits[0]) == sizeof(uint64_t));
#define	LD_BITSET_WORDS	((const volatile uint64_t *)vm_page_dump->__bits)
#define	LD_BITSET_BITS	((uint64_t)vm_page_dump_pages)
#define	LD_DUMP_AVAIL_BYTES	sizeof(dump_avail)
CTASSERT(sizeof(dump_avail) <= PAGE_SIZE);
#endif
CTASSERT(sizeof(dump_avail[0]) == sizeof(uint64_t));

void
livedump_target(struct livedump_target *target)
{
	memset(target, 0, sizeof(*target));
	livedump_arch_target(target);
	target->kva_end = livedump_kva_end();
	target->bitset_bits = LD_BITSET_BITS;
	target->msgbuf_bytes = msgbufp->msg_size;
	target->dump_avail_bytes = LD_DUMP_AVAIL_BYTES;
}

/* Pairs of dump_avail[], the one that ends it not counted. */
#define	LD_MAX_RANGES	64

void
livedump_params_machine(struct livedump_params *params)
{
	struct livedump_target target;
	uint64_t pair[2];
	uint32_t ranges;

	livedump_target(&target);
	params->root = target.root;
	livedump_arch_params(params);
	params->minidump_version = target.minidump_version;
	params->kva_start = target.kernbase;
	params->kva_end = target.kva_end;
	params->kernel_vm_end_pa = pmap_kextract((vm_offset_t)&kernel_vm_end);
	params->dmapbase = target.dmapbase;
	params->dmapend = target.dmapend;
	params->dmapphys = target.dmapphys;
	params->dump_avail_pa = pmap_kextract((vm_offset_t)&dump_avail[0]);
	params->dump_avail_bytes = target.dump_avail_bytes;
	for (ranges = 0; ranges < LD_MAX_RANGES &&
	    livedump_dump_avail(ranges, pair); ranges++)
		continue;
	params->dump_avail_len = ranges * sizeof(pair);
	params->bitset_va = (uintptr_t)LD_BITSET_WORDS;
	params->bitset_pa = pmap_kextract((vm_offset_t)LD_BITSET_WORDS);
	params->bitset_bits = target.bitset_bits;
	params->msgbuf_pa = pmap_kextract((vm_offset_t)msgbufp);
}

/* Called for 0, 1, ... until the end, and not past it. */
bool
livedump_dump_avail(size_t nth, uint64_t pair[2])
{
	pair[0] = dump_avail[2 * nth];
	pair[1] = dump_avail[2 * nth + 1];
	return (pair[1] != 0);
}

void
livedump_copy_bitset(size_t first, uint64_t *words, size_t n)
{
	size_t i, have;

	have = howmany(LD_BITSET_BITS, 64);
	for (i = 0; i < n; i++)
		words[i] = first + i < have ? LD_BITSET_WORDS[first + i] : 0;
}

/* Some milliseconds. */
#define	LD_MSGBUF_TRIES	1000000

void
livedump_copy_msgbuf(void *text, size_t len)
{
	struct msgbuf *mbp = msgbufp;
	bool locked = false;
	int i;

	/* A CPU that hangs may hold it: the text is then copied as it is. */
	for (i = 0; i < LD_MSGBUF_TRIES; i++) {
		locked = mtx_trylock_spin(&mbp->msg_lock) != 0;
		if (locked)
			break;
		cpu_spinwait();
	}
	memcpy(text, mbp->msg_ptr, MIN(len, mbp->msg_size));
	if (locked)
		mtx_unlock_spin(&mbp->msg_lock);
}

/* Others hold the locks of processes so long in all, or are left alone. */
#define	LD_LIST_SECONDS	2

struct ld_visit {
	void	(*page)(void *arg, uint64_t pa, bool oncpu);
	void	*arg;
};

static void
livedump_visit(const struct ld_visit *visit, const void *p, size_t len)
{
	vm_offset_t va;

	for (va = trunc_page((vm_offset_t)p); va < (vm_offset_t)p + len;
	    va += PAGE_SIZE)
		visit->page(visit->arg, pmap_kextract(va), false);
}

static void
livedump_visit_proc(const struct ld_visit *visit, struct proc *p,
    int *patience)
{
	struct thread *td;

	livedump_visit(visit, p, sizeof(*p));
	if (!livedump_proc_lock(p, patience))
		return;
	if (p->p_state != PRS_NEW)
		FOREACH_THREAD_IN_PROC(p, td) {
			livedump_visit(visit, td, sizeof(*td));
			visit->page(visit->arg,
			    pmap_kextract((vm_offset_t)&td->td_oncpu), true);
		}
	PROC_UNLOCK(p);
}

void
livedump_linked_pages(void (*page)(void *arg, uint64_t pa, bool oncpu),
    void *arg)
{
	struct ld_visit visit = { page, arg };
	struct proc *p;
	int patience = LD_LIST_SECONDS * hz;

	/*
	 * Of a machine whose process list is locked for good there is a dump
	 * all the same: its pages are read when they are written, like others.
	 */
	if (!livedump_allproc_slock(&patience))
		return;
	livedump_visit(&visit, &allproc, sizeof(allproc));
	FOREACH_PROC_IN_SYSTEM(p)
		livedump_visit_proc(&visit, p, &patience);
#if __FreeBSD_version < 1300000
	/* 12 has a list of its own for zombies. */
	livedump_visit(&visit, &zombproc, sizeof(zombproc));
	LIST_FOREACH(p, &zombproc, p_list)
		livedump_visit(&visit, p, sizeof(*p));
#endif
	sx_sunlock(&allproc_lock);
}

uint64_t
livedump_load_entry(uint64_t table, uint64_t index)
{
	return (((const volatile uint64_t *)PHYS_TO_DMAP(table))[index]);
}

void
livedump_load_entries(uint64_t table, uint64_t first, uint64_t *entries,
    size_t n)
{
	const volatile uint64_t *p =
	    (const volatile uint64_t *)PHYS_TO_DMAP(table) + first;
	size_t i;

	for (i = 0; i < n; i++)
		entries[i] = p[i];
}

bool
livedump_vm_phys_is_dumpable(uint64_t pa)
{
#if __FreeBSD_version >= 1300000
	return (vm_phys_is_dumpable(pa));
#else
	/* 12: static in minidump_machdep.c. */
	vm_page_t m;
	int i;

	m = vm_phys_paddr_to_vm_page(pa);
	if (m != NULL)
		return ((m->flags & PG_NODUMP) == 0);
	for (i = 0; dump_avail[i + 1] != 0; i += 2)
		if (dump_avail[i] <= pa && pa < dump_avail[i + 1])
			return (true);
	return (false);
#endif
}

void
livedump_read_page(uint64_t pa, void *page)
{
	livedump_arch_pagecopy((const void *)PHYS_TO_DMAP(pa), page);
}

/* A line at a time: most pages are told by their first. */
bool
livedump_page_is_zero(uint64_t pa)
{
	const uint64_t *p = (const uint64_t *)PHYS_TO_DMAP(pa);
	size_t i;

	for (i = 0; i < PAGE_SIZE / sizeof(*p); i += 8)
		if ((p[i] | p[i + 1] | p[i + 2] | p[i + 3] | p[i + 4] |
		    p[i + 5] | p[i + 6] | p[i + 7]) != 0)
			return (false);
	return (true);
}
