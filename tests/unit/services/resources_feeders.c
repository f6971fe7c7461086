/* The power tree: budgets at every level at every moment, levels without power, and the way back. */

#include "resources_rig.h"

/*
 *	east 9000 W ─┬─ north 4500 W ─┬─ north/p1 2500 W
 *	             │                └─ north/p2 2500 W
 *	             └─ south 4000 W
 */
static const struct resources_budget tree[] = {
	{ .facility = "east", .budget_w = 9000 },
	{ .facility = "east", .budget_w = 4500, .path = "north" },
	{ .facility = "east", .budget_w = 2500, .path = "north/p#", .count = 2 },
	{ .facility = "east", .budget_w = 4000, .path = "south" },
};
static const struct resources_hang hangs[] = {
	{ .facility = "east", .nodes = "rack-#-*", .path = "north/p#" },
	{ .facility = "east", .device_class = "S21", .path = "south" },
	{ .facility = "east", .device_class = "A100", .path = "" },
};
static const struct resources_conf conf = { .budgets = tree, .n_budgets = 4, .hangs = hangs, .n_hangs = 3 };

static struct agent *add(struct rig *g, const char *id, const char *cls, int n, const char *feed)
{
	struct agent *a = agent_add(g, id, cls, n, "east");
	snprintf(a->feed, sizeof(a->feed), "%s", feed);
	hello(g, a);
	return a;
}

static int64_t level_w(const struct rig *g, const char *path)
{
	return resources_level_w(svc_state(g->svc), "east", path);
}

static int64_t agent_w(const struct rig *g, const struct agent *a)
{
	struct rig one = { .n_agents = 1 };
	one.agent[0] = *a;
	return physical_w(&one);
}

static void trip(struct rig *g, const char *path, bool restore)
{
	Hcp__PowerTrip t = HCP__POWER_TRIP__INIT;
	Hcp__PowerRestore b = HCP__POWER_RESTORE__INIT;
	t.facility = b.facility = "east";
	t.path = b.path = path;
	t.reason = "breaker 52-N open";
	say(g, restore ? MSG_POWER_RESTORE : MSG_POWER_TRIP, restore ? &b.base : &t.base);
}

static void nodes_hang_where_they_say_or_by_the_rule(void **state)
{
	struct rig *g = rig_new(NULL, &conf);
	add(g, "rack-2-a", "S21", 1, "");
	const int64_t idle_w = (int64_t)device_class_find(STR("S21"))->power_w[DEVICE_IDLE];
	assert_int_equal(level_w(g, "north/p2"), idle_w);
	assert_int_equal(level_w(g, "north"), idle_w);
	add(g, "x1", "S21", 2, "");
	assert_int_equal(level_w(g, "south"), 2 * idle_w);
	add(g, "x2", "S21", 1, "north");
	assert_int_equal(level_w(g, "north"), 2 * idle_w);
	add(g, "x3", "H100", 1, ""); /* nothing is said of it: it hangs at the facility */
	assert_int_equal(level_w(g, "north") + level_w(g, "south"), 4 * idle_w);
	assert_true(level_w(g, "") > 4 * idle_w);
	assert_int_equal(g->problems, 0);
	static const struct {
		const char *id, *cls, *feed, *code;
	} bad[] = {
		{ "y1", "S21", "west", "not_found" },     /* no such feeder */
		{ "y1", "S21", "north/p3", "not_found" }, /* there are two */
		{ "y1", "S21", "north//p1", "invalid" }, { "y1", "S21", "north/p 1", "invalid" },
		{ "rack-1-a", "S21", "south", "conflict" }, /* the site file says north/p1 */
		{ "rack-9-a", "S21", "", "not_found" },     /* the rule leads nowhere */
		{ "y1", "A100", "", "invalid" },            /* hangs at several feeders */
	};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		add(g, bad[i].id, bad[i].cls, 1, bad[i].feed);
		assert_int_equal(g->problems, (int)i + 1);
		refused(g, bad[i].code, "feed");
		g->n_agents--;
	}
	add(g, "rack-1-a", "A100", 1, "north/p1");
	assert_int_equal(g->problems, (int)(sizeof(bad) / sizeof(bad[0])));
	/* It has moved. */
	int64_t at_p1 = level_w(g, "north/p1"), at_north = level_w(g, "north");
	struct agent *x2 = agent_of(g, "x2");
	snprintf(x2->feed, sizeof(x2->feed), "north/p1");
	hello(g, x2);
	assert_int_equal(level_w(g, "north/p1"), at_p1 + idle_w);
	assert_int_equal(level_w(g, "north"), at_north);
	rig_free(g);
}

