/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ldhang.ko: threads that do something a dump is to show.
 *
 * debug.ldhang.spin=1		a thread of a process "ldspin" spins, between
 *				spin_from and spin_to, never preempted, for at
 *				most 8 s; 0 ends it. It counts its turns in a
 *				register, and stores that at spin_turns
 * debug.ldhang.rewrite=1	a thread rewrites the page rewritten_pfn every
 *				tick, and leaves idle_pfn alone; 0 ends it
 * debug.ldhang.hang=1		the caller sleeps where no signal reaches it,
 *				until somebody writes 0
 * debug.ldhang.loop_ms=N	the caller stays in the kernel for N ms, and
 *				does not sleep
 * debug.ldhang.nointr_ms=N	the last CPU has interrupts off for N ms, from
 *				before this returns
 * debug.ldhang.busy=1		on each CPU a thread that takes and gives back
 *				locks all the time, debug.ldhang.count times
 *				so far; 0 ends them
 */
#include <sys/param.h>
#include <sys/systm.h>
#include <sys/kernel.h>
#include <sys/kthread.h>
#include <sys/lock.h>
#include <sys/malloc.h>
#include <sys/module.h>
#include <sys/mutex.h>
#include <sys/priority.h>
#include <sys/proc.h>
#include <sys/sched.h>
#include <sys/smp.h>
#include <sys/sx.h>
#include <sys/sysctl.h>
#include <sys/time.h>
#include <sys/unistd.h>

#include <vm/vm.h>
#include <vm/pmap.h>

#include "machine.h"

static MALLOC_DEFINE(M_LDHANG, "ldhang", "livedump test threads");

static volatile int spinning, rewriting, hanging;
static volatile int spinners, rewriters;
/* What spinners is once there is one, and it spins. */
#define	SPINS	2
static u_long *rewritten, *idle;
static struct sx busy_sx;
static struct mtx busy_mtx;
static volatile int busy;
static volatile u_int busy_threads, busy_count;

extern char ldhang_spin_from[], ldhang_spin_to[];
static u_long spin_turns;

/*
 * Nothing is called between the labels. Interrupts may come between counting
 * and storing.
 */
static void __noinline
spin(int until)
{
	register u_long turns __asm__(COUNTER) = 0;

	critical_enter();
	spin_turns = 0;
	__asm__ volatile("" : "+r" (turns));
	spinners = SPINS;
	__asm__ volatile(".globl ldhang_spin_from\nldhang_spin_from:"
	    : "+r" (turns));
	while (spinning != 0 && until - ticks > 0)
		__asm__ volatile(COUNT_AND_STORE
		    : "+r" (turns), "=m" (spin_turns) : : "memory");
	__asm__ volatile(".globl ldhang_spin_to\nldhang_spin_to:");
	critical_exit();
}

static void
spinner(void *arg __unused)
{
	/* The last CPU; the others have their work to do. */
	thread_lock(curthread);
	sched_bind(curthread, mp_maxid);
	thread_unlock(curthread);
	while (spinning != 0) {
		spin(ticks + 8 * hz);
		pause("ldspin", 1);
	}
	spinners = 0;
	kproc_exit(0);
}

static void
rewriter(void *arg __unused)
{
	for (u_long n = 0; rewriting != 0; n++) {
		for (u_int w = 0; w < PAGE_SIZE / sizeof(*rewritten); w++)
			rewritten[w] = n;
		pause("ldrewr", 1);
	}
	rewriters = 0;
	kproc_exit(0);
}

static int
start_or_stop(volatile int *wanted, volatile int *running, void (*f)(void *),
    const char *name, int on)
{
	int error = 0;

	*wanted = on;
	if (on != 0 && *running == 0) {
		*running = 1;
		error = kproc_create(f, NULL, NULL, 0, 0, "%s", name);
		if (error != 0)
			*running = 0;
	}
	while (on == 0 && *running != 0)
		pause("ldhang", 1);
	return (error);
}

static int
sysctl_spin(SYSCTL_HANDLER_ARGS)
{
	int error, on = spinning;

	error = sysctl_handle_int(oidp, &on, 0, req);
	if (error != 0 || req->newptr == NULL)
		return (error);
	error = start_or_stop(&spinning, &spinners, spinner, "ldspin", on);
	/* However slow the machine is. */
	while (error == 0 && on != 0 && spinners != SPINS)
		pause("ldhang", 1);
	return (error);
}

static int
sysctl_rewrite(SYSCTL_HANDLER_ARGS)
{
	int error, on = rewriting;

	error = sysctl_handle_int(oidp, &on, 0, req);
	if (error != 0 || req->newptr == NULL)
		return (error);
	return (start_or_stop(&rewriting, &rewriters, rewriter, "ldrewrite",
	    on));
}

static int
sysctl_hang(SYSCTL_HANDLER_ARGS)
{
	int error, on = hanging;

	error = sysctl_handle_int(oidp, &on, 0, req);
	if (error != 0 || req->newptr == NULL)
		return (error);
	hanging = on;
	wakeup(__DEVOLATILE(int *, &hanging));
	while (on != 0 && hanging != 0)
		tsleep(__DEVOLATILE(int *, &hanging), PWAIT, "ldhang", hz);
	return (0);
}

static int
sysctl_loop(SYSCTL_HANDLER_ARGS)
{
	int error, ms = 0, until;

	error = sysctl_handle_int(oidp, &ms, 0, req);
	if (error != 0 || req->newptr == NULL)
		return (error);
	until = ticks + (int)((int64_t)ms * hz / 1000);
	while (until - ticks > 0)
		cpu_spinwait();
	return (0);
}

