#include <math.h>
#include <stdio.h>

#include "econ/profit.h"

static int check_column(const double *v, size_t n, double min, const char *name, struct err *err)
{
	for (size_t i = 0; i < n; i++) {
		if (isfinite(v[i]) && v[i] >= min)
			continue;
		char field[48];
		snprintf(field, sizeof(field), "%s[%zu]", name, i);
		return err_set(err, isfinite(v[i]) ? HCP_ERANGE : HCP_EINVAL, field, "must be finite and at least %g", min);
	}
	return 0;
}

int profit_batch_validate(const struct profit_batch *b, struct err *err)
{
	const struct {
		const double *v;
		double min;
		const char *name;
	} column[] = {
		{ b->hash_ths, 0, "hash_ths" },
		{ b->hashprice_usd_ths_h, 0, "hashprice_usd_ths_h" },
		{ b->ai_usd_h, 0, "ai_usd_h" },
		{ b->power_w, 0, "power_w" },
		{ b->wear_usd_h, 0, "wear_usd_h" },
		{ b->electricity_usd_mwh, -1e5, "electricity_usd_mwh" },
		{ b->pue, 1, "pue" },
	};
	for (size_t i = 0; i < sizeof(column) / sizeof(column[0]); i++) {
		int r = check_column(column[i].v, b->n, column[i].min, column[i].name, err);
		if (r < 0)
			return r;
	}
	return 0;
}

void profit_batch_calc(const struct profit_batch *b)
{
	/* Local restrict pointers are what lets the compiler vectorise without run-time overlap checks. */
	const double *restrict hash = b->hash_ths, *restrict price = b->hashprice_usd_ths_h;
	const double *restrict ai = b->ai_usd_h, *restrict power = b->power_w, *restrict wear = b->wear_usd_h;
	const double *restrict power_price = b->electricity_usd_mwh, *restrict pue = b->pue;
	double *restrict net = b->net_usd_h, *restrict score = b->score;

	for (size_t i = 0; i < b->n; i++) {
		double revenue = hash[i] * price[i] + ai[i];
		double energy = power[i] / 1e6 * pue[i] * power_price[i];
		double paid = energy > 0 ? energy : 0, got = energy < 0 ? -energy : 0;
		double gain = revenue + got, cost = wear[i] + paid;
		double sum = gain + cost;
		net[i] = revenue - energy - wear[i];
		/* Divides by 1 where there is neither gain nor cost, so that no lane traps; the answer there is 50. */
		double share = 100 * gain / (sum > 0 ? sum : 1);
		score[i] = sum > 0 ? share : 50;
	}
}
