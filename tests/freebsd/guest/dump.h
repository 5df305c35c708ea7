/* SPDX-License-Identifier: BSD-2-Clause */
/* Taking dumps, and the load under which they are taken. */
#ifndef DUMP_H
#define	DUMP_H

#include "rt.h"
#include "livedump_ioctl.h"

#define	MODULE		"/livedump.ko"
#define	MODULE_NAME	"livedump.ko"
#define	TESTMODULE	"/ldtest.ko"
#define	SCRATCH		"/scratch"	/* UFS, on its own disk */
#define	MEMFS		"/tmp"		/* tmpfs */

extern i64 mem;			/* /dev/mem, read-only */

/* Whether MEM_KERNELDUMP is there at all, without or with the module. */
int	have_kerneldump(void);
i64	load(const char *path);
void	unload(const char *name);
/* Tells the host what it will look for; once. */
void	facts(void);
i64	open_target(const char *path);
i64	kerneldump(i64 fd, u8 compression);
i64	kerneldump_flags(i64 fd, i32 flags, u8 compression);
/* Ours; `arg` gets the results. */
i64	minidump(struct mem_minidump_arg *arg, i64 fd, u32 flags,
	    u8 compression);
i64	status(struct mem_minidump_status *st);
i64	minidump2(struct mem_minidump_arg2 *arg, i64 fd, u32 flags,
	    u64 max_pause_ms);
/* Of one instant, tried again where the machine is not stopped in time. */
i64	patient(const char *kind, struct mem_minidump_arg2 *arg, i64 fd);
/* The caller, and who it begets, run on this CPU, from 0; below 64. */
void	on_cpu(i64 cpu);

/*
 * fork storm, file writes, and a module that comes and goes. Each rests a
 * while after each round, so that dumps are made sooner.
 */
void	start_load(void);
extern u64 load_rest_ms;
void	stop_load(void);

/*
 * For the host: what ldlock.ko's threads wait for; where ldhang.ko's loop,
 * ldstep.ko's counters and list are; whether these go on.
 */
void	tell_waits(void);
void	tell_spin(void);
void	tell_steps(void);
int	steps_go_on(void);

/* Says what another process may not do; 0 when it could be asked. */
int	ask_within(const char *path, const char *pid);
int	ask_confined(const char *path, char **argv, char **envp);

/* <sys/disk.h>: struct diocskerneldump_arg, 152 bytes from 13.0. */
struct diocskerneldump_arg {
	u8 index, compression, encryption, key[64];
	u32 encryptedkeysize __attribute__((aligned(4)));
	u64 encryptedkey;
	u8 iface[16], server[16], client[16], gateway[16];
	u8 af;
} __attribute__((aligned(8)));
#define	DIOCSKERNELDUMP	_IOW('d', 145, struct diocskerneldump_arg)
#define	KDA_APPEND	252
#define	KDA_REMOVE_ALL	254

/* One file of cases each. */
void	cases_requests(void);
void	cases_module(void);
void	cases_dumps(void);
void	cases_instant(void);
void	cases_freeze(void);
void	case_load(void);
void	cases_outside(void);
/* Has the host do something; whether it has, and the machine goes on. */
int	ask_outside(const char *name);
int	outside(const char *kind, int nth);
void	cases_params(void);
void	cases_pause(void);
void	cases_row(void);
void	cases_deadlocks(void);
void	cases_hangs(void);
void	cases_limits(void);
void	cases_costs(void);
void	cases_writing(void);
void	cases_streams(void);
void	case_panic(void);
void	case_netdump(void);
void	case_nmi(void);
/* The last of a boot; each skips, or does not return. */
void	case_dead(void);
void	case_ddb(void);
void	case_halted(void);
/* Whether panics will be dumped. */
int	dump_device(void);
/* The machine's dumps go there, or nowhere; 1 is AES, 2 ChaCha20. */
i64	set_dumper(const char *path, int on, u8 cipher);

#endif
