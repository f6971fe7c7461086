/* Orders to draw less: who goes first, what is proved, what stays, and how power comes back. */

#include <math.h>

#include "resources_rig.h"

static Hcp__Curtailment shown; /* the last answer; texts borrowed from `answer` */
static struct msg *answer;

static bool ask_curtail(struct rig *g, double kw, int within_ms, int duration_s)
{
	Hcp__Curtail q = HCP__CURTAIL__INIT;
	q.facility = "west";
	q.kw = kw;
	q.within_ms = within_ms;
	q.duration_s = duration_s;
	q.reason = "test";
	msg_free(answer);
	answer = ask_as(g, MSG_CURTAIL, &q.base, NULL);
	if (!answer || answer->type != MSG_CURTAILMENT)
		return false;
	shown = *(const Hcp__Curtailment *)answer->body;
	return true;
}

static const Hcp__Curtailment *look(struct rig *g)
{
	Hcp__CurtailmentsList q = HCP__CURTAILMENTS_LIST__INIT;
	msg_free(answer);
	answer = ask_as(g, MSG_CURTAILMENTS_LIST, &q.base, NULL);
	const Hcp__Curtailments *all = (const Hcp__Curtailments *)answer->body;
	assert_true(all->n_curtailments > 0);
	return all->curtailments[0];
}

static void direct_both(struct rig *g, int s21, int s19)
{
	Hcp__Directive d = HCP__DIRECTIVE__INIT;
	Hcp__ClassTarget a = HCP__CLASS_TARGET__INIT, b = a, *ts[] = { &a, &b };
	d.id = "pl-1";
	d.decision_id = "dec-1";
	a.facility = b.facility = "west";
	a.device_class = "S21";
	a.mine = s21;
	b.device_class = "S19XP";
	b.mine = s19;
	d.targets = ts;
	d.n_targets = 2;
	publish(g, SVC_ORCHESTRATOR, MSG_DIRECTIVE, &d.base, 1);
}

static int mines(const struct rig *g, const char *cls)
{
	int n = 0;
	for (int i = 0; i < g->n_agents; i++)
		for (int k = 0; k < g->agent[i].n && strcmp(g->agent[i].cls, cls) == 0; k++)
			n += g->agent[i].shown[k] == HCP__MODE__FILL;
	return n;
}

/* 16 S21 of 3,500 W and 16 S19 XP of 3,010 W (80 W when idle), all at work: 104,160 W. */
static struct rig *mining(const char *path)
{
	struct rig *g = rig_new(path, NULL);
	hello(g, agent_add(g, "n1", "S21", 16, "west"));
	hello(g, agent_add(g, "n2", "S19XP", 8, "west"));
	hello(g, agent_add(g, "n3", "S19XP", 8, "west"));
	direct_both(g, 16, 16);
	deliver(g);
	run_s(g, 6);
	assert_int_equal(mines(g, "S21") + mines(g, "S19XP"), 32);
	assert_int_equal(resources_reserved_w(svc_state(g->svc), "west"), 104160);
	return g;
}

static void the_least_efficient_go_first_and_come_back_step_by_step(void **state)
{
	struct rig *g = mining(NULL);
	int sent = g->sent;
	assert_true(ask_curtail(g, 20, 500, 60));
	assert_string_equal(shown.state, "shedding");
	assert_int_equal(shown.limit_w, 84160);
	assert_int_equal(shown.devices, 7); /* of 2,930 W each */
	assert_int_equal(shown.commands, g->sent - sent); /* all of them with the answer */
	assert_in_range(shown.commands, 1, 2);
	deliver(g);
	run_s(g, 4);
	assert_int_equal(mines(g, "S21"), 16);
	assert_int_equal(mines(g, "S19XP"), 9);
	const Hcp__Curtailment *c = look(g);
	assert_true(c->confirmed_at_ns > c->ordered_at_ns);
	assert_string_equal(c->state, "held");
	assert_true(c->reserved_w <= c->limit_w && c->measured_w <= c->limit_w);
	assert_int_equal(c->measured_before_w, 104160);
	/* Whatever is decided meanwhile, it holds. */
	direct_both(g, 0, 0);
	direct_both(g, 16, 16);
	deliver(g);
	run_s(g, 20);
	assert_true(physical_w(g) <= 84160);
	/* When its time is over it is given back in ten steps of five seconds. */
	run_s(g, 36);
	assert_string_equal(look(g)->state, "restoring");
	int64_t before_w = physical_w(g);
	run_s(g, 6);
	assert_true(physical_w(g) - before_w <= 2 * 2000 + 3500);
	run_s(g, 70);
	assert_string_equal(look(g)->state, "over");
	assert_int_equal(mines(g, "S21") + mines(g, "S19XP"), 32);
	rig_free(g);
}

