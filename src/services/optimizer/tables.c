/* The tables, and the state as they have it. */
#include "base/mem.h"
#include "services/optimizer/optimizer_priv.h"

/*
 * series      newest value of each symbol and location; n counts its points, suspect* is a held-back outlier
 * point       ring of the newest OPTIMIZER_POINTS_MAX points a series
 * day_ahead   the hours that the market keeps, in the same places
 * capacity, demand   the last word of resources and router
 * history_*   OPTIMIZER_CHUNK_SLOTS intervals a row, NAN where nothing is known; slot i of chunk c begins at
 *             (c * OPTIMIZER_CHUNK_SLOTS + i) * step + phase
 * cohorts     since when devices are in their uses (struct cohort)
 * plan        the newest OPTIMIZER_PLANS_MAX plans
 * model       trained models: kind and name as in MarketModel; body as its own header has it
 * outlook     what forecasts of a point were worth (struct outlook_books)
 * learned     switching time by class and use
 * decision    the ledger; moved_* are bit sets of catalogue classes of which devices moved into that use
 * state       policy, clock, announcement, guard
 */
const char *const optimizer_schema[] = {
	"CREATE TABLE series(id INTEGER PRIMARY KEY, symbol TEXT NOT NULL, location TEXT NOT NULL, known INTEGER NOT NULL,"
	"  value REAL NOT NULL, observed_ns INTEGER NOT NULL, valid_ns INTEGER NOT NULL, received_ns INTEGER NOT NULL,"
	"  source TEXT NOT NULL, suspect REAL NOT NULL, suspects INTEGER NOT NULL, n INTEGER NOT NULL,"
	"  UNIQUE(symbol, location));"
	"CREATE TABLE point(series INTEGER NOT NULL, slot INTEGER NOT NULL, at_ns INTEGER NOT NULL, value REAL NOT NULL,"
	"  PRIMARY KEY(series, slot)) WITHOUT ROWID;"
	"CREATE TABLE day_ahead(location TEXT NOT NULL, slot INTEGER NOT NULL, valid_ns INTEGER NOT NULL,"
	"  value REAL NOT NULL, PRIMARY KEY(location, slot)) WITHOUT ROWID;"
	"CREATE TABLE capacity(facility TEXT NOT NULL, class TEXT NOT NULL, body BLOB NOT NULL,"
	"  PRIMARY KEY(facility, class)) WITHOUT ROWID;"
	"CREATE TABLE demand(class TEXT PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID;"
	"CREATE TABLE learned(class TEXT NOT NULL, use INTEGER NOT NULL, ms REAL NOT NULL, n INTEGER NOT NULL,"
	"  PRIMARY KEY(class, use)) WITHOUT ROWID;"
	"CREATE TABLE decision(n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, at_ns INTEGER NOT NULL,"
	"  market_ns INTEGER NOT NULL, changed INTEGER NOT NULL, moved_mine INTEGER NOT NULL, moved_serve INTEGER NOT NULL,"
	"  moved_idle INTEGER NOT NULL, body BLOB NOT NULL);"
	"CREATE INDEX decision_changed ON decision(n) WHERE changed = 1;"
	"CREATE TABLE state(k TEXT PRIMARY KEY, v BLOB NOT NULL) WITHOUT ROWID;",
	"ALTER TABLE series ADD COLUMN interval_s INTEGER NOT NULL DEFAULT 0;",
	"ALTER TABLE series ADD COLUMN pend_start_ns INTEGER NOT NULL DEFAULT 0;"
	"ALTER TABLE series ADD COLUMN pend_step_ns INTEGER NOT NULL DEFAULT 0;"
	"ALTER TABLE series ADD COLUMN pend_value REAL NOT NULL DEFAULT 0;"
	"CREATE TABLE history_series(id INTEGER PRIMARY KEY, kind INTEGER NOT NULL, location TEXT NOT NULL,"
	"  step_ns INTEGER NOT NULL, phase_ns INTEGER NOT NULL);"
	"CREATE TABLE history_chunk(series INTEGER NOT NULL, chunk INTEGER NOT NULL, body BLOB NOT NULL,"
	"  PRIMARY KEY(series, chunk)) WITHOUT ROWID;"
	"CREATE TABLE cohorts(facility TEXT NOT NULL, class TEXT NOT NULL, body BLOB NOT NULL,"
	"  PRIMARY KEY(facility, class)) WITHOUT ROWID;",
	"CREATE TABLE plan(n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, facility TEXT NOT NULL,"
	"  basis INTEGER NOT NULL, head BLOB NOT NULL,"
	"  body BLOB NOT NULL);"
	"CREATE INDEX plan_facility ON plan(facility, n);",
	"CREATE TABLE model(kind TEXT NOT NULL, name TEXT NOT NULL, trained INTEGER NOT NULL, source TEXT NOT NULL,"
	"  to_ns INTEGER NOT NULL, taken_ns INTEGER NOT NULL, body BLOB NOT NULL, PRIMARY KEY(kind, name, trained));"
	"CREATE TABLE outlook(point TEXT PRIMARY KEY, books BLOB NOT NULL) WITHOUT ROWID;",
	"CREATE TABLE wanted_hour(class TEXT NOT NULL, hour_ns INTEGER NOT NULL, devices REAL NOT NULL,"
	"  PRIMARY KEY(class, hour_ns)) WITHOUT ROWID;",
	NULL,
};

