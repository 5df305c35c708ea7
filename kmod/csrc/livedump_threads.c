/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the threads of one dump share, and the threads.
 */
#include <sys/param.h>
#include <sys/systm.h>
#include <sys/condvar.h>
#include <sys/kernel.h>
#include <sys/lock.h>
#include <sys/malloc.h>
#include <sys/mutex.h>
#include <sys/priority.h>
#include <sys/proc.h>
#include <sys/smp.h>
#include <sys/sx.h>
#include <sys/taskqueue.h>

#include "livedump_module.h"
#include "livedump_shim.h"

/*
 * An sx lock, not a mutex: whoever holds it may free memory, and that may
 * sleep.
 */
struct livedump_monitor {
	struct sx	lock;
	struct cv	changed;
};

struct livedump_monitor *
livedump_monitor_init(void)
{
	struct livedump_monitor *monitor;

	monitor = livedump_malloc_of(sizeof(*monitor), M_LIVEDUMP, 0);
	if (monitor == NULL)
		return (NULL);
	sx_init(&monitor->lock, "livedump monitor");
	cv_init(&monitor->changed, "ldwait");
	return (monitor);
}

void
livedump_monitor_lock(struct livedump_monitor *monitor)
{
	sx_xlock(&monitor->lock);
}

void
livedump_monitor_unlock(struct livedump_monitor *monitor)
{
	sx_xunlock(&monitor->lock);
}

void
livedump_monitor_wait(struct livedump_monitor *monitor)
{
	cv_wait(&monitor->changed, &monitor->lock);
}

void
livedump_monitor_notify(struct livedump_monitor *monitor)
{
	cv_broadcast(&monitor->changed);
}

void
livedump_monitor_fini(struct livedump_monitor *monitor)
{
	cv_destroy(&monitor->changed);
	sx_destroy(&monitor->lock);
	free(monitor, M_LIVEDUMP);
}

int
livedump_ncpus(void)
{
	return (mp_ncpus);
}

/*
 * A taskqueue, because its threads begin and end in the kernel's own text:
 * when a task has been drained, no thread of ours has anything left to run in
 * the module, and it may be unloaded.
 */
struct livedump_workers {
	struct taskqueue *queue;
	struct proc	*caller;
	size_t		n;
	void		(*run)(void *);
	void		*arg;
	struct task	task[];
};

static void
livedump_worker(void *context, int pending __unused)
{
	struct livedump_workers *workers = context;

	workers->run(workers->arg);
}

/*
 * About what sched_ule(4) gives a thread that computes. A thread in the kernel
 * keeps the priority that it begins with until it yields, which one that often
 * waits for the disk never does.
 */
#define	LD_THREAD_PRIORITY	((PRI_MIN_TIMESHARE + 3 * PRI_MAX_TIMESHARE) / 4)

/*
 * Lets others run that wait for this CPU, as often as the kernel's own long
 * loops do: after two time slices without sleep. To give way at once to each
 * that wakes up would make dumps of a busy machine take several times as long.
 * From then on not as an interactive thread, which a caller that has slept much
 * remains for a second: a process that computes would stand so long.
 */
void
livedump_maybe_yield(void)
{
	int prio;

	if (!should_yield())
		return;
	prio = curthread->td_user_pri;
	if (PRI_BASE(curthread->td_pri_class) == PRI_TIMESHARE)
		prio = MAX(prio, LD_THREAD_PRIORITY);
	kern_yield(prio);
}

struct livedump_workers *
livedump_workers_start(size_t n, void (*run)(void *), void *arg)
{
	struct livedump_workers *workers;
	size_t i;

	workers = livedump_malloc_of(sizeof(*workers) +
	    n * sizeof(workers->task[0]), M_LIVEDUMP, 0);
	if (workers == NULL)
		return (NULL);
	workers->n = n;
	workers->run = run;
	workers->arg = arg;
	/* witness(4) tells locks by name: not the livedump lock's. */
	workers->queue = taskqueue_create("livedump workers", M_NOWAIT,
	    taskqueue_thread_enqueue, &workers->queue);
	if (workers->queue == NULL) {
		free(workers, M_LIVEDUMP);
		return (NULL);
	}
	/* What they share is on the caller's stack, which must stay in. */
	workers->caller = curproc;
	PHOLD(workers->caller);
	/* Fewer threads than asked for, or none, will do. */
	if (livedump_memory_for(n * LD_THREAD_BYTES))
		(void)taskqueue_start_threads(&workers->queue, (int)n,
		    LD_THREAD_PRIORITY, "livedump");
	for (i = 0; i < n; i++) {
		TASK_INIT(&workers->task[i], 0, livedump_worker, workers);
		taskqueue_enqueue(workers->queue, &workers->task[i]);
	}
	return (workers);
}

void
livedump_workers_join(struct livedump_workers *workers)
{
	size_t i;

	/* A task without a thread is taken back, the others run to the end. */
	for (i = 0; i < workers->n; i++)
		while (taskqueue_cancel(workers->queue, &workers->task[i],
		    NULL) != 0)
			taskqueue_drain(workers->queue, &workers->task[i]);
	taskqueue_free(workers->queue);
	PRELE(workers->caller);
	free(workers, M_LIVEDUMP);
}
