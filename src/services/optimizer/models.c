/*
 * Trained models. Training takes seconds to minutes, so the service's thread does none of it: a tutor asks what is
 * wanted and gets the prices that are known (LessonGet, a query), trains in a thread of its own or reads a file, and
 * sends the bytes (ModelPut), which are checked, stored and taken into use. So the journal has them, and a replay,
 * which knows no tutor, decides by the same models from the same moment on.
 *
 *	kind "forecast"  econ/outlook, of a settlement point    trained every RETRAIN_DAYS
 *	kind "price"     econ/policy_spike, of a point          from a file; trained once a year of prices is known
 *	kind "misses"    econ/misses, of a point                trained every MISSES_AGE_DAYS
 *	kind "ppo"       econ/ppo_model, of a site              from a file
 */
#include <math.h>
#include <stdio.h>

#include "base/mem.h"
#include "base/money.h"
#include "services/optimizer/optimizer_priv.h"

#define DAY_NS (86400 * NS_PER_S)
enum { FORECAST_DAYS_MIN = 29, FORECAST_AGE_DAYS = 7, PRICE_AGE_DAYS = 91, MISSES_AGE_DAYS = 7 };

enum kind { KIND_FORECAST, KIND_PRICE, KIND_MISSES, KIND_PPO, KIND_END };
static const char *const kind_name[KIND_END] = { "forecast", "price", "misses", "ppo" };

static struct location *find_point(const struct optimizer *o, const char *name)
{
	for (size_t i = 0; i < o->n_loc; i++)
		if (strcmp(o->loc[i]->name, name) == 0)
			return o->loc[i];
	return NULL;
}

static struct ppo_model *find_net(const struct optimizer *o, const char *site)
{
	for (size_t i = 0; i < o->conf.n_sites; i++)
		if (strcmp(o->conf.site[i].name, site) == 0)
			return &o->net[i];
	return NULL;
}

/* ---- taking one into use; most_ns: what knows later prices is refused, INT64_MAX: it waits until then ---- */

static int check_end(int64_t to_ns, int64_t most_ns, struct err *err)
{
	return to_ns > most_ns ? err_set(err, HCP_ESTATE, "body", "knows later prices than the market's time") : 0;
}

static int take_forecast(struct location *loc, struct str body, int64_t most_ns, int64_t *ret_to_ns, struct err *err)
{
	struct outlook *made = mem_calloc(1, sizeof(*made));
	if (!made)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	int rc = outlook_init(made, loc->name, err);
	rc = rc ? rc : outlook_load(made, body, err);
	rc = rc ? rc : check_end(made->by[OUTLOOK_MODEL].learned_ns, most_ns, err);
	if (rc < 0) {
		outlook_release(made);
		mem_free(made);
		return rc;
	}
	if (loc->outlook)
		outlook_release(loc->outlook);
	mem_free(loc->outlook);
	loc->outlook = made;
	*ret_to_ns = made->by[OUTLOOK_MODEL].learned_ns;
	return 0;
}

static int take_price(
	struct location *loc, bool trained, struct str body, int64_t most_ns, int64_t *ret_to_ns, struct err *err)
{
	struct spike_model made = { 0 };
	int rc = spike_load(&made, body, err);
	if (rc == 0 && strcmp(made.point, loc->name) != 0)
		rc = err_set(err, HCP_EINVAL, "body", "a model of %s, not of %s", made.point, loc->name);
	rc = rc ? rc : check_end(made.to_ns, most_ns, err);
	if (rc < 0) {
		spike_release(&made);
		return rc;
	}
	spike_release(&loc->price[trained]);
	loc->price[trained] = made;
	*ret_to_ns = made.to_ns;
	return 0;
}

static int take_misses(struct location *loc, struct str body, int64_t most_ns, int64_t *ret_to_ns, struct err *err)
{
	struct misses made = { 0 };
	int rc = misses_load(&made, body, err);
	if (rc == 0 && strcmp(made.point, loc->name) != 0)
		rc = err_set(err, HCP_EINVAL, "body", "misses of %s, not of %s", made.point, loc->name);
	rc = rc ? rc : check_end(made.to_ns, most_ns, err);
	if (rc < 0) {
		misses_release(&made);
		return rc;
	}
	misses_release(&loc->misses);
	loc->misses = made;
	*ret_to_ns = made.to_ns;
	return 0;
}

static int take_net(struct ppo_model *net, const char *site, struct str body, int64_t *ret_to_ns, struct err *err)
{
	struct ppo_model made = { 0 };
	int rc = ppo_model_load(&made, body, err);
	if (rc == 0 && strcmp(made.site, site) != 0)
		rc = err_set(err, HCP_EINVAL, "body", "weights of %s, not of %s", made.site, site);
	if (rc < 0) {
		ppo_model_release(&made);
		return rc;
	}
	ppo_model_release(net);
	*net = made;
	*ret_to_ns = made.to_ns;
	return 0;
}

