#include "wire/pb_fast.h"

#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "fixed-width fields are copied as they are");

enum { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5, FIELDS_MAX = 64 };

static unsigned wire_of(ProtobufCType t)
{
	switch (t) {
	case PROTOBUF_C_TYPE_FIXED64:
	case PROTOBUF_C_TYPE_SFIXED64:
	case PROTOBUF_C_TYPE_DOUBLE:
		return WIRE_64;
	case PROTOBUF_C_TYPE_FIXED32:
	case PROTOBUF_C_TYPE_SFIXED32:
	case PROTOBUF_C_TYPE_FLOAT:
		return WIRE_32;
	case PROTOBUF_C_TYPE_STRING:
	case PROTOBUF_C_TYPE_BYTES:
	case PROTOBUF_C_TYPE_MESSAGE:
		return WIRE_BYTES;
	default:
		return WIRE_VARINT;
	}
}

/* Of one value in a structure or an array. */
static size_t size_of(ProtobufCType t)
{
	switch (t) {
	case PROTOBUF_C_TYPE_INT64:
	case PROTOBUF_C_TYPE_SINT64:
	case PROTOBUF_C_TYPE_UINT64:
	case PROTOBUF_C_TYPE_FIXED64:
	case PROTOBUF_C_TYPE_SFIXED64:
	case PROTOBUF_C_TYPE_DOUBLE:
		return 8;
	case PROTOBUF_C_TYPE_BOOL:
		return sizeof(protobuf_c_boolean);
	case PROTOBUF_C_TYPE_STRING:
	case PROTOBUF_C_TYPE_MESSAGE:
		return sizeof(void *);
	case PROTOBUF_C_TYPE_BYTES:
		return sizeof(ProtobufCBinaryData);
	default:
		return 4;
	}
}

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
		put_bytes(w, v, size_of(t));
		break;
	}
}

static void put_field(struct writer *w, const ProtobufCFieldDescriptor *f, const void *v)
{
	put_value(w, f->type, v);
	put_varint(w, (uint64_t)f->id << 3 | wire_of(f->type));
}

static void put_repeated(struct writer *w, const ProtobufCFieldDescriptor *f, const char *items, size_t n)
{
	size_t size = size_of(f->type);
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
		return size_of(t) == 8 ? *(const uint64_t *)v == 0 : *(const uint32_t *)v == 0;
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
	return f->label == PROTOBUF_C_LABEL_REPEATED && wire == WIRE_BYTES && wire_of(f->type) != WIRE_BYTES;
}

static bool count_list(const ProtobufCFieldDescriptor *f, const struct value *v, size_t *n)
{
	size_t size = wire_of(f->type) == WIRE_VARINT ? 0 : size_of(f->type);
	if (size) {
		*n += v->n / size;
		return v->n % size == 0;
	}
	for (uint64_t i = 0; i < v->n; i++)
		*n += v->p[i] < 128;
	return v->n == 0 || v->p[v->n - 1] < 128;
}

/* Arrays of the repeated fields, as long as they will be. */
static int make_room(const ProtobufCMessageDescriptor *d, struct reader r, char *m)
{
	size_t n[FIELDS_MAX] = { 0 };
	unsigned hint = 0;
	uint64_t tag;
	struct value v;
	while (r.p < r.end) {
		const ProtobufCFieldDescriptor *f = get_varint(&r, PREFIX_BITS, &tag) ? field_of(d, tag >> 3, &hint) : NULL;
		if (!f || !get_value(&r, tag & 7, &v))
			return 0;
		size_t *count = &n[f - d->fields];
		if (!is_list(f, tag & 7))
			++*count;
		else if (!count_list(f, &v, count))
			return 0;
	}
	for (unsigned i = 0; i < d->n_fields; i++) {
		const ProtobufCFieldDescriptor *f = &d->fields[i];
		if (f->label != PROTOBUF_C_LABEL_REPEATED || !n[i])
			continue;
		void *items = arena_alloc(r.arena, n[i] * size_of(f->type));
		if (!items)
			return HCP_ENOMEM;
		*(void **)(void *)(m + f->offset) = items;
	}
	return 1;
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
		memcpy(to, &v->n, size_of(f->type));
		return 1;
	}
}

static int take_repeated(
	const struct reader *r, const ProtobufCFieldDescriptor *f, unsigned wire, const struct value *v, char *m, int depth)
{
	size_t *n = (size_t *)(void *)(m + f->quantifier_offset), size = size_of(f->type);
	char *items = *(char **)(void *)(m + f->offset);
	if (!is_list(f, wire))
		return take(r, f, v, items + size * (*n)++, depth);
	struct reader list = { v->p, v->p + v->n, r->arena };
	while (list.p < list.end) {
		struct value one;
		if (!get_value(&list, wire_of(f->type), &one))
			return 0;
		int rc = take(r, f, &one, items + size * (*n)++, depth);
		if (rc != 1)
			return rc;
	}
	return 1;
}

static int take_field(
	const struct reader *r, const ProtobufCFieldDescriptor *f, unsigned wire, const struct value *v, char *m, int depth)
{
	void *to = m + f->offset, *quantifier = m + f->quantifier_offset;
	if (wire != wire_of(f->type) && !is_list(f, wire))
		return 0;
	if (f->label == PROTOBUF_C_LABEL_REPEATED)
		return take_repeated(r, f, wire, v, m, depth);
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

/* 1: something is repeated, 0: nothing is; HCP_EUNSUPPORTED: to be left to protobuf-c. */
static int look(const ProtobufCMessageDescriptor *d)
{
	int repeated = 0;
	if (d->n_fields > FIELDS_MAX || !d->message_init)
		return HCP_EUNSUPPORTED;
	for (unsigned i = 0; i < d->n_fields; i++) {
		if (d->fields[i].label == PROTOBUF_C_LABEL_REQUIRED)
			return HCP_EUNSUPPORTED;
		repeated |= d->fields[i].label == PROTOBUF_C_LABEL_REPEATED;
	}
	return repeated;
}

static int get_message(const ProtobufCMessageDescriptor *d, struct reader r, int depth, ProtobufCMessage **ret)
{
	unsigned hint = 0;
	uint64_t tag;
	struct value v;
	if (depth < 0)
		return HCP_ELIMIT;
	int kind = look(d), rc = kind < 0 ? 0 : 1;
	char *m = rc == 1 ? arena_alloc(r.arena, d->sizeof_message) : NULL;
	if (!m)
		return rc == 1 ? HCP_ENOMEM : 0;
	d->message_init((ProtobufCMessage *)(void *)m);
	if (kind == 1)
		rc = make_room(d, r, m);
	while (rc == 1 && r.p < r.end) {
		const ProtobufCFieldDescriptor *f = get_varint(&r, PREFIX_BITS, &tag) ? field_of(d, tag >> 3, &hint) : NULL;
		rc = f && get_value(&r, tag & 7, &v) ? take_field(&r, f, tag & 7, &v, m, depth) : 0;
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
