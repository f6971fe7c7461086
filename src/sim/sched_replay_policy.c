/* Who is placed next, and where. */
#include <string.h>

#include "base/mem.h"
#include "base/money.h"
#include "base/panic.h"
#include "sim/sched_replay_priv.h"

enum { CPU_JOB_MILLI = 10, MOVES_MAX = 8 };

/* ---- by arrival ---- */

static bool fits_now(struct replay *r, uint32_t j)
{
	return r->shape[r->job[j].shape].failed_at != r->releases;
}

static void failed(struct replay *r, uint32_t j)
{
	r->shape[r->job[j].shape].failed_at = r->releases;
}

static bool place_first_fit(struct replay *r, uint32_t j)
{
	const struct frag_shape *s = &r->shape[r->job[j].shape].s;
	for (uint32_t n = 0; n < r->n_nodes; n++)
		if (frag_fits(s, &r->node[n].free))
			return replay_place(r, j, (struct replay_where){ .only_node = n + 1 });
	return false;
}

/* Growth of F on the node by the best choice of GPU there. */
static double least_growth(const struct replay *r, const struct replay_node *n, const struct frag_shape *s)
{
	struct frag_node after;
	double best = 0;
	bool found = false;
	for (unsigned g = 0; g < n->free.n; g++) {
		if (n->free.milli[g] < s->milli)
			continue;
		after = n->free;
		frag_take(&after, s, g);
		double growth = frag_of(&r->demand, &after) - n->frag;
		if (!found || growth < best) {
			best = growth;
			found = true;
		}
		if (s->gpus > 1 || s->milli == 1000)
			break; /* whole ones: all alike */
	}
	if (s->gpus == 0) {
		after = n->free;
		frag_take(&after, s, 0);
		best = frag_of(&r->demand, &after) - n->frag;
	}
	return best;
}

static bool place_fgd(struct replay *r, uint32_t j)
{
	const struct frag_shape *s = &r->shape[r->job[j].shape].s;
	uint32_t best = UINT32_MAX;
	double least = 0;
	for (uint32_t n = 0; n < r->n_nodes; n++) {
		if (!frag_fits(s, &r->node[n].free))
			continue;
		double growth = least_growth(r, &r->node[n], s);
		if (best == UINT32_MAX || growth < least) {
			best = n;
			least = growth;
		}
	}
	return best != UINT32_MAX && replay_place(r, j, (struct replay_where){ PLACEMENT_FRAG, .only_node = best + 1 });
}

static bool place_by_policy(struct replay *r, uint32_t j)
{
	switch (r->conf->policy) {
	case SCHED_FIFO:
		return place_first_fit(r, j);
	case SCHED_FGD:
		return place_fgd(r, j);
	default:
		return replay_place(r, j, (struct replay_where){ .fit = PLACEMENT_TIGHT });
	}
}

