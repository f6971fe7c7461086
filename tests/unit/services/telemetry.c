#include "services/telemetry/telemetry.h"

#include <math.h>

#include "drive_priv.h"

static Hcp__DeviceReading reading(const char *id, int power, double ths, int celsius, double util)
{
	Hcp__DeviceReading r = HCP__DEVICE_READING__INIT;
	r.device_id = id;
	r.power_w = power;
	r.hash_ths = ths;
	r.temperature_c = celsius;
	r.utilisation = util;
	return r;
}

static void sample(struct drive *d, const char *node, Hcp__DeviceReading *r, size_t n)
{
	Hcp__Samples s = HCP__SAMPLES__INIT;
	Hcp__DeviceReading *p[8];
	for (size_t i = 0; i < n; i++)
		p[i] = &r[i];
	s.node_id = node;
	s.n_readings = n;
	s.readings = p;
	drive_call(d, &s.base);
}

static void announce(struct drive *d, const char *id, const char *cls)
{
	Hcp__DevicesChanged ev = HCP__DEVICES_CHANGED__INIT;
	Hcp__Device dev = HCP__DEVICE__INIT, *p[] = { &dev };
	dev.id = id;
	dev.device_class = cls;
	ev.n_devices = 1;
	ev.devices = p;
	drive_event(d, SVC_RESOURCES, &ev.base);
}

static Hcp__Series *series(struct drive *d, const char *metric, const char *scope, const char *key, int minutes)
{
	Hcp__SeriesGet g = HCP__SERIES_GET__INIT;
	g.metric = metric;
	g.scope = scope;
	g.key = key;
	g.minutes = minutes;
	return drive_call(d, &g.base);
}

static double newest(const Hcp__Series *s)
{
	assert_true(s->n_points > 0);
	return s->points[s->n_points - 1]->value;
}

static void sums_and_means_by_scope(void **state)
{
	struct drive d;
	drive_init(&d, &telemetry_def, NULL);
	announce(&d, "n1/gpu0", "H100");
	announce(&d, "n1/asic0", "S21");
	announce(&d, "n2/asic0", "S21");
	announce(&d, "n2/x", "mystery");
	for (int i = 0; i < 24; i++) { /* two minutes, a sample each 5 s */
		Hcp__DeviceReading a[] = { reading("gpu0", 700, 0.0045, 60, 0.5), reading("asic0", 3500, 200, 70, 1) };
		Hcp__DeviceReading b[] = { reading("asic0", 3400, 190, 80, 0.5), reading("x", 100, NAN, 400, 2) };
		sample(&d, "n1", a, 2);
		sample(&d, "n2", b, 2);
		drive_pass(&d, 5 * NS_PER_S);
	}
	Hcp__Series *s = series(&d, "power_w", "", "", 0);
	assert_string_equal(s->scope, "site");
	assert_int_equal(s->step_s, 5);
	assert_float_equal(newest(s), 7700, 1e-3);
	assert_int_equal(s->n_points, 24);
	for (size_t i = 1; i < s->n_points; i++)
		assert_int_equal(s->points[i]->at_ns - s->points[i - 1]->at_ns, 5 * NS_PER_S);
	assert_float_equal(newest(series(&d, "power_w", "class", "S21", 0)), 6900, 1e-3);
	assert_float_equal(newest(series(&d, "hash_ths", "class", "S21", 0)), 390, 1e-3);
	assert_float_equal(newest(series(&d, "temperature_c", "class", "S21", 0)), 75, 1e-3);
	assert_float_equal(newest(series(&d, "utilisation", "node", "n1", 0)), 0.75, 1e-6);
	assert_float_equal(newest(series(&d, "power_w", "node", "n2", 0)), 3500, 1e-3);
	/* What a sensor cannot mean is missing, not zero. */
	assert_float_equal(newest(series(&d, "temperature_c", "node", "n2", 0)), 80, 1e-3);
	s = series(&d, "power_w", "device", "n1/asic0", 0);
	assert_int_equal(s->step_s, 60);
	assert_int_equal(s->n_points, 3);
	assert_float_equal(newest(s), 3500, 1e-3);
	assert_int_equal(series(&d, "temperature_c", "device", "n2/x", 0)->n_points, 0);
	assert_int_equal(series(&d, "power_w", "", "", 1)->n_points, 12);
	assert_int_equal(series(&d, "power_w", "class", "A100", 0)->n_points, 0);
	drive_release(&d);
}

static void silence_is_a_gap(void **state)
{
	struct drive d;
	drive_init(&d, &telemetry_def, NULL);
	for (int i = 0; i < 60; i++) {
		Hcp__DeviceReading r = reading("a", 100, 0, 30, 0.1);
		if (i < 12 || i >= 48)
			sample(&d, "n1", &r, 1);
		drive_pass(&d, 5 * NS_PER_S);
	}
	Hcp__Series *s = series(&d, "power_w", "site", "", 0);
	int gaps = 0;
	for (size_t i = 1; i < s->n_points; i++)
		gaps += s->points[i]->at_ns - s->points[i - 1]->at_ns > 5 * NS_PER_S;
	assert_int_equal(gaps, 1);
	/* 30 s after the last sample its values no longer count: 24 points and up to 7 more. */
	assert_true(s->n_points >= 30 && s->n_points <= 31);
	drive_release(&d);
}

