/*
 * Load held ready for the grid, and what calls make of it: apart from, and on top of, all other books. A policy neither
 * sees an offer nor a call, so what the miners do beside it is what they would have done anyway.
 */
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "base/money.h"
#include "base/panic.h"
#include "base/rng.h"
#include "econ/backtest_priv.h"
#include "econ/nets.h"
#include "model/ancillary.h"
#include "model/offer.h"

#define YEAR_NS (INT64_C(31557600) * NS_PER_S)

static double hours_of(int64_t ns)
{
	return (double)ns / (3600.0 * (double)NS_PER_S);
}

/* ---- the calls of a backtest ---- */

static bool overlaps(const struct backtest *b, size_t offer, int64_t start_ns, int64_t end_ns)
{
	for (size_t i = 0; i < b->n_calls; i++)
		if (b->call[i].offer == offer && start_ns < b->call[i].end_ns && b->call[i].start_ns < end_ns)
			return true;
	return false;
}

static void add_call(struct backtest *b, size_t offer, int64_t start_ns, int64_t end_ns)
{
	int64_t to_ns = backtest_time(b, b->n);
	if (end_ns > to_ns)
		end_ns = to_ns;
	/* Outside of the range, or of the hours that the load is offered in. */
	if (start_ns < b->from_ns || start_ns >= to_ns ||
		b->offer_usd_mw_h[offer * b->n + (size_t)((start_ns - b->from_ns) / b->step_ns)] < 0)
		return;
	if (b->n_calls < BACKTEST_CALLS_MAX && !overlaps(b, offer, start_ns, end_ns))
		b->call[b->n_calls++] = (struct call){ .offer = offer, .start_ns = start_ns, .end_ns = end_ns };
}

/* The lowest price of the dearest share of the intervals that have one. */
static int scarce_usd_mwh(const struct backtest *b, double *ret, struct err *err)
{
	double *bought = mem_calloc(b->n, sizeof(*bought)); /* profit of who buys a MWh */
	struct risk_measure m = { 0 };
	size_t n = 0;
	if (!bought)
		return err_set(err, HCP_ENOMEM, "", "no memory for %zu prices", b->n);
	for (size_t i = 0; i < b->n; i++)
		if (!isnan(b->price_usd_mwh[i]))
			bought[n++] = -b->price_usd_mwh[i];
	int rc = risk_measure(bought, n, 1 - BACKTEST_SCARCE, &m, err);
	mem_free(bought);
	*ret = m.var;
	return rc;
}

/* Calls come when reserves are short, which is when power is dear: each at a dear quarter-hour drawn at random. */
static void draw_calls(struct backtest *b, double dear_usd_mwh, uint64_t seed)
{
	struct rng rng;
	rng_init(&rng, seed);
	for (size_t k = 0; k < b->site.n_offers; k++) {
		const struct ancillary_service *s = ancillary_of(b->site.offer[k].service);
		double want = s->calls_year * (double)(backtest_time(b, b->n) - b->from_ns) / (double)YEAR_NS;
		size_t n = (size_t)(want + (double)rng_below(&rng, 1000000) / 1e6), seen = 0;
		size_t before = b->n_calls;
		for (size_t i = 0; i < b->n; i++)
			seen += b->price_usd_mwh[i] >= dear_usd_mwh;
		for (size_t tries = 0; seen && b->n_calls - before < n && tries < 100 * n; tries++) {
			size_t nth = (size_t)rng_below(&rng, seen), i = 0;
			while (!(b->price_usd_mwh[i] >= dear_usd_mwh) || nth-- > 0)
				i++;
			add_call(b, k, backtest_time(b, i), backtest_time(b, i) + s->call_s * NS_PER_S);
		}
	}
}

