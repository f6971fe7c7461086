/* Readings come in; every 5 s they become points, every minute rows. */
#include <math.h>
#include <stdio.h>

#include "base/mem.h"
#include "base/money.h"
#include "services/telemetry/telemetry_priv.h"

#define HOUR_NS (3600 * NS_PER_S)
#define MINUTE_NS (60 * NS_PER_S)

/* ---- who sends ---- */

int telemetry_device_get(struct telemetry *t, struct str id, struct device **ret, struct err *err)
{
	*ret = map_get(&t->devices, id);
	if (*ret)
		return 0;
	if (t->n_dev == TELEMETRY_KNOWN_MAX)
		return err_set(err, HCP_ELIMIT, "device_id", "there are %d devices already", TELEMETRY_KNOWN_MAX);
	if (t->n_dev == t->cap_dev) {
		size_t cap = t->cap_dev ? t->cap_dev * 2 : 64;
		struct device **more = mem_realloc(t->dev, cap * sizeof(struct device *));
		if (!more)
			return err_set(err, HCP_ENOMEM, "", "out of memory");
		t->dev = more;
		t->cap_dev = cap;
	}
	struct device *d = mem_calloc(1, sizeof(*d) + id.n + 1);
	if (d)
		memcpy(d->id, id.p, id.n);
	if (!d || map_put_ref(&t->devices, (struct str){ d->id, id.n }, d, NULL) < 0) {
		mem_free(d);
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	}
	d->cls = -1;
	t->dev[t->n_dev++] = d;
	*ret = d;
	return 0;
}

int telemetry_node_get(struct telemetry *t, const char *id, struct node **ret, struct err *err)
{
	struct node *n = map_get(&t->nodes, str_of(id));
	if (!n) {
		n = mem_calloc(1, sizeof(*n));
		if (!n || map_put(&t->nodes, str_of(id), n, NULL) < 0) {
			mem_free(n);
			return err_set(err, HCP_ENOMEM, "", "out of memory");
		}
		snprintf(n->id, sizeof(n->id), "%s", id);
	}
	if (!n->series && t->n_node_series < TELEMETRY_NODES_MAX) {
		n->series = mem_alloc(sizeof(*n->series));
		if (!n->series)
			return err_set(err, HCP_ENOMEM, "", "out of memory");
		telemetry_series_init(n->series);
		t->n_node_series++;
	}
	*ret = n;
	return 0;
}

struct series *telemetry_class_series(struct telemetry *t, size_t cls)
{
	if (!t->cls[cls]) {
		t->cls[cls] = mem_alloc(sizeof(*t->cls[cls]));
		if (t->cls[cls])
			telemetry_series_init(t->cls[cls]);
	}
	return t->cls[cls];
}

static int want_ring(struct telemetry *t, struct device *d, int64_t minute, struct err *err)
{
	if (d->ring || t->n_rings == TELEMETRY_DEVICES_MAX)
		return 0;
	d->ring = mem_alloc(sizeof(*d->ring));
	if (!d->ring)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	telemetry_ring_init(d->ring);
	d->minute = minute;
	memset(d->n, 0, sizeof(d->n));
	memset(d->sum, 0, sizeof(d->sum));
	t->n_rings++;
	return 0;
}

/* ---- readings ---- */

/* A sensor that says nonsense has no value; its neighbours do. */
static void values_of(const Hcp__DeviceReading *r, float v[TELEMETRY_METRICS])
{
	v[METRIC_POWER_W] = r->power_w >= 0 && r->power_w <= 10000000 ? (float)r->power_w : NAN;
	v[METRIC_HASH_THS] = isfinite(r->hash_ths) && r->hash_ths >= 0 && r->hash_ths <= 1e9 ? (float)r->hash_ths : NAN;
	v[METRIC_TEMPERATURE_C] = r->temperature_c >= -100 && r->temperature_c <= 300 ? (float)r->temperature_c : NAN;
	v[METRIC_UTILISATION] =
		isfinite(r->utilisation) && r->utilisation >= 0 && r->utilisation <= 1 ? (float)r->utilisation : NAN;
}

