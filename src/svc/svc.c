#include "svc/svc.h"

#include <stdio.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/money.h"
#include "base/panic.h"
#include "svc/svc_priv.h"

bool svc_is_fatal(int code)
{
	return code == HCP_ENOMEM || code == HCP_EIO || code == HCP_ENOSPC || code == HCP_ECORRUPT || code == HCP_EINTERNAL;
}

static const char *name_of(const struct svc *svc)
{
	return svc_table[svc->def->id].name;
}

static void set_health(struct svc *svc, int state, const char *detail)
{
	pthread_mutex_lock(&svc->stats_lock);
	svc->stats.state = state;
	snprintf(svc->stats.detail, sizeof(svc->stats.detail), "%s", detail);
	pthread_mutex_unlock(&svc->stats_lock);
}

/* ---- one batch ---- */

static void ctx_begin(struct svc *svc, struct msg **in, size_t n, int64_t now_ns)
{
	struct svc_ctx *ctx = &svc->ctx;
	struct arena arena = ctx->arena;
	arena_clear(&arena);
	*ctx = (struct svc_ctx){ .svc = svc, .now_ns = now_ns, .arena = arena, .in = in, .n_in = n };
	ctx->clock = svc->clock;
	for (size_t i = 0; i < n; i++)
		if (in[i]->clock > ctx->clock)
			ctx->clock = in[i]->clock;
	ctx->clock++;
	rng_init(&ctx->rng, svc->instance ^ (uint64_t)(svc->batch_no + 1) * 0x9e3779b97f4a7c15ULL);
}

static int run_timer(struct svc *svc, struct svc_ctx *ctx, struct err *err)
{
	svc->wake_ns = INT64_MAX;
	if (svc->def->timer_ms)
		svc->periodic_ns = ctx->now_ns + svc->def->timer_ms * NS_PER_MS;
	return svc->def->timer ? svc->def->timer(svc->state, ctx, err) : 0;
}

/* Queues the answer for after the commit; a message nobody waits for needs none. */
static int finish_message(struct svc_ctx *ctx, struct msg *m, int rc, const struct err *err)
{
	struct msg *reply = ctx->current_reply;
	ctx->current_reply = NULL;
	if (rc < 0) {
		msg_free(reply);
		reply = m->reply_fn ? msg_problem(rc, err) : NULL;
	} else if (!reply && m->reply_fn) {
		reply = msg_new(MSG_EMPTY);
	}
	if (!m->reply_fn) {
		msg_free(reply);
		return 0;
	}
	if (svc_add_reply(ctx, m, reply, false) < 0) {
		msg_free(reply);
		return HCP_ENOMEM;
	}
	return 0;
}

static void note_refusal(struct svc *svc, const struct msg *m, const struct err *err)
{
	pthread_mutex_lock(&svc->stats_lock);
	svc->stats.refused++;
	pthread_mutex_unlock(&svc->stats_lock);
	if (m->seq && !svc->replaying)
		log_warn(name_of(svc), "event %s refused: %s %s", msg_info(m->type)->name, err->field, err->text);
}

static int call_handler(struct svc *svc, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	const struct svc_handler *h = svc->by_type[m->type];
	if (m->deadline_ns && m->deadline_ns < ctx->now_ns && !m->seq)
		return err_set(err, HCP_ETIMEOUT, "", "the deadline passed before %s looked at it", name_of(svc));
	if (!h)
		return m->seq ? 0 : err_set(err, HCP_EUNSUPPORTED, "type", "%s does not take message %u", name_of(svc),
					    m->type);
	return h->fn(svc->state, ctx, m, err);
}

