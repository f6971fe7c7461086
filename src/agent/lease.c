#include "agent/lease.h"

int lease_take(struct lease *l, const struct lease_grant *g, int64_t now_ns, struct err *err)
{
	if (g->ttl_ms < 1 || g->ttl_ms > LEASE_TTL_MAX_MS)
		return err_set(err, HCP_EINVAL, "ttl_ms", "must be 1 to %d", LEASE_TTL_MAX_MS);
	if (g->power_budget_w < 0)
		return err_set(err, HCP_EINVAL, "power_budget_w", "must not be negative");
	if (g->number < l->number)
		return err_set(err, HCP_ECONFLICT, "number", "is older than the lease held");
	l->until_ns = now_ns + g->ttl_ms * 1000000;
	l->may_serve = g->may_serve;
	l->may_fill = g->may_fill;
	l->power_budget_w = g->power_budget_w;
	l->number = g->number;
	return 0;
}

void lease_new_peer(struct lease *l)
{
	l->number = 0;
}

bool lease_holds(const struct lease *l, int64_t now_ns)
{
	return l->permanent || now_ns < l->until_ns;
}

int64_t lease_left_ms(const struct lease *l, int64_t now_ns)
{
	if (l->permanent)
		return INT64_MAX;
	return now_ns < l->until_ns ? (l->until_ns - now_ns + 999999) / 1000000 : 0;
}
