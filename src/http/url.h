#ifndef HCP_HTTP_URL_H
#define HCP_HTTP_URL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

/* scheme "://" host [":" port] [path] ["?" query]; userinfo is refused, a fragment dropped. All borrowed. */
struct url {
	struct str scheme; /* as given */
	struct str host;   /* without the brackets of an IPv6 address */
	uint16_t port;     /* by scheme where not given */
	struct str target; /* path and query, or "" for "/" */
	bool tls;          /* https, wss */
};

int url_parse(struct str text, struct url *ret_url, struct err *err) MUST_CHECK;

/* Appends s decoded. plus: '+' is a blank (forms and queries). HCP_EPARSE on a bad escape or a zero byte. */
int url_decode(struct buf *b, struct str s, bool plus) MUST_CHECK;
/* Appends s with all but unreserved characters escaped (RFC 3986 2.3). */
void url_encode(struct buf *b, struct str s);

/* Walks "a=1&b=2": false at the end. Name and value are still encoded. */
bool query_next(struct str *rest, struct str *ret_name, struct str *ret_value);
/* Decoded value of the first parameter of that name into b; HCP_ENOTFOUND. */
int query_get(struct str query, const char *name, struct buf *b) MUST_CHECK;

#endif
