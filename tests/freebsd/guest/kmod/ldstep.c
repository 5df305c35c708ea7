/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ldstep.ko: memory that changes in step, so that a dump shows whether it is of
 * one instant.
 *
 * debug.ldstep.run=1	threads bound to each CPU bump pairs of counters, one
 *			of the pair first, and others insert into a list and
 *			remove from it under a mutex, and use malloc(9) and
 *			free(9); 0 ends them
 * debug.ldstep.bumps	how often pairs were bumped so far
 * debug.ldstep.pairs	lines of "kind first second": addresses
 * debug.ldstep.list	"head mutex count next magic": addresses of the list's
 *			first node, the mutex's word and the count; offsets
 *			in a node
 * debug.ldstep.hold=1	they stand still, and debug.ldstep.held is 1, while a
 *			dump's blocks are written (13.2 and later)
 * debug.ldstep.late_us	how late a callout of every 10 ms was at most, since
 *			somebody wrote 0
 * debug.ldstep.copy_ns	what copying a page takes one CPU that does nothing
 *			else
 */
#include <sys/param.h>
#include <sys/systm.h>
#include <sys/callout.h>
#include <sys/eventhandler.h>
#include <sys/kernel.h>
#include <sys/kerneldump.h>
#include <sys/kthread.h>
#include <sys/lock.h>
#include <sys/malloc.h>
#include <sys/module.h>
#include <sys/mutex.h>
#include <sys/priority.h>
#include <sys/proc.h>
#include <sys/queue.h>
#include <sys/sched.h>
#include <sys/smp.h>
#include <sys/sysctl.h>
#include <sys/time.h>

#include <vm/vm.h>
#include <vm/vm_param.h>
#include <vm/pmap.h>
#include <vm/uma.h>

#include <machine/md_var.h>
#include <machine/vmparam.h>

#include "machine.h"

static MALLOC_DEFINE(M_LDSTEP, "ldstep", "livedump test counters");

#define	PAIRS		8
/* Their pages are so many bytes apart where we say where they are. */
#define	APART		(1 << 20)
/* So many bumps, or changes of the list, then a tick of sleep. */
#define	BUMPS		512
#define	CHANGES		64

struct pair {
	const char *kind;
	volatile u_long *first, *second;
};

static struct pair pairs[PAIRS] = {
	{ "malloc" }, { "malloc" }, { "uma" }, { "uma" }, { "static" },
	{ "static" }, { "stack" }, { "stack" },
};

/* Static, and far apart. */
static u_long counters[2][APART / sizeof(u_long)];

#define	ITEM		2048
static uma_zone_t items;
static void *item[APART / ITEM];
static void *block[3];

#define	NODES		64
#define	MAGIC		0x6c64737465704e4f
struct node {
	TAILQ_ENTRY(node) link;
	u_long	magic;		/* on the list */
	u_long	number;
	char	space[224];	/* 16 a page */
};
static TAILQ_HEAD(, node) list = TAILQ_HEAD_INITIALIZER(list);
static volatile u_long list_count;
static struct mtx list_mtx;
static uma_zone_t nodes;

static volatile int running, hold, held;
static volatile u_int bumping, listing, bumps;

static void
on_cpu(int nth)
{
	u_int cpu, skip = nth % mp_ncpus;

	CPU_FOREACH(cpu)
		if (skip-- == 0)
			break;
	thread_lock(curthread);
	sched_bind(curthread, cpu);
	/* Processes get their share. */
	sched_class(curthread, PRI_TIMESHARE);
	sched_prio(curthread, PRI_MAX_TIMESHARE);
	thread_unlock(curthread);
}

/* One of the pair first; an interrupt may come in between. */
static void
bump(struct pair *pair)
{
	for (u_int n = 0; n < BUMPS; n++) {
		(*pair->first)++;
		cpu_spinwait();
		(*pair->second)++;
		cpu_spinwait();
	}
	atomic_add_int(&bumps, BUMPS);
}

