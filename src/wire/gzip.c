#include "wire/gzip.h"

#include <zlib.h>

#include "base/mem.h"

enum { GZIP_WINDOW = 15 + 16 /* with gzip's head and trailer */, GZIP_MEMORY = 8, HEAD = 10, TRAILER = 8 };

struct gzip {
	z_stream z;
};

static void *z_alloc(void *arg, unsigned n, unsigned size)
{
	return mem_calloc(n, size);
}

static void z_free(void *arg, void *p)
{
	mem_free(p);
}

int gzip_new(int level, struct gzip **ret)
{
	struct gzip *g = mem_calloc(1, sizeof(*g));
	if (!g)
		return HCP_ENOMEM;
	g->z.zalloc = z_alloc;
	g->z.zfree = z_free;
	int rc = deflateInit2(&g->z, level, Z_DEFLATED, GZIP_WINDOW, GZIP_MEMORY, Z_DEFAULT_STRATEGY);
	if (rc != Z_OK) {
		mem_free(g);
		return rc == Z_MEM_ERROR ? HCP_ENOMEM : HCP_EINVAL;
	}
	*ret = g;
	return 0;
}

void gzip_free(struct gzip *g)
{
	if (!g)
		return;
	deflateEnd(&g->z);
	mem_free(g);
}

int gzip_pack(struct gzip *g, struct str plain, struct buf *out)
{
	if (plain.n > GZIP_INPUT_MAX)
		return HCP_ELIMIT;
	deflateReset(&g->z); /* before the bound: a finished stream counts without gzip's head */
	size_t most = deflateBound(&g->z, plain.n);
	if (buf_reserve(out, most) < 0)
		return HCP_ENOMEM;
	g->z.next_in = (unsigned char *)plain.p;
	g->z.avail_in = (unsigned)plain.n;
	g->z.next_out = (unsigned char *)out->data + out->n;
	g->z.avail_out = (unsigned)most;
	if (deflate(&g->z, Z_FINISH) != Z_STREAM_END)
		return HCP_EINTERNAL; /* the bound says that it fits */
	out->n += g->z.total_out;
	out->data[out->n] = '\0';
	return 0;
}

static uint32_t le32(const char *p)
{
	const unsigned char *b = (const unsigned char *)p;
	return b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

bool gzip_holds(struct str packed, struct str plain)
{
	if (packed.n < HEAD + TRAILER || plain.n > GZIP_INPUT_MAX || memcmp(packed.p, "\x1f\x8b\x08", 3) != 0)
		return false;
	const char *trailer = packed.p + packed.n - TRAILER;
	return le32(trailer + 4) == (uint32_t)plain.n &&
		   le32(trailer) == (uint32_t)crc32(0, (const unsigned char *)plain.p, (unsigned)plain.n);
}
