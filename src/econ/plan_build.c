#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "econ/plan_priv.h"

double plan_mode_usd(const struct plan_problem *p, const struct plan_class *c, size_t m, size_t t)
{
	const struct plan_mode *mode = &c->mode[m];
	return (plan_revenue_usd_h(mode, t) - mode->wear_usd_h) * plan_hours(p) -
		(mode->watts - c->off_w) * plan_watt_usd(p, t);
}

double plan_start_usd(const struct plan_problem *p, const struct plan_class *c, size_t t)
{
	double rate = plan_revenue_usd_h(&c->mode[0], t) / 3600.0 -
		(c->mode[0].watts - c->restart_w) * p->pue * p->price_usd_mwh[t] / 3600e6;
	return c->restart_usd + (rate > 0 ? rate * c->restart_s : 0);
}

void plan_model_release(struct plan_model *m)
{
	lp_release(&m->lp);
	mem_free(m->row);
	mem_free(m->slack);
	*m = (struct plan_model){ 0 };
}

void plan_load_range(const struct plan_problem *p, int feeder, double *ret_off_mw, double *ret_full_mw)
{
	double off = 0, full = 0;
	for (size_t k = 0; k < p->n_classes; k++) {
		const struct plan_class *c = &p->cls[k];
		double most = c->off_w;
		for (size_t m = 0; m < c->n_modes; m++)
			most = fmax(most, c->mode[m].watts);
		if (feeder >= 0 && c->feeder != feeder)
			continue;
		off += c->count * c->off_w;
		full += c->count * most;
	}
	double base = feeder < 0 ? p->base_w : 0;
	*ret_off_mw = (off * p->pue + base) / 1e6;
	*ret_full_mw = (full * p->pue + base) / 1e6;
}

struct build {
	struct plan_model *m;
	const struct plan_problem *p;
	uint32_t classes;
	bool shared;
};

static bool has(const struct build *b, size_t cls)
{
	return b->classes >> cls & 1;
}

/* What breaking a limit costs in the elastic program. Power first: a promise gives way to a fuse. */
static double blame(enum plan_row_kind kind)
{
	switch (kind) {
	case PLAN_ROW_SITE:
	case PLAN_ROW_FEEDER: return 1e4;  /* per MW */
	case PLAN_ROW_MOST: return 1e3;    /* per class */
	case PLAN_ROW_GRID: return 1e2;    /* per MW */
	case PLAN_ROW_BATCH: return 1;     /* per device hour of a class */
	default: return 10;                /* a contract, per class */
	}
}

static int add_row(struct build *b, enum plan_row_kind kind, size_t index, size_t mode, size_t t, double lo, double hi,
	double by_count)
{
	struct plan_model *m = b->m;
	int i = lp_row(&m->lp, lo, hi);
	if (m->lp.failed)
		return 0;
	if (i >= m->row_cap) {
		int cap = m->row_cap ? 2 * m->row_cap : 256;
		void *row = mem_realloc(m->row, (size_t)cap * sizeof(*m->row));
		m->row = row ? row : m->row;
		void *slack = row ? mem_realloc(m->slack, (size_t)cap * sizeof(*m->slack)) : NULL;
		m->slack = slack ? slack : m->slack;
		if (!slack) {
			m->lp.failed = true;
			return 0;
		}
		m->row_cap = cap;
	}
	m->row[i] = (struct plan_row){ kind, (uint16_t)index, (uint16_t)mode, (uint16_t)t, by_count };
	m->slack[i] = -1;
	return i;
}

/* In the elastic program the row may be broken by as much as it takes. sign: -1 above its upper bound, 1 below. */
static void loosen(struct build *b, int row, double sign)
{
	if (!b->m->elastic || b->m->lp.failed)
		return;
	int j = lp_col(&b->m->lp, 0, INFINITY, -blame(b->m->row[row].kind));
	b->m->slack[row] = j;
	lp_put(&b->m->lp, row, j, sign);
}

static int add_col(struct build *b, double lo, double hi, double cost)
{
	return lp_col(&b->m->lp, lo, hi, b->m->elastic ? 0 : cost);
}

/* One over the other where both exist: first columns keep -1 for "none". */
static int first(int *at, int col)
{
	if (*at < 0)
		*at = col;
	return col;
}

