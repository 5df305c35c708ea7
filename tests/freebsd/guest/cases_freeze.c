/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Dumps of one instant: memory that changes in step, under load, in these and,
 * for contrast, in dumps of the machine that runs; what refuses a freeze; and
 * what it leaves behind, which is nothing.
 */
#include "dump.h"
#include "net.h"

#define	STEPMODULE	"/ldstep.ko"
#define	HANGMODULE	"/ldhang.ko"
#define	DUMP		SCRATCH "/dump"
/* A dump may be given up so often: the host takes CPUs away. */
#define	TRIES		8
/* Of so many dumps one is written under the load it was taken under. */
#define	LOADED		4
/* Stages, memdev/src/stage.rs. */
enum { PREPARE = 16, FREEZE = 17 };

static volatile u64 *shared;

static void
told(const char *kind, const struct mem_minidump_arg2 *a)
{
	const struct mem_minidump_freeze *f = &a->mda2_freeze;

	say("FREEZE ", kind, " pause_us ", num((i64)f->mdf_pause_ns / 1000),
	    " budget_us ", num((i64)f->mdf_max_pause_ns / 1000),
	    " pages ", num((i64)f->mdf_pages), " zero ",
	    num((i64)a->mda2_arg.mda_zero_pages), " late ",
	    num((i64)f->mdf_late_pages), " cpus ", num(f->mdf_cpus),
	    " copy_kb ", num((i64)f->mdf_copy_bytes / 1024), " elapsed_ms ",
	    num((i64)a->mda2_arg.mda_elapsed_ns / 1000000), "\n");
}

/* For a dump that is wanted soon; 0 is the kernel's own. */
static i16 level = 1;

i64
minidump2(struct mem_minidump_arg2 *a, i64 fd, u32 flags, u64 max_pause_ms)
{
	zero(a, sizeof(*a));
	a->mda2_arg.mda_version = MINIDUMP_ARG2_VERSION;
	a->mda2_arg.mda_flags = flags;
	a->mda2_arg.mda_fd = (int32_t)fd;
	a->mda2_arg.mda_compression = 2;
	a->mda2_arg.mda_level = level;
	a->mda2_freeze.mdf_max_pause_ns = max_pause_ms * 1000000;
	return (sys(SYS_ioctl, mem, (i64)MEM_MINIDUMP2, a));
}

/* One that is tried again where the machine could not be stopped in time. */
i64
patient(const char *kind, struct mem_minidump_arg2 *a, i64 fd)
{
	struct mem_minidump_status st;
	i64 r = -1;

	for (int i = 0; i < TRIES; i++) {
		r = minidump2(a, fd, MINIDUMP_FREEZE, 1000);
		if (r != -ETIMEDOUT && r != -EAGAIN)
			break;
		status(&st);
		say("FREEZE ", kind, " given_up ", num(-r), " stage ",
		    num(st.mds_last_stage), " needs_us ",
		    num((i64)st.mds_last_needs / 1000), "\n");
		sleep_ms(100);
	}
	return (r);
}

static void
frozen(const char *kind, int nth)
{
	struct mem_minidump_arg2 a;
	i64 fd = open_target(DUMP), r;

	r = patient(kind, &a, fd);
	sys(SYS_close, fd);
	if (r != 0) {
		fail(kind, "result", r, 0);
	} else {
		told(kind, &a);
		say("FACT frozen-pages-", numbered(kind, nth), " ",
		    num((i64)a.mda2_freeze.mdf_pages), "\n");
		bring_out(DUMP, numbered(kind, nth));
	}
	sys(SYS_unlink, DUMP);
}

static void
running(const char *kind, int nth)
{
	struct mem_minidump_arg2 a;
	i64 fd = open_target(DUMP);

	if (expect(kind, minidump2(&a, fd, 0, 0), 0))
		bring_out(DUMP, numbered(kind, nth));
	sys(SYS_close, fd);
	sys(SYS_unlink, DUMP);
}

