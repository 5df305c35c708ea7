/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * compressor(9), one chunk at a time.
 *
 * A stream is reset after every chunk, whatever became of it, so that each
 * chunk is a gzip member or a zstd frame of its own: resetting writes a new
 * gzip header, and starts a zstd frame without touching its parameters (the
 * checksum stays on, the content size unknown; 12.1, 13.2, 15.1).
 */
#include <sys/param.h>
#include <sys/systm.h>
#include <sys/compressor.h>
#include <sys/malloc.h>
#include <sys/proc.h>
#include <sys/sched.h>

#include "livedump_module.h"
#include "livedump_shim.h"

/* Largest piece the callback gets: what the kernel's own dumps use. */
#define	LD_MAXIOSIZE	65536

struct livedump_stream {
	struct compressor *compressor;
	uint8_t		*dst;
	size_t		room;
	size_t		len;
};

/*
 * gzip's and zstd's output comes in order; off starts from 0 at each reset and
 * says nothing that len does not.
 */
static int
livedump_compressor_cb(void *base, size_t len, off_t off __unused, void *arg)
{
	struct livedump_stream *stream = arg;

	if (len > stream->room - stream->len)
		return (E2BIG);
	memcpy(stream->dst + stream->len, base, len);
	stream->len += len;
	return (0);
}

bool
livedump_compressor_avail(int format)
{
	return (compressor_avail(format));
}

/*
 * compressor(9) allocates with M_NODUMP also what malloc(9) hands to UMA. A
 * slab that is made for it is not dumped, and others get of that slab later
 * (12.1, 13.2, 15.1). With memory at hand that was allocated without the flag,
 * none is made, unless somebody else is quicker. Of each size, more than one
 * stream asks for; of compressor(9)'s type, since some kernels have zones by
 * type (MALLOC_DEBUG_MAXZONES); held all at once, linked through itself.
 */
MALLOC_DECLARE(M_COMPRESS);
#define	LD_AT_HAND	6

static bool
livedump_memory_at_hand(void)
{
	void **head = NULL, **p;
	bool all = true;

	for (size_t size = 64; all && size <= 65536; size *= 2)
		for (int i = 0; all && i < LD_AT_HAND; i++) {
			p = livedump_malloc_of(size, M_COMPRESS, 0);
			if (p == NULL) {
				all = false;
				break;
			}
			*p = head;
			head = p;
		}
	while ((p = head) != NULL) {
		head = *p;
		free(p, M_COMPRESS);
	}
	return (all);
}

struct livedump_stream *
livedump_compressor_init(int format, int level, size_t bytes)
{
	struct livedump_stream *stream;

	stream = livedump_malloc_of(sizeof(*stream), M_LIVEDUMP, 0);
	if (stream == NULL)
		return (NULL);
	/* UMA keeps what was freed by CPU. */
	sched_pin();
	/* compressor(9) waits for memory: it is there, or this is not called. */
	if (livedump_memory_at_hand() && livedump_memory_for(bytes))
		stream->compressor = compressor_init(livedump_compressor_cb,
		    format, LD_MAXIOSIZE, level, stream);
	sched_unpin();
	if (stream->compressor == NULL) {
		free(stream, M_LIVEDUMP);
		return (NULL);
	}
	return (stream);
}

/* Bytes between two looks at who else wants the CPU: 1 ms of gzip. */
#define	LD_PIECE	16384

int
livedump_compress(struct livedump_stream *stream, const void *src, size_t len,
    void *dst, size_t room, size_t *packed)
{
	const char *from = src;
	size_t n;
	int error = 0;

	stream->dst = dst;
	stream->room = room;
	stream->len = 0;
	/* Writing nothing is an error to zlib. */
	for (; error == 0 && len != 0; from += n, len -= n) {
		n = MIN(len, LD_PIECE);
		error = compressor_write(stream->compressor,
		    __DECONST(char *, from), n);
		livedump_maybe_yield();
	}
	if (error == 0)
		error = compressor_flush(stream->compressor);
	compressor_reset(stream->compressor);
	*packed = stream->len;
	stream->dst = NULL;
	stream->room = stream->len = 0;
	return (error);
}

/*
 * compressor_fini() keeps the few dozen bytes of struct compressor itself
 * (12.1, 13.2, 15.1); to free them here would be once too often on a kernel
 * that has learnt to.
 */
void
livedump_compressor_fini(struct livedump_stream *stream)
{
	compressor_fini(stream->compressor);
	free(stream, M_LIVEDUMP);
}
