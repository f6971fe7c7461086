/*
 * Callbacks: a durable queue of what is to be posted to customers' addresses, in order per workload.
 *
 *   orch_workload_move ─▶ row, waiting ─▶ CallbackTake of the sender: sending, for CALLBACK_LEASE_MS
 *                              ▲                    │ CallbackResult
 *                              └── later, by backoff ┴▶ delivered, or given up after so many tries or so long
 *
 * Only the oldest open row of a workload is its head and may be sent. A sender that dies leaves its rows to the next:
 * they are due again when its successor reports for work, or when the lease has run out. So each is sent at least once.
 */
#include "services/orchestrator/callback.h"

#include <stdio.h>

#include "base/money.h"
#include "http/url.h"
#include "loop/address.h"
#include "services/orchestrator/orchestrator_priv.h"
#include "wire/pbjson.h"

#include <sys/socket.h>

enum { WAITING = 0, SENDING = 1, DELIVERED = 2, GIVEN_UP = 3 };
enum { LIST_MAX = 200, BODY_MAX = 64 << 10 };

/* ---- what may be asked for ---- */

static bool is_local_name(struct str host)
{
	static const struct str suffix = { ".localhost", 10 };
	return str_ieqz(host, "localhost") ||
		   (host.n > suffix.n && str_ieqz((struct str){ host.p + host.n - suffix.n, suffix.n }, ".localhost"));
}

int orch_callback_check(const struct orchestrator *o, const char *url, struct err *err)
{
	struct url u;
	struct sockaddr_storage a;
	char host[256];
	int rc = url_parse(str_of(url), &u, err);
	if (rc == 0)
		rc = str_copy(host, sizeof(host), u.host);
	if (rc < 0) {
		(void)!str_copy(err->field, sizeof(err->field), STR("callback_url"));
		return HCP_EINVAL;
	}
	/* Names are looked up when it is sent, and judged by the address that is connected to. */
	bool local = is_local_name(u.host) ||
				 (address_parse(host, u.port, &a) == 0 && !address_is_public((const struct sockaddr *)&a));
	return local && !o->callback_private
			   ? err_set(err, HCP_EINVAL, "callback_url", "%.100s is not an address of the public internet", host)
			   : 0;
}

/* ---- into the queue ---- */

static const char *event_name(Hcp__WorkloadState s)
{
	static const char *const names[] = { "", "workload.queued", "workload.scheduled", "workload.started",
		"workload.paused", "workload.completed", "workload.failed", "workload.cancelled" };
	return names[s];
}

static int write_body(struct svc_ctx *ctx, const Hcp__Workload *w, Hcp__WorkloadState from, const char *id,
	struct str *ret, struct err *err)
{
	Hcp__CallbackEvent ev = HCP__CALLBACK_EVENT__INIT;
	Hcp__Workload body = *w;
	struct buf b;
	body.n_device_ids = 0;
	ev.id = id;
	ev.event = event_name(w->state);
	ev.at_ns = svc_now_ns(ctx);
	ev.from = from;
	ev.workload = &body;
	buf_init(&b, BODY_MAX);
	int rc = pbjson_write(&ev.base, &b);
	char *p = rc == 0 ? arena_dup(svc_arena(ctx), b.data, b.n) : NULL;
	*ret = (struct str){ p, b.n };
	buf_release(&b);
	return p ? 0 : err_set(err, HCP_ENOMEM, "", "out of memory");
}

static int count_open(struct svc_ctx *ctx, const char *workload_id, int64_t *ret, struct err *err)
{
	struct db_row *row;
	int rc = db_query(
		svc_db(ctx), &row, err, "SELECT count(*) FROM callback WHERE workload_id=$1 AND state<2", "z", workload_id);
	if (rc < 0)
		return rc;
	*ret = db_i64(row, 0);
	db_done(row);
	return 0;
}

/* A receiver that is away for long is told the newest; the oldest that was never tried goes. */
static int drop_oldest(struct svc_ctx *ctx, const char *workload_id, struct err *err)
{
	return db_run(svc_db(ctx), err,
		"UPDATE callback SET state=3, done_ns=$2, body=$3, error='too many wait' WHERE workload_id=$1 AND n="
		"(SELECT min(n) FROM callback WHERE workload_id=$1 AND state<2 AND head=0)",
		"zib", workload_id, svc_now_ns(ctx), STR(""));
}

