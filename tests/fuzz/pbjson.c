/*
 * JSON -> message -> JSON -> message -> JSON must come to the same text, and so must the way through protobuf bytes.
 * Odd first byte: the rest are protobuf bytes. The descriptor is written by hand so that the target needs no generated
 * code; it refers to itself, so nesting is reached.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "wire/pbjson.h"

struct thing {
	ProtobufCMessage base;
	int32_t i32;
	uint32_t u32;
	int64_t i64;
	uint64_t u64;
	float f;
	double d;
	protobuf_c_boolean flag;
	int kind;
	char *name;
	ProtobufCBinaryData blob;
	struct thing *child;
	size_t n_numbers, n_names, n_things, n_kinds, n_blobs;
	uint64_t *numbers;
	char **names;
	struct thing **things;
	int *kinds;
	ProtobufCBinaryData *blobs;
	uint32_t one_case;
	union {
		char *one_name;
		double one_d;
		struct thing *one_thing;
	};
};

static const ProtobufCEnumValue kinds[] = { { "KIND_NONE", "KIND_NONE", 0 }, { "KIND_SOME", "KIND_SOME", 5 } };
static const ProtobufCIntRange kind_ranges[] = { { 0, 0 }, { 5, 1 }, { 0, 2 } };
static const ProtobufCEnumValueIndex kind_names[] = { { "KIND_NONE", 0 }, { "KIND_SOME", 1 } };
static const ProtobufCEnumDescriptor kind_descriptor = {
	.magic = PROTOBUF_C__ENUM_DESCRIPTOR_MAGIC, .name = "hcp.Kind", .short_name = "Kind", .c_name = "Kind",
	.package_name = "hcp", .n_values = 2, .values = kinds, .n_value_names = 2, .values_by_name = kind_names,
	.n_value_ranges = 2, .value_ranges = kind_ranges,
};

static const ProtobufCMessageDescriptor descriptor;

#define FIELD(no, member, kind_of, what, count, fl) { .name = #member, .id = no, .label = PROTOBUF_C_LABEL_##kind_of, \
	.type = PROTOBUF_C_TYPE_##what, .offset = offsetof(struct thing, member), .quantifier_offset = count, \
	.flags = fl, .descriptor = PROTOBUF_C_TYPE_##what == PROTOBUF_C_TYPE_MESSAGE ? (const void *)&descriptor : \
	PROTOBUF_C_TYPE_##what == PROTOBUF_C_TYPE_ENUM ? (const void *)&kind_descriptor : NULL, \
	.default_value = PROTOBUF_C_TYPE_##what == PROTOBUF_C_TYPE_STRING && PROTOBUF_C_LABEL_##kind_of == \
	PROTOBUF_C_LABEL_NONE ? (const void *)protobuf_c_empty_string : NULL }
#define ONE(no, member, what) FIELD(no, member, NONE, what, offsetof(struct thing, one_case), \
	PROTOBUF_C_FIELD_FLAG_ONEOF)
#define MANY(no, member, what) FIELD(no, member, REPEATED, what, offsetof(struct thing, n_##member), 0)

static const ProtobufCFieldDescriptor fields[] = {
	FIELD(1, i32, NONE, SINT32, 0, 0), FIELD(2, u32, NONE, FIXED32, 0, 0), FIELD(3, i64, NONE, INT64, 0, 0),
	FIELD(4, u64, NONE, UINT64, 0, 0), FIELD(5, f, NONE, FLOAT, 0, 0), FIELD(6, d, NONE, DOUBLE, 0, 0),
	FIELD(7, flag, NONE, BOOL, 0, 0), FIELD(8, kind, NONE, ENUM, 0, 0), FIELD(9, name, NONE, STRING, 0, 0),
	FIELD(10, blob, NONE, BYTES, 0, 0), FIELD(11, child, NONE, MESSAGE, 0, 0), MANY(12, numbers, UINT64),
	MANY(13, names, STRING), MANY(14, things, MESSAGE), MANY(15, kinds, ENUM), MANY(16, blobs, BYTES),
	ONE(17, one_name, STRING), ONE(18, one_d, DOUBLE), ONE(19, one_thing, MESSAGE),
};
enum { N_FIELDS = sizeof(fields) / sizeof(fields[0]) };
static const ProtobufCIntRange ranges[] = { { 1, 0 }, { 0, N_FIELDS } };
/* blob blobs child d f flag i32 i64 kind kinds name names numbers one_d one_name one_thing things u32 u64 */
static const unsigned by_name[] = { 9, 15, 10, 5, 4, 6, 0, 2, 7, 14, 8, 12, 11, 17, 16, 18, 13, 1, 3 };

static void thing_init(ProtobufCMessage *m)
{
	struct thing *t = (struct thing *)m;
	*t = (struct thing){ .base = { .descriptor = &descriptor }, .name = (char *)(uintptr_t)protobuf_c_empty_string };
}

static const ProtobufCMessageDescriptor descriptor = {
	.magic = PROTOBUF_C__MESSAGE_DESCRIPTOR_MAGIC, .name = "hcp.Thing", .short_name = "Thing", .c_name = "Thing",
	.package_name = "hcp", .sizeof_message = sizeof(struct thing), .n_fields = N_FIELDS, .fields = fields,
	.fields_sorted_by_name = by_name, .n_field_ranges = 1, .field_ranges = ranges,
	.message_init = thing_init,
};

static void must_equal(const ProtobufCMessage *m, const struct buf *want)
{
	struct buf text;
	buf_init(&text, 0);
	if (pbjson_write(m, &text) || !str_eq(buf_str(&text), buf_str(want)))
		abort();
	buf_release(&text);
}

static void from_json(struct str json, struct arena *a)
{
	ProtobufCMessage *m, *again;
	struct err err;
	struct buf text;
	if (pbjson_read(&descriptor, json, a, &m, &err) < 0) {
		if (err.code >= 0 || !err.text[0])
			abort();
		return;
	}
	buf_init(&text, 0);
	if (pbjson_write(m, &text) || pbjson_read(&descriptor, buf_str(&text), a, &again, &err))
		abort();
	must_equal(again, &text);
	/* protobuf-c drops the sign of a zero, which JSON keeps; all else must come back. */
	if (!memmem(text.data, text.n, ":-0,", 4) && pb_clone(m, a, &again, &err) == 0)
		must_equal(again, &text);
	buf_release(&text);
}

static void from_bytes(struct str bytes, struct arena *a)
{
	ProtobufCMessage *m;
	struct err err;
	struct buf text;
	if (pb_unpack(&descriptor, bytes, a, &m, &err) < 0)
		return;
	buf_init(&text, 0);
	(void)!pbjson_write(m, &text);
	buf_release(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct arena a;
	ProtobufCMessage *m;
	struct err err;
	if (!n)
		return 0;
	arena_init(&a, 1024, 8 << 20);
	struct str rest = { (const char *)p + 1, n - 1 };
	if (p[0] & 1)
		from_bytes(rest, &a);
	else
		from_json(rest, &a);
	m = pb_new(&descriptor, &a);
	if (m && pbjson_set(m, fields[p[0] % N_FIELDS].name, rest, &a, &err) < 0 && err.code >= 0)
		abort();
	arena_release(&a);
	return 0;
}