/* HCP_ENOTFOUND: the name is of nothing that is known. On failure everything is as it was. */
static int take(struct optimizer *o, const char *kind, const char *name, bool trained, struct str body, int64_t most_ns,
	int64_t *ret_to_ns, struct err *err)
{
	struct location *loc = find_point(o, name);
	struct ppo_model *net = find_net(o, name);
	if (strcmp(kind, kind_name[KIND_PPO]) == 0)
		return net ? take_net(net, name, body, ret_to_ns, err)
				   : err_set(err, HCP_ENOTFOUND, "name", "there is no site %.40s", name);
	if (!loc)
		return err_set(err, HCP_ENOTFOUND, "name", "no price of %.40s has come", name);
	if (strcmp(kind, kind_name[KIND_FORECAST]) == 0)
		return take_forecast(loc, body, most_ns, ret_to_ns, err);
	if (strcmp(kind, kind_name[KIND_PRICE]) == 0)
		return take_price(loc, trained, body, most_ns, ret_to_ns, err);
	if (strcmp(kind, kind_name[KIND_MISSES]) == 0)
		return take_misses(loc, body, most_ns, ret_to_ns, err);
	return err_set(err, HCP_EINVAL, "kind", "there is no kind %.20s", kind);
}

int optimizer_on_model_put(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	struct optimizer *o = state;
	const Hcp__ModelPut *p = (const Hcp__ModelPut *)m->body;
	struct str body = { (const char *)p->body.data, p->body.len };
	int64_t to_ns = 0;
	if (strlen(p->source) >= OPTIMIZER_SOURCE_MAX)
		return err_set(err, HCP_ERANGE, "source", "longer than %d bytes", OPTIMIZER_SOURCE_MAX - 1);
	if (!p->trained &&
		(strcmp(p->kind, kind_name[KIND_FORECAST]) == 0 || strcmp(p->kind, kind_name[KIND_MISSES]) == 0))
		return err_set(err, HCP_EINVAL, "trained", "forecasts are trained here");
	int64_t most_ns = p->trained ? optimizer_market_now_ns(o, svc_now_ns(ctx)) : INT64_MAX;
	int rc = take(o, p->kind, p->name, p->trained, body, most_ns, &to_ns, err);
	if (rc == HCP_ECORRUPT) { /* of the sender, not of our tables */
		char why[sizeof(err->text)];
		snprintf(why, sizeof(why), "%s", err->text);
		return err_set(err, HCP_EINVAL, "body", "%s", why);
	}
	if (rc == 0)
		rc = db_run(svc_db(ctx), err,
			"INSERT INTO model(kind,name,trained,source,to_ns,taken_ns,body) VALUES($1,$2,$3,$4,$5,$6,$7)"
			" ON CONFLICT(kind,name,trained) DO UPDATE SET source=excluded.source, to_ns=excluded.to_ns,"
			" taken_ns=excluded.taken_ns, body=excluded.body",
			"zziziib", p->kind, p->name, (int64_t)p->trained, p->source, to_ns, svc_now_ns(ctx), body);
	if (rc == 0 && strcmp(p->kind, kind_name[KIND_FORECAST]) == 0) /* its books begin anew */
		rc = db_run(svc_db(ctx), err, "DELETE FROM outlook WHERE point=$1", "z", p->name);
	return rc < 0 ? rc : optimizer_decide(o, ctx, "model", 0, err);
}

/* ---- what is wanted ---- */

static bool is_skipped(const Hcp__LessonGet *g, const char *kind, const char *name)
{
	size_t n = strlen(kind);
	for (size_t i = 0; i < g->n_skip; i++)
		if (strncmp(g->skip[i], kind, n) == 0 && g->skip[i][n] == '/' && strcmp(g->skip[i] + n + 1, name) == 0)
			return true;
	return false;
}

struct want {
	const struct optimizer *o;
	const Hcp__LessonGet *get;
	int64_t now_ns;
};

static bool wants_forecast(const struct want *w, const struct location *loc)
{
	const struct history_series *s = history_find(&w->o->history, HISTORY_POWER_RT, loc->name);
	int64_t learned_ns = loc->outlook ? loc->outlook->by[OUTLOOK_MODEL].learned_ns : 0;
	if (!s || !(w->o->policy.vt->needs & POLICY_NEEDS_FORECAST))
		return false;
	return w->now_ns - s->first_ns >= FORECAST_DAYS_MIN * DAY_NS &&
		   w->now_ns - learned_ns >= FORECAST_AGE_DAYS * DAY_NS;
}

