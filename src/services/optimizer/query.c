/* Prices with source and age, their history, and what a device earns. */
#include <math.h>
#include <stdio.h>

#include "base/money.h"
#include "services/optimizer/optimizer_priv.h"

enum { HISTORY_DEFAULT = 500 };

static const char *fallback_text(enum symbol symbol, enum market_origin origin)
{
	switch (origin) {
	case MARKET_FRESH:
		return "";
	case MARKET_LAST_KNOWN:
		return "last known: the source is silent";
	case MARKET_DAY_AHEAD:
		return "day-ahead price of this hour: no usable real-time price";
	default:
		if (symbol == SYMBOL_GPU_RATE)
			return "list price: no usable market rate";
		if (symbol == SYMBOL_HEIGHT)
			return "by date: the block height is not known";
		return "default: no usable value is known";
	}
}

Hcp__Price *optimizer_price_of(const struct optimizer *o, struct arena *a, enum symbol symbol, const char *location,
		     const struct market_reading *r)
{
	Hcp__Price *p = arena_alloc(a, sizeof(*p));
	bool day_ahead = symbol == SYMBOL_POWER_RT && r->origin == MARKET_DAY_AHEAD;
	const struct series *s = optimizer_series_find(o, day_ahead ? SYMBOL_POWER_DA : symbol, location);
	if (!p)
		return NULL;
	hcp__price__init(p);
	p->symbol = optimizer_symbol_name(symbol);
	p->location = arena_strdup(a, location);
	p->value = r->value;
	p->unit = optimizer_symbol_unit(symbol);
	p->stale = r->origin != MARKET_FRESH;
	p->fallback = fallback_text(symbol, r->origin);
	if (s && s->value->known) {
		p->source = arena_strdup(a, s->value->source);
		p->observed_at_ns = s->value->observed_at_ns;
		p->received_at_ns = s->received_at_ns;
	}
	return p->location && p->source ? p : NULL;
}

static struct market_reading read_series(const struct optimizer *o, const struct series *s, int64_t market_ns)
{
	if (s->symbol == SYMBOL_ANCILLARY) { /* of this hour, though the next day's is known */
		double v = history_at(history_find(&o->history, HISTORY_ANCILLARY, s->location), market_ns);
		return (struct market_reading){ .value = isnan(v) ? 0 : v,
			.origin = isnan(v) ? MARKET_DEFAULT : MARKET_FRESH,
			.age_ns = isnan(v) ? -1 : market_ns - s->value->observed_at_ns };
	}
	if (!s->market)
		return (struct market_reading){ .value = s->value->value,
			.origin = s->value->known ? MARKET_FRESH : MARKET_DEFAULT,
			.age_ns = s->value->known ? market_ns - s->value->observed_at_ns : -1 };
	struct market_reading r = market_read(s->market, (enum market_quantity)s->symbol, s->device_class, market_ns);
	const struct device_class *cls = device_class_at(s->device_class);
	if (s->symbol == SYMBOL_GPU_RATE && r.origin == MARKET_DEFAULT)
		r.value = cls->list_usd_h;
	/* The day-ahead price of this hour is what that symbol is for, not a fallback of it. */
	if (s->symbol == SYMBOL_POWER_DA && r.origin == MARKET_DAY_AHEAD)
		r.origin = MARKET_FRESH;
	return r;
}

static int add_price(const struct optimizer *o, struct arena *a, Hcp__Prices *reply, enum symbol symbol,
		     const char *location, const struct market_reading *r)
{
	/* What nothing is decided by does not make the market unhealthy. */
	if (r->origin != MARKET_FRESH && symbol < SYMBOL_SUBSIDY && symbol != SYMBOL_POWER_DA && symbol != SYMBOL_HEIGHT)
		reply->healthy = false;
	return pb_push(a, &reply->n_prices, &reply->prices, optimizer_price_of(o, a, symbol, location, r));
}

