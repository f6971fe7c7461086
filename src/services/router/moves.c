/*
 * Parts of a shared device move beside others, so that it is whole again for a job that waits for one (SCHED-6). Room
 * is held for each before it is told to move, so nobody stands without a place.
 *
 *	from: | a 300 | b 200 | 500 |  -- JobState moves --> orchestrator -- JobCancel elsewhere, JobEnqueue --> here
 *	to:   | c 600 | a 300 held | 100 |      Release, RELEASED: a waits, and is placed where its room is held
 */
#include <stdio.h>

#include "base/money.h"
#include "base/panic.h"
#include "services/router/router_priv.h"

struct search {
	const struct router *r;
	int64_t now_ns;
	uint16_t tag;       /* the node must have that */
	int64_t soonest_ns; /* when the next part may move that may not now */
};

int64_t router_moves_at(const struct router *r, const struct job *j)
{
	if (r->moves.from || !list_empty(&j->kept) || j->q.cls == WORKLOAD_P4 || r->n_kept >= ROUTER_KEPT_MAX)
		return INT64_MAX;
	int64_t at_ns = j->q.enqueued_ns + (j->q.cls == WORKLOAD_P1 ? 0 : ROUTER_MOVES_WAIT_S * NS_PER_S);
	return r->moves.next_ns > at_ns ? r->moves.next_ns : at_ns;
}

static int64_t move_ns(uint16_t cls)
{
	return (int64_t)(router_yield_restart_s(cls) * (double)NS_PER_S);
}

/* Only what loses nothing by it, promises no answer at once, has settled since its last move and is not over soon. */
static bool may_move(void *arg, placement_dev from, const struct placement_part *part, struct placement_request *r)
{
	struct search *s = arg;
	const struct rdev *rd = s->r->by_dev[from];
	const struct job *j = router_yield_owner(s->r, part);
	if (!j || j->state != JOB_PLACED || !j->since_ns || j->hold != part->handle || j->q.cls == WORKLOAD_P1 ||
		!j->w->checkpointable || !router_inventory_offered(s->r, rd) || !placement_may_have(s->r->place, from, s->tag))
		return false;
	int64_t settled_ns = j->since_ns + (j->moved ? preempt_min_run_ns(s->r->preempt, j->q.cls, 0) : 0);
	if (s->now_ns < settled_ns) {
		s->soonest_ns = settled_ns < s->soonest_ns ? settled_ns : s->soonest_ns;
		return false;
	}
	r->region = j->w->region;
	r->latency_max_ms = j->w->max_latency_ms;
	int64_t ends_ns = router_job_ends_ns(j), takes_ns = move_ns(rd->cls);
	bool late = j->q.deadline_ns && (ends_ns == INT64_MAX || ends_ns + takes_ns > j->q.deadline_ns);
	return ends_ns - s->now_ns > takes_ns && !late;
}

/* A whole device of the room comes free as soon as parts could move; O(jobs), when there is something to move. */
static bool ends_sooner(const struct router *r, const struct placement_room *room, int64_t now_ns)
{
	int64_t by_ns = now_ns + move_ns(room->device_class);
	list_each(it, &r->order)
	{
		const struct job *j = list_entry(it, struct job, node);
		placement_dev first;
		if (j->state == JOB_WAITING || !j->hold || (j->state == JOB_PLACED && router_job_ends_ns(j) > by_ns))
			continue;
		if (!placement_devices(r->place, j->hold, &first, 1) || placement_parts(r->place, first, NULL, 0))
			continue;
		if (r->by_dev[first]->cls == room->device_class && r->by_dev[first]->facility == room->facility)
			return true;
	}
	return false;
}

static void clear_device(struct router *r, struct rdev *rd, bool clears)
{
	rd->clears = clears;
	(void)!placement_set_in_service(r->place, rd->dev, router_inventory_offered(r, rd), NULL);
}

