/* Values of request fields: Cookie, Accept-Encoding, If-None-Match. What is found lies inside the value, and what names
 * a tag holds it. */
#include <stdint.h>
#include <stdlib.h>

#include "services/gateway/header.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct str value = { (const char *)p, n }, etag = STR("\"17\"");
	struct str found = header_cookie(value, STR("hcp_refresh"));
	if (found.p && (found.p < value.p || found.p + found.n > value.p + n))
		abort();
	header_takes_gzip(value);
	bool weak = header_names_etag(value, etag, true), strong = header_names_etag(value, etag, false);
	if (strong && !weak)
		abort();
	if (weak && !memmem(value.p, n, etag.p, etag.n) && !memchr(value.p, '*', n))
		abort();
	return 0;
}
