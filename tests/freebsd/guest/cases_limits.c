/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What ends a dump, or keeps it waiting: other writers, a lock that is not
 * released, memory that is short; and what a dump does to others.
 */
#include "dump.h"

enum { ETXTBSY = 26, EINTEGRITY = 97 };
/* Not on tmpfs: its unmounting takes these locks the other way. */
#define	NULLFS		"/null"

static volatile u64 *shared;

struct job {
	const char *path;
	u8 compression;
};

static volatile int caught;

static void
on_signal(int sig)
{
	caught = sig;
}

static int
dumps(void *arg)
{
	struct { void (*handler)(int); i32 flags; u32 mask[4]; } sa;
	struct job *job = arg;
	struct mem_minidump_arg a;
	i64 fd = sys(SYS_open, job->path, (i64)(O_RDWR | O_CREAT), 0600L);

	zero(&sa, sizeof(sa));
	sa.handler = on_signal;
	sys(SYS_sigaction, (i64)SIGINT, &sa, 0L);
	shared[3] = (u64)-minidump(&a, fd, 0, job->compression) + 1;
	return ((int)shared[3] - 1);
}

/* What the request answered: exit(2) may wait for the file system. */
static i64
answer(u64 limit_ms)
{
	u64 end = now_ms() + limit_ms;

	while (shared[3] == 0 && now_ms() < end)
		sleep_ms(10);
	return ((i64)shared[3] - 1);
}

static int
is_writing(void)
{
	struct mem_minidump_status st;

	return (status(&st) == 0 && st.mds_pid != 0 && st.mds_stage == 11 &&
	    st.mds_pages_done > 0);
}

/* Writes to a file once while a dump is written to it. */
static int
writes_once(void *arg)
{
	i64 fd = sys(SYS_open, arg, (i64)O_RDWR, 0L);
	u64 end = now_ms() + 30000;

	while (!is_writing() && now_ms() < end)
		sys(SYS_sched_yield);
	return (sys(SYS_pwrite, fd, "foreign", 7L, 64L) == 7 ? 0 : 1);
}

/* A dump that somebody else writes to by that name. */
static void
foreign(const char *what, const char *path, const char *other, int want)
{
	struct job job = { path, 0 };
	i64 fd = open_target(path), writer, pid;

	sysctl_set("debug.ldtest.delay_us", 1000);
	writer = spawn(writes_once, (void *)other);
	pid = spawn(dumps, &job);
	expect(what, wait_for(pid), want);
	sysctl_set("debug.ldtest.delay_us", 0);
	expect("the other writer", wait_for(writer), 0);
	if (want != 0)
		expect("no dump is left", file_size(fd) <= 4096, 1);
	sys(SYS_close, fd);
	sys(SYS_unlink, path);
}

static void
other_writers(void)
{
	struct mem_minidump_arg a;
	i64 fd, map, r;

	foreign("tmpfs: another writer is detected", MEMFS "/dump",
	    MEMFS "/dump", EINTEGRITY);
	fd = open_target(MEMFS "/dump");
	expect("tmpfs: no other writer", minidump(&a, fd, 0, 2), 0);
	sys(SYS_close, fd);
	sys(SYS_unlink, MEMFS "/dump");

	/* A mapping needs no lock. */
	for (int i = 0; i < 2; i++) {
		const char *path = i == 0 ? SCRATCH "/dump" : MEMFS "/dump";

		fd = open_target(path);
		sys(SYS_ftruncate, fd, 4096L);
		map = sys(SYS_mmap, 0L, 4096L, 3L, 1L /* MAP_SHARED */, fd,
		    0L);
		expect(i == 0 ? "UFS: mapped for writing" :
		    "tmpfs: mapped for writing", minidump(&a, fd, 0, 0),
		    -ETXTBSY);
		expect("the file is not touched", file_size(fd), 4096);
		sys(SYS_munmap, map, 4096L);
		expect("not mapped any more", minidump(&a, fd, 0, 2), 0);
		sys(SYS_close, fd);
		sys(SYS_unlink, path);
	}

	r = mount_fs("nullfs", SCRATCH, NULLFS, 0, 0, 0);
	if (r != 0) {
		skip("nullfs", num(r));
		return;
	}
	foreign("nullfs: another writer below is detected", NULLFS "/dump",
	    SCRATCH "/dump", EINTEGRITY);
	fd = open_target(NULLFS "/dump");
	expect("nullfs: no other writer", minidump(&a, fd, 0, 2), 0);
	sys(SYS_close, fd);
	sys(SYS_unlink, NULLFS "/dump");
	sys(SYS_unmount, NULLFS, 0L);
}

