/* SPDX-License-Identifier: BSD-2-Clause */
/* See net.h. */
#include "dump.h"
#include "net.h"

struct in_aliasreq {
	char name[16];
	struct sockaddr_in addr, broadcast, mask;
	i32 vhid;
};
#define	SIOCAIFADDR	_IOW('i', 43, struct in_aliasreq)

struct sockaddr_in
inet(u32 addr, u16 port)
{
	struct sockaddr_in sin;

	zero(&sin, sizeof(sin));
	sin.len = sizeof(sin);
	sin.family = AF_INET;
	sin.addr = addr;
	sin.port = port;
	return (sin);
}

i64
loopback(void)
{
	struct in_aliasreq req;
	i64 s = sys(SYS_socket, (i64)AF_INET, (i64)SOCK_DGRAM, 0L), r;

	zero(&req, sizeof(req));
	copy(req.name, "lo0", 3);
	req.addr = inet(LOOPBACK, 0);
	req.mask = inet(0xff, 0);
	r = s < 0 ? s : sys(SYS_ioctl, s, (i64)SIOCAIFADDR, &req);
	sys(SYS_close, s);
	return (r);
}

i64
connected(void)
{
	struct sockaddr_in sin = inet(LOOPBACK, PORT);
	i64 s = -1, r = -1;

	for (int i = 0; i < 100 && r != 0; i++) {
		sleep_ms(50);
		s = sys(SYS_socket, (i64)AF_INET, (i64)SOCK_STREAM, 0L);
		r = sys(SYS_connect, s, &sin, (i64)sizeof(sin));
		if (r != 0)
			sys(SYS_close, s);
	}
	return (r != 0 ? r : s);
}
