#ifndef HCP_INFER_SAFETENSORS_H
#define HCP_INFER_SAFETENSORS_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/*
 * Reader of the safetensors format (https://huggingface.co/docs/safetensors), over borrowed bytes:
 *
 *   0        8                 8+n                          file end
 *   | n: u64 | JSON header (n) | tensor data, back to back  |
 *     (LE)     {"name": {"dtype": "F32", "shape": [2,3], "data_offsets": [begin, end]}, "__metadata__": {…}}
 *
 * Pure: no I/O. Everything is checked before the first tensor can be reached: header inside the file, known
 * dtype, shape times element size equal to the byte range, ranges inside the data, no two of them overlapping.
 * One thread at a time while opening; read-only and shared after that.
 */
#define SAFETENSORS_HEADER_MAX (16u << 20) /* bytes of JSON; the format itself allows 100 MB */
#define SAFETENSORS_TENSORS_MAX 8192u
#define SAFETENSORS_DIMS_MAX 8u

enum safetensors_dtype {
	SAFETENSORS_F32,
	SAFETENSORS_F16,
	SAFETENSORS_BF16,
	SAFETENSORS_F64,
	SAFETENSORS_I64,
	SAFETENSORS_I32,
	SAFETENSORS_I16,
	SAFETENSORS_I8,
	SAFETENSORS_U8,
	SAFETENSORS_BOOL,
};

struct safetensor {
	char *name; /* owned by the reader */
	enum safetensors_dtype dtype;
	uint32_t n_dims;
	uint64_t dims[SAFETENSORS_DIMS_MAX];
	uint64_t n_elems;    /* product of dims; 1 for a scalar */
	const uint8_t *data; /* borrowed from the bytes handed in; alignment is whatever the file has */
	uint64_t size;       /* bytes of data */
};

struct safetensors {
	struct safetensor *tensors; /* owned; sorted by name */
	size_t n;
};

/*
 * Parses bytes that must outlive *ret. HCP_EPARSE (not of the format; err->field names the tensor),
 * HCP_EUNSUPPORTED (a dtype not listed above), HCP_ELIMIT, HCP_ENOMEM.
 */
int safetensors_init(struct safetensors *ret, const void *p, size_t n, struct err *err) MUST_CHECK;
void safetensors_release(struct safetensors *s);

/* NULL if there is none of that name. */
const struct safetensor *safetensors_find(const struct safetensors *s, const char *name);

/* Converts all n_elems to float; F32, F16 and BF16 only, else HCP_EUNSUPPORTED. dst has room for n_elems. */
int safetensor_read_f32(const struct safetensor *t, float *dst, struct err *err) MUST_CHECK;

/* IEEE 754 half to single, exact, with subnormals, infinities and NaN. */
float safetensors_half_to_float(uint16_t h);
/* Single to half, round to nearest even; overflow becomes infinity. */
uint16_t safetensors_float_to_half(float f);

#endif
