#include "sched/queue.h"

#include <math.h>
#include <string.h>

#include "base/map.h"
#include "base/mem.h"
#include "base/panic.h"
#include "sched/heap_priv.h"

#define P4_TARGET_NS INT64_C(3600000000000) /* orders P4 by due time only; P4 is never overdue */
#define PACE_SMOOTHING 0.05                 /* weight of the newest interval between two picks */

struct customer;

/* A customer's jobs of one class. */
struct lane {
	struct customer *customer;
	struct heap jobs; /* by due time */
	size_t at;        /* in the class's heap of lanes */
};

struct customer {
	uint64_t id;
	double weight;
	double usage[QUEUE_RESOURCE_END];
	double share;        /* dominant share / weight */
	uint64_t served;     /* turn of the latest pick */
	size_t charged;      /* popped and not yet uncharged */
	bool pinned;         /* weight was set; kept when idle */
	struct lane lane[WORKLOAD_CLASS_END];
};

struct job {
	struct queue_job j;
	struct lane *lane;
	int64_t due_ns;
	uint64_t seq;
	size_t at;     /* in the lane */
	size_t age_at; /* in the class's heap by enqueue time */
};

struct queue_class {
	struct heap lanes; /* by share */
	struct heap ages;  /* by enqueue time */
};

struct queue {
	struct queue_conf conf;
	struct map jobs, customers; /* own their values */
	struct queue_class cls[WORKLOAD_CLASS_END];
	uint64_t seq, turns;
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

static bool lane_less(const void *a, const void *b)
{
	const struct customer *x = ((const struct lane *)a)->customer, *y = ((const struct lane *)b)->customer;
	if (x->share != y->share)
		return x->share < y->share;
	if (x->served != y->served)
		return x->served < y->served;
	return x->id < y->id;
}

static void job_place(void *m, size_t at)
{
	((struct job *)m)->at = at;
}

static void age_place(void *m, size_t at)
{
	((struct job *)m)->age_at = at;
}

static void lane_place(void *m, size_t at)
{
	((struct lane *)m)->at = at;
}

static struct str id_key(const struct id *id)
{
	return (struct str){ (const char *)id->b, sizeof(id->b) };
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
		heap_init(&q->cls[c].ages, age_less, age_place);
	}
	return q;
}

static void customer_free(struct customer *cu)
{
	for (int c = 0; c < WORKLOAD_CLASS_END; c++)
		heap_release(&cu->lane[c].jobs);
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
		heap_release(&q->cls[c].ages);
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
	cu->id = id;
	cu->weight = 1;
	for (int c = 0; c < WORKLOAD_CLASS_END; c++) {
		cu->lane[c] = (struct lane){ .customer = cu, .at = HEAP_OUT };
		heap_init(&cu->lane[c].jobs, job_less, job_place);
	}
	return cu;
}

/* A customer that waits for nothing and uses nothing is forgotten, so the table is bounded by what is alive. */
static void customer_drop_idle(struct queue *q, struct customer *cu)
{
	if (cu->pinned || cu->charged)
		return;
	for (int c = 0; c < WORKLOAD_CLASS_END; c++) {
		if (cu->lane[c].jobs.n)
			return;
	}
	uint64_t id = cu->id;
	must(map_del(&q->customers, map_key_u64(&id)) == cu);
	customer_free(cu);
}

static double dominant(const struct queue *q, const struct customer *cu, enum queue_resource *ret)
{
	double most = 0;
	*ret = QUEUE_GPU;
	for (int i = 0; i < QUEUE_RESOURCE_END; i++) {
		double s = cu->usage[i] / q->conf.capacity[i];
		if (s > most) {
			most = s;
			*ret = (enum queue_resource)i;
		}
	}
	return most / cu->weight;
}

static void customer_rekey(struct queue *q, struct customer *cu)
{
	enum queue_resource r;
	cu->share = dominant(q, cu, &r);
	for (int c = 0; c < WORKLOAD_CLASS_END; c++) {
		if (cu->lane[c].at != HEAP_OUT)
			heap_fix(&q->cls[c].lanes, cu->lane[c].at);
	}
}

