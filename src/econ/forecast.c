#include "econ/forecast.h"

#include <assert.h>
#include <string.h>

#include "base/hex.h"
#include "base/mem.h"
#include "econ/fc_priv.h"

#define S_NS INT64_C(1000000000)
#define DAY_NS (86400 * S_NS)

enum { VERSION = 1, LEARN_DAYS = 28 };

const double forecast_level[FORECAST_LEVELS] = { 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99 };

static const struct forecaster_vt *const models[] = {
	&fc_persistence, &fc_similar_day, &fc_regression, &fc_trees, &fc_recurrent, &fc_combination,
};

const struct forecaster_vt *forecaster_at(size_t i)
{
	return i < sizeof(models) / sizeof(models[0]) ? models[i] : NULL;
}

const struct forecaster_vt *forecaster_find(struct str name)
{
	for (size_t i = 0; forecaster_at(i); i++)
		if (str_eqz(name, models[i]->name))
			return models[i];
	return NULL;
}

const char *forecaster_name(const struct forecaster *f)
{
	return f->vt->name;
}

const char *forecaster_about(const struct forecaster_vt *vt)
{
	return vt->about;
}

void forecast_conf_default(struct forecast_conf *c)
{
	*c = (struct forecast_conf){ .kind = HISTORY_POWER_RT, .step_ns = 900 * S_NS, .window_ns = 3 * 365 * DAY_NS,
		.rows = 80000, .rounds = 80, .epochs = 3, .retrain_ns = 7 * DAY_NS, .seed = 1, .threads = 1 };
}

static int check_conf(const struct forecast_conf *c, struct err *err)
{
	if ((unsigned)c->kind >= HISTORY_KIND_END)
		return err_set(err, HCP_EINVAL, "kind", "there is no kind %d", (int)c->kind);
	if (strnlen(c->location, sizeof(c->location)) == sizeof(c->location))
		return err_set(err, HCP_EINVAL, "location", "longer than %zu bytes", sizeof(c->location) - 1);
	if (c->step_ns < 60 * S_NS || c->step_ns > DAY_NS || DAY_NS % c->step_ns != 0 || c->step_ns % S_NS != 0)
		return err_set(err, HCP_EINVAL, "step_ns", "not a part of a day from a minute to all of it");
	if (c->window_ns < LEARN_DAYS * DAY_NS || c->window_ns > 20 * 366 * DAY_NS)
		return err_set(err, HCP_EINVAL, "window_ns", "not from %d days to 20 years", LEARN_DAYS);
	if (c->rows < 1000 || c->rows > 1000000)
		return err_set(err, HCP_EINVAL, "rows", "%u is not from 1000 to 1000000", c->rows);
	if (c->rounds < 1 || c->rounds > FC_TREES_MAX / FORECAST_LEVELS)
		return err_set(err, HCP_EINVAL, "rounds", "%u is not from 1 to %d", c->rounds, FC_TREES_MAX / FORECAST_LEVELS);
	if (c->epochs < 1 || c->epochs > 50)
		return err_set(err, HCP_EINVAL, "epochs", "%u is not from 1 to 50", c->epochs);
	if (c->retrain_ns <= 0)
		return err_set(err, HCP_EINVAL, "retrain_ns", "training needs some time between");
	if (c->threads < 1 || c->threads > 64)
		return err_set(err, HCP_EINVAL, "threads", "%u is not from 1 to 64", c->threads);
	return 0;
}

int forecaster_init(
	struct forecaster *f, const struct forecaster_vt *vt, const struct forecast_conf *conf, struct err *err)
{
	*f = (struct forecaster){ 0 };
	int rc = check_conf(conf, err);
	if (rc < 0)
		return rc;
	struct forecaster made = { .vt = vt, .conf = *conf, .frame = mem_calloc(1, sizeof(*made.frame)) };
	if (!made.frame)
		return err_set(err, HCP_ENOMEM, "", "no memory for a forecaster");
	rc = vt->init(&made, err);
	if (rc < 0) {
		mem_free(made.frame);
		return rc;
	}
	*f = made;
	return 0;
}

void forecaster_release(struct forecaster *f)
{
	if (f->vt)
		f->vt->release(f);
	if (f->frame)
		fc_frame_release(f->frame);
	mem_free(f->frame);
	*f = (struct forecaster){ 0 };
}