/* <ufs/ffs/fs.h>, UFSSUSPEND and UFSRESUME; struct statfs: f_fsid@192. */
#define	UFSSUSPEND	_IOW('U', 1, u64)
#define	UFSRESUME	_IOC(0x20000000UL, 'U', 2, 0UL)
#define	FSID_AT		192

/* Holds the file's range lock for as long as the file system is suspended. */
static int
writes(void *arg)
{
	i64 fd = sys(SYS_open, arg, (i64)O_RDWR, 0L);

	sleep_ms(500);
	return (sys(SYS_write, fd, "x", 1L) == 1 ? 0 : 1);
}

static void
range_lock(void)
{
	static u8 statfs[4096];
	struct job job = { SCRATCH "/locked", 0 };
	i64 scratch, dev, writer, pid, id = sys(SYS_kldfind, MODULE_NAME);
	i64 second;
	u64 start;

	dev = sys(SYS_open, "/dev/ufssuspend", (i64)O_RDWR, 0L);
	if (dev < 0) {
		skip("range lock", "no /dev/ufssuspend");
		return;
	}
	sys(SYS_close, open_target(job.path));
	scratch = sys(SYS_open, SCRATCH, (i64)O_RDONLY, 0L);
	sys(SYS_fstatfs, scratch, statfs);
	sys(SYS_close, scratch);
	writer = spawn(writes, SCRATCH "/locked");
	sleep_ms(200);
	if (sys(SYS_ioctl, dev, (i64)UFSSUSPEND, statfs + FSID_AT) != 0) {
		fail("range lock", "UFSSUSPEND", 1, 0);
		stop(writer);
		return;
	}
	sleep_ms(1000);
	shared[3] = 0;
	pid = spawn(dumps, &job);
	sleep_ms(1000);
	expect("range lock: kldunload is refused", sys(SYS_kldunload, id),
	    -EBUSY);
	start = now_ms();
	sys(SYS_kill, pid, (i64)SIGINT);
	expect("range lock: SIGINT ends the wait", answer(5000), EINTR);
	expect_true("range lock: within two seconds",
	    now_ms() - start < 2000, "it took longer");
	expect("range lock: kldunload then", sys(SYS_kldunload, id), 0);
	expect_true("range lock: kldload", load(MODULE) >= 0, "it failed");
	shared[3] = 0;
	second = spawn(dumps, &job);
	expect("range lock: the wait ends", answer(30000), EAGAIN);
	sys(SYS_ioctl, dev, (i64)UFSRESUME);
	wait_for(pid);
	wait_for(second);
	expect("range lock: the writer", wait_for(writer), 0);
	pid = spawn(dumps, &job);
	expect("range lock: released", wait_for(pid), 0);
	sys(SYS_close, dev);
	sys(SYS_unlink, job.path);
}

/* Memory that nobody gives back, as in a machine with a leak. */
static void
short_of_memory(void)
{
	struct mem_minidump_arg a;
	i64 fd = open_target(SCRATCH "/dump"), goal, free_pages, r;
	u64 start, ms;

	sys(SYS_write, fd, "kept", 4L);
	goal = sysctl_int("vm.stats.vm.v_free_min", -1) + 256;
	for (int i = 0; i < 20; i++) {
		free_pages = sysctl_int("vm.stats.vm.v_free_count", -1);
		if (free_pages <= goal ||
		    sysctl_set("debug.ldtest.leak",
		    (i32)(free_pages - goal)) != 0)
			break;
		sleep_ms(100);
	}
	say("TIME free ", num(sysctl_int("vm.stats.vm.v_free_count", -1)),
	    " pages, v_free_min ", num(goal - 256), "\n");
	start = now_ms();
	r = minidump(&a, fd, 0, 2);
	ms = now_ms() - start;
	say("TIME short of memory: ", num(ms), " ms\n");
	sysctl_set("debug.ldtest.leak", 0);
	expect("short of memory", r, -ENOMEM);
	expect_true("short of memory: at once", ms < 6000, "it took longer");
	expect("short of memory: the file is not touched", file_size(fd), 4);
	expect("memory is there again", minidump(&a, fd, 0, 2), 0);
	sys(SYS_close, fd);
	sys(SYS_unlink, SCRATCH "/dump");
}

