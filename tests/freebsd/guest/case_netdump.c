/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A panic whose dump goes over the network: as dumpon(8) -s -c -g sets it up.
 * livedump.netdump has the interface and how: "vtnet0,zstd".
 */
#include "dump.h"

struct ifreq {
	char name[16];
	u16 flags, flagshigh;
	u8 rest[12];
};
#define	SIOCSIFFLAGS	_IOW('i', 16, struct ifreq)
#define	SIOCGIFFLAGS	_IOWR('i', 17, struct ifreq)
#define	IFF_UP		1
#define	AF_INET		2
#define	SOCK_DGRAM	2

static int
up(const char *name)
{
	struct ifreq ifr;
	i64 s;

	zero(&ifr, sizeof(ifr));
	copy(ifr.name, name, len(name));
	s = sys(SYS_socket, (i64)AF_INET, (i64)SOCK_DGRAM, 0L);
	if (!expect("netdump: the interface",
	    sys(SYS_ioctl, s, (i64)SIOCGIFFLAGS, &ifr), 0))
		return (0);
	ifr.flags |= IFF_UP;
	return (expect("netdump: the interface is up",
	    sys(SYS_ioctl, s, (i64)SIOCSIFFLAGS, &ifr), 0));
}

void
case_netdump(void)
{
	struct diocskerneldump_arg kda;
	static u8 encryptedkey[256];
	char how[64], *comma;
	u8 server[4] = { 10, 0, 2, 1 }, client[4] = { 10, 0, 2, 15 };
	i64 dev;

	if (!kernel_env("livedump.netdump", how, sizeof(how)))
		return;
	for (comma = how; *comma != '\0' && *comma != ','; comma++)
		;
	if (*comma == ',')
		*comma++ = '\0';
	if (!up(how))
		return;
	zero(&kda, sizeof(kda));
	kda.index = KDA_APPEND;
	kda.af = AF_INET;
	copy(kda.iface, how, len(how));
	copy(kda.server, server, 4);
	copy(kda.client, client, 4);
	copy(kda.gateway, server, 4);
	if (streq(comma, "zstd"))
		kda.compression = 2;
	if (streq(comma, "encrypted")) {
		/* The host knows them: nothing is secret here. */
		for (int i = 0; i < 64; i++)
			kda.key[i] = (u8)(i * 7 + 1);
		for (int i = 0; i < 256; i++)
			encryptedkey[i] = (u8)(255 - i);
		kda.encryption = 2;
		kda.encryptedkeysize = sizeof(encryptedkey);
		kda.encryptedkey = (u64)encryptedkey;
	}
	dev = sys(SYS_open, "/dev/netdump", (i64)O_RDWR, 0L);
	if (!expect("netdump: configured",
	    sys(SYS_ioctl, dev, (i64)DIOCSKERNELDUMP, &kda), 0))
		return;
	/* The link. */
	sleep_ms(3000);
	facts();
	sysctl_set("debug.ldtest.panic", 1);
	say("FAIL netdump: the machine went on\n");
}