/* Whole runs of faults: no level is above its budget, whatever agents do. */
static void random_step(struct rig *g, struct rng *r, int t)
{
	struct agent *a = &g->agent[rng_below(r, (uint64_t)g->n_agents)];
	static const char *const level[] = { "north", "north/p1", "north/p2", "south" };
	const char *path = level[rng_below(r, 4)];
	char id[16], dev[2][24];
	const char *devs[2] = { dev[0], dev[1] };
	switch (rng_below(r, 12)) {
	case 0:
		direct(g, "east", "S21", 0, (int)rng_below(r, 4), 0);
		break;
	case 1:
	case 2:
		direct(g, "east", "H100", (int)rng_below(r, 9), (int)rng_below(r, 9), 0);
		break;
	case 3:
		for (int k = 0; k < 2; k++)
			snprintf(dev[k], sizeof(dev[k]), "%s/d%d", g->agent[rng_below(r, 3)].id, (int)rng_below(r, 4));
		snprintf(id, sizeof(id), "al-%d", t);
		place(g, id, 2, devs, 1);
		break;
	case 4:
		snprintf(id, sizeof(id), "al-%d", (int)rng_below(r, (uint64_t)t + 1));
		release(g, id);
		break;
	case 5:
		a->deaf = rng_below(r, 3) == 0;
		a->refuses = rng_below(r, 4) == 0;
		a->mute = rng_below(r, 3) == 0;
		break;
	case 6:
		trip(g, path, rng_below(r, 3) > 0);
		break;
	case 7:
		deliver(g);
		break;
	case 8:
		lose_commands(g);
		break;
	case 9:
		svc_close(g->svc);
		open_svc(g);
		settle(g);
		break;
	default:
		g->now += (int64_t)rng_below(r, 5) * S;
		settle(g);
		for (int i = 0; i < g->n_agents; i++)
			report(g, &g->agent[i]);
	}
}

static int64_t below_w(const struct rig *g, const char *path)
{
	static const char *const where[] = { "north/p1", "north/p2", "north", "south", "south" };
	int64_t sum = 0;
	for (int i = 0; i < g->n_agents; i++)
		if (!strncmp(where[i], path, strlen(path)))
			sum += agent_w(g, &g->agent[i]);
	return sum;
}

static void no_level_is_ever_above_its_budget(void **state)
{
	static const struct {
		const char *path;
		int64_t budget_w;
	} level[] = { { "", 9000 }, { "north", 4500 }, { "north/p1", 2500 }, { "north/p2", 2500 }, { "south", 4000 } };
	char path[] = "/tmp/hcp-feeders-XXXXXX";
	struct rng r;
	int64_t most_w[5] = { 0 };
	rng_init(&r, 5);
	assert_non_null(mkdtemp(path));
	for (int round = 0; round < 5; round++) {
		char db[64];
		snprintf(db, sizeof(db), "%s/%d.db", path, round);
		struct rig *g = rig_new(db, &conf);
		add(g, "rack-1-a", "H100", 4, "");
		add(g, "rack-2-a", "H100", 4, "");
		add(g, "n3", "H100", 4, "north");
		add(g, "s1", "S21", 2, "");
		add(g, "s2", "S21", 1, "south");
		assert_int_equal(g->problems, 0);
		for (int t = 0; t < 300; t++) {
			random_step(g, &r, t);
			for (int i = 0; i < 5; i++) {
				int64_t now_w = below_w(g, level[i].path), reserved_w = level_w(g, level[i].path);
				most_w[i] = now_w > most_w[i] ? now_w : most_w[i];
				assert_true(now_w <= reserved_w);
				assert_true(reserved_w <= level[i].budget_w);
			}
		}
		rig_free(g);
		assert_int_equal(unlink(db), 0);
		char side[80];
		snprintf(side, sizeof(side), "%s-wal", db);
		(void)unlink(side);
		snprintf(side, sizeof(side), "%s-shm", db);
		(void)unlink(side);
	}
	(void)rmdir(path);
	for (int i = 0; i < 5; i++)
		assert_true(most_w[i] > level[i].budget_w / 2); /* they were made use of */
}