/* After the forecast, which is of more use alone. */
static bool wants_misses(const struct want *w, const struct location *loc)
{
	const struct history_series *s = history_find(&w->o->history, HISTORY_POWER_RT, loc->name);
	if (!s || !(w->o->policy.vt->needs & POLICY_NEEDS_MISSES) || s->step_ns != SPIKE_STEP_S * NS_PER_S)
		return false;
	return w->now_ns - s->first_ns >= MISSES_DAYS_MIN * DAY_NS &&
		   w->now_ns - loc->misses.to_ns >= MISSES_AGE_DAYS * DAY_NS;
}

/* Once as much is known as the model that came from a file has seen. */
static bool wants_price(const struct want *w, const struct location *loc)
{
	const struct history_series *s = history_find(&w->o->history, HISTORY_POWER_RT, loc->name);
	const struct spike_model *given = &loc->price[0], *own = &loc->price[1];
	if (!s || !(w->o->policy.vt->needs & POLICY_NEEDS_PRICE_MODEL) || s->step_ns != SPIKE_STEP_S * NS_PER_S)
		return false;
	int64_t span_ns = w->now_ns - s->first_ns;
	return span_ns >= (SPIKE_YEAR + SPIKE_DAY) * s->step_ns && w->now_ns - own->to_ns >= PRICE_AGE_DAYS * DAY_NS &&
		   (given->to_ns == 0 || given->to_ns > w->now_ns || span_ns >= given->to_ns - given->from_ns);
}

/* Files first, they are quick. A tutor that has not got one says so by skipping it. */
static bool choose(const struct want *w, const char *facility, Hcp__Lesson *ret)
{
	const struct optimizer *o = w->o;
	struct facility_terms t = optimizer_terms_of(o, facility);
	struct ppo_model *net = t.site ? find_net(o, t.site->name) : NULL;
	const char *kind = "";
	if (t.site && t.site->fixed)
		return false;
	if (net && !net->to_ns && o->policy.vt->needs & POLICY_NEEDS_NET && !is_skipped(w->get, "file/ppo", t.site->name)) {
		ret->kind = "ppo";
		ret->name = t.site->name;
		return true;
	}
	if (!t.loc)
		return false;
	ret->name = t.loc->name;
	if (!t.loc->price[0].to_ns && o->policy.vt->needs & POLICY_NEEDS_PRICE_MODEL &&
		!is_skipped(w->get, "file/price", t.loc->name)) {
		ret->kind = "price";
		return true;
	}
	if (wants_forecast(w, t.loc) && !is_skipped(w->get, "forecast", t.loc->name))
		kind = "forecast";
	else if (wants_price(w, t.loc) && !is_skipped(w->get, "price", t.loc->name))
		kind = "price";
	else if (wants_misses(w, t.loc) && !is_skipped(w->get, "misses", t.loc->name))
		kind = "misses";
	ret->kind = kind;
	ret->train = kind[0] != '\0';
	return ret->train;
}

/* The point's own prices, and of a forecast what stands for the whole grid. */
static bool belongs(const struct history_series *s, const Hcp__Lesson *l)
{
	bool here = strcmp(s->location, l->name) == 0;
	if (strcmp(l->kind, "price") == 0)
		return here && s->kind == HISTORY_POWER_RT;
	return (here && (s->kind == HISTORY_POWER_RT || s->kind == HISTORY_POWER_DA)) ||
		   s->kind == HISTORY_LOAD_FORECAST_MW || s->kind == HISTORY_FUEL_MW || s->kind == HISTORY_GENERATION_MW;
}

static int add_series(struct arena *a, const struct history_series *s, Hcp__Lesson *l)
{
	Hcp__LessonSeries *out = arena_alloc(a, sizeof(*out));
	void *slots = arena_alloc(a, s->n * sizeof(*s->slot) + 1);
	if (!out || !slots)
		return HCP_ENOMEM;
	hcp__lesson_series__init(out);
	memcpy(slots, s->slot, s->n * sizeof(*s->slot));
	out->kind = (int32_t)s->kind;
	out->location = s->location;
	out->step_ns = s->step_ns;
	out->first_ns = s->first_ns;
	out->slots = (ProtobufCBinaryData){ s->n * sizeof(*s->slot), slots };
	return pb_push(a, &l->n_series, &l->series, out);
}

