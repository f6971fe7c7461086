#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/mem.h"
#include "infer/safetensors.h"
#include "support.h"

const char *real_model_dir(void)
{
	const char *env = getenv("HCP_MODEL");
	const char *dir = env ? env : HCP_MODEL_DEFAULT;
	char path[4096];
	snprintf(path, sizeof(path), "%s/model.safetensors", dir);
	if (access(path, R_OK) == 0)
		return dir;
	print_message("skipped: no model at %s (run scripts/get-model)\n", dir);
	return NULL;
}

const char *tiny_model_dir(void)
{
	return HCP_TINY_MODEL;
}

struct ref *ref_load(void)
{
	struct ref *r = mem_calloc(1, sizeof(*r));
	assert_non_null(r);
	json_t *all = json_load_file(HCP_TEST_DATA "/texts.json", 0, NULL);
	assert_int_equal(json_array_size(all), REF_TEXTS);
	for (size_t i = 0; i < REF_TEXTS; i++) {
		const json_t *o = json_array_get(all, i), *ids = json_object_get(o, "ids");
		r->texts[i].text = mem_strdup(json_string_value(json_object_get(o, "text")));
		assert_non_null(r->texts[i].text);
		r->texts[i].n_ids = json_array_size(ids);
		assert_in_range(r->texts[i].n_ids, 2, ENCODER_TOKENS_MAX);
		for (size_t j = 0; j < r->texts[i].n_ids; j++)
			r->texts[i].ids[j] = (uint32_t)json_integer_value(json_array_get(ids, j));
	}
	json_decref(all);
	FILE *f = fopen(HCP_TEST_DATA "/embeddings.f16", "rb");
	assert_non_null(f);
	for (size_t i = 0; i < REF_TEXTS; i++) {
		uint16_t row[REF_DIM];
		assert_int_equal(fread(row, sizeof(row), 1, f), 1);
		for (size_t c = 0; c < REF_DIM; c++)
			r->vectors[i][c] = safetensors_half_to_float(row[c]);
	}
	fclose(f);
	return r;
}

void ref_free(struct ref *r)
{
	for (size_t i = 0; i < REF_TEXTS; i++)
		mem_free(r->texts[i].text);
	mem_free(r);
}

double cosine(const float *a, const float *b, size_t n)
{
	double ab = 0, aa = 0, bb = 0;
	for (size_t i = 0; i < n; i++) {
		ab += (double)a[i] * b[i];
		aa += (double)a[i] * a[i];
		bb += (double)b[i] * b[i];
	}
	return ab / sqrt(aa * bb);
}