static void
bumper(void *arg)
{
	struct pair *pair = arg;
	volatile u_long mine[2] = { 0, 0 };
	int nth = pair - pairs;

	on_cpu(nth);
	/* Those two have each other's counters. */
	if (nth == PAIRS - 2) {
		pairs[PAIRS - 2].first = &mine[0];
		pairs[PAIRS - 1].second = &mine[1];
	} else if (nth == PAIRS - 1) {
		pairs[PAIRS - 2].second = &mine[0];
		pairs[PAIRS - 1].first = &mine[1];
	}
	atomic_add_int(&bumping, 1);
	while (bumping < PAIRS && running != 0)
		pause("ldstep", 1);
	while (running != 0) {
		if (held == 0)
			bump(pair);
		pause("ldstep", 1);
	}
	atomic_subtract_int(&bumping, 1);
	/* Nobody writes to our stack any more. */
	while (bumping != 0)
		pause("ldstep", 1);
	atomic_subtract_int(&listing, 1);
	kthread_exit();
}

static void
list_insert(struct node *node, u_long number)
{
	struct node *first = TAILQ_FIRST(&list);

	node->magic = MAGIC;
	node->number = number;
	if (first == NULL || number % 3 == 0)
		TAILQ_INSERT_HEAD(&list, node, link);
	else if (number % 3 == 1)
		TAILQ_INSERT_TAIL(&list, node, link);
	else
		TAILQ_INSERT_AFTER(&list, first, node, link);
	cpu_spinwait();
	list_count++;
}

static void
list_remove(struct node *node)
{
	TAILQ_REMOVE(&list, node, link);
	cpu_spinwait();
	node->magic = 0;
	list_count--;
}

/* Memory that comes and goes, also such that is mapped for it. */
static void
malloc_and_free(u_long n)
{
	void *p = malloc(64UL << n % 12, M_LDSTEP, M_NOWAIT);

	if (p != NULL)
		*(u_long *)p = n;
	free(p, M_LDSTEP);
}

/* Its own nodes, one by one onto the list and off it. */
static void
lister(void *arg)
{
	struct node *own[NODES];
	bool on[NODES] = { false };
	u_long n = 0;
	u_int i;

	on_cpu((int)(intptr_t)arg);
	for (i = 0; i < NODES; i++)
		own[i] = uma_zalloc(nodes, M_WAITOK | M_ZERO);
	while (running != 0) {
		for (u_int change = 0; change < CHANGES && held == 0;
		    change++) {
			i = n * 7 % NODES;
			mtx_lock(&list_mtx);
			if (on[i])
				list_remove(own[i]);
			else
				list_insert(own[i], n);
			mtx_unlock(&list_mtx);
			on[i] = !on[i];
			malloc_and_free(n++);
		}
		pause("ldstep", 1);
	}
	mtx_lock(&list_mtx);
	for (i = 0; i < NODES; i++)
		if (on[i])
			list_remove(own[i]);
	mtx_unlock(&list_mtx);
	for (i = 0; i < NODES; i++)
		uma_zfree(nodes, own[i]);
	atomic_subtract_int(&listing, 1);
	kthread_exit();
}

static int
step_start(void)
{
	int error, i;

	for (i = 0; i < PAIRS; i++) {
		error = kthread_add(bumper, &pairs[i], NULL, NULL, 0, 4,
		    "ldstep%d", i);
		if (error != 0)
			return (error);
		atomic_add_int(&listing, 1);
	}
	for (i = 0; i <= mp_ncpus; i++) {
		error = kthread_add(lister, (void *)(intptr_t)i, NULL, NULL, 0,
		    0, "ldlist%d", i);
		if (error != 0)
			return (error);
		atomic_add_int(&listing, 1);
	}
	while (bumps == 0)
		pause("ldstep", 1);
	return (0);
}

static int
sysctl_run(SYSCTL_HANDLER_ARGS)
{
	int error, on = running;

	error = sysctl_handle_int(oidp, &on, 0, req);
	if (error != 0 || req->newptr == NULL || (on != 0) == (running != 0))
		return (error);
	running = on;
	if (on != 0) {
		bumps = 0;
		error = step_start();
		if (error == 0)
			return (0);
		running = 0;
	}
	while (listing != 0)
		pause("ldstep", 1);
	return (error);
}

