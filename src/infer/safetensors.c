#include "infer/safetensors.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

static const struct {
	const char *name;
	uint32_t size;
} dtypes[] = {
	[SAFETENSORS_F32] = { "F32", 4 }, [SAFETENSORS_F16] = { "F16", 2 }, [SAFETENSORS_BF16] = { "BF16", 2 },
	[SAFETENSORS_F64] = { "F64", 8 }, [SAFETENSORS_I64] = { "I64", 8 }, [SAFETENSORS_I32] = { "I32", 4 },
	[SAFETENSORS_I16] = { "I16", 2 }, [SAFETENSORS_I8] = { "I8", 1 },   [SAFETENSORS_U8] = { "U8", 1 },
	[SAFETENSORS_BOOL] = { "BOOL", 1 },
};

static uint64_t get_le64(const uint8_t *p)
{
	uint64_t v = 0;
	for (int i = 7; i >= 0; i--)
		v = v << 8 | p[i];
	return v;
}

static int parse_dtype(struct safetensor *t, const json_t *v, struct err *err)
{
	const char *s = json_string_value(v);
	if (!s)
		return err_set(err, HCP_EPARSE, t->name, "dtype must be a string");
	for (size_t i = 0; i < sizeof(dtypes) / sizeof(dtypes[0]); i++) {
		if (strcmp(dtypes[i].name, s) == 0) {
			t->dtype = (enum safetensors_dtype)i;
			return 0;
		}
	}
	return err_set(err, HCP_EUNSUPPORTED, t->name, "dtype %.16s is not supported", s);
}

static int parse_shape(struct safetensor *t, const json_t *v, struct err *err)
{
	if (!json_is_array(v))
		return err_set(err, HCP_EPARSE, t->name, "shape must be an array");
	if (json_array_size(v) > SAFETENSORS_DIMS_MAX)
		return err_set(err, HCP_ELIMIT, t->name, "more than %u dimensions", SAFETENSORS_DIMS_MAX);
	t->n_dims = (uint32_t)json_array_size(v);
	t->n_elems = 1;
	for (uint32_t i = 0; i < t->n_dims; i++) {
		const json_t *d = json_array_get(v, i);
		if (!json_is_integer(d) || json_integer_value(d) < 0)
			return err_set(err, HCP_EPARSE, t->name, "shape must hold integers of 0 or more");
		t->dims[i] = (uint64_t)json_integer_value(d);
		if (__builtin_mul_overflow(t->n_elems, t->dims[i], &t->n_elems))
			return err_set(err, HCP_EPARSE, t->name, "the shape overflows");
	}
	return 0;
}

static int parse_offsets(struct safetensor *t, const json_t *v, const uint8_t *data, uint64_t data_n, struct err *err)
{
	const json_t *b = json_array_get(v, 0), *e = json_array_get(v, 1);
	if (json_array_size(v) != 2 || !json_is_integer(b) || !json_is_integer(e))
		return err_set(err, HCP_EPARSE, t->name, "data_offsets must be two integers");
	int64_t begin = json_integer_value(b), end = json_integer_value(e);
	if (begin < 0 || end < begin || (uint64_t)end > data_n)
		return err_set(err, HCP_EPARSE, t->name,
			       "data_offsets %" PRId64 "..%" PRId64 " leave the %" PRIu64 " bytes of data", begin, end,
			       data_n);
	uint64_t want;
	if (__builtin_mul_overflow(t->n_elems, (uint64_t)dtypes[t->dtype].size, &want) ||
	    want != (uint64_t)(end - begin))
		return err_set(err, HCP_EPARSE, t->name, "the shape does not fit the %" PRId64 " bytes given", end - begin);
	t->data = data + begin;
	t->size = want;
	return 0;
}

static int parse_tensor(struct safetensor *t, const char *name, const json_t *v, const uint8_t *data, uint64_t data_n,
			struct err *err)
{
	t->name = mem_strdup(name);
	if (!t->name)
		return err_set(err, HCP_ENOMEM, "", "no memory for the tensor table");
	if (!json_is_object(v))
		return err_set(err, HCP_EPARSE, name, "a tensor must be an object");
	int rc = parse_dtype(t, json_object_get(v, "dtype"), err);
	if (rc == 0)
		rc = parse_shape(t, json_object_get(v, "shape"), err);
	if (rc == 0)
		rc = parse_offsets(t, json_object_get(v, "data_offsets"), data, data_n, err);
	return rc;
}

static int by_data(const void *a, const void *b)
{
	const struct safetensor *x = a, *y = b;
	if (x->data != y->data)
		return x->data < y->data ? -1 : 1;
	return x->size < y->size ? -1 : x->size > y->size;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct safetensor *)a)->name, ((const struct safetensor *)b)->name);
}

static int check_overlap(struct safetensors *s, struct err *err)
{
	qsort(s->tensors, s->n, sizeof(*s->tensors), by_data);
	for (size_t i = 1; i < s->n; i++) {
		const struct safetensor *a = &s->tensors[i - 1], *b = &s->tensors[i];
		if (a->size && b->size && a->data + a->size > b->data)
			return err_set(err, HCP_EPARSE, b->name, "overlaps the data of %.64s", a->name);
	}
	qsort(s->tensors, s->n, sizeof(*s->tensors), by_name);
	return 0;
}