/* Where the counters are, and the list, as ldstep.ko has it. */
void
tell_steps(void)
{
	static char text[1024];
	char *line = text;
	int n = 0;

	if (!sysctl_str("debug.ldstep.pairs", text, sizeof(text))) {
		fail("lockstep", "no counters", 0, 1);
		return;
	}
	for (char *c = text; *c != '\0'; c++) {
		if (*c != '\n')
			continue;
		*c = '\0';
		say("FACT pair-", num(n++), " ", line, "\n");
		line = c + 1;
	}
	say("FACT pairs ", num(n), "\n");
	sysctl_str("debug.ldstep.list", text, sizeof(text));
	say("FACT steplist ", text, "\n");
}

/* Whether counters do. */
int
steps_go_on(void)
{
	i64 bumps = sysctl_int("debug.ldstep.bumps", -1);
	u64 end = now_ms() + 10000;

	while (sysctl_int("debug.ldstep.bumps", -1) == bumps &&
	    now_ms() < end)
		sleep_ms(10);
	sleep_ms(50);
	return (sysctl_int("debug.ldstep.bumps", -1) != bumps);
}

static void
lockstep(void)
{
	int n = how_many("livedump.freeze", 3);
	int live = how_many("livedump.running", 1);

	if (!expect("counters", sysctl_set("debug.ldstep.run", 1), 0))
		return;
	tell_steps();
	load_rest_ms = 20;
	start_load();
	for (int i = 0; i < live; i++)
		running("running", i);
	for (int i = 0; i < n; i++) {
		sysctl_set("debug.ldstep.hold", i % LOADED != 0);
		if (!steps_go_on())
			break;
		frozen("freeze", i);
	}
	sysctl_set("debug.ldstep.hold", 0);
	expect_true("frozen: the machine goes on", steps_go_on(),
	    "threads stand still");
	stop_load();
	expect("counters end", sysctl_set("debug.ldstep.run", 0), 0);
}

/* Where ldhang.ko's loop is, and its counter. */
void
tell_spin(void)
{
	static const char *const names[] = { "from", "to", "turns" };
	char name[32] = "debug.ldhang.spin_";

	for (u32 i = 0; i < 3; i++) {
		copy(name + 18, names[i], len(names[i]) + 1);
		say("FACT spin_", names[i], " ",
		    unum((u64)sysctl_int(name, 0)), "\n");
	}
}

static void
registers(void)
{
	int n = (how_many("livedump.freeze", 3) + 3) / 4;

	if (sysctl_int("hw.ncpu", 1) < 2) {
		skip("frozen: registers", "one CPU");
		return;
	}
	tell_spin();
	for (int i = 0; i < n; i++) {
		sysctl_set("debug.ldhang.spin", 1);
		frozen("spinning", i);
		sysctl_set("debug.ldhang.spin", 0);
	}
}

static int
spins(void *arg)
{
	u64 last, now;

	(void)arg;
	on_cpu(0);
	last = now_us();
	for (;; last = now) {
		now = now_us();
		if (now - last > shared[0])
			shared[0] = now - last;
	}
}

/* Its errno, and the stage and figures of the status. */
static i64
refused(const char *what, i64 fd, u64 max_pause_ms,
    struct mem_minidump_status *st)
{
	struct mem_minidump_arg2 a;
	i64 r = minidump2(&a, fd, MINIDUMP_FREEZE, max_pause_ms);

	zero(st, sizeof(*st));
	status(st);
	say("TIME ", what, ": errno ", num(-r), ", stage ",
	    num(st->mds_last_stage), ", needs ", num((i64)st->mds_last_needs),
	    ", has ", num((i64)st->mds_last_has), "\n");
	return (r);
}

