/* What operators ask and order about models. */
#include <stdio.h>

#include "services/orchestrator/models.h"

static const char *state_name(enum model_state s)
{
	static const char *const names[] = { "active", "rolling_out", "rolling_back", "rolled_back" };
	return names[s];
}

static const char *who(const struct msg *m)
{
	return m->principal && m->principal->email ? m->principal->email : "";
}

/* ---- answers ---- */

static int split_held(struct arena *a, const char *held, Hcp__ModelNode *out)
{
	struct str rest = str_of(held);
	while (rest.p) {
		struct str one = str_split(&rest, ',');
		if (one.n && pb_push(a, &out->n_held, &out->held, arena_strndup(a, one.p, one.n)) < 0)
			return HCP_ENOMEM;
	}
	return 0;
}

static int fill_node(struct arena *a, const struct model_node *n, int64_t now_ns, Hcp__Model *out)
{
	Hcp__ModelNode *x = arena_alloc(a, sizeof(*x));
	if (!x)
		return HCP_ENOMEM;
	hcp__model_node__init(x);
	x->node_id = arena_strdup(a, n->id);
	x->version = arena_strdup(a, n->version);
	x->digest = arena_strdup(a, n->digest);
	x->state = models_is_away(n, now_ns) ? "away" : n->deadline_ns ? "changing" : arena_strdup(a, n->state);
	x->error = arena_strdup(a, n->error);
	x->seen_at_ns = n->seen_ns;
	if (!x->node_id || !x->version || !x->digest || !x->state || !x->error || split_held(a, n->held, x) < 0)
		return HCP_ENOMEM;
	return pb_push(a, &out->n_node_states, &out->node_states, x);
}

static int fill_versions(struct svc_ctx *ctx, struct arena *a, const struct model_node *nodes, size_t n_nodes,
	Hcp__Model *out, struct err *err)
{
	struct db_row *row;
	int rc;
	for (rc = db_query(svc_db(ctx), &row, err, "SELECT version,digest,origin,created_ns,created_by FROM model_version"
			 " WHERE model=$1 ORDER BY created_ns,version", "z", out->name);
		 rc == 1; rc = db_next(row, err)) {
		Hcp__ModelVersion *v = arena_alloc(a, sizeof(*v));
		if (v) {
			hcp__model_version__init(v);
			v->version = arena_strndup(a, db_text(row, 0).p, db_text(row, 0).n);
			v->digest = arena_strndup(a, db_text(row, 1).p, db_text(row, 1).n);
			v->origin = arena_strndup(a, db_text(row, 2).p, db_text(row, 2).n);
			v->created_at_ns = db_i64(row, 3);
			v->created_by = arena_strndup(a, db_text(row, 4).p, db_text(row, 4).n);
		}
		if (!v || !v->version || pb_push(a, &out->n_versions, &out->versions, v) < 0) {
			db_done(row);
			return HCP_ENOMEM;
		}
		for (size_t i = 0; i < n_nodes; i++)
			v->nodes += models_holds(&nodes[i], v->version);
	}
	return rc;
}

static int fill_changes(struct svc_ctx *ctx, struct arena *a, Hcp__Model *out, struct err *err)
{
	struct db_row *row;
	int rc;
	for (rc = db_query(svc_db(ctx), &row, err, "SELECT at_ns,from_version,to_version,what,by,reason FROM model_change"
			 " WHERE model=$1 ORDER BY n DESC LIMIT $2", "zi", out->name, (int64_t)MODELS_CHANGES);
		 rc == 1; rc = db_next(row, err)) {
		Hcp__ModelChange *c = arena_alloc(a, sizeof(*c));
		if (c) {
			hcp__model_change__init(c);
			c->at_ns = db_i64(row, 0);
			c->from = arena_strndup(a, db_text(row, 1).p, db_text(row, 1).n);
			c->to = arena_strndup(a, db_text(row, 2).p, db_text(row, 2).n);
			c->what = arena_strndup(a, db_text(row, 3).p, db_text(row, 3).n);
			c->by = arena_strndup(a, db_text(row, 4).p, db_text(row, 4).n);
			c->reason = arena_strndup(a, db_text(row, 5).p, db_text(row, 5).n);
		}
		if (pb_push(a, &out->n_changes, &out->changes, c) < 0) {
			db_done(row);
			return HCP_ENOMEM;
		}
	}
	return rc;
}