int optimizer_on_prices(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	static const enum symbol needed[] = { SYMBOL_POWER_RT, SYMBOL_BTC_USD, SYMBOL_DIFFICULTY, SYMBOL_FEES };
	struct optimizer *o = state;
	int64_t now = optimizer_market_now_ns(o, svc_now_ns(ctx));
	Hcp__Prices *reply = svc_reply(ctx, MSG_PRICES);
	if (!reply)
		return HCP_ENOMEM;
	struct arena *a = svc_reply_arena(ctx);
	reply->market_time_ns = now;
	reply->healthy = true;
	bool seen[SYMBOL_END] = { false };
	for (size_t i = 0; i < o->n_series; i++) {
		const struct series *s = o->series[i];
		struct market_reading r = read_series(o, s, now);
		seen[s->symbol] = true;
		if (add_price(o, a, reply, s->symbol, s->location, &r) < 0)
			return HCP_ENOMEM;
	}
	for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++) {
		if (seen[needed[i]])
			continue;
		struct market_reading r = market_read(&o->market, (enum market_quantity)needed[i], 0, now);
		if (add_price(o, a, reply, needed[i], "", &r) < 0)
			return HCP_ENOMEM;
	}
	struct market_reading power;
	struct facility_terms terms = optimizer_terms_of(o, "default");
	struct profit_market pm = optimizer_terms_market(o, &terms, now, &power);
	reply->hashprice_usd_ph_day = profit_hashprice_usd_ths_h(&pm) * 24 * 1000;
	return optimizer_sources_show(o, a, reply);
}

int optimizer_on_history(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	struct optimizer *o = state;
	const Hcp__PriceHistoryGet *g = (const Hcp__PriceHistoryGet *)m->body;
	enum symbol symbol;
	if (optimizer_symbol_parse(g->symbol, &symbol) < 0)
		return err_set(err, HCP_EINVAL, "symbol", "%.32s is no symbol", g->symbol);
	if (g->limit < 0 || g->limit > OPTIMIZER_POINTS_MAX)
		return err_set(err, HCP_ERANGE, "limit", "must be 1 to %d, was %d", OPTIMIZER_POINTS_MAX, g->limit);
	const struct series *s = NULL;
	for (size_t i = 0; i < o->n_series && !s; i++)
		if (o->series[i]->symbol == symbol && (!g->location[0] || strcmp(o->series[i]->location, g->location) == 0))
			s = o->series[i];
	if (!s && g->location[0])
		return err_set(err, HCP_ENOTFOUND, "location", "no %s is known for %.40s", g->symbol, g->location);
	Hcp__PriceHistory *reply = svc_reply(ctx, MSG_PRICE_HISTORY);
	if (!reply)
		return HCP_ENOMEM;
	struct arena *a = svc_reply_arena(ctx);
	reply->symbol = optimizer_symbol_name(symbol);
	reply->unit = optimizer_symbol_unit(symbol);
	if (!s)
		return 0;
	int64_t limit = g->limit ? g->limit : HISTORY_DEFAULT;
	int64_t have = s->n < OPTIMIZER_POINTS_MAX ? s->n : OPTIMIZER_POINTS_MAX, n = have < limit ? have : limit;
	Hcp__PricePoint *points = arena_alloc(a, (size_t)n * sizeof(*points));
	reply->points = arena_alloc(a, (size_t)n * sizeof(*reply->points));
	reply->location = arena_strdup(a, s->location);
	if (!points || !reply->points || !reply->location)
		return HCP_ENOMEM;
	for (int64_t i = 0; i < n; i++) {
		const struct series_point *from = &s->ring[(s->n - n + i) % OPTIMIZER_POINTS_MAX];
		hcp__price_point__init(&points[i]);
		points[i].at_ns = from->at_ns;
		points[i].value = from->value;
		reply->points[i] = &points[i];
	}
	reply->n_points = (size_t)n;
	return 0;
}

/* ---- profitability ---- */

/* The core's names for what the request names otherwise. */
static void rename_field(struct err *err)
{
	if (strcmp(err->field, "spot_usd_h") == 0)
		snprintf(err->field, sizeof(err->field), "gpu_rate_usd_h");
}

static int add_row(struct arena *a, Hcp__Profitability *reply, const struct device_class *cls, const char *type,
		   const struct profit_row *from)
{
	Hcp__ProfitabilityRow *r = arena_alloc(a, sizeof(*r));
	if (!r)
		return HCP_ENOMEM;
	hcp__profitability_row__init(r);
	r->device_class = cls->name;
	r->workload_type = type;
	r->revenue_usd_h = from->revenue_usd_h;
	r->energy_cost_usd_h = from->energy_usd_h;
	r->wear_usd_h = from->wear_usd_h;
	r->net_usd_h = from->net_usd_h;
	r->score = from->score;
	return pb_push(a, &reply->n_rows, &reply->rows, r);
}

