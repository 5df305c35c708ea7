/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Deadlocks that really stand, in a machine that goes on: what the host is to
 * find in its dumps, and proof that it does go on.
 */
#include "dump.h"

/* A younger wait is in doubt; slow machines have slow clocks. */
#define	STAND_MS	2500
/* Dumps under load, whose lists are more often torn. */
#define	LOADED		4
/* A dump and, as its name has it, the list of pages that changed. */
#define	LISTED		"deadlocks-with.1"
#define	LIST		"changed.1"

/* Who waits for what, as ldlock.ko has it. */
void
tell_waits(void)
{
	static char text[2048];
	char *line = text;
	int n = 0;

	if (!sysctl_str("debug.ldlock.waits", text, sizeof(text))) {
		fail("deadlocks", "no list of them", 0, 1);
		return;
	}
	for (char *c = text; *c != '\0'; c++) {
		if (*c != '\n')
			continue;
		*c = '\0';
		say("FACT wait-", num(n++), " ", line, "\n");
		line = c + 1;
	}
	say("FACT waits ", num(n), "\n");
}

static int
nothing(void *arg)
{
	(void)arg;
	return (7);
}

/* Processes, files and kernel threads make progress. */
static void
goes_on(const char *what)
{
	static u8 block[65536];
	i64 count = sysctl_int("debug.ldhang.count", -1), written = 0;
	i64 fd = open_target(SCRATCH "/goes-on");
	u64 end = now_ms() + 20000;
	int forks = 0;

	for (int i = 0; i < 10; i++)
		forks += wait_for(spawn(nothing, 0)) == 7;
	for (int i = 0; i < 16; i++)
		written += sys(SYS_write, fd, block, sizeof(block));
	written += sys(SYS_fsync, fd);
	sys(SYS_close, fd);
	sys(SYS_unlink, SCRATCH "/goes-on");
	while (sysctl_int("debug.ldhang.count", -1) == count &&
	    now_ms() < end)
		sleep_ms(10);
	if (forks != 10)
		fail(what, "forks", forks, 10);
	else if (written != 16 * (i64)sizeof(block))
		fail(what, "written", written, 16 * (i64)sizeof(block));
	else
		expect_true(what,
		    sysctl_int("debug.ldhang.count", -1) != count,
		    "kernel threads stand still");
}

static void
take(const char *name, u32 flags)
{
	struct mem_minidump_arg a;
	i64 fd = open_target(SCRATCH "/dump"), list = -1, r;

	zero(&a, sizeof(a));
	a.mda_version = MINIDUMP_ARG_VERSION;
	a.mda_flags = flags;
	a.mda_fd = (int32_t)fd;
	a.mda_compression = 2;
	if ((flags & MINIDUMP_STABILITY) != 0) {
		list = open_target(SCRATCH "/list");
		a.mda_changes_fd = (int32_t)list;
	}
	r = sys(SYS_ioctl, mem, (i64)MEM_MINIDUMP, &a);
	sys(SYS_close, fd);
	if (expect(name, r, 0)) {
		/* First what the tool looks for beside the dump. */
		if (list >= 0)
			bring_out(SCRATCH "/list", LIST);
		bring_out(SCRATCH "/dump", name);
	}
	if (list >= 0) {
		sys(SYS_close, list);
		sys(SYS_unlink, SCRATCH "/list");
	}
	sys(SYS_unlink, SCRATCH "/dump");
}

void
cases_deadlocks(void)
{
	facts();
	if ((sys(SYS_kldfind, "ldhang.ko") < 0 && load("/ldhang.ko") < 0) ||
	    load("/ldlock.ko") < 0) {
		skip("deadlocks", "the test modules do not load");
		return;
	}
	expect("busy threads", sysctl_set("debug.ldhang.busy", 1), 0);
	take("healthy-0", 0);
	take("healthy-1", MINIDUMP_REGISTERS);
	if (!expect("deadlocks", sysctl_set("debug.ldlock.tangle", 1), 0))
		return;
	tell_waits();
	sleep_ms(STAND_MS);
	goes_on("deadlocks: the machine goes on");
	take("deadlocks-0", 0);
	goes_on("deadlocks: it goes on after a dump");
	take(LISTED, MINIDUMP_REGISTERS | MINIDUMP_QUIESCE |
	    MINIDUMP_STABILITY);
	goes_on("deadlocks: it goes on after another");
	start_load();
	for (int i = 0; i < LOADED; i++) {
		static char name[] = "deadlocks-a";

		name[sizeof(name) - 2] = (char)('a' + i);
		take(name, 0);
	}
	stop_load();
	goes_on("deadlocks: it goes on after those under load");
	expect("busy threads end", sysctl_set("debug.ldhang.busy", 0), 0);
}