void router_moves_let_go(struct router *r, const struct placement_result *to)
{
	must(placement_release(r->place, to->handle, NULL) == 0);
	(void)!router_yield_shared(r, to->first, NULL); /* without memory nobody there yields until the next change */
}

/* Over, as far as it got. */
static void end(struct router *r, int64_t next_ns)
{
	struct moves *m = &r->moves;
	for (size_t i = 0; i < m->n; i++)
		if (m->move[i].j)
			router_moves_let_go(r, &m->move[i].to);
	clear_device(r, m->from, false);
	*m = (struct moves){ .next_ns = next_ns };
	router_look_again(r);
}

/* Holds for each the place that was found; false, and all is as it was, if it is not to be had after all. */
static bool hold(struct router *r, const struct placement_move *p, uint32_t n, struct job *whom, int64_t now_ns)
{
	struct moves *m = &r->moves;
	*m = (struct moves){ .from = r->by_dev[p[0].from], .whom = whom, .until_ns = now_ns + ROUTER_YIELD_S * NS_PER_S };
	clear_device(r, m->from, true);
	for (; m->n < n; m->n++) {
		struct move *v = &m->move[m->n];
		char id[ID_TEXT_MAX];
		v->j = router_job_find(r, id_format(id, ID_WORKLOAD, &p[m->n].owner));
		must(v->j != NULL);
		struct placement_request req = router_request_of(r, v->j);
		req.device_class = m->from->cls;
		/* Placed by then, it is confirmed by resources as soon as any other. */
		int64_t until_ns = now_ns + ROUTER_HOLD_S * NS_PER_S;
		if (placement_reserve(r->place, &req, until_ns, &v->to, NULL, NULL) < 0)
			break;
		if (placement_parts(r->place, v->to.first, NULL, 0) < 2) {
			m->n++; /* a whole device would be opened for it */
			break;
		}
	}
	if (m->n == n && placement_parts(r->place, m->move[n - 1].to.first, NULL, 0) >= 2)
		return true;
	end(r, 0);
	return false;
}

static int tell(struct svc_ctx *ctx, const struct job *j, const char *state, const char *reason)
{
	Hcp__JobState ev = HCP__JOB_STATE__INIT;
	if (!reason)
		return HCP_ENOMEM;
	ev.workload_id = j->id;
	ev.state = state;
	ev.reason = reason;
	ev.allocation_id = j->allocation_id;
	return svc_publish(ctx, j->id, &ev.base);
}

static int begin(
	struct router *r, struct svc_ctx *ctx, struct job *j, const struct placement_room *room, struct err *err)
{
	const struct moves *m = &r->moves;
	int rc = 0;
	for (size_t i = 0; i < m->n && rc == 0; i++) {
		rc = router_yield_shared(r, m->move[i].to.first, err);
		if (rc == 0)
			rc = tell(ctx, m->move[i].j, "moves",
				arena_printf(svc_arena(ctx), "moved to make %s whole for %s", m->from->id, j->id));
	}
	router_yield_keep(r, j, room, svc_now_ns(ctx));
	snprintf(j->wait_reason, sizeof(j->wait_reason),
		"%zu part%s of %.96s move%s elsewhere, so that it is whole for it.", m->n, m->n == 1 ? "" : "s", m->from->id,
		m->n == 1 ? "s" : "");
	j->told_ns = svc_now_ns(ctx);
	return rc < 0 ? rc : tell(ctx, j, "waiting", j->wait_reason);
}

/* Is exactly one device missing in a room, which parts could leave? */
static int look_for(struct router *r, struct svc_ctx *ctx, struct job *j, struct search *s, struct err *err)
{
	struct placement_room room[ROUTER_ROOMS_MAX];
	struct placement_move p[ROUTER_MOVES_MAX];
	struct placement_request req = router_request_of(r, j);
	size_t n_room = placement_rooms(r->place, &req, room, ROUTER_ROOMS_MAX);
	s->tag = req.tag;
	for (size_t i = 0; i < n_room; i++) {
		const struct placement_defrag ask = { room[i].device_class, room[i].facility, may_move, s };
		if (room[i].free + 1 != req.count + router_yield_kept_in(r, &room[i]))
			continue;
		uint32_t n = placement_defrag(r->place, &ask, p, ROUTER_MOVES_MAX);
		if (n && !ends_sooner(r, &room[i], s->now_ns) && hold(r, p, n, j, s->now_ns))
			return begin(r, ctx, j, &room[i], err);
	}
	return 0;
}

