#include "econ/fc_priv.h"

#include <string.h>

#include "base/mem.h"
#include "learn/adam.h"

/*
 * The recurrent net reads the last FC_SEQ_LEN steps and corrects the quantiles of the regression's remainder at the
 * knots up to 96 steps; beyond them its last correction fades out over a day. Adam (Kingma, Ba 2015), pinball loss.
 */
enum { ROWS_MAX = 12000, OUT = FC_GRU_OUT, SEQ = FC_SEQ_LEN * FC_SEQ_N };
#define RATE 0.003
#define GRADIENT_MAX 1.0

struct recurrent {
	struct fc_linear linear;
	double param[FC_GRU_PARAMS];
	struct gru *work; /* owned */
};

static int recurrent_init(struct forecaster *f, struct err *err)
{
	struct recurrent *m = mem_calloc(1, sizeof(*m));
	struct gru *work = fc_gru_new();
	if (!m || !work) {
		mem_free(m);
		gru_free(work);
		return err_set(err, HCP_ENOMEM, "", "no memory for a recurrent net");
	}
	m->work = work;
	f->priv = m;
	return 0;
}

static void recurrent_release(struct forecaster *f)
{
	struct recurrent *m = f->priv;
	if (m)
		gru_free(m->work);
	mem_free(m);
}

/* The steps before an origin, as [SEQ_LEN][batch][SEQ_N] with this sequence at `at`. */
static void sequence(
	const struct fc_frame *f, const struct fc_linear *l, size_t origin, size_t batch, size_t at, double *x)
{
	double mean = fc_mean_lag(f, origin, 0, 7 * f->spd), unit = l->spread.sigma[FC_GRU_KNOTS - 1] * 2;
	for (size_t t = 0; t < FC_SEQ_LEN; t++) {
		size_t back = FC_SEQ_LEN - 1 - t, i = origin > back ? origin - 1 - back : 0;
		double da = fc_da(f, origin, i), *row = x + (t * batch + at) * FC_SEQ_N;
		double day = 6.283185307179586 * f->tod[i] / (double)f->spd;
		row[0] = (f->z[i] - mean) / unit;
		row[1] = i ? (f->z[i] - f->z[i - 1]) / unit : 0;
		row[2] = (f->z[i] - (i >= f->spd ? f->z[i - f->spd] : f->z[i])) / unit;
		row[3] = isnan(da) ? 0 : (f->z[i] - da) / unit;
		row[4] = cos(day);
		row[5] = sin(day);
		/* One spike must not drive all gates to their ends. */
		for (int k = 0; k < 4; k++)
			row[k] = row[k] / (1 + fabs(row[k]) / 4);
	}
}

/* What the regression's spread says at each knot, in units of its sigma, and where the truth lay. */
static bool target(const struct fc_frame *f, const struct fc_linear *l, size_t origin, double *start, double *y)
{
	for (size_t k = 0; k < FC_GRU_KNOTS; k++) {
		size_t h = fc_knot[k], s = origin + h - 1;
		double x[FC_LINEAR_N], *q = start + k * FORECAST_LEVELS;
		if (f->gap[s])
			return false;
		fc_linear_features(f, origin, h, x);
		y[k] = (f->z[s] - fc_linear_dot(l, h, x)) / l->spread.sigma[k];
		memcpy(q, l->spread.q[k][fc_block(f, s)], FORECAST_LEVELS * sizeof(*q));
		for (int i = 0; i < FORECAST_LEVELS; i++)
			q[i] /= l->spread.sigma[k];
	}
	return true;
}

struct trainer {
	const struct fc_frame *f;
	const struct fc_linear *l;
	size_t *origin, n;          /* owned; rows, in the order of this pass */
	double *weight;             /* of origins, by row */
	double param[FC_GRU_PARAMS], grad[FC_GRU_PARAMS], m1[FC_GRU_PARAMS], m2[FC_GRU_PARAMS];
	double x[SEQ * FC_GRU_BATCH], out[FC_GRU_BATCH * OUT], start[FC_GRU_BATCH * OUT];
	double y[FC_GRU_BATCH][FC_GRU_KNOTS];
	uint64_t steps;
};

/* out becomes the gradient of the batch's mean loss. */
static void loss_gradient(struct trainer *t, const double *weight, size_t batch)
{
	for (size_t i = 0; i < batch; i++) {
		for (size_t k = 0; k < OUT; k++) {
			double q = t->start[i * OUT + k] + t->out[i * OUT + k], level = forecast_level[k % FORECAST_LEVELS];
			double slope = (t->y[i][k / FORECAST_LEVELS] < q) - level;
			t->out[i * OUT + k] = weight[i] * slope / (double)(batch * FC_GRU_KNOTS);
		}
	}
}

static void train_batch(struct trainer *t, struct gru *work, size_t first, size_t upto)
{
	double weight[FC_GRU_BATCH];
	size_t batch = 0, rows[FC_GRU_BATCH];
	for (size_t i = first; i < t->n && i < first + FC_GRU_BATCH; i++)
		if (target(t->f, t->l, t->origin[i], t->start + batch * OUT, t->y[batch]))
			rows[batch++] = t->origin[i];
	if (batch == 0)
		return;
	for (size_t i = 0; i < batch; i++) {
		sequence(t->f, t->l, rows[i], batch, i, t->x);
		weight[i] = fc_recency(t->f, upto, rows[i]);
	}
	fc_gru_forward(work, t->param, t->x, batch, t->out);
	loss_gradient(t, weight, batch);
	memset(t->grad, 0, sizeof(t->grad));
	fc_gru_backward(work, t->param, t->x, batch, t->out, t->grad);
	adam_step(t->param, t->grad, t->m1, t->m2, FC_GRU_PARAMS, ++t->steps, RATE, GRADIENT_MAX);
}

