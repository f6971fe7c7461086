#ifndef HCP_SERVICES_COMMON_VERSION_H
#define HCP_SERVICES_COMMON_VERSION_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/*
 * Is the object's version among those that a change was asked for (RFC 9110 13.1.1)? None asked for: any will do.
 * HCP_ECONFLICT with the field "if-match", which the gateway answers with 412. Before anything is changed.
 */
static inline int version_check(size_t n, const int64_t *wanted, int64_t have, struct err *err)
{
	for (size_t i = 0; i < n; i++)
		if (wanted[i] == have)
			return 0;
	return n == 0 ? 0 : err_set(err, HCP_ECONFLICT, "if-match", "the version is now %lld", (long long)have);
}

#endif