static int handle_one(struct svc *svc, struct svc_ctx *ctx, struct msg *m, struct err *err)
{
	if (m->type == MSG_NONE)
		return run_timer(svc, ctx, err);
	struct err refusal = { 0 };
	ctx->current = m;
	ctx->kept = false;
	log_trace(m->trace_hi, m->trace_lo);
	int rc = call_handler(svc, ctx, m, &refusal);
	if (svc_is_fatal(rc)) {
		msg_free(ctx->current_reply);
		ctx->current_reply = NULL;
		err_set(err, rc, refusal.field, "%s: %s", msg_info(m->type)->name, refusal.text);
	} else if (!ctx->kept) {
		if (rc < 0)
			note_refusal(svc, m, &refusal);
		rc = finish_message(ctx, m, rc, &refusal);
	}
	ctx->current = NULL;
	log_trace(0, 0);
	if (m->seq && m->sender >= 0)
		svc->inbox[m->sender] = m->seq;
	return rc;
}

static bool changes(const struct svc *svc, const struct msg *m)
{
	const struct svc_handler *h = svc->by_type[m->type];
	return m->type == MSG_NONE ? svc->def->timer != NULL : m->seq || (h && !h->query);
}

static bool needs_commit(const struct svc *svc, struct msg *const *in, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (changes(svc, in[i]))
			return true;
	return false;
}

/*
 * A service without a journal that wrote no row and published nothing has changed its memory alone, which no replay
 * and no restart asks for: there is nothing to commit. Marks of consumed events are written with the next batch that
 * has something to keep; events consumed again after a crash find the same tables.
 */
static bool left_no_trace(const struct svc *svc, int64_t rows_before)
{
	return svc->def->no_journal && !svc->ctx.n_events && !svc->ctx.numbers && db_total_changes(svc->db) == rows_before;
}

/* Runs the handlers and commits; on failure everything is rolled back and the caller reloads the state. */
int svc_run_batch(struct svc *svc, struct msg **in, size_t n, int64_t now_ns, struct err *err)
{
	struct svc_ctx *ctx = &svc->ctx;
	bool may_change = needs_commit(svc, in, n);
	bool write = may_change && !svc->replaying; /* a replay is one transaction, and keeps no rows of its own */
	uint64_t seq_before = svc->seq;
	int64_t rows_before = db_total_changes(svc->db);
	ctx_begin(svc, in, n, now_ns);
	int rc = write ? db_begin(svc->db, err) : 0;
	if (rc < 0)
		return rc;
	/* The journal keeps inputs as they came, so it packs them before a handler may take one away. */
	if (write)
		rc = journal_pack_inputs(svc, ctx, err);
	for (size_t i = 0; i < n && rc == 0; i++) {
		rc = handle_one(svc, ctx, in[i], err);
		if (ctx->kept)
			in[i] = NULL;
		ctx->kept = false;
	}
	if (rc == 0 && svc->def->settle && may_change)
		rc = svc->def->settle(svc->state, ctx, err);
	must(write || svc->replaying || svc->seq == seq_before); /* a query publishes nothing */
	if (rc == 0 && write && left_no_trace(svc, rows_before)) {
		db_rollback(svc->db);
		return 0;
	}
	if (rc == 0 && write)
		rc = journal_write(svc, ctx, err);
	if (rc == 0 && write)
		rc = db_commit(svc->db, err);
	else if (rc < 0 && write)
		db_rollback(svc->db);
	if (rc == 0 && (write || svc->replaying)) {
		/* Nothing to append is appended, unless an earlier batch still waits for the log. */
		if (!ctx->n_events && svc->appended_batch == svc->batch_no)
			svc->appended_batch++;
		svc->batch_no++;
		svc->clock = ctx->clock;
		svc->reloaded = false;
	}
	return rc;
}

static void release_batch(struct svc *svc)
{
	struct svc_ctx *ctx = &svc->ctx;
	struct err err = { 0 };
	if (ctx->n_events && journal_publish(svc, ctx, &err) < 0)
		log_error(name_of(svc), "events wait for the log: %s", err.text);
	for (size_t i = 0; i < ctx->n_replies; i++) {
		msg_answer(ctx->replies[i].to, ctx->replies[i].reply);
		if (ctx->replies[i].held)
			msg_free(ctx->replies[i].to);
	}
	for (size_t i = 0; svc->conf.send_agent && i < ctx->n_agents; i++)
		svc->conf.send_agent(svc->conf.send_arg, ctx->agents[i].node_id, ctx->agents[i].bytes);
	for (size_t i = 0; i < ctx->n_in; i++)
		msg_free(ctx->in[i]);
}

