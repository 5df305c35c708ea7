/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The thread that made the request, and the file it passed.
 */
#include <sys/param.h>
#include <sys/systm.h>
#include <sys/buf.h>
#include <sys/capsicum.h>
#include <sys/fcntl.h>
#include <sys/file.h>
#include <sys/filedesc.h>
#include <sys/jail.h>
#include <sys/kernel.h>
#include <sys/limits.h>
#include <sys/lock.h>
#include <sys/mount.h>
#include <sys/mutex.h>
#include <sys/priv.h>
#include <sys/proc.h>
#include <sys/rangelock.h>
#include <sys/signalvar.h>
#include <sys/ucred.h>
#include <sys/uio.h>
#include <sys/vnode.h>

#ifdef MAC
#include <security/mac/mac_framework.h>
#endif

#include "livedump_module.h"
#include "livedump_shim.h"

int
livedump_priv_check_kmem_read(void)
{
	return (priv_check(curthread, PRIV_KMEM_READ));
}

int
livedump_priv_check_kmem_write(void)
{
	/*
	 * Securelevel does not come into this (12.1, 13.2, 15.1): memopen()
	 * asks for it apart, when /dev/mem is opened for writing.
	 */
	return (priv_check(curthread, PRIV_KMEM_WRITE));
}

bool
livedump_jailed(void)
{
	return (jailed(curthread->td_ucred));
}

int
livedump_sig_intr(void)
{
	livedump_beat();
#if __FreeBSD_version >= 1300000
	return (sig_intr());
#else
	/* What sig_intr() does since 13; stops are deferred (see serve). */
	struct thread *td = curthread;
	struct proc *p = td->td_proc;
	sigset_t pending;
	int error = 0;

	if ((td->td_flags & (TDF_NEEDSIGCHK | TDF_NEEDSUSPCHK)) == 0)
		return (0);
	PROC_LOCK(p);
	if ((td->td_flags & TDF_NEEDSUSPCHK) != 0)
		error = thread_suspend_check(1);
	if (error == 0) {
		pending = td->td_siglist;
		SIGSETOR(pending, p->p_siglist);
		SIGSETNAND(pending, td->td_sigmask);
		SIG_STOPSIGMASK(pending);
		if (!SIGISEMPTY(pending))
			error = EINTR;
	}
	PROC_UNLOCK(p);
	return (error);
#endif
}

int
livedump_pid(void)
{
	return (curthread->td_proc->p_pid);
}

int
livedump_getvnode(int fd, struct file **fpp)
{
	/*
	 * Before 13.1 there is no O_PATH; such a descriptor is refused with
	 * EBADF by getvnode() itself since.
	 */
	return (getvnode(curthread, fd, &cap_write_rights, fpp));
}

void
livedump_fdrop(struct file *fp)
{
	fdrop(fp, curthread);
}

bool
livedump_file_is_writable(struct file *fp)
{
	return ((fp->f_flag & FWRITE) != 0);
}

bool
livedump_vnode_is_regular(struct file *fp)
{
	/* A FIFO has a vnode, too, whose VOP_WRITE panics. */
	return (fp->f_vnode->v_type == VREG);
}

bool
livedump_same_vnode(struct file *fp, struct file *other)
{
	return (fp->f_vnode == other->f_vnode);
}

void *
livedump_rangelock_wlock(struct file *fp)
{
	return (vn_rangelock_wlock(fp->f_vnode, 0, OFF_MAX));
}

void
livedump_rangelock_unlock(struct file *fp, void *cookie)
{
	vn_rangelock_unlock(fp->f_vnode, cookie);
}

#if __FreeBSD_version >= 1300000
#define	LD_VOP_UNLOCK(vp)	VOP_UNLOCK(vp)
#define	LD_TRUNCATE(vp, cred)	vn_truncate_locked(vp, 0, false, cred)
#else
/* 12 has flags to unlock with, and this part of vn_truncate() inline. */
#define	LD_VOP_UNLOCK(vp)	VOP_UNLOCK(vp, 0)
#define	LD_TRUNCATE(vp, cred)	livedump_truncate_locked(vp, cred)

static int
livedump_truncate_locked(struct vnode *vp, struct ucred *cred)
{
	struct vattr va;

	VATTR_NULL(&va);
	va.va_size = 0;
	return (VOP_SETATTR(vp, &va, cred));
}
#endif

/*
 * vn_start_write() can be interrupted on some file systems only (those with
 * VFCF_SBDRY): while another one, such as UFS, is suspended, wait here.
 */
static int
livedump_start_write(struct vnode *vp, struct mount **mpp)
{
	int error;

	for (;;) {
		error = vn_start_write(vp, mpp, V_NOWAIT);
		if (error != EWOULDBLOCK)
			return (error);
		error = pause_sig("ldsusp", hz / 10 + 1);
		if (error != EWOULDBLOCK && error != 0)
			return (EINTR);
	}
}

int
livedump_vn_truncate(struct file *fp)
{
	struct vnode *vp = fp->f_vnode;
	struct mount *mp;
	int error;

	do {
		error = livedump_start_write(vp, &mp);
		if (error != 0)
			return (error);
		vn_lock(vp, LK_EXCLUSIVE | LK_RETRY);
		error = 0;
#ifdef MAC
		error = mac_vnode_check_write(curthread->td_ucred, fp->f_cred,
		    vp);
#endif
		if (error == 0)
			error = LD_TRUNCATE(vp, fp->f_cred);
		LD_VOP_UNLOCK(vp);
		vn_finished_write(mp);
		/* Soft updates had to let go of the vnode (13 and later). */
	} while (error == ERELOOKUP);
	return (error);
}

int
livedump_vn_write(struct file *fp, uint64_t offset, const void *data,
    size_t len)
{
	struct thread *td = curthread;
	struct vnode *vp = fp->f_vnode;
	struct mount *mp;
	int error;

	/* What vn_write() does for a regular file before it locks anything. */
	bwillwrite();
	do {
		error = livedump_start_write(vp, &mp);
		if (error != 0)
			return (error);
		vn_lock(vp, LK_EXCLUSIVE | LK_RETRY);
		error = vn_rdwr(UIO_WRITE, vp, __DECONST(void *, data),
		    (int)len, (off_t)offset, UIO_SYSSPACE,
		    IO_UNIT | IO_NODELOCKED | IO_RANGELOCKED, td->td_ucred,
		    fp->f_cred, NULL, td);
		LD_VOP_UNLOCK(vp);
		vn_finished_write(mp);
	} while (error == ERELOOKUP);
	return (error);
}
