/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The module: loading, unloading, /dev/livedump.
 *
 * Unloading either happens completely or changes nothing. A dump in progress
 * holds the livedump lock: EBUSY at once. Otherwise livedump_leaving turns
 * new requests away (on /dev/mem to the driver, as if we were not there) while
 * those inside finish; one that slipped in and dumps, or waits to, keeps a
 * thread count from becoming zero, and the unload gives up after five seconds
 * and takes everything back.
 */
#include <sys/param.h>
#include <sys/systm.h>
#include <sys/conf.h>
#include <sys/ioccom.h>
#include <sys/kernel.h>
#include <sys/malloc.h>
#include <sys/module.h>
#include <sys/proc.h>
#include <sys/signalvar.h>

#include <machine/atomic.h>
#include <machine/pcb.h>

#include "livedump_arch.h"
#include "livedump_module.h"
#include "livedump_ioctl.h"
#include "livedump_shim.h"

CTASSERT(MEM_KERNELDUMP == 0x80206d35);
CTASSERT(MEM_MINIDUMP == 0xc0806dd0);
CTASSERT(MEM_MINIDUMP2 == 0xc0c06dd0);
CTASSERT(MEM_MINIDUMP_STATUS == 0x40806dd1);
CTASSERT(sizeof(struct mem_livedump_arg) == 32);
CTASSERT(offsetof(struct mem_livedump_arg, compression) == 8);
CTASSERT(offsetof(struct mem_livedump_arg, pad2) == 16);
CTASSERT(sizeof(struct mem_minidump_arg) == 128);
CTASSERT(offsetof(struct mem_minidump_arg, mda_compression) == 12);
CTASSERT(offsetof(struct mem_minidump_arg, mda_level) == 14);
CTASSERT(offsetof(struct mem_minidump_arg, mda_workers) == 16);
CTASSERT(offsetof(struct mem_minidump_arg, mda_stage) == 24);
CTASSERT(offsetof(struct mem_minidump_arg, mda_pages) == 32);
CTASSERT(offsetof(struct mem_minidump_arg, mda_quiesced_ns) == 80);
CTASSERT(offsetof(struct mem_minidump_arg, mda_changes_fd) == 88);
CTASSERT(offsetof(struct mem_minidump_arg, mda_changed_by_kind) == 96);
CTASSERT(offsetof(struct mem_minidump_arg, mda_missing_cpus) == 120);
CTASSERT(sizeof(struct mem_minidump_arg2) == 192);
CTASSERT(offsetof(struct mem_minidump_arg2, mda2_freeze) == 128);
CTASSERT(offsetof(struct mem_minidump_freeze, mdf_cpus) == 56);
CTASSERT(sizeof(struct mem_minidump_status) == 128);
CTASSERT(offsetof(struct mem_minidump_status, mds_last_needs) == 104);
CTASSERT(offsetof(struct mem_minidump_status, mds_pages_done) == 8);
CTASSERT(offsetof(struct mem_minidump_status, mds_start_sec) == 40);
CTASSERT(offsetof(struct mem_minidump_status, mds_last_stage) == 72);
CTASSERT(offsetof(struct mem_minidump_status, mds_last_pid) == 88);
CTASSERT(offsetof(struct mem_minidump_status, mds_estimates) == 96);

volatile u_int livedump_leaving;

static struct cdev *livedump_dev;
static bool livedump_loaded;

/*
 * The kernel this was built for. Structures that are private to a kernel are
 * used here; their layout depends on its version and on its options, and
 * another one would be corrupted. DECLARE_MODULE_TIED() would compare the
 * version alone, and not say what is wrong. The kernel tells offsets for
 * debuggers: the last of each structure that is used here is among them.
 */
static const volatile struct {
	char	magic[8];		/* for who looks into livedump.ko */
	int	version, pcb_bytes, p_comm, p_threads, td_oncpu, td_pcb;
} livedump_built = {
	"LDBUILT", __FreeBSD_version, sizeof(struct pcb),
	offsetof(struct proc, p_comm), offsetof(struct proc, p_threads),
	offsetof(struct thread, td_oncpu), offsetof(struct thread, td_pcb),
};
extern const int pcb_size;
extern const int proc_off_p_comm, proc_off_p_threads;
extern const int thread_off_td_oncpu, thread_off_td_pcb;

static int
livedump_check_kernel(void)
{
	if (livedump_built.version != osreldate) {
		printf("livedump: built for FreeBSD version %d, but this is "
		    "%d: rebuild it with this kernel's source\n",
		    livedump_built.version, osreldate);
		return (ENOEXEC);
	}
	if (livedump_built.pcb_bytes != pcb_size ||
	    livedump_built.p_comm != proc_off_p_comm ||
	    livedump_built.p_threads != proc_off_p_threads ||
	    livedump_built.td_oncpu != thread_off_td_oncpu ||
	    livedump_built.td_pcb != thread_off_td_pcb) {
		printf("livedump: built for a kernel with other options: "
		    "rebuild it with this kernel's KERNBUILDDIR\n");
		return (ENOEXEC);
	}
	return (livedump_arch_check());
}

