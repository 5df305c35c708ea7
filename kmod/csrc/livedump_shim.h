/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The border between the engine (Rust) and the kernel: what the engine calls,
 * in the order of trait Kpi (kmod/src/kpi/, where each function's meaning,
 * locks and errors are), and what it offers.
 *
 * No decisions on this side. A function here exists because the kernel offers
 * the thing as a macro, an inline function, with variable arguments, or with
 * a structure that differs between releases.
 *
 * int results are 0 or an errno; a negative one is the kernel's own (ERESTART
 * and the like) and becomes EINTR on the other side.
 */
#ifndef _LIVEDUMP_SHIM_H_
#define	_LIVEDUMP_SHIM_H_

#ifdef _KERNEL
#include <sys/types.h>
#else
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#endif

struct file;

/* struct Target, but for the machine. */
struct livedump_target {
	uint64_t	root;
	uint64_t	kernbase;
	uint64_t	kva_end;
	uint64_t	dmapphys;
	uint64_t	dmapbase;
	uint64_t	dmapend;
	uint64_t	bitset_bits;
	uint32_t	root_level;
	uint32_t	minidump_version;
	uint32_t	minidump_flags;
	uint32_t	msgbuf_bytes;
	uint32_t	dump_avail_bytes;
	uint32_t	pad;
};

/* struct Debugger: where debuggers look, 0 where there is no such place. */
struct livedump_debugger {
	uint64_t	stoppcbs;
	uint64_t	stopped_cpus;
	uint64_t	dumppcb;
	uint64_t	dumptid;
	uint32_t	pcb_bytes;
	uint32_t	cpuset_bytes;
};

/*
 * struct Context: what a CPU did. thread is 0 where nothing was saved, and tid
 * LIVEDUMP_MISSING where that is because the CPU did not come in time.
 */
#define	LIVEDUMP_PCB_WORDS	34
#define	LIVEDUMP_MISSING	(-1)
struct livedump_cpu {
	uint64_t	thread;
	uint64_t	oncpu;		/* physical address of td_oncpu */
	uint64_t	stack;		/* from there on up it was saved */
	uint32_t	stack_bytes;
	uint32_t	pcb_bytes;	/* of pcb, as struct pcb begins */
	uint32_t	cpu;
	int32_t		tid;
	uint64_t	pcb[LIVEDUMP_PCB_WORDS];
};

/* struct Stopped: how all CPUs were. */
struct livedump_stopped {
	uint64_t	pause_ns;
	uint64_t	uptime_ns;
	int64_t		time_ns;
	uint32_t	cpus;
	uint32_t	pad;
};

/* Pages for copies. */
struct livedump_copies;
/* One compressor(9) stream and where its output goes. */
struct livedump_stream;
/* A sleepable lock and a condition. */
struct livedump_monitor;
/* Threads that run one function once each. */
struct livedump_workers;

/* The caller. */
int	livedump_priv_check_kmem_read(void);
int	livedump_priv_check_kmem_write(void);
bool	livedump_jailed(void);
int	livedump_sig_intr(void);
int	livedump_pid(void);

/* The file. */
int	livedump_getvnode(int fd, struct file **fpp);
void	livedump_fdrop(struct file *fp);
bool	livedump_file_is_writable(struct file *fp);
bool	livedump_vnode_is_regular(struct file *fp);
bool	livedump_same_vnode(struct file *fp, struct file *other);
bool	livedump_file_is_served(struct file *fp);
int	livedump_rangelock_wlock(struct file *fp, void **lock);
void	livedump_rangelock_unlock(struct file *fp, void *lock);
int	livedump_vn_truncate(struct file *fp);
int	livedump_vn_write(struct file *fp, uint64_t offset, const void *data,
	    size_t len);
int	livedump_vn_check(struct file *fp);

/* A pipe or a socket. */
int	livedump_getstream(int fd, struct file **fpp);
bool	livedump_is_read_by_caller(struct file *fp);
int	livedump_fo_write(struct file *fp, const void *data, size_t len);

/* One dump at a time. */
bool	livedump_try_xlock(void);
int	livedump_xlock_sig(void);
void	livedump_xunlock(void);

/* Suspended processes. */
int	livedump_quiesce(void);
uint64_t livedump_suspend_pass(void);
int	livedump_quiesced(void);
void	livedump_pause(void);
void	livedump_resume(void);

/* livedumper events. */
int	livedump_livedumper_start(void);
int	livedump_livedumper_dump(const void *block, uint64_t offset,
	    size_t len);
void	livedump_livedumper_finish(void);
void	livedump_savectx(void);

/* One instant. */
size_t	livedump_cpus(void);
void	livedump_debugger(struct livedump_debugger *debugger);
/*
 * n is livedump_cpus() + 1, the last for the caller; room for each stack.
 * Bounded: 0, or ENOMEM.
 */
