/*
 * Policies that look ahead decide live by models that a tutor has sent, and the drawdown guard; restarts and replays
 * decide the same.
 */
#include <math.h>

#include "drive_priv.h"
#include "base/rng.h"
#include "econ/history.h"
#include "econ/outlook.h"
#include "os/file.h"
#include "services/optimizer/optimizer.h"
#include "tutor/lesson.h"

#define HOUR_NS (3600 * NS_PER_S)
#define DAY_NS (24 * HOUR_NS)
#define STEP_NS (900 * NS_PER_S)
enum { FILLED = 32, FILLED_FOR_MISSES = 60, MINERS = 1000 };

/* 2025-01-12: after what the models that come along were trained on. */
static const int64_t t0 = 20100 * DAY_NS;

struct world {
	struct drive d;
	struct site site;
	struct optimizer_conf conf;
	struct rng rng;
	double price; /* of all that follow; 0: a day's pattern */
	size_t sent;  /* quarter-hours of which the price is known */
	uint32_t mining;
};

static double price_of(struct world *w, size_t i)
{
	double hour = (double)(i % 96) / 4, noise = 3 * rng_normal(&w->rng);
	if (w->price > 0)
		return w->price;
	double dear = hour >= 18 && hour < 20 ? 150 : 0;
	return 35 + 12 * sin((hour - 9) / 24 * 6.283185307) + dear + noise;
}

static void tick(Hcp__Tick *t, const char *symbol, double value, int64_t at_ns, int64_t start_ns, int64_t step_ns)
{
	hcp__tick__init(t);
	t->symbol = symbol;
	t->location = strncmp(symbol, "electricity", 11) == 0 ? "HB_WEST" : "";
	t->value = value;
	t->observed_at_ns = at_ns;
	t->interval_start_ns = start_ns;
	t->interval_s = (int32_t)(step_ns / NS_PER_S);
	t->source = "test";
}

/* The prices of n quarter-hours in one message, the last of them known now. */
static void send(struct world *w, size_t n)
{
	Hcp__Tick *t = mem_calloc(n + 3, sizeof(*t)), **p = mem_calloc(n + 3, sizeof(Hcp__Tick *));
	Hcp__Ticks m = HCP__TICKS__INIT;
	int64_t now_ns = t0 + (int64_t)(w->sent + n) * STEP_NS;
	for (size_t i = 0; i < n; i++, w->sent++) {
		int64_t start_ns = t0 + (int64_t)w->sent * STEP_NS;
		tick(&t[m.n_ticks++], "electricity_rt", price_of(w, w->sent), start_ns + STEP_NS, start_ns, STEP_NS);
	}
	tick(&t[m.n_ticks++], "btc_usd", 60000, now_ns, 0, 0);
	tick(&t[m.n_ticks++], "difficulty", 9e13, now_ns, 0, 0);
	tick(&t[m.n_ticks++], "block_fees_btc", 0.1, now_ns, 0, 0);
	for (size_t i = 0; i < m.n_ticks; i++)
		p[i] = &t[i];
	m.ticks = p;
	w->d.now_ns += NS_PER_S;
	assert_int_equal(((Hcp__TicksResult *)drive_call(&w->d, &m.base))->rejected, 0);
	mem_free(t);
	mem_free(p);
}

static void send_fleet(struct world *w)
{
	Hcp__ClassCapacity c = HCP__CLASS_CAPACITY__INIT, *p[1] = { &c };
	Hcp__CapacityChanged ev = HCP__CAPACITY_CHANGED__INIT;
	c.facility = w->site.name;
	c.device_class = "S21";
	c.total = c.healthy = MINERS;
	c.filling = (int32_t)w->mining;
	ev.n_classes = 1;
	ev.classes = p;
	drive_event(&w->d, SVC_RESOURCES, &ev.base);
}

static Hcp__Decision *latest(struct world *w)
{
	Hcp__DecisionGet g = HCP__DECISION_GET__INIT;
	g.id = "latest";
	return drive_call(&w->d, &g.base);
}

static Hcp__Policy *set_policy(struct world *w, const char *name)
{
	Hcp__PolicySet s = HCP__POLICY_SET__INIT;
	s.policy = name;
	return drive_call(&w->d, &s.base);
}

