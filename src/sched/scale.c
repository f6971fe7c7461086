#include "sched/scale.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/money.h"
#include "base/num.h"

enum { BREAKER_WINDOW_S = 600, BREAKER_OPEN_S = 300, DAY_S = 86400, REST_S = 60, HELD_S = 10 };

static const char *const state_names[] = { "free", "quoting", "starting", "booting", "up", "stopping" };
static const char *const call_names[] = { "none", "quote", "start", "state", "stop" };
static const char *const word_names[] = { "unknown", "starting", "running", "stopped", "failed" };

const char *scale_state_name(enum scale_state s)
{
	return (unsigned)s < SCALE_STATE_END ? state_names[s] : NULL;
}

const char *scale_call_name(enum scale_call c)
{
	return (unsigned)c <= SCALE_CALL_STOP ? call_names[c] : NULL;
}

const char *scale_word_name(enum scale_word w)
{
	return (unsigned)w <= SCALE_SAYS_FAILED ? word_names[w] : NULL;
}

int scale_word_parse(struct str s, enum scale_word *ret)
{
	for (int w = 0; w <= SCALE_SAYS_FAILED; w++)
		if (str_eqz(s, word_names[w])) {
			*ret = (enum scale_word)w;
			return 0;
		}
	return HCP_EINVAL;
}

char *scale_node_name(const struct scale *s, const struct scale_node *n, char dst[SCALE_NAME_MAX + 8])
{
	snprintf(dst, SCALE_NAME_MAX + 8, "%s-%zu", s->conf.type[n->type].name, n->slot + 1);
	return dst;
}

/* ---- settings ---- */

void scale_conf_default(struct scale_conf *conf)
{
	*conf = (struct scale_conf){ .up_jobs = 10,
		.up_after_ns = 10 * NS_PER_S,
		.idle_ns = 300 * NS_PER_S,
		.cooldown_ns = 30 * NS_PER_S,
		.boot_ns = 180 * NS_PER_S,
		.check_ns = 60 * NS_PER_S,
		.call_ns = 30 * NS_PER_S,
		.breaker = { 3, BREAKER_WINDOW_S * NS_PER_S, BREAKER_OPEN_S * NS_PER_S } };
}

static int check_type(const struct scale_conf *conf, size_t i, struct err *err)
{
	const struct scale_type *t = &conf->type[i];
	char field[64];
	snprintf(field, sizeof(field), "types[%zu].name", i);
	for (const char *p = t->name; *p; p++)
		if (!((*p >= 'a' && *p <= 'z') || (*p >= '0' && *p <= '9') || *p == '-'))
			return err_set(err, HCP_EINVAL, field, "may hold a to z, digits and '-'");
	if (!t->name[0])
		return err_set(err, HCP_EINVAL, field, "missing");
	for (size_t k = 0; k < i; k++)
		if (!strcmp(conf->type[k].name, t->name))
			return err_set(err, HCP_EEXIST, field, "there is a type %s already", t->name);
	snprintf(field, sizeof(field), "types[%zu].devices", i);
	if (t->devices < 1 || t->devices > 512)
		return err_set(err, HCP_ERANGE, field, "must be 1 to 512, is %d", t->devices);
	snprintf(field, sizeof(field), "types[%zu].nodes_max", i);
	if (t->nodes_max < 1 || t->nodes_max > SCALE_SLOTS_MAX)
		return err_set(err, HCP_ERANGE, field, "must be 1 to %d, is %d", SCALE_SLOTS_MAX, t->nodes_max);
	snprintf(field, sizeof(field), "types[%zu].price_max_usd_h", i);
	if (t->price_max_micros_h <= 0 || t->price_max_micros_h > 100000 * MICROS_PER_USD)
		return err_set(err, HCP_ERANGE, field, "must be above 0 and at most 100000");
	return 0;
}

