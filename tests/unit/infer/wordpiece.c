#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "infer/wordpiece.h"

#define VOCAB "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nun\n##aff\n##able\naffable\n,\ncafe\n\xe4\xb8\xad\n##s\na\n##a\n"
enum { PAD, UNK, CLS, SEP, MASK, UN, AFF, ABLE, AFFABLE, COMMA, CAFE, ZHONG, S, A, HASH_A };

static void expect(struct str text, size_t max, size_t n, const uint32_t *want)
{
	struct wordpiece w;
	uint32_t ids[600];
	assert_int_equal(wordpiece_init(&w, STR(VOCAB), NULL), 0);
	assert_int_equal(wordpiece_encode(&w, text, ids, max), n);
	assert_memory_equal(ids, want, n * sizeof(*ids));
	wordpiece_release(&w);
}

#define EXPECT(text, max, ...)                                                                      \
	expect(STR(text), max, sizeof((uint32_t[]){ __VA_ARGS__ }) / 4, (uint32_t[]){ __VA_ARGS__ })

static void splits_words(void **state)
{
	EXPECT("", 8, CLS, SEP);
	EXPECT("unaffable", 8, CLS, UN, AFF, ABLE, SEP);
	EXPECT("UNaffable,affables", 9, CLS, UN, AFF, ABLE, COMMA, AFFABLE, S, SEP);
	EXPECT("unaffablex", 8, CLS, UNK, SEP);
	EXPECT("Caf\xc3\xa9 cafe\xcc\x81", 8, CLS, CAFE, CAFE, SEP);
	EXPECT("a\xe4\xb8\xad" "a", 8, CLS, A, ZHONG, A, SEP);
	EXPECT("a\xff\xfe a\xc3", 8, CLS, A, A, SEP);
	EXPECT("a[MASK]a[mask]", 9, CLS, A, MASK, A, UNK, UNK, UNK, SEP);
	EXPECT("un\0affable", 8, CLS, UN, AFF, ABLE, SEP);
}

static void cuts_to_fit(void **state)
{
	EXPECT("a a a a", 4, CLS, A, A, SEP);
	EXPECT("a a", 2, CLS, SEP);
	EXPECT("unaffable", 4, CLS, UN, AFF, SEP);
	EXPECT("unaffablex", 4, CLS, UNK, SEP); /* unknown as a whole, though the cut would hide it */
}

static void long_words_are_unknown(void **state)
{
	char text[401];
	uint32_t want[102] = { CLS, A };
	memset(text, 'a', sizeof(text));
	for (int i = 2; i <= 100; i++)
		want[i] = HASH_A;
	want[101] = SEP;
	expect((struct str){ text, 100 }, 512, 102, want);
	expect((struct str){ text, 101 }, 512, 3, (uint32_t[]){ CLS, UNK, SEP });
	expect((struct str){ text, 401 }, 512, 3, (uint32_t[]){ CLS, UNK, SEP });
}

/* Every code point of Unicode gives what the reference library gives. */
static void normalizes_like_reference(void **state)
{
	FILE *f = fopen(HCP_TEST_DATA "/normalize.fnv", "r");
	char line[32] = "";
	assert_non_null(f);
	assert_non_null(fgets(line, sizeof(line), f));
	fclose(f);
	uint64_t h = 0xcbf29ce484222325u;
	for (uint32_t cp = 1; cp < 0x110000; cp++) {
		if (cp >= 0xd800 && cp < 0xe000)
			continue;
		uint32_t to[1 + WORDPIECE_NORM_MAX];
		to[0] = cp;
		size_t n = 1 + wordpiece_normalize(cp, to + 1);
		for (size_t i = 0; i < n; i++)
			h = (h ^ to[i]) * 0x100000001b3u;
	}
	assert_true(h == strtoull(line, NULL, 16));
}

static void refuses_bad_vocabularies(void **state)
{
	struct wordpiece w = { 0 };
	struct err err = { 0 };
	assert_int_equal(wordpiece_init(&w, STR(""), &err), HCP_EPARSE);
	assert_int_equal(wordpiece_init(&w, STR("[PAD]\n[UNK]\n[CLS]\n[SEP]\n"), &err), HCP_EPARSE);
	assert_string_equal(err.text, "has no [MASK]");
	char huge[700];
	memset(huge, 'x', sizeof(huge));
	assert_int_equal(wordpiece_init(&w, (struct str){ huge, sizeof(huge) }, &err), HCP_ELIMIT);
	for (uint64_t nth = 1; nth <= 2; nth++) {
		mem_fail_after(nth, 0);
		assert_int_equal(wordpiece_init(&w, STR(VOCAB), &err), HCP_ENOMEM);
		mem_fail_after(0, 0);
	}
	assert_null(w.slots);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(splits_words),		     cmocka_unit_test(cuts_to_fit),
		cmocka_unit_test(long_words_are_unknown),    cmocka_unit_test(normalizes_like_reference),
		cmocka_unit_test(refuses_bad_vocabularies),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
