/* The last minutes of one metric. */
#include <math.h>

#include "base/money.h"
#include "services/telemetry/telemetry_priv.h"

#define MINUTE_NS (60 * NS_PER_S)
#define STEP_NS (TELEMETRY_STEP_S * NS_PER_S)

static const char *const metric_name[TELEMETRY_METRICS] = { "power_w", "hash_ths", "temperature_c", "utilisation" };
static const char *const scope_name[] = { "site", "class", "node", "device" };

static int find_name(const char *name, const char *const *names, int n)
{
	for (int i = 0; i < n; i++)
		if (strcmp(name, names[i]) == 0)
			return i;
	return -1;
}

struct asked {
	enum metric metric;
	enum scope scope;
	int64_t minutes;
	const struct series *series; /* site, class, node */
	const struct device *device;
};

static int find_series(
	const struct telemetry *t, const struct msg *m, const char *key, struct asked *q, struct err *err)
{
	const struct device_class *cls = NULL;
	const struct node *node = NULL;
	/* Nodes and devices are the operator's; a customer cannot find out which there are. */
	bool hidden = m->principal && m->principal->role == HCP__ROLE__CUSTOMER && q->scope >= SCOPE_NODE;
	if (q->scope == SCOPE_SITE) {
		q->series = &t->site;
		return 0;
	}
	if (!key[0])
		return err_set(err, HCP_EINVAL, "key", "missing: which %s?", scope_name[q->scope]);
	if (q->scope == SCOPE_CLASS) {
		cls = device_class_find(str_of(key));
		if (!cls)
			return err_set(err, HCP_ENOTFOUND, "key", "there is no device class %.40s", key);
		q->series = t->cls[device_class_index(cls)]; /* NULL: none of them has sent anything */
		return 0;
	}
	if (q->scope == SCOPE_NODE && !hidden)
		node = map_get(&t->nodes, str_of(key));
	if (q->scope == SCOPE_DEVICE && !hidden)
		q->device = map_get(&t->devices, str_of(key));
	if (!node && !q->device)
		return err_set(err, HCP_ENOTFOUND, "key", "there is no %s %.60s", scope_name[q->scope], key);
	q->series = node ? node->series : NULL;
	if (node && !node->series && t->n_node_series == TELEMETRY_NODES_MAX)
		return err_set(err, HCP_ELIMIT, "key", "only %d nodes have a series of their own", TELEMETRY_NODES_MAX);
	if (q->device && !q->device->ring && t->n_rings == TELEMETRY_DEVICES_MAX)
		return err_set(err, HCP_ELIMIT, "key", "only %d devices have a series of their own", TELEMETRY_DEVICES_MAX);
	return 0;
}

static int parse(
	const struct telemetry *t, const struct msg *m, const Hcp__SeriesGet *g, struct asked *q, struct err *err)
{
	int metric = find_name(g->metric, metric_name, TELEMETRY_METRICS);
	int scope = g->scope[0] ? find_name(g->scope, scope_name, 4) : SCOPE_SITE;
	if (metric < 0)
		return err_set(err, HCP_EINVAL, "metric", "%.32s is none of power_w, hash_ths, temperature_c, utilisation",
			       g->metric);
	if (scope < 0)
		return err_set(err, HCP_EINVAL, "scope", "%.32s is none of site, class, node, device", g->scope);
	if (g->minutes < 0 || g->minutes > TELEMETRY_MINUTES)
		return err_set(err, HCP_ERANGE, "minutes", "must be 1 to %d, was %d", TELEMETRY_MINUTES, g->minutes);
	*q = (struct asked){ .metric = (enum metric)metric, .scope = (enum scope)scope,
			     .minutes = g->minutes ? g->minutes : TELEMETRY_MINUTES };
	return find_series(t, m, g->key, q, err);
}

/* Oldest first; a gap is a missing point. */
static int add_points(struct svc_ctx *ctx, Hcp__Series *reply, const struct asked *q, int64_t step_ns, int64_t n)
{
	struct arena *a = svc_reply_arena(ctx);
	int64_t last = svc_now_ns(ctx) / step_ns;
	Hcp__PricePoint *p = arena_alloc(a, (size_t)n * sizeof(*p));
	reply->points = arena_alloc(a, (size_t)n * sizeof(*reply->points));
	if (!p || !reply->points)
		return HCP_ENOMEM;
	for (int64_t i = last - n + 1; i <= last; i++) {
		float v = q->device   ? telemetry_device_at(q->device, i, q->metric)
				  : q->series ? telemetry_series_at(q->series, i, q->metric)
							  : NAN;
		if (isnan(v))
			continue;
		hcp__price_point__init(p);
		p->at_ns = i * step_ns;
		p->value = (double)v;
		reply->points[reply->n_points++] = p++;
	}
	return 0;
}

int telemetry_on_series(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	const Hcp__SeriesGet *g = (const Hcp__SeriesGet *)m->body;
	struct asked q = { .minutes = 0 };
	int rc = parse(state, m, g, &q, err);
	if (rc < 0)
		return rc;
	Hcp__Series *reply = svc_reply(ctx, MSG_SERIES);
	if (!reply)
		return HCP_ENOMEM;
	int64_t step_ns = q.device ? MINUTE_NS : STEP_NS;
	reply->metric = metric_name[q.metric];
	reply->scope = scope_name[q.scope];
	reply->key = arena_strdup(svc_reply_arena(ctx), g->key);
	reply->step_s = (int32_t)(step_ns / NS_PER_S);
	return reply->key ? add_points(ctx, reply, &q, step_ns, q.minutes * MINUTE_NS / step_ns) : HCP_ENOMEM;
}