static bool starts_matter(const struct plan_problem *p, const struct plan_class *c)
{
	if (c->min_up > 1 || c->min_down > 1 || c->ramp > 0 || c->restart_usd > 0 || c->keep_on[0] || c->keep_off[0])
		return true;
	if (c->n_modes == 1 && c->mode[0].enter_usd > 0)
		return true;
	for (size_t t = 0; t < p->steps && c->restart_s > 0; t++)
		if (plan_start_usd(p, c, t) > 0)
			return true;
	return false;
}

static void add_class_cols(struct build *b, size_t k)
{
	const struct plan_class *c = &b->p->cls[k];
	struct plan_map *map = &b->m->map;
	double unit = plan_unit(c);
	for (size_t m = 0; m < c->n_modes; m++) {
		for (size_t t = 0; t < b->p->steps; t++) {
			double hi = b->m->elastic ? 1 : plan_most(c, m, t) / unit;
			first(&map->x[k][m], add_col(b, 0, c->count ? hi : 0, unit * plan_mode_usd(b->p, c, m, t)));
		}
	}
	bool one = c->n_modes == 1;
	for (size_t t = 0; t < b->p->steps && starts_matter(b->p, c); t++) {
		double usd = plan_start_usd(b->p, c, t) + (one ? c->mode[0].enter_usd : 0);
		double ramp = c->ramp && c->ramp < c->count ? c->ramp / unit : 1;
		first(&map->start[k], add_col(b, 0, ramp, -unit * usd));
	}
	for (size_t m = 0; m < c->n_modes && !one; m++)
		for (size_t t = 0; t < b->p->steps && c->mode[m].enter_usd > 0; t++)
			first(&map->enter[k][m], add_col(b, 0, 1, -unit * c->mode[m].enter_usd));
}

/* Sum of the modes of a step, times v. */
static void put_running(struct build *b, int row, size_t k, size_t t, double v)
{
	for (size_t m = 0; m < b->p->cls[k].n_modes; m++)
		lp_put(&b->m->lp, row, b->m->map.x[k][m] + (int)t, v);
}

static void add_start_rows(struct build *b, size_t k, size_t t)
{
	const struct plan_class *c = &b->p->cls[k];
	struct lp *lp = &b->m->lp;
	double unit = plan_unit(c), was = t == 0 ? plan_running(c) / unit : 0;
	int s = b->m->map.start[k];
	/* running - running before - starts = -stops */
	double stops = c->ramp ? c->ramp / unit : INFINITY;
	int i = add_row(b, PLAN_ROW_START, k, 0, t, was - stops, was, 0);
	put_running(b, i, k, t, 1);
	lp_put(lp, i, s + (int)t, -1);
	if (t > 0)
		put_running(b, i, k, t - 1, -1);
	/* Those that started within min_up are still on. */
	if (c->min_up > 1 || plan_keep_on(c, t) > 0) {
		i = add_row(b, PLAN_ROW_UP, k, 0, t, -INFINITY, -plan_keep_on(c, t) / unit, 0);
		for (size_t from = t + 1 > c->min_up ? t + 1 - c->min_up : 0; from <= t; from++)
			lp_put(lp, i, s + (int)from, 1);
		put_running(b, i, k, t, -1);
	}
	/* Those that stopped within min_down are still off: stops = starts - growth, so it telescopes. */
	if (c->min_down > 1 || plan_keep_off(c, t) > 0) {
		size_t from = t + 1 > c->min_down ? t + 1 - c->min_down : 0;
		double before = from == 0 ? plan_running(c) / unit : 0;
		i = add_row(b, PLAN_ROW_DOWN, k, 0, t, -INFINITY, 1 - plan_keep_off(c, t) / unit - before, 1);
		for (size_t at = from; at <= t; at++)
			lp_put(lp, i, s + (int)at, 1);
		if (from > 0)
			put_running(b, i, k, from - 1, 1);
	}
}

static void add_class_rows(struct build *b, size_t k)
{
	const struct plan_class *c = &b->p->cls[k];
	struct lp *lp = &b->m->lp;
	double unit = plan_unit(c);
	for (size_t t = 0; t < b->p->steps; t++) {
		int i = add_row(b, PLAN_ROW_CAPACITY, k, 0, t, -INFINITY, c->count ? 1 : 0, 1);
		put_running(b, i, k, t, 1);
		if (b->m->map.start[k] >= 0)
			add_start_rows(b, k, t);
		for (size_t m = 0; m < c->n_modes; m++) {
			if (b->m->map.enter[k][m] >= 0) {
				i = add_row(b, PLAN_ROW_ENTER, k, m, t, -INFINITY, t == 0 ? c->now[m] / unit : 0, 0);
				lp_put(lp, i, b->m->map.x[k][m] + (int)t, 1);
				if (t > 0)
					lp_put(lp, i, b->m->map.x[k][m] + (int)t - 1, -1);
				lp_put(lp, i, b->m->map.enter[k][m] + (int)t, -1);
			}
			if (b->m->elastic && c->mode[m].most) {
				i = add_row(b, PLAN_ROW_MOST, k, m, t, -INFINITY, plan_most(c, m, t) / unit, 0);
				lp_put(lp, i, b->m->map.x[k][m] + (int)t, 1);
				loosen(b, i, -1);
			}
		}
	}
}

