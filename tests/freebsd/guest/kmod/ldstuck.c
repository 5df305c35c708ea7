/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ldstuck.ko: hangs of known cause. debug.ldstuck.KIND=1 returns when each
 * thread of it stands where it is to stand, =0 when all of them have ended;
 * one kind at a time.
 *
 * sx		three threads wait for an sx(9) whose holder sleeps
 * rm		a thread loops with an rmlock(9) that it reads; one wants to
 *		write, two want to read and wait for that one
 * task		two wait for tasks of a queue whose thread sleeps in the first
 * callout	one waits for a callout that loops, on the last CPU
 * spin		one spins for a mutex whose owner loops on the last CPU
 * zone		three wait for an item of a uma(9) zone at its limit
 * rpc		three sleep as if for the reply of a server, of no mount
 * bio		/dev/ldstuck takes requests and does not answer them
 * mem		three wait for free pages, of which there are next to none
 *
 * debug.ldstuck.root	what all of them wait for in the end:
 *			"kind tid count name", as livedump explain has it
 * debug.ldstuck.behind=1	the caller waits for the sx, too
 */
#include <sys/param.h>
#include <sys/systm.h>
#include <sys/bio.h>
#include <sys/conf.h>
#include <sys/kernel.h>
#include <sys/kthread.h>
#include <sys/lock.h>
#include <sys/module.h>
#include <sys/mutex.h>
#include <sys/priority.h>
#include <sys/proc.h>
#include <sys/queue.h>
#include <sys/rmlock.h>
#include <sys/sched.h>
#include <sys/smp.h>
#include <sys/sx.h>
#include <sys/sysctl.h>
#include <sys/taskqueue.h>
#include <sys/vmmeter.h>

#include <vm/vm.h>
#include <vm/vm_param.h>
#include <vm/vm_page.h>
#include <vm/vm_pageout.h>
#include <vm/uma.h>

#define	WAITERS		3
#define	ITEMS		16
/* What loops ends by itself, too. */
#define	LOOP_SECONDS	600
/* A thread that does not come to where it is to stand. */
#define	STAND_SECONDS	30

struct stuck {
	struct thread *td;
	void (*run)(void);
	volatile int done;
};

static struct stuck threads[1 + WAITERS];
static int nthreads;
static struct proc *process;
/* The kind that is planted; it ends when this is 0. */
static volatile int planted;
static volatile int there;	/* what others are to wait for */
static char root_text[128];

static struct sx stuck_sx;
static struct rmlock stuck_rm;
static struct mtx stuck_mtx;
static struct taskqueue *queue;
static struct task sleeps, behind;
static struct callout loops;
static struct thread *volatile handler;
static uma_zone_t zone;
static void *items[4096];
static int nitems_taken;
static struct cdev *dev;
static struct mtx bios_mtx;
static struct bio_queue_head bios;
static int bios_kept;
static struct pglist pages = TAILQ_HEAD_INITIALIZER(pages);
static u_int npages;

static void
sleep_until_undone(const char *wmesg)
{
	while (planted != 0)
		tsleep(__DEVOLATILE(int *, &planted), 0, wmesg, 0);
}

static int
loops_on(int until)
{
	return (planted != 0 && until - ticks > 0);
}

static int
until(void)
{
	return (ticks + LOOP_SECONDS * hz);
}

/* Whatever else has to run goes first. */
static void
when_idle(int cpu)
{
	thread_lock(curthread);
	if (cpu >= 0)
		sched_bind(curthread, cpu);
	sched_class(curthread, PRI_IDLE);
	sched_prio(curthread, PRI_MIN_IDLE);
	thread_unlock(curthread);
}

static void
stuck_thread(void *arg)
{
	struct stuck *s = arg;

	s->run();
	s->done = 1;
	kthread_exit();
}

static int
begin(void (*run)(void), const char *name)
{
	struct stuck *s = &threads[nthreads];
	int error;

	s->run = run;
	s->done = 0;
	error = kproc_kthread_add(stuck_thread, s, &process, &s->td, 0, 0,
	    "ldstuck", "%s", name);
	if (error == 0)
		nthreads++;
	return (error);
}

/* It sleeps there, or is blocked, which has no wait message. */
static int
stands(struct stuck *s, const char *wmesg)
{
	int yes;

	if (s->done)
		return (0);
	thread_lock(s->td);
	if (wmesg == NULL)
		yes = TD_ON_LOCK(s->td);
	else
		yes = TD_IS_SLEEPING(s->td) && s->td->td_wmesg != NULL &&
		    strcmp(s->td->td_wmesg, wmesg) == 0;
	thread_unlock(s->td);
	return (yes);
}

