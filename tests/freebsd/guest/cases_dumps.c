/* SPDX-License-Identifier: BSD-2-Clause */
/* Dumps for the host to read. */
#include "dump.h"

#define	PATTERN_PAGES	2048
#define	MARKER		"livedump-marker-7261"

/* What the host will look for. */
void
facts(void)
{
	static int told;
	char text[256];

	if (told++ != 0)
		return;
	say("FACT hz ", num(sysctl_int("kern.hz", -1)), "\n");
	say("FACT osreldate ", num(sysctl_int("kern.osreldate", -1)), "\n");
	say("FACT ncpu ", num(sysctl_int("hw.ncpu", -1)), "\n");
	say("FACT la57 ", num(sysctl_int("vm.pmap.la57", 0)), "\n");
	if (sysctl_str("kern.osrelease", text, sizeof(text)))
		say("FACT osrelease ", text, "\n");
	say("FACT pid ", num(sys(SYS_getpid)), "\n");
	/* Writes to the console end up in the message buffer. */
	say(MARKER "\n");
	say("FACT marker " MARKER "\n");
	if (sysctl_set("debug.ldtest.pattern", PATTERN_PAGES) == 0)
		say("FACT pattern ", num(PATTERN_PAGES), "\n");
}

static const char *const format[] = { "plain", "gzip", "zstd" };

static int
take(const char *kind, int nth, u8 compression, int stock)
{
	static char name[64];
	struct mem_minidump_arg a;
	const char *parts[] = { kind, "-", format[compression], "-", num(nth) };
	u64 at = 0, start = now_ms();
	i64 fd, r;

	zero(name, sizeof(name));
	for (u32 i = 0; i < 5; i++) {
		copy(name + at, parts[i], len(parts[i]));
		at += len(parts[i]);
	}
	fd = open_target(SCRATCH "/dump");
	r = stock ? kerneldump(fd, compression) :
	    minidump(&a, fd, 0, compression);
	sys(SYS_close, fd);
	if (r != 0) {
		fail(name, "result", r, 0);
		return (0);
	}
	say("TIME ", name, " ", num(now_ms() - start), " ms\n");
	bring_out(SCRATCH "/dump", name);
	sys(SYS_unlink, SCRATCH "/dump");
	return (1);
}

static void
under_load(const char *kind, int n, int stock)
{
	/* gzip takes longest: a fifth of them. */
	static const u8 turn[] = { 0, 2, 1, 2, 0 };
	int taken = 0;

	if (n == 0)
		return;
	start_load();
	for (int i = 0; i < n; i++)
		taken += take(kind, i, turn[i % sizeof(turn)], stock);
	stop_load();
	expect(kind, taken, n);
}

/* The stock facility, with our module not there. */
static void
stock(void)
{
	int n = how_many("livedump.stock", 0);

	if (n == 0)
		return;
	if (!have_kerneldump()) {
		skip("stock", "this kernel has no MEM_KERNELDUMP");
		return;
	}
	under_load("stock", n, 1);
}

/* A counter of the module's; a number that it never has without one. */
static i64
counter(const char *name)
{
	struct mem_minidump_status st;

	if (status(&st) != 0)
		return (-1);
	return ((i64)(streq(name, "started") ? st.mds_started :
	    st.mds_estimates));
}

static void
estimate(void)
{
	struct mem_minidump_arg e, a;
	i64 fd = open_target(SCRATCH "/estimated");
	i64 started = counter("started"), estimates = counter("estimates");
	i64 re = minidump(&e, -1, MINIDUMP_ESTIMATE, 0), rd;
	u64 more, less;

	expect("an estimate is not a dump", counter("started"), started);
	expect("an estimate is counted", counter("estimates"),
	    estimates + 1);
	rd = minidump(&a, fd, 0, 0);
	sys(SYS_close, fd);
	sys(SYS_unlink, SCRATCH "/estimated");
	if (!expect("estimate", re, 0) || !expect("estimated dump", rd, 0))
		return;
	more = e.mda_dumpextent > a.mda_dumpextent ? e.mda_dumpextent :
	    a.mda_dumpextent;
	less = e.mda_dumpextent + a.mda_dumpextent - more;
	expect_true("estimate within 2 % of the dump",
	    (more - less) * 50 <= more, "further off");
}

static void
migrating(void)
{
	if (sysctl_int("hw.ncpu", 1) < 2) {
		skip("migrate", "one CPU");
		return;
	}
	if (sysctl_set("debug.ldtest.blocks", 0) != 0) {
		skip("migrate", "ldtest.ko is not loaded");
		return;
	}
	sysctl_set("debug.ldtest.migrate", 1);
	take("migrate", 0, 0, 0);
	sysctl_set("debug.ldtest.migrate", 0);
	if (sysctl_int("debug.ldtest.blocks", 0) == 0)
		skip("migrate", "the kernel has no livedumper events");
}

