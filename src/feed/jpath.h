#ifndef HCP_FEED_JPATH_H
#define HCP_FEED_JPATH_H

#include <jansson.h>

#include "base/err.h"

/*
 * Where a value lies in a JSON document: a JSON Pointer (RFC 6901) with two additions that real answers need.
 *
 *	/data/0/price   member, element by index, member; "" is the document; ~1 is '/', ~0 is '~'
 *	/data/-1/price  -1, -2, …: counted from an array's end
 *	/rows/ * /price  (without the blanks) '*': every element of an array or member of an object
 */
enum { JPATH_DEPTH_MAX = 16, JPATH_MATCHES_MAX = 4096 };

/* HCP_EINVAL: not a path. For settings, before there is a document. */
int jpath_check(const char *path, struct err *err) MUST_CHECK;
/*
 * Calls fn for every value that the path names, in the document's order; a negative result stops and is returned.
 * What is not there names nothing: 0 calls are no error. Returns the number of calls; HCP_ELIMIT.
 */
int jpath_each(const json_t *doc, const char *path, int (*fn)(void *arg, const json_t *value), void *arg,
	struct err *err) MUST_CHECK;

#endif