/* A feeder too small for all: the least efficient behind it goes without, what hangs elsewhere is not touched. */
static void sheds_the_least_efficient_of_the_level(void **state)
{
	static const struct resources_budget small[] = { { .facility = "east", .budget_w = 7200, .path = "north" } };
	static const struct resources_conf c = { .budgets = small, .n_budgets = 1 };
	struct rig *g = rig_new(NULL, &c);
	struct agent *good = add(g, "n1", "S21", 1, "north"), *bad = add(g, "n2", "S19XP", 2, "north");
	struct agent *other = add(g, "n3", "S19XP", 1, "");
	Hcp__Directive d = HCP__DIRECTIVE__INIT;
	Hcp__ClassTarget t[2] = { HCP__CLASS_TARGET__INIT, HCP__CLASS_TARGET__INIT }, *ts[] = { &t[0], &t[1] };
	d.id = d.decision_id = "dec-1";
	t[0].facility = t[1].facility = "east";
	t[0].device_class = "S19XP";
	t[0].mine = 3;
	t[1].device_class = "S21";
	t[1].mine = 1;
	d.targets = ts;
	d.n_targets = 2;
	publish(g, SVC_ORCHESTRATOR, MSG_DIRECTIVE, &d.base, 1);
	deliver(g);
	run_s(g, 6);
	assert_int_equal(good->mode[0], HCP__MODE__FILL);
	assert_int_equal(other->mode[0], HCP__MODE__FILL);
	assert_int_equal((bad->mode[0] == HCP__MODE__FILL) + (bad->mode[1] == HCP__MODE__FILL), 1);
	assert_true(level_w(g, "north") <= 7200);
	rig_free(g);
}

static void a_trip_refuses_a_gang_and_frees_no_watt_by_itself(void **state)
{
	char db[] = "/tmp/hcp-feeders-XXXXXX.db";
	int fd = mkstemps(db, 3);
	assert_true(fd >= 0);
	close(fd);
	struct rig *g = rig_new(db, &conf);
	struct agent *a = add(g, "rack-1-a", "H100", 2, ""), *b = add(g, "n3", "H100", 2, "north");
	struct agent *far = add(g, "s1", "S21", 1, "");
	direct(g, "east", "S21", 0, 1, 0);
	direct(g, "east", "S21", 0, 1, 0);
	run_s(g, 4);
	deliver(g);
	run_s(g, 4);
	int64_t south_w = level_w(g, "south");
	const char *gang[] = { "rack-1-a/d0", "n3/d0" };
	place(g, "al-1", 2, gang, 1);
	int64_t switching_w = level_w(g, "north/p1");
	trip(g, "north/p1", false); /* in the middle of its start: nobody has taken his order yet */
	const Hcp__AllocationChanged *end = alloc_state(g, HCP__ALLOCATION_STATE__REFUSED);
	assert_string_equal(end->reason, "north/p1 of east has no power");
	assert_int_equal(level_w(g, "north/p1"), switching_w); /* the first order may be on the way */
	DEVICE(g, "rack-1-a/d0", state, HCP__DEVICE_STATE__DEVICE_FAILED);
	DEVICE(g, "rack-1-a/d1", state, HCP__DEVICE_STATE__DEVICE_FAILED);
	DEVICE(g, "n3/d0", state, HCP__DEVICE_STATE__IDLE);
	assert_int_equal(far->mode[0], HCP__MODE__FILL);
	place(g, "al-2", 2, gang, 1);
	end = alloc_state(g, HCP__ALLOCATION_STATE__REFUSED);
	assert_string_equal(end->unfit_device_id, "rack-1-a/d0");
	/* The node answers: told to be off, and proved, it holds no more than that. */
	deliver(g);
	run_s(g, 6);
	assert_true(level_w(g, "north/p1") < switching_w);
	assert_int_equal(a->mode[0], HCP__MODE__OFF);
	/* A restart keeps it out, and a new announcement does not bring it back. */
	svc_close(g->svc);
	open_svc(g);
	settle(g);
	snprintf(a->boot, sizeof(a->boot), "boot-2");
	a->seq = 0;
	hello(g, a);
	run_s(g, 4);
	DEVICE(g, "rack-1-a/d0", state, HCP__DEVICE_STATE__DEVICE_FAILED);
	assert_int_equal(level_w(g, "south"), south_w);
	trip(g, "north/p1", false);
	refused(g, "already_exists", "path");
	trip(g, "north/p1", true);
	DEVICE(g, "rack-1-a/d0", state, HCP__DEVICE_STATE__IDLE);
	trip(g, "north/p1", true);
	refused(g, "wrong_state", "path");
	run_s(g, 60);
	place(g, "al-3", 2, gang, 1);
	deliver(g);
	run_s(g, 4);
	alloc_state(g, HCP__ALLOCATION_STATE__HELD);
	assert_int_equal(b->mode[0], HCP__MODE__SERVE);
	rig_free(g);
	(void)unlink(db);
}

