/* The clock, the cluster and the books of a replay; who goes where is sched_replay_policy.c. */
#include "sim/sched_replay.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/map.h"
#include "base/mem.h"
#include "base/money.h"
#include "base/num.h"
#include "base/panic.h"
#include "sim/sched_replay_priv.h"

enum {
	CORES_PER_GPU = 12,
	GIB_PER_GPU = 96,
	NODE_GPUS = 8,
	PROGRESS_EVERY = 256,
	CPU_JOB_MILLI = 10, /* what a job without GPUs weighs in shares and in the cost of preemption */
};

#define END_MS_MAX (INT64_MAX / NS_PER_MS / 2) /* the queue counts in nanoseconds */

static const char *const policy_name[SCHED_POLICY_END] = { "fifo", "best_fit", "fgd", "hcp" };

const char *sched_policy_name(enum sched_policy p)
{
	return (unsigned)p < SCHED_POLICY_END ? policy_name[p] : NULL;
}

int sched_policy_parse(struct str name, enum sched_policy *ret, struct err *err)
{
	for (int i = 0; i < SCHED_POLICY_END; i++)
		if (str_eqz(name, policy_name[i])) {
			*ret = (enum sched_policy)i;
			return 0;
		}
	return err_set(err, HCP_ENOTFOUND, "policy", "there is no policy '%.*s'; there are: fifo best_fit fgd hcp",
		(int)(name.n < 40 ? name.n : 40), name.n ? name.p : "");
}

/* ---- the cluster ---- */

static int parse_part(struct str *rest, char sep, const char *what, uint64_t max, uint64_t *ret, struct err *err)
{
	struct str part = str_split(rest, sep);
	if (num_parse_u64(part, ret) < 0 || *ret == 0 || *ret > max)
		return err_set(err, HCP_EINVAL, "fleet",
			"%s must be from 1 to %llu, not \"%.*s\"; e.g. 7x8 or 40x8:96:768,20x2", what, (unsigned long long)max,
			(int)(part.n < 40 ? part.n : 40), part.n ? part.p : "");
	return 0;
}

int sched_fleet_parse(struct str text, struct sched_fleet *ret, struct err *err)
{
	struct sched_fleet f = { .n = 0 };
	uint64_t nodes = 0;
	while (text.p) {
		struct str one = str_split(&text, ','), first = str_split(&one, ':');
		uint64_t n, gpus, cores, gib;
		if (f.n == SCHED_REPLAY_GROUPS_MAX)
			return err_set(err, HCP_ELIMIT, "fleet", "at most %d groups of nodes", SCHED_REPLAY_GROUPS_MAX);
		int rc = parse_part(&first, 'x', "nodes", SCHED_REPLAY_NODES_MAX, &n, err);
		if (rc == 0)
			rc = parse_part(&first, 'x', "GPUs of a node", SCHED_REPLAY_GPUS_MAX, &gpus, err);
		if (rc == 0 && first.p)
			rc = err_set(err, HCP_EINVAL, "fleet", "a group is NODESxGPUS[:CORES[:GIB]]");
		if (rc < 0)
			return rc;
		cores = gpus * CORES_PER_GPU;
		gib = gpus * GIB_PER_GPU;
		if (one.p)
			rc = parse_part(&one, ':', "cores of a node", 4096, &cores, err);
		if (rc == 0 && one.p)
			rc = parse_part(&one, ':', "GiB of a node", 1 << 20, &gib, err);
		if (rc == 0 && one.p)
			rc = err_set(err, HCP_EINVAL, "fleet", "a group is NODESxGPUS[:CORES[:GIB]]");
		nodes += n;
		if (rc == 0 && nodes > SCHED_REPLAY_NODES_MAX)
			rc = err_set(err, HCP_ELIMIT, "fleet", "at most %d nodes", SCHED_REPLAY_NODES_MAX);
		if (rc < 0)
			return rc;
		f.group[f.n++] =
			(struct sched_group){ (uint32_t)n, (uint32_t)gpus, (uint32_t)cores * 1000, (uint32_t)gib * 1024 };
	}
	if (f.n == 0)
		return err_set(err, HCP_EINVAL, "fleet", "is empty");
	*ret = f;
	return 0;
}

