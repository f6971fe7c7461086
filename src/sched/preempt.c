#include "sched/preempt.h"

#include <math.h>
#include <string.h>

#include "base/map.h"
#include "base/mem.h"
#include "base/money.h"
#include "base/panic.h"
#include "sched/heap_priv.h"

#define MIN_RUN_MOST_NS (86400 * NS_PER_S)
#define WEIGHT_P2_USD 4.0 /* per device at priority 1; a tenth of it at priority 10 */
#define WEIGHT_P3_USD 1.0
#define P4_DEVICE_USD 1e-6 /* nothing is lost, but fewer devices are better than more */

enum { GROW_PER_ADD = 4, GROW_PER_CHOICE = 2048 };

struct lane;

struct job {
	struct preempt_job j;
	struct lane *lane; /* NULL: never a victim */
	int64_t until_ns;  /* protected until then */
	double key;        /* cost per device at time 0 */
	double rate;       /* and how it rises, USD a second */
	uint64_t seq;
	size_t at; /* in its lane's heap, HEAP_OUT while young */
	size_t young_at;
};

struct lane {
	struct heap flat, growing;
	uint64_t devices; /* of the jobs in both */
};

struct preempt {
	struct map jobs, lanes; /* own their values */
	struct heap young;
	uint64_t seq;
	int64_t min_run_p2_ns, min_run_p3_ns;
};

static bool cheaper(const void *a, const void *b)
{
	const struct job *x = a, *y = b;
	return x->key != y->key ? x->key < y->key : x->seq < y->seq;
}

static bool sooner(const void *a, const void *b)
{
	const struct job *x = a, *y = b;
	return x->until_ns != y->until_ns ? x->until_ns < y->until_ns : x->seq < y->seq;
}

static void job_place(void *m, size_t at)
{
	((struct job *)m)->at = at;
}

static void young_place(void *m, size_t at)
{
	((struct job *)m)->young_at = at;
}

static uint64_t lane_key(enum workload_class cls, uint16_t device_class, uint16_t facility)
{
	return (uint64_t)cls << 32 | (uint64_t)device_class << 16 | facility;
}

struct preempt *preempt_new(struct err *err)
{
	struct preempt *p = mem_calloc(1, sizeof(*p));
	if (!p) {
		err_set(err, HCP_ENOMEM, "", "no memory");
		return NULL;
	}
	map_init(&p->jobs);
	map_init(&p->lanes);
	heap_init(&p->young, sooner, young_place);
	preempt_set_min_run(p, PREEMPT_MIN_RUN_P2_S * NS_PER_S, PREEMPT_MIN_RUN_P3_S * NS_PER_S);
	return p;
}

static void lane_free(struct lane *l)
{
	heap_release(&l->flat);
	heap_release(&l->growing);
	mem_free(l);
}

void preempt_free(struct preempt *p)
{
	if (!p)
		return;
	size_t pos = 0;
	void *v;
	while (map_next(&p->jobs, &pos, NULL, &v))
		mem_free(v);
	for (pos = 0; map_next(&p->lanes, &pos, NULL, &v);)
		lane_free(v);
	map_release(&p->jobs);
	map_release(&p->lanes);
	heap_release(&p->young);
	mem_free(p);
}

static struct lane *lane_find(const struct preempt *p, enum workload_class cls, uint16_t dc, uint16_t facility)
{
	uint64_t key = lane_key(cls, dc, facility);
	return map_get(&p->lanes, map_key_u64(&key));
}

/* Lanes stay: there are as many as the cell has pools, times three. */
static int lane_get(struct preempt *p, const struct preempt_job *j, struct lane **ret)
{
	uint64_t key = lane_key(j->cls, j->device_class, j->facility);
	struct lane *l = map_get(&p->lanes, map_key_u64(&key));
	if (!l) {
		if (p->lanes.n >= PREEMPT_LANES_MAX)
			return HCP_ELIMIT;
		l = mem_calloc(1, sizeof(*l));
		if (!l || map_put(&p->lanes, map_key_u64(&key), l, NULL) < 0) {
			mem_free(l);
			return HCP_ENOMEM;
		}
		heap_init(&l->flat, cheaper, job_place);
		heap_init(&l->growing, cheaper, job_place);
	}
	*ret = l;
	return 0;
}

