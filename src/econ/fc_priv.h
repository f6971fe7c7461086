#ifndef HCP_ECON_FC_PRIV_H
#define HCP_ECON_FC_PRIV_H

#include <math.h>
#include <stdbool.h>

#include "base/rng.h"
#include "econ/forecast.h"
#include "learn/gru.h"

/*
 * What the models share. All of them work on z = asinh(x / scale): prices are heavy-tailed and sometimes negative,
 * and this is linear near nothing and a logarithm far out.
 *
 * A frame is a window of a history on the target's grid. Slots before `known` have values; later ones only what is
 * published ahead. A forecast is made from an origin: it may read z[i] of i < origin, and da[i] of da_from[i] <=
 * origin. `known` is itself such an origin; earlier ones serve training and scoring. h = 1 is the slot at the origin.
 *
 *	z    | … | origin-2 | origin-1 |          |          |
 *	h                               1          2          …
 *	da   | … |          |          | known    | known    | NAN
 */
enum {
	FC_KNOTS = 18, /* horizons that a model is fitted at; between them it is interpolated in log h */
	FC_BLOCKS = 6, /* of the local day, for spreads */
	FC_LOOKBACK_DAYS = 14,
	FC_LINEAR_N = 26, /* regressors */
	FC_TREE_N = 32,   /* features of the trees */
	FC_SEQ_LEN = 48,  /* steps that the recurrent net reads */
	FC_SEQ_N = 6,     /* its inputs a step */
	FC_GRU_H = 24,
	FC_GRU_KNOTS = 13, /* it speaks about the first knots, up to 96 steps */
	FC_GRU_OUT = FC_GRU_KNOTS * FORECAST_LEVELS,
	FC_TREES_MAX = 500 * FORECAST_LEVELS,
	FC_DEPTH_MAX = 6,
	FC_NODES_MAX = 1 << 20,
};

extern const uint16_t fc_knot[FC_KNOTS];

struct fc_frame {
	enum history_kind kind;
	double scale;
	int64_t t0_ns, step_ns;
	size_t spd;       /* steps a day */
	size_t known, n;
	size_t cap;
	double *z;        /* [known]; a gap repeats the value before it */
	double *sum;      /* [known + 1] sums of z */
	double *move;     /* [known + 1] sums of |z[i] - z[i-1]| */
	double *da;       /* [n]; NAN where there is none */
	uint32_t *da_from;
	double *load;     /* [n] load forecast in GW, known when da is; NAN */
	double *wind, *solar, *gen; /* [known] GW, newest known; NAN */
	uint8_t *gap;     /* [known] */
	uint16_t *tod;    /* [n] step of the local day */
	uint8_t *dow;     /* [n] local day of the week, 0 Monday */
	float *year;      /* [n] part of the year gone, 0 .. 1 */
};

/* At most `back_ns` before now and n_ahead slots after it. HCP_EAGAIN: fewer than min_known slots. */
int fc_frame_build(struct fc_frame *f, const struct history *h, const struct forecast_conf *conf, int64_t now_ns,
	int64_t back_ns, size_t min_known, size_t n_ahead, struct err *err) MUST_CHECK;
void fc_frame_release(struct fc_frame *f);

static inline double fc_z(const struct fc_frame *f, double x)
{
	return asinh(x / f->scale);
}

static inline double fc_x(const struct fc_frame *f, double z)
{
	return f->scale * sinh(z);
}

/* z of i slots before the origin's newest; the oldest one where the frame ends. */
static inline double fc_lag(const struct fc_frame *f, size_t origin, size_t i)
{
	return f->z[origin > i ? origin - 1 - i : 0];
}

/* Mean of z over the slots [origin - b, origin - a). */
double fc_mean_lag(const struct fc_frame *f, size_t origin, size_t a, size_t b);
/* The newest slot before the origin that is a whole number of `period`s before slot s. */
size_t fc_same(const struct fc_frame *f, size_t origin, size_t s, size_t period);
/* Mean of the last seven days at the time of day of slot s. */
double fc_similar(const struct fc_frame *f, size_t origin, size_t s);

static inline double fc_da(const struct fc_frame *f, size_t origin, size_t s)
{
	return f->da_from[s] <= origin ? f->da[s] : NAN;
}

