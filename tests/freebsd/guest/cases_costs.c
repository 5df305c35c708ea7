/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What dumps cost, beside the kernel's own facility: how long they take and
 * how large they are, idle and under load, and how much of its CPU a process
 * that spins loses meanwhile. For the host to compare; nothing here fails for
 * being slow.
 */
#include "dump.h"

#define	DUMP	SCRATCH "/dump"
enum { MAXCPU = 8, BASELINE_MS = 2000 };

/* CPU time that each spinning process had, in us. */
static volatile u64 *used;

/* <time.h>: CLOCK_PROCESS_CPUTIME_ID. */
static u64
cputime_us(void)
{
	i64 ts[2] = { 0, 0 };

	sys(SYS_clock_gettime, 15L, ts);
	return ((u64)ts[0] * 1000000 + (u64)ts[1] / 1000);
}

static int
spins(void *arg)
{
	i64 cpu = (i64)arg;

	on_cpu(cpu);
	for (;;)
		used[cpu] = cputime_us();
}

/* The dumps of one round, in turn. */
static const struct {
	const char *name;
	u8 compression;
} kinds[] = { { "plain", 0 }, { "zstd", 2 }, { "gzip", 1 } };

static i64 ncpu;

static u64
all_used(void)
{
	u64 sum = 0;

	for (i64 cpu = 0; cpu < ncpu; cpu++)
		sum += used[cpu];
	return (sum);
}

#define	NO_FILE	(-1)

/* One dump; without a file, only time that passes. */
static void
cost(const char *when, const char *who, const char *what, i64 fd, int stock,
    u8 compression)
{
	struct mem_minidump_arg a;
	u64 before, start, us;
	i64 lost, r;

	before = all_used();
	start = now_us();
	if (fd == NO_FILE) {
		sleep_ms(BASELINE_MS);
		r = 0;
	} else
		r = stock ? kerneldump(fd, compression) :
		    minidump(&a, fd, 0, compression);
	us = now_us() - start;
	lost = ncpu * (i64)us - (i64)(all_used() - before);
	if (lost < 0)
		lost = 0;
	say("COST ", when, "-", who, what, " ms ", num((i64)us / 1000),
	    " bytes ");
	say(num(fd == NO_FILE ? 0 : file_size(fd)));
	if (streq(when, "spun")) {
		say(" lost_ms ", num(lost / 1000), " permille ");
		say(num(lost * 1000 / (ncpu * (i64)us)));
	}
	say("\n");
	expect(what, r, 0);
}

static void
dumps_of(const char *when, const char *who, int stock)
{
	for (u64 k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++) {
		i64 fd = open_target(DUMP);

		if (!expect_true("the file of a dump", fd >= 0, "open(2) failed"))
			continue;
		cost(when, who, kinds[k].name, fd, stock,
		    kinds[k].compression);
		sys(SYS_close, fd);
		sys(SYS_unlink, DUMP);
	}
}

/* With the module, and without. */
static void
a_round(const char *when, int stock)
{
	dumps_of(when, "livedump-", 0);
	if (!stock)
		return;
	unload(MODULE_NAME);
	if (have_kerneldump())
		dumps_of(when, "stock-", 1);
	else
		skip("the stock facility", "this kernel has none");
	expect_true("kldload", load(MODULE) >= 0, "it failed");
}

void
cases_costs(void)
{
	int stock = how_many("livedump.stock", 0);
	int rounds = stock > 0 ? stock : 1;
	i64 pids[MAXCPU];

	ncpu = sysctl_int("hw.ncpu", 1);
	if (ncpu > MAXCPU)
		ncpu = MAXCPU;
	used = (volatile u64 *)sys(SYS_mmap, 0L, 4096L, 3L,
	    0x1001L /* MAP_SHARED | MAP_ANON */, -1L, 0L);
	if (!expect_true("memory to count in", (i64)used > 0, "mmap(2) failed"))
		return;
	for (int i = 0; i < rounds; i++)
		a_round("idle", stock);
	start_load();
	for (int i = 0; i < rounds; i++)
		a_round("loaded", stock);
	stop_load();
	for (i64 cpu = 0; cpu < ncpu; cpu++)
		pids[cpu] = spawn(spins, (void *)cpu);
	sleep_ms(500);
	for (int i = 0; i < rounds; i++) {
		cost("spun", "", "nothing", NO_FILE, 0, 0);
		a_round("spun", stock);
	}
	for (i64 cpu = 0; cpu < ncpu; cpu++)
		stop(pids[cpu]);
}
