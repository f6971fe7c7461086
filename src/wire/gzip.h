#ifndef HCP_WIRE_GZIP_H
#define HCP_WIRE_GZIP_H

#include "base/err.h"
#include "base/str.h"

/* gzip (RFC 1952) through zlib: packing of whole texts, and a check that needs no unpacking. One owner at a time. */
struct gzip;

enum { GZIP_INPUT_MAX = 1 << 30 };

/* level: 1 (quick) to 9 (small). About 260 KiB, kept for the next text. */
int gzip_new(int level, struct gzip **ret) MUST_CHECK;
void gzip_free(struct gzip *g);
/* Appends plain, packed. HCP_ENOMEM: out has no room; HCP_ELIMIT: longer than GZIP_INPUT_MAX. */
int gzip_pack(struct gzip *g, struct str plain, struct buf *out) MUST_CHECK;
/* Is this plain, packed, as far as the trailer tells (CRC-32 and length)? */
bool gzip_holds(struct str packed, struct str plain);

#endif
