/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a program without a libc needs on FreeBSD: system calls, a few
 * strings, and lines on the console that the host reads.
 *
 *	PASS case		a check held
 *	FAIL case: why		it did not
 *	SKIP case: why		it could not be tried here
 *	FACT name value		something the host compares a dump with
 *	DUMP name offset length	a file's bytes on the output disk
 *	INFO name line		a line of the info.N of a dump of that name
 *	FREEZE kind key value...	what a dump of one instant came to
 *	COST kind key value...	what dumps cost
 *	CLOCK when us		the time since boot; the host notes its own
 *	SLOW on | off		the slow disk is to stop, or to go on
 *	END			all cases ran
 */
#ifndef RT_H
#define RT_H

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long u64;
typedef short i16;
typedef int i32;
typedef long i64;

/* System calls return -errno. */
i64	sys(i64 number, ...);

enum {
	SYS_exit = 1, SYS_fork = 2, SYS_read = 3, SYS_write = 4, SYS_open = 5,
	SYS_close = 6, SYS_wait4 = 7, SYS_unlink = 10, SYS_getpid = 20,
	SYS_unmount = 22, SYS_setuid = 23, SYS_access = 33, SYS_sync = 36,
	SYS_kill = 37, SYS_ioctl = 54, SYS_reboot = 55, SYS_execve = 59,
	SYS_dup2 = 90, SYS_fsync = 95,
	SYS_connect = 98, SYS_bind = 104, SYS_setsockopt = 105,
	SYS_listen = 106, SYS_accept = 30,
	SYS_socket = 97, SYS_mkfifo = 132, SYS_mkdir = 136,
	SYS_setrlimit = 195, SYS_clock_gettime = 232, SYS_nanosleep = 240,
	SYS_kldstat = 308, SYS_kldload = 304, SYS_kldunload = 305, SYS_kldfind = 306,
	SYS_sched_yield = 331, SYS_sigprocmask = 340, SYS_sigtimedwait = 345,
	SYS_kqueue = 362, SYS_nmount = 378, SYS_kenv = 390,
	SYS_sigaction = 416, SYS_mmap = 477, SYS_lseek = 478,
	SYS_ftruncate = 480, SYS_cap_enter = 516, SYS_cap_rights_limit = 533,
	SYS_pipe2 = 542, SYS_fstat = 551, SYS_fstatfs = 556, SYS___sysctl = 202,
	SYS_setitimer = 83, SYS_ptrace = 26, SYS_munmap = 73,
	SYS_pwrite = 476, SYS_kevent = 560, SYS_cpuset_setaffinity = 488,
	SYS_procctl = 544, SYS_socketpair = 135, SYS_fcntl = 92,
	SYS_swapon = 85, SYS_swapoff = 582, SYS_thr_self = 432,
	SYS_mlockall = 324, SYS_munlockall = 325,
};

enum {
	EPERM = 1, ENOENT = 2, EINTR = 4, EIO = 5, ENXIO = 6, EBADF = 9,
	EBUSY = 16, EEXIST = 17, ENODEV = 19, EINVAL = 22, ENOTTY = 25,
	EFBIG = 27, ENOSPC = 28, EROFS = 30, EPIPE = 32, EOPNOTSUPP = 45,
	ENOTCAPABLE = 93,
};

enum {
	O_RDONLY = 0, O_WRONLY = 1, O_RDWR = 2, O_CREAT = 0x200,
	O_TRUNC = 0x400, O_DIRECTORY = 0x20000, O_NONBLOCK = 4,
	O_CLOEXEC = 0x100000, O_PATH = 0x400000,
};

enum { ENOMEM = 12, EAGAIN = 35, ETIMEDOUT = 60 };
enum { SIGINT = 2, SIGKILL = 9, SIGALRM = 14, SIGXFSZ = 25 };
enum { MNT_RDONLY = 1, MNT_UPDATE = 0x10000, MNT_FORCE = 0x80000 };

int	streq(const char *a, const char *b);
u64	len(const char *s);
void	copy(void *to, const void *from, u64 n);
void	zero(void *p, u64 n);

/* A line is built piece by piece: say("FACT hz ", num(100), "\n", 0). */
void	say_(const char *first, ...);
#define	say(...)	say_(__VA_ARGS__, (const char *)0)
const char *num(i64 n);
const char *unum(u64 n);
const char *hex(u64 n);
/* "kind-nth", until the next call. */
const char *numbered(const char *kind, int nth);

void	pass(const char *name);
void	fail(const char *name, const char *why, i64 got, i64 want);
void	skip(const char *name, const char *why);
/* PASS when got == want. */
int	expect(const char *name, i64 got, i64 want);
int	expect_true(const char *name, int held, const char *why);

void	sleep_ms(u64 ms);
u64	now_ms(void);
u64	now_us(void);
/* A child that runs f(arg) and exits with what it returns. */
i64	spawn(int (*f)(void *), void *arg);
/* Its exit status; -signal when it was killed. */
int	wait_for(i64 pid);
void	stop(i64 pid);

i64	sysctl_int(const char *name, i64 none);
i64	sysctl_set(const char *name, i32 value);
i64	sysctl_set_str(const char *name, const char *value);
int	sysctl_str(const char *name, char *out, u64 size);
/* Bytes that a malloc(9) type has in use; -1 when there is no such type. */
i64	malloc_in_use(const char *type);
int	kernel_env(const char *name, char *out, u64 size);
i64	kernel_setenv(const char *name, const char *value);
/* A number that the host wants; `none` where it does not say. */
int	how_many(const char *variable, int none);
i64	mount_fs(const char *type, const char *from, const char *path,
	    const char *option, const char *value, i64 flags);
i64	file_size(i64 fd);

#define	OUTPUT_DISK	"/dev/vtbd0"
/* Copies a file to the output disk and tells the host. */
void	bring_out(const char *path, const char *name);

#endif