struct edge {
	int64_t at_ms, milli;
};

static int compare_edges(const void *a, const void *b)
{
	const struct edge *x = a, *y = b;
	if (x->at_ms != y->at_ms)
		return x->at_ms < y->at_ms ? -1 : 1;
	return x->milli < y->milli ? -1 : x->milli > y->milli;
}

static struct sched_group node_of(uint64_t nodes, uint32_t gpus)
{
	return (struct sched_group){ (uint32_t)nodes, gpus, gpus * CORES_PER_GPU * 1000, gpus * GIB_PER_GPU * 1024 };
}

void sched_fleet_for(const struct job_trace *t, double load, struct sched_fleet *ret)
{
	struct edge *e = mem_calloc(t->n * 2, sizeof(*e));
	int64_t now = 0, most = 0;
	for (size_t i = 0; e && i < t->n; i++) {
		const struct trace_job *j = &t->job[i];
		int64_t from = (int64_t)((double)j->arrive_ms / load) + (j->waited_ms > 0 ? j->waited_ms : 0);
		e[2 * i] = (struct edge){ from, (int64_t)j->gpus * j->milli };
		e[2 * i + 1] = (struct edge){ from + j->run_ms, -(int64_t)j->gpus * j->milli };
	}
	if (e)
		qsort(e, t->n * 2, sizeof(*e), compare_edges);
	for (size_t i = 0; e && i < t->n * 2; i++) {
		now += e[i].milli;
		most = now > most ? now : most;
	}
	mem_free(e);
	uint64_t gpus = (uint64_t)(0.8 * (double)most / 1000 + 0.999), nodes = gpus / NODE_GPUS;
	uint32_t rest = (uint32_t)(gpus % NODE_GPUS);
	if (nodes >= SCHED_REPLAY_NODES_MAX)
		nodes = SCHED_REPLAY_NODES_MAX - 1;
	ret->group[0] = node_of(nodes, NODE_GPUS);
	ret->n = nodes > 0;
	if (rest || nodes == 0)
		ret->group[ret->n++] = node_of(1, rest ? rest : 1);
}

void sched_replay_conf_default(struct sched_replay_conf *conf)
{
	*conf = (struct sched_replay_conf){ .policy = SCHED_HCP,
		.load = 1,
		.checkpoint_ms = 30 * 60000,
		.restart_ms = 60000,
		.min_run_ms = 5 * 60000,
		.preempts_max = 3 };
	conf->fleet.group[0] = node_of(8, NODE_GPUS);
	conf->fleet.n = 1;
}

static int add_node(struct replay *r, const struct sched_group *g, uint16_t cls, struct err *err)
{
	uint32_t n = r->n_nodes;
	struct replay_node *node = &r->node[n];
	int rc = 0;
	*node = (struct replay_node){ .free = { g->cpu_milli, g->memory_mib, g->gpus, { 0 } }, .running = NO_JOB };
	for (uint32_t k = 0; rc == 0 && k < g->gpus; k++) {
		placement_dev dev;
		/* A cluster each: a job lies on one node. */
		struct placement_device d = { .cls = cls, .cluster = n, .node = n, .quality = { 1, 1, 1 } };
		rc = placement_add_device(r->p, &d, &dev, err);
		node->free.milli[k] = 1000;
		if (k == 0)
			node->first_dev = dev;
	}
	if (rc == 0)
		rc = placement_set_node(r->p, n, g->cpu_milli, g->memory_mib, err);
	r->n_nodes++;
	r->res->gpus += g->gpus;
	r->res->cpu_milli += g->cpu_milli;
	r->res->memory_mib += g->memory_mib;
	return rc;
}