int optimizer_on_lesson_get(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	struct optimizer *o = state;
	struct want w = { o, (const Hcp__LessonGet *)m->body, optimizer_market_now_ns(o, svc_now_ns(ctx)) };
	if (w.get->n_skip > OPTIMIZER_SKIP_MAX)
		return err_set(err, HCP_ERANGE, "skip", "more than %d", OPTIMIZER_SKIP_MAX);
	Hcp__Lesson *l = svc_reply(ctx, MSG_LESSON);
	if (!l)
		return HCP_ENOMEM;
	l->now_ns = w.now_ns;
	for (size_t i = 0; i < o->n_cap && !l->kind[0]; i++)
		if (i == 0 || strcmp(o->cap[i].facility, o->cap[i - 1].facility) != 0)
			(void)choose(&w, o->cap[i].facility, l);
	for (size_t i = 0; i < o->history.n && l->train; i++)
		if (o->history.s[i]->n && belongs(o->history.s[i], l) &&
			add_series(svc_reply_arena(ctx), o->history.s[i], l) < 0)
			return HCP_ENOMEM;
	if (!l->kind[0])
		l->name = "";
	return 0;
}

/* ---- listing, loading, forgetting ---- */

static char *copy_text(struct arena *a, struct str s)
{
	return arena_strndup(a, s.p, s.n);
}

int optimizer_models_list(struct svc_ctx *ctx, struct arena *a, size_t *ret_n, Hcp__MarketModel ***ret, struct err *err)
{
	struct db_row *row;
	int rc;
	for (rc = db_query(svc_db(ctx), &row, err,
			 "SELECT kind,name,trained,source,to_ns,taken_ns FROM model ORDER BY kind,name,trained", "");
		 rc == 1; rc = db_next(row, err)) {
		Hcp__MarketModel *m = arena_alloc(a, sizeof(*m));
		if (m) {
			hcp__market_model__init(m);
			m->kind = copy_text(a, db_text(row, 0));
			m->name = copy_text(a, db_text(row, 1));
			m->trained = db_i64(row, 2) != 0;
			m->source = copy_text(a, db_text(row, 3));
			m->to_ns = db_i64(row, 4);
			m->taken_at_ns = db_i64(row, 5);
		}
		if (!m || !m->kind || !m->name || !m->source || pb_push(a, ret_n, ret, m) < 0) {
			db_done(row);
			return HCP_ENOMEM;
		}
	}
	return rc;
}

static int load_models(struct optimizer *o, struct db *db, struct err *err)
{
	struct db_row *row;
	int rc;
	for (rc = db_query(db, &row, err, "SELECT kind,name,trained,body FROM model ORDER BY kind,name,trained", "");
		 rc == 1; rc = db_next(row, err)) {
		char kind[16], name[OPTIMIZER_NAME_MAX];
		int64_t to_ns;
		int bad = str_copy(kind, sizeof(kind), db_text(row, 0));
		bad = bad ? bad : str_copy(name, sizeof(name), db_text(row, 1));
		bad = bad ? bad : take(o, kind, name, db_i64(row, 2) != 0, db_blob(row, 3), INT64_MAX, &to_ns, err);
		if (bad == HCP_ENOTFOUND) /* a site that is not set any more */
			bad = 0;
		if (bad < 0) {
			db_done(row);
			return bad == HCP_ENOMEM ? bad : err_set(err, HCP_ECORRUPT, "model", "a stored model cannot be read");
		}
	}
	return rc;
}

int optimizer_models_load(struct optimizer *o, struct db *db, struct err *err)
{
	struct db_row *row;
	int rc = load_models(o, db, err);
	if (rc < 0)
		return rc;
	for (rc = db_query(db, &row, err, "SELECT point,books FROM outlook", ""); rc == 1; rc = db_next(row, err)) {
		char name[OPTIMIZER_NAME_MAX];
		struct location *loc = str_copy(name, sizeof(name), db_text(row, 0)) == 0 ? find_point(o, name) : NULL;
		int bad = loc && loc->outlook ? outlook_books_load(&loc->outlook->books, db_blob(row, 1), err) : 0;
		if (bad < 0) {
			db_done(row);
			return bad;
		}
	}
	return rc;
}

static void forget(struct location *loc)
{
	if (loc->outlook)
		outlook_release(loc->outlook);
	mem_free(loc->outlook);
	loc->outlook = NULL;
	spike_release(&loc->price[1]);
	misses_release(&loc->misses);
}

int optimizer_models_forget(struct optimizer *o, struct svc_ctx *ctx, struct err *err)
{
	for (size_t i = 0; i < o->n_loc; i++)
		forget(o->loc[i]);
	int rc = db_run(svc_db(ctx), err, "DELETE FROM model WHERE trained=1", "");
	return rc < 0 ? rc : db_run(svc_db(ctx), err, "DELETE FROM outlook", "");
}

void optimizer_models_close(struct optimizer *o)
{
	for (size_t i = 0; i < o->n_loc; i++) {
		forget(o->loc[i]);
		spike_release(&o->loc[i]->price[0]);
	}
	for (size_t i = 0; o->net && i < o->conf.n_sites; i++)
		ppo_model_release(&o->net[i]);
	mem_free(o->net);
}