/* A CPU that has interrupts off for longer than anybody waits. */
static void
missing_cpu(void)
{
	struct mem_minidump_arg a;
	i64 fd = open_target(SCRATCH "/dump"), ncpu = sysctl_int("hw.ncpu", 1);
	i64 r;

	if (ncpu < 2 || sysctl_set("debug.ldhang.nointr_ms", 3000) != 0) {
		skip("missing CPU", "one CPU, or no ldhang.ko");
		return;
	}
	r = minidump(&a, fd, MINIDUMP_REGISTERS, 0);
	expect("missing CPU: a dump", r, 0);
	expect("missing CPU: it is named", (i64)a.mda_missing_cpus,
	    1L << (ncpu - 1));
	expect("missing CPU: the others' registers", a.mda_registers,
	    ncpu - 1);
	sleep_ms(3000);
	r = minidump(&a, fd, MINIDUMP_REGISTERS, 0);
	expect("no CPU is missing", r == 0 ? (i64)a.mda_missing_cpus : r, 0);
	expect("no CPU is missing: registers", a.mda_registers, ncpu);
	sys(SYS_close, fd);
	sys(SYS_unlink, SCRATCH "/dump");
}

static void
longest(int which, u64 us)
{
	if (us > shared[which])
		shared[which] = us;
}

static int
spins(void *arg)
{
	u64 last = now_us(), now;

	(void)arg;
	for (;; last = now) {
		now = now_us();
		longest(0, now - last);
	}
}

static int
nothing(void *arg)
{
	(void)arg;
	return (0);
}

static int
forks(void *arg)
{
	(void)arg;
	for (;;) {
		u64 start = now_us();

		wait_for(spawn(nothing, 0));
		longest(1, now_us() - start);
	}
}

static int
creates(void *arg)
{
	(void)arg;
	for (;;) {
		u64 start = now_us();

		sys(SYS_close, open_target(SCRATCH "/created"));
		sys(SYS_unlink, SCRATCH "/created");
		longest(2, now_us() - start);
	}
}

/* The largest gap of a spinning process, in us. */
static u64
gaps(const char *what, u8 compression, int stock)
{
	static int (*const users[])(void *) = { spins, forks, creates };
	struct mem_minidump_arg a;
	i64 fd = open_target(SCRATCH "/dump"), pids[3], r;
	u64 start, ms;

	for (int i = 0; i < 3; i++)
		pids[i] = spawn(users[i], 0);
	sleep_ms(500);
	for (int i = 0; i < 3; i++)
		shared[i] = 0;
	start = now_ms();
	r = compression > 2 ? (sleep_ms(1500), 0) :
	    stock ? kerneldump(fd, compression) :
	    minidump(&a, fd, 0, compression);
	ms = now_ms() - start;
	say("TIME gaps ", what, ": ", num(ms), " ms; spin ",
	    num(shared[0] / 1000), " ms, ");
	say("fork and wait ", num(shared[1] / 1000), " ms, create ",
	    num(shared[2] / 1000), " ms\n");
	for (int i = 0; i < 3; i++)
		stop(pids[i]);
	expect(what, r, 0);
	sys(SYS_close, fd);
	sys(SYS_unlink, SCRATCH "/dump");
	return (shared[0]);
}

/* The host may stop a CPU for a while; it seldom does three times. */
static void
share(const char *what, u8 compression)
{
	u64 gap = ~0UL;

	for (int i = 0; i < 3 && gap >= 300000; i++)
		gap = gaps(what, compression, 0);
	expect_true("a spinning process gets its share", gap < 300000,
	    "it stood for 300 ms or more, three times");
}

static void
fairness(void)
{
	gaps("no dump", 3, 0);
	gaps("plain", 0, 0);
	share("gzip", 1);
	share("zstd", 2);
	if (how_many("livedump.stock", 0) == 0)
		return;
	unload(MODULE_NAME);
	if (have_kerneldump()) {
		gaps("stock plain", 0, 1);
		gaps("stock gzip", 1, 1);
		gaps("stock zstd", 2, 1);
	}
	expect_true("kldload", load(MODULE) >= 0, "it failed");
}

void
cases_limits(void)
{
	if (sys(SYS_kldfind, "ldhang.ko") < 0)
		load("/ldhang.ko");
	shared = (volatile u64 *)sys(SYS_mmap, 0L, 4096L, 3L,
	    0x1001L /* MAP_SHARED | MAP_ANON */, -1L, 0L);
	other_writers();
	range_lock();
	missing_cpu();
	short_of_memory();
	fairness();
}
