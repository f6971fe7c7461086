/* What a customer's program prints, a line at a time. */
#include <stdint.h>
#include <stdlib.h>

#include "agent/progress.h"
#include "base/id.h"
#include "wire/jsonv.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct str rest = { (const char *)p, n };
	static int ready;
	if (!ready++)
		jsonv_setup();
	while (rest.p) {
		struct str line = str_split(&rest, '\n');
		struct progress got = { .step = -1 };
		struct err err = { 0 };
		int rc = progress_parse(line, &got, &err);
		if (rc < 0 && got.step != -1)
			abort();
		if (rc < 0)
			continue;
		if (got.step < 0 || got.step > PROGRAM_STEP_MAX || got.of < 0 || (got.of && got.step > got.of))
			abort();
		if (got.checkpoint[0] && !id_is_name(got.checkpoint))
			abort();
	}
	return 0;
}
