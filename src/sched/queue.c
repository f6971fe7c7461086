#include "sched/queue.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

#include "base/list.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/panic.h"
#include "sched/heap_priv.h"

#define P4_TARGET_NS INT64_C(3600000000000) /* orders P4 by due time only; P4 is never overdue */
#define PACE_SMOOTHING 0.05                 /* weight of the newest interval between two picks */

struct customer;

/* What customers and projects have in common. */
struct account {
	uint64_t id;
	double weight;
	double usage[QUEUE_RESOURCE_END];
	double share;    /* dominant share / weight */
	uint64_t served; /* turn of the latest pick */
	size_t charged;  /* popped and not yet uncharged */
	size_t waiting;
	bool pinned; /* weight or limit was set; kept when idle */
};

/* A project's jobs of one class. */
struct branch {
	struct account *project;
	struct heap jobs; /* by due time */
	size_t at;        /* in its lane */
};

struct project {
	struct account a;
	struct branch branch[WORKLOAD_CLASS_END];
};

/* A customer's jobs of one class. While there are none, or the customer is at its limit, it is in no heap. */
struct lane {
	struct customer *customer;
	struct heap branches; /* by share */
	struct heap ages;     /* jobs by enqueue time */
	size_t at, old_at;    /* in the class's heaps */
};

struct customer {
	struct account a;
	double limit[QUEUE_RESOURCE_END];
	bool capped;         /* at a limit: nothing of it is offered */
	struct project own;  /* of jobs that name none */
	struct map projects; /* the others, owned */
	struct lane lane[WORKLOAD_CLASS_END];
};

struct job {
	struct queue_job j;
	struct lane *lane;
	struct branch *branch;
	int64_t due_ns;
	uint64_t seq;
	size_t at;     /* in the branch */
	size_t age_at; /* in the lane's heap by enqueue time */
	struct list turn;
};

struct queue_class {
	struct heap lanes; /* by share */
	struct heap old;   /* the same, by their oldest job */
	size_t n, n_lanes; /* jobs; lanes that have some, in the heaps or not */
	struct list all;   /* jobs in order of arrival */
	struct list *next; /* of them, whose turn it is; the head: the first's */
	size_t seen;       /* whose turn has come since something changed */
};

struct queue {
	struct queue_conf conf;
	struct map jobs, customers; /* own their values */
	struct queue_class cls[WORKLOAD_CLASS_END];
	uint64_t seq, turns;
	double active_weight; /* of the customers that wait or run */
	size_t n_active;
	struct job *hold; /* overdue and did not fit; space gathers for it until it runs or is cancelled */
	int64_t last_pop_ns;
	double pace_ns; /* smoothed time between picks; 0: unknown */
};

static bool job_less(const void *a, const void *b)
{
	const struct job *x = a, *y = b;
	if (x->due_ns != y->due_ns)
		return x->due_ns < y->due_ns;
	if (x->j.priority != y->j.priority)
		return x->j.priority < y->j.priority;
	return x->seq < y->seq;
}

static bool age_less(const void *a, const void *b)
{
	const struct job *x = a, *y = b;
	if (x->j.enqueued_ns != y->j.enqueued_ns)
		return x->j.enqueued_ns < y->j.enqueued_ns;
	return x->seq < y->seq;
}

static bool account_less(const struct account *x, const struct account *y)
{
	if (x->share != y->share)
		return x->share < y->share;
	if (x->served != y->served)
		return x->served < y->served;
	return x->id < y->id;
}

static bool branch_less(const void *a, const void *b)
{
	return account_less(((const struct branch *)a)->project, ((const struct branch *)b)->project);
}

static bool lane_less(const void *a, const void *b)
{
	return account_less(&((const struct lane *)a)->customer->a, &((const struct lane *)b)->customer->a);
}

/* Lanes in the heap have jobs. */
static bool old_less(const void *a, const void *b)
{
	return age_less(heap_top(&((const struct lane *)a)->ages), heap_top(&((const struct lane *)b)->ages));
}

static void job_place(void *m, size_t at)
{
	((struct job *)m)->at = at;
}

static void age_place(void *m, size_t at)
{
	((struct job *)m)->age_at = at;
}

static void branch_place(void *m, size_t at)
{
	((struct branch *)m)->at = at;
}

static void lane_place(void *m, size_t at)
{
	((struct lane *)m)->at = at;
}

static void old_place(void *m, size_t at)
{
	((struct lane *)m)->old_at = at;
}

static int check_capacity(const double capacity[QUEUE_RESOURCE_END], struct err *err)
{
	for (int i = 0; i < QUEUE_RESOURCE_END; i++) {
		if (!isfinite(capacity[i]) || capacity[i] <= 0)
			return err_set(err, HCP_EINVAL, "capacity", "must be finite and above 0");
	}
	return 0;
}