static void an_hour_is_kept_and_a_restart_brings_minutes_back(void **state)
{
	struct drive d;
	drive_init(&d, &telemetry_def, NULL);
	announce(&d, "n1/a", "S21");
	for (int i = 0; i < 70 * 12; i++) { /* 70 minutes, value is the minute */
		Hcp__DeviceReading r = reading("a", i / 12, i / 12, 20, 0.5);
		sample(&d, "n1", &r, 1);
		drive_pass(&d, 5 * NS_PER_S);
	}
	assert_int_equal(series(&d, "power_w", "site", "", 0)->n_points, 720);
	Hcp__Series *s = series(&d, "power_w", "device", "n1/a", 60);
	assert_true(s->n_points >= 59 && s->n_points <= 60);
	assert_int_equal(
		s->points[s->n_points - 1]->at_ns - s->points[0]->at_ns, (int64_t)(s->n_points - 1) * 60 * NS_PER_S);
	for (size_t i = 1; i < s->n_points; i++)
		assert_true(s->points[i]->value - s->points[i - 1]->value >= 0 &&
			    s->points[i]->value - s->points[i - 1]->value <= 2);
	int64_t rows = drive_scalar(&d, "SELECT count(*) FROM minute");
	assert_true(rows >= 3 * 69);
	double before = 0, after = 0;
	s = series(&d, "power_w", "class", "S21", 30);
	for (size_t i = 0; i < s->n_points; i++)
		before += s->points[i]->value / (double)s->n_points;
	drive_restart(&d);
	drive_run(&d);
	s = series(&d, "power_w", "class", "S21", 30);
	assert_true(s->n_points >= 28 && s->n_points <= 30);
	for (size_t i = 0; i < s->n_points; i++)
		after += s->points[i]->value / (double)s->n_points;
	assert_float_equal(before, after, 1.0);
	assert_true(series(&d, "utilisation", "node", "n1", 0)->n_points >= 57);
	/* The class is known again, without being told. */
	Hcp__DeviceReading r = reading("a", 1234, 0, 20, 0.5);
	sample(&d, "n1", &r, 1);
	drive_pass(&d, 5 * NS_PER_S);
	assert_float_equal(newest(series(&d, "power_w", "class", "S21", 0)), 1234, 1e-3);
	/* A month later the old rows go. */
	d.now_ns += 31 * INT64_C(86400) * NS_PER_S;
	drive_run(&d);
	drive_pass(&d, 60 * NS_PER_S);
	sample(&d, "n1", &r, 1);
	drive_pass(&d, 60 * NS_PER_S);
	drive_pass(&d, 60 * NS_PER_S);
	assert_true(drive_scalar(&d, "SELECT count(*) FROM minute") < 20);
	d.now_ns += 7200 * NS_PER_S;
	drive_run(&d);
	assert_int_equal(series(&d, "power_w", "site", "", 0)->n_points, 0);
	drive_release(&d);
}

/* A minute is kept in 16 bits; what comes back is nearer to the truth than a sensor is. */
static void minutes_come_back_within_their_resolution(void **state)
{
	static const struct {
		int power;
		double ths;
		int celsius;
		double util;
	} sent[] = {
		{ 0, 0, 0, 0 },
		{ 1, 4.4e-5, 20, 1 },
		{ 7, 1e-6, -40, 0.5 },
		{ 333, 13.5, 84, 0.333333 },
		{ 1320, 100, 37, 0.0001 },
		{ 3250, 200.25, 93, 0.9999 },
		{ 3251, 234.567, -100, 0.12345 },
		{ 5676, 999999, 300, 0.77 },
		{ 10000000, 1e9, 1, 1e-5 },
		{ 2047, 2047, 2, 0.002 },
	};
	enum { N = sizeof(sent) / sizeof(sent[0]) };
	static const char *const metric[] = { "power_w", "hash_ths", "temperature_c", "utilisation" };
	struct drive d;
	drive_init(&d, &telemetry_def, NULL);
	drive_pass(&d, 60 * NS_PER_S - d.now_ns % (60 * NS_PER_S));
	for (int i = 0; i < N; i++) {
		Hcp__DeviceReading r = reading("a", sent[i].power, sent[i].ths, sent[i].celsius, sent[i].util);
		sample(&d, "n1", &r, 1);
		drive_pass(&d, 60 * NS_PER_S);
	}
	for (int k = 0; k < 4; k++) {
		Hcp__Series *s = series(&d, metric[k], "device", "n1/a", 60);
		assert_int_equal(s->n_points, N);
		for (int i = 0; i < N; i++) {
			double v = k == 0 ? sent[i].power : k == 1 ? sent[i].ths : k == 2 ? sent[i].celsius : sent[i].util;
			double most = k == 0 ? v / 4096 : k == 1 ? v / 2048 : k == 2 ? 0.0051 : 0.0000101;
			assert_true(fabs(s->points[i]->value - v) <= most * 1.0001);
		}
	}
	/* What no sensor can mean stays a gap, and a gap is no zero. */
	Hcp__DeviceReading bad = reading("a", -1, (double)NAN, 400, 1.5);
	sample(&d, "n1", &bad, 1);
	drive_pass(&d, 60 * NS_PER_S);
	for (int k = 0; k < 4; k++)
		assert_int_equal(series(&d, metric[k], "device", "n1/a", 60)->n_points, N);
	drive_release(&d);
}

