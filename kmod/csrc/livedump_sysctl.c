/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * kern.livedump: see livedump(4).
 */
#include <sys/param.h>
#include <sys/systm.h>
#include <sys/kernel.h>
#include <sys/sysctl.h>

#include "livedump_module.h"
#include "livedump_ioctl.h"
#include "livedump_shim.h"

int livedump_mem_enabled = 1;
int livedump_kerneldump = 0;
static int livedump_gzip_default = 6;
static int livedump_zstd_default = 3;
static int livedump_workers_default = 0;

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
 * Every oid is dynamic: to remove one waits for those that read it, which a
 * static oid of a module that is unloaded does not (15.1: trap 12 in
 * sysctl_root_handler_locked()).
 */
static struct sysctl_ctx_list livedump_sysctls;

#define	LD_VALUE(name, flags, variable, descr)				\
	(SYSCTL_ADD_INT(&livedump_sysctls, SYSCTL_CHILDREN(node),	\
	    OID_AUTO, name, flags | CTLFLAG_MPSAFE, variable, 0, descr)	\
	    == NULL)
#define	LD_COUNTER(kind, handler, fmt, field, descr)			\
	(SYSCTL_ADD_PROC(&livedump_sysctls, SYSCTL_CHILDREN(node),	\
	    OID_AUTO, #field, kind | CTLFLAG_RD | CTLFLAG_MPSAFE, NULL,	\
	    offsetof(struct mem_minidump_status, mds_##field), handler,	\
	    fmt, descr) == NULL)

/* Also reads the tunables. */
int
livedump_sysctl_init(void)
{
	struct sysctl_oid *node;
	bool failed;

	sysctl_ctx_init(&livedump_sysctls);
	node = SYSCTL_ADD_NODE(&livedump_sysctls,
	    SYSCTL_STATIC_CHILDREN(_kern), OID_AUTO, "livedump",
	    CTLFLAG_RD | CTLFLAG_MPSAFE, NULL, "Live dumps");
	failed = node == NULL ||
	    SYSCTL_ADD_CONST_STRING(&livedump_sysctls, SYSCTL_CHILDREN(node),
	    OID_AUTO, "version", (CTLFLAG_RD | CTLFLAG_MPSAFE),
	    livedump_entry_release(), "Version of the module") == NULL ||
	    LD_VALUE("mem", CTLFLAG_RDTUN, &livedump_mem_enabled,
	    "Serve requests on /dev/mem as well") ||
	    LD_VALUE("kerneldump", CTLFLAG_RDTUN, &livedump_kerneldump,
	    "Serve MEM_KERNELDUMP on /dev/mem even if the kernel can") ||
	    LD_VALUE("vmcoreinfo", CTLFLAG_RDTUN, &livedump_vmcoreinfo,
	    "Announce the parameter page to QEMU") ||
	    LD_VALUE("announced", CTLFLAG_RD, &livedump_announced,
	    "QEMU knows of the parameter page") ||
	    SYSCTL_ADD_UQUAD(&livedump_sysctls, SYSCTL_CHILDREN(node),
	    OID_AUTO, "params", CTLFLAG_RD | CTLFLAG_MPSAFE,
	    &livedump_params_pa, "Physical address of the parameter page; "
	    "0: there is none") == NULL ||
	    LD_VALUE("gzip_level", CTLFLAG_RWTUN, &livedump_gzip_default,
	    "Default gzip compression level") ||
	    LD_VALUE("zstd_level", CTLFLAG_RWTUN, &livedump_zstd_default,
	    "Default zstd compression level") ||
	    LD_VALUE("workers", CTLFLAG_RWTUN, &livedump_workers_default,
	    "Default number of threads; 0: one for each CPU, at most 16") ||
	    LD_COUNTER(CTLTYPE_U64, livedump_sysctl_u64, "QU", started,
	    "Dumps started since the module was loaded") ||
	    LD_COUNTER(CTLTYPE_U64, livedump_sysctl_u64, "QU", completed,
	    "Dumps completed since the module was loaded") ||
	    LD_COUNTER(CTLTYPE_U64, livedump_sysctl_u64, "QU", estimates,
	    "Estimates made since the module was loaded") ||
	    LD_COUNTER(CTLTYPE_U64, livedump_sysctl_u64, "QU", bytes_out,
	    "Bytes written by the dump in progress, or the last one") ||
	    LD_COUNTER(CTLTYPE_INT, livedump_sysctl_int, "I", last_error,
	    "errno of the last finished dump");
	if (!failed)
		return (0);
	(void)sysctl_ctx_free(&livedump_sysctls);
	return (ENOMEM);
}

/* EBUSY: somebody else's oid is below ours. They are as they were then. */
int
livedump_sysctl_fini(void)
{
	return (sysctl_ctx_free(&livedump_sysctls) == 0 ? 0 : EBUSY);
}
