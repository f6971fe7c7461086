#ifndef HCP_SERVICES_GATEWAY_HEADER_H
#define HCP_SERVICES_GATEWAY_HEADER_H

#include "base/str.h"

/* Values of request fields, as strangers send them. Pure; results are borrowed from the value. */

/* The first cookie of that name (RFC 6265 4.2.1), without quotes; {NULL,0} if there is none. */
struct str header_cookie(struct str value, struct str name);

/*
 * Does this Accept-Encoding take gzip (RFC 9110 12.5.3)? By name, as "x-gzip", or by "*", with a weight above 0. What
 * cannot be read as a weight counts as 0: the plain answer is always right.
 */
bool header_takes_gzip(struct str value);

/*
 * Does this If-None-Match or If-Match name the tag (RFC 9110 13.1)? "*" names any. etag is strong, with its quotes.
 * weak: W/"x" counts as "x", for If-None-Match; without, it names nothing, for If-Match.
 */
bool header_names_etag(struct str value, struct str etag, bool weak);

#endif