static int
wait_there(void)
{
	for (int i = 0; there == 0; i++) {
		if (i > STAND_SECONDS * hz)
			return (ETIMEDOUT);
		pause("ldwait", 1);
	}
	return (0);
}

/* One more thread; returns when it stands. */
static int
add(void (*run)(void), const char *name, const char *wmesg)
{
	int error = begin(run, name);

	for (int i = 0; error == 0 &&
	    !stands(&threads[nthreads - 1], wmesg); i++) {
		if (i > STAND_SECONDS * hz)
			return (ETIMEDOUT);
		pause("ldwait", 1);
	}
	return (error);
}

static int
add_waiters(int n, void (*run)(void), const char *wmesg)
{
	int error = 0;

	while (error == 0 && n-- > 0)
		error = add(run, "waiter", wmesg);
	return (error);
}

static void
tell(const char *kind, const char *name, int tid, int count)
{
	snprintf(root_text, sizeof(root_text), "%s %d %d %s", kind, tid, count,
	    name);
}

static void
wake(void)
{
	planted = 0;
	wakeup(__DEVOLATILE(int *, &planted));
}

/* sx */

static void
sx_holder(void)
{
	sx_xlock(&stuck_sx);
	there = 1;
	sleep_until_undone("ldsleep");
	sx_xunlock(&stuck_sx);
}

static void
sx_waiter(void)
{
	sx_xlock(&stuck_sx);
	sx_xunlock(&stuck_sx);
}

static int
plant_sx(void)
{
	int error = add(sx_holder, "holder", "ldsleep");

	if (error == 0)
		error = add_waiters(WAITERS, sx_waiter, "ldstuck sx");
	tell("thread", "-", threads[0].td->td_tid, WAITERS);
	return (error);
}

/*
 * rm: its reader must not sleep, who would block behind one that does panics
 * (propagate_priority).
 */

static void
rm_reader(void)
{
	struct rm_priotracker tracker;
	int end = until();

	when_idle(mp_maxid);
	rm_rlock(&stuck_rm, &tracker);
	there = 1;
	while (loops_on(end))
		cpu_spinwait();
	rm_runlock(&stuck_rm, &tracker);
}

static void
rm_writer(void)
{
	/* It lends its priority. */
	when_idle(-1);
	rm_wlock(&stuck_rm);
	rm_wunlock(&stuck_rm);
}

static void
rm_waiter(void)
{
	struct rm_priotracker tracker;

	rm_rlock(&stuck_rm, &tracker);
	rm_runlock(&stuck_rm, &tracker);
}

static int
plant_rm(void)
{
	int error = begin(rm_reader, "reader");

	if (error == 0)
		error = wait_there();
	if (error == 0)
		error = add(rm_writer, "writer", NULL);
	if (error == 0)
		error = add_waiters(WAITERS - 1, rm_waiter, "rmlock_sx");
	tell("thread", "-", threads[0].td->td_tid, WAITERS);
	return (error);
}

/* task */

static void
task_sleeps(void *arg __unused, int pending __unused)
{
	handler = curthread;
	there = 1;
	sleep_until_undone("ldtask");
}

static void
task_behind(void *arg __unused, int pending __unused)
{
}

static void
task_drain(void)
{
	taskqueue_drain(queue, &sleeps);
}

static void
task_drain_behind(void)
{
	taskqueue_drain(queue, &behind);
}

static int
plant_task(void)
{
	int error;

	TASK_INIT(&sleeps, 0, task_sleeps, NULL);
	TASK_INIT(&behind, 0, task_behind, NULL);
	queue = taskqueue_create("ldstuck", M_WAITOK,
	    taskqueue_thread_enqueue, &queue);
	error = taskqueue_start_threads(&queue, 1, PWAIT, "ldstuck taskq");
	if (error != 0)
		return (error);
	taskqueue_enqueue(queue, &sleeps);
	taskqueue_enqueue(queue, &behind);
	error = wait_there();
	if (error == 0)
		error = add(task_drain, "drains", "tq_drain");
	if (error == 0)
		error = add(task_drain_behind, "behind", "tq_drain");
	if (error == 0)
		tell("thread", "-", handler->td_tid, 2);
	return (error);
}

static void
undo_task(void)
{
	wake();
	taskqueue_free(queue);
}

/* callout: the CPU runs no others meanwhile. */

static void
callout_loops(void *arg __unused)
{
	int end = until();

	/* Not where the test runs: softclock(9)'s threads run on any CPU. */
	thread_lock(curthread);
	sched_bind(curthread, mp_maxid);
	thread_unlock(curthread);
	handler = curthread;
	there = 1;
	while (loops_on(end))
		cpu_spinwait();
	thread_lock(curthread);
	sched_unbind(curthread);
	thread_unlock(curthread);
}

