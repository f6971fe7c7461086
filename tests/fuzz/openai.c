#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/panic.h"
#include "infer/openai.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

/* What is accepted keeps the limits; what is refused makes a well-formed error body. */
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct arena a;
	struct buf b;
	struct openai_embeddings r;
	struct err err = { 0 };
	arena_init(&a, 1024, 1 << 20);
	buf_init(&b, 1 << 16);
	if (openai_parse_embeddings(&r, (struct str){ (const char *)p, n }, 1 << 16, &a, &err) == 0) {
		must(r.n_inputs >= 1 && r.n_inputs <= OPENAI_INPUTS_MAX && r.model.n >= 1);
		for (size_t i = 0; i < r.n_inputs; i++)
			must(r.inputs[i].ids ? r.inputs[i].n_ids > 0 : r.inputs[i].text.n > 0);
		const float row[3] = { 1, 0, -1 };
		openai_write_embeddings(&b, r.model, row, 1, 3, r.encoding, r.n_inputs);
	} else {
		must(err.code < 0 && err.text[0]);
		openai_write_error(&b, &err);
	}
	must(b.n > 2 && b.data[0] == '{' && b.data[b.n - 1] == '}');
	buf_release(&b);
	arena_release(&a);
	return 0;
}
