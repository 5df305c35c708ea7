/* SPDX-License-Identifier: BSD-2-Clause */
/* See dump.h. */
#include "dump.h"

i64 mem = -1;

i64
load(const char *path)
{
	return (sys(SYS_kldload, path));
}

void
unload(const char *name)
{
	i64 id = sys(SYS_kldfind, name);

	if (id >= 0)
		expect("kldunload", sys(SYS_kldunload, id), 0);
}

i64
open_target(const char *path)
{
	return (sys(SYS_open, path, (i64)(O_RDWR | O_CREAT | O_TRUNC), 0600L));
}

i64
kerneldump_flags(i64 fd, i32 flags, u8 compression)
{
	struct mem_livedump_arg arg;

	zero(&arg, sizeof(arg));
	arg.fd = (int)fd;
	arg.flags = flags;
	arg.compression = compression;
	return (sys(SYS_ioctl, mem, (i64)MEM_KERNELDUMP, &arg));
}

i64
kerneldump(i64 fd, u8 compression)
{
	return (kerneldump_flags(fd, 0, compression));
}

/* Flags that cannot be: a facility answers EINVAL, no facility ENODEV. */
int
have_kerneldump(void)
{
	return (kerneldump_flags(-1, 1, 0) == -EINVAL);
}

i64
minidump(struct mem_minidump_arg *arg, i64 fd, u32 flags, u8 compression)
{
	zero(arg, sizeof(*arg));
	arg->mda_version = MINIDUMP_ARG_VERSION;
	arg->mda_flags = flags;
	arg->mda_fd = (int32_t)fd;
	arg->mda_compression = compression;
	return (sys(SYS_ioctl, mem, (i64)MEM_MINIDUMP, arg));
}

i64
status(struct mem_minidump_status *st)
{
	zero(st, sizeof(*st));
	return (sys(SYS_ioctl, mem, (i64)MEM_MINIDUMP_STATUS, st));
}

static i64 loaders[4];
u64 load_rest_ms;

/* Also while a dump is written whose pages are copied already (ldstep.ko). */
static void
rest(void)
{
	if (load_rest_ms != 0)
		sleep_ms(load_rest_ms);
	while (sysctl_int("debug.ldstep.held", 0) != 0)
		sleep_ms(20);
}

static int
child_of_storm(void *arg)
{
	(void)arg;
	return (0);
}

static int
fork_storm(void *arg)
{
	(void)arg;
	for (;;) {
		i64 pids[4];

		rest();

		for (int i = 0; i < 4; i++)
			pids[i] = spawn(child_of_storm, 0);
		for (int i = 0; i < 4; i++)
			wait_for(pids[i]);
	}
}

static int
file_writes(void *arg)
{
	static u8 block[65536];
	const char *path = arg;
	u8 n = 0;

	for (;;) {
		i64 fd = open_target(path);

		rest();
		for (u32 i = 0; i < sizeof(block); i += 512)
			block[i] = n++;
		for (int i = 0; i < 64; i++)
			sys(SYS_write, fd, block, sizeof(block));
		sys(SYS_fsync, fd);
		sys(SYS_close, fd);
		sys(SYS_unlink, path);
	}
}

/* A module's load and unload moves kernel memory and page tables about. */
static int
module_loop(void *arg)
{
	(void)arg;
	for (;;) {
		i64 id;

		rest();
		id = load("/ldnop.ko");
		if (id < 0)
			return (1);
		sys(SYS_kldunload, id);
	}
}

void
start_load(void)
{
	loaders[0] = spawn(fork_storm, 0);
	loaders[1] = spawn(file_writes, SCRATCH "/churn");
	loaders[2] = spawn(file_writes, MEMFS "/churn");
	loaders[3] = spawn(module_loop, 0);
}

void
stop_load(void)
{
	for (int i = 0; i < 4; i++)
		stop(loaders[i]);
}

/* 15 has sets of 128 bytes, others of 32. */
void
on_cpu(i64 cpu)
{
	u64 set[16] = { 1UL << cpu };

	for (i64 bytes = sizeof(set); bytes >= 32; bytes /= 4)
		if (sys(SYS_cpuset_setaffinity, 3L /* CPU_LEVEL_WHICH */,
		    2L /* CPU_WHICH_PID */, -1L, bytes, set) == 0)
			return;
}
