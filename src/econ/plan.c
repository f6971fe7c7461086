#include "econ/plan.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "econ/plan_priv.h"

enum { ITERATIONS = 200000, MEMORY_MIB = 256, WHOLE = PLAN_CLASSES_MAX };

/* Where a program ended last time, to begin the next one there. */
struct basis {
	int rows, cols;
	uint8_t *row, *col; /* owned */
};

struct plan_solver {
	struct plan_conf conf;
	struct plan_model model;
	struct basis basis[PLAN_CLASSES_MAX + 1]; /* of each class by itself, and of the whole site */
	struct plan_conflict conflict[PLAN_CONFLICTS_MAX];
	size_t n_conflicts;
};

int plan_solver_new(const struct plan_conf *conf, struct plan_solver **ret, struct err *err)
{
	struct plan_solver *s = mem_calloc(1, sizeof(*s));
	if (!s)
		return err_set(err, HCP_ENOMEM, "", "no memory for a solver");
	s->conf = conf ? *conf : (struct plan_conf){ 0 };
	if (s->conf.iterations_max == 0)
		s->conf.iterations_max = ITERATIONS;
	if (s->conf.memory_max_mib == 0)
		s->conf.memory_max_mib = MEMORY_MIB;
	lp_init(&s->model.lp);
	*ret = s;
	return 0;
}

void plan_solver_clear(struct plan_solver *s)
{
	for (size_t i = 0; i <= WHOLE; i++) {
		mem_free(s->basis[i].row);
		mem_free(s->basis[i].col);
		s->basis[i] = (struct basis){ 0 };
	}
	s->n_conflicts = 0;
}

void plan_solver_free(struct plan_solver *s)
{
	if (!s)
		return;
	plan_solver_clear(s);
	plan_model_release(&s->model);
	mem_free(s);
}

size_t plan_conflicts(const struct plan_solver *s, const struct plan_conflict **ret)
{
	*ret = s->conflict;
	return s->n_conflicts;
}

/* ---- the plan's memory: one block ---- */

static int plan_alloc(const struct plan_problem *p, struct plan *r, struct err *err)
{
	size_t n = p->steps, rows = p->n_classes * PLAN_MODES_MAX + 2 * p->n_contracts + p->n_batches + p->n_grids +
		p->n_offers + p->n_feeders + 2;
	double *at = mem_calloc(rows * n, sizeof(double));
	*r = (struct plan){ .steps = n, .n_classes = p->n_classes };
	if (!at)
		return err_set(err, HCP_ENOMEM, "", "no memory for a plan of %zu rows", rows);
	r->devices = at;
	at += p->n_classes * PLAN_MODES_MAX * n;
	r->contract = at;
	r->contract_usd_h = at + p->n_contracts * n;
	at += 2 * p->n_contracts * n;
	r->batch = at;
	at += p->n_batches * n;
	r->grid = at;
	at += p->n_grids * n;
	r->offer = at;
	at += p->n_offers * n;
	r->feeder_usd_mwh = at;
	at += p->n_feeders * n;
	r->load_w = at;
	r->site_usd_mwh = at + n;
	return 0;
}

void plan_release(struct plan *p)
{
	mem_free(p->devices);
	*p = (struct plan){ 0 };
}

/* ---- one program ---- */

static void begin_warm(const struct basis *b, struct lp *lp, struct lp_conf *conf)
{
	if (!b->row || b->rows != lp->rows || b->cols != lp->cols)
		return;
	memcpy(lp->row_stat, b->row, (size_t)lp->rows);
	memcpy(lp->col_stat, b->col, (size_t)lp->cols);
	conf->warm = true;
}

/* Without memory the next begins cold. */
static void keep(struct basis *b, const struct lp *lp)
{
	mem_free(b->row);
	mem_free(b->col);
	b->rows = lp->rows;
	b->cols = lp->cols;
	b->row = mem_dup(lp->row_stat, (size_t)lp->rows);
	b->col = mem_dup(lp->col_stat, (size_t)lp->cols);
	if (!b->row || !b->col) {
		mem_free(b->row);
		mem_free(b->col);
		*b = (struct basis){ 0 };
	}
}

