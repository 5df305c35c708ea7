/* SPDX-License-Identifier: BSD-2-Clause */
/* Dumps that meet something: signals, full disks, limits, each other. */
#include "dump.h"

struct dump_job {
	const char *path;
	u32 flags;
	u8 compression;
};

static int
dumping(void *arg)
{
	struct dump_job *job = arg;
	struct mem_minidump_arg a;
	i64 fd = open_target(job->path);
	i64 r = minidump(&a, fd, job->flags, job->compression);

	return ((int)-r);
}

static volatile int caught;

static void
on_signal(int sig)
{
	caught = sig;
}

static void
catch(i64 sig)
{
	struct { void (*handler)(int); i32 flags; u32 mask[4]; } sa;

	zero(&sa, sizeof(sa));
	sa.handler = on_signal;
	sys(SYS_sigaction, sig, &sa, 0L);
}

/* With a handler, so that the errno is seen. */
static int
dumping_with_handler(void *arg)
{
	catch(SIGINT);
	return (dumping(arg));
}

/* Waits until a dump writes pages. */
static int
until_pages(u64 limit_ms)
{
	struct mem_minidump_status st;
	u64 end = now_ms() + limit_ms;

	while (now_ms() < end) {
		if (status(&st) == 0 && st.mds_stage == 11 &&
		    st.mds_pages_done > 100)
			return (1);
		sys(SYS_sched_yield);
	}
	return (0);
}

/* Makes every block take its time, where the kernel can (13.2 and later). */
static void
slow(i32 us)
{
	sysctl_set("debug.ldtest.delay_us", us);
}

/*
 * A reaper's signal to all that it has started, as timeout(1) sends one; 13 and
 * 14 stop each process as a whole before.
 */
static int
reaping(void *job)
{
	/* <sys/procctl.h>: struct procctl_reaper_kill */
	struct {
		i32	sig;
		u32	flags;
		i32	subtree;
		u32	killed;
		i32	fpid;
		u32	pad[15];
	} kill;
	i64 me = sys(SYS_getpid), pid;
	u64 start;

	zero(&kill, sizeof(kill));
	kill.sig = SIGINT;
	if (sys(SYS_procctl, 0L /* P_PID */, me, 2L /* PROC_REAP_ACQUIRE */,
	    0L) != 0)
		return (1);
	pid = spawn(dumping_with_handler, job);
	if (!until_pages(20000))
		return (2);
	start = now_ms();
	if (sys(SYS_procctl, 0L, me, 6L /* PROC_REAP_KILL */, &kill) != 0)
		return (3);
	if (wait_for(pid) != EINTR)
		return (4);
	return (now_ms() - start < 1000 ? 0 : 5);
}

static void
interrupted(void)
{
	struct dump_job job = { SCRATCH "/int", 0, 2 };
	struct mem_minidump_arg a;
	u64 start;
	i64 pid, fd;

	slow(2000);
	pid = spawn(dumping_with_handler, &job);
	expect_true("SIGINT: a dump runs", until_pages(20000), "no dump");
	start = now_ms();
	sys(SYS_kill, pid, (i64)SIGINT);
	expect("SIGINT in the middle", wait_for(pid), EINTR);
	expect_true("SIGINT within a second", now_ms() - start < 1000,
	    "it took longer");
	expect("PROC_REAP_KILL in the middle", wait_for(spawn(reaping, &job)),
	    0);
	pid = spawn(dumping, &job);
	expect_true("SIGKILL: a dump runs", until_pages(20000), "no dump");
	start = now_ms();
	stop(pid);
	expect_true("SIGKILL within a second", now_ms() - start < 1000,
	    "it took longer");
	slow(0);
	fd = sys(SYS_open, SCRATCH "/int", (i64)O_RDWR, 0L);
	expect("interrupted: the file is empty", file_size(fd), 0);
	expect("interrupted: the same file again",
	    minidump(&a, fd, 0, 2), 0);
	sys(SYS_close, fd);
	sys(SYS_unlink, SCRATCH "/int");
}

