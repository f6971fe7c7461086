#ifndef HCP_ECON_COHORTS_H
#define HCP_ECON_COHORTS_H

#include "econ/policy.h"
#include "model/site.h"

/*
 * Devices of one group by the time they came into their use, so that starts and minimum times are exact; kept by a
 * backtest and by the live optimizer. Cohorts past every minimum time and their start are alike and merged, so at steps
 * of a quarter-hour there is at most one of them a use and one a step and use of the younger. Where steps are shorter
 * and it becomes too many, the two oldest of the younger of a use are taken together, as old as the younger of them.
 *
 *	mine  300 since long    40 since 18:00    12 since 18:15
 *	idle  100 since long    20 since 17:45
 *
 * Pure data: may be copied and stored as bytes. The group may be NULL (nothing known): no minimum times, no start.
 */
enum { COHORTS_MAX = 160 };
#define COHORTS_LONG_AGO_NS INT64_MIN /* since when: before anything that matters */

struct cohort {
	enum policy_use use;
	uint32_t n;
	int64_t since_ns;
};

struct cohorts {
	size_t n;
	struct cohort c[COHORTS_MAX];
};

static inline int64_t cohort_age_ns(const struct cohort *c, int64_t now_ns)
{
	return c->since_ns == COHORTS_LONG_AGO_NS ? INT64_MAX : now_ns - c->since_ns;
}

void cohorts_add(struct cohorts *s, enum policy_use use, uint32_t n, int64_t since_ns);
void cohorts_count(const struct cohorts *s, uint32_t ret[POLICY_USE_END]);
/* Devices that a minimum time holds at now, and the age of the newest of each use (INT64_MAX: none or long). */
void cohorts_held(const struct cohorts *s, const struct site_group *g, int64_t now_ns,
	uint32_t ret_held[POLICY_USE_END], int64_t ret_age_ns[POLICY_USE_END]);
/*
 * Moves devices, those longest in their use first, until the counts are those of `to`. Devices that are new here count
 * as long in their use; those that are gone leave first those longest in theirs.
 */
void cohorts_move(struct cohorts *s, const struct site_group *g, int64_t now_ns, const uint32_t to[POLICY_USE_END]);
/*
 * Targets as far as minimum times allow: a use keeps those it holds, at the cost of uses that have more than they hold.
 * Sums are kept; held must not sum to more. Returns how many devices' orders were refused.
 */
uint32_t cohorts_hold(const uint32_t held[POLICY_USE_END], uint32_t target[POLICY_USE_END]);

#endif
