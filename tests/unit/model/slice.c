#include "model/slice.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"

static const struct device_class *cls(const char *name)
{
	return device_class_find(str_of(name));
}

static void wishes_become_thousandths_or_instances(void **state)
{
	struct slice s = { 9, 9, 9 };
	struct slice_wish w = { .device_count = 8 };
	assert_int_equal(slice_wanted(&w, &s, NULL), 0);
	assert_int_equal(s.milli, 0);
	w = (struct slice_wish){ .gpu_fraction = 0.001 };
	assert_int_equal(slice_wanted(&w, &s, NULL), 0);
	assert_int_equal(s.milli, 1);
	for (int milli = 1; milli < 1000; milli++) {
		w = (struct slice_wish){ .gpu_fraction = milli / 1000.0, .cls = cls("4090"), .device_count = 1 };
		assert_int_equal(slice_wanted(&w, &s, NULL), 0);
		assert_int_equal(s.milli, milli);
	}
	w = (struct slice_wish){ .gpu_fraction = 1, .device_count = 4 }; /* whole ones */
	assert_int_equal(slice_wanted(&w, &s, NULL), 0);
	assert_int_equal(s.milli, 0);
	w = (struct slice_wish){ .mig_profile = STR("2g.20gb"), .cls = cls("H100"), .memory_gib = 20 };
	assert_int_equal(slice_wanted(&w, &s, NULL), 0);
	assert_int_equal(s.mig, MIG_2G);
	assert_int_equal(s.milli, 286);
}

static void refuse(const struct slice_wish *w, int rc, const char *field, const char *says)
{
	struct slice s = { 7, 7, 7 };
	struct err err = { 0 };
	assert_int_equal(slice_wanted(w, &s, &err), rc);
	assert_string_equal(err.field, field);
	if (!strstr(err.text, says))
		fail_msg("\"%s\" does not say \"%s\"", err.text, says);
	assert_int_equal(s.milli, 7);
}

static void what_is_wrong_says_what_would_be_legal(void **state)
{
	struct slice_wish w = { .gpu_fraction = 0.0005 };
	refuse(&w, HCP_ERANGE, "gpu_fraction", "from 0.001 to 1");
	w.gpu_fraction = 1.001;
	refuse(&w, HCP_ERANGE, "gpu_fraction", "1.001");
	w.gpu_fraction = 0.3333;
	refuse(&w, HCP_ERANGE, "gpu_fraction", "steps of 0.001");
	w.gpu_fraction = -0.5;
	refuse(&w, HCP_ERANGE, "gpu_fraction", "-0.5");
	w = (struct slice_wish){ .gpu_fraction = 0.5, .device_count = 2 };
	refuse(&w, HCP_EINVAL, "device_count", "must be 1, was 2");
	w = (struct slice_wish){ .gpu_fraction = 0.5, .cls = cls("CPU64") };
	refuse(&w, HCP_EINVAL, "gpu_fraction", "these can: H100, H200, A100, L40S, 4090");
	w = (struct slice_wish){ .gpu_fraction = 0.5, .cls = cls("A100"), .memory_gib = 41 };
	refuse(&w, HCP_ERANGE, "memory_gib", "40 GiB");
	w = (struct slice_wish){ .gpu_fraction = 0.5, .mig_profile = STR("1g.10gb"), .cls = cls("H100") };
	refuse(&w, HCP_EINVAL, "mig_profile", "not both");
	w = (struct slice_wish){ .mig_profile = STR("1g.10gb") };
	refuse(&w, HCP_EINVAL, "device_class", "one of H100, H200, A100");
	w = (struct slice_wish){ .mig_profile = STR("1g.10gb"), .cls = cls("L40S") };
	refuse(&w, HCP_EINVAL, "mig_profile", "these can: H100, H200, A100");
	w = (struct slice_wish){ .mig_profile = STR("5g.50gb"), .cls = cls("H100") };
	refuse(&w, HCP_ENOTFOUND, "mig_profile", "1g.10gb, 1g.20gb, 2g.20gb, 3g.40gb, 4g.40gb, 7g.80gb");
	w = (struct slice_wish){ .mig_profile = STR("1g.10gb"), .cls = cls("H100"), .device_count = 3 };
	refuse(&w, HCP_EINVAL, "device_count", "must be 1");
	w = (struct slice_wish){ .mig_profile = STR("1g.10gb"), .cls = cls("H100"), .memory_gib = 11 };
	refuse(&w, HCP_ERANGE, "memory_gib", "has 10 GiB");
}

static void memory_may_be_the_larger_share(void **state)
{
	struct slice s = { .milli = 250 };
	assert_int_equal(slice_held_milli(cls("H100"), &s, 0), 250);
	assert_int_equal(slice_held_milli(cls("H100"), &s, 20), 250);
	assert_int_equal(slice_held_milli(cls("H100"), &s, 40), 500);
	assert_int_equal(slice_held_milli(cls("A100"), &s, 40), 1000);
	assert_true(slice_held_milli(cls("A100"), &s, 41) > 1000);
	s = (struct slice){ .milli = 500, .mig = MIG_3G };
	assert_int_equal(slice_held_milli(cls("H100"), &s, 40), 500);
}