static void
one_at_a_time(void)
{
	struct dump_job first = { SCRATCH "/first", 0, 0 };
	struct dump_job second = { SCRATCH "/second", MINIDUMP_WAIT, 2 };
	struct mem_minidump_arg a;
	i64 fd = open_target(SCRATCH "/third"), one, two, three;

	slow(1000);
	one = spawn(dumping, &first);
	expect_true("busy: a dump runs", until_pages(20000), "no dump");
	expect("a second dump", minidump(&a, fd, 0, 0), -EBUSY);
	expect("a second dump, compressor unknown",
	    minidump(&a, fd, 0, 9), -EINVAL);
	two = spawn(dumping, &second);
	second.path = SCRATCH "/fourth";
	three = spawn(dumping_with_handler, &second);
	sleep_ms(100);
	sys(SYS_kill, three, (i64)SIGINT);
	expect("WAIT interrupted", wait_for(three), EINTR);
	expect_true("kldunload during a dump is refused",
	    sys(SYS_kldunload, sys(SYS_kldfind, "livedump.ko")) == -EBUSY,
	    "it was not EBUSY");
	slow(0);
	expect("the first dump", wait_for(one), 0);
	expect("WAIT succeeds", wait_for(two), 0);
	sys(SYS_close, fd);
	sys(SYS_unlink, SCRATCH "/first");
	sys(SYS_unlink, SCRATCH "/second");
	sys(SYS_unlink, SCRATCH "/third");
	sys(SYS_unlink, SCRATCH "/fourth");
}

/* Files may have so many bytes. */
static void
limited(const char *what, const char *path, i64 bytes, u8 compression)
{
	struct { i64 cur, max; } limit = { bytes, bytes };
	struct mem_minidump_arg a;
	i64 pid = sys(SYS_fork);

	if (pid == 0) {
		sys(SYS_setrlimit, 1L /* RLIMIT_FSIZE */, &limit);
		sys(SYS_exit,
		    -minidump(&a, open_target(path), 0, compression));
	}
	expect(what, wait_for(pid), EFBIG);
	sys(SYS_unlink, path);
}

static void
full_and_limited(void)
{
	struct mem_minidump_arg a;
	u64 start;
	i64 fd, r;

	sys(SYS_mkdir, MEMFS "/small", 0700L);
	r = mount_fs("tmpfs", 0, MEMFS "/small", "size", "8388608", 0);
	if (r != 0) {
		fail("full: mounting a small tmpfs", "result", r, 0);
	} else {
		fd = open_target(MEMFS "/small/dump");
		start = now_ms();
		expect("file system full", minidump(&a, fd, 0, 0), -ENOSPC);
		expect_true("file system full, once",
		    now_ms() - start < 10000, "it took longer");
		expect("file system full: the file is empty", file_size(fd),
		    0);
		sys(SYS_close, fd);
		sys(SYS_unmount, MEMFS "/small", 0L);
	}
	fd = sys(SYS_open, "/ro/target", (i64)O_RDWR, 0L);
	expect("read-only file system", fd, -EROFS);
	catch(SIGXFSZ);
	limited("file size limit", MEMFS "/limited", 1 << 20, 0);
	/* Not at the end of a block: written to there, without an error. */
	limited("file size limit within a block", MEMFS "/limited",
	    (1 << 20) + 1000, 0);
	limited("file size limit within a frame", MEMFS "/limited",
	    (1 << 20) + 1000, MINIDUMP_COMP_ZSTD);
	limited("file size limit within a frame, UFS", SCRATCH "/limited",
	    (1 << 20) + 1000, MINIDUMP_COMP_ZSTD);
}

static void
watched(void)
{
	struct dump_job job = { SCRATCH "/watched", 0, 0 };
	struct mem_minidump_status st;
	u64 pages = 0, bytes = 0, looks = 0;
	int monotonic = 1;
	i64 before = malloc_in_use("livedump"), most = 0, used, pid;

	/* On 15 a look at the counts of malloc(9) takes its time. */
	slow(8000);
	pid = spawn(dumping, &job);
	until_pages(20000);
	while (status(&st) == 0 && st.mds_pid == pid && looks < 1000000) {
		if (st.mds_pages_done < pages || st.mds_bytes_out < bytes ||
		    st.mds_pages_done > st.mds_pages_total)
			monotonic = 0;
		pages = st.mds_pages_done;
		bytes = st.mds_bytes_out;
		used = malloc_in_use("livedump");
		if (used > most)
			most = used;
		looks++;
	}
	slow(0);
	expect("status: the dump", wait_for(pid), 0);
	expect_true("status from another process", looks > 3 && pages > 0,
	    "it was seen three times at most");
	expect_true("status from another process, monotonic", monotonic,
	    "counters went back");
	expect("status afterwards", (status(&st), st.mds_last_pid), pid);
	if (before < 0) {
		skip("memory of a dump", "kern.malloc_stats cannot be read");
	} else {
		say("FACT memory ", num(most), "\n");
		expect_true("memory of a dump is bounded",
		    most > 0 && most < 32 << 20, "32 MB or more, or none");
		expect("memory of a dump is given back",
		    malloc_in_use("livedump"), before);
	}
	sys(SYS_unlink, SCRATCH "/watched");
}

