/* Devices as resources tells of them, kept in the placement index. */
#include <math.h>
#include <stdio.h>

#include "base/mem.h"
#include "base/money.h"
#include "model/device_class.h"
#include "services/router/router_priv.h"

/* Figures of a facility until telemetry brings measured ones; equal for all, so they decide nothing. */
static const struct placement_facility unknown_facility = {
	.latency_ms = 5, .price_usd_mwh = 40, .carbon_g_kwh = 400, .weight = 1,
};

struct rdev *router_inventory_find(const struct router *r, const char *id)
{
	return map_get(&r->devices, str_of(id));
}

/* A dense number per key, in order of appearance. */
static int number_of(struct map *m, const char *key, uint32_t *ret)
{
	void *v = map_get(m, str_of(key));
	if (!v) {
		v = (void *)(uintptr_t)(m->n + 1);
		int rc = map_put(m, str_of(key), v, NULL);
		if (rc < 0)
			return rc;
	}
	*ret = (uint32_t)((uintptr_t)v - 1);
	return 0;
}

static int facility_of(struct router *r, const Hcp__Device *d, uint16_t *ret, struct err *err)
{
	void *v = map_get(&r->facilities, str_of(d->facility));
	if (v) {
		*ret = (uint16_t)((uintptr_t)v - 1);
		return 0;
	}
	struct placement_facility f = unknown_facility;
	if (str_copy(f.region, sizeof(f.region), str_of(d->region)) < 0)
		return err_set(err, HCP_EINVAL, "region", "longer than %zu characters", sizeof(f.region) - 1);
	int rc = placement_add_facility(r->place, &f, ret, err);
	return rc < 0 ? rc : map_put(&r->facilities, str_of(d->facility), (void *)((uintptr_t)*ret + 1), NULL);
}

static struct placement_quality quality_of(const Hcp__Device *d)
{
	double head = (90.0 - d->temperature_c) / 60.0;
	return (struct placement_quality){
		.health = d->health >= 0 && d->health <= 1 ? d->health : 1,
		.thermal_headroom = d->temperature_c <= 0 || head > 1 ? 1 : head < 0 ? 0 : head,
		.efficiency = 1,
	};
}

static int remember(struct router *r, struct rdev *rd)
{
	if (rd->dev >= r->cap_dev) {
		size_t cap = r->cap_dev ? r->cap_dev * 2 : 1024;
		struct rdev **more = mem_realloc(r->by_dev, cap * sizeof(struct rdev *));
		if (!more)
			return HCP_ENOMEM;
		memset(more + r->cap_dev, 0, (cap - r->cap_dev) * sizeof(*more));
		r->by_dev = more;
		r->cap_dev = cap;
	}
	int rc = map_put_ref(&r->devices, str_of(rd->id), rd, NULL);
	if (rc == 0)
		r->by_dev[rd->dev] = rd;
	return rc;
}

static int add(struct router *r, const Hcp__Device *d, const struct device_class *c, struct err *err)
{
	char key[160];
	struct placement_device pd = { .cls = (uint16_t)device_class_index(c), .quality = quality_of(d) };
	size_t len = strlen(d->id);
	if (len > ROUTER_DEVICE_ID_MAX)
		return err_set(err, HCP_EINVAL, "id", "longer than %d characters", ROUTER_DEVICE_ID_MAX);
	struct rdev *rd = mem_calloc(1, sizeof(*rd) + len + 1);
	if (!rd)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	memcpy(rd->id, d->id, len);
	/* The index wants nodes of one class: a mixed node counts as one per class. */
	snprintf(key, sizeof(key), "%.96s/%.32s", d->node_id, c->name);
	rd->cls = pd.cls;
	list_init(&rd->rests);
	int rc = facility_of(r, d, &pd.facility, err);
	if (rc == 0)
		rc = number_of(&r->nodes, key, &pd.node);
	if (rc == 0)
		rc = number_of(&r->clusters, d->facility, &pd.cluster);
	if (rc == 0)
		rc = placement_add_device(r->place, &pd, &rd->dev, err);
	if (rc == 0)
		rc = remember(r, rd);
	if (rc == 0)
		router_scale_device(r, rd, d->node_id);
	if (rc < 0) {
		mem_free(rd);
		return rc == HCP_ERANGE ? HCP_EINVAL : rc;
	}
	rd->facility = pd.facility;
	r->kinds[c->kind]++;
	r->cell[router_resource_of(c->kind)] += SLICE_WHOLE;
	r->cell[QUEUE_MEMORY] += c->memory_gib;
	return 0;
}

int router_inventory_capacity(struct router *r, struct err *err)
{
	double capacity[QUEUE_RESOURCE_END];
	if (r->n_capacity == r->devices.n)
		return 0;
	r->n_capacity = r->devices.n;
	for (int i = 0; i < QUEUE_RESOURCE_END; i++)
		capacity[i] = r->cell[i] > 0 ? r->cell[i] : 1;
	return queue_set_capacity(r->queue, capacity, err);
}

