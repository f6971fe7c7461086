/*
 * Callbacks: a courier that is slow, meets receivers that fail, forgets to tell, and dies with what it has in hand; and
 * the receivers, who insist on order. A post that is not acknowledged may come again, but never one after a later one.
 */
#include "sim.h"

#include <stdio.h>
#include <string.h>

#include "base/list.h"
#include "base/mem.h"
#include "base/panic.h"

enum { POST_HANDS = 64, POST_WAIT_MS = 30000, POST_SLOW_MS = 9000 };

struct received {
	int64_t newest; /* version of the workload that was told last */
	size_t times;
};

struct poster {
	struct sim *sim;
	struct rng rng;
	uint64_t life; /* of the courier: what an earlier one had in hand never arrives */
	bool asked, reported;
	struct list parcels;
	size_t n_parcels;
	struct map received; /* workload id -> struct received, owned */
	uint64_t posts, refused, lost, deaths;
};

struct parcel {
	struct list node;
	struct poster *poster;
	uint64_t life;
	char workload_id[ID_TEXT_MAX];
	int64_t n;
	int32_t attempt;
	struct buf body;
};

static void ask(struct sim *s, void *arg, uint64_t life);

static void parcel_free(struct parcel *x)
{
	list_del(&x->node);
	x->poster->n_parcels--;
	buf_release(&x->body);
	mem_free(x);
}

static void die(struct poster *p)
{
	p->life++;
	p->deaths++;
	p->reported = p->asked = false;
	sim_at(p->sim, p->sim->now_ns + (int64_t)(2e9 * rng_exp(&p->rng)), ask, p, p->life);
}

/* ---- the receiver ---- */

static void receive(struct poster *p, const struct parcel *x)
{
	struct received *r = map_get(&p->received, str_of(x->workload_id));
	char version[48];
	if (!r) {
		r = mem_calloc(1, sizeof(*r));
		must(r && map_put(&p->received, str_of(x->workload_id), r, NULL) == 0);
	}
	if (x->n < r->newest)
		sim_fail(p->sim, "callback %lld of %s comes after %lld", (long long)x->n, x->workload_id, (long long)r->newest);
	snprintf(version, sizeof(version), "\"version\":%lld", (long long)x->n);
	if (!memmem(x->body.data, x->body.n, version, strlen(version)) ||
		!memmem(x->body.data, x->body.n, x->workload_id, strlen(x->workload_id)))
		sim_fail(p->sim, "callback %lld of %s tells of something else: %.*s", (long long)x->n, x->workload_id,
			(int)x->body.n, x->body.data);
	r->newest = x->n;
	r->times++;
}

static void arrive(struct sim *s, void *arg, uint64_t life)
{
	struct parcel *x = arg;
	struct poster *p = x->poster;
	bool bad = s->faults && rng_below(&p->rng, 4) == 0, silent = s->faults && rng_below(&p->rng, 50) == 0;
	if (x->life != p->life) {
		parcel_free(x);
		return;
	}
	p->posts++;
	/* It may have arrived though the answer says otherwise, or says nothing. */
	if (!bad || rng_below(&p->rng, 2))
		receive(p, x);
	if (silent) {
		p->lost++;
	} else {
		struct msg *m = msg_new(MSG_CALLBACK_RESULT);
		Hcp__CallbackResult *r = (Hcp__CallbackResult *)m->body;
		r->workload_id = arena_strdup(&m->arena, x->workload_id);
		r->n = x->n;
		r->attempt = x->attempt;
		r->status = bad ? (int)rng_below(&p->rng, 2) * 503 : 204;
		r->error = r->status ? "" : "no answer";
		p->refused += bad;
		sim_post(s, m);
	}
	parcel_free(x);
	if (s->faults && rng_below(&p->rng, 200) == 0)
		die(p);
	else
		ask(s, p, p->life);
}

/* ---- the courier ---- */

static bool in_hand(const struct poster *p, const char *workload_id)
{
	list_each(it, &p->parcels)
	{
		const struct parcel *x = list_entry(it, struct parcel, node);
		if (x->life == p->life && !strcmp(x->workload_id, workload_id))
			return true;
	}
	return false;
}

static void take(struct poster *p, const Hcp__CallbackOrder *o)
{
	if (in_hand(p, o->workload_id))
		return; /* as the courier does: its lease ran out, but it is on its way */
	struct parcel *x = mem_calloc(1, sizeof(*x));
	must(x);
	*x = (struct parcel){ .poster = p, .life = p->life, .n = o->n, .attempt = o->attempt };
	snprintf(x->workload_id, sizeof(x->workload_id), "%s", o->workload_id);
	buf_init(&x->body, 0);
	buf_add(&x->body, o->body.data, o->body.len);
	list_add_tail(&p->parcels, &x->node);
	p->n_parcels++;
	int64_t ms = 1 + (int64_t)(rng_below(&p->rng, 10) ? 100 * rng_exp(&p->rng) : rng_below(&p->rng, POST_SLOW_MS));
	sim_at(p->sim, p->sim->now_ns + (ms < POST_SLOW_MS ? ms : POST_SLOW_MS) * NS_PER_MS, arrive, x, p->life);
}

