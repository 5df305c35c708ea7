/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What every CPU was doing at one instant.
 *
 * A callout is armed on each CPU, for the same time, to run in the interrupt
 * of that CPU's timer. Whichever CPU comes saves what it was interrupted in
 * (td_intr_frame) and waits, interrupts off, until all have come or time is up;
 * so what was saved is of one instant. Time is up after a budget that all tries
 * have together: a CPU that has interrupts off for longer is missing, and all
 * others go on. smp_rendezvous(9) would wait for it, and make them wait.
 *
 * Whoever runs a rendezvous (and, in 12, invalidates a TLB) holds smp_ipi_mtx,
 * interrupts off, until every CPU has taken part. The mutex is held here
 * meanwhile, so that nobody waits for a CPU that waits here. A callout that runs
 * before the mutex is held, or after time was up, finds the gate closed.
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
#include <sys/time.h>

#include <vm/vm.h>
#include <vm/pmap.h>

#include <machine/atomic.h>
#include <machine/cpu.h>
#include <machine/frame.h>
#include <machine/pcb.h>
#include <machine/segments.h>

#include "livedump_module.h"
#include "livedump_shim.h"

/* <machine/smp.h>, which wants the interfaces of buses as well. */
#if defined(SMP) && __FreeBSD_version < 1400089
extern struct pcb stoppcbs[];
#endif

CTASSERT(offsetof(struct pcb, pcb_r15) == 0);
CTASSERT(offsetof(struct pcb, pcb_r14) == 8);
CTASSERT(offsetof(struct pcb, pcb_r13) == 16);
CTASSERT(offsetof(struct pcb, pcb_r12) == 24);
CTASSERT(offsetof(struct pcb, pcb_rbp) == 32);
CTASSERT(offsetof(struct pcb, pcb_rsp) == 40);
CTASSERT(offsetof(struct pcb, pcb_rbx) == 48);
CTASSERT(offsetof(struct pcb, pcb_rip) == 56);
#define	LD_PCB_BYTES	64

struct ld_instant {
	struct livedump_cpu *cpus;
	size_t		n;
	uint8_t		*stacks;
	size_t		room;
	struct thread	*caller;
	/* The gate: how many CPUs came in, and whether it is closed. */
	volatile u_int	gate;
	/* How many of them have saved what there is to save. */
	volatile u_int	saved;
	volatile u_int	go_on;
	/* They do not wait longer than until then. */
	sbintime_t	until;
	struct callout	callouts[];
};
#define	LD_CLOSED	0x80000000

/*
 * How long CPUs wait with interrupts off, try by try: 100 ms in all. What the
 * last one found is what there is.
 */
static const u_int livedump_stall_ms[] = { 10, 10, 20, 20, 40 };
/* From arming the callouts until they run; longer with each try. */
#define	LD_LEAD		(2 * SBT_1MS)
/* For what those that came in have to do yet. */
#define	LD_SAVE		(5 * SBT_1MS)

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
	memcpy(at->stacks + slot * at->room, (const void *)sp,
	    cpu->stack_bytes);
}

/* fp: our caller's frame, which stays until all CPUs go on. */
static void
livedump_save_cpu(const struct ld_instant *at, u_int id, uintptr_t *fp)
{
	struct thread *td = curthread;
	struct trapframe *tf = td->td_intr_frame;
	struct livedump_cpu *cpu = &at->cpus[id];

	if (tf != NULL && livedump_in_stack(td, (uintptr_t)tf, sizeof(*tf))) {
		cpu->pcb[0] = tf->tf_r15;
		cpu->pcb[1] = tf->tf_r14;
		cpu->pcb[2] = tf->tf_r13;
		cpu->pcb[3] = tf->tf_r12;
		cpu->pcb[4] = tf->tf_rbp;
		cpu->pcb[5] = tf->tf_rsp;
		cpu->pcb[6] = tf->tf_rbx;
		cpu->pcb[7] = tf->tf_rip;
		if (!TRAPF_USERMODE(tf))
			livedump_save_stack(at, cpu, id, td, tf->tf_rsp);
	} else {
		/* An idle CPU runs what is due by itself. */
		cpu->pcb[4] = fp[0];
		cpu->pcb[5] = (uintptr_t)(fp + 2);
		cpu->pcb[7] = fp[1];
		livedump_save_stack(at, cpu, id, td, (uintptr_t)(fp + 2));
	}
	cpu->pcb_bytes = LD_PCB_BYTES;
	cpu->tid = td->td_tid;
	cpu->cpu = id;
	cpu->thread = (uintptr_t)td;
}