/* Its file system is taken away by force while it is written. */
static void
unmounted(void)
{
	struct dump_job job = { "/gone/dump", 0, 0 };
	i64 r, pid;

	r = mount_fs("tmpfs", 0, "/gone", 0, 0, 0);
	if (r != 0) {
		fail("unmount: mounting", "result", r, 0);
		return;
	}
	slow(2000);
	pid = spawn(dumping, &job);
	if (expect_true("unmount: a dump runs", until_pages(20000), "none")) {
		r = sys(SYS_unmount, "/gone", (i64)MNT_FORCE);
		expect("forced unmount during a dump", r, 0);
	}
	slow(0);
	r = wait_for(pid);
	expect_true("a dump whose file system goes away ends with an error",
	    r > 0, "it did not");
}

/* <ufs/ffs/fs.h>, UFSSUSPEND and UFSRESUME on /dev/ufssuspend. */
#define	UFSSUSPEND	_IOW('U', 1, u64)
#define	UFSRESUME	_IOC(0x20000000UL, 'U', 2, 0UL)
/* struct statfs: f_fsid@192; 2344 bytes. */
#define	FSID_AT		192

/* A suspended file system: the dump waits, and can be interrupted. */
static void
suspended(void)
{
	static u8 statfs[4096];
	struct dump_job job = { SCRATCH "/suspended", 0, 0 };
	struct mem_minidump_status st;
	i64 scratch, dev, pid, r;

	dev = sys(SYS_open, "/dev/ufssuspend", (i64)O_RDWR, 0L);
	if (dev < 0) {
		skip("suspended file system", "no /dev/ufssuspend");
		return;
	}
	/* It is there before, so that making it does not wait. */
	sys(SYS_close, open_target(job.path));
	scratch = sys(SYS_open, SCRATCH, (i64)O_RDONLY, 0L);
	sys(SYS_fstatfs, scratch, statfs);
	sys(SYS_close, scratch);
	for (int round = 0; round < 2; round++) {
		/* Whoever suspends must have nothing open for writing. */
		pid = sys(SYS_fork);
		if (pid == 0) {
			struct mem_minidump_arg a;
			i64 fd = sys(SYS_open, job.path, (i64)O_RDWR, 0L);

			catch(SIGINT);
			sleep_ms(1000);
			r = minidump(&a, fd, 0, 0);
			/* Told here: close(2) waits for the resumption. */
			if (round == 0)
				expect("suspended: SIGINT", r, -EINTR);
			sys(SYS_exit, -r);
		}
		sleep_ms(300);
		r = sys(SYS_ioctl, dev, (i64)UFSSUSPEND, statfs + FSID_AT);
		if (r != 0) {
			fail("suspended file system", "UFSSUSPEND", r, 0);
			stop(pid);
			break;
		}
		sleep_ms(3000);
		status(&st);
		expect("suspended: the dump waits to truncate", st.mds_stage,
		    st.mds_pid == pid ? 5 : -1);
		if (round == 0) {
			sys(SYS_kill, pid, (i64)SIGINT);
			sleep_ms(1000);
		}
		sys(SYS_ioctl, dev, (i64)UFSRESUME);
		expect("resumed", wait_for(pid), round == 0 ? EINTR : 0);
	}
	sys(SYS_close, dev);
	sys(SYS_unlink, job.path);
}

/* A raised securelevel closes /dev/mem for writing, not for a dump. */
static void
secured(void)
{
	struct mem_minidump_arg a;
	i64 fd = open_target(SCRATCH "/secured");

	expect("securelevel", sysctl_set("kern.securelevel", 1), 0);
	expect("securelevel 1: /dev/mem for writing",
	    sys(SYS_open, "/dev/mem", (i64)O_RDWR, 0L), -EPERM);
	expect("securelevel 1: a dump", minidump(&a, fd, 0, 2), 0);
	sys(SYS_close, fd);
	sys(SYS_unlink, SCRATCH "/secured");
}

void
cases_writing(void)
{
	suspended();
	watched();
	interrupted();
	one_at_a_time();
	full_and_limited();
	unmounted();
	/* Last: it does not go down again. */
	secured();
}
