/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * kern.livedump: see livedump(4).
 */
#include <sys/param.h>
#include <sys/systm.h>
#include <sys/kernel.h>
#include <sys/sysctl.h>

#include "livedump_ioctl.h"
#include "livedump_module.h"
#include "livedump_shim.h"

static SYSCTL_NODE(_kern, OID_AUTO, livedump, CTLFLAG_RD | CTLFLAG_MPSAFE, 0,
    "Live dumps");

int livedump_mem_enabled = 1;
SYSCTL_INT(_kern_livedump, OID_AUTO, mem, CTLFLAG_RDTUN,
    &livedump_mem_enabled, 0, "Take requests on /dev/mem, too");

int livedump_kerneldump = 0;
SYSCTL_INT(_kern_livedump, OID_AUTO, kerneldump, CTLFLAG_RDTUN,
    &livedump_kerneldump, 0,
    "Serve MEM_KERNELDUMP on /dev/mem although the kernel could");

static int livedump_gzip_default = 6;
SYSCTL_INT(_kern_livedump, OID_AUTO, gzip_level, CTLFLAG_RWTUN,
    &livedump_gzip_default, 0, "gzip level of requests that name none");

static int livedump_zstd_default = 1;
SYSCTL_INT(_kern_livedump, OID_AUTO, zstd_level, CTLFLAG_RWTUN,
    &livedump_zstd_default, 0, "zstd level of requests that name none");

static int livedump_workers_default = 0;
SYSCTL_INT(_kern_livedump, OID_AUTO, workers, CTLFLAG_RWTUN,
    &livedump_workers_default, 0,
    "Threads of requests that name none; 0: one for each CPU, 16 at most");

int
livedump_workers_limit(void)
{
	return (livedump_workers_default);
}

int
livedump_gzip_level(void)
{
	return (livedump_gzip_default);
}

int
livedump_zstd_level(void)
{
	return (livedump_zstd_default);
}

/* A counter is where arg2 says in the status. */
static int
livedump_sysctl_u64(SYSCTL_HANDLER_ARGS)
{
	struct mem_minidump_status status;
	uint64_t value;

	livedump_entry_status(&status);
	memcpy(&value, (const char *)&status + arg2, sizeof(value));
	return (sysctl_handle_64(oidp, &value, 0, req));
}

static int
livedump_sysctl_int(SYSCTL_HANDLER_ARGS)
{
	struct mem_minidump_status status;
	int value;

	livedump_entry_status(&status);
	memcpy(&value, (const char *)&status + arg2, sizeof(value));
	return (sysctl_handle_int(oidp, &value, 0, req));
}

/*
 * Counters are dynamic oids, unlike what is above: removing one waits for
 * those that are inside its handler, which is ours.
 */
static struct sysctl_ctx_list livedump_sysctls;

#define	LD_COUNTER(kind, handler, fmt, field, descr)			\
	SYSCTL_ADD_PROC(&livedump_sysctls,				\
	    SYSCTL_STATIC_CHILDREN(_kern_livedump), OID_AUTO, #field,	\
	    kind | CTLFLAG_RD | CTLFLAG_MPSAFE, NULL,			\
	    offsetof(struct mem_minidump_status, mds_##field), handler,	\
	    fmt, descr)

void
livedump_sysctl_init(void)
{
	sysctl_ctx_init(&livedump_sysctls);
	LD_COUNTER(CTLTYPE_U64, livedump_sysctl_u64, "QU", started,
	    "Dumps started since the module was loaded");
	LD_COUNTER(CTLTYPE_U64, livedump_sysctl_u64, "QU", completed,
	    "Dumps completed since the module was loaded");
	LD_COUNTER(CTLTYPE_U64, livedump_sysctl_u64, "QU", bytes_out,
	    "Bytes written by the dump in progress, or the last one");
	LD_COUNTER(CTLTYPE_INT, livedump_sysctl_int, "I", last_error,
	    "errno of the last finished dump");
}

void
livedump_sysctl_fini(void)
{
	(void)sysctl_ctx_free(&livedump_sysctls);
}
