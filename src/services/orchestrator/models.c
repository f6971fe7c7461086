/* Rollouts of model versions: what nodes report, what they are told, and when it is turned back. */
#include "services/orchestrator/models.h"

#include <stdio.h>

#include "base/log.h"
#include "base/money.h"

/* ---- rows ---- */

static const char *text_of(struct arena *a, const struct db_row *row, int col)
{
	struct str s = db_text(row, col);
	return arena_strndup(a, s.p ? s.p : "", s.n);
}

int models_load(struct svc_ctx *ctx, const char *name, struct model *ret, struct err *err)
{
	struct db_row *row;
	struct arena *a = svc_arena(ctx);
	int rc = db_query(svc_db(ctx), &row, err,
		"SELECT version,stable,previous,error,by,state,changed_ns FROM model WHERE name=$1", "z", name);
	if (rc <= 0)
		return rc < 0 ? rc : err_set(err, HCP_ENOTFOUND, "name", "no node has served a model %.64s", name);
	*ret = (struct model){ .name = arena_strdup(a, name), .version = text_of(a, row, 0), .stable = text_of(a, row, 1),
		.previous = text_of(a, row, 2), .error = text_of(a, row, 3), .by = text_of(a, row, 4),
		.state = (enum model_state)db_i64(row, 5), .changed_ns = db_i64(row, 6) };
	db_done(row);
	return ret->name && ret->version && ret->stable && ret->previous && ret->error && ret->by ?
		0 : err_set(err, HCP_ENOMEM, "", "out of memory");
}

static int store(struct svc_ctx *ctx, const struct model *m, struct err *err)
{
	return db_run(svc_db(ctx), err,
		"INSERT INTO model(name,version,stable,previous,error,by,state,changed_ns) VALUES($1,$2,$3,$4,$5,$6,$7,$8)"
		" ON CONFLICT(name) DO UPDATE SET version=excluded.version, stable=excluded.stable, previous=excluded.previous,"
		" error=excluded.error, by=excluded.by, state=excluded.state, changed_ns=excluded.changed_ns",
		"zzzzzzii", m->name, m->version, m->stable, m->previous, m->error, m->by, (int64_t)m->state, m->changed_ns);
}

static int take_node(struct arena *a, const struct db_row *row, struct model_node *n)
{
	*n = (struct model_node){ .id = text_of(a, row, 0), .version = text_of(a, row, 1), .digest = text_of(a, row, 2),
		.state = text_of(a, row, 3), .error = text_of(a, row, 4), .held = text_of(a, row, 5), .seen_ns = db_i64(row, 6),
		.order = (uint64_t)db_i64(row, 7), .sent_ns = db_i64(row, 8), .deadline_ns = db_i64(row, 9),
		.retry_ns = db_i64(row, 10), .told = (uint64_t)db_i64(row, 11), .told_version = text_of(a, row, 12) };
	return n->id && n->version && n->digest && n->state && n->error && n->held && n->told_version ? 0 : HCP_ENOMEM;
}

int models_nodes(struct svc_ctx *ctx, const char *name, struct model_node **ret, size_t *ret_n, struct err *err)
{
	struct arena *a = svc_arena(ctx);
	struct db_row *row;
	int64_t count = 0;
	int rc = db_query(svc_db(ctx), &row, err, "SELECT count(*) FROM model_node WHERE model=$1", "z", name);
	if (rc < 0)
		return rc;
	count = db_i64(row, 0);
	db_done(row);
	*ret_n = 0;
	*ret = arena_alloc(a, (size_t)(count + 1) * sizeof(**ret));
	if (!*ret)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	for (rc = db_query(svc_db(ctx), &row, err,
			 "SELECT "
			 "node_id,version,digest,state,error,held,seen_ns,ord,sent_ns,deadline_ns,retry_ns,told,told_version FROM "
			 "model_node"
			 " WHERE model=$1 ORDER BY node_id",
			 "z", name);
		 rc == 1 && (int64_t)*ret_n < count; rc = db_next(row, err)) {
		if (take_node(a, row, &(*ret)[*ret_n]) < 0) {
			db_done(row);
			return err_set(err, HCP_ENOMEM, "", "out of memory");
		}
		(*ret_n)++;
	}
	return rc;
}

