#ifndef HCP_FEED_CONF_PRIV_H
#define HCP_FEED_CONF_PRIV_H

#include "feed/source.h"

/*
 * Line on which that field of sources[index] stands, or where the source begins if it is not there; 0: not found.
 * *ret_exact (may be NULL): the field itself was found.
 */
size_t feed_conf_line(struct str text, size_t index, const char *field, bool *ret_exact);
/* Reads and parses a credentials file; an error's text names the path, never a value. */
int feed_creds_load(const char *path, struct feed_creds *ret, struct err *err) MUST_CHECK;

#endif