/* A budget that no machine of this size can keep. */
static void
too_small_a_budget(void)
{
	struct mem_minidump_status st;
	i64 fd = open_target(DUMP), pid;
	u64 gap = ~0UL;

	sys(SYS_write, fd, "kept", 4L);
	pid = spawn(spins, 0);
	for (int i = 0; i < 3 && gap >= 300000; i++) {
		sleep_ms(200);
		shared[0] = 0;
		expect("1 ms: refused", refused("1 ms", fd, 1, &st),
		    -ETIMEDOUT);
		gap = shared[0];
		expect("1 ms: nothing was stopped", st.mds_last_stage,
		    PREPARE);
		expect_true("1 ms: both figures", st.mds_last_has == 1000000 &&
		    st.mds_last_needs > st.mds_last_has, "not told");
	}
	stop(pid);
	say("TIME 1 ms: largest gap ", num((i64)gap), " us\n");
	expect_true("1 ms: a spinning process gets its share", gap < 300000,
	    "it stood for 300 ms or more, three times");
	expect("1 ms: the file is not touched", file_size(fd), 4);
	sys(SYS_close, fd);
	sys(SYS_unlink, DUMP);
}

/* Where the machine would not be right afterwards, with this one's clock. */
static void
not_with(const char *name, const char *const *values)
{
	struct mem_minidump_status st;
	static char was[64];
	i64 fd = open_target(DUMP);

	if (!sysctl_str(name, was, sizeof(was))) {
		fail(name, "not read", 0, 0);
		return;
	}
	while (*values != 0 && sysctl_set_str(name, *values) != 0)
		values++;
	if (*values == 0) {
		skip(name, "there is no other");
	} else {
		expect(*values, refused(*values, fd, 1000, &st), -EOPNOTSUPP);
		expect("the file is not touched", file_size(fd), 0);
		expect(name, sysctl_set_str(name, was), 0);
	}
	sys(SYS_close, fd);
	sys(SYS_unlink, DUMP);
}

static void
other_clocks(void)
{
	/* One for all CPUs. */
	static const char *const timers[] = { "HPET", "i8254", "RTC", 0 };
	/* It wraps around in 55 ms. */
	static const char *const counters[] = { "i8254", 0 };

	if (sysctl_int("hw.ncpu", 1) > 1)
		not_with("kern.eventtimer.timer", timers);
	not_with("kern.timecounter.hardware", counters);
}

static int
nothing(void *arg)
{
	(void)arg;
	return (7);
}

/* All but a little is wired, as in a machine with a leak. */
static void
short_of_memory(void)
{
	struct mem_minidump_arg2 a;
	struct mem_minidump_status st;
	i64 fd = open_target(DUMP), goal, free_pages = 0;

	sys(SYS_write, fd, "kept", 4L);
	goal = sysctl_int("vm.stats.vm.v_free_target", -1) + 1500;
	for (int i = 0; i < 12; i++) {
		free_pages = sysctl_int("vm.stats.vm.v_free_count", -1);
		if (free_pages <= goal || sysctl_set("debug.ldtest.leak",
		    (i32)(free_pages - goal)) != 0)
			break;
		sleep_ms(100);
	}
	say("TIME frozen: free ", num(free_pages), " pages of ",
	    num(sysctl_int("vm.stats.vm.v_page_count", -1)), ", wired ",
	    num(sysctl_int("vm.stats.vm.v_wire_count", -1)), "\n");
	expect("no memory for a copy", refused("no memory", fd, 1000, &st),
	    -ENOMEM);
	expect("no memory: nothing was stopped", st.mds_last_stage, PREPARE);
	expect_true("no memory: both figures",
	    st.mds_last_needs > st.mds_last_has && st.mds_last_needs != 0,
	    "not told");
	expect("no memory: the file is not touched", file_size(fd), 4);
	expect("no memory: the machine goes on", wait_for(spawn(nothing, 0)),
	    7);
	sysctl_set("debug.ldtest.leak", 0);
	expect("memory for a copy", patient("memory", &a, fd), 0);
	sys(SYS_close, fd);
	sys(SYS_unlink, DUMP);
}

struct job {
	const char *path;
	u32 flags;
};

