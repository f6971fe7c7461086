#include "services/router/router.h"

#include <stdio.h>

#include "base/mem.h"
#include "base/money.h"
#include "services/common/classified.h"
#include "services/common/news.h"
#include "services/router/router_priv.h"

static const char *const schema[] = {
	"CREATE TABLE device(n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, body BLOB NOT NULL);"
	"CREATE TABLE job(n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, state INTEGER NOT NULL, again INTEGER NOT NULL,"
	"  committed INTEGER NOT NULL, enqueued_ns INTEGER NOT NULL, body BLOB NOT NULL, place BLOB NOT NULL);",
	"ALTER TABLE job ADD COLUMN since_ns INTEGER NOT NULL DEFAULT 0;" /* it runs since then */
	"CREATE TABLE quota(customer_id TEXT PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID;",
	/* ended_ns 0: it stands, or is on its way */
	"CREATE TABLE rental(token TEXT PRIMARY KEY, type TEXT NOT NULL, slot INTEGER NOT NULL, device_class TEXT NOT NULL,"
	"  devices INTEGER NOT NULL, facility TEXT NOT NULL, region TEXT NOT NULL, state INTEGER NOT NULL,"
	"  asked_ns INTEGER NOT NULL, started_ns INTEGER NOT NULL, up_ns INTEGER NOT NULL, stopping_ns INTEGER NOT NULL,"
	"  ended_ns INTEGER NOT NULL, price INTEGER NOT NULL, attempt INTEGER NOT NULL, reason TEXT NOT NULL) WITHOUT "
	"ROWID;"
	"CREATE INDEX rental_ended ON rental(ended_ns);",
	/* Ids are told apart in memory; an index of them would cost a seek for each row that comes or goes. */
	"CREATE TABLE job_n(n INTEGER PRIMARY KEY, id TEXT NOT NULL, state INTEGER NOT NULL, again INTEGER NOT NULL,"
	"  committed INTEGER NOT NULL, enqueued_ns INTEGER NOT NULL, since_ns INTEGER NOT NULL, body BLOB NOT NULL,"
	"  place BLOB NOT NULL);"
	"INSERT INTO job_n(n,id,state,again,committed,enqueued_ns,since_ns,body,place)"
	"  SELECT n,id,state,again,committed,enqueued_ns,since_ns,body,place FROM job;"
	"DROP TABLE job;"
	"ALTER TABLE job_n RENAME TO job;",
	/* What programs a node has, as it told; no row: it never did. */
	"CREATE TABLE node_programs(id TEXT PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID;",
	NULL,
};

static void router_close(void *state)
{
	struct router *r = state;
	if (!r)
		return;
	while (!list_empty(&r->order))
		router_job_free(r, list_entry(r->order.next, struct job, node));
	map_release(&r->jobs);
	map_release(&r->by_allocation);
	router_inventory_release(r);
	router_scale_close(r);
	queue_free(r->queue);
	placement_free(r->place);
	preempt_free(r->preempt);
	mem_free(r->classify);
	mem_free(r);
}

static int router_open(struct svc *svc, struct db *db, const void *conf, void **ret_state, struct err *err)
{
	const struct queue_conf qc = { .capacity = { 1, 1, 1, 1 }, .jobs_max = ROUTER_JOBS_MAX }; /* of an empty cell */
	struct router *r = mem_calloc(1, sizeof(*r));
	if (!r)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	r->svc = svc;
	list_init(&r->order);
	list_init(&r->untold);
	list_init(&r->unsaved);
	list_init(&r->resting);
	list_init(&r->keepers);
	map_init(&r->devices);
	map_init(&r->jobs);
	map_init(&r->by_allocation);
	map_init(&r->facilities);
	map_init(&r->nodes);
	map_init(&r->clusters);
	map_init(&r->programs);
	r->place = placement_new(err);
	r->queue = r->place ? queue_new(&qc, err) : NULL;
	r->preempt = r->queue ? preempt_new(err) : NULL;
	const struct router_conf *given = conf;
	int rc = r->preempt ? 0 : HCP_ENOMEM;
	if (rc == 0 && given && given->min_run_p2_ns && given->min_run_p3_ns)
		preempt_set_min_run(r->preempt, given->min_run_p2_ns, given->min_run_p3_ns);
	if (rc == 0)
		rc = classified_model_new(&r->classify, err);
	if (rc == 0)
		rc = router_scale_open(r, conf, db, err);
	if (rc == 0)
		rc = router_inventory_load(r, db, err);
	if (rc == 0)
		rc = router_quota_load(r, db, err);
	if (rc == 0)
		rc = router_jobs_load(r, db, err);
	if (rc < 0) {
		router_close(r);
		return rc;
	}
	r->demand_dirty = true;
	*ret_state = r;
	return 0;
}

