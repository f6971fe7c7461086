#include "econ/outlook.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "base/hex.h"
#include "base/mem.h"

#define DAY_NS (INT64_C(86400) * 1000000000)
#define LATE_NS (INT64_C(7200) * 1000000000) /* a price that has not come by then is not waited for */
#define MODEL "trees"

enum { ROWS = 30000, ROUNDS = 80, VERSION = 1, CRC_FROM = 8 };

static const uint16_t probe_step[OUTLOOK_PROBES] = { 0, 3, 11, 23 };

int outlook_init(struct outlook *o, const char *point, struct err *err)
{
	static const char *const name[OUTLOOK_BY_END] = { MODEL, "persistence" };
	struct forecast_conf conf;
	memset(o, 0, sizeof(*o));
	forecast_conf_default(&conf);
	conf.rows = ROWS;
	conf.rounds = ROUNDS;
	conf.retrain_ns = 1; /* a training is always meant */
	int rc = str_copy(conf.location, sizeof(conf.location), str_of(point));
	for (int i = 0; i < OUTLOOK_BY_END && rc == 0; i++)
		rc = forecaster_init(&o->by[i], forecaster_find(str_of(name[i])), &conf, err);
	if (rc < 0)
		outlook_release(o);
	return rc;
}

void outlook_release(struct outlook *o)
{
	for (int i = 0; i < OUTLOOK_BY_END; i++)
		forecaster_release(&o->by[i]);
	memset(o, 0, sizeof(*o));
}

/* ---- books ---- */

enum outlook_by outlook_better(const struct outlook_books *b)
{
	bool better = b->judged >= OUTLOOK_JUDGED_MIN && b->loss[OUTLOOK_MODEL] < b->loss[OUTLOOK_PERSISTENCE];
	return better ? OUTLOOK_MODEL : OUTLOOK_PERSISTENCE;
}

double outlook_loss(const struct outlook_books *b, enum outlook_by by)
{
	return b->judged > 0 ? b->loss[by] / b->judged : 0;
}

static void judge(struct outlook_books *b, const struct outlook_pending *p, int probe, double actual)
{
	double keep = 1;
	if (p->origin_ns > b->judged_ns) {
		keep = exp2(-(double)(p->origin_ns - b->judged_ns) / (OUTLOOK_HALF_LIFE_DAYS * (double)DAY_NS));
		b->judged_ns = p->origin_ns;
	}
	b->judged = b->judged * keep + 1;
	for (int i = 0; i < OUTLOOK_BY_END; i++) {
		struct forecast_point point = { 0 };
		memcpy(point.q, p->q[i][probe], sizeof(point.q));
		b->loss[i] = b->loss[i] * keep + forecast_pinball(&point, actual);
	}
}

/* What has become known by now; what will not be known any more goes. */
static bool settle(struct outlook_books *b, const struct history_series *s, int64_t now_ns)
{
	size_t kept = 0;
	bool changed = false;
	for (size_t i = 0; i < b->n; i++) {
		struct outlook_pending *p = &b->pending[i];
		uint64_t before = p->done;
		for (int k = 0; k < OUTLOOK_PROBES; k++) {
			int64_t from_ns = p->origin_ns + probe_step[k] * OUTLOOK_STEP_NS, end_ns = from_ns + OUTLOOK_STEP_NS;
			double actual = end_ns <= now_ns ? history_at(s, from_ns) : NAN;
			if (p->done >> k & 1 || (isnan(actual) && now_ns < end_ns + LATE_NS))
				continue;
			p->done |= UINT64_C(1) << k;
			if (!isnan(actual))
				judge(b, p, k, actual);
		}
		changed |= p->done != before;
		if (p->done == (1 << OUTLOOK_PROBES) - 1)
			continue;
		if (kept != i)
			b->pending[kept] = *p;
		kept++;
	}
	b->n = kept;
	return changed;
}

static bool enter(
	struct outlook_books *b, int64_t origin_ns, const struct forecast_point point[OUTLOOK_BY_END][OUTLOOK_STEPS])
{
	struct outlook_pending p = { .origin_ns = origin_ns };
	for (int i = 0; i < OUTLOOK_BY_END; i++)
		for (int k = 0; k < OUTLOOK_PROBES; k++)
			memcpy(p.q[i][k], point[i][probe_step[k]].q, sizeof(p.q[i][k]));
	if (b->n && b->pending[b->n - 1].origin_ns > origin_ns)
		return false;
	/* A price that came late makes another forecast of the same origin. */
	if (b->n && b->pending[b->n - 1].origin_ns == origin_ns) {
		if (memcmp(&b->pending[b->n - 1], &p, sizeof(p)) == 0)
			return false;
		b->n--;
	}
	if (b->n == OUTLOOK_PENDING_MAX) {
		memmove(b->pending, b->pending + 1, (OUTLOOK_PENDING_MAX - 1) * sizeof(b->pending[0]));
		b->n--;
	}
	b->pending[b->n++] = p;
	return true;
}

