/*
 * The directive becomes a wish per device, and wishes become commands.
 *
 * Counts first, devices second: a group's counts are cut to the facility's budget (least efficient mining first,
 * then warm serving), and only then are devices chosen, so that the same numbers choose the same devices.
 */
#include <stdio.h>
#include <stdlib.h>

#include "services/resources/resources_priv.h"

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
	double rank;          /* smaller: better to have at work */
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

static void choose(struct resources *r, struct candidate *c, size_t n, enum device_mode mode, int32_t count)
{
	for (size_t i = 0; i < n && count > 0; i++) {
		if (!c[i].d)
			continue;
		device_set_desired(r, c[i].d, mode);
		c[i].d = NULL;
		count--;
	}
}

/*
 * First every mode keeps its best devices up to its count; then the surplus, and after it the idle ones, fill what
 * is missing. So only devices change that must, and those left for OFF are off already or the least efficient.
 */
static void choose_all(struct resources *r, struct candidate *c, size_t n, int32_t serve, int32_t mine)
{
	for (size_t i = 0; i < n; i++) {
		int32_t *left = c[i].now == DEVICE_SERVE ? &serve : c[i].now == DEVICE_FILL ? &mine : NULL;
		if (!left || *left == 0)
			continue;
		--*left;
		c[i].d = NULL;
	}
	choose(r, c, n, DEVICE_SERVE, serve);
	choose(r, c, n, DEVICE_FILL, mine);
	choose(r, c, n, DEVICE_IDLE, INT32_MAX);
}

static int assign(struct resources *r, struct svc_ctx *ctx, struct group *g, struct err *err)
{
	struct candidate *c = arena_alloc(svc_arena(ctx), (g->n + 1) * sizeof(*c));
	size_t n = 0;
	if (!c)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	for (size_t i = 0; i < g->n; i++)
		if (plannable(g->devices[i]))
			c[n++] = (struct candidate){g->devices[i], g->devices[i]->ctl.desired, rank_of(g->devices[i])};
	/* Where all become the same there is nothing to choose. */
	if ((g->plan_serve || g->plan_mine) && (size_t)g->plan_serve < n && (size_t)g->plan_mine < n)
		qsort(c, n, sizeof(*c), by_rank);
	choose_all(r, c, n, g->plan_serve, g->plan_mine);
	return 0;
}

/* What the directive leaves for devices without an allocation. `serve` counts running and warm ones. */
static void count_group(const struct resources *r, struct group *g, int64_t *watts)
{
	int32_t free = 0, serving = 0, mining = 0;
	for (size_t i = 0; i < g->n; i++) {
		const struct device *d = g->devices[i];
		if (plannable(d)) {
			free++;
			continue;
		}
		serving += d->alloc && alloc_mode(d->alloc) == DEVICE_SERVE;
		mining += d->alloc && alloc_mode(d->alloc) == DEVICE_FILL;
		int32_t wish_w = d->alloc ? device_mode_w(d, alloc_mode(d->alloc)) : 0;
		*watts += wish_w > d->reserve_w ? wish_w : d->reserve_w;
	}
	int32_t serve = g->serve > serving ? g->serve - serving : 0, mine = g->mine > mining ? g->mine - mining : 0;
	if (r->emergency)
		serve = mine = 0;
	if (g->cls->kind == DEVICE_ASIC) {
		mine += serve; /* an ASIC serves nobody */
		serve = 0;
	}
	g->plan_serve = serve < free ? serve : free;
	g->plan_mine = mine < free - g->plan_serve ? mine : free - g->plan_serve;
	if (free) {
		const struct device *any = g->devices[0];
		*watts += (int64_t)g->plan_serve * device_mode_w(any, DEVICE_SERVE) +
			  (int64_t)g->plan_mine * device_mode_w(any, DEVICE_FILL) +
			  (int64_t)(free - g->plan_serve - g->plan_mine) * device_mode_w(any, DEVICE_IDLE);
	}
}

static void cut(struct group *g, int32_t *count, enum device_mode mode, int64_t *over_w)
{
	int64_t each_w = device_mode_w(g->devices[0], mode) - device_mode_w(g->devices[0], DEVICE_IDLE);
	if (*over_w <= 0 || each_w <= 0)
		return;
	int64_t n = (*over_w + each_w - 1) / each_w;
	n = n < *count ? n : *count;
	*count -= (int32_t)n;
	*over_w -= n * each_w;
}

static bool sheds_before(const struct group *a, const struct group *b)
{
	return device_class_j_per_th(a->cls) > device_class_j_per_th(b->cls);
}