#if __FreeBSD_version >= 1302000
static eventhandler_tag dump_tag, finish_tag;

static void
on_dump(void *arg __unused, void *va __unused, off_t offset __unused,
    size_t length __unused, int *error __unused)
{
	held = hold;
}

static void
on_finish(void *arg __unused)
{
	held = 0;
}
#endif

static int
sysctl_pairs(SYSCTL_HANDLER_ARGS)
{
	char text[PAIRS * 64];
	size_t at = 0;

	for (int i = 0; i < PAIRS; i++)
		at += snprintf(text + at, sizeof(text) - at, "%s %lu %lu\n",
		    pairs[i].kind, (u_long)pairs[i].first,
		    (u_long)pairs[i].second);
	return (SYSCTL_OUT(req, text, at + 1));
}

static int
sysctl_list(SYSCTL_HANDLER_ARGS)
{
	char text[128];
	int n;

	n = snprintf(text, sizeof(text), "%lu %lu %lu %zu %zu",
	    (u_long)&TAILQ_FIRST(&list), (u_long)&list_mtx.mtx_lock,
	    (u_long)&list_count, offsetof(struct node, link.tqe_next),
	    offsetof(struct node, magic));
	return (SYSCTL_OUT(req, text, n + 1));
}

/* Page by page, as whoever copies pages does; the best of a few. */
/* More than caches hold, and by the direct map, as dumps are copied. */
#define	COPY_PAGES	2048

static char *
pages_make(void **pages, int fill)
{
	char *bytes = malloc(COPY_PAGES * PAGE_SIZE, M_LDSTEP, M_WAITOK);

	memset(bytes, fill, COPY_PAGES * PAGE_SIZE);
	for (int i = 0; i < COPY_PAGES; i++)
		pages[i] = (void *)PHYS_TO_DMAP(vtophys(bytes + i * PAGE_SIZE));
	return (bytes);
}

static int
sysctl_copy(SYSCTL_HANDLER_ARGS)
{
	static void *from[COPY_PAGES], *to[COPY_PAGES];
	char *from_bytes, *to_bytes;
	sbintime_t began, took, best = SBT_MAX;
	int ns;

	from_bytes = pages_make(from, 1);
	to_bytes = pages_make(to, 2);
	for (int i = 0; i < 10; i++) {
		critical_enter();
		began = sbinuptime();
		for (int j = 0; j < COPY_PAGES; j++)
			COPY_PAGE(from[j], to[j]);
		took = sbinuptime() - began;
		critical_exit();
		best = MIN(best, took);
	}
	free(from_bytes, M_LDSTEP);
	free(to_bytes, M_LDSTEP);
	ns = (int)(sbttons(best) / COPY_PAGES);
	return (sysctl_handle_int(oidp, &ns, 0, req));
}

#define	LATE_EVERY	(10 * SBT_1MS)
static struct callout late_callout;
static sbintime_t late_due;
static volatile int late_us;

static void
late(void *arg __unused)
{
	sbintime_t now = sbinuptime();
	int us = (int)((now - late_due) / SBT_1US);

	if (us > late_us)
		late_us = us;
	late_due = now + LATE_EVERY;
	callout_reset_sbt(&late_callout, late_due, 0, late, NULL, C_ABSOLUTE);
}

static SYSCTL_NODE(_debug, OID_AUTO, ldstep, CTLFLAG_RW | CTLFLAG_MPSAFE, 0,
    "livedump test counters");
#define	PROC(name, type, flags, handler, format)			\
	SYSCTL_PROC(_debug_ldstep, OID_AUTO, name,			\
	    type | flags | CTLFLAG_MPSAFE, NULL, 0, handler, format, "")
