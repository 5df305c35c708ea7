/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The very object that goes into livedump.ko, linked with a mock of the shim
 * and driven through its three entries.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../csrc/livedump_ioctl.h"
#include "../csrc/livedump_shim.h"
#include "mock.h"

#define	CHECK(cond) do {						\
	if (!(cond)) {							\
		fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #cond);\
		exit(1);						\
	}								\
} while (0)

enum { OK = 0, EPERM_ = 1, EINTR_ = 4, EIO_ = 5, EBADF_ = 9, EBUSY_ = 16,
    EINVAL_ = 22, ENOTTY_ = 25, ENOSPC_ = 28, EAGAIN_ = 35 };

static void
reset(void)
{
	free(mock_file.data);
	memset(&mock_file, 0, sizeof(mock_file));
	mock_file.writable = mock_file.regular = true;
	mock_file.space = ~0UL >> 1;
	mock_priv_read = mock_priv_write = mock_event_error = 0;
	mock_jailed = mock_served = mock_written_by_others = false;
	mock_missing_cpu = mock_no_workers = mock_late_cpu = false;
	mock_goes_on = NULL;
	mock_tick_ns = 1;
	mock_free_pages = 1UL << 20;
	mock_passes = 0;
	mock_ncpus_now = 2;
	mock_threads_refused = 0;
	mock_physmem_now = 1UL << 30;
	mock_key = 0;
	mock_key_replaced = 0;
	mock_fail_at = mock_signal_at = -1;
	mock_no_memory = false;
}

static int
kerneldump(int compression)
{
	struct mem_livedump_arg arg = { .fd = 3, .compression = compression };

	return (livedump_entry_request(MEM_KERNELDUMP, &arg, sizeof(arg)));
}

static struct mem_minidump_arg
request(void)
{
	struct mem_minidump_arg arg;

	memset(&arg, 0, sizeof(arg));
	arg.mda_version = MINIDUMP_ARG_VERSION;
	arg.mda_fd = 3;
	return (arg);
}

static int
minidump(struct mem_minidump_arg *arg)
{
	return (livedump_entry_request(MEM_MINIDUMP, arg, sizeof(*arg)));
}

static uint64_t
be64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, 8);
	return (__builtin_bswap64(v));
}

/* A page of the machine, as a dump shows it: without the key. */
static void
shown_page(uint64_t pa, uint8_t *page)
{
	uint64_t at;

	memcpy(page, mock_mem + pa, PAGE);
	if (mock_key != MOCK_KEY)
		return;
	for (at = MOCK_KEY_PA; at < MOCK_KEY_PA + MOCK_KEY_BYTES; at++)
		if (pa <= at && at < pa + PAGE)
			page[at - pa] = 0;
}

/* A dump without its kernel dump header, against the machine. */
static void
check_body(const uint8_t *body, size_t len)
{
	uint32_t version, msgbuf, bitmap, pmap, avail = 0;
	size_t at = PAGE, bit = 0, bits = 0;
	uint8_t page[PAGE];
	const uint8_t *set;
	uint64_t pa;

	CHECK(memcmp(body, "minidump FreeBSD/amd64", 23) == 0);
	memcpy(&version, body + 24, 4);
	memcpy(&msgbuf, body + 28, 4);
	memcpy(&bitmap, body + 32, 4);
	memcpy(&pmap, body + 36, 4);
	CHECK(version == mock_minidump_version);
	if (version == 3)
		memcpy(&avail, body + 64, 4);
	CHECK(msgbuf == MOCK_MSGBUF_BYTES && bitmap % PAGE == 0);
	CHECK(pmap == 4 * PAGE && avail == (version == 3 ? PAGE : 0));
	CHECK(memcmp(body + at, mock_msgbuf, msgbuf) == 0);
	at += (msgbuf + PAGE - 1) / PAGE * PAGE;
	CHECK(avail == 0 || memcmp(body + at, mock_avail, 48) == 0);
	at += avail;
	set = body + at;
	at += bitmap;
	CHECK(memcmp(body + at, mock_mem + 0x4000, PAGE) == 0);
	CHECK(memcmp(body + at + 2 * PAGE, mock_mem + 0x5000, PAGE) == 0);
	at += pmap;
	for (pa = version == 2 ? 0 : PAGE; pa < MEM_BYTES; pa += PAGE, bit++) {
		if (version == 3 && pa == 0x9f000)
			pa = 0x100000;
		bits = bit + 1;
		CHECK((set[bit / 8] >> bit % 8 & 1) == mock_expects(pa));
		if (!mock_expects(pa))
			continue;
		CHECK(at + PAGE <= len);
		shown_page(pa, page);
		CHECK(memcmp(body + at, page, PAGE) == 0);
		at += PAGE;
	}
	CHECK(at == len);
	for (bit = bits; bit < bitmap * 8UL; bit++)
		CHECK((set[bit / 8] >> bit % 8 & 1) == 0);
}

