/* Market values come in: each is checked wholly, the good ones are taken, the others named with the reason. */
#include <math.h>
#include <stdio.h>

#include "base/mem.h"
#include "base/money.h"
#include "services/optimizer/optimizer_priv.h"

#define DAY_NS (86400 * NS_PER_S)

enum { FIRST_POINTS = 64, INTERVAL_MAX_S = 86400, HOUR_S = 3600 };
#define ANCILLARY_MAX_USD_MW_H 1e5 /* ERCOT's reserves cleared at up to 25,674 in February 2021 */

static const struct {
	const char *name, *unit;
} symbols[SYMBOL_END] = {
	[SYMBOL_POWER_RT] = { "electricity_rt", "USD/MWh" },
	[SYMBOL_POWER_DA] = { "electricity_da", "USD/MWh" },
	[SYMBOL_BTC_USD] = { "btc_usd", "USD/BTC" },
	[SYMBOL_DIFFICULTY] = { "difficulty", "1" },
	[SYMBOL_FEES] = { "block_fees_btc", "BTC/block" },
	[SYMBOL_HEIGHT] = { "block_height", "block" },
	[SYMBOL_GPU_RATE] = { "gpu_rate", "USD/h" },
	[SYMBOL_SUBSIDY] = { "block_subsidy_btc", "BTC/block" },
	[SYMBOL_ANCILLARY] = { "ancillary", "USD/MW/h" },
};

const char *optimizer_symbol_name(enum symbol s)
{
	return symbols[s].name;
}

const char *optimizer_symbol_unit(enum symbol s)
{
	return symbols[s].unit;
}

int optimizer_symbol_parse(const char *name, enum symbol *ret)
{
	for (int i = 0; i < SYMBOL_END; i++) {
		if (strcmp(name, symbols[i].name) == 0) {
			*ret = (enum symbol)i;
			return 0;
		}
	}
	return HCP_EINVAL;
}

static bool is_power(enum symbol s)
{
	return s == SYMBOL_POWER_RT || s == SYMBOL_POWER_DA;
}

int64_t optimizer_market_now_ns(const struct optimizer *o, int64_t now_ns)
{
	if (!o->clock.newest_ns)
		return now_ns;
	int64_t since = now_ns - o->clock.received_ns;
	return o->clock.newest_ns + (since > 0 ? since : 0);
}

struct series *optimizer_series_find(const struct optimizer *o, enum symbol symbol, const char *location)
{
	for (size_t i = 0; i < o->n_series; i++)
		if (o->series[i]->symbol == symbol && strcmp(o->series[i]->location, location) == 0)
			return o->series[i];
	return NULL;
}

static int location_get(struct optimizer *o, const char *name, struct location **ret, struct err *err)
{
	for (size_t i = 0; i < o->n_loc; i++) {
		if (strcmp(o->loc[i]->name, name) == 0) {
			*ret = o->loc[i];
			return 0;
		}
	}
	if (o->n_loc == OPTIMIZER_LOCATIONS_MAX)
		return err_set(err, HCP_ELIMIT, "location", "there are %d settlement points already", OPTIMIZER_LOCATIONS_MAX);
	struct location *l = mem_calloc(1, sizeof(*l));
	if (!l)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	market_init(&l->market);
	snprintf(l->name, sizeof(l->name), "%s", name);
	o->loc[o->n_loc++] = l;
	*ret = l;
	return 0;
}

int optimizer_series_add(struct optimizer *o, int64_t id, enum symbol symbol, const char *location, struct series **ret,
	       struct err *err)
{
	struct location *l = NULL;
	if (o->n_series == OPTIMIZER_SERIES_MAX)
		return err_set(err, HCP_ELIMIT, "symbol", "there are %d symbols already", OPTIMIZER_SERIES_MAX);
	int rc = is_power(symbol) ? location_get(o, location, &l, err) : 0;
	if (rc < 0)
		return rc;
	struct series *s = mem_calloc(1, sizeof(*s));
	if (!s)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	s->id = id;
	s->symbol = symbol;
	snprintf(s->location, sizeof(s->location), "%s", location);
	s->market = symbol >= SYMBOL_SUBSIDY ? NULL : l ? &l->market : &o->market;
	s->value = symbol == SYMBOL_SUBSIDY ? &o->subsidy : s->market ? &s->market->v[symbol] : &s->own;
	if (symbol == SYMBOL_GPU_RATE) {
		const struct device_class *cls = device_class_find(str_of(location));
		if (!cls) {
			mem_free(s);
			return err_set(err, HCP_EINVAL, "location", "there is no device class %.40s", location);
		}
		s->device_class = (uint16_t)device_class_index(cls);
		s->value = &o->market.gpu[s->device_class];
	}
	o->series[o->n_series++] = s;
	*ret = s;
	return 0;
}

