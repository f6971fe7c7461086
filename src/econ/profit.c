#include "econ/profit.h"

#include <math.h>

#include "econ/btc.h"

/* Bounds that no real value leaves; they keep every product finite. */
#define USD_MAX 1e9
#define DIFFICULTY_MAX 1e30

static int check(double v, double min, double max, const char *field, struct err *err)
{
	if (!isfinite(v))
		return err_set(err, HCP_EINVAL, field, "must be a finite number");
	if (v < min || v > max)
		return err_set(err, HCP_ERANGE, field, "must be from %g to %g, is %g", min, max, v);
	return 0;
}

int profit_market_validate(const struct profit_market *m, struct err *err)
{
	int r;
	if ((r = check(m->btc_usd, 0, USD_MAX, "btc_usd", err)) < 0 ||
		(r = check(m->difficulty, 1, DIFFICULTY_MAX, "difficulty", err)) < 0 ||
		(r = check(m->subsidy_btc, 0, 50, "subsidy_btc", err)) < 0 ||
		(r = check(m->fees_btc, 0, 1e6, "fees_btc", err)) < 0 ||
		(r = check(m->pool_fee, 0, 1, "pool_fee", err)) < 0 ||
		(r = check(m->electricity_usd_mwh, -1e5, 1e5, "electricity_usd_mwh", err)) < 0 ||
		(r = check(m->pue, 1, 10, "pue", err)) < 0)
		return r;
	return 0;
}

int profit_ai_validate(const struct profit_ai *a, struct err *err)
{
	int r;
	if ((r = check(a->spot_usd_h, 0, 1e6, "spot_usd_h", err)) < 0 ||
		(r = check(a->contracted_usd_h, 0, 1e6, "contracted_usd_h", err)) < 0 ||
		(r = check(a->utilisation, 0, 1, "utilisation", err)) < 0)
		return r;
	return 0;
}

double profit_hashprice_usd_ths_h(const struct profit_market *m)
{
	return btc_per_day(1, m->difficulty, m->subsidy_btc + m->fees_btc, m->pool_fee) / 24 * m->btc_usd;
}

static double score(double revenue_usd, double energy_usd, double wear_usd)
{
	double gain = revenue_usd + fmax(0, -energy_usd), cost = wear_usd + fmax(0, energy_usd);
	return gain + cost > 0 ? 100 * gain / (gain + cost) : 50;
}

static int finish(struct profit_row *row, const struct profit_market *m, struct profit_row *ret, struct err *err)
{
	double mwh = row->power_w / 1e6 * m->pue;
	row->energy_usd_h = mwh * m->electricity_usd_mwh;
	row->net_usd_h = row->revenue_usd_h - row->energy_usd_h - row->wear_usd_h;
	row->breakeven_usd_mwh = mwh > 0 ? (row->revenue_usd_h - row->wear_usd_h) / mwh : 0;
	row->score = score(row->revenue_usd_h, row->energy_usd_h, row->wear_usd_h);
	double gain = row->revenue_usd_h + fmax(0, -row->energy_usd_h);
	double cost = row->wear_usd_h + fmax(0, row->energy_usd_h);
	if (row->net_usd_h < 0)
		row->advice = PROFIT_AVOID;
	else
		row->advice = gain > cost * (1 + PROFIT_MARGIN) ? PROFIT_RUN : PROFIT_MARGINAL;
	if (!isfinite(row->net_usd_h) || !isfinite(row->breakeven_usd_mwh))
		return err_set(err, HCP_ERANGE, "net_usd_h", "the result is not a finite number");
	*ret = *row;
	return 0;
}

int profit_calc(const struct device_class *c, enum workload_type type, const struct profit_market *m,
	const struct profit_ai *ai, struct profit_row *ret, struct err *err)
{
	struct profit_row row = { 0 };
	int r = profit_market_validate(m, err);
	if (r < 0)
		return r;
	if (!workload_type_name(type))
		return err_set(err, HCP_EINVAL, "workload_type", "no such type of work: %d", (int)type);
	if (type == WORKLOAD_BITCOIN_MINING) {
		if (c->fill_ths <= 0)
			return err_set(err, HCP_EUNSUPPORTED, "workload_type", "%s does not mine", c->name);
		row.btc_per_day = btc_per_day(c->fill_ths, m->difficulty, m->subsidy_btc + m->fees_btc, m->pool_fee);
		row.revenue_usd_h = row.btc_per_day / 24 * m->btc_usd;
		row.power_w = c->power_w[DEVICE_FILL];
		row.wear_usd_h = c->wear_usd_h;
		return finish(&row, m, ret, err);
	}
	if (c->kind == DEVICE_ASIC)
		return err_set(err, HCP_EUNSUPPORTED, "workload_type", "%s does nothing but mine", c->name);
	if (!ai)
		return err_set(err, HCP_EINVAL, "ai", "rate and utilisation are needed for %s", workload_type_name(type));
	if ((r = profit_ai_validate(ai, err)) < 0)
		return r;
	row.revenue_usd_h = ai->spot_usd_h * ai->utilisation + ai->contracted_usd_h;
	row.power_w = c->power_w[DEVICE_IDLE] + (c->power_w[DEVICE_SERVE] - c->power_w[DEVICE_IDLE]) * ai->utilisation;
	row.wear_usd_h = c->wear_usd_h * ai->utilisation;
	return finish(&row, m, ret, err);
}

int profit_idle(const struct device_class *c, const struct profit_market *m, struct profit_row *ret, struct err *err)
{
	int r = profit_market_validate(m, err);
	if (r < 0)
		return r;
	struct profit_row row = { .power_w = c->power_w[DEVICE_IDLE] };
	return finish(&row, m, ret, err);
}

const char *profit_advice_name(enum profit_advice a)
{
	static const char *const name[] = { "avoid", "marginal", "run" };
	return (unsigned)a <= PROFIT_RUN ? name[a] : NULL;
}
