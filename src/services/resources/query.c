/* What people and programs ask, and the capacity that plans are made over. */
#include <stdio.h>

#include "base/num.h"
#include "services/resources/resources_priv.h"

enum { LIST_DEFAULT = 50, LIST_MAX = 1000 };

struct filter {
	bool by_kind, by_state;
	enum device_kind kind;
	enum device_state state;
	const struct device_class *cls;
	const char *facility;
	const struct node *node;
	size_t below; /* only devices that came before this one */
	size_t limit;
};

int reply_copy(struct svc_ctx *ctx, unsigned type, const ProtobufCMessage *built)
{
	struct str packed;
	void *reply = pb_pack_arena(built, svc_arena(ctx), &packed) < 0 ? NULL : svc_reply(ctx, type);
	if (!reply)
		return HCP_ENOMEM;
	const ProtobufCMessage *copy = pb_unpack_arena(built->descriptor, packed, svc_reply_arena(ctx));
	if (!copy)
		return HCP_ENOMEM;
	memcpy(reply, copy, built->descriptor->sizeof_message);
	return 0;
}

static bool is_customer(const struct msg *m)
{
	return m->principal && m->principal->role == HCP__ROLE__CUSTOMER;
}

/* A customer sees every device, but of others' work only that it is taken. */
static int show(struct arena *a, const struct msg *m, const struct device *d, Hcp__Device *out)
{
	int rc = device_fill(a, d, out);
	if (rc < 0 || !is_customer(m))
		return rc;
	if (strcmp(out->customer_id, m->principal->customer_id) != 0)
		out->allocation_id = out->workload_id = out->customer_id = "";
	for (size_t i = 0; i < out->n_shares; i++) {
		Hcp__DeviceShare *s = out->shares[i];
		if (strcmp(s->customer_id, m->principal->customer_id) != 0)
			s->allocation_id = s->workload_id = s->customer_id = s->model = "";
	}
	return 0;
}

static int parse_filter(const struct resources *r, const Hcp__ResourcesList *l, struct filter *f, struct err *err)
{
	int64_t below;
	*f = (struct filter){ .facility = l->facility, .below = r->n_devices, .limit = LIST_DEFAULT };
	if (l->limit < 0 || l->limit > LIST_MAX)
		return err_set(err, HCP_ERANGE, "limit", "must be 1 to %d, was %d", LIST_MAX, l->limit);
	if (l->limit)
		f->limit = (size_t)l->limit;
	if (l->cursor[0] && (num_parse_i64(str_of(l->cursor), &below) < 0 || below < 0))
		return err_set(err, HCP_EINVAL, "cursor", "is none of ours");
	if (l->cursor[0] && (size_t)below < f->below)
		f->below = (size_t)below;
	f->by_kind = l->kind[0] != '\0';
	if (f->by_kind && device_kind_parse(str_of(l->kind), &f->kind) < 0)
		return err_set(err, HCP_EINVAL, "kind", "%.32s is none of gpu, asic, cpu", l->kind);
	f->by_state = l->state[0] != '\0';
	if (f->by_state && device_state_parse(str_of(l->state), &f->state) < 0)
		return err_set(err, HCP_EINVAL, "state",
			       "%.32s is no state: idle, allocating, active, draining, maintenance, "
			       "failed",
			       l->state);
	f->cls = l->device_class[0] ? device_class_find(str_of(l->device_class)) : NULL;
	if (l->device_class[0] && !f->cls)
		return err_set(err, HCP_ENOTFOUND, "device_class", "there is no device class %.32s", l->device_class);
	f->node = l->node_id[0] ? node_find(r, l->node_id) : NULL;
	if (l->node_id[0] && !f->node)
		return err_set(err, HCP_ENOTFOUND, "node_id", "there is no node %.64s", l->node_id);
	return 0;
}

static bool matches(const struct filter *f, const struct device *d)
{
	return (!f->by_kind || d->group->cls->kind == f->kind) && (!f->by_state || d->state == f->state) &&
	       (!f->cls || d->group->cls == f->cls) && (!f->node || d->node == f->node) &&
	       (!f->facility[0] || !strcmp(d->group->facility->name, f->facility));
}