struct question {
	struct poster *poster;
	uint64_t life;
};

static void on_answer(void *arg, struct msg *m)
{
	struct question *q = arg;
	struct poster *p = q->poster;
	if (!m)
		sim_fail(p->sim, "out of memory");
	if (q->life == p->life) {
		bool good = m->type == MSG_CALLBACK_ORDERS;
		const Hcp__CallbackOrders *b = (const Hcp__CallbackOrders *)m->body;
		p->asked = false;
		p->reported |= good;
		for (size_t i = 0; good && i < b->n_orders; i++)
			take(p, b->orders[i]);
		/* They share a process: often both are gone. */
		if (!good && rng_below(&p->rng, 2))
			die(p);
		else
			sim_at(p->sim, p->sim->now_ns + (good ? 0 : NS_PER_S), ask, p, p->life);
	}
	msg_free(m);
	mem_free(q);
}

static void ask(struct sim *s, void *arg, uint64_t life)
{
	struct poster *p = arg;
	size_t busy = 0;
	if (life != p->life || p->asked)
		return;
	list_each(it, &p->parcels) {
		busy += list_entry(it, struct parcel, node)->life == p->life;
	}
	if (busy >= POST_HANDS)
		return;
	struct msg *m = msg_new(MSG_CALLBACK_TAKE);
	struct question *q = mem_calloc(1, sizeof(*q));
	must(m && q);
	*q = (struct question){ p, p->life };
	Hcp__CallbackTake *t = (Hcp__CallbackTake *)m->body;
	t->max = (int32_t)(POST_HANDS - busy);
	t->wait_ms = POST_WAIT_MS;
	t->fresh = !p->reported;
	m->reply_fn = on_answer;
	m->reply_arg = q;
	p->asked = true;
	sim_post(s, m);
}

/* ---- at the end ---- */

static void check_row(struct poster *p, struct db_row *row, size_t *open)
{
	char id[ID_TEXT_MAX];
	int64_t n = db_i64(row, 1), state = db_i64(row, 2);
	must(str_copy(id, sizeof(id), db_text(row, 0)) == 0);
	const struct received *r = map_get(&p->received, str_of(id));
	if (state == 2 && (!r || r->newest < n))
		sim_fail(p->sim, "callback %lld of %s is marked delivered and was not received", (long long)n, id);
	if (state == 3)
		sim_fail(p->sim, "callback %lld of %s was given up: %.*s", (long long)n, id, (int)db_text(row, 3).n,
			db_text(row, 3).p);
	*open += state < 2;
}

void post_check(struct sim *s)
{
	struct poster *p = s->poster;
	struct db *db = svc_database(s->slot[SVC_ORCHESTRATOR].svc);
	struct db_row *row;
	struct err err = { 0 };
	size_t rows = 0, open = 0;
	int rc;
	for (rc = db_query(db, &row, &err, "SELECT workload_id,n,state,error FROM callback", ""); rc == 1;
		 rc = db_next(row, &err)) {
		check_row(p, row, &open);
		rows++;
	}
	if (rc < 0 ||
		db_query(db, &row, &err,
			"SELECT count(*) FROM transition WHERE workload_id IN (SELECT workload_id FROM callback)", "") != 1)
		sim_fail(s, "the callbacks cannot be read: %s", err.text);
	if ((size_t)db_i64(row, 0) != rows)
		sim_fail(s, "%lld changes have %zu callbacks", (long long)db_i64(row, 0), rows);
	db_done(row);
	sim_say(s, "%zu callbacks in %llu posts, %zu still open, %llu refused, %llu results lost, %llu couriers died", rows,
		(unsigned long long)p->posts, open, (unsigned long long)p->refused, (unsigned long long)p->lost,
		(unsigned long long)p->deaths);
	if (rows > 50 && open == rows)
		sim_fail(s, "no callback was ever delivered");
}

void post_start(struct sim *s)
{
	struct poster *p = s->poster = mem_calloc(1, sizeof(*p));
	must(p);
	p->sim = s;
	rng_init(&p->rng, s->opts.seed ^ 0x706f7374);
	list_init(&p->parcels);
	map_init(&p->received);
	sim_at(s, s->now_ns, ask, p, 0);
}

void post_free(struct poster *p)
{
	size_t pos = 0;
	void *v;
	if (!p)
		return;
	while (!list_empty(&p->parcels))
		parcel_free(list_entry(p->parcels.next, struct parcel, node));
	while (map_next(&p->received, &pos, NULL, &v))
		mem_free(v);
	map_release(&p->received);
	mem_free(p);
}