static int schedule_fifo(struct replay *r)
{
	for (; r->head < r->next; r->head++) {
		uint32_t j = (uint32_t)r->head;
		if (r->job[j].state != JOB_WAITING)
			continue;
		if (!fits_now(r, j))
			return 0;
		if (!place_by_policy(r, j)) {
			failed(r, j);
			return 0;
		}
		int rc = replay_start(r, j);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* The oldest of all shapes that might fit. */
static uint32_t oldest(const struct replay *r)
{
	uint32_t best = NO_JOB;
	for (size_t i = 0; i < r->n_shapes; i++) {
		const struct shape *s = &r->shape[i];
		if (s->first != NO_JOB && s->failed_at != r->releases && (best == NO_JOB || s->first < best))
			best = s->first;
	}
	return best;
}

static int schedule_passing(struct replay *r)
{
	for (uint32_t j; r->waiting && (j = oldest(r)) != NO_JOB;) {
		if (!place_by_policy(r, j)) {
			failed(r, j);
			continue;
		}
		int rc = replay_start(r, j);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* ---- hcp ---- */

static struct queue_job queue_job_of(const struct replay *r, uint32_t j)
{
	const struct trace_job *t = &r->t->job[j];
	/* The pods' trace names no tenants: those that ask for exactly the same are one application, which shares fairly.
	 */
	uint64_t customer = r->t->kind == JOB_TRACE_PODS ? r->job[j].shape : t->customer;
	struct queue_job q = { .id = { { 1 } },
		.customer = customer,
		.cls = (enum workload_class)t->cls,
		.priority = 5,
		.enqueued_ns = replay_arrival_ms(r, j) * NS_PER_MS,
		.tag = j };
	uint64_t n = (uint64_t)j + 1;
	memcpy(q.id.b + 8, &n, sizeof(n));
	q.need[QUEUE_GPU] = (double)replay_job_milli(r, j) / 1000;
	q.need[QUEUE_CPU] = (double)t->cpu_milli / 1000;
	q.need[QUEUE_MEMORY] = (double)t->memory_mib / 1024;
	return q;
}

/* Where an overdue job is nearest to fitting: most GPUs that it could have, then the most CPU. */
static uint32_t gathering_node(const struct replay *r, uint32_t j)
{
	const struct frag_shape *s = &r->shape[r->job[j].shape].s;
	uint32_t best = UINT32_MAX, most = 0;
	for (uint32_t n = 0; n < r->n_nodes; n++) {
		const struct frag_node *f = &r->node[n].free;
		uint32_t able = 0;
		if (f->n < s->gpus)
			continue;
		for (unsigned g = 0; g < f->n; g++)
			able += f->milli[g] >= s->milli;
		if (best == UINT32_MAX || able > most ||
			(able == most && f->cpu_free_milli > r->node[best].free.cpu_free_milli)) {
			best = n;
			most = able;
		}
	}
	return best;
}

/* Places it, so that what is said to fit has its room already; a hold's node is not taken from. */
static bool fits(void *arg, const struct queue_job *job, const struct queue_job *hold)
{
	struct replay *r = arg;
	uint32_t j = (uint32_t)job->tag;
	if (!fits_now(r, j))
		return false;
	struct replay_where where = { .fit = PLACEMENT_FRAG };
	if (hold)
		where.avoid_node = gathering_node(r, (uint32_t)hold->tag) + 1;
	if (!replay_place(r, j, where)) {
		if (!hold)
			failed(r, j);
		return false;
	}
	r->pending = j;
	return true;
}

static int pop_all(struct replay *r, struct err *err)
{
	struct queue_job q;
	int64_t now_ns = r->now_ms * NS_PER_MS;
	if (r->queue_same_at == r->changes && now_ns < r->queue_same_until_ns)
		return 0;
	int rc;
	while ((rc = queue_pop(r->q, now_ns, fits, r, &q)) == 0) {
		must(r->pending == q.tag);
		r->pending = NO_JOB;
		if (replay_start(r, (uint32_t)q.tag) < 0)
			return err_set(err, HCP_ENOMEM, "", "no memory");
	}
	if (rc != HCP_EAGAIN)
		return err_set(err, rc, "", "the queue failed");
	r->queue_same_at = r->changes;
	r->queue_same_until_ns = queue_same_until(r->q);
	return 0;
}

/* ---- preemption ---- */

static bool may_preempt(const struct replay *r, uint32_t v)
{
	const struct job *b = &r->job[v];
	return r->t->job[v].cls == WORKLOAD_P3 && b->preempts < r->conf->preempts_max &&
		   r->now_ms - b->start_ms >= r->conf->min_run_ms;
}

/* Work that has to be done again, and the start. */
static int64_t redo_ms(const struct replay *r, uint32_t v)
{
	return (r->now_ms - r->job[v].start_ms) % r->conf->checkpoint_ms + r->conf->restart_ms;
}

static double cost_of(const struct replay *r, uint32_t v)
{
	uint32_t milli = replay_job_milli(r, v);
	return (double)redo_ms(r, v) * (milli > CPU_JOB_MILLI ? milli : CPU_JOB_MILLI);
}

/* As if v had left the node. */
static void without(const struct replay *r, uint32_t v, struct frag_node *f)
{
	const struct trace_job *t = &r->t->job[v];
	placement_dev dev[SCHED_REPLAY_GPUS_MAX];
	uint32_t n = placement_devices(r->p, r->job[v].handle, dev, SCHED_REPLAY_GPUS_MAX);
	for (uint32_t i = 0; i < n; i++) {
		uint16_t *m = &f->milli[dev[i] - r->node[r->job[v].node].first_dev];
		*m = (uint16_t)(*m + t->milli);
	}
	f->cpu_free_milli += t->cpu_milli;
	f->memory_free_mib += t->memory_mib;
}

enum { VICTIMS_MAX = 64 };

/* The cheapest first until the shape fits on the node: how many, 0 if it never does. */
static unsigned victims_on(
	const struct replay *r, uint32_t node, const struct frag_shape *s, uint32_t v[VICTIMS_MAX], double *ret_cost)
{
	struct frag_node f = r->node[node].free;
	unsigned n = 0, taken = 0;
	*ret_cost = 0;
	for (uint32_t j = r->node[node].running; j != NO_JOB && n < VICTIMS_MAX; j = r->job[j].next) {
		if (!may_preempt(r, j))
			continue;
		unsigned at = n++;
		for (; at > 0 && cost_of(r, v[at - 1]) > cost_of(r, j); at--)
			v[at] = v[at - 1];
		v[at] = j;
	}
	while (taken < n && !frag_fits(s, &f)) {
		without(r, v[taken], &f);
		*ret_cost += cost_of(r, v[taken++]);
	}
	if (!frag_fits(s, &f))
		return 0;
	/* Who turned out not to be needed, dearest first, stays. */
	for (unsigned i = taken; i-- > 0;) {
		struct frag_node less = r->node[node].free;
		for (unsigned k = 0; k < taken; k++)
			if (k != i)
				without(r, v[k], &less);
		if (!frag_fits(s, &less))
			continue;
		*ret_cost -= cost_of(r, v[i]);
		memmove(&v[i], &v[i + 1], (--taken - i) * sizeof(v[0]));
	}
	return taken;
}

static int preempt(struct replay *r, uint32_t v, struct err *err)
{
	struct job *b = &r->job[v];
	int64_t redo = redo_ms(r, v);
	struct queue_job q = queue_job_of(r, v);
	replay_take_off(r, v);
	b->left_ms += redo;
	b->redo_ms += redo;
	b->preempts++;
	r->res->preemptions++;
	queue_uncharge(r->q, &q);
	replay_wait(r, v);
	return queue_enqueue(r->q, &q, err);
}

/* Room for a P1 job at the expense of P3. 1: it runs. */
static int make_room(struct replay *r, uint32_t j, struct err *err)
{
	uint32_t v[VICTIMS_MAX], node = UINT32_MAX;
	double cost, least = 0;
	for (uint32_t n = 0; n < r->n_nodes; n++) {
		unsigned k = victims_on(r, n, &r->shape[r->job[j].shape].s, v, &cost);
		if (k && (node == UINT32_MAX || cost < least)) {
			node = n;
			least = cost;
		}
	}
	if (node == UINT32_MAX)
		return 0;
	unsigned k = victims_on(r, node, &r->shape[r->job[j].shape].s, v, &cost);
	int rc = 0;
	for (unsigned i = 0; rc == 0 && i < k; i++)
		rc = preempt(r, v[i], err);
	if (rc < 0)
		return rc;
	must(replay_place(r, j, (struct replay_where){ PLACEMENT_FRAG, .only_node = node + 1 }));
	struct queue_job q = queue_job_of(r, j);
	must(queue_cancel(r->q, &q.id) == 0);
	rc = queue_charge(r->q, &q, err);
	if (rc == 0 && replay_start(r, j) < 0)
		rc = err_set(err, HCP_ENOMEM, "", "no memory");
	return rc < 0 ? rc : 1;
}

/* ---- defragmentation ---- */

/* The job that has a handle; moves are few. */
static uint32_t job_of(const struct id *owner)
{
	uint64_t n;
	memcpy(&n, owner->b + 8, sizeof(n));
	return (uint32_t)(n - 1);
}

/* Parts of P2 and P3 move together when a whole GPU is waited for: make before break, each stands still for a restart.
 */
static int defrag(struct replay *r, struct err *err)
{
	struct placement_move m[MOVES_MAX];
	const struct placement_defrag ask = { .facility = -1 };
	uint32_t n = placement_defrag(r->p, &ask, m, MOVES_MAX);
	for (uint32_t i = 0; i < n; i++)
		if (r->t->job[job_of(&m[i].owner)].cls == WORKLOAD_P1 ||
			r->job[job_of(&m[i].owner)].left_ms < r->conf->restart_ms)
			return 0;
	for (uint32_t i = 0; i < n; i++) {
		uint32_t j = job_of(&m[i].owner);
		if (!replay_move(r, j, m[i].to))
			return 0; /* an earlier move took its place: the device stays as it is */
		r->job[j].left_ms += r->conf->restart_ms;
		r->job[j].redo_ms += r->conf->restart_ms;
		r->res->moves++;
		if (replay_start(r, j) < 0)
			return err_set(err, HCP_ENOMEM, "", "no memory");
	}
	return n > 0;
}

static bool waits_for_whole(const struct replay *r)
{
	for (size_t i = 0; i < r->n_shapes; i++)
		if (r->shape[i].first != NO_JOB && r->shape[i].s.gpus && r->shape[i].s.milli == 1000)
			return true;
	return false;
}

static int schedule_hcp(struct replay *r, struct err *err)
{
	int rc = pop_all(r, err);
	for (size_t i = 0; rc == 0 && r->conf->preempts_max && i < r->n_shapes; i++) {
		struct shape *s = &r->shape[i];
		int done = 1;
		while (s->cls == WORKLOAD_P1 && s->first != NO_JOB && !fits_now(r, s->first) && done == 1)
			done = make_room(r, s->first, err);
		rc = done < 0 ? done : 0;
	}
	if (rc == 0 && r->conf->defrag && waits_for_whole(r))
		rc = defrag(r, err);
	return rc < 0 ? rc : pop_all(r, err);
}

/* ---- all ---- */

int policy_open(struct replay *r, struct err *err)
{
	if (r->conf->policy == SCHED_FGD)
		placement_set_demand(r->p, &r->demand);
	if (r->conf->policy != SCHED_HCP)
		return 0;
	struct queue_conf qc = { .capacity = { [QUEUE_GPU] = (double)r->res->gpus,
								 [QUEUE_CPU] = (double)r->res->cpu_milli / 1000,
								 [QUEUE_MEMORY] = (double)r->res->memory_mib / 1024,
								 [QUEUE_POWER] = 1 } };
	r->q = queue_new(&qc, err);
	return r->q ? 0 : HCP_ENOMEM;
}

int policy_arrived(struct replay *r, uint32_t j, struct err *err)
{
	if (!r->q)
		return 0;
	const struct trace_job *t = &r->t->job[j];
	struct queue_job q = queue_job_of(r, j);
	placement_observe(r->p, &(struct placement_request){ .device_class = 0,
								.count = t->gpus,
								.milli = t->milli,
								.cpu_milli = t->cpu_milli,
								.memory_mib = t->memory_mib });
	return queue_enqueue(r->q, &q, err);
}

void policy_ended(struct replay *r, uint32_t j)
{
	if (!r->q)
		return;
	struct queue_job q = queue_job_of(r, j);
	queue_uncharge(r->q, &q);
}

int policy_schedule(struct replay *r, struct err *err)
{
	int rc;
	if (r->conf->policy == SCHED_HCP)
		return schedule_hcp(r, err);
	rc = r->conf->policy == SCHED_FIFO ? schedule_fifo(r) : schedule_passing(r);
	return rc < 0 ? err_set(err, rc, "", "no memory") : 0;
}