int
livedump_serve(u_long cmd, caddr_t data)
{
	int error, stops;

	/*
	 * A process that is stopped (SIGSTOP, ^Z) stops when its dump is done,
	 * not with the livedump lock and the file's range lock in its hands.
	 */
	stops = sigdeferstop(SIGDEFERSTOP_SILENT);
	error = livedump_entry_request(cmd, data, IOCPARM_LEN(cmd));
	sigallowstop(stops);
	return (error);
}

static int
livedump_ioctl(struct cdev *dev __unused, u_long cmd, caddr_t data,
    int fflag __unused, struct thread *td __unused)
{
	if (livedump_leaving != 0)
		return (ENXIO);
	if (!livedump_entry_takes(cmd, true))
		return (ENOTTY);
	/*
	 * The stock request asks for PRIV_KMEM_READ, which everyone has; what
	 * guards /dev/mem, its mode and devfs.rules(5), is not ours.
	 */
	if (cmd == MEM_KERNELDUMP && (livedump_jailed() ||
	    livedump_priv_check_kmem_write() != 0))
		return (EPERM);
	return (livedump_serve(cmd, data));
}

static struct cdevsw livedump_cdevsw = {
	.d_version =	D_VERSION,
	.d_ioctl =	livedump_ioctl,
	.d_name =	"livedump",
};

static int
livedump_load(void)
{
	struct make_dev_args args;
	int error;

	error = livedump_check_kernel();
	if (error != 0)
		return (error);
	livedump_lock_init();
	livedump_savectx_init();
	livedump_keys_init();
	error = livedump_sysctl_init();
	if (error != 0) {
		livedump_lock_fini();
		return (error);
	}
	make_dev_args_init(&args);
	args.mda_flags = MAKEDEV_CHECKNAME | MAKEDEV_WAITOK;
	args.mda_devsw = &livedump_cdevsw;
	args.mda_uid = UID_ROOT;
	args.mda_gid = GID_KMEM;
	args.mda_mode = 0640;
	error = make_dev_s(&args, &livedump_dev, "livedump");
	if (error == 0) {
		error = livedump_mem_take();
		if (error != 0)
			destroy_dev(livedump_dev);
	}
	if (error != 0) {
		(void)livedump_sysctl_fini();
		livedump_lock_fini();
		return (error);
	}
	livedump_params_init();
	livedump_loaded = true;
	return (0);
}

/* Waits for whoever is in /dev/livedump; he is turned away or finishes. */
static int
livedump_dev_drain(void)
{
	int tries;

	for (tries = 0; tries < 5 * hz; tries++) {
		if (atomic_load_acq_long(&livedump_dev->si_threadcount) == 0)
			return (0);
		pause("lddev", 1);
	}
	return (EBUSY);
}

static int
livedump_unload(void)
{
	int error;

	/* A load that failed is followed by MOD_UNLOAD all the same. */
	if (!livedump_loaded)
		return (0);
	if (!livedump_try_xlock())
		return (EBUSY);
	atomic_store_rel_int(&livedump_leaving, 1);
	livedump_xunlock();
	error = livedump_arch_fence();
	if (error == 0)
		error = livedump_dev_drain();
	if (error == 0)
		error = livedump_sysctl_fini();
	if (error == 0) {
		error = livedump_mem_give_back();
		/* Nothing is short of memory that was just given back. */
		if (error != 0)
			(void)livedump_sysctl_init();
	}
	if (error != 0) {
		atomic_store_rel_int(&livedump_leaving, 0);
		return (error);
	}
	livedump_params_fini();
	/* Late comers to our own device find livedump_leaving set. */
	destroy_dev(livedump_dev);
	livedump_lock_fini();
	livedump_loaded = false;
	return (0);
}

static int
livedump_modevent(module_t mod __unused, int what, void *arg __unused)
{
	switch (what) {
	case MOD_LOAD:
		return (livedump_load());
	case MOD_QUIESCE:
		if (!livedump_loaded)
			return (0);
		if (!livedump_try_xlock())
			return (EBUSY);
		livedump_xunlock();
		return (0);
	case MOD_UNLOAD:
		return (livedump_unload());
	case MOD_SHUTDOWN:
		return (0);
	default:
		return (EOPNOTSUPP);
	}
}

DEV_MODULE(livedump, livedump_modevent, NULL);
MODULE_VERSION(livedump, 1);
/* Loads mem.ko, or says that it cannot, where mem is not in the kernel. */
MODULE_DEPEND(livedump, mem, 1, 1, 1);
