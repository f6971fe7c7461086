/*
 * The platform under real prices: recorded market data in virtual time, each value when it became known, no faults. At
 * the end the machines' own counters must show the hours that an independent reading of the same data demands, and the
 * books must add up.
 */
#include "real_prices.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/panic.h"
#include "base/timefmt.h"
#include "econ/btc.h"
#include "model/device_class.h"
#include "net.h"
#include "services/billing/billing.h"
#include "services/optimizer/optimizer.h"
#include "services/orchestrator/orchestrator.h"
#include "services/resources/resources.h"
#include "services/router/router.h"
#include "sim/replay_files.h"
#include "tutor/lesson.h"
#include "watch.h"

enum {
	REAL_REPORT_MS = 60000,  /* agents report, and services look around, once a minute: months pass in seconds */
	REAL_RESERVED = 2,       /* GPUs that a customer holds all the time */
	REAL_CLASSES = 3,
};
#define REAL_PUE 1.05
#define REAL_POOL_FEE 0.01
#define REAL_HYSTERESIS 0.10
#define REAL_HORIZON_H (OPTIMIZER_HORIZON_S / 3600.0)

/* What a class of machines should do by the prices: mine while that earns more than standing idle, with hysteresis. */
struct rule {
	const struct device_class *cls;
	int32_t free;            /* devices that no customer holds */
	bool mines, known;
	int64_t mine_ns, idle_ns, since_ns;
	int switches;
};

struct real {
	struct sim sim;
	struct replay replay;
	struct sim_tick ahead;
	bool more;
	double power_usd_mwh, btc_usd, difficulty, fees_btc;
	struct rule rule[REAL_CLASSES];
	struct svc_def def[SVC_COUNT]; /* the services' own, but with slower timers */
	struct net_fleet fleet[REAL_CLASSES];
	char workload[ID_TEXT_MAX];
	int lessons; /* models trained */
};

static const struct net_fleet full_fleet[REAL_CLASSES] = {
	{ "r-s21", "west", "S21", 100, NULL },
	{ "r-xp", "west", "S19XP", 50, NULL },
	{ "r-h100", "west", "H100", 4, NULL },
};

/* ---- the rule, by the break-even of ECON-2 ---- */

static double mine_usd_h(const struct real *r, const struct device_class *c, int64_t now_ns)
{
	double reward_btc = (double)btc_subsidy_sats_at(now_ns) / 1e8 + r->fees_btc;
	double usd_th_h = 3600e12 / (r->difficulty * 4294967296.0) * reward_btc * (1 - REAL_POOL_FEE) * r->btc_usd;
	return c->fill_ths * usd_th_h - c->power_w[DEVICE_FILL] / 1e6 * REAL_PUE * r->power_usd_mwh - c->wear_usd_h;
}

static double idle_usd_h(const struct real *r, const struct device_class *c)
{
	return -c->power_w[DEVICE_IDLE] / 1e6 * REAL_PUE * r->power_usd_mwh;
}

/* A switch pays if what it gains within the horizon exceeds a tenth of what is earned now and what the switch costs. */
static bool pays(const struct real *r, const struct rule *x, int64_t now_ns)
{
	const struct device_class *c = x->cls;
	enum device_mode to = x->mines ? DEVICE_IDLE : DEVICE_FILL;
	double mine = mine_usd_h(r, c, now_ns), idle = idle_usd_h(r, c);
	double now = x->mines ? mine : idle, then = x->mines ? idle : mine;
	double energy = fmax(0, c->power_w[to] / 1e6 * REAL_PUE * r->power_usd_mwh);
	double cost = (double)c->switch_ms[to] / 3.6e6 * (fmax(0, mine) + energy);
	return (then - now) * REAL_HORIZON_H > REAL_HYSTERESIS * fabs(now) * REAL_HORIZON_H + cost;
}

static void count(struct rule *x, int64_t now_ns)
{
	*(x->mines ? &x->mine_ns : &x->idle_ns) += now_ns - x->since_ns;
	x->since_ns = now_ns;
}

static void judge(struct real *r, int64_t now_ns)
{
	for (int i = 0; i < REAL_CLASSES && r->difficulty > 0 && r->btc_usd > 0; i++) {
		struct rule *x = &r->rule[i];
		count(x, now_ns);
		if (x->cls->kind != DEVICE_ASIC || !pays(r, x, now_ns))
			continue;
		x->mines = !x->mines;
		x->switches++;
	}
}

/* ---- the feed ---- */