int scale_conf_check(const struct scale_conf *conf, struct err *err)
{
	const struct {
		int64_t v;
		const char *field;
	} time[] = { { conf->up_after_ns, "up_after_s" }, { conf->idle_ns, "idle_s" }, { conf->cooldown_ns, "cooldown_s" },
		{ conf->boot_ns, "boot_s" }, { conf->check_ns, "check_s" }, { conf->call_ns, "call_s" } };
	for (size_t i = 0; i < sizeof(time) / sizeof(time[0]); i++)
		if (time[i].v < NS_PER_S || time[i].v > DAY_S * NS_PER_S)
			return err_set(err, HCP_ERANGE, time[i].field, "must be 1 to %d seconds", DAY_S);
	if (conf->n_types == 0 || conf->n_types > SCALE_TYPES_MAX)
		return err_set(err, HCP_ERANGE, "types", "must be 1 to %d, are %zu", SCALE_TYPES_MAX, conf->n_types);
	if (conf->up_jobs < 1 || conf->up_jobs > 100000)
		return err_set(err, HCP_ERANGE, "up_jobs", "must be 1 to 100000, is %d", conf->up_jobs);
	if (conf->budget_micros_h <= 0 || conf->budget_micros_h > INT64_C(10000000) * MICROS_PER_USD)
		return err_set(err, HCP_ERANGE, "budget_usd_h", "must be above 0 and at most 10000000");
	int rc = 0;
	for (size_t i = 0; i < conf->n_types && rc == 0; i++)
		rc = check_type(conf, i, err);
	return rc;
}

int scale_init(struct scale *s, const struct scale_conf *conf, struct err *err)
{
	int rc = scale_conf_check(conf, err);
	if (rc < 0)
		return rc;
	*s = (struct scale){ .conf = *conf };
	breaker_init(&s->breaker, conf->breaker);
	for (size_t t = 0; t < SCALE_TYPES_MAX; t++)
		for (size_t i = 0; i < SCALE_SLOTS_MAX; i++)
			s->node[t][i] = (struct scale_node){ .type = t, .slot = i, .due_ns = INT64_MAX };
	return 0;
}

/* ---- nodes ---- */

