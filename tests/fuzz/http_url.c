#include <stddef.h>
#include <stdint.h>

#include "base/panic.h"
#include "http/url.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct str s = { n ? (const char *)p : "", n }, rest = s, k, v;
	struct url u;
	if (url_parse(s, &u, NULL) == 0)
		must(u.host.n > 0 && u.port > 0 && u.target.n <= n);
	struct buf b, enc;
	buf_init(&b, 0);
	buf_init(&enc, 0);
	while (query_next(&rest, &k, &v))
		(void)!url_decode(&b, v, true);
	(void)!query_get(s, "a", &b);
	/* What is encoded decodes to itself. */
	buf_clear(&b);
	if (n > 0 && !memchr(p, 0, n)) {
		url_encode(&enc, s);
		must(url_decode(&b, buf_str(&enc), true) == 0 && str_eq(buf_str(&b), s));
	}
	buf_release(&b);
	buf_release(&enc);
	return 0;
}