static size_t per_day(const struct forecast_conf *c)
{
	return (size_t)(DAY_NS / c->step_ns);
}

int forecaster_learn(struct forecaster *f, const struct history *h, int64_t now_ns, struct err *err)
{
	int rc = 0;
	if (f->learned_ns == 0 || now_ns - f->learned_ns >= f->conf.retrain_ns) {
		struct fc_frame frame = { 0 };
		rc = fc_frame_build(&frame, h, &f->conf, now_ns, f->conf.window_ns, LEARN_DAYS * per_day(&f->conf),
			FORECAST_STEPS_MAX, err);
		if (rc == 0)
			rc = f->vt->train(f, &frame, frame.known, err);
		fc_frame_release(&frame);
		if (rc == 0)
			f->learned_ns = now_ns;
	}
	return rc == 0 && f->vt->keep ? f->vt->keep(f, h, now_ns, err) : rc;
}

/* h: horizons, one more than steps. */
static int predict(struct forecaster *f, const struct history *hist, int64_t now_ns, const uint16_t *h, size_t n,
	struct forecast_point *ret, struct err *err)
{
	if (f->learned_ns == 0)
		return err_set(err, HCP_ESTATE, "learn", "%s has not been trained", f->vt->name);
	int rc = fc_frame_build(f->frame, hist, &f->conf, now_ns, FC_LOOKBACK_DAYS * DAY_NS, 1, h[n - 1], err);
	return rc < 0 ? rc : f->vt->predict(f, f->frame, f->frame->known, h, n, ret, err);
}

int forecaster_predict_at(struct forecaster *f, const struct history *h, int64_t now_ns, const uint16_t *step, size_t n,
	struct forecast_point *ret, struct err *err)
{
	uint16_t horizon[FORECAST_STEPS_MAX];
	if (n < 1 || n > FORECAST_STEPS_MAX)
		return err_set(err, HCP_EINVAL, "n", "%zu steps are not from 1 to %d", n, FORECAST_STEPS_MAX);
	for (size_t i = 0; i < n; i++) {
		if (step[i] >= FORECAST_STEPS_MAX || (i && step[i] <= step[i - 1]))
			return err_set(err, HCP_EINVAL, "step", "steps rise, up to %d", FORECAST_STEPS_MAX - 1);
		horizon[i] = (uint16_t)(step[i] + 1);
	}
	return predict(f, h, now_ns, horizon, n, ret, err);
}

int forecaster_predict(struct forecaster *f, const struct history *h, int64_t now_ns, size_t n, struct forecast *ret,
	struct err *err)
{
	uint16_t horizon[FORECAST_STEPS_MAX];
	if (n < 1 || n > FORECAST_STEPS_MAX)
		return err_set(err, HCP_EINVAL, "n", "%zu steps are not from 1 to %d", n, FORECAST_STEPS_MAX);
	for (size_t i = 0; i < n; i++)
		horizon[i] = (uint16_t)(i + 1);
	int rc = predict(f, h, now_ns, horizon, n, ret->at, err);
	if (rc < 0)
		return rc;
	ret->issued_ns = now_ns;
	ret->step_ns = f->conf.step_ns;
	ret->start_ns = now_ns / f->conf.step_ns * f->conf.step_ns;
	ret->n = n;
	return 0;
}

struct forecaster *forecaster_member(struct forecaster *f, size_t i)
{
	return f->vt->member ? f->vt->member(f, i) : NULL;
}

double forecast_pinball(const struct forecast_point *p, double actual)
{
	double sum = 0;
	for (int l = 0; l < FORECAST_LEVELS; l++) {
		double over = actual - p->q[l];
		sum += over * (forecast_level[l] - (over < 0));
	}
	return sum / FORECAST_LEVELS;
}

/* ---- bytes ---- */

struct head {
	char magic[4];
	uint32_t crc, version, kind;
	int64_t step_ns, learned_ns;
	char location[HISTORY_LOCATION_MAX];
	char model[FORECAST_NAME_MAX];
};
static_assert(sizeof(struct head) == 72 && offsetof(struct head, location) == 32, "the layout in forecast.h");

static struct head head_of(const struct forecaster *f)
{
	struct head h = { .magic = "HCPF", .version = VERSION, .kind = f->conf.kind, .step_ns = f->conf.step_ns,
		.learned_ns = f->learned_ns };
	memcpy(h.location, f->conf.location, strlen(f->conf.location));
	memcpy(h.model, f->vt->name, strlen(f->vt->name));
	return h;
}

