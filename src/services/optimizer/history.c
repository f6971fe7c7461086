/*
 * The history that policies see, kept from the ticks as they come. A value of an interval enters when the interval is
 * over and it is final; what was told before waits in its series. A day-ahead price enters when it is told, and a price
 * of electricity that is of no interval settles nothing and does not enter.
 */
#include <math.h>

#include "base/money.h"
#include "services/optimizer/optimizer_priv.h"

#define HOUR_NS (3600 * NS_PER_S)
#define DAY_NS (24 * HOUR_NS)

static const enum history_kind kind_of[SYMBOL_END] = {
	[SYMBOL_POWER_RT] = HISTORY_POWER_RT,
	[SYMBOL_POWER_DA] = HISTORY_POWER_DA,
	[SYMBOL_BTC_USD] = HISTORY_BTC_USD,
	[SYMBOL_DIFFICULTY] = HISTORY_DIFFICULTY,
	[SYMBOL_FEES] = HISTORY_FEES_BTC,
	[SYMBOL_HEIGHT] = HISTORY_KIND_END, /* not kept */
	[SYMBOL_GPU_RATE] = HISTORY_GPU_RATE,
	[SYMBOL_SUBSIDY] = HISTORY_SUBSIDY_BTC,
	[SYMBOL_ANCILLARY] = HISTORY_ANCILLARY,
};

/* ---- chunks of a series in the tables ---- */

static int64_t slot_number(const struct history_series *s, size_t i)
{
	return s->first_ns / s->step_ns + (int64_t)i;
}

static size_t index_of(const struct optimizer *o, const struct history_series *s)
{
	size_t i = 0;
	while (o->history.s[i] != s)
		i++;
	return i;
}

static int store_series(struct optimizer *o, struct svc_ctx *ctx, const struct history_series *s, struct err *err)
{
	return db_run(svc_db(ctx), err,
		"INSERT INTO history_series(id,kind,location,step_ns,phase_ns) VALUES($1,$2,$3,$4,$5)"
		" ON CONFLICT(id) DO UPDATE SET step_ns=excluded.step_ns, phase_ns=excluded.phase_ns",
		"iizii", (int64_t)index_of(o, s), (int64_t)s->kind, s->location, s->step_ns, s->first_ns % s->step_ns);
}

static int store_chunk(
	struct optimizer *o, struct svc_ctx *ctx, const struct history_series *s, int64_t chunk, struct err *err)
{
	double v[OPTIMIZER_CHUNK_SLOTS];
	for (int i = 0; i < OPTIMIZER_CHUNK_SLOTS; i++) {
		int64_t at = chunk * OPTIMIZER_CHUNK_SLOTS + i - slot_number(s, 0);
		v[i] = at >= 0 && at < (int64_t)s->n ? s->slot[at] : NAN;
	}
	return db_run(svc_db(ctx), err, "INSERT INTO history_chunk(series,chunk,body) VALUES($1,$2,$3)"
		" ON CONFLICT(series,chunk) DO UPDATE SET body=excluded.body", "iib", (int64_t)index_of(o, s), chunk,
		(struct str){ (const char *)v, sizeof(v) });
}

/* The oldest chunks go, from memory and the tables alike, so that a restart finds what was there. */
static int keep_bound(
	struct optimizer *o, struct svc_ctx *ctx, struct history_series *s, int64_t newest_chunk, struct err *err)
{
	int64_t oldest = newest_chunk - OPTIMIZER_CHUNKS_MAX + 1;
	if (slot_number(s, 0) / OPTIMIZER_CHUNK_SLOTS >= oldest)
		return 0;
	history_forget(s, oldest * OPTIMIZER_CHUNK_SLOTS * s->step_ns);
	return db_run(svc_db(ctx), err, "DELETE FROM history_chunk WHERE series=$1 AND chunk<$2", "ii",
		(int64_t)index_of(o, s), oldest);
}

static int start_over(struct optimizer *o, struct svc_ctx *ctx, struct history_series *s, struct err *err)
{
	history_forget(s, INT64_MAX);
	return db_run(svc_db(ctx), err, "DELETE FROM history_chunk WHERE series=$1", "i", (int64_t)index_of(o, s));
}