/* The batch did not happen (or nobody will know that it did): tell who waits, and forget it. */
static void drop_batch(struct svc *svc, int code, const char *text)
{
	struct svc_ctx *ctx = &svc->ctx;
	struct err err = { 0 };
	err_set(&err, code, "", "%s", text);
	for (size_t i = 0; i < ctx->n_replies; i++) {
		msg_free(ctx->replies[i].reply);
		if (ctx->replies[i].held) {
			msg_answer_problem(ctx->replies[i].to, code, &err);
			msg_free(ctx->replies[i].to);
		}
	}
	for (size_t i = 0; i < ctx->n_in; i++) {
		if (!ctx->in[i])
			continue;
		msg_answer_problem(ctx->in[i], code, &err);
		msg_free(ctx->in[i]);
	}
}

static void abort_batch(struct svc *svc, const struct err *why)
{
	char text[320];
	snprintf(text, sizeof(text), "%s cannot store changes now (%s); nothing was changed, try again", name_of(svc),
		 why->text);
	drop_batch(svc, HCP_EUNAVAIL, text);
}

/* ---- open, reload, close ---- */

static int load_state(struct svc *svc, struct err *err)
{
	/* A replay keeps no marks: it knows how far it is. */
	int rc = svc->replaying ? 0 : journal_load(svc, err);
	if (rc == 0)
		rc = svc->def->open(svc, svc->db, svc->conf.conf, &svc->state, err);
	svc->reloaded = true;
	return rc;
}

static void drop_state(struct svc *svc)
{
	if (svc->state)
		svc->def->close(svc->state);
	svc->state = NULL;
	svc->n_held = 0;
}

int svc_reload(struct svc *svc, struct err *err)
{
	drop_state(svc);
	int rc = load_state(svc, err);
	if (rc < 0)
		drop_state(svc);
	return rc;
}

static int open_db(struct svc *svc, struct err *err)
{
	struct db_conf conf = { .path = svc->db_path,
		.vfs = svc->conf.vfs,
		.durable = svc->conf.durable,
		.before_commit = svc->conf.before_commit,
		.arg = svc->conf.commit_arg };
	const char *steps[64] = { journal_schema };
	int n = 1;
	while (svc->def->schema[n - 1]) {
		steps[n] = svc->def->schema[n - 1];
		must(++n < 64);
	}
	int rc = db_open(&conf, &svc->db, err);
	return rc < 0 ? rc : db_migrate(svc->db, steps, n, err);
}

int svc_open(const struct svc_def *def, const struct svc_conf *conf, struct svc **ret, struct err *err)
{
	struct svc *svc = mem_calloc(1, sizeof(*svc));
	if (!svc)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	svc->def = def;
	svc->conf = *conf;
	svc->wake_ns = INT64_MAX;
	svc->periodic_ns = def->timer_ms ? conf->now_ns : INT64_MAX;
	pthread_mutex_init(&svc->stats_lock, NULL);
	arena_init(&svc->ctx.arena, 64 << 10, 0);
	buf_init(&svc->packed_inputs, 0);
	buf_init(&svc->packed_events, 0);
	for (int i = 0; i < TOPIC_COUNT; i++)
		if (topic_table[i].to_mask >> def->id & 1)
			svc->mask |= UINT64_C(1) << i;
	for (const struct svc_handler *h = def->handlers; h->type; h++)
		svc->by_type[h->type] = h;
	svc->db_path = conf->db_path ? mem_strdup(conf->db_path) : NULL;
	svc->base_dir = conf->base_dir && !def->no_journal ? mem_strdup(conf->base_dir) : NULL;
	svc->base_bytes = conf->base_bytes ? conf->base_bytes : SVC_BASE_BYTES;
	svc->bases_kept = conf->bases_kept ? (size_t)conf->bases_kept : SVC_BASES_KEPT;
	int rc = mailbox_new(SVC_MAILBOX, &svc->mailbox);
	if (rc == 0)
		rc = open_db(svc, err);
	if (rc == 0)
		rc = load_state(svc, err);
	if (rc == 0)
		svc_base_load(svc);
	/* The log may have lost its tail, and senders that opened before us may have filled the gap with other records. */
	if (rc == 0 && conf->bus && svc->bus_next > bus_recovered(conf->bus))
		svc->bus_next = svc->bus_read_next = bus_recovered(conf->bus);
	if (rc == 0 && !conf->hold_outbox)
		rc = journal_republish(svc, err);
	if (rc < 0) {
		svc_close(svc);
		return rc;
	}
	*ret = svc;
	return 0;
}

