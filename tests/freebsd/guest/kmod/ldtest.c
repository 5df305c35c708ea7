/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ldtest.ko: what a test needs inside the kernel.
 *
 * debug.ldtest.pattern=N	N pages of malloc(9) memory, each filled with
 *				"LDTEST" and its number; 0 frees them
 * debug.ldtest.leak=N		N more pages are taken, as far as that is
 *				possible without waiting; 0 frees all of them
 * debug.ldtest.migrate=1	the thread that dumps is moved to another CPU
 *				and back before every block (13.2 and later)
 * debug.ldtest.delay_us=N	and sleeps this long before every block
 * debug.ldtest.veto=E		livedumper_start answers errno E
 * debug.ldtest.panic=1		panics
 * debug.ldtest.blocks		blocks seen by the handlers
 */
#include <sys/param.h>
#include <sys/systm.h>
#include <sys/eventhandler.h>
#include <sys/kernel.h>
#include <sys/kerneldump.h>
#include <sys/lock.h>
#include <sys/malloc.h>
#include <sys/module.h>
#include <sys/mutex.h>
#include <sys/proc.h>
#include <sys/sched.h>
#include <sys/smp.h>
#include <sys/sysctl.h>

static MALLOC_DEFINE(M_LDTEST, "ldtest", "livedump test pages");

static u_long **pattern;
static int pattern_pages, migrate, delay_us, veto, blocks;

static SYSCTL_NODE(_debug, OID_AUTO, ldtest, CTLFLAG_RW | CTLFLAG_MPSAFE, 0,
    "livedump tests");
SYSCTL_INT(_debug_ldtest, OID_AUTO, migrate, CTLFLAG_RW, &migrate, 0, "");
SYSCTL_INT(_debug_ldtest, OID_AUTO, delay_us, CTLFLAG_RW, &delay_us, 0, "");
SYSCTL_INT(_debug_ldtest, OID_AUTO, veto, CTLFLAG_RW, &veto, 0, "");
SYSCTL_INT(_debug_ldtest, OID_AUTO, blocks, CTLFLAG_RW, &blocks, 0, "");

static void
pattern_free(void)
{
	for (int i = 0; i < pattern_pages; i++)
		free(pattern[i], M_LDTEST);
	free(pattern, M_LDTEST);
	pattern = NULL;
	pattern_pages = 0;
}

static void
pattern_fill(u_long *page, u_long i)
{
	for (u_int w = 0; w < PAGE_SIZE / sizeof(u_long); w += 2) {
		memcpy(&page[w], "LDTEST\0", 8);
		page[w + 1] = i;
	}
}

static int
sysctl_pattern(SYSCTL_HANDLER_ARGS)
{
	int error, n = pattern_pages;

	error = sysctl_handle_int(oidp, &n, 0, req);
	if (error != 0 || req->newptr == NULL)
		return (error);
	if (n < 0 || n > 1 << 20)
		return (EINVAL);
	pattern_free();
	if (n == 0)
		return (0);
	pattern = malloc(n * sizeof(*pattern), M_LDTEST, M_WAITOK | M_ZERO);
	for (int i = 0; i < n; i++) {
		pattern[i] = malloc(PAGE_SIZE, M_LDTEST, M_WAITOK);
		pattern_fill(pattern[i], i);
	}
	pattern_pages = n;
	return (0);
}
SYSCTL_PROC(_debug_ldtest, OID_AUTO, pattern,
    CTLTYPE_INT | CTLFLAG_RW | CTLFLAG_MPSAFE, NULL, 0, sysctl_pattern, "I",
    "");

/* Linked through themselves. */
static void **leaked;

static int
sysctl_leak(SYSCTL_HANDLER_ARGS)
{
	void **p;
	int error, n = 0;

	error = sysctl_handle_int(oidp, &n, 0, req);
	if (error != 0 || req->newptr == NULL)
		return (error);
	while (n == 0 && (p = leaked) != NULL) {
		leaked = *p;
		free(p, M_LDTEST);
	}
	for (; n >= 32; n -= 32) {
		/* Large: not from UMA, which would keep it. */
		p = malloc(32 * PAGE_SIZE, M_LDTEST, M_NOWAIT);
		if (p == NULL)
			break;
		*p = leaked;
		leaked = p;
	}
	return (0);
}
SYSCTL_PROC(_debug_ldtest, OID_AUTO, leak,
    CTLTYPE_INT | CTLFLAG_RW | CTLFLAG_MPSAFE, NULL, 0, sysctl_leak, "I",
    "");

static int
sysctl_panic(SYSCTL_HANDLER_ARGS)
{
	int error, n = 0;

	error = sysctl_handle_int(oidp, &n, 0, req);
	if (error == 0 && req->newptr != NULL && n != 0)
		panic("ldtest: asked to");
	return (error);
}
SYSCTL_PROC(_debug_ldtest, OID_AUTO, panic,
    CTLTYPE_INT | CTLFLAG_RW | CTLFLAG_MPSAFE, NULL, 0, sysctl_panic, "I",
    "");

#if __FreeBSD_version >= 1302000
static eventhandler_tag start_tag, dump_tag;

static void
on_start(void *arg __unused, int *error)
{
	if (veto != 0)
		*error = veto;
}

static void
hop(int cpu)
{
	thread_lock(curthread);
	sched_bind(curthread, cpu);
	thread_unlock(curthread);
}

static void
on_dump(void *arg __unused, void *va __unused, off_t offset __unused,
    size_t length, int *error __unused)
{
	if (length == 0)
		return;
	blocks++;
	if (delay_us != 0)
		pause_sbt("ldtest", delay_us * SBT_1US, 0, 0);
	if (migrate != 0 && mp_ncpus > 1) {
		int here = PCPU_GET(cpuid);

		hop((here + 1) % mp_ncpus);
		hop(here);
		thread_lock(curthread);
		sched_unbind(curthread);
		thread_unlock(curthread);
	}
}
#endif

static int
ldtest_modevent(module_t mod __unused, int what, void *arg __unused)
{
	switch (what) {
	case MOD_LOAD:
#if __FreeBSD_version >= 1302000
		start_tag = EVENTHANDLER_REGISTER(livedumper_start, on_start,
		    NULL, EVENTHANDLER_PRI_ANY);
		dump_tag = EVENTHANDLER_REGISTER(livedumper_dump, on_dump,
		    NULL, EVENTHANDLER_PRI_ANY);
#endif
		return (0);
	case MOD_UNLOAD:
#if __FreeBSD_version >= 1302000
		EVENTHANDLER_DEREGISTER(livedumper_start, start_tag);
		EVENTHANDLER_DEREGISTER(livedumper_dump, dump_tag);
#endif
		pattern_free();
		return (0);
	default:
		return (EOPNOTSUPP);
	}
}

static moduledata_t ldtest_mod = { "ldtest", ldtest_modevent, NULL };
DECLARE_MODULE(ldtest, ldtest_mod, SI_SUB_DRIVERS, SI_ORDER_ANY);
MODULE_VERSION(ldtest, 1);
