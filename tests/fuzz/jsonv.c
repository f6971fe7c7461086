/* jansson and the pull scanner agree on what is JSON, except where either has a narrower limit. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "wire/jscan.h"
#include "wire/jsonv.h"
#include "wire/trace.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct str text = { (const char *)p, n };
	struct err err = { 0 };
	struct jscan s;
	struct trace t;
	json_t *doc = NULL;
	const json_t *list;
	struct str name;
	int64_t i;
	int rc = jsonv_parse(text, &doc, &err);
	jscan_init(&s, text);
	int scanned = jscan_skip(&s, NULL, NULL);
	if (scanned == 0)
		scanned = jscan_end(&s, NULL);
	if (rc == 0 && scanned == HCP_EPARSE)
		abort();
	if (rc == 0) {
		(void)!jsonv_get_string(doc, "a.b", JSONV_OPTIONAL, &name, &err);
		(void)!jsonv_get_int(doc, "a", JSONV_REQUIRED, 0, 9, &i, &err);
		(void)!jsonv_get_array(doc, "list", JSONV_REQUIRED, 2, &list, &err);
		json_decref(doc);
	}
	if (trace_parse(text, &t) == 0) {
		char again[TRACE_TEXT_LEN + 1];
		struct trace u;
		if (trace_parse(str_of(trace_format(&t, again)), &u) || memcmp(&t, &u, sizeof(t)))
			abort();
	}
	return 0;
}