void optimizer_series_cadence(struct series *s)
{
	if (s->market)
		s->market->rule[s->symbol].stale_ns =
			market_rule_default((enum market_quantity)s->symbol)->stale_ns + s->interval_s * NS_PER_S;
}

int optimizer_series_push(struct series *s, int64_t at_ns, double value)
{
	size_t slot = (size_t)(s->n % OPTIMIZER_POINTS_MAX);
	if (slot >= s->cap && s->cap < OPTIMIZER_POINTS_MAX) {
		size_t cap = s->cap ? s->cap * 2 : FIRST_POINTS;
		cap = cap > OPTIMIZER_POINTS_MAX ? OPTIMIZER_POINTS_MAX : cap;
		struct series_point *ring = mem_realloc(s->ring, cap * sizeof(*ring));
		if (!ring)
			return HCP_ENOMEM;
		s->ring = ring;
		s->cap = cap;
	}
	s->ring[slot] = (struct series_point){ at_ns, value };
	s->n++;
	return 0;
}

/* ---- one tick ---- */

struct parsed {
	enum symbol symbol;
	const char *location; /* normalised: the catalogue's spelling, "" for what has no location */
	struct market_tick tick;
};

static int parse_location(const Hcp__Tick *t, struct parsed *p, struct err *err)
{
	p->location = "";
	if (is_power(p->symbol)) {
		if (!t->location[0])
			return err_set(err, HCP_EINVAL, "location", "missing: an electricity price is one of a settlement point");
		if (strlen(t->location) >= OPTIMIZER_NAME_MAX)
			return err_set(err, HCP_ERANGE, "location", "longer than %d characters", OPTIMIZER_NAME_MAX - 1);
		p->location = t->location;
	} else if (p->symbol == SYMBOL_GPU_RATE) {
		const struct device_class *cls = device_class_find(str_of(t->location));
		if (!cls)
			return err_set(err, HCP_EINVAL, "location", "there is no device class %.40s", t->location);
		p->location = cls->name;
		p->tick.device_class = (uint16_t)device_class_index(cls);
	} else if (p->symbol == SYMBOL_ANCILLARY) {
		if (!t->location[0] || strlen(t->location) >= HISTORY_LOCATION_MAX)
			return err_set(err, HCP_EINVAL, "location", "must name the product (RRS, ECRS, …) in 1 to %d characters",
				HISTORY_LOCATION_MAX - 1);
		p->location = t->location;
	}
	return 0;
}

/* As of a day-ahead price: told by the hour, the next day's at once. */
static int check_ancillary(const Hcp__Tick *t, int64_t at_ns, struct err *err)
{
	if (t->value < 0 || t->value > ANCILLARY_MAX_USD_MW_H)
		return err_set(err, HCP_ERANGE, "value", "a price of capacity is from 0 to %g USD/MW and hour, is %g",
			ANCILLARY_MAX_USD_MW_H, t->value);
	if (t->interval_start_ns % (HOUR_S * NS_PER_S) || (t->interval_s && t->interval_s != HOUR_S))
		return err_set(err, HCP_EINVAL, "interval_start_ns", "a price of capacity is for a whole hour");
	if (t->interval_start_ns > at_ns + 2 * DAY_NS || t->interval_start_ns < at_ns - DAY_NS)
		return err_set(err, HCP_ERANGE, "interval_start_ns", "not within a day back and two days ahead");
	return 0;
}

