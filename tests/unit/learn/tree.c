#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/hex.h"
#include "base/mem.h"
#include "base/rng.h"
#include "learn/tree.h"

enum { N = 400, F = 2 };

static const struct tree_conf conf = { .depth = 4, .leaf_min = 5, .gain_min = 1e-4 };

/* Class 1 where x0 >= 3 and x1 < 7, else 0. */
struct sample {
	float x[N][F], weight[N];
	uint8_t label[N];
};

static struct tree_rows rows_of(struct sample *s)
{
	struct rng rng;
	rng_init(&rng, 5);
	for (int i = 0; i < N; i++) {
		s->x[i][0] = (float)(rng_double(&rng) * 10);
		s->x[i][1] = (float)(rng_double(&rng) * 10);
		s->label[i] = s->x[i][0] >= 3 && s->x[i][1] < 7;
		s->weight[i] = 1;
	}
	return (struct tree_rows){ N, F, 2, s->x[0], s->label, s->weight };
}

static void it_finds_the_cuts(void **state)
{
	struct sample s;
	struct tree_rows rows = rows_of(&s);
	struct tree t = { 0 };
	struct tree_step step[TREE_DEPTH_MAX];
	double p[2];
	assert_int_equal(tree_grow(&t, &rows, &conf, NULL), 0);
	for (int i = 0; i < N; i++) {
		(void)tree_say(&t, s.x[i], p);
		assert_true((p[1] > 0.5) == (s.label[i] == 1));
		assert_true(fabs(p[0] + p[1] - 1) < 1e-12);
	}
	const float in[F] = { 8, 2 };
	assert_true(tree_say(&t, in, p) > 100 && p[1] > 0.99);
	assert_int_equal(tree_path(&t, in, step), 2);
	for (int i = 0; i < 2; i++) {
		assert_true(fabs((double)step[i].cut - (step[i].feature ? 7 : 3)) < 0.3);
		assert_int_equal(step[i].side, step[i].feature ? -1 : 1);
	}
}

/* What is missing makes less sure, in the measure of what is known of the others. */
static void what_is_missing_counts_on_both_sides(void **state)
{
	struct sample s;
	struct tree_rows rows = rows_of(&s);
	struct tree t = { 0 };
	struct tree_step step[TREE_DEPTH_MAX];
	double known[2], half[2], none[2];
	assert_int_equal(tree_grow(&t, &rows, &conf, NULL), 0);
	const float in[F] = { 8, 2 }, no_x1[F] = { 8, NAN }, nothing[F] = { NAN, NAN };
	(void)tree_say(&t, in, known);
	(void)tree_say(&t, no_x1, half);
	(void)tree_say(&t, nothing, none);
	assert_true(known[1] > half[1] && half[1] > none[1]);
	assert_true(fabs(half[1] - 0.7) < 0.1 && fabs(none[1] - 0.49) < 0.1);
	size_t n = tree_path(&t, nothing, step);
	assert_true(n >= 1 && step[0].side == 0);
	/* A column that only one class has values in says nothing by its gaps. */
	for (int i = 0; i < N; i++) {
		s.x[i][0] = s.label[i] ? NAN : (float)(i % 10);
		s.x[i][1] = 1;
	}
	assert_int_equal(tree_grow(&t, &rows, &conf, NULL), 0);
	assert_int_equal(t.n, 1);
}

static void limits_are_kept(void **state)
{
	struct sample s;
	struct tree_rows rows = rows_of(&s);
	struct tree_conf c = conf;
	struct tree t = { 0 };
	struct err err;
	c.depth = 1;
	assert_int_equal(tree_grow(&t, &rows, &c, NULL), 0);
	assert_int_equal(t.n, 3);
	c.leaf_min = N;
	assert_int_equal(tree_grow(&t, &rows, &c, NULL), 0);
	assert_int_equal(t.n, 1);
	struct tree before = t;
	c.depth = 9;
	assert_int_equal(tree_grow(&t, &rows, &c, &err), HCP_ERANGE);
	assert_string_equal(err.field, "depth");
	s.x[3][1] = INFINITY;
	assert_int_equal(tree_grow(&t, &rows, &conf, &err), HCP_ERANGE);
	assert_string_equal(err.field, "x");
	s.x[3][1] = 0;
	s.label[7] = 2;
	assert_int_equal(tree_grow(&t, &rows, &conf, &err), HCP_EINVAL);
	assert_string_equal(err.field, "label");
	s.label[7] = 0;
	s.weight[9] = NAN;
	assert_int_equal(tree_grow(&t, &rows, &conf, &err), HCP_ERANGE);
	assert_string_equal(err.field, "weight");
	s.weight[9] = 1;
	rows.n = 0;
	assert_int_equal(tree_grow(&t, &rows, &conf, &err), HCP_ERANGE);
	assert_memory_equal(&t, &before, sizeof(t));
	rows.n = N;
	for (uint64_t nth = 1; nth <= 6; nth++) {
		mem_fail_after(nth, 0);
		int rc = tree_grow(&t, &rows, &conf, &err);
		mem_fail_after(0, 0);
		assert_true(rc == HCP_ENOMEM);
	}
	assert_memory_equal(&t, &before, sizeof(t));
}

static void set_crc(struct buf *b)
{
	uint32_t crc = crc32c(0, b->data + 8, b->n - 8);
	memcpy(b->data + 4, &crc, sizeof(crc));
}

static void stored_trees_are_checked(void **state)
{
	struct sample s;
	struct tree_rows rows = rows_of(&s);
	struct tree t = { 0 }, back = { 0 };
	struct buf b;
	buf_init(&b, 0);
	assert_int_equal(tree_save(&t, &b, NULL), HCP_ESTATE);
	assert_int_equal(tree_grow(&t, &rows, &conf, NULL), 0);
	assert_int_equal(tree_save(&t, &b, NULL), 0);
	assert_int_equal(tree_load(&back, buf_str(&b), NULL), 0);
	assert_memory_equal(&back, &t, sizeof(t));
	for (size_t n = 0; n < b.n; n++)
		assert_int_equal(tree_load(&back, (struct str){ b.data, n }, NULL), HCP_ECORRUPT);
	for (size_t i = 0; i < b.n; i++) {
		b.data[i] ^= 0x10;
		assert_int_equal(tree_load(&back, buf_str(&b), NULL), HCP_ECORRUPT);
		b.data[i] ^= 0x10;
	}
	/* A child before its parent would be a walk without end. */
	const uint16_t first = 0, one = 1;
	memcpy(b.data + 24 + 16 + 4, &one, sizeof(one));
	set_crc(&b);
	assert_int_equal(tree_load(&back, buf_str(&b), NULL), HCP_ECORRUPT);
	memcpy(b.data + 24 + 4, &first, sizeof(first));
	set_crc(&b);
	assert_int_equal(tree_load(&back, buf_str(&b), NULL), HCP_ECORRUPT);
	assert_memory_equal(&back, &t, sizeof(t));
	buf_release(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_finds_the_cuts),
		cmocka_unit_test(what_is_missing_counts_on_both_sides),
		cmocka_unit_test(limits_are_kept),
		cmocka_unit_test(stored_trees_are_checked),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
