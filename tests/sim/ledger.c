/*
 * A second bookkeeping, from events alone: device time, energy and hashes turned into money by the formulas as they are
 * written down, in another arithmetic than billing's. What billing has booked must be the same.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "econ/btc.h"
#include "watch.h"

#define POOL_FEE 0.01

/* The facilities of the casts buy here. */
static const char *location_of(const char *facility)
{
	return !strcmp(facility, "north") ? "HB_NORTH" : "HB_WEST";
}

static double *power_at(struct ledger *l, const char *location, bool make)
{
	for (size_t i = 0; i < l->n_locations; i++)
		if (!strcmp(l->location[i], location))
			return &l->power_usd_mwh[i];
	if (!make || l->n_locations == WATCH_LOCATIONS)
		return NULL;
	snprintf(l->location[l->n_locations], sizeof(l->location[0]), "%s", location);
	return &l->power_usd_mwh[l->n_locations++];
}

void ledger_market(struct watch *w, const Hcp__MarketMoved *ev)
{
	struct ledger *l = &w->ledger;
	for (size_t i = 0; i < ev->n_ticks; i++) {
		const Hcp__Tick *t = ev->ticks[i];
		if (!isfinite(t->value))
			sim_fail(w->sim, "the optimizer let %s through that is no number", t->symbol);
		if (!strcmp(t->symbol, "electricity_rt") && power_at(l, t->location, true))
			*power_at(l, t->location, true) = t->value;
		else if (!strcmp(t->symbol, "btc_usd"))
			l->btc_usd = t->value;
		else if (!strcmp(t->symbol, "difficulty"))
			l->difficulty = t->value;
		else if (!strcmp(t->symbol, "block_fees_btc"))
			l->fees_btc = t->value;
		else if (!strcmp(t->symbol, "block_height"))
			l->height = t->value;
		l->market_ns = ev->market_time_ns;
	}
}

void ledger_metered(struct watch *w, const Hcp__Metered *ev, const Hcp__MeterDelta *d)
{
	struct ledger *l = &w->ledger;
	const double *usd = power_at(l, location_of(ev->facility), false);
	if (!usd || !l->btc_usd || !l->difficulty) {
		/* Joules and hashes from before the first price are booked at a default that is billing's own affair. */
		l->complete &= d->energy_j == 0 && d->hashes <= 0;
		return;
	}
	l->energy_micros_j_mwh += (__int128)d->energy_j * llround(*usd * 1e6);
	if (d->allocation_id[0])
		return;
	int64_t sats = l->height >= 0 ? btc_subsidy_sats((int64_t)l->height) : btc_subsidy_sats_at(l->market_ns);
	double reward_btc = (double)sats / 1e8 + l->fees_btc;
	l->hashes += d->hashes;
	l->mining_usd += d->hashes / (l->difficulty * 4294967296.0) * reward_btc * (1 - POOL_FEE) * l->btc_usd;
}

static int64_t total(struct sim *s, const char *sql)
{
	struct db_row *row;
	struct err err = { 0 };
	if (db_query(svc_database(s->slot[SVC_BILLING].svc), &row, &err, sql, "") != 1)
		sim_fail(s, "billing's tables cannot be read: %s", err.text);
	int64_t v = db_i64(row, 0);
	db_done(row);
	return v;
}

static void expect(const struct sim *s, const char *what, int64_t booked, int64_t expected, int64_t slack)
{
	sim_say(s, "%s: booked %lld, expected %lld", what, (long long)booked, (long long)expected);
	if (llabs(booked - expected) > slack)
		sim_fail(s, "%s: billing booked %lld, the formula says %lld", what, (long long)booked, (long long)expected);
}

/* floor(device time x price), allocation by allocation; their sum is what customers owe. */
static int64_t owed_micros(const struct watch *w, int64_t *ret_n)
{
	int64_t sum = 0, n = 0;
	size_t pos = 0;
	void *v;
	while (map_next(&w->allocations, &pos, NULL, &v)) {
		const struct seen_allocation *a = v;
		if (a->price_micros_h < 0)
			continue;
		sum += (int64_t)((__int128)a->sold_ns * a->price_micros_h / (3600 * NS_PER_S));
		n += a->sold_ns > 0;
	}
	*ret_n = n;
	return sum;
}

void ledger_check(struct sim *s)
{
	const struct watch *w = s->watch;
	const struct ledger *l = &w->ledger;
	int64_t n;
	if (!sim_has(s, SVC_BILLING))
		return;
	expect(s, "joules", total(s, "SELECT coalesce(sum(energy_j),0) FROM revenue"), w->metered_energy_j, 0);
	expect(s, "device time sold, micro-dollars", total(s, "SELECT coalesce(sum(ai_micros),0) FROM revenue"),
	       owed_micros(w, &n), 0);
	expect(s, "invoices against revenue, micro-dollars", total(s, "SELECT coalesce(sum(amount_micros),0) FROM usage"),
	       total(s, "SELECT coalesce(sum(ai_micros),0) FROM revenue"), 0);
	/* Which price was in force when a delta came depends on the order of events, which a shortened log may change. */
	if (s->lost_events || !l->complete)
		return;
	int64_t mined = llround(l->mining_usd * 1e6);
	expect(s, "energy cost, micro-dollars", total(s, "SELECT coalesce(sum(energy_cost_micros),0) FROM revenue"),
	       (int64_t)(l->energy_micros_j_mwh / J_PER_MWH), 1);
	expect(s, "mining revenue, micro-dollars", total(s, "SELECT coalesce(sum(mining_micros),0) FROM revenue"), mined,
	       2 + llabs(mined) / 1000000000);
}

int64_t ledger_ai_micros(struct sim *s)
{
	return total(s, "SELECT coalesce(sum(ai_micros),0) FROM revenue");
}

void ledger_print(struct sim *s)
{
	const struct ledger *l = &s->watch->ledger;
	printf("  mined %.6f USD (formula %.6f) for %.4g hashes; energy %.6f USD (joules x price %.6f) for %lld J%s\n",
	       (double)total(s, "SELECT coalesce(sum(mining_micros),0) FROM revenue") / 1e6, l->mining_usd, l->hashes,
	       (double)total(s, "SELECT coalesce(sum(energy_cost_micros),0) FROM revenue") / 1e6,
	       (double)(l->energy_micros_j_mwh / J_PER_MWH) / 1e6, (long long)s->watch->metered_energy_j,
	       l->complete ? "" : "; some of it before the first price");
}