int forecaster_save(const struct forecaster *f, struct buf *out, struct err *err)
{
	struct head h = head_of(f);
	size_t at = out->n;
	if (f->learned_ns == 0)
		return err_set(err, HCP_ESTATE, "learn", "%s has not been trained", f->vt->name);
	buf_add(out, &h, sizeof(h));
	int rc = f->vt->save(f, out, err);
	if (rc < 0)
		return rc;
	if (buf_failed(out))
		return err_set(err, HCP_ENOMEM, "", "no memory to save %s", f->vt->name);
	uint32_t crc = crc32c(0, out->data + at + 8, out->n - at - 8);
	memcpy(out->data + at + 4, &crc, sizeof(crc));
	return 0;
}

int forecaster_load(struct forecaster *f, struct str bytes, struct err *err)
{
	struct head h, want = head_of(f);
	struct forecaster made;
	if (bytes.n < sizeof(h) || bytes.n > FORECAST_BYTES_MAX)
		return err_set(err, HCP_ECORRUPT, "bytes", "%zu bytes are no model", bytes.n);
	memcpy(&h, bytes.p, sizeof(h));
	if (memcmp(h.magic, want.magic, 4) != 0 || h.crc != crc32c(0, bytes.p + 8, bytes.n - 8))
		return err_set(err, HCP_ECORRUPT, "bytes", "not a model, or a damaged one");
	if (h.version != VERSION || memcmp(h.model, want.model, sizeof(h.model)) != 0)
		return err_set(err, HCP_EINVAL, "model", "the bytes are of another model or version");
	if (h.kind != want.kind || h.step_ns != want.step_ns || memcmp(h.location, want.location, sizeof(h.location)) != 0)
		return err_set(err, HCP_EINVAL, "target", "the bytes are of another series");
	if (h.learned_ns <= 0)
		return err_set(err, HCP_ECORRUPT, "learned_ns", "the model has not been trained");
	int rc = forecaster_init(&made, f->vt, &f->conf, err);
	if (rc < 0)
		return rc;
	struct fc_reader r = { .rest = { bytes.p + sizeof(h), bytes.n - sizeof(h) } };
	rc = f->vt->load(&made, &r, err);
	if (rc == 0 && (r.bad || r.rest.n))
		rc = HCP_ECORRUPT;
	if (rc < 0) {
		forecaster_release(&made);
		return rc == HCP_ECORRUPT ? err_set(err, rc, "bytes", "%s does not hold together", f->vt->name) : rc;
	}
	made.learned_ns = h.learned_ns;
	forecaster_release(f);
	*f = made;
	return 0;
}

void fc_put(struct buf *out, const void *p, size_t n)
{
	buf_add(out, p, n);
}

bool fc_get(struct fc_reader *r, void *p, size_t n)
{
	r->bad |= n > r->rest.n;
	if (r->bad)
		return false;
	if (n)
		memcpy(p, r->rest.p, n);
	r->rest.p += n;
	r->rest.n -= n;
	return true;
}

bool fc_get_finite(struct fc_reader *r, double *p, size_t n)
{
	if (!fc_get(r, p, n * sizeof(*p)))
		return false;
	for (size_t i = 0; i < n; i++)
		r->bad |= !isfinite(p[i]);
	return !r->bad;
}

static_assert(sizeof(struct fc_spread) % sizeof(double) == 0 && sizeof(struct fc_linear) % sizeof(double) == 0,
	"both are made of doubles");

bool fc_get_spread(struct fc_reader *r, struct fc_spread *s)
{
	if (!fc_get_finite(r, &s->q[0][0][0], sizeof(*s) / sizeof(double)))
		return false;
	for (int k = 0; k < FC_KNOTS; k++)
		r->bad |= !(s->sigma[k] > 0) || s->tail[k] < 0;
	r->bad |= s->z_min > s->z_max || s->z_max > 100 || s->z_min < -100;
	return !r->bad;
}

bool fc_get_linear(struct fc_reader *r, struct fc_linear *l)
{
	return fc_get_finite(r, &l->coef[0][0], FC_KNOTS * FC_LINEAR_N) && fc_get_spread(r, &l->spread);
}
