/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Hangs of known cause (ldstuck.ko, and processes), in dumps of the machine
 * that runs and of one instant: the host is to find what each waits for in
 * the end.
 */
#include "dump.h"

/* A younger wait is in doubt. */
#define	STAND_MS	3000
#define	SLOW		"/slow"		/* UFS, on a disk that may stop */
#define	MAX_THREADS	8

/* What a child says of itself. */
static volatile i64 *tids;
static int count;
static i64 pids[MAX_THREADS];
static int npids;

/* hang-KIND-HOW-NTH */
static const char *
dump_name(const char *kind, const char *how, int nth)
{
	static char name[64];
	const char *parts[] = { "hang-", kind, "-", numbered(how, nth) };
	u64 at = 0;

	zero(name, sizeof(name));
	for (u32 i = 0; i < 4; i++) {
		copy(name + at, parts[i], len(parts[i]));
		at += len(parts[i]);
	}
	return (name);
}

/* Whether there is a dump now. */
static int
take(const char *how, const char *path, const char *name)
{
	struct mem_minidump_arg2 a;
	i64 fd = open_target(path), r;

	r = streq(how, "frozen") ? patient(name, &a, fd) :
	    minidump2(&a, fd, 0, 0);
	sys(SYS_close, fd);
	return (expect(name, r, 0));
}

static void
dump(const char *kind, const char *how, int nth)
{
	const char *name = dump_name(kind, how, nth);

	if (take(how, SCRATCH "/dump", name))
		bring_out(SCRATCH "/dump", name);
	sys(SYS_unlink, SCRATCH "/dump");
}

/* After it has stood for a while. */
static void
dumps(const char *kind)
{
	sleep_ms(STAND_MS);
	for (int i = 0; i < count; i++) {
		dump(kind, "frozen", i);
		dump(kind, "live", i);
	}
}

/* From outside, which takes no memory and no CPU of this machine. */
static void
dumps_outside(const char *kind)
{
	sleep_ms(STAND_MS);
	for (int i = 0; i < count; i++)
		if (!ask_outside(dump_name(kind, "outside", i)))
			break;
}

static i64
plant(const char *kind, int on)
{
	char name[48] = "debug.ldstuck.";

	copy(name + 14, kind, len(kind) + 1);
	return (sysctl_set(name, on));
}

/* What ldstuck.ko says of it, of one dump or of all of a kind. */
static void
tell(const char *name)
{
	char root[128];

	if (!sysctl_str("debug.ldstuck.root", root, sizeof(root)))
		fail(name, "no root", 0, 1);
	say("FACT ", name, " ", root, "\n");
}

static void
child(int (*f)(void *), void *arg)
{
	pids[npids++] = spawn(f, arg);
	sleep_ms(100);
}

/* hang-KIND */
static const char *
all_of(const char *kind)
{
	static char name[32] = "hang-";

	copy(name + 5, kind, len(kind) + 1);
	return (name);
}

/* Children that end by themselves by now, or that are killed. */
static void
reap(const char *kind, int kill)
{
	while (npids > 0) {
		i64 pid = pids[--npids];

		if (kill)
			stop(pid);
		else
			expect(kind, wait_for(pid), 0);
	}
}

static void
planted(const char *kind, void (*dump_it)(const char *))
{
	if (expect(kind, plant(kind, 1), 0)) {
		tell(all_of(kind));
		dump_it(kind);
	}
	expect(kind, plant(kind, 0), 0);
}

/* A CPU runs no callouts, and files are not written for want of it. */
static void
planted_each(const char *kind, const char *how)
{
	for (int i = 0; i < count; i++) {
		const char *name = dump_name(kind, how, i);
		int taken = 0;

		if (expect(kind, plant(kind, 1), 0)) {
			tell(name);
			sleep_ms(STAND_MS);
			if (streq(how, "outside"))
				ask_outside(name);
			else
				taken = take(how, MEMFS "/dump", name);
		}
		expect(kind, plant(kind, 0), 0);
		if (taken)
			bring_out(MEMFS "/dump", name);
		sys(SYS_unlink, MEMFS "/dump");
	}
}

