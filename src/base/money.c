#include "base/money.h"

#include <inttypes.h>
#include <math.h>

#include "base/num.h"

int money_energy_cost(int64_t energy_j, int64_t price_micros_mwh, int64_t *ret_micros)
{
	return num_muldiv_i64(energy_j, price_micros_mwh, J_PER_MWH, ret_micros);
}

int money_hours_cost(int64_t duration_ns, int64_t rate_micros_h, int64_t *ret_micros)
{
	return num_muldiv_i64(duration_ns, rate_micros_h, 3600 * NS_PER_S, ret_micros);
}

int money_from_usd(double usd, int64_t *ret_micros)
{
	double micros = usd * (double)MICROS_PER_USD;
	if (!isfinite(micros) || fabs(micros) >= 9.2e18)
		return HCP_ERANGE;
	*ret_micros = llround(micros);
	return 0;
}

void money_format(struct buf *b, int64_t micros)
{
	uint64_t abs = micros < 0 ? 0 - (uint64_t)micros : (uint64_t)micros;
	buf_printf(b, "%s%" PRIu64 ".%06" PRIu64, micros < 0 ? "-" : "", abs / 1000000, abs % 1000000);
}