/* Contracts and batches are part of the devices of their mode. */
static void add_work(struct build *b)
{
	const struct plan_problem *p = b->p;
	struct lp *lp = &b->m->lp;
	struct plan_map *map = &b->m->map;
	double h = plan_hours(p);
	for (size_t j = 0; j < p->n_contracts; j++) {
		const struct plan_contract *w = &p->contract[j];
		const struct plan_class *c = &p->cls[w->cls];
		for (size_t t = 0; t < p->steps && has(b, w->cls); t++) {
			double usd = w->pay_usd_h + w->miss_usd_h - plan_revenue_usd_h(&c->mode[w->mode], t), unit = plan_unit(c);
			double d = w->devices[t] / unit;
			first(&map->contract[j], add_col(b, w->hard && !b->m->elastic ? d : 0, d, usd * h * unit));
			b->m->constant -= w->miss_usd_h * h * w->devices[t];
		}
		/* After all its columns, since those of a kind stand side by side. */
		for (size_t t = 0; t < p->steps && has(b, w->cls) && w->hard && b->m->elastic; t++) {
			int i = add_row(b, PLAN_ROW_SHARE, j, 1, t, w->devices[t] / plan_unit(c), INFINITY, 0);
			lp_put(lp, i, map->contract[j] + (int)t, 1);
			loosen(b, i, 1);
		}
	}
	for (size_t j = 0; j < p->n_batches; j++) {
		const struct plan_batch *w = &p->batch[j];
		const struct plan_class *c = &p->cls[w->cls];
		if (!has(b, w->cls))
			continue;
		double unit = plan_unit(c);
		int row = add_row(b, PLAN_ROW_BATCH, j, 0, w->from, w->hard ? w->device_hours / unit : -INFINITY,
			w->device_hours / unit, 0);
		for (size_t t = w->from; t < w->until; t++) {
			double usd = w->pay_usd_h + w->miss_usd_h - plan_revenue_usd_h(&c->mode[w->mode], t);
			lp_put(lp, row, first(&map->batch[j], add_col(b, 0, 1, usd * h * unit)), h);
		}
		b->m->constant -= w->miss_usd_h * w->device_hours;
		if (w->hard)
			loosen(b, row, 1);
	}
}

/* Promised work of a mode in a step, as an entry of the row. */
static bool put_promised(struct build *b, int row, size_t k, size_t m, size_t t, double v)
{
	const struct plan_problem *p = b->p;
	bool any = false;
	for (size_t j = 0; j < p->n_contracts; j++) {
		if (p->contract[j].cls != k || p->contract[j].mode != m)
			continue;
		any = true;
		if (row >= 0)
			lp_put(&b->m->lp, row, b->m->map.contract[j] + (int)t, v);
	}
	for (size_t j = 0; j < p->n_batches; j++) {
		if (p->batch[j].cls != k || p->batch[j].mode != m || t < p->batch[j].from || t >= p->batch[j].until)
			continue;
		any = true;
		if (row >= 0)
			lp_put(&b->m->lp, row, b->m->map.batch[j] + (int)(t - p->batch[j].from), v);
	}
	return any;
}

static void add_share_rows(struct build *b, size_t k)
{
	for (size_t m = 0; m < b->p->cls[k].n_modes; m++) {
		for (size_t t = 0; t < b->p->steps; t++) {
			if (!put_promised(b, -1, k, m, t, 0))
				continue;
			int i = add_row(b, PLAN_ROW_SHARE, k, 0, t, -INFINITY, 0, 0);
			put_promised(b, i, k, m, t, 1);
			lp_put(&b->m->lp, i, b->m->map.x[k][m] + (int)t, -1);
		}
	}
}

