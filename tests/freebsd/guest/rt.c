/* SPDX-License-Identifier: BSD-2-Clause */
/* See rt.h. */
#include "rt.h"

/* The kernel looks for this note before it runs a static program. */
__asm__(
	".section .note.tag, \"a\", @note\n"
	"	.p2align 2\n"
	"	.long 8, 4, 1\n"
	"	.asciz \"FreeBSD\"\n"
	"	.long 1200000\n"
	".previous\n");

int
streq(const char *a, const char *b)
{
	while (*a != '\0' && *a == *b) {
		a++;
		b++;
	}
	return (*a == *b);
}

u64
len(const char *s)
{
	u64 n = 0;

	while (s[n] != '\0')
		n++;
	return (n);
}

void
copy(void *to, const void *from, u64 n)
{
	u8 *t = to;
	const u8 *f = from;

	while (n-- > 0)
		*t++ = *f++;
}

void
zero(void *p, u64 n)
{
	u8 *b = p;

	while (n-- > 0)
		*b++ = 0;
}

/* What a compiler may call by itself. */
void *
memcpy(void *to, const void *from, u64 n)
{
	copy(to, from, n);
	return (to);
}

void *
memset(void *to, int value, u64 n)
{
	u8 *b = to;

	while (n-- > 0)
		*b++ = (u8)value;
	return (to);
}

/* Several numbers may stand in one line. */
static char digits[8][24];
static u32 digits_next;

static const char *
number(u64 n, u32 base, int minus)
{
	char *b = digits[digits_next++ % 8];
	u32 i = 23;

	b[i] = '\0';
	do {
		b[--i] = "0123456789abcdef"[n % base];
		n /= base;
	} while (n != 0);
	if (minus)
		b[--i] = '-';
	return (b + i);
}

const char *
num(i64 n)
{
	return (n < 0 ? number(-(u64)n, 10, 1) : number((u64)n, 10, 0));
}

const char *
unum(u64 n)
{
	return (number(n, 10, 0));
}

const char *
hex(u64 n)
{
	return (number(n, 16, 0));
}

const char *
numbered(const char *kind, int nth)
{
	static char name[64];
	const char *parts[] = { kind, "-", num(nth) };
	u64 at = 0;

	zero(name, sizeof(name));
	for (u32 i = 0; i < 3; i++) {
		copy(name + at, parts[i], len(parts[i]));
		at += len(parts[i]);
	}
	return (name);
}

/* One write a line, so that lines of several processes do not mix. */
void
say_(const char *first, ...)
{
	static char line[512];
	__builtin_va_list ap;
	u64 at = 0;

	__builtin_va_start(ap, first);
	for (const char *s = first; s != 0;
	    s = __builtin_va_arg(ap, const char *)) {
		for (; *s != '\0' && at < sizeof(line); s++)
			line[at++] = *s;
	}
	__builtin_va_end(ap);
	sys(SYS_write, 1L, line, at);
}

void
pass(const char *name)
{
	say("PASS ", name, "\n");
}

void
fail(const char *name, const char *why, i64 got, i64 want)
{
	say("FAIL ", name, ": ", why, ", got ", num(got), ", want ",
	    num(want), "\n");
}

void
skip(const char *name, const char *why)
{
	say("SKIP ", name, ": ", why, "\n");
}

int
expect(const char *name, i64 got, i64 want)
{
	if (got == want)
		pass(name);
	else
		fail(name, "result", got, want);
	return (got == want);
}

int
expect_true(const char *name, int held, const char *why)
{
	if (held)
		pass(name);
	else
		say("FAIL ", name, ": ", why, "\n");
	return (held);
}

void
sleep_ms(u64 ms)
{
	struct { i64 sec, nsec; } t = { ms / 1000, ms % 1000 * 1000000 };

	sys(SYS_nanosleep, &t, 0L);
}

u64
now_us(void)
{
	struct { i64 sec, nsec; } t = { 0, 0 };

	sys(SYS_clock_gettime, 4L /* CLOCK_MONOTONIC */, &t);
	return (t.sec * 1000000 + t.nsec / 1000);
}

u64
now_ms(void)
{
	return (now_us() / 1000);
}

i64
spawn(int (*f)(void *), void *arg)
{
	i64 pid;

	pid = sys(SYS_fork);
	if (pid != 0)
		return (pid);
	sys(SYS_exit, (i64)f(arg));
	for (;;)
		;
}

int
wait_for(i64 pid)
{
	i32 status = 0;
	i64 r;

	do {
		r = sys(SYS_wait4, pid, &status, 0L, 0L);
	} while (r == -EINTR);
	if (r < 0)
		return (-1000);
	return ((status & 0x7f) != 0 ? -(status & 0x7f) : status >> 8 & 0xff);
}

void
stop(i64 pid)
{
	sys(SYS_kill, pid, (i64)SIGKILL);
	wait_for(pid);
}