static int
freezes(void *arg)
{
	struct job *job = arg;
	struct mem_minidump_arg2 a;
	i64 r, fd = open_target(job->path);

	do
		r = minidump2(&a, fd, MINIDUMP_FREEZE | job->flags, 1000);
	while (r == -ETIMEDOUT || r == -EAGAIN);
	return ((int)-r);
}

/* Whether `pid` takes memory for its copy before it is done. */
static int
prepares(i64 pid)
{
	struct mem_minidump_status st;
	u64 end = now_ms() + 60000;

	do {
		status(&st);
		if (st.mds_pid == pid && st.mds_stage == PREPARE)
			return (1);
	} while (now_ms() < end && st.mds_last_pid != pid);
	return (0);
}

/*
 * Of which instant, too; 0 is none. Not on the CPU of who looks at its stage,
 * who would not run until it is past it.
 */
static int
freezes_once(void *arg)
{
	struct mem_minidump_arg2 a;
	i64 fd = open_target(arg), r;

	on_cpu(0);
	r = minidump2(&a, fd, MINIDUMP_FREEZE, 1000);
	shared[5] = r == 0 ? a.mda2_freeze.mdf_uptime_ns / 1000 : 0;
	return ((int)-r);
}

/*
 * A CPU that has interrupts off for 3 s, while a freeze is prepared or made:
 * it is given up, or of an instant before or after. Whoever invalidates a TLB
 * waits for that CPU as well, so that gaps prove nothing.
 */
static void
stuck_cpu(void)
{
	struct mem_minidump_arg2 a;
	i64 fd = open_target(DUMP), pid, spinner, r;
	int seen = 0, met = 0, within = 0, other = 0;
	u64 start, end;

	if (sysctl_int("hw.ncpu", 1) < 2) {
		skip("frozen: stuck CPU", "one CPU");
		return;
	}
	spinner = spawn(spins, 0);
	for (int i = 0; i < TRIES && met < 2; i++) {
		pid = spawn(freezes_once, DUMP);
		if (!prepares(pid)) {
			say("TIME stuck CPU: errno ", num(wait_for(pid)),
			    ", not seen\n");
			continue;
		}
		seen++;
		sysctl_set("debug.ldhang.nointr_ms", 3000);
		start = now_us();
		end = start + 2900000;
		shared[0] = 0;
		r = wait_for(pid);
		say("TIME stuck CPU: errno ", num(r), " after ",
		    num((i64)(now_us() - start) / 1000), " ms, instant at ");
		say(num((i64)(shared[5] - start) / 1000),
		    " ms; largest gap ", num((i64)shared[0]), " us\n");
		other += r != 0 && r != ETIMEDOUT;
		within += r == 0 && shared[5] >= start && shared[5] < end;
		met += r == ETIMEDOUT || (r == 0 && shared[5] >= end);
	}
	expect_true("stuck CPU: freezes", seen > 0, "none was seen");
	expect_true("stuck CPU: freezes met it", met > 0, "none did");
	expect("stuck CPU: no instant while it was", within, 0);
	expect("stuck CPU: no other error", other, 0);
	end = now_ms() + 60000;
	do
		r = minidump2(&a, fd, MINIDUMP_FREEZE, 1000);
	while ((r == -ETIMEDOUT || r == -EAGAIN) && now_ms() < end);
	expect("stuck CPU: frozen when it goes on", r, 0);
	stop(spinner);
	sys(SYS_close, fd);
	sys(SYS_unlink, DUMP);
}

