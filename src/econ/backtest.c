#include "econ/backtest.h"

#include <math.h>

#include "base/mem.h"
#include "base/money.h"
#include "base/panic.h"
#include "econ/backtest_priv.h"
#include "econ/btc.h"
#include "econ/clairvoyant.h"
#include "econ/market.h"
#include "econ/nets.h"
#include "model/offer.h"

#define HOUR_NS (INT64_C(3600) * NS_PER_S)
#define DAY_NS (24 * HOUR_NS)
#define RATE_AGE_NS (400 * DAY_NS) /* a month's list price holds until the next is known */

/* ---- truth ---- */

static bool is_truth(const struct backtest *b, const struct backtest_tick *t)
{
	switch (t->kind) {
	case HISTORY_POWER_RT:
		return !b->site.fixed && strcmp(t->location, b->site.point) == 0;
	case HISTORY_BTC_USD:
	case HISTORY_DIFFICULTY:
	case HISTORY_SUBSIDY_BTC:
	case HISTORY_FEES_BTC:
	case HISTORY_DEMAND:
	case HISTORY_GPU_RATE:
	case HISTORY_ANCILLARY:
		return true;
	default:
		return false;
	}
}

/* A tick that a history refuses is bad for everyone; lack of memory is not. */
static int add_tick(struct history *h, const struct backtest_tick *t, uint64_t *bad, struct err *err)
{
	int rc = history_add(h, t->kind, t->location, t->start_ns, t->step_ns, t->value, err);
	if (rc == HCP_ENOMEM)
		return rc;
	*bad += rc < 0;
	return 0;
}

