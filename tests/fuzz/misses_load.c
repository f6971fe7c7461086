/*
 * Stored misses are refused or can be used: whatever was loaded gives a fan of prices that are numbers, and is stored
 * as it came. The checksum is set right first, or nothing would get past it.
 */
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/hex.h"
#include "base/mem.h"
#include "econ/misses.h"

static void check(struct misses *m, struct str bytes)
{
	static struct scenario_fan fan;
	const struct scenario_key key = scenario_key_of(30, 28, 45, 33, 0.7);
	double forecast[SCENARIO_STEPS];
	struct buf again;
	for (size_t k = 0; k < SCENARIO_STEPS; k++)
		forecast[k] = 30 + (double)k;
	if (scenario_fan_make(&m->past, &key, forecast, m->past.n < 2 ? 1 : 2, -250, 6000, &fan, NULL) < 0)
		abort();
	for (size_t i = 0; i < fan.paths; i++)
		for (size_t k = 0; k < SCENARIO_STEPS; k++)
			if (!(fan.price[i][k] >= -250 && fan.price[i][k] <= 6000))
				abort();
	buf_init(&again, MISSES_BYTES_MAX);
	if (misses_save(m, &again, NULL) < 0 || again.n != bytes.n || memcmp(again.data, bytes.p, bytes.n) != 0)
		abort();
	buf_release(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct misses m = { 0 };
	struct err err = { 0 };
	char *bytes = n ? mem_dup(p, n) : NULL;
	if (n >= 8) {
		uint32_t crc = crc32c(0, bytes + 8, n - 8);
		memcpy(bytes + 4, &crc, sizeof(crc));
	}
	struct str all = { bytes ? bytes : "", n };
	int rc = misses_load(&m, all, &err);
	if (rc == 0)
		check(&m, all);
	else if (err.code != rc)
		abort();
	misses_release(&m);
	mem_free(bytes);
	return 0;
}
