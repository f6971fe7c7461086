/*
 * A stored model of prices is refused or can be used: whatever was loaded gives a price that is a number. The checksum
 * is set right first, or nothing would get past it.
 */
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/hex.h"
#include "base/mem.h"
#include "econ/policy_spike.h"

#define STEP_NS (INT64_C(900) * 1000000000)

static struct history history;
static int64_t now_ns;

static void prepare(const char *point)
{
	now_ns = 2000000 * STEP_NS;
	history_init(&history);
	for (int64_t i = 0; i < 9 * 96; i++)
		if (history_add(&history, HISTORY_POWER_RT, point, now_ns + (i - 9 * 96) * STEP_NS, STEP_NS,
				20 + (double)(i % 96), NULL) < 0)
			abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct spike_model m = { 0 };
	struct err err = { 0 };
	double price = NAN;
	if (history.n == 0)
		prepare("HB_WEST");
	char *bytes = n ? mem_dup(p, n) : NULL;
	if (n >= 8) {
		uint32_t crc = crc32c(0, bytes + 8, n - 8);
		memcpy(bytes + 4, &crc, sizeof(crc));
	}
	int rc = spike_load(&m, (struct str){ bytes ? bytes : "", n }, &err);
	if (rc == 0) {
		memcpy(m.point, "HB_WEST", sizeof("HB_WEST"));
		if (spike_expect(&m, &history, now_ns, 60, &price, &err) < 0 || !isfinite(price))
			abort();
	} else if (err.code != rc) {
		abort();
	}
	spike_release(&m);
	mem_free(bytes);
	return 0;
}
