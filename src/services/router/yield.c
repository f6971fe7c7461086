/* Who must give devices up to whom: the running jobs as sched/preempt knows them, and the jobs that space is kept for.
 */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/money.h"
#include "base/panic.h"
#include "model/device_class.h"
#include "services/router/router_priv.h"

enum queue_resource router_resource_of(enum device_kind kind)
{
	return kind == DEVICE_CPU ? QUEUE_CPU : kind == DEVICE_ASIC ? QUEUE_POWER : QUEUE_GPU;
}

static const struct rdev *first_device(const struct router *r, const struct job *j)
{
	placement_dev first;
	return j->hold && placement_devices(r->place, j->hold, &first, 1) ? r->by_dev[first] : NULL;
}

/* Up to when its work is safe. */
static int64_t saved_ns(const struct job *j, int64_t since_ns)
{
	const Hcp__Checkpoint *c = j->w->program[0] ? j->w->checkpoint : NULL;
	return c && c->at_ns > since_ns ? c->at_ns : since_ns;
}

/* A program tells what it has saved; of other work its owner's word is all there is. */
static bool saves_itself(const struct job *j)
{
	return j->w->checkpointable && !j->w->program[0];
}

double router_yield_restart_s(uint16_t cls)
{
	const struct device_class *c = device_class_at(cls);
	return (double)(c->switch_ms[DEVICE_OFF] + c->switch_ms[DEVICE_SERVE]) / 1000;
}

/* ---- shared devices: what one part gives up makes no device whole, so all on a device yield together ---- */

enum { SHARED = 1 }; /* in a tag: a device, not a job (whose address is even) */

static struct id shared_key(placement_dev d)
{
	struct id key = { .b = "shared" };
	memcpy(key.b + sizeof(key.b) - sizeof(d), &d, sizeof(d));
	return key;
}

struct job *router_yield_owner(const struct router *r, const struct placement_part *p)
{
	char id[ID_TEXT_MAX];
	return router_job_find(r, id_format(id, ID_WORKLOAD, &p->owner));
}

/*
 * One more of them: of the best class, protected like the youngest, as far from safe as the oldest; nobody's if it is
 * several customers'.
 */
static void share_out(struct preempt_job *all, const struct job *j, bool first)
{
	uint32_t preemptions = j->w->preemptions > 0 ? (uint32_t)j->w->preemptions : 0;
	all->customer = first || all->customer == j->q.customer ? j->q.customer : 0;
	all->cls = j->q.cls < all->cls ? j->q.cls : all->cls;
	all->priority = j->q.priority < all->priority ? j->q.priority : all->priority;
	all->started_ns = j->since_ns > all->started_ns ? j->since_ns : all->started_ns;
	int64_t safe_ns = saved_ns(j, j->since_ns);
	all->since_ns = safe_ns < all->since_ns ? safe_ns : all->since_ns;
	all->checkpointable = all->checkpointable && saves_itself(j);
	all->preemptions = preemptions > all->preemptions ? preemptions : all->preemptions;
}

/* Who shares the device, or whether they run, has changed. A victim only if all of them may be one. */
static int shared_changed(struct router *r, const struct rdev *rd, struct err *err)
{
	struct placement_part part[PLACEMENT_PARTS_MAX];
	struct preempt_job all = { .id = shared_key(rd->dev),
		.cls = WORKLOAD_P4,
		.priority = WORKLOAD_PRIORITY_MAX,
		.device_class = rd->cls,
		.facility = rd->facility,
		.count = 1,
		.since_ns = INT64_MAX,
		.checkpointable = true,
		.restart_s = router_yield_restart_s(rd->cls),
		.tag = (uint64_t)rd->dev << 1 | SHARED };
	if (preempt_remove(r->preempt, &all.id) == 0)
		r->victims_changed++;
	uint32_t n = placement_parts(r->place, rd->dev, part, PLACEMENT_PARTS_MAX);
	for (uint32_t i = 0; i < n; i++) {
		const struct job *j = n <= PLACEMENT_PARTS_MAX ? router_yield_owner(r, &part[i]) : NULL;
		bool runs = j && j->state == JOB_PLACED && j->since_ns && j->hold == part[i].handle; /* not on its way here */
		if (!runs || j->q.cls == WORKLOAD_P1)
			return 0;
		share_out(&all, j, i == 0);
	}
	if (!n)
		return 0;
	r->victims_changed++;
	return preempt_add(r->preempt, &all, err);
}

