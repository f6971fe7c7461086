/* From the queue to devices, and what is told about it. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/money.h"
#include "base/panic.h"
#include "model/device_class.h"
#include "services/router/router_priv.h"

struct attempt {
	struct router *r;
	struct svc_ctx *ctx;
	struct placement_result got;
	bool reserved;
	int rc;
	struct job *ask[ROUTER_ASK_MAX]; /* did not fit: others may have to yield to them */
	size_t n_ask;
	struct job *whole[ROUTER_ASK_MAX]; /* did not fit: a device may be made whole for them */
	size_t n_whole;
	int64_t again_ns; /* when another look may help one of those that did not fit */
};

struct slice router_slice_of(const Hcp__Workload *w)
{
	struct slice part = { 0 };
	if (w->gpu_fraction == 0 && !w->mig_profile[0])
		return part;
	struct slice_wish wish = { .gpu_fraction = w->gpu_fraction,
		.mig_profile = str_of(w->mig_profile),
		.cls = device_class_find(str_of(w->device_class)),
		.device_count = w->device_count };
	/* The orchestrator has checked it; of what this version does not know whole devices are taken. */
	(void)!slice_wanted(&wish, &part, NULL);
	return part;
}

struct placement_request router_request_of(const struct router *r, const struct job *j)
{
	const Hcp__Workload *w = j->w;
	const struct device_class *c = w->device_class[0] ? device_class_find(str_of(w->device_class)) : NULL;
	uint32_t count = w->device_count > 0 ? (uint32_t)w->device_count : 1;
	struct placement_request req = {
		.owner = j->uuid, .cls = j->q.cls, .device_class = c ? (int)device_class_index(c) : -1, .count = count,
		.memory_gib = w->memory_gib / (double)count, .region = w->region, .strategy = PLACEMENT_BEST,
		.latency_max_ms = w->max_latency_ms, .split_clusters = true,
	};
	struct slice part = router_slice_of(w);
	req.mig = (enum mig_geometry)part.mig;
	req.milli = part.mig ? 0 : part.milli;
	if (part.milli)
		req.kind = DEVICE_GPU;
	else if (w->type == HCP__WORKLOAD_TYPE__BITCOIN_MINING)
		req.kind = DEVICE_ASIC;
	else
		req.kind = r->kinds[DEVICE_GPU] ? DEVICE_GPU : DEVICE_CPU;
	if (w->program[0] && count == 1 && !part.milli)
		req.tag = router_program_tag(r, w->program);
	return req;
}

void router_say_refusal(const struct job *j, const struct placement_refusal *why, char *dst, size_t cap)
{
	if (why->code == PLACEMENT_R_TAG)
		snprintf(dst, cap, "no node%s%.32s has program %.64s", j->w->device_class[0] ? " of class " : "",
			j->w->device_class, j->w->program);
	else
		snprintf(dst, cap, "%.190s", why->text);
}

/* Parts fit beside others; who wants whole devices may lack one that parts could leave. */
static void add_whole(struct attempt *t, struct job *j, const struct placement_request *req)
{
	int64_t at_ns = req->milli || req->mig ? INT64_MAX : router_moves_at(t->r, j);
	if (at_ns > svc_now_ns(t->ctx)) {
		t->again_ns = at_ns < t->again_ns ? at_ns : t->again_ns;
		return;
	}
	for (size_t i = 0; i < t->n_whole; i++)
		if (t->whole[i] == j)
			return;
	if (t->n_whole < ROUTER_ASK_MAX)
		t->whole[t->n_whole++] = j;
}

/* A job is offered twice when its ageing turn comes. */
static void add_asking(struct attempt *t, struct job *j)
{
	int64_t at_ns = router_yield_asks_at(t->r, j);
	if (at_ns > svc_now_ns(t->ctx)) {
		t->again_ns = at_ns < t->again_ns ? at_ns : t->again_ns;
		return;
	}
	for (size_t i = 0; i < t->n_ask; i++)
		if (t->ask[i] == j)
			return;
	if (t->n_ask < ROUTER_ASK_MAX)
		t->ask[t->n_ask++] = j;
}