static struct lp_conf lp_conf_of(const struct plan_conf *c)
{
	return (struct lp_conf){ .method = LP_PRIMAL, .iterations_max = c->iterations_max, .time_max_ms = c->time_max_ms,
		.memory_max_mib = c->memory_max_mib };
}

static int solve(struct plan_solver *s, const struct plan_problem *p, uint32_t classes, size_t slot, struct plan *r,
	struct err *err)
{
	struct lp_conf conf = lp_conf_of(&s->conf);
	plan_build(&s->model, p, classes, slot == WHOLE, false);
	begin_warm(&s->basis[slot], &s->model.lp, &conf);
	int rc = lp_solve(&s->model.lp, &conf, err);
	r->iterations += s->model.lp.iterations;
	if (rc == 0)
		keep(&s->basis[slot], &s->model.lp);
	return rc;
}

/* ---- reading the program's answer ---- */

static void take_columns(const struct plan_model *m, int first, size_t n, double unit, double *ret)
{
	for (size_t i = 0; i < n && first >= 0; i++)
		ret[i] = fmax(m->lp.x[first + (int)i] * unit, 0);
}

/* What columns that the number of devices bounds would add, were there one device more. */
static double bound_usd(const struct plan_problem *p, const struct plan_model *m, size_t k)
{
	const struct plan_class *c = &p->cls[k];
	double usd = 0, unit = plan_unit(c);
	for (size_t t = 0; t < p->steps; t++) {
		for (size_t i = 0; i < c->n_modes; i++) {
			if (plan_most(c, i, t) >= c->count)
				usd += fmax(m->lp.col_dual[m->map.x[k][i] + (int)t], 0) / unit;
			if (m->map.enter[k][i] >= 0)
				usd += fmax(m->lp.col_dual[m->map.enter[k][i] + (int)t], 0) / unit;
		}
		if (m->map.start[k] >= 0 && !(c->ramp && c->ramp < c->count))
			usd += fmax(m->lp.col_dual[m->map.start[k] + (int)t], 0) / unit;
	}
	return usd;
}

static double off_usd(const struct plan_problem *p, const struct plan_class *c)
{
	double usd = 0;
	for (size_t t = 0; t < p->steps; t++)
		usd += c->off_w * plan_watt_usd(p, t);
	return usd;
}

static void take_rows(const struct plan_problem *p, const struct plan_model *m, uint32_t classes, struct plan *r)
{
	double h = plan_hours(p);
	for (int i = 0; i < m->lp.rows; i++) {
		const struct plan_row *row = &m->row[i];
		double dual = m->lp.row_dual[i];
		switch (row->kind) {
		case PLAN_ROW_SITE: r->site_usd_mwh[row->step] = fmax(dual, 0) / h; break;
		case PLAN_ROW_FEEDER: r->feeder_usd_mwh[row->index * p->steps + row->step] = fmax(dual, 0) / h; break;
		case PLAN_ROW_BATCH:
			r->batch_usd_h[row->index] = dual / plan_unit(&p->cls[p->batch[row->index].cls]) -
				p->batch[row->index].miss_usd_h;
			break;
		case PLAN_ROW_CAPACITY:
		case PLAN_ROW_DOWN:
			r->class_usd[row->index] += row->by_count * fmax(dual, 0) / plan_unit(&p->cls[row->index]);
			break;
		default: break;
		}
		if (row->kind != PLAN_ROW_SITE && row->kind != PLAN_ROW_FEEDER && row->kind != PLAN_ROW_GRID)
			continue;
		/* A device that is off draws a little too. */
		for (size_t k = 0; k < p->n_classes; k++)
			if (classes >> k & 1 && (row->kind != PLAN_ROW_FEEDER || p->cls[k].feeder == row->index))
				r->class_usd[k] -= dual * p->cls[k].off_w * p->pue / 1e6;
	}
}

