/*
 * Customers and operators. Each keeps a diary of what it was told; what was acknowledged must be there, once.
 * Answers may be lost on the way to the customer: it then repeats with the same key and must hear of the same workload.
 */
#include "sim.h"

#include <stdio.h>

#include "base/mem.h"
#include "base/panic.h"
#include "model/mig.h"

enum { LOAD_CUSTOMERS = 4, LOAD_BATCH_MAX = 6, LOAD_EVERY_S = 45, LOAD_RECENT = 24, LOAD_ACTIVE_MAX = 100 };

/* One submission: its body follows from body_seed, so it can be repeated word by word. */
struct sub {
	uint64_t body_seed;
	int customer;
	char key[24];          /* "" if none */
	char id[ID_TEXT_MAX];  /* once an answer came, whether or not the customer saw it */
	bool told;             /* the customer saw the answer */
	bool unsure;           /* no key, and the service stopped before it could answer */
	bool cancelled;        /* and was told so */
};

enum ask {
	ASK_SUBMIT,
	ASK_BATCH,
	ASK_CANCEL,
	ASK_PAUSE,
	ASK_RESUME,
	ASK_MIGRATE,
	ASK_STOP,
	ASK_CLEAR,
	ASK_STATUS,
	ASK_READ,
	ASK_POLICY,
	ASK_QUOTA,
};

struct request {
	struct sim *sim;
	enum ask ask;
	size_t sub, n;         /* submissions [sub, sub + n) */
	bool lost;             /* the answer does not reach the customer */
};

struct load {
	struct sim *sim;
	struct rng rng;
	Hcp__Principal customer[LOAD_CUSTOMERS], operator_;
	char name[LOAD_CUSTOMERS][16], mail[LOAD_CUSTOMERS][24];
	struct sub *sub;       /* owned */
	size_t n_sub, cap_sub;
	uint64_t keys;
	uint64_t asked, answered, refused, unavailable, paused, resumed;
	bool stopped;          /* what the operator was last told */
};

struct load *load_new(struct sim *s)
{
	struct load *l = mem_calloc(1, sizeof(*l));
	must(l);
	l->sim = s;
	rng_init(&l->rng, s->opts.seed ^ 0x6c6f6164);
	for (int i = 0; i < LOAD_CUSTOMERS; i++) {
		hcp__principal__init(&l->customer[i]);
		snprintf(l->name[i], sizeof(l->name[i]), "cus-%d", i);
		snprintf(l->mail[i], sizeof(l->mail[i]), "ops@c%d.example", i);
		l->customer[i].user_id = l->name[i];
		l->customer[i].customer_id = l->name[i];
		l->customer[i].email = l->mail[i];
		l->customer[i].role = HCP__ROLE__CUSTOMER;
	}
	hcp__principal__init(&l->operator_);
	l->operator_.user_id = l->operator_.email = "shift@site.example";
	l->operator_.role = HCP__ROLE__OPERATOR;
	return l;
}

void load_free(struct load *l)
{
	if (!l)
		return;
	mem_free(l->sub);
	mem_free(l);
}

static struct sub *new_sub(struct load *l, int customer)
{
	if (l->n_sub == l->cap_sub) {
		l->cap_sub = l->cap_sub ? l->cap_sub * 2 : 256;
		l->sub = mem_realloc(l->sub, l->cap_sub * sizeof(*l->sub));
		must(l->sub);
	}
	struct sub *x = &l->sub[l->n_sub++];
	*x = (struct sub){ .body_seed = rng_u64(&l->rng), .customer = customer };
	return x;
}

/* Every third wants thousandths of one GPU, every sixth an instance. */
static void fill_part(Hcp__WorkloadSubmit *w, struct rng *r)
{
	static const enum mig_geometry geometry[] = { MIG_1G, MIG_1G, MIG_1G_DOUBLE, MIG_2G, MIG_3G, MIG_4G, MIG_7G };
	uint64_t dice = rng_below(r, 6);
	if (dice > 2)
		return;
	w->device_count = 1;
	if (dice < 2) {
		w->has_gpu_fraction_case = HCP__WORKLOAD_SUBMIT__HAS_GPU_FRACTION_GPU_FRACTION;
		w->gpu_fraction = (double)(1 + rng_below(r, rng_below(r, 2) ? 1000 : 250)) / 1000;
		return;
	}
	w->device_class = rng_below(r, 2) ? "H100" : "A100";
	w->memory_gib = 0;
	w->mig_profile = mig_name(device_class_find(str_of(w->device_class)), geometry[rng_below(r, 7)]);
}

