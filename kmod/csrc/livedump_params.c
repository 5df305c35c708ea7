/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The parameter page: where everything is that a dump of this kernel is made
 * of, for who has the machine's memory and not the kernel's file. There while
 * the module is loaded; its witness tells that from a page which an earlier
 * kernel has left in memory.
 */
#include <sys/param.h>
#include <sys/systm.h>
#include <sys/jail.h>
#include <sys/kernel.h>
#include <sys/proc.h>
#include <sys/sysctl.h>
#include <sys/time.h>

#include <vm/vm.h>
#include <vm/vm_param.h>
#include <vm/pmap.h>
#include <vm/vm_page.h>
#include <vm/vm_phys.h>

#include <machine/atomic.h>
#include <machine/pcb.h>

#include "livedump_module.h"
#include "livedump_params.h"
#include "livedump_shim.h"

CTASSERT(sizeof(struct livedump_params) == 360);
CTASSERT(offsetof(struct livedump_params, checksum) == 16);
CTASSERT(offsetof(struct livedump_params, pa) == 24);
CTASSERT(offsetof(struct livedump_params, osreldate) == 48);
CTASSERT(offsetof(struct livedump_params, kernphys) == 64);
CTASSERT(offsetof(struct livedump_params, kernel_vm_end_pa) == 112);
CTASSERT(offsetof(struct livedump_params, dmapbase) == 128);
CTASSERT(offsetof(struct livedump_params, dump_avail_bytes) == 160);
CTASSERT(offsetof(struct livedump_params, bitset_pa) == 168);
CTASSERT(offsetof(struct livedump_params, witness_va) == 208);
CTASSERT(offsetof(struct livedump_params, stoppcbs_va) == 224);
CTASSERT(offsetof(struct livedump_params, segments_va) == 272);
CTASSERT(offsetof(struct livedump_params, pcb_bytes) == 280);
CTASSERT(offsetof(struct livedump_params, page_flags_bytes) == 316);
CTASSERT(offsetof(struct livedump_params, osrelease) == 328);

/* kern.livedump.params: its physical address, 0 where there is none. */
uint64_t livedump_params_pa;
/* kern.livedump.vmcoreinfo: whether QEMU is to be told. */
int livedump_vmcoreinfo = 1;
/* kern.livedump.announced: whether it was. */
int livedump_announced;

/* Aligned, so that it is within a page. */
static volatile struct livedump_witness livedump_witness __aligned(32);

static void
livedump_params_common(struct livedump_params *p, uint64_t pa)
{
	struct livedump_debugger debugger;
	struct timespec now, up;

	nanotime(&now);
	nanouptime(&up);
	p->pa = pa;
	p->generation = (uint64_t)now.tv_sec * 1000000000 + now.tv_nsec;
	p->boottime = now.tv_sec - up.tv_sec;
	p->osreldate = osreldate;
	p->version_pa = pmap_kextract((vm_offset_t)version);
	p->witness_va = (uintptr_t)&livedump_witness;
	p->witness_pa = pmap_kextract((vm_offset_t)&livedump_witness);
	livedump_debugger(&debugger);
	p->stoppcbs_va = debugger.stoppcbs;
	p->stopped_cpus_va = debugger.stopped_cpus;
	p->dumptid_va = debugger.dumptid;
	p->cpuid_to_pcpu_va = (uintptr_t)&cpuid_to_pcpu[0];
	p->pcb_bytes = debugger.pcb_bytes;
	p->td_oncpu = offsetof(struct thread, td_oncpu);
	p->hostname_va = (uintptr_t)prison0.pr_hostname;
	p->uptime_va = (uintptr_t)&time_uptime;
	p->segments_va = (uintptr_t)&vm_phys_segs[0];
	p->segments = vm_phys_nsegs;
	p->segment_bytes = sizeof(struct vm_phys_seg);
	p->segment_start = offsetof(struct vm_phys_seg, start);
	p->segment_end = offsetof(struct vm_phys_seg, end);
	p->segment_first = offsetof(struct vm_phys_seg, first_page);
	p->page_bytes = sizeof(struct vm_page);
	p->page_flags = offsetof(struct vm_page, flags);
	p->page_flags_bytes = sizeof(((struct vm_page *)NULL)->flags);
	strlcpy(p->osrelease, osrelease, sizeof(p->osrelease));
}

static void
livedump_witness_set(const struct livedump_params *p)
{
	livedump_witness.pa = p->pa;
	livedump_witness.generation = p->generation;
	atomic_thread_fence_rel();
	memcpy(__DEVOLATILE(char *, livedump_witness.magic), LD_WITNESS_MAGIC,
	    sizeof(livedump_witness.magic));
}

static void
livedump_witness_clear(void)
{
	memset(__DEVOLATILE(void *, &livedump_witness), 0,
	    sizeof(livedump_witness));
	atomic_thread_fence_rel();
}

/* A module without a page is of use all the same. */
void
livedump_params_init(void)
{
	struct livedump_params *p;
	uint64_t pa;
	uint32_t bytes;

	pa = livedump_page_alloc();
	if (pa == 0) {
		printf("livedump: no memory for a parameter page\n");
		return;
	}
	p = (struct livedump_params *)PHYS_TO_DMAP(pa);
	livedump_params_common(p, pa);
	livedump_params_machine(p);
	bytes = livedump_entry_params(p);
	livedump_witness_set(p);
	livedump_params_pa = pa;
	if (livedump_vmcoreinfo != 0)
		livedump_announced = livedump_fwcfg_announce(pa +
		    LD_NOTE_OFFSET, bytes);
}

void
livedump_params_fini(void)
{
	uint64_t pa = livedump_params_pa;

	if (pa == 0)
		return;
	livedump_witness_clear();
	if (livedump_announced != 0)
		livedump_fwcfg_withdraw();
	livedump_announced = 0;
	livedump_params_pa = 0;
	memset((void *)PHYS_TO_DMAP(pa), 0, PAGE_SIZE);
	livedump_page_free(pa);
}