static int store_node(struct svc_ctx *ctx, const char *model, const struct model_node *n, struct err *err)
{
	return db_run(svc_db(ctx), err,
		"INSERT INTO "
		"model_node(model,node_id,version,digest,state,error,held,seen_ns,ord,sent_ns,deadline_ns,retry_ns,told,"
		"told_version) VALUES($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14) ON CONFLICT(model,node_id) DO UPDATE SET"
		" version=excluded.version, digest=excluded.digest, state=excluded.state, error=excluded.error,"
		" held=excluded.held, seen_ns=excluded.seen_ns, ord=excluded.ord, sent_ns=excluded.sent_ns,"
		" deadline_ns=excluded.deadline_ns, retry_ns=excluded.retry_ns, told=excluded.told,"
		" told_version=excluded.told_version",
		"zzzzzzziiiiiiz", model, n->id, n->version, n->digest, n->state, n->error, n->held, n->seen_ns,
		(int64_t)n->order, n->sent_ns, n->deadline_ns, n->retry_ns, (int64_t)n->told, n->told_version);
}

bool models_is_away(const struct model_node *n, int64_t now_ns)
{
	return now_ns - n->seen_ns > MODELS_AWAY_S * NS_PER_S;
}

bool models_holds(const struct model_node *n, const char *version)
{
	char want[72];
	snprintf(want, sizeof(want), ",%s,", version);
	return strstr(n->held, want) != NULL;
}

int models_digest(struct svc_ctx *ctx, const char *name, const char *version, const char **ret, struct err *err)
{
	struct db_row *row;
	int rc = db_query(svc_db(ctx), &row, err, "SELECT digest FROM model_version WHERE model=$1 AND version=$2", "zz",
		name, version);
	if (rc <= 0)
		return rc < 0 ? rc : err_set(err, HCP_ENOTFOUND, "version",
			"%.64s has no version %.64s; register it with the digest of its files first", name, version);
	*ret = text_of(svc_arena(ctx), row, 0);
	db_done(row);
	return *ret ? 0 : err_set(err, HCP_ENOMEM, "", "out of memory");
}

int models_add_version(struct svc_ctx *ctx, const char *name, const char *version, const char *digest,
	const char *origin, const char *by, struct err *err)
{
	return db_run(svc_db(ctx), err,
		"INSERT INTO model_version(model,version,digest,origin,created_ns,created_by) VALUES($1,$2,$3,$4,$5,$6)"
		" ON CONFLICT(model,version) DO NOTHING", "zzzziz", name, version, digest, origin, svc_now_ns(ctx), by);
}

/* ---- changes ---- */

static int announce(struct svc_ctx *ctx, const struct model *m, struct err *err)
{
	Hcp__ModelChanged ev = HCP__MODEL_CHANGED__INIT;
	Hcp__Model out;
	int rc = models_fill(ctx, svc_arena(ctx), m, false, &out, err);
	ev.model = &out;
	return rc < 0 ? rc : svc_publish(ctx, m->name, &ev.base);
}

static int record(struct svc_ctx *ctx, const struct model *m, const char *from, const char *what, const char *by,
	const char *reason, struct err *err)
{
	log_info(
		"orchestrator", "model %s: %s, %s to %s%s%s", m->name, what, from, m->version, reason[0] ? ": " : "", reason);
	return db_run(svc_db(ctx), err,
		"INSERT INTO model_change(model,n,at_ns,from_version,to_version,what,by,reason) VALUES($1,"
		"(SELECT coalesce(max(n),0)+1 FROM model_change WHERE model=$1),$2,$3,$4,$5,$6,$7)",
		"zizzzzz", m->name, svc_now_ns(ctx), from, m->version, what, by, reason);
}

int models_turn(struct svc_ctx *ctx, struct model *m, enum model_state to, const char *version,
	const char *what, const char *by, const char *reason, struct err *err)
{
	const char *from = m->version;
	m->version = version;
	m->state = to;
	m->by = by;
	m->error = strcmp(what, "failed") == 0 ? reason : "";
	m->changed_ns = svc_now_ns(ctx);
	int rc = db_run(svc_db(ctx), err, "UPDATE model_node SET deadline_ns=0, retry_ns=0 WHERE model=$1", "z", m->name);
	if (rc == 0)
		rc = store(ctx, m, err);
	if (rc == 0)
		rc = record(ctx, m, from, what, by, reason, err);
	return rc < 0 ? rc : announce(ctx, m, err);
}

static int complete(struct svc_ctx *ctx, struct model *m, struct err *err)
{
	const char *from = m->stable;
	m->state = m->error[0] ? MODEL_ROLLED_BACK : MODEL_ACTIVE;
	m->changed_ns = svc_now_ns(ctx);
	if (strcmp(m->stable, m->version) != 0) {
		m->previous = m->stable;
		m->stable = m->version;
	}
	int rc = store(ctx, m, err);
	if (rc == 0)
		rc = record(ctx, m, from, "completed", m->by, "", err);
	return rc < 0 ? rc : announce(ctx, m, err);
}

