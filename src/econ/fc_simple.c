#include "econ/fc_priv.h"

#include "base/mem.h"

/*
 * Two yardsticks with a spread fitted to how wrong they were: the last value goes on (persistence), and the mean of the
 * last seven days at the same time of day (similar day).
 */
struct simple {
	struct fc_spread spread;
};

static int simple_init(struct forecaster *f, struct err *err)
{
	f->priv = mem_calloc(1, sizeof(struct simple));
	return f->priv ? 0 : err_set(err, HCP_ENOMEM, "", "no memory for a forecaster");
}

static void simple_release(struct forecaster *f)
{
	mem_free(f->priv);
}

static double point(const struct forecaster *f, const struct fc_frame *frame, size_t origin, size_t h)
{
	return f->vt == &fc_persistence ? fc_lag(frame, origin, 0) : fc_similar(frame, origin, origin + h - 1);
}

static int simple_train(struct forecaster *f, const struct fc_frame *frame, size_t upto, struct err *err)
{
	struct simple *m = f->priv, *next = mem_calloc(1, sizeof(*next));
	struct fc_row *rows = mem_alloc((f->conf.rows + 1) * sizeof(*rows));
	int rc = next && rows ? 0 : HCP_ENOMEM;
	if (rc == 0)
		fc_spread_range(&next->spread, frame, upto);
	for (size_t k = 0; rc == 0 && k < FC_KNOTS; k++) {
		struct fc_sample sample = fc_sample_of(frame, upto, fc_knot[k], f->conf.rows);
		size_t n = 0;
		for (size_t s = sample.first; s < sample.last && n < f->conf.rows; s += sample.stride) {
			if (frame->gap[s])
				continue;
			double p = point(f, frame, s - fc_knot[k] + 1, fc_knot[k]);
			rows[n++] = (struct fc_row){ .value = frame->z[s] - p, .point = p,
				.weight = fc_recency(frame, upto, s), .block = (uint8_t)fc_block(frame, s) };
		}
		rc = fc_spread_fit(&next->spread, frame, k, rows, n);
	}
	if (rc == 0)
		*m = *next;
	mem_free(rows);
	mem_free(next);
	return rc < 0 ? err_set(err, rc, "", "no memory to train %s", f->vt->name) : 0;
}

static int simple_predict(const struct forecaster *f, const struct fc_frame *frame, size_t origin, const uint16_t *h,
	size_t n, struct forecast_point *ret, struct err *err)
{
	const struct simple *m = f->priv;
	(void)err;
	for (size_t i = 0; i < n; i++) {
		double q[FORECAST_LEVELS], p = point(f, frame, origin, h[i]);
		fc_spread_quantiles(&m->spread, h[i], fc_block(frame, origin + h[i] - 1), q);
		for (int l = 0; l < FORECAST_LEVELS; l++)
			q[l] += p;
		fc_point(&m->spread, frame, h[i], q, &ret[i]);
	}
	return 0;
}

static int simple_save(const struct forecaster *f, struct buf *out, struct err *err)
{
	(void)err;
	fc_put(out, f->priv, sizeof(struct simple));
	return 0;
}

static int simple_load(struct forecaster *f, struct fc_reader *r, struct err *err)
{
	(void)err;
	return fc_get_spread(r, &((struct simple *)f->priv)->spread) ? 0 : HCP_ECORRUPT;
}

#define SIMPLE \
	.init = simple_init, .release = simple_release, .train = simple_train, .predict = simple_predict, \
	.save = simple_save, .load = simple_load

const struct forecaster_vt fc_persistence = {
	.name = "persistence", .about = "the last value goes on", SIMPLE,
};
const struct forecaster_vt fc_similar_day = {
	.name = "similar_day", .about = "mean of the last seven days at the same time of day", SIMPLE,
};