static const struct rdev *shared_device(const struct router *r, const struct job *j)
{
	const struct rdev *rd = first_device(r, j);
	return rd && placement_parts(r->place, rd->dev, NULL, 0) ? rd : NULL;
}

int router_yield_shared(struct router *r, placement_dev d, struct err *err)
{
	return placement_parts(r->place, d, NULL, 0) ? shared_changed(r, r->by_dev[d], err) : 0;
}

/* ---- running jobs ---- */

int router_yield_runs(struct router *r, struct job *j, int64_t since_ns, struct err *err)
{
	const struct rdev *rd = first_device(r, j);
	if (!rd)
		return 0;
	if (placement_parts(r->place, rd->dev, NULL, 0)) {
		j->since_ns = since_ns;
		return shared_changed(r, rd, err);
	}
	const struct preempt_job p = {
		.id = j->uuid,
		.customer = j->q.customer,
		.cls = j->q.cls,
		.priority = j->q.priority,
		.device_class = rd->cls,
		.facility = rd->facility,
		.count = placement_devices(r->place, j->hold, NULL, 0),
		.started_ns = since_ns,
		.since_ns = saved_ns(j, since_ns),
		.checkpointable = saves_itself(j),
		.restart_s = router_yield_restart_s(rd->cls),
		.preemptions = j->w->preemptions > 0 ? (uint32_t)j->w->preemptions : 0,
		.tag = (uint64_t)(uintptr_t)j,
	};
	j->since_ns = since_ns;
	r->victims_changed++;
	return preempt_add(r->preempt, &p, err);
}

void router_yield_keep(struct router *r, struct job *j, const struct placement_room *room, int64_t now_ns)
{
	j->room = *room;
	j->kept_until_ns = now_ns + ROUTER_YIELD_S * NS_PER_S;
	list_add_tail(&r->keepers, &j->kept);
	r->n_kept++;
}

void router_yield_unkeep(struct router *r, struct job *j)
{
	if (list_empty(&j->kept))
		return;
	router_moves_unkeep(r, j);
	list_del(&j->kept);
	r->n_kept--;
	router_look_again(r); /* for others */
}

void router_yield_forget(struct router *r, struct job *j)
{
	const struct rdev *rd = shared_device(r, j);
	router_yield_unkeep(r, j);
	if (preempt_remove(r->preempt, &j->uuid) == 0)
		r->victims_changed++;
	/* Others on the device are none while this one goes: they would yield for what comes free anyway. */
	const struct id key = shared_key(rd ? rd->dev : 0);
	if (rd && preempt_remove(r->preempt, &key) == 0)
		r->victims_changed++;
}

/*
 * Devices that victims give up are kept for whom they gave them up: nobody of its class or a worse one may take them,
 * nor what was free there before, until it is placed or has waited long enough.
 */
const struct job *router_yield_keeper(const struct router *r, const struct job *j, const struct placement_result *got)
{
	const struct rdev *rd = r->by_dev[got->first];
	uint32_t kept = 0;
	if (placement_parts(r->place, rd->dev, NULL, 0) > 1)
		return NULL; /* beside others: that takes nothing from anybody */
	list_each(it, &r->keepers)
	{
		const struct job *k = list_entry(it, struct job, kept);
		if (k == j)
			break; /* those that came later wait for this one */
		if (k->q.cls > j->q.cls || k->room.device_class != rd->cls || k->room.facility != rd->facility)
			continue;
		kept += (uint32_t)(k->w->device_count > 0 ? k->w->device_count : 1);
		if (kept > placement_free_in(r->place, rd->cls, rd->facility))
			return k;
	}
	return NULL;
}

uint32_t router_yield_kept_in(const struct router *r, const struct placement_room *room)
{
	uint32_t kept = 0;
	list_each(it, &r->keepers)
	{
		const struct job *k = list_entry(it, struct job, kept);
		if (k->room.device_class == room->device_class && k->room.facility == room->facility)
			kept += (uint32_t)(k->w->device_count > 0 ? k->w->device_count : 1);
	}
	return kept;
}

