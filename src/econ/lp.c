#include "econ/lp.h"

#include <glpk.h>
#include <math.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#define TOLERANCE 1e-6

void lp_init(struct lp *lp)
{
	*lp = (struct lp){ 0 };
}

void lp_release(struct lp *lp)
{
	void *all[] = { lp->row_lo, lp->row_hi, lp->col_lo, lp->col_hi, lp->col_cost, lp->at_row, lp->at_col, lp->at,
		lp->row_stat, lp->col_stat, lp->x, lp->row_dual, lp->col_dual, lp->row_x };
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		mem_free(all[i]);
	lp_init(lp);
}

void lp_clear(struct lp *lp)
{
	lp->rows = lp->cols = lp->entries = 0;
	lp->failed = false;
}

static bool grow(struct lp *lp, void **array, size_t size, int cap)
{
	void *p = mem_realloc(*array, size * (size_t)cap);
	if (!p)
		lp->failed = true;
	else
		*array = p;
	return p != NULL;
}

/* The capacity to grow to; 0 when the limit is reached. */
static int more(struct lp *lp, int cap, int max)
{
	int next = cap == 0 ? 256 : cap * 2;
	if (cap >= max)
		lp->failed = true;
	return cap >= max ? 0 : next < max ? next : max;
}

#define GROW(lp, array, cap) grow(lp, (void **)&(lp)->array, sizeof(*(lp)->array), cap)

int lp_col(struct lp *lp, double lo, double hi, double cost)
{
	if (lp->cols == lp->cols_cap) {
		int cap = more(lp, lp->cols_cap, LP_COLS_MAX);
		if (!cap || !GROW(lp, col_lo, cap) || !GROW(lp, col_hi, cap) || !GROW(lp, col_cost, cap) ||
			!GROW(lp, col_stat, cap) || !GROW(lp, x, cap) || !GROW(lp, col_dual, cap))
			return 0;
		lp->cols_cap = cap;
	}
	lp->col_lo[lp->cols] = lo;
	lp->col_hi[lp->cols] = hi;
	lp->col_cost[lp->cols] = cost;
	lp->col_stat[lp->cols] = LP_LOWER;
	return lp->cols++;
}

int lp_row(struct lp *lp, double lo, double hi)
{
	if (lp->rows == lp->rows_cap) {
		int cap = more(lp, lp->rows_cap, LP_ROWS_MAX);
		if (!cap || !GROW(lp, row_lo, cap) || !GROW(lp, row_hi, cap) || !GROW(lp, row_stat, cap) ||
			!GROW(lp, row_dual, cap) || !GROW(lp, row_x, cap))
			return 0;
		lp->rows_cap = cap;
	}
	lp->row_lo[lp->rows] = lo;
	lp->row_hi[lp->rows] = hi;
	lp->row_stat[lp->rows] = LP_BASIC;
	return lp->rows++;
}

void lp_put(struct lp *lp, int row, int col, double v)
{
	if (lp->failed || v == 0)
		return;
	if (lp->entries == lp->entries_cap) {
		int cap = more(lp, lp->entries_cap, LP_ENTRIES_MAX);
		if (!cap || !GROW(lp, at_row, cap) || !GROW(lp, at_col, cap) || !GROW(lp, at, cap))
			return;
		lp->entries_cap = cap;
	}
	lp->at_row[lp->entries] = row;
	lp->at_col[lp->entries] = col;
	lp->at[lp->entries++] = v;
}

static int check(const struct lp *lp, struct err *err)
{
	if (lp->failed)
		return lp->rows_cap >= LP_ROWS_MAX || lp->cols_cap >= LP_COLS_MAX || lp->entries_cap >= LP_ENTRIES_MAX ?
			err_set(err, HCP_ELIMIT, "lp", "the program is too large to be solved") :
			err_set(err, HCP_ENOMEM, "lp", "no memory");
	if (lp->rows == 0 || lp->cols == 0)
		return err_set(err, HCP_EINVAL, "lp", "no rows or no columns");
	for (int j = 0; j < lp->cols; j++)
		if (!isfinite(lp->col_cost[j]) || isnan(lp->col_lo[j]) || isnan(lp->col_hi[j]) || lp->col_lo[j] == INFINITY ||
			lp->col_hi[j] == -INFINITY)
			return err_set(err, HCP_ERANGE, "lp", "cost or bound of column %d is not finite", j);
	for (int i = 0; i < lp->rows; i++)
		if (isnan(lp->row_lo[i]) || isnan(lp->row_hi[i]) || lp->row_lo[i] == INFINITY || lp->row_hi[i] == -INFINITY)
			return err_set(err, HCP_ERANGE, "lp", "bound of row %d is not finite", i);
	for (int k = 0; k < lp->entries; k++)
		if (!isfinite(lp->at[k]))
			return err_set(err, HCP_ERANGE, "lp", "entry %d is not finite", k);
	/* Crossed bounds need no solver. */
	for (int j = 0; j < lp->cols; j++)
		if (lp->col_lo[j] > lp->col_hi[j])
			return err_set(err, HCP_ENOTFOUND, "lp", "bounds of column %d cross", j);
	for (int i = 0; i < lp->rows; i++)
		if (lp->row_lo[i] > lp->row_hi[i])
			return err_set(err, HCP_ENOTFOUND, "lp", "bounds of row %d cross", i);
	return 0;
}

