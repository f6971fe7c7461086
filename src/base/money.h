#ifndef HCP_BASE_MONEY_H
#define HCP_BASE_MONEY_H

#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

/*
 * Money is integer micro-dollars (1 USD = 1,000,000 micro-USD), energy is integer joules, time int64
 * nanoseconds UTC since 1970. A field's name ends in _micros, _j or _ns.
 */
#define MICROS_PER_USD INT64_C(1000000)
#define J_PER_MWH INT64_C(3600000000)
#define NS_PER_S INT64_C(1000000000)
#define NS_PER_MS INT64_C(1000000)

/* energy x price, rounded half away from zero. Price in micro-USD per MWh (may be negative). */
int money_energy_cost(int64_t energy_j, int64_t price_micros_mwh, int64_t *ret_micros) MUST_CHECK;
/* duration x rate. Rate in micro-USD per hour. */
int money_hours_cost(int64_t duration_ns, int64_t rate_micros_h, int64_t *ret_micros) MUST_CHECK;
/* Nearest micro-dollar; HCP_ERANGE for non-finite or too large. */
int money_from_usd(double usd, int64_t *ret_micros) MUST_CHECK;
/* "-12.340000" always with six decimals. */
void money_format(struct buf *b, int64_t micros);

#endif
