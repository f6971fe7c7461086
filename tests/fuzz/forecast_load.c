/*
 * A stored model is refused or can be used: whatever was loaded gives forecasts that are numbers in order. The checksum
 * is set right first, or nothing would get past it.
 */
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/hex.h"
#include "base/mem.h"
#include "econ/forecast.h"

enum { MODEL_AT = 56, MODEL_BYTES = 16 };
#define STEP_NS (INT64_C(900) * 1000000000)

static struct history history;
static int64_t now_ns;

static void prepare(void)
{
	now_ns = 2000000 * STEP_NS;
	history_init(&history);
	for (int64_t i = 0; i < 20 * 96; i++)
		if (history_add(&history, HISTORY_POWER_RT, "HB_WEST", now_ns + (i - 20 * 96) * STEP_NS, STEP_NS,
				20 + (double)(i % 96), NULL) < 0)
			abort();
}

static void check(struct forecaster *f)
{
	static struct forecast out;
	int rc = forecaster_predict(f, &history, now_ns, FORECAST_STEPS_MAX, &out, NULL);
	if (rc < 0)
		abort();
	for (size_t k = 0; k < out.n; k++) {
		if (!isfinite(out.at[k].mean))
			abort();
		for (int l = 0; l < FORECAST_LEVELS; l++)
			if (!isfinite(out.at[k].q[l]) || (l && out.at[k].q[l] < out.at[k].q[l - 1]))
				abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct forecast_conf conf;
	struct err err = { 0 };
	if (history.n == 0)
		prepare();
	forecast_conf_default(&conf);
	memcpy(conf.location, "HB_WEST", sizeof("HB_WEST"));
	char *bytes = n ? mem_dup(p, n) : NULL;
	if (n >= 8) {
		uint32_t crc = crc32c(0, bytes + 8, n - 8);
		memcpy(bytes + 4, &crc, sizeof(crc));
	}
	const struct forecaster_vt *vt = NULL;
	if (n >= MODEL_AT + MODEL_BYTES)
		vt = forecaster_find((struct str){ bytes + MODEL_AT, strnlen(bytes + MODEL_AT, MODEL_BYTES) });
	struct forecaster f;
	if (forecaster_init(&f, vt ? vt : forecaster_at(0), &conf, &err) < 0)
		abort();
	int rc = forecaster_load(&f, (struct str){ bytes ? bytes : "", n }, &err);
	if (rc == 0)
		check(&f);
	else if (err.code != rc)
		abort();
	forecaster_release(&f);
	mem_free(bytes);
	return 0;
}
