/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Dumps from outside: the host takes them when it is told to and says, on a
 * disk, how many it has taken. The machine goes on after each.
 */
#include "dump.h"

/* The dump device, which this machine does not dump to. */
#define	BELL		"/dev/vtbd2"
#define	BELL_OFFSET	(1L << 30)
#define	DUMP		SCRATCH "/dump"

static i64 bell = -1;
static u64 asked;

static u64
taken(void)
{
	static u64 block[64];

	sys(SYS_lseek, bell, BELL_OFFSET, 0L);
	if (sys(SYS_read, bell, block, (i64)sizeof(block)) !=
	    (i64)sizeof(block))
		return (0);
	return (block[0]);
}

int
ask_outside(const char *name)
{
	u64 end = now_ms() + 120000;

	if (bell < 0)
		bell = sys(SYS_open, BELL, (i64)O_RDONLY, 0L);
	asked++;
	say("OUTSIDE ", name, "\n");
	while (taken() < asked && now_ms() < end)
		sleep_ms(20);
	if (taken() < asked) {
		fail(name, "the host's answers", taken(), asked);
		return (0);
	}
	return (1);
}

int
outside(const char *kind, int nth)
{
	return (ask_outside(numbered(kind, nth)) &&
	    expect_true("outside: the machine goes on", steps_go_on(),
	    "threads stand still"));
}

static void
inside(void)
{
	struct mem_minidump_arg a;
	i64 fd = open_target(DUMP), r;

	r = minidump(&a, fd, 0, 2);
	sys(SYS_close, fd);
	if (expect("inside", r, 0))
		bring_out(DUMP, "inside-0");
	sys(SYS_unlink, DUMP);
}

/* Runs until the host ends it. */
void
case_load(void)
{
	load_rest_ms = 20;
	start_load();
	say("OUTSIDE load\n");
	for (;;)
		sleep_ms(1000);
}

void
cases_outside(void)
{
	int n = how_many("livedump.outside", 3);

	facts();
	bell = sys(SYS_open, BELL, (i64)O_RDONLY, 0L);
	if (bell < 0 ||
	    (sys(SYS_kldfind, "ldhang.ko") < 0 && load("/ldhang.ko") < 0) ||
	    (sys(SYS_kldfind, "ldstep.ko") < 0 && load("/ldstep.ko") < 0)) {
		skip("outside", "no test modules, or no disk");
		return;
	}
	if (!expect("counters", sysctl_set("debug.ldstep.run", 1), 0))
		return;
	tell_steps();
	load_rest_ms = 20;
	start_load();
	inside();
	for (int i = 0; i < n && outside("outside", i); i++)
		;
	for (int i = 0; i < n && outside("killed", i); i++)
		;
	stop_load();
	outside("own", 0);
	cases_params();
	tell_spin();
	for (int i = 0; i < n; i++) {
		sysctl_set("debug.ldhang.spin", 1);
		outside("spun", i);
		sysctl_set("debug.ldhang.spin", 0);
	}
	expect("counters end", sysctl_set("debug.ldstep.run", 0), 0);
	sys(SYS_close, bell);
	bell = -1;
}