static void refusals_name_the_field(void **state)
{
	struct drive d;
	Hcp__SeriesGet g = HCP__SERIES_GET__INIT;
	Hcp__Samples s = HCP__SAMPLES__INIT;
	Hcp__DeviceReading r = reading("a", 1, 1, 1, 1), *p[] = { &r };
	Hcp__Principal who = HCP__PRINCIPAL__INIT;
	drive_init(&d, &telemetry_def, NULL);
	drive_refused(&d, &s.base, "invalid", "node_id");
	s.node_id = "n1";
	s.n_readings = 1;
	s.readings = p;
	r.device_id = "";
	drive_refused(&d, &s.base, "invalid", "readings.device_id");
	r.device_id = "a";
	drive_call(&d, &s.base);
	drive_refused(&d, &g.base, "invalid", "metric");
	g.metric = "volts";
	drive_refused(&d, &g.base, "invalid", "metric");
	g.metric = "power_w";
	g.scope = "rack";
	drive_refused(&d, &g.base, "invalid", "scope");
	g.scope = "device";
	drive_refused(&d, &g.base, "invalid", "key");
	g.key = "n1/b";
	drive_refused(&d, &g.base, "not_found", "key");
	g.scope = "node";
	drive_refused(&d, &g.base, "not_found", "key");
	g.scope = "class";
	drive_refused(&d, &g.base, "not_found", "key");
	g.minutes = 61;
	drive_refused(&d, &g.base, "out_of_range", "minutes");
	g.minutes = -1;
	drive_refused(&d, &g.base, "out_of_range", "minutes");
	/* A customer sees the site, and no node or device. */
	g.minutes = 0;
	g.scope = "device";
	g.key = "n1/a";
	drive_call(&d, &g.base);
	who.role = HCP__ROLE__CUSTOMER;
	who.customer_id = "cus-a";
	drive_call_as(&d, &who, &g.base);
	assert_int_equal(d.reply->type, MSG_PROBLEM);
	assert_string_equal(((Hcp__Problem *)d.reply->body)->code, "not_found");
	g.scope = "site";
	drive_call_as(&d, &who, &g.base);
	assert_int_equal(d.reply->type, MSG_SERIES);
	drive_release(&d);
}

static void rings_stay_within_their_limits(void **state)
{
	struct drive d;
	drive_init(&d, &telemetry_def, NULL);
	enum { A_MESSAGE = 2048 };
	Hcp__DeviceReading *r = mem_calloc(A_MESSAGE, sizeof(*r)),
					   **p = mem_calloc(A_MESSAGE, sizeof(Hcp__DeviceReading *));
	char (*id)[16] = mem_calloc(A_MESSAGE, sizeof(*id));
	for (int i = 0; i < A_MESSAGE; i++) {
		snprintf(id[i], sizeof(id[i]), "d%d", i);
		r[i] = reading(id[i], 1, 0, 20, 0);
		p[i] = &r[i];
	}
	for (int n = 0; n < 9; n++) {
		char node[16];
		Hcp__Samples s = HCP__SAMPLES__INIT;
		snprintf(node, sizeof(node), "n%d", n);
		s.node_id = node;
		s.n_readings = A_MESSAGE;
		s.readings = p;
		drive_call(&d, &s.base);
	}
	drive_pass(&d, 5 * NS_PER_S);
	assert_float_equal(newest(series(&d, "power_w", "", "", 0)), 9 * A_MESSAGE, 1e-3);
	Hcp__SeriesGet g = HCP__SERIES_GET__INIT;
	g.metric = "power_w";
	g.scope = "device";
	g.key = "n8/d2047";
	drive_refused(&d, &g.base, "limit_reached", "key");
	g.key = "n7/d2047";
	drive_call(&d, &g.base);
	/* After an hour of silence others get the room. */
	d.now_ns += 3700 * NS_PER_S;
	drive_run(&d);
	drive_pass(&d, 60 * NS_PER_S);
	sample(&d, "n8", &r[A_MESSAGE - 1], 1);
	g.key = "n8/d2047";
	assert_int_equal(((Hcp__Series *)drive_call(&d, &g.base))->n_points, 1);
	mem_free(r);
	mem_free(p);
	mem_free(id);
	drive_release(&d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sums_and_means_by_scope),
		cmocka_unit_test(silence_is_a_gap),
		cmocka_unit_test(an_hour_is_kept_and_a_restart_brings_minutes_back),
		cmocka_unit_test(minutes_come_back_within_their_resolution),
		cmocka_unit_test(refusals_name_the_field),
		cmocka_unit_test(rings_stay_within_their_limits),
	};
	return cmocka_run_group_tests_name("telemetry", tests, NULL, NULL);
}