/* Does it fit now? If so its devices are reserved already when the queue hands it out. */
static bool fits(void *arg, const struct queue_job *job, const struct queue_job *hold)
{
	struct attempt *t = arg;
	struct job *j = (struct job *)(uintptr_t)job->tag;
	if (hold && hold->tag != job->tag) {
		const struct job *h = (const struct job *)(uintptr_t)hold->tag;
		/* Space gathers for the overdue job: others of the same class of devices wait with it. */
		if (!strcmp(h->w->device_class, j->w->device_class))
			return false;
	}
	struct placement_request req = router_request_of(t->r, j);
	int64_t until = svc_now_ns(t->ctx) + ROUTER_HOLD_S * NS_PER_S;
	struct placement_refusal why = { 0 };
	struct err err = { 0 };
	bool ask = !j->told_ns; /* the words are told once: most looks are in vain, and words cost more than looking */
	int rc = placement_reserve(t->r->place, &req, until, &t->got, ask ? &why : NULL, ask ? &err : NULL);
	bool urgent = j->q.cls == WORKLOAD_P1 && (req.milli || req.mig);
	if (rc == HCP_EAGAIN && urgent && router_moves_give_way(t->r, svc_now_ns(t->ctx)))
		rc = placement_reserve(t->r->place, &req, until, &t->got, ask ? &why : NULL, ask ? &err : NULL);
	const struct job *keeper = rc == 0 ? router_yield_keeper(t->r, j, &t->got) : NULL;
	if (keeper) {
		must(placement_release(t->r->place, t->got.handle, NULL) == 0);
		snprintf(j->wait_reason, sizeof(j->wait_reason), "Devices are kept for %s, to which others yield.", keeper->id);
		return false;
	}
	if (rc == 0) {
		t->reserved = true;
		return true;
	}
	if (rc == HCP_EAGAIN) {
		add_asking(t, j);
		add_whole(t, j, &req);
	}
	if (rc == HCP_ENOMEM)
		t->rc = rc;
	if (ask && rc == HCP_EAGAIN)
		router_say_refusal(j, &why, j->wait_reason, sizeof(j->wait_reason));
	else if (ask)
		snprintf(j->wait_reason, sizeof(j->wait_reason), "%.190s", err.text);
	return false;
}

/* A tenth as "12.3": printf of a double costs more than all the rest of a placement. */
static char *tenths(char *p, const char *name, double v)
{
	char digits[20];
	int64_t t = llround(v * 10);
	int n = 0;
	p = stpcpy(p, name);
	if (t < 0)
		*p++ = '-';
	for (t = t < 0 ? -t : t; t || n < 2; t /= 10)
		digits[n++] = (char)('0' + t % 10);
	while (n > 1)
		*p++ = digits[--n];
	*p++ = '.';
	*p++ = digits[0];
	*p = '\0';
	return p;
}

static char *explain(struct arena *a, const struct placement_result *got)
{
	char text[400], *p = text;
	const struct placement_score *s = &got->score;
	p = tenths(p, "score ", s->total);
	p = tenths(p, ": health ", s->health);
	p = tenths(p, ", thermal ", s->thermal);
	p = tenths(p, ", efficiency ", s->efficiency);
	p = tenths(p, ", latency ", s->latency);
	p = tenths(p, ", price ", s->price);
	p = tenths(p, ", carbon ", s->carbon);
	p = tenths(p, ", idle ", s->idle);
	p = stpcpy(p, "; ");
	p += u64_digits(p, got->yields);
	p = stpcpy(p, " of ");
	p += u64_digits(p, got->count);
	stpcpy(p, " yield filler work");
	return arena_strdup(a, text);
}