static int parse_header(struct safetensors *s, json_t *root, const uint8_t *data, uint64_t data_n, struct err *err)
{
	size_t n = json_object_size(root);
	if (n > SAFETENSORS_TENSORS_MAX + 1)
		return err_set(err, HCP_ELIMIT, "", "more than %u tensors", SAFETENSORS_TENSORS_MAX);
	s->tensors = mem_calloc(n, sizeof(*s->tensors));
	if (!s->tensors)
		return err_set(err, HCP_ENOMEM, "", "no memory for the tensor table");
	const char *name;
	json_t *v;
	json_object_foreach(root, name, v) {
		if (strcmp(name, "__metadata__") == 0)
			continue;
		int rc = parse_tensor(&s->tensors[s->n++], name, v, data, data_n, err);
		if (rc < 0)
			return rc;
	}
	return check_overlap(s, err);
}

int safetensors_init(struct safetensors *ret, const void *p, size_t n, struct err *err)
{
	const uint8_t *bytes = p;
	if (n < 8)
		return err_set(err, HCP_EPARSE, "", "shorter than the 8 bytes of the header length");
	uint64_t header_n = get_le64(bytes);
	if (header_n > n - 8)
		return err_set(err, HCP_EPARSE, "", "a header of %" PRIu64 " bytes in a file of %zu", header_n, n);
	if (header_n > SAFETENSORS_HEADER_MAX)
		return err_set(err, HCP_ELIMIT, "", "a header of more than %u bytes", SAFETENSORS_HEADER_MAX);
	json_error_t je;
	json_t *root = json_loadb((const char *)bytes + 8, header_n, JSON_REJECT_DUPLICATES, &je);
	if (!root)
		return err_set(err, HCP_EPARSE, "", "the header is not JSON: %.160s", je.text);
	struct safetensors s = { 0 };
	int rc;
	if (json_is_object(root))
		rc = parse_header(&s, root, bytes + 8 + header_n, n - 8 - header_n, err);
	else
		rc = err_set(err, HCP_EPARSE, "", "the header must be a JSON object");
	json_decref(root);
	if (rc < 0) {
		safetensors_release(&s);
		return rc;
	}
	*ret = s;
	return 0;
}

void safetensors_release(struct safetensors *s)
{
	for (size_t i = 0; i < s->n; i++)
		mem_free(s->tensors[i].name);
	mem_free(s->tensors);
	*s = (struct safetensors){ 0 };
}

const struct safetensor *safetensors_find(const struct safetensors *s, const char *name)
{
	size_t lo = 0, hi = s->n;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		int c = strcmp(name, s->tensors[mid].name);
		if (c == 0)
			return &s->tensors[mid];
		if (c < 0)
			hi = mid;
		else
			lo = mid + 1;
	}
	return NULL;
}

float safetensors_half_to_float(uint16_t h)
{
	uint32_t sign = (uint32_t)(h & 0x8000) << 16, exp = h >> 10 & 31, man = h & 0x3ff, bits;
	if (exp == 31) {
		bits = sign | 0x7f800000 | man << 13;
	} else if (exp) {
		bits = sign | (exp + 112) << 23 | man << 13;
	} else {
		float f = (float)man * 0x1p-24f;
		memcpy(&bits, &f, 4);
		bits |= sign;
	}
	float f;
	memcpy(&f, &bits, 4);
	return f;
}

uint16_t safetensors_float_to_half(float f)
{
	uint32_t bits;
	memcpy(&bits, &f, 4);
	uint16_t sign = (uint16_t)(bits >> 16 & 0x8000);
	uint32_t mag = bits & 0x7fffffff;
	if (mag > 0x7f800000)
		return sign | 0x7e00;
	if (mag >= 0x477ff000) /* 65520 and up round to infinity */
		return sign | 0x7c00;
	if (mag < 0x38800000) { /* below 2^-14: the grid is 2^-24; adding 0.5 lets the FPU round to it */
		float a, grid = 0.5f;
		memcpy(&a, &mag, 4);
		a += grid;
		uint32_t b;
		memcpy(&b, &a, 4);
		return sign | (uint16_t)(b - 0x3f000000);
	}
	uint32_t odd = mag >> 13 & 1;
	return sign | (uint16_t)((mag - 0x38000000 + 0xfff + odd) >> 13);
}

int safetensor_read_f32(const struct safetensor *t, float *dst, struct err *err)
{
	for (uint64_t i = 0; i < t->n_elems && t->dtype != SAFETENSORS_F32; i++) {
		uint16_t h = 0;
		uint32_t bits;
		if (t->dtype != SAFETENSORS_F16 && t->dtype != SAFETENSORS_BF16)
			break;
		memcpy(&h, t->data + 2 * i, 2);
		bits = (uint32_t)h << 16;
		if (t->dtype == SAFETENSORS_F16)
			dst[i] = safetensors_half_to_float(h);
		else
			memcpy(&dst[i], &bits, 4);
	}
	switch (t->dtype) {
	case SAFETENSORS_F32:
		if (t->size)
			memcpy(dst, t->data, t->size);
		return 0;
	case SAFETENSORS_F16:
	case SAFETENSORS_BF16:
		return 0;
	default:
		return err_set(err, HCP_EUNSUPPORTED, t->name, "%s is not a float tensor", dtypes[t->dtype].name);
	}
}