/* Nobody reports. */
static void time_passes(struct rig *g, int seconds)
{
	for (int t = 0; t < seconds; t++) {
		g->now += S;
		settle(g);
	}
}

/* Its nodes go with it: their watts are held until their leases are over, and restoring waits for them. */
static void a_lost_node_behind_a_dead_feeder_comes_back_with_both(void **state)
{
	struct rig *g = rig_new(NULL, &conf);
	struct agent *a = add(g, "s1", "S21", 1, "");
	direct(g, "east", "S21", 0, 1, 0);
	deliver(g);
	run_s(g, 4);
	int64_t mining_w = level_w(g, "south");
	trip(g, "south", false);
	a->quiet = true;
	lose_commands(g);
	time_passes(g, 10);
	assert_int_equal(level_w(g, "south"), mining_w);
	time_passes(g, 14);
	assert_int_equal(level_w(g, "south"), 40); /* SAFE, by its lease */
	lose_commands(g);
	trip(g, "south", true);
	DEVICE(g, "s1/d0", state, HCP__DEVICE_STATE__DEVICE_FAILED);
	a->quiet = false;
	a->mode[0] = a->shown[0] = HCP__MODE__SAFE;
	snprintf(a->boot, sizeof(a->boot), "boot-2");
	a->seq = 0;
	trip(g, "south", false);
	hello(g, a); /* on another supply, it seems */
	DEVICE(g, "s1/d0", state, HCP__DEVICE_STATE__DEVICE_FAILED);
	trip(g, "south", true);
	run_s(g, 70);
	assert_int_equal(a->mode[0], HCP__MODE__FILL);
	rig_free(g);
}

/* Rewired: at a feeder that has power it works again, at one that has none it does not. */
static void a_node_that_moves_is_as_its_feeder_is(void **state)
{
	struct rig *g = rig_new(NULL, &conf);
	struct agent *a = add(g, "n1", "H100", 2, "south");
	const char *gang[] = { "n1/d0", "n1/d1" };
	run_s(g, 2);
	place(g, "al-1", 2, gang, 1);
	deliver(g);
	run_s(g, 4);
	alloc_state(g, HCP__ALLOCATION_STATE__HELD);
	trip(g, "north", false);
	DEVICE(g, "n1/d0", state, HCP__DEVICE_STATE__ACTIVE);
	snprintf(a->feed, sizeof(a->feed), "north/p2");
	hello(g, a);
	alloc_state(g, HCP__ALLOCATION_STATE__RELEASED);
	DEVICE(g, "n1/d0", state, HCP__DEVICE_STATE__DEVICE_FAILED);
	deliver(g);
	run_s(g, 4);
	assert_int_equal(a->mode[0], HCP__MODE__OFF);
	/* Somebody starts it by hand: it is told again. */
	a->mode[0] = a->shown[0] = HCP__MODE__SERVE;
	run_s(g, 60);
	assert_int_equal(a->mode[0], HCP__MODE__OFF);
	snprintf(a->feed, sizeof(a->feed), "south");
	hello(g, a);
	DEVICE(g, "n1/d0", state, HCP__DEVICE_STATE__IDLE);
	assert_int_equal(level_w(g, "north"), 0);
	run_s(g, 4);
	place(g, "al-2", 2, gang, 1);
	deliver(g);
	run_s(g, 4);
	alloc_state(g, HCP__ALLOCATION_STATE__HELD);
	rig_free(g);
}