/* Resources refuses all others, so offering them would only cost a job its tries. */
static bool is_usable(const Hcp__Device *d)
{
	return !d->drifted && d->state != HCP__DEVICE_STATE__DRAINING && d->state != HCP__DEVICE_STATE__DEVICE_FAILED &&
		   d->state != HCP__DEVICE_STATE__MAINTENANCE;
}

bool router_inventory_offered(const struct router *r, const struct rdev *rd)
{
	return rd->usable && !rd->clears && list_empty(&rd->rests) && router_scale_offers(r, rd);
}

int router_inventory_apply(struct router *r, const Hcp__Device *d, struct err *err)
{
	const struct device_class *c = device_class_find(str_of(d->device_class));
	if (!c)
		return err_set(err, HCP_EINVAL, "device_class", "%.32s is not in the catalogue", d->device_class);
	struct rdev *rd = router_inventory_find(r, d->id);
	int rc = 0;
	if (!rd) {
		rc = add(r, d, c, err);
		if (rc < 0)
			return rc;
		rd = router_inventory_find(r, d->id);
	}
	struct placement_quality q = quality_of(d);
	rd->usable = is_usable(d);
	rc = placement_set_quality(r->place, rd->dev, &q, err);
	if (rc == 0)
		rc = placement_set_in_service(r->place, rd->dev, router_inventory_offered(r, rd), err);
	bool fill = d->desired == HCP__MODE__FILL;
	enum placement_dev_state s = placement_state(r->place, rd->dev);
	if (rc == 0 && (s == PLACEMENT_IDLE || s == PLACEMENT_FILL) && fill != (s == PLACEMENT_FILL))
		rc = placement_set_fill(r->place, rd->dev, fill, err);
	return rc;
}

void router_inventory_rest(struct router *r, const char *id, int64_t now_ns)
{
	struct rdev *rd = router_inventory_find(r, id);
	if (!rd || placement_set_in_service(r->place, rd->dev, false, NULL) < 0)
		return;
	rd->rests_until_ns = now_ns + ROUTER_REST_S * NS_PER_S;
	list_del(&rd->rests);
	list_add_tail(&r->resting, &rd->rests);
}

void router_inventory_wake(struct router *r, int64_t now_ns)
{
	while (!list_empty(&r->resting)) {
		struct rdev *rd = list_entry(r->resting.next, struct rdev, rests);
		/* A clock that was set back makes nobody rest longer. */
		if (now_ns < rd->rests_until_ns && rd->rests_until_ns - now_ns <= ROUTER_REST_S * NS_PER_S)
			break;
		list_del(&rd->rests);
		(void)!placement_set_in_service(r->place, rd->dev, router_inventory_offered(r, rd), NULL);
		router_look_again(r);
	}
}

/* Is what a restart would take from its row another now? Degrees that come and go are not worth a row. */
static bool is_news(struct router *r, const Hcp__Device *d)
{
	struct rdev *rd = router_inventory_find(r, d->id);
	struct placement_quality q = quality_of(d);
	bool fill = d->desired == HCP__MODE__FILL;
	if (rd->fill_saved == fill && rd->usable_saved == rd->usable && fabs(rd->health_saved - q.health) < 0.001 &&
		fabs(rd->thermal_saved - q.thermal_headroom) < 0.1)
		return false;
	rd->fill_saved = fill;
	rd->usable_saved = rd->usable;
	rd->health_saved = (float)q.health;
	rd->thermal_saved = (float)q.thermal_headroom;
	return true;
}

/* ---- programs ---- */

enum { NOBODYS_TAG = 1 };

uint16_t router_program_tag(const struct router *r, const char *program)
{
	uintptr_t tag = (uintptr_t)map_get(&r->programs, str_of(program));
	return tag ? (uint16_t)tag : NOBODYS_TAG;
}

/* HCP_ELIMIT: more names than can be told apart. */
static int tag_new(struct router *r, const char *program, uint16_t *ret)
{
	*ret = router_program_tag(r, program);
	if (*ret != NOBODYS_TAG)
		return 0;
	if (r->programs.n + NOBODYS_TAG + 1 >= PLACEMENT_TAGS_MAX)
		return HCP_ELIMIT;
	*ret = (uint16_t)(r->programs.n + NOBODYS_TAG + 1);
	return map_put(&r->programs, str_of(program), (void *)(uintptr_t)*ret, NULL);
}

