/* The forecast of live decisions: who speaks, what the books say, what a restart keeps. */
#include "econ/outlook.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/rng.h"

#define DAY_NS (96 * OUTLOOK_STEP_NS)
enum { DAYS = 100, SLOTS = DAYS * 96 };
/* 2024-06-01 */
static const int64_t t0 = INT64_C(1717200000) * 1000000000;

static int64_t time_of(size_t i)
{
	return t0 + (int64_t)i * OUTLOOK_STEP_NS;
}

/* A day's pattern that persistence cannot know, or (wild) a walk about which nothing else can be known. */
static void add(struct history *h, struct rng *rng, size_t from, size_t to, bool wild)
{
	static double level;
	level = from ? level : 0;
	for (size_t i = from; i < to; i++) {
		level = (wild ? 0.999 : 0.8) * level + (wild ? 4 : 1) * rng_normal(rng);
		double day = wild ? 0 : 30 * sin((double)(i % 96) * 0.0654498469);
		assert_int_equal(
			history_add(h, HISTORY_POWER_RT, "HB_WEST", time_of(i), OUTLOOK_STEP_NS, 50 + day + level, NULL), 0);
	}
}

static void take_in(struct outlook *o, const struct history *h, int64_t now_ns)
{
	struct err err = { 0 };
	bool changed;
	if (outlook_look(o, h, now_ns, &changed, &err) < 0)
		fail_msg("%s %s", err.field, err.text);
}

/* Trained once for all: it takes a second. */
static struct history history;
static struct rng rng;
static struct outlook trained;

static int set_up(void **state)
{
	(void)state;
	history_init(&history);
	rng_init(&rng, 1);
	add(&history, &rng, 0, SLOTS, false);
	return outlook_init(&trained, "HB_WEST", NULL) < 0 ||
		   outlook_train(&trained, &history, time_of(SLOTS), NULL, NULL) < 0;
}

static int tear_down(void **state)
{
	(void)state;
	outlook_release(&trained);
	history_release(&history);
	return 0;
}

static void copy(struct outlook *ret)
{
	struct buf b;
	struct err err = { 0 };
	buf_init(&b, OUTLOOK_BYTES_MAX);
	assert_int_equal(outlook_save(&trained, &b, NULL), 0);
	assert_int_equal(outlook_init(ret, "HB_WEST", NULL), 0);
	if (outlook_load(ret, buf_str(&b), &err) < 0)
		fail_msg("%s %s", err.field, err.text);
	buf_release(&b);
}

static void a_model_that_knows_more_speaks(void **state)
{
	(void)state;
	/* Four held-back weeks, a judgement for each of four horizons and quarter-hour, the older forgotten in part. */
	assert_true(
		trained.books.judged > 0.4 * 28 * 96 * OUTLOOK_PROBES && trained.books.judged < 28 * 96 * OUTLOOK_PROBES);
	assert_int_equal(outlook_better(&trained.books), OUTLOOK_MODEL);
	assert_true(outlook_loss(&trained.books, OUTLOOK_MODEL) < 0.5 * outlook_loss(&trained.books, OUTLOOK_PERSISTENCE));
	assert_int_equal(trained.by[OUTLOOK_MODEL].learned_ns, time_of(SLOTS));
}

/* Where nothing beats persistence, it speaks, whatever was trained. */
static void a_model_that_knows_no_more_is_silent(void **state)
{
	struct history wild;
	struct rng r;
	struct outlook o;
	(void)state;
	rng_init(&r, 7);
	history_init(&wild);
	add(&wild, &r, 0, SLOTS, true);
	assert_int_equal(outlook_init(&o, "HB_WEST", NULL), 0);
	assert_int_equal(outlook_train(&o, &wild, time_of(SLOTS), NULL, NULL), 0);
	assert_true(o.books.judged > OUTLOOK_JUDGED_MIN);
	assert_int_equal(outlook_better(&o.books), OUTLOOK_PERSISTENCE);
	assert_true(outlook_loss(&o.books, OUTLOOK_MODEL) >= outlook_loss(&o.books, OUTLOOK_PERSISTENCE));
	outlook_release(&o);
	history_release(&wild);
}

/* With less than 28 days before the held-back ones nothing is judged yet, and persistence speaks until it is. */
static void books_begin_empty_with_little_history(void **state)
{
	struct history h;
	struct rng r;
	struct outlook o;
	struct err err = { 0 };
	(void)state;
	rng_init(&r, 3);
	history_init(&h);
	add(&h, &r, 0, 20 * 96, false);
	assert_int_equal(outlook_init(&o, "HB_WEST", NULL), 0);
	assert_int_equal(outlook_train(&o, &h, time_of(20 * 96), NULL, &err), HCP_EAGAIN);
	size_t n = 30 * 96;
	add(&h, &r, 20 * 96, n, false);
	assert_int_equal(outlook_train(&o, &h, time_of(n), NULL, NULL), 0);
	assert_true(o.books.judged == 0);
	take_in(&o, &h, time_of(n));
	assert_int_equal(outlook_better(&o.books), OUTLOOK_PERSISTENCE);
	for (size_t i = n; i < n + 192; i++) {
		add(&h, &r, i, i + 1, false);
		take_in(&o, &h, time_of(i + 1));
	}
	assert_true(o.books.judged > OUTLOOK_JUDGED_MIN);
	assert_int_equal(outlook_better(&o.books), OUTLOOK_MODEL);
	outlook_release(&o);
	history_release(&h);
}