static int build(struct replay *r, struct err *err)
{
	const struct sched_fleet *f = &r->conf->fleet;
	const struct placement_facility pf = { .region = "trace", .weight = 1 };
	uint16_t at, cls = (uint16_t)device_class_index(device_class_find(STR("H100")));
	size_t nodes = 0;
	for (size_t i = 0; i < f->n; i++)
		nodes += f->group[i].nodes;
	r->p = placement_new(err);
	if (!r->p)
		return HCP_ENOMEM;
	r->node = mem_calloc(nodes ? nodes : 1, sizeof(*r->node));
	if (!r->node)
		return err_set(err, HCP_ENOMEM, "", "no memory");
	int rc = placement_add_facility(r->p, &pf, &at, err);
	for (size_t i = 0; rc == 0 && i < f->n; i++)
		for (uint32_t k = 0; rc == 0 && k < f->group[i].nodes; k++)
			rc = add_node(r, &f->group[i], cls, err);
	r->res->nodes = r->n_nodes;
	r->gpu_milli_all = (uint64_t)r->res->gpus * 1000;
	return rc;
}

/* ---- shapes ---- */

static bool ever_fits(const struct replay *r, const struct frag_shape *s)
{
	for (size_t i = 0; i < r->conf->fleet.n; i++) {
		const struct sched_group *g = &r->conf->fleet.group[i];
		if (s->cpu_milli <= g->cpu_milli && s->memory_mib <= g->memory_mib && s->gpus <= g->gpus)
			return true;
	}
	return false;
}

static int make_shapes(struct replay *r, struct err *err)
{
	struct map known;
	map_init(&known);
	r->shape = mem_calloc(r->t->n, sizeof(*r->shape));
	int rc = r->shape ? 0 : HCP_ENOMEM;
	for (size_t i = 0; rc == 0 && i < r->t->n; i++) {
		const struct trace_job *j = &r->t->job[i];
		uint32_t key[4] = { j->cpu_milli, j->memory_mib, (uint32_t)j->gpus << 16 | j->milli, j->cls };
		struct str k = { (const char *)key, sizeof(key) };
		uintptr_t at = (uintptr_t)map_get(&known, k);
		if (!at) {
			struct shape *s = &r->shape[r->n_shapes];
			*s = (struct shape){ .s = { j->cpu_milli, j->memory_mib, j->gpus, j->milli },
				.cls = (enum workload_class)j->cls,
				.first = NO_JOB,
				.last = NO_JOB,
				.failed_at = UINT64_MAX };
			s->never = !ever_fits(r, &s->s);
			at = ++r->n_shapes;
			rc = map_put(&known, k, (void *)at, NULL);
		}
		r->shape[at - 1].weight++;
		r->job[i] = (struct job){
			.shape = (uint32_t)at - 1, .left_ms = j->run_ms, .first_ms = -1, .prev = NO_JOB, .next = NO_JOB
		};
	}
	map_release(&known);
	return rc < 0 ? err_set(err, rc, "", "no memory") : 0;
}

/* What the paper calls typical pods, of the whole trace: the yardstick for every policy. */
static int know_demand(struct replay *r, struct err *err)
{
	struct frag_shape *s = mem_calloc(r->n_shapes, sizeof(*s));
	double *w = mem_calloc(r->n_shapes, sizeof(*w));
	int rc = s && w ? 0 : err_set(err, HCP_ENOMEM, "", "no memory");
	size_t n = 0;
	for (size_t i = 0; rc == 0 && i < r->n_shapes; i++) {
		size_t k = 0;
		while (k < n && memcmp(&s[k], &r->shape[i].s, sizeof(*s)) != 0) /* one shape in several classes */
			k++;
		s[k] = r->shape[i].s;
		w[k] += r->shape[i].weight;
		n = k == n ? n + 1 : n;
	}
	if (rc == 0)
		frag_set(&r->demand, s, w, n);
	for (uint32_t i = 0; rc == 0 && i < r->n_nodes; i++)
		r->frag += r->node[i].frag = frag_of(&r->demand, &r->node[i].free);
	mem_free(s);
	mem_free(w);
	return rc;
}

/* ---- endings: a binary heap by (time, job) ---- */

static bool sooner(const struct ending *a, const struct ending *b)
{
	return a->at_ms != b->at_ms ? a->at_ms < b->at_ms : a->job < b->job;
}

