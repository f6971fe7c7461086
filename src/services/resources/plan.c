/*
 * The directive becomes a wish per device, and wishes become commands.
 *
 * Devices are chosen group by group, the most wanted first, as long as the budgets of all levels of the power tree
 * above them have room; in an order of their own, so that the same numbers choose the same devices.
 */
#include <stdio.h>
#include <stdlib.h>

#include "services/resources/resources_priv.h"

enum { PLAN_AHEAD = 16 }; /* devices that memory is asked for before their turn */

int plan_load_directive(struct resources *r)
{
	struct arena a;
	int rc = 0;
	arena_init(&a, 4096, 0);
	const Hcp__Directive *d = (void *)pb_unpack_arena(&hcp__directive__descriptor, buf_str(&r->directive), &a);
	if (!d)
		rc = HCP_ECORRUPT;
	if (rc == 0)
		rc = str_copy(r->decision_id, sizeof(r->decision_id), str_of(d->decision_id));
	if (rc == 0) {
		r->emergency = d->emergency_stop;
		r->decided_at_ns = d->decided_at_ns;
		r->signal_at_ns = d->signal_at_ns;
	}
	for (size_t i = 0; i < r->n_groups; i++)
		r->group[i]->has_target = false;
	for (size_t i = 0; rc == 0 && i < d->n_targets; i++) {
		const Hcp__ClassTarget *t = d->targets[i];
		for (size_t k = 0; k < r->n_groups; k++) {
			struct group *g = r->group[k];
			if (strcmp(g->facility->name, t->facility) || !str_ieqz(str_of(t->device_class), g->cls->name))
				continue;
			g->has_target = true;
			g->serve = t->serve;
			g->mine = t->mine;
			g->idle = t->idle;
			g->mine_w = t->mine_w;
		}
	}
	arena_release(&a);
	return rc;
}

/* A class of devices that came after the directive. Only its row is needed; the rest of the groups keep theirs. */
void plan_find_target(struct resources *r, struct group *g)
{
	struct arena a;
	arena_init(&a, 4096, 0);
	const Hcp__Directive *d = r->directive.n ?
		(void *)pb_unpack_arena(&hcp__directive__descriptor, buf_str(&r->directive), &a) : NULL;
	for (size_t i = 0; d && i < d->n_targets; i++) {
		const Hcp__ClassTarget *t = d->targets[i];
		if (strcmp(g->facility->name, t->facility) || !str_ieqz(str_of(t->device_class), g->cls->name))
			continue;
		g->has_target = true;
		g->serve = t->serve;
		g->mine = t->mine;
		g->idle = t->idle;
		g->mine_w = t->mine_w;
	}
	arena_release(&a);
}

void plan_want(struct resources *r, struct facility *f)
{
	f->dirty = true;
	r->poke = true;
}

void plan_want_now(struct resources *r, struct facility *f)
{
	plan_want(r, f);
	f->rest_until_ns = 0;
}

static bool plannable(const struct device *d)
{
	return !d->alloc && !d->ticket && d->node->connected &&
	       (d->state == DEVICE_ST_IDLE || d->state == DEVICE_ST_DRAINING);
}

struct candidate {
	struct device *d;
	enum device_mode now; /* the former wish */
	double rank;          /* smaller: better to have at work; where there is something to choose */
};

/* Watts per TH/s as measured, nominal before the first measurement; devices that would not obey come last. */
static double rank_of(const struct device *d)
{
	const struct device_class *c = d->group->cls;
	double nominal = device_class_j_per_th(c);
	double j_per_th = d->hash_ths > 0 && d->power_w > 0 && d->ctl.confirmed == DEVICE_FILL
				  ? d->power_w / d->hash_ths
				  : nominal;
	return j_per_th * (d->ctl.drifted ? 1e6 : 1) * (d->node->endpoint[0] ? 0.5 : 1);
}

static int by_rank(const void *a, const void *b)
{
	const struct candidate *x = a, *y = b;
	if (x->now != y->now)
		return (int)x->now - (int)y->now;
	if (x->rank != y->rank)
		return x->rank < y->rank ? -1 : 1;
	return x->d->index < y->d->index ? -1 : 1;
}

