/* Nodes that are rented while much waits: sched/scale over the router's jobs and devices. */
#include "services/router/scale.h"

#include "base/mem.h"
#include "base/money.h"

/* ---- life ---- */

int router_scale_open(struct router *r, const struct router_conf *given, struct db *db, struct err *err)
{
	struct scale_conf conf;
	struct router_scale *x = mem_calloc(1, sizeof(*x));
	if (!x)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	scale_conf_default(&conf);
	if (given && given->scale.n_types) {
		conf = given->scale;
		memcpy(x->place, given->place, sizeof(x->place));
	} else {
		conf.budget_micros_h = 1;
	}
	int rc = scale_rows_retired(&conf, x->place, db, err);
	if (rc < 0 || !conf.n_types) {
		mem_free(x);
		return rc;
	}
	r->scale = x;
	rc = scale_init(&x->scale, &conf, err);
	x->poked = true;
	return rc < 0 ? rc : scale_rows_load(&x->scale, db, err);
}

void router_scale_close(struct router *r)
{
	struct err err = { 0 };
	if (r->scale && r->scale->taker) {
		err_set(&err, HCP_ECLOSED, "", "the service restarts; ask again");
		msg_answer_problem(r->scale->taker, HCP_ECLOSED, &err);
		msg_free(r->scale->taker);
	}
	mem_free(r->scale);
	r->scale = NULL;
}

/* ---- devices ---- */

static const struct scale_node *node_of(const struct router_scale *x, struct str node_id)
{
	char name[SCALE_NAME_MAX + 8];
	for (size_t t = 0; t < x->scale.conf.n_types; t++) {
		struct str type = str_of(x->scale.conf.type[t].name);
		if (!str_starts(node_id, type) || node_id.n <= type.n || node_id.p[type.n] != '-')
			continue;
		for (size_t i = 0; i < SCALE_SLOTS_MAX; i++)
			if (str_eqz(node_id, scale_node_name(&x->scale, &x->scale.node[t][i], name)))
				return &x->scale.node[t][i];
	}
	return NULL;
}

void router_scale_device(struct router *r, struct rdev *rd, const char *node_id)
{
	const struct scale_node *n = r->scale ? node_of(r->scale, str_of(node_id)) : NULL;
	rd->rented = n;
	if (!n)
		return;
	rd->of_node = r->scale->first[n->type][n->slot];
	r->scale->first[n->type][n->slot] = rd;
}

bool router_scale_offers(const struct router *r, const struct rdev *rd)
{
	return !rd->rented || !scale_cordoned(rd->rented);
}

/* ---- what sched/scale sees ---- */

/* Would a job that waits run on one node of the type? Mining is nothing to rent for. */
static bool would_fit(const struct router_scale *x, size_t t, const struct placement_request *q)
{
	const struct scale_type *type = &x->scale.conf.type[t];
	const struct device_class *c = device_class_at(type->device_class);
	if (type->retired || !c || q->cls == WORKLOAD_P4 || q->count > (uint32_t)type->devices)
		return false;
	if (q->device_class >= 0 ? (size_t)q->device_class != type->device_class : c->kind != DEVICE_GPU)
		return false;
	return q->memory_gib <= c->memory_gib && (!q->region || !q->region[0] || !strcmp(q->region, x->place[t].region));
}

static void see_node(const struct router *r, struct scale_view *v, size_t t, size_t i)
{
	const struct router_scale *x = r->scale;
	int32_t usable = 0;
	for (const struct rdev *rd = x->first[t][i]; rd; rd = rd->of_node) {
		struct id owner = placement_owner(r->place, rd->dev);
		usable += rd->usable;
		v->node[t][i].busy |= !id_is_nil(&owner);
	}
	/* A new one is there when it is whole; later a device may fail. */
	v->node[t][i].joined = usable >= (x->scale.node[t][i].state == SCALE_BOOTING ? x->scale.conf.type[t].devices : 1);
}

