/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the tests see of the mock: a machine of 32 MB, one file, and counts of
 * everything that is to be given back.
 */
#ifndef _MOCK_H_
#define	_MOCK_H_

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define	PAGE		4096
#define	MEM_BYTES	(32UL << 20)

/* The machine. */
extern uint8_t *mock_mem;		/* physical address 0 */
extern uint64_t mock_avail[][2];
extern bool mock_nodump[MEM_BYTES / PAGE];
extern uint64_t mock_bitset[];
extern char mock_msgbuf[];
extern uint32_t mock_minidump_version;
/* Pages from MOCK_MANY on through which more processes are linked. */
extern size_t mock_many_linked;
#define	MOCK_MANY	0x600000UL
#define	MOCK_MSGBUF_BYTES	5000
/* Set when the machine goes on after it was stopped. */
extern const char *mock_goes_on;
void	mock_machine(void);
/* What the dump must contain: page by page, computed apart. */
bool	mock_expects(uint64_t pa);

/* The caller and its file. */
extern struct mock_file {
	uint8_t	*data;
	size_t	len, room;
	bool	writable, regular;
	uint64_t space;			/* ENOSPC beyond */
} mock_file;

/* A key of MOCK_KEY_BYTES at this address; 0 none, 1 nobody knows. */
extern uint64_t mock_key, mock_key_next;
#define	MOCK_KEY	0xffffff8000002e00UL	/* in two pages */
#define	MOCK_KEY_PA	0x202e00UL
#define	MOCK_KEY_BYTES	1024
/* When it is asked for so often it is another. */
extern int mock_key_replaced;

/* What it answers. */
extern int mock_priv_read, mock_priv_write, mock_event_error;
extern bool mock_jailed, mock_served;
extern bool mock_written_by_others;
extern bool mock_missing_cpu;
/* Nanoseconds that a look at the clock takes; free pages; a stop is late. */
extern uint64_t mock_tick_ns;
extern size_t mock_free_pages;
extern bool mock_late_cpu;
extern bool mock_no_workers;
extern long mock_passes;		/* until all threads stop */
extern int mock_ncpus_now, mock_threads_refused;
extern uint64_t mock_physmem_now;
/* The nth call from now that can fail does, with this errno. */
extern long mock_fail_at;
extern int mock_fail_with;
extern bool mock_no_memory;		/* it was one that takes memory */
/* The nth look at signals from now finds one. */
extern long mock_signal_at;

/* What one instant is. */
#define	MOCK_DMAP	0xfffff80000000000UL
#define	MOCK_STOPPCBS	0x420ea0UL	/* the second crosses a page */
#define	MOCK_ONCPU	0x440010UL
#define	MOCK_STACK	0x430d00UL	/* 5000 bytes of it */

/* What must be zero between requests. */
extern long mock_held;
extern long mock_calls;

#endif /* !_MOCK_H_ */