struct queue *queue_new(const struct queue_conf *conf, struct err *err)
{
	if (check_capacity(conf->capacity, err) < 0)
		return NULL;
	struct queue *q = mem_calloc(1, sizeof(*q));
	if (!q) {
		err_set(err, HCP_ENOMEM, "", "no memory");
		return NULL;
	}
	q->conf = *conf;
	if (q->conf.jobs_max == 0 || q->conf.jobs_max > QUEUE_JOBS_MAX)
		q->conf.jobs_max = QUEUE_JOBS_MAX;
	map_init(&q->jobs);
	map_init(&q->customers);
	for (int c = 0; c < WORKLOAD_CLASS_END; c++) {
		heap_init(&q->cls[c].lanes, lane_less, lane_place);
		heap_init(&q->cls[c].old, old_less, old_place);
		list_init(&q->cls[c].all);
		q->cls[c].next = &q->cls[c].all;
	}
	return q;
}

static void project_init(struct project *pr, uint64_t id)
{
	*pr = (struct project){ .a = { .id = id, .weight = 1 } };
	for (int c = 0; c < WORKLOAD_CLASS_END; c++) {
		pr->branch[c] = (struct branch){ .project = &pr->a, .at = HEAP_OUT };
		heap_init(&pr->branch[c].jobs, job_less, job_place);
	}
}

static void project_release(struct project *pr)
{
	for (int c = 0; c < WORKLOAD_CLASS_END; c++)
		heap_release(&pr->branch[c].jobs);
}

static void customer_free(struct customer *cu)
{
	size_t pos = 0;
	void *v;
	for (int c = 0; c < WORKLOAD_CLASS_END; c++) {
		heap_release(&cu->lane[c].branches);
		heap_release(&cu->lane[c].ages);
	}
	project_release(&cu->own);
	while (map_next(&cu->projects, &pos, NULL, &v)) {
		project_release(v);
		mem_free(v);
	}
	map_release(&cu->projects);
	mem_free(cu);
}

void queue_free(struct queue *q)
{
	if (!q)
		return;
	size_t pos = 0;
	struct str key;
	void *v;
	while (map_next(&q->jobs, &pos, &key, &v))
		mem_free(v);
	pos = 0;
	while (map_next(&q->customers, &pos, &key, &v))
		customer_free(v);
	map_release(&q->jobs);
	map_release(&q->customers);
	for (int c = 0; c < WORKLOAD_CLASS_END; c++) {
		heap_release(&q->cls[c].lanes);
		heap_release(&q->cls[c].old);
	}
	mem_free(q);
}

static struct customer *customer_get(struct queue *q, uint64_t id, struct err *err)
{
	struct customer *cu = map_get(&q->customers, map_key_u64(&id));
	if (cu)
		return cu;
	if (q->customers.n >= QUEUE_CUSTOMERS_MAX) {
		err_set(err, HCP_ELIMIT, "customer", "at most %d customers", QUEUE_CUSTOMERS_MAX);
		return NULL;
	}
	cu = mem_calloc(1, sizeof(*cu));
	if (!cu || map_put(&q->customers, map_key_u64(&id), cu, NULL) < 0) {
		mem_free(cu);
		err_set(err, HCP_ENOMEM, "", "no memory");
		return NULL;
	}
	cu->a.id = id;
	cu->a.weight = 1;
	map_init(&cu->projects);
	project_init(&cu->own, 0);
	for (int i = 0; i < QUEUE_RESOURCE_END; i++)
		cu->limit[i] = INFINITY;
	for (int c = 0; c < WORKLOAD_CLASS_END; c++) {
		cu->lane[c] = (struct lane){ .customer = cu, .at = HEAP_OUT, .old_at = HEAP_OUT };
		heap_init(&cu->lane[c].branches, branch_less, branch_place);
		heap_init(&cu->lane[c].ages, age_less, age_place);
	}
	return cu;
}

static struct project *project_get(struct customer *cu, uint64_t id, struct err *err)
{
	struct project *pr = id ? map_get(&cu->projects, map_key_u64(&id)) : &cu->own;
	if (pr)
		return pr;
	if (cu->projects.n >= QUEUE_PROJECTS_MAX) {
		err_set(err, HCP_ELIMIT, "project", "at most %d projects of a customer", QUEUE_PROJECTS_MAX);
		return NULL;
	}
	pr = mem_alloc(sizeof(*pr));
	if (!pr || map_put(&cu->projects, map_key_u64(&id), pr, NULL) < 0) {
		mem_free(pr);
		err_set(err, HCP_ENOMEM, "", "no memory");
		return NULL;
	}
	project_init(pr, id);
	return pr;
}

