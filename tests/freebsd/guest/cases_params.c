/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The parameter page: it comes and goes with the module. The host takes dumps
 * by it, without the kernel's file.
 */
#include "dump.h"

#define	RELOADS	200
/* After so many, what the kernel keeps for the next load has been allocated. */
#define	FIRST	20
/* The count goes up and down by some fifty pages; a leak is one a load. */
#define	LEAKED	120

static i64
wired(void)
{
	return (sysctl_int("vm.stats.vm.v_wire_count", -1));
}

/* The page is given back. */
static void
reloads(void)
{
	i64 before = 0, last = 0;
	int rounds = 0, moved = 0;

	for (; rounds < RELOADS; rounds++) {
		i64 id, pa;

		if (rounds == FIRST)
			before = wired();
		id = load(MODULE);
		if (id < 0)
			break;
		pa = sysctl_int("kern.livedump.params", 0);
		if (pa == 0 || (pa & 4095) != 0)
			break;
		moved += pa != last;
		last = pa;
		if (sys(SYS_kldunload, id) != 0)
			break;
	}
	expect("params: a page with each load", rounds, RELOADS);
	say("NOTE params: ", num(moved), " places in ", num(rounds),
	    " loads; pages wired: ", num(before), ", then ", num(wired()),
	    "\n");
	expect_true("params: memory is given back",
	    wired() - before < LEAKED,
	    "pages stay wired");
}

void
cases_params(void)
{
	i64 pa = sysctl_int("kern.livedump.params", 0);

	expect_true("params: a page", pa != 0 && (pa & 4095) == 0, "no page");
	expect("params: announced", sysctl_int("kern.livedump.announced", -1),
	    how_many("livedump.expect_announced", 0));
	outside("page", 0);
	unload(MODULE_NAME);
	expect("params: no sysctl after unload",
	    sysctl_int("kern.livedump.params", -1), -1);
	/* What the host asks for is refused: there is no page any more. */
	outside("pageless", 0);
	reloads();
	expect_true("params: loaded again", load(MODULE) >= 0, "kldload");
}