/*
 * What gzip had is given to others afterwards: those whose pages are looked
 * for in each dump.
 */
static void
gzip_before(void)
{
	struct mem_minidump_arg a;
	i64 fd;

	if (load(MODULE) < 0)
		return;
	fd = open_target(SCRATCH "/dump");
	expect("gzip before all", minidump(&a, fd, 0, 1), 0);
	sys(SYS_close, fd);
	sys(SYS_unlink, SCRATCH "/dump");
	unload(MODULE_NAME);
}

/*
 * The stock request on /dev/mem: the kernel's own facility serves it where
 * there is one, and the module if kern.livedump.kerneldump says so. The counter
 * tells who did.
 */
static void
stock_request(int kernel_has_it)
{
	i64 before = counter("started");

	/* What the stock facility writes need not be whole. */
	take(kernel_has_it ? "stock53" : "request53", 0, 0, 1);
	expect("request53: served by the kernel if it can",
	    counter("started") - before, !kernel_has_it);
	unload(MODULE_NAME);
	kernel_setenv("kern.livedump.kerneldump", "1");
	expect_true("kldload with kerneldump=1", load(MODULE) >= 0,
	    "it failed");
	expect("kern.livedump.kerneldump",
	    sysctl_int("kern.livedump.kerneldump", -1), 1);
	before = counter("started");
	take("request53", 1, 0, 1);
	expect("request53: served by the module", counter("started") - before,
	    1);
	unload(MODULE_NAME);
	kernel_setenv("kern.livedump.kerneldump", "0");
	expect_true("kldload again", load(MODULE) >= 0, "it failed");
}

/* The kernel has a key for its own dumps: none of it may be in ours. */
static void
keyed(void)
{
	/* Of the older of both kernels have AES alone. */
	u8 last = sysctl_int("kern.osreldate", 0) >= 1300000 ? 2 : 1;

	for (u8 cipher = 1; cipher <= last; cipher++) {
		if (!expect("keyed: a dump device",
		    set_dumper(OUTPUT_DISK, 1, cipher), 0))
			return;
		take("keyed", cipher, 0, 0);
		expect("keyed: removed", set_dumper(OUTPUT_DISK, 0, 0), 0);
	}
	take("unkeyed", 0, 0, 0);
}

/* compressor(9) has zstd's levels below 1; what was left open is answered. */
static void
levels(void)
{
	static const struct {
		const char *name;
		int16_t level;
	} all[] = {
		{ "level-zstd-fast7", -7 },
		{ "level-zstd-fast1", -1 },
		{ "level-zstd-3", 3 },
		{ "level-zstd-auto", MINIDUMP_LEVEL_AUTO },
	};
	struct mem_minidump_arg a;
	i64 fd, r;

	for (u32 i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		fd = open_target(SCRATCH "/dump");
		zero(&a, sizeof(a));
		a.mda_version = MINIDUMP_ARG_VERSION;
		a.mda_fd = (int32_t)fd;
		a.mda_compression = MINIDUMP_COMP_ZSTD;
		a.mda_level = all[i].level;
		r = sys(SYS_ioctl, mem, (i64)MEM_MINIDUMP, &a);
		sys(SYS_close, fd);
		if (!expect(all[i].name, r, 0))
			continue;
		if (all[i].level != MINIDUMP_LEVEL_AUTO)
			expect("its level", a.mda_level, all[i].level);
		else
			expect_true("the level that it chose",
			    a.mda_level == -5 || a.mda_level == -1 ||
			    a.mda_level == 1 || a.mda_level == 3, "none");
		say("LEVEL ", all[i].name, " ", num(a.mda_level), ", ",
		    num((i64)a.mda_dumplength), " bytes in ",
		    num((i64)(a.mda_elapsed_ns / 1000000)), " ms\n");
		bring_out(SCRATCH "/dump", all[i].name);
		sys(SYS_unlink, SCRATCH "/dump");
	}
}

void
cases_dumps(void)
{
	int kernel_has_it;

	i64 fd;

	/* Asked while the module is not there. */
	kernel_has_it = have_kerneldump();
	gzip_before();
	facts();
	stock();
	if (!expect_true("kldload", load(MODULE) >= 0, "it failed"))
		return;
	for (u8 c = 0; c < 3; c++)
		take("idle", c, c, 0);
	/* A file that was longer must not keep its tail. */
	fd = open_target(SCRATCH "/dump");
	sys(SYS_ftruncate, fd, 1L << 31);
	sys(SYS_close, fd);
	take("longer", 0, 2, 0);
	stock_request(kernel_has_it);
	keyed();
	estimate();
	levels();
	migrating();
	under_load("load", how_many("livedump.load", 6), 0);
}
