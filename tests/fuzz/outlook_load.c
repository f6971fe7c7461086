/*
 * A stored outlook, or stored books, are refused or can be used: what was loaded gives forecasts that are numbers in
 * order, and goes into the books. The checksums are set right first, or nothing would get past them.
 */
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/hex.h"
#include "base/mem.h"
#include "econ/outlook.h"

enum { HEAD = 56, MODEL_N_AT = 16, CRC_AT = 4, CRC_FROM = 8 };

static struct history history;
static int64_t now_ns;

static void prepare(void)
{
	now_ns = 2000000 * OUTLOOK_STEP_NS;
	history_init(&history);
	for (int64_t i = 0; i < 20 * 96; i++)
		if (history_add(&history, HISTORY_POWER_RT, "HB_WEST", now_ns + (i - 20 * 96) * OUTLOOK_STEP_NS,
				OUTLOOK_STEP_NS, 20 + (double)(i % 96), NULL) < 0)
			abort();
}

static void seal(char *p, size_t n)
{
	if (n < CRC_FROM)
		return;
	uint32_t crc = crc32c(0, p + CRC_FROM, n - CRC_FROM);
	memcpy(p + CRC_AT, &crc, sizeof(crc));
}

static void check(struct outlook *o)
{
	bool changed;
	if (o->by[0].learned_ns > now_ns)
		return;
	if (outlook_look(o, &history, now_ns, &changed, NULL) < 0 || !o->known)
		abort();
	const struct forecast_point *at = o->point[outlook_better(&o->books)];
	for (size_t t = 0; t < OUTLOOK_STEPS; t++) {
		if (!isfinite(at[t].mean))
			abort();
		for (int l = 1; l < FORECAST_LEVELS; l++)
			if (!(at[t].q[l] >= at[t].q[l - 1]))
				abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	static struct outlook o;
	struct err err = { 0 };
	uint64_t model_n = 0;
	if (history.n == 0)
		prepare();
	if (outlook_init(&o, "HB_WEST", NULL) < 0)
		abort();
	char *bytes = n ? mem_dup(p, n) : NULL;
	struct str all = { bytes ? bytes : "", n };
	int rc;
	if (n == sizeof(struct outlook_books)) {
		rc = outlook_books_load(&o.books, all, &err);
		if (rc == 0 && (isnan(outlook_loss(&o.books, OUTLOOK_MODEL)) || o.books.n > OUTLOOK_PENDING_MAX))
			abort();
	} else {
		if (n >= HEAD)
			memcpy(&model_n, bytes + MODEL_N_AT, sizeof(model_n));
		if (model_n && model_n <= n - HEAD) {
			seal(bytes + HEAD, model_n);
			seal(bytes + HEAD + model_n, n - HEAD - model_n);
		}
		seal(bytes, n);
		rc = outlook_load(&o, all, &err);
		if (rc == 0)
			check(&o);
	}
	if (rc < 0 && err.code != rc)
		abort();
	outlook_release(&o);
	mem_free(bytes);
	return 0;
}