static void say(struct scale_node *n, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void say(struct scale_node *n, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(n->reason, sizeof(n->reason), fmt, ap);
	va_end(ap);
}

/* The only place where a state changes. due_ns: its next call. */
static void move(struct scale_node *n, enum scale_state to, int64_t due_ns, int64_t now_ns)
{
	n->state = to;
	n->fails = 0;
	n->out = false;
	n->due_ns = due_ns;
	n->idle_ns = n->away_ns = 0;
	n->changed = true;
	if (to == SCALE_STARTING)
		n->started_ns = now_ns; /* paid for from the first call on, for all that we know */
	if (to == SCALE_UP)
		n->up_ns = now_ns;
	if (to == SCALE_STOPPING)
		n->stopping_ns = now_ns;
	if (to == SCALE_FREE)
		n->ended_ns = now_ns;
}

static void stop(struct scale_node *n, int64_t now_ns)
{
	move(n, SCALE_STOPPING, now_ns, now_ns);
}

int scale_restore(struct scale *s, const struct scale_node *n, struct err *err)
{
	if (n->type >= s->conf.n_types || n->slot >= SCALE_SLOTS_MAX || (unsigned)n->state >= SCALE_STATE_END)
		return err_set(err, HCP_ERANGE, "type", "node %zu of type %zu in state %d is none of these settings", n->slot,
			n->type, (int)n->state);
	struct scale_node *to = &s->node[n->type][n->slot];
	*to = *n;
	to->out = to->changed = false;
	to->fails = 0;
	to->idle_ns = to->away_ns = 0;
	to->due_ns = n->state == SCALE_FREE ? INT64_MAX : 0;
	s->ordered_ns = n->asked_ns > s->ordered_ns ? n->asked_ns : s->ordered_ns;
	return 0;
}

bool scale_cordoned(const struct scale_node *n)
{
	return n->state != SCALE_UP && n->state != SCALE_BOOTING;
}

static bool is_paid(const struct scale_node *n)
{
	return n->state == SCALE_STARTING || n->state == SCALE_BOOTING || n->state == SCALE_UP ||
		   n->state == SCALE_STOPPING;
}

int64_t scale_cost_micros(const struct scale_node *n, int64_t now_ns)
{
	int64_t end_ns = n->ended_ns ? n->ended_ns : now_ns, cost = 0;
	if (!n->started_ns || end_ns <= n->started_ns ||
		money_hours_cost(end_ns - n->started_ns, n->price_micros_h, &cost) < 0)
		return 0;
	return cost;
}

int64_t scale_rate_micros_h(const struct scale *s)
{
	int64_t sum = 0;
	for (size_t t = 0; t < s->conf.n_types; t++)
		for (size_t i = 0; i < SCALE_SLOTS_MAX; i++)
			sum += is_paid(&s->node[t][i]) ? s->node[t][i].price_micros_h : 0;
	return sum;
}

/* ---- what stands ---- */

static void look_up(struct scale *s, struct scale_node *n, bool joined, bool busy, int64_t now_ns)
{
	if (!joined) {
		n->idle_ns = 0;
		n->away_ns = n->away_ns ? n->away_ns : now_ns;
		if (now_ns - n->away_ns < s->conf.boot_ns)
			return;
		breaker_failure(&s->breaker, now_ns);
		say(n, "not seen for %lld s", (long long)((now_ns - n->away_ns) / NS_PER_S));
		stop(n, now_ns);
		return;
	}
	n->away_ns = 0;
	if (busy)
		n->idle_ns = 0;
	else if (!n->idle_ns)
		n->idle_ns = now_ns;
}

static void look_boot(struct scale *s, struct scale_node *n, bool joined, int64_t now_ns)
{
	if (joined) {
		say(n, "in use");
		move(n, SCALE_UP, now_ns + s->conf.check_ns, now_ns);
		breaker_success(&s->breaker);
		return;
	}
	n->away_ns = n->away_ns ? n->away_ns : now_ns;
	if (now_ns - n->away_ns < s->conf.boot_ns)
		return;
	breaker_failure(&s->breaker, now_ns);
	say(n, "the provider said it runs; it did not join within %lld s", (long long)(s->conf.boot_ns / NS_PER_S));
	stop(n, now_ns);
}

/* Idle ones go while nothing waits that would fit on them. */
static void let_go(struct scale *s, const struct scale_view *v, size_t t, int64_t now_ns)
{
	for (size_t i = 0; i < SCALE_SLOTS_MAX && s->conf.type[t].retired; i++) {
		struct scale_node *n = &s->node[t][i];
		if (n->state == SCALE_FREE || n->state == SCALE_STOPPING)
			continue;
		say(n, "its type is not set any more");
		stop(n, now_ns);
	}
	for (size_t i = 0; i < SCALE_SLOTS_MAX && v->jobs[t] == 0; i++) {
		struct scale_node *n = &s->node[t][i];
		if (n->state != SCALE_UP || !n->idle_ns || now_ns - n->idle_ns < s->conf.idle_ns)
			continue;
		say(n, "idle for %lld s", (long long)((now_ns - n->idle_ns) / NS_PER_S));
		stop(n, now_ns);
	}
}

/* ---- what is needed ---- */

static bool in_flight(const struct scale *s)
{
	for (size_t t = 0; t < s->conf.n_types; t++)
		for (size_t i = 0; i < SCALE_SLOTS_MAX; i++)
			if (s->node[t][i].state == SCALE_QUOTING || s->node[t][i].state == SCALE_STARTING)
				return true;
	return false;
}

static int32_t count(const struct scale *s, size_t t, enum scale_state state)
{
	int32_t n = 0;
	for (size_t i = 0; i < SCALE_SLOTS_MAX; i++)
		n += s->node[t][i].state == state;
	return n;
}

/* Its name has not been used for so long that nobody takes the new node for the old one; NULL: none is free. */
static struct scale_node *free_slot(struct scale *s, size_t t, int64_t now_ns)
{
	struct scale_node *best = NULL;
	for (size_t i = 0; i < SCALE_SLOTS_MAX; i++) {
		struct scale_node *n = &s->node[t][i];
		if (n->state == SCALE_FREE && (!n->ended_ns || now_ns - n->ended_ns >= REST_S * NS_PER_S) &&
			(!best || n->ended_ns < best->ended_ns))
			best = n;
	}
	return best;
}

static void order(struct scale *s, const struct scale_view *v, size_t t, int64_t now_ns,
	void (*token)(void *arg, char dst[ID_TEXT_MAX]), void *arg)
{
	const struct scale_type *type = &s->conf.type[t];
	int32_t booting = count(s, t, SCALE_BOOTING), have = SCALE_SLOTS_MAX - count(s, t, SCALE_FREE);
	int64_t missing = (int64_t)v->devices[t] - (int64_t)booting * type->devices;
	int64_t want = (missing + type->devices - 1) / type->devices, ordered = 0;
	if (missing <= 0)
		return; /* what is coming will do */
	want = s->breaker.state != BREAKER_CLOSED ? 1 : want < SCALE_ORDER_MAX ? want : SCALE_ORDER_MAX;
	for (; ordered < want && have + ordered < type->nodes_max; ordered++) {
		struct scale_node *n = free_slot(s, t, now_ns);
		if (!n)
			break;
		*n = (struct scale_node){ .type = t, .slot = n->slot, .asked_ns = now_ns };
		token(arg, n->token);
		say(n, "%d jobs wait that would fit", v->jobs[t]);
		move(n, SCALE_QUOTING, now_ns, now_ns);
	}
	if (ordered) {
		s->ordered_ns = now_ns;
		s->held[0] = '\0';
	} else {
		snprintf(s->held, sizeof(s->held), "%s: all %d nodes that may be rented are", type->name, type->nodes_max);
	}
}

/* After too many failures nothing is ordered for a while, then one node; when that joins all is well again. */
static bool is_open(struct scale *s, int64_t now_ns)
{
	if (s->breaker.state == BREAKER_HALF_OPEN)
		snprintf(s->held, sizeof(s->held), "the provider failed too often: one node is tried");
	else if (s->breaker.state == BREAKER_OPEN && now_ns < s->breaker.open_until_ns)
		snprintf(s->held, sizeof(s->held), "the provider failed too often: no order for %lld s",
			(long long)((s->breaker.open_until_ns - now_ns) / NS_PER_S + 1));
	else
		return false;
	return true;
}

static void need(struct scale *s, const struct scale_view *v, int64_t now_ns,
	void (*token)(void *arg, char dst[ID_TEXT_MAX]), void *arg)
{
	bool enough = false;
	for (size_t t = 0; t < s->conf.n_types; t++) {
		if (v->jobs[t] < s->conf.up_jobs || s->conf.type[t].retired)
			s->over_ns[t] = 0;
		else if (!s->over_ns[t] || s->over_ns[t] > now_ns)
			s->over_ns[t] = now_ns;
		enough |= s->over_ns[t] != 0;
	}
	if (!enough)
		s->held[0] = '\0';
	if (!enough || in_flight(s) ||
		(s->ordered_ns && now_ns >= s->ordered_ns && now_ns - s->ordered_ns < s->conf.cooldown_ns))
		return;
	if (is_open(s, now_ns))
		return;
	for (size_t t = 0; t < s->conf.n_types && !in_flight(s); t++)
		if (s->over_ns[t] && now_ns - s->over_ns[t] >= s->conf.up_after_ns)
			order(s, v, t, now_ns, token, arg);
}

void scale_step(struct scale *s, const struct scale_view *v, int64_t now_ns,
	void (*token)(void *arg, char dst[ID_TEXT_MAX]), void *arg)
{
	s->stepped_ns = now_ns;
	for (size_t t = 0; t < s->conf.n_types; t++) {
		for (size_t i = 0; i < SCALE_SLOTS_MAX; i++) {
			struct scale_node *n = &s->node[t][i];
			if (n->state == SCALE_UP)
				look_up(s, n, v->node[t][i].joined, v->node[t][i].busy, now_ns);
			else if (n->state == SCALE_BOOTING)
				look_boot(s, n, v->node[t][i].joined, now_ns);
		}
		let_go(s, v, t, now_ns);
	}
	need(s, v, now_ns, token, arg);
}

static int64_t earlier(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

int64_t scale_due(const struct scale *s)
{
	int64_t at_ns = INT64_MAX, soon_ns = s->stepped_ns + NS_PER_S;
	for (size_t t = 0; t < s->conf.n_types; t++) {
		if (s->over_ns[t])
			at_ns =
				earlier(at_ns, s->held[0] ? s->stepped_ns + HELD_S * NS_PER_S : s->over_ns[t] + s->conf.up_after_ns);
		for (size_t i = 0; i < SCALE_SLOTS_MAX; i++) {
			const struct scale_node *n = &s->node[t][i];
			if (n->state != SCALE_UP && n->state != SCALE_BOOTING)
				continue;
			if (n->idle_ns)
				at_ns = earlier(at_ns, n->idle_ns + s->conf.idle_ns);
			if (n->away_ns)
				at_ns = earlier(at_ns, n->away_ns + s->conf.boot_ns);
		}
	}
	return at_ns == INT64_MAX || at_ns > soon_ns ? at_ns : soon_ns;
}

int64_t scale_call_due(const struct scale *s)
{
	int64_t at_ns = INT64_MAX;
	for (size_t t = 0; t < s->conf.n_types; t++)
		for (size_t i = 0; i < SCALE_SLOTS_MAX; i++)
			if (s->node[t][i].state != SCALE_FREE)
				at_ns = earlier(at_ns, s->node[t][i].due_ns);
	return at_ns;
}

/* ---- calls ---- */

static enum scale_call call_of(const struct scale_node *n)
{
	static const enum scale_call of[SCALE_STATE_END] = { SCALE_CALL_NONE, SCALE_CALL_QUOTE, SCALE_CALL_START,
		SCALE_CALL_STATE, SCALE_CALL_STATE, SCALE_CALL_STOP };
	return of[n->state];
}

enum scale_call scale_take(struct scale *s, int64_t now_ns, struct scale_node **ret)
{
	for (size_t t = 0; t < s->conf.n_types; t++)
		for (size_t i = 0; i < SCALE_SLOTS_MAX; i++) {
			struct scale_node *n = &s->node[t][i];
			if (n->state == SCALE_FREE || n->due_ns > now_ns)
				continue;
			if (n->state == SCALE_QUOTING && n->attempt == 0 && !breaker_allow(&s->breaker, now_ns)) {
				say(n, "given up: the provider failed too often");
				move(n, SCALE_FREE, INT64_MAX, now_ns);
				continue;
			}
			n->attempt++;
			n->out = n->changed = true;
			n->due_ns = now_ns + s->conf.call_ns;
			*ret = n;
			return call_of(n);
		}
	return SCALE_CALL_NONE;
}

void scale_take_back(struct scale *s, int64_t now_ns)
{
	for (size_t t = 0; t < s->conf.n_types; t++)
		for (size_t i = 0; i < SCALE_SLOTS_MAX; i++)
			if (s->node[t][i].out) {
				s->node[t][i].out = false;
				s->node[t][i].due_ns = now_ns;
			}
}

static int64_t backoff_ns(int32_t n)
{
	int64_t s = (int64_t)SCALE_RETRY_S << (n < 8 ? n : 8);
	return (s < SCALE_RETRY_MAX_S ? s : SCALE_RETRY_MAX_S) * NS_PER_S;
}

static void call_failed(struct scale *s, struct scale_node *n, const char *error, int64_t now_ns)
{
	breaker_failure(&s->breaker, now_ns);
	if (n->state == SCALE_QUOTING) {
		say(n, "no price: %.100s", error);
		move(n, SCALE_FREE, INT64_MAX, now_ns);
	} else if (n->state == SCALE_STARTING && n->fails + 1 >= SCALE_STARTS_MAX) {
		say(n, "not started: %.100s", error);
		stop(n, now_ns); /* it may have been */
	} else {
		say(n, "%s failed: %.100s", scale_call_name(call_of(n)), error);
		n->due_ns = now_ns + backoff_ns(n->fails++);
	}
}

static void quoted(struct scale *s, struct scale_node *n, int64_t price, int64_t now_ns)
{
	const struct scale_type *t = &s->conf.type[n->type];
	const char *why = NULL;
	if (price <= 0)
		why = "no price was told";
	else if (price > t->price_max_micros_h)
		why = "dearer than its type may be";
	else if (scale_rate_micros_h(s) + price > s->conf.budget_micros_h)
		why = "beyond the budget";
	n->price_micros_h = price > 0 ? price : 0;
	if (!why) {
		move(n, SCALE_STARTING, now_ns, now_ns);
		return;
	}
	say(n, "not ordered: %s (%.2f USD/h)", why, (double)n->price_micros_h / (double)MICROS_PER_USD);
	snprintf(s->held, sizeof(s->held), "%s: %.80s", t->name, n->reason);
	if (s->breaker.state == BREAKER_HALF_OPEN)
		breaker_success(&s->breaker); /* it answers */
	move(n, SCALE_FREE, INT64_MAX, now_ns);
}

static void started(struct scale *s, struct scale_node *n, const struct scale_answer *a, int64_t now_ns)
{
	if (a->price_micros_h > n->price_micros_h) {
		breaker_failure(&s->breaker, now_ns);
		say(n, "quoted at %.2f USD/h, started at %.2f", (double)n->price_micros_h / (double)MICROS_PER_USD,
			(double)a->price_micros_h / (double)MICROS_PER_USD);
		n->price_micros_h = a->price_micros_h; /* what it costs until it is gone */
		stop(n, now_ns);
	} else if (a->says == SCALE_SAYS_STARTING || a->says == SCALE_SAYS_RUNNING) {
		say(n, "the provider says %s", scale_word_name(a->says));
		move(n, SCALE_BOOTING, now_ns + s->conf.check_ns, now_ns);
		n->away_ns = now_ns;
	} else {
		call_failed(s, n, "the provider says that it does not run", now_ns);
	}
}

static void checked(struct scale *s, struct scale_node *n, enum scale_word says, int64_t now_ns)
{
	if (says == SCALE_SAYS_STARTING || says == SCALE_SAYS_RUNNING) {
		n->due_ns = now_ns + s->conf.check_ns;
		n->fails = 0;
		return;
	}
	breaker_failure(&s->breaker, now_ns);
	say(n, "the provider says %s", scale_word_name(says));
	stop(n, now_ns);
}

static void stopped(struct scale *s, struct scale_node *n, enum scale_word says, int64_t now_ns)
{
	if (says == SCALE_SAYS_STOPPED || says == SCALE_SAYS_UNKNOWN)
		move(n, SCALE_FREE, INT64_MAX, now_ns);
	else if (says == SCALE_SAYS_FAILED)
		call_failed(s, n, "the provider says failed", now_ns);
	else
		n->due_ns = now_ns + backoff_ns(n->fails++); /* on its way */
}

static struct scale_node *find(struct scale *s, const char *token)
{
	for (size_t t = 0; t < s->conf.n_types; t++)
		for (size_t i = 0; i < SCALE_SLOTS_MAX; i++)
			if (s->node[t][i].state != SCALE_FREE && !strcmp(s->node[t][i].token, token))
				return &s->node[t][i];
	return NULL;
}

bool scale_answered(struct scale *s, const struct scale_answer *a, int64_t now_ns)
{
	struct scale_node *n = find(s, a->token);
	if (!n || !n->out || n->attempt != a->attempt || call_of(n) != a->call)
		return false;
	n->out = false;
	n->changed = true;
	if (a->error && a->error[0])
		call_failed(s, n, a->error, now_ns);
	else if (a->call == SCALE_CALL_QUOTE)
		quoted(s, n, a->price_micros_h, now_ns);
	else if (a->call == SCALE_CALL_START)
		started(s, n, a, now_ns);
	else if (a->call == SCALE_CALL_STATE)
		checked(s, n, a->says, now_ns);
	else
		stopped(s, n, a->says, now_ns);
	return true;
}
