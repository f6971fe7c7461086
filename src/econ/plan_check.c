#include <math.h>
#include <stdarg.h>
#include <stdio.h>

#include "econ/plan_priv.h"

/* Names the field by its path: bad(err, rc, "must be …", "cls[%zu].count", k). */
static int bad(struct err *err, int rc, const char *text, const char *path, ...) __attribute__((format(printf, 4, 5)));
static int bad(struct err *err, int rc, const char *text, const char *path, ...)
{
	char field[64];
	va_list ap;
	va_start(ap, path);
	vsnprintf(field, sizeof(field), path, ap);
	va_end(ap);
	return err_set(err, rc, field, "%s", text);
}

#define FINITE "must be -1e9 to 1e9"
#define NOT_NEGATIVE "must be 0 to 1e9"
#define HELD "must never rise, and not be more than the devices there are"

/* Beyond it no site is, and the simplex loses the devices' digits beside it. Not a number is not within either. */
static bool within(double v)
{
	return v >= -PLAN_VALUE_MAX && v <= PLAN_VALUE_MAX;
}

static bool not_negative(double v)
{
	return v >= 0 && v <= PLAN_VALUE_MAX;
}

static int check_mode(const struct plan_problem *p, size_t k, size_t m, struct err *err)
{
	const struct plan_class *c = &p->cls[k];
	const struct plan_mode *mode = &c->mode[m];
	if (!(within(mode->watts) && mode->watts >= c->off_w && mode->watts >= 0))
		return bad(err, HCP_ERANGE, "must be at least off_w, and at most 1e9", "cls[%zu].mode[%zu].watts", k, m);
	if (!within(mode->revenue_usd_h))
		return bad(err, HCP_ERANGE, FINITE, "cls[%zu].mode[%zu].revenue_usd_h", k, m);
	if (!not_negative(mode->wear_usd_h))
		return bad(err, HCP_ERANGE, NOT_NEGATIVE, "cls[%zu].mode[%zu].wear_usd_h", k, m);
	if (!not_negative(mode->enter_usd))
		return bad(err, HCP_ERANGE, NOT_NEGATIVE, "cls[%zu].mode[%zu].enter_usd", k, m);
	for (size_t t = 0; t < p->steps; t++) {
		if (mode->revenue_by_step && !within(mode->revenue_by_step[t]))
			return bad(err, HCP_ERANGE, FINITE, "cls[%zu].mode[%zu].revenue_by_step[%zu]", k, m, t);
		if (mode->most && !not_negative(mode->most[t]))
			return bad(err, HCP_ERANGE, NOT_NEGATIVE, "cls[%zu].mode[%zu].most[%zu]", k, m, t);
	}
	return 0;
}

static bool held_right(const uint32_t keep[PLAN_HOLD_MAX], uint32_t most)
{
	bool right = keep[0] <= most;
	for (size_t t = 1; t < PLAN_HOLD_MAX; t++)
		right = right && keep[t] <= keep[t - 1];
	return right;
}

