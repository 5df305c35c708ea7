/* SPDX-License-Identifier: BSD-2-Clause */
/* Every errno of the requests, in the order of the checks. */
#include "dump.h"

static int
as_nobody(void *arg)
{
	struct mem_minidump_arg a;
	struct mem_minidump_status st;
	i64 fd = *(i64 *)arg;

	sys(SYS_setuid, 65534L);
	expect("nobody: MEM_MINIDUMP", minidump(&a, fd, 0, 0), -EPERM);
	expect("nobody: MEM_MINIDUMP_STATUS", status(&st), -EPERM);
	expect("nobody: estimate", minidump(&a, -1, MINIDUMP_ESTIMATE, 0),
	    -EPERM);
	return (0);
}

static int
limited(void *arg)
{
	/* cap_rights_t version 0: CAP_READ | CAP_SEEK | CAP_FSTAT */
	struct { u64 r[2]; } rights = { { 0x0200000000000000UL | 0x1 | 0xc,
	    0x0400000000000000UL } };
	struct mem_minidump_arg a;
	i64 fd = *(i64 *)arg;
	i64 r = sys(SYS_cap_rights_limit, fd, &rights);

	if (r != 0) {
		fail("limited: cap_rights_limit", "result", r, 0);
		return (1);
	}
	expect("without CAP_WRITE", minidump(&a, fd, 0, 0), -ENOTCAPABLE);
	return (0);
}

static int
in_capability_mode(void *arg)
{
	struct mem_minidump_arg a;
	i64 fd = *(i64 *)arg;

	sys(SYS_cap_enter);
	expect("capability mode: a dump", minidump(&a, fd, 0, 2), 0);
	return (0);
}

static void
arguments(i64 file)
{
	struct mem_minidump_arg a;

	for (u32 f = 5; f < 32; f += 9)
		expect("unknown flag", minidump(&a, file, 1U << f, 0), -EINVAL);
	zero(&a, sizeof(a));
	a.mda_version = 2;
	expect("unknown version", sys(SYS_ioctl, mem, (i64)MEM_MINIDUMP, &a),
	    -EINVAL);
	a.mda_version = 1;
	a.mda_fd = (int32_t)file;
	a.mda_missing_cpus = 1;
	expect("padding", sys(SYS_ioctl, mem, (i64)MEM_MINIDUMP, &a), -EINVAL);
	expect("estimate with a descriptor",
	    minidump(&a, file, MINIDUMP_ESTIMATE, 0), -EINVAL);
	expect("unknown compression", minidump(&a, file, 0, 3), -EINVAL);
	expect("wrong level", (zero(&a, sizeof(a)), a.mda_version = 1,
	    a.mda_fd = (int32_t)file, a.mda_compression = 1, a.mda_level = 10,
	    sys(SYS_ioctl, mem, (i64)MEM_MINIDUMP, &a)), -EINVAL);
	a.mda_compression = 2;
	a.mda_level = -8;
	expect("wrong level of zstd", sys(SYS_ioctl, mem, (i64)MEM_MINIDUMP,
	    &a), -EINVAL);
	a.mda_compression = 1;
	a.mda_level = MINIDUMP_LEVEL_AUTO;
	expect("gzip has no level that is left open", sys(SYS_ioctl, mem,
	    (i64)MEM_MINIDUMP, &a), -EINVAL);
}

static void
descriptors(void)
{
	struct mem_minidump_arg a;
	i32 ends[2] = { -1, -1 };
	i64 fd;

	expect("no descriptor", minidump(&a, 99, 0, 0), -EBADF);
	expect("negative descriptor", minidump(&a, -5, 0, 0), -EBADF);
	sys(SYS_pipe2, ends, 0L);
	expect("a pipe", minidump(&a, ends[1], 0, 0), -EINVAL);
	sys(SYS_close, (i64)ends[0]);
	sys(SYS_close, (i64)ends[1]);
	fd = sys(SYS_socket, 1L, 1L, 0L);
	expect("a socket", minidump(&a, fd, 0, 0), -EINVAL);
	sys(SYS_close, fd);
	sys(SYS_mkfifo, MEMFS "/fifo", 0600L);
	fd = sys(SYS_open, MEMFS "/fifo", (i64)(O_RDWR | O_NONBLOCK), 0L);
	expect("a FIFO", minidump(&a, fd, 0, 0), -EINVAL);
	sys(SYS_close, fd);
	fd = sys(SYS_open, "/dev/null", (i64)O_RDWR, 0L);
	expect("a device", minidump(&a, fd, 0, 0), -EINVAL);
	sys(SYS_close, fd);
	fd = sys(SYS_open, MEMFS, (i64)(O_RDONLY | O_DIRECTORY), 0L);
	expect("a directory", minidump(&a, fd, 0, 0), -EBADF);
	sys(SYS_close, fd);
	fd = sys(SYS_open, MEMFS "/target", (i64)O_RDONLY, 0L);
	expect("read-only", minidump(&a, fd, 0, 0), -EBADF);
	sys(SYS_close, fd);
	fd = sys(SYS_open, MEMFS "/target", (i64)O_PATH, 0L);
	if (fd >= 0)
		expect("O_PATH", minidump(&a, fd, 0, 0), -EBADF);
	sys(SYS_close, fd);
}

/* struct stat: st_mode@24, st_uid@28, st_gid@32 (12 and later). */
static void
node(void)
{
	static u8 stat[512] __attribute__((aligned(8)));
	struct mem_minidump_status st;
	i64 fd = sys(SYS_open, "/dev/livedump", (i64)O_RDONLY, 0L);

	if (fd < 0) {
		fail("/dev/livedump", "open", fd, 0);
		return;
	}
	sys(SYS_fstat, fd, stat);
	expect("/dev/livedump: mode", *(u16 *)(stat + 24) & 07777, 0640);
	expect("/dev/livedump: owner", *(u32 *)(stat + 28), 0);
	expect("/dev/livedump: group kmem", *(u32 *)(stat + 32), 2);
	expect("/dev/livedump: status",
	    sys(SYS_ioctl, fd, (i64)MEM_MINIDUMP_STATUS, &st), 0);
	sys(SYS_close, fd);
}

void
cases_requests(void)
{
	struct mem_minidump_arg a;
	i64 file = open_target(MEMFS "/target");

	node();
	descriptors();
	arguments(file);
	wait_for(spawn(as_nobody, &file));
	wait_for(spawn(limited, &file));
	wait_for(spawn(in_capability_mode, &file));
	/* Passed on: the answer is the mem driver's. */
	i64 r = sys(SYS_ioctl, mem,
	    (i64)_IOWR('m', 210, struct mem_minidump_arg), &a);
	expect_true("unknown request", r == -ENODEV || r == -ENOTTY,
	    "neither ENODEV nor ENOTTY");
	sys(SYS_close, file);
	sys(SYS_unlink, MEMFS "/target");
}