static void note(struct real *r, const struct sim_tick *t)
{
	if (!strcmp(t->symbol, "electricity_rt"))
		r->power_usd_mwh = t->value;
	else if (!strcmp(t->symbol, "btc_usd"))
		r->btc_usd = t->value;
	else if (!strcmp(t->symbol, "difficulty"))
		r->difficulty = t->value;
	else if (!strcmp(t->symbol, "block_fees_btc"))
		r->fees_btc = t->value;
}

static void on_ticks_result(void *arg, struct msg *m)
{
	struct real *r = arg;
	const Hcp__TicksResult *t = (const Hcp__TicksResult *)m->body;
	if (m->type != MSG_TICKS_RESULT)
		sim_fail(&r->sim, "the optimizer does not take prices");
	for (size_t i = 0; i < t->n_problems; i++)
		sim_say(&r->sim, "a recorded value was refused: %s %s", t->problems[i]->field, t->problems[i]->detail);
	msg_free(m);
}

static void feed(struct sim *s, void *arg, uint64_t data)
{
	struct real *r = arg;
	struct msg *m = msg_new(MSG_TICKS);
	Hcp__Ticks *all = (Hcp__Ticks *)m->body;
	while (r->more && r->ahead.observed_at_ns <= s->now_ns && all->n_ticks < OPTIMIZER_TICKS_MAX) {
		Hcp__Tick *k = arena_alloc(&m->arena, sizeof(*k));
		must(k);
		hcp__tick__init(k);
		k->symbol = r->ahead.symbol;
		k->location = arena_strdup(&m->arena, r->ahead.location);
		k->source = r->ahead.source;
		k->value = r->ahead.value;
		k->observed_at_ns = r->ahead.observed_at_ns;
		k->interval_start_ns = r->ahead.interval_start_ns;
		k->interval_s = r->ahead.interval_s;
		must(pb_push(&m->arena, &all->n_ticks, &all->ticks, k) == 0);
		note(r, &r->ahead);
		r->more = replay_next(&r->replay, &r->ahead);
	}
	judge(r, s->now_ns);
	m->reply_fn = on_ticks_result;
	m->reply_arg = r;
	sim_post(s, m);
	if (r->more)
		sim_at(s, r->ahead.observed_at_ns, feed, r, 0);
}

/* ---- a tutor without a thread: asked once a day, done at once ---- */

static void on_taken(void *arg, struct msg *m)
{
	struct real *r = arg;
	struct err err = { 0 };
	if (msg_error(m, &err) < 0)
		sim_fail(&r->sim, "the optimizer does not take a model: %s %s", err.field, err.text);
	msg_free(m);
}

static void on_lesson(void *arg, struct msg *m)
{
	struct real *r = arg;
	const Hcp__Lesson *l = (const Hcp__Lesson *)m->body;
	struct err err = { 0 };
	if (m->type == MSG_LESSON && l->train) {
		struct msg *put = msg_new(MSG_MODEL_PUT);
		if (lesson_train(l, NULL, put, &err) < 0)
			sim_fail(&r->sim, "no lesson %s of %s: %s %s", l->kind, l->name, err.field, err.text);
		r->lessons++;
		put->reply_fn = on_taken;
		put->reply_arg = r;
		sim_post(&r->sim, put);
	}
	msg_free(m);
}

static void teach(struct sim *s, void *arg, uint64_t data)
{
	struct real *r = arg;
	struct msg *m = msg_new(MSG_LESSON_GET);
	Hcp__LessonGet *g = (Hcp__LessonGet *)m->body;
	/* No files. */
	must(pb_push(&m->arena, &g->n_skip, &g->skip, arena_printf(&m->arena, "file/price/%s", r->sim.opts.location)) == 0);
	m->reply_fn = on_lesson;
	m->reply_arg = r;
	sim_post(s, m);
	sim_at(s, s->now_ns + 86400 * NS_PER_S, teach, r, 0);
}

/* ---- one customer who holds two GPUs all the time ---- */

static void on_submitted(void *arg, struct msg *m)
{
	struct real *r = arg;
	if (m->type != MSG_WORKLOAD)
		sim_fail(&r->sim, "the workload was refused");
	snprintf(r->workload, sizeof(r->workload), "%s", ((const Hcp__Workload *)m->body)->id);
	msg_free(m);
}