static void start(struct world *w)
{
	memset(w, 0, sizeof(*w));
	rng_init(&w->rng, 5);
	w->site = (struct site){
		.name = "texas-north", .point = "HB_WEST", .limit_w = 1e9, .pue = 1.05, .pool_fee = 0.01, .n_groups = 1
	};
	w->site.group[0] = (struct site_group){ .name = "a",
		.cls = device_class_find(STR("S21")),
		.count = MINERS,
		.feeder = -1,
		.mines = true,
		.idle_mode = DEVICE_SAFE,
		.boot_ns = 60 * NS_PER_S,
		.ramp_ns = 300 * NS_PER_S,
		.boot_w = 1000,
		.start_wear_usd = 0.02 };
	assert_int_equal(site_validate(&w->site, NULL), 0);
	w->conf = (struct optimizer_conf){ .site = &w->site, .n_sites = 1 };
	w->mining = MINERS;
	drive_init(&w->d, &optimizer_def, &w->conf);
}

/* Filled with the prices of a month under a simple policy, the fleet mining. */
static void start_filled(struct world *w, size_t days)
{
	start(w);
	for (size_t day = 0; day < days; day++)
		send(w, 96);
	send_fleet(w);
}

/* A quarter-hour passes, and the fleet does what was decided. */
static Hcp__Decision *step(struct world *w)
{
	send(w, 1);
	Hcp__Decision *d = latest(w);
	w->mining = (uint32_t)d->targets[0]->mine;
	send_fleet(w);
	return latest(w);
}

/* What is wanted; the answer is the drive's. */
static Hcp__Lesson *lesson(struct world *w, const char *a, const char *b)
{
	Hcp__LessonGet g = HCP__LESSON_GET__INIT;
	const char *skip[2] = { a, b };
	g.skip = skip;
	g.n_skip = (size_t)(a != NULL) + (b != NULL);
	return drive_call(&w->d, &g.base);
}

static struct msg *train_kind(struct world *w, const char *kind)
{
	struct err err = { 0 };
	struct msg *put = msg_new(MSG_MODEL_PUT);
	Hcp__Lesson *l = lesson(w, "file/price/HB_WEST", NULL);
	assert_string_equal(l->kind, kind);
	assert_string_equal(l->name, "HB_WEST");
	assert_true(l->train && l->n_series == 1);
	if (lesson_train(l, NULL, put, &err) < 0)
		fail_msg("%s %s", err.field, err.text);
	return put;
}

static struct msg *train(struct world *w)
{
	return train_kind(w, "forecast");
}

static void learn(struct world *w, const char *kind)
{
	struct msg *put = train_kind(w, kind);
	drive_call(&w->d, put->body);
	msg_free(put);
}

/* The plan of the day stands on the same forecast as the decisions. */
static void plan_and_decision_expect_the_same(struct world *w)
{
	Hcp__PlanGet pg = HCP__PLAN_GET__INIT;
	float mean[OPTIMIZER_FORESIGHT_STEPS];
	pg.id = "latest";
	drive_pass(&w->d, 11 * NS_PER_S);
	const Hcp__DecisionForecast *f = latest(w)->forecasts[0];
	int64_t issued_ns = f->issued_at_ns;
	assert_int_equal(f->n_mean, OPTIMIZER_FORESIGHT_STEPS);
	memcpy(mean, f->mean, sizeof(mean));
	const Hcp__Plan *plan = drive_call(&w->d, &pg.base);
	assert_int_equal(plan->n_steps, 96);
	assert_int_equal(plan->market_time_ns - plan->market_time_ns % STEP_NS, issued_ns);
	for (size_t t = 0; t < plan->n_steps; t++)
		assert_string_equal(plan->steps[t]->price_from, "trees");
	for (size_t t = 0; t < OPTIMIZER_FORESIGHT_STEPS; t++)
		assert_float_equal(plan->steps[t]->usd_mwh, mean[t], 1e-3);
}