static struct heap *heap_of(const struct job *n)
{
	return n->rate > 0 ? &n->lane->growing : &n->lane->flat;
}

static int check(const struct preempt_job *j, struct err *err)
{
	const int64_t far_ns = INT64_MAX / 4;
	if (id_is_nil(&j->id))
		return err_set(err, HCP_EINVAL, "id", "is nil");
	if (!workload_class_name(j->cls))
		return err_set(err, HCP_EINVAL, "class", "must be P1 to P4");
	if (j->priority < WORKLOAD_PRIORITY_MIN || j->priority > WORKLOAD_PRIORITY_MAX)
		return err_set(err, HCP_ERANGE, "priority", "must be from 1 to 10");
	if (!device_class_at(j->device_class))
		return err_set(err, HCP_EINVAL, "device_class", "no such device class");
	if (j->count == 0 || j->count > WORKLOAD_GPU_COUNT_MAX)
		return err_set(err, HCP_ERANGE, "count", "must be from 1 to %d", WORKLOAD_GPU_COUNT_MAX);
	if (j->started_ns < 0 || j->started_ns > far_ns || j->since_ns < 0 || j->since_ns > far_ns)
		return err_set(err, HCP_ERANGE, "started", "is out of range");
	if (!isfinite(j->restart_s) || j->restart_s < 0 || j->restart_s > 1e9)
		return err_set(err, HCP_ERANGE, "restart", "must be finite and not negative");
	return 0;
}

void preempt_set_min_run(struct preempt *p, int64_t p2_ns, int64_t p3_ns)
{
	must(p2_ns >= 0 && p2_ns <= MIN_RUN_MOST_NS && p3_ns >= 0 && p3_ns <= MIN_RUN_MOST_NS);
	p->min_run_p2_ns = p2_ns;
	p->min_run_p3_ns = p3_ns;
}

int64_t preempt_min_run_ns(const struct preempt *p, enum workload_class cls, uint32_t preemptions)
{
	if (cls == WORKLOAD_P1 || cls == WORKLOAD_P4 || preemptions >= PREEMPT_BUDGET)
		return 0;
	return (cls == WORKLOAD_P2 ? p->min_run_p2_ns : p->min_run_p3_ns) << preemptions;
}

/* Cost per device as key + rate * now, and the time of protection. */
static void appraise(const struct preempt *p, struct job *n)
{
	const struct preempt_job *j = &n->j;
	double value = device_class_at(j->device_class)->list_usd_h / 3600;
	double weight = (j->cls == WORKLOAD_P2 ? WEIGHT_P2_USD : WEIGHT_P3_USD) * (11 - j->priority) / 10;
	n->key = P4_DEVICE_USD;
	n->until_ns = j->started_ns;
	if (j->cls == WORKLOAD_P4)
		return;
	n->key = value * j->restart_s + weight;
	n->rate = j->checkpointable ? 0 : value;
	n->key -= n->rate * ((double)j->since_ns / 1e9);
	n->until_ns += preempt_min_run_ns(p, j->cls, j->preemptions);
}

/* Those whose protection has run out come into their lanes, so many at a time that nobody waits for it. */
static int grow_up(struct preempt *p, int64_t now_ns, int max)
{
	for (; max > 0; max--) {
		struct job *n = heap_top(&p->young);
		if (!n || n->until_ns > now_ns)
			break;
		if (heap_push(heap_of(n), n) < 0)
			return HCP_ENOMEM;
		heap_remove(&p->young, 0);
		n->lane->devices += n->j.count;
	}
	return 0;
}

