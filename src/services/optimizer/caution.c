/*
 * What bad cases count in live decisions (ECON-5, `decisions.risk_aversion`): the price that a decision knows is not
 * the one that its power will be billed by. A megawatt-hour bought is worth risk_adjusted() of what it may cost:
 *
 *	(1 - aversion) * price + aversion * (price + CVaR)  =  price + aversion * CVaR 95 % of the moves
 *
 * of the point's price from one quarter-hour to the next over the last four weeks, their mean taken as nothing. Every
 * use is that much dearer per MWh, so whatever price a policy reckons with, it is dearer by this; a policy that looks
 * at the price alone (strike) adds it.
 */
#include <math.h>

#include "base/mem.h"
#include "base/money.h"
#include "econ/risk.h"
#include "services/optimizer/optimizer_priv.h"

#define STEP_NS (900 * NS_PER_S)
enum { MOVES = 28 * 96, MOVES_MIN = 7 * 96 };

double optimizer_caution_usd_mwh(const struct optimizer *o, const struct draft_group *g, int64_t market_ns)
{
	const char *point = g->terms.loc ? g->terms.loc->name : "";
	const struct history_series *s = history_find(&o->history, HISTORY_POWER_RT, point);
	struct risk_measure m = { 0 };
	size_t n = 0;
	if (o->conf.risk_aversion <= 0 || !s || (g->terms.site && g->terms.site->fixed))
		return 0;
	double *gain = mem_alloc(MOVES * sizeof(*gain)), before = NAN; /* of who has bought at the price before */
	int64_t now_ns = market_ns / STEP_NS * STEP_NS;
	for (int64_t i = MOVES + 1; gain && i > 0; i--) {
		double price = history_at(s, now_ns - i * STEP_NS);
		if (!isnan(price) && !isnan(before))
			gain[n++] = before - price;
		before = price;
	}
	int rc = n >= MOVES_MIN ? risk_measure(gain, n, RISK_LEVEL, &m, NULL) : HCP_EAGAIN;
	mem_free(gain);
	return rc == 0 ? o->conf.risk_aversion * fmax(0, m.cvar) : 0;
}

void optimizer_caution_apply(double usd_mwh, struct policy_input *in)
{
	in->risk_usd_mwh = usd_mwh;
	for (size_t i = 0; i < in->n; i++) {
		struct policy_class *c = &in->c[i];
		for (int u = 0; u < POLICY_USE_END; u++) {
			c->gross_usd_h[u] -= c->mwh_h[u] * usd_mwh;
			c->net_usd_h[u] -= c->mwh_h[u] * usd_mwh;
		}
		for (size_t k = 0; k < c->n_modes; k++)
			c->mode_gross_usd_h[k] -= c->mode_mwh_h[k] * usd_mwh;
	}
}
