/* Opens and closes are balanced, pieces lie within the text, what decodes is no longer than it was. */
#include <stdint.h>
#include <stdlib.h>

#include "wire/xmlscan.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct xmlscan x;
	struct err err = { 0 };
	int rc, depth = 0;
	char out[512];
	xmlscan_init(&x, (struct str){ (const char *)p, n });
	while ((rc = xmlscan_next(&x, &err)) > 0) {
		depth += x.kind == XMLSCAN_OPEN;
		depth -= x.kind == XMLSCAN_CLOSE;
		if (depth < 0 || depth > XMLSCAN_DEPTH_MAX)
			abort();
		const struct str *s = x.kind == XMLSCAN_TEXT ? &x.text : &x.name;
		if (s->n && (s->p < (const char *)p || s->p + s->n > (const char *)p + n))
			abort();
		if (x.kind == XMLSCAN_TEXT && xmlscan_decode(&x, out, sizeof(out)) == 0 && strlen(out) > x.text.n)
			abort();
	}
	if (rc == 0 && depth != 0)
		abort();
	if (rc < 0 && err.code != rc)
		abort();
	return 0;
}