static int push_ending(struct replay *r, struct ending e)
{
	if (r->n_heap == r->cap_heap) {
		size_t cap = r->cap_heap ? r->cap_heap * 2 : 256;
		struct ending *v = mem_realloc(r->heap, cap * sizeof(*v));
		if (!v)
			return HCP_ENOMEM;
		r->heap = v;
		r->cap_heap = cap;
	}
	size_t at = r->n_heap++;
	for (; at > 0 && sooner(&e, &r->heap[(at - 1) / 2]); at = (at - 1) / 2)
		r->heap[at] = r->heap[(at - 1) / 2];
	r->heap[at] = e;
	return 0;
}

static void pop_ending(struct replay *r)
{
	struct ending last = r->heap[--r->n_heap];
	size_t at = 0;
	for (size_t kid; (kid = at * 2 + 1) < r->n_heap; at = kid) {
		if (kid + 1 < r->n_heap && sooner(&r->heap[kid + 1], &r->heap[kid]))
			kid++;
		if (!sooner(&r->heap[kid], &last))
			break;
		r->heap[at] = r->heap[kid];
	}
	if (r->n_heap)
		r->heap[at] = last;
}

/* ---- lists ---- */

static void link_job(struct replay *r, uint32_t *first, uint32_t *last, uint32_t j)
{
	struct job *b = &r->job[j];
	/* By arrival: a preempted one goes back before those that came later. */
	uint32_t after = last ? *last : NO_JOB;
	while (after != NO_JOB && after > j)
		after = r->job[after].prev;
	b->prev = after;
	b->next = after == NO_JOB ? *first : r->job[after].next;
	if (b->next != NO_JOB)
		r->job[b->next].prev = j;
	else if (last)
		*last = j;
	if (after != NO_JOB)
		r->job[after].next = j;
	else
		*first = j;
}

static void unlink_job(struct replay *r, uint32_t *first, uint32_t *last, uint32_t j)
{
	struct job *b = &r->job[j];
	if (b->prev != NO_JOB)
		r->job[b->prev].next = b->next;
	else
		*first = b->next;
	if (b->next != NO_JOB)
		r->job[b->next].prev = b->prev;
	else if (last)
		*last = b->prev;
	b->prev = b->next = NO_JOB;
}

/* ---- jobs ---- */

int64_t replay_arrival_ms(const struct replay *r, size_t i)
{
	return (int64_t)((double)r->t->job[i].arrive_ms / r->conf->load);
}

uint32_t replay_job_milli(const struct replay *r, uint32_t j)
{
	return (uint32_t)r->t->job[j].gpus * r->t->job[j].milli;
}

/* Books devices, CPU and memory of a job on its node a second time, apart from the core: neither may go below nothing.
 */
static void book(struct replay *r, uint32_t j, int sign)
{
	const struct trace_job *tj = &r->t->job[j];
	struct replay_node *n = &r->node[r->job[j].node];
	placement_dev dev[SCHED_REPLAY_GPUS_MAX];
	uint32_t count = placement_devices(r->p, r->job[j].handle, dev, SCHED_REPLAY_GPUS_MAX);
	must(count == tj->gpus);
	for (uint32_t i = 0; i < count; i++) {
		uint32_t k = dev[i] - n->first_dev;
		must(k < n->free.n && (sign > 0 || n->free.milli[k] >= tj->milli));
		n->free.milli[k] = (uint16_t)(n->free.milli[k] + sign * tj->milli);
		must(n->free.milli[k] <= 1000);
	}
	must(sign > 0 || (n->free.cpu_free_milli >= tj->cpu_milli && n->free.memory_free_mib >= tj->memory_mib));
	n->free.cpu_free_milli += (uint32_t)sign * tj->cpu_milli;
	n->free.memory_free_mib += (uint32_t)sign * tj->memory_mib;
	r->used_milli -= (uint64_t)((int64_t)sign * replay_job_milli(r, j));
	r->used_cpu -= (uint64_t)((int64_t)sign * tj->cpu_milli);
	r->frag -= n->frag;
	n->frag = frag_of(&r->demand, &n->free);
	r->frag += n->frag;
	r->changes++;
}

static struct id job_id(uint32_t j)
{
	struct id id = { { 1 } };
	uint64_t n = (uint64_t)j + 1;
	memcpy(id.b + 8, &n, sizeof(n));
	return id;
}

