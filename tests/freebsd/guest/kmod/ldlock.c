/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ldlock.ko: real deadlocks between kernel threads, for good.
 *
 * debug.ldlock.tangle=1	makes them, and returns when each thread stands:
 *	pair	two threads, each has one sx(9) and wants the other's
 *	behind	one that would share one of these
 *	mix	three threads in a cycle of a mutex, an sx and a lock(9)
 *	chain	seven threads, one behind the other, and an eighth that has
 *		what the seventh wants, and sleeps
 * debug.ldlock.waits		who waits for what: lines of "group thread class
 *				address holder"; the last of a chain has a "-"
 *
 * A mutex's holder must not sleep, and who would block behind one that does
 * panics (propagate_priority). So the one that wants the mutex blocks first,
 * while the holder is ready to run and does not run: both are bound to one
 * CPU, and the holder yields. Its own wait for an sx comes only then. That is
 * wrong use of locks, like most deadlocks; WITNESS is not told of them.
 */
#include <sys/param.h>
#include <sys/systm.h>
#include <sys/kernel.h>
#include <sys/kthread.h>
#include <sys/lock.h>
#include <sys/lockmgr.h>
#include <sys/module.h>
#include <sys/mutex.h>
#include <sys/proc.h>
#include <sys/sched.h>
#include <sys/sx.h>
#include <sys/sysctl.h>

#define	CHAIN	8

enum class { MTX, SX, LOCKMGR };
static const char *const class_name[] = { "mutex", "sx", "lockmgr" };

/* The first member of each is a struct lock_object. */
struct lock_of {
	enum class class;
	const char *name;
	union {
		struct mtx mtx;
		struct sx sx;
		struct lock lk;
	};
};

struct waiter {
	const char *group;
	struct lock_of *has, *wants;
	struct waiter *behind;	/* who has that */
	struct waiter *before;	/* who wants what this one has */
	int shared;
	int cpu;		/* -1: any */
	struct thread *td;
	volatile int ready, turn;
};

static struct lock_of pair[2] = {
	{ SX, "ldlock one", {} }, { SX, "ldlock other", {} },
};
static struct lock_of mix[3] = {
	{ LOCKMGR, "ldlock lk", {} }, { MTX, "ldlock mtx", {} },
	{ SX, "ldlock sx", {} },
};
static struct lock_of links[CHAIN - 1];
static struct waiter waiters[3 + 3 + CHAIN];
static int nwaiters, tangled;

static void
lock_make(struct lock_of *l)
{
	switch (l->class) {
	case MTX:
		mtx_init(&l->mtx, l->name, NULL, MTX_DEF | MTX_NOWITNESS);
		break;
	case SX:
		sx_init_flags(&l->sx, l->name, SX_NOWITNESS);
		break;
	case LOCKMGR:
		lockinit(&l->lk, PVFS, l->name, 0, LK_NOWITNESS);
		break;
	}
}

static void
lock_take(struct lock_of *l, int shared)
{
	switch (l->class) {
	case MTX:
		mtx_lock(&l->mtx);
		break;
	case SX:
		if (shared)
			sx_slock(&l->sx);
		else
			sx_xlock(&l->sx);
		break;
	case LOCKMGR:
		lockmgr(&l->lk, LK_EXCLUSIVE, NULL);
		break;
	}
}

static int
stands(struct waiter *w)
{
	int yes;

	thread_lock(w->td);
	yes = TD_ON_LOCK(w->td) || (TD_IS_SLEEPING(w->td) &&
	    (w->wants == NULL || w->td->td_wchan == &w->wants->mtx));
	thread_unlock(w->td);
	return (yes);
}

static void
waiter_thread(void *arg)
{
	struct waiter *w = arg;

	if (w->cpu >= 0) {
		thread_lock(curthread);
		sched_bind(curthread, w->cpu);
		thread_unlock(curthread);
	}
	if (w->has != NULL)
		lock_take(w->has, 0);
	w->ready = 1;
	if (w->has != NULL && w->has->class == MTX) {
		/* Others have to run here, too. */
		while (!stands(w->before))
			kern_yield(PRI_MAX_TIMESHARE);
	} else {
		while (w->turn == 0)
			pause("ldturn", 1);
	}
	if (w->wants != NULL)
		lock_take(w->wants, w->shared);
	/* The end of the chain; of the others none comes here. */
	for (;;)
		pause("ldlast", hz);
}