static void
two_at_once(void)
{
	struct job jobs[2] = {
		{ SCRATCH "/one", MINIDUMP_WAIT },
		{ SCRATCH "/other", MINIDUMP_WAIT },
	};
	i64 pids[2];
	int r[2];

	for (int i = 0; i < 2; i++)
		pids[i] = spawn(freezes, &jobs[i]);
	for (int i = 0; i < 2; i++)
		r[i] = wait_for(pids[i]);
	expect_true("two freezes, which wait", r[0] == 0 && r[1] == 0,
	    "not both were taken");
	jobs[0].flags = jobs[1].flags = 0;
	for (int i = 0; i < 2; i++)
		pids[i] = spawn(freezes, &jobs[i]);
	for (int i = 0; i < 2; i++)
		r[i] = wait_for(pids[i]);
	expect_true("two freezes, one is taken",
	    (r[0] == 0 && (r[1] == EBUSY || r[1] == 0)) ||
	    (r[1] == 0 && r[0] == EBUSY), "none was, or another error");
	sys(SYS_unlink, jobs[0].path);
	sys(SYS_unlink, jobs[1].path);
}

/* The file may not grow: all is done but the writing. */
static int
unwritten(void *arg)
{
	struct { u64 soft, hard; } limit = { 0, 0 };
	u32 set[4] = { 1 << (SIGXFSZ - 1), 0, 0, 0 };
	struct mem_minidump_arg2 a;
	struct mem_minidump_status st;
	i64 fd = open_target(MEMFS "/unwritten"), n = *(int *)arg, r;

	sys(SYS_sigprocmask, 1L /* SIG_BLOCK */, set, 0L);
	sys(SYS_setrlimit, 1L /* RLIMIT_FSIZE */, &limit);
	for (i64 i = 0; i < n; i++) {
		r = minidump2(&a, fd, MINIDUMP_FREEZE, 1000);
		if (r == -EFBIG)
			shared[1]++;
		else if (r == -ETIMEDOUT || r == -EAGAIN) {
			/* In vain, or not even tried. */
			status(&st);
			shared[st.mds_last_stage == FREEZE ? 2 : 3]++;
		} else
			return ((int)-r);
	}
	return (0);
}

static void
in_a_row(const char *what, int n)
{
	for (int i = 1; i < 4; i++)
		shared[i] = 0;
	expect(what, wait_for(spawn(unwritten, &n)), 0);
	sys(SYS_unlink, MEMFS "/unwritten");
	say("TIME ", what, ": ", num((i64)shared[1]), " frozen, ",
	    num((i64)shared[2]), " given up, ");
	say(num((i64)shared[3]), " refused\n");
	/* A host with other things to do takes CPUs away. */
	expect_true("they are frozen", (i64)shared[1] * 2 >= n,
	    "more than one in two was not");
}

struct memory {
	i64 used, free, wired;
};

static struct memory
memory(void)
{
	struct memory m;

	/* What is in caches of free memory is settled by then. */
	sleep_ms(1500);
	m.used = malloc_in_use("livedump");
	m.free = sysctl_int("vm.stats.vm.v_free_count", -1);
	m.wired = sysctl_int("vm.stats.vm.v_wire_count", -1);
	return (m);
}

/* A freeze takes thousands of pages: one lost each time would be seen. */
static void
gives_back(const char *what, struct memory before, int n)
{
	struct memory after = memory();

	say("TIME ", what, ": wired ", num(before.wired), " then ",
	    num(after.wired), ", free ", num(before.free), " then ");
	say(num(after.free), "\n");
	expect(what, after.used, before.used);
	expect_true("pages are given back", after.wired - before.wired < n,
	    "wired pages grow");
}

static void
interrupted(void)
{
	struct job job = { DUMP, 0 };
	struct mem_minidump_arg2 a;
	struct mem_minidump_status st;
	struct memory before = memory();
	int killed = 0, left = 0, preparing = 0;
	i64 fd;

	for (int i = 0; i < 12; i++) {
		i64 pid = spawn(freezes, &job);

		if (i % 2 == 0)
			prepares(pid);
		else
			sleep_ms(i * 3);
		status(&st);
		sys(SYS_kill, pid, (i64)SIGINT);
		killed += wait_for(pid) == -SIGINT;
		preparing += st.mds_pid == pid && (st.mds_stage == PREPARE ||
		    st.mds_stage == FREEZE);
		status(&st);
		left += st.mds_pid == pid;
	}
	say("TIME signals: ", num(killed), " of 12 ended a freeze, ",
	    num(preparing), " while it prepared\n");
	expect_true("signals end freezes", killed > 0 && preparing > 0,
	    "none did");
	expect("signals: no dump is left running", left, 0);
	gives_back("signals: memory", before, 12);
	fd = open_target(DUMP);
	expect("a freeze after signals", patient("signals", &a, fd), 0);
	sys(SYS_close, fd);
	sys(SYS_unlink, DUMP);
}