static void take(const struct plan_problem *p, const struct plan_model *m, uint32_t classes, struct plan *r)
{
	size_t n = p->steps;
	double h = plan_hours(p);
	for (size_t k = 0; k < p->n_classes; k++) {
		if (!(classes >> k & 1))
			continue;
		for (size_t i = 0; i < p->cls[k].n_modes; i++)
			take_columns(m, m->map.x[k][i], n, plan_unit(&p->cls[k]), plan_devices(r, k, i));
		r->class_usd[k] = bound_usd(p, m, k) - off_usd(p, &p->cls[k]);
	}
	for (size_t j = 0; j < p->n_contracts; j++) {
		double unit = plan_unit(&p->cls[p->contract[j].cls]);
		take_columns(m, m->map.contract[j], n, unit, r->contract + j * n);
		for (size_t t = 0; t < n && m->map.contract[j] >= 0; t++) {
			double dual = m->lp.col_dual[m->map.contract[j] + (int)t];
			/* Below its bound a soft one is not served for its own sake. */
			r->contract_usd_h[j * n + t] = (p->contract[j].hard ? dual : fmax(dual, 0)) / unit / h -
				p->contract[j].miss_usd_h;
		}
	}
	for (size_t j = 0; j < p->n_batches; j++)
		take_columns(m, m->map.batch[j], p->batch[j].until - p->batch[j].from, plan_unit(&p->cls[p->batch[j].cls]),
			r->batch + j * n + p->batch[j].from);
	for (size_t j = 0; j < p->n_grids; j++)
		take_columns(m, m->map.grid[j], p->grid[j].until - p->grid[j].from, 1e3, r->grid + j * n + p->grid[j].from);
	for (size_t j = 0; j < p->n_offers; j++)
		take_columns(m, m->map.offer[j], n, 1, r->offer + j * n);
	take_rows(p, m, classes, r);
}

/* ---- what it comes to ---- */

/* W at the meter, of the site (feeder -1: base load included) or of what hangs on a feeder. */
static double load_w(const struct plan_problem *p, const struct plan *r, int feeder, size_t t)
{
	double w = 0;
	for (size_t k = 0; k < p->n_classes; k++) {
		const struct plan_class *c = &p->cls[k];
		if (feeder >= 0 && c->feeder != feeder)
			continue;
		w += c->count * c->off_w;
		for (size_t m = 0; m < c->n_modes; m++)
			w += plan_devices(r, k, m)[t] * (c->mode[m].watts - c->off_w);
	}
	return w * p->pue + (feeder < 0 ? p->base_w : 0);
}

static double running(const struct plan_problem *p, const struct plan *r, size_t k, size_t t)
{
	double n = 0;
	for (size_t m = 0; m < p->cls[k].n_modes; m++)
		n += plan_devices(r, k, m)[t];
	return n;
}

static void value_class(const struct plan_problem *p, const struct plan *r, size_t k, struct plan_money *v)
{
	const struct plan_class *c = &p->cls[k];
	double h = plan_hours(p);
	for (size_t t = 0; t < p->steps; t++) {
		double before = t ? running(p, r, k, t - 1) : plan_running(c);
		double starts = fmax(running(p, r, k, t) - before, 0);
		v->switching += starts * plan_start_usd(p, c, t);
		for (size_t m = 0; m < c->n_modes; m++) {
			const double *x = plan_devices(r, k, m);
			v->revenue += x[t] * plan_revenue_usd_h(&c->mode[m], t) * h;
			v->wear += x[t] * c->mode[m].wear_usd_h * h;
			v->switching += fmax(x[t] - (t ? x[t - 1] : c->now[m]), 0) * c->mode[m].enter_usd;
		}
	}
}

/* Promised work is paid at its own rate in place of the mode's. */
static void value_promises(const struct plan_problem *p, const struct plan *r, struct plan_money *v)
{
	double h = plan_hours(p);
	for (size_t j = 0; j < p->n_contracts; j++) {
		const struct plan_contract *w = &p->contract[j];
		for (size_t t = 0; t < p->steps; t++) {
			double served = r->contract[j * p->steps + t];
			v->revenue += served * h * (w->pay_usd_h - plan_revenue_usd_h(&p->cls[w->cls].mode[w->mode], t));
			v->penalty += (w->devices[t] - served) * h * w->miss_usd_h;
		}
	}
	for (size_t j = 0; j < p->n_batches; j++) {
		const struct plan_batch *w = &p->batch[j];
		double done = 0;
		for (size_t t = w->from; t < w->until; t++) {
			double hours = r->batch[j * p->steps + t] * h;
			v->revenue += hours * (w->pay_usd_h - plan_revenue_usd_h(&p->cls[w->cls].mode[w->mode], t));
			done += hours;
		}
		v->penalty += (w->device_hours - done) * w->miss_usd_h;
	}
	for (size_t j = 0; j < p->n_grids; j++) {
		const struct plan_grid *g = &p->grid[j];
		for (size_t t = g->from; t < g->until; t++) {
			double short_kw = r->grid[j * p->steps + t];
			v->grid += g->pay_usd_kwh * (g->curtail_kw - short_kw) * h;
			v->penalty += g->miss_usd_kwh * short_kw * h;
		}
	}
	for (size_t j = 0; j < p->n_offers; j++)
		for (size_t t = 0; t < p->steps; t++)
			v->grid += p->offer[j].pay_usd_mw_h[t] * r->offer[j * p->steps + t] * h;
}