static void what_customers_use_stays(void **state)
{
	struct rig *g = rig_new(NULL, NULL);
	const char *dev[] = { "n1/d0", "n1/d1", "n1/d2", "n1/d3" };
	hello(g, agent_add(g, "n1", "H100", 4, "west"));
	hello(g, agent_add(g, "n2", "S21", 2, "west"));
	direct(g, "west", "S21", 0, 2, 0);
	place(g, "al-1", 4, dev, 1);
	deliver(g);
	run_s(g, 6);
	alloc_state(g, HCP__ALLOCATION_STATE__HELD);
	assert_true(ask_curtail(g, 8, 0, 0));
	assert_string_equal(shown.state, "short");
	deliver(g);
	run_s(g, 6);
	assert_int_equal(mines(g, "S21"), 0);
	alloc_state(g, HCP__ALLOCATION_STATE__HELD);
	assert_string_equal(look(g)->state, "short");
	/* It ends, and the watts that were owed are there: no longer short. */
	release(g, "al-1");
	deliver(g);
	run_s(g, 6);
	assert_true(look(g)->confirmed_at_ns > 0);
	rig_free(g);
}

static void bad_orders_change_nothing(void **state)
{
	static const struct { const char *facility; double kw; int within, duration; const char *code, *field; } bad[] = {
		{ "south", 1, 0, 0, "not_found", "facility" }, { "west", 0, 0, 0, "out_of_range", "kw" },
		{ "west", -5, 0, 0, "out_of_range", "kw" }, { "west", 1e9, 0, 0, "out_of_range", "kw" },
		{ "west", 105, 0, 0, "out_of_range", "kw" }, { "west", 1, -1, 0, "out_of_range", "within_ms" },
		{ "west", 1, 0, 1 << 30, "out_of_range", "duration_s" },
	};
	struct rig *g = mining(NULL);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		Hcp__Curtail q = HCP__CURTAIL__INIT;
		q.facility = bad[i].facility;
		q.kw = bad[i].kw;
		q.within_ms = bad[i].within;
		q.duration_s = bad[i].duration;
		say(g, MSG_CURTAIL, &q.base);
		refused(g, bad[i].code, bad[i].field);
	}
	deliver(g);
	assert_int_equal(mines(g, "S19XP"), 16);
	assert_true(ask_curtail(g, 10, 0, 600));
	Hcp__Curtail again = HCP__CURTAIL__INIT;
	again.facility = "west";
	again.kw = 10;
	say(g, MSG_CURTAIL, &again.base);
	refused(g, "already_exists", "facility");
	Hcp__CurtailRestore none = HCP__CURTAIL_RESTORE__INIT;
	none.id = "ev-none";
	say(g, MSG_CURTAIL_RESTORE, &none.base);
	refused(g, "not_found", "id");
	rig_free(g);
}

static void a_restart_keeps_the_limit(void **state)
{
	char path[] = "/tmp/hcp-resources-XXXXXX", file[40];
	close(mkstemp(path));
	struct rig *g = mining(path);
	assert_true(ask_curtail(g, 20, 0, 600));
	char id[ID_TEXT_MAX];
	snprintf(id, sizeof(id), "%s", shown.id);
	lose_commands(g);
	svc_close(g->svc);
	open_svc(g);
	run_s(g, 30);
	assert_true(physical_w(g) <= 84160);
	assert_string_equal(look(g)->id, id);
	assert_true(look(g)->confirmed_at_ns > 0);
	Hcp__CurtailRestore q = HCP__CURTAIL_RESTORE__INIT;
	q.id = id;
	say(g, MSG_CURTAIL_RESTORE, &q.base);
	assert_string_equal(g->code, "");
	run_s(g, 6);
	svc_close(g->svc);
	open_svc(g);
	assert_string_equal(look(g)->state, "restoring");
	run_s(g, 90);
	assert_string_equal(look(g)->state, "over");
	assert_int_equal(mines(g, "S21") + mines(g, "S19XP"), 32);
	rig_free(g);
	static const char *const parts[] = { "", "-wal", "-shm" };
	for (int i = 0; i < 3; i++) {
		snprintf(file, sizeof(file), "%s%s", path, parts[i]);
		unlink(file);
	}
}