/* It never was in a table: the orchestrator hears that it failed, and why. */
static int refuse_hopeless(struct router *r, struct svc_ctx *ctx, struct job *j)
{
	Hcp__JobState ev = HCP__JOB_STATE__INIT;
	ev.workload_id = j->id;
	ev.state = "gone";
	ev.reason = j->wait_reason;
	int rc = svc_publish(ctx, j->id, &ev.base);
	router_job_free(r, j);
	return rc;
}

int router_on_enqueue(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	struct router *r = state;
	const Hcp__Workload *w = ((const Hcp__JobEnqueue *)m->body)->workload;
	struct job *j;
	if (!w)
		return err_set(err, HCP_EINVAL, "workload", "missing");
	j = router_job_find(r, w->id);
	struct str packed;
	if (pb_pack_arena(&w->base, svc_arena(ctx), &packed) < 0)
		return HCP_ENOMEM;
	/* Placed, yet to be placed anew: the end of its allocation is known elsewhere already and is on its way here. */
	if (j && j->state != JOB_WAITING) {
		j->again = true;
		int renewed = router_job_renew(j, packed, err);
		router_job_save(r, j);
		return renewed;
	}
	if (j)
		return 0; /* waits already */
	router_look_again(r);
	int rc = router_job_new(r, packed, svc_now_ns(ctx), &j, err);
	if (rc == 0 && router_place_hopeless(r, ctx, j))
		return refuse_hopeless(r, ctx, j);
	if (rc == 0)
		rc = queue_enqueue(r->queue, &j->q, err);
	router_demand_changed(r, ctx);
	if (rc < 0)
		return rc;
	router_job_save(r, j);
	j->packed = packed;
	router_place_new(r, ctx, j);
	return 0;
}

static int send_release(struct svc_ctx *ctx, const struct job *j, const char *reason)
{
	Hcp__Release ev = HCP__RELEASE__INIT;
	ev.allocation_id = j->allocation_id;
	ev.workload_id = j->id;
	ev.reason = reason;
	return svc_publish(ctx, j->allocation_id, &ev.base);
}

int router_on_cancel_job(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	struct router *r = state;
	const Hcp__JobCancel *c = (const Hcp__JobCancel *)m->body;
	struct job *j = router_job_find(r, c->workload_id);
	if (!j)
		return 0;
	router_demand_changed(r, ctx);
	router_look_again(r);
	router_yield_forget(r, j);
	if (j->state == JOB_WAITING) {
		int rc = queue_cancel(r->queue, &j->uuid);
		return rc < 0 && rc != HCP_ENOTFOUND ? rc : router_job_drop(r, ctx, j, err);
	}
	j->again = false;
	j->moves = c->elsewhere;
	router_job_save(r, j);
	if (j->state == JOB_RELEASING)
		return 0;
	j->state = JOB_RELEASING;
	return send_release(ctx, j, c->reason);
}

/* Nothing there is offered for a while, so that whom they were taken from goes elsewhere if there is an elsewhere. */
static int rest_devices(struct router *r, struct svc_ctx *ctx, const struct job *j)
{
	uint32_t n = j->hold ? placement_devices(r->place, j->hold, NULL, 0) : 0;
	placement_dev *devs = arena_alloc(svc_arena(ctx), (n + 1) * sizeof(*devs));
	if (!devs)
		return HCP_ENOMEM;
	placement_devices(r->place, j->hold, devs, n);
	for (uint32_t i = 0; i < n; i++)
		router_inventory_rest(r, r->by_dev[devs[i]]->id, svc_now_ns(ctx));
	return 0;
}