void plan_value(const struct plan_problem *p, const struct plan *r, struct plan_money *ret)
{
	struct plan_money v = { 0 };
	for (size_t k = 0; k < p->n_classes; k++)
		value_class(p, r, k, &v);
	value_promises(p, r, &v);
	for (size_t t = 0; t < p->steps; t++)
		v.energy += load_w(p, r, -1, t) / 1e6 * p->price_usd_mwh[t] * plan_hours(p);
	v.total = v.revenue + v.grid - v.energy - v.wear - v.switching - v.penalty;
	*ret = v;
}

/* ---- the whole ---- */

static bool within(double w, double limit_w)
{
	return w <= limit_w + 1e-6 * fmax(1, fabs(limit_w));
}

static bool keeps_limits(const struct plan_problem *p, const struct plan *r)
{
	for (size_t t = 0; t < p->steps; t++) {
		if (!within(load_w(p, r, -1, t), p->site_limit_w))
			return false;
		for (size_t f = 0; f < p->n_feeders; f++)
			if (!within(load_w(p, r, (int)f, t), p->feeder_limit_w[f]))
				return false;
	}
	return true;
}

static int by_class(struct plan_solver *s, const struct plan_problem *p, struct plan *r, struct err *err)
{
	for (size_t k = 0; k < p->n_classes; k++) {
		double usd;
		int rc;
		if (plan_dp_fits(p, k)) {
			rc = plan_dp(p, k, plan_devices(r, k, 0), &r->class_usd[k], &usd, err);
			r->class_usd[k] -= off_usd(p, &p->cls[k]);
		} else {
			rc = solve(s, p, UINT32_C(1) << k, k, r, err);
			if (rc == 0)
				take(p, &s->model, UINT32_C(1) << k, r);
		}
		if (rc)
			return rc;
	}
	r->method = PLAN_BY_CLASS;
	return 0;
}

static int whole(struct plan_solver *s, const struct plan_problem *p, struct plan *r, struct err *err)
{
	uint32_t all = (uint32_t)((UINT64_C(1) << p->n_classes) - 1);
	int iterations = r->iterations;
	plan_release(r);
	int rc = plan_alloc(p, r, err);
	r->iterations = iterations;
	rc = rc ? rc : solve(s, p, all, WHOLE, r, err);
	if (rc == 0)
		take(p, &s->model, all, r);
	r->method = PLAN_WHOLE;
	return rc;
}

int plan_solve(struct plan_solver *s, const struct plan_problem *p, struct plan *ret, struct err *err)
{
	struct plan r = { 0 };
	s->n_conflicts = 0;
	int rc = plan_problem_validate(p, err);
	if (rc)
		return rc;
	/* Commitments and offers bind the site together from the start. */
	bool shared = s->conf.whole || p->n_grids > 0 || p->n_offers > 0;
	rc = plan_alloc(p, &r, err);
	if (rc == 0 && !shared)
		rc = by_class(s, p, &r, err);
	if (rc == 0 && (shared || !keeps_limits(p, &r)))
		rc = whole(s, p, &r, err);
	if (rc == HCP_ENOTFOUND) {
		struct lp_conf conf = lp_conf_of(&s->conf);
		rc = plan_why(p, &conf, s->conflict, &s->n_conflicts, err);
	}
	if (rc) {
		plan_release(&r);
		return rc;
	}
	for (size_t t = 0; t < p->steps; t++)
		r.load_w[t] = load_w(p, &r, -1, t);
	plan_value(p, &r, &r.money);
	*ret = r;
	return 0;
}
