/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Memory for a dump. A live dump is taken of machines that run out of memory,
 * too: nothing here waits without a limit. What is not to be had is ENOMEM,
 * before the file is touched, and the machine keeps what it needs itself.
 */
#include <sys/param.h>
#include <sys/systm.h>
#include <sys/kernel.h>
#include <sys/malloc.h>
#include <sys/vmmeter.h>

#include <vm/vm.h>
#include <vm/vm_param.h>

#include "livedump_module.h"
#include "livedump_shim.h"

MALLOC_DEFINE(M_LIVEDUMP, "livedump", "live dumps");

/* All allocations of one request wait so long together. */
#define	LD_PATIENCE_SECONDS	2

/*
 * malloc(9) hands sizes up to vm.kmem_zmax (64 KB at most: KMEM_ZMAX) to UMA,
 * where M_NODUMP means nothing. Above, memory is whole pages of its own, and
 * the flag is honoured.
 */
#define	LD_MALLOC_MIN	(65536 + 1)

/* Ticks that are left; of the thread that has the livedump lock. */
static int livedump_patience;
/* False while less memory will do if there is not enough at once. */
static bool livedump_waits;

void
livedump_memory_begin(void)
{
	livedump_patience = LD_PATIENCE_SECONDS * hz;
	livedump_waits = true;
}

void
livedump_memory_waits(bool waits)
{
	livedump_waits = waits;
}

/*
 * Whether what is left is more than v_free_min, below which others wait for
 * memory.
 */
static bool
livedump_memory_is_there(size_t size)
{
	return (vm_free_count() >= atop(round_page(size)) +
	    (uint64_t)vm_cnt.v_free_min);
}

/*
 * One tick of it; false: no more. Where this little is free, the page daemon
 * is at work.
 */
bool
livedump_memory_wait(void)
{
	if (!livedump_waits || livedump_patience <= 0 ||
	    livedump_sig_intr() != 0)
		return (false);
	livedump_patience--;
	pause("ldmemory", 1);
	return (true);
}

/*
 * Before functions of the kernel's that wait for memory themselves: false when
 * they could wait for long.
 */
bool
livedump_memory_for(size_t size)
{
	while (!livedump_memory_is_there(size))
		if (!livedump_memory_wait())
			return (false);
	return (true);
}

/* Zeroed, of this type; flags: none of M_WAITOK and M_NOWAIT. */
void *
livedump_malloc_of(size_t size, struct malloc_type *type, int flags)
{
	void *p;

	for (;;) {
		if (!livedump_memory_for(size))
			return (NULL);
		p = malloc(size, type, M_NOWAIT | M_ZERO | flags);
		if (p != NULL || !livedump_memory_wait())
			return (p);
	}
}

void *
livedump_malloc(size_t size)
{
	return (livedump_malloc_of(MAX(size, LD_MALLOC_MIN), M_LIVEDUMP,
	    M_NODUMP));
}

void
livedump_free(void *p)
{
	free(p, M_LIVEDUMP);
}

uint64_t
livedump_physmem(void)
{
	return (ptoa((uint64_t)physmem));
}
