/*
 * The fleet as a portfolio (ECON-5): what each facility, and all together, would earn in a month like the past ones,
 * how bad it gets, and for how long what serves is best sold. By the optimizer's own history of prices, at a request
 * alone.
 *
 *	days of the last year with prices of all points, BTC and the network
 *	   └▶ day's profit of each facility as it stands now: miners by the price of the quarter-hour before, starts paid;
 *	      allocated devices at their rate; endpoints and waiting work on the spot
 *	        └▶ months of blocks of past days, the same for all ─▶ mean, VaR, CVaR of each and of the sum
 *	   └▶ days of a device sold on the spot, or bound ─▶ econ/contracts
 */
#include <math.h>

#include "base/mem.h"
#include "base/money.h"
#include "econ/btc.h"
#include "econ/contracts.h"
#include "services/optimizer/optimizer_priv.h"

#define STEP_NS (900 * NS_PER_S)
#define DAY_NS (86400 * NS_PER_S)
enum { STEPS = 96, STEPS_KNOWN = 92, MONTH = 30, MONTH_BLOCK = 5, CASES = 1000, BLOCK = 14, WORLDS = 250, SEED = 1 };
enum { FACILITIES_MAX = 32 };
#define CARRY_NS (3 * DAY_NS)
#define RATE_NS (62 * DAY_NS)

/* Discounts as of the example in docs/backtest.md: what customers ask for who bind themselves. */
static const struct contracts_length lengths[] = { { 30, 0.05 }, { 90, 0.1 }, { 180, 0.15 } };

struct book {
	const struct optimizer *o;
	const struct draft *p;
	int64_t day_ns[OPTIMIZER_PORTFOLIO_DAYS]; /* days that are known, oldest first */
	size_t days;
	double *profit; /* owned; [facility][days] */
	double *serve;  /* owned; [pool][CONTRACTS_SERIES][days] */
	const struct draft_row *pool[CONTRACTS_POOLS_MAX];
	size_t n_pools;
};

/* Prices of a day at a facility, those missing as before; the first is that of the quarter-hour before the day. */
static size_t prices_of(const struct optimizer *o, const struct draft_group *g, int64_t day_ns, double ret[STEPS + 1])
{
	const char *point = g->terms.loc ? g->terms.loc->name : "";
	const struct history_series *s = history_find(&o->history, HISTORY_POWER_RT, point);
	double last = history_last(s, day_ns - STEP_NS, DAY_NS, NULL);
	bool fixed = g->terms.site && g->terms.site->fixed;
	size_t known = 0;
	for (int i = 0; i <= STEPS; i++) {
		double v = fixed ? g->power.value : history_at(s, day_ns + (i - 1) * STEP_NS);
		known += i > 0 && !isnan(v);
		last = isnan(v) ? last : v;
		ret[i] = last;
	}
	/* Nothing is known before the first: the first it is. */
	for (int i = STEPS; i-- > 0;)
		ret[i] = isnan(ret[i]) ? ret[i + 1] : ret[i];
	return known;
}

static double hashprice_of(const struct optimizer *o, const struct draft_group *g, int64_t day_ns)
{
	int64_t t = day_ns + DAY_NS / 2;
	double usd = history_last(history_find(&o->history, HISTORY_BTC_USD, ""), t, CARRY_NS, NULL);
	double d = history_last(history_find(&o->history, HISTORY_DIFFICULTY, ""), t, CARRY_NS, NULL);
	double fees = history_last(history_find(&o->history, HISTORY_FEES_BTC, ""), t, CARRY_NS, NULL);
	double reward = (double)btc_subsidy_sats_at(t) / (double)BTC_SATS + (isnan(fees) ? 0 : fees);
	return isnan(usd) || !(d >= 1) ? NAN : btc_per_day(1, d, reward, g->terms.pool_fee) / 24 * usd;
}

