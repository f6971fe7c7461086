/* Nodes, devices, groups and facilities; what may change in a device, and how that is told and stored. */
#include <stdio.h>

#include "services/resources/resources_priv.h"

int vec_room(void **items, size_t n, size_t *cap, size_t size)
{
	if (n < *cap)
		return 0;
	size_t more = *cap ? *cap * 2 : 16;
	void *p = mem_realloc(*items, more * size);
	if (!p)
		return HCP_ENOMEM;
	*items = p;
	*cap = more;
	return 0;
}

/* The wire has one word, OFF, for a device that does nothing; the catalogue's IDLE is that. */
Hcp__Mode wire_mode(enum device_mode m)
{
	switch (m) {
	case DEVICE_SERVE:
		return HCP__MODE__SERVE;
	case DEVICE_FILL:
		return HCP__MODE__FILL;
	case DEVICE_SAFE:
		return HCP__MODE__SAFE;
	default:
		return HCP__MODE__OFF;
	}
}

int mode_of_wire(Hcp__Mode m, enum device_mode *ret)
{
	switch (m) {
	case HCP__MODE__SERVE:
		*ret = DEVICE_SERVE;
		return 0;
	case HCP__MODE__FILL:
		*ret = DEVICE_FILL;
		return 0;
	case HCP__MODE__OFF:
		*ret = DEVICE_IDLE;
		return 0;
	case HCP__MODE__SAFE:
		*ret = DEVICE_SAFE;
		return 0;
	default:
		return HCP_EINVAL;
	}
}

const char *why_text(enum why w)
{
	static const char *const text[] = {
		"",
		"node lost",
		"no longer announced by its node",
		"the device reports an error",
		"emergency stop",
		"waits for power",
		"its gate is in another mode",
		"not proved before the deadline",
		"the agent could not switch",
		"no reading for too long",
		"found sick; it has a ticket",
		"its parts are not those that it was told",
		"its feeder has no power",
		"its program is not the one that it was told",
	};
	if (w >= WHY_DRIFT && w < WHY_END)
		return device_drift_name((enum device_drift)(w - WHY_DRIFT));
	return (size_t)w < sizeof(text) / sizeof(text[0]) ? text[w] : "";
}

struct device *resources_device_at(const struct resources *r, size_t i)
{
	return &r->block[i / DEVICE_BLOCK][i % DEVICE_BLOCK];
}

struct node *node_find(const struct resources *r, const char *id)
{
	return map_get(&r->nodes, str_of(id));
}

struct device *device_find(const struct resources *r, const char *node_id, const char *agent_id)
{
	char key[2 * RESOURCES_ID_MAX];
	size_t a = strlen(node_id), b = strlen(agent_id), n = a + 1 + b;
	if (n >= sizeof(key))
		return NULL;
	memcpy(key, node_id, a);
	key[a] = '/';
	memcpy(key + a + 1, agent_id, b);
	return map_get(&r->devices, (struct str){ key, n });
}

int facility_get(struct resources *r, const char *name, const char *region, struct facility **ret)
{
	struct facility *f = map_get(&r->facilities, str_of(name));
	if (!f) {
		f = mem_calloc(1, sizeof(*f));
		if (!f || vec_room((void **)&r->facility, r->n_facilities, &r->cap_facilities, sizeof(f)) < 0 ||
		    map_put(&r->facilities, str_of(name), f, NULL) < 0) {
			mem_free(f);
			return HCP_ENOMEM;
		}
		r->facility[r->n_facilities++] = f;
		r->hold_due_ns = 0;
		snprintf(f->name, sizeof(f->name), "%s", name);
		int rc = power_open(r, f);
		if (rc < 0)
			return rc;
	}
	if (region[0])
		snprintf(f->region, sizeof(f->region), "%s", region);
	*ret = f;
	return 0;
}