static int check_class(const struct plan_problem *p, size_t k, struct err *err)
{
	const struct plan_class *c = &p->cls[k];
	uint64_t now = 0;
	if (c->count > PLAN_DEVICES_MAX)
		return bad(err, HCP_ERANGE, "more devices than a class may have", "cls[%zu].count", k);
	if (c->n_modes < 1 || c->n_modes > PLAN_MODES_MAX)
		return bad(err, HCP_EINVAL, "must be 1 to 4", "cls[%zu].n_modes", k);
	if (!not_negative(c->off_w))
		return bad(err, HCP_ERANGE, NOT_NEGATIVE, "cls[%zu].off_w", k);
	if (!not_negative(c->restart_usd))
		return bad(err, HCP_ERANGE, NOT_NEGATIVE, "cls[%zu].restart_usd", k);
	if (!not_negative(c->restart_s))
		return bad(err, HCP_ERANGE, NOT_NEGATIVE, "cls[%zu].restart_s", k);
	if (!not_negative(c->restart_w) || c->restart_w > c->mode[0].watts)
		return bad(err, HCP_ERANGE, "must be 0 to the first mode's watts", "cls[%zu].restart_w", k);
	if (c->min_up > PLAN_HOLD_MAX || c->min_down > PLAN_HOLD_MAX)
		return bad(err, HCP_ERANGE, "must be at most 96 steps", "cls[%zu].%s", k,
			c->min_up > PLAN_HOLD_MAX ? "min_up" : "min_down");
	if (c->feeder < -1 || c->feeder >= (int)p->n_feeders)
		return bad(err, HCP_EINVAL, "names no feeder", "cls[%zu].feeder", k);
	for (size_t m = 0; m < c->n_modes; m++) {
		int rc = check_mode(p, k, m, err);
		if (rc)
			return rc;
		now += c->now[m];
	}
	if (now > c->count)
		return bad(err, HCP_ERANGE, "adds up to more than count", "cls[%zu].now", k);
	if (!held_right(c->keep_on, (uint32_t)now))
		return bad(err, HCP_ERANGE, HELD, "cls[%zu].keep_on", k);
	if (!held_right(c->keep_off, c->count - (uint32_t)now))
		return bad(err, HCP_ERANGE, HELD, "cls[%zu].keep_off", k);
	return 0;
}

static bool names_mode(const struct plan_problem *p, size_t cls, size_t mode)
{
	return cls < p->n_classes && mode < p->cls[cls].n_modes;
}

static int check_contract(const struct plan_problem *p, size_t j, struct err *err)
{
	const struct plan_contract *w = &p->contract[j];
	if (!names_mode(p, w->cls, w->mode))
		return bad(err, HCP_EINVAL, "names no class and mode", "contract[%zu].cls", j);
	if (!within(w->pay_usd_h))
		return bad(err, HCP_ERANGE, FINITE, "contract[%zu].pay_usd_h", j);
	if (!not_negative(w->miss_usd_h))
		return bad(err, HCP_ERANGE, NOT_NEGATIVE, "contract[%zu].miss_usd_h", j);
	for (size_t t = 0; t < p->steps; t++)
		if (!not_negative(w->devices[t]))
			return bad(err, HCP_ERANGE, NOT_NEGATIVE, "contract[%zu].devices[%zu]", j, t);
	return 0;
}

static int check_batch(const struct plan_problem *p, size_t j, struct err *err)
{
	const struct plan_batch *w = &p->batch[j];
	if (!names_mode(p, w->cls, w->mode))
		return bad(err, HCP_EINVAL, "names no class and mode", "batch[%zu].cls", j);
	if (!(within(w->device_hours) && w->device_hours > 0))
		return bad(err, HCP_ERANGE, "must be above 0, and at most 1e9", "batch[%zu].device_hours", j);
	if (w->from >= w->until || w->until > p->steps)
		return bad(err, HCP_ERANGE, "must be before until, and until within the steps", "batch[%zu].from", j);
	if (!within(w->pay_usd_h))
		return bad(err, HCP_ERANGE, FINITE, "batch[%zu].pay_usd_h", j);
	if (!not_negative(w->miss_usd_h))
		return bad(err, HCP_ERANGE, NOT_NEGATIVE, "batch[%zu].miss_usd_h", j);
	return 0;
}

static int check_grid(const struct plan_problem *p, size_t j, struct err *err)
{
	const struct plan_grid *g = &p->grid[j];
	if (g->from >= g->until || g->until > p->steps)
		return bad(err, HCP_ERANGE, "must be before until, and until within the steps", "grid[%zu].from", j);
	if (!not_negative(g->baseline_kw))
		return bad(err, HCP_ERANGE, NOT_NEGATIVE, "grid[%zu].baseline_kw", j);
	if (!not_negative(g->curtail_kw) || g->curtail_kw > g->baseline_kw)
		return bad(err, HCP_ERANGE, "must be 0 to baseline_kw", "grid[%zu].curtail_kw", j);
	if (!not_negative(g->pay_usd_kwh) || !not_negative(g->miss_usd_kwh))
		return bad(err, HCP_ERANGE, NOT_NEGATIVE, "grid[%zu].%s", j,
			not_negative(g->pay_usd_kwh) ? "miss_usd_kwh" : "pay_usd_kwh");
	return 0;
}