/* The part that it got of its one device. A fraction whose memory is all of the device's has the device. */
static int build_share(
	const struct router *r, struct arena *a, const struct job *j, const struct attempt *t, Hcp__Place *p)
{
	struct slice part = router_slice_of(j->w);
	if (!part.milli || (!part.mig && t->got.milli == SLICE_WHOLE))
		return 0;
	p->share = arena_alloc(a, sizeof(*p->share));
	if (!p->share)
		return HCP_ENOMEM;
	hcp__device_share__init(p->share);
	p->share->milli = t->got.milli;
	if (part.mig) {
		p->share->mig_profile = mig_name(device_class_at(r->by_dev[t->got.first]->cls), (enum mig_geometry)part.mig);
		p->share->mig_start = t->got.mig_start;
	}
	return 0;
}

static int build_place(struct router *r, struct svc_ctx *ctx, struct job *j, const struct attempt *t, Hcp__Place *p)
{
	struct arena *a = svc_arena(ctx);
	placement_dev *devs = arena_alloc(a, t->got.count * sizeof(*devs));
	p->device_ids = arena_alloc(a, t->got.count * sizeof(*p->device_ids));
	if (!devs || !p->device_ids)
		return HCP_ENOMEM;
	placement_devices(r->place, t->got.handle, devs, t->got.count);
	for (uint32_t i = 0; i < t->got.count; i++)
		p->device_ids[i] = r->by_dev[devs[i]]->id;
	p->n_device_ids = t->got.count;
	if (build_share(r, a, j, t, p) < 0)
		return HCP_ENOMEM;
	p->allocation_id = j->allocation_id;
	p->score = t->got.score.total;
	p->explain = explain(a, &t->got);
	return p->explain ? 0 : HCP_ENOMEM;
}

static int tell(struct svc_ctx *ctx, const struct job *j, const char *state, const char *reason, const Hcp__Place *p)
{
	Hcp__JobState ev = HCP__JOB_STATE__INIT;
	ev.workload_id = j->id;
	ev.state = state;
	ev.reason = reason;
	ev.allocation_id = j->allocation_id;
	if (p) {
		ev.n_device_ids = p->n_device_ids;
		ev.device_ids = p->device_ids;
	}
	return svc_publish(ctx, j->id, &ev.base);
}

/* Packed for its row, where the workload stands beside it. */
static int keep_place(struct svc_ctx *ctx, struct job *j, const Hcp__Place *p)
{
	return pb_pack_arena(&p->base, svc_arena(ctx), &j->place);
}

/* p has no workload: the job's is packed already. */
static int send_place(struct svc_ctx *ctx, struct job *j, const Hcp__Place *p)
{
	Hcp__Place front = HCP__PLACE__INIT, back = *p;
	struct arena *a = svc_arena(ctx);
	struct str before, workload, behind, body;
	front.allocation_id = p->allocation_id;
	back.allocation_id = "";
	int rc = pb_pack_arena(&front.base, a, &before);
	if (rc == 0)
		rc = pb_pack_arena(&back.base, a, &behind);
	if (rc == 0)
		rc = router_job_pack(ctx, j, &workload);
	if (rc == 0)
		rc = pb_join_arena(before, 2, workload, behind, a, &body);
	return rc < 0 ? rc : svc_publish_packed(ctx, j->allocation_id, MSG_PLACE, body);
}

/* Its memory may be a larger share of the device that it got than of the one that was counted on. */
static int charge_part(struct router *r, struct job *j, const struct attempt *t, struct err *err)
{
	if (!router_slice_of(j->w).milli || j->q.need[QUEUE_GPU] == t->got.milli)
		return 0;
	queue_uncharge(r->queue, &j->q);
	j->q.need[QUEUE_GPU] = t->got.milli;
	return queue_charge(r->queue, &j->q, err);
}

