#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/panic.h"
#include "infer/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

/* Whatever is accepted lies inside the input and reads as floats without a fault. */
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct safetensors s;
	struct err err;
	if (safetensors_init(&s, p, n, &err) < 0)
		return 0;
	for (size_t i = 0; i < s.n; i++) {
		const struct safetensor *t = &s.tensors[i];
		must(t->data >= p && t->data + t->size <= p + n);
		must(safetensors_find(&s, t->name) == t);
		float *f = t->n_elems <= n ? mem_alloc(t->n_elems * sizeof(float)) : NULL;
		if (f && safetensor_read_f32(t, f, &err) < 0)
			must(err.code == HCP_EUNSUPPORTED);
		mem_free(f);
	}
	safetensors_release(&s);
	return 0;
}