static bool idle(const struct account *a)
{
	return !a->pinned && a->charged == 0 && a->waiting == 0;
}

static void project_drop_idle(struct customer *cu, struct project *pr)
{
	uint64_t id = pr->a.id;
	if (pr == &cu->own || !idle(&pr->a))
		return;
	must(map_del(&cu->projects, map_key_u64(&id)) == pr);
	project_release(pr);
	mem_free(pr);
}

/* A customer that waits for nothing and uses nothing is forgotten, so the table is bounded by what is alive. */
static void customer_drop_idle(struct queue *q, struct customer *cu)
{
	uint64_t id = cu->a.id;
	if (!idle(&cu->a) || cu->projects.n)
		return;
	must(map_del(&q->customers, map_key_u64(&id)) == cu);
	customer_free(cu);
}

static double dominant(const struct queue *q, const double usage[QUEUE_RESOURCE_END], enum queue_resource *ret)
{
	double most = 0;
	*ret = QUEUE_GPU;
	for (int i = 0; i < QUEUE_RESOURCE_END; i++) {
		double s = usage[i] / q->conf.capacity[i];
		if (s > most) {
			most = s;
			*ret = (enum queue_resource)i;
		}
	}
	return most;
}

/* The class's heaps have room for every lane that has jobs, so that putting one back cannot fail. */
static void lane_list(struct queue *q, int c, struct lane *lane)
{
	struct queue_class *cls = &q->cls[c];
	bool want = lane->ages.n && !lane->customer->capped;
	if (want == (lane->at != HEAP_OUT))
		return;
	if (want) {
		must(heap_push(&cls->lanes, lane) == 0 && heap_push(&cls->old, lane) == 0);
	} else {
		heap_remove(&cls->lanes, lane->at);
		heap_remove(&cls->old, lane->old_at);
	}
}

static void customer_rekey(struct queue *q, struct customer *cu)
{
	enum queue_resource r;
	cu->a.share = dominant(q, cu->a.usage, &r) / cu->a.weight;
	cu->capped = false;
	for (int i = 0; i < QUEUE_RESOURCE_END; i++)
		cu->capped |= cu->a.usage[i] >= cu->limit[i];
	for (int c = 0; c < WORKLOAD_CLASS_END; c++) {
		if (cu->lane[c].at != HEAP_OUT)
			heap_fix(&q->cls[c].lanes, cu->lane[c].at);
		lane_list(q, c, &cu->lane[c]);
	}
}

static void project_rekey(struct queue *q, struct customer *cu, struct project *pr)
{
	enum queue_resource r;
	pr->a.share = dominant(q, pr->a.usage, &r) / pr->a.weight;
	for (int c = 0; c < WORKLOAD_CLASS_END; c++)
		if (pr->branch[c].at != HEAP_OUT)
			heap_fix(&cu->lane[c].branches, pr->branch[c].at);
}

/* Weights of those that wait or run, for the fair share. was: before the change. */
static void activity(struct queue *q, const struct customer *cu, bool was)
{
	bool is = cu->a.charged || cu->a.waiting;
	if (is == was)
		return;
	q->n_active += is ? 1 : (size_t)-1;
	q->active_weight += is ? cu->a.weight : -cu->a.weight;
	if (q->n_active == 0)
		q->active_weight = 0; /* sums of doubles leave dust */
}

static bool is_active(const struct customer *cu)
{
	return cu->a.charged || cu->a.waiting;
}

static struct customer *customer_pin(struct queue *q, uint64_t id, struct err *err)
{
	struct customer *cu = customer_get(q, id, err);
	if (cu)
		cu->a.pinned = true;
	return cu;
}

static int check_weight(double weight, struct err *err)
{
	if (!isfinite(weight) || weight < 1e-6 || weight > 1e6)
		return err_set(err, HCP_ERANGE, "weight", "must be from 0.000001 to 1000000");
	return 0;
}

static int failed(const struct err *local, struct err *err)
{
	if (err)
		*err = *local;
	return local->code;
}

int queue_set_weight(struct queue *q, uint64_t customer, double weight, struct err *err)
{
	struct err local = { 0 };
	int r = check_weight(weight, err);
	struct customer *cu = r == 0 ? customer_pin(q, customer, &local) : NULL;
	if (!cu)
		return r < 0 ? r : failed(&local, err);
	if (is_active(cu))
		q->active_weight += weight - cu->a.weight;
	cu->a.weight = weight;
	customer_rekey(q, cu);
	return 0;
}