/* ---- forecasts ---- */

int outlook_look(struct outlook *o, const struct history *h, int64_t now_ns, bool *ret_changed, struct err *err)
{
	const struct forecast_conf *conf = &o->by[0].conf;
	int64_t at_ns = now_ns - now_ns % OUTLOOK_STEP_NS;
	*ret_changed = false;
	if (o->known && o->at_ns == at_ns && o->version == h->version)
		return 0;
	o->known = false;
	if (!o->by[0].learned_ns || o->by[0].learned_ns > at_ns)
		return err_set(err, HCP_EAGAIN, "model", "there is none of %s for this time", conf->location);
	*ret_changed = settle(&o->books, history_find(h, conf->kind, conf->location), at_ns);
	uint16_t step[OUTLOOK_STEPS];
	for (uint16_t t = 0; t < OUTLOOK_STEPS; t++)
		step[t] = t;
	for (int i = 0; i < OUTLOOK_BY_END; i++) {
		int rc = forecaster_predict_at(&o->by[i], h, at_ns, step, OUTLOOK_STEPS, o->point[i], err);
		if (rc < 0)
			return rc;
	}
	o->known = true;
	o->at_ns = at_ns;
	o->version = h->version;
	*ret_changed |= enter(&o->books, at_ns, (const struct forecast_point(*)[OUTLOOK_STEPS])o->point);
	return 0;
}

/* ---- training ---- */

static int learn(
	struct outlook *o, const struct history *h, int64_t now_ns, const struct forecast_stop *stop, struct err *err)
{
	int rc = 0;
	for (int i = 0; i < OUTLOOK_BY_END && rc == 0; i++) {
		o->by[i].conf.stop = stop;
		rc = forecaster_learn(&o->by[i], h, now_ns, err);
		o->by[i].conf.stop = NULL;
	}
	return rc;
}

/* Both as they do on days that they have not seen; of those the books are left. */
static int hold_back(
	struct outlook *o, const struct history *h, int64_t now_ns, const struct forecast_stop *stop, struct err *err)
{
	const struct forecast_conf *conf = &o->by[0].conf;
	const struct history_series *s = history_find(h, conf->kind, conf->location);
	int64_t from_ns = now_ns - OUTLOOK_HELD_DAYS * DAY_NS;
	bool changed;
	if (!s || s->first_ns > now_ns - 3 * OUTLOOK_HELD_DAYS * DAY_NS)
		return 0;
	int rc = learn(o, h, from_ns, stop, err);
	for (int64_t t = from_ns; t < now_ns && rc == 0; t += OUTLOOK_STEP_NS) {
		rc = stop && stop->asked(stop->arg) ? err_set(err, HCP_ECANCELED, "", "stopped while it was judged")
											: outlook_look(o, h, t, &changed, err);
		if (rc == HCP_EAGAIN) /* a gap of days */
			rc = 0;
	}
	if (rc == 0)
		(void)settle(&o->books, s, now_ns);
	o->books.n = 0;
	return rc;
}

int outlook_train(
	struct outlook *o, const struct history *h, int64_t now_ns, const struct forecast_stop *stop, struct err *err)
{
	struct outlook *made = mem_alloc(sizeof(*made));
	int64_t at_ns = now_ns - now_ns % OUTLOOK_STEP_NS;
	if (!made)
		return err_set(err, HCP_ENOMEM, "", "no memory for a forecast");
	int rc = outlook_init(made, o->by[0].conf.location, err);
	if (rc == 0) {
		rc = hold_back(made, h, at_ns, stop, err);
		made->known = false;
		if (rc == 0)
			rc = learn(made, h, at_ns, stop, err);
		if (rc == 0) {
			outlook_release(o);
			*o = *made;
		} else {
			outlook_release(made);
		}
	}
	mem_free(made);
	return rc;
}

/* ---- bytes ---- */

struct head {
	char magic[4];
	uint32_t crc, version, zero;
	uint64_t model_n;
	double loss[OUTLOOK_BY_END], judged;
	int64_t judged_ns;
};
static_assert(sizeof(struct head) == 56, "the layout in outlook.h");