void svc_close(struct svc *svc)
{
	if (!svc)
		return;
	if (svc->state && !svc->crashed)
		journal_settle(svc);
	drop_state(svc);
	mailbox_free(svc->mailbox);
	buf_release(&svc->packed_inputs);
	buf_release(&svc->packed_events);
	db_close(svc->db);
	arena_release(&svc->ctx.arena);
	pthread_mutex_destroy(&svc->stats_lock);
	mem_free(svc->db_path);
	mem_free(svc->base_dir);
	mem_free(svc);
}

void svc_abandon(struct svc *svc)
{
	if (svc)
		svc->crashed = true;
	svc_close(svc);
}

int svc_republish(struct svc *const *svc, size_t n, struct err *err)
{
	return journal_republish_all(svc, n, err);
}

/* ---- the step ---- */

static int decode_event(struct svc *svc, struct bus_rec *rec, struct msg **ret)
{
	struct err err = { 0 };
	int rc = msg_unpack(rec->payload, ret, &err);
	if (rc < 0) {
		log_error(name_of(svc), "event %llu of the log cannot be read: %s", (unsigned long long)rec->offset, err.text);
		return rc;
	}
	(*ret)->sender = rec->sender;
	(*ret)->seq = rec->seq;
	(*ret)->bus_offset = rec->offset;
	(*ret)->rec = bus_rec_ref(rec);
	return 0;
}

/*
 * Would a handler do anything with it? What is passed over here leaves no trace, as a record of another topic: whether
 * it is passed over is in its bytes alone, so it will be again after a crash. Bytes that cannot be read are wanted, for
 * the log to say so.
 */
static bool is_wanted(const struct svc *svc, struct str packed)
{
	struct str rest = packed, body = STR("");
	struct pb_field f;
	uint64_t type = 0;
	/* They come first, in this order; whatever is packed in another way is decoded. */
	for (uint32_t id = 1; id <= 2; id++) {
		if (pb_next(&rest, &f) != 1 || f.id != id || f.wire != (id == 1 ? 0 : 2))
			return true;
		type = id == 1 ? f.n : type;
		body = f.bytes;
	}
	if (type > MSG_TYPE_MAX)
		return true;
	return svc->by_type[type] && (!svc->def->wants || svc->def->wants((unsigned)type, body));
}

/* Events that were not consumed yet. Where memory ends reading ends, and goes on there next time. */
static size_t gather_events(struct svc *svc, struct msg **in, size_t max, struct err *err)
{
	struct bus_rec *rec[SVC_EVENTS_A_BATCH];
	uint64_t seen[SVC_COUNT];
	size_t n = 0, bytes = 0;
	bool stopped = false;
	memcpy(seen, svc->inbox, sizeof(seen));
	int got = bus_read(svc->conf.bus, svc->bus_next, svc->mask, max, rec, &svc->bus_read_next, err);
	for (int i = 0; i < got; i++) {
		bool fresh = rec[i]->sender < SVC_COUNT && rec[i]->seq > seen[rec[i]->sender];
		fresh = fresh && is_wanted(svc, rec[i]->payload);
		if (fresh && n && !stopped && bytes + rec[i]->payload.n > SVC_EVENT_BYTES_A_BATCH) {
			stopped = true; /* unpacked they take ten times as much, of every service that reads them */
			svc->bus_read_next = rec[i]->offset;
		}
		bytes += fresh ? rec[i]->payload.n : 0;
		int rc = fresh && !stopped ? decode_event(svc, rec[i], &in[n]) : 0;
		if (rc == HCP_ENOMEM) {
			stopped = true;
			svc->bus_read_next = rec[i]->offset;
		} else if (fresh && !stopped) {
			seen[rec[i]->sender] = rec[i]->seq;
			n += rc == 0;
		}
		bus_rec_unref(rec[i]);
	}
	if (got < 0)
		svc->bus_read_next = svc->bus_next;
	return n;
}

