#include "wire/gzip.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>
#include <zlib.h>

#include "base/mem.h"

/* Unpacks with zlib itself and compares. */
static void unpacks_to(struct str packed, struct str want)
{
	char *got = mem_alloc(want.n + 16);
	z_stream z = { .next_in = (unsigned char *)packed.p,
		.avail_in = (unsigned)packed.n,
		.next_out = (unsigned char *)got,
		.avail_out = (unsigned)want.n + 16 };
	assert_int_equal(inflateInit2(&z, 15 + 16), Z_OK);
	assert_int_equal(inflate(&z, Z_FINISH), Z_STREAM_END);
	assert_true(str_eq((struct str){ got, z.total_out }, want));
	assert_int_equal(z.avail_in, 0);
	inflateEnd(&z);
	mem_free(got);
}

static void texts_come_back(void **state)
{
	struct gzip *g;
	struct buf text, out;
	buf_init(&text, 0);
	buf_init(&out, 0);
	assert_int_equal(gzip_new(1, &g), 0);
	for (int i = 0; i < 30000; i++)
		buf_printf(&text, "{\"id\":%d,\"v\":%d},", i, i * 7919 % 10007);
	static const size_t sizes[] = { 0, 1, 2, 100, 1400, 65536, 0 };
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct str plain = { text.data, i == 5 ? text.n : sizes[i] };
		buf_clear(&out);
		buf_addz(&out, "before");
		assert_int_equal(gzip_pack(g, plain, &out), 0);
		struct str packed = { out.data + 6, out.n - 6 };
		unpacks_to(packed, plain);
		assert_true(gzip_holds(packed, plain));
		if (plain.n) {
			assert_false(gzip_holds(packed, (struct str){ text.data + 1, plain.n }));
			assert_false(gzip_holds((struct str){ packed.p, packed.n - 1 }, plain));
		}
		assert_false(gzip_holds(plain, plain));
		if (plain.n > 1000)
			assert_true(packed.n < plain.n / 2);
	}
	gzip_free(g);
	gzip_free(NULL);
	buf_release(&text);
	buf_release(&out);
}

static void no_room_is_told(void **state)
{
	struct gzip *g;
	struct buf out;
	int64_t live = mem_live();
	for (uint64_t nth = 1; nth <= 2; nth++) {
		mem_fail_after(nth, 0);
		assert_int_equal(gzip_new(1, &g), HCP_ENOMEM);
	}
	mem_fail_after(0, 0);
	assert_int_equal(gzip_new(1, &g), 0);
	buf_init(&out, 8);
	assert_int_equal(gzip_pack(g, STR("does not fit into eight bytes"), &out), HCP_ENOMEM);
	buf_release(&out);
	gzip_free(g);
	assert_int_equal(mem_live(), live);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(texts_come_back), cmocka_unit_test(no_room_is_told) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
