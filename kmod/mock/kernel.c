/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The mock's kernel: caller, file, locks, memory, threads, a compressor that
 * stores (gzip members that gzip(1) takes), each counting what it hands out.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../csrc/livedump_shim.h"
#include "mock.h"

#define	FREEBSD_ENOENT	2
#define	FREEBSD_EINTR	4
#define	FREEBSD_E2BIG	7
#define	FREEBSD_EBADF	9
#define	FREEBSD_ENOMEM	12
#define	FREEBSD_ENOSPC	28
#define	FREEBSD_ETIMEDOUT	60
#define	FREEBSD_EINTEGRITY	97

struct mock_file mock_file;
int mock_priv_read, mock_priv_write, mock_event_error;
bool mock_jailed, mock_served, mock_written_by_others;
bool mock_missing_cpu, mock_late_cpu;
uint64_t mock_tick_ns = 1;
size_t mock_free_pages = 1UL << 20;
long mock_passes;
int mock_ncpus_now = 2, mock_threads_refused;
bool mock_no_workers;
uint64_t mock_physmem_now = 1UL << 30;
long mock_fail_at = -1, mock_signal_at = -1, mock_held, mock_calls;
int mock_fail_with = 5;
bool mock_no_memory;

static pthread_mutex_t livedump_lock = PTHREAD_MUTEX_INITIALIZER;
static bool range_locked, finish_due;

#define	HOLD()		__atomic_add_fetch(&mock_held, 1, __ATOMIC_SEQ_CST)
#define	RELEASE()	__atomic_sub_fetch(&mock_held, 1, __ATOMIC_SEQ_CST)

/* A call that can fail. */
static int
fails(void)
{
	__atomic_add_fetch(&mock_calls, 1, __ATOMIC_SEQ_CST);
	if (mock_fail_at >= 0 &&
	    __atomic_sub_fetch(&mock_fail_at, 1, __ATOMIC_SEQ_CST) == -1)
		return (mock_fail_with);
	return (0);
}

/* One that takes memory. */
static bool
no_memory(void)
{
	if (fails() == 0)
		return (false);
	mock_no_memory = true;
	return (true);
}

int
livedump_priv_check_kmem_read(void)
{
	return (mock_priv_read);
}

int
livedump_priv_check_kmem_write(void)
{
	return (mock_priv_write);
}

bool
livedump_jailed(void)
{
	return (mock_jailed);
}

int
livedump_sig_intr(void)
{
	if (mock_signal_at >= 0 && --mock_signal_at == -1) {
		mock_signal_at = 0;	/* it stays pending */
		return (-1);		/* ERESTART */
	}
	return (0);
}

int
livedump_pid(void)
{
	return (4711);
}

int
livedump_getvnode(int fd, struct file **fpp)
{
	int error = fails();

	if (error != 0)
		return (error);
	if (fd != 3)
		return (FREEBSD_EBADF);
	*fpp = (struct file *)(void *)&mock_file;
	HOLD();
	return (0);
}

void
livedump_fdrop(struct file *fp)
{
	(void)fp;
	RELEASE();
}

bool
livedump_file_is_writable(struct file *fp)
{
	(void)fp;
	return (mock_file.writable);
}

bool
livedump_vnode_is_regular(struct file *fp)
{
	(void)fp;
	return (mock_file.regular);
}

bool
livedump_same_vnode(struct file *fp, struct file *other)
{
	return (fp == other);
}

bool
livedump_file_is_served(struct file *fp)
{
	(void)fp;
	return (mock_served);
}

int
livedump_getstream(int fd, struct file **fpp)
{
	return (livedump_getvnode(fd, fpp));
}

bool
livedump_is_read_by_caller(struct file *fp)
{
	(void)fp;
	return (!mock_served);
}

int
livedump_fo_write(struct file *fp, const void *data, size_t len)
{
	int error;

	if (range_locked)
		abort();
	range_locked = true;
	error = livedump_vn_write(fp, mock_file.len, data, len);
	range_locked = false;
	return (error);
}

int
livedump_rangelock_wlock(struct file *fp, void **lock)
{
	int error = fails();

	if (range_locked)
		abort();
	if (error != 0)
		return (error);
	range_locked = true;
	HOLD();
	*lock = fp;
	return (0);
}

void
livedump_rangelock_unlock(struct file *fp, void *cookie)
{
	if (!range_locked || cookie != (void *)fp)
		abort();
	range_locked = false;
	RELEASE();
}