void scale_view_fill(const struct router *r, struct scale_view *v)
{
	const struct router_scale *x = r->scale;
	int64_t milli[SCALE_TYPES_MAX] = { 0 };
	size_t looked = 0;
	*v = (struct scale_view){ 0 };
	for (const struct list *it = r->order.next; it != &r->order && looked < ROUTER_SCALE_WALK;
		 it = it->next, looked++) {
		const struct job *j = list_entry(it, struct job, node);
		if (j->state != JOB_WAITING)
			continue;
		struct placement_request q = router_request_of(r, j);
		size_t t = 0;
		while (t < x->scale.conf.n_types && !would_fit(x, t, &q))
			t++;
		if (t < x->scale.conf.n_types) { /* counted once, for the first type */
			v->jobs[t]++;
			milli[t] += router_job_milli(j);
		}
	}
	for (size_t t = 0; t < x->scale.conf.n_types; t++) {
		v->devices[t] = (int32_t)((milli[t] + SLICE_WHOLE - 1) / SLICE_WHOLE);
		for (size_t i = 0; i < SCALE_SLOTS_MAX; i++)
			if (x->scale.node[t][i].state != SCALE_FREE)
				see_node(r, v, t, i);
	}
}

/* ---- what it decides ---- */

/* The node's devices are offered, or not any more. */
static void offer(struct router *r, const struct scale_node *n)
{
	for (struct rdev *rd = r->scale->first[n->type][n->slot]; rd; rd = rd->of_node)
		(void)!placement_set_in_service(r->place, rd->dev, router_inventory_offered(r, rd), NULL);
	if (!scale_cordoned(n)) {
		router_look_again(r);
		r->look = true;
	}
}

/* What has changed goes into the tables before anybody is called for it. */
static int keep(struct router *r, struct svc_ctx *ctx, struct err *err)
{
	struct scale *s = &r->scale->scale;
	int rc = 0;
	for (size_t t = 0; t < s->conf.n_types; t++)
		for (size_t i = 0; i < SCALE_SLOTS_MAX && rc == 0; i++) {
			struct scale_node *n = &s->node[t][i];
			if (!n->changed)
				continue;
			n->changed = false;
			offer(r, n);
			rc = scale_rows_save(r->scale, ctx, n, err);
		}
	return rc;
}

/* ---- who makes the calls ---- */

static int add_order(
	const struct router_scale *x, const struct scale_node *n, enum scale_call c, struct arena *a, Hcp__ScaleOrders *out)
{
	char name[SCALE_NAME_MAX + 8];
	Hcp__ScaleOrder *o = arena_alloc(a, sizeof(*o));
	if (!o || pb_push(a, &out->n_orders, &out->orders, o) < 0)
		return HCP_ENOMEM;
	hcp__scale_order__init(o);
	o->token = arena_strdup(a, n->token);
	o->call = scale_call_name(c);
	o->attempt = n->attempt;
	o->type = arena_strdup(a, x->scale.conf.type[n->type].name);
	o->node = arena_strdup(a, scale_node_name(&x->scale, n, name));
	o->device_class = arena_strdup(a, x->place[n->type].device_class);
	o->devices = x->scale.conf.type[n->type].devices;
	o->facility = arena_strdup(a, x->place[n->type].facility);
	o->region = arena_strdup(a, x->place[n->type].region);
	return o->token && o->type && o->node && o->device_class && o->facility && o->region ? 0 : HCP_ENOMEM;
}

static int fill(struct router *r, struct svc_ctx *ctx, struct arena *a, Hcp__ScaleOrders *out, struct err *err)
{
	struct scale_node *n;
	enum scale_call c;
	while (out->n_orders < ROUTER_SCALE_CALLS &&
		   (c = scale_take(&r->scale->scale, svc_now_ns(ctx), &n)) != SCALE_CALL_NONE)
		if (add_order(r->scale, n, c, a, out) < 0)
			return err_set(err, HCP_ENOMEM, "", "out of memory");
	return keep(r, ctx, err);
}

static int answer_taker(struct router *r, struct svc_ctx *ctx, struct err *err)
{
	struct arena *a;
	struct msg *m = r->scale->taker;
	r->scale->taker = NULL;
	Hcp__ScaleOrders *out = svc_answer(ctx, m, MSG_SCALE_ORDERS, &a);
	if (!out) {
		msg_answer_problem(m, HCP_ENOMEM, NULL);
		msg_free(m);
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	}
	return fill(r, ctx, a, out, err);
}

