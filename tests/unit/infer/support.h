#ifndef HCP_TESTS_INFER_SUPPORT_H
#define HCP_TESTS_INFER_SUPPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "infer/encoder.h"

/* One of the 100 texts of data/texts.json, with the ids that the reference tokenizer gives. */
struct ref_text {
	char *text; /* owned; may hold NUL bytes nowhere */
	uint32_t ids[ENCODER_TOKENS_MAX];
	size_t n_ids;
};

#define REF_TEXTS 100
#define REF_DIM 384

struct ref {
	struct ref_text texts[REF_TEXTS];
	float vectors[REF_TEXTS][REF_DIM];
};

/* The folder of the published model, or NULL (with a message) if it is not there. */
const char *real_model_dir(void);
/* The folder of the generated model, made by scripts/get-model --generate. */
const char *tiny_model_dir(void);
/* Loads data/; aborts the test on failure. Freed by ref_free. */
struct ref *ref_load(void);
void ref_free(struct ref *r);
double cosine(const float *a, const float *b, size_t n);

#endif
