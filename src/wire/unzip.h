#ifndef HCP_WIRE_UNZIP_H
#define HCP_WIRE_UNZIP_H

#include "base/err.h"
#include "base/str.h"

/*
 * The files of a zip archive held in memory (libzip), one after the other. What the archive says of sizes is not
 * believed: each file is read up to its limit. Archives within an archive are not opened here.
 */
enum { UNZIP_ENTRIES_MAX = 100000 };

/*
 * Calls fn(arg, name, bytes) for each file (not for folders); name and bytes are borrowed until it returns, a negative
 * result stops and is returned. HCP_EPARSE: not an archive, damaged or encrypted; HCP_ELIMIT: too many files, one of
 * more than max_file bytes, or more than max_total together. err->field is the file's name within the archive.
 */
int unzip_each(struct str archive, size_t max_file, size_t max_total,
	int (*fn)(void *arg, const char *name, struct str bytes, struct err *err), void *arg, struct err *err) MUST_CHECK;

#endif
