#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "pb_same.h"
#include "pbjson_test.pb-c.h"
#include "spec_table.h"

static void varint(struct buf *b, uint64_t v)
{
	for (; v >= 128; v >>= 7)
		buf_addc(b, (char)(v | 128));
	buf_addc(b, (char)v);
}

static uint64_t number(struct rng *r)
{
	static const uint64_t odd[] = { 0, 1, 127, 128, UINT64_C(0x7fffffff), UINT32_MAX, INT64_MAX, UINT64_MAX,
		(uint64_t)INT64_MIN };
	return rng_below(r, 2) ? odd[rng_below(r, sizeof(odd) / sizeof(odd[0]))] : rng_u64(r) >> rng_below(r, 64);
}

static void any_message(const ProtobufCMessageDescriptor *d, struct rng *r, int depth, struct buf *out);

static void any_value(const ProtobufCFieldDescriptor *f, struct rng *r, int depth, struct buf *out)
{
	struct buf sub;
	uint64_t v = number(r);
	switch (f->type) {
	case PROTOBUF_C_TYPE_DOUBLE:
	case PROTOBUF_C_TYPE_FIXED64:
	case PROTOBUF_C_TYPE_SFIXED64:
		buf_add(out, &v, 8);
		break;
	case PROTOBUF_C_TYPE_FLOAT:
	case PROTOBUF_C_TYPE_FIXED32:
	case PROTOBUF_C_TYPE_SFIXED32:
		buf_add(out, &v, 4);
		break;
	case PROTOBUF_C_TYPE_STRING:
	case PROTOBUF_C_TYPE_BYTES:
		v = rng_below(r, 20);
		varint(out, v);
		while (v--)
			buf_addc(out, (char)(f->type == PROTOBUF_C_TYPE_STRING ? 'a' + rng_below(r, 26) : rng_below(r, 256)));
		break;
	case PROTOBUF_C_TYPE_MESSAGE:
		buf_init(&sub, 0);
		if (depth)
			any_message(f->descriptor, r, depth - 1, &sub);
		varint(out, sub.n);
		buf_adds(out, buf_str(&sub));
		buf_release(&sub);
		break;
	default:
		varint(out, v);
		break;
	}
}

static unsigned wire_type(const ProtobufCFieldDescriptor *f)
{
	switch (f->type) {
	case PROTOBUF_C_TYPE_DOUBLE:
	case PROTOBUF_C_TYPE_FIXED64:
	case PROTOBUF_C_TYPE_SFIXED64:
		return 1;
	case PROTOBUF_C_TYPE_FLOAT:
	case PROTOBUF_C_TYPE_FIXED32:
	case PROTOBUF_C_TYPE_SFIXED32:
		return 5;
	case PROTOBUF_C_TYPE_STRING:
	case PROTOBUF_C_TYPE_BYTES:
	case PROTOBUF_C_TYPE_MESSAGE:
		return 2;
	default:
		return 0;
	}
}

/* In order, with now and then a field twice, a list in the packed form, or a field that nobody knows. */
static void any_message(const ProtobufCMessageDescriptor *d, struct rng *r, int depth, struct buf *out)
{
	for (unsigned i = 0; i < d->n_fields; i++) {
		const ProtobufCFieldDescriptor *f = &d->fields[i];
		bool many = f->label == PROTOBUF_C_LABEL_REPEATED;
		uint64_t n = rng_below(r, many ? 4 : 40);
		bool list = many && wire_type(f) != 2 && rng_below(r, 2);
		n = many ? n : n < 20 ? 1 : n == 20 ? 2 : 0;
		if (list) {
			struct buf items;
			buf_init(&items, 0);
			while (n--)
				any_value(f, r, depth, &items);
			varint(out, (uint64_t)f->id << 3 | 2);
			varint(out, items.n);
			buf_adds(out, buf_str(&items));
			buf_release(&items);
			continue;
		}
		while (n--) {
			varint(out, (uint64_t)f->id << 3 | wire_type(f));
			any_value(f, r, depth, out);
		}
		if (rng_below(r, 200) == 0) {
			varint(out, UINT64_C(9000) << 3);
			varint(out, 7);
		}
	}
}

/* Is it read the short way? */
static bool is_fast(const ProtobufCMessageDescriptor *d, struct str bytes)
{
	struct arena a;
	ProtobufCMessage *m;
	arena_init(&a, 4096, 0);
	int rc = pb_fast_unpack(d, bytes, &a, &m);
	arena_release(&a);
	return rc == 1;
}

static void tried(const ProtobufCMessageDescriptor *d, struct rng *r, int runs)
{
	struct buf b;
	int fast = 0;
	buf_init(&b, 0);
	for (int i = 0; i < runs; i++) {
		buf_clear(&b);
		any_message(d, r, 3, &b);
		pb_must_be_same(d, buf_str(&b));
		fast += is_fast(d, buf_str(&b));
		/* Damaged, and cut short. */
		for (int k = 0; k < 4 && b.n; k++) {
			b.data[rng_below(r, b.n)] ^= (char)(1 << rng_below(r, 8));
			pb_must_be_same(d, (struct str){ b.data, b.n - (k & 1 ? rng_below(r, b.n) : 0) });
		}
	}
	assert_true(fast > runs / 100);
	buf_release(&b);
}

static void every_type_is_read_and_written_as_the_library_does(void **state)
{
	struct rng r;
	rng_init(&r, 7);
	tried(&hcp__test__everything__descriptor, &r, 3000);
}

static void our_messages_are(void **state)
{
	struct rng r;
	rng_init(&r, 8);
	int n = 0;
	for (unsigned type = 1; type < 1000; type++)
		if (msg_info(type)) {
			tried(msg_info(type)->desc, &r, 60);
			n++;
		}
	assert_true(n > 100);
}

static void nesting_and_memory_have_limits(void **state)
{
	struct buf b;
	struct arena a;
	struct err err = { 0 };
	ProtobufCMessage *m;
	buf_init(&b, 0);
	const ProtobufCMessageDescriptor *d = &hcp__test__everything__descriptor;
	const ProtobufCFieldDescriptor *self = NULL;
	for (unsigned i = 0; i < d->n_fields; i++)
		if (d->fields[i].type == PROTOBUF_C_TYPE_MESSAGE && d->fields[i].descriptor == d &&
			d->fields[i].label != PROTOBUF_C_LABEL_REPEATED)
			self = &d->fields[i];
	assert_non_null(self);
	for (int level = 0; level < 40; level++) {
		struct buf outer;
		arena_init(&a, 1024, 0);
		assert_int_equal(pb_unpack(d, buf_str(&b), &a, &m, &err), level <= PB_DEPTH_MAX ? 0 : HCP_ELIMIT);
		arena_release(&a);
		buf_init(&outer, 0);
		varint(&outer, (uint64_t)self->id << 3 | 2);
		varint(&outer, b.n);
		buf_adds(&outer, buf_str(&b));
		buf_release(&b);
		b = outer;
	}
	arena_init(&a, 64, 128);
	assert_int_equal(pb_unpack(d, (struct str){ b.data + b.n, 0 }, &a, &m, &err), HCP_ENOMEM);
	arena_release(&a);
	buf_release(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_type_is_read_and_written_as_the_library_does),
		cmocka_unit_test(our_messages_are),
		cmocka_unit_test(nesting_and_memory_have_limits),
	};
	return cmocka_run_group_tests_name("pb", tests, NULL, NULL);
}
