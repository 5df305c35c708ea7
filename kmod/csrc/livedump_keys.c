/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The keys that the kernel encrypts its own dumps with. Their list is static
 * in kern_shutdown.c: the linker finds it where the kernel's symbol table was
 * loaded, and without that nothing is known of them.
 */
#include <sys/param.h>
#include <sys/systm.h>
#include <sys/conf.h>
#include <sys/errno.h>
#include <sys/kernel.h>
#include <sys/linker.h>
#include <sys/lock.h>
#include <sys/mutex.h>
#include <sys/queue.h>

#include "livedump_module.h"
#include "livedump_shim.h"

#if __FreeBSD_version >= 1300000
/* Of lock_classes[], subr_lock.c. */
#define	LD_CLASS_MTX_SLEEP	1

TAILQ_HEAD(livedump_dumpers, dumperinfo);

static struct livedump_dumpers *livedump_dumpers;
static struct mtx *livedump_dumpers_lock;

void
livedump_keys_init(void)
{
	livedump_dumpers = (struct livedump_dumpers *)(void *)
	    linker_file_lookup_symbol(linker_kernel_file, "dumper_configs", 0);
	livedump_dumpers_lock = (struct mtx *)(void *)
	    linker_file_lookup_symbol(linker_kernel_file, "dumpconf_list_lk",
	    0);
	/* Another kernel may have another lock for it. */
	if (livedump_dumpers_lock != NULL &&
	    LO_CLASSINDEX(&livedump_dumpers_lock->lock_object) !=
	    LD_CLASS_MTX_SLEEP)
		livedump_dumpers_lock = NULL;
}

int
livedump_dump_keys(uint64_t *blocks, size_t room, size_t *n)
{
	const struct dumperinfo *di;
	int error = 0;

	*n = 0;
	if (livedump_dumpers == NULL || livedump_dumpers_lock == NULL)
		return (ENOENT);
	mtx_lock(livedump_dumpers_lock);
	TAILQ_FOREACH(di, livedump_dumpers, di_next) {
		if (di->kdcrypto == NULL)
			continue;
		if (*n == room) {
			error = E2BIG;
			break;
		}
		blocks[(*n)++] = (uintptr_t)di->kdcrypto;
	}
	mtx_unlock(livedump_dumpers_lock);
	return (error);
}
#else
/* 12 has one dumper, and no lock for it. */
static const struct dumperinfo *livedump_dumper;

void
livedump_keys_init(void)
{
	livedump_dumper = (const struct dumperinfo *)(void *)
	    linker_file_lookup_symbol(linker_kernel_file, "dumper", 0);
}

int
livedump_dump_keys(uint64_t *blocks, size_t room, size_t *n)
{
	const struct kerneldumpcrypto *kdc;

	*n = 0;
	if (livedump_dumper == NULL)
		return (ENOENT);
	kdc = *(struct kerneldumpcrypto *const volatile *)
	    &livedump_dumper->kdcrypto;
	if (kdc == NULL)
		return (0);
	if (room == 0)
		return (E2BIG);
	blocks[(*n)++] = (uintptr_t)kdc;
	return (0);
}
#endif
