/*
 * "ppo": runs or curtails a class of miners as a net says that learned it by Proximal Policy Optimization (ppo.h) on
 * recorded prices (ppo_miner.h). The weights come from a file, made by `hcp ppo train`; without one it does not start,
 * and it does not decide about a time that the file has seen, nor for another settlement point.
 *
 *	history, now, the class's nets -> observation -> actors -> run | curtail,   for running and idle devices apart
 *
 * Where no price came near what the class earns it runs without asking the net. Where the last price is not known, or
 * mining earns nothing, and for classes that can serve, the last price decides as in "last_price" and "threshold".
 */
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "base/money.h"
#include "base/timefmt.h"
#include "econ/policy_priv.h"
#include "econ/ppo_miner.h"
#include "econ/ppo_model.h"
#include "model/site.h"

#define STEP_NS (PPO_STEP_S * NS_PER_S)
enum { FILE_MAX = 128 };

struct ppo {
	struct ppo_model model;
	char file[FILE_MAX];
	uint64_t asked, calm, by_last; /* decisions of a class */
};

static int ppo_init(struct policy *p, const struct policy_conf *conf, struct err *err)
{
	if (conf->ppo.n == 0 && !conf->taught)
		return err_set(err, HCP_ENOTFOUND, "model",
			"there are no weights of policy ppo for this site; `hcp ppo train` makes them");
	struct ppo *s = mem_calloc(1, sizeof(*s));
	if (!s)
		return err_set(err, HCP_ENOMEM, "", "no memory for a policy");
	int rc = conf->ppo.n ? ppo_model_load(&s->model, conf->ppo, err) : 0;
	if (rc < 0) {
		mem_free(s);
		return rc;
	}
	/* The end of a long path says more than its beginning. */
	struct str file = conf->ppo_file;
	size_t cut = file.n < FILE_MAX ? 0 : file.n - FILE_MAX + 1;
	memcpy(s->file, file.n ? file.p + cut : "", file.n - cut);
	p->conf.ppo = p->conf.ppo_file = (struct str){ 0 }; /* were borrowed */
	p->priv = s;
	return 0;
}

static void ppo_release(struct policy *p)
{
	struct ppo *s = p->priv;
	if (!s)
		return;
	ppo_model_release(&s->model);
	mem_free(s);
	p->priv = NULL;
}

/* The weights to ask; NULL: those that are taught have none of this site and time. */
static const struct ppo_model *model_of(const struct ppo *s, const struct policy_input *in)
{
	if (!in->taught)
		return &s->model;
	const struct ppo_model *m = in->taught->ppo;
	return m && in->site && !in->site->fixed && !strcmp(in->site->point, m->point) && in->now_ns >= m->to_ns ? m : NULL;
}

/* Whether the weights may be asked at all. */
static int check(const struct ppo *s, const struct policy_input *in, struct err *err)
{
	char to[TIMEFMT_MAX], now[TIMEFMT_MAX];
	const char *point = in->site && !in->site->fixed ? in->site->point : "a fixed tariff";
	if (strcmp(point, s->model.point) != 0)
		return err_set(err, HCP_ESTATE, "model", "%s was trained for %s, not for %s", s->file, s->model.point, point);
	if (in->now_ns < s->model.to_ns)
		return err_set(err, HCP_ESTATE, "model", "%s knows prices up to %s, later than the decision at %s", s->file,
			timefmt_format(to, s->model.to_ns), timefmt_format(now, in->now_ns));
	return 0;
}

/* False: the last price is not known. Reads what began before now alone. */
static bool see(const struct policy_input *in, struct ppo_raw *ret)
{
	double back[PPO_BACK];
	int64_t at_ns = in->now_ns - in->now_ns % STEP_NS;
	const struct history_series *s = in->history ? history_find(in->history, HISTORY_POWER_RT, in->site->point) : NULL;
	if (!s || s->step_ns != STEP_NS)
		return false;
	for (size_t k = 0; k < PPO_BACK; k++)
		back[k] = history_at(s, at_ns - (int64_t)(k + 1) * STEP_NS);
	return ppo_raw_fill(ret, back, at_ns);
}

/* What a class is decided by; raw NULL: the last price is not known. */
struct seen {
	const struct ppo_model *model;
	const struct ppo_raw *raw;
};

static bool runs(const struct seen *seen, const struct policy_class *c, double threshold, bool running)
{
	float obs[PPO_OBS];
	double unit_usd = threshold * (c->mwh_h[POLICY_MINE] - c->mwh_h[POLICY_IDLE]) * PPO_STEP_S / 3600;
	const struct ppo_state state = {
		.running = running, .threshold_usd_mwh = threshold, .start = c->switch_cost_usd[POLICY_MINE] / unit_usd
	};
	ppo_observe(seen->raw, &state, obs);
	return ppo_model_say(seen->model, obs) > 0;
}

