#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/money.h"
#include "feed/retry.h"

static struct rng rng;

static int setup(void **state)
{
	rng_init(&rng, 1);
	return 0;
}

static void backs_off_to_its_schedule(void **state)
{
	struct feed_retry r;
	feed_retry_init(&r, 20000);
	int64_t least[] = { 500, 1000, 2000, 4000, 8000 }, most[] = { 1000, 2000, 4000, 8000, 16000 };
	for (int i = 0; i < 5; i++) {
		int64_t wait = feed_retry_failed(&r, i * 1000000, -1, false, &rng);
		assert_in_range(wait, least[i], most[i]);
	}
	for (int i = 0; i < 100; i++)
		assert_in_range(feed_retry_failed(&r, 0, -1, false, &rng), 10000, 20000);
	assert_int_equal(feed_retry_ok(&r, 0), 20000);
	assert_in_range(feed_retry_failed(&r, 0, -1, false, &rng), 500, 1000);
}

/* A source that is asked every five minutes fails five times in a window of its own size. */
static void circuit_scales_with_the_schedule(void **state)
{
	struct feed_retry r;
	int64_t now = 1;
	feed_retry_init(&r, 300000);
	for (int i = 0; i < 4; i++)
		now += feed_retry_failed(&r, now, -1, false, &rng) * NS_PER_MS;
	assert_int_equal(feed_retry_may(&r, now), 0);
	assert_false(feed_retry_is_open(&r));
	feed_retry_failed(&r, now, -1, false, &rng);
	assert_true(feed_retry_is_open(&r));
	assert_in_range(feed_retry_may(&r, now), 299000, 300001);
	now += 300000 * NS_PER_MS;
	assert_int_equal(feed_retry_may(&r, now), 0); /* the trial */
	feed_retry_failed(&r, now, -1, false, &rng);
	assert_true(feed_retry_may(&r, now) > 0);
	now += 300001 * NS_PER_MS;
	assert_int_equal(feed_retry_may(&r, now), 0);
	feed_retry_ok(&r, now);
	assert_false(feed_retry_is_open(&r));
}

static void limits_are_obeyed_and_break_nothing(void **state)
{
	struct feed_retry r;
	feed_retry_init(&r, 1000);
	for (int i = 0; i < 20; i++)
		assert_in_range(feed_retry_failed(&r, 0, 7000, true, &rng), 7000, 7250);
	assert_false(feed_retry_is_open(&r));
	assert_in_range(feed_retry_may(&r, 1), 6999, 7001);
	assert_int_equal(feed_retry_may(&r, 7000 * NS_PER_MS), 0);
	assert_in_range(
		feed_retry_failed(&r, 0, INT64_MAX / 4, true, &rng), FEED_RETRY_AFTER_MAX_MS, FEED_RETRY_AFTER_MAX_MS + 250);
}

static void retry_after(void **state)
{
	const int64_t now = INT64_C(784111777) * NS_PER_S; /* Sun, 06 Nov 1994 08:49:37 GMT */
	assert_int_equal(feed_retry_after_ms(STR("120"), now), 120000);
	assert_int_equal(feed_retry_after_ms(STR(" 0 "), now), 0);
	assert_int_equal(feed_retry_after_ms(STR("99999999"), now), FEED_RETRY_AFTER_MAX_MS);
	assert_int_equal(feed_retry_after_ms(STR("Sun, 06 Nov 1994 08:50:07 GMT"), now), 30000);
	assert_int_equal(feed_retry_after_ms(STR("Sun, 06 Nov 1994 08:49:07 GMT"), now), 0);
	static const char *const bad[] = { "", "-1", "soon", "Sun, 06 Xxx 1994 08:50:07 GMT",
		"Sun, 06 anF 1994 08:50:07 GMT", "Sun, 06 Nov 1994 08:50:07 CET", "1e3", "99999999999999999999" };
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(feed_retry_after_ms(str_of(bad[i]), now), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(backs_off_to_its_schedule),
		cmocka_unit_test(circuit_scales_with_the_schedule),
		cmocka_unit_test(limits_are_obeyed_and_break_nothing),
		cmocka_unit_test(retry_after),
	};
	return cmocka_run_group_tests(tests, setup, NULL);
}
