#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/rng.h"
#include "health/health.h"

#define S_NS INT64_C(1000000000)

/* A container of miners at 25 °C, by hand: what each test needs is changed in the samples. */
enum { N = 20 };

struct rack {
	struct health *h;
	const struct device_class *cls;
	struct health_device d[N];
	struct health_window w[N];
	struct rng rng;
	int64_t now_ns;
	int sick[N];                       /* minutes */
	struct health_finding found[N];    /* the last */
	void (*change)(struct health_sample *s, int64_t now_ns, int64_t since_ns);
	int64_t change_ns;                 /* from then on, device 3 */
};

static void make(struct rack *k, const char *class_name)
{
	struct health_conf conf;
	health_conf_default(&conf);
	memset(k, 0, sizeof(*k));
	k->h = health_new(&conf);
	assert_non_null(k->h);
	k->cls = device_class_find(str_of(class_name));
	rng_init(&k->rng, 7);
	k->now_ns = INT64_C(1750000000) * S_NS;
	for (int i = 0; i < N; i++)
		health_device_init(&k->d[i]);
}

static struct health_sample normal(struct rack *k, int i)
{
	float noise = (float)rng_normal(&k->rng);
	return (struct health_sample){ .at_ns = k->now_ns, .mode = DEVICE_FILL,
		.power_w = roundf((float)k->cls->power_w[DEVICE_FILL] * (1 + 0.004F * noise)),
		.hash_ths = (float)k->cls->fill_ths * (1 + 0.004F * (float)rng_normal(&k->rng)),
		.temperature_c = roundf(62 + (float)(i % 3) + 0.5F * (float)rng_normal(&k->rng)), .inlet_c = 25,
		.utilisation = 1, .fan = 0.66F + 0.01F * (float)rng_normal(&k->rng),
		.memory_gib = k->cls->memory_gib > 0 ? (float)k->cls->memory_gib * 0.6F + 0.05F * noise : NAN, .errors = 0 };
}

static void run(struct rack *k, int minutes)
{
	for (int t = 0; t < 6 * minutes; t++) {
		k->now_ns += 10 * S_NS;
		for (int i = 0; i < N; i++) {
			struct health_sample s = normal(k, i);
			struct health_finding f;
			bool sick = false;
			if (k->change && i == 3)
				k->change(&s, k->now_ns, k->change_ns);
			if (!health_take(k->h, k->cls, &k->d[i], &k->w[i], &s, &sick, &f) || !sick)
				continue;
			k->sick[i]++;
			k->found[i] = f;
		}
		assert_true(health_learn(k->h, k->now_ns, 1) >= 0);
	}
}

static void begin_change(struct rack *k, void (*change)(struct health_sample *, int64_t, int64_t))
{
	for (int i = 0; i < N; i++)
		assert_int_equal(k->sick[i], 0);
	k->change = change;
	k->change_ns = k->now_ns;
}

/* Only device 3 is sick, of this signal, since about the change. */
static void expect(const struct rack *k, enum health_signal signal, const char *text)
{
	char said[160];
	for (int i = 0; i < N; i++)
		assert_true((k->sick[i] > 0) == (i == 3));
	assert_int_equal(k->found[3].signal, signal);
	assert_true(llabs(k->found[3].since_ns - k->change_ns) < 1800 * S_NS);
	assert_non_null(strstr(health_text(&k->found[3], said, sizeof(said)), text));
}

static void hot(struct health_sample *s, int64_t now_ns, int64_t since_ns)
{
	s->temperature_c += 9;
}

static void fewer_hashes(struct health_sample *s, int64_t now_ns, int64_t since_ns)
{
	s->hash_ths *= 0.93F;
}

static void leak(struct health_sample *s, int64_t now_ns, int64_t since_ns)
{
	s->memory_gib += (float)(now_ns - since_ns) / 3600e9F;
}

static void errors(struct health_sample *s, int64_t now_ns, int64_t since_ns)
{
	s->errors = (now_ns - since_ns) / (2 * S_NS);
}

static void broken_meter(struct health_sample *s, int64_t now_ns, int64_t since_ns)
{
	s->power_w = NAN;
	s->temperature_c = -1000;
	s->hash_ths = INFINITY;
	s->fan = -3;
	s->errors = now_ns / S_NS % 3 ? INT64_MIN : INT64_MAX;
	s->utilisation = 1e38F;
	s->inlet_c = now_ns / S_NS % 5 ? INFINITY : NAN;
	s->memory_gib = -1;
}

static void each_fault_is_named_with_value_and_time(void **state)
{
	static const struct {
		const char *cls;
		void (*change)(struct health_sample *, int64_t, int64_t);
		enum health_signal signal;
		const char *text;
		int minutes;
	} t[] = {
		{ "S21", hot, HEALTH_HEAT, "temperature 7", 60 },
		{ "S21", fewer_hashes, HEALTH_HASH, "hash rate 18", 60 },
		{ "H100", leak, HEALTH_MEMORY, "memory 5", 240 },
		{ "S21", errors, HEALTH_ERRORS, "errors a minute", 60 },
	};
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		static struct rack k;
		make(&k, t[i].cls);
		run(&k, 2000);
		begin_change(&k, t[i].change);
		run(&k, t[i].minutes);
		expect(&k, t[i].signal, t[i].text);
		/* After the repair it is well, and stays so. */
		k.change = NULL;
		health_device_mend(&k.d[3]);
		k.sick[3] = 0;
		run(&k, 300);
		assert_int_equal(k.sick[3], 0);
		health_free(k.h);
	}
}