/* Returns the watts by which it stays above: customers' work, and what does not obey, is not cut. */
static int64_t cut_to_budget(struct resources *r, struct facility *f, int64_t over_w)
{
	struct group *order[DEVICE_CLASS_MAX];
	size_t n = 0;
	for (size_t i = 0; i < r->n_groups; i++) {
		if (r->group[i]->facility != f || !r->group[i]->n)
			continue;
		size_t at = n++;
		for (; at && sheds_before(r->group[i], order[at - 1]); at--)
			order[at] = order[at - 1];
		order[at] = r->group[i];
	}
	for (size_t i = 0; i < n; i++)
		cut(order[i], &order[i]->plan_mine, DEVICE_FILL, &over_w);
	for (size_t i = 0; i < n; i++)
		cut(order[i], &order[i]->plan_serve, DEVICE_SERVE, &over_w);
	return over_w;
}

/* Before any directive speaks of it a free device stays as it is; in SAFE, or after a customer, it goes idle. */
static void leave(struct resources *r, struct group *g)
{
	for (size_t i = 0; i < g->n; i++) {
		struct device *d = g->devices[i];
		if (!plannable(d))
			continue;
		if (r->emergency || g->facility->curtailment || d->state == DEVICE_ST_DRAINING ||
		    d->ctl.desired == DEVICE_SAFE)
			device_set_desired(r, d, DEVICE_IDLE);
	}
}

static int plan_facility(struct resources *r, struct svc_ctx *ctx, struct facility *f, struct err *err)
{
	int64_t watts = 0, cap_w = facility_cap_w(f), devices = 0;
	int rc = 0;
	f->dirty = false;
	care_rest(r, f);
	for (size_t i = 0; i < r->n_groups; i++) {
		if (r->group[i]->facility != f)
			continue;
		count_group(r, r->group[i], &watts);
		devices += (int64_t)r->group[i]->n;
	}
	f->rest_until_ns = svc_now_ns(ctx) + devices * RESOURCES_PLAN_REST_NS;
	f->planned_w = watts;
	if (cap_w && watts > cap_w)
		f->planned_w = cap_w + cut_to_budget(r, f, watts - cap_w);
	for (size_t i = 0; i < r->n_groups && rc == 0; i++) {
		struct group *g = r->group[i];
		if (g->facility != f)
			continue;
		if (g->has_target && !r->emergency)
			rc = assign(r, ctx, g, err);
		else
			leave(r, g);
	}
	return rc;
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
	if (d->state == DEVICE_ST_FAILED || d->state == DEVICE_ST_ALLOCATING)
		return false;
	if (d->command)
		return false;
	bool right = d->ctl.commanded == d->ctl.desired || (d->local && d->ctl.desired == DEVICE_FILL);
	return d->resync || d->state == DEVICE_ST_DRAINING || !right || d->ctl.drifted;
}

static bool has_power(const struct device *d, enum device_mode to)
{
	const struct facility *f = d->group->facility;
	int64_t cap_w = facility_cap_w(f);
	int32_t w = device_mode_w(d, to);
	/* Going down, or staying, is always allowed: it takes nothing. */
	return !cap_w || w <= d->reserve_w || f->reserved_w - d->reserve_w + w <= cap_w;
}

/* Commands of one node; *later: something remains to be done at another time. */
static int reconcile_node(struct resources *r, struct svc_ctx *ctx, struct node *n, bool *later, struct err *err)
{
	int64_t now = svc_now_ns(ctx), promised_w = 0;
	struct item *items = arena_alloc(svc_arena(ctx), (n->n_devices + 1) * sizeof(*items));
	size_t count = 0;
	if (!items)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	for (size_t i = 0; i < n->n_devices; i++) {
		struct device *d = n->devices[i];
		/* A wish that changed takes its device out of the command under way. */
		if (d->command && !d->command->alloc && d->state != DEVICE_ST_ALLOCATING) {
			bool wrong = d->ctl.commanded != d->ctl.desired;
			int rc = wrong ? command_drop_device(r, ctx, d, err) : 0;
			if (rc < 0)
				return rc;
		}
		if (!needs_command(d, now))
			continue;
		struct facility *f = d->group->facility;
		int64_t cap_w = facility_cap_w(f);
		int32_t more_w = device_mode_w(d, d->ctl.desired) - d->reserve_w;
		bool power = has_power(d, d->ctl.desired) &&
			     (more_w <= 0 || !cap_w || f->reserved_w + promised_w + more_w <= cap_w);
		if (d->retry_at_ns > now || !power) {
			*later = true;
			continue;
		}
		promised_w += more_w > 0 ? more_w : 0;
		items[count++] = (struct item){ .device = d, .to = d->ctl.desired };
	}
	if (!count)
		return 0;
	/* An emergency stop and an order to curtail do not wait for a circuit to close. */
	if (!breaker_allow(&n->breaker, now) && !r->emergency && !items[0].device->group->facility->curtailment) {
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
	for (size_t i = 0; i < r->n_facilities; i++)
		plan_want_now(r, r->facility[i]);
	for (size_t i = 0; i < r->n_nodes && rc == 0; i++)
		rc = node_say_endpoint(r, ctx, r->node[i], err);
	return rc;
}