static int check_samples(const Hcp__Samples *s, struct err *err)
{
	if (!s->node_id[0] || strlen(s->node_id) >= TELEMETRY_NAME_MAX)
		return err_set(err, HCP_EINVAL, "node_id", "must have 1 to %d characters", TELEMETRY_NAME_MAX - 1);
	if (s->n_readings > TELEMETRY_READINGS_MAX)
		return err_set(
			err, HCP_ERANGE, "readings", "must be at most %d, were %zu", TELEMETRY_READINGS_MAX, s->n_readings);
	for (size_t i = 0; i < s->n_readings; i++)
		if (!s->readings[i]->device_id[0] || strlen(s->readings[i]->device_id) >= TELEMETRY_NAME_MAX)
			return err_set(
				err, HCP_EINVAL, "readings.device_id", "must have 1 to %d characters", TELEMETRY_NAME_MAX - 1);
	return 0;
}

/* The time is ours, not the sender's: clocks of nodes differ, and points must not. */
int telemetry_on_samples(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	struct telemetry *t = state;
	const Hcp__Samples *s = (const Hcp__Samples *)m->body;
	int64_t now = svc_now_ns(ctx), minute = now / MINUTE_NS;
	struct node *node;
	int rc = check_samples(s, err);
	if (rc == 0)
		rc = telemetry_node_get(t, s->node_id, &node, err);
	if (rc < 0)
		return rc;
	node->seen_ns = now;
	for (size_t i = 0; i < s->n_readings; i++) {
		char id[2 * TELEMETRY_NAME_MAX];
		float v[TELEMETRY_METRICS];
		struct device *d;
		snprintf(id, sizeof(id), "%s/%s", s->node_id, s->readings[i]->device_id);
		rc = telemetry_device_get(t, str_of(id), &d, err);
		if (rc == HCP_ELIMIT)
			continue; /* too many to know each; the others count */
		if (rc == 0)
			rc = want_ring(t, d, minute, err);
		if (rc < 0)
			return rc;
		values_of(s->readings[i], v);
		d->node = node;
		d->seen_ns = now;
		telemetry_device_roll(d, minute);
		telemetry_device_add(d, v);
	}
	return 0;
}

