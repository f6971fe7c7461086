#include <math.h>
#include <string.h>

#include "base/money.h"
#include "econ/policy_priv.h"

/* The rows are per hour; the horizon says for how many of them they count. */
static double hours(const struct policy_input *in)
{
	return (double)in->horizon_ns / (3600.0 * (double)NS_PER_S);
}

/* What is left to decide of a class after the contract took its devices. */
struct rest {
	uint32_t now[POLICY_USE_END];
	uint32_t serve_left; /* spot demand */
};

static void move(struct rest *rest, struct policy_target *t, enum policy_use from, enum policy_use to, uint32_t n)
{
	rest->now[from] -= n;
	t->target[to] += n;
	if (to == POLICY_SERVE)
		rest->serve_left -= n;
}

/* Contract first: those that serve already, then those whose present use earns least. */
static struct rest take_contract(const struct policy_class *c, struct policy_target *t)
{
	struct rest rest = { .serve_left = c->can[POLICY_SERVE] ? c->want_serve : 0 };
	memcpy(rest.now, c->now, sizeof(rest.now));
	if (!c->can[POLICY_SERVE])
		return rest;
	bool mine_first = c->net_usd_h[POLICY_MINE] < c->net_usd_h[POLICY_IDLE];
	const enum policy_use order[] = { POLICY_SERVE, mine_first ? POLICY_MINE : POLICY_IDLE,
		mine_first ? POLICY_IDLE : POLICY_MINE };
	uint32_t left = c->must_serve;
	for (size_t i = 0; i < 3; i++) {
		uint32_t n = rest.now[order[i]] < left ? rest.now[order[i]] : left;
		rest.now[order[i]] -= n;
		t->target[POLICY_SERVE] += n;
		left -= n;
	}
	return rest;
}

static uint32_t rest_count(const struct rest *r)
{
	return r->now[0] + r->now[1] + r->now[2];
}

/* The use that most of the undecided devices are in now; ties to the lower number. */
static enum policy_use present_use(const struct rest *r)
{
	enum policy_use u = POLICY_MINE;
	for (int i = 1; i < POLICY_USE_END; i++) {
		if (r->now[i] > r->now[u])
			u = (enum policy_use)i;
	}
	return u;
}

static double gain_usd(const struct policy_class *c, enum policy_use from, enum policy_use to, double h)
{
	return (c->net_usd_h[to] - c->net_usd_h[from]) * h;
}

/* 10 % of what the present use earns or loses, plus the switching cost; never scaled by a negative number. */
static double needed_usd(const struct policy_class *c, enum policy_use from, enum policy_use to, double h, double hyst)
{
	return hyst * fabs(c->net_usd_h[from]) * h + c->switch_cost_usd[to];
}

/* Fills the options of a class: numbers always, reasons of those not chosen. */
static void explain(const struct policy_class *c, const struct policy_target *t, enum policy_use from, bool demand,
	double h, double hyst, struct decision_class *d)
{
	for (int i = 0; i < POLICY_USE_END; i++) {
		enum policy_use u = (enum policy_use)i;
		struct policy_option *o = &d->option[u];
		*o = (struct policy_option){ .use = u, .chosen = u == t->chosen, .net_usd_h = c->net_usd_h[u] };
		if (u != from) {
			o->switch_usd = c->switch_cost_usd[u];
			o->gain_usd = gain_usd(c, from, u, h);
			o->needed_usd = needed_usd(c, from, u, h, hyst);
		}
		if (o->chosen)
			o->reason = t->reason;
		else if (!c->can[u])
			o->reason = POLICY_R_IMPOSSIBLE;
		else if (u == POLICY_SERVE && !demand)
			o->reason = POLICY_R_NO_DEMAND;
		else if (t->reason == POLICY_R_FIXED || t->reason == POLICY_R_STRIKE || t->reason == POLICY_R_BELOW_STRIKE ||
				 t->reason == POLICY_R_PLAN)
			o->reason = t->reason;
		else if (c->net_usd_h[u] <= c->net_usd_h[t->chosen])
			o->reason = POLICY_R_WORSE;
		else
			o->reason = o->gain_usd <= hyst * fabs(c->net_usd_h[from]) * h ? POLICY_R_WITHIN_MARGIN :
				POLICY_R_SWITCH_COST;
	}
}

