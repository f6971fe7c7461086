/*
 * "safest": what is done while too much of the capital has been lost. Promises are kept; of the rest only what earns
 * its power at a price that is likely not exceeded in the coming hour runs: the highest of the present price, the last
 * hour and, where there is a forecast, its 0.95 quantile. Everything else stands still at once, whatever its next start
 * costs.
 */
#include <math.h>
#include <string.h>

#include "base/money.h"
#include "econ/forecast.h"
#include "econ/policy_priv.h"
#include "model/site.h"

#define STEP_NS (900 * NS_PER_S)
enum { HOUR_STEPS = 4, Q95 = 6 };

static double dear_usd_mwh(const struct policy_input *in)
{
	double most = in->electricity_usd_mwh;
	bool known = in->history && in->site && !in->site->fixed;
	const struct history_series *h = known ? history_find(in->history, HISTORY_POWER_RT, in->site->point) : NULL;
	for (int k = 1; k <= HOUR_STEPS; k++)
		most = fmax(most, history_at(h, in->now_ns - k * STEP_NS)); /* fmax passes NAN over */
	for (size_t t = 0; in->taught && t < HOUR_STEPS && t < in->taught->n_price; t++)
		most = fmax(most, in->taught->price[t].q[Q95]);
	return most;
}

static int safest_decide(struct policy *p, const struct policy_input *in, struct policy_output *ret, struct err *err)
{
	double price = dear_usd_mwh(in);
	(void)p;
	(void)err;
	ret->explain.view = (struct policy_view){ .usd_mwh = price, .by = "worst_likely", .weighed = true };
	for (size_t i = 0; i < in->n; i++) {
		struct policy_class c = in->c[i];
		for (int u = 0; u < POLICY_USE_END; u++)
			c.net_usd_h[u] += c.mwh_h[u] * (in->electricity_usd_mwh - price);
		memset(c.switch_cost_usd, 0, sizeof(c.switch_cost_usd));
		policy_decide_class(&c, &ret->c[i], (double)STEP_NS / (3600.0 * (double)NS_PER_S), 0, &ret->explain.c[i]);
	}
	return 0;
}

const struct policy_vt policy_safest = {
	.name = "safest",
	.about = "Runs only what earns its power at a price that is likely not exceeded within the hour.",
	.decide = safest_decide,
	.save = policy_builtin_save,
	.load = policy_builtin_load,
};
