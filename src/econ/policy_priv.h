#ifndef HCP_ECON_POLICY_PRIV_H
#define HCP_ECON_POLICY_PRIV_H

#include "econ/policy.h"

extern const struct policy_vt policy_always_mine, policy_always_serve, policy_strike, policy_threshold,
	policy_last_price, policy_stochastic, policy_mpc;

/*
 * Contract first, then each device to what earns most in `hours` by the class's own numbers, where the gain exceeds
 * hyst of what it earns now plus the cost of switching. Explains itself in *d.
 */
void policy_decide_class(
	const struct policy_class *c, struct policy_target *t, double hours, double hyst, struct decision_class *d);

/* Takes targets that a plan has found (they sum to count), and explains them by the rows of the present hour. */
void policy_take_target(const struct policy_class *c, const uint32_t target[POLICY_USE_END], double hours,
	struct policy_target *t, struct decision_class *d);

/* Settings and count of decisions, of every policy the same. */
enum { POLICY_BUILTIN_N = 24 };
int policy_builtin_save(const struct policy *p, struct buf *out, struct err *err) MUST_CHECK;
int policy_builtin_load(struct policy *p, struct str bytes, struct err *err) MUST_CHECK;

#endif