int group_get(struct resources *r, struct facility *f, const struct device_class *cls, struct group **ret)
{
	char key[NAME_MAX_LEN + DEVICE_CLASS_NAME_MAX + 2];
	snprintf(key, sizeof(key), "%s/%s", cls->name, f->name);
	struct group *g = map_get(&r->groups, str_of(key));
	if (!g) {
		g = mem_calloc(1, sizeof(*g));
		if (!g || vec_room((void **)&r->group, r->n_groups, &r->cap_groups, sizeof(g)) < 0 ||
		    map_put(&r->groups, str_of(key), g, NULL) < 0) {
			mem_free(g);
			return HCP_ENOMEM;
		}
		r->group[r->n_groups++] = g;
		g->facility = f;
		g->cls = cls;
		if (power_of_class(r, f, cls, &g->power) < 0)
			return HCP_ENOMEM;
		plan_find_target(r, g);
	}
	*ret = g;
	return 0;
}

struct node *node_new(const char *id)
{
	struct node *n = mem_calloc(1, sizeof(*n));
	if (!n)
		return NULL;
	snprintf(n->id, sizeof(n->id), "%s", id);
	list_init(&n->silent);
	list_init(&n->work);
	list_init(&n->unsaved);
	list_init(&n->tells);
	list_init(&n->commands);
	breaker_init(&n->breaker, BREAKER_DEFAULT);
	return n;
}

void node_free(struct node *n)
{
	if (!n)
		return;
	mem_free(n->models);
	mem_free(n->devices);
	mem_free(n->meters);
	mem_free(n->cares);
	mem_free(n);
}

int node_add(struct resources *r, struct node *n)
{
	if (vec_room((void **)&r->node, r->n_nodes, &r->cap_nodes, sizeof(n)) < 0 ||
	    map_put(&r->nodes, str_of(n->id), n, NULL) < 0)
		return HCP_ENOMEM;
	n->number = (uint32_t)r->n_nodes;
	r->node[r->n_nodes++] = n;
	return 0;
}

static struct device *take_slot(struct resources *r)
{
	size_t b = r->n_devices / DEVICE_BLOCK;
	if (b == r->n_blocks) {
		if (vec_room((void **)&r->block, b, &r->cap_blocks, sizeof(*r->block)) < 0)
			return NULL;
		struct device **more = mem_realloc(r->changed, (b + 1) * DEVICE_BLOCK * sizeof(*more));
		if (!more)
			return NULL;
		r->changed = more;
		r->block[b] = mem_calloc(DEVICE_BLOCK, sizeof(struct device));
		if (!r->block[b])
			return NULL;
		r->n_blocks++;
	}
	return &r->block[b][r->n_devices % DEVICE_BLOCK];
}

/* Out of memory leaves the slot half made; the caller's batch aborts and the state is loaded anew. */
int resources_device_add(struct resources *r, struct node *n, const Hcp__AgentDevice *a, struct device **ret)
{
	struct facility *f;
	struct group *g;
	if (facility_get(r, n->facility, n->region, &f) < 0 ||
	    group_get(r, f, device_class_find(str_of(a->device_class)), &g) < 0)
		return HCP_ENOMEM;
	struct device *d = take_slot(r);
	if (!d || vec_room((void **)&n->devices, n->n_devices, &n->cap_devices, sizeof(d)) < 0 ||
	    vec_room((void **)&g->devices, g->n, &g->cap, sizeof(d)) < 0)
		return HCP_ENOMEM;
	*d = (struct device){ .node = n, .group = g, .index = (uint32_t)r->n_devices, .memory_gib = a->memory_gib,
			      .place = (uint32_t)n->n_devices };
	r->n_devices++; /* from here on closing frees its texts */
	size_t node_len = strlen(n->id), id_len = node_len + 1 + strlen(a->id), name_len = strlen(a->name);
	d->id = mem_alloc(id_len + 1 + name_len + 1);
	if (!d->id)
		return HCP_ENOMEM;
	memcpy(d->id, n->id, node_len);
	d->id[node_len] = '/';
	memcpy(d->id + node_len + 1, a->id, id_len - node_len);
	memcpy(d->id + id_len + 1, a->name, name_len + 1);
	d->agent_id = d->id + node_len + 1;
	d->name = d->id + id_len + 1;
	if (map_put_ref(&r->devices, str_of(d->id), d, NULL) < 0)
		return HCP_ENOMEM;
	n->devices[n->n_devices++] = d;
	g->devices[g->n++] = d;
	*ret = d;
	return 0;
}