static int parse_tick(const Hcp__Tick *t, int64_t now_ns, struct parsed *p, struct err *err)
{
	*p = (struct parsed){ 0 };
	if (optimizer_symbol_parse(t->symbol, &p->symbol) < 0)
		return err_set(err, HCP_EINVAL, "symbol", "%.32s is no symbol", t->symbol);
	int rc = parse_location(t, p, err);
	if (rc < 0)
		return rc;
	if (!isfinite(t->value))
		return err_set(err, HCP_EINVAL, "value", "must be a finite number");
	if (t->observed_at_ns <= 0 || t->observed_at_ns > now_ns + MARKET_FUTURE_NS)
		return err_set(err, HCP_ERANGE, "observed_at_ns", "lies in the future or before 1970");
	if (t->interval_start_ns < 0)
		return err_set(err, HCP_ERANGE, "interval_start_ns", "lies before 1970");
	if (t->interval_s < 0 || t->interval_s > INTERVAL_MAX_S)
		return err_set(err, HCP_ERANGE, "interval_s", "must be 0 to %d, was %d", INTERVAL_MAX_S, t->interval_s);
	if (t->sent_at_ns < 0)
		return err_set(err, HCP_ERANGE, "sent_at_ns", "lies before 1970");
	if (p->symbol == SYMBOL_SUBSIDY && (t->value < 0 || t->value > 50))
		return err_set(err, HCP_ERANGE, "value", "a subsidy is from 0 to 50 BTC, is %g", t->value);
	if (p->symbol == SYMBOL_ANCILLARY && (rc = check_ancillary(t, t->observed_at_ns, err)) < 0)
		return rc;
	if (str_copy(p->tick.source, sizeof(p->tick.source), str_of(t->source)) < 0)
		return err_set(err, HCP_ERANGE, "source", "longer than %d characters", MARKET_SOURCE_MAX - 1);
	p->tick.quantity = (enum market_quantity)p->symbol;
	p->tick.value = t->value;
	p->tick.observed_at_ns = t->observed_at_ns;
	p->tick.valid_from_ns = t->interval_start_ns ? t->interval_start_ns : t->observed_at_ns;
	return 0;
}

/* The core's field names, as the message has them. */
static void rename_field(struct err *err, const Hcp__Tick *t)
{
	const char *is = err->field, *name = NULL;
	if (strcmp(is, "observed_at") == 0)
		name = "observed_at_ns";
	else if (strcmp(is, "valid_from") == 0)
		name = t->interval_start_ns ? "interval_start_ns" : "observed_at_ns";
	if (name)
		snprintf(err->field, sizeof(err->field), "%s", name);
}

/* Of what no market decides by: subsidy and capacity. */
static int apply_plain(struct market_value *v, const struct market_tick *t, struct err *err)
{
	if (v->known && t->observed_at_ns < v->observed_at_ns)
		return err_set(err, HCP_ECONFLICT, "observed_at", "older than the value already known");
	v->value = t->value;
	v->observed_at_ns = t->observed_at_ns;
	v->valid_from_ns = t->valid_from_ns;
	v->known = true;
	memcpy(v->source, t->source, sizeof(v->source));
	return 0;
}

/* Finds the series of the tick; makes one only for a tick that the market would take. */
static int series_for(struct optimizer *o, const struct parsed *p, int64_t at_ns, struct series **ret, struct err *err)
{
	*ret = optimizer_series_find(o, p->symbol, p->location);
	if (*ret)
		return 0;
	if (p->symbol < SYMBOL_SUBSIDY) {
		struct market probe;
		market_init(&probe);
		int rc = market_apply(&probe, &p->tick, at_ns, err);
		if (rc < 0)
			return rc;
	}
	int64_t id = o->n_series ? o->series[o->n_series - 1]->id + 1 : 1;
	return optimizer_series_add(o, id, p->symbol, p->location, ret, err);
}

static int store_series(struct svc_ctx *ctx, const struct series *s, struct err *err)
{
	const struct market_value *v = s->value;
	return db_run(svc_db(ctx), err,
		      "INSERT INTO series(id,symbol,location,known,value,observed_ns,valid_ns,received_ns,source,suspect,"
		      "suspects,n,interval_s) VALUES($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13) ON CONFLICT(id) DO UPDATE SET"
		      " known=excluded.known, value=excluded.value, observed_ns=excluded.observed_ns,"
		      " valid_ns=excluded.valid_ns, received_ns=excluded.received_ns, source=excluded.source,"
		      " suspect=excluded.suspect, suspects=excluded.suspects, n=excluded.n,"
		      " interval_s=excluded.interval_s",
		      "izzidiiizdiii", s->id, optimizer_symbol_name(s->symbol), s->location, (int64_t)v->known, v->value,
		      v->observed_at_ns, v->valid_from_ns, s->received_at_ns, v->source, v->suspect, (int64_t)v->suspects,
		      s->n, (int64_t)s->interval_s);
}

