#ifndef HCP_SERVICES_BILLING_H
#define HCP_SERVICES_BILLING_H

#include "model/site.h"
#include "svc/svc.h"

/* Settings; all zero takes the defaults. Borrowed by the service. */
struct billing_conf {
	/*
	 * What facilities pay for electricity and to their pools, by the site of their name; SITE_OTHER stands for the
	 * rest, and without it these pay the first settlement point seen and BILLING_POOL_FEE.
	 */
	const struct site *site; /* borrowed */
	size_t n_sites;
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
