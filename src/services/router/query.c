/* The queue for people, and the classification of a described workload. */
#include <math.h>

#include "base/money.h"
#include "services/common/classified.h"
#include "services/router/router_priv.h"

enum { QUEUE_PAGE = 50, QUEUE_WALK_MAX = 20000 };

/* Why it waits, and what would make it fit. */
static const char *reason_of(
	struct router *r, struct svc_ctx *ctx, struct arena *a, const struct job *j, const struct queue_explain *x)
{
	struct placement_request req = router_request_of(r, j);
	struct placement_refusal why;
	char says[200];
	if (!list_empty(&j->kept))
		return arena_printf(a, "%s They stop now; what they give up is kept for it.", j->wait_reason);
	if (x->limited)
		return "Its customer holds as many devices as its quota allows; fits when one of its own ends.";
	placement_explain(r->place, &req, &why);
	if (why.code == PLACEMENT_R_NONE)
		return j->wait_reason[0] ? arena_strdup(a, j->wait_reason)
								 : arena_printf(a, "Fits, but %zu are before it.", x->position);
	router_say_refusal(j, &why, says, sizeof(says));
	int64_t at_ns = router_yield_asks_at(r, j), in_ns = at_ns - svc_now_ns(ctx);
	bool may = (why.code == PLACEMENT_R_BUSY || why.code == PLACEMENT_R_FRAGMENTED) && j->q.cls != WORKLOAD_P4;
	if (!may || why.total < req.count)
		return arena_strdup(a, says);
	if (at_ns == INT64_MAX)
		return arena_strdup(a, says);
	if (in_ns > 0)
		return arena_printf(a, "%s Others may have to yield to it in %lld s.", says, (long long)(in_ns / NS_PER_S + 1));
	return arena_printf(a,
		"%s Nobody has to yield to it now: all are of its class or a better one, have just begun, or have "
		"yielded often enough.",
		says);
}

static int add_entry(struct router *r, struct svc_ctx *ctx, struct arena *a, Hcp__Queue *reply, const struct job *j)
{
	struct queue_explain x;
	Hcp__QueueEntry *e = arena_alloc(a, sizeof(*e));
	if (!e || queue_explain(r->queue, &j->uuid, svc_now_ns(ctx), &x) < 0)
		return e ? 0 : HCP_ENOMEM;
	hcp__queue_entry__init(e);
	e->workload_id = arena_strdup(a, j->id);
	e->customer_id = arena_strdup(a, j->customer_id);
	e->project = arena_strdup(a, j->w->project);
	e->device_class = arena_strdup(a, j->w->device_class);
	e->device_count = j->w->device_count;
	e->gpu_fraction = j->w->gpu_fraction;
	e->mig_profile = arena_strdup(a, j->w->mig_profile);
	e->preemptions = j->w->preemptions;
	e->priority_class = workload_class_name(j->q.cls);
	e->position = (int32_t)x.position + 1;
	e->waiting_since_ns = j->q.enqueued_ns;
	e->eta_ms = x.eta_ns < 0 ? -1 : x.eta_ns / NS_PER_MS;
	e->wait_target_ms = x.target_ns / NS_PER_MS;
	e->overdue = x.overdue;
	e->share = x.dominant_share;
	e->fair_share = queue_fair_share(r->queue);
	e->reason = reason_of(r, ctx, a, j, &x);
	if (!e->workload_id || !e->customer_id || !e->project || !e->device_class || !e->mig_profile || !e->reason)
		return HCP_ENOMEM;
	return pb_push(a, &reply->n_entries, &reply->entries, e);
}

static int add_class(struct router *r, struct svc_ctx *ctx, struct arena *a, Hcp__Queue *reply, enum workload_class cls)
{
	Hcp__QueueClass *c = arena_alloc(a, sizeof(*c));
	if (!c)
		return HCP_ENOMEM;
	hcp__queue_class__init(c);
	c->priority_class = workload_class_name(cls);
	c->waiting = (int32_t)queue_len_class(r->queue, cls);
	c->wait_target_ms = workload_wait_target_ns(cls) / NS_PER_MS;
	int64_t oldest_ns;
	if (queue_oldest(r->queue, cls, &oldest_ns) == 0)
		c->oldest_wait_ms = (svc_now_ns(ctx) - oldest_ns) / NS_PER_MS;
	return pb_push(a, &reply->n_classes, &reply->classes, c);
}

struct wanted {
	int limit;
	enum workload_class cls; /* 0: any */
	const char *customer_id; /* "" any */
};

static int parse(const struct msg *m, const Hcp__QueueGet *g, struct wanted *ret, struct err *err)
{
	bool own = m->principal && m->principal->role == HCP__ROLE__CUSTOMER;
	*ret = (struct wanted){ .limit = g->limit ? g->limit : QUEUE_PAGE, .customer_id = g->customer_id };
	if (g->limit < 0 || g->limit > ROUTER_QUEUE_SHOWN)
		return err_set(err, HCP_ERANGE, "limit", "must be 1 to %d, was %d", ROUTER_QUEUE_SHOWN, g->limit);
	for (int c = WORKLOAD_P1; c < WORKLOAD_CLASS_END; c++)
		if (!strcmp(g->priority_class, workload_class_name((enum workload_class)c)))
			ret->cls = (enum workload_class)c;
	if (g->priority_class[0] && !ret->cls)
		return err_set(err, HCP_EINVAL, "priority_class", "%.16s is none of P1, P2, P3, P4", g->priority_class);
	if (own && g->customer_id[0] && strcmp(g->customer_id, m->principal->customer_id))
		return err_set(err, HCP_EPERM, "customer_id", "you may see your own organisation's jobs only");
	if (own)
		ret->customer_id = m->principal->customer_id;
	return 0;
}