static int store_point(struct svc_ctx *ctx, const struct series *s, int64_t at_ns, double value, struct err *err)
{
	int rc = db_run(svc_db(ctx), err, "INSERT INTO point(series,slot,at_ns,value) VALUES($1,$2,$3,$4)"
			" ON CONFLICT(series,slot) DO UPDATE SET at_ns=excluded.at_ns, value=excluded.value",
			"iiid", s->id, (s->n - 1) % OPTIMIZER_POINTS_MAX, at_ns, value);
	if (rc < 0 || s->symbol != SYMBOL_POWER_DA)
		return rc;
	return db_run(svc_db(ctx), err, "INSERT INTO day_ahead(location,slot,valid_ns,value) VALUES($1,$2,$3,$4)"
		      " ON CONFLICT(location,slot) DO UPDATE SET valid_ns=excluded.valid_ns, value=excluded.value",
		      "ziid", s->location, at_ns / (3600 * NS_PER_S) % MARKET_DA_HOURS, at_ns, value);
}

/* *ret_changed: the value is another than before. */
static int take_tick(struct optimizer *o, struct svc_ctx *ctx, const Hcp__Tick *t, bool *ret_changed, struct err *err)
{
	struct parsed p;
	struct series *s;
	int64_t now = svc_now_ns(ctx), at = t->observed_at_ns;
	int rc = parse_tick(t, now, &p, err);
	if (rc < 0)
		return rc;
	if (o->clock.newest_ns && optimizer_market_now_ns(o, now) > at)
		at = optimizer_market_now_ns(o, now);
	rc = series_for(o, &p, at, &s, err);
	if (rc < 0) {
		rename_field(err, t);
		return rc;
	}
	struct market_value before = *s->value;
	rc = s->market ? market_apply(s->market, &p.tick, at, err) : apply_plain(s->value, &p.tick, err);
	if (rc < 0) {
		rename_field(err, t);
		if (rc != HCP_EAGAIN) /* only a held-back outlier leaves a trace */
			return rc;
		int bad = store_series(ctx, s, err);
		return bad < 0 ? bad : rc;
	}
	if (t->observed_at_ns > o->clock.newest_ns) {
		o->clock.newest_ns = t->observed_at_ns;
		o->clock.received_ns = now;
	}
	o->clock.accepted_ns = s->received_at_ns = now;
	s->interval_s = t->interval_s;
	optimizer_series_cadence(s);
	*ret_changed =
		!before.known || before.value != p.tick.value || s->symbol == SYMBOL_POWER_DA || s->symbol == SYMBOL_ANCILLARY;
	if (optimizer_series_push(s, p.tick.valid_from_ns, p.tick.value) < 0)
		return HCP_ENOMEM;
	rc = store_point(ctx, s, p.tick.valid_from_ns, p.tick.value, err);
	if (rc == 0)
		rc = store_series(ctx, s, err);
	return rc < 0 ? rc : optimizer_history_take(o, ctx, s, &p.tick, err);
}

/* ---- the message ---- */