int telemetry_on_devices(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	struct telemetry *t = state;
	const Hcp__DevicesChanged *ev = (const Hcp__DevicesChanged *)m->body;
	for (size_t i = 0; i < ev->n_devices; i++) {
		const Hcp__Device *from = ev->devices[i];
		const struct device_class *cls = device_class_find(str_of(from->device_class));
		struct device *d;
		if (!cls || !from->id[0] || strlen(from->id) >= 2 * TELEMETRY_NAME_MAX)
			continue; /* counts in node and site all the same */
		int rc = telemetry_device_get(t, str_of(from->id), &d, err);
		if (rc == HCP_ELIMIT)
			continue;
		if (rc < 0)
			return rc;
		if (d->cls == (int16_t)device_class_index(cls))
			continue;
		d->cls = (int16_t)device_class_index(cls);
		rc = db_run(svc_db(ctx), err, "INSERT INTO device(id,class) VALUES($1,$2) ON CONFLICT(id) DO UPDATE SET"
			    " class=excluded.class", "zz", from->id, cls->name);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* ---- points ---- */

static void collect(struct series *s, const float v[TELEMETRY_METRICS])
{
	for (int k = 0; s && k < TELEMETRY_METRICS; k++) {
		if (isnan(v[k]))
			continue;
		s->sum[k] += (double)v[k];
		s->n[k]++;
	}
}

/* Power and hash rate add up; temperature and utilisation are means. */
static void finish(struct series *s, int64_t bucket)
{
	float v[TELEMETRY_METRICS];
	bool any = false;
	for (int k = 0; k < TELEMETRY_METRICS; k++) {
		bool mean = k == METRIC_TEMPERATURE_C || k == METRIC_UTILISATION;
		v[k] = s->n[k] ? (float)(mean ? s->sum[k] / s->n[k] : s->sum[k]) : NAN;
		any = any || s->n[k];
		s->sum[k] = 0;
		s->n[k] = 0;
	}
	if (any)
		telemetry_series_put(s, bucket, v);
}

static int make_points(struct telemetry *t, int64_t now_ns, int64_t bucket, struct err *err)
{
	struct node *node;
	struct str id;
	size_t pos = 0;
	for (size_t i = 0; i < t->n_dev; i++) {
		struct device *d = t->dev[i];
		if (!d->node || now_ns - d->seen_ns > TELEMETRY_FRESH_S * NS_PER_S)
			continue;
		collect(&t->site, d->last);
		collect(d->node->series, d->last);
		if (d->cls < 0)
			continue;
		struct series *s = telemetry_class_series(t, (size_t)d->cls);
		if (!s)
			return err_set(err, HCP_ENOMEM, "", "out of memory");
		collect(s, d->last);
	}
	finish(&t->site, bucket);
	for (size_t i = 0; i < DEVICE_CLASS_MAX; i++)
		if (t->cls[i])
			finish(t->cls[i], bucket);
	while (map_next(&t->nodes, &pos, &id, (void **)&node))
		if (node->series)
			finish(node->series, bucket);
	return 0;
}

/* ---- rows ---- */

static int store_minute(struct svc_ctx *ctx, const struct series *s, enum scope scope, const char *key, int64_t minute,
			struct err *err)
{
	float v[TELEMETRY_METRICS];
	if (!s || !telemetry_series_minute(s, minute, v))
		return 0;
	/* SQLite turns NaN into NULL: no value. */
	return db_run(svc_db(ctx), err, "INSERT INTO minute(minute,scope,k,power_w,hash_ths,temperature_c,utilisation)"
		      " VALUES($1,$2,$3,$4,$5,$6,$7) ON CONFLICT(minute,scope,k) DO UPDATE SET power_w=excluded.power_w,"
		      " hash_ths=excluded.hash_ths, temperature_c=excluded.temperature_c, utilisation=excluded.utilisation",
		      "iizdddd", minute, (int64_t)scope, key, (double)v[0], (double)v[1], (double)v[2], (double)v[3]);
}

static int store_all(struct telemetry *t, struct svc_ctx *ctx, int64_t minute, struct err *err)
{
	struct node *node;
	struct str id;
	size_t pos = 0;
	int rc = store_minute(ctx, &t->site, SCOPE_SITE, "", minute, err);
	for (size_t i = 0; rc == 0 && i < device_class_count(); i++)
		rc = store_minute(ctx, t->cls[i], SCOPE_CLASS, device_class_at(i)->name, minute, err);
	while (rc == 0 && map_next(&t->nodes, &pos, &id, (void **)&node))
		rc = store_minute(ctx, node->series, SCOPE_NODE, node->id, minute, err);
	return rc < 0 ? rc : db_run(svc_db(ctx), err, "DELETE FROM minute WHERE minute<$1", "i",
				    minute - TELEMETRY_KEEP_DAYS * INT64_C(1440));
}

/* Room for others: what has been silent for an hour has an empty series. */
static void drop_silent(struct telemetry *t, int64_t now_ns)
{
	struct node *node;
	struct str id;
	size_t pos = 0;
	for (size_t i = 0; i < t->n_dev; i++) {
		struct device *d = t->dev[i];
		if (!d->ring || now_ns - d->seen_ns <= HOUR_NS)
			continue;
		mem_free(d->ring);
		d->ring = NULL;
		t->n_rings--;
	}
	while (map_next(&t->nodes, &pos, &id, (void **)&node)) {
		if (!node->series || now_ns - node->seen_ns <= HOUR_NS)
			continue;
		mem_free(node->series);
		node->series = NULL;
		t->n_node_series--;
	}
}

int telemetry_timer(void *state, struct svc_ctx *ctx, struct err *err)
{
	struct telemetry *t = state;
	int64_t now = svc_now_ns(ctx), bucket = now / (TELEMETRY_STEP_S * NS_PER_S);
	int64_t minute = now / MINUTE_NS, before = t->bucket / (60 / TELEMETRY_STEP_S);
	int rc = 0;
	svc_wake_at(ctx, (bucket + 1) * TELEMETRY_STEP_S * NS_PER_S);
	if (bucket <= t->bucket)
		return 0;
	/* The minute that ended is written with the points it had; the timer's batch is the one transaction. */
	if (t->bucket && minute > before) {
		rc = store_all(t, ctx, before, err);
		drop_silent(t, now);
	}
	if (rc == 0)
		rc = make_points(t, now, bucket, err);
	t->bucket = bucket;
	return rc;
}