int preempt_add(struct preempt *p, const struct preempt_job *job, struct err *err)
{
	int rc = check(job, err);
	if (rc < 0)
		return rc;
	if (map_get(&p->jobs, id_key(&job->id)))
		return err_set(err, HCP_EEXIST, "id", "runs already");
	if (p->jobs.n >= PREEMPT_JOBS_MAX)
		return err_set(err, HCP_ELIMIT, "", "at most %d running jobs", PREEMPT_JOBS_MAX);
	struct job *n = mem_calloc(1, sizeof(*n));
	if (!n)
		return err_set(err, HCP_ENOMEM, "", "no memory");
	*n = (struct job){ .j = *job, .seq = p->seq, .at = HEAP_OUT, .young_at = HEAP_OUT };
	bool victim = job->cls == WORKLOAD_P4 || (job->cls != WORKLOAD_P1 && job->preemptions < PREEMPT_BUDGET);
	appraise(p, n);
	if (victim)
		rc = lane_get(p, job, &n->lane);
	if (rc == 0 && victim)
		rc = heap_push(&p->young, n);
	if (rc == 0) {
		rc = map_put(&p->jobs, id_key(&job->id), n, NULL);
		if (rc < 0 && victim)
			heap_remove(&p->young, n->young_at);
	}
	if (rc < 0) {
		mem_free(n);
		return err_set(err, rc, "", rc == HCP_ELIMIT ? "too many kinds of devices" : "no memory");
	}
	p->seq++;
	(void)!grow_up(p, job->started_ns, GROW_PER_ADD); /* without memory they come later */
	return 0;
}

int preempt_remove(struct preempt *p, const struct id *id)
{
	struct job *n = map_del(&p->jobs, id_key(id));
	if (!n)
		return HCP_ENOTFOUND;
	if (n->young_at != HEAP_OUT)
		heap_remove(&p->young, n->young_at);
	if (n->at != HEAP_OUT) {
		heap_remove(heap_of(n), n->at);
		n->lane->devices -= n->j.count;
	}
	mem_free(n);
	return 0;
}

size_t preempt_len(const struct preempt *p)
{
	return p->jobs.n;
}

static double cost_of(const struct job *n, int64_t now_ns)
{
	/* A clock set back makes no work undone. */
	double now_s = (double)(now_ns > n->j.since_ns ? now_ns : n->j.since_ns) / 1e9;
	return n->key + n->rate * now_s;
}

int preempt_cost(const struct preempt *p, const struct id *id, int64_t now_ns, double *ret_usd)
{
	const struct job *n = map_get(&p->jobs, id_key(id));
	if (!n)
		return HCP_ENOTFOUND;
	*ret_usd = cost_of(n, now_ns) * n->j.count;
	return 0;
}

int preempt_protected(const struct preempt *p, const struct id *id, int64_t *ret_until_ns)
{
	const struct job *n = map_get(&p->jobs, id_key(id));
	if (!n)
		return HCP_ENOTFOUND;
	*ret_until_ns = n->lane ? n->until_ns : INT64_MAX;
	return 0;
}

int64_t preempt_next(const struct preempt *p)
{
	const struct job *n = heap_top(&p->young);
	return n ? n->until_ns : INT64_MAX;
}

/* ---- candidates of one room, cheapest per device first, without changing the heaps ---- */

struct edge {
	const struct heap *heap;
	size_t at;
	double cost;
	uint64_t seq;
};

struct walk {
	struct edge edge[2 * PREEMPT_VISITS + 8];
	size_t n;
	int64_t now_ns;
};

static bool edge_less(const struct edge *a, const struct edge *b)
{
	return a->cost != b->cost ? a->cost < b->cost : a->seq < b->seq;
}

static void walk_push(struct walk *w, const struct heap *h, size_t at)
{
	if (at >= h->n)
		return;
	must(w->n < sizeof(w->edge) / sizeof(w->edge[0]));
	const struct job *j = h->v[at];
	struct edge e = { h, at, cost_of(j, w->now_ns), j->seq };
	size_t i = w->n++;
	for (; i > 0 && edge_less(&e, &w->edge[(i - 1) / 2]); i = (i - 1) / 2)
		w->edge[i] = w->edge[(i - 1) / 2];
	w->edge[i] = e;
}

