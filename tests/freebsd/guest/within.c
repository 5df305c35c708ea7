/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What does the kernel refuse a process? Asked in that process: ptrace(2) has
 * it make the calls (PT_SC_REMOTE, 14.1), so that neither its own word counts
 * nor what a debugger may do.
 *
 *	init within PATH PID		open PATH errno
 *					fd N openat E read E write E ioctl E,
 *					for 3..15
 *	init confined PATH COMMAND...	the same of COMMAND, when it has just
 *					called cap_enter(2); before it what
 *					procstat(1) says of its descriptors
 */
#include "dump.h"
#include "machine.h"

enum { SYS_openat = 499 };
enum {
	PT_TRACE_ME = 0, PT_KILL = 8, PT_ATTACH = 10, PT_IO = 12,
	PT_LWPINFO = 13, PT_TO_SCX = 21, PT_GETREGS = 33, PT_SC_REMOTE = 44, PIOD_WRITE_D = 2,
};

/* <sys/ptrace.h> */
struct io_desc {
	i32	op;
	u64	offs, addr, len;
};
struct lwpinfo {
	i32	lwpid, event;
#define	PL_FLAG_SCX	0x08
	i32	flags;
	u32	sigmask[4], siglist[4];
	u64	siginfo[10] __attribute__((aligned(8)));
	char	tdname[20];
	i32	child_pid;
	u32	syscall_code, syscall_narg;
};
struct remote {
	i64	retval[2];
	i32	error;
	u32	syscall __attribute__((aligned(8)));
	u32	nargs;
	i64	*args;
};
_Static_assert(sizeof(struct lwpinfo) == 160, "struct ptrace_lwpinfo");
_Static_assert(sizeof(struct remote) == 40, "struct ptrace_sc_remote");

#define	MEM_EXTRACT	0xc0406d34	/* a request of mem(4) */

static i64 pid;

static int
stopped(void)
{
	i32 how = 0;

	/* 0x7f: it stopped, and has not ended. */
	return (sys(SYS_wait4, pid, &how, 0L, 0L) == pid &&
	    (how & 0xff) == 0x7f);
}

/* The errno of a call in the process; -1 when it could not be made. */
static i64
within(u32 number, i64 a, i64 b, i64 c)
{
	i64 args[3] = { a, b, c };
	struct remote r;

	zero(&r, sizeof(r));
	r.syscall = number;
	r.nargs = 3;
	r.args = args;
	if (sys(SYS_ptrace, (i64)PT_SC_REMOTE, pid, &r, sizeof(r)) != 0 ||
	    !stopped())
		return (-1);
	return (r.error);
}

/* Lets it go on until a call has ended. */
static int
to_call_end(void)
{
	return (sys(SYS_ptrace, (i64)PT_TO_SCX, pid, 1L, 0L) == 0 &&
	    stopped());
}

/* Where a call ends, others can be made. */
static int
ask(const char *path)
{
	u8 regs[REGS];
	struct io_desc io;
	u64 sp;
	i64 at;

	if (sys(SYS_ptrace, (i64)PT_GETREGS, pid, regs, 0L) != 0)
		return (1);
	copy(&sp, regs + REG_SP, sizeof(sp));
	/* Far below what it has on its stack. */
	at = (i64)(sp - 2048);
	io = (struct io_desc){ PIOD_WRITE_D, (u64)at, (u64)path,
	    len(path) + 1 };
	if (sys(SYS_ptrace, (i64)PT_IO, pid, &io, 0L) != 0)
		return (1);
	say("open ", path, " ", num(within(SYS_open, at, O_RDONLY, 0)), "\n");
	io.addr = (u64)"..";
	io.len = 3;
	if (sys(SYS_ptrace, (i64)PT_IO, pid, &io, 0L) != 0)
		return (1);
	for (i64 fd = 3; fd < 16; fd++) {
		say("fd ", num(fd), " openat ",
		    num(within(SYS_openat, fd, at, O_RDONLY)), " read ",
		    num(within(SYS_read, fd, at, 0)), " write ",
		    num(within(SYS_write, fd, at, 0)), " ioctl ",
		    num(within(SYS_ioctl, fd, MEM_EXTRACT, at)), "\n");
	}
	return (0);
}

int
ask_within(const char *path, const char *who)
{
	int status;

	for (pid = 0; *who != '\0'; who++)
		pid = pid * 10 + (*who - '0');
	if (sys(SYS_ptrace, (i64)PT_ATTACH, pid, 0L, 0L) != 0 || !stopped())
		return (1);
	status = to_call_end() ? ask(path) : 1;
	sys(SYS_ptrace, (i64)PT_KILL, pid, 0L, 0L);
	return (status);
}

static char **environment;

static int
traced(void *argv)
{
	if (sys(SYS_ptrace, (i64)PT_TRACE_ME, 0L, 0L, 0L) == 0)
		sys(SYS_execve, *(char **)argv, argv, environment);
	return (127);
}

static int
procstat(void *flag)
{
	const char *argv[] = { "/usr/bin/procstat", "-h", "fd", flag,
	    num(pid), 0 };

	sys(SYS_execve, argv[0], argv, environment);
	return (127);
}

int
ask_confined(const char *path, char **argv, char **envp)
{
	struct lwpinfo info;
	int status = 1;

	environment = envp;
	pid = spawn(traced, argv);
	/* The first stop is execve(2)'s. */
	if (!stopped())
		return (1);
	do {
		zero(&info, sizeof(info));
		if (!to_call_end() || sys(SYS_ptrace, (i64)PT_LWPINFO, pid,
		    &info, sizeof(info)) != 0)
			return (1);
	} while ((info.flags & PL_FLAG_SCX) == 0 ||
	    info.syscall_code != SYS_cap_enter);
	if (wait_for(spawn(procstat, "-C")) == 0)
		status = ask(path);
	sys(SYS_ptrace, (i64)PT_KILL, pid, 0L, 0L);
	wait_for(pid);
	return (status);
}