static void
callout_waiter(void)
{
	thread_lock(curthread);
	sched_bind(curthread, 0);
	thread_unlock(curthread);
	callout_drain(&loops);
}

static int
plant_callout(void)
{
	int error;

	callout_init(&loops, 1);
	callout_reset_on(&loops, 1, callout_loops, NULL, mp_maxid);
	error = wait_there();
	if (error == 0)
		error = add(callout_waiter, "drains", "codrain");
	if (error == 0)
		tell("thread", "-", handler->td_tid, 1);
	return (error);
}

/* spin: an owner that does not run is not spun for. */

static void
spin_owner(void)
{
	int end = until();

	thread_lock(curthread);
	sched_bind(curthread, mp_maxid);
	thread_unlock(curthread);
	mtx_lock(&stuck_mtx);
	critical_enter();
	there = 1;
	while (loops_on(end))
		cpu_spinwait();
	critical_exit();
	mtx_unlock(&stuck_mtx);
}

static void
spin_waiter(void)
{
	when_idle(mp_ncpus > 2 ? 1 : 0);
	mtx_lock(&stuck_mtx);
	mtx_unlock(&stuck_mtx);
}

static int
plant_spin(void)
{
	int error = begin(spin_owner, "owner");

	if (error == 0)
		error = wait_there();
	if (error == 0)
		error = begin(spin_waiter, "spins");
	tell("thread", "-", threads[0].td->td_tid, 1);
	return (error);
}

/* zone */

static void
zone_waiter(void)
{
	uma_zfree(zone, uma_zalloc(zone, M_WAITOK));
}

static int
plant_zone(void)
{
	zone = uma_zcreate("ldstuck", 512, NULL, NULL, NULL, NULL,
	    UMA_ALIGN_PTR, 0);
	uma_zone_set_max(zone, ITEMS);
	for (nitems_taken = 0; nitems_taken < nitems(items); nitems_taken++) {
		items[nitems_taken] = uma_zalloc(zone, M_NOWAIT);
		if (items[nitems_taken] == NULL)
			break;
	}
	tell("zone", "ldstuck", 0, WAITERS);
	return (add_waiters(WAITERS, zone_waiter, "zonelimit"));
}

static void
undo_zone(void)
{
	wake();
	while (nitems_taken > 0)
		uma_zfree(zone, items[--nitems_taken]);
}

static void
undone_zone(void)
{
	uma_zdestroy(zone);
}

/* rpc */

static void
rpc_waiter(void)
{
	sleep_until_undone("nfsreq");
}

static int
plant_rpc(void)
{
	tell("server", "unknown", 0, WAITERS);
	return (add_waiters(WAITERS, rpc_waiter, "nfsreq"));
}

/* bio */

static int
dev_open(struct cdev *d __unused, int flags __unused, int type __unused,
    struct thread *td __unused)
{
	return (0);
}

static void
dev_strategy(struct bio *bp)
{
	mtx_lock(&bios_mtx);
	if (planted != 0) {
		bioq_insert_tail(&bios, bp);
		bios_kept++;
		bp = NULL;
	}
	mtx_unlock(&bios_mtx);
	if (bp != NULL)
		biofinish(bp, NULL, EIO);
}

static struct cdevsw dev_sw = {
	.d_version = D_VERSION,
	.d_name = "ldstuck",
	.d_open = dev_open,
	.d_close = dev_open,
	.d_read = physread,
	.d_strategy = dev_strategy,
};

static int
plant_bio(void)
{
	struct make_dev_args args;
	int error;

	make_dev_args_init(&args);
	args.mda_devsw = &dev_sw;
	args.mda_mode = 0600;
	error = make_dev_s(&args, &dev, "ldstuck");
	if (error == 0)
		dev->si_iosize_max = DFLTPHYS;
	tell("device", "ldstuck", 0, 1);
	return (error);
}

static void
undo_bio(void)
{
	struct bio *bp;

	wake();
	do {
		mtx_lock(&bios_mtx);
		bp = bioq_takefirst(&bios);
		mtx_unlock(&bios_mtx);
		if (bp != NULL)
			biofinish(bp, NULL, EIO);
	} while (bp != NULL);
	bios_kept = 0;
	destroy_dev(dev);
}

/* mem: whatever the pagedaemon frees is taken. */

#if __FreeBSD_version < 1300000
#define	vm_page_alloc_noobj(req)					\
	vm_page_alloc(NULL, 0, (req) | VM_ALLOC_NOOBJ)
#endif