static inline size_t fc_block(const struct fc_frame *f, size_t s)
{
	return (size_t)f->tod[s] * FC_BLOCKS / f->spd;
}

/* h lies between knots *ret and *ret + 1; the weight of the latter. */
double fc_knot_at(size_t h, size_t *ret);

/* ---- spread around a point forecast ---- */

/*
 * Quantiles of z - point by knot and block of the day, and how far the values beyond the 0.99 quantile go: their mean
 * distance over (q99 - median) in units of the target, from a generalised Pareto fit to it (Hosking, Wallis 1987).
 */
struct fc_spread {
	double q[FC_KNOTS][FC_BLOCKS][FORECAST_LEVELS];
	double all[FC_KNOTS][FORECAST_LEVELS]; /* over the whole day */
	double sigma[FC_KNOTS];                /* robust scale */
	double tail[FC_KNOTS];
	double z_min, z_max;                   /* seen in training; forecasts stay within a little more */
};

struct fc_row {
	double value, weight;
	uint8_t block;
	double point;
};

/* rows are sorted in place. */
int fc_spread_fit(struct fc_spread *s, const struct fc_frame *f, size_t knot, struct fc_row *rows, size_t n) MUST_CHECK;
void fc_spread_quantiles(const struct fc_spread *s, size_t h, size_t block, double ret[FORECAST_LEVELS]);
/* Sorts q (in z), turns it into units and adds the mean. */
void fc_point(const struct fc_spread *s, const struct fc_frame *f, size_t h, const double q[FORECAST_LEVELS],
	struct forecast_point *ret);
void fc_spread_range(struct fc_spread *s, const struct fc_frame *f, size_t upto);
void fc_sort_rows(struct fc_row *rows, size_t n); /* by value */
/* Weighted quantiles of sorted rows. */
void fc_quantiles(const struct fc_row *rows, size_t n, double ret[FORECAST_LEVELS]);
/* Mean of a generalised Pareto fit to n excesses by probability-weighted moments; sorts them. Shape within [0, 0.7]. */
double fc_tail_mean(double *excess, size_t n);

/* Training rows of a knot: every so many slots, coprime to the day, the recent ones weigh more. */
struct fc_sample {
	size_t first, last, stride;
};
struct fc_sample fc_sample_of(const struct fc_frame *f, size_t upto, size_t h, size_t rows);
double fc_recency(const struct fc_frame *f, size_t upto, size_t s);

/* ---- the regression, which the trees and the net stand on ---- */

struct fc_linear {
	double coef[FC_KNOTS][FC_LINEAR_N];
	struct fc_spread spread;
};

void fc_linear_features(const struct fc_frame *f, size_t origin, size_t h, double ret[FC_LINEAR_N]);
int fc_linear_fit(struct fc_linear *l, const struct fc_frame *f, size_t upto, size_t rows, struct err *err)
	MUST_CHECK;
double fc_linear_dot(const struct fc_linear *l, size_t h, const double x[FC_LINEAR_N]);

/* ---- trees ---- */

struct fc_reader {
	struct str rest;
	bool bad;
};

/* Left when value < threshold; a missing value goes where missing_left says. Leaf: left 0, threshold is its value. */
struct fc_node {
	float threshold;
	uint32_t left; /* index from the tree's root; right is left + 1 */
	uint16_t feature;
	uint16_t missing_left;
};

/* Trees one after the other; tree t of output t % n_outputs begins at root[t]. */
struct fc_forest {
	uint32_t *root;
	struct fc_node *node;
	size_t n_trees, n_nodes, n_features, n_outputs;
};

struct fc_matrix {
	float *x;    /* rows of n_features */
	float *base; /* rows of n_outputs: where boosting starts; NULL: at 0 */
	float *y, *weight;
	size_t n;
};

struct fc_growth {
	size_t n_features, n_outputs;
	int depth; /* 1 .. FC_DEPTH_MAX */
	double step, lambda, min_child, row_share, feature_share;
	uint32_t rounds, threads;
	uint64_t seed;
	const int8_t *direction; /* of each feature: -1, 1: the trees may only fall, rise with it; 0; NULL: all free */
	/* Of rows m->n times n_outputs, at what the trees say now. */
	void (*gradient)(const struct fc_matrix *m, const float *now, float *grad, float *hess);
	const struct forecast_stop *stop; /* borrowed; NULL: never */
};