int backtest_calls_init(struct backtest *b, const struct backtest_conf *conf, struct err *err)
{
	double dear = 0;
	if (b->site.n_offers == 0 || (!conf->assume_calls && conf->n_calls == 0))
		return 0;
	b->call = mem_calloc(BACKTEST_CALLS_MAX, sizeof(*b->call));
	if (!b->call)
		return err_set(err, HCP_ENOMEM, "", "no memory for calls");
	for (size_t i = 0; i < conf->n_calls; i++)
		for (size_t k = 0; k < b->site.n_offers; k++)
			if (!strcmp(b->site.offer[k].service, conf->calls[i].service))
				add_call(b, k, conf->calls[i].start_ns, conf->calls[i].end_ns);
	if (!conf->assume_calls)
		return 0;
	int rc = scarce_usd_mwh(b, &dear, err);
	if (rc == 0)
		draw_calls(b, dear, conf->calls_seed);
	return rc;
}

/* ---- what miners can drop ---- */

/* Devices of each group that mine past their start in an interval; what is taken for one call is not there for another.
 */
struct drop {
	double n[SITE_GROUPS_MAX];
	double mw[SITE_GROUPS_MAX]; /* at the meter, of one device */
};

static double drop_init(const struct run *r, size_t i, struct drop *d)
{
	double mw = 0;
	*d = (struct drop){ 0 };
	for (size_t k = 0; k < r->b->site.n_groups; k++) {
		const struct group_state *s = &r->group[k];
		d->mw[k] = (site_mode_at(s->g, s->mode).watts - s->g->cls->power_w[s->g->idle_mode]) * r->b->site.pue / 1e6;
		for (size_t j = 0; j < s->k.n && !s->g->serves; j++)
			if (s->k.c[j].use == POLICY_MINE &&
				cohort_age_ns(&s->k.c[j], backtest_time(r->b, i)) >= site_start_ns(s->g))
				d->n[k] += s->k.c[j].n;
		mw += d->n[k] * d->mw[k];
	}
	return mw;
}

static double joules_a_hash(const struct group_state *s)
{
	struct site_mode m = site_mode_at(s->g, s->mode);
	return m.ths > 0 ? m.watts / m.ths : INFINITY;
}

/* The group that loses least for the power it lets go, of those that have devices left; n_groups: none. */
static size_t worst_group(const struct run *r, const struct drop *d)
{
	size_t worst = r->b->site.n_groups;
	for (size_t k = 0; k < r->b->site.n_groups; k++)
		if (d->n[k] > 0 && d->mw[k] > 0 &&
			(worst == r->b->site.n_groups || joules_a_hash(&r->group[k]) > joules_a_hash(&r->group[worst])))
			worst = k;
	return worst;
}

struct cost {
	double mined_usd_h, wear_usd_h; /* while they stand still */
	double start_usd;               /* once, when they come back */
};

/* Takes so much load, least efficient first; ret: what there was of it. */
static double drop_take(const struct run *r, size_t i, struct drop *d, double mw, struct cost *c)
{
	const struct backtest *b = r->b;
	double left = mw;
	*c = (struct cost){ 0 };
	for (size_t k = worst_group(r, d); left > 1e-12 && k < b->site.n_groups; k = worst_group(r, d)) {
		const struct group_state *s = &r->group[k];
		double n = fmin(d->n[k], left / d->mw[k]), usd_h = site_mode_at(s->g, s->mode).ths * b->hashprice_usd_ths_h[i];
		c->mined_usd_h += n * usd_h;
		c->wear_usd_h += n * s->g->cls->wear_usd_h;
		c->start_usd += n * nets_start_usd(s->g, usd_h, b->site.pue, b->price_usd_mwh[i]);
		left -= n * d->mw[k];
		d->n[k] = n < d->n[k] ? d->n[k] - n : 0;
	}
	return mw - left;
}

/* ---- books ---- */

/* MW times hours that have been dropped from the call to t: a ramp of so many MW an hour up to so many MW. */
static double dropped_mw_h(double mw, double ramp_mw_h, double t_h)
{
	double full_h = ramp_mw_h > 0 ? mw / ramp_mw_h : 0;
	return t_h <= full_h ? ramp_mw_h * t_h * t_h / 2 : mw * full_h / 2 + mw * (t_h - full_h);
}