/* Nothing has changed since a job like this one found no victims. Real-time jobs may come by the thousand. */
static bool in_vain(const struct router *r, const struct job *j)
{
	const struct in_vain *v = &r->in_vain;
	return j->q.cls == WORKLOAD_P1 && v->version == r->victims_changed && j->w->device_count >= v->count &&
		   !strcmp(v->device_class, j->w->device_class);
}

/* Real-time work asks at once; others when half of their patience is gone, since what stops may have run for nothing.
 */
int64_t router_yield_asks_at(const struct router *r, const struct job *j)
{
	int64_t at_ns = j->q.enqueued_ns;
	if (!list_empty(&j->kept) || j->q.cls == WORKLOAD_P4 || preempt_len(r->preempt) == 0)
		return INT64_MAX;
	if (j->q.cls != WORKLOAD_P1)
		at_ns += workload_wait_target_ns(j->q.cls) / 2;
	if (in_vain(r, j) && r->in_vain.until_ns > at_ns)
		at_ns = r->in_vain.until_ns;
	return j->yield_rest_ns > at_ns ? j->yield_rest_ns : at_ns;
}

struct asking {
	const struct router *r;
	uint16_t tag;             /* what it gets must be of a node with that; 0: any */
	const struct id *spared;  /* has preempted it: never the way back */
};

static bool over(void *arg, uint64_t customer, uint16_t device_class, uint32_t less)
{
	const struct router *r = ((const struct asking *)arg)->r;
	double more[QUEUE_RESOURCE_END] = { 0 };
	const struct device_class *c = device_class_at(device_class);
	more[router_resource_of(c->kind)] = -SLICE_WHOLE * (double)less;
	return queue_share_with(r->queue, customer, more) > queue_fair_share(r->queue) * (1 + 1e-9);
}

static bool is_spared(const struct asking *q, placement_dev dev)
{
	struct placement_part part[PLACEMENT_PARTS_MAX];
	uint32_t n = placement_parts(q->r->place, dev, part, PLACEMENT_PARTS_MAX);
	for (uint32_t i = 0; i < n; i++)
		if (!memcmp(&part[i].owner, q->spared, sizeof(*q->spared)))
			return true;
	return false;
}

/* One of the devices that a victim would give up will do, and none who must not yield to it is among the victims. */
static bool helps(void *arg, uint64_t victim)
{
	const struct asking *q = arg;
	placement_dev dev[64];
	uint32_t n = 1;
	if (victim & SHARED && is_spared(q, (placement_dev)(victim >> 1)))
		return false;
	if (!q->tag)
		return true;
	if (victim & SHARED) {
		dev[0] = (placement_dev)(victim >> 1);
	} else {
		const struct job *j = (const struct job *)(uintptr_t)victim;
		n = placement_devices(q->r->place, j->hold, dev, sizeof(dev) / sizeof(dev[0]));
	}
	for (uint32_t i = 0; i < n && i < sizeof(dev) / sizeof(dev[0]); i++)
		if (placement_may_have(q->r->place, dev[i], q->tag))
			return true;
	return false;
}

static int send_yield(
	struct router *r, struct svc_ctx *ctx, struct job *v, const struct job *j, double cost_usd, struct err *err)
{
	Hcp__Release ev = HCP__RELEASE__INIT;
	must(v->state == JOB_PLACED);
	v->state = JOB_RELEASING;
	v->yields = true;
	r->n_yielding++;
	v->again = false; /* the orchestrator asks for it anew, with what is left of its work */
	router_yield_forget(r, v);
	ev.allocation_id = v->allocation_id;
	ev.workload_id = v->id;
	ev.preempted_by = j->id;
	ev.reason = arena_printf(svc_arena(ctx), "preempted by %s (%s, priority %d): stopping it costs least, %.2f USD",
		j->id, workload_class_name(j->q.cls), j->q.priority, cost_usd);
	if (!ev.reason)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	r->preemptions++;
	int rc = svc_publish(ctx, v->allocation_id, &ev.base);
	router_job_save(r, v);
	return rc;
}

