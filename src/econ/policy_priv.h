#ifndef HCP_ECON_POLICY_PRIV_H
#define HCP_ECON_POLICY_PRIV_H

#include "econ/policy.h"

extern const struct policy_vt policy_always_mine, policy_always_serve, policy_strike, policy_threshold,
	policy_last_price;

#endif