int
livedump_vn_truncate(struct file *fp)
{
	int error = fails();

	(void)fp;
	if (!range_locked)
		abort();
	if (error == 0)
		mock_file.len = 0;
	return (error);
}

int
livedump_vn_write(struct file *fp, uint64_t offset, const void *data,
    size_t len)
{
	int error = fails();

	(void)fp;
	if (!range_locked || len == 0 || len > 1 << 20)
		abort();
	if (error != 0)
		return (error);
	if (offset + len > mock_file.space)
		return (FREEBSD_ENOSPC);
	if (offset + len > mock_file.room) {
		mock_file.room = 2 * (offset + len);
		mock_file.data = realloc(mock_file.data, mock_file.room);
	}
	if (offset > mock_file.len)
		memset(mock_file.data + mock_file.len, 0,
		    offset - mock_file.len);
	memcpy(mock_file.data + offset, data, len);
	if (offset + len > mock_file.len)
		mock_file.len = offset + len;
	return (0);
}

/* Whether somebody else wrote. */
int
livedump_vn_check(struct file *fp)
{
	(void)fp;
	return (mock_written_by_others ? FREEBSD_EINTEGRITY : fails());
}

bool
livedump_try_xlock(void)
{
	if (pthread_mutex_trylock(&livedump_lock) != 0)
		return (false);
	HOLD();
	return (true);
}

int
livedump_xlock_sig(void)
{
	if (mock_signal_at >= 0)
		return (FREEBSD_EINTR);
	pthread_mutex_lock(&livedump_lock);
	HOLD();
	return (0);
}

void
livedump_xunlock(void)
{
	RELEASE();
	pthread_mutex_unlock(&livedump_lock);
}

int
livedump_livedumper_start(void)
{
	if (mock_event_error == 0)
		finish_due = true;
	return (mock_event_error);
}

int
livedump_livedumper_dump(const void *block, uint64_t offset, size_t len)
{
	if ((block == NULL) != (len == 0) || (block == NULL && offset != 0))
		abort();
	return (fails());
}

void
livedump_livedumper_finish(void)
{
	if (!finish_due)
		abort();
	finish_due = false;
}

void
livedump_savectx(void)
{
}

int
livedump_quiesce(void)
{
	int error = fails();

	if (error == 0)
		HOLD();
	return (error);
}

uint64_t
livedump_suspend_pass(void)
{
	return (mock_passes > 0 ? mock_passes-- : 0);
}

int
livedump_quiesced(void)
{
	return (fails());
}

void
livedump_pause(void)
{
}

void
livedump_resume(void)
{
	RELEASE();
}

/* Two CPUs; the second runs a thread whose stack is in the direct map. */
size_t
livedump_cpus(void)
{
	return (2);
}

void
livedump_debugger(struct livedump_debugger *debugger)
{
	memset(debugger, 0, sizeof(*debugger));
	debugger->stoppcbs = MOCK_DMAP + MOCK_STOPPCBS;
	debugger->pcb_bytes = 320;
}

static void
save_second_cpu(struct livedump_cpu *cpus, void *stacks, size_t room)
{
	cpus[1].thread = 0xfffff80000001234;
	cpus[1].oncpu = MOCK_ONCPU;
	cpus[1].stack = MOCK_DMAP + MOCK_STACK;
	cpus[1].stack_bytes = 5000;
	if (stacks != NULL)
		memset((uint8_t *)stacks + room, 0x5a, 5000);
	else
		cpus[1].stack_bytes = 0;
	cpus[1].pcb_bytes = 64;
	cpus[1].cpu = 1;
	cpus[1].tid = 100001;
	for (int i = 0; i < 8; i++)
		cpus[1].pcb[i] = 0x1111111111111111UL * (i + 1);
}

int
livedump_instant(struct livedump_cpu *cpus, size_t n, void *stacks,
    size_t room)
{
	if (n != 3)
		abort();
	if (fails() != 0)
		return (FREEBSD_ENOMEM);
	if (mock_missing_cpu)
		cpus[1].tid = LIVEDUMP_MISSING;
	else
		save_second_cpu(cpus, stacks, room);
	return (0);
}

struct both {
	void	(*work)(void *, uint64_t);
	void	*arg;
	uint64_t deadline;
};

static void *
second_cpu(void *arg)
{
	struct both *both = arg;

	both->work(both->arg, both->deadline);
	return (NULL);
}

int
livedump_freeze(struct livedump_cpu *cpus, size_t n, uint64_t max_pause_ns,
    void (*work)(void *, uint64_t), void *arg,
    struct livedump_stopped *stopped)
{
	struct both both = { work, arg, livedump_uptime_ns() + max_pause_ns };
	pthread_t second;

