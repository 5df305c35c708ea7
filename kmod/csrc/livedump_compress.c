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

struct livedump_stream *
livedump_compressor_init(int format, int level)
{
	struct livedump_stream *stream;

	stream = malloc(sizeof(*stream), M_LIVEDUMP, M_WAITOK | M_ZERO);
	stream->compressor = compressor_init(livedump_compressor_cb, format,
	    LD_MAXIOSIZE, level, stream);
	if (stream->compressor == NULL) {
		free(stream, M_LIVEDUMP);
		return (NULL);
	}
	return (stream);
}

int
livedump_compress(struct livedump_stream *stream, const void *src, size_t len,
    void *dst, size_t room, size_t *packed)
{
	int error;

	stream->dst = dst;
	stream->room = room;
	stream->len = 0;
	/* Writing nothing is an error to zlib. */
	error = len == 0 ? 0 : compressor_write(stream->compressor,
	    __DECONST(void *, src), len);
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