int models_fill(struct svc_ctx *ctx, struct arena *a, const struct model *m, bool all, Hcp__Model *out, struct err *err)
{
	struct model_node *nodes;
	size_t n;
	int64_t now = svc_now_ns(ctx);
	int rc = models_nodes(ctx, m->name, &nodes, &n, err);
	if (rc < 0)
		return rc;
	hcp__model__init(out);
	out->name = arena_strdup(a, m->name);
	out->version = arena_strdup(a, m->version);
	out->previous = arena_strdup(a, m->previous);
	out->error = arena_strdup(a, m->error);
	out->state = (char *)state_name(m->state);
	out->changed_at_ns = m->changed_ns;
	if (!out->name || !out->version || !out->previous || !out->error)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	for (size_t i = 0; i < n && rc == 0; i++) {
		bool there = !models_is_away(&nodes[i], now);
		out->nodes += there;
		out->nodes_done += there && strcmp(nodes[i].version, m->version) == 0;
		if (all)
			rc = fill_node(a, &nodes[i], now, out);
	}
	if (rc == 0 && all)
		rc = fill_versions(ctx, a, nodes, n, out, err);
	if (rc == 0 && all)
		rc = fill_changes(ctx, a, out, err);
	return rc;
}

static int answer(struct svc_ctx *ctx, const struct model *m, struct err *err)
{
	Hcp__Model *out = svc_reply(ctx, MSG_MODEL);
	return out ? models_fill(ctx, svc_reply_arena(ctx), m, true, out, err) : HCP_ENOMEM;
}

int orch_on_models_list(void *state, struct svc_ctx *ctx, const struct msg *q, struct err *err)
{
	const char *names[MODELS_MAX];
	struct db_row *row;
	size_t n = 0;
	int rc;
	Hcp__Models *out = svc_reply(ctx, MSG_MODELS);
	if (!out)
		return HCP_ENOMEM;
	struct arena *a = svc_reply_arena(ctx);
	for (rc = db_query(svc_db(ctx), &row, err, "SELECT name FROM model ORDER BY name", ""); rc == 1;
		 rc = db_next(row, err))
		if (n < MODELS_MAX)
			names[n++] = arena_strndup(a, db_text(row, 0).p, db_text(row, 0).n);
	for (size_t i = 0; i < n && rc == 0; i++) {
		struct model m;
		Hcp__Model *x = arena_alloc(a, sizeof(*x));
		rc = x && names[i] ? models_load(ctx, names[i], &m, err) : HCP_ENOMEM;
		if (rc == 0)
			rc = models_fill(ctx, a, &m, false, x, err);
		if (rc == 0)
			rc = pb_push(a, &out->n_models, &out->models, x);
	}
	return rc;
}

int orch_on_model_get(void *state, struct svc_ctx *ctx, const struct msg *q, struct err *err)
{
	const Hcp__ModelGet *g = (const Hcp__ModelGet *)q->body;
	struct model m;
	int rc = models_load(ctx, g->name, &m, err);
	return rc < 0 ? rc : answer(ctx, &m, err);
}

/* ---- orders ---- */

static bool is_digest(const char *text)
{
	return strlen(text) == 71 && strncmp(text, "sha256:", 7) == 0 && strspn(text + 7, "0123456789abcdef") == 64;
}