static void find_days(struct book *b)
{
	int64_t today_ns = b->p->market_ns / DAY_NS * DAY_NS;
	double price[STEPS + 1];
	for (int64_t k = OPTIMIZER_PORTFOLIO_DAYS; k > 0; k--) {
		int64_t day_ns = today_ns - k * DAY_NS;
		bool known = day_ns > 0;
		for (size_t i = 0; known && i < b->p->n_groups; i++)
			known = !isnan(hashprice_of(b->o, &b->p->group[i], day_ns)) &&
					prices_of(b->o, &b->p->group[i], day_ns, price) >= STEPS_KNOWN;
		if (known)
			b->day_ns[b->days++] = day_ns;
	}
}

/* A device that mines while the last known price says that it pays, from the row of now at the hash price of then. */
static double mine_usd(const struct policy_class *c, double hashprice, double hashprice_now, const double *price)
{
	double gross = c->gross_usd_h[POLICY_MINE] + c->cls->fill_ths * (hashprice - hashprice_now), sum = 0;
	double idle = c->mwh_h[POLICY_IDLE], mine = c->mwh_h[POLICY_MINE];
	bool ran = true;
	for (int i = 1; i <= STEPS; i++) {
		bool runs = c->can[POLICY_MINE] && gross - mine * price[i - 1] > -idle * price[i - 1];
		sum += (runs ? gross - mine * price[i] : -idle * price[i]) / 4;
		sum -= runs && !ran ? c->switch_cost_usd[POLICY_MINE] : 0;
		ran = runs;
	}
	return sum;
}

struct served {
	double spot_usd, cost_usd, rate_usd_h;
};

static struct served serve_day(const struct book *b, const struct draft_row *r, double pue, const double *price,
	int64_t day_ns)
{
	const struct device_class *cls = r->in.cls;
	double rate = history_last(history_find(&b->o->history, HISTORY_GPU_RATE, cls->name), day_ns, RATE_NS, NULL);
	double mean = 0, mwh_day = cls->power_w[DEVICE_SERVE] * pue * 24 / 1e6;
	struct served s = { .rate_usd_h = isnan(rate) ? r->revenue_rate_usd_h : rate };
	for (int i = 1; i <= STEPS; i++)
		mean += price[i] / STEPS;
	s.cost_usd = mwh_day * mean + 24 * cls->wear_usd_h;
	s.spot_usd = 24 * ((s.rate_usd_h - cls->wear_usd_h) * b->o->conf.utilisation - r->in.mwh_h[POLICY_SERVE] * mean);
	return s;
}

static double spot_most(const struct policy_class *c)
{
	return fmin(c->count, (double)c->must_serve + c->want_serve);
}

/* One row's devices on one day, as they are used now. */
static double row_usd(const struct draft_row *r, const struct served *s, double mined_usd)
{
	double must = fmin(r->in.must_serve, r->in.count), spot = fmin(r->in.want_serve, r->in.count - must);
	return must * (24 * s->rate_usd_h - s->cost_usd) + spot * s->spot_usd + (r->in.count - must - spot) * mined_usd;
}

static void book_day(struct book *b, size_t group, size_t d)
{
	const struct draft_group *g = &b->p->group[group];
	double price[STEPS + 1], hashprice = hashprice_of(b->o, g, b->day_ns[d]);
	prices_of(b->o, g, b->day_ns[d], price);
	for (size_t i = 0; i < g->n; i++) {
		const struct draft_row *r = &b->p->row[g->first + i];
		double mined = mine_usd(&r->in, hashprice, profit_hashprice_usd_ths_h(&g->pm), price);
		struct served s = { 0 };
		if (r->in.can[POLICY_SERVE])
			s = serve_day(b, r, g->terms.pue, price, b->day_ns[d]);
		b->profit[group * b->days + d] += row_usd(r, &s, mined);
		for (size_t k = 0; k < b->n_pools; k++) {
			double *to = b->serve + k * CONTRACTS_SERIES * b->days + d;
			if (b->pool[k] != r)
				continue;
			to[CONTRACTS_SPOT * b->days] = s.spot_usd;
			to[CONTRACTS_COST * b->days] = s.cost_usd;
			to[CONTRACTS_RATE * b->days] = s.rate_usd_h;
		}
	}
}

