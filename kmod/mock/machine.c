/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The mock's machine: memory with a hole, page tables with pages of two sizes,
 * a page nobody may dump, one that is no memory, and a page bitset.
 */
#include <stdlib.h>
#include <string.h>

#include "../csrc/livedump_shim.h"
#include "mock.h"

#define	V	1UL
#define	PS	0x80UL
#define	KERNBASE	0xffffff8000000000UL

uint8_t *mock_mem;
uint64_t mock_avail[][2] = {
	{ 0x1000, 0x9f000 }, { 0x100000, MEM_BYTES }, { 0, 0 }
};
bool mock_nodump[MEM_BYTES / PAGE];
uint64_t mock_bitset[MEM_BYTES / PAGE / 64];
char mock_msgbuf[MOCK_MSGBUF_BYTES];
uint32_t mock_minidump_version = 3;
size_t mock_many_linked;
const char *mock_goes_on;

static bool lists_are_locked;

/* What is mapped, told by the code that maps it. */
static bool mapped[MEM_BYTES / PAGE];

static uint64_t *
table(uint64_t pa)
{
	return ((uint64_t *)(void *)(mock_mem + pa));
}

static uint64_t
bits(void)
{
	if (mock_minidump_version == 2)
		return (MEM_BYTES / PAGE);
	return (0x9f - 1 + (MEM_BYTES / PAGE - 0x100));
}

static void
set_bit(uint64_t pa)
{
	uint64_t bit = pa / PAGE;

	if (mock_minidump_version != 2)
		bit = pa < 0x100000 ? bit - 1 : bit - 0x100 + 0x9e;
	mock_bitset[bit / 64] |= 1UL << bit % 64;
	mapped[pa / PAGE] = true;
}

void
mock_machine(void)
{
	size_t i;

	free(mock_mem);
	mock_mem = aligned_alloc(PAGE, MEM_BYTES);
	for (i = 0; i < MEM_BYTES / 8; i++)
		table(0)[i] = (i / 512) % 4 == 0 ? 0 : i * 0x9e3779b97f4a7c15;
	memset(mock_nodump, 0, sizeof(mock_nodump));
	memset(mock_bitset, 0, sizeof(mock_bitset));
	memset(mapped, 0, sizeof(mapped));
	for (i = 0; i < sizeof(mock_msgbuf); i++)
		mock_msgbuf[i] = 'a' + i % 26;

	/* Four GB of kernel map: a directory, nothing, a directory, nothing. */
	for (i = 0x2000; i < 0x7000; i += PAGE)
		memset(mock_mem + i, 0, PAGE);
	table(0x2000)[511] = 0x3000 | V;
	table(0x3000)[0] = 0x4000 | V;
	table(0x3000)[2] = 0x5000 | V;
	table(0x4000)[0] = 0x6000 | V;
	mapped[6] = true;
	for (i = 0; i < 100; i++) {
		table(0x6000)[i] = (0x200000 + i * PAGE) | V | 1UL << 63;
		mapped[0x200 + i] = true;
	}
	table(0x6000)[500] = 0xfee00000UL | V;		/* a device */
	table(0x6000)[501] = 0xa0000UL | V;		/* the hole */
	table(0x4000)[7] = 0x400000 | V | PS;
	for (i = 0; i < 512; i++)
		mapped[0x400 + i] = true;
	table(0x5000)[511] = 0xffffc00000UL | V | PS;	/* a device */

	/* Known to the bitset alone; and what is not to be dumped. */
	for (i = 0; i < 300; i++)
		set_bit(0x1000000 + i * 3 * PAGE);
	set_bit(0x9e000);
	mapped[0x1800000 / PAGE] = true;	/* linked, too new for a bit */
	mock_nodump[0x205] = true;
	mock_nodump[0x1000000 / PAGE] = true;
	mock_nodump[0x410] = true;
	/* Behind the last bit: garbage, as real bitsets may have. */
	if (bits() % 64 != 0)
		mock_bitset[bits() / 64] |= ~0UL << bits() % 64;
}