static void
given_back(void)
{
	int n = how_many("livedump.freezes", 30);
	struct memory before;

	/* What is taken once. */
	in_a_row("a few freezes", 5);
	before = memory();
	in_a_row("freezes in a row", n);
	/* Others' caches grow once, what is lost each time is lost again. */
	if (memory().wired - before.wired >= n) {
		before = memory();
		in_a_row("freezes in another row", n);
	}
	gives_back("freezes in a row: memory", before, n);
}

/* What is shared with children, and the modules. */
static int
ready(void)
{
	if (shared == 0)
		shared = (volatile u64 *)sys(SYS_mmap, 0L, 4096L, 3L,
		    0x1001L /* MAP_SHARED | MAP_ANON */, -1L, 0L);
	facts();
	if ((sys(SYS_kldfind, "ldhang.ko") < 0 && load(HANGMODULE) < 0) ||
	    (sys(SYS_kldfind, "ldstep.ko") < 0 && load(STEPMODULE) < 0)) {
		skip("freeze", "the test modules do not load");
		return (0);
	}
	return (1);
}

void
cases_freeze(void)
{
	if (!ready())
		return;
	lockstep();
	registers();
	too_small_a_budget();
	other_clocks();
	short_of_memory();
	stuck_cpu();
	two_at_once();
	interrupted();
	given_back();
}

/* How long, idle and loaded; beside other dumps. */
void
cases_pause(void)
{
	int n = how_many("livedump.freeze", 3);
	static const char *const kinds[] = { "idle", "loaded" };

	if (!ready())
		return;
	say("FREEZE all copy_ns ", num(sysctl_int("debug.ldstep.copy_ns", -1)),
	    "\n");
	for (int k = 0; k < 2; k++) {
		struct mem_minidump_arg2 a;
		i64 fd = open_target(DUMP), r;
		u64 start;

		if (k == 1)
			start_load();
		for (int i = 0; i < n; i++) {
			r = patient(kinds[k], &a, fd);
			if (r == 0)
				told(kinds[k], &a);
			else
				fail(kinds[k], "result", r, 0);
		}
		for (int i = 0; i < (n + 1) / 2; i++) {
			r = minidump2(&a, fd, 0, 0);
			say("FREEZE ", kinds[k], " live_ms ",
			    num((i64)a.mda2_arg.mda_elapsed_ns / 1000000),
			    "\n");
			expect("a live dump", r, 0);
		}
		if (how_many("livedump.stock", 0) != 0) {
			/* With its level. */
			level = 0;
			start = now_ms();
			expect("frozen", patient(kinds[k], &a, fd), 0);
			say("FREEZE ", kinds[k], " frozen0_ms ",
			    num((i64)(now_ms() - start)), "\n");
			start = now_ms();
			expect("live", minidump2(&a, fd, 0, 0), 0);
			say("FREEZE ", kinds[k], " live0_ms ",
			    num((i64)(now_ms() - start)), "\n");
			level = 1;
			unload(MODULE_NAME);
			if (have_kerneldump()) {
				start = now_ms();
				expect("stock", kerneldump(fd, 2), 0);
				say("FREEZE ", kinds[k], " stock0_ms ",
				    num((i64)(now_ms() - start)), "\n");
			}
			load(MODULE);
		}
		if (k == 1)
			stop_load();
		sys(SYS_close, fd);
		sys(SYS_unlink, DUMP);
	}
}

