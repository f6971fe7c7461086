#include "econ/fc_priv.h"

#include <string.h>

#include "base/mem.h"

/*
 * All other models, weighted by what their recent forecasts were worth. Every two hours each says what it expects at a
 * few horizons; when the value is known, its pinball loss goes into a mean of that horizon that forgets by half in two
 * weeks. Other horizons are weighted as the nearest of those. A model whose mean is not below persistence's gets
 * nothing; the others share by exp(-SHARPNESS * loss / loss of persistence). If none is better, persistence speaks
 * alone.
 *
 * Quantiles are averaged level by level (Vincent), which keeps their order.
 *
 * The first training holds the last four weeks back: the models are trained without them, judged on them, and then
 * trained with them, so that the first weights already come from forecasts of what the models had not seen.
 */
enum {
	MEMBERS = 5,
	PROBES = 6,
	PENDING_MAX = 200,   /* more than far probes need; the oldest goes */
	PROBES_A_DAY = 12,
	HOLDOUT_DAYS = 28,
	JUDGED_MIN = 24,     /* judgements before weights are taken from them */
};
#define SHARPNESS 30.0
#define HALF_LIFE_DAYS 14.0

static const uint16_t probe_h[PROBES] = { 1, 4, 24, 96, 288, 672 };

struct pending {
	int64_t origin_ns;
	double q[MEMBERS][PROBES][FORECAST_LEVELS];
	uint8_t done[PROBES];
};

/* Saved as it is. */
struct books {
	double loss[PROBES][MEMBERS], count[PROBES];
	int64_t probed_ns;
	uint64_t n; /* pending, oldest first */
};

struct combination {
	struct forecaster member[MEMBERS];
	struct books books;
	struct pending pending[PENDING_MAX];
};

static const struct forecaster_vt *const member_vt[MEMBERS] = {
	&fc_persistence, &fc_similar_day, &fc_regression, &fc_trees, &fc_recurrent,
};

/* The nearest in proportion. */
static size_t probe_of(size_t h)
{
	size_t k = 0;
	while (k + 1 < PROBES && h * h > (size_t)probe_h[k] * probe_h[k + 1])
		k++;
	return k;
}

static void combination_release(struct forecaster *f)
{
	struct combination *c = f->priv;
	for (int i = 0; c && i < MEMBERS; i++)
		forecaster_release(&c->member[i]);
	mem_free(c);
}

static int combination_init(struct forecaster *f, struct err *err)
{
	struct combination *c = f->priv = mem_calloc(1, sizeof(*c));
	int rc = c ? 0 : err_set(err, HCP_ENOMEM, "", "no memory for a forecaster");
	for (int i = 0; rc == 0 && i < MEMBERS; i++)
		rc = forecaster_init(&c->member[i], member_vt[i], &f->conf, err);
	if (rc < 0)
		combination_release(f);
	return rc;
}

/* ---- books ---- */

static int64_t probe_step_ns(const struct forecast_conf *conf)
{
	int64_t every_ns = INT64_C(86400000000000) / PROBES_A_DAY;
	return every_ns > conf->step_ns ? every_ns : conf->step_ns;
}

static void judge(struct books *b, const struct pending *p, size_t probe, double actual, double keep)
{
	b->count[probe] = b->count[probe] * keep + 1;
	for (int m = 0; m < MEMBERS; m++) {
		struct forecast_point point = { 0 };
		memcpy(point.q, p->q[m][probe], sizeof(point.q));
		b->loss[probe][m] = b->loss[probe][m] * keep + forecast_pinball(&point, actual);
	}
}

/* What has become known by origin. */
static void settle(struct combination *c, const struct forecast_conf *conf, const struct fc_frame *f, size_t origin)
{
	double keep = exp2(-1 / (HALF_LIFE_DAYS * PROBES_A_DAY));
	size_t kept = 0;
	for (size_t i = 0; i < c->books.n; i++) {
		struct pending *p = &c->pending[i];
		bool open = false;
		for (size_t k = 0; k < PROBES; k++) {
			int64_t at = (p->origin_ns - f->t0_ns) / conf->step_ns + probe_h[k] - 1;
			if (p->done[k])
				continue;
			p->done[k] = at < (int64_t)origin;
			if (!p->done[k])
				open = true;
			else if (at >= 0 && !f->gap[at])
				judge(&c->books, p, k, fc_x(f, f->z[at]), keep);
		}
		if (open && kept != i)
			c->pending[kept] = *p;
		kept += open;
	}
	c->books.n = kept;
}

