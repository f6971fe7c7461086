#include "wire/pb_fast.h"

#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "fixed-width fields are copied as they are");

enum { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };

enum { TYPES = PROTOBUF_C_TYPE_MESSAGE + 1 };

static const uint8_t WIRE[TYPES] = {
	[PROTOBUF_C_TYPE_FIXED64] = WIRE_64,
	[PROTOBUF_C_TYPE_SFIXED64] = WIRE_64,
	[PROTOBUF_C_TYPE_DOUBLE] = WIRE_64,
	[PROTOBUF_C_TYPE_FIXED32] = WIRE_32,
	[PROTOBUF_C_TYPE_SFIXED32] = WIRE_32,
	[PROTOBUF_C_TYPE_FLOAT] = WIRE_32,
	[PROTOBUF_C_TYPE_STRING] = WIRE_BYTES,
	[PROTOBUF_C_TYPE_BYTES] = WIRE_BYTES,
	[PROTOBUF_C_TYPE_MESSAGE] = WIRE_BYTES,
};

/* Of one value in a structure or an array. */
static const uint8_t SIZE[TYPES] = {
	[PROTOBUF_C_TYPE_INT32] = 4,
	[PROTOBUF_C_TYPE_SINT32] = 4,
	[PROTOBUF_C_TYPE_UINT32] = 4,
	[PROTOBUF_C_TYPE_FIXED32] = 4,
	[PROTOBUF_C_TYPE_SFIXED32] = 4,
	[PROTOBUF_C_TYPE_FLOAT] = 4,
	[PROTOBUF_C_TYPE_ENUM] = 4,
	[PROTOBUF_C_TYPE_INT64] = 8,
	[PROTOBUF_C_TYPE_SINT64] = 8,
	[PROTOBUF_C_TYPE_UINT64] = 8,
	[PROTOBUF_C_TYPE_FIXED64] = 8,
	[PROTOBUF_C_TYPE_SFIXED64] = 8,
	[PROTOBUF_C_TYPE_DOUBLE] = 8,
	[PROTOBUF_C_TYPE_BOOL] = sizeof(protobuf_c_boolean),
	[PROTOBUF_C_TYPE_STRING] = sizeof(void *),
	[PROTOBUF_C_TYPE_MESSAGE] = sizeof(void *),
	[PROTOBUF_C_TYPE_BYTES] = sizeof(ProtobufCBinaryData),
};

/* ---- packing, from the last byte to the first, so that a length is known when it is written ---- */

struct writer {
	uint8_t *begin, *p; /* p: the first byte written so far */
	bool failed;
};

static void put_bytes(struct writer *w, const void *src, size_t n)
{
	if ((size_t)(w->p - w->begin) < n) {
		w->failed = true;
		return;
	}
	w->p -= n;
	if (n)
		memcpy(w->p, src, n);
}

static void put_varint(struct writer *w, uint64_t v)
{
	if (v < 128 && w->p > w->begin) {
		*--w->p = (uint8_t)v;
		return;
	}
	size_t n = (size_t)(64 - __builtin_clzll(v | 1) + 6) / 7;
	if ((size_t)(w->p - w->begin) < n) {
		w->failed = true;
		return;
	}
	uint8_t *p = w->p -= n;
	for (; v >= 128; v >>= 7)
		*p++ = (uint8_t)(v | 128);
	*p = (uint8_t)v;
}

static void put_message(struct writer *w, const ProtobufCMessage *m);

static void put_value(struct writer *w, ProtobufCType t, const void *v)
{
	const uint8_t *end = w->p;
	switch (t) {
	case PROTOBUF_C_TYPE_INT32:
	case PROTOBUF_C_TYPE_ENUM:
		put_varint(w, (uint64_t)(int64_t)*(const int32_t *)v);
		break;
	case PROTOBUF_C_TYPE_SINT32: {
		int32_t x = *(const int32_t *)v;
		put_varint(w, (uint32_t)x << 1 ^ (uint32_t)(x >> 31));
		break;
	}
	case PROTOBUF_C_TYPE_UINT32:
		put_varint(w, *(const uint32_t *)v);
		break;
	case PROTOBUF_C_TYPE_INT64:
	case PROTOBUF_C_TYPE_UINT64:
		put_varint(w, *(const uint64_t *)v);
		break;
	case PROTOBUF_C_TYPE_SINT64: {
		int64_t x = *(const int64_t *)v;
		put_varint(w, (uint64_t)x << 1 ^ (uint64_t)(x >> 63));
		break;
	}
	case PROTOBUF_C_TYPE_BOOL:
		put_varint(w, *(const protobuf_c_boolean *)v != 0);
		break;
	case PROTOBUF_C_TYPE_STRING: {
		const char *s = *(const char *const *)v;
		size_t n = s ? strlen(s) : 0;
		put_bytes(w, s, n);
		put_varint(w, n);
		break;
	}
	case PROTOBUF_C_TYPE_BYTES: {
		const ProtobufCBinaryData *b = v;
		put_bytes(w, b->data, b->len);
		put_varint(w, b->len);
		break;
	}
	case PROTOBUF_C_TYPE_MESSAGE:
		if (*(const ProtobufCMessage *const *)v)
			put_message(w, *(const ProtobufCMessage *const *)v);
		put_varint(w, (uint64_t)(end - w->p));
		break;
	default:
		put_bytes(w, v, SIZE[t]);
		break;
	}
}