static int add(struct optimizer *o, struct svc_ctx *ctx, enum history_kind kind, const char *location,
	const struct history_pending *v, struct err *err)
{
	struct history *h = &o->history;
	struct history_series *s = history_series_of(h, kind, location);
	int rc = history_add(h, kind, location, v->start_ns, v->step_ns, v->value, NULL);
	/* After a gap of years, or when its interval has another length now, a series begins anew. */
	if (s && (rc == HCP_ELIMIT || (rc == HCP_EINVAL && v->step_ns != s->step_ns))) {
		rc = start_over(o, ctx, s, err);
		if (rc < 0)
			return rc;
		rc = history_add(h, kind, location, v->start_ns, v->step_ns, v->value, NULL);
	}
	if (rc < 0) /* told before, off its grid, a name too long: no history, but a price */
		return rc == HCP_ENOMEM ? rc : 0;
	bool fresh = !s || s->n == 1;
	s = history_series_of(h, kind, location);
	int64_t chunk = v->start_ns / v->step_ns / OPTIMIZER_CHUNK_SLOTS;
	if (fresh)
		rc = store_series(o, ctx, s, err);
	if (rc == 0)
		rc = store_chunk(o, ctx, s, chunk, err);
	return rc < 0 ? rc : keep_bound(o, ctx, s, slot_number(s, s->n - 1) / OPTIMIZER_CHUNK_SLOTS, err);
}

/* ---- what comes in ---- */

static int store_pending(struct svc_ctx *ctx, const struct series *s, struct err *err)
{
	return db_run(svc_db(ctx), err, "UPDATE series SET pend_start_ns=$2, pend_step_ns=$3, pend_value=$4 WHERE id=$1",
		"iiid", s->id, s->pending.start_ns, s->pending.step_ns, s->pending.value);
}

static int enter_pending(struct optimizer *o, struct svc_ctx *ctx, struct series *s, struct err *err)
{
	struct history_pending v = s->pending;
	s->pending = (struct history_pending){ 0 };
	int rc = add(o, ctx, kind_of[s->symbol], s->location, &v, err);
	return rc < 0 ? rc : store_pending(ctx, s, err);
}

int optimizer_history_take(
	struct optimizer *o, struct svc_ctx *ctx, struct series *s, const struct market_tick *t, struct err *err)
{
	enum history_kind kind = kind_of[s->symbol];
	struct history_pending v = { .start_ns = t->valid_from_ns, .step_ns = s->interval_s * NS_PER_S, .value = t->value };
	bool quote = !v.step_ns && kind == HISTORY_BTC_USD;
	if (kind == HISTORY_KIND_END || (!v.step_ns && kind == HISTORY_POWER_RT))
		return 0;
	bool ahead = kind == HISTORY_POWER_DA || kind == HISTORY_ANCILLARY;
	if (!v.step_ns && ahead) {
		v.step_ns = HOUR_NS;
	} else if (!v.step_ns) {
		/* Of quotes the close of an hour is kept; a rate or a state of the network counts from the start of its day. */
		v.step_ns = quote ? HOUR_NS : DAY_NS;
		v.start_ns = t->observed_at_ns / v.step_ns * v.step_ns;
	}
	int rc = 0;
	if (s->pending.step_ns && s->pending.start_ns != v.start_ns)
		rc = enter_pending(o, ctx, s, err);
	if (rc < 0)
		return rc;
	int64_t now_ns = optimizer_market_now_ns(o, svc_now_ns(ctx));
	if (history_known_ns(kind, v.start_ns, v.step_ns) > now_ns && !ahead && (s->interval_s || quote)) {
		s->pending = v;
		return store_pending(ctx, s, err);
	}
	if (s->pending.step_ns) {
		s->pending = (struct history_pending){ 0 };
		rc = store_pending(ctx, s, err);
	}
	return rc < 0 ? rc : add(o, ctx, kind, s->location, &v, err);
}

