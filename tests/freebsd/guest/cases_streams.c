/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Dumps into pipes and sockets. This process asks for them; others read, and
 * write what they got into a file for the host.
 */
#include "dump.h"
#include "net.h"

#define	STREAM	SCRATCH "/stream"
#define	KEPT	SCRATCH "/kept"

enum kind { PIPE, TCP, LOCAL };
static const char *const kinds[] = { "pipe", "tcp", "local" };

static i32 ends[2];		/* [0] is read */
static i64 openfiles;

static u8 data[1 << 16];

/* A reader: rests after each piece, and ends after so many bytes. */
struct reader {
	u64 rest_ms, most;
};

static int
reading(void *arg)
{
	const struct reader *reader = arg;
	i64 fd = open_target(KEPT), n;
	u64 got = 0;

	sys(SYS_close, (i64)ends[1]);
	while (got < reader->most &&
	    (n = sys(SYS_read, (i64)ends[0], data, sizeof(data))) > 0) {
		if (sys(SYS_write, fd, data, n) != n)
			return (2);
		got += (u64)n;
		if (reader->rest_ms != 0)
			sleep_ms(reader->rest_ms);
	}
	sys(SYS_close, fd);
	return (0);
}

static int
serving(void *arg)
{
	struct sockaddr_in sin = inet(LOOPBACK, PORT);
	i64 s = sys(SYS_socket, (i64)AF_INET, (i64)SOCK_STREAM, 0L);
	static const i32 one = 1;

	/* SOL_SOCKET, SO_REUSEADDR */
	sys(SYS_setsockopt, s, 0xffffL, 4L, &one, (i64)sizeof(one));
	if (sys(SYS_bind, s, &sin, (i64)sizeof(sin)) != 0 ||
	    sys(SYS_listen, s, 1L) != 0)
		return (3);
	ends[0] = (i32)sys(SYS_accept, s, 0L, 0L);
	ends[1] = -1;
	return (reading(arg));
}

/* The end that is written, the other one with a process that reads. */
static i64
started(enum kind kind, struct reader *reader)
{
	i64 pid, s;

	switch (kind) {
	case PIPE:
		sys(SYS_pipe2, ends, 0L);
		break;
	case LOCAL:
		sys(SYS_socketpair, (i64)AF_UNIX, (i64)SOCK_STREAM, 0L, ends);
		break;
	case TCP:
		pid = spawn(serving, reader);
		s = connected();
		if (s < 0)
			fail("connecting", "result", s, 0);
		ends[0] = -1;
		ends[1] = (i32)s;
		return (pid);
	}
	pid = spawn(reading, reader);
	sys(SYS_close, (i64)ends[0]);
	ends[0] = -1;
	return (pid);
}

static void
take(const char *name, enum kind kind, u64 rest_ms, u8 compression, u32 flags)
{
	struct reader reader = { rest_ms, ~0UL };
	struct mem_minidump_arg a;
	i64 pid = started(kind, &reader), r;
	u64 start = now_ms();

	r = minidump(&a, ends[1], MINIDUMP_STREAM | flags, compression);
	sys(SYS_close, (i64)ends[1]);
	expect(name, r, 0);
	expect("the reader", wait_for(pid), 0);
	say("TIME ", name, " ", num(now_ms() - start), " ms\n");
	if (r == 0)
		bring_out(KEPT, name);
	sys(SYS_unlink, KEPT);
}

/* Short names, one after the other: the host knows no more of them. */
static void
under_load(int n)
{
	static char name[64];

	if (n == 0)
		return;
	start_load();
	for (int i = 0; i < n; i++) {
		/* Each kind once; then what is used over a network, by turns. */
		enum kind kind = (enum kind)(i < 6 ? i % 3 : i % 2);
		u8 compression = (i < 6 ? i : i / 2) % 2 == 0 ? 2 : 0;

		zero(name, sizeof(name));
		copy(name, "stream-", 7);
		copy(name + 7, kinds[kind], len(kinds[kind]));
		copy(name + len(name), compression ? "-zstd-" : "-plain-",
		    len(compression ? "-zstd-" : "-plain-"));
		copy(name + len(name), num(i), len(num(i)));
		take(name, kind, 0, compression, 0);
	}
	stop_load();
}