static void put_field(struct writer *w, const ProtobufCFieldDescriptor *f, const void *v)
{
	put_value(w, f->type, v);
	put_varint(w, (uint64_t)f->id << 3 | WIRE[f->type]);
}

static void put_repeated(struct writer *w, const ProtobufCFieldDescriptor *f, const char *items, size_t n)
{
	size_t size = SIZE[f->type];
	const uint8_t *end = w->p;
	if (n == 0)
		return;
	if (!(f->flags & PROTOBUF_C_FIELD_FLAG_PACKED)) {
		while (n-- && !w->failed)
			put_field(w, f, items + n * size);
		return;
	}
	while (n-- && !w->failed)
		put_value(w, f->type, items + n * size);
	put_varint(w, (uint64_t)(end - w->p));
	put_varint(w, (uint64_t)f->id << 3 | WIRE_BYTES);
}

static bool is_pointer(ProtobufCType t)
{
	return t == PROTOBUF_C_TYPE_STRING || t == PROTOBUF_C_TYPE_MESSAGE;
}

/* A singular field without presence is packed unless it is zero. */
static bool is_zero(ProtobufCType t, const void *v)
{
	switch (t) {
	case PROTOBUF_C_TYPE_STRING:
		return !*(const char *const *)v || !**(const char *const *)v;
	case PROTOBUF_C_TYPE_MESSAGE:
		return !*(const void *const *)v;
	case PROTOBUF_C_TYPE_BYTES:
		return ((const ProtobufCBinaryData *)v)->len == 0;
	case PROTOBUF_C_TYPE_FLOAT:
		return *(const float *)v == 0;
	case PROTOBUF_C_TYPE_DOUBLE:
		return *(const double *)v == 0;
	case PROTOBUF_C_TYPE_BOOL:
		return *(const protobuf_c_boolean *)v == 0;
	default:
		return SIZE[t] == 8 ? *(const uint64_t *)v == 0 : *(const uint32_t *)v == 0;
	}
}

static bool is_packed(const ProtobufCFieldDescriptor *f, const void *v, const char *quantifier)
{
	const void *p = is_pointer(f->type) ? *(const void *const *)v : NULL;
	if (f->label == PROTOBUF_C_LABEL_REQUIRED)
		return true;
	if (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF)
		return *(const uint32_t *)(const void *)quantifier == f->id &&
			   (!is_pointer(f->type) || (p && p != f->default_value));
	if (f->label == PROTOBUF_C_LABEL_OPTIONAL)
		return is_pointer(f->type) ? p && p != f->default_value : *(const protobuf_c_boolean *)quantifier != 0;
	return !is_zero(f->type, v);
}

static void put_message(struct writer *w, const ProtobufCMessage *m)
{
	const ProtobufCMessageDescriptor *d = m->descriptor;
	w->failed |= m->n_unknown_fields != 0;
	for (unsigned i = d->n_fields; i-- && !w->failed;) {
		const ProtobufCFieldDescriptor *f = &d->fields[i];
		const char *v = (const char *)m + f->offset, *quantifier = (const char *)m + f->quantifier_offset;
		if (f->label == PROTOBUF_C_LABEL_REPEATED)
			put_repeated(w, f, *(const char *const *)(const void *)v, *(const size_t *)(const void *)quantifier);
		else if (is_packed(f, v, quantifier))
			put_field(w, f, v);
	}
}

int pb_fast_pack(const ProtobufCMessage *m, uint8_t *dst, int cap)
{
	struct writer w = { .begin = dst, .p = dst + cap };
	put_message(&w, m);
	return w.failed ? HCP_ELIMIT : (int)(dst + cap - w.p);
}

/* ---- unpacking ---- */

struct reader {
	const uint8_t *p, *end;
	struct arena *arena;
};

/* What is read: a number, or where the bytes are. */
struct value {
	uint64_t n;
	const uint8_t *p; /* n bytes */
};

/* Longer ones than need be are as good, up to so many bits; that is what the library takes. */
enum { VARINT_BITS = 64, PREFIX_BITS = 35 /* tags and lengths */ };