/* A timer that would find nothing to do is not woken; it is asked again after its period. */
static bool timer_is_due(struct svc *svc, int64_t now_ns)
{
	if (now_ns < svc->wake_ns && now_ns < svc->periodic_ns)
		return false;
	int64_t due_ns = svc->def->timer_due ? svc->def->timer_due(svc->state, now_ns) : now_ns;
	if (due_ns <= now_ns)
		return true;
	if (svc->wake_ns <= now_ns || due_ns < svc->wake_ns)
		svc->wake_ns = due_ns;
	if (svc->def->timer_ms)
		svc->periodic_ns = now_ns + svc->def->timer_ms * NS_PER_MS;
	return false;
}

/*
 * Requests (they wait), events, the timer; each has room, so none starves the others. After repeated aborts one input
 * at a time, events first, so that the one our code cannot take is found.
 */
static size_t gather(struct svc *svc, struct msg **in, int64_t now_ns, struct err *err)
{
	bool single = svc->aborts_in_row >= SVC_POISON_TRIES;
	bool due = timer_is_due(svc, now_ns);
	size_t n = 0;
	bool reads = svc->conf.bus && svc->mask;
	if (single && reads)
		n = gather_events(svc, in, 1, err);
	if (n)
		return n;
	struct msg *m = mailbox_take(svc->mailbox, single ? 1 : SVC_MAX_BATCH - SVC_EVENTS_A_BATCH - 1);
	for (struct msg *next; m; m = next) {
		next = m->next;
		m->next = NULL;
		in[n++] = m;
	}
	if (!single && reads)
		n += gather_events(svc, in + n, SVC_EVENTS_A_BATCH, err);
	struct msg *timer = due && (!single || n == 0) ? msg_new(MSG_NONE) : NULL;
	if (timer)
		in[n++] = timer;
	return n;
}

static int recover(struct svc *svc, int64_t now_ns, const struct err *why)
{
	struct err err = { 0 };
	log_error(name_of(svc), "batch aborted: %s %s", why->field, why->text);
	pthread_mutex_lock(&svc->stats_lock);
	svc->stats.aborts++;
	pthread_mutex_unlock(&svc->stats_lock);
	svc->aborts_in_row++;
	svc->retry_ns = now_ns + SVC_RETRY_MS * NS_PER_MS;
	drop_state(svc);
	if (load_state(svc, &err) < 0) {
		drop_state(svc);
		set_health(svc, 2, err.text);
		return err.code;
	}
	set_health(svc, 1, why->text);
	return why->code;
}

/* After repeated aborts a single event that our code cannot take is passed over, and said so. */
static bool skip_poison(struct svc *svc, const struct msg *m, const struct err *why)
{
	if (svc->aborts_in_row < SVC_POISON_TRIES || !m->seq || why->code != HCP_EINTERNAL)
		return false;
	log_error(name_of(svc), "event %s number %llu is passed over: %s", msg_info(m->type)->name,
		  (unsigned long long)m->seq, why->text);
	return true;
}

static int step_failed(struct svc *svc, size_t n, int64_t now_ns, const struct err *why)
{
	uint64_t poison_sender = SVC_COUNT, poison_seq = 0;
	struct msg *first = svc->ctx.in[0];
	if (n == 1 && first && skip_poison(svc, first, why)) {
		poison_sender = (uint64_t)first->sender;
		poison_seq = first->seq;
	}
	abort_batch(svc, why);
	int rc = recover(svc, now_ns, why);
	if (poison_sender < SVC_COUNT)
		svc->inbox[poison_sender] = poison_seq;
	return rc;
}