static struct waiter *
waiter_add(const char *group, struct lock_of *has, struct lock_of *wants,
    int cpu)
{
	struct waiter *w = &waiters[nwaiters++];

	w->group = group;
	w->has = has;
	w->wants = wants;
	w->cpu = cpu;
	return (w);
}

static void
waiters_fill(void)
{
	struct waiter *w;

	waiter_add("pair", &pair[0], &pair[1], -1);
	waiter_add("pair", &pair[1], &pair[0], -1);
	w = waiter_add("waiter", NULL, &pair[0], -1);
	w->shared = 1;
	/* In this order: the mutex's holder sleeps after it is waited for. */
	waiter_add("mix", &mix[0], &mix[1], 0);
	waiter_add("mix", &mix[1], &mix[2], 0);
	waiter_add("mix", &mix[2], &mix[0], -1);
	for (int i = 0; i < CHAIN; i++)
		waiter_add("chain", i < CHAIN - 1 ? &links[i] : NULL,
		    i > 0 ? &links[i - 1] : NULL, -1);
	for (int i = 0; i < nwaiters; i++)
		for (int j = 0; j < nwaiters; j++)
			if (waiters[i].wants != NULL &&
			    waiters[j].has == waiters[i].wants) {
				waiters[i].behind = &waiters[j];
				waiters[j].before = &waiters[i];
			}
}

static int
tangle(void)
{
	struct proc *p = NULL;
	int error;

	for (int i = 0; i < CHAIN - 1; i++) {
		links[i].class = i % 2 == 0 ? SX : LOCKMGR;
		links[i].name = "ldlock link";
		lock_make(&links[i]);
	}
	for (u_int i = 0; i < nitems(pair); i++)
		lock_make(&pair[i]);
	for (u_int i = 0; i < nitems(mix); i++)
		lock_make(&mix[i]);
	waiters_fill();
	for (struct waiter *w = waiters; w < &waiters[nwaiters]; w++) {
		error = kproc_kthread_add(waiter_thread, w, &p, &w->td, 0, 0,
		    "ldlock", "%s", w->group);
		if (error != 0)
			return (error);
		while (w->ready == 0)
			pause("ldlock", 1);
	}
	for (struct waiter *w = waiters; w < &waiters[nwaiters]; w++) {
		w->turn = 1;
		while (!stands(w))
			pause("ldlock", 1);
	}
	return (0);
}

static int
sysctl_tangle(SYSCTL_HANDLER_ARGS)
{
	int error, on = tangled;

	error = sysctl_handle_int(oidp, &on, 0, req);
	if (error != 0 || req->newptr == NULL || on == 0 || tangled)
		return (error);
	tangled = 1;
	return (tangle());
}

static int
sysctl_waits(SYSCTL_HANDLER_ARGS)
{
	static char text[2048];
	size_t at = 0;

	for (struct waiter *w = waiters; w < &waiters[nwaiters]; w++) {
		if (w->wants == NULL)
			at += snprintf(text + at, sizeof(text) - at,
			    "%s %d - 0 0\n", w->group, w->td->td_tid);
		else
			at += snprintf(text + at, sizeof(text) - at,
			    "%s %d %s %lu %d\n", w->group, w->td->td_tid,
			    class_name[w->wants->class],
			    (u_long)&w->wants->mtx, w->behind->td->td_tid);
	}
	return (SYSCTL_OUT(req, text, at + 1));
}

static SYSCTL_NODE(_debug, OID_AUTO, ldlock, CTLFLAG_RW | CTLFLAG_MPSAFE, 0,
    "livedump test deadlocks");
SYSCTL_PROC(_debug_ldlock, OID_AUTO, tangle,
    CTLTYPE_INT | CTLFLAG_RW | CTLFLAG_MPSAFE, NULL, 0, sysctl_tangle, "I",
    "");
SYSCTL_PROC(_debug_ldlock, OID_AUTO, waits,
    CTLTYPE_STRING | CTLFLAG_RD | CTLFLAG_MPSAFE, NULL, 0, sysctl_waits, "A",
    "");
static int
ldlock_modevent(module_t mod __unused, int what, void *arg __unused)
{
	switch (what) {
	case MOD_LOAD:
		return (0);
	case MOD_UNLOAD:
		/* Its threads never end. */
		return (EBUSY);
	default:
		return (EOPNOTSUPP);
	}
}

static moduledata_t ldlock_mod = { "ldlock", ldlock_modevent, NULL };
DECLARE_MODULE(ldlock, ldlock_mod, SI_SUB_DRIVERS, SI_ORDER_ANY);
MODULE_VERSION(ldlock, 1);