static void look_again(struct orchestrator *o, struct svc_ctx *ctx)
{
	o->callback_next_ns = svc_now_ns(ctx);
	if (o->taker)
		svc_wake_at(ctx, o->callback_next_ns);
}

int orch_callback_add(
	struct orchestrator *o, struct svc_ctx *ctx, const Hcp__Workload *w, Hcp__WorkloadState from, struct err *err)
{
	char id[ID_TEXT_MAX];
	struct str body;
	int64_t open = 0;
	if (!w->callback_url[0])
		return 0;
	svc_new_id(ctx, id, ID_CALLBACK);
	int rc = write_body(ctx, w, from, id, &body, err);
	if (rc == 0)
		rc = count_open(ctx, w->id, &open, err);
	if (rc == 0 && open >= CALLBACK_WAITING_MAX)
		rc = drop_oldest(ctx, w->id, err);
	if (rc == 0)
		rc = db_run(svc_db(ctx), err,
			"INSERT INTO "
			"callback(workload_id,n,customer_id,id,event,at_ns,state,head,due_ns,tries,done_ns,status,error,"
			"url,body) VALUES($1,$2,$3,$4,$5,$6,0,$7,$6,0,0,0,'',$8,$9)",
			"zizzziizb", w->id, w->version, w->customer_id, id, event_name(w->state), svc_now_ns(ctx),
			(int64_t)(open == 0), w->callback_url, body);
	if (rc == 0)
		look_again(o, ctx);
	return rc;
}

/* ---- out of it: the sender asks ---- */

struct pick {
	const char *workload_id, *customer_id, *url, *id;
	int64_t n, tries;
	struct str body;
};

struct picks {
	struct pick of[CALLBACK_TAKE_MAX];
	size_t n;
};

static int keep_row(struct arena *a, struct db_row *row, struct pick *p)
{
	struct str body = db_blob(row, 6);
	p->workload_id = arena_strndup(a, db_text(row, 0).p, db_text(row, 0).n);
	p->n = db_i64(row, 1);
	p->customer_id = arena_strndup(a, db_text(row, 2).p, db_text(row, 2).n);
	p->tries = db_i64(row, 3) + 1;
	p->url = arena_strndup(a, db_text(row, 4).p, db_text(row, 4).n);
	p->id = arena_strndup(a, db_text(row, 5).p, db_text(row, 5).n);
	p->body = (struct str){ arena_dup(a, body.p, body.n), body.n };
	return p->workload_id && p->customer_id && p->url && p->id && p->body.p ? 0 : HCP_ENOMEM;
}

/* May its customer have one more in the sender's hands? busy: how many it has there already, but for these. */
static bool has_room(const struct picks *got, struct str customer, int64_t busy)
{
	for (size_t i = 0; i < got->n; i++)
		busy += str_eqz(customer, got->of[i].customer_id);
	return busy < CALLBACK_CUSTOMER_MAX;
}

static int find_due(struct svc_ctx *ctx, size_t max, struct picks *got, struct err *err)
{
	struct db_row *row;
	int rc;
	for (rc = db_query(svc_db(ctx), &row, err,
			 "SELECT workload_id,n,customer_id,tries,url,id,body,(SELECT count(*) FROM callback s WHERE s.state=1"
			 " AND s.customer_id=c.customer_id AND s.due_ns>$1) FROM callback c WHERE head=1 AND due_ns<=$1"
			 " AND customer_id NOT IN (SELECT customer_id FROM callback WHERE state=1 AND due_ns>$1 GROUP BY "
			 "customer_id"
			 " HAVING count(*)>=$2) ORDER BY due_ns,workload_id LIMIT $3",
			 "iii", svc_now_ns(ctx), (int64_t)CALLBACK_CUSTOMER_MAX, (int64_t)CALLBACK_LOOK_MAX);
		 rc == 1 && got->n < max; rc = db_next(row, err)) {
		if (!has_room(got, db_text(row, 2), db_i64(row, 7)))
			continue;
		if (keep_row(svc_arena(ctx), row, &got->of[got->n]) < 0) {
			db_done(row);
			return err_set(err, HCP_ENOMEM, "", "out of memory");
		}
		got->n++;
	}
	if (rc == 1)
		db_done(row);
	return rc < 0 ? rc : 0;
}

