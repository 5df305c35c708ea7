/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What every CPU was doing at one instant, for a dump of a machine that goes
 * on, or of one that is stopped until it is copied.
 */
#include <sys/param.h>
#include <sys/systm.h>
#include <sys/callout.h>
#include <sys/cpuset.h>
#include <sys/kernel.h>
#include <sys/lock.h>
#include <sys/malloc.h>
#include <sys/mutex.h>
#include <sys/pcpu.h>
#include <sys/proc.h>
#include <sys/sched.h>
#include <sys/smp.h>
#include <sys/sysctl.h>
#include <sys/timeet.h>
#include <sys/time.h>
#include <sys/timetc.h>

#include <vm/vm.h>
#include <vm/pmap.h>

#include <machine/atomic.h>
#include <machine/cpu.h>
#include <machine/frame.h>
#include <machine/pcb.h>

#include "livedump_arch.h"
#include "livedump_gather.h"
#include "livedump_module.h"
#include "livedump_shim.h"

/* <machine/smp.h>, which wants the interfaces of buses as well. */
#if defined(SMP) && __FreeBSD_version < 1400089
extern struct pcb stoppcbs[];
#endif

struct ld_instant {
	struct livedump_cpu *cpus;
	size_t		n;
	uint8_t		*stacks;
	size_t		room;
	struct thread	*caller;
};

size_t
livedump_cpus(void)
{
	return (mp_maxid + 1);
}

void
livedump_debugger(struct livedump_debugger *debugger)
{
	memset(debugger, 0, sizeof(*debugger));
#ifdef SMP
	/* An array, from 14 on a pointer to one. */
	debugger->stoppcbs = (uintptr_t)&stoppcbs[0];
#endif
	debugger->stopped_cpus = (uintptr_t)&stopped_cpus;
	debugger->cpuset_bytes = sizeof(stopped_cpus);
	livedump_savectx_where(&debugger->dumppcb, &debugger->dumptid);
	debugger->pcb_bytes = sizeof(struct pcb);
}

static bool
livedump_in_stack(struct thread *td, uintptr_t p, size_t len)
{
	uintptr_t base = td->td_kstack;
	size_t size = (size_t)td->td_kstack_pages * PAGE_SIZE;

	return (p >= base && len <= size && p - base <= size - len);
}

static void
livedump_save_stack(const struct ld_instant *at, struct livedump_cpu *cpu,
    size_t slot, struct thread *td, uintptr_t sp)
{
	uintptr_t end = td->td_kstack + td->td_kstack_pages * PAGE_SIZE;

	if (!livedump_in_stack(td, sp, 0))
		return;
	cpu->stack = sp;
	cpu->stack_bytes = MIN(end - sp, at->room);
	if (cpu->stack_bytes == 0)
		return;
	memcpy(at->stacks + slot * at->room, (const void *)sp,
	    cpu->stack_bytes);
}

/* fp: our caller's frame, which stays until all CPUs go on. */
static void
livedump_save_cpu(void *arg, u_int id, uintptr_t *fp)
{
	const struct ld_instant *at = arg;
	struct thread *td = curthread;
	struct trapframe *tf = td->td_intr_frame;
	struct livedump_cpu *cpu = &at->cpus[id];
	uintptr_t sp;

	if (tf != NULL && livedump_in_stack(td, (uintptr_t)tf, sizeof(*tf))) {
		sp = livedump_arch_trapframe(cpu, tf);
		if (!TRAPF_USERMODE(tf))
			livedump_save_stack(at, cpu, id, td, sp);
	} else {
		/* An idle CPU runs what is due by itself. */
		sp = livedump_arch_caller(cpu, fp);
		livedump_save_stack(at, cpu, id, td, sp);
	}
	cpu->tid = td->td_tid;
	cpu->cpu = id;
	cpu->thread = (uintptr_t)td;
}

/*
 * The caller's own CPU is not interrupted: as of our return. The frames of
 * those who called stay until its dump is done.
 */
static __noinline void
livedump_save_caller(const struct ld_instant *at, uintptr_t *fp)
{
	size_t slot = at->n - 1;
	struct livedump_cpu *cpu = &at->cpus[slot];
	struct thread *td = at->caller;
	uintptr_t sp;

	sp = livedump_arch_caller(cpu, fp);
	cpu->thread = (uintptr_t)td;
	cpu->tid = td->td_tid;
	livedump_save_stack(at, cpu, slot, td, sp);
}

/* struct thread is type-stable: the address stays good. */
static void
livedump_find_oncpu(struct livedump_cpu *cpus, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (cpus[i].thread != 0)
			cpus[i].oncpu = pmap_kextract(
			    (vm_offset_t)&((struct thread *)
			    cpus[i].thread)->td_oncpu);
}

static struct ld_gather *
livedump_gather_alloc(size_t n)
{
	struct ld_gather *at;

	at = livedump_malloc_of(livedump_gather_bytes(n), M_LIVEDUMP, 0);
	if (at != NULL)
		at->ncpus = n;
	return (at);
}