/* By name through "sysctl.name2oid" (0.3): 12.x has no __sysctlbyname(2). */
static i64
sysctl(const char *name, void *old, u64 *oldlen, const void *new, u64 newlen)
{
	static const i32 name2oid[2] = { 0, 3 };
	i32 oid[24];
	u64 size = sizeof(oid);
	i64 r;

	r = sys(SYS___sysctl, name2oid, 2L, oid, &size, name, len(name));
	if (r < 0)
		return (r);
	return (sys(SYS___sysctl, oid, size / sizeof(oid[0]), old, oldlen,
	    new, newlen));
}

i64
sysctl_int(const char *name, i64 none)
{
	i64 value = 0;
	u64 size = sizeof(value);

	if (sysctl(name, &value, &size, 0, 0) < 0)
		return (none);
	return (size == 4 ? (i32)value : value);
}

i64
sysctl_set(const char *name, i32 value)
{
	return (sysctl(name, 0, 0, &value, sizeof(value)));
}

i64
sysctl_set_str(const char *name, const char *value)
{
	return (sysctl(name, 0, 0, value, len(value)));
}

int
sysctl_str(const char *name, char *out, u64 size)
{
	u64 n = size - 1;

	zero(out, size);
	return (sysctl(name, out, &n, 0, 0) == 0);
}

/*
 * kern.malloc_stats, as <sys/malloc.h> has it: a header of four words (the
 * second is CPUs (1024 in 15), the third types), then for each type its name in 32 bytes
 * and for each CPU eight 64-bit numbers: bytes allocated, bytes freed, ...
 */
i64
malloc_in_use(const char *type)
{
	static u8 stats[40 << 20] __attribute__((aligned(8)));
	const u32 *header = (const u32 *)stats;
	u64 size = sizeof(stats);
	const u8 *at = stats + 16;
	i64 used = 0;

	if (sysctl("kern.malloc_stats", stats, &size, 0, 0) < 0)
		return (-1);
	for (u32 n = 0; n < header[2]; n++) {
		const char *name = (const char *)at;

		at += 32;
		for (u32 cpu = 0; cpu < header[1]; cpu++, at += 64) {
			const u64 *s = (const u64 *)at;

			used += (i64)(s[0] - s[1]);
		}
		if (streq(name, type))
			return (used);
		used = 0;
	}
	return (-1);
}

int
kernel_env(const char *name, char *out, u64 size)
{
	zero(out, size);
	return (sys(SYS_kenv, 0L /* KENV_GET */, name, out, size - 1) > 0);
}

i64
kernel_setenv(const char *name, const char *value)
{
	return (sys(SYS_kenv, 1L /* KENV_SET */, name, value,
	    len(value) + 1));
}

int
how_many(const char *variable, int none)
{
	char text[16];
	int n = 0;

	if (!kernel_env(variable, text, sizeof(text)))
		return (none);
	for (const char *c = text; *c >= '0' && *c <= '9'; c++)
		n = n * 10 + *c - '0';
	return (n);
}

i64
mount_fs(const char *type, const char *from, const char *path,
    const char *option, const char *value, i64 flags)
{
	struct { const void *base; u64 len; } v[8];
	u32 n = 0;
	const char *pairs[] = { "fstype", type, "fspath", path, "from", from,
	    option, value };

	for (u32 i = 0; i < 8; i += 2) {
		if (pairs[i] == 0)
			continue;
		v[n].base = pairs[i];
		v[n++].len = len(pairs[i]) + 1;
		v[n].base = pairs[i + 1];
		v[n++].len = pairs[i + 1] == 0 ? 0 : len(pairs[i + 1]) + 1;
	}
	return (sys(SYS_nmount, v, (u64)n, flags));
}

i64
file_size(i64 fd)
{
	return (sys(SYS_lseek, fd, 0L, 2L));
}

static u8 transfer[1 << 20] __attribute__((aligned(4096)));
static u64 disk_at;

void
bring_out(const char *path, const char *name)
{
	i64 disk, file, n, total = 0;
	u64 at = disk_at;

	file = sys(SYS_open, path, (i64)O_RDONLY, 0L);
	disk = sys(SYS_open, OUTPUT_DISK, (i64)O_WRONLY, 0L);
	if (file < 0 || disk < 0) {
		fail(name, "bringing out: open", file < 0 ? file : disk, 0);
		return;
	}
	for (;;) {
		zero(transfer + sizeof(transfer) - 4096, 4096);
		n = sys(SYS_read, file, transfer, sizeof(transfer));
		if (n <= 0)
			break;
		u64 padded = (n + 4095) & ~4095UL;
		zero(transfer + n, padded - n);
		sys(SYS_lseek, disk, at, 0L);
		if (sys(SYS_write, disk, transfer, padded) != (i64)padded) {
			fail(name, "bringing out: write at", at, 0);
			break;
		}
		at += padded;
		total += n;
	}
	sys(SYS_close, file);
	sys(SYS_close, disk);
	say("DUMP ", name, " ", num(disk_at), " ", num(total), "\n");
	disk_at = at;
}