static void plans_stand_on_a_model_that_was_sent(void **state)
{
	static struct world w;
	start_filled(&w, FILLED);
	assert_string_equal(lesson(&w, NULL, NULL)->kind, ""); /* a simple policy needs no model */
	assert_string_equal(latest(&w)->forecasts[0]->model, "last_price");
	set_policy(&w, "mpc");
	Hcp__DecisionForecast *f = latest(&w)->forecasts[0];
	assert_string_equal(f->model, "day_before");
	assert_non_null(strstr(f->reason, "28 days"));
	assert_int_equal(f->n_mean, OPTIMIZER_FORESIGHT_STEPS);
	assert_int_equal(f->n_q95, 0);
	assert_string_equal(f->expected_by, "day_before");
	/* The plan of the day, were it kept to, nets this much in the worst twentieth of days like those that were. */
	Hcp__PlanGet pg = HCP__PLAN_GET__INIT;
	pg.id = "latest";
	drive_pass(&w.d, 11 * NS_PER_S);
	const Hcp__Plan *plan = drive_call(&w.d, &pg.base);
	assert_int_equal(plan->risk_cases, 400);
	assert_true(plan->cvar_usd >= plan->var_usd && -plan->cvar_usd < plan->net_usd);
	assert_true(-plan->cvar_usd > plan->net_usd - 24 * 3.5 * 1.05 * 60); /* noise of 3 USD, a pattern that stays */
	/* The model of prices may come from a file, then the forecast is trained. */
	Hcp__Lesson *l = lesson(&w, NULL, NULL);
	assert_string_equal(l->kind, "price");
	assert_false(l->train);
	struct msg *put = train(&w);
	assert_true(((Hcp__ModelPut *)put->body)->body.len > 10000);
	drive_call(&w.d, put->body);
	msg_free(put);
	assert_string_equal(lesson(&w, "file/price/HB_WEST", NULL)->kind, "");
	f = latest(&w)->forecasts[0];
	assert_string_equal(f->model, "persistence");
	assert_non_null(strstr(f->reason, "have been judged"));
	int starts = 0, stops = 0;
	bool by_trees = false;
	for (size_t i = 0; i < 2 * 96; i++) {
		uint32_t before = w.mining;
		Hcp__Decision *d = step(&w);
		starts += w.mining > before;
		stops += w.mining < before;
		f = d->forecasts[0];
		by_trees = strcmp(f->model, "trees") == 0;
		assert_int_equal(f->plan_steps, 24);
		for (size_t t = 0; t < f->n_mean; t++)
			assert_true(
				f->q05[t] <= f->q25[t] && f->q25[t] <= f->q50[t] && f->q50[t] <= f->q75[t] && f->q75[t] <= f->q95[t]);
		if (i == 120 || i == 150)
			drive_restart(&w.d);
	}
	plan_and_decision_expect_the_same(&w);
	f = latest(&w)->forecasts[0];
	/* The dear hours are stood still in, and the model has shown that it is the better one. */
	assert_int_equal(starts, 2);
	assert_int_equal(stops, 2);
	assert_true(by_trees);
	assert_true(f->judged > 96 && f->loss_usd_mwh < f->persistence_loss_usd_mwh);
	assert_non_null(strstr(f->reason, "better than persistence"));
	assert_int_equal(set_policy(&w, "mpc")->n_models, 1);
	drive_replay(&w.d);
	drive_release(&w.d);
}

/*
 * The targets of one day, decided by a service that is opened anew before each of them, or never. put: what it learns,
 * made by whoever comes first.
 */
static void decide_day(const char *policy, bool killed, struct msg *put[2], uint32_t ret[96])
{
	static const char *const kind[2] = { "forecast", "misses" };
	static struct world w;
	bool fan = strcmp(policy, "smpc") == 0;
	start_filled(&w, fan ? FILLED_FOR_MISSES : FILLED);
	set_policy(&w, policy);
	for (size_t k = 0; k < 1 + (size_t)fan; k++) {
		put[k] = put[k] ? put[k] : train_kind(&w, kind[k]);
		drive_call(&w.d, put[k]->body);
	}
	assert_string_equal(lesson(&w, "file/price/HB_WEST", NULL)->kind, "");
	for (size_t i = 0; i < 96; i++) {
		if (killed) {
			svc_abandon(w.d.svc);
			drive_open(&w.d);
		}
		Hcp__Decision *d = step(&w);
		const char *by = d->forecasts[0]->expected_by;
		ret[i] = (uint32_t)d->targets[0]->mine;
		assert_true(strcmp(by, "forecast") == 0 || (fan && strcmp(by, "fan") == 0));
		if (fan && i >= 17 * 4 && i < 19 * 4)
			assert_string_equal(by, "fan");
	}
	drive_replay(&w.d);
	drive_release(&w.d);
}

static void a_crash_changes_no_decision(void **state)
{
	static const char *const policy[] = { "mpc", "smpc" };
	uint32_t whole[96], killed[96];
	for (size_t i = 0; i < 2; i++) {
		struct msg *put[2] = { NULL, NULL };
		decide_day(policy[i], false, put, whole);
		decide_day(policy[i], true, put, killed);
		assert_memory_equal(whole, killed, sizeof(whole));
		assert_true(whole[17 * 4] == MINERS && whole[19 * 4] == 0);
		msg_free(put[0]);
		msg_free(put[1]);
	}
}

