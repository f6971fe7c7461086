#ifndef HCP_SERVICES_BILLING_H
#define HCP_SERVICES_BILLING_H

#include "svc/svc.h"

/* What a facility pays for electricity and to its pool; a facility without a row takes the one named "default". */
struct billing_facility {
	const char *facility; /* borrowed */
	const char *location; /* settlement point, borrowed; NULL or "": the first one seen */
	double pool_fee;      /* 0..1; negative: BILLING_POOL_FEE */
};

/* Settings; all zero takes the defaults. Borrowed by the service. */
struct billing_conf {
	const struct billing_facility *facility; /* borrowed */
	size_t n_facilities;
	int64_t token_micros_million; /* list price of 1M tokens at an endpoint; 0: BILLING_TOKEN_MICROS; negative: free */
	int64_t request_micros_million; /* of 1M requests, on top; 0 or negative: free */
};

#define BILLING_POOL_FEE 0.01
#define BILLING_TOKEN_MICROS INT64_C(20000) /* 0.02 USD a million */

enum {
	BILLING_LOCATIONS_MAX = 64,
	BILLING_LINES_MAX = 10000, /* of one usage answer; the rest is one line */
	BILLING_HOURS_MAX = 720,
	BILLING_NAME_MAX = 64,
};

/* One delta may hold so much; more is a fault of the meter. Keeps every product inside 128 and every sum inside 64
 * bits. */
#define BILLING_DEVICE_NS_MAX INT64_C(1000000000000000000)
#define BILLING_ENERGY_J_MAX INT64_C(10000000000000)
#define BILLING_COUNT_MAX INT64_C(1000000000000)
#define BILLING_HASHES_MAX 1e30
#define BILLING_PRICE_MICROS_H_MAX INT64_C(10000000000)

extern const struct svc_def billing_def;

#endif
