/* A line with a path, then a document. */
#include <stdint.h>
#include <stdlib.h>

#include "feed/jpath.h"
#include "wire/jsonv.h"

static int see(void *arg, const json_t *v)
{
	*(int *)arg += 1;
	return v ? 0 : HCP_EINTERNAL;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct str rest = { (const char *)p, n }, line = str_split(&rest, '\n');
	struct err err = { 0 };
	char path[256];
	json_t *doc = NULL;
	int calls = 0;
	static int ready;
	if (!ready++)
		jsonv_setup();
	if (!rest.p || memchr(line.p, 0, line.n) || str_copy(path, sizeof(path), line) < 0)
		return 0;
	int checked = jpath_check(path, &err);
	if (jsonv_parse(rest, &doc, &err) < 0)
		return 0;
	int rc = jpath_each(doc, path, see, &calls, &err);
	if (rc >= 0 && rc != calls)
		abort();
	if (checked == 0 && rc < 0 && rc != HCP_ELIMIT)
		abort();
	json_decref(doc);
	return 0;
}