/* What a fan stands on is wanted when there is enough to look back on, refused when it is no good, and forgotten. */
static void a_fan_stands_on_misses_that_were_sent(void **state)
{
	static struct world w;
	start_filled(&w, FILLED_FOR_MISSES - 4);
	set_policy(&w, "smpc");
	learn(&w, "forecast");
	assert_string_equal(lesson(&w, "file/price/HB_WEST", NULL)->kind, "");
	for (size_t i = 0; i < 4; i++)
		send(&w, 96);
	struct msg *put = train_kind(&w, "misses");
	Hcp__ModelPut *p = (Hcp__ModelPut *)put->body;
	assert_true(p->body.len > 30 * 96 * 18 * sizeof(float) - 4096);
	p->trained = false;
	drive_refused(&w.d, put->body, "invalid", "trained");
	p->trained = true;
	p->body.data[p->body.len / 2] ^= 1;
	drive_refused(&w.d, put->body, "invalid", "body");
	p->body.data[p->body.len / 2] ^= 1;
	assert_string_not_equal(latest(&w)->forecasts[0]->expected_by, "fan");
	drive_call(&w.d, put->body);
	Hcp__Decision *d = latest(&w);
	assert_string_equal(d->trigger, "model");
	assert_float_equal(d->horizon_s, 3 * 3600, 0);
	assert_int_equal(set_policy(&w, "smpc")->n_models, 2);
	w.d.now_ns += (OPTIMIZER_REWIND_S + 1) * NS_PER_S;
	w.sent = 0;
	send(&w, 1);
	assert_int_equal(drive_scalar(&w.d, "SELECT count(*) FROM model"), 0);
	drive_refused(&w.d, put->body, "wrong_state", "body");
	msg_free(put);
	drive_replay(&w.d);
	drive_release(&w.d);
}

static struct buf model_file(const char *name)
{
	char path[512];
	struct buf b;
	snprintf(path, sizeof(path), "%s/%s", MODELS_DIR, name);
	assert_int_equal(file_read(path, 1 << 20, &b, NULL), 0);
	return b;
}

static void put_file(
	struct world *w, const char *kind, const char *name, struct str body, const char *refused, const char *field)
{
	Hcp__ModelPut p = HCP__MODEL_PUT__INIT;
	p.kind = kind;
	p.name = name;
	p.source = "test";
	p.body = (ProtobufCBinaryData){ body.n, (uint8_t *)body.p };
	if (refused)
		drive_refused(&w->d, &p.base, refused, field);
	else
		drive_call(&w->d, &p.base);
}

static void models_that_come_in_files_decide(void **state)
{
	static struct world w;
	struct buf price = model_file("stochastic-HB_WEST.bin"), net = model_file("ppo-texas-north.bin");
	start_filled(&w, FILLED);
	set_policy(&w, "stochastic");
	assert_string_equal(latest(&w)->forecasts[0]->expected_by, "last_price");
	put_file(&w, "price", "HB_WEST", buf_str(&price), NULL, NULL);
	Hcp__Decision *d = latest(&w);
	assert_string_equal(d->trigger, "model");
	assert_string_equal(d->forecasts[0]->expected_by, "price_model");
	assert_float_equal(d->horizon_s, 900, 0);
	set_policy(&w, "ppo");
	assert_string_equal(latest(&w)->forecasts[0]->expected_by, "last_price");
	assert_string_equal(lesson(&w, NULL, NULL)->kind, "ppo");
	assert_string_equal(lesson(&w, "file/ppo/texas-north", NULL)->kind, "");
	put_file(&w, "ppo", "texas-north", buf_str(&net), NULL, NULL);
	assert_string_equal(latest(&w)->forecasts[0]->expected_by, "net");
	assert_string_equal(lesson(&w, NULL, NULL)->kind, "");
	drive_restart(&w.d);
	for (size_t i = 0; i < 96; i++)
		assert_string_equal(step(&w)->forecasts[0]->expected_by, "net");
	/* What is no good is refused by its field, and what is there stays. */
	put_file(&w, "price", "HB_SOUTH", buf_str(&price), "not_found", "name");
	put_file(&w, "ppo", "elsewhere", buf_str(&net), "not_found", "name");
	put_file(&w, "ppo", "texas-north", buf_str(&price), "invalid", "body");
	put_file(&w, "magic", "HB_WEST", buf_str(&price), "invalid", "kind");
	put_file(&w, "forecast", "HB_WEST", buf_str(&price), "invalid", "trained");
	price.data[price.n / 2] ^= 1;
	put_file(&w, "price", "HB_WEST", buf_str(&price), "invalid", "body");
	assert_int_equal(drive_scalar(&w.d, "SELECT count(*) FROM model"), 2);
	assert_string_equal(step(&w)->forecasts[0]->expected_by, "net");
	drive_replay(&w.d);
	drive_release(&w.d);
	buf_release(&price);
	buf_release(&net);
}