static void submit(struct sim *s, void *arg, uint64_t data)
{
	static const Hcp__Principal who = { PROTOBUF_C_MESSAGE_INIT(&hcp__principal__descriptor), "usr-1", "cus-1",
		"ops@c1.example", HCP__ROLE__CUSTOMER, 0 };
	struct msg *m = msg_new(MSG_WORKLOAD_SUBMIT);
	Hcp__WorkloadSubmit *w = (Hcp__WorkloadSubmit *)m->body;
	w->type = HCP__WORKLOAD_TYPE__AI_INFERENCE_BATCH;
	w->name = "always on";
	w->model = "all-MiniLM-L6-v2";
	w->device_class = "H100";
	w->device_count = REAL_RESERVED;
	m->principal = &who;
	m->reply_fn = on_submitted;
	m->reply_arg = arg;
	sim_post(s, m);
}

/* ---- the end ---- */

static double hours_of(const struct node *n, enum node_activity a)
{
	int64_t ns = 0;
	for (size_t i = 0; i < n->n_allocs; i++)
		ns += n->allocs[i].meter[a].device_ns;
	return (double)ns / 3600e9;
}

/* Hours that a switch may take from either side: the time to command, ramp and prove it. */
static void expect_hours(const struct real *r, const char *cls, const char *what, double is, double should,
	double slack)
{
	printf("  %-6s %-10s %10.1f h, by the rule %10.1f h\n", cls, what, is, should);
	if (!r->sim.opts.policy && fabs(is - should) > slack)
		sim_fail(&r->sim, "%s: %.1f hours %s, the rule says %.1f (± %.1f)", cls, is, what, should, slack);
}

static void check_hours(struct real *r)
{
	double all_h = (double)(r->sim.now_ns - r->sim.start_ns) / 3600e9;
	for (int i = 0; i < REAL_CLASSES; i++) {
		const struct rule *x = &r->rule[i];
		const struct node *n = &r->sim.net->node[i].node;
		const struct net_fleet *f = &r->fleet[i];
		int held = f->devices - x->free;
		double mine = (double)x->mine_ns / 3600e9 * x->free, serve = all_h * held;
		double slack = (0.5 + 0.05 * x->switches + 0.001 * all_h) * f->devices;
		expect_hours(r, x->cls->name, "mining", hours_of(n, NODE_FILL), mine, slack);
		expect_hours(r, x->cls->name, "serving", hours_of(n, NODE_SERVE), serve, slack);
		expect_hours(r, x->cls->name, "curtailed", hours_of(n, NODE_OFF), all_h * f->devices - mine - serve, slack);
		printf("  %-6s %d switches by the rule\n", x->cls->name, x->switches);
	}
}

static void on_usage(void *arg, struct msg *m)
{
	if (m->type == MSG_USAGE)
		*(int64_t *)arg += ((const Hcp__Usage *)m->body)->total_micros;
	msg_free(m);
}

/* A policy that was taught does much what the rule does, where it does not know better. */
static void check_taught(struct real *r)
{
	printf("  %s: %d models trained\n", r->sim.opts.policy, r->lessons);
	for (int i = 0; i < REAL_CLASSES; i++) {
		const struct rule *x = &r->rule[i];
		double idle = hours_of(&r->sim.net->node[i].node, NODE_OFF), should = (double)x->idle_ns / 3600e9 * x->free;
		if (x->cls->kind == DEVICE_ASIC && (idle < 0.5 * should || idle > 1.5 * should))
			sim_fail(&r->sim, "%s: %.1f hours curtailed, the rule %.1f", x->cls->name, idle, should);
	}
	if (!strcmp(r->sim.opts.policy, "mpc") && !r->lessons)
		sim_fail(&r->sim, "nothing was taught");
}

/* The invoices of the months, as the customer sees them, against all that was booked for device time. */
static void check_invoices(struct real *r)
{
	char last[TIMEFMT_MAX] = "";
	int64_t invoiced = 0, booked = ledger_ai_micros(&r->sim);
	for (int64_t t = r->sim.start_ns; t < r->sim.now_ns + 31 * 86400 * NS_PER_S; t += 15 * 86400 * NS_PER_S) {
		char text[TIMEFMT_MAX];
		timefmt_format(text, t < r->sim.now_ns ? t : r->sim.now_ns);
		text[7] = '\0';
		if (!strcmp(text, last))
			continue;
		memcpy(last, text, sizeof(last));
		struct msg *m = msg_new(MSG_USAGE_GET);
		((Hcp__UsageGet *)m->body)->customer_id = "cus-1";
		((Hcp__UsageGet *)m->body)->month = arena_strdup(&m->arena, text);
		m->reply_fn = on_usage;
		m->reply_arg = &invoiced;
		sim_post(&r->sim, m);
		sim_run_until(&r->sim, r->sim.now_ns);
	}
	printf("  invoices %.6f USD, booked %.6f USD\n", (double)invoiced / 1e6, (double)booked / 1e6);
	if (invoiced != booked || booked == 0)
		sim_fail(&r->sim, "invoices say %lld micro-dollars, the books %lld", (long long)invoiced, (long long)booked);
}

