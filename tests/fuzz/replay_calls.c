/* A file of calls of any bytes: refused with a reason, or rows within their bounds that do not overlap. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "sim/replay_calls.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct backtest_call call[16];
	struct err err = { 0 };
	size_t got = SIZE_MAX;
	int rc = replay_calls("f", (struct str){ (const char *)p, n }, call, 16, &got, &err);
	if ((rc < 0) != (got == SIZE_MAX) || (rc < 0 && (err.code != rc || !err.text[0])) || (rc == 0 && got > 16))
		abort();
	for (size_t i = 0; rc == 0 && i < got; i++) {
		if (call[i].end_ns <= call[i].start_ns || !call[i].service[0] || !memchr(call[i].service, 0, SITE_NAME_MAX))
			abort();
		for (size_t k = 0; k < i; k++)
			if (!strcmp(call[i].service, call[k].service) && call[i].start_ns < call[k].end_ns &&
				call[k].start_ns < call[i].end_ns)
				abort();
	}
	return 0;
}