static int placed(struct router *r, struct svc_ctx *ctx, struct job *j, const struct attempt *t, struct err *err)
{
	Hcp__Place p = HCP__PLACE__INIT;
	router_yield_unkeep(r, j);
	j->state = JOB_PLACED;
	j->committed = false;
	j->since_ns = 0;
	j->hold = t->got.handle;
	svc_new_id(ctx, j->allocation_id, ID_ALLOCATION);
	int rc = map_put(&r->by_allocation, str_of(j->allocation_id), j, NULL);
	if (rc == 0)
		rc = router_yield_shared(r, t->got.first, err);
	if (rc == 0)
		rc = charge_part(r, j, t, err);
	if (rc == 0)
		rc = build_place(r, ctx, j, t, &p);
	if (rc == 0)
		rc = keep_place(ctx, j, &p);
	router_job_save(r, j);
	/* The orchestrator first: it must know the allocation before resources has news of it. */
	if (rc == 0)
		rc = tell(ctx, j, "placing", "", &p);
	if (rc == 0)
		rc = send_place(ctx, j, &p);
	router_demand_changed(r, ctx);
	return rc;
}

/* Those that have just come and could not be placed hear why, once. */
static int tell_waiting(struct router *r, struct svc_ctx *ctx)
{
	list_each_safe(it, tmp, &r->untold)
	{
		struct job *j = list_entry(it, struct job, untold);
		if (j->state == JOB_WAITING && !j->wait_reason[0] && !j->told_ns)
			continue;
		list_del(it);
		if (j->state != JOB_WAITING || j->told_ns)
			continue;
		j->told_ns = svc_now_ns(ctx);
		int rc = tell(ctx, j, "waiting", j->wait_reason, NULL);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* Those that moved, to where room was held for them. */
static int place_moved(struct router *r, struct svc_ctx *ctx, struct attempt *t, struct err *err)
{
	struct queue_job q;
	struct job *j;
	int rc = 0;
	while (rc == 0 && router_moves_next(r, &j, &t->got)) {
		if (queue_take(r->queue, &j->uuid, svc_now_ns(ctx), &q) == 0)
			rc = placed(r, ctx, j, t, err);
		else /* its customer has come to a limit */
			router_moves_let_go(r, &t->got);
	}
	router_moves_expire(r, svc_now_ns(ctx));
	return rc;
}

/* Before all others: those that devices are kept for. */
static int place_keepers(struct router *r, struct svc_ctx *ctx, struct attempt *t, struct err *err)
{
	struct queue_job q;
	int rc = 0;
	list_each_safe(it, tmp, &r->keepers)
	{
		struct job *j = list_entry(it, struct job, kept);
		t->reserved = false;
		if (rc < 0 || !fits(t, &j->q, NULL))
			continue;
		if (queue_take(r->queue, &j->uuid, svc_now_ns(ctx), &q) == 0) {
			rc = placed(r, ctx, j, t, err);
			continue;
		}
		must(placement_release(r->place, t->got.handle, NULL) == 0); /* its customer has come to a limit */
		router_yield_unkeep(r, j);
	}
	return rc;
}

/* Nothing more fits: some may make others yield. */
static int ask_to_yield(struct attempt *t, struct err *err)
{
	int rc = 0;
	for (size_t i = 0; i < t->n_ask && rc == 0; i++) {
		struct job *j = t->ask[i];
		int64_t again_ns;
		int64_t at_ns = router_yield_asks_at(t->r, j);
		if (j->state != JOB_WAITING || t->r->n_kept >= ROUTER_KEPT_MAX)
			continue;
		if (at_ns > svc_now_ns(t->ctx)) { /* one like it has just found nobody */
			t->again_ns = at_ns < t->again_ns ? at_ns : t->again_ns;
			continue;
		}
		rc = router_yield_ask(t->r, t->ctx, j, &again_ns, err);
		t->again_ns = again_ns < t->again_ns ? again_ns : t->again_ns;
		if (rc < 0 || list_empty(&j->kept))
			continue;
		j->told_ns = svc_now_ns(t->ctx);
		rc = tell(t->ctx, j, "waiting", j->wait_reason, NULL);
	}
	return rc;
}

int router_place_waiting(struct router *r, struct svc_ctx *ctx, struct err *err)
{
	struct attempt t = { .r = r, .ctx = ctx };
	struct queue_job q;
	int rc = place_moved(r, ctx, &t, err), n = 0;
	if (rc == 0)
		rc = place_keepers(r, ctx, &t, err);
	if (rc < 0)
		return rc;
	t.n_ask = t.n_whole = 0;
	t.again_ns = INT64_MAX;
	for (; n < ROUTER_PLACE_BATCH && rc == 0; n++) {
		t.reserved = false;
		rc = queue_pop(r->queue, svc_now_ns(ctx), fits, &t, &q);
		must(rc < 0 || t.reserved);
		if (rc == 0)
			rc = placed(r, ctx, (struct job *)(uintptr_t)q.tag, &t, err);
	}
	r->stuck = rc == HCP_EAGAIN;
	r->settled_until_ns = queue_same_until(r->queue);
	r->settled = r->stuck && r->settled_until_ns != INT64_MIN; /* else others have their turn at the next look */
	if (rc == HCP_EAGAIN) {
		int64_t again_ns;
		int asked = router_moves_look(r, ctx, t.whole, t.n_whole, &again_ns, err); /* it costs less than to yield */
		t.again_ns = again_ns < t.again_ns ? again_ns : t.again_ns;
		if (asked == 0)
			asked = ask_to_yield(&t, err);
		rc = asked < 0 ? asked : rc;
		r->settled_until_ns = t.again_ns < r->settled_until_ns ? t.again_ns : r->settled_until_ns;
	}
	if (n == ROUTER_PLACE_BATCH)
		svc_wake_at(ctx, svc_now_ns(ctx));
	if (t.rc < 0)
		return err_set(err, t.rc, "", "out of memory");
	return rc < 0 && rc != HCP_EAGAIN ? rc : tell_waiting(r, ctx);
}

void router_look_again(struct router *r)
{
	r->settled = false;
	queue_changed(r->queue);
}

static uint32_t free_for(const struct router *r, const struct placement_request *req)
{
	if (req->device_class >= 0)
		return placement_free_count(r->place, (size_t)req->device_class);
	uint32_t n = 0;
	for (size_t i = 0; i < device_class_count(); i++)
		if (device_class_at(i)->kind == req->kind)
			n += placement_free_count(r->place, i);
	return n;
}

void router_place_new(struct router *r, struct svc_ctx *ctx, struct job *j)
{
	struct placement_request req = router_request_of(r, j);
	uint32_t free = r->stuck ? free_for(r, &req) : 0;
	/* The first hear why they wait; for the long queue behind them it stands in GET /queue. */
	bool asks = j->q.cls == WORKLOAD_P1 && router_yield_asks_at(r, j) <= svc_now_ns(ctx);
	bool part = req.milli || req.mig; /* may fit where no device is free */
	if (asks || part || !r->stuck || free >= req.count || queue_len(r->queue) <= ROUTER_QUEUE_SHOWN) {
		r->look = true;
		return;
	}
	snprintf(j->wait_reason, sizeof(j->wait_reason), "%u of %u devices are free; %zu jobs wait", free, req.count,
		queue_len(r->queue));
	j->told_ns = svc_now_ns(ctx);
}

/* The least time to start on any class that it may have. */
static int64_t start_ns(const struct placement_request *req)
{
	int64_t least_ms = INT64_MAX;
	for (size_t i = 0; i < device_class_count(); i++) {
		const struct device_class *c = device_class_at(i);
		bool may = req->device_class >= 0 ? (size_t)req->device_class == i : c->kind == req->kind;
		if (may && c->switch_ms[DEVICE_SERVE] < least_ms)
			least_ms = c->switch_ms[DEVICE_SERVE];
	}
	return least_ms == INT64_MAX ? 0 : least_ms * NS_PER_MS;
}

bool router_place_hopeless(struct router *r, struct svc_ctx *ctx, struct job *j)
{
	struct placement_request req = router_request_of(r, j);
	struct placement_refusal why;
	int64_t left_ns = j->q.deadline_ns - svc_now_ns(ctx), need_ns = start_ns(&req) + j->q.duration_ns;
	if (!j->q.deadline_ns)
		return false;
	if (left_ns < need_ns) {
		snprintf(j->wait_reason, sizeof(j->wait_reason),
			"its deadline cannot be met: it needs %.2f s, start included, and %.2f s are left", (double)need_ns / 1e9,
			(double)(left_ns > 0 ? left_ns : 0) / 1e9);
		return true;
	}
	/* A cell that knows no device yet may know some in a moment; one that has some says what it can never do. */
	placement_explain(r->place, &req, &why);
	if (placement_count(r->place) == 0 || why.code == PLACEMENT_R_NONE || why.code == PLACEMENT_R_OUT ||
		(why.total >= req.count && (why.code == PLACEMENT_R_BUSY || why.code == PLACEMENT_R_FRAGMENTED)))
		return false;
	char says[200];
	router_say_refusal(j, &why, says, sizeof(says));
	snprintf(j->wait_reason, sizeof(j->wait_reason), "its deadline cannot be met even on an empty cell: %.150s", says);
	return true;
}

/* Resources never said a word: give the devices back and try again. */
int router_place_expire(struct router *r, struct svc_ctx *ctx, struct err *err)
{
	placement_handle gone[64];
	size_t n = placement_expire(r->place, svc_now_ns(ctx), gone, 64);
	if (n)
		router_look_again(r);
	for (size_t i = 0; i < n; i++) {
		list_each(it, &r->order) {
			struct job *j = list_entry(it, struct job, node);
			if (j->hold != gone[i] || j->state != JOB_PLACED)
				continue;
			j->hold = 0;
			j->state = JOB_RELEASING;
			j->again = true;
			Hcp__Release ev = HCP__RELEASE__INIT;
			ev.allocation_id = j->allocation_id;
			ev.workload_id = j->id;
			ev.reason = "not confirmed in time";
			int rc = svc_publish(ctx, j->allocation_id, &ev.base);
			router_job_save(r, j);
			if (rc < 0)
				return rc;
			break;
		}
	}
	return 0;
}

void router_demand_changed(struct router *r, struct svc_ctx *ctx)
{
	router_scale_poke(r);
	if (!r->demand_dirty)
		svc_wake_at(ctx, r->demand_at_ns > svc_now_ns(ctx) ? r->demand_at_ns : svc_now_ns(ctx));
	r->demand_dirty = true;
}

static size_t class_of(const struct router *r, const struct job *j)
{
	struct placement_request req = router_request_of(r, j);
	if (req.device_class >= 0)
		return (size_t)req.device_class;
	placement_dev first;
	if (j->hold && placement_devices(r->place, j->hold, &first, 1))
		return r->by_dev[first]->cls;
	for (size_t i = 0; i < device_class_count(); i++)
		if (device_class_at(i)->kind == req.kind)
			return i;
	return 0;
}

int64_t router_job_milli(const struct job *j)
{
	struct slice part = router_slice_of(j->w);
	return part.milli ? part.milli : SLICE_WHOLE * (int64_t)(j->w->device_count > 0 ? j->w->device_count : 1);
}

static int32_t whole_devices(int64_t milli)
{
	int64_t n = (milli + SLICE_WHOLE - 1) / SLICE_WHOLE;
	return n < INT32_MAX ? (int32_t)n : INT32_MAX;
}

int64_t router_job_ends_ns(const struct job *j)
{
	bool told = j->since_ns && j->q.duration_ns && j->q.duration_ns < INT64_MAX - j->since_ns;
	return told ? j->since_ns + j->q.duration_ns : INT64_MAX;
}

/* Hours from now until a job that runs is expected to end; ROUTER_ENDS_HOURS: later, or not told. */
static int64_t hours_left(const struct job *j, int64_t now_ns)
{
	int64_t left_ns = router_job_ends_ns(j) - now_ns;
	left_ns = left_ns > 0 ? left_ns / (3600 * NS_PER_S) : 0;
	return left_ns < ROUTER_ENDS_HOURS ? left_ns : ROUTER_ENDS_HOURS;
}

int64_t router_demand_due(const struct router *r)
{
	if (r->demand_dirty)
		return r->demand_at_ns;
	return r->ends_stale ? r->ends_told_ns + ROUTER_ENDS_S * NS_PER_S : INT64_MAX;
}

/* What running jobs give back in each hour, into the rows. */
static int add_ends(const struct router *r, struct arena *a, Hcp__Demand *rows, int64_t now_ns)
{
	int64_t(*milli)[ROUTER_ENDS_HOURS + 1] = arena_calloc(a, device_class_count() * sizeof(*milli));
	int32_t(*ends)[ROUTER_ENDS_HOURS] = arena_calloc(a, device_class_count() * sizeof(*ends));
	if (!milli || !ends)
		return HCP_ENOMEM;
	list_each(it, &r->order) {
		const struct job *j = list_entry(it, struct job, node);
		if (j->state == JOB_PLACED)
			milli[class_of(r, j)][hours_left(j, now_ns)] += router_job_milli(j);
	}
	for (size_t i = 0; i < device_class_count(); i++) {
		for (size_t k = 0; k < ROUTER_ENDS_HOURS; k++)
			ends[i][k] = (int32_t)(milli[i][k] / SLICE_WHOLE); /* parts that are no whole device come back to none */
		rows[i].n_ends = ROUTER_ENDS_HOURS;
		rows[i].ends = ends[i];
		rows[i].ends_at_ns = now_ns;
	}
	return 0;
}

int router_demand_tick(struct router *r, struct svc_ctx *ctx, struct err *err)
{
	struct arena *a = svc_arena(ctx);
	if (svc_now_ns(ctx) < router_demand_due(r))
		return 0;
	int64_t now_ns = svc_now_ns(ctx);
	bool ends = now_ns >= r->ends_told_ns + ROUTER_ENDS_S * NS_PER_S || now_ns < r->ends_told_ns;
	Hcp__DemandChanged ev = HCP__DEMAND_CHANGED__INIT;
	Hcp__Demand *rows = arena_alloc(a, device_class_count() * sizeof(*rows));
	struct {
		int64_t realtime, batch, waiting; /* thousandths of devices */
	} *by_class = arena_calloc(a, device_class_count() * sizeof(*by_class));
	if (!by_class || !rows)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	list_each(it, &r->order) {
		const struct job *j = list_entry(it, struct job, node);
		int64_t milli = router_job_milli(j);
		size_t c = class_of(r, j);
		if (j->state == JOB_WAITING)
			by_class[c].waiting += milli;
		else if (j->q.cls == WORKLOAD_P1)
			by_class[c].realtime += milli;
		else
			by_class[c].batch += milli;
	}
	for (size_t i = 0; i < device_class_count(); i++) {
		hcp__demand__init(&rows[i]);
		rows[i].device_class = device_class_at(i)->name;
		rows[i].realtime = whole_devices(by_class[i].realtime);
		rows[i].batch = whole_devices(by_class[i].batch);
		rows[i].waiting = whole_devices(by_class[i].waiting);
		if (pb_push(a, &ev.n_demands, &ev.demands, &rows[i]) < 0)
			return HCP_ENOMEM;
	}
	if (ends && add_ends(r, a, rows, now_ns) < 0)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	r->ends_told_ns = ends ? now_ns : r->ends_told_ns;
	r->ends_stale = !ends;
	r->demand_dirty = false;
	int64_t rest_ns = (int64_t)r->jobs.n * ROUTER_DEMAND_JOB_NS; /* all jobs were counted */
	r->demand_at_ns =
		svc_now_ns(ctx) + (rest_ns > ROUTER_DEMAND_MS * NS_PER_MS ? rest_ns : ROUTER_DEMAND_MS * NS_PER_MS);
	return svc_publish(ctx, "", &ev.base);
}