int queue_set_project_weight(struct queue *q, uint64_t customer, uint64_t project, double weight, struct err *err)
{
	struct err local = { 0 };
	int r = check_weight(weight, err);
	struct customer *cu = r == 0 ? customer_get(q, customer, &local) : NULL;
	struct project *pr = cu ? project_get(cu, project, &local) : NULL;
	if (!pr) {
		if (cu)
			customer_drop_idle(q, cu);
		return r < 0 ? r : failed(&local, err);
	}
	pr->a.weight = weight;
	pr->a.pinned = cu->a.pinned = true;
	project_rekey(q, cu, pr);
	return 0;
}

int queue_set_limit(struct queue *q, uint64_t customer, const double limit[QUEUE_RESOURCE_END], struct err *err)
{
	struct err local = { 0 };
	for (int i = 0; i < QUEUE_RESOURCE_END; i++)
		if (!(limit[i] >= 0))
			return err_set(err, HCP_ERANGE, "limit", "must not be negative");
	struct customer *cu = customer_pin(q, customer, &local);
	if (!cu)
		return failed(&local, err);
	memcpy(cu->limit, limit, sizeof(cu->limit));
	customer_rekey(q, cu);
	return 0;
}

int queue_set_capacity(struct queue *q, const double capacity[QUEUE_RESOURCE_END], struct err *err)
{
	int r = check_capacity(capacity, err);
	if (r < 0)
		return r;
	memcpy(q->conf.capacity, capacity, sizeof(q->conf.capacity));
	size_t pos = 0;
	struct str key;
	void *v;
	while (map_next(&q->customers, &pos, &key, &v)) {
		struct customer *cu = v;
		size_t at = 0;
		customer_rekey(q, cu);
		project_rekey(q, cu, &cu->own);
		while (map_next(&cu->projects, &at, &key, &v))
			project_rekey(q, cu, v);
	}
	return 0;
}

static int check_job(const struct queue_job *j, struct err *err)
{
	if (id_is_nil(&j->id))
		return err_set(err, HCP_EINVAL, "id", "is nil");
	if (!workload_class_name(j->cls))
		return err_set(err, HCP_EINVAL, "class", "must be P1 to P4");
	if (j->priority < WORKLOAD_PRIORITY_MIN || j->priority > WORKLOAD_PRIORITY_MAX)
		return err_set(err, HCP_ERANGE, "priority", "must be from 1 to 10");
	const int64_t far_ns = INT64_MAX / 4;
	if (j->enqueued_ns < 0 || j->enqueued_ns > far_ns)
		return err_set(err, HCP_ERANGE, "enqueued", "is out of range");
	if (j->deadline_ns < 0 || j->deadline_ns > far_ns)
		return err_set(err, HCP_ERANGE, "deadline", "is out of range");
	if (j->duration_ns < 0 || j->duration_ns > far_ns)
		return err_set(err, HCP_ERANGE, "duration", "is out of range");
	for (int i = 0; i < QUEUE_RESOURCE_END; i++) {
		if (!isfinite(j->need[i]) || j->need[i] < 0 || j->need[i] > 1e12)
			return err_set(err, HCP_ERANGE, "need", "must be finite and not negative");
	}
	return 0;
}

static int64_t due_ns(const struct queue_job *j)
{
	int64_t target_ns = workload_wait_target_ns(j->cls);
	int64_t due = j->enqueued_ns + (target_ns ? target_ns : P4_TARGET_NS) * j->priority;
	if (j->deadline_ns && j->deadline_ns - j->duration_ns < due)
		due = j->deadline_ns - j->duration_ns;
	return due;
}

/* Puts it into every index, or into none: HCP_ENOMEM. */
static int enlist(struct queue *q, const struct queue_job *job, struct customer *cu, struct project *pr, struct job *n)
{
	struct queue_class *cls = &q->cls[job->cls];
	struct lane *lane = &cu->lane[job->cls];
	struct branch *b = &pr->branch[job->cls];
	bool was = is_active(cu), first = lane->ages.n == 0;
	*n = (struct job){ .j = *job, .lane = lane, .branch = b, .due_ns = due_ns(job), .seq = q->seq };
	if (heap_reserve(&cls->lanes, cls->n_lanes + 1) < 0 || heap_reserve(&cls->old, cls->n_lanes + 1) < 0 ||
		heap_push(&lane->ages, n) < 0)
		return HCP_ENOMEM;
	if (heap_push(&b->jobs, n) < 0)
		goto undo_age;
	if (b->at == HEAP_OUT && heap_push(&lane->branches, b) < 0)
		goto undo_branch;
	if (map_put(&q->jobs, id_key(&job->id), n, NULL) < 0)
		goto undo_list;
	cls->n++;
	cls->seen = 0;
	list_add_tail(&cls->all, &n->turn);
	cls->n_lanes += first;
	cu->a.waiting++;
	pr->a.waiting++;
	if (lane->old_at != HEAP_OUT)
		heap_fix(&cls->old, lane->old_at);
	lane_list(q, (int)job->cls, lane);
	activity(q, cu, was);
	q->seq++;
	return 0;
undo_list:
	if (b->jobs.n == 1)
		heap_remove(&lane->branches, b->at);
undo_branch:
	heap_remove(&b->jobs, n->at);
undo_age:
	heap_remove(&lane->ages, n->age_at);
	return HCP_ENOMEM;
}

