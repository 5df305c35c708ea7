/* SPDX-License-Identifier: BSD-2-Clause */
/* Sockets. <sys/socket.h>, <netinet/in.h>, <netinet/in_var.h> */
#ifndef NET_H
#define	NET_H

#include "rt.h"

struct sockaddr_in {
	u8 len, family;
	u16 port;		/* network order */
	u32 addr;
	u8 pad[8];
};
#define	AF_UNIX		1
#define	AF_INET		2
#define	SOCK_STREAM	1
#define	SOCK_DGRAM	2
#define	LOOPBACK	0x0100007f
#define	PORT		0x3930

struct sockaddr_in inet(u32 addr, u16 port);
/* Gives lo0 its address. */
i64	loopback(void);
/* A connection to PORT of this machine, as soon as somebody listens. */
i64	connected(void);

#endif
