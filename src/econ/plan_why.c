#include <math.h>
#include <stdio.h>

#include "econ/plan_priv.h"

#define LEAST 1e-5 /* of a slack, in the unit of its row, that counts as broken */

/* What a row stands for, and its slack in the unit that people know it by. False: no promise or limit. */
static bool broken(const struct plan_problem *p, const struct plan_row *row, double slack, struct plan_conflict *ret)
{
	*ret = (struct plan_conflict){ .index = row->index, .mode = row->mode, .first = row->step, .last = row->step };
	switch (row->kind) {
	case PLAN_ROW_SITE:
		ret->kind = PLAN_C_SITE;
		ret->amount = slack * 1e3;
		return true;
	case PLAN_ROW_FEEDER:
		ret->kind = PLAN_C_FEEDER;
		ret->amount = slack * 1e3;
		return true;
	case PLAN_ROW_SHARE:
		ret->kind = PLAN_C_CONTRACT;
		ret->mode = 0;
		ret->amount = slack * plan_unit(&p->cls[p->contract[row->index].cls]);
		return true;
	case PLAN_ROW_BATCH:
		ret->kind = PLAN_C_BATCH;
		ret->last = p->batch[row->index].until - 1;
		ret->amount = slack * plan_unit(&p->cls[p->batch[row->index].cls]);
		return true;
	case PLAN_ROW_GRID:
		ret->kind = PLAN_C_GRID;
		ret->amount = slack * 1e3;
		return true;
	case PLAN_ROW_MOST:
		ret->kind = PLAN_C_DEMAND;
		ret->amount = slack * plan_unit(&p->cls[row->index]);
		return true;
	default: return false;
	}
}

/* Steps that follow each other are one conflict. */
static void add(struct plan_conflict ret[PLAN_CONFLICTS_MAX], size_t *n, const struct plan_conflict *c)
{
	for (size_t i = 0; i < *n; i++) {
		struct plan_conflict *o = &ret[i];
		if (o->kind == c->kind && o->index == c->index && o->mode == c->mode && o->last + 1 >= c->first) {
			o->last = c->last > o->last ? c->last : o->last;
			o->amount = fmax(o->amount, c->amount);
			return;
		}
	}
	if (*n < PLAN_CONFLICTS_MAX)
		ret[(*n)++] = *c;
}

/* Solves the elastic program; *ret_price: what all breaking costs. Conflicts are written where ret is given. */
static int relax(const struct plan_problem *p, const struct lp_conf *conf, double *ret_price,
	struct plan_conflict *ret, size_t *ret_n, struct err *err)
{
	struct plan_model m = { 0 };
	lp_init(&m.lp);
	plan_build(&m, p, (uint32_t)((UINT64_C(1) << p->n_classes) - 1), true, true);
	int rc = lp_solve(&m.lp, conf, err);
	for (int i = 0; i < m.lp.rows && rc == 0 && ret; i++) {
		struct plan_conflict c;
		if (m.slack[i] >= 0 && m.lp.x[m.slack[i]] > LEAST && broken(p, &m.row[i], m.lp.x[m.slack[i]], &c))
			add(ret, ret_n, &c);
	}
	*ret_price = -m.lp.objective;
	plan_model_release(&m);
	return rc;
}

/* A ramp or a minimum time takes part if less has to be broken without it. */
static int blame_times(const struct plan_problem *p, const struct lp_conf *conf, double price,
	struct plan_conflict ret[PLAN_CONFLICTS_MAX], size_t *ret_n, struct err *err)
{
	for (size_t k = 0; k < p->n_classes; k++) {
		for (int hold = 0; hold < 2; hold++) {
			struct plan_problem easier = *p;
			struct plan_class *c = &easier.cls[k];
			double less;
			if (hold ? c->min_up <= 1 && c->min_down <= 1 && !c->keep_on[0] && !c->keep_off[0] : c->ramp == 0)
				continue;
			if (!hold)
				c->ramp = 0;
			c->min_up = hold ? 0 : c->min_up;
			c->min_down = hold ? 0 : c->min_down;
			for (size_t t = 0; t < PLAN_HOLD_MAX && hold; t++)
				c->keep_on[t] = c->keep_off[t] = 0;
			int rc = relax(&easier, conf, &less, NULL, NULL, err);
			if (rc)
				return rc;
			if (less < price * (1 - 1e-6) - 1e-9)
				add(ret, ret_n, &(struct plan_conflict){ .kind = hold ? PLAN_C_HOLD : PLAN_C_RAMP, .index = k,
					.last = p->steps - 1 });
		}
	}
	return 0;
}

int plan_why(const struct plan_problem *p, const struct lp_conf *conf, struct plan_conflict ret[PLAN_CONFLICTS_MAX],
	size_t *ret_n, struct err *err)
{
	char text[256];
	double price;
	size_t n = 0, used = 0;
	int rc = relax(p, conf, &price, ret, &n, err);
	if (rc == 0 && n == 0)
		return err_set(err, HCP_EINTERNAL, "plan", "the simplex found no plan, but nothing conflicts");
	rc = rc ? rc : blame_times(p, conf, price, ret, &n, err);
	if (rc)
		return rc;
	for (size_t i = 0; i < n && used < sizeof(text); i++) {
		char one[128];
		plan_conflict_text(p, &ret[i], one, sizeof(one));
		used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%s", i ? "; " : "", one);
	}
	*ret_n = n;
	return err_set(err, HCP_ENOTFOUND, "plan", "no plan keeps everything: %s", text);
}

static const char *name_of(const char *name)
{
	return name ? name : "without a name";
}

void plan_conflict_text(const struct plan_problem *p, const struct plan_conflict *c, char *ret, size_t n)
{
	char when[48];
	if (c->first == c->last)
		snprintf(when, sizeof(when), "in step %zu", c->first);
	else
		snprintf(when, sizeof(when), "in steps %zu-%zu", c->first, c->last);
	switch (c->kind) {
	case PLAN_C_SITE: snprintf(ret, n, "the site needs up to %.0f kW more %s", c->amount, when); break;
	case PLAN_C_FEEDER: snprintf(ret, n, "feeder %zu needs up to %.0f kW more %s", c->index, c->amount, when); break;
	case PLAN_C_CONTRACT:
		snprintf(ret, n, "contract %s is short of up to %.1f devices %s", name_of(p->contract[c->index].name),
			c->amount, when);
		break;
	case PLAN_C_BATCH:
		snprintf(ret, n, "batch %s is short of %.1f device hours %s", name_of(p->batch[c->index].name), c->amount,
			when);
		break;
	case PLAN_C_GRID:
		snprintf(ret, n, "grid commitment %s is short of up to %.0f kW %s", name_of(p->grid[c->index].name), c->amount,
			when);
		break;
	case PLAN_C_DEMAND:
		snprintf(ret, n, "class %s mode %zu has up to %.1f devices without work %s", name_of(p->cls[c->index].name),
			c->mode, c->amount, when);
		break;
	case PLAN_C_RAMP: snprintf(ret, n, "the ramp of class %s takes part", name_of(p->cls[c->index].name)); break;
	case PLAN_C_HOLD:
		snprintf(ret, n, "minimum times of class %s take part", name_of(p->cls[c->index].name));
		break;
	}
}