int queue_enqueue(struct queue *q, const struct queue_job *job, struct err *err)
{
	int r = check_job(job, err);
	if (r < 0)
		return r;
	if (map_get(&q->jobs, id_key(&job->id)))
		return err_set(err, HCP_EEXIST, "id", "waits already");
	if (q->jobs.n >= q->conf.jobs_max)
		return err_set(err, HCP_ELIMIT, "", "the queue holds its limit of %zu jobs", q->conf.jobs_max);
	struct err local = { 0 };
	struct customer *cu = customer_get(q, job->customer, &local);
	struct project *pr = cu ? project_get(cu, job->project, &local) : NULL;
	struct job *n = pr ? mem_alloc(sizeof(*n)) : NULL;
	if (!pr) {
		if (cu)
			customer_drop_idle(q, cu);
		return failed(&local, err);
	}
	if (n && enlist(q, job, cu, pr, n) == 0)
		return 0;
	mem_free(n);
	project_drop_idle(cu, pr);
	customer_drop_idle(q, cu);
	return err_set(err, HCP_ENOMEM, "", "no memory");
}

/* Off every index; frees it. Its customer and project stay. */
static void job_forget(struct queue *q, struct job *n)
{
	struct lane *lane = n->lane;
	struct customer *cu = lane->customer;
	struct queue_class *cls = &q->cls[n->j.cls];
	bool was = is_active(cu);
	if (q->hold == n)
		q->hold = NULL;
	if (cls->next == &n->turn)
		cls->next = n->turn.next;
	list_del(&n->turn);
	heap_remove(&lane->ages, n->age_at);
	heap_remove(&n->branch->jobs, n->at);
	if (n->branch->jobs.n == 0)
		heap_remove(&lane->branches, n->branch->at);
	if (lane->ages.n == 0)
		cls->n_lanes--;
	else if (lane->old_at != HEAP_OUT)
		heap_fix(&cls->old, lane->old_at);
	if (lane->ages.n == 0)
		lane_list(q, (int)n->j.cls, lane);
	cls->n--;
	cu->a.waiting--;
	n->branch->project->waiting--;
	activity(q, cu, was);
	must(map_del(&q->jobs, id_key(&n->j.id)) == n);
	mem_free(n);
}

static struct project *project_of(struct branch *b)
{
	return (struct project *)(void *)((char *)b->project - offsetof(struct project, a));
}

int queue_cancel(struct queue *q, const struct id *id)
{
	struct job *n = map_get(&q->jobs, id_key(id));
	if (!n)
		return HCP_ENOTFOUND;
	struct customer *cu = n->lane->customer;
	struct project *pr = project_of(n->branch);
	job_forget(q, n);
	project_drop_idle(cu, pr);
	customer_drop_idle(q, cu);
	return 0;
}

static bool is_age_turn(const struct queue *q)
{
	return (q->turns + 1) % QUEUE_AGE_TURN == 0;
}

/* Would it bring its customer beyond a limit? */
static bool is_limited(const struct job *n)
{
	const struct customer *cu = n->lane->customer;
	for (int i = 0; i < QUEUE_RESOURCE_END; i++)
		if (cu->a.usage[i] + n->j.need[i] > cu->limit[i])
			return true;
	return false;
}

/* The oldest job of the class that no limit keeps back; looks at a few customers whose oldest is kept back. */
static struct job *oldest(struct queue_class *cls)
{
	void *aside[QUEUE_DEPTH_MAX];
	size_t n_aside = 0;
	struct job *found = NULL;
	while (!found && n_aside < QUEUE_DEPTH_MAX && cls->old.n > 0) {
		struct lane *lane = heap_top(&cls->old);
		found = heap_top(&lane->ages);
		if (is_limited(found)) {
			found = NULL;
			aside[n_aside++] = heap_remove(&cls->old, 0);
		}
	}
	while (n_aside > 0)
		must(heap_push(&cls->old, aside[--n_aside]) == 0);
	return found;
}

/*
 * The oldest job of a class that is beyond its wait target. The classes take turns, so that an overload of one does not
 * hide the others.
 */
