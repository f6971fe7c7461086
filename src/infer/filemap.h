#ifndef HCP_INFER_FILEMAP_H
#define HCP_INFER_FILEMAP_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/*
 * A file mapped read-only and private. Whoever replaces the file must do so by rename: cutting it short while it is
 * mapped kills the reader.
 */
struct filemap {
	const uint8_t *p; /* owned mapping; NULL for an empty file */
	size_t n;
};

/* HCP_ENOTFOUND, HCP_ELIMIT (larger than max bytes), HCP_EIO; err->field is the path's last part. */
int filemap_open(struct filemap *ret, const char *dir, const char *name, uint64_t max, struct err *err) MUST_CHECK;
void filemap_close(struct filemap *f);

#endif