/* ---- months ---- */

static int add_facility(struct arena *a, const char *name, double *profit, Hcp__Portfolio *out, struct err *err)
{
	Hcp__PortfolioFacility *f = arena_alloc(a, sizeof(*f));
	struct risk_measure m;
	if (!f)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	int rc = risk_measure(profit, CASES, RISK_LEVEL, &m, err);
	if (rc < 0)
		return rc;
	hcp__portfolio_facility__init(f);
	f->facility = arena_strdup(a, name);
	f->mean_usd = m.mean;
	f->deviation_usd = m.deviation;
	f->worst_usd = m.worst;
	f->var_usd = m.var;
	f->cvar_usd = m.cvar;
	return f->facility ? pb_push(a, &out->n_facilities, &out->facilities, f) : HCP_ENOMEM;
}

static int months(const struct book *b, struct arena *a, Hcp__Portfolio *out, struct err *err)
{
	size_t n = b->p->n_groups;
	const struct risk_terms t = { .series = n, .days = b->days, .term = MONTH, .block = MONTH_BLOCK, .cases = CASES };
	double *path = mem_calloc(CASES * n * MONTH, sizeof(*path)), *sum = mem_calloc(2 * CASES, sizeof(*sum));
	double *all = sum ? sum + CASES : NULL;
	struct rng rng;
	rng_init(&rng, SEED);
	int rc = path && sum ? risk_terms(&t, b->profit, &rng, path, err) : err_set(err, HCP_ENOMEM, "", "out of memory");
	for (size_t f = 0; f < n && rc == 0; f++) {
		for (size_t i = 0; i < CASES; i++) {
			sum[i] = 0;
			for (size_t d = 0; d < MONTH; d++)
				sum[i] += path[(i * n + f) * MONTH + d];
			all[i] += sum[i];
		}
		rc = add_facility(a, b->p->group[f].facility, sum, out, err);
	}
	if (rc == 0)
		rc = add_facility(a, "", all, out, err);
	mem_free(path);
	mem_free(sum);
	return rc;
}

/* ---- contracts ---- */

static int add_choices(const struct book *b, const struct contracts_market *m, const struct contracts *c,
	struct arena *a, Hcp__Portfolio *out)
{
	size_t choices = 1 + m->n_lengths;
	for (size_t i = 0; i < m->n * choices; i++) {
		Hcp__PortfolioChoice *to = arena_alloc(a, sizeof(*to));
		const struct draft_row *r = b->pool[i / choices];
		if (!to)
			return HCP_ENOMEM;
		hcp__portfolio_choice__init(to);
		to->facility = arena_strdup(a, r->cap->facility);
		to->device_class = r->in.cls->name;
		to->days = i % choices ? (int32_t)m->length[i % choices - 1].days : 0;
		to->discount = i % choices ? m->length[i % choices - 1].discount : 0;
		to->devices = c->best.units[i];
		to->share = r->in.count ? c->best.units[i] / r->in.count : 0;
		to->mean_usd_device = c->mean_usd[i];
		if (!to->facility || pb_push(a, &out->n_choices, &out->choices, to) < 0)
			return HCP_ENOMEM;
	}
	out->term_days = (int32_t)m->term;
	out->mean_usd = c->best.profit.mean;
	out->var_usd = c->best.profit.var;
	out->cvar_usd = c->best.profit.cvar;
	out->worth_usd = c->best.worth_usd;
	return 0;
}

