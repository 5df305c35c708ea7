/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Suspending user processes for the duration of a dump.
 *
 * stop_all_proc(9) waits, without a limit and without looking at signals,
 * until every thread of every process has come to the user boundary. One
 * thread in an uninterruptible sleep is enough, and a dump is taken because
 * threads hang. It also ends every interruptible sleep with ERESTART, which
 * select(2) and others turn into EINTR.
 *
 * Here a process is stopped as one that its debugger has stopped:
 * P_STOPPED_TRACE, but without P_TRACED, so that there is nobody to be told
 * and nothing for wait(2) to report. Threads that sleep interruptibly are
 * suspended where they are, as by a stop signal (in 15 those that were about
 * to sleep return EINTR, which system calls are restarted after, but for the
 * few that never are); all others stop before they return to user mode,
 * holding nothing. What sleeps otherwise stays asleep.
 *
 * No other code leaves a process with P_STOPPED_TRACE and without P_TRACED
 * (12.1, 13.2, 15.1: it is set in ptracestop() alone, and cleared with or
 * before P_TRACED). One that became traced meanwhile lacks P_STOPPED_SIG and
 * p_xthread, which ptracestop() sets, too. So resuming knows what was
 * suspended here: no list to keep, and none to lose.
 *
 * ptrace(2) asserts that a process it attaches to is not stopped this way. Those
 * that are not suspended get EBUSY for one that is (and whatever else asks
 * whether they may debug it): a policy of mac(4) says so, as long as processes
 * are suspended.
 *
 * Traced processes are left alone. So are the caller and its parent, kernel
 * processes, and what is being stopped or is exiting anyway.
 *
 * A timer that expires while its process is stopped is not armed again (13
 * and later), but for those that go on with it: they are told, as by SIGCONT.
 */
#include <sys/param.h>
#include <sys/systm.h>
#include <sys/file.h>
#include <sys/kernel.h>
#include <sys/lock.h>
#include <sys/mount.h>
#include <sys/mutex.h>
#include <sys/proc.h>
#include <sys/smp.h>
#include <sys/sx.h>
#include <sys/taskqueue.h>
#include <sys/time.h>
#include <sys/vnode.h>
#include <sys/watchdog.h>

#ifdef MAC
#include <sys/module.h>
#include <security/mac/mac_policy.h>
#endif

#include "livedump_module.h"
#include "livedump_shim.h"

/*
 * A call that has not come back for so long may be waiting for a suspended
 * process: all of them are resumed.
 */
#define	LD_STALL_SECONDS	20

/* A thread that has been blocked for a shorter time will come along. */
#define	LD_BLOCKED_TICKS	hz

/*
 * A queue of its own: on taskqueue_thread the task would stand behind others
 * that may wait for a suspended process, or for us.
 */
static struct taskqueue *livedump_watch_queue;
static struct timeout_task livedump_watch_task;
static volatile time_t livedump_alive;
static volatile u_int livedump_let_go;
static volatile u_int livedump_is_quiet;

/* The dump moves. */
void
livedump_beat(void)
{
	if (livedump_is_quiet == 0 || livedump_alive == time_uptime)
		return;
	livedump_alive = time_uptime;
	/* watchdogd(8) is suspended, too. */
	(void)wdog_kern_pat(WD_LASTVAL);
}

static void
livedump_ask(struct thread *td)
{
#if __FreeBSD_version >= 1400000
	ast_sched_locked(td, TDA_SUSPEND);
#else
	td->td_flags |= TDF_ASTPENDING | TDF_NEEDSUSPCHK;
#endif
}