int outlook_save(const struct outlook *o, struct buf *out, struct err *err)
{
	struct head h = { .magic = "HCPO", .version = VERSION, .judged = o->books.judged, .judged_ns = o->books.judged_ns };
	size_t at = out->n;
	memcpy(h.loss, o->books.loss, sizeof(h.loss));
	buf_add(out, &h, sizeof(h));
	int rc = forecaster_save(&o->by[OUTLOOK_MODEL], out, err);
	h.model_n = out->n - at - sizeof(h);
	rc = rc ? rc : forecaster_save(&o->by[OUTLOOK_PERSISTENCE], out, err);
	if (rc == 0 && buf_failed(out))
		rc = err_set(err, HCP_ENOMEM, "", "no memory, or too large");
	if (rc < 0)
		return rc;
	memcpy(out->data + at, &h, sizeof(h));
	h.crc = crc32c(0, out->data + at + CRC_FROM, out->n - at - CRC_FROM);
	memcpy(out->data + at, &h, sizeof(h));
	return 0;
}

static bool head_holds(const struct head *h, size_t rest_n)
{
	return !h->zero && h->model_n <= rest_n && h->judged_ns >= 0 && isfinite(h->judged) && h->judged >= 0 &&
		   isfinite(h->loss[0]) && h->loss[0] >= 0 && isfinite(h->loss[1]) && h->loss[1] >= 0;
}

int outlook_load(struct outlook *o, struct str bytes, struct err *err)
{
	struct head h;
	if (bytes.n < sizeof(h) || bytes.n > OUTLOOK_BYTES_MAX)
		return err_set(err, HCP_ECORRUPT, "bytes", "%zu bytes are no outlook", bytes.n);
	memcpy(&h, bytes.p, sizeof(h));
	if (memcmp(h.magic, "HCPO", 4) != 0 || h.crc != crc32c(0, bytes.p + CRC_FROM, bytes.n - CRC_FROM))
		return err_set(err, HCP_ECORRUPT, "bytes", "not an outlook, or a damaged one");
	if (h.version != VERSION || !head_holds(&h, bytes.n - sizeof(h)))
		return err_set(err, HCP_ECORRUPT, "bytes", "of another version, or its head does not hold together");
	struct outlook *made = mem_alloc(sizeof(*made));
	if (!made)
		return err_set(err, HCP_ENOMEM, "", "no memory for a forecast");
	const char *p = bytes.p + sizeof(h);
	int rc = outlook_init(made, o->by[0].conf.location, err);
	if (rc == 0) {
		rc = forecaster_load(&made->by[OUTLOOK_MODEL], (struct str){ p, h.model_n }, err);
		if (rc == 0)
			rc = forecaster_load(
				&made->by[OUTLOOK_PERSISTENCE], (struct str){ p + h.model_n, bytes.n - sizeof(h) - h.model_n }, err);
		if (rc == 0 && made->by[0].learned_ns != made->by[1].learned_ns)
			rc = err_set(err, HCP_ECORRUPT, "bytes", "the two were trained at different times");
		memcpy(made->books.loss, h.loss, sizeof(h.loss));
		made->books.judged = h.judged;
		made->books.judged_ns = h.judged_ns;
		if (rc == 0) {
			outlook_release(o);
			*o = *made;
		} else {
			outlook_release(made);
		}
	}
	mem_free(made);
	return rc;
}

int outlook_books_load(struct outlook_books *b, struct str bytes, struct err *err)
{
	struct outlook_books *made = bytes.n == sizeof(*made) ? mem_alloc(sizeof(*made)) : NULL;
	if (bytes.n == sizeof(*made) && !made)
		return err_set(err, HCP_ENOMEM, "", "no memory for books");
	bool whole = made != NULL;
	if (whole)
		memcpy(made, bytes.p, sizeof(*made));
	whole = whole && made->n <= OUTLOOK_PENDING_MAX && made->judged_ns >= 0 && isfinite(made->judged) &&
			made->judged >= 0 && isfinite(made->loss[0]) && isfinite(made->loss[1]);
	for (size_t i = 0; whole && i < made->n; i++) {
		const struct outlook_pending *p = &made->pending[i];
		whole = p->origin_ns > (i ? made->pending[i - 1].origin_ns : 0) && p->done >> OUTLOOK_PROBES == 0;
		for (size_t k = 0; whole && k < sizeof(p->q) / sizeof(double); k++)
			whole = isfinite((&p->q[0][0][0])[k]);
	}
	if (whole)
		*b = *made;
	mem_free(made);
	return whole ? 0 : err_set(err, HCP_ECORRUPT, "books", "stored books do not hold together");
}