	if (n != 3)
		abort();
	if (fails() != 0)
		return (FREEBSD_ENOMEM);
	if (mock_late_cpu)
		return (FREEBSD_ETIMEDOUT);
	save_second_cpu(cpus, NULL, 0);
	if (pthread_create(&second, NULL, second_cpu, &both) != 0)
		abort();
	work(arg, both.deadline);
	pthread_join(second, NULL);
	stopped->pause_ns = 4000000;
	stopped->uptime_ns = 5000000000;
	stopped->time_ns = 1700000000000000000;
	stopped->cpus = 2;
	mock_goes_on = "from the copies alone";
	return (0);
}

size_t
livedump_free_pages(void)
{
	return (mock_free_pages);
}

uint64_t mock_key, mock_key_next;
int mock_key_replaced;

int
livedump_dump_keys(uint64_t *blocks, size_t room, size_t *n)
{
	int error = fails();

	*n = 0;
	if (error != 0)
		return (error);
	if (mock_key == 1)
		return (FREEBSD_ENOENT);
	if (mock_key_replaced > 0 && --mock_key_replaced == 0)
		mock_key = mock_key_next;
	if (mock_key != 0 && room > 0)
		blocks[(*n)++] = mock_key;
	return (0);
}

struct livedump_copies {
	size_t	n;
	uint8_t	(*pages)[PAGE];
};

struct livedump_copies *
livedump_copies_alloc(size_t n)
{
	struct livedump_copies *copies;

	if (no_memory())
		return (NULL);
	copies = calloc(1, sizeof(*copies));
	copies->n = n;
	copies->pages = calloc(n, PAGE);
	HOLD();
	return (copies);
}

void
livedump_copies_free(struct livedump_copies *copies)
{
	free(copies->pages);
	free(copies);
	RELEASE();
}

void
livedump_copies_page(struct livedump_copies *copies, size_t at, uint64_t pa)
{
	if (at >= copies->n)
		abort();
	memcpy(copies->pages[at], mock_mem + pa, PAGE);
}

void
livedump_copies_msgbuf(struct livedump_copies *copies, size_t at, size_t nth)
{
	size_t from = nth * PAGE;

	if (at >= copies->n || from >= MOCK_MSGBUF_BYTES)
		abort();
	memcpy(copies->pages[at], mock_msgbuf + from,
	    from + PAGE > MOCK_MSGBUF_BYTES ? MOCK_MSGBUF_BYTES - from : PAGE);
}

void
livedump_copies_read(const struct livedump_copies *copies, size_t at,
    void *page)
{
	if (at >= copies->n)
		abort();
	memcpy(page, copies->pages[at], PAGE);
}

uint64_t
livedump_uptime_ns(void)
{
	static uint64_t now = 1000000000;

	return (__atomic_add_fetch(&now, mock_tick_ns, __ATOMIC_SEQ_CST));
}

/* Right before memory that is freed early, or written behind: a canary. */
struct chunk {
	size_t	size;
	size_t	canary;
	uint8_t	bytes[];
};

void *
livedump_malloc(size_t size)
{
	struct chunk *c;

	if (no_memory())
		return (NULL);
	c = calloc(1, sizeof(*c) + size + 8);
	c->size = size;
	c->canary = 0x6c6976656b6d6f64;
	memcpy(c->bytes + size, &c->canary, 8);
	HOLD();
	return (c->bytes);
}

void
livedump_free(void *p)
{
	struct chunk *c = (void *)((uint8_t *)p - sizeof(struct chunk));

	if (c->canary != 0x6c6976656b6d6f64 ||
	    memcmp(c->bytes + c->size, &c->canary, 8) != 0)
		abort();
	c->canary = 0;
	free(c);
	RELEASE();
}

void
livedump_memory_waits(bool waits)
{
	(void)waits;
}

uint64_t
livedump_physmem(void)
{
	return (mock_physmem_now);
}

struct livedump_monitor {
	pthread_mutex_t	lock;
	pthread_cond_t	changed;
};

struct livedump_monitor *
livedump_monitor_init(void)
{
	struct livedump_monitor *m;

	if (no_memory())
		return (NULL);
	m = calloc(1, sizeof(*m));
	pthread_mutex_init(&m->lock, NULL);
	pthread_cond_init(&m->changed, NULL);
	HOLD();
	return (m);
}

void
livedump_monitor_lock(struct livedump_monitor *m)
{
	pthread_mutex_lock(&m->lock);
}

