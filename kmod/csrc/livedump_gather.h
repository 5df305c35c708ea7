/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * All CPUs at one place at one time (livedump_gather.c).
 */
#ifndef _LIVEDUMP_GATHER_H_
#define	_LIVEDUMP_GATHER_H_

#include <sys/types.h>
#include <sys/callout.h>
#include <sys/time.h>

struct ld_gather_cpu {
	struct callout	callout;
	sbintime_t	left;		/* when it went on */
};

struct ld_gather {
	/* CPUs below it take part. */
	u_int		ncpus;
	/* On each CPU but the caller's, when it has come; fp is its frame. */
	void		(*save)(void *arg, u_int cpu, uintptr_t *fp);
	/* On all, when all have come and saved; or NULL. */
	void		(*work)(void *arg, uint64_t deadline_ns);
	void		*arg;		/* of save */
	void		*work_arg;
	/* How long CPUs may be stopped by work, in one try. */
	sbintime_t	max_pause;
	/* When work began, and how long CPUs were stopped for it. */
	sbintime_t	instant;
	sbintime_t	pause;

	/* How many came in, and whether nobody may any more. */
	volatile u_int	gate;
	volatile u_int	saved;
	volatile u_int	done;
	volatile u_int	state;
	sbintime_t	until;		/* nobody waits longer for a new state */
	uint64_t	deadline_ns;	/* for work */
	struct ld_gather_cpu cpu[];
};

size_t	livedump_gather_bytes(u_int ncpus);
u_int	livedump_gather_init(struct ld_gather *at);

/* What a try came to. */
enum ld_gathered {
	LD_MISSING,		/* some CPU did not come: nothing was done */
	LD_ALL,			/* all came, and did the work if there is any */
	LD_UNFINISHED,		/* the work was begun, and is not done */
};
enum ld_gathered livedump_gather(struct ld_gather *at, u_int nth);
#define	LD_GATHER_TRIES	5

/* sbttons() of 12 is wrong after two seconds. */
static inline uint64_t
livedump_sbttons(sbintime_t t)
{
	return ((uint64_t)(t >> 32) * 1000000000 +
	    ((1000000000 * (uint64_t)(uint32_t)t) >> 32));
}

#endif /* !_LIVEDUMP_GATHER_H_ */
