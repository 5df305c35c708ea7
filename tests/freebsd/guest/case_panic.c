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

int
dump_device(void)
{
	struct diocskerneldump_arg kda;
	struct diocskerneldump_arg12 kda12;
	i64 disk, r;

	zero(&kda, sizeof(kda));
	zero(&kda12, sizeof(kda12));
	kda.index = KDA_APPEND;
	kda12.enable = 1;
	disk = sys(SYS_open, "/dev/vtbd2", (i64)O_RDONLY, 0L);
	if (sysctl_int("kern.osreldate", 0) >= 1300000)
		r = sys(SYS_ioctl, disk, (i64)DIOCSKERNELDUMP, &kda);
	else
		r = sys(SYS_ioctl, disk, (i64)DIOCSKERNELDUMP12, &kda12);
	return (expect("panic: a dump device", r, 0));
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
