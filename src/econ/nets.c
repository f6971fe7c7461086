#include "econ/nets.h"

#include <math.h>

#include "base/money.h"

static void set_use(
	struct policy_class *c, enum policy_use use, double gross_usd_h, double power_w, const struct profit_market *pm)
{
	c->can[use] = true;
	c->gross_usd_h[use] = gross_usd_h;
	c->mwh_h[use] = power_w / 1e6 * pm->pue;
	c->net_usd_h[use] = gross_usd_h - c->mwh_h[use] * pm->electricity_usd_mwh;
}

double nets_start_usd(const struct site_group *g, double hash_usd_h, double pue, double usd_mwh)
{
	int64_t start_ns = site_start_ns(g);
	struct site_slice s = site_mine_slice(g, 0, start_ns);
	double full_s = (double)start_ns / (double)NS_PER_S;
	double lost = hash_usd_h * (full_s - s.hash_s) / 3600;
	double saved_j = full_s * g->cls->power_w[DEVICE_FILL] - s.plug_j;
	return fmax(0, lost - saved_j * pue / 3.6e9 * usd_mwh + g->start_wear_usd);
}

/* While a device switches it loses the best it could have earned, and draws energy. */
static double time_usd(const struct nets_terms *t, const struct policy_class *c, enum policy_use to, double ms)
{
	static const enum device_mode mode[POLICY_USE_END] = { DEVICE_FILL, DEVICE_SERVE, DEVICE_IDLE };
	double best = fmax(0, fmax(c->net_usd_h[POLICY_MINE], c->net_usd_h[POLICY_SERVE]));
	double energy = fmax(0, c->cls->power_w[mode[to]] / 1e6 * t->pm.pue * t->pm.electricity_usd_mwh);
	return (ms > 0 ? ms : (double)c->cls->switch_ms[mode[to]]) / 3.6e6 * (best + energy);
}

static int64_t learned_boot_ns(const struct nets_terms *t)
{
	return (int64_t)(fmin(t->switch_ms[POLICY_MINE], SITE_HOLD_MAX_S * 1e3) * (double)NS_PER_MS);
}

static double switch_usd(const struct nets_terms *t, const struct policy_class *c, enum policy_use to)
{
	double ms = t->switch_ms[to];
	if (!t->group)
		return time_usd(t, c, to, ms);
	if (to != POLICY_MINE)
		return ms > 0 ? time_usd(t, c, to, ms) : 0;
	if (!c->can[POLICY_MINE])
		return 0;
	struct site_group g = *t->group;
	if (ms > 0)
		g.boot_ns = learned_boot_ns(t);
	return nets_start_usd(&g, c->cls->fill_ths * t->hashprice_usd_ths_h, t->pm.pue, t->pm.electricity_usd_mwh);
}

void nets_fill(const struct nets_terms *t, bool mines, bool serves, struct policy_class *c)
{
	const double *w = c->cls->power_w;
	set_use(c, POLICY_IDLE, 0, w[t->group ? t->group->idle_mode : DEVICE_IDLE], &t->pm);
	if (mines)
		set_use(c, POLICY_MINE, c->cls->fill_ths * t->hashprice_usd_ths_h - c->cls->wear_usd_h + t->credit_usd_h,
			w[DEVICE_FILL], &t->pm);
	size_t n = mines && t->modes && t->group ? 1 + t->group->n_modes : 0;
	for (c->n_modes = 0; c->n_modes < n; c->n_modes++) {
		struct site_mode m = site_mode_at(t->group, c->n_modes);
		c->mode_gross_usd_h[c->n_modes] = m.ths * t->hashprice_usd_ths_h - c->cls->wear_usd_h + t->credit_usd_h;
		c->mode_mwh_h[c->n_modes] = m.watts / 1e6 * t->pm.pue;
	}
	if (n > 1)
		policy_reprice(c, t->pm.electricity_usd_mwh);
	if (serves)
		set_use(c, POLICY_SERVE, (t->serve_usd_h - c->cls->wear_usd_h) * t->utilisation,
			w[DEVICE_IDLE] + (w[DEVICE_SERVE] - w[DEVICE_IDLE]) * t->utilisation, &t->pm);
	c->boot_ns = learned_boot_ns(t);
	for (int u = 0; u < POLICY_USE_END; u++)
		c->switch_cost_usd[u] = switch_usd(t, c, (enum policy_use)u);
}