int router_on_scale_take(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	struct router *r = state;
	struct router_scale *x = r->scale;
	const Hcp__ScaleTake *t = (const Hcp__ScaleTake *)m->body;
	if (t->wait_ms < 0 || t->wait_ms > ROUTER_SCALE_WAIT_MAX_MS)
		return err_set(err, HCP_ERANGE, "wait_ms", "must be 0 to %d, was %d", ROUTER_SCALE_WAIT_MAX_MS, t->wait_ms);
	if (!x)
		return err_set(err, HCP_ESTATE, "", "nothing is rented: no types of nodes are set");
	int rc = x->taker ? answer_taker(r, ctx, err) : 0;
	if (rc < 0)
		return rc;
	x->seen_ns = svc_now_ns(ctx);
	if (t->fresh)
		scale_take_back(&x->scale, svc_now_ns(ctx));
	if (scale_call_due(&x->scale) > svc_now_ns(ctx) && t->wait_ms > 0) {
		x->taker = svc_hold_idle(ctx);
		x->taker_until_ns = svc_now_ns(ctx) + t->wait_ms * NS_PER_MS;
		svc_wake_at(ctx, router_scale_due(r));
		return 0;
	}
	Hcp__ScaleOrders *out = svc_reply(ctx, MSG_SCALE_ORDERS);
	return out ? fill(r, ctx, svc_reply_arena(ctx), out, err) : HCP_ENOMEM;
}

static int parse_result(const Hcp__ScaleResult *w, struct scale_answer *a, struct err *err)
{
	*a = (struct scale_answer){
		.token = w->token, .attempt = w->attempt, .error = w->error, .price_micros_h = w->price_micros_h
	};
	for (int c = SCALE_CALL_QUOTE; c <= SCALE_CALL_STOP; c++)
		if (!strcmp(w->call, scale_call_name((enum scale_call)c)))
			a->call = (enum scale_call)c;
	if (a->call == SCALE_CALL_NONE)
		return err_set(err, HCP_EINVAL, "call", "%.16s is no call", w->call);
	if (w->state[0] && scale_word_parse(str_of(w->state), &a->says) < 0)
		return err_set(err, HCP_EINVAL, "state", "%.16s is no state", w->state);
	if (w->price_micros_h < 0 || w->price_micros_h > 1000000 * MICROS_PER_USD)
		return err_set(err, HCP_ERANGE, "price_micros_h", "must be 0 to a million dollars");
	return 0;
}

int router_on_scale_result(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	struct router *r = state;
	struct scale_answer a;
	int rc = parse_result((const Hcp__ScaleResult *)m->body, &a, err);
	if (rc < 0 || !r->scale || !scale_answered(&r->scale->scale, &a, svc_now_ns(ctx)))
		return rc; /* what is too late changes nothing */
	r->scale->poked = true;
	svc_wake_at(ctx, svc_now_ns(ctx));
	return keep(r, ctx, err);
}

/* ---- time ---- */

void router_scale_poke(struct router *r)
{
	if (r->scale)
		r->scale->poked = true;
}

static int64_t step_due(const struct router_scale *x)
{
	return x->poked ? x->scale.stepped_ns + NS_PER_S : scale_due(&x->scale);
}

int64_t router_scale_due(const struct router *r)
{
	const struct router_scale *x = r->scale;
	if (!x)
		return INT64_MAX;
	int64_t at_ns = step_due(x);
	if (x->taker) {
		int64_t call_ns = scale_call_due(&x->scale);
		call_ns = x->taker_until_ns < call_ns ? x->taker_until_ns : call_ns;
		at_ns = call_ns < at_ns ? call_ns : at_ns;
	}
	return at_ns;
}

static void make_token(void *arg, char dst[ID_TEXT_MAX])
{
	svc_new_id(arg, dst, ID_RENTAL);
}

int router_scale_timer(struct router *r, struct svc_ctx *ctx, struct err *err)
{
	struct router_scale *x = r->scale;
	int64_t now_ns = svc_now_ns(ctx);
	if (!x)
		return 0;
	/* A clock that was set back holds nothing up. */
	if (now_ns >= step_due(x) || now_ns < x->scale.stepped_ns) {
		x->poked = false;
		scale_view_fill(r, &x->view);
		scale_step(&x->scale, &x->view, now_ns, make_token, ctx);
	}
	int rc = keep(r, ctx, err);
	if (rc == 0 && x->taker && (scale_call_due(&x->scale) <= now_ns || now_ns >= x->taker_until_ns))
		rc = answer_taker(r, ctx, err);
	if (rc == 0 && router_scale_due(r) != INT64_MAX)
		svc_wake_at(ctx, router_scale_due(r));
	return rc;
}