/* The file as the request left it; the dump's length in it is returned. */
static size_t
check_file(int compression)
{
	const uint8_t *tail;
	uint64_t length;
	size_t i;
	uint32_t word, parity = 0;

	CHECK(mock_file.len > 512 && mock_file.len % PAGE == 512);
	tail = mock_file.data + mock_file.len - 512;
	CHECK(memcmp(tail, "FreeBSD Kernel Dump", 20) == 0);
	for (i = 0; i < 512; i += 4) {
		memcpy(&word, tail + i, 4);
		parity ^= word;
	}
	CHECK(parity == 0);
	CHECK(tail[495] == compression);
	CHECK(strcmp((const char *)tail + 64, "mock") == 0);
	length = be64(tail + 40);
	CHECK((length + PAGE - 1) / PAGE * PAGE == mock_file.len - 512);
	return (length);
}

/* Through gzip(1), so that nothing of ours says that it is good. */
static void
check_gzip(size_t length)
{
	char name[] = "/tmp/livedump-mock.XXXXXX", command[64];
	uint8_t *body = malloc(64UL << 20);
	size_t len;
	FILE *f;
	int fd = mkstemp(name);

	CHECK(fd >= 0 && (f = fdopen(fd, "w")) != NULL);
	CHECK(fwrite(mock_file.data, 1, length, f) == length);
	fclose(f);
	snprintf(command, sizeof(command), "gzip -dc < %s", name);
	CHECK((f = popen(command, "r")) != NULL);
	len = fread(body, 1, 64UL << 20, f);
	CHECK(pclose(f) == 0);
	remove(name);
	check_body(body, len);
	CHECK(be64(mock_file.data + mock_file.len - 512 + 496) == len);
	free(body);
}

static void
the_stock_request_writes_a_sound_dump(void)
{
	size_t length;

	for (mock_minidump_version = 2; mock_minidump_version <= 3;
	    mock_minidump_version++) {
		mock_machine();
		reset();
		CHECK(kerneldump(0) == OK);
		length = check_file(0);
		check_body(mock_file.data, length);
		reset();
		CHECK(kerneldump(1) == OK);
		check_gzip(check_file(1));
		CHECK(mock_held == 0);
	}
	mock_minidump_version = 3;
	mock_machine();
}

static void
ours_tells_what_it_did(void)
{
	struct mem_minidump_arg arg = request(), estimate;
	struct mem_minidump_status status;
	size_t length;

	reset();
	CHECK(minidump(&arg) == OK);
	length = check_file(0);
	CHECK(arg.mda_dumplength == length && arg.mda_dumpextent == length);
	CHECK(arg.mda_minidump_version == 3 && arg.mda_stage == 13);
	CHECK(arg.mda_pages > 600 && arg.mda_zero_pages > 0);

	estimate = request();
	estimate.mda_flags = MINIDUMP_ESTIMATE;
	estimate.mda_fd = -1;
	CHECK(minidump(&estimate) == OK);
	CHECK(estimate.mda_pages == arg.mda_pages);
	CHECK(estimate.mda_dumpextent == arg.mda_dumpextent);

	CHECK(livedump_entry_request(MEM_MINIDUMP_STATUS, &status,
	    sizeof(status)) == OK);
	CHECK(status.mds_last_error == 0 && status.mds_last_pid == 4711);
	CHECK(status.mds_completed > 0 && status.mds_pid == 0);
	CHECK(status.mds_estimates == 1);
	CHECK(status.mds_started == status.mds_completed);
	memset(&status, 0xff, sizeof(status));
	livedump_entry_status(&status);
	CHECK(status.mds_version == MINIDUMP_ARG_VERSION);
	CHECK(mock_held == 0);
}