int fc_forest_train(
	struct fc_forest *ret, const struct fc_matrix *m, const struct fc_growth *g, struct err *err) MUST_CHECK;
void fc_forest_release(struct fc_forest *f);
/* Adds what the trees say to ret (rows of n_outputs). */
void fc_forest_add(const struct fc_forest *f, const float *x, size_t n, double *ret);
/* Appends n_trees and n_nodes (u64), roots, nodes. */
void fc_forest_put(const struct fc_forest *f, struct buf *out);
/*
 * Takes a forest of n_features and n_outputs from r; every tree is checked to be one, so that a prediction ends and
 * stays within. *ret is to be released in any case.
 */
int fc_forest_get(
	struct fc_forest *ret, struct fc_reader *r, size_t n_features, size_t n_outputs, struct err *err) MUST_CHECK;

/* ---- recurrent net ---- */

/*
 * A recurrent layer (src/learn/gru) over FC_SEQ_LEN steps, then an affine layer: corrections to the spread at
 * the first FC_GRU_KNOTS knots. Loss: pinball in units of the regression's spread.
 */
enum {
	FC_GRU_WX = 0,                                       /* [3H][SEQ_N]: reset, update, candidate */
	FC_GRU_WH = FC_GRU_WX + 3 * FC_GRU_H * FC_SEQ_N,     /* [3H][H] */
	FC_GRU_B = FC_GRU_WH + 3 * FC_GRU_H * FC_GRU_H,      /* [3H] */
	FC_GRU_BN = FC_GRU_B + 3 * FC_GRU_H,                 /* [H]: inside the reset of the candidate */
	FC_GRU_WO = FC_GRU_BN + FC_GRU_H,                    /* [OUT][H] */
	FC_GRU_BO = FC_GRU_WO + FC_GRU_OUT * FC_GRU_H,       /* [OUT] */
	FC_GRU_PARAMS = FC_GRU_BO + FC_GRU_OUT,
	FC_GRU_BATCH = 64,
};

/* NULL: no memory. gru_free() it. */
struct gru *fc_gru_new(void);
void fc_gru_start(double *param, uint64_t seed);
/* x: [SEQ_LEN][batch][SEQ_N]; out: [batch][OUT]. batch <= FC_GRU_BATCH */
void fc_gru_forward(struct gru *g, const double *param, const double *x, size_t batch, double *out);
/* After forward: adds to grad what d_out [batch][OUT] makes of the parameters. */
void fc_gru_backward(
	struct gru *g, const double *param, const double *x, size_t batch, const double *d_out, double *grad);

/* ---- bytes ---- */

void fc_put(struct buf *out, const void *p, size_t n);
/* False (and bad from then on) when fewer bytes are left. */
bool fc_get(struct fc_reader *r, void *p, size_t n);
/* Doubles that are finite. */
bool fc_get_finite(struct fc_reader *r, double *p, size_t n);
bool fc_get_spread(struct fc_reader *r, struct fc_spread *s);
bool fc_get_linear(struct fc_reader *r, struct fc_linear *l);

/* ---- models ---- */

struct forecaster_vt {
	const char *name, *about;
	int (*init)(struct forecaster *f, struct err *err);
	void (*release)(struct forecaster *f);
	/* From the slots before upto. On failure the model is as it was. */
	int (*train)(struct forecaster *f, const struct fc_frame *frame, size_t upto, struct err *err);
	/* May be NULL: called at each forecast_learn after a possible training. */
	int (*keep)(struct forecaster *f, const struct history *h, int64_t now_ns, struct err *err);
	/* Points of n horizons (rising, 1 .. FORECAST_STEPS_MAX). */
	int (*predict)(const struct forecaster *f, const struct fc_frame *frame, size_t origin, const uint16_t *h, size_t n,
		struct forecast_point *ret, struct err *err);
	struct forecaster *(*member)(struct forecaster *f, size_t i); /* may be NULL */
	int (*save)(const struct forecaster *f, struct buf *out, struct err *err);
	int (*load)(struct forecaster *f, struct fc_reader *r, struct err *err);
};

extern const struct forecaster_vt fc_persistence, fc_similar_day, fc_regression, fc_trees, fc_recurrent, fc_combination;

#endif
