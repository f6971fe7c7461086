#include "econ/policy.h"

#include <math.h>
#include <string.h>

#include "base/map.h"
#include "base/money.h"
#include "base/panic.h"
#include "econ/policy_priv.h"

static const struct policy_vt *const all[] = { &policy_always_mine, &policy_always_serve, &policy_strike,
	&policy_threshold, &policy_last_price, &policy_stochastic, &policy_mpc, &policy_smpc, &policy_ppo, &policy_safest };

static const char *const use_name[POLICY_USE_END] = { "mine", "serve", "idle" };

static const struct {
	const char *name, *text;
} reason[POLICY_REASON_END] = {
	[POLICY_R_KEEP] = { "keep", "The present use earns the most." },
	[POLICY_R_BEST] = { "best", "It earns more than the present use, beyond the margin and the cost of switching." },
	[POLICY_R_WITHIN_MARGIN] = { "within_margin", "It earns more, but less than the margin against flapping." },
	[POLICY_R_SWITCH_COST] = { "switch_cost", "It earns more, but not what switching costs within the horizon." },
	[POLICY_R_CONTRACT] = { "contract", "These devices are promised to customers." },
	[POLICY_R_SHORT] = { "short", "There are fewer devices than the contracts ask for." },
	[POLICY_R_STRIKE] = { "strike", "The electricity price is above the strike price." },
	[POLICY_R_BELOW_STRIKE] = { "below_strike", "The electricity price is at or below the strike price." },
	[POLICY_R_FIXED] = { "fixed", "The policy does this whatever the market says." },
	[POLICY_R_IMPOSSIBLE] = { "impossible", "The class cannot do it." },
	[POLICY_R_WORSE] = { "worse", "It earns less than the chosen use." },
	[POLICY_R_PLAN] = { "plan", "The plan of the coming hours earns the most with it." },
	[POLICY_R_NO_DEMAND] = { "no_demand", "There is nothing more to serve." },
};

const char *policy_use_name(enum policy_use u)
{
	return (unsigned)u < POLICY_USE_END ? use_name[u] : NULL;
}

const char *policy_reason_name(enum policy_reason r)
{
	return (unsigned)r < POLICY_REASON_END ? reason[r].name : NULL;
}

const char *policy_reason_text(enum policy_reason r)
{
	return (unsigned)r < POLICY_REASON_END ? reason[r].text : NULL;
}

const struct policy_vt *policy_at(size_t i)
{
	return i < sizeof(all) / sizeof(all[0]) ? all[i] : NULL;
}

const struct policy_vt *policy_find(struct str name)
{
	for (size_t i = 0; policy_at(i); i++) {
		if (str_eqz(name, all[i]->name))
			return all[i];
	}
	return NULL;
}

void policy_conf_default(struct policy_conf *c)
{
	*c = (struct policy_conf){ .strike_usd_mwh = 60, .hysteresis = POLICY_HYSTERESIS };
}

static int check_conf(const struct policy_conf *c, struct err *err)
{
	if (!isfinite(c->strike_usd_mwh) || c->strike_usd_mwh <= 0 || c->strike_usd_mwh > 1e5)
		return err_set(err, HCP_ERANGE, "strike_usd_mwh", "must be above 0 and at most 100000");
	if (!isfinite(c->hysteresis) || c->hysteresis < 0 || c->hysteresis > 10)
		return err_set(err, HCP_ERANGE, "hysteresis", "must be from 0 to 10");
	return 0;
}

int policy_init(struct policy *p, const struct policy_vt *vt, const struct policy_conf *conf, struct err *err)
{
	struct policy fresh = { .vt = vt };
	if (conf)
		fresh.conf = *conf;
	else
		policy_conf_default(&fresh.conf);
	int r = check_conf(&fresh.conf, err);
	if (r == 0 && vt->init)
		r = vt->init(&fresh, &fresh.conf, err);
	if (r == 0)
		*p = fresh;
	return r;
}

