#ifndef HCP_ECON_LP_H
#define HCP_ECON_LP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/*
 * A linear program in our own memory, and its solution by GLPK's simplex (glpk.h is included by lp.c alone):
 *
 *	maximise  sum cost[j]*x[j]   subject to   row_lo <= A x <= row_hi,   col_lo <= x <= col_hi
 *
 * GLPK ends the process on an error of its own, or when memory is short. Here it cannot: its error hook jumps back, its
 * terminal is caught, and its whole environment is made before and freed after each solution. What is kept between
 * solutions is the basis, in our arrays; to hand GLPK the matrix anew costs a small part of one factorisation.
 *
 * GLPK keeps its environment by thread (Debian's is compiled so; lp_solve refuses one that is not), so several threads
 * may each solve a program of their own. A thread that uses this must hold no other GLPK objects over the call.
 */
enum { LP_ROWS_MAX = 200000, LP_COLS_MAX = 200000, LP_ENTRIES_MAX = 4000000 };

/* Status of a row or column in a basis. */
enum lp_status { LP_FREE = 0, LP_BASIC = 1, LP_LOWER = 2, LP_UPPER = 3 };

struct lp {
	int rows, cols, entries;
	bool failed; /* an allocation failed or a limit was reached while building; lp_solve says so */
	int rows_cap, cols_cap, entries_cap;
	double *row_lo, *row_hi;            /* owned, as all; -INFINITY, INFINITY: no bound */
	double *col_lo, *col_hi, *col_cost;
	int *at_row, *at_col;               /* entries; 0-based */
	double *at;
	uint8_t *row_stat, *col_stat;       /* enum lp_status; in: where to begin (with `warm`), out: the last basis */
	double *x, *row_dual, *col_dual;    /* out; dual: what one more of the bound that holds it adds to the objective */
	double *row_x;
	double objective;
	int iterations;
};

void lp_init(struct lp *lp);
void lp_release(struct lp *lp);
/* Keeps the memory. */
void lp_clear(struct lp *lp);
/* Index of the new column or row; after a failure 0, and `failed` is set. */
int lp_col(struct lp *lp, double lo, double hi, double cost);
int lp_row(struct lp *lp, double lo, double hi);
void lp_put(struct lp *lp, int row, int col, double v);

enum lp_method { LP_PRIMAL = 0, LP_DUAL = 1 }; /* LP_DUAL goes on with the primal where the dual cannot */

struct lp_conf {
	enum lp_method method;
	bool warm;          /* begin with row_stat and col_stat; one that is no basis is replaced by the slack basis */
	bool long_step;     /* bound flipping ratio test of the dual method */
	int iterations_max; /* 0: none; the same on every machine */
	int time_max_ms;    /* 0: none; for services, since results then depend on the machine */
	int memory_max_mib; /* of GLPK; 0: none */
};

/*
 * HCP_ENOTFOUND: no x satisfies all bounds; HCP_ERANGE: unbounded, or a coefficient is not finite; HCP_ETIMEOUT: a
 * limit of time or iterations; HCP_ENOMEM; HCP_ELIMIT: too large; HCP_EINTERNAL: GLPK gave up, its words in the text,
 * or its answer breaks a bound by more than 1e-6. After a failure the basis is what it was.
 */
int lp_solve(struct lp *lp, const struct lp_conf *conf, struct err *err) MUST_CHECK;

#endif
