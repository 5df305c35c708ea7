/* SPDX-License-Identifier: BSD-2-Clause */
/* The encoding of ioctl(2) requests, for programs without a libc. */
#ifndef _SYS_IOCCOM_H_
#define	_SYS_IOCCOM_H_

#define	IOC_OUT		0x40000000UL
#define	IOC_IN		0x80000000UL
#define	_IOC(d, g, n, l)	((d) | ((l) & 0x1fffUL) << 16 | (g) << 8 | (n))
#define	_IOW(g, n, t)	_IOC(IOC_IN, g, n, sizeof(t))
#define	_IOR(g, n, t)	_IOC(IOC_OUT, g, n, sizeof(t))
#define	_IOWR(g, n, t)	_IOC(IOC_IN | IOC_OUT, g, n, sizeof(t))

#endif