/* Sends back what comes, one connection at a time. */
static int
echoes(void *arg)
{
	struct sockaddr_in sin = inet(LOOPBACK, PORT);
	i64 s = sys(SYS_socket, (i64)AF_INET, (i64)SOCK_STREAM, 0L), c, n;
	static u8 data[512];

	(void)arg;
	if (sys(SYS_bind, s, &sin, (i64)sizeof(sin)) != 0 ||
	    sys(SYS_listen, s, 8L) != 0)
		return (1);
	for (;;) {
		c = sys(SYS_accept, s, 0L, 0L);
		while ((n = sys(SYS_read, c, data, sizeof(data))) > 0)
			sys(SYS_write, c, data, n);
		sys(SYS_close, c);
	}
}

/* Numbers to and fro over one connection, until one is lost. */
static int
talks(void *arg)
{
	u64 n = 0, back = 0, at;
	i64 s = connected(), r;

	(void)arg;
	if (s < 0)
		return (2);
	for (;; n++) {
		if (sys(SYS_write, s, &n, sizeof(n)) != sizeof(n))
			return (3);
		for (at = 0; at < sizeof(back); at += (u64)r) {
			r = sys(SYS_read, s, (u8 *)&back + at,
			    sizeof(back) - at);
			if (r <= 0)
				return (4);
		}
		if (back != n)
			return (5);
		shared[4] = n;
		sleep_ms(1);
	}
}

/* So that the fastest of these lines tells. */
static void
clock_now(const char *when)
{
	for (int i = 0; i < 40; i++) {
		say("CLOCK ", when, " ", num((i64)now_us()), "\n");
		sleep_ms(25);
	}
}

/* Many, with a connection that must not be lost and a clock to be kept. */
void
cases_row(void)
{
	int n = how_many("livedump.freezes", 30);
	struct memory half;
	i64 server, client, r;
	u64 start, ms, last;

	if (!ready())
		return;
	r = loopback();
	if (!expect("row: loopback", r, 0))
		return;
	server = spawn(echoes, 0);
	client = spawn(talks, 0);
	clock_now("idle");
	sleep_ms(15000);
	clock_now("before");
	sysctl_set("debug.ldstep.late_us", 0);
	last = shared[4];
	start = now_ms();
	in_a_row("row: the first half", n / 2);
	half = memory();
	in_a_row("row: the other half", n - n / 2);
	ms = now_ms() - start;
	say("TIME row: ", num((i64)ms), " ms; a callout was late by ",
	    num(sysctl_int("debug.ldstep.late_us", -1)), " us; ");
	say(num((i64)(shared[4] - last)), " echoes\n");
	clock_now("after");
	expect_true("row: traffic", shared[4] > last, "none");
	last = shared[4];
	sleep_ms(1000);
	expect_true("row: the connection is there", shared[4] > last,
	    "nothing comes back");
	expect("row: and was never lost",
	    sys(SYS_wait4, client, 0L, 1L /* WNOHANG */, 0L), 0);
	/* What caches take they have taken by then. */
	gives_back("row: memory", half, n - n / 2);
	stop(client);
	stop(server);
}

/* <sys/linker.h> */
struct kld_file_stat {
	i32 version;
	char name[1024];
	i32 refs, id;
	u64 address, size;
	char pathname[1024];
};

static void
tell_module(void)
{
	static struct kld_file_stat stat;

	stat.version = sizeof(stat);
	if (sys(SYS_kldstat, sys(SYS_kldfind, MODULE_NAME), &stat) != 0)
		return;
	say("FACT module_at ", unum(stat.address), "\n");
	say("FACT module_bytes ", num((i64)stat.size), "\n");
}

/* Freezes all the time; the host sends an NMI, which panics. */
void
case_nmi(void)
{
	static int n = 1 << 30;
	i64 pid;

	if (!ready() || !dump_device())
		return;
	tell_module();
	pid = spawn(unwritten, &n);
	sleep_ms(2000);
	say("NMI\n");
	sleep_ms(60000);
	stop(pid);
	say("FAIL nmi: the machine went on\n");
}