/* A feed that starts over (a replay from its beginning): after a silence the market begins anew. */
static int maybe_rewind(struct optimizer *o, struct svc_ctx *ctx, const Hcp__Ticks *t, struct err *err)
{
	int64_t newest = 0, now = svc_now_ns(ctx);
	for (size_t i = 0; i < t->n_ticks; i++)
		if (t->ticks[i]->observed_at_ns > newest)
			newest = t->ticks[i]->observed_at_ns;
	if (newest <= 0 || newest > o->clock.newest_ns - DAY_NS ||
		now - o->clock.accepted_ns < OPTIMIZER_REWIND_S * NS_PER_S)
		return 0;
	market_init(&o->market);
	o->subsidy = (struct market_value){ 0 };
	for (size_t i = 0; i < o->n_series; i++)
		o->series[i]->own = (struct market_value){ 0 };
	for (size_t i = 0; i < o->n_loc; i++)
		market_init(&o->loc[i]->market);
	o->clock = (struct market_clock){ 0 };
	int rc = db_run(svc_db(ctx), err,
		"UPDATE series SET known=0, value=0, observed_ns=0, valid_ns=0, source='', suspect=0,"
		" suspects=0",
		"");
	if (rc == 0)
		rc = db_run(svc_db(ctx), err, "DELETE FROM day_ahead", "");
	if (rc == 0)
		rc = optimizer_history_clear(o, ctx, err);
	return rc < 0 ? rc : optimizer_present_clear(o, ctx, err);
}

static bool is_fatal(int rc)
{
	return rc == HCP_ENOMEM || rc == HCP_EIO || rc == HCP_ENOSPC || rc == HCP_ECORRUPT || rc == HCP_EINTERNAL;
}

static int add_problem(struct svc_ctx *ctx, Hcp__TicksResult *result, size_t i, int code, struct err *err)
{
	result->rejected++;
	if (result->n_problems >= OPTIMIZER_PROBLEMS_MAX)
		return 0;
	char prefix[40];
	struct arena *a = svc_reply_arena(ctx);
	Hcp__Problem *p = arena_alloc(a, sizeof(*p));
	snprintf(prefix, sizeof(prefix), "ticks[%zu]", i);
	err_prefix(err, prefix);
	if (p) {
		hcp__problem__init(p);
		p->code = err_name(code);
		p->field = arena_strdup(a, err->field);
		p->detail = arena_strdup(a, err->text);
		if (!p->field || !p->detail)
			return HCP_ENOMEM;
	}
	return pb_push(a, &result->n_problems, &result->problems, p);
}

static int publish_moved(struct optimizer *o, struct svc_ctx *ctx, Hcp__MarketMoved *ev)
{
	ev->market_time_ns = optimizer_market_now_ns(o, svc_now_ns(ctx));
	return svc_publish(ctx, "", &ev->base);
}

int optimizer_on_ticks(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	struct optimizer *o = state;
	const Hcp__Ticks *t = (const Hcp__Ticks *)m->body;
	if ((!t->n_ticks && !t->n_sources) || t->n_ticks > OPTIMIZER_TICKS_MAX)
		return err_set(err, HCP_ERANGE, "ticks", "must be 1 to %d, were %zu", OPTIMIZER_TICKS_MAX, t->n_ticks);
	Hcp__TicksResult *result = svc_reply(ctx, MSG_TICKS_RESULT);
	Hcp__MarketMoved moved = HCP__MARKET_MOVED__INIT;
	moved.ticks = arena_alloc(svc_arena(ctx), (t->n_ticks + 1) * sizeof(*moved.ticks));
	if (!result || !moved.ticks)
		return HCP_ENOMEM;
	int64_t signal_ns = 0;
	int rc = t->n_sources ? optimizer_sources_put(o, t, err) : 0;
	if (rc == 0)
		rc = maybe_rewind(o, ctx, t, err);
	for (size_t i = 0; rc == 0 && i < t->n_ticks; i++) {
		bool changed = false;
		struct err why = { 0 };
		int bad = take_tick(o, ctx, t->ticks[i], &changed, &why);
		if (bad == 0) {
			result->accepted++;
			if (changed)
				moved.ticks[moved.n_ticks++] = t->ticks[i];
			if (changed && !signal_ns)
				signal_ns = t->ticks[i]->sent_at_ns;
		} else if (is_fatal(bad)) {
			return err_set(err, bad, why.field, "%s", why.text);
		} else {
			rc = add_problem(ctx, result, i, bad, &why);
		}
	}
	if (rc == 0 && result->accepted)
		rc = optimizer_tables_put(ctx, "clock", (struct str){ (const char *)&o->clock, sizeof(o->clock) }, err);
	if (rc == 0 && moved.n_ticks)
		rc = publish_moved(o, ctx, &moved);
	return rc < 0 || !moved.n_ticks ? rc : optimizer_decide(o, ctx, "price", signal_ns, err);
}
