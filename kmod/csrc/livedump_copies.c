/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Pages for copies of pages: without an object, wired, PG_NODUMP, and reached
 * through the direct map. Neither the kernel map nor the page bitset knows
 * them, so that they are in nobody's dump.
 */
#include <sys/param.h>
#include <sys/systm.h>
#include <sys/kernel.h>
#include <sys/malloc.h>
#include <sys/msgbuf.h>
#include <sys/vmmeter.h>

#include <vm/vm.h>
#include <vm/vm_param.h>
#include <vm/pmap.h>
#include <vm/vm_page.h>
#include <vm/vm_phys.h>
/* 12.x: it uses vm_phys.h. */
#include <vm/vm_pagequeue.h>

#include <machine/md_var.h>
#include <machine/vmparam.h>

#include "livedump_arch.h"
#include "livedump_module.h"
#include "livedump_params.h"
#include "livedump_shim.h"

struct livedump_copies {
	size_t		n;
	uint64_t	pa[];
};

/* Pages between two looks at how many are free. */
#define	LD_COPIES_AT_ONCE	64

/* Of a domain, what its page daemon lets be: below the target it goes to work. */
static u_int
livedump_domain_free(int domain)
{
	struct vm_domain *vmd = VM_DOMAIN(domain);
	u_int have = vmd->vmd_free_count, keep = vmd->vmd_free_target;

	return (have > keep ? have - keep : 0);
}

size_t
livedump_free_pages(void)
{
	size_t n = 0;
	int domain;

	for (domain = 0; domain < vm_ndomains; domain++)
		n += livedump_domain_free(domain);
	return (n);
}

static vm_page_t
livedump_page_of(int domain)
{
#if __FreeBSD_version >= 1301000
	return (vm_page_alloc_noobj_domain(domain,
	    VM_ALLOC_WIRED | VM_ALLOC_NODUMP));
#else
	return (vm_page_alloc_domain(NULL, 0, domain, VM_ALLOC_NORMAL |
	    VM_ALLOC_NOOBJ | VM_ALLOC_WIRED | VM_ALLOC_NODUMP));
#endif
}

/* From all domains in turn: whoever copies does so on all CPUs. */
static vm_page_t
livedump_copies_page_alloc(size_t nth)
{
	vm_page_t m;
	int domain, i;

	for (i = 0; i < vm_ndomains; i++) {
		domain = (nth + i) % vm_ndomains;
		if (livedump_domain_free(domain) == 0)
			continue;
		m = livedump_page_of(domain);
		if (m != NULL)
			return (m);
	}
	return (NULL);
}

/* One page is taken also where the page daemon is at work. */
uint64_t
livedump_page_alloc(void)
{
	vm_page_t m = NULL;
	int domain;

	for (domain = 0; domain < vm_ndomains && m == NULL; domain++)
		m = livedump_page_of(domain);
	if (m == NULL)
		return (0);
	pmap_zero_page(m);
	return (VM_PAGE_TO_PHYS(m));
}

void
livedump_page_free(uint64_t pa)
{
	vm_page_t m = PHYS_TO_VM_PAGE(pa);

	(void)vm_page_unwire_noq(m);
	vm_page_free(m);
}

/* NULL: not to be had. */
struct livedump_copies *
livedump_copies_alloc(size_t n)
{
	struct livedump_copies *copies;
	vm_page_t m;

	if (n > (SIZE_MAX - sizeof(*copies)) / sizeof(copies->pa[0]))
		return (NULL);
	copies = livedump_malloc(sizeof(*copies) + n * sizeof(copies->pa[0]));
	if (copies == NULL)
		return (NULL);
	while (copies->n < n) {
		if (copies->n % LD_COPIES_AT_ONCE == 0) {
			livedump_maybe_yield();
			if (livedump_sig_intr() != 0)
				break;
		}
		m = livedump_copies_page_alloc(copies->n);
		if (m == NULL) {
			if (!livedump_memory_wait())
				break;
			continue;
		}
		/*
		 * Written to now, so that a hypervisor has it when it is
		 * written to with all CPUs stopped.
		 */
		pmap_zero_page(m);
		copies->pa[copies->n++] = VM_PAGE_TO_PHYS(m);
	}
	if (copies->n == n)
		return (copies);
	livedump_copies_free(copies);
	return (NULL);
}

void
livedump_copies_free(struct livedump_copies *copies)
{
	size_t i;

	for (i = 0; i < copies->n; i++) {
		if (i % LD_COPIES_AT_ONCE == 0)
			livedump_maybe_yield();
		livedump_page_free(copies->pa[i]);
	}
	livedump_free(copies);
}

void
livedump_copies_page(struct livedump_copies *copies, size_t at, uint64_t pa)
{
	livedump_arch_pagecopy((const void *)PHYS_TO_DMAP(pa),
	    (void *)PHYS_TO_DMAP(copies->pa[at]));
}

void
livedump_copies_msgbuf(struct livedump_copies *copies, size_t at, size_t nth)
{
	uint8_t *to = (uint8_t *)PHYS_TO_DMAP(copies->pa[at]);
	size_t size = msgbufp->msg_size, from = nth * PAGE_SIZE, len;

	len = from < size ? MIN(size - from, PAGE_SIZE) : 0;
	if (len != 0)
		memcpy(to, msgbufp->msg_ptr + from, len);
	if (len != PAGE_SIZE)
		memset(to + len, 0, PAGE_SIZE - len);
}

void
livedump_copies_read(const struct livedump_copies *copies, size_t at,
    void *page)
{
	memcpy(page, (const void *)PHYS_TO_DMAP(copies->pa[at]), PAGE_SIZE);
}