struct guard {
	jmp_buf back;
	char said[200]; /* last words of GLPK */
	bool memory;
};

/* GLPK prints an error and calls the hook; without the jump it would abort. */
static int on_print(void *info, const char *s)
{
	struct guard *g = info;
	if (strstr(s, "memory"))
		g->memory = true;
	size_t n = strcspn(s, "\n");
	if (n > 0 && n < sizeof(g->said)) {
		memcpy(g->said, s, n);
		g->said[n] = '\0';
	}
	return 1;
}

static void on_error(void *info)
{
	longjmp(((struct guard *)info)->back, 1);
}

static int kind_of(double lo, double hi)
{
	if (lo == -INFINITY)
		return hi == INFINITY ? GLP_FR : GLP_UP;
	return hi == INFINITY ? GLP_LO : lo == hi ? GLP_FX : GLP_DB;
}

static int stat_of(uint8_t stat, double lo, double hi)
{
	if (stat == LP_BASIC)
		return GLP_BS;
	if (lo == hi)
		return GLP_NS;
	if (lo == -INFINITY && hi == INFINITY)
		return GLP_NF;
	return lo == -INFINITY || (stat == LP_UPPER && hi != INFINITY) ? GLP_NU : GLP_NL;
}

static uint8_t stat_back(int stat)
{
	return stat == GLP_BS ? LP_BASIC : stat == GLP_NU ? LP_UPPER : stat == GLP_NF ? LP_FREE : LP_LOWER;
}

/* 1-based copies of the entries, made and freed outside of what GLPK may jump out of. */
struct triplets {
	int *ia, *ja;
	double *ar;
};

static void load(const struct lp *lp, const struct triplets *t, const struct lp_conf *conf, glp_prob *p)
{
	int basic = 0;
	glp_set_obj_dir(p, GLP_MAX);
	glp_add_rows(p, lp->rows);
	glp_add_cols(p, lp->cols);
	for (int i = 0; i < lp->rows; i++) {
		glp_set_row_bnds(p, i + 1, kind_of(lp->row_lo[i], lp->row_hi[i]), lp->row_lo[i], lp->row_hi[i]);
		basic += lp->row_stat[i] == LP_BASIC;
	}
	for (int j = 0; j < lp->cols; j++) {
		glp_set_col_bnds(p, j + 1, kind_of(lp->col_lo[j], lp->col_hi[j]), lp->col_lo[j], lp->col_hi[j]);
		glp_set_obj_coef(p, j + 1, lp->col_cost[j]);
		basic += lp->col_stat[j] == LP_BASIC;
	}
	glp_load_matrix(p, lp->entries, t->ia, t->ja, t->ar);
	if (!conf->warm || basic != lp->rows)
		return;
	for (int i = 0; i < lp->rows; i++)
		glp_set_row_stat(p, i + 1, stat_of(lp->row_stat[i], lp->row_lo[i], lp->row_hi[i]));
	for (int j = 0; j < lp->cols; j++)
		glp_set_col_stat(p, j + 1, stat_of(lp->col_stat[j], lp->col_lo[j], lp->col_hi[j]));
}

static int simplex(glp_prob *p, const struct lp_conf *conf)
{
	glp_smcp param;
	glp_init_smcp(&param);
	param.msg_lev = GLP_MSG_OFF;
	param.meth = conf->method == LP_DUAL ? GLP_DUALP : GLP_PRIMAL;
	param.r_test = conf->method == LP_DUAL && conf->long_step ? GLP_RT_FLIP : GLP_RT_HAR;
	if (conf->iterations_max > 0)
		param.it_lim = conf->iterations_max;
	if (conf->time_max_ms > 0)
		param.tm_lim = conf->time_max_ms;
	int rc = glp_simplex(p, &param);
	if (rc == GLP_EBADB || rc == GLP_ESING || rc == GLP_ECOND || rc == GLP_EFAIL) {
		/* The basis that we began with, or came to, is numerically none. */
		glp_std_basis(p);
		param.meth = GLP_PRIMAL;
		param.r_test = GLP_RT_HAR;
		rc = glp_simplex(p, &param);
	}
	return rc;
}

static void take(struct lp *lp, glp_prob *p)
{
	lp->objective = glp_get_obj_val(p);
	for (int i = 0; i < lp->rows; i++) {
		lp->row_stat[i] = stat_back(glp_get_row_stat(p, i + 1));
		lp->row_dual[i] = glp_get_row_dual(p, i + 1);
		lp->row_x[i] = glp_get_row_prim(p, i + 1);
	}
	for (int j = 0; j < lp->cols; j++) {
		lp->col_stat[j] = stat_back(glp_get_col_stat(p, j + 1));
		lp->x[j] = glp_get_col_prim(p, j + 1);
		lp->col_dual[j] = glp_get_col_dual(p, j + 1);
	}
}