bool replay_place(struct replay *r, uint32_t j, struct replay_where where)
{
	const struct trace_job *t = &r->t->job[j];
	struct job *b = &r->job[j];
	struct placement_request q = { .owner = job_id(j),
		.cls = (enum workload_class)t->cls,
		.device_class = 0,
		.kind = DEVICE_GPU,
		.count = t->gpus,
		.milli = t->milli,
		.cpu_milli = t->cpu_milli,
		.memory_mib = t->memory_mib,
		.only_node = where.only_node,
		.avoid_node = where.avoid_node,
		.fit = where.fit };
	struct placement_result res;
	r->res->attempts++;
	if (placement_reserve(r->p, &q, INT64_MAX, &res, NULL, NULL) < 0)
		return false;
	must(placement_commit(r->p, res.handle, NULL) == 0);
	b->handle = res.handle;
	b->node = res.node;
	r->res->placements++;
	book(r, j, -1);
	return true;
}

/* Undoes replay_place of a job that was not started. */
static void unplace(struct replay *r, uint32_t j)
{
	book(r, j, 1);
	must(placement_release(r->p, r->job[j].handle, NULL) == 0);
	r->res->placements--;
}

bool replay_move(struct replay *r, uint32_t j, placement_dev to)
{
	struct job *b = &r->job[j], before = *b;
	uint32_t node = 0;
	while (to - r->node[node].first_dev >= r->node[node].free.n)
		node++;
	if (!replay_place(r, j, (struct replay_where){ .only_node = node + 1 }))
		return false;
	struct job there = *b;
	placement_dev was = PLACEMENT_NONE, is = PLACEMENT_NONE;
	(void)placement_devices(r->p, before.handle, &was, 1);
	(void)placement_devices(r->p, there.handle, &is, 1);
	if (was == is) {
		unplace(r, j);
		*b = before;
		return false;
	}
	*b = before;
	replay_take_off(r, j);
	b->handle = there.handle;
	b->node = there.node;
	return true;
}

int replay_start(struct replay *r, uint32_t j)
{
	struct job *b = &r->job[j];
	struct shape *s = &r->shape[b->shape];
	if (b->state == JOB_WAITING) {
		unlink_job(r, &s->first, &s->last, j);
		r->waiting--;
		r->waiting_milli -= replay_job_milli(r, j);
	}
	b->state = JOB_RUNNING;
	b->start_ms = r->now_ms;
	if (b->first_ms < 0)
		b->first_ms = r->now_ms;
	link_job(r, &r->node[b->node].running, NULL, j);
	return push_ending(r, (struct ending){ r->now_ms + b->left_ms, j, ++b->generation });
}

static double weight_of(const struct replay *r, uint32_t j)
{
	return fmax(replay_job_milli(r, j), CPU_JOB_MILLI) / 3.6e9; /* GPU hours of a millisecond */
}

void replay_take_off(struct replay *r, uint32_t j)
{
	struct job *b = &r->job[j];
	must(b->state == JOB_RUNNING);
	unlink_job(r, &r->node[b->node].running, NULL, j);
	book(r, j, 1);
	must(placement_release(r->p, b->handle, NULL) == 0);
	b->left_ms -= r->now_ms - b->start_ms;
	int64_t end = r->now_ms < r->res->arrivals_ms ? r->now_ms : r->res->arrivals_ms;
	if (end > b->start_ms)
		r->res->customer[r->t->job[j].customer].served += weight_of(r, j) * (double)(end - b->start_ms);
	b->generation++;
	r->releases++;
}

void replay_wait(struct replay *r, uint32_t j)
{
	struct shape *s = &r->shape[r->job[j].shape];
	r->job[j].state = JOB_WAITING;
	link_job(r, &s->first, &s->last, j);
	r->waiting++;
	r->waiting_milli += replay_job_milli(r, j);
	r->changes++;
}

/* ---- time ---- */

