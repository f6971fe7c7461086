#ifndef HCP_ECON_PLAN_SITE_H
#define HCP_ECON_PLAN_SITE_H

#include "econ/plan.h"
#include "econ/policy.h"

/*
 * The plan of what a policy is told: its classes with the numbers of the present hour, the prices of the steps to come.
 *
 *	mode SERVE   gross and MWh of serving, for the promised and the wanted devices; the promised come first of all
 *	mode MINE    gross and MWh of mining, one mode of the plan for each way of mining; with the group known, its start,
 *	             wear and minimum times
 *	off          the MWh of idling
 *
 * Watts of the problem are at the meter, so its PUE is 1.
 */
struct plan_site {
	struct plan_problem problem;
	enum policy_use use[PLAN_CLASSES_MAX][PLAN_MODES_MAX]; /* what a mode is */
	size_t power[PLAN_CLASSES_MAX][PLAN_MODES_MAX];        /* of MINE: the class's way of mining */
	double *serve; /* owned; [class][2][steps]: most that find work, promised */
	size_t steps;
};

/* What missing a promised device hour costs in the plan: promises come before any price of the market. */
#define PLAN_SITE_MISS_USD_H 1e4

void plan_site_release(struct plan_site *s);
/* price: borrowed by s->problem, [steps]. step_s of the steps. HCP_EINVAL, HCP_ENOMEM. May be filled again and again.
 */
int plan_site_fill(struct plan_site *s, const struct policy_input *in, const double *price_usd_mwh, size_t steps,
	double step_s, struct err *err) MUST_CHECK;
/* The plan's devices of a step as a policy's targets; the rest idles. */
void plan_site_targets(const struct plan_site *s, const struct policy_input *in, const struct plan *plan, size_t step,
	uint32_t ret[POLICY_CLASSES_MAX][POLICY_USE_END]);
/* The way of mining that most of a class's mining devices are in at a step; the nominal one where none mines. */
size_t plan_site_power(const struct plan_site *s, const struct plan *plan, size_t cls, size_t step);

#endif