void policy_release(struct policy *p)
{
	if (p && p->vt && p->vt->release)
		p->vt->release(p);
	if (p)
		*p = (struct policy){ 0 };
}

static int check_class(const struct policy_class *c, struct err *err)
{
	if (!c->cls)
		return err_set(err, HCP_EINVAL, "class", "is missing");
	if ((uint64_t)c->now[0] + c->now[1] + c->now[2] != c->count)
		return err_set(err, HCP_EINVAL, "now", "the present uses add up to another number than count");
	if (!c->can[POLICY_IDLE])
		return err_set(err, HCP_EINVAL, "can", "every device can idle");
	if (c->n_modes > POLICY_MODES_MAX || (c->mode && c->mode >= c->n_modes) ||
		(c->now_mode && c->now_mode >= c->n_modes))
		return err_set(err, HCP_ERANGE, "mode", "at most %d ways of mining", POLICY_MODES_MAX);
	for (int u = 0; u < POLICY_USE_END; u++) {
		if (!isfinite(c->net_usd_h[u]) || fabs(c->net_usd_h[u]) > 1e9)
			return err_set(err, HCP_EINVAL, "net_usd_h", "must be finite");
		if (!isfinite(c->gross_usd_h[u]) || fabs(c->gross_usd_h[u]) > 1e9)
			return err_set(err, HCP_EINVAL, "gross_usd_h", "must be finite");
		if (!isfinite(c->mwh_h[u]) || c->mwh_h[u] < 0 || c->mwh_h[u] > 1e3)
			return err_set(err, HCP_EINVAL, "mwh_h", "must be from 0 to 1000");
		if (!isfinite(c->switch_cost_usd[u]) || c->switch_cost_usd[u] < 0 || c->switch_cost_usd[u] > 1e9)
			return err_set(err, HCP_EINVAL, "switch_cost_usd", "must be finite and not negative");
	}
	return 0;
}

int policy_input_validate(const struct policy_input *in, struct err *err)
{
	if (in->horizon_ns <= 0)
		return err_set(err, HCP_ERANGE, "horizon", "must be positive");
	if (!isfinite(in->electricity_usd_mwh))
		return err_set(err, HCP_EINVAL, "electricity_usd_mwh", "must be finite");
	if (!isfinite(in->btc_usd) || !isfinite(in->difficulty))
		return err_set(err, HCP_EINVAL, "btc_usd", "must be finite");
	if (!isfinite(in->hashprice_usd_ths_h) || in->hashprice_usd_ths_h < 0)
		return err_set(err, HCP_EINVAL, "hashprice_usd_ths_h", "must be finite and not negative");
	if (in->n == 0 || in->n > POLICY_CLASSES_MAX)
		return err_set(err, HCP_ERANGE, "classes", "must be from 1 to %d", POLICY_CLASSES_MAX);
	for (size_t i = 0; i < in->n; i++) {
		int r = check_class(&in->c[i], err);
		if (r < 0) {
			err_prefix(err, in->c[i].cls ? in->c[i].cls->name : "class");
			return r;
		}
	}
	return 0;
}

uint32_t policy_switched(const struct policy_class *c, const struct policy_target *t)
{
	uint32_t n = 0;
	for (int u = 0; u < POLICY_USE_END; u++)
		n += t->target[u] > c->now[u] ? t->target[u] - c->now[u] : 0;
	return n;
}

void policy_reprice(struct policy_class *c, double usd_mwh)
{
	for (size_t m = 0; m < c->n_modes; m++) {
		double net = c->mode_gross_usd_h[m] - c->mode_mwh_h[m] * usd_mwh;
		if (m > 0 && net <= c->gross_usd_h[POLICY_MINE] - c->mwh_h[POLICY_MINE] * usd_mwh)
			continue;
		c->mode = m;
		c->gross_usd_h[POLICY_MINE] = c->mode_gross_usd_h[m];
		c->mwh_h[POLICY_MINE] = c->mode_mwh_h[m];
	}
	for (int u = 0; u < POLICY_USE_END; u++)
		c->net_usd_h[u] = c->gross_usd_h[u] - c->mwh_h[u] * usd_mwh;
}