/* Suspends what can be; how many threads are still on their way. */
static uint64_t
livedump_suspend_proc(struct proc *p)
{
	struct thread *td;
	uint64_t moving = 0;

	p->p_flag |= P_STOPPED_TRACE;
	PROC_SLOCK(p);
	FOREACH_THREAD_IN_PROC(p, td) {
		thread_lock(td);
		if (TD_IS_SUSPENDED(td)) {
			thread_unlock(td);
			continue;
		}
		livedump_ask(td);
		if (TD_IS_SLEEPING(td)) {
			if ((td->td_flags & (TDF_SINTR | TDF_SBDRY)) ==
			    TDF_SINTR)
				thread_suspend_one(td);
		} else if (TD_ON_LOCK(td)) {
			if (ticks - td->td_blktick < LD_BLOCKED_TICKS)
				moving++;
		} else if (!TD_IS_INHIBITED(td)) {
			moving++;
#ifdef SMP
			if (TD_IS_RUNNING(td))
				forward_signal(td);
#endif
		}
		thread_unlock(td);
	}
	PROC_SUNLOCK(p);
	return (moving);
}

static bool
livedump_is_subject(const struct proc *p)
{
	/* exit1() does not look whether it is to stop once it has begun. */
#ifdef P2_WEXIT
	if ((p->p_flag2 & P2_WEXIT) != 0)
		return (false);
#else
	if ((p->p_flag & P_SINGLE_EXIT) != 0 || p->p_exitthreads != 0)
		return (false);
#endif
	return (p->p_state == PRS_NORMAL &&
	    (p->p_flag & (P_KPROC | P_SYSTEM | P_TRACED | P_TOTAL_STOP |
	    P_WEXIT)) == 0);
}

/* Others hold the locks of processes so long in one pass. */
#define	LD_PASS_TICKS	10

/*
 * The locks of processes, unless patience ends first: a machine may be dumped
 * because somebody never releases them.
 */
bool
livedump_allproc_slock(int *patience)
{
	while (sx_try_slock(&allproc_lock) == 0) {
		if (*patience <= 0)
			return (false);
		--*patience;
		pause("ldproc", 1);
	}
	return (true);
}

bool
livedump_proc_lock(struct proc *p, int *patience)
{
	while (PROC_TRYLOCK(p) == 0) {
		if (*patience <= 0)
			return (false);
		--*patience;
		pause("ldproc", 1);
	}
	return (true);
}

/*
 * One pass over all processes. A process that is being made shows up in the
 * next, and counts as one on its way.
 */
uint64_t
livedump_suspend_pass(void)
{
	struct proc *p, *self = curproc, *parent;
	uint64_t moving = 0;
	int patience = LD_PASS_TICKS;

	PROC_LOCK(self);
	parent = self->p_pptr;
	PROC_UNLOCK(self);
	/* The caller gives up after some time. */
	if (!livedump_allproc_slock(&patience))
		return (1);
	FOREACH_PROC_IN_SYSTEM(p) {
		if (livedump_let_go != 0)
			break;
		if (p == self || p == parent)
			continue;
		if (!livedump_proc_lock(p, &patience)) {
			moving++;
			continue;
		}
		if (p->p_state == PRS_NEW)
			moving++;
		else if (livedump_is_subject(p))
			moving += livedump_suspend_proc(p);
		PROC_UNLOCK(p);
	}
	sx_sunlock(&allproc_lock);
	return (moving);
}

/* Whether it was suspended here. */
static bool
livedump_is_suspended(const struct proc *p)
{
	return (p->p_state == PRS_NORMAL &&
	    (p->p_flag & P_STOPPED_TRACE) != 0 &&
	    ((p->p_flag & P_TRACED) == 0 ||
	    ((p->p_flag & P_STOPPED_SIG) == 0 && p->p_xthread == NULL)));
}

static void
livedump_resume_proc(struct proc *p)
{
	p->p_flag &= ~P_STOPPED_TRACE;
	PROC_SLOCK(p);
	thread_unsuspend(p);
	PROC_SUNLOCK(p);
#ifdef P2_ITSTOPPED
	/* One that is stopped otherwise gets its timers with SIGCONT. */
	if (!P_SHOULDSTOP(p)) {
		itimer_proc_continue(p);
		kqtimer_proc_continue(p);
	}
#endif
}

static void
livedump_resume_all(void)
{
	struct proc *p;

	sx_slock(&allproc_lock);
	FOREACH_PROC_IN_SYSTEM(p) {
		PROC_LOCK(p);
		if (livedump_is_suspended(p))
			livedump_resume_proc(p);
		PROC_UNLOCK(p);
	}
	sx_sunlock(&allproc_lock);
}