/* ---- a step ---- */

static int command(struct orchestrator *o, struct svc_ctx *ctx, const struct model *m, struct model_node *n,
	struct err *err)
{
	Hcp__ModelCommand c = HCP__MODEL_COMMAND__INIT;
	int64_t now = svc_now_ns(ctx);
	const char *digest = "";
	int rc = models_digest(ctx, m->name, m->version, &digest, err);
	if (rc < 0)
		return rc;
	if (!n->deadline_ns) {
		n->deadline_ns = now + MODELS_DEADLINE_S * NS_PER_S;
		n->told = ++o->model_order; /* overtakes all that it was told before */
		n->told_version = m->version;
	}
	n->sent_ns = now;
	n->changed = true;
	c.node_id = n->id;
	c.model = m->name;
	c.version = m->version;
	c.digest = digest;
	c.order = n->told;
	c.deadline_ns = n->deadline_ns;
	return svc_publish(ctx, n->id, &c.base);
}

static void node_failed(struct model_node *n, const char *why, int64_t now_ns)
{
	n->state = "failed";
	n->error = why;
	n->deadline_ns = 0;
	n->retry_ns = now_ns + MODELS_RETRY_S * NS_PER_S;
	n->changed = true;
}

/* What the command under way came to, if it came to something. */
static void judge(const struct model *m, struct model_node *n, int64_t now_ns)
{
	if (!n->deadline_ns)
		return;
	if (n->order == n->told && strcmp(n->state, "failed") == 0)
		node_failed(n, n->error, now_ns);
	else if (n->order == n->told && strcmp(n->version, m->version) == 0 && strcmp(n->state, "serving") == 0)
		n->deadline_ns = 0, n->changed = true;
	else if (n->deadline_ns <= now_ns)
		node_failed(n, "it did not serve the version within its time", now_ns);
}

/* It serves another version, or was told to and may yet come to do so. */
static bool wants(const struct model *m, const struct model_node *n)
{
	return strcmp(n->version, m->version) != 0 || (n->told && strcmp(n->told_version, m->version) != 0);
}

struct tally {
	size_t there, done, busy;
	const struct model_node *failed;
	int64_t next_ns; /* when a step is due again */
};

static void due(struct tally *t, int64_t at_ns)
{
	if (at_ns < t->next_ns)
		t->next_ns = at_ns;
}

static void count(const struct model *m, struct model_node *n, int64_t now_ns, struct tally *t)
{
	bool was_busy = n->deadline_ns != 0;
	judge(m, n, now_ns);
	if (was_busy && !n->deadline_ns && strcmp(n->state, "failed") == 0 && !t->failed)
		t->failed = n;
	if (n->deadline_ns) {
		t->busy++;
		due(t, n->deadline_ns);
	}
	/* One that never had the version cannot be waited for; it shows as serving another. */
	if (models_is_away(n, now_ns) || !models_holds(n, m->version))
		return;
	t->there++;
	t->done += !n->deadline_ns && !wants(m, n);
	due(t, n->seen_ns + MODELS_AWAY_S * NS_PER_S + 1);
}

static int tell_nodes(struct orchestrator *o, struct svc_ctx *ctx, const struct model *m, struct model_node *nodes,
	size_t n, struct tally *t, struct err *err)
{
	int64_t now = svc_now_ns(ctx);
	size_t most = m->state == MODEL_ROLLING_OUT && t->done == 0 ? 1 : MODELS_PARALLEL;
	for (size_t i = 0; i < n; i++) {
		struct model_node *x = &nodes[i];
		int rc = 0;
		if (x->deadline_ns && x->order != x->told && x->sent_ns + MODELS_RESEND_S * NS_PER_S <= now)
			rc = command(o, ctx, m, x, err);
		else if (!x->deadline_ns && t->busy < most && x->retry_ns <= now && wants(m, x) &&
				 !models_is_away(x, now) && models_holds(x, m->version)) {
			rc = command(o, ctx, m, x, err);
			t->busy++;
		}
		if (rc < 0)
			return rc;
		if (x->deadline_ns && x->order != x->told)
			due(t, x->sent_ns + MODELS_RESEND_S * NS_PER_S);
		else if (!x->deadline_ns && wants(m, x) && x->retry_ns > now)
			due(t, x->retry_ns);
	}
	return 0;
}

static int store_changed(struct svc_ctx *ctx, const char *model, struct model_node *nodes, size_t n, struct err *err)
{
	int rc = 0;
	for (size_t i = 0; i < n && rc == 0; i++) {
		if (nodes[i].changed)
			rc = store_node(ctx, model, &nodes[i], err);
		nodes[i].changed = false;
	}
	return rc;
}