void
livedump_monitor_unlock(struct livedump_monitor *m)
{
	pthread_mutex_unlock(&m->lock);
}

void
livedump_monitor_wait(struct livedump_monitor *m)
{
	pthread_cond_wait(&m->changed, &m->lock);
}

void
livedump_monitor_notify(struct livedump_monitor *m)
{
	pthread_cond_broadcast(&m->changed);
}

void
livedump_monitor_fini(struct livedump_monitor *m)
{
	if (pthread_mutex_trylock(&m->lock) != 0)
		abort();
	pthread_mutex_unlock(&m->lock);
	free(m);
	RELEASE();
}

int
livedump_ncpus(void)
{
	return (mock_ncpus_now);
}

int
livedump_workers_limit(void)
{
	return (0);
}

struct livedump_workers {
	size_t		n;
	void		(*run)(void *);
	void		*arg;
	pthread_t	thread[64];
};

static void *
worker(void *arg)
{
	struct livedump_workers *w = arg;

	w->run(w->arg);
	return (NULL);
}

struct livedump_workers *
livedump_workers_start(size_t n, void (*run)(void *), void *arg)
{
	struct livedump_workers *w;

	if (mock_no_workers)
		return (NULL);
	w = calloc(1, sizeof(*w));
	w->run = run;
	w->arg = arg;
	for (; w->n + mock_threads_refused < n; w->n++)
		pthread_create(&w->thread[w->n], NULL, worker, w);
	HOLD();
	return (w);
}

void
livedump_workers_join(struct livedump_workers *w)
{
	size_t i;

	for (i = 0; i < w->n; i++)
		pthread_join(w->thread[i], NULL);
	free(w);
	RELEASE();
}

void
livedump_maybe_yield(void)
{
}

bool
livedump_compressor_avail(int format)
{
	return (format == 1);
}

struct livedump_stream {
	bool	busy;
};

struct livedump_stream *
livedump_compressor_init(int format, int level, size_t bytes)
{
	if (format != 1 || level < 1 || level > 9 || bytes < 1 << 18)
		abort();
	if (no_memory())
		return (NULL);
	HOLD();
	return (calloc(1, sizeof(struct livedump_stream)));
}

static uint32_t
crc32(const uint8_t *p, size_t len)
{
	uint32_t crc = ~0U;
	int i;

	while (len-- > 0) {
		crc ^= *p++;
		for (i = 0; i < 8; i++)
			crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
	}
	return (~crc);
}

int
livedump_compress(struct livedump_stream *s, const void *src, size_t len,
    void *dst, size_t room, size_t *packed)
{
	static const uint8_t head[10] = { 0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3 };
	const uint8_t *in = src;
	uint8_t *out = dst;
	uint32_t tail[2] = { crc32(src, len), (uint32_t)len };
	int error = fails();

	if (s->busy)
		abort();
	if (error != 0)
		return (error);
	s->busy = true;
	if (room < len + len / 65535 * 5 + 5 + 18)
		return (FREEBSD_E2BIG);
	memcpy(out, head, sizeof(head));
	out += sizeof(head);
	do {
		uint16_t n = len > 65535 ? 65535 : (uint16_t)len, inverse = ~n;

		len -= n;
		*out++ = len == 0;		/* the last block? */
		memcpy(out, &n, 2);
		memcpy(out + 2, &inverse, 2);
		memcpy(out + 4, in, n);
		out += 4 + n;
		in += n;
	} while (len > 0);
	memcpy(out, tail, sizeof(tail));
	*packed = (size_t)(out + sizeof(tail) - (uint8_t *)dst);
	s->busy = false;
	return (0);
}

void
livedump_compressor_fini(struct livedump_stream *s)
{
	free(s);
	RELEASE();
}

int
livedump_gzip_level(void)
{
	return (600);		/* an administrator's slip */
}

int
livedump_zstd_level(void)
{
	return (3);
}

int64_t
livedump_time_second(void)
{
	return (1700000000);
}

uint64_t
livedump_nanouptime(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ((uint64_t)ts.tv_sec * 1000000000 + ts.tv_nsec);
}

size_t
livedump_hostname(char *out, size_t len)
{
	return (snprintf(out, len, "mock"));
}

size_t
livedump_version(char *out, size_t len)
{
	return (snprintf(out, len, "FreeBSD 15.1-MOCK"));
}

void
livedump_panic(const char *what, size_t len)
{
	fprintf(stderr, "panic: %.*s\n", (int)len, what);
	abort();
}