static volatile int nointr_ms;

static void
nointr(void *arg __unused)
{
	sbintime_t until;

	thread_lock(curthread);
	sched_bind(curthread, mp_maxid);
	thread_unlock(curthread);
	spinlock_enter();
	until = sbinuptime() + nointr_ms * SBT_1MS;
	nointr_ms = 0;
	while (sbinuptime() < until)
		cpu_spinwait();
	spinlock_exit();
	kproc_exit(0);
}

static int
sysctl_nointr(SYSCTL_HANDLER_ARGS)
{
	int error, ms = 0;

	error = sysctl_handle_int(oidp, &ms, 0, req);
	if (error != 0 || req->newptr == NULL)
		return (error);
	/* Not on that CPU itself. */
	thread_lock(curthread);
	sched_bind(curthread, 0);
	thread_unlock(curthread);
	nointr_ms = ms;
	error = kproc_create(nointr, NULL, NULL, 0, 0, "ldnointr");
	while (error == 0 && nointr_ms != 0)
		pause("ldhang", 1);
	thread_lock(curthread);
	sched_unbind(curthread);
	thread_unlock(curthread);
	return (error);
}

/* Whoever has something else to do is preferred to these. */
static void
busy_thread(void *arg)
{
	thread_lock(curthread);
	sched_bind(curthread, (int)(intptr_t)arg);
	sched_class(curthread, PRI_IDLE);
	sched_prio(curthread, PRI_MIN_IDLE);
	thread_unlock(curthread);
	while (busy != 0) {
		sx_xlock(&busy_sx);
		mtx_lock(&busy_mtx);
		for (int i = 0; i < 100; i++)
			cpu_spinwait();
		mtx_unlock(&busy_mtx);
		sx_xunlock(&busy_sx);
		atomic_add_int(&busy_count, 1);
		kern_yield(PRI_UNCHANGED);
	}
	atomic_subtract_int(&busy_threads, 1);
	kthread_exit();
}

static int
sysctl_busy(SYSCTL_HANDLER_ARGS)
{
	int cpu, error, on = busy;

	error = sysctl_handle_int(oidp, &on, 0, req);
	if (error != 0 || req->newptr == NULL || (on != 0) == (busy != 0))
		return (error);
	busy = on;
	CPU_FOREACH(cpu) {
		if (on == 0)
			break;
		error = kthread_add(busy_thread, (void *)(intptr_t)cpu, NULL,
		    NULL, 0, 0, "ldbusy%d", cpu);
		if (error != 0)
			return (error);
		busy_threads++;
	}
	while (on == 0 && busy_threads != 0)
		pause("ldhang", 1);
	return (0);
}

static int
sysctl_number(SYSCTL_HANDLER_ARGS)
{
	u_long numbers[] = {
		(u_long)ldhang_spin_from, (u_long)ldhang_spin_to,
		vtophys(rewritten) >> PAGE_SHIFT, vtophys(idle) >> PAGE_SHIFT,
		(u_long)&spin_turns,
	};
	u_long value = numbers[arg2];

	return (sysctl_handle_long(oidp, &value, 0, req));
}

static SYSCTL_NODE(_debug, OID_AUTO, ldhang, CTLFLAG_RW | CTLFLAG_MPSAFE, 0,
    "livedump test threads");
#define	PROC(name, handler)						\
	SYSCTL_PROC(_debug_ldhang, OID_AUTO, name,			\
	    CTLTYPE_INT | CTLFLAG_RW | CTLFLAG_MPSAFE, NULL, 0, handler,\
	    "I", "")
PROC(spin, sysctl_spin);
PROC(rewrite, sysctl_rewrite);
PROC(hang, sysctl_hang);
PROC(loop_ms, sysctl_loop);
PROC(nointr_ms, sysctl_nointr);
PROC(busy, sysctl_busy);
SYSCTL_UINT(_debug_ldhang, OID_AUTO, count, CTLFLAG_RD,
    __DEVOLATILE(u_int *, &busy_count), 0, "");
#define	NUMBER(name, n)							\
	SYSCTL_PROC(_debug_ldhang, OID_AUTO, name,			\
	    CTLTYPE_ULONG | CTLFLAG_RD | CTLFLAG_MPSAFE, NULL, n,	\
	    sysctl_number, "LU", "")
NUMBER(spin_from, 0);
NUMBER(spin_to, 1);
NUMBER(rewritten_pfn, 2);
NUMBER(idle_pfn, 3);
NUMBER(spin_turns, 4);

static int
ldhang_modevent(module_t mod __unused, int what, void *arg __unused)
{
	switch (what) {
	case MOD_LOAD:
		rewritten = malloc(PAGE_SIZE, M_LDHANG, M_WAITOK | M_ZERO);
		idle = malloc(PAGE_SIZE, M_LDHANG, M_WAITOK | M_ZERO);
		sx_init(&busy_sx, "ldbusy sx");
		mtx_init(&busy_mtx, "ldbusy mtx", NULL, MTX_DEF);
		return (0);
	case MOD_UNLOAD:
		/* Its threads may be deadlocked. */
		return (EBUSY);
	default:
		return (EOPNOTSUPP);
	}
}

static moduledata_t ldhang_mod = { "ldhang", ldhang_modevent, NULL };
DECLARE_MODULE(ldhang, ldhang_mod, SI_SUB_DRIVERS, SI_ORDER_ANY);
MODULE_VERSION(ldhang, 1);