/* The free devices of a group, in the order in which they are chosen: by former wish, the better ones first. */
struct pool {
	struct group *g;
	int32_t w[DEVICE_MODE_END]; /* of one device */
	struct candidate *c;
	size_t n, serve_end, fill_end; /* [0, serve_end) served, [serve_end, fill_end) mined */
	int32_t serve, mine;           /* still wanted */
};

static void plan_watts(struct power *p, int64_t w)
{
	for (; p; p = p->up)
		p->planned_w += w;
}

static bool has_room(const struct power *p, int64_t more_w)
{
	for (; p && more_w > 0; p = p->up) {
		int64_t cap_w = power_cap_w(p);
		if (cap_w != INT64_MAX && p->planned_w + more_w > cap_w)
			return false;
	}
	return true;
}

/* A node's processors serve by a model that the node has; one that only runs programs has none. */
static bool can_be(const struct device *d, enum device_mode m)
{
	return m != DEVICE_SERVE || d->group->cls->kind != DEVICE_CPU || d->node->n_models || !d->node->n_programs;
}

static void wish(struct resources *r, struct candidate *c, enum device_mode m, int32_t target_w)
{
	if (c->now != m || c->d->desired_w != target_w)
		device_set_desired(r, c->d, m, target_w);
	c->d = NULL;
}

static int32_t order_w(const struct pool *p, enum device_mode m, int32_t target_w)
{
	return m == DEVICE_FILL && target_w > 0 ? target_w : p->w[m];
}

/* Its miners are told target_w; 0: nothing. */
static bool take(struct resources *r, const struct pool *p, struct candidate *c, enum device_mode m, int32_t target_w)
{
	struct power *at = device_power(c->d);
	int64_t more_w = order_w(p, m, target_w) - p->w[DEVICE_IDLE];
	if (!can_be(c->d, m) || !has_room(at, more_w))
		return false;
	plan_watts(at, more_w);
	wish(r, c, m, target_w);
	return true;
}

/* Of the pool's devices from..to, in order, those for whom every level above has room. */
static void choose(struct resources *r, struct pool *p, enum device_mode m, size_t from, size_t to)
{
	int32_t *left = m == DEVICE_SERVE ? &p->serve : &p->mine, target_w = m == DEVICE_FILL ? p->g->mine_w : 0;
	for (size_t i = from; *left > 0 && i < to; i++)
		if (p->c[i].d && take(r, p, &p->c[i], m, target_w))
			--*left;
}

/* All of the pool, for which there is room. */
static void take_all(struct resources *r, struct pool *p, enum device_mode m)
{
	int32_t target_w = m == DEVICE_FILL ? p->g->mine_w : 0;
	for (size_t i = 0; i < p->n; i++)
		wish(r, &p->c[i], m, target_w);
	plan_watts(&p->g->facility->power, (int64_t)p->n * (order_w(p, m, target_w) - p->w[DEVICE_IDLE]));
	p->serve = p->mine = 0;
}

/*
 * First every mode keeps its best devices up to its count; then the surplus, and after it the idle ones, fill what
 * is missing. So only devices change that must, and those left for OFF are off already or the least efficient. Serving
 * takes those that mine, too, before it goes without power.
 */
static void choose_serving(struct resources *r, struct pool *p)
{
	size_t kept = p->serve_end + (size_t)p->mine;
	kept = kept < p->fill_end ? kept : p->fill_end;
	choose(r, p, DEVICE_SERVE, 0, p->serve_end);
	choose(r, p, DEVICE_SERVE, kept, p->n);
	choose(r, p, DEVICE_SERVE, p->serve_end, kept);
}

static void choose_mining(struct resources *r, struct pool *p)
{
	choose(r, p, DEVICE_FILL, p->serve_end, p->fill_end);
	choose(r, p, DEVICE_FILL, 0, p->n);
}

/* What the directive leaves for devices without an allocation. `serve` counts running and warm ones. */
static void count_group(const struct resources *r, struct pool *p)
{
	struct group *g = p->g;
	int32_t free = (int32_t)p->n;
	int32_t serve = g->serve > g->serving ? g->serve - g->serving : 0;
	int32_t mine = g->mine > g->mining ? g->mine - g->mining : 0;
	if (r->emergency || !g->has_target)
		serve = mine = 0;
	if (g->cls->kind == DEVICE_ASIC) {
		mine += serve; /* an ASIC serves nobody */
		serve = 0;
	}
	p->serve = serve < free ? serve : free;
	p->mine = mine < free - p->serve ? mine : free - p->serve;
	g->plan_serve = p->serve;
	g->plan_mine = p->mine;
}