static int probe(struct combination *c, const struct fc_frame *f, size_t origin, struct err *err)
{
	if (c->books.n == PENDING_MAX) {
		memmove(c->pending, c->pending + 1, (PENDING_MAX - 1) * sizeof(c->pending[0]));
		c->books.n--;
	}
	struct pending *p = &c->pending[c->books.n];
	memset(p, 0, sizeof(*p));
	p->origin_ns = f->t0_ns + (int64_t)origin * f->step_ns;
	for (int m = 0; m < MEMBERS; m++) {
		struct forecast_point point[PROBES];
		int rc = member_vt[m]->predict(&c->member[m], f, origin, probe_h, PROBES, point, err);
		if (rc < 0)
			return rc;
		for (int k = 0; k < PROBES; k++)
			memcpy(p->q[m][k], point[k].q, sizeof(point[k].q));
	}
	c->books.probed_ns = p->origin_ns;
	c->books.n++;
	return 0;
}

static int combination_keep(struct forecaster *f, const struct history *h, int64_t now_ns, struct err *err)
{
	struct combination *c = f->priv;
	const int64_t day_ns = INT64_C(86400000000000);
	if (now_ns - c->books.probed_ns < probe_step_ns(&f->conf))
		return 0;
	int rc = fc_frame_build(f->frame, h, &f->conf, now_ns, FC_LOOKBACK_DAYS * day_ns, 1, FORECAST_STEPS_MAX, err);
	if (rc < 0)
		return rc;
	settle(c, &f->conf, f->frame, f->frame->known);
	return probe(c, f->frame, f->frame->known, err);
}

/* ---- training ---- */

static int train_members(struct forecaster *f, const struct fc_frame *frame, size_t upto, struct err *err)
{
	struct combination *c = f->priv;
	for (int m = 0; m < MEMBERS; m++) {
		int rc = member_vt[m]->train(&c->member[m], frame, upto, err);
		if (rc < 0)
			return rc;
		c->member[m].learned_ns = frame->t0_ns + (int64_t)upto * frame->step_ns;
	}
	return 0;
}

static int combination_train(struct forecaster *f, const struct fc_frame *frame, size_t upto, struct err *err)
{
	struct combination *c = f->priv;
	size_t held = HOLDOUT_DAYS * frame->spd, step = (size_t)(probe_step_ns(&f->conf) / frame->step_ns);
	int rc = 0;
	if (f->learned_ns == 0 && upto >= 3 * held) {
		memset(&c->books, 0, sizeof(c->books));
		rc = train_members(f, frame, upto - held, err);
		for (size_t o = upto - held; rc == 0 && o < upto; o += step) {
			settle(c, &f->conf, frame, o);
			rc = probe(c, frame, o, err);
		}
		if (rc == 0)
			settle(c, &f->conf, frame, upto);
	}
	return rc < 0 ? rc : train_members(f, frame, upto, err);
}

/* ---- prediction ---- */

static void weights(const struct books *b, size_t probe, double ret[MEMBERS])
{
	double sum = 0;
	memset(ret, 0, MEMBERS * sizeof(*ret));
	for (int m = 1; m < MEMBERS && b->count[probe] >= JUDGED_MIN && b->loss[probe][0] > 0; m++) {
		double part = b->loss[probe][m] / b->loss[probe][0];
		if (part < 1)
			sum += ret[m] = exp(-SHARPNESS * part);
	}
	if (!(sum > 0)) {
		ret[0] = sum = 1;
	}
	for (int m = 0; m < MEMBERS; m++)
		ret[m] /= sum;
}