static void messages_are_checked(void **state)
{
	struct slice s;
	struct err err = { 0 };
	const struct device_class *h = cls("H100");
	assert_int_equal(slice_make(h, 999, STR(""), 0, &s, NULL), 0);
	assert_int_equal(slice_make(h, 143, STR("1g.10gb"), 6, &s, NULL), 0);
	assert_true(s.milli == 143 && s.mig == MIG_1G && s.start == 6);
	assert_int_equal(slice_make(h, 1000, STR(""), 0, &s, &err), HCP_ERANGE);
	assert_string_equal(err.field, "milli");
	assert_int_equal(slice_make(h, 0, STR(""), 0, &s, &err), HCP_ERANGE);
	assert_int_equal(slice_make(h, 100, STR(""), 1, &s, &err), HCP_ERANGE);
	assert_int_equal(slice_make(h, 142, STR("1g.10gb"), 0, &s, &err), HCP_ERANGE);
	assert_int_equal(slice_make(h, 143, STR("1g.10gb"), 7, &s, &err), HCP_ERANGE);
	assert_string_equal(err.field, "mig_start");
	assert_int_equal(slice_make(h, 286, STR("2g.20gb"), 1, &s, &err), HCP_ERANGE);
	assert_int_equal(slice_make(h, 286, STR("2g.20gb"), -2, &s, &err), HCP_ERANGE);
	assert_int_equal(slice_make(cls("S21"), 500, STR(""), 0, &s, &err), HCP_EINVAL);
	assert_string_equal(err.field, "device_class");
}

static void parts_fit_up_to_the_whole(void **state)
{
	struct err err = { 0 };
	const struct slice f[] = { { .milli = 600 }, { .milli = 399 } }, one = { .milli = 1 }, two = { .milli = 2 };
	assert_int_equal(slice_fits(f, 2, &one, NULL), 0);
	assert_int_equal(slice_fits(f, 2, &two, &err), HCP_ECONFLICT);
	assert_string_equal(err.text, "has 1 thousandths left, not 2");
	const struct slice m[] = { { 500, MIG_3G, 4 }, { 143, MIG_1G, 0 } };
	assert_int_equal(slice_fits(m, 2, &(struct slice){ 143, MIG_1G, 1 }, NULL), 0);
	assert_int_equal(slice_fits(m, 2, &(struct slice){ 143, MIG_1G, 5 }, NULL), HCP_ECONFLICT);
	assert_int_equal(slice_fits(m, 2, &(struct slice){ 286, MIG_2G, 0 }, NULL), HCP_ECONFLICT);
	assert_int_equal(slice_fits(m, 2, &one, NULL), HCP_ECONFLICT);
	assert_int_equal(slice_fits(f, 1, &m[0], NULL), HCP_ECONFLICT);
	/* 4g and 3g fill the device, and are billed as more than it. */
	const struct slice four = { 572, MIG_4G, 0 };
	assert_int_equal(slice_fits(m, 1, &four, NULL), 0);
	struct slice many[SLICES_MAX];
	for (int i = 0; i < SLICES_MAX; i++)
		many[i] = one;
	assert_int_equal(slice_fits(many, SLICES_MAX - 1, &one, NULL), 0);
	assert_int_equal(slice_fits(many, SLICES_MAX, &one, NULL), HCP_ECONFLICT);
}

static void every_joule_is_somebodys(void **state)
{
	struct rng r;
	rng_init(&r, 7);
	for (int round = 0; round < 20000; round++) {
		struct slice s[SLICES_MAX];
		int64_t ret[SLICES_MAX + 1], sum = 0, amount = (int64_t)(rng_u64(&r) >> (1 + rng_below(&r, 63)));
		size_t n = 0;
		uint32_t milli = 0;
		while (n < SLICES_MAX && rng_below(&r, 8)) {
			s[n] = (struct slice){ .milli = (uint16_t)(1 + rng_below(&r, 400)) };
			if (milli + s[n].milli > 1100)
				break;
			milli += s[n++].milli;
		}
		slice_divide(amount, s, n, ret);
		uint32_t of = milli > 1000 ? milli : 1000;
		for (size_t i = 0; i <= n; i++) {
			assert_true(ret[i] >= 0);
			sum += ret[i];
		}
		assert_true(sum == amount);
		for (size_t i = 0; i < n; i++) {
			int64_t exact = (int64_t)((__int128)amount * s[i].milli / of);
			assert_true(ret[i] - exact >= 0 && ret[i] - exact <= (i ? 0 : (int64_t)n));
		}
		if (n && milli >= 1000)
			assert_true(ret[n] == 0);
		assert_int_equal(slice_free_milli(s, n), milli < 1000 ? 1000 - milli : 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(wishes_become_thousandths_or_instances),
		cmocka_unit_test(what_is_wrong_says_what_would_be_legal),
		cmocka_unit_test(memory_may_be_the_larger_share),
		cmocka_unit_test(messages_are_checked),
		cmocka_unit_test(parts_fit_up_to_the_whole),
		cmocka_unit_test(every_joule_is_somebodys),
	};
	return cmocka_run_group_tests_name("slice", tests, NULL, NULL);
}