int queue_set_weight(struct queue *q, uint64_t customer, double weight, struct err *err)
{
	if (!isfinite(weight) || weight < 1e-6 || weight > 1e6)
		return err_set(err, HCP_ERANGE, "weight", "must be from 0.000001 to 1000000");
	struct err local = { 0 };
	struct customer *cu = customer_get(q, customer, &local);
	if (!cu) {
		if (err)
			*err = local;
		return local.code;
	}
	cu->weight = weight;
	cu->pinned = true;
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
	while (map_next(&q->customers, &pos, &key, &v))
		customer_rekey(q, v);
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
	if (!cu) {
		if (err)
			*err = local;
		return local.code;
	}
	struct queue_class *cls = &q->cls[job->cls];
	struct lane *lane = &cu->lane[job->cls];
	struct job *n = mem_alloc(sizeof(*n));
	if (!n)
		goto nomem;
	*n = (struct job){ .j = *job, .lane = lane, .due_ns = due_ns(job), .seq = q->seq };
	if (heap_push(&lane->jobs, n) < 0)
		goto nomem;
	if (heap_push(&cls->ages, n) < 0)
		goto undo_lane;
	if (map_put(&q->jobs, id_key(&job->id), n, NULL) < 0)
		goto undo_age;
	if (lane->at == HEAP_OUT && heap_push(&cls->lanes, lane) < 0)
		goto undo_map;
	q->seq++;
	return 0;
undo_map:
	(void)map_del(&q->jobs, id_key(&job->id));
undo_age:
	heap_remove(&cls->ages, n->age_at);
undo_lane:
	heap_remove(&lane->jobs, n->at);
nomem:
	mem_free(n);
	customer_drop_idle(q, cu);
	return err_set(err, HCP_ENOMEM, "", "no memory");
}

/* Off every index but its lane's heap; returns its customer. The job is freed. */
static struct customer *job_forget(struct queue *q, struct job *n)
{
	struct lane *lane = n->lane;
	struct queue_class *cls = &q->cls[n->j.cls];
	if (q->hold == n)
		q->hold = NULL;
	heap_remove(&cls->ages, n->age_at);
	if (n->at != HEAP_OUT)
		heap_remove(&lane->jobs, n->at);
	if (lane->jobs.n == 0 && lane->at != HEAP_OUT)
		heap_remove(&cls->lanes, lane->at);
	must(map_del(&q->jobs, id_key(&n->j.id)) == n);
	mem_free(n);
	return lane->customer;
}

int queue_cancel(struct queue *q, const struct id *id)
{
	struct job *n = map_get(&q->jobs, id_key(id));
	if (!n)
		return HCP_ENOTFOUND;
	customer_drop_idle(q, job_forget(q, n));
	return 0;
}

static bool is_age_turn(const struct queue *q)
{
	return (q->turns + 1) % QUEUE_AGE_TURN == 0;
}

/*
 * The oldest job of a class that is beyond its wait target. The classes take turns, so that an overload of one does not
 * hide the others.
 */
