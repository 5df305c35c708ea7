/* SPDX-License-Identifier: BSD-2-Clause */
/* FreeBSD's encoding of ioctl(2) requests, for other systems. */
#ifndef _SYS_IOCCOM_H_
#define	_SYS_IOCCOM_H_

#define	_IOC(dir, group, num, len)					\
	((unsigned long)((dir) | ((len) & 0x1fffUL) << 16 | (group) << 8 | (num)))
#define	_IOR(g, n, t)	_IOC(0x40000000UL, (unsigned)(g), (n), sizeof(t))
#define	_IOW(g, n, t)	_IOC(0x80000000UL, (unsigned)(g), (n), sizeof(t))
#define	_IOWR(g, n, t)	_IOC(0xc0000000UL, (unsigned)(g), (n), sizeof(t))

#endif /* !_SYS_IOCCOM_H_ */