int on_resources_list(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	struct resources *r = state;
	struct filter f;
	int rc = parse_filter(r, (const Hcp__ResourcesList *)m->body, &f, err);
	if (rc < 0)
		return rc;
	Hcp__Resources built = HCP__RESOURCES__INIT, *reply = &built;
	struct arena *a = svc_arena(ctx);
	const struct device *last = NULL;
	for (size_t i = r->n_devices; i-- > 0;) {
		const struct device *d = resources_device_at(r, i);
		if (!matches(&f, d))
			continue;
		reply->total++;
		if (i >= f.below)
			continue;
		if (reply->n_devices == f.limit) {
			if (!reply->next_cursor[0] && !(reply->next_cursor = arena_printf(a, "%u", last->index)))
				return HCP_ENOMEM;
			continue;
		}
		Hcp__Device *row = arena_alloc(a, sizeof(*row));
		if (!row || pb_push(a, &reply->n_devices, &reply->devices, row) < 0 || show(a, m, d, row) < 0)
			return HCP_ENOMEM;
		last = d;
	}
	return reply_copy(ctx, MSG_RESOURCES, &built.base);
}

int on_resource_get(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	struct resources *r = state;
	const Hcp__ResourceGet *g = (const Hcp__ResourceGet *)m->body;
	const struct device *d = map_get(&r->devices, str_of(g->id));
	if (!d)
		return err_set(err, HCP_ENOTFOUND, "id", "there is no device %.96s", g->id);
	Hcp__Device built;
	if (show(svc_arena(ctx), m, d, &built) < 0)
		return HCP_ENOMEM;
	return reply_copy(ctx, MSG_DEVICE, &built.base);
}

/* ---- capacity ---- */

int capacity_of(const struct resources *r, const struct group *g, struct arena *a, Hcp__ClassCapacity **ret)
{
	Hcp__ClassCapacity *c = arena_alloc(a, sizeof(*c));
	int64_t price = 0;
	if (!c)
		return HCP_ENOMEM;
	hcp__class_capacity__init(c);
	c->facility = g->facility->name;
	c->region = g->facility->region;
	c->kind = (Hcp__DeviceKind)g->cls->kind;
	c->device_class = g->cls->name;
	c->total = (int32_t)g->n;
	(void)!money_from_usd(g->cls->list_usd_h, &price);
	c->price_micros_h = price;
	for (size_t i = 0; i < g->n; i++) {
		const struct device *d = g->devices[i];
		bool healthy = d->state != DEVICE_ST_FAILED && d->state != DEVICE_ST_MAINTENANCE && d->node->connected;
		bool proved = healthy && d->ctl.confirmed_at_ns;
		c->healthy += healthy;
		c->endpoints += healthy && d->node->endpoint[0];
		c->allocated += d->alloc != NULL;
		c->drifted += d->ctl.drifted;
		c->serving += proved && d->ctl.confirmed == DEVICE_SERVE;
		c->filling += proved && d->ctl.confirmed == DEVICE_FILL;
		c->off += proved && d->ctl.confirmed != DEVICE_SERVE && d->ctl.confirmed != DEVICE_FILL;
		c->power_w += d->power_w;
		c->hash_ths += d->hash_ths;
	}
	*ret = c;
	return 0;
}

/* It looks at every device, so a large fleet has it less often. */
int64_t capacity_due_ns(const struct resources *r)
{
	int64_t rest_ns = (int64_t)r->n_devices * RESOURCES_CAPACITY_REST_NS, least_ns = RESOURCES_CAPACITY_MS * NS_PER_MS;
	return r->capacity_at_ns + (rest_ns > least_ns ? rest_ns : least_ns);
}

int capacity_publish(struct resources *r, struct svc_ctx *ctx, struct err *err)
{
	int64_t due = capacity_due_ns(r);
	if (!r->capacity_dirty)
		return 0;
	if (svc_now_ns(ctx) < due) {
		svc_wake_at(ctx, due);
		return 0;
	}
	struct arena *a = svc_arena(ctx);
	Hcp__CapacityChanged ev = HCP__CAPACITY_CHANGED__INIT;
	for (size_t i = 0; i < r->n_groups; i++) {
		Hcp__ClassCapacity *c;
		if (capacity_of(r, r->group[i], a, &c) < 0 || pb_push(a, &ev.n_classes, &ev.classes, c) < 0)
			return err_set(err, HCP_ENOMEM, "", "out of memory");
	}
	r->capacity_dirty = false;
	r->capacity_at_ns = svc_now_ns(ctx);
	return svc_publish(ctx, "", &ev.base);
}