static int contracts(const struct book *b, struct arena *a, Hcp__Portfolio *out, struct err *err)
{
	struct contracts_market m = { .days = b->days, .block = BLOCK, .cases = WORLDS, .day = b->serve, .seed = SEED,
		.n = b->n_pools, .aversion = out->aversion };
	struct contracts *c = mem_calloc(1, sizeof(*c));
	for (size_t k = 0; k < b->n_pools; k++)
		m.pool[k] =
			(struct contracts_pool){ b->pool[k]->in.cls->name, b->pool[k]->in.count, spot_most(&b->pool[k]->in) };
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]) && lengths[i].days <= b->days; i++) {
		m.length[m.n_lengths++] = lengths[i];
		m.term = lengths[i].days;
	}
	int rc = c ? contracts_solve(&m, c, err) : err_set(err, HCP_ENOMEM, "", "out of memory");
	rc = rc ? rc : add_choices(b, &m, c, a, out);
	mem_free(c);
	return rc;
}

/* ---- the question ---- */

static void find_pools(struct book *b)
{
	for (size_t i = 0; i < b->p->n_rows && b->n_pools < CONTRACTS_POOLS_MAX; i++)
		if (b->p->row[i].in.can[POLICY_SERVE] && b->p->row[i].in.count > 0)
			b->pool[b->n_pools++] = &b->p->row[i];
}

static int fill(struct book *b, struct arena *a, Hcp__Portfolio *out, struct err *err)
{
	find_days(b);
	find_pools(b);
	out->days_known = (int32_t)b->days;
	out->month_days = MONTH;
	out->cases = CASES;
	if (b->days < MONTH) {
		out->reason = arena_printf(
			a, "%zu days of prices of all facilities, BTC and the network are known; it takes %d.", b->days, MONTH);
		return out->reason ? 0 : HCP_ENOMEM;
	}
	b->profit = mem_calloc(b->p->n_groups * b->days, sizeof(*b->profit));
	b->serve = mem_calloc((b->n_pools + 1) * CONTRACTS_SERIES * b->days, sizeof(*b->serve));
	if (!b->profit || !b->serve)
		return err_set(err, HCP_ENOMEM, "", "no memory for %zu days", b->days);
	for (size_t g = 0; g < b->p->n_groups; g++)
		for (size_t d = 0; d < b->days; d++)
			book_day(b, g, d);
	int rc = months(b, a, out, err);
	return rc == 0 && b->n_pools ? contracts(b, a, out, err) : rc;
}

int optimizer_on_portfolio(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	struct optimizer *o = state;
	const Hcp__PortfolioGet *q = (const Hcp__PortfolioGet *)m->body;
	struct draft p = { .trigger = "", .market_ns = optimizer_market_now_ns(o, svc_now_ns(ctx)) };
	struct err why = { 0 };
	if (!(q->aversion >= 0 && q->aversion <= 1))
		return err_set(err, HCP_ERANGE, "aversion", "must be 0 to 1");
	int rc = optimizer_draft_rows(o, ctx, &p, true, err);
	if (rc < 0)
		return rc;
	if (p.n_groups == 0 || p.n_groups > FACILITIES_MAX)
		return err_set(err, p.n_groups ? HCP_ELIMIT : HCP_ENOTFOUND, "", "%zu facilities are known; it takes 1 to %d",
			p.n_groups, FACILITIES_MAX);
	Hcp__Portfolio *out = svc_reply(ctx, MSG_PORTFOLIO);
	struct book *b = arena_calloc(svc_arena(ctx), sizeof(*b));
	if (!out || !b)
		return HCP_ENOMEM;
	b->o = o;
	b->p = &p;
	out->market_time_ns = p.market_ns;
	out->aversion = q->aversion > 0 ? q->aversion : o->conf.risk_aversion;
	rc = fill(b, svc_reply_arena(ctx), out, &why);
	mem_free(b->profit);
	mem_free(b->serve);
	return rc < 0 ? err_set(err, rc, why.field, "%s", why.text[0] ? why.text : "out of memory") : 0;
}