bool
mock_expects(uint64_t pa)
{
	return (mapped[pa / PAGE] && !mock_nodump[pa / PAGE]);
}

static bool
is_memory(uint64_t pa)
{
	size_t i;

	for (i = 0; mock_avail[i][1] != 0; i++)
		if (mock_avail[i][0] <= pa && pa < mock_avail[i][1])
			return (true);
	return (false);
}

void
livedump_target(struct livedump_target *t)
{
	memset(t, 0, sizeof(*t));
	t->root = 0x2000;
	t->root_level = 3;
	t->kernbase = KERNBASE;
	t->kva_end = livedump_kva_end();
	t->dmapbase = 0xfffff80000000000UL;
	t->dmapend = 0xfffffc0000000000UL;
	t->bitset_bits = bits();
	t->minidump_version = mock_minidump_version;
	t->msgbuf_bytes = sizeof(mock_msgbuf);
	t->dump_avail_bytes = mock_minidump_version == 2 ? 0 : 1024;
}

bool
livedump_dump_avail(size_t nth, uint64_t pair[2])
{
	memcpy(pair, mock_avail[nth], 16);
	return (pair[1] != 0);
}

void
livedump_copy_bitset(size_t first, uint64_t *words, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		words[i] = first + i < (bits() + 63) / 64 ?
		    mock_bitset[first + i] : 0;
}

uint64_t
livedump_kva_end(void)
{
	return (KERNBASE + (4UL << 30));
}

void
livedump_copy_msgbuf(void *text, size_t len)
{
	if (len != sizeof(mock_msgbuf))
		abort();
	memcpy(text, mock_msgbuf, len);
}

/*
 * Three pages that are linked, one of them new to the bitset, one told twice,
 * two that are no memory. What they hold changes when the lists are free.
 */
void
livedump_linked_pages(void (*page)(void *arg, uint64_t pa, bool oncpu),
    void *arg)
{
	static const uint64_t linked[] = {
		0x1003000, 0x1800000, 0xa0000, 0x1003000, 0x9e000, MEM_BYTES
	};
	size_t i;

	lists_are_locked = true;
	for (i = 0; i < sizeof(linked) / sizeof(linked[0]); i++)
		page(arg, linked[i], false);
	for (i = 0; i < mock_many_linked; i++) {
		mapped[MOCK_MANY / PAGE + i] = true;
		page(arg, MOCK_MANY + i * PAGE, false);
	}
	lists_are_locked = false;
}

uint64_t
livedump_load_entry(uint64_t pa, uint64_t index)
{
	if (!is_memory(pa) || pa % PAGE != 0 || index >= 512)
		abort();
	return (table(pa)[index]);
}

void
livedump_load_entries(uint64_t pa, uint64_t first, uint64_t *entries,
    size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		entries[i] = livedump_load_entry(pa, first + i);
}

bool
livedump_phys_in_dmap(uint64_t pa)
{
	return (pa < MEM_BYTES);
}

bool
livedump_vm_phys_is_dumpable(uint64_t pa)
{
	return (is_memory(pa) && !mock_nodump[pa / PAGE]);
}

bool
livedump_page_is_zero(uint64_t pa)
{
	size_t i;

	if (!is_memory(pa) || pa % PAGE != 0)
		abort();
	for (i = 0; i < PAGE && mock_mem[pa + i] == 0; i++)
		continue;
	return (i == PAGE);
}

void
livedump_read_page(uint64_t pa, void *page)
{
	/* To read what is no memory hangs some machines. */
	if (!is_memory(pa) || pa % PAGE != 0)
		abort();
	memcpy(page, mock_mem + pa, PAGE);
	/* A dump of one instant reads none of them afterwards. */
	if (mock_goes_on != NULL)
		((uint8_t *)page)[0] ^= 0xff;
	if (!lists_are_locked &&
	    (pa == 0x1003000 || pa == 0x1800000 || pa == 0x9e000 ||
	    (pa >= MOCK_MANY && pa < MOCK_MANY + mock_many_linked * PAGE)))
		((uint8_t *)page)[100] ^= 0xff;
}