/* Puts all of the rest into one use as far as possible: serve up to its demand, then `use`, else idle. */
static void put_all(const struct policy_class *c, struct rest *rest, struct policy_target *t, bool serve_first,
	enum policy_use use)
{
	if (!c->can[use])
		use = POLICY_IDLE;
	static const enum policy_use order[] = { POLICY_SERVE, POLICY_IDLE, POLICY_MINE };
	for (size_t i = 0; i < 3; i++) {
		enum policy_use from = order[i];
		uint32_t n = serve_first && rest->serve_left < rest->now[from] ? rest->serve_left : rest->now[from];
		if (serve_first)
			move(rest, t, from, POLICY_SERVE, n);
		move(rest, t, from, use, rest->now[from]);
	}
	t->chosen = use;
}

static void decide_fixed(const struct policy *p, const struct policy_input *in, struct policy_output *out,
	bool serve_first, enum policy_use use, enum policy_reason why)
{
	for (size_t i = 0; i < in->n; i++) {
		const struct policy_class *c = &in->c[i];
		struct policy_target *t = &out->c[i];
		struct rest rest = take_contract(c, t);
		enum policy_use from = present_use(&rest);
		uint32_t contracted = t->target[POLICY_SERVE];
		bool demand = rest.serve_left > 0, any = rest_count(&rest) > 0;
		put_all(c, &rest, t, serve_first, use);
		t->reason = why;
		if (serve_first && t->target[POLICY_SERVE] - contracted > t->target[t->chosen])
			t->chosen = POLICY_SERVE;
		if (!any) {
			t->chosen = contracted ? POLICY_SERVE : t->chosen;
			t->reason = c->must_serve > contracted ? POLICY_R_SHORT : contracted ? POLICY_R_CONTRACT : why;
		}
		explain(c, t, from, demand, hours(in), p->conf.hysteresis, &out->explain.c[i]);
	}
}

static int mine_decide(struct policy *p, const struct policy_input *in, struct policy_output *ret, struct err *err)
{
	(void)err;
	decide_fixed(p, in, ret, false, POLICY_MINE, POLICY_R_FIXED);
	return 0;
}

static int serve_decide(struct policy *p, const struct policy_input *in, struct policy_output *ret, struct err *err)
{
	(void)err;
	decide_fixed(p, in, ret, true, POLICY_IDLE, POLICY_R_FIXED);
	return 0;
}

static int strike_decide(struct policy *p, const struct policy_input *in, struct policy_output *ret, struct err *err)
{
	(void)err;
	bool above = in->electricity_usd_mwh + in->risk_usd_mwh > p->conf.strike_usd_mwh;
	decide_fixed(p, in, ret, true, above ? POLICY_IDLE : POLICY_MINE, above ? POLICY_R_STRIKE : POLICY_R_BELOW_STRIKE);
	return 0;
}

/* Moves the devices that are in `from` to wherever they earn enough more; the others stay. */
static void decide_group(const struct policy_class *c, struct rest *rest, struct policy_target *t, enum policy_use from,
	double h, double hyst)
{
	enum policy_use alt[2];
	size_t n_alt = 0;
	for (int u = 0; u < POLICY_USE_END; u++) {
		if (u != (int)from && c->can[u])
			alt[n_alt++] = (enum policy_use)u;
	}
	if (n_alt == 2 && c->net_usd_h[alt[1]] > c->net_usd_h[alt[0]]) {
		enum policy_use first = alt[0];
		alt[0] = alt[1];
		alt[1] = first;
	}
	uint32_t in_from = rest->now[from];
	/* Those that cannot stay: serving without demand, or a use that the class has lost. */
	uint32_t may_stay = !c->can[from]                                        ? 0
						: from == POLICY_SERVE && rest->serve_left < in_from ? rest->serve_left
																			 : in_from;
	uint32_t stay_wish = may_stay, forced = in_from - may_stay;
	for (size_t i = 0; i < n_alt; i++) {
		uint32_t room = alt[i] == POLICY_SERVE ? rest->serve_left : UINT32_MAX;
		uint32_t n = forced < room ? forced : room;
		move(rest, t, from, alt[i], n);
		forced -= n;
		room -= alt[i] == POLICY_SERVE ? n : 0;
		if (gain_usd(c, from, alt[i], h) <= needed_usd(c, from, alt[i], h, hyst))
			continue;
		n = stay_wish < room ? stay_wish : room;
		move(rest, t, from, alt[i], n);
		stay_wish -= n;
	}
	move(rest, t, from, from, stay_wish);
}