double policy_mode_net_usd_h(const struct policy_class *c, size_t mode, double usd_mwh)
{
	if (c->n_modes == 0)
		return c->gross_usd_h[POLICY_MINE] - c->mwh_h[POLICY_MINE] * usd_mwh;
	return c->mode_gross_usd_h[mode] - c->mode_mwh_h[mode] * usd_mwh;
}

void policy_settle_mode(const struct policy_class *c, double usd_mwh, struct policy_target *t)
{
	if (c->n_modes < 2 || t->mode == c->now_mode)
		return;
	double more = policy_mode_net_usd_h(c, t->mode, usd_mwh) - policy_mode_net_usd_h(c, c->now_mode, usd_mwh);
	bool stays = c->now[POLICY_MINE] && more < POLICY_MODE_MARGIN * fabs(c->mode_gross_usd_h[c->now_mode]);
	if (!t->target[POLICY_MINE] || stays)
		t->mode = c->now_mode;
}

void policy_sum_up(const struct policy_input *in, struct policy_output *out)
{
	struct decision_explain *e = &out->explain;
	e->net_usd_h = e->before_usd_h = e->switch_usd = 0;
	e->switched = 0;
	e->now_ns = in->now_ns;
	e->horizon_ns = e->horizon_ns ? e->horizon_ns : in->horizon_ns;
	e->electricity_usd_mwh = in->electricity_usd_mwh;
	e->btc_usd = in->btc_usd;
	e->difficulty = in->difficulty;
	e->n = in->n;
	for (size_t i = 0; i < in->n; i++) {
		const struct policy_class *c = &in->c[i];
		struct decision_class *d = &e->c[i];
		d->net_usd_h = d->before_usd_h = 0;
		d->count = c->count;
		d->must_serve = c->must_serve;
		d->want_serve = c->want_serve;
		for (int u = 0; u < POLICY_USE_END; u++) {
			uint32_t to = out->c[i].target[u], from = c->now[u];
			double net = c->net_usd_h[u], before = net;
			if (u == POLICY_MINE && c->n_modes) {
				net = policy_mode_net_usd_h(c, out->c[i].mode, in->electricity_usd_mwh);
				before = policy_mode_net_usd_h(c, c->now_mode, in->electricity_usd_mwh);
			}
			d->net_usd_h += to * net;
			d->before_usd_h += from * before;
			if (to > from) {
				e->switched += to - from;
				e->switch_usd += (to - from) * c->switch_cost_usd[u];
			}
		}
		e->net_usd_h += d->net_usd_h;
		e->before_usd_h += d->before_usd_h;
	}
	e->gain_usd = (e->net_usd_h - e->before_usd_h) * (double)e->horizon_ns / (3600.0 * (double)NS_PER_S);
	/* Where minimum times kept some devices, what is left of the switches gains its part. */
	if (e->view.stated)
		e->gain_usd = e->view.switched ? e->view.gain_usd * e->switched / e->view.switched : 0;
}

int policy_decide(struct policy *p, const struct policy_input *in, struct policy_output *ret, struct err *err)
{
	struct policy_output out = { 0 };
	int r = policy_input_validate(in, err);
	if (r < 0)
		return r;
	out.n = in->n;
	out.explain.view = (struct policy_view){ .usd_mwh = in->electricity_usd_mwh, .by = "last_price" };
	if ((r = p->vt->decide(p, in, &out, err)) < 0)
		return r;
	for (size_t i = 0; i < in->n; i++) {
		const uint32_t *t = out.c[i].target;
		must((uint64_t)t[0] + t[1] + t[2] == in->c[i].count);
		for (int u = 0; u < POLICY_USE_END; u++)
			must(t[u] == 0 || in->c[i].can[u]);
		must(out.c[i].mode == 0 || out.c[i].mode < in->c[i].n_modes);
	}
	must(str_copy(out.explain.policy, sizeof(out.explain.policy), str_of(p->vt->name)) == 0);
	policy_sum_up(in, &out);
	p->decisions++;
	*ret = out;
	return 0;
}