int orch_on_model_register(void *state, struct svc_ctx *ctx, const struct msg *q, struct err *err)
{
	const Hcp__ModelVersionRegister *v = (const Hcp__ModelVersionRegister *)q->body;
	struct model m;
	struct db_row *row;
	const char *known;
	int rc = models_load(ctx, v->name, &m, err);
	if (rc < 0)
		return rc;
	if (!id_is_name(v->version))
		return err_set(err, HCP_EINVAL, "version", "must be 1 to 64 letters, digits, '.', '-', '_'");
	if (!is_digest(v->digest))
		return err_set(
			err, HCP_EINVAL, "digest", "must be sha256: and 64 hex digits; `hcp models digest DIR` prints it");
	rc = db_query(svc_db(ctx), &row, err, "SELECT count(*) FROM model_version WHERE model=$1", "z", v->name);
	if (rc < 0)
		return rc;
	int64_t count = db_i64(row, 0);
	db_done(row);
	if (count >= MODELS_MAX)
		return err_set(err, HCP_ELIMIT, "version", "a model has at most %d versions", MODELS_MAX);
	rc = models_add_version(ctx, v->name, v->version, v->digest, "registered", who(q), err);
	if (rc == 0)
		rc = models_digest(ctx, v->name, v->version, &known, err);
	/* Registered again it is the same, or it is another thing and needs another name. */
	if (rc == 0 && strcmp(known, v->digest) != 0)
		rc = err_set(err, HCP_EEXIST, "version", "%.64s is known with the digest %.80s; give it another name",
			v->version, known[0] ? known : "(not yet told by its node)");
	return rc < 0 ? rc : answer(ctx, &m, err);
}

/* All that would be told must have it, so that nothing begins that cannot end. */
static int check_held(struct svc_ctx *ctx, const struct model *m, const char *version, struct err *err)
{
	struct model_node *nodes;
	size_t n;
	int rc = models_nodes(ctx, m->name, &nodes, &n, err);
	for (size_t i = 0; i < n && rc == 0; i++)
		if (!models_is_away(&nodes[i], svc_now_ns(ctx)) && !models_holds(&nodes[i], version))
			rc = err_set(err, HCP_ESTATE, "version",
				"node %.64s does not hold it; put its files into versions/%.64s of its "
				"model folder, it tells within half a minute",
				nodes[i].id, version);
	return rc;
}

int orch_on_model_activate(void *state, struct svc_ctx *ctx, const struct msg *q, struct err *err)
{
	struct orchestrator *o = state;
	const Hcp__ModelActivate *x = (const Hcp__ModelActivate *)q->body;
	struct model m;
	const char *digest;
	int rc = models_load(ctx, x->name, &m, err);
	if (rc == 0)
		rc = models_digest(ctx, x->name, x->version, &digest, err);
	/* Asked for twice it is under way, or done. */
	if (rc == 0 && strcmp(x->version, m.version) == 0 && m.state != MODEL_ROLLING_BACK)
		return answer(ctx, &m, err);
	if (rc == 0)
		rc = check_held(ctx, &m, x->version, err);
	if (rc == 0)
		rc = models_turn(ctx, &m, MODEL_ROLLING_OUT, x->version, "activated", who(q), "", err);
	if (rc == 0)
		rc = models_step(o, ctx, &m, err);
	return rc < 0 ? rc : answer(ctx, &m, err);
}

int orch_on_model_rollback(void *state, struct svc_ctx *ctx, const struct msg *q, struct err *err)
{
	struct orchestrator *o = state;
	const Hcp__ModelRollback *x = (const Hcp__ModelRollback *)q->body;
	struct model m;
	int rc = models_load(ctx, x->name, &m, err);
	if (rc < 0)
		return rc;
	if (m.state == MODEL_ROLLING_BACK)
		return answer(ctx, &m, err);
	const char *to = m.state == MODEL_ROLLING_OUT ? m.stable : m.previous;
	if (!to[0])
		return err_set(
			err, HCP_ESTATE, "name", "%.64s has served one version only; there is none to go back to", x->name);
	if (strlen(x->reason) > 200)
		return err_set(err, HCP_ELIMIT, "reason", "must be at most 200 bytes");
	rc = models_turn(ctx, &m, MODEL_ROLLING_BACK, to, "rolled_back", who(q), x->reason, err);
	if (rc == 0)
		rc = models_step(o, ctx, &m, err);
	return rc < 0 ? rc : answer(ctx, &m, err);
}