void device_mark(struct resources *r, struct device *d)
{
	if (list_empty(&d->node->unsaved))
		list_add_tail(&r->nodes_unsaved, &d->node->unsaved);
	if (d->marked)
		return;
	d->marked = true;
	r->changed[r->n_changed++] = d;
}

/* Above it a miner's watts are not those of its target but of one that it comes from: units and meters differ by less.
 */
#define RETUNED_SHARE 1.05

int32_t device_order_w(const struct device *d, enum device_mode m, int32_t target_w)
{
	return m == DEVICE_FILL && target_w > 0 ? target_w : device_mode_w(d, m);
}

bool device_is_told(const struct device *d)
{
	return d->ctl.commanded == d->ctl.desired && (int32_t)d->ctl.power_target_w == d->desired_w;
}

void device_reserve(struct device *d)
{
	int32_t w = d->transit_w;
	if (d->ctl.drifted && d->power_w > w)
		w = d->power_w;
	power_reserve(device_power(d), w - d->reserve_w);
	d->reserve_w = w;
}

void device_settled(struct resources *r, struct device *d)
{
	int32_t w = device_order_w(d, d->ctl.commanded, (int32_t)d->ctl.power_target_w);
	/* On its way down to a lower target a miner is proved before it is there. */
	if (d->group->cls->kind == DEVICE_ASIC && d->ctl.commanded == DEVICE_FILL && d->power_w > w * RETUNED_SHARE)
		w = d->power_w < d->transit_w ? d->power_w : d->transit_w;
	int32_t gate_w = d->gate == d->ctl.commanded ? w : device_mode_w(d, d->gate);
	w = w > gate_w ? w : gate_w;
	if (w < d->transit_w && power_is_limited(device_power(d)))
		r->poke = true; /* watts came free for those that wait */
	if (w != d->transit_w)
		device_mark(r, d); /* or a restart would reserve them again, when others have them */
	d->transit_w = w;
	device_reserve(d);
}

bool device_free(const struct device *d)
{
	return d->state == DEVICE_ST_IDLE && !d->alloc && !d->ticket && d->node->connected;
}

int device_event(struct resources *r, struct device *d, enum device_event e, enum why why, int64_t now_ns,
		 struct err *err)
{
	enum device_state next;
	int rc = device_next(d->state, e, &next, err);
	if (rc < 0)
		return err_set(err, HCP_EINTERNAL, d->id, "event %s in state %s", device_event_name(e),
			       device_state_name(d->state));
	d->state = next;
	d->why = why;
	d->changed_at_ns = now_ns;
	device_mark(r, d);
	return 0;
}

void device_set_desired(struct resources *r, struct device *d, enum device_mode m, int32_t target_w)
{
	if (d->ctl.desired == m && d->desired_w == target_w)
		return;
	d->ctl.desired = m;
	d->desired_w = target_w;
	if (m != DEVICE_FILL)
		d->local = false;
	d->retry_at_ns = 0;
	d->fails = 0;
	device_mark(r, d);
	node_want_work(r, d->node);
}

void node_want_work(struct resources *r, struct node *n)
{
	r->poke = true;
	if (list_empty(&n->work))
		list_add_tail(&r->nodes_work, &n->work);
}

