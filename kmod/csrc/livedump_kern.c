/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The kernel at large: the livedump lock, events, time and names.
 */
#include <sys/param.h>
#include <sys/systm.h>
#include <sys/condvar.h>
#include <sys/conf.h>
#include <sys/eventhandler.h>
#include <sys/jail.h>
#include <sys/kerneldump.h>
#include <sys/kernel.h>
#include <sys/linker.h>
#include <sys/lock.h>
#include <sys/mutex.h>
#include <sys/proc.h>
#include <sys/time.h>

#include <machine/pcb.h>

#include "livedump_gather.h"
#include "livedump_module.h"
#include "livedump_shim.h"

/*
 * The livedump lock. It is held for as long as a dump takes, which no lock of
 * the kernel's is made for: whoever wanted an sx lock would spin while the
 * dump has a CPU (12.1: not even a signal ends that).
 */
static struct mtx livedump_mtx;
static struct cv livedump_free_cv;
static bool livedump_busy;

void
livedump_lock_init(void)
{
	mtx_init(&livedump_mtx, "livedump", NULL, MTX_DEF);
	cv_init(&livedump_free_cv, "livedump");
}

void
livedump_lock_fini(void)
{
	cv_destroy(&livedump_free_cv);
	mtx_destroy(&livedump_mtx);
}

bool
livedump_try_xlock(void)
{
	bool taken;

	mtx_lock(&livedump_mtx);
	taken = !livedump_busy;
	livedump_busy = true;
	mtx_unlock(&livedump_mtx);
	if (taken)
		livedump_memory_begin();
	return (taken);
}

int
livedump_xlock_sig(void)
{
	int error = 0;

	mtx_lock(&livedump_mtx);
	while (livedump_busy && error == 0)
		error = cv_wait_sig(&livedump_free_cv, &livedump_mtx);
	if (error == 0)
		livedump_busy = true;
	mtx_unlock(&livedump_mtx);
	if (error == 0)
		livedump_memory_begin();
	return (error);
}

void
livedump_xunlock(void)
{
	mtx_lock(&livedump_mtx);
	livedump_busy = false;
	/* All of them: one may be woken by a signal as well, and leave. */
	cv_broadcast(&livedump_free_cv);
	mtx_unlock(&livedump_mtx);
}

/*
 * The events came with the kernel's own live dumps, as did the request; a
 * kernel without them has no handlers to ask.
 */
int
livedump_livedumper_start(void)
{
	int error = 0;

#if LD_HAS_KERNELDUMP
	EVENTHANDLER_INVOKE(livedumper_start, &error);
#endif
	return (error);
}

int
livedump_livedumper_dump(const void *block, uint64_t offset, size_t len)
{
	int error = 0;

#if LD_HAS_KERNELDUMP
	EVENTHANDLER_INVOKE(livedumper_dump, __DECONST(void *, block),
	    (off_t)offset, len, &error);
#else
	(void)block;
	(void)offset;
	(void)len;
#endif
	return (error);
}

void
livedump_livedumper_finish(void)
{
#if LD_HAS_KERNELDUMP
	EVENTHANDLER_INVOKE(livedumper_finish);
#endif
}

#ifdef dump_savectx
void
livedump_savectx_init(void)
{
}

void
livedump_savectx(void)
{
	dump_savectx();
}

void
livedump_savectx_where(uint64_t *pcb, uint64_t *tid)
{
	/* As dump_savectx() declares them. */
	extern struct pcb dumppcb;
	extern lwpid_t dumptid;

	*pcb = (uintptr_t)&dumppcb;
	*tid = (uintptr_t)&dumptid;
}
#else
/*
 * Before 13.2 dumppcb is static in kern_shutdown.c. Debuggers read it all the
 * same, and the linker finds it where the kernel's symbol table was loaded.
 */
static struct pcb *livedump_dumppcb;
static lwpid_t *livedump_dumptid;

void
livedump_savectx_init(void)
{
	livedump_dumppcb = (struct pcb *)(void *)linker_file_lookup_symbol(
	    linker_kernel_file, "dumppcb", 0);
	livedump_dumptid = (lwpid_t *)(void *)linker_file_lookup_symbol(
	    linker_kernel_file, "dumptid", 0);
}

void
livedump_savectx(void)
{
	if (livedump_dumppcb == NULL || livedump_dumptid == NULL)
		return;
	savectx(livedump_dumppcb);
	*livedump_dumptid = curthread->td_tid;
}

void
livedump_savectx_where(uint64_t *pcb, uint64_t *tid)
{
	*pcb = (uintptr_t)livedump_dumppcb;
	*tid = (uintptr_t)livedump_dumptid;
}
#endif

int64_t
livedump_time_second(void)
{
	return (time_second);
}

uint64_t
livedump_nanouptime(void)
{
	struct timespec ts;

	nanouptime(&ts);
	return ((uint64_t)ts.tv_sec * 1000000000 + ts.tv_nsec);
}

uint64_t
livedump_uptime_ns(void)
{
	return (livedump_sbttons(sbinuptime()));
}

size_t
livedump_hostname(char *out, size_t len)
{
	/* No credential: prison0. */
	getcredhostname(NULL, out, len);
	return (strnlen(out, len));
}

size_t
livedump_version(char *out, size_t len)
{
	strlcpy(out, version, len);
	return (strnlen(out, len));
}

void
livedump_panic(const char *what, size_t len)
{
	panic("livedump: %.*s", (int)len, what);
}
