/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the C files of the module need of one another, and the engine not.
 */
#ifndef _LIVEDUMP_MODULE_H_
#define	_LIVEDUMP_MODULE_H_

#include <sys/types.h>
#include <sys/conf.h>
#include <sys/malloc.h>
#include <sys/memrange.h>

/*
 * FreeBSD 13.2 and later have live dumps of their own: the request, and the
 * livedumper events. livedump_ioctl.h repeats the request for older kernels,
 * so it must not have been included before this.
 */
#ifdef _LIVEDUMP_IOCTL_H_
#error "livedump_module.h comes before livedump_ioctl.h"
#endif
#ifdef MEM_KERNELDUMP
#define	LD_HAS_KERNELDUMP	1
#else
#define	LD_HAS_KERNELDUMP	0
#endif

MALLOC_DECLARE(M_LIVEDUMP);

/* livedump_disk.c */
bool	livedump_disk_is_served(const char *from);

/* livedump_kern.c */
void	livedump_lock_init(void);
void	livedump_lock_fini(void);
void	livedump_savectx_init(void);
void	livedump_keys_init(void);
void	livedump_savectx_where(uint64_t *pcb, uint64_t *tid);

/* livedump_memory.c */
void	livedump_memory_begin(void);
bool	livedump_memory_for(size_t size);
bool	livedump_memory_wait(void);
void	*livedump_malloc_of(size_t size, struct malloc_type *type, int flags);
/* A stack, and what else a kernel thread takes. */
#define	LD_THREAD_BYTES	((KSTACK_PAGES + 4) * PAGE_SIZE)

/* livedump_params.c */
extern uint64_t livedump_params_pa;
extern int livedump_vmcoreinfo;
extern int livedump_announced;
void	livedump_params_init(void);
void	livedump_params_fini(void);

/* livedump_quiesce.c */
struct proc;
void	livedump_beat(void);
/* livedump_sig_intr() where the dump has not moved. */
int	livedump_sig_check(void);
bool	livedump_allproc_slock(int *patience);
bool	livedump_proc_lock(struct proc *p, int *patience);

/* livedump_sysctl.c */
extern int livedump_mem_enabled;
extern int livedump_kerneldump;
int	livedump_sysctl_init(void);
int	livedump_sysctl_fini(void);

/* livedump_mem.c */
int	livedump_mem_take(void);
int	livedump_mem_give_back(void);
bool	livedump_mem_is_quiet(void);

/* livedump_module.c */
extern volatile u_int livedump_leaving;
int	livedump_serve(u_long cmd, caddr_t data);

#endif /* !_LIVEDUMP_MODULE_H_ */
