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
#include <sys/rwlock.h>
#include <sys/signalvar.h>
#include <sys/ucred.h>
#include <sys/uio.h>
#include <sys/vnode.h>

#include <vm/vm.h>
#include <vm/vm_object.h>

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

/*
 * A process that is stopped as a whole, as by 13's and 14's PROC_REAP_KILL,
 * which sends its signal then, and for a sleep of the machine: whoever waits for
 * that (a task of all the kernel's, for one) would wait for the dump.
 */
static bool
livedump_is_stopped(void)
{
	const volatile int *flags = &curproc->p_flag;

	return ((*flags & P_TOTAL_STOP) != 0);
}

int
livedump_sig_intr(void)
{
	livedump_beat();
	return (livedump_sig_check());
}

int
livedump_sig_check(void)
{
	if (livedump_is_stopped())
		return (EINTR);
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

/* A process that holds the file's range lock has so long to release it. */
#define	LD_RANGE_SECONDS	10
/* So long a signal is not answered where the vnode is locked by others. */
#define	LD_UNLOCK_SECONDS	1

/*
 * A file that is being written, from its range lock on: the dump's, and the
 * list of pages that changed. One dump is taken at a time.
 */
static struct ld_written {
	struct vnode	*vp;
	void		*cookie;
	bool		detect;		/* other writers are not excluded */
	bool		known;		/* as it was after our last write */
	struct timespec	mtime;
	u_quad_t	size;
} livedump_written[2];

static struct ld_written *
livedump_written_find(struct vnode *vp)
{
	size_t i;

	for (i = 0; i < nitems(livedump_written); i++)
		if (livedump_written[i].vp == vp)
			return (&livedump_written[i]);
	return (NULL);
}

/* The mount that a vnode is written to: below nullfs, the lower one. */
static struct mount *
livedump_write_mount(struct vnode *vp)
{
	struct mount *mp;

	if (VOP_GETWRITEMOUNT(vp, &mp) != 0)
		return (NULL);
	return (mp);
}

static bool
livedump_is_fuse(const struct mount *mp)
{
	/* "fusefs", or "fusefs.NAME"; 12: "fuse". */
	return (strncmp(mp->mnt_stat.f_fstypename, "fuse", 4) == 0);
}

bool
livedump_file_is_served(struct file *fp)
{
	struct mount *mp = livedump_write_mount(fp->f_vnode);
	bool served;

	if (mp == NULL)
		return (false);
	served = livedump_is_fuse(mp) ||
	    livedump_disk_is_served(mp->mnt_stat.f_mntfromname);
	vfs_rel(mp);
	return (served);
}

/*
 * write(2) takes the range lock only where the file system lets it be called
 * with the user's pages held (MNTK_NO_IOPF: UFS, ZFS, msdosfs, NFS); tmpfs and
 * others do not. nullfs has a lock of its own, and writers to the lower file
 * do not take it. There the time of modification tells; but not of a file that
 * a server changes.
 */
static bool
livedump_must_detect(struct vnode *vp)
{
	struct mount *mp = vp->v_mount, *to;
	bool detect;

	to = livedump_write_mount(vp);
	if (to == NULL)
		return (false);
	detect = (to->mnt_flag & MNT_LOCAL) != 0 && !livedump_is_fuse(to) &&
	    (mp != to || (to->mnt_kern_flag & MNTK_NO_IOPF) == 0);
	vfs_rel(to);
	return (detect);
}

/* Whether a process has the file mapped so that it can write to it. */
static bool
livedump_is_mapped(struct vnode *vp)
{
	vm_object_t object = vp->v_object;
	bool mapped = false;

	if (object == NULL)
		return (false);
	VM_OBJECT_RLOCK(object);
	if (object->type == OBJT_VNODE)
		mapped = object->un_pager.vnp.writemappings != 0;
	/* tmpfs; 12 does not count its mappings. */
#if defined(OBJ_SWAP)
	else if ((object->flags & OBJ_SWAP) != 0)
		mapped = object->un_pager.swp.writemappings != 0;
#elif __FreeBSD_version >= 1300000
	else if (object->type == OBJT_SWAP)
		mapped = object->un_pager.swp.writemappings != 0;
#endif
	VM_OBJECT_RUNLOCK(object);
	return (mapped);
}

static void *
livedump_rangelock_try(struct vnode *vp)
{
#if __FreeBSD_version >= 1300000
	return (vn_rangelock_trywlock(vp, 0, OFF_MAX));
#else
	bool idle;

	/*
	 * 12 cannot try: it is looked at first. Whoever takes the lock after
	 * that is waited for.
	 */
	VI_LOCK(vp);
	idle = TAILQ_EMPTY(&vp->v_rl.rl_waiters);
	VI_UNLOCK(vp);
	return (idle ? vn_rangelock_wlock(vp, 0, OFF_MAX) : NULL);
#endif
}

int
livedump_rangelock_wlock(struct file *fp, void **lock)
{
	struct vnode *vp = fp->f_vnode;
	struct ld_written *written;
	int error, tries;

	written = livedump_written_find(NULL);
	if (written == NULL)
		return (EBUSY);
	for (tries = 0;; tries++) {
		written->cookie = livedump_rangelock_try(vp);
		if (written->cookie != NULL)
			break;
		if (tries >= LD_RANGE_SECONDS * hz)
			return (EAGAIN);
		error = pause_sig("ldrange", 1);
		if (error != EWOULDBLOCK && error != 0)
			return (EINTR);
	}
	if (livedump_is_mapped(vp)) {
		vn_rangelock_unlock(vp, written->cookie);
		return (ETXTBSY);
	}
	written->detect = livedump_must_detect(vp);
	written->known = false;
	written->vp = vp;
	*lock = written;
	return (0);
}

void
livedump_rangelock_unlock(struct file *fp, void *lock)
{
	struct ld_written *written = lock;

	written->vp = NULL;
	vn_rangelock_unlock(fp->f_vnode, written->cookie);
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

/*
 * The vnode lock, for one write. Others hold it while they write or read; one
 * that never releases it must not make this thread one that cannot be killed.
 * A signal is answered after a moment, so that the file can be emptied.
 */
static int
livedump_vnode_lock(struct vnode *vp)
{
	int error, tries, interrupted = 0;

	for (tries = 0;; tries++) {
		error = vn_lock(vp, LK_EXCLUSIVE | LK_NOWAIT);
		if (error == 0)
			return (0);
		/* The file system was taken away. */
		if (error == ENOENT)
			return (EIO);
		if (interrupted >= LD_UNLOCK_SECONDS * hz)
			return (EINTR);
		if (livedump_sig_intr() != 0)
			interrupted++;
		if (tries < 10 && interrupted == 0)
			pause_sbt("ldvnode", SBT_1MS, 0, C_PREL(2));
		else
			pause("ldvnode", 1);
	}
}

/*
 * Under the vnode lock, before a write: EINTEGRITY when somebody else wrote
 * since the last one, or may write without a system call.
 */
static int
livedump_check_unwritten(struct ld_written *written, struct ucred *cred)
{
	struct vattr va;

	if (livedump_is_mapped(written->vp))
		return (EINTEGRITY);
	if (!written->detect || !written->known)
		return (0);
	if (VOP_GETATTR(written->vp, &va, cred) != 0)
		return (0);
	if (timespeccmp(&va.va_mtime, &written->mtime, !=) ||
	    va.va_size != written->size)
		return (EINTEGRITY);
	return (0);
}

/* And after it. */
static void
livedump_note_written(struct ld_written *written, struct ucred *cred)
{
	struct vattr va;

	written->known = false;
	if (!written->detect || VOP_GETATTR(written->vp, &va, cred) != 0)
		return;
	written->mtime = va.va_mtime;
	written->size = va.va_size;
	written->known = true;
}

int
livedump_vn_check(struct file *fp)
{
	struct vnode *vp = fp->f_vnode;
	struct ld_written *written = livedump_written_find(vp);
	int error;

	if (written == NULL)
		return (0);
	error = livedump_vnode_lock(vp);
	if (error != 0)
		return (error);
	error = livedump_check_unwritten(written, fp->f_cred);
	LD_VOP_UNLOCK(vp);
	return (error);
}

int
livedump_vn_truncate(struct file *fp)
{
	struct vnode *vp = fp->f_vnode;
	struct ld_written *written = livedump_written_find(vp);
	struct mount *mp;
	int error;

	do {
		error = livedump_start_write(vp, &mp);
		if (error != 0)
			return (error);
		error = livedump_vnode_lock(vp);
		if (error != 0) {
			vn_finished_write(mp);
			return (error);
		}
#ifdef MAC
		error = mac_vnode_check_write(curthread->td_ucred, fp->f_cred,
		    vp);
#endif
		if (error == 0)
			error = LD_TRUNCATE(vp, fp->f_cred);
		if (written != NULL)
			livedump_note_written(written, fp->f_cred);
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
	struct ld_written *written = livedump_written_find(vp);
	struct mount *mp;
	const char *from = data;
	size_t left = len;
	ssize_t resid;
	int error;

	/* What vn_write() does for a regular file before it locks anything. */
	bwillwrite();
	do {
		resid = 0;
		error = livedump_start_write(vp, &mp);
		if (error != 0)
			return (error);
		error = livedump_vnode_lock(vp);
		if (error != 0) {
			vn_finished_write(mp);
			return (error);
		}
		if (written != NULL)
			error = livedump_check_unwritten(written, fp->f_cred);
		if (error == 0) {
			error = vn_rdwr(UIO_WRITE, vp, __DECONST(char *, from),
			    (int)left, (off_t)offset, UIO_SYSSPACE,
			    IO_UNIT | IO_NODELOCKED | IO_RANGELOCKED,
			    td->td_ucred, fp->f_cred, &resid, td);
			/* Also what was written in part. */
			if (written != NULL)
				livedump_note_written(written, fp->f_cred);
		}
		LD_VOP_UNLOCK(vp);
		vn_finished_write(mp);
		if (error == 0 && resid > 0) {
			if ((size_t)resid >= left)
				return (EIO);
			/*
			 * Up to a limit on the size of files, without an
			 * error (14 and later): the rest says which.
			 */
			offset += left - (size_t)resid;
			from += left - (size_t)resid;
			left = (size_t)resid;
		}
	} while (error == ERELOOKUP || (error == 0 && resid > 0));
	return (error);
}