/* A feed that starts over: what was learned of its future is gone, and what is trained meanwhile comes too late. */
static void a_rewound_market_forgets_what_was_learned(void **state)
{
	static struct world w;
	start_filled(&w, FILLED);
	set_policy(&w, "mpc");
	struct msg *put = train(&w);
	drive_call(&w.d, put->body);
	assert_int_equal(drive_scalar(&w.d, "SELECT count(*) FROM model"), 1);
	w.d.now_ns += (OPTIMIZER_REWIND_S + 1) * NS_PER_S;
	w.sent = 0;
	send(&w, 1);
	assert_int_equal(drive_scalar(&w.d, "SELECT count(*) FROM model"), 0);
	assert_string_equal(latest(&w)->forecasts[0]->model, "day_before");
	((Hcp__ModelPut *)put->body)->trained = true;
	drive_refused(&w.d, put->body, "wrong_state", "body");
	assert_string_equal(lesson(&w, "file/price/HB_WEST", NULL)->kind, "");
	msg_free(put);
	drive_replay(&w.d);
	drive_release(&w.d);
}

/* The timer follows, as it does long before the next price. */
static Hcp__Decision *step_and_wait(struct world *w)
{
	(void)step(w);
	drive_pass(&w->d, 11 * NS_PER_S);
	return latest(w);
}

/* A policy that loses money is stopped at a fifth of the capital, and goes on when half of that is won back. */
static void the_guard_limits_a_loss(void **state)
{
	static struct world w;
	start(&w);
	svc_close(w.d.svc);
	w.conf.policy = "always_mine";
	w.conf.capital_usd = 5000;
	drive_open(&w.d);
	send_fleet(&w);
	w.price = 30;
	(void)step_and_wait(&w);
	assert_false(latest(&w)->guard->up);
	assert_float_equal(latest(&w)->guard->limit, 0.2, 1e-12);
	w.price = 1000;
	size_t dear = 0, guarded = 0;
	Hcp__Decision *d = step_and_wait(&w);
	for (; dear < 20 && !d->guard->up; dear++)
		d = step_and_wait(&w);
	assert_true(dear >= 1 && dear <= 3);
	assert_string_equal(d->policy, "safest");
	assert_string_equal(d->forecasts[0]->expected_by, "worst_likely");
	assert_true(d->pays && d->changed && d->targets[0]->idle == MINERS);
	assert_true(d->guard->drawdown >= 0.2 && d->guard->drawdown < 0.45);
	double equity = d->guard->equity_usd;
	drive_restart(&w.d);
	for (int i = 0; i < 4; i++)
		d = step_and_wait(&w);
	assert_true(d->guard->up && equity - d->guard->equity_usd < 100); /* what stands still draws a little */
	w.price = 20;
	for (; guarded < 200 && d->guard->up; guarded++)
		d = step_and_wait(&w);
	assert_true(guarded > 5 && guarded < 200);
	assert_string_equal(d->policy, "always_mine");
	assert_true(d->guard->drawdown <= 0.1 && d->guard->deepest >= 0.2);
	drive_replay(&w.d);
	drive_release(&w.d);
	/* Settings that make no guard are refused. */
	struct optimizer_conf bad = { .capital_usd = 1, .drawdown_limit = 1.5 };
	struct svc_conf conf = { .conf = &bad };
	struct svc *svc;
	struct err err = { 0 };
	assert_true(svc_open(&optimizer_def, &conf, &svc, &err) < 0);
	assert_string_equal(err.field, "drawdown_limit");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_guard_limits_a_loss),
		cmocka_unit_test(plans_stand_on_a_model_that_was_sent),
		cmocka_unit_test(a_crash_changes_no_decision),
		cmocka_unit_test(a_fan_stands_on_misses_that_were_sent),
		cmocka_unit_test(models_that_come_in_files_decide),
		cmocka_unit_test(a_rewound_market_forgets_what_was_learned),
	};
	return cmocka_run_group_tests_name("optimizer_models", tests, NULL, NULL);
}