static void
bad_requests_have_their_errno(void)
{
	struct mem_minidump_arg arg;

	reset();
	CHECK(strchr(livedump_entry_release(), '.') != NULL);
	CHECK(livedump_entry_takes(MEM_MINIDUMP, false));
	CHECK(livedump_entry_takes(MEM_MINIDUMP_STATUS, false));
	CHECK(livedump_entry_takes(MEM_KERNELDUMP, true));
	CHECK(!livedump_entry_takes(MEM_KERNELDUMP, false));
	CHECK(!livedump_entry_takes(0xc0406d34, true));
	CHECK(!livedump_entry_takes(MEM_MINIDUMP | 1UL << 32, true));
	arg = request();
	CHECK(livedump_entry_request(0xc0406d34, &arg, 64) == ENOTTY_);
	CHECK(livedump_entry_request(MEM_MINIDUMP, &arg, 64) == ENOTTY_);

	mock_priv_read = EPERM_;
	CHECK(kerneldump(0) == EPERM_);
	mock_priv_read = 0;
	mock_priv_write = EPERM_;
	CHECK(minidump(&arg) == EPERM_);
	mock_priv_write = 0;
	mock_jailed = true;
	CHECK(minidump(&arg) == EPERM_);
	mock_jailed = false;

	arg = request();
	arg.mda_version = 2;
	CHECK(minidump(&arg) == EINVAL_);
	arg = request();
	arg.mda_missing_cpus = 1;
	CHECK(minidump(&arg) == EINVAL_);
	arg = request();
	arg.mda_fd = 4;
	CHECK(minidump(&arg) == EBADF_);
	mock_file.writable = false;
	CHECK(kerneldump(0) == EBADF_);
	mock_file.writable = true;
	mock_file.regular = false;
	CHECK(kerneldump(0) == EINVAL_);
	mock_file.regular = true;
	CHECK(kerneldump(2) == EINVAL_);
	CHECK(kerneldump(9) == EINVAL_);
	mock_event_error = 45;
	CHECK(kerneldump(0) == 45);
	CHECK(mock_held == 0 && mock_file.len == 0);

	reset();
	CHECK(livedump_try_xlock());
	CHECK(kerneldump(0) == EBUSY_);
	arg = request();
	arg.mda_flags = MINIDUMP_WAIT;
	mock_signal_at = 0;
	CHECK(minidump(&arg) == EINTR_);
	livedump_xunlock();
	CHECK(mock_held == 0);
}

static void
a_full_disk_and_a_signal_leave_an_empty_file(void)
{
	uint64_t space;
	long at;

	for (space = 0; space < 3UL << 20; space += 300000) {
		reset();
		mock_file.space = space;
		CHECK(kerneldump(0) == ENOSPC_);
		CHECK(mock_file.len == 0 && mock_held == 0);
	}
	for (at = 0; at < 20; at++) {
		reset();
		mock_signal_at = at;
		CHECK(kerneldump(1) == EINTR_);
		CHECK(mock_file.len == 0 && mock_held == 0);
	}
}

/* Whether a dump says that it has no key of the kernel's, and of how many. */
static int
keys_told(void)
{
	uint32_t n;

	if (memcmp(mock_file.data + 2112, "LDNOKEYS", 8) != 0)
		return (-1);
	memcpy(&n, mock_file.data + 2112 + 12, sizeof(n));
	return (n);
}