static int collect(const struct backtest *b, const struct backtest_feed *feed, struct history *h, struct err *err)
{
	struct backtest_tick t;
	uint64_t bad = 0;
	for (size_t i = 0; feed->at(feed->ctx, i, &t); i++) {
		if (!is_truth(b, &t) || t.start_ns < b->from_ns - RATE_AGE_NS)
			continue;
		int rc = add_tick(h, &t, &bad, err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static double spot_usd_h(const struct history *h, const struct site_group *g, int64_t t_ns)
{
	const struct history_series *s = history_find(h, HISTORY_GPU_RATE, g->cls->name);
	double rate = history_last(s, t_ns, RATE_AGE_NS, NULL);
	return isnan(rate) ? g->cls->list_usd_h : rate;
}

/* Share of the spot demand's height that is wanted; all of it where nothing is known of demand. */
static double demand_share(const struct history *h, int64_t t_ns)
{
	double share = history_last(history_find(h, HISTORY_DEMAND, ""), t_ns, DAY_NS, NULL);
	return isnan(share) ? 1 : fmin(1, fmax(0, share));
}

static double offer_usd_mw_h(const struct history *h, const struct site_offer *o, int64_t t_ns)
{
	if (!offer_is_open(o, t_ns))
		return -1;
	/* The next day's may be known already: of the hour itself and no other. */
	return o->fixed ? o->price_usd_mw_h : history_at(history_find(h, HISTORY_ANCILLARY, o->service), t_ns);
}

static void settle(struct backtest *b, const struct history *h)
{
	const struct history_series *price = history_find(h, HISTORY_POWER_RT, b->site.point);
	const struct history_series *btc = history_find(h, HISTORY_BTC_USD, "");
	const struct history_series *difficulty = history_find(h, HISTORY_DIFFICULTY, "");
	const struct history_series *subsidy = history_find(h, HISTORY_SUBSIDY_BTC, "");
	const struct history_series *fees = history_find(h, HISTORY_FEES_BTC, "");
	for (size_t i = 0; i < b->n; i++) {
		int64_t t = backtest_time(b, i);
		double usd_mwh = b->site.fixed ? b->site.tariff_usd_mwh : history_at(price, t);
		double usd = history_last(btc, t, BACKTEST_CARRY_NS, NULL);
		double d = history_last(difficulty, t, BACKTEST_CARRY_NS, NULL);
		double reward = history_last(subsidy, t, BACKTEST_CARRY_NS, NULL);
		double fee = history_last(fees, t, BACKTEST_CARRY_NS, NULL);
		if (isnan(reward))
			reward = (double)btc_subsidy_sats_at(t) / (double)BTC_SATS;
		reward += isnan(fee) ? 0 : fee;
		b->demand[i] = demand_share(h, t);
		bool known = !isnan(usd_mwh) && !isnan(usd) && d >= 1;
		b->price_usd_mwh[i] = known ? usd_mwh : NAN;
		b->hashprice_usd_ths_h[i] = known ? btc_per_day(1, d, reward, b->site.pool_fee) / 24 * usd : NAN;
		b->priced += known;
		for (size_t k = 0; k < b->site.n_offers; k++)
			b->offer_usd_mw_h[k * b->n + i] = offer_usd_mw_h(h, &b->site.offer[k], t);
		for (size_t k = 0; k < b->site.n_groups; k++)
			b->spot_usd_h[k * b->n + i] = spot_usd_h(h, &b->site.group[k], t);
	}
}

/* Of groups behind a limit that binds, one kind of miner keeps the plan exact (clairvoyant.h). */
static bool is_exact(const struct backtest *b)
{
	const struct device_class *kind = NULL;
	bool several = false;
	for (size_t k = 0; k < b->site.n_groups; k++) {
		const struct site_group *g = &b->site.group[k];
		if (g->serves)
			continue;
		several |= kind != NULL;
		kind = g->cls;
	}
	return !b->limited || !several;
}

static int check_conf(const struct backtest_conf *c, struct err *err)
{
	if (c->from_ns < 0 || c->from_ns % BACKTEST_STEP_NS != 0)
		return err_set(err, HCP_EINVAL, "from", "must be a whole quarter-hour after 1970");
	if (c->to_ns <= c->from_ns || c->to_ns % BACKTEST_STEP_NS != 0)
		return err_set(err, HCP_EINVAL, "to", "must be a whole quarter-hour after the beginning");
	if ((c->to_ns - c->from_ns) / BACKTEST_STEP_NS > BACKTEST_INTERVALS_MAX)
		return err_set(err, HCP_ERANGE, "to", "at most %d quarter-hours", BACKTEST_INTERVALS_MAX);
	if (c->horizon_ns <= 0 || c->horizon_ns > 7 * DAY_NS)
		return err_set(err, HCP_ERANGE, "horizon", "must be above 0 and at most 7 days");
	return site_validate(c->site, err);
}

int backtest_new(
	const struct backtest_conf *conf, const struct backtest_feed *feed, struct backtest **ret, struct err *err)
{
	struct history h;
	int rc = check_conf(conf, err);
	if (rc < 0)
		return rc;
	struct backtest *b = mem_calloc(1, sizeof(*b));
	if (!b)
		return err_set(err, HCP_ENOMEM, "", "no memory for a backtest");
	*b = (struct backtest){ .site = *conf->site,
		.from_ns = conf->from_ns,
		.step_ns = BACKTEST_STEP_NS,
		.horizon_ns = conf->horizon_ns,
		.n = (size_t)((conf->to_ns - conf->from_ns) / BACKTEST_STEP_NS) };
	b->price_usd_mwh = mem_calloc(b->n, sizeof(double));
	b->hashprice_usd_ths_h = mem_calloc(b->n, sizeof(double));
	b->demand = mem_calloc(b->n, sizeof(double));
	b->spot_usd_h = mem_calloc(b->n * b->site.n_groups, sizeof(double));
	b->offer_usd_mw_h = mem_calloc(b->n * (b->site.n_offers + 1), sizeof(double));
	history_init(&h);
	if (!b->price_usd_mwh || !b->hashprice_usd_ths_h || !b->demand || !b->spot_usd_h || !b->offer_usd_mw_h)
		rc = err_set(err, HCP_ENOMEM, "", "no memory for %zu intervals", b->n);
	if (rc == 0)
		rc = collect(b, feed, &h, err);
	if (rc == 0) {
		settle(b, &h);
		b->limited = site_energised(&b->site, b->energised);
		b->exact = is_exact(b);
		rc = b->priced ? backtest_calls_init(b, conf, err) : 0;
		if (b->priced == 0)
			rc = err_set(err, HCP_ENOTFOUND, "from",
				"no interval of the range has both an electricity price%s%s and "
				"the Bitcoin network's values",
				b->site.fixed ? "" : " of ", b->site.point);
	}
	history_release(&h);
	if (rc < 0) {
		backtest_free(b);
		return rc;
	}
	*ret = b;
	return 0;
}

void backtest_free(struct backtest *b)
{
	if (!b)
		return;
	mem_free(b->price_usd_mwh);
	mem_free(b->hashprice_usd_ths_h);
	mem_free(b->demand);
	mem_free(b->spot_usd_h);
	mem_free(b->offer_usd_mw_h);
	mem_free(b->call);
	mem_free(b);
}

void backtest_coverage(const struct backtest *b, struct backtest_coverage *ret)
{
	*ret =
		(struct backtest_coverage){ .intervals = b->n, .priced = b->priced, .limited = b->limited, .exact = b->exact };
	memcpy(ret->energised, b->energised, sizeof(ret->energised));
	for (size_t i = 0; i < b->n; i++) {
		if (isnan(b->price_usd_mwh[i]))
			continue;
		ret->first_ns = ret->first_ns ? ret->first_ns : backtest_time(b, i);
		ret->last_ns = backtest_time(b, i);
	}
}

const double *backtest_prices(const struct backtest *b)
{
	return b->price_usd_mwh;
}

size_t backtest_days(const struct backtest *b)
{
	return (size_t)((backtest_time(b, b->n - 1) / DAY_NS) - b->from_ns / DAY_NS + 1);
}

void backtest_serving(const struct backtest *b, size_t group, struct backtest_serving_day *ret)
{
	const struct site_group *g = &b->site.group[group];
	const double *w = g->cls->power_w;
	double hours = (double)b->step_ns / (double)HOUR_NS;
	memset(ret, 0, backtest_days(b) * sizeof(*ret));
	size_t last = SIZE_MAX, seen = 0;
	for (size_t i = 0; i < b->n; i++) {
		size_t day = (size_t)(backtest_time(b, i) / DAY_NS - b->from_ns / DAY_NS);
		double rate = b->spot_usd_h[group * b->n + i], share = b->demand[i], price = b->price_usd_mwh[i];
		seen = day == last ? seen + 1 : 1;
		last = day;
		ret[day].rate_usd_h += (rate - ret[day].rate_usd_h) / (double)seen;
		if (isnan(price))
			continue;
		double usd_w = b->site.pue / 1e6 * price * hours;
		ret[day].cost_usd += w[DEVICE_SERVE] * usd_w + g->cls->wear_usd_h * hours;
		ret[day].spot_usd += share * (rate - g->cls->wear_usd_h) * hours -
							 (w[DEVICE_IDLE] + share * (w[DEVICE_SERVE] - w[DEVICE_IDLE])) * usd_w;
	}
}

void backtest_demand(const struct backtest *b, size_t group, double share, uint32_t *ret_must, uint32_t *ret_want)
{
	const struct site_group *g = &b->site.group[group];
	double n = g->count, room = b->energised[group];
	double contract = g->serves ? fmin(room, floor(n * g->contract_share + 0.5)) : 0;
	double want = g->serves ? fmin(room - contract, floor(n * g->spot_share * share + 0.5)) : 0;
	*ret_must = (uint32_t)contract;
	*ret_want = (uint32_t)want;
}

double backtest_fraction(int64_t profit_micros, int64_t base_micros, int64_t best_micros)
{
	if (best_micros <= base_micros)
		return NAN;
	return (double)(profit_micros - base_micros) / (double)(best_micros - base_micros);
}

/* ---- what a policy sees ---- */

struct view {
	const struct backtest *b;
	struct site site; /* copy: what a policy is shown lies nowhere near the truth */
	struct market market;
	struct history history;
	size_t next; /* tick */
	uint64_t bad;
};

static bool to_market(const struct view *v, const struct backtest_tick *t, struct market_tick *ret)
{
	*ret = (struct market_tick){
		.value = t->value, .observed_at_ns = t->known_ns, .valid_from_ns = t->start_ns, .source = "backtest"
	};
	bool here = strcmp(t->location, v->b->site.point) == 0;
	const struct device_class *c;
	switch (t->kind) {
	case HISTORY_POWER_RT:
		ret->quantity = MARKET_POWER_RT;
		return here;
	case HISTORY_POWER_DA:
		ret->quantity = MARKET_POWER_DA;
		return here;
	case HISTORY_BTC_USD:
		ret->quantity = MARKET_BTC_USD;
		return true;
	case HISTORY_DIFFICULTY:
		ret->quantity = MARKET_DIFFICULTY;
		return true;
	case HISTORY_FEES_BTC:
		ret->quantity = MARKET_FEES_BTC;
		return true;
	case HISTORY_GPU_RATE:
		ret->quantity = MARKET_GPU_RATE;
		c = device_class_find(str_of(t->location));
		ret->device_class = c ? (uint16_t)device_class_index(c) : 0;
		return c != NULL;
	default:
		return false;
	}
}

/* Everything that is known at now. */
static int learn(struct view *v, const struct backtest_feed *feed, int64_t now_ns, struct err *err)
{
	struct backtest_tick t;
	struct market_tick m;
	for (; feed->at(feed->ctx, v->next, &t) && t.known_ns <= now_ns; v->next++) {
		int rc = add_tick(&v->history, &t, &v->bad, err);
		if (rc < 0)
			return rc;
		/* Old values say nothing about now, and the market's clock begins with the range. */
		if (to_market(v, &t, &m) && t.known_ns > v->b->from_ns - RATE_AGE_NS)
			v->bad += market_apply(&v->market, &m, t.known_ns, NULL) < 0;
	}
	return 0;
}

static bool is_ready(const struct view *v)
{
	const struct market_value *m = v->market.v;
	return (v->b->site.fixed || m[MARKET_POWER_RT].known) && m[MARKET_BTC_USD].known && m[MARKET_DIFFICULTY].known;
}

static struct profit_market terms(const struct view *v, int64_t now_ns)
{
	const struct site *s = &v->b->site;
	struct profit_market pm = market_profit_inputs(&v->market, s->pool_fee, s->pue, now_ns);
	if (s->fixed)
		pm.electricity_usd_mwh = s->tariff_usd_mwh;
	return pm;
}

static void fill_class(const struct view *v, const struct run *r, size_t k, size_t i, const struct profit_market *pm,
	double hashprice_usd_ths_h, struct policy_class *c)
{
	const struct backtest *b = v->b;
	const struct site_group *g = &v->site.group[k];
	int64_t now_ns = backtest_time(b, i);
	*c = (struct policy_class){ .cls = g->cls, .group = g, .count = b->energised[k] };
	backtest_demand(b, k, demand_share(&v->history, now_ns), &c->must_serve, &c->want_serve);
	run_count(r, k, c->now);
	run_held(r, k, now_ns, c->held, c->age_ns);
	const struct nets_terms t = { .pm = *pm,
		.hashprice_usd_ths_h = hashprice_usd_ths_h,
		.serve_usd_h = spot_usd_h(&v->history, g, now_ns),
		.utilisation = 1,
		.group = g,
		.modes = true };
	nets_fill(&t, g->mines, g->serves, c);
}

static void guard_take(struct run *r, struct risk_guard *g, size_t i)
{
	if (!(g->capital_usd > 0))
		return;
	(void)risk_guard_add(g, (double)r->books.profit_micros[i] / (double)MICROS_PER_USD);
	r->books.guarded += g->up;
	r->books.deepest = g->deepest;
}

static int decide(struct view *v, struct run *r, size_t i, struct policy *p, struct err *err)
{
	const struct backtest *b = v->b;
	int64_t now_ns = backtest_time(b, i);
	struct policy_output out;
	struct profit_market pm = terms(v, now_ns);
	struct policy_input in = { .now_ns = now_ns,
		.horizon_ns = b->horizon_ns,
		.step_ns = b->step_ns,
		.electricity_usd_mwh = pm.electricity_usd_mwh,
		.btc_usd = pm.btc_usd,
		.difficulty = pm.difficulty,
		.hashprice_usd_ths_h = profit_hashprice_usd_ths_h(&pm),
		.site = &v->site,
		.history = &v->history,
		.n = b->site.n_groups };
	for (size_t k = 0; k < in.n; k++)
		fill_class(v, r, k, i, &pm, in.hashprice_usd_ths_h, &in.c[k]);
	int rc = policy_decide(p, &in, &out, err);
	for (size_t k = 0; rc == 0 && k < in.n; k++) {
		run_switch(r, k, now_ns, out.c[k].target);
		run_mode(r, k, out.c[k].mode);
	}
	return rc;
}

int backtest_run(const struct backtest *b, const struct backtest_feed *feed, struct policy *p,
	const struct risk_guard *with, backtest_progress_fn progress, void *ctx, struct backtest_books *ret,
	struct err *err)
{
	struct run r;
	struct risk_guard guard = with ? *with : (struct risk_guard){ 0 };
	struct policy safest = { 0 };
	struct view *v = mem_calloc(1, sizeof(*v));
	if (!v)
		return err_set(err, HCP_ENOMEM, "", "no memory for a run");
	v->b = b;
	v->site = b->site;
	market_init(&v->market);
	history_init(&v->history);
	int rc = run_init(&r, b, err);
	rc = rc ? rc : policy_init(&safest, policy_find(STR("safest")), NULL, err);
	for (size_t i = 0; rc == 0 && i < b->n; i++) {
		rc = learn(v, feed, backtest_time(b, i), err);
		if (rc == 0 && is_ready(v))
			rc = decide(v, &r, i, guard.up ? &safest : p, err);
		else
			r.books.undecided++;
		if (rc == 0) {
			run_book(&r, i);
			guard_take(&r, &guard, i);
		}
		if (progress && (i + 1) % (b->n / 100 + 1) == 0)
			progress(ctx, i + 1, b->n);
	}
	policy_release(&safest);
	r.books.bad_ticks = v->bad;
	history_release(&v->history);
	mem_free(v);
	rc = rc ? rc : run_finish(&r, ret, err);
	if (rc == 0 && progress)
		progress(ctx, b->n, b->n);
	run_release(&r);
	return rc;
}

/* ---- with hindsight ---- */

/* Serving groups have no start to wait for, so each interval is decided by itself. */
static void serve_best(const struct backtest *b, size_t k, size_t i, uint32_t target[POLICY_USE_END])
{
	const struct site_group *g = &b->site.group[k];
	uint32_t contract = 0, want = 0;
	double drawn_w = g->cls->power_w[DEVICE_SERVE] - g->cls->power_w[g->idle_mode];
	double spot = b->spot_usd_h[k * b->n + i], price = isnan(b->price_usd_mwh[i]) ? 0 : b->price_usd_mwh[i];
	double cost_usd_h = drawn_w / 1e6 * b->site.pue * price + g->cls->wear_usd_h;
	backtest_demand(b, k, b->demand[i], &contract, &want);
	target[POLICY_SERVE] = (g->miss_usd_h >= cost_usd_h ? contract : 0) + (spot >= cost_usd_h ? want : 0);
	target[POLICY_IDLE] = b->energised[k] - target[POLICY_SERVE];
	target[POLICY_MINE] = 0;
}

static struct clairvoyant clairvoyant_of(const struct backtest *b, size_t k)
{
	return (struct clairvoyant){ .group = &b->site.group[k],
		.pue = b->site.pue,
		.step_ns = b->step_ns,
		.n = b->n,
		.price_usd_mwh = b->price_usd_mwh,
		.hashprice_usd_ths_h = b->hashprice_usd_ths_h };
}

static void carry_out(struct run *r, const uint8_t *on, size_t i)
{
	int64_t age_ns[POLICY_USE_END];
	uint32_t held[POLICY_USE_END];
	const struct backtest *b = r->b;
	for (size_t k = 0; k < b->site.n_groups; k++) {
		uint32_t target[POLICY_USE_END] = { 0 };
		bool mines = on[k * b->n + i];
		if (b->site.group[k].serves)
			serve_best(b, k, i, target);
		else
			target[mines ? POLICY_MINE : POLICY_IDLE] = b->energised[k];
		run_switch(r, k, backtest_time(b, i), target);
		if (b->site.group[k].serves)
			continue;
		struct clairvoyant c = clairvoyant_of(b, k);
		run_held(r, k, backtest_time(b, i), held, age_ns);
		run_mode(r, k, clairvoyant_mode(&c, i, age_ns[POLICY_MINE], NULL));
	}
	run_book(r, i);
}

int backtest_clairvoyant(const struct backtest *b, struct backtest_books *ret, struct err *err)
{
	struct run r;
	double usd = 0;
	int rc = run_init(&r, b, err);
	if (rc < 0)
		return rc;
	uint8_t *on = mem_calloc(b->site.n_groups, b->n);
	if (!on)
		rc = err_set(err, HCP_ENOMEM, "", "no memory for a plan of %zu intervals", b->n);
	for (size_t k = 0; rc == 0 && k < b->site.n_groups; k++) {
		const struct clairvoyant c = clairvoyant_of(b, k);
		if (!c.group->serves)
			rc = clairvoyant_plan(&c, on + k * b->n, &usd, err);
	}
	for (size_t i = 0; rc == 0 && i < b->n; i++)
		carry_out(&r, on, i);
	mem_free(on);
	rc = rc ? rc : run_finish(&r, ret, err);
	run_release(&r);
	return rc;
}