/* Sums until `to`; nothing that happens after the last arrival counts as use of the cluster: it only drains then. */
static void advance(struct replay *r, int64_t to_ms)
{
	struct sched_result *res = r->res;
	int64_t end = res->arrivals_ms, from = r->now_ms;
	r->now_ms = to_ms;
	to_ms = to_ms < end ? to_ms : end;
	if (to_ms <= from)
		return;
	double ms = (double)(to_ms - from), used = (double)r->used_milli, free = (double)(r->gpu_milli_all - r->used_milli);
	r->used_sum += used * ms;
	r->cpu_sum += (double)r->used_cpu * ms;
	r->frag_sum += r->frag * ms;
	r->free_sum += free * ms;
	if (r->waiting_milli) {
		r->contended_ms += ms;
		r->contended_used += used * ms;
		r->contended_frag += r->frag * ms;
	}
	double width = (double)end / SCHED_REPLAY_POINTS;
	for (int i = (int)((double)from / width); i < SCHED_REPLAY_POINTS && (double)i * width < (double)to_ms; i++) {
		double lo = fmax((double)from, i * width), hi = fmin((double)to_ms, (i + 1) * width);
		if (hi <= lo)
			continue;
		struct sched_point *pt = &res->point[i];
		pt->used += used / 1000 * (hi - lo) / width;
		pt->frag += r->frag / 1000 * (hi - lo) / width;
		pt->waiting_gpus += (double)r->waiting_milli / 1000 * (hi - lo) / width;
	}
}

static int arrive(struct replay *r, uint32_t j, struct err *err)
{
	if (r->shape[r->job[j].shape].never) {
		r->job[j].state = JOB_REFUSED;
		r->res->refused++;
		return 0;
	}
	replay_wait(r, j);
	return policy_arrived(r, j, err);
}

static void end_job(struct replay *r, uint32_t j)
{
	replay_take_off(r, j);
	must(r->job[j].left_ms == 0);
	r->job[j].state = JOB_DONE;
	r->job[j].start_ms = r->now_ms; /* from here on: when it ended */
	r->res->done++;
	r->res->end_ms = r->now_ms;
	policy_ended(r, j);
}

static int run(struct replay *r, struct err *err)
{
	size_t n = r->t->n, told = 0;
	for (;;) {
		while (r->n_heap && r->heap[0].generation != r->job[r->heap[0].job].generation)
			pop_ending(r);
		if (r->next == n && r->n_heap == 0)
			break;
		int64_t at = r->n_heap ? r->heap[0].at_ms : INT64_MAX;
		if (r->next < n && replay_arrival_ms(r, r->next) < at)
			at = replay_arrival_ms(r, r->next);
		if (at > END_MS_MAX)
			return err_set(err, HCP_ERANGE, "trace", "its jobs one after the other last more than two centuries");
		advance(r, at);
		while (r->n_heap && r->heap[0].at_ms == at) {
			struct ending e = r->heap[0];
			pop_ending(r);
			if (e.generation == r->job[e.job].generation)
				end_job(r, e.job);
		}
		int rc = 0;
		while (rc == 0 && r->next < n && replay_arrival_ms(r, r->next) == at)
			rc = arrive(r, (uint32_t)r->next++, err);
		if (rc == 0)
			rc = policy_schedule(r, err);
		if (rc < 0)
			return rc;
		if (r->conf->progress && r->res->done >= told + PROGRESS_EVERY)
			r->conf->progress(r->conf->ctx, told = r->res->done, n);
	}
	/* Everyone fits an empty cluster, or was refused. */
	must(r->waiting == 0 && r->res->done + r->res->refused == n);
	return 0;
}

/* ---- the sums ---- */

static int compare_i64(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
	return x < y ? -1 : x > y;
}

static double quantile_s(const int64_t *v, size_t n, double q)
{
	return (double)v[(size_t)(q * (double)(n - 1) + 0.5)] / 1000;
}

