/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * All CPUs at one place at one time, for a bounded time.
 *
 * A callout is armed on each CPU, for the same time, to run in the interrupt
 * of that CPU's timer. Whichever CPU comes saves what it was interrupted in and
 * waits, interrupts off, until all have come or time is up; so what was saved
 * is of one instant. If all came, and there is work, all do it, the caller's
 * CPU as well, and go on. A CPU that has interrupts off for longer is missing,
 * and all others go on. smp_rendezvous(9) would wait for it, and make them
 * wait.
 *
 * Whoever runs a rendezvous (and, in 12, invalidates a TLB) holds smp_ipi_mtx,
 * interrupts off, until every CPU has taken part. The mutex is held here
 * meanwhile, so that nobody waits for a CPU that waits here. A callout that runs
 * before the mutex is held, or after time was up, finds the gate closed.
 *
 * What orders memory, also where loads and stores are not kept in order (arm64):
 * whoever comes adds to saved with a release, after all that the CPU did before;
 * the caller acquires saved, and releases state; whoever finds work acquires
 * state. So those who work see everything that any CPU did before it was
 * stopped. They add to done with a release, after their last load of what they
 * copy, and the caller acquires done. Among themselves the engine's steps order
 * what they do: no CPU leaves one before all units of it are done.
 *
 * While CPUs are stopped no lock is taken, nothing is allocated, and every loop
 * ends by the clock. Nobody holds a spin mutex then but the one above: who has
 * one has interrupts off and does not come.
 */
#include <sys/param.h>
#include <sys/systm.h>
#include <sys/callout.h>
#include <sys/cpuset.h>
#include <sys/kernel.h>
#include <sys/lock.h>
#include <sys/mutex.h>
#include <sys/pcpu.h>
#include <sys/proc.h>
#include <sys/smp.h>
#include <sys/time.h>

#include <machine/atomic.h>
#include <machine/cpu.h>

#include "livedump_gather.h"

#define	LD_CLOSED	0x80000000

/*
 * ld_gather.state, which whoever is first makes of LD_WAIT: the caller, when
 * all are there, or a CPU whose time is up. So either all that came do the work
 * and know that nobody has left, or all go on.
 */
#define	LD_WAIT		0
#define	LD_WORK		1
#define	LD_GO_ON	2

/*
 * How long CPUs wait with interrupts off, try by try: 100 ms in all. What the
 * last one found is what there is.
 */
static const u_int livedump_stall_ms[LD_GATHER_TRIES] = { 10, 10, 20, 20, 40 };
/* From arming the callouts until they run; longer with each try. */
#define	LD_LEAD		(2 * SBT_1MS)
/* The caller is there so long before. */
#define	LD_LATCH	(200 * SBT_1US)
/*
 * Turns of waiting between two looks at the clock: one outside the CPU is slow
 * to read, and those who work have to read it, too.
 */
#define	LD_TURNS	64
/* For what those that came in have to do yet. */
#define	LD_SAVE		(5 * SBT_1MS)

size_t
livedump_gather_bytes(u_int ncpus)
{
	return (sizeof(struct ld_gather) +
	    ncpus * sizeof(struct ld_gather_cpu));
}

/* With ncpus set, on the CPU that stays the caller's. How many others. */
u_int
livedump_gather_init(struct ld_gather *at)
{
	u_int cpu, others = 0;

	CPU_FOREACH(cpu) {
		if (cpu >= at->ncpus)
			continue;
		callout_init(&at->cpu[cpu].callout, 1);
		if (cpu != PCPU_GET(cpuid))
			others++;
	}
	return (others);
}

#ifdef SMP
/* On each CPU, in its timer's interrupt: through the gate, if it is open. */
static void
livedump_arrive(void *arg)
{
	struct ld_gather *at = arg;
	u_int gate, id = PCPU_GET(cpuid), turn = 0;

	if (id >= at->ncpus)
		return;
	/* A direct callout of an idle CPU may be run with interrupts on. */
	spinlock_enter();
	gate = atomic_load_acq_int(&at->gate);
	do {
		if ((gate & LD_CLOSED) != 0) {
			spinlock_exit();
			return;
		}
	} while (atomic_fcmpset_acq_int(&at->gate, &gate, gate + 1) == 0);
	/* Whoever comes when another has left is of no common instant. */
	if (atomic_load_acq_int(&at->state) == LD_WAIT) {
		at->save(at->arg, id, __builtin_frame_address(0));
		atomic_add_rel_int(&at->saved, 1);
	}
	while (atomic_load_acq_int(&at->state) == LD_WAIT) {
		if (turn++ % LD_TURNS == 0 && sbinuptime() >= at->until)
			(void)atomic_cmpset_int(&at->state, LD_WAIT, LD_GO_ON);
		cpu_spinwait();
	}
	if (atomic_load_acq_int(&at->state) == LD_WORK) {
		at->work(at->work_arg, at->deadline_ns);
		at->cpu[id].left = sbinuptime();
		atomic_add_rel_int(&at->done, 1);
	}
	spinlock_exit();
}

