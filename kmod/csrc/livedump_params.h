/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The parameter page: memdev/src/params.rs, where each field's meaning is.
 */
#ifndef _LIVEDUMP_PARAMS_H_
#define	_LIVEDUMP_PARAMS_H_

#include <sys/types.h>

/* What the page begins with. What is not set here, the engine sets. */
struct livedump_params {
	char		magic[8];		/* the engine */
	uint32_t	version;		/* the engine */
	uint32_t	length;			/* the engine */
	uint64_t	checksum;		/* the engine */
	uint64_t	pa;
	uint64_t	generation;
	int64_t		boottime;
	uint32_t	osreldate;
	uint32_t	machine;
	uint32_t	levels;
	uint32_t	minidump_version;
	uint64_t	kernphys;
	uint64_t	root;
	uint64_t	top;
	uint64_t	kernbase;
	uint64_t	kva_start;
	uint64_t	kva_end;
	uint64_t	kernel_vm_end_pa;
	uint64_t	nkpt_pa;
	uint64_t	dmapbase;
	uint64_t	dmapend;
	uint64_t	dmapphys;
	uint64_t	dump_avail_pa;
	uint32_t	dump_avail_bytes;
	uint32_t	dump_avail_len;
	uint64_t	bitset_pa;
	uint64_t	bitset_va;
	uint64_t	bitset_bits;
	uint64_t	msgbuf_pa;
	uint64_t	version_pa;
	uint64_t	witness_va;
	uint64_t	witness_pa;
	uint64_t	stoppcbs_va;
	uint64_t	stopped_cpus_va;
	uint64_t	dumptid_va;
	uint64_t	cpuid_to_pcpu_va;
	uint64_t	hostname_va;
	uint64_t	uptime_va;
	uint64_t	segments_va;
	uint32_t	pcb_bytes;
	uint32_t	td_oncpu;
	uint32_t	segments;
	uint32_t	segment_bytes;
	uint32_t	segment_start;
	uint32_t	segment_end;
	uint32_t	segment_first;
	uint32_t	page_bytes;
	uint32_t	page_flags;
	uint32_t	page_flags_bytes;
	uint64_t	root_variable_va;
	char		osrelease[32];
};

#define	LD_NOTE_OFFSET	2048

/* What says that the page is of use: the page's address and generation. */
struct livedump_witness {
	char		magic[8];
	uint64_t	pa;
	uint64_t	generation;
	uint64_t	pad;
};
#define	LD_WITNESS_MAGIC	"LDWITNES"

/* livedump_machine.c */
void	livedump_params_machine(struct livedump_params *params);

/* livedump_copies.c: a page as those of copies are, zeroed; 0: none. */
uint64_t livedump_page_alloc(void);
void	livedump_page_free(uint64_t pa);

/* livedump_fwcfg.c */
bool	livedump_fwcfg_announce(uint64_t note, uint32_t bytes);
void	livedump_fwcfg_withdraw(void);

/*
 * The engine's (kmod/src/entry.rs): completes a page of which the first part is
 * there and the rest is zero; bytes of its note.
 */
uint32_t livedump_entry_params(void *page);

#endif /* !_LIVEDUMP_PARAMS_H_ */
