/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What every CPU was doing at one instant.
 *
 * A rendezvous interrupts all CPUs; none goes on before each has saved what it
 * was interrupted in. Where that is: the entry of the interrupt pushed a
 * trapframe and called smp_rendezvous_action(), which called us,
 *
 *	our frame -> its frame -> [rbp] [return address] [trapframe]
 *
 * with frame pointers throughout (amd64 kernels are built with them), so the
 * trapframe begins two words above its frame pointer (12.1, 13.2, 15.1). The
 * return address tells whether it was that entry; interrupts of hypervisors
 * come another way, and leave the trapframe in td_intr_frame.
 */
#include <sys/param.h>
#include <sys/systm.h>
#include <sys/cpuset.h>
#include <sys/lock.h>
#include <sys/mutex.h>
#include <sys/pcpu.h>
#include <sys/proc.h>
#include <sys/sched.h>
#include <sys/smp.h>

#include <vm/vm.h>
#include <vm/pmap.h>

#include <machine/frame.h>
#include <machine/pcb.h>
#include <machine/segments.h>

#include "livedump_module.h"
#include "livedump_shim.h"

/* <machine/smp.h>, which wants the interfaces of buses as well. */
extern char Xrendezvous[];
#if defined(SMP) && __FreeBSD_version < 1400089
extern struct pcb stoppcbs[];
#endif

/* Text of Xrendezvous(), more or less; an IDT entry is far shorter. */
#define	LD_ENTRY_BYTES	1024

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

/* fp: our caller's caller's frame pointer, smp_rendezvous_action()'s. */
static struct trapframe *
livedump_interrupted(struct thread *td, uintptr_t fp)
{
	struct trapframe *tf = td->td_intr_frame;
	uintptr_t *frame = (uintptr_t *)fp;

	if (livedump_in_stack(td, fp, 2 * sizeof(*frame) + sizeof(*tf)) &&
	    frame[1] - (uintptr_t)Xrendezvous < LD_ENTRY_BYTES)
		tf = (struct trapframe *)(frame + 2);
	else if (tf != NULL &&
	    !livedump_in_stack(td, (uintptr_t)tf, sizeof(*tf)))
		tf = NULL;
	return (tf);
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

static void
livedump_save_cpu(void *arg)
{
	const struct ld_instant *at = arg;
	struct thread *td = curthread;
	uintptr_t *fp = __builtin_frame_address(0);
	struct livedump_cpu *cpu;
	struct trapframe *tf;
	u_int id = PCPU_GET(cpuid);

	if (id >= at->n - 1 || td == at->caller)
		return;
	tf = livedump_interrupted(td, fp[0]);
	if (tf == NULL)
		return;
	cpu = &at->cpus[id];
	cpu->pcb[0] = tf->tf_r15;
	cpu->pcb[1] = tf->tf_r14;
	cpu->pcb[2] = tf->tf_r13;
	cpu->pcb[3] = tf->tf_r12;
	cpu->pcb[4] = tf->tf_rbp;
	cpu->pcb[5] = tf->tf_rsp;
	cpu->pcb[6] = tf->tf_rbx;
	cpu->pcb[7] = tf->tf_rip;
	cpu->pcb_bytes = LD_PCB_BYTES;
	cpu->thread = (uintptr_t)td;
	cpu->tid = td->td_tid;
	cpu->cpu = id;
	if (!TRAPF_USERMODE(tf))
		livedump_save_stack(at, cpu, id, td, tf->tf_rsp);
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

void
livedump_instant(struct livedump_cpu *cpus, size_t n, void *stacks,
    size_t room)
{
	struct ld_instant at = { cpus, n, stacks, room, curthread };
	size_t i;

	/* Without functions for entry and exit there is a barrier at both. */
	smp_rendezvous(NULL, livedump_save_cpu, NULL, &at);
	sched_pin();
	livedump_save_caller(&at, __builtin_frame_address(0));
	cpus[n - 1].cpu = PCPU_GET(cpuid);
	sched_unpin();
	/* struct thread is type-stable: the address stays good. */
	for (i = 0; i < n; i++)
		if (cpus[i].thread != 0)
			cpus[i].oncpu = pmap_kextract(
			    (vm_offset_t)&((struct thread *)
			    cpus[i].thread)->td_oncpu);
}