static enum policy_reason threshold_reason(const struct policy_class *c, const struct policy_target *t,
	enum policy_use from, bool demand, double h, double hyst)
{
	if (t->chosen != from)
		return from == POLICY_SERVE && !demand ? POLICY_R_NO_DEMAND
			   : !c->can[from]                 ? POLICY_R_IMPOSSIBLE
											   : POLICY_R_BEST;
	enum policy_reason why = POLICY_R_KEEP;
	for (int u = 0; u < POLICY_USE_END; u++) {
		if (!c->can[u] || u == (int)from || (u == POLICY_SERVE && !demand) || c->net_usd_h[u] <= c->net_usd_h[from])
			continue;
		double gain = gain_usd(c, from, (enum policy_use)u, h);
		why = gain <= hyst * fabs(c->net_usd_h[from]) * h ? POLICY_R_WITHIN_MARGIN : POLICY_R_SWITCH_COST;
	}
	return why;
}

void policy_decide_class(
	const struct policy_class *c, struct policy_target *t, double h, double hyst, struct decision_class *d)
{
	struct rest rest = take_contract(c, t);
	enum policy_use from = present_use(&rest);
	bool demand = rest.serve_left > 0;
	uint32_t contracted = t->target[POLICY_SERVE];

	t->mode = c->mode;
	if (rest_count(&rest) == 0) {
		t->chosen = contracted ? POLICY_SERVE : POLICY_IDLE;
		t->reason = c->must_serve > contracted ? POLICY_R_SHORT : contracted ? POLICY_R_CONTRACT : POLICY_R_KEEP;
		explain(c, t, from, demand, h, hyst, d);
		return;
	}
	/* Serving devices choose first, so that demand is met without a switch; then those that earn least now. */
	bool mine_first = c->net_usd_h[POLICY_MINE] < c->net_usd_h[POLICY_IDLE];
	decide_group(c, &rest, t, POLICY_SERVE, h, hyst);
	decide_group(c, &rest, t, mine_first ? POLICY_MINE : POLICY_IDLE, h, hyst);
	decide_group(c, &rest, t, mine_first ? POLICY_IDLE : POLICY_MINE, h, hyst);

	uint32_t beyond[POLICY_USE_END];
	memcpy(beyond, t->target, sizeof(beyond));
	beyond[POLICY_SERVE] -= contracted;
	t->chosen = from;
	for (int u = 0; u < POLICY_USE_END; u++) {
		if (beyond[u] > beyond[t->chosen])
			t->chosen = (enum policy_use)u;
	}
	t->reason = threshold_reason(c, t, from, demand, h, hyst);
	explain(c, t, from, demand, h, hyst, d);
}

void policy_take_target(const struct policy_class *c, const uint32_t target[POLICY_USE_END], double hours,
	struct policy_target *t, struct decision_class *d)
{
	struct policy_target contract = { 0 };
	struct rest rest = take_contract(c, &contract);
	enum policy_use from = present_use(&rest);
	uint32_t contracted = contract.target[POLICY_SERVE], beyond[POLICY_USE_END];
	bool demand = rest.serve_left > 0;
	t->mode = c->mode;
	memcpy(t->target, target, sizeof(t->target));
	memcpy(beyond, target, sizeof(beyond));
	beyond[POLICY_SERVE] -= contracted < beyond[POLICY_SERVE] ? contracted : beyond[POLICY_SERVE];
	t->chosen = from;
	for (int u = 0; u < POLICY_USE_END; u++) {
		if (beyond[u] > beyond[t->chosen])
			t->chosen = (enum policy_use)u;
	}
	t->reason = POLICY_R_PLAN;
	if (rest_count(&rest) == 0) {
		t->chosen = contracted ? POLICY_SERVE : POLICY_IDLE;
		t->reason = c->must_serve > contracted ? POLICY_R_SHORT : contracted ? POLICY_R_CONTRACT : POLICY_R_KEEP;
	}
	explain(c, t, from, demand, hours, 0, d);
}