static struct job *overdue(const struct queue *q, int64_t now_ns)
{
	enum { CLASSES = WORKLOAD_P3 - WORKLOAD_P1 + 1 };
	for (uint64_t i = 0; i < CLASSES; i++) {
		enum workload_class c = (enum workload_class)(WORKLOAD_P1 + (q->turns / QUEUE_AGE_TURN + i) % CLASSES);
		struct job *n = heap_top(&q->cls[c].ages);
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

/* Looks at the lane's jobs in order; everything taken out to look deeper is put back. */
static struct job *scan_lane(struct lane *lane, struct scan *s)
{
	void *aside[QUEUE_DEPTH_MAX];
	size_t n_aside = 0;
	struct job *found = NULL;
	while (!found && n_aside < QUEUE_DEPTH_MAX && s->left > 0 && lane->jobs.n > 0) {
		struct job *n = heap_top(&lane->jobs);
		/* Real-time work is not held back: its target is shorter than any gathering of space. */
		const struct job *hold = n->j.cls == WORKLOAD_P1 ? NULL : s->hold;
		s->left--;
		if (n != s->hold && (!s->fits || s->fits(s->arg, &n->j, hold ? &hold->j : NULL)))
			found = n;
		else
			aside[n_aside++] = heap_remove(&lane->jobs, 0);
	}
	while (n_aside > 0)
		must(heap_push(&lane->jobs, aside[--n_aside]) == 0);
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

static struct job *find_next(struct queue *q, int64_t now_ns, queue_fits_fn *fits, void *arg)
{
	struct scan s = { .fits = fits, .arg = arg };
	struct job *first = q->hold ? q->hold : is_age_turn(q) ? overdue(q, now_ns) : NULL;
	if (first) {
		if (!fits || fits(arg, &first->j, NULL))
			return first;
		s.hold = q->hold = first;
	}
	for (int c = WORKLOAD_P1; c < WORKLOAD_CLASS_END; c++) {
		s.left = QUEUE_SCAN_MAX; /* of its own: a class full of what does not fit must not hide the next */
		struct job *n = scan_class(&q->cls[c], &s);
		if (n)
			return n;
	}
	return NULL;
}

int queue_pop(struct queue *q, int64_t now_ns, queue_fits_fn *fits, void *arg, struct queue_job *ret)
{
	struct job *n = find_next(q, now_ns, fits, arg);
	if (!n)
		return HCP_EAGAIN;
	*ret = n->j;
	q->turns++;
	if (q->turns > 1 && now_ns >= q->last_pop_ns) {
		double gap_ns = (double)(now_ns - q->last_pop_ns);
		q->pace_ns = q->turns == 2 ? gap_ns : q->pace_ns * (1 - PACE_SMOOTHING) + gap_ns * PACE_SMOOTHING;
	}
	q->last_pop_ns = now_ns;
	struct customer *cu = job_forget(q, n);
	for (int i = 0; i < QUEUE_RESOURCE_END; i++)
		cu->usage[i] += ret->need[i];
	cu->charged++;
	cu->served = q->turns;
	customer_rekey(q, cu);
	return 0;
}

int64_t queue_same_until(const struct queue *q)
{
	int64_t until_ns = INT64_MAX;
	if (q->hold || !is_age_turn(q))
		return until_ns;
	for (int c = WORKLOAD_P1; c <= WORKLOAD_P3; c++) {
		const struct job *n = heap_top(&q->cls[c].ages);
		int64_t due_ns = n ? n->j.enqueued_ns + workload_wait_target_ns((enum workload_class)c) + 1 : INT64_MAX;
		if (due_ns < until_ns)
			until_ns = due_ns;
	}
	return until_ns;
}

int queue_charge(struct queue *q, const struct queue_job *job, struct err *err)
{
	struct customer *cu = customer_get(q, job->customer, err);
	if (!cu)
		return HCP_ENOMEM;
	for (int i = 0; i < QUEUE_RESOURCE_END; i++)
		cu->usage[i] += job->need[i];
	cu->charged++;
	customer_rekey(q, cu);
	return 0;
}

void queue_uncharge(struct queue *q, const struct queue_job *job)
{
	uint64_t id = job->customer;
	struct customer *cu = map_get(&q->customers, map_key_u64(&id));
	must(cu && cu->charged > 0);
	cu->charged--;
	for (int i = 0; i < QUEUE_RESOURCE_END; i++) {
		/* Sums of doubles leave dust; nothing charged is exactly nothing used. */
		double left = cu->charged ? cu->usage[i] - job->need[i] : 0;
		cu->usage[i] = left > 0 ? left : 0;
	}
	customer_rekey(q, cu);
	customer_drop_idle(q, cu);
}

size_t queue_len(const struct queue *q)
{
	return q->jobs.n;
}

size_t queue_len_class(const struct queue *q, enum workload_class c)
{
	return workload_class_name(c) ? q->cls[c].ages.n : 0;
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
	double share = cu ? dominant(q, cu, &r) : 0;
	if (ret_dominant)
		*ret_dominant = r;
	return share;
}

int queue_explain(const struct queue *q, const struct id *id, int64_t now_ns, struct queue_explain *ret)
{
	const struct job *n = map_get(&q->jobs, id_key(id));
	if (!n)
		return HCP_ENOTFOUND;
	const struct customer *cu = n->lane->customer;
	struct queue_explain e = { .waited_ns = now_ns - n->j.enqueued_ns, .due_ns = n->due_ns, .eta_ns = -1,
		.target_ns = workload_wait_target_ns(n->j.cls) };
	e.dominant_share = dominant(q, cu, &e.dominant);
	e.overdue = e.target_ns > 0 && e.waited_ns > e.target_ns;
	for (size_t i = 0; i < n->lane->jobs.n; i++)
		e.ahead_own += n->lane->jobs.v[i] != n && job_less(n->lane->jobs.v[i], n);
	for (int c = WORKLOAD_P1; c < (int)n->j.cls; c++)
		e.ahead_classes += q->cls[c].ages.n;
	e.position = e.ahead_own + e.ahead_classes;
	/* While this customer is served k times, another of weight w is served about k*w/own times. */
	const struct heap *lanes = &q->cls[n->j.cls].lanes;
	for (size_t i = 0; i < lanes->n; i++) {
		const struct lane *other = lanes->v[i];
		if (other == n->lane)
			continue;
		double turns = (double)e.ahead_own * other->customer->weight / cu->weight + lane_less(other, n->lane);
		e.position += turns < (double)other->jobs.n ? (size_t)turns : other->jobs.n;
	}
	double eta_ns = q->pace_ns * (double)(e.position + 1);
	if (q->pace_ns > 0 && eta_ns < 9e18)
		e.eta_ns = (int64_t)eta_ns;
	*ret = e;
	return 0;
}
