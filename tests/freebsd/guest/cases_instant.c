/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a dump says of the moment it was taken at: registers of running
 * threads, suspended processes, pages that changed.
 */
#include "dump.h"

#define	HANGMODULE	"/ldhang.ko"
/* The host may take a CPU away so often. */
#define	TRIES		8

/* Shared with children. */
static volatile u64 *shared;

/* A dump while a thread spins on the last CPU. */
static void
registers(const char *kind, int nth, u32 flags)
{
	struct mem_minidump_arg a;
	i64 fd = open_target(SCRATCH "/dump"), r = -1;

	sysctl_set("debug.ldhang.spin", 1);
	/* One that the host had taken away is left out: once more. */
	for (int i = 0; i < TRIES; i++) {
		r = minidump(&a, fd, flags, 2);
		if (r != 0 || flags == 0 || a.mda_registers >= 2)
			break;
	}
	sysctl_set("debug.ldhang.spin", 0);
	sys(SYS_close, fd);
	if (r != 0) {
		fail(kind, "result", r, 0);
	} else {
		if (flags != 0 && a.mda_registers < 2)
			fail(kind, "threads", a.mda_registers, 2);
		bring_out(SCRATCH "/dump", numbered(kind, nth));
	}
	sys(SYS_unlink, SCRATCH "/dump");
}

static void
cases_registers(void)
{
	int n = how_many("livedump.registers", 20);

	if (sysctl_int("hw.ncpu", 1) < 2) {
		skip("registers", "one CPU");
		return;
	}
	tell_spin();
	for (int i = 0; i < n; i++)
		registers("registers", i, MINIDUMP_REGISTERS);
	registers("stale", 0, 0);
	pass("registers: the machine runs on");
}

static int
count(void *arg)
{
	(void)arg;
	for (;;)
		shared[0]++;
}

/* As one that makes system calls all the time. */
static int
count_calls(void *arg)
{
	(void)arg;
	for (;;) {
		sys(SYS_getpid);
		sys(SYS_sched_yield);
		shared[1]++;
	}
}

/* Sleeps once, for two seconds; it must not notice. */
static int
sleeps(void *arg)
{
	struct { i64 sec, nsec; } two = { 2, 0 };

	(void)arg;
	return ((int)-sys(SYS_nanosleep, &two, 0L));
}

/* Two timers that expire again and again: they must not stop for good. */
static int
count_kevents(void *arg)
{
	struct {
		u64	ident;
		short	filter;
		unsigned short flags;
		u32	fflags;
		i64	data;
		u64	udata, ext[4];
	} every = { 1, -7 /* EVFILT_TIMER */, 1 /* EV_ADD */, 0, 10, 0, { 0 } };
	i64 kq = sys(SYS_kqueue);

	(void)arg;
	if (sys(SYS_kevent, kq, &every, 1L, 0L, 0L, 0L) != 0)
		return (1);
	while (sys(SYS_kevent, kq, 0L, 0L, &every, 1L, 0L) == 1)
		shared[4]++;
	return (1);
}

static int
count_alarms(void *arg)
{
	struct { i64 sec, usec, value_sec, value_usec; } every =
	    { 0, 10000, 0, 10000 };
	u32 set[4] = { 1 << (SIGALRM - 1), 0, 0, 0 };

	(void)arg;
	sys(SYS_sigprocmask, 1L /* SIG_BLOCK */, set, 0L);
	sys(SYS_setitimer, 0L /* ITIMER_REAL */, &every, 0L);
	while (sys(SYS_sigtimedwait, set, 0L, 0L) == SIGALRM)
		shared[5]++;
	return (1);
}

static void
timers_go_on(const char *what)
{
	/* What had expired already is delivered once. */
	u64 a = shared[4] + 3, b = shared[5] + 3, end = now_ms() + 5000;

	while (now_ms() < end && (shared[4] < a || shared[5] < b))
		sleep_ms(10);
	expect_true(what, shared[4] >= a && shared[5] >= b,
	    "a timer has stopped");
}

static int
hangs(void *arg)
{
	(void)arg;
	sysctl_set("debug.ldhang.hang", 1);
	return (0);
}

static int
loops(void *arg)
{
	(void)arg;
	sysctl_set("debug.ldhang.loop_ms", 12000);
	return (0);
}

struct job {
	const char *path;
	u32 flags;
	u8 compression;
};

