/*
 * "stochastic": runs a miner through the next quarter-hour while what it earns is worth more than the expected price,
 * the price of a later start counted in. With A = what running this quarter-hour is worth against standing still,
 *
 *	A_t = E[ (c - price_t) e + V_{t+1} ],   V = what it is worth to be running then: max(0, min(A, K))
 *
 * (K: what a start costs; e: MWh a quarter-hour) a running device stops where A < 0 and an idle one starts where A > K.
 * That is the whole stopping problem when minimum times are one step, since a price does not depend on what is decided.
 * V lies between 0 and K. Where a stop is in question prices are high and V is about half of K; where a start is, they
 * have come down and it is nearly all of K. These two shares were fitted on 2022 and 2023; the result is flat in them.
 *
 * Expected prices: policy_spike_model.c. Where none can be had the last price stands in, and describe() says so.
 */
#include "econ/policy_spike.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "base/money.h"
#include "base/timefmt.h"
#include "econ/policy_priv.h"
#include "model/site.h"

#define STOP_SHARE 0.5
#define START_SHARE 0.1 /* of K that is not yet in V */
#define RETRY_NS (INT64_C(86400) * NS_PER_S)

static int spike_init(struct policy *p, const struct policy_conf *conf, struct err *err)
{
	struct spike *s = mem_calloc(1, sizeof(*s));
	if (!s)
		return err_set(err, HCP_ENOMEM, "", "no memory for a policy");
	int rc = conf->model.n ? spike_load(&s->given, conf->model, err) : 0;
	if (rc < 0) {
		mem_free(s);
		return rc;
	}
	p->conf.model = (struct str){ 0 }; /* was borrowed */
	p->priv = s;
	return 0;
}

void policy_spike_release(struct spike *s)
{
	spike_release(&s->own);
	spike_release(&s->given);
}

static void spike_release_all(struct policy *p)
{
	struct spike *s = p->priv;
	if (!s)
		return;
	policy_spike_release(s);
	mem_free(s);
	p->priv = NULL;
}

/* A model that knows prices of later than now would look ahead. */
static bool is_of(const struct spike_model *m, const char *point, int64_t now_ns)
{
	return m->to_ns && m->to_ns <= now_ns && strcmp(m->point, point) == 0;
}

static int64_t span_ns(const struct spike_model *m)
{
	return m->to_ns - m->from_ns;
}

/* Trains once, when a year is known and as much as the model that was handed in has seen. */
static int learn(struct spike *s, const struct policy_input *in, struct err *err)
{
	const struct history_series *h = history_find(in->history, HISTORY_POWER_RT, in->site->point);
	bool given = is_of(&s->given, in->site->point, in->now_ns);
	if (!h || is_of(&s->own, in->site->point, in->now_ns) || (s->tried_ns && in->now_ns - s->tried_ns < RETRY_NS) ||
		(given && in->now_ns - h->first_ns < span_ns(&s->given)))
		return 0;
	int rc = spike_train(&s->own, in->history, in->site->point, in->now_ns, NULL, err);
	if (rc == 0 || rc == HCP_EAGAIN)
		s->tried_ns = in->now_ns;
	return rc == HCP_EAGAIN ? 0 : rc;
}

/* What the class that gives up first earns a MWh. */
static double least_usd_mwh(const struct policy_input *in)
{
	double least = SPIKE_MOST;
	for (size_t i = 0; i < in->n; i++) {
		const struct policy_class *c = &in->c[i];
		double mwh_h = c->mwh_h[POLICY_MINE] - c->mwh_h[POLICY_IDLE];
		if (c->can[POLICY_MINE] && mwh_h > 0)
			least = fmin(least, (c->gross_usd_h[POLICY_MINE] - c->gross_usd_h[POLICY_IDLE]) / mwh_h);
	}
	return least;
}

/* The model to ask; NULL: none. */
static const struct spike_model *choose(const struct spike *s, const struct policy_input *in, int64_t at_ns)
{
	if (in->taught)
		return in->taught->spike && is_of(in->taught->spike, in->site->point, at_ns) ? in->taught->spike : NULL;
	return is_of(&s->own, in->site->point, at_ns)     ? &s->own
		   : is_of(&s->given, in->site->point, at_ns) ? &s->given
													  : NULL;
}

int policy_spike_expect(struct spike *s, const struct policy_input *in, double *ret, bool *ret_known, struct err *err)
{
	/* Within a quarter-hour nothing is known of its price that was not at its start. */
	int64_t at_ns = in->now_ns - in->now_ns % (SPIKE_STEP_S * NS_PER_S);
	double price = 0;
	*ret = in->electricity_usd_mwh;
	*ret_known = false;
	if (!in->history || !in->site || in->site->fixed) {
		s->by_last++;
		return 0;
	}
	int rc = in->taught ? 0 : learn(s, in, err);
	if (rc < 0)
		return rc;
	const struct spike_model *m = choose(s, in, at_ns);
	rc = m ? spike_expect(m, in->history, at_ns, least_usd_mwh(in), &price, err) : HCP_EAGAIN;
	*(rc ? &s->by_last : m == &s->own ? &s->by_own : &s->by_given) += 1;
	if (rc == 0) {
		*ret = price;
		*ret_known = true;
	}
	return rc == HCP_EAGAIN ? 0 : rc;
}