static void a_node_whose_circuit_is_open_is_told_too(void **state)
{
	struct rig *g = mining(NULL);
	struct agent *a = agent_of(g, "n2"), *b = agent_of(g, "n3");
	a->refuses = b->refuses = true;
	for (int i = 0; i < 6; i++) {
		direct_both(g, 16, i % 2 ? 16 : 0);
		deliver(g);
		run_s(g, 2);
	}
	a->refuses = b->refuses = false;
	int had = a->commands + b->commands;
	assert_true(ask_curtail(g, 20, 0, 600));
	deliver(g);
	assert_true(a->commands + b->commands > had);
	rig_free(g);
}

static const struct site offering = { .name = "west",
	.point = "HB_WEST",
	.pue = 1.05,
	.n_offers = 2,
	.offer = {
		{ .service = "RRS", .mw = 0.021, .until_hour = 24 }, { .service = "ECRS", .mw = 0.21, .until_hour = 24 } } };

static bool ask_call(struct rig *g, const char *service, double mw, int duration_s)
{
	Hcp__AncillaryCall q = HCP__ANCILLARY_CALL__INIT;
	q.facility = "west";
	q.service = (char *)service;
	q.mw = mw;
	q.duration_s = duration_s;
	msg_free(answer);
	answer = ask_as(g, MSG_ANCILLARY_CALL, &q.base, NULL);
	if (!answer || answer->type != MSG_CURTAILMENT)
		return false;
	shown = *(const Hcp__Curtailment *)answer->body;
	return true;
}

static const Hcp__AncillaryRecord *over(const struct rig *g)
{
	for (int i = g->n_news; i-- > 0;)
		if (g->news[i]->type == MSG_ANCILLARY_CALL_OVER)
			return ((const Hcp__AncillaryCallOver *)g->news[i]->body)->call;
	return NULL;
}

static struct rig *offering_rig(void)
{
	static const struct resources_conf conf = { .site = &offering, .n_sites = 1 };
	struct rig *g = rig_new(NULL, &conf);
	hello(g, agent_add(g, "n1", "S21", 16, "west"));
	hello(g, agent_add(g, "n2", "S19XP", 16, "west"));
	direct_both(g, 16, 16);
	deliver(g);
	run_s(g, 6);
	assert_int_equal(resources_reserved_w(svc_state(g->svc), "west"), 104160);
	return g;
}

static void a_call_of_the_grid_is_measured(void **state)
{
	struct rig *g = offering_rig();
	assert_true(ask_call(g, "RRS", 0, 1200));
	assert_string_equal(shown.service, "RRS");
	assert_int_equal(shown.limit_w, 84160); /* 21 kW at the meter are 20 at the plugs */
	assert_int_equal(shown.within_ms, 600000);
	deliver(g);
	run_s(g, 300);
	assert_string_equal(look(g)->state, "held");
	assert_true(look(g)->dropped_mwh > 0.021 * 295 / 3600 && look(g)->due_mwh == 0 && !over(g));
	run_s(g, 902);
	const Hcp__AncillaryRecord *c = over(g);
	assert_non_null(c);
	assert_true(fabs(c->mw - 0.021) < 1e-9 && c->over_at_ns - c->called_at_ns == 1200 * S);
	assert_true(fabs(c->due_mwh - 0.021 * 600 / 3600) < 1e-7 && c->missed_mwh == 0);
	assert_true(c->dropped_mwh <= 0.021 * 1200 / 3600 + 1e-9 && c->dropped_mwh > 0.021 * 1195 / 3600);
	assert_true(c->confirmed_at_ns > c->called_at_ns);
	run_s(g, 90);
	assert_int_equal(mines(g, "S21") + mines(g, "S19XP"), 32);
	rig_free(g);
}

/* More is called than runs, and what is told does not happen: it is missing from the response on, and recalled early.
 */