/* The clock was set back: what waits for a time must not wait until the old one has come again. */
static void follow_clock(struct svc *svc, int64_t now_ns)
{
	if (now_ns < svc->step_ns) {
		int64_t periodic = now_ns + svc->def->timer_ms * NS_PER_MS, retry = now_ns + SVC_RETRY_MS * NS_PER_MS;
		if (svc->periodic_ns != INT64_MAX && svc->periodic_ns > periodic)
			svc->periodic_ns = periodic;
		if (svc->wake_ns != INT64_MAX && svc->wake_ns > now_ns)
			svc->wake_ns = now_ns;
		if (svc->retry_ns > retry)
			svc->retry_ns = svc->aborts_in_row ? retry : 0;
	}
	svc->step_ns = now_ns;
}

/* The log takes no events now (its disk is full): questions are answered, changes refused rather than left waiting. */
static int refuse_changes(struct svc *svc, int64_t now_ns)
{
	struct msg *in[SVC_MAX_BATCH];
	struct err err = { 0 }, why = { 0 };
	size_t n = 0;
	int taken = 0;
	err_set(&why, HCP_EUNAVAIL, "", "%s cannot record changes now (the event log takes none); try again", name_of(svc));
	for (struct msg *m = mailbox_take(svc->mailbox, SVC_MAX_BATCH), *next; m; m = next) {
		const struct svc_handler *h = svc->by_type[m->type];
		next = m->next;
		m->next = NULL;
		taken++;
		if (h && h->query) {
			in[n++] = m;
			continue;
		}
		msg_answer_problem(m, HCP_EUNAVAIL, &why);
		msg_free(m);
	}
	if (n && svc_run_batch(svc, in, n, now_ns, &err) == 0)
		release_batch(svc);
	else if (n)
		drop_batch(svc, HCP_EUNAVAIL, why.text);
	return taken;
}

/* Moves what changes nothing to the front, in order, and returns how many that are. */
static size_t questions_first(const struct svc *svc, struct msg **in, size_t n)
{
	struct msg *rest[SVC_MAX_BATCH];
	size_t front = 0, behind = 0;
	for (size_t i = 0; i < n; i++)
		if (changes(svc, in[i]))
			rest[behind++] = in[i];
		else
			in[front++] = in[i];
	for (size_t i = 0; i < behind; i++)
		in[front + i] = rest[i];
	return front;
}

/*
 * Questions that came with changes are answered before them, from what is committed: they need not wait for the disk,
 * and the journal does not keep them. Whoever waits for the answer to a change before asking sees that change.
 */
static size_t answer_questions(struct svc *svc, struct msg **in, size_t n, int64_t now_ns)
{
	struct err err = { 0 };
	size_t asked = questions_first(svc, in, n);
	if (asked == 0 || asked == n)
		return 0;
	if (svc_run_batch(svc, in, asked, now_ns, &err) == 0) {
		release_batch(svc);
	} else {
		log_error(name_of(svc), "cannot answer: %s %s", err.field, err.text);
		drop_batch(svc, HCP_EUNAVAIL, err.text);
	}
	return asked;
}

static void fit_load(struct svc *svc, size_t n, int64_t now_ns)
{
	if (n >= SVC_BUSY_BATCH && !svc->busy_ns)
		db_busy(svc->db, true);
	if (n >= SVC_BUSY_BATCH)
		svc->busy_ns = now_ns;
	if (!svc->busy_ns || (now_ns - svc->busy_ns < SVC_BUSY_S * NS_PER_S && now_ns >= svc->busy_ns))
		return;
	svc->busy_ns = 0;
	db_busy(svc->db, false);
}