static int fill_shares(struct arena *arena, const struct device *d, Hcp__Device *out)
{
	for (const struct alloc *a = d->alloc; a; a = a->beside) {
		Hcp__DeviceShare *s = arena_alloc(arena, sizeof(*s));
		if (!s)
			return HCP_ENOMEM;
		alloc_share(a, s);
		if (pb_push(arena, &out->n_shares, &out->shares, s) < 0)
			return HCP_ENOMEM;
	}
	return 0;
}

int device_fill(struct arena *arena, const struct device *d, Hcp__Device *out)
{
	const struct device_class *c = d->group->cls;
	const struct alloc *whole = device_is_shared(d) ? NULL : d->alloc;
	hcp__device__init(out);
	out->id = d->id;
	out->node_id = d->node->id;
	out->facility = d->group->facility->name;
	out->region = d->group->facility->region;
	out->kind = (Hcp__DeviceKind)c->kind;
	out->device_class = c->name;
	out->state = (Hcp__DeviceState)(d->state + 1);
	out->desired = wire_mode(d->ctl.desired);
	out->commanded = wire_mode(d->ctl.commanded);
	out->confirmed = d->ctl.confirmed_at_ns ? wire_mode(d->ctl.confirmed) : HCP__MODE__MODE_UNSPECIFIED;
	out->drifted = d->ctl.drifted;
	out->allocation_id = whole ? whole->id : "";
	out->workload_id = whole ? whole->workload_id : "";
	out->customer_id = whole ? whole->customer_id : "";
	out->power_w = d->power_w;
	out->hash_ths = d->hash_ths;
	out->temperature_c = d->temperature_c;
	out->utilisation = d->utilisation;
	out->changed_at_ns = d->changed_at_ns;
	out->reason = why_text(d->why);
	out->memory_gib = d->memory_gib;
	out->health = d->state == DEVICE_ST_FAILED ? 0 : d->ticket ? 0.25 : d->ctl.drifted ? 1.0 / (1 + d->fails) : 1;
	out->name = d->name;
	if (c->kind == DEVICE_ASIC && d->ctl.commanded == DEVICE_FILL) {
		out->power_target_w = (int32_t)d->ctl.power_target_w;
		out->power_mode = device_class_power_of(c, d->ctl.power_target_w);
	}
	return device_is_shared(d) ? fill_shares(arena, d, out) : 0;
}

/* ---- the end of a batch ---- */

static uint32_t summary(const struct device *d)
{
	return 1U << 31 | (uint32_t)d->state | (uint32_t)d->ctl.desired << 4 | (uint32_t)d->ctl.commanded << 8 |
		   (uint32_t)d->ctl.confirmed << 12 | (uint32_t)d->ctl.drifted << 16 |
		   (uint32_t) !!d->ctl.confirmed_at_ns << 17 | ((uint32_t)d->ctl.power_target_w & 0x1fff) << 18;
}

static int publish_some(struct svc_ctx *ctx, struct device *const *d, size_t n)
{
	struct arena *a = svc_arena(ctx);
	Hcp__DevicesChanged ev = HCP__DEVICES_CHANGED__INIT;
	Hcp__Device *rows = arena_alloc(a, n * sizeof(*rows));
	ev.devices = arena_alloc(a, n * sizeof(*ev.devices));
	if (!rows || !ev.devices)
		return HCP_ENOMEM;
	ev.n_devices = n;
	ev.node_id = d[0]->node->id;
	for (size_t i = 0; i < n; i++) {
		if (device_fill(a, d[i], &rows[i]) < 0 || node_tell_programs(a, d[i]->node, &ev) < 0)
			return HCP_ENOMEM;
		ev.devices[i] = &rows[i];
		if (d[i]->node != d[0]->node)
			ev.node_id = "";
	}
	return svc_publish(ctx, ev.node_id, &ev.base);
}

