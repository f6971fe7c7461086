#include "services/telemetry/telemetry.h"

#include <math.h>

#include "base/mem.h"
#include "services/telemetry/telemetry_priv.h"

/* minute  aggregates of site (k ''), class and node; by minute first, so that old rows go in one range */
static const char *const schema[] = {
	"CREATE TABLE device(id TEXT PRIMARY KEY, class TEXT NOT NULL) WITHOUT ROWID;"
	"CREATE TABLE minute(minute INTEGER NOT NULL, scope INTEGER NOT NULL, k TEXT NOT NULL, power_w REAL, hash_ths REAL,"
	"  temperature_c REAL, utilisation REAL, PRIMARY KEY(minute, scope, k)) WITHOUT ROWID;",
	NULL,
};

static void telemetry_close(void *state)
{
	struct telemetry *t = state;
	struct node *node;
	struct str id;
	size_t pos = 0;
	if (!t)
		return;
	while (map_next(&t->nodes, &pos, &id, (void **)&node)) {
		mem_free(node->series);
		mem_free(node);
	}
	for (size_t i = 0; i < t->n_dev; i++) {
		mem_free(t->dev[i]->ring);
		mem_free(t->dev[i]);
	}
	for (size_t i = 0; i < DEVICE_CLASS_MAX; i++)
		mem_free(t->cls[i]);
	mem_free(t->dev);
	map_release(&t->nodes);
	map_release(&t->devices);
	mem_free(t);
}

static int load_devices(struct telemetry *t, struct db *db, struct err *err)
{
	struct db_row *row;
	int rc;
	for (rc = db_query(db, &row, err, "SELECT id,class FROM device", ""); rc == 1; rc = db_next(row, err)) {
		const struct device_class *cls = device_class_find(db_text(row, 1));
		struct device *d;
		int bad = cls ? telemetry_device_get(t, db_text(row, 0), &d, err) : HCP_ELIMIT;
		if (bad == 0)
			d->cls = (int16_t)device_class_index(cls);
		if (bad == HCP_ENOMEM) {
			db_done(row);
			return bad;
		}
	}
	return rc;
}

static int series_of_row(struct telemetry *t, int64_t scope, struct str key, int64_t at_ns, struct series **ret,
			 struct err *err)
{
	char id[TELEMETRY_NAME_MAX];
	struct node *node;
	*ret = NULL;
	if (scope == SCOPE_SITE)
		*ret = &t->site;
	if (scope == SCOPE_CLASS) {
		const struct device_class *cls = device_class_find(key);
		*ret = cls ? telemetry_class_series(t, device_class_index(cls)) : NULL;
		return cls && !*ret ? err_set(err, HCP_ENOMEM, "", "out of memory") : 0;
	}
	if (scope != SCOPE_NODE || str_copy(id, sizeof(id), key) < 0)
		return 0;
	int rc = telemetry_node_get(t, id, &node, err);
	if (rc < 0)
		return rc;
	node->seen_ns = at_ns;
	*ret = node->series;
	return 0;
}

/* The last hour comes back with a point a minute: what lay between is gone, and is not made up. */
static int load_minutes(struct telemetry *t, struct db *db, struct err *err)
{
	struct db_row *row;
	int rc;
	for (rc = db_query(db, &row, err, "SELECT minute,scope,k,power_w,hash_ths,temperature_c,utilisation FROM minute"
			   " WHERE minute>(SELECT max(minute) FROM minute)-60 ORDER BY minute", ""); rc == 1;
	     rc = db_next(row, err)) {
		int64_t minute = db_i64(row, 0);
		float v[TELEMETRY_METRICS];
		struct series *s;
		int bad = series_of_row(t, db_i64(row, 1), db_text(row, 2), minute * 60 * INT64_C(1000000000), &s, err);
		if (bad < 0) {
			db_done(row);
			return bad;
		}
		for (int k = 0; k < TELEMETRY_METRICS; k++)
			v[k] = db_is_null(row, 3 + k) ? NAN : (float)db_double(row, 3 + k);
		if (s)
			telemetry_series_put(s, minute * (60 / TELEMETRY_STEP_S), v);
	}
	return rc;
}

static int telemetry_open(struct svc *svc, struct db *db, const void *conf, void **ret_state, struct err *err)
{
	struct telemetry *t = mem_calloc(1, sizeof(*t));
	if (!t)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	telemetry_series_init(&t->site);
	map_init(&t->nodes);
	map_init(&t->devices);
	int rc = load_devices(t, db, err);
	if (rc == 0)
		rc = load_minutes(t, db, err);
	if (rc < 0) {
		telemetry_close(t);
		return rc;
	}
	*ret_state = t;
	return 0;
}

/* Samples change memory alone, so like a query they need no transaction: a sync for each batch would be for nothing. */
static const struct svc_handler handlers[] = {
	{ MSG_SAMPLES, telemetry_on_samples, true },
	{ MSG_DEVICES_CHANGED, telemetry_on_devices, false },
	{ MSG_SERIES_GET, telemetry_on_series, true },
	{ 0 },
};

const struct svc_def telemetry_def = {
	.id = SVC_TELEMETRY,
	.schema = schema,
	.handlers = handlers,
	.open = telemetry_open,
	.close = telemetry_close,
	.timer = telemetry_timer,
	.timer_ms = 60000, /* the timer itself asks to be woken at each step; this starts it */
	.patient = true,
	.no_journal = true,
};