/* Its work is safe up to here: that much less is lost when it must yield. */
int router_on_program(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	struct router *r = state;
	const Hcp__ProgramChanged *p = (const Hcp__ProgramChanged *)m->body;
	struct job *j = router_job_find(r, p->workload_id);
	if (!j || !p->checkpoint || (j->w->checkpoint && j->w->checkpoint->step >= p->checkpoint->step))
		return 0;
	Hcp__Workload with = *j->w;
	struct str packed;
	with.checkpoint = p->checkpoint;
	int rc = pb_pack_arena(&with.base, svc_arena(ctx), &packed);
	if (rc < 0)
		return err_set(err, rc, "", "the workload cannot be packed");
	rc = router_job_renew(j, packed, err);
	router_job_save(r, j);
	if (rc < 0 || preempt_remove(r->preempt, &j->uuid) < 0)
		return rc;
	r->victims_changed++;
	return router_yield_runs(r, j, j->since_ns, err);
}

/* Those that worked drain now, and are not offered until resources has news of them, which is on its way. */
static int free_devices(struct router *r, struct svc_ctx *ctx, struct job *j, bool ran, struct err *err)
{
	uint32_t n = j->hold ? placement_devices(r->place, j->hold, NULL, 0) : 0;
	placement_dev *devs = arena_alloc(svc_arena(ctx), (n + 1) * sizeof(*devs));
	if (!devs)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	if (n)
		placement_devices(r->place, j->hold, devs, n);
	for (uint32_t i = 0; i < n && ran; i++) {
		struct rdev *rd = r->by_dev[devs[i]];
		rd->usable = false;
		(void)!placement_set_in_service(r->place, rd->dev, false, NULL);
	}
	if (j->hold)
		(void)!placement_release(r->place, j->hold, NULL);
	j->hold = 0;
	queue_uncharge(r->queue, &j->q);
	router_look_again(r);
	return n == 1 ? router_yield_shared(r, devs[0], err) : 0;
}

/* Resources gave the devices back (or never gave them). */
static int over(struct router *r, struct svc_ctx *ctx, struct job *j, bool refused, struct err *err)
{
	bool again = j->again;
	router_yield_forget(r, j);
	r->n_yielding -= j->yields;
	j->yields = false;
	if (j->moves && !router_moves_holds(r, j) && rest_devices(r, ctx, j) < 0)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	j->moved = j->moves;
	j->moves = false;
	int rc = free_devices(r, ctx, j, j->committed && !refused, err);
	if (rc < 0)
		return rc;
	r->victims_changed++;
	j->since_ns = 0;
	router_demand_changed(r, ctx);
	map_del(&r->by_allocation, str_of(j->allocation_id));
	j->allocation_id[0] = '\0';
	if (again) {
		j->state = JOB_WAITING;
		if (!j->told_ns && list_empty(&j->untold))
			list_add_tail(&r->untold, &j->untold);
		j->again = false;
		router_job_requeue(r, j);
		rc = queue_enqueue(r->queue, &j->q, err);
		router_job_save(r, j);
	} else {
		rc = router_job_drop(r, ctx, j, err);
	}
	/* Not at once: news that its devices still drain comes right behind this. */
	svc_wake_at(ctx, svc_now_ns(ctx));
	return rc;
}

int router_on_allocation_news(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	struct router *r = state;
	const Hcp__AllocationChanged *a = (const Hcp__AllocationChanged *)m->body;
	struct job *j = map_get(&r->by_allocation, str_of(a->allocation_id));
	if (!j)
		return 0;
	switch (a->state) {
	case HCP__ALLOCATION_STATE__HELD:
		if (j->hold && !j->committed) {
			j->committed = true;
			int rc = placement_commit(r->place, j->hold, err);
			if (rc < 0)
				return err_set(err, HCP_EINTERNAL, "", "a held allocation had no reservation");
			if (j->state == JOB_PLACED)
				rc = router_yield_runs(r, j, svc_now_ns(ctx), err);
			router_job_save(r, j);
			return rc;
		}
		return 0;
	case HCP__ALLOCATION_STATE__REFUSED:
	case HCP__ALLOCATION_STATE__RELEASED: {
		int rc = over(r, ctx, j, a->state == HCP__ALLOCATION_STATE__REFUSED, err);
		if (rc == 0 && a->unfit_device_id[0])
			router_inventory_rest(r, a->unfit_device_id, svc_now_ns(ctx));
		return rc;
	}
	default:
		return 0;
	}
}

