/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Requests on /dev/mem: the module takes over the ioctl entry of the mem
 * driver while it is loaded, and passes on what is not its own.
 *
 * Why it is safe to go away again. Every way into d_ioctl (devfs_ioctl(), the
 * only caller) is
 *
 *	devvn_refthread()	si_threadcount of the cdev goes up
 *	csw->d_ioctl(...)	the entry is loaded, and called
 *	dev_relthread()		si_threadcount goes down
 *
 * so whoever has loaded our entry, or is inside, or has yet to return through
 * our text, counts in si_threadcount of /dev/mem or /dev/kmem from before the
 * load until after the return. Giving back stores the old entry, then a full
 * fence, then looks at the counts; entering adds to the count, then loads the
 * entry, in that order as seen from here (livedump_arch_fence()). So either the
 * count that we read includes the one who enters, or he loads the old entry.
 * Once each count has been seen at zero after the store, nobody is inside and
 * nobody can come. A counter of our own could not tell: it would miss those
 * between loading the entry and counting, and between counting down and the
 * return.
 *
 * A count need not ever be zero when we look (readers of /dev/mem count, too):
 * the wait is bounded, and when it fails the entry is taken again and the
 * module stays, in working order.
 *
 * The driver itself cannot go away underneath: MODULE_DEPEND holds it.
 */
#include <sys/param.h>
#include <sys/systm.h>
#include <sys/conf.h>
#include <sys/eventhandler.h>
#include <sys/fcntl.h>
#include <sys/kernel.h>
#include <sys/lock.h>
#include <sys/mount.h>
#include <sys/namei.h>
#include <sys/proc.h>
#include <sys/vnode.h>

#include <machine/atomic.h>

#include "livedump_arch.h"
#include "livedump_module.h"
#include "livedump_shim.h"

static struct cdevsw *livedump_mem_csw;
static d_ioctl_t *livedump_mem_ioctl_was;
static eventhandler_tag livedump_mountroot_tag;

static int
livedump_mem_ioctl(struct cdev *dev, u_long cmd, caddr_t data, int fflag,
    struct thread *td)
{
	bool kerneldump;

	/* Who loaded our entry sees what was stored before it was ours. */
	atomic_thread_fence_acq();
	/* A kernel that has the request serves it, unless told otherwise. */
	kerneldump = !LD_HAS_KERNELDUMP || livedump_kerneldump != 0;
	if (livedump_leaving == 0 && livedump_entry_takes(cmd, kerneldump))
		return (livedump_serve(cmd, data));
	return (livedump_mem_ioctl_was(dev, cmd, data, fflag, td));
}

/* The cdevsw behind /dev/mem. */
static int
livedump_mem_lookup(struct cdevsw **cswp)
{
	struct nameidata nd;
	struct cdev *dev;
	struct cdevsw *csw;
	int error, ref;

#if __FreeBSD_version >= 1400000
	/* 14 dropped the thread, and what of a lookup is freed has a name. */
	NDINIT(&nd, LOOKUP, FOLLOW, UIO_SYSSPACE, "/dev/mem");
	error = namei(&nd);
	if (error != 0)
		return (error);
	NDFREE_PNBUF(&nd);
#else
	NDINIT(&nd, LOOKUP, FOLLOW, UIO_SYSSPACE, "/dev/mem", curthread);
	error = namei(&nd);
	if (error != 0)
		return (error);
	NDFREE(&nd, NDF_ONLY_PNBUF);
#endif
	error = ENXIO;
	csw = devvn_refthread(nd.ni_vp, &dev, &ref);
	if (csw != NULL) {
		/* Not counted (ref == 0): could not be drained. */
		if (ref != 0 && strcmp(csw->d_name, "mem") == 0 &&
		    csw->d_ioctl != NULL) {
			*cswp = csw;
			error = 0;
		}
		dev_relthread(dev, ref);
	}
	vrele(nd.ni_vp);
	return (error);
}

static int
livedump_mem_take_now(void)
{
	struct cdevsw *csw;
	int error;

	error = livedump_mem_lookup(&csw);
	if (error != 0) {
		printf("livedump: cannot serve /dev/mem (error %d); "
		    "kern.livedump.mem=0 disables that\n", error);
		return (error);
	}
	livedump_mem_csw = csw;
	livedump_mem_ioctl_was = csw->d_ioctl;
	atomic_store_rel_ptr((volatile uintptr_t *)&csw->d_ioctl,
	    (uintptr_t)livedump_mem_ioctl);
	return (0);
}

static void
livedump_mountroot(void *arg __unused)
{
	(void)livedump_mem_take_now();
}

/*
 * Takes the entry over; from the boot loader, as soon as there is a /dev.
 */
int
livedump_mem_take(void)
{
	if (livedump_mem_enabled == 0)
		return (0);
	if (rootvnode != NULL)
		return (livedump_mem_take_now());
	livedump_mountroot_tag = EVENTHANDLER_REGISTER(mountroot,
	    livedump_mountroot, NULL, EVENTHANDLER_PRI_ANY);
	return (0);
}

/* Whether, at this moment, nobody is in any of the driver's entries. */
bool
livedump_mem_is_quiet(void)
{
	struct cdev *dev;
	u_long threads = 0;

	if (livedump_mem_csw == NULL)
		return (true);
	dev_lock();
	LIST_FOREACH(dev, &livedump_mem_csw->d_devs, si_list)
		threads += atomic_load_acq_long(&dev->si_threadcount);
	dev_unlock();
	return (threads == 0);
}

/*
 * Gives the entry back and waits until nobody is in ours. EBUSY: somebody
 * took it after us, or it does not get quiet; it is then ours as before.
 */
int
livedump_mem_give_back(void)
{
	volatile uintptr_t *entry;
	int error, tries;

	if (livedump_mountroot_tag != NULL) {
		EVENTHANDLER_DEREGISTER(mountroot, livedump_mountroot_tag);
		livedump_mountroot_tag = NULL;
	}
	if (livedump_mem_csw == NULL)
		return (0);
	entry = (volatile uintptr_t *)&livedump_mem_csw->d_ioctl;
	if (atomic_cmpset_ptr(entry, (uintptr_t)livedump_mem_ioctl,
	    (uintptr_t)livedump_mem_ioctl_was) == 0)
		return (EBUSY);
	error = livedump_arch_fence();
	for (tries = 0; error == 0 && !livedump_mem_is_quiet(); tries++) {
		if (tries >= 5 * hz)
			error = EBUSY;
		else
			pause("ldmem", 1);
	}
	if (error != 0)
		atomic_store_rel_ptr(entry, (uintptr_t)livedump_mem_ioctl);
	else
		livedump_mem_csw = NULL;
	return (error);
}