int optimizer_history_advance(struct optimizer *o, struct svc_ctx *ctx, int64_t market_ns, struct err *err)
{
	int rc = 0;
	for (size_t i = 0; i < o->n_series && rc == 0; i++) {
		struct series *s = o->series[i];
		if (s->pending.step_ns && s->pending.start_ns + s->pending.step_ns <= market_ns)
			rc = enter_pending(o, ctx, s, err);
	}
	return rc;
}

int optimizer_history_clear(struct optimizer *o, struct svc_ctx *ctx, struct err *err)
{
	uint64_t version = o->history.version;
	history_release(&o->history);
	o->history.version = version + 1;
	for (size_t i = 0; i < o->n_series; i++)
		o->series[i]->pending = (struct history_pending){ 0 };
	int rc = optimizer_models_forget(o, ctx, err);
	if (rc == 0)
		rc = db_run(svc_db(ctx), err, "DELETE FROM history_series", "");
	if (rc == 0)
		rc = db_run(svc_db(ctx), err, "DELETE FROM history_chunk", "");
	return rc < 0 ? rc
				  : db_run(svc_db(ctx), err, "UPDATE series SET pend_start_ns=0, pend_step_ns=0, pend_value=0", "");
}

const struct history *optimizer_history(const void *state)
{
	const struct optimizer *o = state;
	return &o->history;
}

/* ---- at a start ---- */

struct place {
	enum history_kind kind;
	char location[HISTORY_LOCATION_MAX];
	int64_t step_ns, phase_ns;
};

static int load_chunk(struct optimizer *o, const struct place *p, int64_t chunk, struct str body)
{
	double v[OPTIMIZER_CHUNK_SLOTS];
	if (body.n != sizeof(v))
		return HCP_ECORRUPT;
	memcpy(v, body.p, sizeof(v));
	for (int i = 0; i < OPTIMIZER_CHUNK_SLOTS; i++) {
		int64_t start_ns = (chunk * OPTIMIZER_CHUNK_SLOTS + i) * p->step_ns + p->phase_ns;
		if (isnan(v[i]))
			continue;
		int rc = history_add(&o->history, p->kind, p->location, start_ns, p->step_ns, v[i], NULL);
		if (rc < 0)
			return rc == HCP_ENOMEM ? rc : HCP_ECORRUPT;
	}
	return 0;
}

static int load_places(struct db *db, struct place *p, size_t *ret_n, struct err *err)
{
	struct db_row *row;
	size_t n = 0;
	int rc;
	for (rc = db_query(db, &row, err, "SELECT id,kind,location,step_ns,phase_ns FROM history_series ORDER BY id", "");
		 rc == 1; rc = db_next(row, err)) {
		int64_t kind = db_i64(row, 1);
		if (n == HISTORY_SERIES_MAX || db_i64(row, 0) != (int64_t)n || kind < 0 || kind >= HISTORY_KIND_END ||
			db_i64(row, 3) <= 0 || str_copy(p[n].location, sizeof(p[n].location), db_text(row, 2)) < 0) {
			db_done(row);
			return HCP_ECORRUPT;
		}
		p[n].kind = (enum history_kind)kind;
		p[n].step_ns = db_i64(row, 3);
		p[n].phase_ns = db_i64(row, 4);
		n++;
	}
	*ret_n = n;
	return rc;
}

int optimizer_history_load(struct optimizer *o, struct db *db, struct err *err)
{
	struct place place[HISTORY_SERIES_MAX];
	struct db_row *row;
	size_t n = 0;
	int rc = load_places(db, place, &n, err);
	for (size_t i = 0; i < n && rc == 0; i++)
		for (rc = db_query(db, &row, err, "SELECT chunk,body FROM history_chunk WHERE series=$1 ORDER BY chunk", "i",
				 (int64_t)i);
			 rc == 1; rc = db_next(row, err)) {
			int bad = load_chunk(o, &place[i], db_i64(row, 0), db_blob(row, 1));
			if (bad < 0) {
				db_done(row);
				rc = bad;
				break;
			}
		}
	return rc == HCP_ECORRUPT ? err_set(err, rc, "history", "a stored row cannot be read") : rc;
}