static int
dumps(void *arg)
{
	struct job *job = arg;
	struct mem_minidump_arg a;
	i64 r = minidump(&a, open_target(job->path), job->flags,
	    job->compression);

	shared[2] = r == 0 ? a.mda_quiesced_ns : 0;
	shared[3] = a.mda_elapsed_ns;
	return ((int)-r);
}

static int
is_writing(i64 pid)
{
	struct mem_minidump_status st;

	return (status(&st) == 0 && st.mds_pid == pid &&
	    st.mds_stage >= 6 && st.mds_stage <= 12);
}

/* Both count again. */
static void
goes_on(const char *what)
{
	u64 a = shared[0], b = shared[1], end = now_ms() + 5000;

	while (now_ms() < end && (shared[0] == a || shared[1] == b))
		sleep_ms(10);
	expect_true(what, shared[0] != a && shared[1] != b,
	    "processes stay suspended");
}

/* Watches the counters for as long as `pid` writes its dump. */
static void
watch(i64 pid, const char *what)
{
	u64 looks = 0, moved = 0, end = now_ms() + 30000;

	while (!is_writing(pid) && now_ms() < end)
		sys(SYS_sched_yield);
	for (;;) {
		u64 a = shared[0], b = shared[1];

		sys(SYS_sched_yield);
		if (!is_writing(pid))
			break;
		moved += shared[0] != a || shared[1] != b;
		looks++;
	}
	if (expect_true(what, looks > 2, "the dump was not seen"))
		expect("quiesced: no progress meanwhile", (i64)moved, 0);
}

static void
cases_quiesce(void)
{
	struct job job = { SCRATCH "/quiesced", MINIDUMP_QUIESCE, 2 };
	struct mem_minidump_arg a;
	i64 pids[4], timers[2], pid;
	u64 end;

	pids[0] = spawn(count, 0);
	pids[1] = spawn(count_calls, 0);
	pids[2] = spawn(hangs, 0);
	sysctl_set("debug.ldtest.delay_us", 500);
	goes_on("counters run");
	timers[0] = spawn(count_kevents, 0);
	timers[1] = spawn(count_alarms, 0);
	timers_go_on("timers run");

	pids[3] = spawn(sleeps, 0);
	pid = spawn(dumps, &job);
	watch(pid, "quiesced: a dump");
	expect("quiesced: the dump", wait_for(pid), 0);
	goes_on("quiesced: they go on");
	timers_go_on("quiesced: their timers, too");
	stop(timers[0]);
	stop(timers[1]);
	expect("quiesced: a sleep is not cut short", wait_for(pids[3]), 0);
	expect_true("quiesced: for most of the time",
	    shared[2] != 0 && shared[2] <= shared[3], "the time is not told");
	say("TIME quiesced ", num((i64)(shared[2] / 1000000)), " of ",
	    num((i64)(shared[3] / 1000000)), " ms\n");

	/* Whoever is killed while suspended dies afterwards. */
	pids[3] = spawn(count, 0);
	pid = spawn(dumps, &job);
	end = now_ms() + 30000;
	while (!is_writing(pid) && now_ms() < end)
		sys(SYS_sched_yield);
	sys(SYS_kill, pids[3], (i64)SIGKILL);
	expect("quiesced: a dump while one is killed", wait_for(pid), 0);
	expect("quiesced: the one that was killed", wait_for(pids[3]), -9);

	/* Whoever is not suspended cannot attach to one that is. */
	pid = spawn(dumps, &job);
	end = now_ms() + 30000;
	while (!is_writing(pid) && now_ms() < end)
		sys(SYS_sched_yield);
	expect("quiesced: PT_ATTACH", sys(SYS_ptrace, 10L /* PT_ATTACH */,
	    pids[0], 0L, 0L), -EBUSY);
	expect("quiesced: a dump meanwhile", wait_for(pid), 0);
	expect("PT_ATTACH afterwards", sys(SYS_ptrace, 10L, pids[0], 0L, 0L),
	    0);
	sys(SYS_wait4, pids[0], 0L, 0L, 0L);
	expect("PT_DETACH", sys(SYS_ptrace, 11L, pids[0], 1L, 0L), 0);
	goes_on("quiesced: they go on after PT_ATTACH");

	/* The caller is killed. */
	pid = spawn(dumps, &job);
	end = now_ms() + 30000;
	while (!is_writing(pid) && now_ms() < end)
		sys(SYS_sched_yield);
	stop(pid);
	goes_on("quiesced: they go on when the caller is killed");

	/* Without the flag they run. */
	job.flags = 0;
	pid = spawn(dumps, &job);
	goes_on("not quiesced: counters run");
	wait_for(pid);
	job.flags = MINIDUMP_QUIESCE;

	/* One that stays in the kernel cannot be suspended. */
	pids[3] = spawn(loops, 0);
	sleep_ms(200);
	pid = spawn(dumps, &job);
	expect("quiesced: a thread that does not stop", wait_for(pid), 35);
	goes_on("quiesced: they go on when one does not stop");
	wait_for(pids[3]);

	/* Processes that come and go. */
	start_load();
	for (int i = 0; i < 5; i++) {
		pid = spawn(dumps, &job);
		expect("quiesced: a dump under load", wait_for(pid), 0);
	}
	stop_load();
	sysctl_set("debug.ldtest.delay_us", 0);

	expect("quiesced: an estimate is not",
	    minidump(&a, -1, MINIDUMP_ESTIMATE | MINIDUMP_QUIESCE, 0),
	    -EINVAL);
	sysctl_set("debug.ldhang.hang", 0);
	wait_for(pids[2]);
	stop(pids[0]);
	stop(pids[1]);
	sys(SYS_unlink, SCRATCH "/quiesced");
}