static int check_offer(const struct plan_problem *p, size_t j, struct err *err)
{
	const struct plan_offer *o = &p->offer[j];
	if (!not_negative(o->most_mw))
		return bad(err, HCP_ERANGE, NOT_NEGATIVE, "offer[%zu].most_mw", j);
	for (size_t t = 0; t < p->steps; t++)
		if (!not_negative(o->pay_usd_mw_h[t]))
			return bad(err, HCP_ERANGE, NOT_NEGATIVE, "offer[%zu].pay_usd_mw_h[%zu]", j, t);
	return 0;
}

static int check_site(const struct plan_problem *p, struct err *err)
{
	if (p->steps < 1 || p->steps > PLAN_STEPS_MAX)
		return err_set(err, HCP_EINVAL, "steps", "must be 1 to %d, is %zu", PLAN_STEPS_MAX, p->steps);
	if (!(within(p->step_s) && p->step_s > 0))
		return err_set(err, HCP_ERANGE, "step_s", "must be above 0, and at most 1e9");
	if (!(p->pue >= 1 && p->pue <= 3))
		return err_set(err, HCP_ERANGE, "pue", "must be 1 to 3, is %g", p->pue);
	if (!(p->site_limit_w >= 0))
		return err_set(err, HCP_ERANGE, "site_limit_w", "must not be negative");
	if (!not_negative(p->base_w))
		return err_set(err, HCP_ERANGE, "base_w", NOT_NEGATIVE);
	const struct { const char *field; size_t n, most; } count[] = {
		{ "n_classes", p->n_classes, PLAN_CLASSES_MAX }, { "n_feeders", p->n_feeders, PLAN_FEEDERS_MAX },
		{ "n_contracts", p->n_contracts, PLAN_CONTRACTS_MAX }, { "n_batches", p->n_batches, PLAN_BATCHES_MAX },
		{ "n_grids", p->n_grids, PLAN_GRIDS_MAX }, { "n_offers", p->n_offers, PLAN_OFFERS_MAX } };
	for (size_t i = 0; i < sizeof(count) / sizeof(count[0]); i++)
		if (count[i].n > count[i].most)
			return err_set(err, HCP_ELIMIT, count[i].field, "must be at most %zu, is %zu", count[i].most, count[i].n);
	if (p->n_classes == 0)
		return err_set(err, HCP_EINVAL, "n_classes", "nothing to plan");
	for (size_t t = 0; t < p->steps; t++)
		if (!within(p->price_usd_mwh[t]))
			return bad(err, HCP_ERANGE, FINITE, "price_usd_mwh[%zu]", t);
	for (size_t f = 0; f < p->n_feeders; f++)
		if (!(p->feeder_limit_w[f] >= 0))
			return bad(err, HCP_ERANGE, "must not be negative", "feeder_limit_w[%zu]", f);
	return 0;
}

int plan_problem_validate(const struct plan_problem *p, struct err *err)
{
	int rc = check_site(p, err);
	for (size_t k = 0; k < p->n_classes && rc == 0; k++)
		rc = check_class(p, k, err);
	for (size_t j = 0; j < p->n_contracts && rc == 0; j++)
		rc = check_contract(p, j, err);
	for (size_t j = 0; j < p->n_batches && rc == 0; j++)
		rc = check_batch(p, j, err);
	for (size_t j = 0; j < p->n_grids && rc == 0; j++)
		rc = check_grid(p, j, err);
	for (size_t j = 0; j < p->n_offers && rc == 0; j++)
		rc = check_offer(p, j, err);
	return rc;
}