static void
no_key_of_the_kernels_is_in_a_dump(void)
{
	uint8_t before[2 * PAGE];

	reset();
	CHECK(kerneldump(0) == OK && keys_told() == 0);
	mock_key = MOCK_KEY;
	memcpy(before, mock_mem + 0x202000, sizeof(before));
	CHECK(kerneldump(0) == OK && keys_told() == 1);
	check_body(mock_file.data, check_file(0));
	CHECK(kerneldump(1) == OK);
	check_gzip(check_file(1));
	CHECK(memcmp(before, mock_mem + 0x202000, sizeof(before)) == 0);
	/* Unknown: the dump is as it was, and does not say that it has none. */
	mock_key = 1;
	CHECK(kerneldump(0) == OK && keys_told() == -1);
	/* Replaced meanwhile, or removed. */
	mock_key = MOCK_KEY;
	mock_key_replaced = 2;
	mock_key_next = MOCK_KEY + PAGE;
	CHECK(kerneldump(0) == EAGAIN_ && mock_file.len == 0);
	mock_key = MOCK_KEY;
	mock_key_replaced = 2;
	mock_key_next = 0;
	CHECK(kerneldump(0) == OK && keys_told() == 1 && mock_held == 0);
}

/* Every call that can fail does, once, plain and compressed. */
static void
each_failure_is_answered_and_everything_given_back(void)
{
	int compression, error, recovered = 0;
	long nth;

	for (compression = 0; compression <= 1; compression++) {
		for (nth = 0;; nth++) {
			reset();
			mock_fail_at = nth;
			mock_fail_with = EIO_;
			error = kerneldump(compression);
			CHECK(mock_held == 0);
			if (mock_fail_at >= 0)
				break;
			if (error == OK) {
				/* Less memory was enough. */
				CHECK(compression == 1 && mock_no_memory);
				check_gzip(check_file(1));
				recovered++;
			}
		}
		CHECK(error == OK && nth > 10);
	}
	CHECK(recovered > 0);
}

static void
any_number_of_threads_writes_the_same_dump(void)
{
	struct mem_minidump_arg arg;
	uint8_t *first = NULL;
	unsigned n, refused;
	size_t len = 0;

	for (n = 1; n <= 8; n++) {
		for (refused = 0; refused < n; refused++) {
			reset();
			mock_threads_refused = refused;
			arg = request();
			arg.mda_compression = MINIDUMP_COMP_GZIP;
			arg.mda_workers = n;
			CHECK(minidump(&arg) == OK && mock_held == 0);
			if (first == NULL) {
				len = mock_file.len;
				first = malloc(len);
				memcpy(first, mock_file.data, len);
			}
			CHECK(len == mock_file.len);
			CHECK(memcmp(first, mock_file.data, len) == 0);
		}
	}
	/* Nor are any needed. */
	reset();
	mock_no_workers = true;
	arg = request();
	arg.mda_compression = MINIDUMP_COMP_GZIP;
	arg.mda_workers = 8;
	CHECK(minidump(&arg) == OK && mock_held == 0);
	CHECK(len == mock_file.len && memcmp(first, mock_file.data, len) == 0);
	free(first);
}

static void
what_others_wrote_to_is_no_dump(void)
{
	struct mem_minidump_arg arg = request();

	reset();
	mock_written_by_others = true;
	CHECK(minidump(&arg) == 97);
	CHECK(mock_held == 0 && mock_file.len == 0);
}

static void
a_cpu_that_does_not_come_is_missing(void)
{
	struct mem_minidump_arg arg = request();

	reset();
	mock_missing_cpu = true;
	arg.mda_flags = MINIDUMP_REGISTERS;
	CHECK(minidump(&arg) == OK && mock_held == 0);
	CHECK(arg.mda_registers == 0 && arg.mda_missing_cpus == 1 << 1);
	arg = request();
	CHECK(minidump(&arg) == OK && arg.mda_missing_cpus == 0);
}

static void
memory_is_bounded_by_the_machines(void)
{
	struct mem_minidump_arg arg = request();

	reset();
	mock_physmem_now = 64UL << 20;
	arg.mda_compression = MINIDUMP_COMP_GZIP;
	arg.mda_workers = 64;
	CHECK(minidump(&arg) == 12);
	CHECK(mock_held == 0 && mock_file.len == 0);
	arg.mda_workers = 1;
	CHECK(minidump(&arg) == OK);
}