PROC(run, CTLTYPE_INT, CTLFLAG_RW, sysctl_run, "I");
PROC(copy_ns, CTLTYPE_INT, CTLFLAG_RD, sysctl_copy, "I");
PROC(pairs, CTLTYPE_STRING, CTLFLAG_RD, sysctl_pairs, "A");
PROC(list, CTLTYPE_STRING, CTLFLAG_RD, sysctl_list, "A");
SYSCTL_UINT(_debug_ldstep, OID_AUTO, bumps, CTLFLAG_RD,
    __DEVOLATILE(u_int *, &bumps), 0, "");
SYSCTL_INT(_debug_ldstep, OID_AUTO, hold, CTLFLAG_RW,
    __DEVOLATILE(int *, &hold), 0, "");
SYSCTL_INT(_debug_ldstep, OID_AUTO, held, CTLFLAG_RD,
    __DEVOLATILE(int *, &held), 0, "");
SYSCTL_INT(_debug_ldstep, OID_AUTO, late_us, CTLFLAG_RW,
    __DEVOLATILE(int *, &late_us), 0, "");

static void
counters_make(void)
{
	/* What is between them is not used. */
	for (u_int i = 0; i < nitems(block); i++)
		block[i] = malloc(APART, M_LDSTEP, M_WAITOK | M_ZERO);
	pairs[0].first = block[0];
	pairs[0].second = block[1];
	pairs[1].first = block[2];
	pairs[1].second = (u_long *)((char *)block[1] + APART / 2);
	for (u_int i = 0; i < nitems(item); i++)
		item[i] = uma_zalloc(items, M_WAITOK | M_ZERO);
	pairs[2].first = item[0];
	pairs[2].second = item[nitems(item) - 1];
	pairs[3].first = item[nitems(item) - 3];
	pairs[3].second = item[2];
	pairs[4].first = &counters[0][0];
	pairs[4].second = &counters[1][0];
	pairs[5].first = &counters[1][nitems(counters[1]) - 1];
	pairs[5].second = &counters[0][PAGE_SIZE];
}

static void
counters_free(void)
{
	for (u_int i = 0; i < nitems(block); i++)
		free(block[i], M_LDSTEP);
	for (u_int i = 0; i < nitems(item); i++)
		uma_zfree(items, item[i]);
}

static int
ldstep_modevent(module_t mod __unused, int what, void *arg __unused)
{
	switch (what) {
	case MOD_LOAD:
		items = uma_zcreate("ldstep items", ITEM, NULL, NULL, NULL,
		    NULL, UMA_ALIGN_PTR, 0);
		nodes = uma_zcreate("ldstep nodes", sizeof(struct node), NULL,
		    NULL, NULL, NULL, UMA_ALIGN_PTR, 0);
		mtx_init(&list_mtx, "ldstep list", NULL, MTX_DEF);
		counters_make();
		callout_init(&late_callout, 1);
		late_due = sbinuptime() + LATE_EVERY;
		callout_reset_sbt(&late_callout, late_due, 0, late, NULL,
		    C_ABSOLUTE);
#if __FreeBSD_version >= 1302000
		dump_tag = EVENTHANDLER_REGISTER(livedumper_dump, on_dump,
		    NULL, EVENTHANDLER_PRI_ANY);
		finish_tag = EVENTHANDLER_REGISTER(livedumper_finish,
		    on_finish, NULL, EVENTHANDLER_PRI_ANY);
#endif
		return (0);
	case MOD_UNLOAD:
		if (listing != 0)
			return (EBUSY);
#if __FreeBSD_version >= 1302000
		EVENTHANDLER_DEREGISTER(livedumper_dump, dump_tag);
		EVENTHANDLER_DEREGISTER(livedumper_finish, finish_tag);
#endif
		callout_drain(&late_callout);
		counters_free();
		uma_zdestroy(nodes);
		uma_zdestroy(items);
		mtx_destroy(&list_mtx);
		return (0);
	default:
		return (EOPNOTSUPP);
	}
}

static moduledata_t ldstep_mod = { "ldstep", ldstep_modevent, NULL };
DECLARE_MODULE(ldstep, ldstep_mod, SI_SUB_DRIVERS, SI_ORDER_ANY);
MODULE_VERSION(ldstep, 1);
