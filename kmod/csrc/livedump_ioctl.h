/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The requests of livedump(4) and their arguments, for the kernel and for
 * programs. The same layouts are asserted in memdev/src/ioctl.rs.
 *
 * They are made on /dev/mem or on /dev/livedump. MEM_KERNELDUMP, the kernel's
 * own request for the same, is in <sys/memrange.h> since FreeBSD 13.2; it is
 * repeated here for those that do not have it.
 */
#ifndef _LIVEDUMP_IOCTL_H_
#define	_LIVEDUMP_IOCTL_H_

#ifndef _KERNEL
#include <stdint.h>
#endif
#include <sys/ioccom.h>

/* Version of mem_minidump_arg and mem_minidump_status; of mem_minidump_arg2. */
#define	MINIDUMP_ARG_VERSION	1
#define	MINIDUMP_ARG2_VERSION	2

/* mda_flags */
#define	MINIDUMP_ESTIMATE	0x00000001	/* sizes only; mda_fd is -1 */
#define	MINIDUMP_WAIT		0x00000002	/* queue instead of EBUSY */
#define	MINIDUMP_QUIESCE	0x00000004	/* suspend user processes */
#define	MINIDUMP_REGISTERS	0x00000008	/* registers of running threads */
#define	MINIDUMP_STABILITY	0x00000010	/* count pages that changed */
#define	MINIDUMP_FREEZE		0x00000020	/* one instant; MEM_MINIDUMP2 */
#define	MINIDUMP_STREAM		0x00000040	/* mda_fd: a pipe or a socket */

/* mda_compression, as KERNELDUMP_COMP_* */
#define	MINIDUMP_COMP_NONE	0
#define	MINIDUMP_COMP_GZIP	1
#define	MINIDUMP_COMP_ZSTD	2

/* mda_level, with zstd: what keeps up with the file it is written to */
#define	MINIDUMP_LEVEL_AUTO	(-32768)

struct mem_minidump_arg {
	uint32_t	mda_version;		/* in: MINIDUMP_ARG_VERSION */
	uint32_t	mda_flags;		/* in */
	int32_t		mda_fd;			/* in: open for writing */
	uint8_t		mda_compression;	/* in */
	uint8_t		mda_pad0;		/* in: zero */
	int16_t		mda_level;		/* in: 0: default; out: used */
	uint32_t	mda_workers;		/* in: threads; 0 is as many as CPUs */
	uint32_t	mda_pad1;		/* in: zero */
	uint32_t	mda_stage;		/* out: stage reached */
	uint32_t	mda_minidump_version;	/* out */
	uint64_t	mda_pages;		/* out: data pages */
	uint64_t	mda_zero_pages;		/* out: of these, only zeros */
	uint64_t	mda_changed_pages;	/* out: of these, changed */
	uint64_t	mda_dumplength;		/* out: bytes as written */
	uint64_t	mda_dumpextent;		/* out: bytes uncompressed */
	uint64_t	mda_elapsed_ns;		/* out */
	uint64_t	mda_quiesced_ns;	/* out */
	int32_t		mda_changes_fd;		/* in: STABILITY: or -1 */
	uint32_t	mda_registers;		/* out: threads */
	uint64_t	mda_changed_by_kind[3];	/* out: tables, kmap, dmap */
	uint64_t	mda_missing_cpus;	/* in: zero; out: REGISTERS */
};

/* With MINIDUMP_FREEZE; all zero without. */
struct mem_minidump_freeze {
	uint64_t	mdf_max_pause_ns;	/* in: 0 is 100 ms; 1 s at most */
	uint64_t	mdf_pause_ns;		/* out: CPUs were stopped */
	uint64_t	mdf_uptime_ns;		/* out: the instant, since boot */
	int64_t		mdf_time_ns;		/* out: the instant, since 1970 */
	uint64_t	mdf_pages;		/* out: copied meanwhile */
	uint64_t	mdf_late_pages;		/* out: of these, new */
	uint64_t	mdf_copy_bytes;		/* out: memory for the copy */
	uint32_t	mdf_cpus;		/* out: stopped */
	uint32_t	mdf_pad;		/* in: zero */
};

struct mem_minidump_arg2 {
	struct mem_minidump_arg	mda2_arg;	/* MINIDUMP_ARG2_VERSION */
	struct mem_minidump_freeze mda2_freeze;
};

struct mem_minidump_status {
	uint32_t	mds_version;		/* MINIDUMP_ARG_VERSION */
	uint32_t	mds_stage;		/* of the dump in progress */
	uint64_t	mds_pages_done;
	uint64_t	mds_pages_total;	/* 0: not counted yet */
	uint64_t	mds_bytes_out;
	uint64_t	mds_dumpextent;		/* 0: not counted yet */
	int64_t		mds_start_sec;		/* Unix seconds */
	uint64_t	mds_elapsed_ns;
	uint64_t	mds_started;		/* dumps, since the module's load */
	uint64_t	mds_completed;
	uint32_t	mds_last_stage;		/* of the last finished dump */
	int32_t		mds_last_error;		/* its errno */
	int32_t		mds_pid;		/* who asked; 0: no dump runs */
	uint32_t	mds_pad0;
	int32_t		mds_last_pid;		/* who asked for the last one */
	uint32_t	mds_pad1;
	uint64_t	mds_estimates;		/* since the module's load */
	uint64_t	mds_last_needs;		/* ENOMEM: bytes, ETIMEDOUT: ns */
	uint64_t	mds_last_has;
	uint64_t	mds_reserved;
};

#define	MEM_MINIDUMP		_IOWR('m', 208, struct mem_minidump_arg)
#define	MEM_MINIDUMP2		_IOWR('m', 208, struct mem_minidump_arg2)
#define	MEM_MINIDUMP_STATUS	_IOR('m', 209, struct mem_minidump_status)

#ifndef MEM_KERNELDUMP
struct mem_livedump_arg {
	int		fd;
	int		flags;
	uint8_t		compression;
	uint8_t		pad1[7];
	uint64_t	pad2[2];
};
#define	MEM_KERNELDUMP		_IOW('m', 53, struct mem_livedump_arg)
#endif

#endif /* !_LIVEDUMP_IOCTL_H_ */