static bool is_wanted(const struct wanted *w, const struct job *j)
{
	return j->state == JOB_WAITING && (!w->cls || w->cls == j->q.cls) &&
		   (!w->customer_id[0] || !strcmp(w->customer_id, j->customer_id));
}

/* Behind the cursor. If that job waits no more: the first that came after it (ids grow with time). */
static const struct list *page_start(const struct router *r, const char *cursor)
{
	const struct job *at = cursor[0] ? router_job_find(r, cursor) : NULL;
	if (at)
		return at->node.next;
	const struct list *it = r->order.next;
	for (int n = 0; cursor[0] && it != &r->order && n < QUEUE_WALK_MAX; it = it->next, n++)
		if (strcmp(list_entry(it, struct job, node)->id, cursor) > 0)
			break;
	return it;
}

static int fill_page(
	struct router *r, struct svc_ctx *ctx, const struct wanted *w, const char *cursor, Hcp__Queue *reply)
{
	struct arena *a = svc_reply_arena(ctx);
	const struct list *it = page_start(r, cursor);
	int rc = 0;
	for (int n = 0; it != &r->order && rc == 0; it = it->next, n++) {
		const struct job *j = list_entry(it, struct job, node);
		/* A long walk is handed on to the next page, so that nobody waits for it. */
		if ((int)reply->n_entries == w->limit || n == QUEUE_WALK_MAX) {
			reply->next_cursor = arena_strdup(a, list_entry(it->prev, struct job, node)->id);
			return reply->next_cursor ? 0 : HCP_ENOMEM;
		}
		if (is_wanted(w, j))
			rc = add_entry(r, ctx, a, reply, j);
	}
	return rc;
}

int router_on_queue(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	struct router *r = state;
	const Hcp__QueueGet *g = (const Hcp__QueueGet *)m->body;
	struct wanted w;
	int rc = parse(m, g, &w, err);
	Hcp__Queue *reply = rc == 0 ? svc_reply(ctx, MSG_QUEUE) : NULL;
	if (!reply)
		return rc < 0 ? rc : HCP_ENOMEM;
	for (int c = WORKLOAD_P1; c < WORKLOAD_CLASS_END && rc == 0; c++)
		rc = add_class(r, ctx, svc_reply_arena(ctx), reply, (enum workload_class)c);
	reply->total = (int32_t)queue_len(r->queue);
	reply->preemptions = r->preemptions;
	reply->yielding = (int32_t)r->n_yielding;
	if (rc < 0 || !g->workload_id[0])
		return rc < 0 ? rc : fill_page(r, ctx, &w, g->cursor, reply);
	const struct job *j = router_job_find(r, g->workload_id);
	return j && is_wanted(&w, j) ? add_entry(r, ctx, svc_reply_arena(ctx), reply, j) : 0;
}

static double told(double v)
{
	return v != 0 ? v : NAN; /* zero is not told */
}

static void describe(const Hcp__Classify *c, struct classify_work *w)
{
	classify_work_init(w);
	w->x[CLASSIFY_DURATION_S] = told((double)c->duration_s);
	w->x[CLASSIFY_GPUS] = told(c->device_count ? c->device_count : c->needs_gpu);
	w->x[CLASSIFY_GPU_FRACTION] = told(c->gpu_fraction);
	w->x[CLASSIFY_CPU_CORES] = told(c->cpu_cores);
	w->x[CLASSIFY_MEMORY_GIB] = told(c->host_memory_gib);
	w->size_mb = told(c->size_mb);
	w->max_latency_ms = c->max_latency_ms;
	w->tier = str_of(c->customer_tier);
}

int router_on_classify(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	const struct router *r = state;
	const Hcp__Classify *c = (const Hcp__Classify *)m->body;
	enum workload_type hint;
	struct classify_work w;
	struct classify_answer a;
	describe(c, &w);
	if (c->type_hint[0] && workload_type_parse(str_of(c->type_hint), &hint) < 0)
		return err_set(err, HCP_EINVAL, "type_hint", "%.32s is no workload type", c->type_hint);
	if (c->gpu_fraction > 1)
		return err_set(err, HCP_ERANGE, "gpu_fraction", "must be at most 1, is %g", c->gpu_fraction);
	int rc = classify(r->classify, &w, &a, err);
	if (rc < 0)
		return rc;
	if (c->type_hint[0])
		a = (struct classify_answer){ .type = hint, .confidence = 1, .reason = "the type was given" };
	Hcp__Classification *reply = svc_reply(ctx, MSG_CLASSIFICATION);
	return reply ? classified_fill(reply, &a, svc_reply_arena(ctx)) : HCP_ENOMEM;
}