int router_moves_look(
	struct router *r, struct svc_ctx *ctx, struct job *const *jobs, size_t n, int64_t *ret_again_ns, struct err *err)
{
	struct search s = { .r = r, .now_ns = svc_now_ns(ctx), .soonest_ns = INT64_MAX };
	int rc = 0;
	for (size_t i = 0; i < n && rc == 0 && !r->moves.from; i++)
		if (jobs[i]->state == JOB_WAITING)
			rc = look_for(r, ctx, jobs[i], &s, err);
	if (n && !r->moves.from)
		r->moves.next_ns = s.now_ns + ROUTER_MOVES_LOOK_S * NS_PER_S;
	*ret_again_ns = r->moves.from || s.soonest_ns > r->moves.next_ns ? s.soonest_ns : r->moves.next_ns;
	return rc;
}

bool router_moves_holds(const struct router *r, const struct job *j)
{
	for (size_t i = 0; i < r->moves.n; i++)
		if (r->moves.move[i].j == j)
			return true;
	return false;
}

bool router_moves_next(struct router *r, struct job **ret, struct placement_result *ret_to)
{
	for (size_t i = 0; i < r->moves.n; i++) {
		struct move *v = &r->moves.move[i];
		if (!v->j || v->j->state != JOB_WAITING)
			continue;
		*ret = v->j;
		*ret_to = v->to;
		v->j = NULL;
		return true;
	}
	return false;
}

bool router_moves_give_way(struct router *r, int64_t now_ns)
{
	struct job *whom = r->moves.whom;
	if (!r->moves.from)
		return false;
	end(r, now_ns + ROUTER_MOVES_PAUSE_S * NS_PER_S);
	if (whom)
		whom->kept_until_ns = now_ns; /* not at once: whoever calls may be walking those that devices are kept for */
	return true;
}

void router_moves_unkeep(struct router *r, const struct job *j)
{
	if (!r->moves.from || r->moves.whom != j)
		return;
	r->moves.whom = NULL;
	clear_device(r, r->moves.from, false); /* those that are on their way go on; nobody else needs to keep off */
}

void router_moves_forget(struct router *r, const struct job *j)
{
	for (size_t i = 0; i < r->moves.n; i++) {
		if (r->moves.move[i].j != j)
			continue;
		router_moves_let_go(r, &r->moves.move[i].to);
		r->moves.move[i].j = NULL;
		router_look_again(r);
	}
}

void router_moves_expire(struct router *r, int64_t now_ns)
{
	struct moves *m = &r->moves;
	struct job *whom = m->whom;
	bool moving = false;
	if (m->next_ns - now_ns > ROUTER_MOVES_PAUSE_S * NS_PER_S) /* the clock was set back */
		m->next_ns = now_ns;
	if (!m->from)
		return;
	for (size_t i = 0; i < m->n; i++)
		moving = moving || m->move[i].j;
	bool set_back = m->until_ns - now_ns > ROUTER_YIELD_S * NS_PER_S;
	bool done = !moving && !placement_parts(r->place, m->from->dev, NULL, 0);
	if (!done && now_ns < m->until_ns && !set_back)
		return;
	end(r, now_ns + ROUTER_MOVES_PAUSE_S * NS_PER_S);
	if (whom && !done)
		router_yield_unkeep(r, whom);
}

int64_t router_moves_due(const struct router *r)
{
	return r->moves.from ? r->moves.until_ns : INT64_MAX;
}