/* Its free devices count as idle until they are chosen, the others with what they hold. */
static int gather(struct resources *r, struct svc_ctx *ctx, struct group *g, struct pool *p)
{
	*p = (struct pool){ .g = g, .c = arena_alloc(svc_arena(ctx), (g->n + 1) * sizeof(*p->c)) };
	if (!p->c)
		return HCP_ENOMEM;
	for (int m = 0; m < DEVICE_MODE_END; m++)
		p->w[m] = class_mode_w(g->cls, (enum device_mode)m);
	struct power *at = NULL; /* neighbours mostly hang together: their watts go up the tree as one sum */
	int64_t sum_w = 0;
	for (size_t i = 0; i < g->n; i++) {
		struct device *d = g->devices[i];
		__builtin_prefetch(g->devices[i + PLAN_AHEAD < g->n ? i + PLAN_AHEAD : i]);
		int32_t w = p->w[DEVICE_IDLE];
		if (plannable(d)) {
			p->c[p->n++] = (struct candidate){ d, d->ctl.desired, 0 };
			p->serve_end += d->ctl.desired == DEVICE_SERVE;
			p->fill_end += d->ctl.desired <= DEVICE_FILL;
		} else {
			w = d->alloc ? p->w[d->held] : 0;
			w = w > d->reserve_w ? w : d->reserve_w;
		}
		if (device_power(d) != at) {
			plan_watts(at, sum_w);
			at = device_power(d);
			sum_w = 0;
		}
		sum_w += w;
	}
	plan_watts(at, sum_w);
	count_group(r, p);
	return 0;
}

/* All that is wanted has room, whoever gets it. Below a facility nobody knows before they are chosen. */
static bool have_room(const struct facility *f, const struct pool *p, size_t n)
{
	int64_t most_w = 0;
	if (f->has_levels)
		return false;
	for (size_t i = 0; i < n; i++)
		most_w += (int64_t)p[i].serve * p[i].w[DEVICE_SERVE] +
				  (int64_t)p[i].mine * order_w(&p[i], DEVICE_FILL, p[i].g->mine_w);
	return has_room(&f->power, most_w);
}

static bool wants_all(const struct pool *p)
{
	return p->n && ((size_t)p->serve == p->n || (size_t)p->mine == p->n);
}

/* Where nothing is wanted, or all become the same, there is nothing to choose. */
static void sort(struct pool *p, bool room)
{
	if (!(p->serve || p->mine) || (room && wants_all(p)))
		return;
	for (size_t i = 0; i < p->n; i++)
		p->c[i].rank = rank_of(p->c[i].d);
	qsort(p->c, p->n, sizeof(*p->c), by_rank);
}

/* Before any directive speaks of it a free device stays as it is; in SAFE, or after a customer, it goes idle. */
static void leave(struct resources *r, struct pool *p)
{
	for (size_t i = 0; i < p->n; i++) {
		struct device *d = p->c[i].d;
		if (r->emergency || p->g->facility->curtailment || d->state == DEVICE_ST_DRAINING ||
			d->ctl.desired == DEVICE_SAFE)
			continue;
		(void)take(r, p, &p->c[i], d->ctl.desired, d->desired_w);
	}
}

static bool sheds_before(const struct group *a, const struct group *b)
{
	return device_class_j_per_th(a->cls) > device_class_j_per_th(b->cls);
}

/* The facility's groups, the least efficient first. */
static size_t in_order(const struct resources *r, const struct facility *f, struct group *order[DEVICE_CLASS_MAX])
{
	size_t n = 0;
	for (size_t i = 0; i < r->n_groups; i++) {
		if (r->group[i]->facility != f || !r->group[i]->n)
			continue;
		size_t at = n++;
		for (; at && sheds_before(r->group[i], order[at - 1]); at--)
			order[at] = order[at - 1];
		order[at] = r->group[i];
	}
	return n;
}

/*
 * The most wanted first, as long as every level above has room: warm serving, then mining from the most efficient on.
 * So at each level that has too few watts it is the least efficient mining that goes without, then warm serving;
 * customers' work, and what does not obey, is not cut.
 */