/* MW at the meter that devices draw above being off. */
static void put_load(struct build *b, int row, int feeder, size_t t, double v)
{
	for (size_t k = 0; k < b->p->n_classes; k++) {
		const struct plan_class *c = &b->p->cls[k];
		if (feeder >= 0 && c->feeder != feeder)
			continue;
		for (size_t m = 0; m < c->n_modes; m++)
			lp_put(&b->m->lp, row, b->m->map.x[k][m] + (int)t,
				v * (c->mode[m].watts - c->off_w) * plan_unit(c) * b->p->pue / 1e6);
	}
}

static void add_limit(struct build *b, enum plan_row_kind kind, int feeder, double limit_w)
{
	double off, full;
	plan_load_range(b->p, feeder, &off, &full);
	/* A limit above all that can be drawn needs no rows. */
	if (full <= limit_w / 1e6)
		return;
	for (size_t t = 0; t < b->p->steps; t++) {
		int i = add_row(b, kind, feeder < 0 ? 0 : (size_t)feeder, 0, t, -INFINITY, limit_w / 1e6 - off, 0);
		put_load(b, i, feeder, t, 1);
		loosen(b, i, -1);
	}
}

static void add_grid(struct build *b)
{
	const struct plan_problem *p = b->p;
	double h = plan_hours(p), off, full;
	plan_load_range(p, -1, &off, &full);
	for (size_t j = 0; j < p->n_grids; j++) {
		const struct plan_grid *g = &p->grid[j];
		double usd_mwh = (g->pay_usd_kwh + g->miss_usd_kwh) * 1e3;
		for (size_t t = g->from; t < g->until; t++) {
			b->m->constant += g->pay_usd_kwh * g->curtail_kw * h;
			int col = first(&b->m->map.grid[j], add_col(b, 0, g->hard ? 0 : INFINITY, -usd_mwh * h));
			int i = add_row(b, PLAN_ROW_GRID, j, 0, t, -INFINITY, (g->baseline_kw - g->curtail_kw) / 1e3 - off, 0);
			put_load(b, i, -1, t, 1);
			lp_put(&b->m->lp, i, col, -1);
			if (g->hard)
				loosen(b, i, -1);
		}
	}
}

static void add_offers(struct build *b)
{
	const struct plan_problem *p = b->p;
	for (size_t j = 0; j < p->n_offers; j++)
		for (size_t t = 0; t < p->steps; t++)
			first(&b->m->map.offer[j],
				add_col(b, 0, p->offer[j].most_mw, p->offer[j].pay_usd_mw_h[t] * plan_hours(p)));
	for (size_t t = 0; t < p->steps && p->n_offers > 0; t++) {
		int i = add_row(b, PLAN_ROW_OFFER, 0, 0, t, -INFINITY, 0, 0);
		for (size_t j = 0; j < p->n_offers; j++)
			lp_put(&b->m->lp, i, b->m->map.offer[j] + (int)t, 1);
		for (size_t k = 0; k < p->n_classes; k++) {
			const struct plan_class *c = &p->cls[k];
			for (size_t m = 0; m < c->n_modes; m++) {
				double mw = (c->mode[m].watts - c->off_w) * plan_unit(c) * p->pue / 1e6;
				if (!c->mode[m].sheds)
					continue;
				lp_put(&b->m->lp, i, b->m->map.x[k][m] + (int)t, -mw);
				put_promised(b, i, k, m, t, mw);
			}
		}
	}
}

void plan_build(struct plan_model *m, const struct plan_problem *p, uint32_t classes, bool shared, bool elastic)
{
	struct build b = { m, p, classes, shared };
	lp_clear(&m->lp);
	memset(&m->map, 0xff, sizeof(m->map)); /* -1 everywhere */
	m->constant = 0;
	m->elastic = elastic;
	for (size_t k = 0; k < p->n_classes; k++) {
		const struct plan_class *c = &p->cls[k];
		if (!has(&b, k))
			continue;
		for (size_t t = 0; t < p->steps; t++)
			m->constant -= c->count * c->off_w * plan_watt_usd(p, t);
		add_class_cols(&b, k);
		add_class_rows(&b, k);
	}
	add_work(&b);
	for (size_t k = 0; k < p->n_classes; k++)
		if (has(&b, k))
			add_share_rows(&b, k);
	if (!shared)
		return;
	for (size_t t = 0; t < p->steps; t++)
		m->constant -= p->base_w / 1e6 * p->price_usd_mwh[t] * plan_hours(p);
	add_limit(&b, PLAN_ROW_SITE, -1, p->site_limit_w);
	for (size_t f = 0; f < p->n_feeders; f++)
		add_limit(&b, PLAN_ROW_FEEDER, (int)f, p->feeder_limit_w[f]);
	add_grid(&b);
	add_offers(&b);
}