/*
 * Saved state, little-endian:
 *   "HPOL" | version 1 (1 byte) | name length (1) | name | body length (4) | body | hash of all before (8)
 */
enum { SAVED_VERSION = 1, SAVED_FIXED = 4 + 1 + 1 + 4 + 8 };

static void put_le(struct buf *b, uint64_t v, int bytes)
{
	for (int i = 0; i < bytes; i++)
		buf_addc(b, (char)(v >> (8 * i) & 0xff));
}

static uint64_t get_le(const char *p, int bytes)
{
	uint64_t v = 0;
	for (int i = 0; i < bytes; i++)
		v |= (uint64_t)(unsigned char)p[i] << (8 * i);
	return v;
}

int policy_save(const struct policy *p, struct buf *out, struct err *err)
{
	struct buf all_bytes, body;
	buf_init(&all_bytes, POLICY_STATE_MAX);
	buf_init(&body, POLICY_STATE_MAX);
	int r = p->vt->save(p, &body, err);
	if (r < 0)
		goto out;
	buf_addz(&all_bytes, "HPOL");
	buf_addc(&all_bytes, SAVED_VERSION);
	buf_addc(&all_bytes, (char)strlen(p->vt->name));
	buf_addz(&all_bytes, p->vt->name);
	put_le(&all_bytes, body.n, 4);
	buf_adds(&all_bytes, buf_str(&body));
	put_le(&all_bytes, hash_bytes(buf_str(&all_bytes).p, all_bytes.n, 0), 8);
	if (buf_failed(&body) || buf_failed(&all_bytes)) {
		r = err_set(err, HCP_ENOMEM, "state", "no memory, or more than %d bytes", POLICY_STATE_MAX);
		goto out;
	}
	buf_adds(out, buf_str(&all_bytes));
	if (buf_failed(out))
		r = err_set(err, HCP_ENOMEM, "state", "the output buffer is full");
out:
	buf_release(&body);
	buf_release(&all_bytes);
	return r;
}

void policy_describe(const struct policy *p, struct buf *out)
{
	if (p->vt->describe)
		p->vt->describe(p, out);
}

int policy_load(struct policy *p, struct str bytes, struct err *err)
{
	if (bytes.n < SAVED_FIXED || bytes.n > POLICY_STATE_MAX || memcmp(bytes.p, "HPOL", 4) != 0 ||
		bytes.p[4] != SAVED_VERSION)
		return err_set(err, HCP_ECORRUPT, "state", "not a saved policy of version %d", SAVED_VERSION);
	size_t name_n = (unsigned char)bytes.p[5];
	if (bytes.n < SAVED_FIXED + name_n)
		return err_set(err, HCP_ECORRUPT, "state", "cut off");
	size_t body_n = (size_t)get_le(bytes.p + 6 + name_n, 4);
	if (body_n != bytes.n - SAVED_FIXED - name_n)
		return err_set(err, HCP_ECORRUPT, "state", "its length is wrong");
	if (get_le(bytes.p + bytes.n - 8, 8) != hash_bytes(bytes.p, bytes.n - 8, 0))
		return err_set(err, HCP_ECORRUPT, "state", "its checksum is wrong");
	if (!str_eqz((struct str){ bytes.p + 6, name_n }, p->vt->name))
		return err_set(err, HCP_EINVAL, "state", "is of another policy than %s", p->vt->name);
	return p->vt->load(p, (struct str){ bytes.p + 10 + name_n, body_n }, err);
}
