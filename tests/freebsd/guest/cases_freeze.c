/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Dumps of one instant.
 */
#include "dump.h"

static void
told(const char *name, const struct mem_minidump_arg2 *a)
{
	const struct mem_minidump_freeze *f = &a->mda2_freeze;

	say("FREEZE ", name, " pause_us ", num((i64)f->mdf_pause_ns / 1000),
	    " pages ", num((i64)f->mdf_pages), " zero ",
	    num((i64)a->mda2_arg.mda_zero_pages), " late ",
	    num((i64)f->mdf_late_pages), " cpus ", num(f->mdf_cpus),
	    " copy_kb ", num((i64)f->mdf_copy_bytes / 1024), " elapsed_ms ",
	    num((i64)a->mda2_arg.mda_elapsed_ns / 1000000), "\n");
}

static void
freeze_once(const char *name)
{
	struct mem_minidump_arg2 a;
	i64 fd = open_target(SCRATCH "/dump"), r;

	r = freeze(&a, fd, 0, 2, 1000);
	sys(SYS_close, fd);
	if (r != 0) {
		struct mem_minidump_status st;

		status(&st);
		say("INFO freeze stage ", num(st.mds_last_stage), " needs ",
		    num((i64)st.mds_last_needs), " has ",
		    num((i64)st.mds_last_has), "\n");
		fail(name, "result", r, 0);
	} else {
		told(name, &a);
		bring_out(SCRATCH "/dump", name);
		pass(name);
	}
	sys(SYS_unlink, SCRATCH "/dump");
}

void
cases_freeze(void)
{
	for (int i = 0; i < 3; i++)
		freeze_once("freeze");
	start_load();
	for (int i = 0; i < 5; i++)
		freeze_once("freeze");
	stop_load();
}