int svc_step(struct svc *svc, int64_t now_ns)
{
	struct msg *in[SVC_MAX_BATCH];
	struct err err = { 0 };
	follow_clock(svc, now_ns);
	if (now_ns < svc->retry_ns)
		return 0;
	if (!svc->state && load_state(svc, &err) < 0) {
		svc->retry_ns = now_ns + SVC_RETRY_MS * NS_PER_MS;
		return err.code;
	}
	/* What could not be appended to the log goes first: order is kept, nothing is left behind. */
	if (now_ns >= svc->log_retry_ns && journal_republish(svc, &err) < 0) {
		svc->log_retry_ns = now_ns + SVC_RETRY_MS * NS_PER_MS;
		set_health(svc, 1, err.text);
		refuse_changes(svc, now_ns);
		return err.code;
	}
	if (now_ns < svc->log_retry_ns)
		return refuse_changes(svc, now_ns);
	if (svc->log_retry_ns) {
		svc->log_retry_ns = 0;
		set_health(svc, 0, "");
	}
	size_t n = gather(svc, in, now_ns, &err);
	while (n == 0 && svc->bus_read_next > svc->bus_next) {
		/* Only repeats and other topics: pass over them without a transaction. */
		svc->bus_next = svc->bus_read_next;
		n = gather(svc, in, now_ns, &err);
	}
	if (n == 0) {
		fit_load(svc, 0, now_ns);
		return 0;
	}
	uint64_t seq_before = svc->seq;
	int64_t batch_before = svc->batch_no;
	size_t asked = answer_questions(svc, in, n, now_ns);
	int rc = svc_run_batch(svc, in + asked, n - asked, now_ns, &err);
	if (rc < 0) {
		svc->seq = seq_before;
		return step_failed(svc, n - asked, now_ns, &err);
	}
	if (svc->conf.after_commit && svc->conf.after_commit(svc->conf.commit_arg) != 0) {
		drop_batch(svc, HCP_ECLOSED, "the service stopped before it could answer");
		svc->crashed = true;
		return HCP_ECLOSED;
	}
	svc->bus_next = svc->bus_read_next > svc->bus_next ? svc->bus_read_next : svc->bus_next;
	release_batch(svc);
	svc->aborts_in_row = 0;
	/* That questions can be answered does not say that anything can be stored. */
	if (svc->stats.state && svc->batch_no != batch_before)
		set_health(svc, 0, "");
	fit_load(svc, n, now_ns);
	svc->lull_ns = now_ns - svc->worked_ns;
	svc->worked_ns = now_ns;
	pthread_mutex_lock(&svc->stats_lock);
	svc->stats.batches++;
	svc->stats.messages += n;
	svc->stats.events += svc->ctx.n_events;
	svc->stats.last_step_ns = now_ns;
	pthread_mutex_unlock(&svc->stats_lock);
	return (int)n;
}

int64_t svc_next_wake(const struct svc *svc)
{
	int64_t at = svc->wake_ns < svc->periodic_ns ? svc->wake_ns : svc->periodic_ns;
	if (svc->log_retry_ns)
		return svc->log_retry_ns;
	return at < svc->retry_ns ? svc->retry_ns : at;
}

bool svc_has_input(struct svc *svc)
{
	return mailbox_size(svc->mailbox) || (svc->conf.bus && svc->mask && bus_end(svc->conf.bus) > svc->bus_next);
}

void svc_post(struct svc *svc, struct msg *m)
{
	int rc = mailbox_push(svc->mailbox, m);
	if (rc == 0)
		return;
	struct err err = { 0 };
	err_set(&err, rc, "", rc == HCP_ELIMIT ? "%s has %d requests waiting; try again shortly" : "%s is stopping",
		name_of(svc), SVC_MAILBOX);
	msg_answer_problem(m, rc, &err);
	msg_free(m);
}

struct mailbox *svc_mailbox(struct svc *svc)
{
	return svc->mailbox;
}

const struct svc_def *svc_def_of(const struct svc *svc)
{
	return svc->def;
}

void *svc_state(struct svc *svc)
{
	return svc->state;
}

struct db *svc_database(struct svc *svc)
{
	return svc->db;
}

void svc_bus_synced(struct svc *svc, uint64_t offset)
{
	atomic_store_explicit(&svc->bus_synced, offset, memory_order_release);
}

void svc_stats(struct svc *svc, struct svc_stats *ret)
{
	pthread_mutex_lock(&svc->stats_lock);
	*ret = svc->stats;
	pthread_mutex_unlock(&svc->stats_lock);
}