static void by_last_price(
	struct ppo *s, const struct policy_class *c, double hours, struct policy_target *t, struct decision_class *d)
{
	struct policy_class free = *c;
	memset(free.switch_cost_usd, 0, sizeof(free.switch_cost_usd));
	policy_decide_class(&free, t, hours, 0, d);
	s->by_last++;
}

/* False: by the last price. */
static bool decide_class(struct ppo *s, const struct seen *seen, const struct policy_class *c, double hours,
	struct policy_target *t, struct decision_class *d)
{
	double mwh_h = c->mwh_h[POLICY_MINE] - c->mwh_h[POLICY_IDLE];
	double threshold = mwh_h > 0 ? (c->gross_usd_h[POLICY_MINE] - c->gross_usd_h[POLICY_IDLE]) / mwh_h : 0;
	uint32_t target[POLICY_USE_END] = { 0 }, idle = c->count - c->now[POLICY_MINE];
	if (!seen->raw || threshold < 1) {
		by_last_price(s, c, hours, t, d);
		return false;
	}
	bool open = ppo_in_question(seen->raw, threshold);
	bool stay = !open || (c->now[POLICY_MINE] && runs(seen, c, threshold, true));
	bool start = !open || (idle && runs(seen, c, threshold, false));
	*(open ? &s->asked : &s->calm) += 1;
	target[stay ? POLICY_MINE : POLICY_IDLE] += c->now[POLICY_MINE];
	target[start ? POLICY_MINE : POLICY_IDLE] += idle;
	policy_take_target(c, target, hours, t, d);
	return true;
}

static int ppo_decide(struct policy *p, const struct policy_input *in, struct policy_output *ret, struct err *err)
{
	struct ppo *s = p->priv;
	struct ppo_raw raw;
	double hours = (double)in->horizon_ns / (3600.0 * (double)NS_PER_S);
	int rc = in->taught ? 0 : check(s, in, err);
	if (rc < 0)
		return rc;
	struct seen seen = { .model = model_of(s, in) };
	seen.raw = seen.model && see(in, &raw) ? &raw : NULL;
	ret->explain.view.weighed = true;
	for (size_t k = 0; k < in->n; k++) {
		const struct policy_class *c = &in->c[k];
		if (c->can[POLICY_SERVE] || !c->can[POLICY_MINE])
			policy_decide_class(c, &ret->c[k], hours, p->conf.hysteresis, &ret->explain.c[k]);
		else
			ret->explain.view.weighed &= decide_class(s, &seen, c, hours, &ret->c[k], &ret->explain.c[k]);
	}
	ret->explain.view.by = seen.raw ? "net" : "last_price";
	return 0;
}

static void ppo_describe(const struct policy *p, struct buf *out)
{
	const struct ppo *s = p->priv;
	char from[TIMEFMT_MAX], to[TIMEFMT_MAX];
	buf_printf(out, "%llu decisions by %zu nets of %s, trained for %s on prices from %s to %s, seed %llu; ",
		(unsigned long long)s->asked, s->model.n, s->file[0] ? s->file : "its state", s->model.site,
		timefmt_format(from, s->model.from_ns), timefmt_format(to, s->model.to_ns), (unsigned long long)s->model.seed);
	buf_printf(out, "%llu far from any question, run; %llu by the last price", (unsigned long long)s->calm,
		(unsigned long long)s->by_last);
}

/* ---- bytes: the built-in state, then the weights ---- */

static int ppo_save(const struct policy *p, struct buf *out, struct err *err)
{
	const struct ppo *s = p->priv;
	int rc = policy_builtin_save(p, out, err);
	return rc == 0 && s->model.to_ns ? ppo_model_save(&s->model, out, err) : rc;
}

static int ppo_load(struct policy *p, struct str bytes, struct err *err)
{
	struct ppo *s = p->priv;
	struct ppo_model m = { 0 };
	if (bytes.n < POLICY_BUILTIN_N)
		return err_set(err, HCP_ECORRUPT, "state", "cut off");
	struct str rest = { bytes.p + POLICY_BUILTIN_N, bytes.n - POLICY_BUILTIN_N };
	int rc = rest.n || !p->conf.taught ? ppo_model_load(&m, rest, err) : 0;
	if (rc == 0)
		rc = policy_builtin_load(p, (struct str){ bytes.p, POLICY_BUILTIN_N }, err);
	if (rc < 0) {
		ppo_model_release(&m);
		return rc;
	}
	ppo_model_release(&s->model);
	s->model = m;
	return 0;
}

const struct policy_vt policy_ppo = {
	.name = "ppo",
	.about = "Runs or curtails miners as a net has learned on recorded prices (Proximal Policy Optimization).",
	.needs = POLICY_NEEDS_NET,
	.init = ppo_init,
	.release = ppo_release,
	.decide = ppo_decide,
	.save = ppo_save,
	.load = ppo_load,
	.describe = ppo_describe,
};
