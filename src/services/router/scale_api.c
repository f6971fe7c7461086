/* What people ask about rented nodes. */
#include "base/money.h"
#include "services/router/scale.h"

static int add_type(
	const struct router_scale *x, const struct scale_view *v, size_t t, struct arena *a, Hcp__Autoscale *out)
{
	const struct scale_type *type = &x->scale.conf.type[t];
	Hcp__AutoscaleType *o = arena_alloc(a, sizeof(*o));
	if (!o)
		return HCP_ENOMEM;
	hcp__autoscale_type__init(o);
	o->name = arena_strdup(a, type->name);
	o->device_class = arena_strdup(a, x->place[t].device_class);
	o->facility = arena_strdup(a, x->place[t].facility);
	o->devices = type->devices;
	o->nodes_max = type->retired ? 0 : type->nodes_max;
	o->jobs_waiting = v->jobs[t];
	o->enough_since_ns = x->scale.over_ns[t];
	for (size_t i = 0; i < SCALE_SLOTS_MAX; i++) {
		enum scale_state s = x->scale.node[t][i].state;
		o->nodes_coming += s == SCALE_QUOTING || s == SCALE_STARTING || s == SCALE_BOOTING;
		o->nodes_up += s == SCALE_UP;
		o->nodes_going += s == SCALE_STOPPING;
	}
	return o->name && o->device_class && o->facility ? pb_push(a, &out->n_types, &out->types, o) : HCP_ENOMEM;
}

static int add_node(
	const struct scale *s, const struct scale_node *n, int64_t now_ns, struct arena *a, Hcp__Autoscale *out)
{
	char name[SCALE_NAME_MAX + 8];
	Hcp__Rental *o = arena_alloc(a, sizeof(*o));
	if (!o)
		return HCP_ENOMEM;
	hcp__rental__init(o);
	o->token = arena_strdup(a, n->token);
	o->node = arena_strdup(a, scale_node_name(s, n, name));
	o->type = arena_strdup(a, s->conf.type[n->type].name);
	o->state = scale_state_name(n->state);
	o->reason = arena_strdup(a, n->reason);
	o->price_micros_h = n->price_micros_h;
	o->cost_micros = scale_cost_micros(n, now_ns);
	o->asked_at_ns = n->asked_ns;
	o->started_at_ns = n->started_ns;
	o->up_at_ns = n->up_ns;
	o->stopping_at_ns = n->stopping_ns;
	return o->token && o->node && o->type && o->reason ? pb_push(a, &out->n_nodes, &out->nodes, o) : HCP_ENOMEM;
}

static int add_ended(struct db_row *row, struct arena *a, Hcp__Autoscale *out)
{
	const struct scale_node n = {
		.started_ns = db_i64(row, 4), .ended_ns = db_i64(row, 7), .price_micros_h = db_i64(row, 8)
	};
	Hcp__Rental *o = arena_alloc(a, sizeof(*o));
	if (!o)
		return HCP_ENOMEM;
	hcp__rental__init(o);
	o->token = arena_strndup(a, db_text(row, 0).p, db_text(row, 0).n);
	o->type = arena_strndup(a, db_text(row, 1).p, db_text(row, 1).n);
	o->node = o->type ? arena_printf(a, "%s-%lld", o->type, (long long)db_i64(row, 2) + 1) : NULL;
	o->state = scale_state_name(SCALE_FREE);
	o->asked_at_ns = db_i64(row, 3);
	o->started_at_ns = n.started_ns;
	o->up_at_ns = db_i64(row, 5);
	o->stopping_at_ns = db_i64(row, 6);
	o->ended_at_ns = n.ended_ns;
	o->price_micros_h = n.price_micros_h;
	o->cost_micros = scale_cost_micros(&n, n.ended_ns);
	o->reason = arena_strndup(a, db_text(row, 9).p, db_text(row, 9).n);
	return o->token && o->node && o->reason ? pb_push(a, &out->n_ended, &out->ended, o) : HCP_ENOMEM;
}

static int fill_ended(struct svc_ctx *ctx, struct arena *a, Hcp__Autoscale *out, struct err *err)
{
	struct db_row *row;
	int rc;
	for (rc = db_query(svc_db(ctx), &row, err,
			 "SELECT token,type,slot,asked_ns,started_ns,up_ns,stopping_ns,ended_ns,price,reason FROM rental"
			 " WHERE ended_ns>0 ORDER BY ended_ns DESC,token LIMIT $1",
			 "i", (int64_t)ROUTER_SCALE_ENDED);
		 rc == 1; rc = db_next(row, err)) {
		if (add_ended(row, a, out) < 0) {
			db_done(row);
			return HCP_ENOMEM;
		}
	}
	return rc;
}

static int fill_now(const struct router *r, struct svc_ctx *ctx, struct arena *a, Hcp__Autoscale *out)
{
	static const char *const circuit[] = { "closed", "open", "half_open" };
	const struct router_scale *x = r->scale;
	struct scale_view *v = arena_alloc(a, sizeof(*v));
	int rc = v ? 0 : HCP_ENOMEM;
	if (rc < 0)
		return rc;
	scale_view_fill(r, v);
	out->enabled = true;
	out->held = arena_strdup(a, x->scale.held);
	out->circuit = circuit[x->scale.breaker.state];
	out->rate_micros_h = scale_rate_micros_h(&x->scale);
	out->budget_micros_h = x->scale.conf.budget_micros_h;
	out->provider_seen_at_ns = x->taker ? svc_now_ns(ctx) : x->seen_ns;
	for (size_t t = 0; t < x->scale.conf.n_types && rc == 0; t++) {
		rc = add_type(x, v, t, a, out);
		for (size_t i = 0; i < SCALE_SLOTS_MAX && rc == 0; i++)
			if (x->scale.node[t][i].state != SCALE_FREE)
				rc = add_node(&x->scale, &x->scale.node[t][i], svc_now_ns(ctx), a, out);
	}
	return out->held ? rc : HCP_ENOMEM;
}

int router_on_autoscale(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	const struct router *r = state;
	Hcp__Autoscale *out = svc_reply(ctx, MSG_AUTOSCALE);
	if (!out)
		return HCP_ENOMEM;
	int rc = r->scale ? fill_now(r, ctx, svc_reply_arena(ctx), out) : 0;
	return rc < 0 ? rc : fill_ended(ctx, svc_reply_arena(ctx), out, err);
}