int optimizer_tables_put(struct svc_ctx *ctx, const char *k, struct str v, struct err *err)
{
	return db_run(svc_db(ctx), err, "INSERT INTO state(k,v) VALUES($1,$2) ON CONFLICT(k) DO UPDATE SET v=excluded.v",
		      "zb", k, v);
}

static int corrupt(struct db_row *row, const char *table, struct err *err)
{
	db_done(row);
	return err_set(err, HCP_ECORRUPT, table, "a stored row cannot be read");
}

static int load_one_series(struct optimizer *o, struct db_row *row, struct err *err)
{
	char name[OPTIMIZER_NAME_MAX], location[OPTIMIZER_NAME_MAX];
	enum symbol symbol;
	struct series *s;
	if (str_copy(name, sizeof(name), db_text(row, 1)) < 0 || optimizer_symbol_parse(name, &symbol) < 0 ||
	    str_copy(location, sizeof(location), db_text(row, 2)) < 0)
		return HCP_ECORRUPT;
	int rc = optimizer_series_add(o, db_i64(row, 0), symbol, location, &s, err);
	if (rc < 0)
		return rc;
	struct market_value *v = s->value;
	v->known = db_i64(row, 3) != 0;
	v->value = db_double(row, 4);
	v->observed_at_ns = db_i64(row, 5);
	v->valid_from_ns = db_i64(row, 6);
	s->received_at_ns = db_i64(row, 7);
	v->suspect = db_double(row, 9);
	v->suspects = (int)db_i64(row, 10);
	s->n = db_i64(row, 11);
	s->interval_s = (int32_t)db_i64(row, 12);
	s->pending = (struct history_pending){ db_i64(row, 13), db_i64(row, 14), db_double(row, 15) };
	optimizer_series_cadence(s);
	return str_copy(v->source, sizeof(v->source), db_text(row, 8)) < 0 ? HCP_ECORRUPT : 0;
}

static int load_points(struct series *s, struct db *db, struct err *err)
{
	struct db_row *row;
	int64_t n = s->n, have = n < OPTIMIZER_POINTS_MAX ? n : OPTIMIZER_POINTS_MAX;
	int rc;
	s->cap = have ? (size_t)have : 0;
	s->ring = have ? mem_calloc((size_t)have, sizeof(*s->ring)) : NULL;
	if (have && !s->ring)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	for (rc = db_query(db, &row, err, "SELECT slot,at_ns,value FROM point WHERE series=$1", "i", s->id); rc == 1;
	     rc = db_next(row, err)) {
		int64_t slot = db_i64(row, 0);
		if (slot < 0 || slot >= have)
			return corrupt(row, "point", err);
		s->ring[slot] = (struct series_point){ db_i64(row, 1), db_double(row, 2) };
	}
	return rc;
}

static int load_series(struct optimizer *o, struct db *db, struct err *err)
{
	struct db_row *row;
	int rc, bad;
	for (rc = db_query(db, &row, err,
			 "SELECT id,symbol,location,known,value,observed_ns,valid_ns,received_ns,source,"
			 "suspect,suspects,n,interval_s,pend_start_ns,pend_step_ns,pend_value FROM series ORDER BY id",
			 "");
		 rc == 1; rc = db_next(row, err)) {
		bad = load_one_series(o, row, err);
		if (bad < 0)
			return bad == HCP_ENOMEM ? (db_done(row), bad) : corrupt(row, "series", err);
	}
	for (size_t i = 0; rc == 0 && i < o->n_series; i++)
		rc = load_points(o->series[i], db, err);
	if (rc < 0)
		return rc;
	for (rc = db_query(db, &row, err, "SELECT location,slot,valid_ns,value FROM day_ahead", ""); rc == 1;
	     rc = db_next(row, err)) {
		int64_t slot = db_i64(row, 1);
		if (slot < 0 || slot >= MARKET_DA_HOURS)
			return corrupt(row, "day_ahead", err);
		for (size_t i = 0; i < o->n_loc; i++)
			if (str_eqz(db_text(row, 0), o->loc[i]->name))
				o->loc[i]->market.da[slot] = (struct market_da_hour){ db_i64(row, 2), db_double(row, 3), true };
	}
	return rc;
}

