/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The module comes and goes while its sysctl variables, its device and
 * /dev/mem are in use.
 */
#include "dump.h"
#include "machine.h"

#define	ROUNDS	200

/* <sys/memrange.h>: struct mem_extract, 64 bytes; MEM_EXTRACT_PADDR. */
struct mem_extract {
	u64 vaddr, paddr;
	i32 domain, state;
	u8 rest[40];
};
#define	MEM_EXTRACT_PADDR	_IOWR('m', 52, struct mem_extract)

static int
stock_request_works(void)
{
	struct mem_extract e;
	static int here;
	i64 r;

	zero(&e, sizeof(e));
	e.vaddr = (u64)&here;
	r = sys(SYS_ioctl, mem, (i64)MEM_EXTRACT_PADDR, &e);
	/* 12.x has no such request. */
	return (r == 0 || r == -ENODEV || r == -ENOTTY);
}

/* Any of the module's requests, or a stock one: whatever is in charge. */
static int
hammer(void *arg)
{
	struct mem_minidump_status st;
	u64 n = (u64)arg;

	for (;; n++) {
		i64 r = status(&st);

		if (r != 0 && r != -ENODEV && r != -ENOTTY)
			return (1);
		if (!stock_request_works())
			return (2);
		if (n % 16 == 0)
			sys(SYS_sched_yield);
	}
}

/* Reads every variable, and sets one. */
static int
read_sysctls(void *arg)
{
	static const char *const names[] = {
		"mem", "kerneldump", "gzip_level", "zstd_level", "workers",
		"started", "completed", "estimates", "bytes_out",
		"last_error", "params", "announced", "vmcoreinfo",
	};
	char name[64] = "kern.livedump.";
	u64 n = (u64)arg;

	for (;; n++) {
		const char *last = names[n % 13];

		copy(name + 14, last, len(last) + 1);
		/* -2: it is not there, or not an int. */
		(void)sysctl_int(name, -2);
		if (n % 13 == 2) {
			i64 r = sysctl_set(name, 6);

			if (r != 0 && r != -ENOENT)
				return (1);
		}
		if (sysctl_int("kern.hz", -1) <= 0)
			return (2);
	}
}

static int
open_device(void *arg)
{
	struct mem_minidump_status st;

	(void)arg;
	for (;;) {
		i64 fd = sys(SYS_open, "/dev/livedump", (i64)O_RDONLY, 0L), r;

		if (fd < 0) {
			if (fd != -ENOENT && fd != -ENXIO)
				return (1);
			sys(SYS_sched_yield);
			continue;
		}
		for (int i = 0; i < 8; i++) {
			r = sys(SYS_ioctl, fd, (i64)MEM_MINIDUMP_STATUS, &st);
			/* The device may be gone already. */
			if (r != 0 && r != -ENXIO && r != -ENODEV &&
			    r != -ENOTTY && r != -EBADF)
				return (2);
		}
		sys(SYS_close, fd);
	}
}

/* Memory that is there on every machine of its kind. */
static int
read_mem(void *arg)
{
	static u8 page[4096];
	i64 fd = sys(SYS_open, "/dev/mem", (i64)O_RDONLY, 0L);

	(void)arg;
	for (;;) {
		sys(SYS_lseek, fd, MEMORY_AT, 0L);
		if (sys(SYS_read, fd, page, sizeof(page)) != sizeof(page))
			return (1);
		sys(SYS_sched_yield);
	}
}

static int (*const users[])(void *) = {
	hammer, hammer, read_sysctls, read_sysctls, open_device, read_mem,
};
#define	USERS	6

/* Built for another version, and for other options. */
static void
wrong_kernel(void)
{
	static const char *const modules[] = {
		"/livedump-version.ko", "/livedump-options.ko",
	};

	for (int i = 0; i < 2; i++)
		expect("a module for another kernel", load(modules[i]),
		    -8 /* ENOEXEC */);
}

void
cases_module(void)
{
	struct mem_minidump_arg a;
	struct mem_minidump_status st;
	i64 pids[USERS], id, r;
	i64 before = status(&st), unknown;
	int rounds = 0;

	wrong_kernel();
	unknown = sys(SYS_ioctl, mem, (i64)_IOWR('m', 250, u64), &r);
	for (u64 i = 0; i < USERS; i++)
		pids[i] = spawn(users[i], (void *)i);
	for (; rounds < ROUNDS; rounds++) {
		id = load(MODULE);
		if (id < 0) {
			fail("reload: kldload", "result", id, 0);
			break;
		}
		r = minidump(&a, -1, MINIDUMP_ESTIMATE, 0);
		if (r != 0) {
			fail("reload: estimate", "result", r, 0);
			break;
		}
		r = sys(SYS_kldunload, id);
		if (r != 0) {
			fail("reload: kldunload", "result", r, 0);
			break;
		}
	}
	expect("reload 200 times in use", rounds, ROUNDS);
	for (int i = 0; i < USERS; i++) {
		sys(SYS_kill, pids[i], (i64)SIGKILL);
		expect("in use during reload", wait_for(pids[i]), -SIGKILL);
	}
	expect("after unload: our request", status(&st), before);
	expect("after unload: an unknown request", sys(SYS_ioctl, mem,
	    (i64)_IOWR('m', 250, u64), &r), unknown);
	expect_true("after unload: a stock request", stock_request_works(),
	    "MEM_EXTRACT_PADDR failed");
}