static int verdict(int rc, int status, struct err *err)
{
	if (rc == GLP_ETMLIM || rc == GLP_EITLIM)
		return err_set(err, HCP_ETIMEOUT, "lp", "not solved within the limit of %s",
			rc == GLP_ETMLIM ? "time" : "iterations");
	if (rc != 0)
		return err_set(err, HCP_EINTERNAL, "lp", "GLPK's simplex gave up with %d", rc);
	if (status == GLP_NOFEAS || status == GLP_INFEAS)
		return err_set(err, HCP_ENOTFOUND, "lp", "nothing satisfies all bounds");
	if (status == GLP_UNBND)
		return err_set(err, HCP_ERANGE, "lp", "the objective has no bound");
	return status == GLP_OPT ? 0 : err_set(err, HCP_EINTERNAL, "lp", "GLPK ended in status %d", status);
}

static bool outside(double v, double lo, double hi)
{
	return !(v >= lo - TOLERANCE * (1 + fabs(lo))) || !(v <= hi + TOLERANCE * (1 + fabs(hi)));
}

/* GLPK's word is not taken for it: its x must be finite and keep every bound, its rows must be what x makes of them. */
static int verify(struct lp *lp, struct err *err)
{
	for (int i = 0; i < lp->rows; i++)
		lp->row_x[i] = 0;
	for (int k = 0; k < lp->entries; k++)
		lp->row_x[lp->at_row[k]] += lp->at[k] * lp->x[lp->at_col[k]];
	for (int j = 0; j < lp->cols; j++)
		if (!isfinite(lp->x[j]) || !isfinite(lp->col_dual[j]) || outside(lp->x[j], lp->col_lo[j], lp->col_hi[j]))
			return err_set(err, HCP_EINTERNAL, "lp", "GLPK's answer breaks the bounds of column %d", j);
	for (int i = 0; i < lp->rows; i++)
		if (!isfinite(lp->row_dual[i]) || outside(lp->row_x[i], lp->row_lo[i], lp->row_hi[i]))
			return err_set(err, HCP_EINTERNAL, "lp", "GLPK's answer breaks the bounds of row %d", i);
	return 0;
}

/* Everything that may jump out. */
static int guarded(struct lp *lp, const struct triplets *t, const struct lp_conf *conf, struct guard *g,
	struct err *err)
{
	glp_term_hook(on_print, g);
	glp_error_hook(on_error, g);
	glp_term_out(GLP_OFF);
	if (conf->memory_max_mib > 0)
		glp_mem_limit(conf->memory_max_mib);
	glp_prob *p = glp_create_prob();
	load(lp, t, conf, p);
	int rc = simplex(p, conf);
	lp->iterations = glp_get_it_cnt(p);
	rc = verdict(rc, glp_get_status(p), err);
	if (rc == 0)
		take(lp, p);
	return rc;
}

static int in_environment(struct lp *lp, const struct triplets *t, const struct lp_conf *conf, struct err *err)
{
	struct guard g;
	g.said[0] = '\0';
	g.memory = false;
	if (strcmp(glp_config("TLS") ? glp_config("TLS") : "", "") == 0)
		return err_set(err, HCP_EUNSUPPORTED, "lp", "this GLPK keeps one environment for all threads");
	int made = glp_init_env();
	if (made == 1)
		return err_set(err, HCP_ESTATE, "lp", "this thread holds other GLPK objects");
	if (made != 0)
		return err_set(err, HCP_ENOMEM, "lp", "no memory for GLPK");
	int rc;
	if (setjmp(g.back) == 0)
		rc = guarded(lp, t, conf, &g, err);
	else
		rc = err_set(err, g.memory ? HCP_ENOMEM : HCP_EINTERNAL, "lp", "GLPK gave up: %s", g.said);
	glp_free_env();
	return rc;
}

int lp_solve(struct lp *lp, const struct lp_conf *conf, struct err *err)
{
	int rc = check(lp, err);
	if (rc < 0)
		return rc;
	size_t n = (size_t)lp->entries + 1;
	struct triplets t = { mem_alloc(n * sizeof(int)), mem_alloc(n * sizeof(int)), mem_alloc(n * sizeof(double)) };
	if (!t.ia || !t.ja || !t.ar) {
		rc = err_set(err, HCP_ENOMEM, "lp", "no memory");
		goto out;
	}
	for (int k = 0; k < lp->entries; k++) {
		t.ia[k + 1] = lp->at_row[k] + 1;
		t.ja[k + 1] = lp->at_col[k] + 1;
		t.ar[k + 1] = lp->at[k];
	}
	rc = in_environment(lp, &t, conf, err);
	if (rc == 0)
		rc = verify(lp, err);
out:
	mem_free(t.ia);
	mem_free(t.ja);
	mem_free(t.ar);
	return rc;
}