/* The device answers when it is undone, with an error. */
static int
reads_device(void *arg)
{
	static u8 block[4096];
	i64 fd = sys(SYS_open, arg, (i64)O_RDONLY, 0L);

	return (fd < 0 || sys(SYS_read, fd, block, sizeof(block)) != -EIO);
}

static void
device(void)
{
	u64 end = now_ms() + 10000;

	if (!expect("bio", plant("bio", 1), 0))
		return;
	child(reads_device, "/dev/ldstuck");
	while (sysctl_int("debug.ldstuck.bios", -1) != 1 && now_ms() < end)
		sleep_ms(10);
	tell("hang-bio");
	dumps("bio");
	expect("bio", plant("bio", 0), 0);
	reap("bio: the read ends", 0);
}

/* Each reads what the other would write. */
static i32 first[2], second[2];

static int
reads_pipe(void *arg)
{
	int other = arg != 0;
	u8 byte;

	sys(SYS_thr_self, &tids[other]);
	sys(SYS_close, (i64)first[other ? 0 : 1]);
	sys(SYS_close, (i64)second[other ? 1 : 0]);
	sys(SYS_read, (i64)(other ? second[0] : first[0]), &byte, 1L);
	return (0);
}

static void
close_pipes(i32 *ends)
{
	sys(SYS_close, (i64)ends[0]);
	sys(SYS_close, (i64)ends[1]);
}

static void
pipes(void)
{
	static int other = 1;

	sys(SYS_pipe2, first, 0L);
	sys(SYS_pipe2, second, 0L);
	child(reads_pipe, 0);
	child(reads_pipe, &other);
	close_pipes(first);
	close_pipes(second);
	say("FACT hang-pipes cycle 0 2 ", num(tids[0]), " ", num(tids[1]),
	    "\n");
	dumps("pipes");
	reap("pipes", 1);
}

/* One that waits for a pipe of one that waits for a lock. */
static int
waits_for_sx(void *arg)
{
	(void)arg;
	sys(SYS_close, (i64)first[0]);
	return (sysctl_set("debug.ldstuck.behind", 1) != 0);
}

static int
waits_for_pipe(void *arg)
{
	u8 byte;

	(void)arg;
	sys(SYS_close, (i64)first[1]);
	/* It ends with the other. */
	return (sys(SYS_read, (i64)first[0], &byte, 1L) != 0);
}

static void
chain(void)
{
	if (!expect("chain", plant("sx", 1), 0))
		return;
	sys(SYS_pipe2, first, 0L);
	child(waits_for_sx, 0);
	child(waits_for_pipe, 0);
	close_pipes(first);
	/* The holder's, and these two. */
	tell("hang-chain");
	say("FACT hang-chain-more 2\n");
	dumps("chain");
	expect("chain", plant("sx", 0), 0);
	reap("chain: both end", 0);
}

/* A disk that stops: some wait for it, others for locks of these. */
struct on_disk {
	char device[32];
	i64 read, write;
};

/* What comes first is answered, and nothing after it for a long time. */
static int
uses_up(void *arg)
{
	static u8 block[65536] __attribute__((aligned(4096)));
	struct on_disk *disk = arg;
	i64 fd = sys(SYS_open, disk->device, (i64)O_RDONLY, 0L);

	return (sys(SYS_read, fd, block, sizeof(block)) != sizeof(block));
}

static int
reads_file(void *arg)
{
	static u8 block[512];
	struct on_disk *disk = arg;

	sys(SYS_lseek, disk->read, 131072L, 0L);
	return (sys(SYS_read, disk->read, block, sizeof(block)) !=
	    sizeof(block));
}

