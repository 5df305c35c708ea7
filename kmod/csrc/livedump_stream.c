/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Pipes and sockets that the caller passed.
 */
#include <sys/param.h>
#include <sys/systm.h>
#include <sys/capsicum.h>
#include <sys/file.h>
#include <sys/filedesc.h>
#include <sys/lock.h>
#include <sys/proc.h>
#include <sys/selinfo.h>
#include <sys/socket.h>
#include <sys/socketvar.h>
#include <sys/sx.h>
#include <sys/ucred.h>
#include <sys/uio.h>
/* It does not include what it needs. */
#include <sys/pipe.h>

#include "livedump_module.h"
#include "livedump_shim.h"

static bool
livedump_is_stream(const struct file *fp)
{
	const struct socket *so;

	switch (fp->f_type) {
	case DTYPE_PIPE:
	case DTYPE_FIFO:
		return (true);
	case DTYPE_SOCKET:
		so = fp->f_data;
		return (so->so_type == SOCK_STREAM);
	default:
		return (false);
	}
}

int
livedump_getstream(int fd, struct file **fpp)
{
	struct file *fp;
	int error;

	error = fget(curthread, fd, &cap_write_rights, &fp);
	if (error != 0)
		return (error);
	if (!livedump_is_stream(fp)) {
		fdrop(fp, curthread);
		return (EINVAL);
	}
	*fpp = fp;
	return (0);
}

bool
livedump_is_read_by_caller(struct file *fp)
{
	struct filedesc *fdp = curproc->p_fd;
	const struct pipe *pipe;
	const struct file *other;
	const void *peer;
	bool found = false;
	int fd;

	/* A FIFO is one pipe, whose other end is itself. */
	if (fp->f_type == DTYPE_PIPE) {
		pipe = fp->f_data;
		peer = pipe->pipe_peer;
	} else if (fp->f_type == DTYPE_FIFO)
		peer = fp->f_data;
	else
		return (false);
	FILEDESC_SLOCK(fdp);
	for (fd = 0; fd < fdp->fd_nfiles && !found; fd++) {
		other = fdp->fd_ofiles[fd].fde_file;
		found = other != NULL && other->f_type == fp->f_type &&
		    other->f_data == peer && (other->f_flag & FREAD) != 0;
	}
	FILEDESC_SUNLOCK(fdp);
	return (found);
}

int
livedump_fo_write(struct file *fp, const void *data, size_t len)
{
	struct thread *td = curthread;
	struct iovec iov;
	struct uio uio;
	ssize_t before;
	int error;

	iov.iov_base = __DECONST(void *, data);
	iov.iov_len = len;
	uio.uio_iov = &iov;
	uio.uio_iovcnt = 1;
	uio.uio_offset = -1;
	uio.uio_resid = (ssize_t)len;
	uio.uio_segflg = UIO_SYSSPACE;
	uio.uio_rw = UIO_WRITE;
	uio.uio_td = td;
	while (uio.uio_resid > 0) {
		before = uio.uio_resid;
		error = fo_write(fp, &uio, td->td_ucred, 0, td);
		switch (error) {
		case 0:
		case EWOULDBLOCK:
			/* O_NONBLOCK, or a socket's SO_SNDTIMEO. */
		case EINTR:
		case ERESTART:
			/* What ends a dump is asked for below. */
			break;
		default:
			return (error);
		}
		/* While nobody reads the dump does not move. */
		if (uio.uio_resid < before) {
			error = livedump_sig_intr();
		} else {
			(void)pause_sig("ldstrm", 1);
			error = livedump_sig_check();
		}
		if (error != 0)
			return (error);
	}
	return (0);
}