/* Where a page is in a plain dump. */
static size_t
page_at(size_t pages, uint64_t pa)
{
	size_t at = pages;
	uint64_t p;

	for (p = PAGE; p < pa; p += PAGE)
		if ((p < 0x9f000 || p >= 0x100000) && mock_expects(p))
			at += PAGE;
	return (at);
}

static void
registers_are_shown_and_memory_is_not_touched(void)
{
	struct mem_minidump_arg arg = request();
	uint8_t *plain, *before;
	size_t pages, at, n = 0, i;

	reset();
	CHECK(minidump(&arg) == OK);
	pages = arg.mda_dumpextent - arg.mda_pages * PAGE;
	plain = malloc(mock_file.len);
	memcpy(plain, mock_file.data, mock_file.len);
	before = malloc(MEM_BYTES);
	memcpy(before, mock_mem, MEM_BYTES);
	reset();
	arg = request();
	arg.mda_flags = MINIDUMP_REGISTERS;
	CHECK(minidump(&arg) == OK && mock_held == 0);
	CHECK(arg.mda_registers == 1 && arg.mda_changed_pages == 0);
	CHECK(memcmp(before, mock_mem, MEM_BYTES) == 0);
	at = page_at(pages, MOCK_STOPPCBS & ~0xfffUL) +
	    (MOCK_STOPPCBS & 0xfff) + 320;
	for (i = 0; i < 64; i++)
		CHECK(mock_file.data[at + i] == 0x11 * (i / 8 + 1));
	at = page_at(pages, MOCK_STACK & ~0xfffUL) + (MOCK_STACK & 0xfff);
	for (i = 0; i < 5000; i++)
		CHECK(mock_file.data[at + i] == 0x5a);
	at = page_at(pages, MOCK_ONCPU & ~0xfffUL) + (MOCK_ONCPU & 0xfff);
	CHECK(memcmp(mock_file.data + at, "\1\0\0\0", 4) == 0);
	/* And nothing else. */
	for (i = pages; i < arg.mda_dumpextent; i++)
		n += mock_file.data[i] != plain[i];
	CHECK(n <= 64 + 5000 + 4 && n > 5000);
	free(plain);
	free(before);
}

/*
 * More pages than copies are kept of: each is in the dump, those without a
 * copy as they were when they were read.
 */
static void
lists_that_outgrow_the_copies_lose_no_page(void)
{
	struct mem_minidump_arg arg = request();
	size_t pages, at, frozen = 0, later = 0;
	uint64_t pa;

	reset();
	mock_many_linked = 5000;
	CHECK(minidump(&arg) == OK && mock_held == 0);
	CHECK(check_file(0) == arg.mda_dumplength);
	pages = arg.mda_dumpextent - arg.mda_pages * PAGE;
	at = page_at(pages, MOCK_MANY);
	for (pa = MOCK_MANY; pa < MOCK_MANY + 5000 * PAGE; pa += PAGE) {
		if (!mock_expects(pa))
			continue;
		if (memcmp(mock_file.data + at, mock_mem + pa, PAGE) == 0)
			frozen++;
		else if ((mock_file.data[at + 100] ^ mock_mem[pa + 100]) ==
		    0xff)
			later++;
		at += PAGE;
	}
	/* 0x9e000 is frozen as well; one may not be dumped. */
	CHECK(frozen == 4096 - 1 && later == 5000 - 1 - frozen);
	mock_many_linked = 0;
	mock_machine();
}

/* Whatever fails, those who were suspended are resumed. */
static void
suspended_processes_are_always_resumed(void)
{
	struct mem_minidump_arg arg;
	int error;
	long nth;

	reset();
	arg = request();
	arg.mda_flags = MINIDUMP_QUIESCE;
	mock_served = true;
	CHECK(minidump(&arg) == 45 && mock_held == 0);
	for (nth = 0;; nth++) {
		reset();
		arg = request();
		arg.mda_flags = MINIDUMP_QUIESCE | MINIDUMP_REGISTERS |
		    MINIDUMP_STABILITY;
		arg.mda_changes_fd = -1;
		mock_passes = 3;
		mock_fail_at = nth;
		mock_fail_with = EIO_;
		error = minidump(&arg);
		CHECK(mock_held == 0);
		if (mock_fail_at >= 0)
			break;
		CHECK(error != OK);
	}
	CHECK(error == OK && nth > 10);
	/* A signal while they are being suspended, and later. */
	for (nth = 0; nth < 12; nth++) {
		reset();
		arg = request();
		arg.mda_flags = MINIDUMP_QUIESCE;
		mock_passes = 3;
		mock_signal_at = nth;
		CHECK(minidump(&arg) == EINTR_ && mock_held == 0);
	}
}

