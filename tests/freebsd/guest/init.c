/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Process 1 of the guest: mounts what is needed, runs the cases that the
 * kernel environment names (livedump.cases), and powers off. Any other
 * process asks another one (within.c).
 */
#include "dump.h"
#include "net.h"

#define	RB_POWEROFF	0x4000

static void
console(void)
{
	i64 fd = sys(SYS_open, "/dev/console", (i64)O_RDWR, 0L);

	for (i64 n = 0; n < 3; n++) {
		if (fd != n)
			sys(SYS_dup2, fd, n);
	}
}

static void
mounts(void)
{
	char root[64];
	i64 r;

	/* "ufs:/dev/md0" */
	if (!kernel_env("vfs.root.mountfrom", root, sizeof(root)))
		fail("vfs.root.mountfrom", "result", -1, 0);
	r = mount_fs("ufs", root + 4, "/", 0, 0, MNT_UPDATE);
	if (r != 0)
		fail("root read-write", "result", r, 0);
	r = mount_fs("tmpfs", 0, MEMFS, 0, 0, 0);
	if (r != 0)
		fail("tmpfs", "result", r, 0);
	for (int i = 0; i < 50; i++) {
		r = mount_fs("ufs", "/dev/vtbd1", SCRATCH, 0, 0, 0);
		if (r == 0)
			break;
		sleep_ms(100);
	}
	if (r != 0)
		fail("scratch disk", "result", r, 0);
	r = mount_fs("tmpfs", 0, "/ro", 0, 0, 0);
	if (r == 0) {
		i64 fd = open_target("/ro/target");

		sys(SYS_close, fd);
		r = mount_fs("tmpfs", 0, "/ro", 0, 0,
		    MNT_UPDATE | MNT_RDONLY);
	}
	if (r != 0)
		fail("read-only tmpfs", "result", r, 0);
}

static int
asked_for(const char *wanted, const char *name)
{
	u64 n = len(name);

	for (const char *w = wanted; *w != '\0'; w++) {
		u64 i = 0;

		while (i < n && w[i] == name[i])
			i++;
		if (i == n && (w[n] == '\0' || w[n] == ','))
			return (1);
		while (w[1] != '\0' && *w != ',')
			w++;
	}
	return (0);
}

static int
shell(void *phase)
{
	const char *argv[] = { "/bin/sh", "/userland.sh", phase, 0 };
	const char *envp[] = { "PATH=/sbin:/bin:/usr/sbin:/usr/bin", 0 };

	sys(SYS_execve, argv[0], argv, envp);
	return (127);
}

/* What takes a userland: the tool, savecore(8), sh(1). */
static void
userland(const char *phase)
{
	if (sys(SYS_access, "/userland.sh", 0L) != 0) {
		if (streq(phase, "main"))
			skip("userland", "no FreeBSD root for this kernel");
		return;
	}
	expect("userland.sh", wait_for(spawn(shell, (void *)phase)), 0);
}

static void
needs_module(void)
{
	if (sys(SYS_kldfind, MODULE_NAME) < 0 && load(MODULE) < 0)
		fail("kldload", "result", load(MODULE), 0);
}

/* What a process other than the first does. */
static int
other(u64 argc, char **argv)
{
	if (argc == 4 && streq(argv[1], "within"))
		return (ask_within(argv[2], argv[3]));
	if (argc == 3 && streq(argv[1], "swapon")) {
		say(num(sys(SYS_swapon, argv[2])), "\n");
		return (0);
	}
	if (argc == 3 && streq(argv[1], "swapoff")) {
		say(num(sys(SYS_swapoff, argv[2], 0L)), "\n");
		return (0);
	}
	if (argc == 2 && streq(argv[1], "loopback")) {
		say(num(loopback()), "\n");
		return (0);
	}
	if (argc > 3 && streq(argv[1], "confined"))
		return (ask_confined(argv[2], argv + 3, argv + argc + 1));
	return (64);
}

/* `ap`: argc, argv, as the kernel leaves them. */
void
init_main(char **ap)
{
	char wanted[128];

	if (sys(SYS_getpid) != 1)
		sys(SYS_exit, (i64)other((u64)ap[0], ap + 1));
	console();
	mounts();
	mem = sys(SYS_open, "/dev/mem", (i64)(O_RDONLY | O_CLOEXEC), 0L);
	if (mem < 0)
		fail("/dev/mem", "result", mem, 0);
	if (load(TESTMODULE) < 0)
		skip("ldtest.ko", "it does not load");
	if (!kernel_env("livedump.cases", wanted, sizeof(wanted)))
		copy(wanted, "module,dumps,requests,writing", 30);
	if (asked_for(wanted, "module"))
		cases_module();
	if (asked_for(wanted, "dumps"))
		cases_dumps();
	if (asked_for(wanted, "requests")) {
		needs_module();
		cases_requests();
	}
	if (asked_for(wanted, "instant")) {
		needs_module();
		cases_instant();
	}
	if (asked_for(wanted, "freeze")) {
		needs_module();
		cases_freeze();
	}
	if (asked_for(wanted, "outside")) {
		needs_module();
		cases_outside();
	}
	if (asked_for(wanted, "costs")) {
		needs_module();
		cases_costs();
	}
	if (asked_for(wanted, "pause")) {
		needs_module();
		cases_pause();
	}
	if (asked_for(wanted, "row")) {
		needs_module();
		cases_row();
	}
	if (asked_for(wanted, "userland")) {
		facts();
		unload(MODULE_NAME);
		userland("main");
	}
	if (asked_for(wanted, "load"))
		case_load();
	if (asked_for(wanted, "direct"))
		userland("direct");
	if (asked_for(wanted, "hangs")) {
		needs_module();
		cases_hangs();
	}
	if (asked_for(wanted, "streams")) {
		needs_module();
		cases_streams();
	}
	/* These stand until the end. */
	if (asked_for(wanted, "deadlocks")) {
		needs_module();
		cases_deadlocks();
	}
	if (asked_for(wanted, "limits")) {
		needs_module();
		cases_limits();
	}
	if (asked_for(wanted, "writing")) {
		needs_module();
		cases_writing();
	}
	/* Like the last of "writing": securelevels only go up. */
	if (asked_for(wanted, "userland"))
		userland("secured");
	if (asked_for(wanted, "nmi")) {
		needs_module();
		case_nmi();
	}
	if (asked_for(wanted, "panic")) {
		needs_module();
		case_panic();
	}
	if (asked_for(wanted, "netdump"))
		case_netdump();
	if (asked_for(wanted, "dead")) {
		needs_module();
		case_dead();
	}
	if (asked_for(wanted, "ddb"))
		case_ddb();
	if (asked_for(wanted, "halted"))
		case_halted();
	say("END\n");
	sys(SYS_unmount, SCRATCH, 0L);
	/* The disks of this machine have no caches to be written. */
	sysctl_set("kern.shutdown.poweroff_delay", 0);
	sys(SYS_reboot, (i64)RB_POWEROFF);
	for (;;)
		sleep_ms(1000);
}