/* A job, or all that share a device. */
static int yield_all(struct router *r, struct svc_ctx *ctx, const struct preempt_victim *v, const struct job *j,
	struct err *err)
{
	struct placement_part part[PLACEMENT_PARTS_MAX];
	int rc = 0;
	if (!(v->tag & SHARED))
		return send_yield(r, ctx, (struct job *)(uintptr_t)v->tag, j, v->cost_usd, err);
	uint32_t n = placement_parts(r->place, (placement_dev)(v->tag >> 1), part, PLACEMENT_PARTS_MAX);
	for (uint32_t i = 0; i < n && rc == 0; i++)
		rc = send_yield(r, ctx, router_yield_owner(r, &part[i]), j, v->cost_usd, err);
	return rc;
}

static void keep_for(
	struct router *r, struct job *j, const struct preempt_choice *c, const struct placement_room *room, int64_t now_ns)
{
	router_yield_keep(r, j, room, now_ns);
	snprintf(j->wait_reason, sizeof(j->wait_reason), "%zu job%s yield%s %u devices to it, for %.2f USD of lost work",
		c->n, c->n == 1 ? "" : "s", c->n == 1 ? "s" : "", c->freed, c->cost_usd);
}

static void remember_in_vain(struct router *r, const struct placement_request *req, const struct job *j)
{
	/* With other wishes another job may fare otherwise. */
	if (j->q.cls != WORKLOAD_P1 || req->tag || req->region[0] || req->latency_max_ms > 0 || req->memory_gib > 0)
		return;
	r->in_vain = (struct in_vain){
		.version = r->victims_changed, .until_ns = preempt_next(r->preempt), .count = j->w->device_count
	};
	snprintf(r->in_vain.device_class, sizeof(r->in_vain.device_class), "%.31s", j->w->device_class);
}

int router_yield_ask(struct router *r, struct svc_ctx *ctx, struct job *j, int64_t *ret_again_ns, struct err *err)
{
	struct placement_room room[ROUTER_ROOMS_MAX];
	struct preempt_choice c;
	struct placement_request req = router_request_of(r, j);
	struct asking asking = { .r = r, .tag = req.tag };
	int64_t now_ns = svc_now_ns(ctx);
	struct preempt_request q = { .id = j->uuid,
		.customer = j->q.customer,
		.cls = j->q.cls,
		.count = req.count,
		.room = room,
		.n_room = placement_rooms(r->place, &req, room, ROUTER_ROOMS_MAX),
		.helps = helps,
		.arg = &asking };
	if (j->w->preempted_by[0] && id_parse(str_of(j->w->preempted_by), ID_WORKLOAD, &q.spared) < 0)
		q.spared = (struct id){ 0 };
	asking.spared = &q.spared;
	if (queue_share_with(r->queue, j->q.customer, j->q.need) <= queue_fair_share(r->queue))
		q.over = over;
	int rc = preempt_choose(r->preempt, &q, now_ns, &c);
	*ret_again_ns = preempt_next(r->preempt);
	if (rc == HCP_EAGAIN)
		remember_in_vain(r, &req, j);
	if (rc < 0)
		return rc == HCP_EAGAIN || rc == HCP_ESTATE ? 0 : rc;
	keep_for(r, j, &c, &room[c.room], now_ns);
	*ret_again_ns = j->kept_until_ns;
	for (size_t i = 0; i < c.n && rc == 0; i++)
		rc = yield_all(r, ctx, &c.victim[i], j, err);
	return rc;
}

/* What was promised did not come in time (devices failed, or others of a better class took them). */
void router_yield_expire(struct router *r, int64_t now_ns)
{
	list_each_safe(it, tmp, &r->keepers)
	{
		struct job *j = list_entry(it, struct job, kept);
		bool set_back = j->kept_until_ns - now_ns > ROUTER_YIELD_S * NS_PER_S;
		if (now_ns < j->kept_until_ns && !set_back)
			continue;
		j->yield_rest_ns = now_ns + ROUTER_YIELD_S * NS_PER_S;
		router_yield_unkeep(r, j);
	}
}

int64_t router_yield_due(const struct router *r)
{
	int64_t at_ns = INT64_MAX;
	list_each(it, &r->keepers)
	{
		const struct job *j = list_entry(it, struct job, kept);
		at_ns = j->kept_until_ns < at_ns ? j->kept_until_ns : at_ns;
	}
	return at_ns;
}
