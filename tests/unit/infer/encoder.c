#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "infer/encoder.h"
#include "support.h"

static const char *const kernels[] = { "amx", "avx512", "avx2", "blas" };

static void open_both(const char *dir, const char *kernel, struct encoder_model **m, struct encoder **e)
{
	struct encoder_opts opts = { .kernel = kernel };
	struct err err = { 0 };
	*m = NULL;
	*e = NULL;
	int rc = encoder_model_open(dir, &opts, m, &err);
	if (rc == HCP_EINVAL) {
		print_message("kernel %s: not on this processor\n", kernel);
		return;
	}
	if (rc < 0)
		print_message("%s: %s\n", err.field, err.text);
	assert_int_equal(rc, 0);
	assert_int_equal(encoder_new(*m, e, NULL), 0);
}

static void ids_agree_with_reference(void **state)
{
	const char *dir = real_model_dir();
	if (!dir)
		skip();
	struct encoder_model *m;
	struct encoder *e;
	struct ref *r = ref_load();
	open_both(dir, "auto", &m, &e);
	for (size_t i = 0; i < REF_TEXTS; i++) {
		uint32_t ids[ENCODER_TOKENS_MAX];
		size_t n = encoder_tokenize(m, str_of(r->texts[i].text), ids);
		if (n != r->texts[i].n_ids || memcmp(ids, r->texts[i].ids, n * sizeof(*ids)) != 0)
			print_message("text %zu: %.60s\n", i, r->texts[i].text);
		assert_int_equal(n, r->texts[i].n_ids);
		assert_memory_equal(ids, r->texts[i].ids, n * sizeof(*ids));
	}
	encoder_free(e);
	encoder_model_free(m);
	ref_free(r);
}

static void vectors_agree_with_reference(void **state)
{
	const char *dir = real_model_dir();
	if (!dir)
		skip();
	struct ref *r = ref_load();
	static float out[REF_TEXTS][REF_DIM];
	for (size_t k = 0; k < 4; k++) {
		struct encoder_model *m;
		struct encoder *e;
		open_both(dir, kernels[k], &m, &e);
		if (!m)
			continue;
		assert_int_equal(encoder_model_info(m)->hidden, REF_DIM);
		struct str texts[REF_TEXTS];
		uint32_t tokens[REF_TEXTS];
		for (size_t i = 0; i < REF_TEXTS; i++)
			texts[i] = str_of(r->texts[i].text);
		assert_int_equal(encoder_embed(e, texts, REF_TEXTS, out[0], tokens, NULL), 0);
		double worst = 1;
		for (size_t i = 0; i < REF_TEXTS; i++) {
			double c = cosine(out[i], r->vectors[i], REF_DIM);
			worst = c < worst ? c : worst;
			assert_int_equal(tokens[i], r->texts[i].n_ids);
		}
		print_message("kernel %s: worst cosine of %d texts %.8f\n", kernels[k], REF_TEXTS, worst);
		assert_true(worst >= 0.9999);
		encoder_free(e);
		encoder_model_free(m);
	}
	ref_free(r);
}

/* The 4-wide set around cblas is the yardstick of the others. */
static void tiny_kernels_agree(void **state)
{
	static const char *const texts[] = { "", "hello", "the price of energy", "Switching MINERS, quickly!",
					     "a b c d e f g h i j k l m n o p q r s t u v w x y z 0 1 2 3 4 5 6 7 8 9 "
					     "a b c d e f g h i j k l m n o p q r s t u v w x y z" };
	enum { N = 5 };
	float want[N][64], got[N][64];
	struct str s[N];
	for (size_t i = 0; i < N; i++)
		s[i] = str_of(texts[i]);
	for (int k = 3; k >= 0; k--) {
		struct encoder_model *m;
		struct encoder *e;
		open_both(tiny_model_dir(), kernels[k], &m, &e);
		if (!m)
			continue;
		const struct encoder_info *info = encoder_model_info(m);
		assert_string_equal(info->name, "hcp-generated-tiny");
		assert_string_equal(info->kernel, kernels[k]);
		assert_int_equal(info->hidden, 32);
		assert_int_equal(info->max_tokens, 48);
		size_t h = info->hidden;
		uint32_t tokens[N];
		assert_int_equal(encoder_embed(e, s, N, got[0], tokens, NULL), 0);
		assert_int_equal(tokens[0], 2);
		assert_int_equal(tokens[1], 3);
		assert_int_equal(tokens[4], 48);
		for (size_t i = 0; i < N; i++) {
			float *row = got[0] + i * h, one[64];
			assert_true(fabs(cosine(row, row, h) - 1) < 1e-6);
			uint32_t t1;
			assert_int_equal(encoder_embed(e, &s[i], 1, one, &t1, NULL), 0);
			assert_true(cosine(row, one, h) > 0.999999); /* alone or in a batch: the same */
			if (k == 3)
				memcpy(want[0] + i * h, row, h * sizeof(float));
			else
				assert_true(cosine(row, want[0] + i * h, h) > 0.9999);
		}
		assert_true(cosine(got[0] + h, got[0] + 2 * h, h) < 0.999);
		encoder_free(e);
		encoder_model_free(m);
	}
}