/* cls 0: all. */
static void sum_waits(const struct replay *r, int64_t *v, unsigned cls, struct sched_waits *w)
{
	double sum = 0, traced = 0;
	size_t n_traced = 0;
	*w = (struct sched_waits){
		.mean_s = NAN, .p50_s = NAN, .p95_s = NAN, .p99_s = NAN, .max_s = NAN, .trace_mean_s = NAN
	};
	for (size_t i = 0; i < r->t->n; i++) {
		const struct trace_job *t = &r->t->job[i];
		if (cls && t->cls != cls)
			continue;
		w->n++;
		if (t->waited_ms >= 0) {
			traced += (double)t->waited_ms / 1000;
			n_traced++;
		}
		if (r->job[i].state != JOB_DONE)
			continue;
		int64_t wait = r->job[i].first_ms - replay_arrival_ms(r, i);
		v[w->started++] = wait;
		sum += (double)wait / 1000;
		w->preempted += r->job[i].preempts;
		w->in_target += wait * NS_PER_MS <= workload_wait_target_ns((enum workload_class)t->cls);
	}
	if (n_traced)
		w->trace_mean_s = traced / (double)n_traced;
	if (!w->started)
		return;
	qsort(v, w->started, sizeof(*v), compare_i64);
	w->mean_s = sum / (double)w->started;
	w->p50_s = quantile_s(v, w->started, 0.5);
	w->p95_s = quantile_s(v, w->started, 0.95);
	w->p99_s = quantile_s(v, w->started, 0.99);
	w->max_s = quantile_s(v, w->started, 1);
}

/*
 * Max-min: what was served in all is divided so that nobody gets more than was asked for and what one leaves goes to
 * the others alike. `asked` in GPU hours until the last arrival.
 */
static void divide_fairly(struct sched_customer *c, const double *asked, size_t n)
{
	double rest = 0;
	size_t open = n;
	for (size_t i = 0; i < n; i++) {
		rest += c[i].served;
		c[i].fair = -1;
	}
	for (bool settled = true; settled && open;) {
		double each = rest / (double)open;
		settled = false;
		for (size_t i = 0; i < n; i++) {
			if (c[i].fair >= 0 || asked[i] > each)
				continue;
			c[i].fair = asked[i];
			rest -= asked[i];
			open--;
			settled = true;
		}
	}
	for (size_t i = 0; i < n; i++)
		if (c[i].fair < 0)
			c[i].fair = rest / (double)open;
}

static int sum_service(const struct replay *r, struct sched_result *res)
{
	double *asked = mem_calloc(r->t->n_customers, sizeof(*asked)), sum = 0, squares = 0, n = 0;
	if (!asked)
		return HCP_ENOMEM;
	for (size_t i = 0; i < r->t->n; i++) {
		const struct trace_job *t = &r->t->job[i];
		int64_t left = res->arrivals_ms - replay_arrival_ms(r, i);
		if (r->job[i].state == JOB_DONE)
			asked[t->customer] += weight_of(r, (uint32_t)i) * (double)(t->run_ms < left ? t->run_ms : left);
	}
	divide_fairly(res->customer, asked, r->t->n_customers);
	mem_free(asked);
	for (size_t k = 0; k < r->t->n_customers; k++) {
		if (!(res->customer[k].fair > 0))
			continue;
		double x = res->customer[k].served / res->customer[k].fair;
		sum += x;
		squares += x * x;
		n++;
	}
	res->jain_service = squares > 0 ? sum * sum / (n * squares) : NAN;
	return 0;
}

static void sum_customers(const struct replay *r, struct sched_result *res)
{
	double sum = 0, squares = 0, n = 0;
	for (size_t i = 0; i < r->t->n; i++) {
		const struct trace_job *t = &r->t->job[i];
		struct sched_customer *c = &res->customer[t->customer];
		c->n++;
		if (r->job[i].state == JOB_DONE)
			c->gpu_h += (double)replay_job_milli(r, (uint32_t)i) / 1000 * (double)t->run_ms / 3.6e6;
	}
	for (size_t k = 0; k < r->t->n_customers; k++)
		res->gpu_h += res->customer[k].gpu_h;
	for (size_t k = 0; k < r->t->n_customers; k++) {
		double ran = 0, there = 0;
		for (size_t i = 0; i < r->t->n; i++) {
			const struct trace_job *t = &r->t->job[i];
			if (t->customer != k || r->job[i].state != JOB_DONE)
				continue;
			double w = weight_of(r, (uint32_t)i);
			ran += w * (double)t->run_ms;
			there += w * (double)(r->job[i].start_ms - replay_arrival_ms(r, i));
		}
		res->customer[k].share = there > 0 ? ran / there : NAN;
		if (!(there > 0))
			continue;
		sum += ran / there;
		squares += ran / there * (ran / there);
		n++;
	}
	res->jain = n > 0 ? sum * sum / (n * squares) : NAN;
}