static bool is_asked(void *arg)
{
	return --*(int *)arg < 0;
}

static void a_training_can_be_stopped(void **state)
{
	int left = 3;
	const struct forecast_stop stop = { is_asked, &left };
	struct outlook o;
	(void)state;
	copy(&o);
	assert_int_equal(outlook_train(&o, &history, time_of(SLOTS), &stop, NULL), HCP_ECANCELED);
	assert_int_equal(o.by[OUTLOOK_MODEL].learned_ns, time_of(SLOTS));
	outlook_release(&o);
}

/* Within a quarter-hour the same answer; the same after a restart from model and books; other with a late price. */
static void what_is_known_decides_alone(void **state)
{
	struct history h;
	struct rng r;
	static struct outlook a, b;
	bool changed;
	struct err err = { 0 };
	(void)state;
	rng_init(&r, 1);
	history_init(&h);
	add(&h, &r, 0, SLOTS, false);
	copy(&a);
	assert_int_equal(
		outlook_look(&a, &h, time_of(SLOTS) - 1, &changed, &err), HCP_EAGAIN); /* trained by later prices */
	assert_int_equal(outlook_look(&a, &h, time_of(SLOTS), &changed, NULL), 0);
	assert_true(changed && a.known && a.books.n == 1);
	assert_int_equal(outlook_look(&a, &h, time_of(SLOTS) + OUTLOOK_STEP_NS - 1, &changed, NULL), 0);
	assert_false(changed);
	copy(&b);
	assert_int_equal(outlook_books_load(&b.books, (struct str){ (const char *)&a.books, sizeof(a.books) }, NULL), 0);
	assert_int_equal(outlook_look(&b, &h, time_of(SLOTS) + 5, &changed, NULL), 0);
	assert_false(changed);
	assert_memory_equal(a.point, b.point, sizeof(a.point));
	/* The price of the quarter-hour before comes late: another forecast of the same origin. */
	assert_int_equal(outlook_look(&a, &h, time_of(SLOTS + 1), &changed, NULL), 0);
	struct forecast_point before = a.point[OUTLOOK_PERSISTENCE][0];
	add(&h, &r, SLOTS, SLOTS + 1, false);
	assert_int_equal(outlook_look(&a, &h, time_of(SLOTS + 1) + 7, &changed, NULL), 0);
	assert_true(changed && a.books.n == 2);
	assert_true(before.mean != a.point[OUTLOOK_PERSISTENCE][0].mean);
	assert_int_equal(a.books.pending[1].origin_ns, time_of(SLOTS + 1));
	outlook_release(&a);
	outlook_release(&b);
	history_release(&h);
}

static void damaged_bytes_change_nothing(void **state)
{
	struct buf b;
	static struct outlook o;
	(void)state;
	copy(&o);
	buf_init(&b, OUTLOOK_BYTES_MAX);
	assert_int_equal(outlook_save(&trained, &b, NULL), 0);
	for (size_t at = 0; at < b.n; at += b.n / 37 + 1) {
		b.data[at] ^= 4;
		assert_int_equal(outlook_load(&o, buf_str(&b), NULL), HCP_ECORRUPT);
		b.data[at] ^= 4;
	}
	assert_int_equal(outlook_load(&o, (struct str){ b.data, b.n - 1 }, NULL), HCP_ECORRUPT);
	assert_int_equal(outlook_load(&o, (struct str){ b.data, 10 }, NULL), HCP_ECORRUPT);
	assert_int_equal(o.by[OUTLOOK_MODEL].learned_ns, time_of(SLOTS));
	struct outlook other;
	assert_int_equal(outlook_init(&other, "HB_NORTH", NULL), 0);
	assert_int_equal(outlook_load(&other, buf_str(&b), NULL), HCP_EINVAL);
	outlook_release(&other);
	static struct outlook_books books;
	books = o.books;
	books.n = OUTLOOK_PENDING_MAX + 1;
	assert_int_equal(
		outlook_books_load(&o.books, (struct str){ (const char *)&books, sizeof(books) }, NULL), HCP_ECORRUPT);
	books.n = 0;
	books.judged = NAN;
	assert_int_equal(
		outlook_books_load(&o.books, (struct str){ (const char *)&books, sizeof(books) }, NULL), HCP_ECORRUPT);
	assert_int_equal(outlook_books_load(&o.books, STR("short"), NULL), HCP_ECORRUPT);
	outlook_release(&o);
	buf_release(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_model_that_knows_more_speaks),
		cmocka_unit_test(a_model_that_knows_no_more_is_silent),
		cmocka_unit_test(books_begin_empty_with_little_history),
		cmocka_unit_test(a_training_can_be_stopped),
		cmocka_unit_test(what_is_known_decides_alone),
		cmocka_unit_test(damaged_bytes_change_nothing),
	};
	return cmocka_run_group_tests_name("outlook", tests, set_up, tear_down);
}