static void ids_are_checked(void **state)
{
	struct encoder_model *m;
	struct encoder *e;
	open_both(tiny_model_dir(), "auto", &m, &e);
	uint32_t vocab = encoder_model_info(m)->vocab;
	uint32_t a[] = { 7, 8 }, b[] = { 9, vocab };
	struct encoder_ids in[] = { { a, 2 }, { b, 2 } };
	float out[3 * 64];
	uint32_t tokens[3] = { 0 };
	struct err err = { 0 };
	assert_int_equal(encoder_embed_ids(e, in, 2, out, tokens, &err), HCP_EINVAL);
	assert_string_equal(err.field, "input[1][1]");
	b[1] = vocab - 1;
	assert_int_equal(encoder_embed_ids(e, in, 2, out, tokens, &err), 0);
	assert_int_equal(tokens[1], 4);
	uint32_t ids[ENCODER_TOKENS_MAX];
	size_t n = encoder_tokenize(m, STR("grid power"), ids);
	struct encoder_ids same = { ids + 1, n - 2 };
	struct str text = STR("grid power");
	assert_int_equal(encoder_embed_ids(e, &same, 1, out, NULL, NULL), 0);
	assert_int_equal(encoder_embed(e, &text, 1, out + 64, NULL, NULL), 0);
	assert_memory_equal(out, out + 64, encoder_model_info(m)->hidden * sizeof(float));
	assert_int_equal(encoder_embed(e, &text, ENCODER_INPUTS_MAX + 1, out, NULL, &err), HCP_ELIMIT);
	encoder_free(e);
	encoder_model_free(m);
}

static void opening_fails_cleanly(void **state)
{
	struct encoder_model *m = NULL;
	struct encoder *e = NULL;
	struct err err = { 0 };
	assert_int_equal(encoder_model_open("/nonexistent", NULL, &m, &err), HCP_ENOTFOUND);
	assert_string_equal(err.field, "config.json");
	struct encoder_opts opts = { .kernel = "abacus" };
	assert_int_equal(encoder_model_open(tiny_model_dir(), &opts, &m, &err), HCP_EINVAL);
	int64_t live = mem_live();
	uint64_t nth = 1;
	for (;; nth++) { /* every allocation fails once */
		mem_fail_after(nth, 0);
		int rc = encoder_model_open(tiny_model_dir(), NULL, &m, &err);
		if (rc == 0)
			rc = encoder_new(m, &e, &err);
		uint64_t left = mem_fail_hits();
		mem_fail_after(0, 0);
		if (rc == 0)
			break;
		assert_int_equal(rc, HCP_ENOMEM);
		assert_true(left > 0);
		encoder_model_free(m);
		m = NULL;
		assert_int_equal(mem_live(), live);
		assert_true(nth < 1000);
	}
	assert_true(nth > 5);
	encoder_free(e);
	encoder_model_free(m);
	assert_int_equal(mem_live(), live);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ids_agree_with_reference), cmocka_unit_test(vectors_agree_with_reference),
		cmocka_unit_test(tiny_kernels_agree),	    cmocka_unit_test(ids_are_checked),
		cmocka_unit_test(opening_fails_cleanly),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