static void
stability(int nth, u32 flags)
{
	struct mem_minidump_arg a;
	i64 fd = open_target(SCRATCH "/dump");
	i64 list = open_target(SCRATCH "/list"), r;

	zero(&a, sizeof(a));
	a.mda_version = MINIDUMP_ARG_VERSION;
	a.mda_flags = MINIDUMP_STABILITY | flags;
	a.mda_fd = (int32_t)fd;
	a.mda_compression = 2;
	a.mda_changes_fd = (int32_t)list;
	r = sys(SYS_ioctl, mem, (i64)MEM_MINIDUMP, &a);
	sys(SYS_close, fd);
	sys(SYS_close, list);
	if (expect("stability: a dump", r, 0)) {
		say("TIME changed ", num((i64)a.mda_changed_pages), " of ",
		    num((i64)a.mda_pages), " pages\n");
		bring_out(SCRATCH "/dump", numbered("stability", nth));
		bring_out(SCRATCH "/list", numbered("changes", nth));
	}
	sys(SYS_unlink, SCRATCH "/dump");
	sys(SYS_unlink, SCRATCH "/list");
}

static void
cases_stability(void)
{
	struct mem_minidump_arg a;
	i64 fd;

	say("FACT rewritten ", num(sysctl_int("debug.ldhang.rewritten_pfn",
	    0)), "\n");
	say("FACT idle ", num(sysctl_int("debug.ldhang.idle_pfn", 0)), "\n");
	sysctl_set("debug.ldhang.rewrite", 1);
	stability(0, 0);
	stability(1, MINIDUMP_QUIESCE | MINIDUMP_REGISTERS);
	sysctl_set("debug.ldhang.rewrite", 0);
	/* The list cannot be where the dump is. */
	fd = open_target(SCRATCH "/dump");
	zero(&a, sizeof(a));
	a.mda_version = MINIDUMP_ARG_VERSION;
	a.mda_flags = MINIDUMP_STABILITY;
	a.mda_fd = a.mda_changes_fd = (int32_t)fd;
	expect("stability: the list is the dump",
	    sys(SYS_ioctl, mem, (i64)MEM_MINIDUMP, &a), -EINVAL);
	a.mda_flags = 0;
	expect("a list without stability",
	    sys(SYS_ioctl, mem, (i64)MEM_MINIDUMP, &a), -EINVAL);
	sys(SYS_close, fd);
	sys(SYS_unlink, SCRATCH "/dump");
}

void
cases_instant(void)
{
	facts();
	if (load(HANGMODULE) < 0) {
		skip("instant", "ldhang.ko does not load");
		return;
	}
	shared = (volatile u64 *)sys(SYS_mmap, 0L, 4096L, 3L,
	    0x1001L /* MAP_SHARED | MAP_ANON */, -1L, 0L);
	cases_registers();
	cases_quiesce();
	cases_stability();
}