static int router_timer(void *state, struct svc_ctx *ctx, struct err *err)
{
	struct router *r = state;
	router_inventory_wake(r, svc_now_ns(ctx));
	router_moves_expire(r, svc_now_ns(ctx));
	router_yield_expire(r, svc_now_ns(ctx));
	r->look = true;
	int rc = router_place_expire(r, ctx, err);
	if (rc == 0)
		rc = router_scale_timer(r, ctx, err);
	return rc < 0 ? rc : router_demand_tick(r, ctx, err);
}

/* However many messages came: one look at who fits now, and one row a job that changed. */
static int router_settle(void *state, struct svc_ctx *ctx, struct err *err)
{
	struct router *r = state;
	int rc = r->look ? router_place_waiting(r, ctx, err) : 0;
	r->look = false;
	return rc < 0 ? rc : router_jobs_settle(r, ctx, err);
}

/* Waiting jobs are tried again every second, but not where nothing has changed that could make one fit. */
static int64_t router_due(const void *state, int64_t now_ns)
{
	const struct router *r = state;
	if (queue_len(r->queue) && !r->settled)
		return now_ns;
	int64_t at_ns = placement_next_expiry(r->place), kept_ns = router_yield_due(r);
	int64_t scale_ns = router_scale_due(r);
	int64_t moves_ns = router_moves_due(r);
	at_ns = kept_ns < at_ns ? kept_ns : at_ns;
	at_ns = moves_ns < at_ns ? moves_ns : at_ns;
	at_ns = scale_ns < at_ns ? scale_ns : at_ns;
	if (queue_len(r->queue) && r->settled_until_ns < at_ns)
		at_ns = r->settled_until_ns;
	if (!list_empty(&r->resting)) {
		int64_t until_ns = list_entry(r->resting.next, struct rdev, rests)->rests_until_ns;
		bool set_back = until_ns - now_ns > ROUTER_REST_S * NS_PER_S;
		at_ns = set_back ? now_ns : until_ns < at_ns ? until_ns : at_ns;
	}
	int64_t demand_ns = router_demand_due(r);
	return demand_ns < at_ns ? demand_ns : at_ns;
}

static const struct svc_handler handlers[] = {
	{ MSG_JOB_ENQUEUE, router_on_enqueue, false },
	{ MSG_JOB_CANCEL, router_on_cancel_job, false },
	{ MSG_DEVICES_CHANGED, router_on_devices, false },
	{ MSG_ALLOCATION_CHANGED, router_on_allocation_news, false },
	{ MSG_PROGRAM_CHANGED, router_on_program, false },
	{ MSG_CUSTOMER_QUOTA_CHANGED, router_on_quota, false },
	{ MSG_QUEUE_GET, router_on_queue, true },
	{ MSG_CLASSIFY, router_on_classify, true },
	{ MSG_SCALE_TAKE, router_on_scale_take, false },
	{ MSG_SCALE_RESULT, router_on_scale_result, false },
	{ MSG_AUTOSCALE_GET, router_on_autoscale, true },
	{ 0 },
};

/* Of allocations what changes who has devices. */
static bool router_wants(unsigned type, struct str body)
{
	return type != MSG_ALLOCATION_CHANGED || news_of_allocation(body);
}

const struct svc_def router_def = {
	.id = SVC_ROUTER,
	.schema = schema,
	.handlers = handlers,
	.open = router_open,
	.close = router_close,
	.timer = router_timer,
	.timer_due = router_due,
	.timer_ms = 1000,
	.wants = router_wants,
	.settle = router_settle,
};