int
livedump_instant(struct livedump_cpu *cpus, size_t n, void *stacks,
    size_t room)
{
	struct ld_instant at = { cpus, n, stacks, room, curthread };
	struct ld_gather *gather;
	u_int nth, cpu;

	gather = livedump_gather_alloc(n - 1);
	if (gather == NULL)
		return (ENOMEM);
	gather->save = livedump_save_cpu;
	gather->arg = &at;
	/* This CPU is the caller's, from before until after. */
	sched_pin();
	if (livedump_gather_init(gather) != 0) {
		for (nth = 0; nth < LD_GATHER_TRIES; nth++) {
			if (nth > 0)
				pause("ldinst", 1);
			memset(cpus, 0, n * sizeof(*cpus));
			if (livedump_gather(gather, nth) == LD_ALL)
				break;
		}
		CPU_FOREACH(cpu)
			if (cpu < n - 1 && cpu != PCPU_GET(cpuid) &&
			    cpus[cpu].thread == 0)
				cpus[cpu].tid = LIVEDUMP_MISSING;
	}
	livedump_save_caller(&at, __builtin_frame_address(0));
	cpus[n - 1].cpu = PCPU_GET(cpuid);
	sched_unpin();
	livedump_find_oncpu(cpus, n);
	free(gather, M_LIVEDUMP);
	return (0);
}

/*
 * Whether each CPU has a timer of its own. Where one CPU has it for all, it
 * sends the others their interrupts only after its own callouts have run, which
 * wait for them. thread0 asks: the caller may be in capability mode, which these
 * variables are not for.
 */
static bool
livedump_timer_is_percpu(void)
{
	char timer[32], name[64];
	size_t len = sizeof(timer) - 1;
	int flags;

	if (kernel_sysctlbyname(&thread0, __DECONST(char *,
	    "kern.eventtimer.timer"), timer, &len, NULL, 0, NULL, 0) != 0)
		return (false);
	timer[len] = '\0';
	snprintf(name, sizeof(name), "kern.eventtimer.et.%s.flags", timer);
	len = sizeof(flags);
	return (kernel_sysctlbyname(&thread0, name, &flags, &len, NULL, 0,
	    NULL, 0) == 0 && (flags & ET_FLAGS_PERCPU) != 0);
}

/*
 * Whether the clock is right after a pause. Nobody reads the timecounter
 * meanwhile, and it may have gone a quarter of its way since somebody did
 * (tc_min_ticktock_freq).
 */
static bool
livedump_timecounter_lasts(sbintime_t pause)
{
	struct timecounter *tc = timecounter;
	uint64_t half = ((uint64_t)tc->tc_counter_mask + 1) / 2;

	return (tc->tc_frequency != 0 &&
	    (uint64_t)pause < (half << 32) / tc->tc_frequency);
}

int
livedump_freeze(struct livedump_cpu *cpus, size_t n, uint64_t max_pause_ns,
    void (*work)(void *, uint64_t), void *arg,
    struct livedump_stopped *stopped)
{
	struct ld_instant at = { cpus, n, NULL, 0, curthread };
	struct ld_gather *gather;
	enum ld_gathered result = LD_MISSING;
	struct timespec ts;
	sbintime_t now;
	u_int nth, others;

	if ((mp_ncpus > 1 && !livedump_timer_is_percpu()) ||
	    !livedump_timecounter_lasts(nstosbt(max_pause_ns)))
		return (EOPNOTSUPP);

	gather = livedump_gather_alloc(n - 1);
	if (gather == NULL)
		return (ENOMEM);
	gather->save = livedump_save_cpu;
	gather->work = work;
	gather->arg = &at;
	gather->work_arg = arg;
	gather->max_pause = nstosbt(max_pause_ns);
	sched_pin();
	others = livedump_gather_init(gather);
	/* Work that was begun is for the engine to begin again. */
	for (nth = 0; nth < LD_GATHER_TRIES && result == LD_MISSING; nth++) {
		if (nth > 0)
			pause("ldfreeze", 1);
		memset(cpus, 0, n * sizeof(*cpus));
		/* The frames of those who called stay as they are. */
		livedump_save_caller(&at, __builtin_frame_address(0));
		cpus[n - 1].cpu = PCPU_GET(cpuid);
		result = livedump_gather(gather, nth);
	}
	critical_enter();
	nanotime(&ts);
	now = sbinuptime();
	critical_exit();
	sched_unpin();
	if (result == LD_ALL) {
		livedump_find_oncpu(cpus, n);
		stopped->pause_ns = livedump_sbttons(gather->pause);
		stopped->uptime_ns = livedump_sbttons(gather->instant);
		stopped->time_ns = (int64_t)ts.tv_sec * 1000000000 +
		    ts.tv_nsec - (int64_t)livedump_sbttons(now - gather->instant);
		stopped->cpus = others + 1;
	}
	free(gather, M_LIVEDUMP);
	return (result == LD_ALL ? 0 : ETIMEDOUT);
}