/* A node counts as one per class of its devices. What it never told, or cannot be told apart, it may have. */
static int set_programs(struct router *r, const Hcp__NodePrograms *np, struct err *err)
{
	uint16_t tag[PLACEMENT_NODE_TAGS_MAX];
	char key[160];
	int rc = np->n_programs > PLACEMENT_NODE_TAGS_MAX ? HCP_ELIMIT : 0;
	for (size_t i = 0; i < np->n_programs && rc == 0; i++)
		rc = tag_new(r, np->programs[i], &tag[i]);
	if (rc < 0)
		return rc == HCP_ELIMIT ? 0 : err_set(err, rc, "", "out of memory");
	for (size_t c = 0; c < device_class_count() && rc == 0; c++) {
		snprintf(key, sizeof(key), "%.96s/%.32s", np->node_id, device_class_at(c)->name);
		uintptr_t number = (uintptr_t)map_get(&r->nodes, str_of(key));
		if (number)
			rc = placement_set_tags(r->place, (uint32_t)number - 1, tag, (uint32_t)np->n_programs, err);
	}
	return rc;
}

static int on_programs(struct router *r, struct svc_ctx *ctx, const Hcp__NodePrograms *np, struct err *err)
{
	struct str body;
	int rc = set_programs(r, np, err);
	if (rc < 0)
		return rc;
	if (pb_pack_arena(&np->base, svc_arena(ctx), &body) < 0)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	return db_run(svc_db(ctx), err,
		"INSERT INTO node_programs(id,body) VALUES($1,$2) ON CONFLICT(id) DO UPDATE SET body=excluded.body", "zb",
		np->node_id, body);
}

static int load_programs(struct router *r, struct db *db, struct err *err)
{
	struct db_row *row;
	struct arena a;
	int rc;
	arena_init(&a, 1024, 0);
	for (rc = db_query(db, &row, err, "SELECT body FROM node_programs ORDER BY id", ""); rc == 1;
		 rc = db_next(row, err)) {
		arena_clear(&a);
		const Hcp__NodePrograms *np = (void *)pb_unpack_arena(&hcp__node_programs__descriptor, db_blob(row, 0), &a);
		int bad = np ? set_programs(r, np, err) : err_set(err, HCP_ECORRUPT, "node", "a row cannot be read");
		if (bad < 0) {
			db_done(row);
			rc = bad;
			break;
		}
	}
	arena_release(&a);
	return rc;
}

/* ---- news ---- */

int router_on_devices(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	struct router *r = state;
	const Hcp__DevicesChanged *ev = (const Hcp__DevicesChanged *)m->body;
	router_look_again(r);
	router_scale_poke(r);
	for (size_t i = 0; i < ev->n_devices; i++) {
		Hcp__Device *d = ev->devices[i];
		struct err one = { 0 };
		int rc = router_inventory_apply(r, d, &one);
		if (rc == HCP_ENOMEM)
			return err_set(err, rc, "", "out of memory");
		if (rc < 0 || !is_news(r, d))
			continue; /* a device this version does not know is not offered */
		struct str body;
		if (pb_pack_arena(&d->base, svc_arena(ctx), &body) < 0)
			return HCP_ENOMEM;
		rc = db_run(svc_db(ctx), err,
			"INSERT INTO device(id,body) VALUES($1,$2) ON CONFLICT(id) DO UPDATE SET body=excluded.body", "zb", d->id,
			body);
		if (rc < 0)
			return rc;
	}
	int rc = 0;
	for (size_t i = 0; i < ev->n_programs && rc == 0; i++)
		rc = on_programs(r, ctx, ev->programs[i], err);
	r->victims_changed++;
	if (rc == 0)
		rc = router_inventory_capacity(r, err);
	r->look = true;
	return rc;
}

int router_inventory_load(struct router *r, struct db *db, struct err *err)
{
	struct db_row *row;
	struct arena a;
	int rc;
	arena_init(&a, 4096, 0);
	for (rc = db_query(db, &row, err, "SELECT body FROM device ORDER BY n", ""); rc == 1; rc = db_next(row, err)) {
		arena_clear(&a);
		Hcp__Device *d = (void *)pb_unpack_arena(&hcp__device__descriptor, db_blob(row, 0), &a);
		int bad = d ? router_inventory_apply(r, d, err) : err_set(err, HCP_ECORRUPT, "device", "a row cannot be read");
		if (bad < 0) {
			db_done(row);
			arena_release(&a);
			return bad;
		}
	}
	arena_release(&a);
	if (rc == 0)
		rc = load_programs(r, db, err);
	return rc < 0 ? rc : router_inventory_capacity(r, err);
}

void router_inventory_release(struct router *r)
{
	size_t pos = 0;
	void *v;
	while (map_next(&r->devices, &pos, NULL, &v))
		mem_free(v);
	map_release(&r->devices);
	map_release(&r->facilities);
	map_release(&r->nodes);
	map_release(&r->clusters);
	map_release(&r->programs);
	mem_free(r->by_dev);
}
