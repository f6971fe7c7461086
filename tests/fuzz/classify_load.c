/*
 * Stored trees of the classification are refused or can be used: whatever was loaded answers every question with shares
 * that sum to one, and is written as it was read. Checksums are set right first, or nothing would get past them.
 */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/hex.h"
#include "base/mem.h"
#include "sched/classify.h"

static void set_crc(char *p, size_t n)
{
	if (n < 8)
		return;
	uint32_t crc = crc32c(0, p + 8, n - 8);
	memcpy(p + 4, &crc, sizeof(crc));
}

static void use(const struct classify_model *m, const char *bytes, size_t n)
{
	static const double value[] = { NAN, 0, 1, 59, 7200, 1e12 };
	for (int i = 0; i < 6 * 6 * 6; i++) {
		struct classify_work w;
		struct classify_answer a;
		classify_work_init(&w);
		w.x[CLASSIFY_DURATION_S] = value[i % 6];
		w.x[CLASSIFY_GPUS] = value[i / 6 % 6];
		w.x[CLASSIFY_CPU_CORES] = w.x[CLASSIFY_MEMORY_GIB] = value[i / 36];
		if (classify(m, &w, &a, NULL) < 0 || !workload_type_name(a.type) || !(a.confidence > 0 && a.confidence <= 1))
			abort();
		double sum = a.share[0] + a.share[1] + a.share[2];
		if (sum > 0 && !(fabs(sum - 1) < 1e-6))
			abort();
	}
	struct buf out;
	buf_init(&out, CLASSIFY_BYTES_MAX);
	if (classify_model_save(m, &out, NULL) < 0 || out.n != n || memcmp(out.data, bytes, n) != 0)
		abort();
	buf_release(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	static struct classify_model m;
	struct err err = { 0 };
	uint32_t first = 0;
	char *bytes = n ? mem_dup(p, n) : NULL;
	if (n >= sizeof(first))
		memcpy(&first, bytes, sizeof(first));
	if (n >= sizeof(first) && first <= n - sizeof(first)) {
		set_crc(bytes + sizeof(first), first);
		set_crc(bytes + sizeof(first) + first, n - sizeof(first) - first);
	}
	int rc = classify_model_load(&m, (struct str){ bytes ? bytes : "", n }, &err);
	if (rc == 0)
		use(&m, bytes, n);
	else if (err.code != rc)
		abort();
	mem_free(bytes);
	return 0;
}