static void
nobody_reads(enum kind kind)
{
	struct reader reader = { 0, 1 << 20 };
	struct mem_minidump_arg a;
	struct mem_minidump_status st;
	i64 pid = started(kind, &reader), r;

	r = minidump(&a, ends[1], MINIDUMP_STREAM, 0);
	sys(SYS_close, (i64)ends[1]);
	/* A connection whose other end goes with bytes unread is reset. */
	if (kind == TCP && r == -54)
		r = -EPIPE;
	expect("the reader went away", r, -EPIPE);
	wait_for(pid);
	expect("and the status has it", status(&st), 0);
	expect_true("and no dump is in progress", st.mds_stage == 0, "one is");
	sys(SYS_unlink, KEPT);
}

static volatile int caught;

static void
on_signal(int sig)
{
	caught = sig;
}

static void
handle(i64 sig)
{
	struct { void (*handler)(int); i32 flags; u32 mask[4]; } sa;

	zero(&sa, sizeof(sa));
	sa.handler = on_signal;
	sys(SYS_sigaction, sig, &sa, 0L);
}

static int
asking(void *arg)
{
	struct mem_minidump_arg a;

	handle(SIGINT);
	return ((int)-minidump(&a, ends[1], *(const u32 *)arg, 0));
}

/* Stages that write: the first, the last. livedump(4) */
#define	STAGE_HEADER	6
#define	STAGE_PAGES	11
/* How often the status is the same before the dump is said to wait. */
#define	SAME		4

/*
 * Until the pipe is full, and a while longer. A block that is larger than the
 * pipe is counted when it is out, so that the first may never be.
 */
static int
stalled(void)
{
	struct mem_minidump_status st;
	u64 pages = 0, bytes = 0, end = now_ms() + 60000;
	int same = 0;

	while (now_ms() < end) {
		sleep_ms(500);
		if (status(&st) != 0)
			return (0);
		if (st.mds_stage >= STAGE_HEADER &&
		    st.mds_stage <= STAGE_PAGES && same > 0 &&
		    st.mds_bytes_out == bytes && st.mds_pages_done == pages)
			same++;
		else
			same = st.mds_stage >= STAGE_HEADER;
		if (same > SAME)
			return (1);
		bytes = st.mds_bytes_out;
		pages = st.mds_pages_done;
	}
	return (0);
}

static void
nobody_goes_on(i64 sig, int want)
{
	u32 flags = MINIDUMP_STREAM;
	i64 pid;
	u64 start;

	sys(SYS_pipe2, ends, 0L);
	pid = spawn(asking, &flags);
	expect_true("a dump waits for its reader", stalled(), "it does not");
	start = now_ms();
	sys(SYS_kill, pid, sig);
	expect("a signal to a dump that waits", wait_for(pid), want);
	expect_true("it is answered at once", now_ms() - start < 3000, "late");
	sys(SYS_close, (i64)ends[0]);
	sys(SYS_close, (i64)ends[1]);
}

/* O_NONBLOCK is for those who want to be told; a dump waits. */
static void
nonblocking(void)
{
	struct reader reader = { 2, ~0UL };
	struct mem_minidump_arg a;
	i64 pid, r;

	sys(SYS_pipe2, ends, (i64)O_NONBLOCK);
	/* The reader's end blocks. F_SETFL */
	sys(SYS_fcntl, (i64)ends[0], 4L, 0L);
	pid = spawn(reading, &reader);
	sys(SYS_close, (i64)ends[0]);
	r = minidump(&a, ends[1], MINIDUMP_STREAM, 2);
	sys(SYS_close, (i64)ends[1]);
	expect("a pipe with O_NONBLOCK", r, 0);
	expect("the reader", wait_for(pid), 0);
	if (r == 0)
		bring_out(KEPT, "stream-nonblock");
	sys(SYS_unlink, KEPT);
}

static int
sleeping(void *arg)
{
	(void)arg;
	for (int i = 0; i < 200; i++)
		sleep_ms(10);
	return (0);
}