/*
 * What the switches of a class gain: the step at the expected price, and what the state after it is worth (V) against
 * the state that is left.
 */
static double gain_usd(const struct policy_class *c, const struct policy_target *t, double start_usd, double hours)
{
	double usd = 0, starts = (double)t->target[POLICY_MINE] - c->now[POLICY_MINE];
	for (int u = 0; u < POLICY_USE_END; u++)
		usd += ((double)t->target[u] - c->now[u]) * c->net_usd_h[u] * hours;
	return usd + starts * start_usd * (starts > 0 ? 1 - START_SHARE : STOP_SHARE);
}

static int spike_decide(struct policy *p, const struct policy_input *in, struct policy_output *ret, struct err *err)
{
	struct decision_explain *e = &ret->explain;
	bool known;
	e->horizon_ns = in->step_ns > 0 ? in->step_ns : in->horizon_ns;
	double price, hours = (double)e->horizon_ns / (3600.0 * (double)NS_PER_S);
	int rc = policy_spike_expect(p->priv, in, &price, &known, err);
	if (rc < 0)
		return rc;
	e->view = (struct policy_view){ .usd_mwh = price, .by = known ? "price_model" : "last_price", .stated = true };
	for (size_t i = 0; i < in->n; i++) {
		struct policy_class c = in->c[i];
		policy_reprice(&c, price);
		double start_usd = c.switch_cost_usd[POLICY_MINE];
		c.switch_cost_usd[POLICY_IDLE] += STOP_SHARE * start_usd;
		c.switch_cost_usd[POLICY_MINE] = START_SHARE * start_usd;
		policy_decide_class(&c, &ret->c[i], hours, 0, &e->c[i]);
		e->view.gain_usd += gain_usd(&c, &ret->c[i], start_usd, hours);
		e->view.switched += policy_switched(&c, &ret->c[i]);
	}
	return 0;
}

/* ---- what it stands on, for reports ---- */

static void tell(struct buf *out, const char *what, const struct spike_model *m, uint64_t n)
{
	char from[TIMEFMT_MAX], to[TIMEFMT_MAX];
	if (n)
		buf_printf(out, "%llu decisions by a model %s on %s, %s to %s; ", (unsigned long long)n, what, m->point,
			timefmt_format(from, m->from_ns), timefmt_format(to, m->to_ns));
}

void policy_spike_describe(const struct spike *s, struct buf *out)
{
	tell(out, "trained here", &s->own, s->by_own);
	tell(out, "handed in, trained", &s->given, s->by_given);
	buf_printf(out, "%llu by the last price", (unsigned long long)s->by_last);
}

static void spike_describe(const struct policy *p, struct buf *out)
{
	policy_spike_describe(p->priv, out);
}

/* ---- bytes: the built-in state, then the own model, if there is one. A given one is handed in again. ---- */

static int spike_policy_save(const struct policy *p, struct buf *out, struct err *err)
{
	const struct spike *s = p->priv;
	int rc = policy_builtin_save(p, out, err);
	return rc == 0 && s->own.to_ns ? spike_save(&s->own, out, err) : rc;
}

static int spike_policy_load(struct policy *p, struct str bytes, struct err *err)
{
	struct spike *s = p->priv;
	struct spike_model own = { 0 };
	if (bytes.n < POLICY_BUILTIN_N)
		return err_set(err, HCP_ECORRUPT, "state", "cut off");
	struct str rest = { bytes.p + POLICY_BUILTIN_N, bytes.n - POLICY_BUILTIN_N };
	int rc = rest.n ? spike_load(&own, rest, err) : 0;
	if (rc == 0)
		rc = policy_builtin_load(p, (struct str){ bytes.p, POLICY_BUILTIN_N }, err);
	if (rc < 0) {
		spike_release(&own);
		return rc;
	}
	spike_release(&s->own);
	s->own = own;
	return 0;
}

const struct policy_vt policy_stochastic = {
	.name = "stochastic",
	.about = "Runs miners while the expected price, learned from the point's past, and starts to come leave a gain.",
	.needs = POLICY_NEEDS_PRICE_MODEL,
	.init = spike_init,
	.release = spike_release_all,
	.decide = spike_decide,
	.save = spike_policy_save,
	.load = spike_policy_load,
	.describe = spike_describe,
};
