/* A site's file of any bytes: taken whole and then valid, or refused with words. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "model/site.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct site s;
	struct err err = { 0 };
	uint32_t run[SITE_GROUPS_MAX];
	int rc = site_parse(&s, "fuzz", (struct str){ (const char *)p, n }, &err);
	if (rc < 0) {
		if (err.code != rc || !err.text[0])
			abort();
		return 0;
	}
	if (site_validate(&s, NULL) < 0)
		abort();
	site_energised(&s, run);
	for (size_t i = 0; i < s.n_groups; i++)
		if (run[i] > s.group[i].count)
			abort();
	return 0;
}