/* The rest of the block has to be read first, with the file locked. */
static int
writes_file(void *arg)
{
	struct on_disk *disk = arg;

	return (sys(SYS_pwrite, disk->write, "written", 7L, 131073L) != 7);
}

static int
unlinks_file(void *arg)
{
	(void)arg;
	return (sys(SYS_unlink, SLOW "/dir/written") != 0);
}

static int
makes_file(void *arg)
{
	(void)arg;
	return (open_target(SLOW "/dir/new") < 0);
}

static void
disk(void)
{
	static struct on_disk on;
	char name[16];

	if (!kernel_env("livedump.slow", name, sizeof(name))) {
		skip("hangs: disk", "no such disk");
		return;
	}
	copy(on.device, "/dev/", 5);
	copy(on.device + 5, name, len(name) + 1);
	if (!expect("a slow disk", mount_fs("ufs", on.device, SLOW, 0, 0, 0),
	    0))
		return;
	on.read = sys(SYS_open, SLOW "/dir/read", (i64)O_RDONLY, 0L);
	on.write = sys(SYS_open, SLOW "/dir/written", (i64)O_RDWR, 0L);
	expect_true("its files", on.read >= 0 && on.write >= 0, "not there");
	/* What is to be written has been. */
	sys(SYS_sync);
	sleep_ms(500);
	say("SLOW on\n");
	sleep_ms(1000);
	expect("its last answer", wait_for(spawn(uses_up, &on)), 0);
	child(reads_file, &on);
	child(writes_file, &on);
	child(unlinks_file, 0);
	child(makes_file, 0);
	say("FACT hang-disk device 0 4 ", name, "\n");
	dumps("disk");
	say("SLOW off\n");
	reap("a slow disk: all end", 0);
	sys(SYS_close, on.read);
	sys(SYS_close, on.write);
	expect("a slow disk: unmount", sys(SYS_unmount, SLOW, 0L), 0);
}

/* Dumps from inside take memory, of which there is none. */
static void
memory(void)
{
	/* Nobody is to be killed for it, and this process goes on. */
	i64 seq = sysctl_int("vm.pageout_oom_seq", 12);

	sysctl_set("vm.pageout_oom_seq", 1 << 30);
	if (expect("mlockall", sys(SYS_mlockall, 1L), 0))
		planted("mem", dumps_outside);
	sys(SYS_munlockall);
	sysctl_set("vm.pageout_oom_seq", (i32)seq);
}

static void
healthy(void)
{
	for (int i = 0; i < count; i++) {
		dump("idle", "frozen", i);
		dump("idle", "live", i);
	}
	start_load();
	sleep_ms(1000);
	for (int i = 0; i < count; i++) {
		dump("load", "frozen", i);
		dump("load", "live", i);
	}
	stop_load();
}

void
cases_hangs(void)
{
	static const char *const kinds[] = { "sx", "task", "zone", "rpc" };

	count = how_many("livedump.hangs", 1);
	tids = (volatile i64 *)sys(SYS_mmap, 0L, 4096L, 3L,
	    0x1001L /* MAP_SHARED | MAP_ANON */, -1L, 0L);
	facts();
	if (load("/ldstuck.ko") < 0) {
		skip("hangs", "the test module does not load");
		return;
	}
	healthy();
	/* Another one is taken away from those that it would run. */
	on_cpu(0);
	for (u32 i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		planted(kinds[i], dumps);
	device();
	pipes();
	chain();
	disk();
	memory();
	if (sysctl_int("hw.ncpu", 1) < 2) {
		skip("hangs: rm, callout, spin", "one CPU");
		return;
	}
	planted("rm", dumps);
	planted_each("callout", "frozen");
	planted_each("callout", "live");
	planted_each("spin", "frozen");
	planted_each("spin", "live");
	/* Only here does the thread that spins have its CPU. */
	planted_each("spin", "outside");
}
