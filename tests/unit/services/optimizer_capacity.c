/* What is wanted by the hour, kept and forecast. */
#include <math.h>

#include "rig.h"

#include "services/optimizer/optimizer.h"

#define HOUR_NS (3600 * NS_PER_S)

static void capacity(struct rig *r, int healthy)
{
	Hcp__CapacityChanged ev = HCP__CAPACITY_CHANGED__INIT;
	Hcp__ClassCapacity c = HCP__CLASS_CAPACITY__INIT, *p = &c;
	c.device_class = "H100";
	c.facility = "texas-north";
	c.total = c.healthy = healthy;
	ev.n_classes = 1;
	ev.classes = &p;
	rig_event(r, SVC_RESOURCES, &ev.base);
}

static void demand(struct rig *r, int held, int waiting, int end_soon)
{
	Hcp__DemandChanged ev = HCP__DEMAND_CHANGED__INIT;
	Hcp__Demand d = HCP__DEMAND__INIT, *p = &d;
	int32_t ends[24] = { end_soon };
	d.device_class = "H100";
	d.batch = held;
	d.waiting = waiting;
	d.n_ends = 24;
	d.ends = ends;
	d.ends_at_ns = r->now_ns;
	ev.n_demands = 1;
	ev.demands = &p;
	rig_event(r, SVC_ROUTER, &ev.base);
}

static const Hcp__CapacityForecast *ask(struct rig *r, const char *cls)
{
	struct msg *m = msg_new(MSG_CAPACITY_FORECAST_GET);
	((Hcp__CapacityForecastGet *)m->body)->device_class = cls;
	rig_post(r, m);
	return r->reply->type == MSG_CAPACITY_FORECAST ? (const Hcp__CapacityForecast *)r->reply->body : NULL;
}

static double scalar(struct rig *r, const char *sql)
{
	struct db_row *row;
	assert_int_equal(db_query(svc_database(r->svc), &row, NULL, sql, ""), 1);
	double v = db_double(row, 0);
	db_done(row);
	return v;
}

static void hours_are_kept_as_they_come(void **state)
{
	struct rig r;
	rig_init(&r, &optimizer_def, NULL);
	r.now_ns = (r.now_ns / HOUR_NS + 1) * HOUR_NS;
	capacity(&r, 8);
	demand(&r, 5, 2, 4);
	rig_pass(&r, HOUR_NS / 2);
	demand(&r, 3, 0, 3);
	rig_pass(&r, HOUR_NS);
	assert_true(scalar(&r, "SELECT count(*) FROM wanted_hour") == 1);

	assert_true(fabs(scalar(&r, "SELECT devices FROM wanted_hour") - 5) < 0.1); /* half of 7, half of 3 */
	rig_restart(&r); /* the part of an hour that was seen is lost, and too little of the next is none */
	rig_pass(&r, NS_PER_S);
	rig_pass(&r, HOUR_NS / 2 + 300 * NS_PER_S);
	assert_true(scalar(&r, "SELECT count(*) FROM wanted_hour") == 2);
	demand(&r, 5, 6, 4);
	const Hcp__CapacityForecast *f = ask(&r, "");
	assert_int_equal(f->n_classes, 1);
	const Hcp__CapacityClass *c = f->classes[0];
	assert_string_equal(c->model, "now");
	assert_true(c->total == 8 && c->held == 5 && c->waiting == 6 && c->hours_known == 2);
	assert_int_equal(c->n_points, 24);
	assert_int_equal(c->points[0]->at_ns, r.now_ns / HOUR_NS * HOUR_NS);
	assert_true(c->points[0]->wanted_p50 == 11 && c->points[0]->free_p50 == 0 && c->points[0]->shortfall_p50 == 3);
	assert_int_equal(c->points[1]->still_held, 5); /* a whole hour has not gone by */
	assert_int_equal(c->points[3]->still_held, 1); /* four of the five are expected back by then */
	assert_null(ask(&r, "H900"));
	rig_expect_problem(&r, "not_found", "device_class");
	rig_expect_replay(&r);
	rig_release(&r);
}

static void weeks_of_hours_make_a_forecast(void **state)
{
	struct rig r;
	rig_init(&r, &optimizer_def, NULL);
	int64_t hour = r.now_ns / HOUR_NS;
	capacity(&r, 40);
	demand(&r, 4, 0, 4);
	for (int64_t i = 40 * 24; i > 0; i--) {
		double v = 20 + 15 * sin((double)((hour - i) % 24) * M_PI / 12) + (double)(i * 7919 % 5);
		assert_int_equal(db_run(svc_database(r.svc), NULL, "INSERT INTO wanted_hour VALUES('H100',$1,$2)", "id",
							 (hour - i) * HOUR_NS, v), 0);
	}
	const Hcp__CapacityClass *c = ask(&r, "H100")->classes[0];
	assert_string_not_equal(c->model, "persistence"); /* a day is like the day before */
	assert_true(c->hours_known == 960 && c->pinball < 0.95 * c->pinball_persistence);
	for (int k = 0; k < 24; k++) {
		const Hcp__CapacityPoint *p = c->points[k];
		double v = 20 + 15 * sin((double)((hour + k) % 24) * M_PI / 12) + 2;
		assert_true(fabs(p->wanted_p50 - v) < 4);
		assert_true(p->wanted_p10 <= p->wanted_p50 && p->wanted_p50 <= p->wanted_p90);
		assert_true(fabs(p->free_p50 - fmax(40 - p->wanted_p50, 0)) < 1e-9 && p->free_p10 <= p->free_p90);
	}
	/* What runs and has no end is held, whatever was usual. */
	demand(&r, 39, 0, 0);
	c = ask(&r, "H100")->classes[0];
	for (int k = 0; k < 24; k++)
		assert_true(c->points[k]->still_held == 39 && c->points[k]->free_p90 <= 1);
	rig_release(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hours_are_kept_as_they_come),
		cmocka_unit_test(weeks_of_hours_make_a_forecast),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