static void what_is_missing_of_a_call_is_told(void **state)
{
	struct rig *g = offering_rig();
	for (int i = 0; i < g->n_agents; i++)
		g->agent[i].deaf = true;
	assert_true(ask_call(g, "ECRS", 0, 0));
	assert_int_equal(shown.limit_w, 0);
	assert_string_equal(shown.state, "short");
	run_s(g, 700);
	char id[ID_TEXT_MAX];
	snprintf(id, sizeof(id), "%s", shown.id);
	Hcp__CurtailRestore q = HCP__CURTAIL_RESTORE__INIT;
	q.id = id;
	say(g, MSG_CURTAIL_RESTORE, &q.base);
	const Hcp__AncillaryRecord *c = over(g);
	assert_non_null(c);
	assert_true(c->dropped_mwh == 0 && c->confirmed_at_ns == 0);
	assert_true(fabs(c->due_mwh - 0.21 * 100 / 3600) < 0.21 * 2 / 3600 && fabs(c->missed_mwh - c->due_mwh) < 1e-9);
	rig_free(g);
}

/* ---- what is held for the grid ---- */

static const Hcp__AncillaryHeld *held(const struct rig *g, int back)
{
	for (int i = g->n_news; i-- > 0;)
		if (g->news[i]->type == MSG_ANCILLARY_HELD && back-- == 0)
			return (const Hcp__AncillaryHeld *)g->news[i]->body;
	return NULL;
}

#define NEAR(a, b) (fabs((a) - (b)) < 1e-9)

/* 21 kW of RRS and then ECRS of what 16 S21 (3,500 W) and 16 S19 XP (3,010 W) draw, less 85 and 80 W each, times 1.05.
 */
static void what_is_held_is_told_by_the_hour(void **state)
{
	struct rig *g = offering_rig();
	const double all_mw = (104160 - 16 * 85 - 16 * 80) * 1.05 / 1e6, rest_mw = all_mw - 0.021;
	run_s(g, 2594 - 30);
	assert_int_equal(count(g, MSG_ANCILLARY_HELD), 0);
	run_s(g, 35); /* past 3,600 s: the clock began at 1,000 */
	const Hcp__AncillaryHeld *h = held(g, 0);
	assert_int_equal(count(g, MSG_ANCILLARY_HELD), 1);
	assert_string_equal(h->facility, "west");
	assert_true(h->n_holds == 2 && h->from_ns >= 1000 * S && h->from_ns < 1001 * S && h->to_ns == 3600 * S);
	double hours = (double)(h->to_ns - h->from_ns) / 3.6e12, start = 20.0 / 3600;
	assert_true(NEAR(h->holds[0]->offered_mw_h, 0.021 * hours) && NEAR(h->holds[1]->offered_mw_h, 0.21 * hours));
	/* But for the seconds until they were proved to mine. */
	assert_in_range((int64_t)(h->holds[0]->held_mw_h * 1e9), (int64_t)(0.021 * (hours - start) * 1e9),
		(int64_t)(0.021 * hours * 1e9));
	assert_true(h->holds[1]->held_mw_h > rest_mw * (hours - start) && h->holds[1]->held_mw_h < rest_mw * hours);
	/* A call leaves what it has made go held; an operator's order does not, and neither does what stands still. */
	forget(g);
	assert_true(ask_call(g, "RRS", 0, 1800));
	deliver(g);
	run_s(g, 3620);
	h = held(g, 0);
	assert_true(h->to_ns - h->from_ns == 3600 * S && NEAR(h->holds[0]->held_mw_h, 0.021));
	assert_true(h->holds[1]->held_mw_h < rest_mw && h->holds[1]->held_mw_h > rest_mw - 0.021 * 100 / 3600);
	run_s(g, 60);
	direct_both(g, 4, 0);
	deliver(g);
	run_s(g, 3600);
	run_s(g, 3600);
	h = held(g, 0);
	double left_mw = 4 * (3500 - 85) * 1.05 / 1e6;
	assert_true(NEAR(h->holds[0]->held_mw_h, left_mw) && h->holds[1]->held_mw_h == 0);
	assert_true(NEAR(h->holds[0]->offered_mw_h, 0.021) && NEAR(h->holds[1]->offered_mw_h, 0.21));
	rig_free(g);
}

