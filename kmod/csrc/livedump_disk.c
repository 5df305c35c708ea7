/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Whether a process serves the disk that a file system is on: ggatec(8),
 * ggatel(8) and the like answer the requests of a GEOM provider of class GATE,
 * and what is made of it (a partition, a mirror, an encrypted provider) waits
 * for them, too.
 */
#include <sys/param.h>
#include <sys/systm.h>
#include <sys/kernel.h>
#include <sys/lock.h>
#include <sys/malloc.h>
#include <sys/sx.h>

#include <geom/geom.h>

#include "livedump_module.h"

/* Providers that are made of one another. */
#define	LD_DEPTH	16
/* The topology lock is held by whoever makes or removes providers. */
#define	LD_TOPOLOGY_TICKS	10

static bool
livedump_provider_is_served(const struct g_provider *pp, int depth)
{
	const struct g_consumer *cp;

	if (strcmp(pp->geom->class->name, "GATE") == 0)
		return (true);
	if (depth == 0)
		return (false);
	LIST_FOREACH(cp, &pp->geom->consumer, consumer)
		if (cp->provider != NULL &&
		    livedump_provider_is_served(cp->provider, depth - 1))
			return (true);
	return (false);
}

/* from: as statfs(2) has it in f_mntfromname. */
bool
livedump_disk_is_served(const char *from)
{
	struct g_provider *pp;
	bool served = false;
	int tries;

	if (strncmp(from, "/dev/", 5) != 0)
		return (false);
	for (tries = 0; sx_try_xlock(&topology_lock) == 0; tries++) {
		/* If it is, the dump stalls, and that is noticed. */
		if (tries >= LD_TOPOLOGY_TICKS)
			return (false);
		pause("ldtopo", 1);
	}
	pp = g_provider_by_name(from + 5);
	if (pp != NULL)
		served = livedump_provider_is_served(pp, LD_DEPTH);
	sx_xunlock(&topology_lock);
	return (served);
}