static int threshold_decide(struct policy *p, const struct policy_input *in, struct policy_output *ret, struct err *err)
{
	(void)err;
	for (size_t i = 0; i < in->n; i++)
		policy_decide_class(&in->c[i], &ret->c[i], hours(in), p->conf.hysteresis, &ret->explain.c[i]);
	return 0;
}

/* The present rows alone: no margin, and as if switching cost nothing. */
static int last_price_decide(struct policy *p, const struct policy_input *in, struct policy_output *ret,
	struct err *err)
{
	(void)err;
	for (size_t i = 0; i < in->n; i++) {
		struct policy_class c = in->c[i];
		memset(c.switch_cost_usd, 0, sizeof(c.switch_cost_usd));
		policy_decide_class(&c, &ret->c[i], hours(in), 0, &ret->explain.c[i]);
	}
	return 0;
}

/* strike (8), hysteresis (8), decisions (8), little-endian */
int policy_builtin_save(const struct policy *p, struct buf *out, struct err *err)
{
	uint64_t v[3] = { 0, 0, p->decisions };
	memcpy(&v[0], &p->conf.strike_usd_mwh, 8);
	memcpy(&v[1], &p->conf.hysteresis, 8);
	for (size_t i = 0; i < POLICY_BUILTIN_N; i++)
		buf_addc(out, (char)(v[i / 8] >> (8 * (i % 8)) & 0xff));
	return buf_failed(out) ? err_set(err, HCP_ENOMEM, "state", "no memory") : 0;
}

int policy_builtin_load(struct policy *p, struct str bytes, struct err *err)
{
	uint64_t v[3] = { 0 };
	struct policy_conf conf = p->conf;
	if (bytes.n != POLICY_BUILTIN_N)
		return err_set(err, HCP_ECORRUPT, "state", "must be %d bytes, is %zu", POLICY_BUILTIN_N, bytes.n);
	for (size_t i = 0; i < POLICY_BUILTIN_N; i++)
		v[i / 8] |= (uint64_t)(unsigned char)bytes.p[i] << (8 * (i % 8));
	memcpy(&conf.strike_usd_mwh, &v[0], 8);
	memcpy(&conf.hysteresis, &v[1], 8);
	if (!(conf.strike_usd_mwh > 0 && conf.strike_usd_mwh <= 1e5) || !(conf.hysteresis >= 0 && conf.hysteresis <= 10))
		return err_set(err, HCP_ECORRUPT, "state", "holds settings out of range");
	p->conf = conf;
	p->decisions = v[2];
	return 0;
}

const struct policy_vt policy_always_mine = {
	.name = "always_mine",
	.about = "Mines with everything that is not promised to customers.",
	.decide = mine_decide,
	.save = policy_builtin_save,
	.load = policy_builtin_load,
};

const struct policy_vt policy_always_serve = {
	.name = "always_serve",
	.about = "Serves as much as is asked for and idles the rest.",
	.decide = serve_decide,
	.save = policy_builtin_save,
	.load = policy_builtin_load,
};

const struct policy_vt policy_strike = {
	.name = "strike",
	.about = "Serves what is asked for; mines with the rest while electricity costs at most the strike price.",
	.decide = strike_decide,
	.save = policy_builtin_save,
	.load = policy_builtin_load,
};

const struct policy_vt policy_threshold = {
	.name = "threshold",
	.about = "Moves devices to the use that earns most, if the gain exceeds 10 % and the switching cost.",
	.decide = threshold_decide,
	.save = policy_builtin_save,
	.load = policy_builtin_load,
};

const struct policy_vt policy_last_price = {
	.name = "last_price",
	.about = "Moves devices to what earns most at the last known price, as if switching cost nothing.",
	.decide = last_price_decide,
	.save = policy_builtin_save,
	.load = policy_builtin_load,
};