static void fill(Hcp__WorkloadSubmit *w, uint64_t body_seed)
{
	static const char *const classes[] = { "H100", "A100", "" };
	struct rng r;
	rng_init(&r, body_seed);
	w->type = (Hcp__WorkloadType)(1 + rng_below(&r, 3));
	w->name = "job";
	w->model = "all-MiniLM-L6-v2";
	w->priority = (int32_t)rng_below(&r, 11);
	w->device_class = classes[rng_below(&r, 3)];
	w->device_count = 1 + (int32_t)rng_below(&r, 3);
	w->memory_gib = (int32_t)rng_below(&r, 2) * 16;
	w->duration_s = rng_below(&r, 12) ? 30 + (int64_t)(1200 * rng_exp(&r)) : 0;
	w->checkpointable = rng_below(&r, 2);
	w->project = rng_below(&r, 2) ? "" : "night";
	w->callback_url = rng_below(&r, 2) ? "https://hooks.example/told" : "";
	fill_part(w, &r);
	bool part = w->has_gpu_fraction_case || w->mig_profile[0];
	if (w->type == HCP__WORKLOAD_TYPE__AI_INFERENCE_REALTIME || part || rng_below(&r, 2))
		return;
	w->program = "count";
	w->device_count = 1;
	w->duration_s = rng_below(&r, 4) ? 0 : w->duration_s;
}

/* ---- answers ---- */

static const struct sub *with_key(const struct load *l, const struct sub *x)
{
	for (size_t i = 0; i < l->n_sub; i++)
		if (&l->sub[i] != x && l->sub[i].customer == x->customer && !strcmp(l->sub[i].key, x->key))
			return &l->sub[i];
	return NULL;
}

static void told_id(struct load *l, struct sub *x, const char *id, bool lost)
{
	if (x->id[0] && strcmp(x->id, id))
		sim_fail(l->sim, "key %s of %s made two workloads, %s and %s", x->key, l->name[x->customer], x->id, id);
	if (x->key[0] && with_key(l, x))
		sim_fail(l->sim, "the simulator used key %s twice", x->key);
	snprintf(x->id, sizeof(x->id), "%s", id);
	x->told = x->told || !lost;
}

static void on_problem(struct load *l, struct request *q, const Hcp__Problem *p)
{
	bool down = !strcmp(p->code, "unavailable") || !strcmp(p->code, "closed");
	if (down) {
		l->unavailable++;
		for (size_t i = q->sub; i < q->sub + q->n; i++)
			if ((q->ask == ASK_SUBMIT || q->ask == ASK_BATCH) && !l->sub[i].key[0])
				l->sub[i].unsure = true;
		return;
	}
	l->refused++;
	bool order = q->ask == ASK_CANCEL || q->ask == ASK_PAUSE || q->ask == ASK_RESUME || q->ask == ASK_MIGRATE;
	bool expected = (order && !strcmp(p->code, "wrong_state")) ||
					(q->ask == ASK_CLEAR && !strcmp(p->code, "wrong_state")) || q->ask == ASK_READ;
	if (!expected)
		sim_fail(l->sim, "request of kind %d was refused: %s %s %s", (int)q->ask, p->code, p->field, p->detail);
}

static void on_answer(void *arg, struct msg *m)
{
	struct request *q = arg;
	struct load *l = q->sim->load_state;
	l->answered++;
	if (!m)
		sim_fail(q->sim, "out of memory");
	if (m->type == MSG_PROBLEM) {
		on_problem(l, q, (const Hcp__Problem *)m->body);
	} else if (q->ask == ASK_SUBMIT) {
		told_id(l, &l->sub[q->sub], ((const Hcp__Workload *)m->body)->id, q->lost);
	} else if (q->ask == ASK_BATCH) {
		const Hcp__Workloads *b = (const Hcp__Workloads *)m->body;
		if (b->n_workloads != q->n)
			sim_fail(q->sim, "a batch of %zu was answered with %zu workloads", q->n, b->n_workloads);
		for (size_t i = 0; i < q->n; i++)
			told_id(l, &l->sub[q->sub + i], b->workloads[i]->id, q->lost);
	} else if (q->ask == ASK_CANCEL) {
		l->sub[q->sub].cancelled = true;
		if (((const Hcp__Workload *)m->body)->state != HCP__WORKLOAD_STATE__CANCELLED)
			sim_fail(q->sim, "cancelling %s left it in another state", l->sub[q->sub].id);
	} else if (q->ask == ASK_PAUSE || q->ask == ASK_RESUME) {
		const Hcp__Workload *w = (const Hcp__Workload *)m->body;
		if (w->state != (q->ask == ASK_PAUSE ? HCP__WORKLOAD_STATE__PAUSED : HCP__WORKLOAD_STATE__QUEUED))
			sim_fail(q->sim, "pausing or resuming %s left it in state %d", w->id, (int)w->state);
		l->paused += q->ask == ASK_PAUSE;
		l->resumed += q->ask == ASK_RESUME;
	} else if (q->ask == ASK_STOP || q->ask == ASK_CLEAR || q->ask == ASK_STATUS) {
		l->stopped = !strcmp(((const Hcp__Status *)m->body)->mode, "emergency_stop");
	}
	msg_free(m);
	mem_free(q);
}