/* NULL at the end. The children of what is taken come into reach. */
static const struct job *walk_next(struct walk *w)
{
	if (w->n == 0)
		return NULL;
	struct edge top = w->edge[0], last = w->edge[--w->n];
	size_t i = 0;
	for (size_t kid; (kid = 2 * i + 1) < w->n; i = kid) {
		kid += kid + 1 < w->n && edge_less(&w->edge[kid + 1], &w->edge[kid]);
		if (!edge_less(&w->edge[kid], &last))
			break;
		w->edge[i] = w->edge[kid];
	}
	w->edge[i] = last;
	walk_push(w, top.heap, 2 * top.at + 1);
	walk_push(w, top.heap, 2 * top.at + 2);
	return top.heap->v[top.at];
}

struct set {
	const struct job *job[PREEMPT_VICTIMS_MAX];
	double cost[PREEMPT_VICTIMS_MAX]; /* of the whole job */
	size_t n;
	uint64_t devices;
};

/* May a job of the request's own class yield to it? Those already among the candidates are counted as gone. */
static bool reclaimable(const struct preempt_request *r, const struct set *s, const struct job *n)
{
	uint32_t less = 0;
	if (!r->over || n->j.customer == r->customer)
		return false;
	for (size_t i = 0; i < s->n; i++)
		if (s->job[i]->j.customer == n->j.customer)
			less += s->job[i]->j.count;
	return r->over(r->arg, n->j.customer, n->j.device_class, less);
}

static void collect(const struct preempt *p, const struct preempt_request *r, const struct placement_room *room,
	int64_t now_ns, struct set *ret)
{
	struct walk w = { .now_ns = now_ns };
	uint64_t missing = r->count - room->free, within_reach = 0;
	int worst_first = r->over && r->cls != WORKLOAD_P1 ? (int)r->cls : (int)r->cls + 1;
	ret->n = 0;
	ret->devices = 0;
	for (int c = WORKLOAD_P4; c >= worst_first; c--) {
		const struct lane *l = lane_find(p, (enum workload_class)c, room->device_class, room->facility);
		if (!l)
			continue;
		within_reach += l->devices;
		walk_push(&w, &l->flat, 0);
		walk_push(&w, &l->growing, 0);
	}
	if (within_reach < missing)
		return;
	for (size_t visits = 0; visits < PREEMPT_VISITS && ret->n < PREEMPT_VICTIMS_MAX; visits++) {
		const struct job *n = walk_next(&w);
		if (!n || (ret->n >= PREEMPT_EXACT && ret->devices >= missing))
			break;
		if (n->until_ns > now_ns || !memcmp(&n->j.id, &r->id, sizeof(r->id)) ||
			!memcmp(&n->j.id, &r->spared, sizeof(r->spared)))
			continue;
		if (n->j.cls == r->cls && !reclaimable(r, ret, n))
			continue;
		if (r->helps && !r->helps(r->arg, n->j.tag))
			continue;
		ret->cost[ret->n] = cost_of(n, now_ns) * n->j.count;
		ret->job[ret->n++] = n;
		ret->devices += n->j.count;
	}
}

/* ---- the cheapest subset that frees `missing` devices ---- */

/* least[d]: the least cost of freeing at least d devices with the candidates so far. */
static double exact(const struct set *s, uint32_t missing, bool take[PREEMPT_VICTIMS_MAX])
{
	double least[PREEMPT_EXACT + 1];
	bool took[PREEMPT_EXACT][PREEMPT_EXACT + 1];
	for (uint32_t d = 0; d <= missing; d++)
		least[d] = d ? INFINITY : 0;
	for (size_t i = 0; i < s->n; i++)
		for (uint32_t d = missing; d > 0; d--) {
			uint32_t before = d > s->job[i]->j.count ? d - s->job[i]->j.count : 0;
			took[i][d] = least[before] + s->cost[i] < least[d];
			if (took[i][d])
				least[d] = least[before] + s->cost[i];
		}
	uint32_t d = missing;
	for (size_t i = s->n; i-- > 0;) {
		take[i] = d > 0 && took[i][d];
		if (take[i])
			d = d > s->job[i]->j.count ? d - s->job[i]->j.count : 0;
	}
	return least[missing];
}

