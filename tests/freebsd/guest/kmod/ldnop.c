/* SPDX-License-Identifier: BSD-2-Clause */
/* ldnop.ko: a module whose only use is to be loaded and unloaded. */
#include <sys/param.h>
#include <sys/kernel.h>
#include <sys/module.h>
#include <sys/systm.h>

static char data[1 << 16] = { 1 };

static int
ldnop_modevent(module_t mod __unused, int what, void *arg __unused)
{
	if (what != MOD_LOAD && what != MOD_UNLOAD)
		return (EOPNOTSUPP);
	data[what]++;
	return (0);
}

static moduledata_t ldnop_mod = { "ldnop", ldnop_modevent, NULL };
DECLARE_MODULE(ldnop, ldnop_mod, SI_SUB_DRIVERS, SI_ORDER_ANY);