/* ---- requests ---- */

static void ask(struct load *l, struct msg *m, enum ask kind, const Hcp__Principal *who, size_t sub, size_t n)
{
	struct request *q = mem_calloc(1, sizeof(*q));
	must(q);
	*q = (struct request){ .sim = l->sim, .ask = kind, .sub = sub, .n = n, .lost = rng_below(&l->rng, 10) == 0 };
	m->principal = who;
	m->reply_fn = on_answer;
	m->reply_arg = q;
	l->asked++;
	sim_post(l->sim, m);
}

static void submit(struct load *l, size_t i)
{
	struct msg *m = msg_new(MSG_WORKLOAD_SUBMIT);
	fill((Hcp__WorkloadSubmit *)m->body, l->sub[i].body_seed);
	m->idempotency_key = arena_strdup(&m->arena, l->sub[i].key);
	ask(l, m, ASK_SUBMIT, &l->customer[l->sub[i].customer], i, 1);
}

static void submit_new(struct load *l, int customer)
{
	struct sub *x = new_sub(l, customer);
	if (rng_below(&l->rng, 4))
		snprintf(x->key, sizeof(x->key), "k-%llu", (unsigned long long)++l->keys);
	submit(l, l->n_sub - 1);
}

/* One of this customer's last submissions that fits; -1 if none. */
static long recent(struct load *l, int customer, bool keyed)
{
	size_t from = l->n_sub > LOAD_RECENT ? l->n_sub - LOAD_RECENT : 0;
	for (int tries = 0; tries < 8 && l->n_sub; tries++) {
		size_t i = from + rng_below(&l->rng, l->n_sub - from);
		if (l->sub[i].customer == customer && (keyed ? l->sub[i].key[0] : l->sub[i].id[0]))
			return (long)i;
	}
	return -1;
}

static void submit_batch(struct load *l, int customer)
{
	size_t n = 1 + rng_below(&l->rng, LOAD_BATCH_MAX), first = l->n_sub;
	struct msg *m = msg_new(MSG_WORKLOAD_SUBMIT_BATCH);
	Hcp__WorkloadSubmitBatch *b = (Hcp__WorkloadSubmitBatch *)m->body;
	for (size_t i = 0; i < n; i++) {
		Hcp__WorkloadSubmit *w = arena_alloc(&m->arena, sizeof(*w));
		must(w);
		hcp__workload_submit__init(w);
		fill(w, new_sub(l, customer)->body_seed);
		must(pb_push(&m->arena, &b->n_workloads, &b->workloads, w) == 0);
	}
	ask(l, m, ASK_BATCH, &l->customer[customer], first, n);
}

static void cancel(struct load *l, int customer)
{
	long i = recent(l, customer, false);
	if (i < 0)
		return;
	struct msg *m = msg_new(MSG_WORKLOAD_CANCEL);
	((Hcp__WorkloadCancel *)m->body)->id = arena_strdup(&m->arena, l->sub[i].id);
	ask(l, m, ASK_CANCEL, &l->customer[customer], (size_t)i, 1);
}

static void pause_or_resume(struct load *l, int customer)
{
	long i = recent(l, customer, false);
	bool paused = false;
	for (int tries = 0; i >= 0 && tries < 6 && !paused; tries++) {
		long other = tries ? recent(l, customer, false) : i;
		paused = other >= 0 && watch_workload(l->sim, l->sub[other].id) == HCP__WORKLOAD_STATE__PAUSED;
		i = paused || !tries ? other : i;
	}
	if (i < 0)
		return;
	if (!paused && rng_below(&l->rng, 3) == 0) {
		struct msg *move = msg_new(MSG_WORKLOAD_MIGRATE);
		((Hcp__WorkloadMigrate *)move->body)->id = arena_strdup(&move->arena, l->sub[i].id);
		ask(l, move, ASK_MIGRATE, &l->customer[customer], (size_t)i, 1);
		return;
	}
	/* Now and then an order that its state does not allow. */
	bool pause = paused == (rng_below(&l->rng, 8) == 0);
	struct msg *m = msg_new(pause ? MSG_WORKLOAD_PAUSE : MSG_WORKLOAD_RESUME);
	const char *id = arena_strdup(&m->arena, l->sub[i].id);
	if (pause)
		((Hcp__WorkloadPause *)m->body)->id = id;
	else
		((Hcp__WorkloadResume *)m->body)->id = id;
	ask(l, m, pause ? ASK_PAUSE : ASK_RESUME, &l->customer[customer], (size_t)i, 1);
}

