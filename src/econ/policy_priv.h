#ifndef HCP_ECON_POLICY_PRIV_H
#define HCP_ECON_POLICY_PRIV_H

#include "econ/policy.h"
#include "econ/policy_spike.h"

extern const struct policy_vt policy_always_mine, policy_always_serve, policy_strike, policy_threshold,
	policy_last_price, policy_stochastic, policy_mpc, policy_smpc, policy_ppo, policy_safest;

/*
 * Contract first, then each device to what earns most in `hours` by the class's own numbers, where the gain exceeds
 * hyst of what it earns now plus the cost of switching. Explains itself in *d.
 */
void policy_decide_class(
	const struct policy_class *c, struct policy_target *t, double hours, double hyst, struct decision_class *d);

/* Takes targets that a plan has found (they sum to count), and explains them by the rows of the present hour. */
void policy_take_target(const struct policy_class *c, const uint32_t target[POLICY_USE_END], double hours,
	struct policy_target *t, struct decision_class *d);

/* Devices that change their use. */
uint32_t policy_switched(const struct policy_class *c, const struct policy_target *t);

/* The expected price of the coming quarter-hour as a policy uses it, with models of which the fitting one is asked. */
struct spike {
	struct spike_model own, given;      /* trained here; handed in */
	int64_t tried_ns;                   /* of the last training that found too little */
	uint64_t by_own, by_given, by_last; /* decisions */
};
/* Trains when there is enough to learn from, unless it is taught; where no model can say the last price, not known. */
int policy_spike_expect(
	struct spike *s, const struct policy_input *in, double *ret, bool *ret_known, struct err *err) MUST_CHECK;
void policy_spike_describe(const struct spike *s, struct buf *out);
void policy_spike_release(struct spike *s);

/* Settings and count of decisions, of every policy the same. */
enum { POLICY_BUILTIN_N = 24 };
int policy_builtin_save(const struct policy *p, struct buf *out, struct err *err) MUST_CHECK;
int policy_builtin_load(struct policy *p, struct str bytes, struct err *err) MUST_CHECK;

#endif