static int sum_up(struct replay *r, struct err *err)
{
	struct sched_result *res = r->res;
	int64_t *v = mem_calloc(r->t->n, sizeof(*v));
	if (!v)
		return err_set(err, HCP_ENOMEM, "", "no memory");
	for (unsigned c = 0; c < WORKLOAD_CLASS_END; c++)
		sum_waits(r, v, c, c ? &res->cls[c] : &res->all);
	mem_free(v);
	sum_customers(r, res);
	if (sum_service(r, res) < 0)
		return err_set(err, HCP_ENOMEM, "", "no memory");
	double ms = (double)res->arrivals_ms, all = (double)r->gpu_milli_all;
	res->utilisation = ms > 0 ? r->used_sum / all / ms : NAN;
	res->cpu_utilisation = ms > 0 ? r->cpu_sum / (double)res->cpu_milli / ms : NAN;
	res->contended_utilisation = r->contended_ms > 0 ? r->contended_used / all / r->contended_ms : NAN;
	res->contended_share = ms > 0 ? r->contended_ms / ms : NAN;
	res->contended_frag_gpus = r->contended_ms > 0 ? r->contended_frag / 1000 / r->contended_ms : NAN;
	res->frag_of_free = r->free_sum > 0 ? r->frag_sum / r->free_sum : NAN;
	for (size_t i = 0; i < r->t->n; i++)
		res->lost_gpu_h += (double)replay_job_milli(r, (uint32_t)i) / 1000 * (double)r->job[i].redo_ms / 3.6e6;
	return 0;
}

static int check_conf(const struct job_trace *t, const struct sched_replay_conf *conf, struct err *err)
{
	if (t->n == 0 || t->n >= NO_JOB)
		return err_set(err, HCP_EINVAL, "trace", "must have jobs");
	if (!(conf->load > 0 && conf->load <= 1e6))
		return err_set(err, HCP_EINVAL, "load", "must be above 0 and at most 1e6");
	if ((unsigned)conf->policy >= SCHED_POLICY_END)
		return err_set(err, HCP_EINVAL, "policy", "no such policy");
	if (conf->checkpoint_ms < 1 || conf->restart_ms < 0 || conf->min_run_ms < 0)
		return err_set(err, HCP_EINVAL, "checkpoint", "times must not be negative");
	return 0;
}

int sched_replay_run(
	const struct job_trace *t, const struct sched_replay_conf *conf, struct sched_result *ret, struct err *err)
{
	struct sched_result res = { .end_ms = 0 };
	struct replay r = { .t = t, .conf = conf, .res = &res, .pending = NO_JOB };
	int rc = check_conf(t, conf, err);
	if (rc < 0)
		return rc;
	frag_init(&r.demand);
	r.job = mem_calloc(t->n, sizeof(*r.job));
	res.customer = mem_calloc(t->n_customers, sizeof(*res.customer));
	if (!r.job || !res.customer)
		rc = err_set(err, HCP_ENOMEM, "", "no memory");
	res.arrivals_ms = replay_arrival_ms(&r, t->n - 1);
	if (rc == 0)
		rc = build(&r, err);
	if (rc == 0)
		rc = make_shapes(&r, err);
	if (rc == 0)
		rc = know_demand(&r, err);
	if (rc == 0)
		rc = policy_open(&r, err);
	if (rc == 0)
		rc = run(&r, err);
	if (rc == 0)
		rc = sum_up(&r, err);
	if (rc == 0)
		placement_check(r.p);
	placement_free(r.p);
	queue_free(r.q);
	mem_free(r.job);
	mem_free(r.shape);
	mem_free(r.node);
	mem_free(r.heap);
	if (rc == 0)
		*ret = res;
	else
		mem_free(res.customer);
	return rc;
}

void sched_result_release(struct sched_result *r)
{
	mem_free(r->customer);
	r->customer = NULL;
}