static bool get_varint(struct reader *r, unsigned bits, uint64_t *ret)
{
	uint64_t v = 0;
	if (r->p < r->end && *r->p < 128) {
		*ret = *r->p++;
		return true;
	}
	for (unsigned shift = 0; shift < bits && r->p < r->end; shift += 7) {
		uint8_t b = *r->p++;
		v |= (uint64_t)(b & 127) << shift;
		if (b < 128) {
			*ret = v;
			return true;
		}
	}
	return false;
}

static bool get_fixed(struct reader *r, size_t n, uint64_t *ret)
{
	if ((size_t)(r->end - r->p) < n)
		return false;
	*ret = 0;
	memcpy(ret, r->p, n);
	r->p += n;
	return true;
}

static bool get_value(struct reader *r, unsigned wire, struct value *ret)
{
	switch (wire) {
	case WIRE_VARINT:
		return get_varint(r, VARINT_BITS, &ret->n);
	case WIRE_64:
		return get_fixed(r, 8, &ret->n);
	case WIRE_32:
		return get_fixed(r, 4, &ret->n);
	case WIRE_BYTES:
		if (!get_varint(r, PREFIX_BITS, &ret->n) || ret->n > (uint64_t)(r->end - r->p))
			return false;
		ret->p = r->p;
		r->p += ret->n;
		return true;
	default:
		return false;
	}
}

/* Fields come in order and repeated ones together, so the next is nearly always where the last one was or behind it. */
static const ProtobufCFieldDescriptor *field_of(const ProtobufCMessageDescriptor *d, uint64_t id, unsigned *hint)
{
	for (unsigned i = *hint; i < d->n_fields && d->fields[i].id <= id; i++)
		if (d->fields[i].id == id) {
			*hint = i;
			return &d->fields[i];
		}
	return id <= UINT32_MAX ? protobuf_c_message_descriptor_get_field(d, (unsigned)id) : NULL;
}

static bool is_list(const ProtobufCFieldDescriptor *f, unsigned wire)
{
	return f->label == PROTOBUF_C_LABEL_REPEATED && wire == WIRE_BYTES && WIRE[f->type] != WIRE_BYTES;
}

static bool count_list(const ProtobufCFieldDescriptor *f, const struct value *v, size_t *n)
{
	size_t size = WIRE[f->type] == WIRE_VARINT ? 0 : SIZE[f->type];
	if (size) {
		*n += v->n / size;
		return v->n % size == 0;
	}
	for (uint64_t i = 0; i < v->n; i++)
		*n += v->p[i] < 128;
	return v->n == 0 || v->p[v->n - 1] < 128;
}

static int get_message(const ProtobufCMessageDescriptor *d, struct reader r, int depth, ProtobufCMessage **ret);

/* One value of a field into its place. 1, 0 or a code, as pb_fast_unpack. */
static int take(const struct reader *r, const ProtobufCFieldDescriptor *f, const struct value *v, void *to, int depth)
{
	switch (f->type) {
	case PROTOBUF_C_TYPE_SINT32:
		*(int32_t *)to = (int32_t)((uint32_t)v->n >> 1 ^ -(uint32_t)(v->n & 1));
		return 1;
	case PROTOBUF_C_TYPE_SINT64:
		*(int64_t *)to = (int64_t)(v->n >> 1 ^ -(v->n & 1));
		return 1;
	case PROTOBUF_C_TYPE_BOOL:
		*(protobuf_c_boolean *)to = v->n != 0;
		return 1;
	case PROTOBUF_C_TYPE_STRING: {
		char *s = arena_strndup(r->arena, (const char *)v->p, v->n);
		*(char **)to = s;
		return s ? 1 : HCP_ENOMEM;
	}
	case PROTOBUF_C_TYPE_BYTES: {
		ProtobufCBinaryData *b = to;
		b->len = v->n;
		b->data = v->n ? arena_dup(r->arena, v->p, v->n) : NULL;
		return b->data || !v->n ? 1 : HCP_ENOMEM;
	}
	case PROTOBUF_C_TYPE_MESSAGE:
		return get_message(f->descriptor, (struct reader){ v->p, v->p + v->n, r->arena }, depth - 1, to);
	default:
		if (SIZE[f->type] == 8)
			*(uint64_t *)to = v->n;
		else
			*(uint32_t *)to = (uint32_t)v->n;
		return 1;
	}
}

/* How many values follow one after the other under `tag`, the first of which is `v`. False: malformed. */
static bool count_run(
	const struct reader *r, const ProtobufCFieldDescriptor *f, uint64_t tag, struct value v, size_t *n)
{
	struct reader ahead = *r;
	uint64_t next = tag;
	for (*n = 0; next == tag;) {
		if (!is_list(f, tag & 7))
			++*n;
		else if (!count_list(f, &v, n))
			return false;
		if (ahead.p == ahead.end)
			return true;
		if (!get_varint(&ahead, PREFIX_BITS, &next) || (next == tag && !get_value(&ahead, tag & 7, &v)))
			return false;
	}
	return true;
}