int models_step(struct orchestrator *o, struct svc_ctx *ctx, struct model *m, struct err *err)
{
	struct model_node *nodes;
	size_t n;
	struct tally t = { .next_ns = INT64_MAX };
	int64_t now = svc_now_ns(ctx);
	int rc = models_nodes(ctx, m->name, &nodes, &n, err);
	if (rc < 0)
		return rc;
	for (size_t i = 0; i < n; i++)
		count(m, &nodes[i], now, &t);
	if (t.failed && m->state == MODEL_ROLLING_OUT && strcmp(m->stable, m->version) != 0) {
		const char *why = arena_printf(svc_arena(ctx), "node %s: %s", t.failed->id, t.failed->error);
		rc = why ? store_changed(ctx, m->name, nodes, n, err) : err_set(err, HCP_ENOMEM, "", "out of memory");
		if (rc == 0)
			rc = models_turn(ctx, m, MODEL_ROLLING_BACK, m->stable, "failed", m->by, why, err);
		if (rc == 0)
			rc = models_step(o, ctx, m, err); /* once: it is not rolling out any more */
		return rc;
	}
	bool rolls = m->state == MODEL_ROLLING_OUT || m->state == MODEL_ROLLING_BACK;
	rc = tell_nodes(o, ctx, m, nodes, n, &t, err);
	if (rc == 0)
		rc = store_changed(ctx, m->name, nodes, n, err);
	if (rc == 0 && rolls && t.there > 0 && t.done == t.there)
		rc = complete(ctx, m, err);
	else if (rc == 0 && rolls)
		o->models_next_ns = t.next_ns < o->models_next_ns ? t.next_ns : o->models_next_ns;
	if (rc == 0 && t.busy && t.next_ns < o->models_next_ns)
		o->models_next_ns = t.next_ns;
	return rc;
}

int models_timer(struct orchestrator *o, struct svc_ctx *ctx, struct err *err)
{
	const char *names[MODELS_MAX];
	struct db_row *row;
	size_t n = 0;
	int rc;
	if (svc_now_ns(ctx) < o->models_next_ns)
		return 0;
	o->models_next_ns = INT64_MAX;
	for (rc = db_query(svc_db(ctx), &row, err, "SELECT name FROM model ORDER BY name", ""); rc == 1;
		 rc = db_next(row, err)) {
		const char *name = n < MODELS_MAX ? text_of(svc_arena(ctx), row, 0) : NULL;
		if (name)
			names[n++] = name;
	}
	for (size_t i = 0; i < n && rc == 0; i++) {
		struct model m;
		rc = models_load(ctx, names[i], &m, err);
		if (rc == 0)
			rc = models_step(o, ctx, &m, err);
	}
	return rc;
}

/* ---- reports ---- */

static int check_report(const Hcp__ModelReport *r, struct err *err)
{
	if (!id_is_name(r->model))
		return err_set(err, HCP_EINVAL, "model", "must be 1 to 64 letters, digits, '.', '-', '_'");
	if (!id_is_name(r->version))
		return err_set(err, HCP_EINVAL, "version", "must be 1 to 64 letters, digits, '.', '-', '_'");
	if (r->n_held > MODELS_HELD_MAX)
		return err_set(err, HCP_ELIMIT, "held", "a node tells at most %d versions", MODELS_HELD_MAX);
	for (size_t i = 0; i < r->n_held; i++)
		if (!id_is_name(r->held[i]))
			return err_set(err, HCP_EINVAL, "held", "version %zu has no usable name", i);
	if (strcmp(r->state, "serving") != 0 && strcmp(r->state, "changing") != 0 && strcmp(r->state, "failed") != 0)
		return err_set(err, HCP_EINVAL, "state", "must be serving, changing or failed");
	if (strlen(r->digest) > 80 || strlen(r->error) > 400)
		return err_set(err, HCP_ELIMIT, strlen(r->digest) > 80 ? "digest" : "error", "is too long");
	return 0;
}

static const char *join_held(struct arena *a, const Hcp__ModelReport *r)
{
	size_t cap = 2;
	for (size_t i = 0; i < r->n_held; i++)
		cap += strlen(r->held[i]) + 1;
	char *text = arena_alloc(a, cap), *at = text;
	if (!text)
		return NULL;
	*at++ = ',';
	for (size_t i = 0; i < r->n_held; i++) {
		size_t n = strlen(r->held[i]);
		memcpy(at, r->held[i], n);
		at += n;
		*at++ = ',';
	}
	*at = '\0';
	return text;
}