static struct mem_minidump_arg2
freeze(void)
{
	struct mem_minidump_arg2 arg;

	memset(&arg, 0, sizeof(arg));
	arg.mda2_arg = request();
	arg.mda2_arg.mda_version = MINIDUMP_ARG2_VERSION;
	arg.mda2_arg.mda_flags = MINIDUMP_FREEZE;
	return (arg);
}

static int
minidump2(struct mem_minidump_arg2 *arg)
{
	return (livedump_entry_request(MEM_MINIDUMP2, arg, sizeof(*arg)));
}

static void
last_status(struct mem_minidump_status *status)
{
	CHECK(livedump_entry_request(MEM_MINIDUMP_STATUS, status,
	    sizeof(*status)) == OK);
}

/* Of a machine that changes as soon as it goes on. */
static void
a_stopped_machine_is_dumped_as_it_was(void)
{
	struct mem_minidump_arg2 arg = freeze(), estimate;
	struct mem_minidump_status status;
	uint64_t pages;

	for (mock_minidump_version = 2; mock_minidump_version <= 3;
	    mock_minidump_version++) {
		mock_machine();
		reset();
		arg = freeze();
		CHECK(minidump2(&arg) == OK && mock_held == 0);
		CHECK(mock_goes_on != NULL);
		/* No register of the second CPU's thread is in this memory. */
		CHECK(memcmp(mock_file.data + 2048, "LDFREEZE", 8) == 0);
		CHECK(arg.mda2_freeze.mdf_pages == arg.mda2_arg.mda_pages);
		CHECK(arg.mda2_freeze.mdf_cpus == 2);
		CHECK(arg.mda2_freeze.mdf_pause_ns == 4000000);
		CHECK(arg.mda2_freeze.mdf_late_pages == 0);
		CHECK(arg.mda2_arg.mda_registers == 1);
	}
	mock_minidump_version = 3;
	mock_machine();
	reset();
	pages = arg.mda2_arg.mda_pages;
	estimate = freeze();
	estimate.mda2_arg.mda_flags |= MINIDUMP_ESTIMATE;
	estimate.mda2_arg.mda_fd = -1;
	CHECK(minidump2(&estimate) == OK && mock_held == 0);
	CHECK(estimate.mda2_arg.mda_pages == pages);
	CHECK(estimate.mda2_freeze.mdf_pause_ns > 0);
	CHECK(estimate.mda2_freeze.mdf_copy_bytes > PAGE);
	/* What there is not: time, memory, a CPU. */
	arg = freeze();
	arg.mda2_freeze.mdf_max_pause_ns = 1000;
	CHECK(minidump2(&arg) == 60 && mock_held == 0 && mock_file.len == 0);
	CHECK(mock_goes_on == NULL);
	last_status(&status);
	CHECK(status.mds_last_needs > 1000 && status.mds_last_has == 1000);
	CHECK(status.mds_last_stage == 16);
	reset();
	mock_free_pages = 10;
	arg = freeze();
	CHECK(minidump2(&arg) == 12 && mock_held == 0 && mock_file.len == 0);
	last_status(&status);
	CHECK(status.mds_last_needs > 10 * PAGE);
	CHECK(status.mds_last_has == 10 * PAGE);
	reset();
	mock_late_cpu = true;
	arg = freeze();
	CHECK(minidump2(&arg) == 60 && mock_held == 0 && mock_file.len == 0);
	last_status(&status);
	CHECK(status.mds_last_stage == 17);
	/* Time is up while the machine is stopped. */
	reset();
	mock_tick_ns = 50000000;
	arg = freeze();
	CHECK(minidump2(&arg) == 60 && mock_held == 0 && mock_file.len == 0);
	/* What does not go together, or is too much. */
	reset();
	arg = freeze();
	arg.mda2_arg.mda_flags |= MINIDUMP_QUIESCE;
	CHECK(minidump2(&arg) == EINVAL_);
	arg = freeze();
	arg.mda2_freeze.mdf_max_pause_ns = 1000000001;
	CHECK(minidump2(&arg) == EINVAL_);
	arg = freeze();
	arg.mda2_arg.mda_version = MINIDUMP_ARG_VERSION;
	CHECK(minidump2(&arg) == EINVAL_);
	arg = freeze();
	arg.mda2_freeze.mdf_pad = 1;
	CHECK(minidump2(&arg) == EINVAL_);
	arg = freeze();
	arg.mda2_arg.mda_flags = 0;
	CHECK(minidump2(&arg) == OK && mock_goes_on == NULL);
	arg.mda2_arg.mda_version = MINIDUMP_ARG_VERSION;
	arg.mda2_arg.mda_flags = MINIDUMP_FREEZE;
	CHECK(minidump(&arg.mda2_arg) == EINVAL_ && mock_held == 0);
}

