/* SPDX-License-Identifier: BSD-2-Clause */
/* The module comes and goes while /dev/mem is in use. */
#include "dump.h"

#define	ROUNDS	50

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

void
cases_module(void)
{
	struct mem_minidump_arg a;
	struct mem_minidump_status st;
	i64 hammers[4], id, r;
	i64 before = status(&st), unknown;
	int rounds = 0;

	unknown = sys(SYS_ioctl, mem, (i64)_IOWR('m', 250, u64), &r);
	for (u64 i = 0; i < 4; i++)
		hammers[i] = spawn(hammer, (void *)i);
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
	expect("reload 50 times under ioctls", rounds, ROUNDS);
	for (int i = 0; i < 4; i++) {
		sys(SYS_kill, hammers[i], (i64)SIGKILL);
		expect("ioctls during reload", wait_for(hammers[i]), -SIGKILL);
	}
	expect("after unload: our request", status(&st), before);
	expect("after unload: an unknown request", sys(SYS_ioctl, mem,
	    (i64)_IOWR('m', 250, u64), &r), unknown);
	expect_true("after unload: a stock request", stock_request_works(),
	    "MEM_EXTRACT_PADDR failed");
}