static void
suspended(void)
{
	u32 flags = MINIDUMP_STREAM | MINIDUMP_QUIESCE;
	struct reader reader = { 0, ~0UL };
	struct mem_minidump_arg a;
	i64 pid, other;
	u64 start;

	for (int k = PIPE; k <= LOCAL; k++) {
		pid = started((enum kind)k, &reader);
		expect("a reader that would be suspended",
		    minidump(&a, ends[1], flags, 0), -EOPNOTSUPP);
		sys(SYS_close, (i64)ends[1]);
		wait_for(pid);
	}
	/* It says that it reads, and does not: all go on after a while. */
	for (int k = 0; k < 2; k++) {
		sys(SYS_pipe2, ends, k == 0 ? 0L : (i64)O_NONBLOCK);
		start = now_ms();
		other = spawn(sleeping, 0);
		pid = spawn(asking, &flags);
		expect("a process that was suspended", wait_for(other), 0);
		expect_true("was suspended", now_ms() - start > 15000,
		    "it was not");
		expect_true("for a while", now_ms() - start < 40000,
		    "too long");
		sys(SYS_kill, pid, (i64)SIGINT);
		expect("a dump of suspended processes that nobody reads",
		    wait_for(pid), EINTR);
		sys(SYS_close, (i64)ends[0]);
		sys(SYS_close, (i64)ends[1]);
	}
}

static void
refused(void)
{
	/* CAP_READ; <sys/capsicum.h> */
	static const u64 read_only[2] = { 1UL << 57 | 1, 1UL << 58 };
	struct mem_minidump_arg a;
	i64 fd;

	expect("a stream: no descriptor",
	    minidump(&a, 99, MINIDUMP_STREAM, 0), -EBADF);
	fd = open_target(STREAM);
	expect("a stream: a file", minidump(&a, fd, MINIDUMP_STREAM, 0),
	    -EINVAL);
	sys(SYS_close, fd);
	sys(SYS_unlink, STREAM);
	fd = sys(SYS_open, "/dev/null", (i64)O_RDWR, 0L);
	expect("a stream: a device", minidump(&a, fd, MINIDUMP_STREAM, 0),
	    -EINVAL);
	sys(SYS_close, fd);
	fd = sys(SYS_socket, (i64)AF_INET, (i64)SOCK_DGRAM, 0L);
	expect("a stream: datagrams", minidump(&a, fd, MINIDUMP_STREAM, 0),
	    -EINVAL);
	sys(SYS_close, fd);
	fd = sys(SYS_socket, (i64)AF_INET, (i64)SOCK_STREAM, 0L);
	expect_true("a stream: no connection",
	    minidump(&a, fd, MINIDUMP_STREAM, 0) < 0, "it was dumped to");
	sys(SYS_close, fd);
	sys(SYS_pipe2, ends, 0L);
	sys(SYS_cap_rights_limit, (i64)ends[1], read_only);
	expect("a stream: no CAP_WRITE",
	    minidump(&a, ends[1], MINIDUMP_STREAM, 0), -ENOTCAPABLE);
	sys(SYS_close, (i64)ends[0]);
	sys(SYS_close, (i64)ends[1]);
	expect("an estimate may say so", minidump(&a, -1,
	    MINIDUMP_STREAM | MINIDUMP_ESTIMATE, 0), 0);
}

void
cases_streams(void)
{
	facts();
	if (!expect("lo0", loopback(), 0))
		return;
	/* A reader that went away is an errno, and no signal. */
	handle(13);
	refused();
	openfiles = sysctl_int("kern.openfiles", -1);
	take("stream-first-0", PIPE, 0, 0, 0);
	take("stream-slow-0", PIPE, 5, 2, 0);
	take("stream-registers-0", LOCAL, 0, 1, MINIDUMP_REGISTERS);
	nonblocking();
	for (int k = PIPE; k <= LOCAL; k++)
		nobody_reads((enum kind)k);
	nobody_goes_on(SIGINT, EINTR);
	nobody_goes_on(SIGKILL, -SIGKILL);
	suspended();
	under_load(how_many("livedump.load", 6));
	expect("files that are open", sysctl_int("kern.openfiles", -2),
	    openfiles);
	unload(MODULE_NAME);
}