static void watts_rise_no_faster_than_the_inrush_allows(void **state)
{
	static const struct resources_budget row[] = {
		{ .facility = "east", .budget_w = 100000, .path = "north", .inrush_w = 8000 },
		{ .facility = "east", .budget_w = 70000, .path = "south" },
	};
	static const struct resources_conf c = { .budgets = row, .n_budgets = 2 };
	struct rig *g = rig_new(NULL, &c);
	struct agent *n = add(g, "n1", "S21", 10, "north"), *s = add(g, "s1", "S21", 10, "south");
	run_s(g, 6);
	direct(g, "east", "S21", 0, 20, 0);
	deliver(g);
	int64_t last_w = level_w(g, "north");
	int steps = 0;
	for (int t = 0; t < 40; t++) {
		int64_t before_w = level_w(g, "north");
		for (int k = 0; k < 5; k++) {
			g->now += S;
			settle(g);
		}
		report(g, n);
		report(g, s);
		deliver(g);
		int64_t now_w = level_w(g, "north");
		assert_true(now_w - before_w <= 8000 + 8000); /* a window may begin and end in these five seconds */
		steps += now_w > before_w;
		last_w = now_w;
	}
	assert_int_equal(last_w, 35000);
	assert_true(steps >= 4);
	/* A gang that could never start is refused at once, for the place, not for the moment. */
	static const struct resources_budget tight[] = {
		{ .facility = "east", .budget_w = 9000, .path = "north", .inrush_w = 1000 },
	};
	static const struct resources_conf tc = { .budgets = tight, .n_budgets = 1 };
	rig_free(g);
	g = rig_new(NULL, &tc);
	add(g, "n1", "H100", 4, "north");
	run_s(g, 6);
	const char *gang[] = { "n1/d0", "n1/d1", "n1/d2" };
	place(g, "al-1", 3, gang, 1);
	const Hcp__AllocationChanged *end = alloc_state(g, HCP__ALLOCATION_STATE__REFUSED);
	assert_non_null(strstr(end->reason, "north"));
	assert_string_equal(end->unfit_device_id, "n1/d0");
	rig_free(g);
	/* Restored without a limit of its own: in tenths. */
	g = rig_new(NULL, &c);
	s = add(g, "s1", "S21", 10, "south");
	direct(g, "east", "S21", 0, 10, 0);
	deliver(g);
	run_s(g, 6);
	assert_int_equal(agents_in(g, HCP__MODE__FILL), 10);
	trip(g, "south", false);
	deliver(g);
	run_s(g, 6);
	assert_int_equal(agents_in(g, HCP__MODE__FILL), 0);
	trip(g, "south", true);
	deliver(g);
	assert_true(agents_in(g, HCP__MODE__FILL) <= 2);
	run_s(g, 16);
	assert_in_range(agents_in(g, HCP__MODE__FILL), 4, 9);
	run_s(g, 60);
	assert_int_equal(agents_in(g, HCP__MODE__FILL), 10);
	rig_free(g);
}

static void people_see_every_level(void **state)
{
	struct rig *g = rig_new(NULL, &conf);
	add(g, "rack-1-a", "H100", 2, "");
	add(g, "s1", "S21", 1, "");
	direct(g, "east", "S21", 0, 1, 0);
	deliver(g);
	run_s(g, 4);
	trip(g, "north", false);
	Hcp__PowerGet q = HCP__POWER_GET__INIT;
	struct msg *m = ask_as(g, MSG_POWER_GET, &q.base, NULL);
	assert_int_equal(m->type, MSG_POWER);
	const Hcp__Power *p = (void *)m->body;
	static const char *const path[] = { "", "north", "north/p1", "south" }, *const said[] = { "on", "tripped", "dead",
		"on" };
	static const int devices[] = { 3, 2, 2, 1 };
	assert_int_equal(p->n_levels, 4);
	for (int i = 0; i < 4; i++) {
		assert_string_equal(p->levels[i]->path, path[i]);
		assert_string_equal(p->levels[i]->state, said[i]);
		assert_int_equal(p->levels[i]->devices, devices[i]);
		assert_int_equal(p->levels[i]->reserved_w, level_w(g, path[i]));
	}
	assert_int_equal(p->levels[3]->measured_w, 3500);
	assert_int_equal(p->levels[3]->budget_w, 4000);
	assert_int_equal(p->levels[1]->cap_w, 0);
	assert_string_equal(p->levels[1]->reason, "breaker 52-N open");
	msg_free(m);
	trip(g, "", false);
	refused(g, "invalid", "path");
	trip(g, "nowhere", false);
	refused(g, "not_found", "path");
	q.facility = "nowhere";
	m = ask_as(g, MSG_POWER_GET, &q.base, NULL);
	assert_int_equal(m->type, MSG_PROBLEM);
	msg_free(m);
	rig_free(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nodes_hang_where_they_say_or_by_the_rule),
		cmocka_unit_test(no_level_is_ever_above_its_budget),
		cmocka_unit_test(sheds_the_least_efficient_of_the_level),
		cmocka_unit_test(a_trip_refuses_a_gang_and_frees_no_watt_by_itself),
		cmocka_unit_test(a_lost_node_behind_a_dead_feeder_comes_back_with_both),
		cmocka_unit_test(a_node_that_moves_is_as_its_feeder_is),
		cmocka_unit_test(watts_rise_no_faster_than_the_inrush_allows),
		cmocka_unit_test(people_see_every_level),
	};
	return cmocka_run_group_tests_name("resources_feeders", tests, NULL, NULL);
}