static int combination_predict(const struct forecaster *f, const struct fc_frame *frame, size_t origin,
	const uint16_t *h, size_t n, struct forecast_point *ret, struct err *err)
{
	const struct combination *c = f->priv;
	struct forecast_point *one = mem_alloc(n * sizeof(*one));
	double w[PROBES][MEMBERS], any[MEMBERS] = { 0 };
	int rc = one ? 0 : err_set(err, HCP_ENOMEM, "", "no memory for a forecast");
	for (size_t k = 0; k < PROBES; k++)
		weights(&c->books, k, w[k]);
	for (size_t i = 0; i < n; i++)
		for (int m = 0; m < MEMBERS; m++)
			any[m] += w[probe_of(h[i])][m];
	memset(ret, 0, n * sizeof(*ret));
	for (int m = 0; rc == 0 && m < MEMBERS; m++) {
		if (any[m] <= 0)
			continue;
		rc = member_vt[m]->predict(&c->member[m], frame, origin, h, n, one, err);
		for (size_t i = 0; rc == 0 && i < n; i++) {
			double by = w[probe_of(h[i])][m];
			ret[i].mean += by * one[i].mean;
			for (int l = 0; l < FORECAST_LEVELS; l++)
				ret[i].q[l] += by * one[i].q[l];
		}
	}
	mem_free(one);
	return rc;
}

static struct forecaster *combination_member(struct forecaster *f, size_t i)
{
	return i < MEMBERS ? &((struct combination *)f->priv)->member[i] : NULL;
}

/* ---- bytes ---- */

static int combination_save(const struct forecaster *f, struct buf *out, struct err *err)
{
	const struct combination *c = f->priv;
	fc_put(out, &c->books, sizeof(c->books));
	fc_put(out, c->pending, c->books.n * sizeof(c->pending[0]));
	for (int m = 0; m < MEMBERS; m++) {
		struct buf one;
		buf_init(&one, 0);
		int rc = member_vt[m]->save(&c->member[m], &one, err);
		uint64_t n = one.n;
		if (rc == 0) {
			fc_put(out, &n, sizeof(n));
			fc_put(out, one.data, one.n);
			out->failed |= buf_failed(&one);
		}
		buf_release(&one);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static bool load_books(struct combination *c, struct fc_reader *r)
{
	struct books *b = &c->books;
	if (!fc_get_finite(r, &b->loss[0][0], PROBES * MEMBERS) || !fc_get_finite(r, b->count, PROBES) ||
		!fc_get(r, &b->probed_ns, sizeof(b->probed_ns)) || !fc_get(r, &b->n, sizeof(b->n)) || b->n > PENDING_MAX ||
		b->probed_ns < 0)
		return false;
	for (size_t i = 0; i < b->n; i++) {
		struct pending *p = &c->pending[i];
		if (!fc_get(r, p, sizeof(*p)) || p->origin_ns <= 0)
			return false;
		for (size_t k = 0; k < MEMBERS * PROBES * FORECAST_LEVELS; k++)
			if (!isfinite((&p->q[0][0][0])[k]))
				return false;
	}
	return true;
}

static int combination_load(struct forecaster *f, struct fc_reader *r, struct err *err)
{
	struct combination *c = f->priv;
	if (!load_books(c, r))
		return HCP_ECORRUPT;
	for (int m = 0; m < MEMBERS; m++) {
		uint64_t n = 0;
		if (!fc_get(r, &n, sizeof(n)) || n > r->rest.n)
			return HCP_ECORRUPT;
		struct fc_reader one = { .rest = { r->rest.p, n } };
		int rc = member_vt[m]->load(&c->member[m], &one, err);
		if (rc == 0 && (one.bad || one.rest.n))
			rc = HCP_ECORRUPT;
		if (rc < 0)
			return rc;
		r->rest.p += n;
		r->rest.n -= n;
	}
	return 0;
}

const struct forecaster_vt fc_combination = {
	.name = "combination",
	.about = "the others, weighted by recent pinball loss; only those better than persistence",
	.init = combination_init,
	.release = combination_release,
	.train = combination_train,
	.keep = combination_keep,
	.predict = combination_predict,
	.member = combination_member,
	.save = combination_save,
	.load = combination_load,
};
