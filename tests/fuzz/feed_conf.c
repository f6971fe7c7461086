/* Settings of market sources: what is taken is within its limits; credentials files beside them. */
#include <stdint.h>
#include <stdlib.h>

#include "feed/conf.h"
#include "feed/kind.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	static struct feed_creds creds;
	struct feed_conf c;
	struct err err = { 0 };
	const struct str text = { (const char *)p, n };
	(void)!feed_creds_parse(&creds, text, &err);
	if (n > FEED_CONF_BYTES_MAX)
		return 0;
	int rc = feed_conf_parse("m", text, &c, &err);
	if (rc < 0) {
		if (err.code != rc || !err.text[0])
			abort();
		return 0;
	}
	for (size_t i = 0; i < c.n; i++) {
		const struct feed_source_conf *s = &c.source[i];
		if (!s->kind || !s->name[0] || !s->url[0] || s->every_ms < 100 || s->stale_ms < s->every_ms ||
			!(s->min < s->max))
			abort();
	}
	if (c.n < 1 || c.n > FEED_SOURCES_MAX)
		abort();
	feed_conf_release(&c);
	return 0;
}