/* Goes on after the processes do: a pass may have been under way. */
static void
livedump_watch(void *arg __unused, int pending __unused)
{
	if (livedump_is_quiet == 0)
		return;
	if (livedump_let_go == 0 &&
	    time_uptime - livedump_alive >= LD_STALL_SECONDS) {
		livedump_let_go = 1;
		printf("livedump: no progress for %d seconds: "
		    "user processes are resumed\n", LD_STALL_SECONDS);
	}
	if (livedump_let_go != 0)
		livedump_resume_all();
	taskqueue_enqueue_timeout(livedump_watch_queue, &livedump_watch_task,
	    hz);
}

#ifdef MAC
static int
livedump_check_debug(struct ucred *cred __unused, struct proc *p)
{
	return ((p->p_flag & (P_STOPPED_TRACE | P_TRACED)) ==
	    P_STOPPED_TRACE ? EBUSY : 0);
}

static struct mac_policy_ops livedump_mac_ops = {
	.mpo_proc_check_debug = livedump_check_debug,
};

static struct mac_policy_conf livedump_mac = {
	.mpc_name = "livedump",
	.mpc_fullname = "livedump: suspended processes",
	.mpc_ops = &livedump_mac_ops,
	.mpc_loadtime_flags = MPC_LOADTIME_FLAG_UNLOADOK,
};

static int
livedump_deny_debuggers(int what)
{
	return (mac_policy_modevent(NULL, what, &livedump_mac));
}
#else
static int
livedump_deny_debuggers(int what __unused)
{
	return (0);
}
#endif

static int
livedump_watch_start(void)
{
	int error;

	livedump_watch_queue = taskqueue_create("livedump watch", M_NOWAIT,
	    taskqueue_thread_enqueue, &livedump_watch_queue);
	if (livedump_watch_queue == NULL ||
	    !livedump_memory_for(LD_THREAD_BYTES)) {
		if (livedump_watch_queue != NULL)
			taskqueue_free(livedump_watch_queue);
		return (ENOMEM);
	}
	error = taskqueue_start_threads(&livedump_watch_queue, 1, PWAIT,
	    "livedump watch");
	if (error != 0)
		taskqueue_free(livedump_watch_queue);
	return (error);
}

int
livedump_quiesce(void)
{
	int error;

	error = livedump_deny_debuggers(MOD_LOAD);
	if (error != 0)
		return (error);
	error = livedump_watch_start();
	if (error != 0) {
		(void)livedump_deny_debuggers(MOD_UNLOAD);
		return (error);
	}
#if __FreeBSD_version >= 1302000
	/* Nobody else stops processes meanwhile: a sleep, reap kills. */
	if (!stop_all_proc_block()) {
		(void)livedump_deny_debuggers(MOD_UNLOAD);
		taskqueue_free(livedump_watch_queue);
		return (EINTR);
	}
#endif
	livedump_let_go = 0;
	livedump_alive = time_uptime;
	livedump_is_quiet = 1;
	TIMEOUT_TASK_INIT(livedump_watch_queue, &livedump_watch_task, 0,
	    livedump_watch, NULL);
	taskqueue_enqueue_timeout(livedump_watch_queue, &livedump_watch_task,
	    hz);
	return (0);
}

int
livedump_quiesced(void)
{
	return (livedump_let_go != 0 ? EAGAIN : 0);
}

void
livedump_pause(void)
{
	pause("ldquiet", 1);
}

void
livedump_resume(void)
{
	livedump_is_quiet = 0;
	/* It enqueues itself: until there is nothing left to cancel. */
	while (taskqueue_cancel_timeout(livedump_watch_queue,
	    &livedump_watch_task, NULL) != 0)
		taskqueue_drain_timeout(livedump_watch_queue,
		    &livedump_watch_task);
	livedump_resume_all();
#if __FreeBSD_version >= 1302000
	stop_all_proc_unblock();
#endif
	(void)livedump_deny_debuggers(MOD_UNLOAD);
	taskqueue_free(livedump_watch_queue);
}