static void recommend(Hcp__Profitability *reply)
{
	size_t best = 0;
	for (size_t i = 0; i < reply->n_rows; i++)
		if (reply->rows[i]->net_usd_h > reply->rows[best]->net_usd_h)
			best = i;
	for (size_t i = 0; i < reply->n_rows; i++)
		reply->rows[i]->recommendation = i == best ? "best" : reply->rows[i]->net_usd_h > 0 ? "profitable" : "loss";
	reply->recommendation = reply->rows[best]->workload_type;
}

static int compute_rows(struct svc_ctx *ctx, const struct device_class *cls, const struct profit_market *pm,
			const struct profit_ai *ai, struct profit_row rows[WORKLOAD_TYPE_END], bool can[WORKLOAD_TYPE_END],
			struct err *err)
{
	int rc = profit_ai_validate(ai, err); /* asked for, so checked, even where the class only mines */
	if (rc == 0)
		rc = profit_idle(cls, pm, &rows[0], err);
	can[0] = true;
	for (int t = 1; rc == 0 && t < WORKLOAD_TYPE_END; t++) {
		can[t] = t == WORKLOAD_BITCOIN_MINING ? cls->fill_ths > 0 : optimizer_class_serves(cls);
		if (can[t])
			rc = profit_calc(cls, (enum workload_type)t, pm, ai, &rows[t], err);
	}
	return rc;
}

int optimizer_on_profitability(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	struct optimizer *o = state;
	const Hcp__ProfitabilityCalculate *q = (const Hcp__ProfitabilityCalculate *)m->body;
	const struct device_class *cls = device_class_find(str_of(q->device_class));
	if (!cls)
		return err_set(err, HCP_EINVAL, "device_class", "there is no device class %.40s", q->device_class);
	int64_t now = optimizer_market_now_ns(o, svc_now_ns(ctx));
	struct market_reading power;
	struct facility_terms terms = optimizer_terms_of(o, "default");
	struct profit_market pm = optimizer_terms_market(o, &terms, now, &power);
	struct profit_ai ai = { .spot_usd_h = optimizer_serve_rate_usd_h(o, cls, 0, now),
		.utilisation = o->conf.utilisation };
	if (q->has_electricity_usd_mwh_case)
		pm.electricity_usd_mwh = q->electricity_usd_mwh;
	if (q->has_btc_usd_case)
		pm.btc_usd = q->btc_usd;
	if (q->has_difficulty_case)
		pm.difficulty = q->difficulty;
	if (q->has_gpu_rate_usd_h_case)
		ai.spot_usd_h = q->gpu_rate_usd_h;
	if (q->has_utilisation_case)
		ai.utilisation = q->utilisation;
	struct device_class driven = *cls;
	enum device_power power_mode = DEVICE_POWER_NORMAL;
	if (q->power_mode[0] && device_power_parse(str_of(q->power_mode), &power_mode) < 0)
		return err_set(err, HCP_EINVAL, "power_mode", "must be normal, low or high");
	if (power_mode != DEVICE_POWER_NORMAL &&
		device_class_power(cls, power_mode, &driven.power_w[DEVICE_FILL], &driven.fill_ths) < 0)
		return err_set(err, HCP_EINVAL, "power_mode", "%s has no power modes", cls->name);
	struct profit_row rows[WORKLOAD_TYPE_END];
	bool can[WORKLOAD_TYPE_END] = { false };
	int rc = compute_rows(ctx, &driven, &pm, &ai, rows, can, err);
	if (rc < 0) {
		rename_field(err);
		return rc;
	}
	Hcp__Profitability *reply = svc_reply(ctx, MSG_PROFITABILITY);
	if (!reply)
		return HCP_ENOMEM;
	struct arena *a = svc_reply_arena(ctx);
	reply->market_time_ns = now;
	for (int t = WORKLOAD_TYPE_END - 1; t >= 0; t--) {
		const char *name = t ? workload_type_name((enum workload_type)t) : "idle";
		if (can[t] && add_row(a, reply, cls, name, &rows[t]) < 0)
			return HCP_ENOMEM;
	}
	recommend(reply);
	return 0;
}