static int64_t micros(double usd)
{
	return llround(usd * (double)MICROS_PER_USD);
}

/* The part of a call that lies in interval i, of which held_mw were there when it came. */
static void book_call(struct run *r, size_t i, const struct call *call, double held_mw, struct drop *d)
{
	const struct backtest *b = r->b;
	const struct site_offer *s = &b->site.offer[call->offer];
	struct backtest_offer *o = &r->books.offer[call->offer];
	int64_t from_ns = backtest_time(b, i), to_ns = from_ns + b->step_ns;
	from_ns = from_ns > call->start_ns ? from_ns : call->start_ns;
	to_ns = to_ns < call->end_ns ? to_ns : call->end_ns;
	double a = hours_of(from_ns - call->start_ns), z = hours_of(to_ns - call->start_ns), ramp = s->ramp_mw_min * 60;
	double due = fmin(z, fmax(a, ancillary_of(s->service)->response_s / 3600.0));
	double dropped = dropped_mw_h(held_mw, ramp, z) - dropped_mw_h(held_mw, ramp, a);
	double missed = s->mw * (z - due) - (dropped_mw_h(held_mw, ramp, z) - dropped_mw_h(held_mw, ramp, due));
	struct cost c;
	/* Miners that the policy has stopped meanwhile are gone from the grid without a further effect. */
	double mw = drop_take(r, i, d, dropped / (z - a), &c), wh = mw * (z - a);
	int64_t saved = micros(wh * b->price_usd_mwh[i] + c.wear_usd_h * (z - a)), lost = micros(c.mined_usd_h * (z - a));
	int64_t start = to_ns == call->end_ns ? micros(c.start_usd) : 0, penalty = micros(missed * s->miss_usd_mwh);
	o->calls += from_ns == call->start_ns;
	o->due_mwh += s->mw * (z - due);
	o->dropped_mwh += dropped;
	o->missed_mwh += missed;
	o->saved_micros += saved;
	o->lost_micros += lost;
	o->start_micros += start;
	o->penalty_micros += penalty;
	r->books.calls_micros += saved - lost - start - penalty;
	r->books.month[r->books.n_months - 1].calls_micros += saved - lost - start - penalty;
}

static void book_calls(struct run *r, size_t i, const double held_mw[SITE_OFFERS_MAX], struct drop *d)
{
	const struct backtest *b = r->b;
	int64_t from_ns = backtest_time(b, i), to_ns = from_ns + b->step_ns;
	for (size_t k = 0; k < b->n_calls && !isnan(b->price_usd_mwh[i]); k++) {
		const struct call *c = &b->call[k];
		if (c->start_ns >= to_ns || c->end_ns <= from_ns)
			continue;
		if (c->start_ns >= from_ns)
			r->called_mw[c->offer] = held_mw[c->offer];
		book_call(r, i, c, r->called_mw[c->offer], d);
	}
}

void run_book_offers(struct run *r, size_t i)
{
	const struct backtest *b = r->b;
	struct drop d = { 0 };
	double held_mw[SITE_OFFERS_MAX] = { 0 }, hours = hours_of(b->step_ns);
	offer_hold(&b->site, backtest_time(b, i), b->site.n_offers ? drop_init(r, i, &d) : 0, held_mw);
	for (size_t k = 0; k < b->site.n_offers; k++) {
		struct backtest_offer *o = &r->books.offer[k];
		double usd = b->offer_usd_mw_h[k * b->n + i];
		if (usd < 0)
			continue;
		if (isnan(usd)) {
			o->unpriced_h += hours;
			continue;
		}
		int64_t paid = offer_paid_micros(usd, held_mw[k], hours);
		o->offered_mw_h += b->site.offer[k].mw * hours;
		o->held_mw_h += held_mw[k] * hours;
		o->revenue_micros += paid;
		r->books.ancillary_micros += paid;
		r->books.month[r->books.n_months - 1].ancillary_micros += paid;
	}
	if (b->n_calls)
		book_calls(r, i, held_mw, &d);
}