static int publish_changed(struct resources *r, struct svc_ctx *ctx)
{
	struct device **told = r->changed;
	size_t n = 0;
	int rc = 0;
	for (size_t i = 0; i < r->n_changed; i++) {
		struct device *d = r->changed[i];
		uint32_t now = summary(d);
		d->marked = false;
		if (now == d->said && d->alloc == d->said_alloc && d->parts_no == d->said_parts)
			continue;
		d->said = now;
		d->said_alloc = d->alloc;
		d->said_parts = d->parts_no;
		told[n++] = d;
	}
	r->n_changed = 0;
	r->capacity_dirty |= n > 0;
	for (size_t at = 0; at < n && rc == 0; at += RESOURCES_EVENT_DEVICES)
		rc = publish_some(ctx, told + at, n - at < RESOURCES_EVENT_DEVICES ? n - at : RESOURCES_EVENT_DEVICES);
	return rc;
}

static int endpoint_mode(const struct node *n)
{
	bool fill = false;
	for (size_t i = 0; i < n->n_devices; i++) {
		if (n->devices[i]->alloc && n->devices[i]->alloc->program)
			continue; /* it answers no requests */
		if (n->devices[i]->ctl.confirmed_at_ns && n->devices[i]->ctl.confirmed == DEVICE_SERVE)
			return HCP__MODE__SERVE;
		fill |= n->devices[i]->ctl.confirmed_at_ns && n->devices[i]->ctl.confirmed == DEVICE_FILL;
	}
	return fill ? HCP__MODE__FILL : HCP__MODE__OFF;
}

static bool has_power(const struct node *n)
{
	bool has = n->n_devices == 0;
	for (size_t i = 0; i < n->n_devices && !has; i++)
		has = n->devices[i]->state != DEVICE_ST_FAILED || n->devices[i]->why != WHY_TRIPPED;
	return has;
}

static bool endpoint_up(const struct resources *r, const struct node *n)
{
	return n->connected && !r->emergency && has_power(n);
}

int node_say_endpoint(struct resources *r, struct svc_ctx *ctx, struct node *n, struct err *err)
{
	if (!n->endpoint[0])
		return 0;
	bool up = endpoint_up(r, n);
	int mode = up ? endpoint_mode(n) : HCP__MODE__OFF;
	if (up == n->said_up && mode == n->said_mode)
		return 0;
	Hcp__EndpointChanged ev = HCP__ENDPOINT_CHANGED__INIT;
	ev.node_id = n->id;
	ev.endpoint = n->endpoint;
	ev.models = n->models;
	ev.n_models = n->n_models;
	ev.up = up;
	ev.device_id = n->n_devices ? n->devices[0]->id : "";
	ev.mode = (Hcp__Mode)mode;
	ev.region = n->region;
	n->said_up = up;
	n->said_mode = mode;
	return svc_publish(ctx, n->id, &ev.base);
}

void inventory_all_said(struct resources *r)
{
	for (size_t i = 0; i < r->n_devices; i++) {
		struct device *d = resources_device_at(r, i);
		d->said = summary(d);
		d->said_alloc = d->alloc;
		d->said_parts = d->parts_no;
	}
	for (size_t i = 0; i < r->n_nodes; i++) {
		r->node[i]->said_up = endpoint_up(r, r->node[i]);
		r->node[i]->said_mode = r->node[i]->said_up ? endpoint_mode(r->node[i]) : HCP__MODE__OFF;
	}
}

int inventory_flush(struct resources *r, struct svc_ctx *ctx, struct err *err)
{
	int rc = commands_flush(r, ctx, err);
	struct list *l;
	if (rc == 0 && r->n_changed)
		rc = publish_changed(r, ctx);
	if (rc == 0)
		rc = programs_flush(r, ctx);
	while (rc == 0 && (l = list_pop(&r->nodes_unsaved))) {
		struct node *n = list_entry(l, struct node, unsaved);
		rc = node_save(r, ctx, n, err);
		if (rc == 0)
			rc = node_say_endpoint(r, ctx, n, err);
	}
	if (r->capacity_dirty)
		svc_wake_at(ctx, capacity_due_ns(r));
	return rc;
}