static int plan_facility(struct resources *r, struct svc_ctx *ctx, struct facility *f, struct err *err)
{
	struct group *order[DEVICE_CLASS_MAX];
	struct pool pool[DEVICE_CLASS_MAX] = { 0 };
	int64_t devices = 0;
	f->dirty = false;
	care_rest(r, f);
	f->power.planned_w = 0;
	for (size_t i = 0; i < r->n_levels; i++)
		if (r->level[i]->facility == f)
			r->level[i]->planned_w = 0;
	size_t n = in_order(r, f, order);
	for (size_t i = 0; i < n; i++) {
		if (gather(r, ctx, order[i], &pool[i]) < 0)
			return err_set(err, HCP_ENOMEM, "", "out of memory");
		devices += (int64_t)order[i]->n;
	}
	int64_t rest_ns = devices * RESOURCES_PLAN_REST_NS;
	f->rest_until_ns = svc_now_ns(ctx) + (rest_ns < RESOURCES_PLAN_REST_MAX_NS ? rest_ns : RESOURCES_PLAN_REST_MAX_NS);
	bool room = have_room(f, pool, n);
	for (size_t i = 0; i < n; i++)
		sort(&pool[i], room);
	for (size_t i = n; i-- > 0;)
		if (!order[i]->has_target || r->emergency)
			leave(r, &pool[i]);
	bool all = have_room(f, pool, n);
	for (size_t i = n; i-- > 0 && all;)
		if (wants_all(&pool[i]) && !(pool[i].serve && order[i]->cls->kind == DEVICE_CPU)) /* can_be */
			take_all(r, &pool[i], pool[i].serve ? DEVICE_SERVE : DEVICE_FILL);
	for (size_t i = n; i-- > 0;)
		choose_serving(r, &pool[i]);
	for (size_t i = n; i-- > 0;)
		choose_mining(r, &pool[i]);
	for (size_t i = 0; i < n; i++) {
		order[i]->plan_serve -= pool[i].serve;
		order[i]->plan_mine -= pool[i].mine;
		for (size_t k = 0; k < pool[i].n; k++)
			if (pool[i].c[k].d)
				wish(r, &pool[i].c[k], DEVICE_IDLE, 0);
	}
	return 0;
}

int plan_dirty(struct resources *r, struct svc_ctx *ctx, struct err *err)
{
	int64_t now = svc_now_ns(ctx);
	int rc = 0;
	for (size_t i = 0; i < r->n_facilities && rc == 0; i++) {
		struct facility *f = r->facility[i];
		bool rests = now < f->rest_until_ns && f->rest_until_ns - now <= RESOURCES_PLAN_REST_MAX_NS; /* or set back */
		if (f->dirty && !rests)
			rc = plan_facility(r, ctx, f, err);
		else if (f->dirty)
			svc_wake_at(ctx, f->rest_until_ns);
	}
	return rc;
}

/* ---- commands ---- */

static bool needs_command(const struct device *d, int64_t now_ns)
{
	if ((d->state == DEVICE_ST_FAILED && d->why != WHY_TRIPPED) || d->state == DEVICE_ST_ALLOCATING)
		return false;
	if (d->command)
		return false;
	bool right = device_is_told(d) || (d->local && d->ctl.desired == DEVICE_FILL);
	return d->resync || d->state == DEVICE_ST_DRAINING || !right || d->ctl.drifted;
}

/* Commands of one node; *later: something remains to be done at another time. */
static int reconcile_node(struct resources *r, struct svc_ctx *ctx, struct node *n, bool *later, struct err *err)
{
	int64_t now = svc_now_ns(ctx);
	struct item *items = arena_alloc(svc_arena(ctx), (n->n_devices + 1) * sizeof(*items));
	size_t count = 0;
	if (!items)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	for (size_t i = 0; i < n->n_devices; i++)
		power_promise_none(device_power(n->devices[i]));
	for (size_t i = 0; i < n->n_devices; i++) {
		struct device *d = n->devices[i];
		/* A wish that changed takes its device out of the command under way. */
		if (d->command && !d->command->alloc && d->state != DEVICE_ST_ALLOCATING) {
			int rc = !device_is_told(d) ? command_drop_device(r, ctx, d, err) : 0;
			if (rc < 0)
				return rc;
		}
		if (!needs_command(d, now))
			continue;
		if (d->retry_at_ns > now ||
			power_promise(r, device_power(d), device_order_w(d, d->ctl.desired, d->desired_w) - d->reserve_w)) {
			*later = true;
			continue;
		}
		items[count++] = (struct item){ .device = d, .to = d->ctl.desired, .target_w = d->desired_w };
	}
	if (!count)
		return 0;
	/* An emergency stop, an order to curtail and a feeder without power do not wait for a circuit to close. */
	if (!breaker_allow(&n->breaker, now) && !r->emergency && !items[0].device->group->facility->curtailment &&
		items[0].device->why != WHY_TRIPPED) {
		*later = true;
		return 0;
	}
	return command_issue(r, ctx, n, NULL, items, count, err);
}