static void
mem_taker(void)
{
	vm_page_t m;
	int end = until();

	while (loops_on(end)) {
		while (!vm_page_count_min()) {
			m = vm_page_alloc_noobj(VM_ALLOC_NORMAL |
			    VM_ALLOC_WIRED);
			if (m == NULL)
				break;
			TAILQ_INSERT_TAIL(&pages, m, plinks.q);
			npages++;
		}
		if (vm_page_count_min())
			there = 1;
		pause("ldmem", 1);
	}
	while ((m = TAILQ_FIRST(&pages)) != NULL) {
		TAILQ_REMOVE(&pages, m, plinks.q);
		vm_page_unwire_noq(m);
		vm_page_free(m);
		npages--;
	}
}

static void
mem_waiter(void)
{
	while (planted != 0)
		vm_wait(NULL);
}

static int
plant_mem(void)
{
	int error = begin(mem_taker, "taker");

	if (error == 0)
		error = wait_there();
	if (error == 0)
		error = add_waiters(WAITERS, mem_waiter, "vmwait");
	tell("memory", "free pages", 0, WAITERS);
	return (error);
}

static const struct kind {
	int (*plant)(void);
	void (*undo)(void);
	void (*undone)(void);
} kinds[] = {
	{ plant_sx, wake, NULL },
	{ plant_rm, wake, NULL },
	{ plant_task, undo_task, NULL },
	{ plant_callout, wake, NULL },
	{ plant_spin, wake, NULL },
	{ plant_zone, undo_zone, undone_zone },
	{ plant_rpc, wake, NULL },
	{ plant_bio, undo_bio, NULL },
	{ plant_mem, wake, NULL },
};

static int
sysctl_kind(SYSCTL_HANDLER_ARGS)
{
	const struct kind *k = &kinds[arg2];
	int error, on = planted == arg2 + 1;

	error = sysctl_handle_int(oidp, &on, 0, req);
	if (error != 0 || req->newptr == NULL)
		return (error);
	if (on != 0) {
		if (planted != 0 || nthreads != 0)
			return (EBUSY);
		planted = arg2 + 1;
		process = NULL;
		there = 0;
		return (k->plant());
	}
	if (planted != arg2 + 1)
		return (ENOENT);
	k->undo();
	for (int i = 0; i < nthreads; i++)
		while (threads[i].done == 0) {
			wake();
			pause("ldundo", 1);
		}
	nthreads = 0;
	if (k->undone != NULL)
		k->undone();
	root_text[0] = '\0';
	return (0);
}

static int
sysctl_behind(SYSCTL_HANDLER_ARGS)
{
	int error, on = 0;

	error = sysctl_handle_int(oidp, &on, 0, req);
	if (error == 0 && req->newptr != NULL && on != 0)
		sx_waiter();
	return (error);
}

static SYSCTL_NODE(_debug, OID_AUTO, ldstuck, CTLFLAG_RW | CTLFLAG_MPSAFE, 0,
    "livedump test hangs");
#define	KIND(name, n)							\
	SYSCTL_PROC(_debug_ldstuck, OID_AUTO, name,			\
	    CTLTYPE_INT | CTLFLAG_RW | CTLFLAG_MPSAFE, NULL, n,		\
	    sysctl_kind, "I", "")
KIND(sx, 0);
KIND(rm, 1);
KIND(task, 2);
KIND(callout, 3);
KIND(spin, 4);
KIND(zone, 5);
KIND(rpc, 6);
KIND(bio, 7);
KIND(mem, 8);
SYSCTL_PROC(_debug_ldstuck, OID_AUTO, behind,
    CTLTYPE_INT | CTLFLAG_RW | CTLFLAG_MPSAFE, NULL, 0, sysctl_behind, "I",
    "");
SYSCTL_STRING(_debug_ldstuck, OID_AUTO, root, CTLFLAG_RD, root_text, 0, "");
SYSCTL_INT(_debug_ldstuck, OID_AUTO, bios, CTLFLAG_RD, &bios_kept, 0, "");

static int
ldstuck_modevent(module_t mod __unused, int what, void *arg __unused)
{
	switch (what) {
	case MOD_LOAD:
		sx_init(&stuck_sx, "ldstuck sx");
		rm_init_flags(&stuck_rm, "ldstuck rm", RM_SLEEPABLE);
		mtx_init(&stuck_mtx, "ldstuck mtx", NULL, MTX_DEF);
		mtx_init(&bios_mtx, "ldstuck bios", NULL, MTX_DEF);
		bioq_init(&bios);
		return (0);
	case MOD_UNLOAD:
		return (EBUSY);
	default:
		return (EOPNOTSUPP);
	}
}

static moduledata_t ldstuck_mod = { "ldstuck", ldstuck_modevent, NULL };
DECLARE_MODULE(ldstuck, ldstuck_mod, SI_SUB_DRIVERS, SI_ORDER_ANY);
MODULE_VERSION(ldstuck, 1);