/* On each CPU, in its timer's interrupt: through the gate, if it is open. */
static void
livedump_arrive(void *arg)
{
	struct ld_instant *at = arg;
	u_int gate, id = PCPU_GET(cpuid);

	if (id >= at->n - 1)
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
	livedump_save_cpu(at, id, __builtin_frame_address(0));
	atomic_add_rel_int(&at->saved, 1);
	while (atomic_load_acq_int(&at->go_on) == 0 &&
	    sbinuptime() < at->until)
		cpu_spinwait();
	spinlock_exit();
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

	cpu->pcb[4] = fp[0];
	cpu->pcb[5] = (uintptr_t)(fp + 2);
	cpu->pcb[7] = fp[1];
	cpu->pcb_bytes = LD_PCB_BYTES;
	cpu->thread = (uintptr_t)td;
	cpu->tid = td->td_tid;
	livedump_save_stack(at, cpu, slot, td, (uintptr_t)(fp + 2));
}

#ifdef SMP
static bool
livedump_mutex_until(sbintime_t until)
{
	while (sbinuptime() < until) {
		if (mtx_trylock_spin(&smp_ipi_mtx) != 0)
			return (true);
		cpu_spinwait();
	}
	return (false);
}

/* Closes the gate; how many have come in. */
static u_int
livedump_close(struct ld_instant *at)
{
	u_int gate = atomic_load_acq_int(&at->gate);

	while (atomic_fcmpset_acq_int(&at->gate, &gate, gate | LD_CLOSED) == 0)
		continue;
	return (gate & ~LD_CLOSED);
}

/* Whether so many CPUs came; contexts of those that did are filled. */
static bool
livedump_gather(struct ld_instant *at, u_int others, sbintime_t lead,
    sbintime_t stall)
{
	sbintime_t when;
	u_int came = 0, cpu;

	memset(at->cpus, 0, at->n * sizeof(*at->cpus));
	at->gate = LD_CLOSED;
	at->saved = at->go_on = 0;
	when = sbinuptime() + lead;
	at->until = when + stall + 2 * LD_SAVE;
	atomic_thread_fence_seq_cst();
	CPU_FOREACH(cpu)
		if (cpu != PCPU_GET(cpuid) && cpu < at->n - 1)
			callout_reset_sbt_on(&at->callouts[cpu], when, 0,
			    livedump_arrive, at, cpu,
			    C_DIRECT_EXEC | C_ABSOLUTE);
	/* From here on no lock is taken, and nothing waits without a limit. */
	if (livedump_mutex_until(when)) {
		atomic_store_rel_int(&at->gate, 0);
		while (atomic_load_acq_int(&at->gate) < others &&
		    sbinuptime() < when + stall)
			cpu_spinwait();
		came = livedump_close(at);
		while (atomic_load_acq_int(&at->saved) < came &&
		    sbinuptime() < when + stall + LD_SAVE)
			cpu_spinwait();
		atomic_store_rel_int(&at->go_on, 1);
		mtx_unlock_spin(&smp_ipi_mtx);
	}
	/* Nobody looks at this memory afterwards. */
	CPU_FOREACH(cpu)
		if (cpu != PCPU_GET(cpuid) && cpu < at->n - 1)
			callout_drain(&at->callouts[cpu]);
	return (came == others);
}

static void
livedump_gather_all(struct ld_instant *at)
{
	u_int cpu, nth, others = 0;

	CPU_FOREACH(cpu) {
		if (cpu < at->n - 1)
			callout_init(&at->callouts[cpu], 1);
		if (cpu < at->n - 1 && cpu != PCPU_GET(cpuid))
			others++;
	}
	if (others == 0)
		return;
	for (nth = 0; nth < nitems(livedump_stall_ms); nth++) {
		if (livedump_gather(at, others, LD_LEAD << nth,
		    livedump_stall_ms[nth] * SBT_1MS))
			return;
		if (nth + 1 < nitems(livedump_stall_ms))
			pause("ldinst", 1);
	}
	CPU_FOREACH(cpu)
		if (cpu < at->n - 1 && cpu != PCPU_GET(cpuid) &&
		    at->cpus[cpu].thread == 0)
			at->cpus[cpu].tid = LIVEDUMP_MISSING;
}
#endif

int
livedump_instant(struct livedump_cpu *cpus, size_t n, void *stacks,
    size_t room)
{
	struct ld_instant *at;
	size_t i;

	at = livedump_malloc_of(sizeof(*at) + n * sizeof(at->callouts[0]),
	    M_LIVEDUMP, 0);
	if (at == NULL)
		return (ENOMEM);
	at->cpus = cpus;
	at->n = n;
	at->stacks = stacks;
	at->room = room;
	at->caller = curthread;
	/* This CPU is the caller's, from before until after. */
	sched_pin();
#ifdef SMP
	livedump_gather_all(at);
#endif
	livedump_save_caller(at, __builtin_frame_address(0));
	cpus[n - 1].cpu = PCPU_GET(cpuid);
	sched_unpin();
	/* struct thread is type-stable: the address stays good. */
	for (i = 0; i < n; i++)
		if (cpus[i].thread != 0)
			cpus[i].oncpu = pmap_kextract(
			    (vm_offset_t)&((struct thread *)
			    cpus[i].thread)->td_oncpu);
	free(at, M_LIVEDUMP);
	return (0);
}