static void read_one(struct load *l, int customer)
{
	long i = recent(l, customer, false);
	if (i < 0)
		return;
	struct msg *m = msg_new(MSG_WORKLOAD_GET);
	Hcp__WorkloadGet *g = (Hcp__WorkloadGet *)m->body;
	g->id = arena_strdup(&m->arena, l->sub[i].id);
	g->index = (int64_t)rng_below(&l->rng, 6);
	g->wait_ms = (int32_t)rng_below(&l->rng, 2) * 20000;
	ask(l, m, ASK_READ, &l->customer[customer], (size_t)i, 1);
}

static void customer_acts(struct sim *s, void *arg, uint64_t customer)
{
	struct load *l = arg;
	sim_at(s, s->now_ns + (int64_t)(LOAD_EVERY_S * 1e9 * rng_exp(&l->rng)), customer_acts, l, customer);
	if (!s->load)
		return;
	int c = (int)customer;
	uint64_t dice = rng_below(&l->rng, 24);
	/* Who sees a queue that long looks after what he has in it. */
	if (watch_active(s) >= LOAD_ACTIVE_MAX && dice < 13)
		dice = 13 + dice % 11;
	if (dice < 7) {
		submit_new(l, c);
	} else if (dice < 11) {
		long i = recent(l, c, true);
		if (i >= 0)
			submit(l, (size_t)i);
	} else if (dice < 13) {
		submit_batch(l, c);
	} else if (dice < 17) {
		cancel(l, c);
	} else if (dice < 21) {
		pause_or_resume(l, c);
	} else {
		read_one(l, c);
	}
}

static void operator_clears(struct sim *s, void *arg, uint64_t data);

static void operator_stops(struct sim *s, void *arg, uint64_t data)
{
	struct load *l = arg;
	sim_at(s, s->now_ns + (int64_t)(3 * 3600e9 * rng_exp(&l->rng)), operator_stops, l, 0);
	if (!s->load)
		return;
	struct msg *m = msg_new(MSG_EMERGENCY_STOP);
	((Hcp__EmergencyStop *)m->body)->reason = "smoke in hall 2";
	sim_say(s, "emergency stop");
	ask(l, m, ASK_STOP, &l->operator_, 0, 0);
	sim_at(s, s->now_ns + (int64_t)(400e9 * rng_exp(&l->rng)), operator_clears, l, 0);
}

static void operator_clears(struct sim *s, void *arg, uint64_t data)
{
	struct load *l = arg;
	struct msg *m = msg_new(MSG_EMERGENCY_CLEAR);
	((Hcp__EmergencyClear *)m->body)->reason = "all clear";
	sim_say(s, "the stop is cleared");
	ask(l, m, ASK_CLEAR, &l->operator_, 0, 0);
}

static void operator_sets_policy(struct sim *s, void *arg, uint64_t data)
{
	static const char *const policies[] = { "threshold", "strike", "always_mine", "always_serve" };
	struct load *l = arg;
	sim_at(s, s->now_ns + (int64_t)(2 * 3600e9 * rng_exp(&l->rng)), operator_sets_policy, l, 0);
	if (!s->load || s->stand_ins)
		return;
	struct msg *m = msg_new(MSG_POLICY_SET);
	Hcp__PolicySet *p = (Hcp__PolicySet *)m->body;
	p->policy = policies[rng_below(&l->rng, 4)];
	if (!strcmp(p->policy, "strike")) {
		p->has_strike_usd_mwh_case = HCP__POLICY_SET__HAS_STRIKE_USD_MWH_STRIKE_USD_MWH;
		p->strike_usd_mwh = 20 + 60 * rng_double(&l->rng);
	}
	sim_say(s, "the policy is %s", p->policy);
	ask(l, m, ASK_POLICY, &l->operator_, 0, 0);
}