static struct job *overdue(struct queue *q, int64_t now_ns)
{
	enum { CLASSES = WORKLOAD_P3 - WORKLOAD_P1 + 1 };
	for (uint64_t i = 0; i < CLASSES; i++) {
		enum workload_class c = (enum workload_class)(WORKLOAD_P1 + (q->turns / QUEUE_AGE_TURN + i) % CLASSES);
		struct job *n = oldest(&q->cls[c]);
		if (n && now_ns - n->j.enqueued_ns > workload_wait_target_ns(c))
			return n;
	}
	return NULL;
}

struct scan {
	queue_fits_fn *fits;
	void *arg;
	const struct job *hold;
	size_t left; /* candidates that may still be offered */
};

/* Looks at the branch's jobs in order; everything taken out to look deeper is put back. */
static struct job *scan_branch(struct branch *b, struct scan *s, size_t *depth)
{
	void *aside[QUEUE_DEPTH_MAX];
	size_t n_aside = 0;
	struct job *found = NULL;
	while (!found && *depth > 0 && s->left > 0 && b->jobs.n > 0) {
		struct job *n = heap_top(&b->jobs);
		/* Real-time work is not held back: its target is shorter than any gathering of space. */
		const struct job *hold = n->j.cls == WORKLOAD_P1 ? NULL : s->hold;
		s->left--;
		(*depth)--;
		if (n != s->hold && !is_limited(n) && (!s->fits || s->fits(s->arg, &n->j, hold ? &hold->j : NULL)))
			found = n;
		else
			aside[n_aside++] = heap_remove(&b->jobs, 0);
	}
	while (n_aside > 0)
		must(heap_push(&b->jobs, aside[--n_aside]) == 0);
	return found;
}

static struct job *scan_lane(struct lane *lane, struct scan *s)
{
	void *aside[QUEUE_DEPTH_MAX];
	size_t n_aside = 0, depth = QUEUE_DEPTH_MAX;
	struct job *found = NULL;
	while (!found && depth > 0 && s->left > 0 && lane->branches.n > 0) {
		found = scan_branch(heap_top(&lane->branches), s, &depth);
		if (!found)
			aside[n_aside++] = heap_remove(&lane->branches, 0);
	}
	while (n_aside > 0)
		must(heap_push(&lane->branches, aside[--n_aside]) == 0);
	return found;
}

static struct job *scan_class(struct queue_class *cls, struct scan *s)
{
	void *aside[QUEUE_SCAN_MAX];
	size_t n_aside = 0;
	struct job *found = NULL;
	while (!found && s->left > 0 && cls->lanes.n > 0) {
		found = scan_lane(heap_top(&cls->lanes), s);
		if (!found)
			aside[n_aside++] = heap_remove(&cls->lanes, 0);
	}
	while (n_aside > 0)
		must(heap_push(&cls->lanes, aside[--n_aside]) == 0);
	return found;
}

/*
 * Whom the order hides: behind QUEUE_DEPTH_MAX jobs of its customer, or QUEUE_SCAN_MAX of its class, that do not fit. A
 * few at every look, all in turn.
 */
static struct job *scan_turn(struct queue_class *cls, struct scan *s)
{
	for (size_t i = 0; i < QUEUE_TURN_MAX && i < cls->n; i++) {
		struct list *at = cls->next == &cls->all ? cls->all.next : cls->next;
		struct job *n = list_entry(at, struct job, turn);
		const struct job *hold = n->j.cls == WORKLOAD_P1 ? NULL : s->hold;
		cls->next = at->next;
		cls->seen++;
		if (n != s->hold && !is_limited(n) && (!s->fits || s->fits(s->arg, &n->j, hold ? &hold->j : NULL)))
			return n;
	}
	return NULL;
}

static struct job *find_next(struct queue *q, int64_t now_ns, queue_fits_fn *fits, void *arg)
{
	struct scan s = { .fits = fits, .arg = arg };
	/* Who was held and has come to a limit since holds nobody up. */
	struct job *first = q->hold && !is_limited(q->hold) ? q->hold : is_age_turn(q) ? overdue(q, now_ns) : NULL;
	if (first) {
		if (!fits || fits(arg, &first->j, NULL))
			return first;
		s.hold = q->hold = first;
	}
	for (int c = WORKLOAD_P1; c < WORKLOAD_CLASS_END; c++) {
		s.left = QUEUE_SCAN_MAX; /* of its own: a class full of what does not fit must not hide the next */
		struct queue_class *cls = &q->cls[c];
		struct job *n = scan_class(cls, &s);
		if (!n && cls->n > QUEUE_SCAN_MAX - s.left)
			n = scan_turn(cls, &s);
		else if (!n)
			cls->seen = cls->n;
		if (n)
			return n;
	}
	return NULL;
}