/* The first report of a model makes it known, as it is served there. */
static int model_of(struct svc_ctx *ctx, const Hcp__ModelReport *r, struct model *ret, struct err *err)
{
	struct db_row *row;
	struct err none;
	int rc = models_load(ctx, r->model, ret, &none);
	if (rc != HCP_ENOTFOUND)
		return rc < 0 ? err_set(err, rc, "", "%s", none.text) : 0;
	rc = db_query(svc_db(ctx), &row, err, "SELECT count(*) FROM model", "");
	if (rc < 0)
		return rc;
	int64_t known = db_i64(row, 0);
	db_done(row);
	if (known >= MODELS_MAX)
		return err_set(err, HCP_ELIMIT, "model", "more than %d models", MODELS_MAX);
	*ret = (struct model){ .name = r->model, .version = r->version, .stable = r->version, .previous = "", .error = "",
		.by = r->node_id, .changed_ns = svc_now_ns(ctx) };
	rc = store(ctx, ret, err);
	return rc < 0 ? rc : models_add_version(ctx, r->model, r->version, r->digest, "announced", r->node_id, err);
}

static int load_node(
	struct svc_ctx *ctx, const char *model, const char *node_id, struct model_node *ret, struct err *err)
{
	struct db_row *row;
	int rc = db_query(svc_db(ctx), &row, err,
		"SELECT node_id,version,digest,state,error,held,seen_ns,ord,sent_ns,deadline_ns,retry_ns,told,told_version "
		"FROM model_node"
		" WHERE model=$1 AND node_id=$2",
		"zz", model, node_id);
	if (rc <= 0)
		return rc;
	rc = take_node(svc_arena(ctx), row, ret);
	db_done(row);
	return rc < 0 ? err_set(err, rc, "", "out of memory") : 1;
}

/* A version that a node serves is one, registered or not; its digest is known once its runtime has been up. */
static int learn_version(struct svc_ctx *ctx, const Hcp__ModelReport *r, struct err *err)
{
	int rc = models_add_version(ctx, r->model, r->version, r->digest, "announced", r->node_id, err);
	return rc < 0 || !r->digest[0] ? rc : db_run(svc_db(ctx), err,
		"UPDATE model_version SET digest=$3 WHERE model=$1 AND version=$2 AND digest=''", "zzz", r->model, r->version,
		r->digest);
}

int orch_on_model_report(void *state, struct svc_ctx *ctx, const struct msg *q, struct err *err)
{
	struct orchestrator *o = state;
	const Hcp__ModelReport *r = (const Hcp__ModelReport *)q->body;
	struct model m;
	struct model_node n = { .version = "", .digest = "", .state = "", .error = "", .held = "", .told_version = "" };
	int64_t now = svc_now_ns(ctx);
	int rc = check_report(r, err);
	if (rc == 0)
		rc = model_of(ctx, r, &m, err);
	if (rc < 0)
		return rc;
	rc = load_node(ctx, r->model, r->node_id, &n, err);
	const char *held = join_held(svc_arena(ctx), r);
	if (rc < 0 || !held)
		return rc < 0 ? rc : err_set(err, HCP_ENOMEM, "", "out of memory");
	bool news = strcmp(n.version, r->version) || strcmp(n.digest, r->digest) || strcmp(n.state, r->state) ||
		strcmp(n.error, r->error) || strcmp(n.held, held) || n.order != r->order || models_is_away(&n, now);
	/* What failed is remembered until it is tried again; a runtime that only came back says nothing about it. */
	if (!news && now - n.seen_ns < MODELS_SEEN_S * NS_PER_S && strcmp(r->version, m.version) == 0)
		return 0;
	n.id = r->node_id;
	n.version = r->version;
	n.digest = r->digest;
	n.state = r->state;
	n.error = r->error;
	n.held = held;
	n.seen_ns = now;
	n.order = r->order;
	rc = store_node(ctx, r->model, &n, err);
	if (rc == 0)
		rc = learn_version(ctx, r, err);
	return rc < 0 ? rc : models_step(o, ctx, &m, err);
}

int models_open(struct orchestrator *o, struct db *db, struct err *err)
{
	struct db_row *row;
	int rc = db_query(db, &row, err, "SELECT coalesce(max(told),0) FROM model_node", "");
	if (rc < 0)
		return rc;
	o->model_order = (uint64_t)db_i64(row, 0);
	db_done(row);
	o->models_next_ns = 0; /* a step looks at all, and finds out when the next is due */
	return 0;
}