static void absurd_values_count_as_not_known(void **state)
{
	static struct rack k;
	make(&k, "S21");
	run(&k, 600);
	begin_change(&k, broken_meter);
	run(&k, 300);
	assert_int_equal(k.sick[3], 0);
	for (int i = 0; i < HEALTH_SIGNALS; i++)
		assert_true(isfinite(k.d[3].chart[i].mean) && isfinite(k.d[3].chart[i].ewma));
	health_free(k.h);
}

/* A reading that stands still while load, and with it the expected temperature, goes up and down. */
static void standing_sensor_is_found(void **state)
{
	static struct rack k;
	int found = -1;
	make(&k, "S21");
	for (int minute = 0; minute < 3000; minute++) {
		for (int t = 0; t < 6; t++) {
			k.now_ns += 10 * S_NS;
			for (int i = 0; i < N; i++) {
				struct health_sample s = normal(&k, i);
				struct health_finding f;
				bool sick = false;
				float wave = 6 * sinf(6.2832F * (float)minute / 600);
				s.inlet_c = 25 + wave;
				s.temperature_c = i == 3 && minute > 2000 ? 63 : roundf(s.temperature_c + wave);
				bool judged = health_take(k.h, k.cls, &k.d[i], NULL, &s, &sick, &f);
				if (judged && sick && minute > 1000) {
					assert_int_equal(i, 3);
					/* Its chart of heat may see it first. */
					assert_true(f.signal == HEALTH_SENSOR || f.signal == HEALTH_HEAT);
					found = found < 0 && f.signal == HEALTH_SENSOR ? minute : found;
				}
			}
		}
	}
	assert_true(found > 2000 && found < 2400);
	health_free(k.h);
}

static void order_and_gaps(void **state)
{
	static struct rack k;
	struct health_finding f;
	bool sick;
	make(&k, "S21");
	run(&k, 10);
	struct health_sample s = normal(&k, 0);
	uint64_t samples = health_stats(k.h).samples;
	/* The same moment again, and an older one. */
	assert_false(health_take(k.h, k.cls, &k.d[0], NULL, &s, &sick, &f));
	s.at_ns -= 60 * S_NS;
	assert_false(health_take(k.h, k.cls, &k.d[0], NULL, &s, &sick, &f));
	assert_int_equal(health_stats(k.h).samples, samples);
	/* After a gap the mode counts as new: nothing is learned while it settles. */
	uint16_t n = k.d[0].chart[HEALTH_POWER].n;
	k.now_ns += 3600 * S_NS;
	run(&k, 1);
	assert_int_equal(k.d[0].chart[HEALTH_POWER].n, n);
	health_free(k.h);
	assert_null(health_signal_name(HEALTH_SIGNAL_END));
	assert_string_equal(health_signal_name(HEALTH_SENSOR), "sensor");
}

static void norms_and_charts_come_back_from_bytes(void **state)
{
	static struct rack a, b;
	struct health_device bad;
	make(&a, "S21");
	make(&b, "S21");
	assert_int_equal(health_norms(a.h, a.cls).n, 0);
	run(&a, 700);
	struct str bytes = health_norms(a.h, a.cls);
	assert_true(bytes.n > 0);
	assert_int_equal(health_set_norms(b.h, b.cls, (struct str){ bytes.p, bytes.n - 1 }), HCP_ECORRUPT);
	char *copy = mem_dup(bytes.p, bytes.n);
	memset(copy + 16, 0xff, 8);
	assert_int_equal(health_set_norms(b.h, b.cls, (struct str){ copy, bytes.n }), HCP_ECORRUPT);
	assert_int_equal(health_norms(b.h, b.cls).n, 0);
	mem_free(copy);
	assert_int_equal(health_set_norms(b.h, b.cls, bytes), 0);
	/* What is judged after it is judged the same. */
	memcpy(b.d, a.d, sizeof(a.d));
	memcpy(b.w, a.w, sizeof(a.w));
	b.now_ns = a.now_ns;
	b.rng = a.rng;
	for (int i = 0; i < N; i++)
		assert_int_equal(health_device_check(&b.d[i]), 0);
	run(&a, 60);
	run(&b, 60);
	assert_memory_equal(a.d, b.d, sizeof(a.d));
	bad = a.d[0];
	bad.chart[2].sigma = NAN;
	assert_int_equal(health_device_check(&bad), HCP_ECORRUPT);
	health_free(a.h);
	health_free(b.h);
}

static void same_samples_same_judgement(void **state)
{
	static struct rack a, b;
	make(&a, "S21");
	make(&b, "S21");
	run(&a, 700);
	run(&b, 700);
	assert_memory_equal(a.d, b.d, sizeof(a.d));
	assert_memory_equal(a.w, b.w, sizeof(a.w));
	health_free(a.h);
	health_free(b.h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_fault_is_named_with_value_and_time),
		cmocka_unit_test(absurd_values_count_as_not_known),
		cmocka_unit_test(standing_sensor_is_found),
		cmocka_unit_test(order_and_gaps),
		cmocka_unit_test(norms_and_charts_come_back_from_bytes),
		cmocka_unit_test(same_samples_same_judgement),
	};
	int64_t live = mem_live();
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	return failed ? failed : mem_live() != live;
}