static void charge(struct queue *q, struct customer *cu, struct project *pr, const struct queue_job *job)
{
	bool was = is_active(cu);
	struct account *both[] = { &cu->a, &pr->a };
	for (int k = 0; k < 2; k++) {
		both[k]->charged++;
		for (int i = 0; i < QUEUE_RESOURCE_END; i++)
			both[k]->usage[i] += job->need[i];
	}
	project_rekey(q, cu, pr);
	customer_rekey(q, cu);
	activity(q, cu, was);
}

static void take(struct queue *q, struct job *n, int64_t now_ns, struct queue_job *ret)
{
	*ret = n->j;
	q->turns++;
	if (q->turns > 1 && now_ns >= q->last_pop_ns) {
		double gap_ns = (double)(now_ns - q->last_pop_ns);
		q->pace_ns = q->turns == 2 ? gap_ns : q->pace_ns * (1 - PACE_SMOOTHING) + gap_ns * PACE_SMOOTHING;
	}
	q->last_pop_ns = now_ns;
	struct customer *cu = n->lane->customer;
	struct project *pr = project_of(n->branch);
	cu->a.served = pr->a.served = q->turns;
	charge(q, cu, pr, ret); /* first: who both waits and runs never is idle in between */
	job_forget(q, n);
}

int queue_pop(struct queue *q, int64_t now_ns, queue_fits_fn *fits, void *arg, struct queue_job *ret)
{
	struct job *n = find_next(q, now_ns, fits, arg);
	if (!n)
		return HCP_EAGAIN;
	take(q, n, now_ns, ret);
	return 0;
}

int queue_take(struct queue *q, const struct id *id, int64_t now_ns, struct queue_job *ret)
{
	struct job *n = map_get(&q->jobs, id_key(id));
	if (!n || is_limited(n))
		return n ? HCP_ELIMIT : HCP_ENOTFOUND;
	take(q, n, now_ns, ret);
	return 0;
}

void queue_changed(struct queue *q)
{
	for (int c = WORKLOAD_P1; c < WORKLOAD_CLASS_END; c++)
		q->cls[c].seen = 0;
}

int64_t queue_same_until(const struct queue *q)
{
	int64_t until_ns = INT64_MAX;
	for (int c = WORKLOAD_P1; c < WORKLOAD_CLASS_END; c++)
		if (q->cls[c].seen < q->cls[c].n)
			return INT64_MIN;
	if ((q->hold && !is_limited(q->hold)) || !is_age_turn(q))
		return until_ns;
	for (int c = WORKLOAD_P1; c <= WORKLOAD_P3; c++) {
		const struct lane *lane = heap_top(&q->cls[c].old);
		const struct job *n = lane ? heap_top(&lane->ages) : NULL;
		int64_t due_ns = n ? n->j.enqueued_ns + workload_wait_target_ns((enum workload_class)c) + 1 : INT64_MAX;
		if (due_ns < until_ns)
			until_ns = due_ns;
	}
	return until_ns;
}

int queue_charge(struct queue *q, const struct queue_job *job, struct err *err)
{
	struct err local = { 0 };
	struct customer *cu = customer_get(q, job->customer, &local);
	struct project *pr = cu ? project_get(cu, job->project, &local) : NULL;
	if (!pr) {
		if (cu)
			customer_drop_idle(q, cu);
		return failed(&local, err);
	}
	charge(q, cu, pr, job);
	return 0;
}

void queue_uncharge(struct queue *q, const struct queue_job *job)
{
	queue_changed(q); /* a limit may have kept others back */
	uint64_t id = job->customer, project = job->project;
	struct customer *cu = map_get(&q->customers, map_key_u64(&id));
	must(cu && cu->a.charged > 0);
	struct project *pr = project ? map_get(&cu->projects, map_key_u64(&project)) : &cu->own;
	must(pr && pr->a.charged > 0);
	struct account *both[] = { &cu->a, &pr->a };
	for (int k = 0; k < 2; k++) {
		both[k]->charged--;
		for (int i = 0; i < QUEUE_RESOURCE_END; i++) {
			/* Sums of doubles leave dust; nothing charged is exactly nothing used. */
			double left = both[k]->charged ? both[k]->usage[i] - job->need[i] : 0;
			both[k]->usage[i] = left > 0 ? left : 0;
		}
	}
	project_rekey(q, cu, pr);
	customer_rekey(q, cu);
	activity(q, cu, true);
	project_drop_idle(cu, pr);
	customer_drop_idle(q, cu);
}

size_t queue_len(const struct queue *q)
{
	return q->jobs.n;
}

size_t queue_len_class(const struct queue *q, enum workload_class c)
{
	return workload_class_name(c) ? q->cls[c].n : 0;
}