static void train_net(struct trainer *t, struct gru *work, size_t upto, const struct forecast_conf *conf)
{
	struct rng rng;
	rng_init(&rng, conf->seed ^ 0x9e3779b97f4a7c15u);
	fc_gru_start(t->param, conf->seed);
	for (uint32_t epoch = 0; epoch < conf->epochs; epoch++) {
		for (size_t i = t->n; i > 1; i--) {
			size_t k = (size_t)rng_below(&rng, i), o = t->origin[i - 1];
			t->origin[i - 1] = t->origin[k];
			t->origin[k] = o;
		}
		for (size_t i = 0; i < t->n; i += FC_GRU_BATCH)
			train_batch(t, work, i, upto);
	}
}

static int recurrent_train(struct forecaster *f, const struct fc_frame *frame, size_t upto, struct err *err)
{
	struct recurrent *m = f->priv;
	struct fc_linear *linear = mem_calloc(1, sizeof(*linear));
	struct trainer *t = mem_calloc(1, sizeof(*t));
	size_t *origin = mem_alloc((ROWS_MAX + 1) * sizeof(*origin)), rows = f->conf.rows / 3;
	int rc = linear && t && origin ? 0 : err_set(err, HCP_ENOMEM, "", "no memory to train a recurrent net");
	if (rc == 0)
		rc = fc_linear_fit(linear, frame, upto, f->conf.rows, err);
	if (rc == 0) {
		size_t far = fc_knot[FC_GRU_KNOTS - 1];
		struct fc_sample s = fc_sample_of(frame, upto, far, rows < ROWS_MAX ? rows : ROWS_MAX);
		t->f = frame;
		t->l = linear;
		t->origin = origin;
		for (size_t i = s.first; i < s.last && t->n < ROWS_MAX; i += s.stride)
			origin[t->n++] = i - far + 1;
		train_net(t, m->work, upto, &f->conf);
		m->linear = *linear;
		memcpy(m->param, t->param, sizeof(m->param));
	}
	mem_free(origin);
	mem_free(t);
	mem_free(linear);
	return rc;
}

/* The correction in units of sigma at horizon h. */
static void correction(const double *out, size_t spd, size_t h, double ret[FORECAST_LEVELS])
{
	const size_t last = FC_GRU_KNOTS - 1;
	size_t k;
	double w = fc_knot_at(h, &k), fade = 1;
	if (k >= last) {
		k = last;
		w = 0;
		fade = h >= fc_knot[last] + spd ? 0 : 1 - (double)(h - fc_knot[last]) / (double)spd;
	}
	for (size_t l = 0; l < FORECAST_LEVELS; l++) {
		double a = out[k * FORECAST_LEVELS + l], b = k < last ? out[(k + 1) * FORECAST_LEVELS + l] : a;
		ret[l] = fade * (a * (1 - w) + b * w);
	}
}

static int recurrent_predict(const struct forecaster *f, const struct fc_frame *frame, size_t origin, const uint16_t *h,
	size_t n, struct forecast_point *ret, struct err *err)
{
	const struct recurrent *m = f->priv;
	const struct fc_linear *l = &m->linear;
	double x[SEQ], out[OUT];
	(void)err;
	sequence(frame, l, origin, 1, 0, x);
	fc_gru_forward(m->work, m->param, x, 1, out);
	for (size_t i = 0; i < n; i++) {
		double v[FC_LINEAR_N], q[FORECAST_LEVELS], by[FORECAST_LEVELS];
		size_t k;
		double w = fc_knot_at(h[i], &k), sigma = l->spread.sigma[k] * (1 - w) + l->spread.sigma[k + 1] * w;
		fc_linear_features(frame, origin, h[i], v);
		double base = fc_linear_dot(l, h[i], v);
		fc_spread_quantiles(&l->spread, h[i], fc_block(frame, origin + h[i] - 1), q);
		correction(out, frame->spd, h[i], by);
		for (int j = 0; j < FORECAST_LEVELS; j++)
			q[j] += base + sigma * by[j];
		fc_point(&l->spread, frame, h[i], q, &ret[i]);
	}
	return 0;
}

static int recurrent_save(const struct forecaster *f, struct buf *out, struct err *err)
{
	const struct recurrent *m = f->priv;
	(void)err;
	fc_put(out, &m->linear, sizeof(m->linear));
	fc_put(out, m->param, sizeof(m->param));
	return 0;
}

static int recurrent_load(struct forecaster *f, struct fc_reader *r, struct err *err)
{
	struct recurrent *m = f->priv;
	(void)err;
	return fc_get_linear(r, &m->linear) && fc_get_finite(r, m->param, FC_GRU_PARAMS) ? 0 : HCP_ECORRUPT;
}

const struct forecaster_vt fc_recurrent = {
	.name = "recurrent",
	.about = "gated recurrent net over the last 48 steps, correcting the regression up to 96 steps ahead",
	.init = recurrent_init,
	.release = recurrent_release,
	.train = recurrent_train,
	.predict = recurrent_predict,
	.save = recurrent_save,
	.load = recurrent_load,
};
