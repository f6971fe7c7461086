/* Prices, as far as money needs them: the last value of each. */
#include <math.h>
#include <stdio.h>

#include "base/money.h"
#include "econ/btc.h"
#include "econ/market.h"
#include "services/billing/billing_priv.h"

#define HASHES_PER_DIFFICULTY 4294967296.0 /* 2^32 */

static bool is_wanted(const char *symbol)
{
	static const char *const wanted[] = { "electricity_rt", "btc_usd", "difficulty", "block_fees_btc", "block_height" };
	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
		if (strcmp(symbol, wanted[i]) == 0)
			return true;
	return false;
}

/* False: no room for another settlement point. */
static bool set_power(struct billing_market *k, const char *location, double value)
{
	size_t i = 0;
	while (i < k->n_power && strcmp(k->power[i].location, location) != 0)
		i++;
	if (i == BILLING_LOCATIONS_MAX || strlen(location) >= BILLING_NAME_MAX)
		return false;
	if (i == k->n_power) {
		k->n_power++;
		snprintf(k->power[i].location, sizeof(k->power[i].location), "%s", location);
	}
	k->power[i].usd_mwh = value;
	return true;
}

static bool set_value(struct billing_market *k, const char *symbol, const char *location, double value)
{
	if (strcmp(symbol, "electricity_rt") == 0)
		return set_power(k, location, value);
	if (strcmp(symbol, "btc_usd") == 0)
		k->btc_usd = value;
	else if (strcmp(symbol, "difficulty") == 0)
		k->difficulty = value;
	else if (strcmp(symbol, "block_fees_btc") == 0)
		k->fees_btc = value;
	else if (strcmp(symbol, "block_height") == 0)
		k->height = value;
	return true;
}

/* The optimizer has checked them; this only keeps the arithmetic here safe from whatever comes. */
static int check_tick(const Hcp__Tick *t, struct err *err)
{
	if (!isfinite(t->value) || fabs(t->value) > 1e20)
		return err_set(err, HCP_EINVAL, "ticks.value", "%.32s is not a usable number", t->symbol);
	if (strcmp(t->symbol, "electricity_rt") == 0 && fabs(t->value) > 1e5)
		return err_set(err, HCP_ERANGE, "ticks.value", "an electricity price beyond 100,000 USD/MWh");
	if (strcmp(t->symbol, "btc_usd") == 0 && (t->value < 0 || t->value > 1e9))
		return err_set(err, HCP_ERANGE, "ticks.value", "a BTC price outside 0 to 1e9 USD");
	if (strcmp(t->symbol, "difficulty") == 0 && t->value < 1)
		return err_set(err, HCP_ERANGE, "ticks.value", "a difficulty below 1");
	if (strcmp(t->symbol, "block_fees_btc") == 0 && (t->value < 0 || t->value > 1e6))
		return err_set(err, HCP_ERANGE, "ticks.value", "fees outside 0 to 1e6 BTC");
	if (strcmp(t->symbol, "block_height") == 0 && (t->value < 0 || t->value > 1e9))
		return err_set(err, HCP_ERANGE, "ticks.value", "a height outside 0 to 1e9");
	return 0;
}

int billing_on_market_moved(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	struct billing *b = state;
	const Hcp__MarketMoved *ev = (const Hcp__MarketMoved *)m->body;
	for (size_t i = 0; i < ev->n_ticks; i++) {
		bool capacity = strcmp(ev->ticks[i]->symbol, BILLING_CAPACITY_SYMBOL) == 0;
		int rc = is_wanted(ev->ticks[i]->symbol) ? check_tick(ev->ticks[i], err) : 0;
		if (capacity)
			rc = billing_capacity_check(ev->ticks[i], err);
		if (rc < 0)
			return rc;
	}
	for (size_t i = 0; i < ev->n_ticks; i++) {
		const Hcp__Tick *t = ev->ticks[i];
		const char *location = strcmp(t->symbol, "electricity_rt") == 0 ? t->location : "";
		if (strcmp(t->symbol, BILLING_CAPACITY_SYMBOL) == 0) {
			int bad = billing_capacity_price(ctx, t, ev->market_time_ns, err);
			if (bad < 0)
				return bad;
		}
		if (!is_wanted(t->symbol) || !set_value(&b->market, t->symbol, location, t->value))
			continue;
		int rc = db_run(svc_db(ctx), err, "INSERT INTO price(symbol,location,value,market_ns) VALUES($1,$2,$3,$4)"
				" ON CONFLICT(symbol,location) DO UPDATE SET value=excluded.value, market_ns=excluded.market_ns",
				"zzdi", t->symbol, location, t->value, ev->market_time_ns);
		if (rc < 0)
			return rc;
		b->market.market_ns = ev->market_time_ns;
	}
	return 0;
}

int billing_market_load(struct billing *b, struct db *db, struct err *err)
{
	struct db_row *row;
	int rc;
	b->market = (struct billing_market){ .height = -1 };
	b->market.btc_usd = market_rule_default(MARKET_BTC_USD)->default_value;
	b->market.difficulty = market_rule_default(MARKET_DIFFICULTY)->default_value;
	b->market.fees_btc = market_rule_default(MARKET_FEES_BTC)->default_value;
	for (rc = db_query(db, &row, err, "SELECT symbol,location,value,market_ns FROM price ORDER BY n", ""); rc == 1;
	     rc = db_next(row, err)) {
		char symbol[32], location[BILLING_NAME_MAX];
		if (str_copy(symbol, sizeof(symbol), db_text(row, 0)) < 0 ||
		    str_copy(location, sizeof(location), db_text(row, 1)) < 0 ||
		    !set_value(&b->market, symbol, location, db_double(row, 2))) {
			db_done(row);
			return err_set(err, HCP_ECORRUPT, "price", "a stored row cannot be read");
		}
		if (db_i64(row, 3) > b->market.market_ns)
			b->market.market_ns = db_i64(row, 3);
	}
	return rc;
}

int64_t billing_market_power_micros_mwh(const struct billing *b, const char *facility)
{
	const struct site *s = site_of_facility(b->conf.site, b->conf.n_sites, facility);
	double usd = s && s->fixed ? s->tariff_usd_mwh : market_rule_default(MARKET_POWER_RT)->default_value;
	bool any = !s || !s->point[0];
	for (size_t i = 0; i < b->market.n_power && !(s && s->fixed); i++) {
		if (any || strcmp(b->market.power[i].location, s->point) == 0) {
			usd = b->market.power[i].usd_mwh;
			break;
		}
	}
	return llround(usd * (double)MICROS_PER_USD); /* |usd| <= 1e5, checked when it came in */
}

double billing_market_btc_per_hash(const struct billing *b, const char *facility, int64_t now_ns)
{
	const struct site *s = site_of_facility(b->conf.site, b->conf.n_sites, facility);
	const struct billing_market *k = &b->market;
	double fee = s ? s->pool_fee : BILLING_POOL_FEE;
	int64_t sats = k->height >= 0 ? btc_subsidy_sats((int64_t)k->height) :
					btc_subsidy_sats_at(k->market_ns ? k->market_ns : now_ns);
	double reward_btc = (double)sats / (double)BTC_SATS + k->fees_btc;
	return reward_btc * (1 - fee) / (k->difficulty * HASHES_PER_DIFFICULTY);
}