int queue_oldest(const struct queue *q, enum workload_class c, int64_t *ret_ns)
{
	const struct lane *lane = workload_class_name(c) ? heap_top(&q->cls[c].old) : NULL;
	if (!lane)
		return HCP_ENOTFOUND;
	*ret_ns = ((const struct job *)heap_top(&lane->ages))->j.enqueued_ns;
	return 0;
}

const struct queue_job *queue_find(const struct queue *q, const struct id *id)
{
	const struct job *n = map_get(&q->jobs, id_key(id));
	return n ? &n->j : NULL;
}

double queue_share(const struct queue *q, uint64_t customer, enum queue_resource *ret_dominant)
{
	enum queue_resource r = QUEUE_GPU;
	const struct customer *cu = map_get(&q->customers, map_key_u64(&customer));
	double share = cu ? dominant(q, cu->a.usage, &r) / cu->a.weight : 0;
	if (ret_dominant)
		*ret_dominant = r;
	return share;
}

double queue_fair_share(const struct queue *q)
{
	return q->active_weight > 0 ? 1 / q->active_weight : INFINITY;
}

double queue_share_with(const struct queue *q, uint64_t customer, const double more[QUEUE_RESOURCE_END])
{
	const struct customer *cu = map_get(&q->customers, map_key_u64(&customer));
	double usage[QUEUE_RESOURCE_END];
	enum queue_resource r;
	for (int i = 0; i < QUEUE_RESOURCE_END; i++)
		usage[i] = (cu ? cu->a.usage[i] : 0) + more[i];
	return dominant(q, usage, &r) / (cu ? cu->a.weight : 1);
}

/* While one account is served k times, another of weight w is served about k*w/own times. */
static size_t served_before(size_t ahead, const struct account *own, const struct account *other, bool first, size_t n)
{
	double turns = (double)ahead * other->weight / own->weight + first;
	return turns < (double)n ? (size_t)turns : n;
}

/* Those due before n, found from the top: what comes after n has nobody before n below it. At most QUEUE_EXPLAIN_MAX.
 */
static size_t count_before(const struct heap *h, const struct job *n)
{
	size_t stack[64], depth = 0, count = 0;
	stack[depth++] = 0;
	while (depth > 0 && count < QUEUE_EXPLAIN_MAX) {
		size_t at = stack[--depth];
		if (at >= h->n || h->v[at] == n || !job_less(h->v[at], n))
			continue;
		count++;
		stack[depth++] = 2 * at + 1;
		stack[depth++] = 2 * at + 2;
	}
	return count;
}

int queue_explain(const struct queue *q, const struct id *id, int64_t now_ns, struct queue_explain *ret)
{
	const struct job *n = map_get(&q->jobs, id_key(id));
	if (!n)
		return HCP_ENOTFOUND;
	const struct customer *cu = n->lane->customer;
	struct queue_explain e = { .waited_ns = now_ns - n->j.enqueued_ns,
		.due_ns = n->due_ns,
		.eta_ns = -1,
		.target_ns = workload_wait_target_ns(n->j.cls),
		.limited = cu->capped || is_limited(n) };
	e.dominant_share = dominant(q, cu->a.usage, &e.dominant) / cu->a.weight;
	e.overdue = e.target_ns > 0 && e.waited_ns > e.target_ns;
	e.ahead_own = count_before(&n->branch->jobs, n);
	for (int c = WORKLOAD_P1; c < (int)n->j.cls; c++)
		e.ahead_classes += q->cls[c].n;
	size_t ahead = e.ahead_own;
	for (size_t i = 0; i < n->lane->branches.n; i++) {
		const struct branch *o = n->lane->branches.v[i];
		if (o != n->branch)
			ahead += served_before(e.ahead_own, n->branch->project, o->project, branch_less(o, n->branch), o->jobs.n);
	}
	const struct heap *lanes = &q->cls[n->j.cls].lanes;
	size_t others = 0, looked = lanes->n < QUEUE_EXPLAIN_MAX ? lanes->n : QUEUE_EXPLAIN_MAX;
	for (size_t i = 0; i < looked; i++) {
		const struct lane *o = lanes->v[i];
		if (o != n->lane)
			others += served_before(ahead, &cu->a, &o->customer->a, lane_less(o, n->lane), o->ages.n);
	}
	if (looked < lanes->n)
		others = (size_t)((double)others * (double)lanes->n / (double)looked);
	e.position = ahead + e.ahead_classes + others;
	double eta_ns = q->pace_ns * (double)(e.position + 1);
	if (q->pace_ns > 0 && eta_ns < 9e18 && !e.limited)
		e.eta_ns = (int64_t)eta_ns;
	*ret = e;
	return 0;
}