static int take_list(const struct reader *r, const ProtobufCFieldDescriptor *f, const struct value *v, char **to)
{
	struct reader list = { v->p, v->p + v->n, r->arena };
	struct value one;
	while (list.p < list.end) {
		int rc = get_value(&list, WIRE[f->type], &one) ? take(r, f, &one, *to, 0) : 0;
		if (rc != 1)
			return rc;
		*to += SIZE[f->type];
	}
	return 1;
}

/* All values of a repeated field; they stand together, else protobuf-c sees to them. r is behind the first. */
static int take_repeated(struct reader *r, const ProtobufCFieldDescriptor *f, uint64_t tag, struct value v, char *m,
	int depth)
{
	size_t *n = (size_t *)(void *)(m + f->quantifier_offset);
	if (*n || !count_run(r, f, tag, v, n))
		return 0;
	char *to = *n ? arena_alloc(r->arena, *n * SIZE[f->type]) : NULL;
	if (!to)
		return *n ? HCP_ENOMEM : 0;
	char *end = to + *n * SIZE[f->type];
	*(void **)(void *)(m + f->offset) = to;
	for (;;) {
		int rc;
		if (is_list(f, tag & 7)) {
			rc = take_list(r, f, &v, &to);
		} else {
			rc = take(r, f, &v, to, depth);
			to += SIZE[f->type];
		}
		if (rc != 1 || to == end)
			return rc;
		if (!get_varint(r, PREFIX_BITS, &tag) || !get_value(r, tag & 7, &v))
			return 0;
	}
}

static int take_field(struct reader *r, const ProtobufCFieldDescriptor *f, uint64_t tag, const struct value *v, char *m,
	int depth)
{
	void *to = m + f->offset, *quantifier = m + f->quantifier_offset;
	if ((tag & 7) != WIRE[f->type] && !is_list(f, tag & 7))
		return 0;
	if (f->label == PROTOBUF_C_LABEL_REPEATED)
		return take_repeated(r, f, tag, *v, m, depth);
	if (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) {
		if (*(uint32_t *)quantifier)
			return 0; /* another of them came before */
		*(uint32_t *)quantifier = f->id;
	} else if (f->type == PROTOBUF_C_TYPE_MESSAGE && *(void **)to) {
		return 0; /* pieces, to be merged */
	} else if (f->label == PROTOBUF_C_LABEL_OPTIONAL && !is_pointer(f->type)) {
		*(protobuf_c_boolean *)quantifier = true;
	}
	return take(r, f, v, to, depth);
}

/* Nothing in it is to be left to protobuf-c. Asked for every message, so each thread remembers the last ones. */
static bool is_plain(const ProtobufCMessageDescriptor *d)
{
	enum { KNOWN = 64 };
	static _Thread_local const ProtobufCMessageDescriptor *known[KNOWN];
	size_t slot = ((uintptr_t)d / sizeof(*d)) % KNOWN;
	if (known[slot] == d)
		return true;
	if (!d->message_init)
		return false;
	for (unsigned i = 0; i < d->n_fields; i++)
		if (d->fields[i].label == PROTOBUF_C_LABEL_REQUIRED)
			return false;
	known[slot] = d;
	return true;
}

static int get_message(const ProtobufCMessageDescriptor *d, struct reader r, int depth, ProtobufCMessage **ret)
{
	unsigned hint = 0;
	uint64_t tag;
	struct value v;
	if (depth < 0)
		return HCP_ELIMIT;
	if (!is_plain(d))
		return 0;
	char *m = arena_alloc(r.arena, d->sizeof_message);
	if (!m)
		return HCP_ENOMEM;
	d->message_init((ProtobufCMessage *)(void *)m);
	int rc = 1;
	while (rc == 1 && r.p < r.end) {
		const ProtobufCFieldDescriptor *f = NULL;
		if (get_varint(&r, PREFIX_BITS, &tag))
			f = field_of(d, tag >> 3, &hint);
		rc = f && get_value(&r, tag & 7, &v) ? take_field(&r, f, tag, &v, m, depth) : 0;
	}
	if (rc == 1)
		*ret = (ProtobufCMessage *)(void *)m;
	return rc;
}

int pb_fast_unpack(const ProtobufCMessageDescriptor *d, struct str bytes, struct arena *a, ProtobufCMessage **ret)
{
	const uint8_t *p = (const uint8_t *)(bytes.p ? bytes.p : "");
	return get_message(d, (struct reader){ p, p + bytes.n, a }, PB_DEPTH_MAX, ret);
}