/* Waits for the time, awake; then for the mutex. */
static bool
livedump_mutex_at(sbintime_t when)
{
	while (sbinuptime() < when - LD_LATCH)
		cpu_spinwait();
	while (sbinuptime() < when) {
		if (mtx_trylock_spin(&smp_ipi_mtx) != 0)
			return (true);
		cpu_spinwait();
	}
	return (false);
}

static void
livedump_wait_for(volatile u_int *count, u_int n, sbintime_t until)
{
	u_int turn = 0;

	while (atomic_load_acq_int(count) < n) {
		if (turn++ % LD_TURNS == 0 && sbinuptime() >= until)
			break;
		cpu_spinwait();
	}
}

/* Closes the gate; how many have come in. */
static u_int
livedump_close(struct ld_gather *at)
{
	u_int gate = atomic_load_acq_int(&at->gate);

	while (atomic_fcmpset_acq_int(&at->gate, &gate, gate | LD_CLOSED) == 0)
		continue;
	return (gate & ~LD_CLOSED);
}
#endif

/* All are here, unless one has left. Whether all did the work. */
static enum ld_gathered
livedump_work(struct ld_gather *at, u_int others, sbintime_t began)
{
	sbintime_t end = began + at->max_pause;

	at->instant = sbinuptime();
	/* What is in hand when time is up is a little late. */
	at->deadline_ns = livedump_sbttons(end - at->max_pause / 16);
	if (atomic_cmpset_rel_int(&at->state, LD_WAIT, LD_WORK) == 0)
		return (LD_MISSING);
	at->work(at->work_arg, at->deadline_ns);
#ifdef SMP
	livedump_wait_for(&at->done, others, end);
#endif
	at->cpu[PCPU_GET(cpuid)].left = sbinuptime();
	return (atomic_load_acq_int(&at->done) == others ? LD_ALL :
	    LD_UNFINISHED);
}

static void
livedump_pause_since(struct ld_gather *at, sbintime_t began)
{
	u_int cpu;

	at->pause = 0;
	CPU_FOREACH(cpu)
		if (cpu < at->ncpus)
			at->pause = MAX(at->pause, at->cpu[cpu].left - began);
}

/*
 * The nth try, pinned. When this returns, no CPU looks at this memory any more.
 */
enum ld_gathered
livedump_gather(struct ld_gather *at, u_int nth)
{
	enum ld_gathered result = LD_MISSING;
	sbintime_t began = 0;
#ifdef SMP
	sbintime_t save, stall, when;
	u_int came, cpu, others = 0;

	CPU_FOREACH(cpu)
		if (cpu != PCPU_GET(cpuid) && cpu < at->ncpus)
			others++;
	if (others != 0) {
		stall = livedump_stall_ms[nth] * SBT_1MS;
		save = LD_SAVE;
		if (at->work != NULL) {
			stall = MIN(stall, at->max_pause / 2);
			save = MIN(save, at->max_pause / 8);
		}
		at->gate = LD_CLOSED;
		at->saved = at->done = 0;
		at->state = LD_WAIT;
		when = sbinuptime() + (LD_LEAD << nth);
		at->until = when + stall + 2 * save;
		atomic_thread_fence_seq_cst();
		CPU_FOREACH(cpu)
			if (cpu != PCPU_GET(cpuid) && cpu < at->ncpus)
				callout_reset_sbt_on(&at->cpu[cpu].callout,
				    when, 0, livedump_arrive, at, cpu,
				    C_DIRECT_EXEC | C_ABSOLUTE);
		if (livedump_mutex_at(when)) {
			began = sbinuptime();
			atomic_store_rel_int(&at->gate, 0);
			livedump_wait_for(&at->gate, others, when + stall);
			came = livedump_close(at);
			livedump_wait_for(&at->saved, came,
			    when + stall + save);
			if (came == others &&
			    atomic_load_acq_int(&at->saved) == others) {
				if (at->work != NULL)
					result = livedump_work(at, others,
					    began);
				else if (atomic_cmpset_int(&at->state,
				    LD_WAIT, LD_GO_ON) != 0)
					result = LD_ALL;
			}
			atomic_store_rel_int(&at->state, LD_GO_ON);
			mtx_unlock_spin(&smp_ipi_mtx);
		}
		/* Nobody looks at this memory afterwards. */
		CPU_FOREACH(cpu)
			if (cpu != PCPU_GET(cpuid) && cpu < at->ncpus)
				callout_drain(&at->cpu[cpu].callout);
		if (result == LD_ALL && at->work != NULL)
			livedump_pause_since(at, began);
		return (result);
	}
#endif
	if (at->work == NULL)
		return (LD_ALL);
	at->done = 0;
	at->state = LD_WAIT;
	spinlock_enter();
	began = sbinuptime();
	result = livedump_work(at, 0, began);
	spinlock_exit();
	livedump_pause_since(at, began);
	return (result);
}