/* Weights that differ, and now and then few devices; at the end all may have what they want again. */
static void set_quota(struct load *l, int customer, bool free)
{
	struct msg *m = msg_new(MSG_CUSTOMER_QUOTA_SET);
	Hcp__CustomerQuotaSet *q = (Hcp__CustomerQuotaSet *)m->body;
	Hcp__ProjectWeight *night = arena_alloc(&m->arena, sizeof(*night));
	must(night);
	hcp__project_weight__init(night);
	night->project = "night";
	night->weight = 0.5 + rng_double(&l->rng);
	q->customer_id = l->name[customer];
	q->weight = 0.25 + 4 * rng_double(&l->rng);
	q->max_devices = !free && rng_below(&l->rng, 3) == 0 ? 3 + (int32_t)rng_below(&l->rng, 6) : 0;
	must(pb_push(&m->arena, &q->n_projects, &q->projects, night) == 0);
	ask(l, m, ASK_QUOTA, &l->operator_, 0, 0);
}

static void operator_sets_quota(struct sim *s, void *arg, uint64_t data)
{
	struct load *l = arg;
	sim_at(s, s->now_ns + (int64_t)(1200e9 * rng_exp(&l->rng)), operator_sets_quota, l, 0);
	if (s->load)
		set_quota(l, (int)rng_below(&l->rng, LOAD_CUSTOMERS), false);
}

void load_settle(struct sim *s)
{
	struct load *l = s->load_state;
	s->load = false;
	for (int c = 0; c < LOAD_CUSTOMERS; c++)
		set_quota(l, c, true);
	for (int i = 0; i < 10; i++) {
		ask(l, msg_new(MSG_STATUS_GET), ASK_STATUS, &l->operator_, 0, 0);
		sim_run_until(s, s->now_ns + 5 * NS_PER_S);
		if (!l->stopped)
			return;
		operator_clears(s, l, 0);
		sim_run_until(s, s->now_ns + 5 * NS_PER_S);
	}
	sim_fail(s, "the emergency stop cannot be cleared");
}

void load_start(struct sim *s)
{
	struct load *l = s->load_state = load_new(s);
	s->load = true;
	for (uint64_t i = 0; i < LOAD_CUSTOMERS; i++)
		sim_at(s, s->now_ns + (int64_t)(rng_exp(&l->rng) * 10e9), customer_acts, l, i);
	sim_at(s, s->now_ns + (int64_t)(3600e9 * rng_exp(&l->rng)), operator_stops, l, 0);
	sim_at(s, s->now_ns + (int64_t)(3600e9 * rng_exp(&l->rng)), operator_sets_policy, l, 0);
	sim_at(s, s->now_ns + (int64_t)(600e9 * rng_exp(&l->rng)), operator_sets_quota, l, 0);
}

/* ---- the promise: what was acknowledged is there, once ---- */

static int64_t count(struct sim *s)
{
	struct db_row *row;
	struct err err = { 0 };
	if (db_query(svc_database(s->slot[SVC_ORCHESTRATOR].svc), &row, &err, "SELECT count(*) FROM workload", "") != 1)
		sim_fail(s, "the workloads cannot be counted: %s", err.text);
	int64_t n = db_i64(row, 0);
	db_done(row);
	return n;
}

void load_check(struct sim *s)
{
	struct load *l = s->load_state;
	int64_t sure = 0, unsure = 0;
	if (!l || !s->slot[SVC_ORCHESTRATOR].svc)
		return;
	for (size_t i = 0; i < l->n_sub; i++) {
		const struct sub *x = &l->sub[i];
		int state = x->id[0] ? watch_workload(s, x->id) : 0;
		if (x->id[0] && !state)
			sim_fail(s, "workload %s was acknowledged and is lost", x->id);
		if (x->cancelled && state != HCP__WORKLOAD_STATE__CANCELLED)
			sim_fail(s, "workload %s was cancelled and is in state %d", x->id, state);
		sure += x->id[0] != '\0';
		unsure += x->id[0] == '\0';
	}
	int64_t n = count(s);
	if (n < sure || n > sure + unsure)
		sim_fail(s, "%lld workloads exist, but %lld were acknowledged and %lld may have been made", (long long)n,
			 (long long)sure, (long long)unsure);
}

void load_summary(const struct sim *s)
{
	const struct load *l = s->load_state;
	if (l)
		sim_say(s,
			"%llu requests, %llu answered, %llu refused, %llu times unavailable, %zu submissions, "
			"%llu paused, %llu resumed",
			(unsigned long long)l->asked, (unsigned long long)l->answered, (unsigned long long)l->refused,
			(unsigned long long)l->unavailable, l->n_sub, (unsigned long long)l->paused,
			(unsigned long long)l->resumed);
}