int on_availability(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	struct resources *r = state;
	const Hcp__AvailabilityGet *g = (const Hcp__AvailabilityGet *)m->body;
	if (g->count < 0 || g->count > ALLOCATION_DEVICES_MAX)
		return err_set(err, HCP_ERANGE, "count", "must be 1 to %d, was %d", ALLOCATION_DEVICES_MAX, g->count);
	const struct device_class *cls = g->device_class[0] ? device_class_find(str_of(g->device_class)) : NULL;
	if (g->device_class[0] && !cls)
		return err_set(err, HCP_ENOTFOUND, "device_class", "there is no device class %.32s", g->device_class);
	Hcp__Availability built = HCP__AVAILABILITY__INIT, *reply = &built;
	struct arena *a = svc_arena(ctx);
	for (size_t i = 0; i < r->n_groups; i++) {
		const struct group *gr = r->group[i];
		Hcp__ClassCapacity *c;
		int32_t free = 0;
		if ((cls && gr->cls != cls) || (g->region[0] && strcmp(gr->facility->region, g->region)))
			continue;
		for (size_t k = 0; k < gr->n; k++)
			free += device_free(gr->devices[k]) && !gr->devices[k]->ctl.drifted;
		reply->available |= free >= (g->count ? g->count : 1);
		if (capacity_of(r, gr, a, &c) < 0 || pb_push(a, &reply->n_classes, &reply->classes, c) < 0)
			return HCP_ENOMEM;
	}
	return reply_copy(ctx, MSG_AVAILABILITY, &built.base);
}

int on_fleet(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	struct resources *r = state;
	Hcp__Fleet built = HCP__FLEET__INIT, *reply = &built;
	struct arena *a = svc_arena(ctx);
	for (size_t i = 0; i < r->n_groups; i++) {
		Hcp__ClassCapacity *c;
		if (capacity_of(r, r->group[i], a, &c) < 0 || pb_push(a, &reply->n_classes, &reply->classes, c) < 0)
			return HCP_ENOMEM;
		reply->power_w += c->power_w;
		reply->hash_ths += c->hash_ths;
	}
	for (size_t i = 0; i < r->n_facilities; i++)
		reply->power_budget_w += r->facility[i]->power.budget_w;
	reply->nodes = (int32_t)r->n_nodes;
	reply->nodes_connected = (int32_t)r->nodes_connected;
	return reply_copy(ctx, MSG_FLEET, &built.base);
}

int on_nodes(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	struct resources *r = state;
	Hcp__Nodes built = HCP__NODES__INIT, *reply = &built;
	struct arena *a = svc_arena(ctx);
	for (size_t i = r->n_nodes; i-- > 0;) {
		const struct node *n = r->node[i];
		Hcp__Node *row = arena_alloc(a, sizeof(*row));
		if (pb_push(a, &reply->n_nodes, &reply->nodes, row) < 0)
			return HCP_ENOMEM;
		hcp__node__init(row);
		row->id = n->id;
		row->name = n->name;
		row->facility = n->facility;
		row->region = n->region;
		row->connected = n->connected;
		row->seen_at_ns = n->seen_at_ns;
		row->lease_until_ns = n->lease_until_ns;
		row->devices = (int32_t)n->n_devices;
		row->endpoint = n->endpoint;
		row->agent_version = n->version;
		row->energy_j = n->energy_j;
		row->models = n->models;
		row->n_models = n->n_models;
	}
	return reply_copy(ctx, MSG_NODES, &built.base);
}

int on_switches(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	const Hcp__SwitchesList *l = (const Hcp__SwitchesList *)m->body;
	struct db_row *row;
	if (l->limit < 0 || l->limit > RESOURCES_KEEP_SWITCHES)
		return err_set(err, HCP_ERANGE, "limit", "must be 1 to %d, was %d", RESOURCES_KEEP_SWITCHES, l->limit);
	Hcp__Switches *reply = svc_reply(ctx, MSG_SWITCHES);
	if (!reply)
		return HCP_ENOMEM;
	struct arena *a = svc_reply_arena(ctx);
	int rc = db_query(svc_db(ctx), &row, err, "SELECT body FROM switch ORDER BY no DESC LIMIT $1", "i",
			  (int64_t)(l->limit ? l->limit : LIST_DEFAULT));
	for (; rc == 1; rc = db_next(row, err)) {
		void *s = pb_unpack_arena(&hcp__switch_done__descriptor, db_blob(row, 0), a);
		if (!s || pb_push(a, &reply->n_switches, &reply->switches, s) < 0) {
			db_done(row);
			return HCP_ENOMEM;
		}
	}
	return rc;
}