/* Each call that can fail, one by one. */
static void
a_freeze_that_fails_anywhere_leaves_nothing(void)
{
	struct mem_minidump_arg2 arg;
	int error = 1;
	long nth;

	for (nth = 0; error != OK; nth++) {
		CHECK(nth < 10000);
		reset();
		arg = freeze();
		mock_fail_at = nth;
		mock_fail_with = EIO_;
		error = minidump2(&arg);
		CHECK(mock_held == 0);
		if (mock_fail_at >= 0)
			break;
		CHECK(error != OK);
	}
	CHECK(error == OK && nth > 20);
}

/* Through the border's other functions: no lock of a file, nothing emptied. */
static void
a_stream_gets_what_a_file_gets(void)
{
	struct mem_minidump_arg arg;
	size_t length;
	int error;
	long nth;

	reset();
	arg = request();
	arg.mda_flags = MINIDUMP_STREAM;
	mock_file.regular = false;
	CHECK(minidump(&arg) == OK && mock_held == 0);
	length = check_file(0);
	CHECK(arg.mda_zero_pages > 0 && length == arg.mda_dumpextent);
	check_body(mock_file.data, length);
	arg = request();
	arg.mda_flags = MINIDUMP_STREAM | MINIDUMP_STABILITY;
	arg.mda_changes_fd = -1;
	CHECK(minidump(&arg) == EINVAL_ && mock_held == 0);
	reset();
	arg = request();
	arg.mda_flags = MINIDUMP_STREAM | MINIDUMP_QUIESCE;
	mock_served = true;
	CHECK(minidump(&arg) == 45 && mock_held == 0);
	for (nth = 0;; nth++) {
		reset();
		arg = request();
		arg.mda_flags = MINIDUMP_STREAM;
		mock_fail_at = nth;
		error = minidump(&arg);
		CHECK(mock_held == 0);
		if (mock_fail_at >= 0)
			break;
	}
	CHECK(error == OK && nth > 10);
}

int
main(void)
{
	mock_machine();
	the_stock_request_writes_a_sound_dump();
	ours_tells_what_it_did();
	bad_requests_have_their_errno();
	a_full_disk_and_a_signal_leave_an_empty_file();
	no_key_of_the_kernels_is_in_a_dump();
	each_failure_is_answered_and_everything_given_back();
	any_number_of_threads_writes_the_same_dump();
	what_others_wrote_to_is_no_dump();
	a_cpu_that_does_not_come_is_missing();
	memory_is_bounded_by_the_machines();
	registers_are_shown_and_memory_is_not_touched();
	lists_that_outgrow_the_copies_lose_no_page();
	suspended_processes_are_always_resumed();
	a_stopped_machine_is_dumped_as_it_was();
	a_freeze_that_fails_anywhere_leaves_nothing();
	a_stream_gets_what_a_file_gets();
	reset();
	printf("mock: all tests passed\n");
	return (0);
}