int	livedump_instant(struct livedump_cpu *cpus, size_t n, void *stacks,
	    size_t room);

/*
 * All CPUs run work(arg, deadline) while they are stopped, interrupts off; it
 * returns by then, on the clock of livedump_uptime_ns(). When this returns, no
 * CPU is in it. Bounded: 0, ENOMEM, ETIMEDOUT, EOPNOTSUPP.
 */
int	livedump_freeze(struct livedump_cpu *cpus, size_t n,
	    uint64_t max_pause_ns, void (*work)(void *, uint64_t), void *arg,
	    struct livedump_stopped *stopped);

/* Memory. NULL when it is not to be had within a bounded time. */
void	livedump_memory_waits(bool waits);
void	*livedump_malloc(size_t size);
void	livedump_free(void *p);
uint64_t livedump_physmem(void);
size_t	livedump_free_pages(void);
struct livedump_copies *livedump_copies_alloc(size_t n);
void	livedump_copies_free(struct livedump_copies *copies);
/* Place at is below n. */
void	livedump_copies_page(struct livedump_copies *copies, size_t at,
	    uint64_t pa);
void	livedump_copies_msgbuf(struct livedump_copies *copies, size_t at,
	    size_t nth);
void	livedump_copies_read(const struct livedump_copies *copies, size_t at,
	    void *page);
struct livedump_monitor *livedump_monitor_init(void);
void	livedump_monitor_lock(struct livedump_monitor *monitor);
void	livedump_monitor_unlock(struct livedump_monitor *monitor);
void	livedump_monitor_wait(struct livedump_monitor *monitor);
void	livedump_monitor_notify(struct livedump_monitor *monitor);
void	livedump_monitor_fini(struct livedump_monitor *monitor);

/*
 * Addresses of up to room blocks with keys, and how many: 0, ENOENT, E2BIG.
 */
int	livedump_dump_keys(uint64_t *blocks, size_t room, size_t *n);

/* Threads. */
int	livedump_ncpus(void);
int	livedump_workers_limit(void);
/* NULL: there are none. */
struct livedump_workers *livedump_workers_start(size_t n,
	    void (*run)(void *), void *arg);
void	livedump_workers_join(struct livedump_workers *workers);

/* The machine. */
void	livedump_target(struct livedump_target *target);
bool	livedump_dump_avail(size_t nth, uint64_t pair[2]);
/* Words from first on; zeros behind the bitset. */
void	livedump_copy_bitset(size_t first, uint64_t *words, size_t n);
void	livedump_copy_msgbuf(void *text, size_t len);
void	livedump_linked_pages(void (*page)(void *arg, uint64_t pa, bool oncpu),
	    void *arg);
uint64_t livedump_load_entry(uint64_t table, uint64_t index);
void	livedump_load_entries(uint64_t table, uint64_t first,
	    uint64_t *entries, size_t n);
bool	livedump_phys_in_dmap(uint64_t pa);
bool	livedump_vm_phys_is_dumpable(uint64_t pa);
void	livedump_read_page(uint64_t pa, void *page);
bool	livedump_page_is_zero(uint64_t pa);
uint64_t livedump_kva_end(void);
uint64_t livedump_uptime_ns(void);
void	livedump_maybe_yield(void);

/* Compression. */
bool	livedump_compressor_avail(int format);
/* bytes: what such a stream takes, at most. */
struct livedump_stream *livedump_compressor_init(int format, int level,
	    size_t bytes);
int	livedump_compress(struct livedump_stream *stream, const void *src,
	    size_t len, void *dst, size_t room, size_t *packed);
void	livedump_compressor_fini(struct livedump_stream *stream);
int	livedump_gzip_level(void);
int	livedump_zstd_level(void);

/* For the headers. */
int64_t	livedump_time_second(void);
uint64_t livedump_nanouptime(void);
size_t	livedump_hostname(char *out, size_t len);
size_t	livedump_version(char *out, size_t len);

/* Never returns. */
void	livedump_panic(const char *what, size_t len) __attribute__((noreturn));

/*
 * What the engine offers (kmod/src/entry.rs).
 */

/*
 * Whether a request is the module's; MEM_KERNELDUMP only if kerneldump says
 * so.
 */
bool	livedump_entry_takes(unsigned long request, bool kerneldump);
/* Serves it. data is len bytes, as ioctl(2) copies them in and out. */
int	livedump_entry_request(unsigned long request, void *data, size_t len);
/* Counters, as MEM_MINIDUMP_STATUS has them. */
struct mem_minidump_status;
void	livedump_entry_status(struct mem_minidump_status *status);
const char *livedump_entry_release(void);

#endif /* !_LIVEDUMP_SHIM_H_ */