/* The small ones in order, and each that would complete them as the last: the best of these is at most twice the least.
 */
static double greedy(const struct set *s, uint32_t missing, bool take[PREEMPT_VICTIMS_MAX])
{
	uint32_t small = 0;
	size_t last = SIZE_MAX;
	double cost = 0, best = INFINITY;
	for (size_t i = 0; i < s->n; i++) {
		if (small + s->job[i]->j.count < missing) {
			small += s->job[i]->j.count;
			cost += s->cost[i];
		} else if (cost + s->cost[i] < best) {
			best = cost + s->cost[i];
			last = i;
		}
	}
	small = 0;
	for (size_t i = 0; i < s->n && last != SIZE_MAX; i++) {
		take[i] = i == last || (i < last && small + s->job[i]->j.count < missing);
		small += take[i] && i != last ? s->job[i]->j.count : 0;
	}
	return best;
}

/* Leaves out who is not needed, dearest first. */
static void prune(const struct set *s, uint32_t missing, bool take[PREEMPT_VICTIMS_MAX])
{
	uint64_t freed = 0;
	for (size_t i = 0; i < s->n; i++)
		freed += take[i] ? s->job[i]->j.count : 0;
	for (;;) {
		size_t drop = SIZE_MAX;
		for (size_t i = 0; i < s->n; i++)
			if (take[i] && freed - s->job[i]->j.count >= missing && (drop == SIZE_MAX || s->cost[i] > s->cost[drop]))
				drop = i;
		if (drop == SIZE_MAX)
			return;
		take[drop] = false;
		freed -= s->job[drop]->j.count;
	}
}

static void fill(
	const struct set *s, const bool take[PREEMPT_VICTIMS_MAX], size_t room, bool is_exact, struct preempt_choice *ret)
{
	ret->room = room;
	ret->n = 0;
	ret->freed = 0;
	ret->cost_usd = 0;
	ret->exact = is_exact;
	for (size_t i = 0; i < s->n; i++) {
		if (!take[i])
			continue;
		const struct preempt_job *j = &s->job[i]->j;
		ret->victim[ret->n++] = (struct preempt_victim){ j->tag, j->id, j->count, s->cost[i] };
		ret->freed += j->count;
		ret->cost_usd += s->cost[i];
	}
}

int preempt_choose(struct preempt *p, const struct preempt_request *r, int64_t now_ns, struct preempt_choice *ret)
{
	double best = INFINITY;
	if (r->count == 0 || !workload_class_name(r->cls) || r->cls == WORKLOAD_P4)
		return r->cls == WORKLOAD_P4 && r->count ? HCP_EAGAIN : HCP_EINVAL;
	for (size_t i = 0; i < r->n_room; i++)
		if (r->room[i].free >= r->count)
			return HCP_ESTATE;
	int rc = grow_up(p, now_ns, GROW_PER_CHOICE);
	for (size_t i = 0; i < r->n_room && rc == 0; i++) {
		struct set s;
		bool take[PREEMPT_VICTIMS_MAX] = { false };
		uint32_t missing = r->count - r->room[i].free;
		collect(p, r, &r->room[i], now_ns, &s);
		if (s.devices < missing)
			continue;
		bool is_exact = s.n <= PREEMPT_EXACT && missing <= PREEMPT_EXACT;
		double cost = is_exact ? exact(&s, missing, take) : greedy(&s, missing, take);
		if (cost >= best)
			continue;
		best = cost;
		prune(&s, missing, take);
		fill(&s, take, i, is_exact, ret);
	}
	return rc < 0 ? rc : best < INFINITY ? 0 : HCP_EAGAIN;
}
