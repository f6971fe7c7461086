/* The queue for people, and the classification of a described workload. */
#include "base/money.h"
#include "services/router/router_priv.h"

static int add_entry(struct router *r, struct svc_ctx *ctx, struct arena *a, Hcp__Queue *reply, const struct job *j)
{
	struct queue_explain x;
	Hcp__QueueEntry *e = arena_alloc(a, sizeof(*e));
	if (!e || queue_explain(r->queue, &j->uuid, svc_now_ns(ctx), &x) < 0)
		return e ? 0 : HCP_ENOMEM;
	hcp__queue_entry__init(e);
	e->workload_id = arena_strdup(a, j->id);
	e->customer_id = arena_strdup(a, j->customer_id);
	e->priority_class = workload_class_name(j->q.cls);
	e->position = (int32_t)x.position + 1;
	e->waiting_since_ns = j->q.enqueued_ns;
	e->eta_ms = x.eta_ns < 0 ? -1 : x.eta_ns / NS_PER_MS;
	struct placement_request req = router_request_of(r, j);
	struct placement_refusal why;
	placement_explain(r->place, &req, &why);
	e->reason = arena_strdup(a, why.code == PLACEMENT_R_NONE ? j->wait_reason : why.text);
	if (!e->workload_id || !e->customer_id || !e->reason)
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
	if (c->waiting)
		list_each(it, &r->order) {
			const struct job *j = list_entry(it, struct job, node);
			if (j->state == JOB_WAITING && j->q.cls == cls) {
				c->oldest_wait_ms = (svc_now_ns(ctx) - j->q.enqueued_ns) / NS_PER_MS;
				break;
			}
		}
	return pb_push(a, &reply->n_classes, &reply->classes, c);
}

int router_on_queue(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	struct router *r = state;
	Hcp__Queue *reply = svc_reply(ctx, MSG_QUEUE);
	int rc = reply ? 0 : HCP_ENOMEM;
	for (int c = WORKLOAD_P1; c < WORKLOAD_CLASS_END && rc == 0; c++)
		rc = add_class(r, ctx, svc_reply_arena(ctx), reply, (enum workload_class)c);
	list_each(it, &r->order) {
		const struct job *j = list_entry(it, struct job, node);
		if (rc < 0 || reply->n_entries == ROUTER_QUEUE_SHOWN)
			break;
		if (j->state == JOB_WAITING)
			rc = add_entry(r, ctx, svc_reply_arena(ctx), reply, j);
	}
	return rc;
}

/* Rules first met first taken; each says why, and how sure it is. */
int router_on_classify(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	const Hcp__Classify *c = (const Hcp__Classify *)m->body;
	enum workload_type t = WORKLOAD_AI_INFERENCE_BATCH;
	const char *rule = "short work without a latency bound is batch inference";
	double confidence = 0.6;
	if (c->size_mb < 0 || c->max_latency_ms < 0 || c->duration_s < 0)
		return err_set(err, HCP_ERANGE,
			c->size_mb < 0          ? "size_mb"
			: c->max_latency_ms < 0 ? "max_latency_ms"
									: "duration_s",
			"must not be negative");
	if (c->type_hint[0] && workload_type_parse(str_of(c->type_hint), &t) == 0) {
		rule = "the type was given";
		confidence = 1;
	} else if (c->max_latency_ms > 0 && c->max_latency_ms <= 1000) {
		t = WORKLOAD_AI_INFERENCE_REALTIME;
		rule = "a latency bound of at most one second makes it real-time inference";
		confidence = 0.95;
	} else if (c->needs_gpu && c->duration_s >= 3600) {
		t = WORKLOAD_MODEL_TRAINING;
		rule = "an hour or more on GPUs is training";
		confidence = 0.8;
	} else if (!c->needs_gpu && c->duration_s == 0 && c->max_latency_ms == 0 && c->size_mb == 0) {
		t = WORKLOAD_BITCOIN_MINING;
		rule = "nothing but power is asked for: mining";
		confidence = 0.5;
	}
	Hcp__Classification *reply = svc_reply(ctx, MSG_CLASSIFICATION);
	if (!reply)
		return HCP_ENOMEM;
	reply->type = (Hcp__WorkloadType)t;
	reply->priority_class = workload_class_name(workload_class_of(t));
	reply->confidence = confidence;
	reply->rule = rule;
	return 0;
}