static int load_fleet(struct optimizer *o, struct db *db, struct err *err)
{
	struct db_row *row;
	struct arena a;
	int rc;
	arena_init(&a, 4096, 0);
	for (rc = db_query(db, &row, err, "SELECT body FROM capacity ORDER BY facility,class", ""); rc == 1;
	     rc = db_next(row, err)) {
		Hcp__ClassCapacity *c = (void *)pb_unpack_arena(&hcp__class_capacity__descriptor, db_blob(row, 0), &a);
		int bad = c ? optimizer_fleet_put(o, c) : HCP_ECORRUPT;
		if (bad < 0) {
			rc = corrupt(row, "capacity", err);
			if (bad == HCP_ENOMEM)
				rc = err_set(err, bad, "", "out of memory");
			goto out;
		}
	}
	if (rc < 0)
		goto out;
	for (rc = db_query(db, &row, err, "SELECT body FROM demand ORDER BY class", ""); rc == 1; rc = db_next(row, err)) {
		Hcp__Demand *d = (void *)pb_unpack_arena(&hcp__demand__descriptor, db_blob(row, 0), &a);
		if (!d) {
			rc = corrupt(row, "demand", err);
			goto out;
		}
		optimizer_fleet_put_demand(o, d);
	}
	if (rc < 0)
		goto out;
	for (rc = db_query(db, &row, err, "SELECT class,use,ms FROM learned", ""); rc == 1; rc = db_next(row, err)) {
		const struct device_class *cls = device_class_find(db_text(row, 0));
		int64_t use = db_i64(row, 1);
		if (cls && use >= 0 && use < POLICY_USE_END)
			o->switch_ms[device_class_index(cls)][use] = db_double(row, 2);
	}
out:
	arena_release(&a);
	return rc;
}

static int load_last(struct optimizer *o, struct db *db, struct err *err)
{
	struct db_row *row;
	int rc = db_query(db, &row, err, "SELECT n,at_ns,market_ns,body FROM decision ORDER BY n DESC LIMIT 1", "");
	if (rc != 1)
		return rc;
	o->last_n = db_i64(row, 0);
	o->stored_wall_ns = db_i64(row, 1);
	o->stored_market_ns = db_i64(row, 2);
	buf_adds(&o->last, db_blob(row, 3));
	db_done(row);
	struct arena a;
	arena_init(&a, 4096, 0);
	Hcp__Decision *d = (void *)pb_unpack_arena(&hcp__decision__descriptor, buf_str(&o->last), &a);
	if (d)
		optimizer_fleet_targets_from(o, d);
	arena_release(&a);
	if (buf_failed(&o->last))
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	return d ? 0 : err_set(err, HCP_ECORRUPT, "decision", "the last decision cannot be read");
}

static int take_state(struct optimizer *o, struct str k, struct str v, struct err *err)
{
	if (str_eqz(k, "policy")) {
		const struct policy_vt *vt = policy_find(v);
		if (!vt)
			return HCP_ECORRUPT;
		return optimizer_policy_begin(&o->policy, vt, NULL, err);
	}
	if (str_eqz(k, "policy_state"))
		return optimizer_policy_restore(o, v, err);
	if (str_eqz(k, "guard"))
		return optimizer_guard_restore(o, v);
	if (str_eqz(k, "clock") && v.n == sizeof(o->clock))
		memcpy(&o->clock, v.p, sizeof(o->clock));
	if (str_eqz(k, "announced") && v.n == 16) {
		int64_t two[2];
		memcpy(two, v.p, sizeof(two));
		o->announced_ns = two[0];
		o->announced_paid = two[1] != 0;
	}
	return 0;
}

int optimizer_tables_load(struct optimizer *o, struct db *db, struct err *err)
{
	struct db_row *row;
	int rc = load_series(o, db, err);
	if (rc == 0)
		rc = optimizer_history_load(o, db, err);
	if (rc == 0)
		rc = optimizer_models_load(o, db, err);
	if (rc == 0)
		rc = load_fleet(o, db, err);
	if (rc == 0)
		rc = optimizer_present_load(o, db, err);
	if (rc == 0)
		rc = optimizer_plans_load(o, db, err);
	if (rc < 0)
		return rc;
	/* By name: "policy" comes before "policy_state". */
	for (rc = db_query(db, &row, err, "SELECT k,v FROM state ORDER BY k", ""); rc == 1; rc = db_next(row, err)) {
		if (take_state(o, db_text(row, 0), db_blob(row, 1), err) < 0)
			return corrupt(row, "state", err);
	}
	return rc < 0 ? rc : load_last(o, db, err);
}
