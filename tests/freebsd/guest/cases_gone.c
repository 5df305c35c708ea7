/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Machines that cannot dump themselves any more. The host looks at each from
 * outside and ends it: each of these is the last case of its boot.
 */
#include "dump.h"

/* A younger wait is in doubt; slow machines have slow clocks. */
#define	STAND_MS	2500
/* What was said is on the console by then. */
#define	SAID_MS		500

/*
 * Threads that are deadlocked, and no process that could do anything: the only
 * one sleeps where no signal reaches it.
 */
void
case_dead(void)
{
	facts();
	if ((sys(SYS_kldfind, "ldhang.ko") < 0 && load("/ldhang.ko") < 0) ||
	    load("/ldlock.ko") < 0) {
		skip("dead", "the test modules do not load");
		return;
	}
	if (!expect("dead: deadlocks", sysctl_set("debug.ldlock.tangle", 1), 0))
		return;
	tell_waits();
	sleep_ms(STAND_MS);
	say("OUTSIDE dead-0\n");
	sleep_ms(SAID_MS);
	sysctl_set("debug.ldhang.hang", 1);
	fail("dead", "init goes on", 1, 0);
}

/* In the kernel's debugger. */
void
case_ddb(void)
{
	char current[32];

	if (!sysctl_str("debug.kdb.current", current, sizeof(current)) ||
	    !streq(current, "ddb")) {
		skip("ddb", "this kernel has no debugger");
		return;
	}
	facts();
	say("OUTSIDE ddb-0\n");
	sleep_ms(SAID_MS);
	sysctl_set("debug.kdb.enter", 1);
	fail("ddb", "the machine goes on", 1, 0);
}

/* After a panic that nothing dumps, and that no restart follows. */
void
case_halted(void)
{
	facts();
	expect("halted: no restart",
	    sysctl_set("kern.panic_reboot_wait_time", -1), 0);
	say("OUTSIDE halted-0\n");
	sleep_ms(SAID_MS);
	sysctl_set("debug.kdb.panic", 1);
	fail("halted", "the machine goes on", 1, 0);
}