static int next_due(struct orchestrator *o, struct svc_ctx *ctx, struct err *err)
{
	struct db_row *row;
	int rc = db_query(
		svc_db(ctx), &row, err, "SELECT min(due_ns) FROM callback WHERE head=1 AND due_ns>$1", "i", svc_now_ns(ctx));
	if (rc < 0)
		return rc;
	o->callback_next_ns = db_is_null(row, 0) ? INT64_MAX : db_i64(row, 0);
	db_done(row);
	return 0;
}

/* What is due becomes the sender's for the time of the lease. */
static int lease(struct orchestrator *o, struct svc_ctx *ctx, size_t max, struct picks *got, struct err *err)
{
	got->n = 0;
	int rc = find_due(ctx, max, got, err);
	for (size_t i = 0; i < got->n && rc == 0; i++)
		rc = db_run(svc_db(ctx), err, "UPDATE callback SET state=1, tries=$3, due_ns=$4 WHERE workload_id=$1 AND n=$2",
			"ziii", got->of[i].workload_id, got->of[i].n, got->of[i].tries,
			svc_now_ns(ctx) + CALLBACK_LEASE_MS * NS_PER_MS);
	return rc < 0 ? rc : next_due(o, ctx, err);
}

static int fill(const struct orchestrator *o, struct svc_ctx *ctx, const struct picks *got, struct arena *a,
	Hcp__CallbackOrders *out, struct err *err)
{
	for (size_t i = 0; i < got->n; i++) {
		const struct pick *p = &got->of[i];
		Hcp__CallbackOrder *x = arena_alloc(a, sizeof(*x));
		if (!x || pb_push(a, &out->n_orders, &out->orders, x) < 0)
			return err_set(err, HCP_ENOMEM, "", "out of memory");
		hcp__callback_order__init(x);
		x->id = arena_strdup(a, p->id);
		x->workload_id = arena_strdup(a, p->workload_id);
		x->n = p->n;
		x->attempt = (int32_t)p->tries;
		x->url = arena_strdup(a, p->url);
		x->body = (ProtobufCBinaryData){ p->body.n, arena_dup(a, p->body.p, p->body.n) };
		if (!x->id || !x->workload_id || !x->url || !x->body.data)
			return err_set(err, HCP_ENOMEM, "", "out of memory");
		int rc = orch_callback_sign(o, ctx, p->customer_id, p->body, a, &x->signature, err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* Answers the sender that waits, with nothing if got is NULL. */
static int answer_taker(struct orchestrator *o, struct svc_ctx *ctx, const struct picks *got, struct err *err)
{
	struct arena *a;
	struct msg *m = o->taker;
	o->taker = NULL;
	Hcp__CallbackOrders *out = svc_answer(ctx, m, MSG_CALLBACK_ORDERS, &a);
	if (!out) {
		msg_answer_problem(m, HCP_ENOMEM, NULL);
		msg_free(m);
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	}
	return got ? fill(o, ctx, got, a, out, err) : 0;
}

/* Kept, so that submissions are judged alike while the sender is away. */
static int keep_private(struct orchestrator *o, struct svc_ctx *ctx, bool allow, struct err *err)
{
	if (allow == o->callback_private)
		return 0;
	o->callback_private = allow;
	return db_run(svc_db(ctx), err,
		"INSERT INTO economy(k,v) VALUES('callback_private',$1) ON CONFLICT(k) DO UPDATE SET v=excluded.v", "b",
		allow ? STR("1") : STR(""));
}

int64_t orch_callback_due(const struct orchestrator *o)
{
	if (!o->taker)
		return INT64_MAX;
	return o->taker_until_ns < o->callback_next_ns ? o->taker_until_ns : o->callback_next_ns;
}

int orch_on_callback_take(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	struct orchestrator *o = state;
	const Hcp__CallbackTake *t = (const Hcp__CallbackTake *)m->body;
	struct picks got = { .n = 0 };
	if (t->max < 1 || t->max > CALLBACK_TAKE_MAX)
		return err_set(err, HCP_ERANGE, "max", "must be 1 to %d, was %d", CALLBACK_TAKE_MAX, t->max);
	if (t->wait_ms < 0 || t->wait_ms > ORCHESTRATOR_MAX_WAIT_MS)
		return err_set(err, HCP_ERANGE, "wait_ms", "must be 0 to %d, was %d", ORCHESTRATOR_MAX_WAIT_MS, t->wait_ms);
	int rc = o->taker ? answer_taker(o, ctx, NULL, err) : 0;
	if (rc == 0)
		rc = keep_private(o, ctx, t->allow_private, err);
	if (rc == 0 && t->fresh)
		rc = db_run(svc_db(ctx), err, "UPDATE callback SET state=0, due_ns=$1 WHERE state=1", "i", svc_now_ns(ctx));
	if (rc == 0)
		rc = lease(o, ctx, (size_t)t->max, &got, err);
	if (rc < 0)
		return rc;
	if (got.n == 0 && t->wait_ms > 0) {
		o->taker = svc_hold_idle(ctx);
		o->taker_until_ns = svc_now_ns(ctx) + t->wait_ms * NS_PER_MS;
		svc_wake_at(ctx, orch_callback_due(o));
		return 0;
	}
	Hcp__CallbackOrders *out = svc_reply(ctx, MSG_CALLBACK_ORDERS);
	return out ? fill(o, ctx, &got, svc_reply_arena(ctx), out, err) : HCP_ENOMEM;
}

int orch_callback_timer(struct orchestrator *o, struct svc_ctx *ctx, struct err *err)
{
	struct picks got = { .n = 0 };
	int rc = 0;
	if (!o->taker)
		return 0;
	if (svc_now_ns(ctx) >= o->callback_next_ns)
		rc = lease(o, ctx, (size_t)((const Hcp__CallbackTake *)o->taker->body)->max, &got, err);
	if (rc < 0)
		return rc;
	if (got.n || svc_now_ns(ctx) >= o->taker_until_ns)
		return answer_taker(o, ctx, got.n ? &got : NULL, err);
	svc_wake_at(ctx, orch_callback_due(o));
	return 0;
}

/* ---- how it ended ---- */

/* 1 s, 2 s, 4 s … to an hour, each cut at random by up to a half so that many do not come back at once. */
static int64_t backoff_ns(struct svc_ctx *ctx, int64_t tries)
{
	int64_t ms = CALLBACK_BACKOFF_MS << (tries - 1 < 20 ? tries - 1 : 20);
	ms = ms < CALLBACK_BACKOFF_MAX_MS ? ms : CALLBACK_BACKOFF_MAX_MS;
	return (ms - (int64_t)rng_below(svc_rng(ctx), (uint64_t)ms / 2 + 1)) * NS_PER_MS;
}

/* It is over for row n: the next of its workload comes to the head. */
static int close_row(
	struct svc_ctx *ctx, const Hcp__CallbackResult *r, int64_t state, const char *error, struct err *err)
{
	int rc = db_run(svc_db(ctx), err,
		"UPDATE callback SET state=$3, head=0, done_ns=$4, status=$5, error=$6, body=$7 WHERE workload_id=$1 AND n=$2",
		"ziiiizb", r->workload_id, r->n, state, svc_now_ns(ctx), (int64_t)r->status, error, STR(""));
	return rc < 0 ? rc
				  : db_run(svc_db(ctx), err,
						"UPDATE callback SET head=1, due_ns=$2 WHERE workload_id=$1 AND n="
						"(SELECT min(n) FROM callback WHERE workload_id=$1 AND state<2)",
						"zi", r->workload_id, svc_now_ns(ctx));
}

static int failed(struct svc_ctx *ctx, const Hcp__CallbackResult *r, int64_t tries, int64_t at_ns, struct err *err)
{
	char error[CALLBACK_ERROR_MAX];
	bool late = svc_now_ns(ctx) - at_ns >= CALLBACK_AGE_MAX_S * NS_PER_S;
	if (r->status)
		snprintf(error, sizeof(error), "answered %d", r->status);
	else
		snprintf(error, sizeof(error), "%.*s", CALLBACK_ERROR_MAX - 1, r->error);
	if (r->refused || late || tries >= CALLBACK_TRIES_MAX)
		return close_row(ctx, r, GIVEN_UP, error, err);
	return db_run(svc_db(ctx), err,
		"UPDATE callback SET state=0, due_ns=$3, status=$4, error=$5 WHERE workload_id=$1 AND n=$2", "ziiiz",
		r->workload_id, r->n, svc_now_ns(ctx) + backoff_ns(ctx, tries), (int64_t)r->status, error);
}

int orch_on_callback_result(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	struct orchestrator *o = state;
	const Hcp__CallbackResult *r = (const Hcp__CallbackResult *)m->body;
	struct db_row *row;
	int rc = db_query(svc_db(ctx), &row, err, "SELECT state,tries,at_ns FROM callback WHERE workload_id=$1 AND n=$2",
		"zi", r->workload_id, r->n);
	if (rc <= 0)
		return rc < 0 ? rc : err_set(err, HCP_ENOTFOUND, "workload_id", "there is no such callback");
	int64_t was = db_i64(row, 0), tries = db_i64(row, 1), at_ns = db_i64(row, 2);
	db_done(row);
	if (was >= DELIVERED)
		return 0;
	/* Delivered counts whenever it is told; a failure only if it is the latest try's. */
	if (r->status >= 200 && r->status < 300)
		rc = close_row(ctx, r, DELIVERED, "", err);
	else if (was == SENDING && r->attempt == tries)
		rc = failed(ctx, r, tries, at_ns, err);
	if (rc == 0)
		look_again(o, ctx);
	return rc;
}

void orch_callback_release(struct orchestrator *o)
{
	struct err err = { 0 };
	if (!o->taker)
		return;
	err_set(&err, HCP_ECLOSED, "", "the service restarts; ask again");
	msg_answer_problem(o->taker, HCP_ECLOSED, &err);
	msg_free(o->taker);
	o->taker = NULL;
}

/* ---- what people ask ---- */

static int add_row(struct arena *a, struct db_row *row, Hcp__Callbacks *out)
{
	static const char *const states[] = { "waiting", "sending", "delivered", "given_up" };
	Hcp__Callback *c = arena_alloc(a, sizeof(*c));
	if (!c)
		return HCP_ENOMEM;
	hcp__callback__init(c);
	c->id = arena_strndup(a, db_text(row, 0).p, db_text(row, 0).n);
	c->event = arena_strndup(a, db_text(row, 1).p, db_text(row, 1).n);
	c->at_ns = db_i64(row, 2);
	c->state = states[db_i64(row, 3) & 3];
	c->tries = (int32_t)db_i64(row, 4);
	c->due_at_ns = db_i64(row, 3) == WAITING ? db_i64(row, 5) : 0;
	c->done_at_ns = db_i64(row, 6);
	c->status = (int32_t)db_i64(row, 7);
	c->error = arena_strndup(a, db_text(row, 8).p, db_text(row, 8).n);
	return c->id && c->event && c->error ? pb_push(a, &out->n_callbacks, &out->callbacks, c) : HCP_ENOMEM;
}

int orch_on_callbacks_get(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	const Hcp__CallbacksGet *g = (const Hcp__CallbacksGet *)m->body;
	struct row r;
	struct db_row *row;
	int rc = orch_workload_load(state, ctx, g->id, &r, err);
	if (rc == 0 && !orch_workload_visible(m, r.w))
		rc = err_set(err, HCP_ENOTFOUND, "id", "there is no workload %.40s", g->id);
	if (rc < 0)
		return rc;
	Hcp__Callbacks *out = svc_reply(ctx, MSG_CALLBACKS);
	if (!out)
		return HCP_ENOMEM;
	for (rc = db_query(svc_db(ctx), &row, err,
			 "SELECT * FROM (SELECT id,event,at_ns,state,tries,due_ns,done_ns,status,error,n FROM callback"
			 " WHERE workload_id=$1 ORDER BY n DESC LIMIT $2) AS latest ORDER BY n",
			 "zi", g->id, (int64_t)LIST_MAX);
		 rc == 1; rc = db_next(row, err)) {
		if (add_row(svc_reply_arena(ctx), row, out) < 0) {
			db_done(row);
			return HCP_ENOMEM;
		}
	}
	return rc;
}