/* What was counted of an hour outlives the process; the time that nobody looked is offered and not held. */
static void a_restart_keeps_what_was_held(void **state)
{
	char path[] = "/tmp/hcp-resources-XXXXXX", file[40];
	static const struct resources_conf conf = { .site = &offering, .n_sites = 1 };
	close(mkstemp(path));
	struct rig *g = rig_new(path, &conf);
	hello(g, agent_add(g, "n1", "S21", 16, "west"));
	direct_both(g, 16, 0);
	deliver(g);
	run_s(g, 2600);
	forget(g);
	run_s(g, 1800);
	svc_close(g->svc);
	g->now += 900 * S;
	open_svc(g);
	hello(g, agent_of(g, "n1"));
	deliver(g);
	run_s(g, 1000);
	const Hcp__AncillaryHeld *h = held(g, 0);
	assert_int_equal(count(g, MSG_ANCILLARY_HELD), 1);
	assert_true(h->to_ns - h->from_ns == 3600 * S && NEAR(h->holds[0]->offered_mw_h, 0.021));
	assert_true(h->holds[0]->held_mw_h < 0.021 * 2700 / 3600 && h->holds[0]->held_mw_h > 0.021 * 2640 / 3600);
	/* Two days and more that nobody was there are not told hour by hour. */
	forget(g);
	svc_close(g->svc);
	g->now += INT64_C(50) * 3600 * S;
	open_svc(g);
	run_s(g, 30);
	assert_int_equal(count(g, MSG_ANCILLARY_HELD), 1);
	/* Another offer: what there was is told, and the new one counted from now on. */
	static struct site other;
	other = offering;
	other.n_offers = 1;
	static const struct resources_conf changed = { .site = &other, .n_sites = 1 };
	svc_close(g->svc);
	g->conf.conf = &changed;
	open_svc(g);
	run_s(g, 12);
	assert_int_equal(held(g, 0)->n_holds, 2);
	run_s(g, 3600);
	assert_int_equal(held(g, 0)->n_holds, 1);
	rig_free(g);
	static const char *const parts[] = { "", "-wal", "-shm" };
	for (int i = 0; i < 3; i++) {
		snprintf(file, sizeof(file), "%s%s", path, parts[i]);
		unlink(file);
	}
}

static void bad_calls_change_nothing(void **state)
{
	static const struct { const char *service; double mw; int duration; const char *code, *field; } bad[] = {
		{ "NSPIN", 0, 0, "not_found", "service" }, { "", 0, 0, "not_found", "service" },
		{ "RRS", 0.03, 0, "out_of_range", "mw" }, { "RRS", -1, 0, "out_of_range", "mw" },
		{ "RRS", 1e-9, 0, "out_of_range", "mw" }, { "RRS", 0, 3601, "out_of_range", "duration_s" },
		{ "RRS", 0, -1, "out_of_range", "duration_s" },
	};
	struct rig *g = offering_rig();
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		Hcp__AncillaryCall q = HCP__ANCILLARY_CALL__INIT;
		q.facility = "west";
		q.service = (char *)bad[i].service;
		q.mw = bad[i].mw;
		q.duration_s = bad[i].duration;
		say(g, MSG_ANCILLARY_CALL, &q.base);
		refused(g, bad[i].code, bad[i].field);
	}
	assert_true(ask_curtail(g, 10, 0, 600));
	Hcp__AncillaryCall q = HCP__ANCILLARY_CALL__INIT;
	q.service = "RRS";
	say(g, MSG_ANCILLARY_CALL, &q.base);
	refused(g, "already_exists", "facility");
	rig_free(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_least_efficient_go_first_and_come_back_step_by_step),
		cmocka_unit_test(what_customers_use_stays),
		cmocka_unit_test(bad_orders_change_nothing),
		cmocka_unit_test(a_restart_keeps_the_limit),
		cmocka_unit_test(a_node_whose_circuit_is_open_is_told_too),
		cmocka_unit_test(a_call_of_the_grid_is_measured),
		cmocka_unit_test(what_is_missing_of_a_call_is_told),
		cmocka_unit_test(what_is_held_is_told_by_the_hour),
		cmocka_unit_test(a_restart_keeps_what_was_held),
		cmocka_unit_test(bad_calls_change_nothing),
	};
	int rc = cmocka_run_group_tests(tests, NULL, NULL);
	msg_free(answer);
	return rc;
}