int reconcile(struct resources *r, struct svc_ctx *ctx, struct err *err)
{
	struct list now;
	struct list *l;
	int rc = 0;
	/* One pass: a node that asks again meanwhile is tried again later. */
	list_init(&now);
	while ((l = list_pop(&r->nodes_work)))
		list_add_tail(&now, l);
	while ((l = list_pop(&now))) {
		struct node *n = list_entry(l, struct node, work);
		bool later = rc < 0;
		if (n->connected && rc == 0)
			rc = reconcile_node(r, ctx, n, &later, err);
		if (later && list_empty(&n->work))
			list_add_tail(&r->nodes_work, &n->work);
	}
	r->poke = false;
	return rc;
}

/* ---- the directive ---- */

/* As the site file may say: above standing still, at most twice the nominal watts. */
static int check_watts(const struct device_class *c, int32_t mine_w, struct err *err)
{
	if (mine_w == 0)
		return 0;
	if (c->kind != DEVICE_ASIC)
		return err_set(err, HCP_EINVAL, "mine_w", "%s has no power modes", c->name);
	if (mine_w < c->power_w[DEVICE_IDLE] || mine_w > 2 * c->power_w[DEVICE_FILL])
		return err_set(err, HCP_ERANGE, "mine_w", "must be %.0f to %.0f W of %s, is %d", c->power_w[DEVICE_IDLE],
			2 * c->power_w[DEVICE_FILL], c->name, mine_w);
	return 0;
}

static int check_directive(const Hcp__Directive *d, struct err *err)
{
	char at[32];
	if (strlen(d->id) >= ID_TEXT_MAX || strlen(d->decision_id) >= ID_TEXT_MAX)
		return err_set(err, HCP_EINVAL, "decision_id", "longer than an id");
	for (size_t i = 0; i < d->n_targets; i++) {
		const Hcp__ClassTarget *t = d->targets[i];
		int rc = 0;
		if (!device_class_find(str_of(t->device_class)))
			rc = err_set(err, HCP_ENOTFOUND, "device_class", "there is no device class %.32s",
				     t->device_class);
		else if (t->serve < 0 || t->mine < 0 || t->idle < 0)
			rc = err_set(err, HCP_ERANGE, "serve", "counts must not be negative");
		else
			rc = check_watts(device_class_find(str_of(t->device_class)), t->mine_w, err);
		if (rc < 0) {
			snprintf(at, sizeof(at), "targets[%zu]", i);
			err_prefix(err, at);
			return rc;
		}
	}
	return 0;
}

int on_directive(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	struct resources *r = state;
	const Hcp__Directive *d = (const Hcp__Directive *)m->body;
	bool was_emergency = r->emergency;
	int rc = check_directive(d, err);
	if (rc < 0)
		return rc;
	buf_clear(&r->directive);
	rc = pb_pack(&d->base, &r->directive);
	if (rc == 0)
		rc = plan_load_directive(r);
	if (rc < 0)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	rc = db_run(svc_db(ctx), err,
		    "INSERT INTO state(k,v) VALUES('directive',$1) ON CONFLICT(k) DO UPDATE SET v=excluded.v", "b",
		    buf_str(&r->directive));
	if (rc == 0 && r->emergency)
		rc = allocs_end_all(r, ctx, NULL, "emergency stop", err);
	r->directed = true;
	/* A price or an emergency does not wait; that customers ask for more can, in a fleet that takes long to plan. */
	for (size_t i = 0; i < r->n_facilities; i++)
		(d->signal_at_ns || d->emergency_stop ? plan_want_now : plan_want)(r, r->facility[i]);
	for (size_t i = 0; i < r->n_nodes && rc == 0 && r->emergency != was_emergency; i++)
		rc = node_say_endpoint(r, ctx, r->node[i], err);
	return rc;
}
