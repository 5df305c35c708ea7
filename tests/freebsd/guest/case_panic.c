/* SPDX-License-Identifier: BSD-2-Clause */
/* A panic in the middle of a live dump must still write its own dump. */
#include "dump.h"

/* In 12 it has no index, and ends after the key: 80 bytes. */
struct diocskerneldump_arg12 {
	u8 enable, compression, encryption, key[64];
	u32 encryptedkeysize __attribute__((aligned(4)));
	u64 encryptedkey;
} __attribute__((aligned(8)));
#define	DIOCSKERNELDUMP12 _IOW('d', 144, struct diocskerneldump_arg12)

static int
dumping(void *arg)
{
	struct mem_minidump_arg a;

	(void)arg;
	return (minidump(&a, open_target(SCRATCH "/panic"), 0, 0) != 0);
}

/* No secret: the host looks for it. */
static void
make_key(u8 key[64])
{
	for (int i = 0; i < 64; i++)
		key[i] = (u8)(i * 7 + 1);
}

i64
set_dumper(const char *path, int on, u8 cipher)
{
	static u8 encryptedkey[256];
	struct diocskerneldump_arg kda;
	struct diocskerneldump_arg12 kda12;
	i64 disk, r;

	zero(&kda, sizeof(kda));
	zero(&kda12, sizeof(kda12));
	kda.index = on ? KDA_APPEND : KDA_REMOVE_ALL;
	kda12.enable = (u8)on;
	if (cipher != 0) {
		make_key(kda.key);
		make_key(kda12.key);
		kda.encryption = kda12.encryption = cipher;
		kda.encryptedkeysize = kda12.encryptedkeysize =
		    sizeof(encryptedkey);
		kda.encryptedkey = kda12.encryptedkey = (u64)encryptedkey;
	}
	disk = sys(SYS_open, path, (i64)O_RDONLY, 0L);
	if (sysctl_int("kern.osreldate", 0) >= 1300000)
		r = sys(SYS_ioctl, disk, (i64)DIOCSKERNELDUMP, &kda);
	else
		r = sys(SYS_ioctl, disk, (i64)DIOCSKERNELDUMP12, &kda12);
	sys(SYS_close, disk);
	zero(&kda, sizeof(kda));
	zero(&kda12, sizeof(kda12));
	return (r);
}

int
dump_device(void)
{
	return (expect("panic: a dump device",
	    set_dumper("/dev/vtbd2", 1, 0), 0));
}

void
case_panic(void)
{
	struct mem_minidump_status st;

	if (!dump_device())
		return;
	sysctl_set("debug.ldtest.delay_us", 2000);
	spawn(dumping, 0);
	for (int i = 0; i < 20000; i++) {
		if (status(&st) == 0 && st.mds_stage == 11 &&
		    st.mds_pages_done > 500)
			break;
		sys(SYS_sched_yield);
	}
	say("FACT panicked at page ", num(st.mds_pages_done), "\n");
	sysctl_set("debug.ldtest.panic", 1);
	say("FAIL panic: the machine went on\n");
}