/* ---- setting up ---- */

static void cast(struct real *r)
{
	static const struct resources_conf resources = { .report_ms = REAL_REPORT_MS };
	static const struct site site = { .name = "west", .pue = REAL_PUE, .pool_fee = REAL_POOL_FEE };
	static struct optimizer_conf optimizer = { .site = &site, .n_sites = 1 };
	optimizer.policy = r->sim.opts.policy;
	static const struct billing_conf billing = { .site = &site, .n_sites = 1 };
	static const struct {
		const struct svc_def *def;
		const void *conf;
	} part[] = { { &orchestrator_def, NULL }, { &router_def, NULL }, { &resources_def, &resources },
		     { &optimizer_def, &optimizer }, { &billing_def, &billing } };
	static const struct fleet_rules rules = { 0 };
	for (size_t i = 0; i < sizeof(part) / sizeof(part[0]); i++) {
		struct svc_def *d = &r->def[part[i].def->id];
		*d = *part[i].def;
		if (d->timer_ms && d->timer_ms < REAL_REPORT_MS)
			d->timer_ms = REAL_REPORT_MS;
		sim_add(&r->sim, d, part[i].conf);
	}
	for (int i = 0; i < REAL_CLASSES; i++) {
		r->fleet[i] = full_fleet[i];
		if (full_fleet[i].devices >= 4 * r->sim.opts.scale)
			r->fleet[i].devices /= r->sim.opts.scale;
	}
	net_start(&r->sim, r->fleet, REAL_CLASSES, &rules);
	sim_open_all(&r->sim);
	for (int i = 0; i < REAL_CLASSES; i++)
		r->rule[i] = (struct rule){ .cls = device_class_find(str_of(r->fleet[i].class_name)),
			.since_ns = r->sim.start_ns,
			.free = r->fleet[i].devices - (i == 2 ? REAL_RESERVED : 0) };
}

int real_prices_run(const struct sim_opts *opts)
{
	struct real *r = mem_calloc(1, sizeof(*r));
	struct err err = { 0 };
	int64_t from_ns, to_ns;
	must(r);
	if (timefmt_parse(str_of(opts->from), &from_ns) < 0 || timefmt_parse(str_of(opts->to), &to_ns) < 0 ||
		to_ns <= from_ns) {
		fprintf(stderr, "sim_run: --from and --to must be times, the second after the first\n");
		mem_free(r);
		return 2;
	}
	replay_init(&r->replay, from_ns, to_ns);
	int rc = replay_load_dir(&r->replay, opts->replay_data, opts->location, &err);
	if (rc < 0) {
		fprintf(stderr, "sim_run: %s %s\n", err.field, err.text);
		printf("skipped: no recorded prices in %s\n", opts->replay_data);
		replay_release(&r->replay);
		mem_free(r);
		return rc == HCP_ENOTFOUND ? 77 : 1;
	}
	struct sim_opts o = *opts;
	o.calm = true;
	o.start_ns = from_ns;
	o.base_bytes = SIM_LONG_BASE_BYTES;
	sim_init(&r->sim, &o);
	cast(r);
	r->more = replay_next(&r->replay, &r->ahead);
	sim_at(&r->sim, from_ns, feed, r, 0);
	sim_at(&r->sim, from_ns + 300 * NS_PER_S, submit, r, 0);
	if (opts->policy)
		sim_at(&r->sim, from_ns + 600 * NS_PER_S, teach, r, 0);
	printf("%s to %s at %s:\n", opts->from, opts->to, opts->location);
	sim_run_until(&r->sim, to_ns);
	judge(r, to_ns);
	check_hours(r);
	if (opts->policy)
		check_taught(r);
	ledger_check(&r->sim);
	ledger_print(&r->sim);
	check_invoices(r);
	net_check_joules(&r->sim);
	watch_replays(&r->sim);
	sim_release(&r->sim);
	replay_release(&r->replay);
	mem_free(r);
	return 0;
}
