/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * QEMU's vmcoreinfo device: a note in the guest's memory that QEMU puts into
 * the dumps it makes of the guest. It is a file of QEMU's firmware
 * configuration (docs/specs/fw_cfg.rst, vmcoreinfo.rst), which has two registers
 * to read with, and a DMA interface to write with: ports on amd64, memory on
 * arm64. Every loop ends.
 */
#include <sys/param.h>
#include <sys/systm.h>
#include <sys/endian.h>
#include <sys/kernel.h>

#include <vm/vm.h>
#include <vm/pmap.h>

#include "livedump_arch.h"
#include "livedump_module.h"
#include "livedump_params.h"

#define	FW_CFG_SIGNATURE	0x0000
#define	FW_CFG_ID		0x0001
#define	FW_CFG_FILE_DIR		0x0019

#define	FW_CFG_ID_DMA		0x02

#define	FW_CFG_DMA_ERROR	0x01
#define	FW_CFG_DMA_SELECT	0x08
#define	FW_CFG_DMA_WRITE	0x10

/* Files that are looked at. QEMU has some forty. */
#define	FW_CFG_FILES		512
/* Until a transfer is done: 10 ms; QEMU does it before it is told the end. */
#define	FW_CFG_TRIES		1000
#define	FW_CFG_WAIT_US		10

struct fw_cfg_file {
	uint32_t	size;		/* big endian */
	uint16_t	select;		/* big endian */
	uint16_t	reserved;
	char		name[56];
};
CTASSERT(sizeof(struct fw_cfg_file) == 64);

/* Read and written by QEMU: within a page. */
static struct {
	/* Big endian. */
	volatile uint32_t control;
	uint32_t	length;
	uint64_t	address;
	/* The file, little endian. */
	uint16_t	host_format;
	uint16_t	guest_format;
	uint32_t	size;
	uint64_t	paddr;
} fw_cfg __aligned(32);
#define	FW_CFG_FILE_BYTES	16
CTASSERT(sizeof(fw_cfg) == 32);

#define	VMCOREINFO_FORMAT_NONE	0
#define	VMCOREINFO_FORMAT_ELF	1

/* The file, once it was found. */
static uint16_t vmcoreinfo_select;

static bool
fw_cfg_is_there(void)
{
	char signature[4];
	uint32_t id;

	livedump_arch_fwcfg_select(FW_CFG_SIGNATURE);
	livedump_arch_fwcfg_read(signature, sizeof(signature));
	if (strncmp(signature, "QEMU", sizeof(signature)) != 0)
		return (false);
	livedump_arch_fwcfg_select(FW_CFG_ID);
	livedump_arch_fwcfg_read(&id, sizeof(id));
	return ((le32toh(id) & FW_CFG_ID_DMA) != 0);
}

static bool
fw_cfg_find(void)
{
	struct fw_cfg_file file;
	uint32_t i, n;

	livedump_arch_fwcfg_select(FW_CFG_FILE_DIR);
	livedump_arch_fwcfg_read(&n, sizeof(n));
	n = MIN(be32toh(n), FW_CFG_FILES);
	for (i = 0; i < n; i++) {
		livedump_arch_fwcfg_read(&file, sizeof(file));
		if (strncmp(file.name, "etc/vmcoreinfo",
		    sizeof(file.name)) != 0)
			continue;
		vmcoreinfo_select = be16toh(file.select);
		return (be32toh(file.size) == FW_CFG_FILE_BYTES);
	}
	return (false);
}

static bool
fw_cfg_write(void)
{
	uint64_t pa = pmap_kextract((vm_offset_t)&fw_cfg);
	uint32_t control;
	int i;

	fw_cfg.length = htobe32(FW_CFG_FILE_BYTES);
	fw_cfg.address = htobe64(pa + 16);
	fw_cfg.control = htobe32((uint32_t)vmcoreinfo_select << 16 |
	    FW_CFG_DMA_SELECT | FW_CFG_DMA_WRITE);
	livedump_arch_fwcfg_dma(pa);
	for (i = 0; i < FW_CFG_TRIES; i++) {
		control = be32toh(fw_cfg.control);
		if ((control & ~FW_CFG_DMA_ERROR) == 0)
			return (control == 0);
		DELAY(FW_CFG_WAIT_US);
	}
	return (false);
}

bool
livedump_fwcfg_announce(uint64_t note, uint32_t bytes)
{
	if (!livedump_arch_fwcfg_attach())
		return (false);
	if (!fw_cfg_is_there() || !fw_cfg_find()) {
		livedump_arch_fwcfg_detach();
		return (false);
	}
	fw_cfg.host_format = 0;
	fw_cfg.guest_format = htole16(VMCOREINFO_FORMAT_ELF);
	fw_cfg.size = htole32(bytes);
	fw_cfg.paddr = htole64(note);
	if (fw_cfg_write())
		return (true);
	livedump_arch_fwcfg_detach();
	return (false);
}

void
livedump_fwcfg_withdraw(void)
{
	fw_cfg.guest_format = htole16(VMCOREINFO_FORMAT_NONE);
	fw_cfg.size = 0;
	fw_cfg.paddr = 0;
	if (!fw_cfg_write())
		printf("livedump: QEMU did not take back the vmcoreinfo\n");
	livedump_arch_fwcfg_detach();
}
