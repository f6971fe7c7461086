#include "econ/misses.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "base/hex.h"
#include "base/money.h"
#include "base/timefmt.h"
#include "econ/policy_forecast.h"

#define DAY_NS (INT64_C(86400) * NS_PER_S)
#define STEP_NS (900 * NS_PER_S)
#define PAST_NS (365 * DAY_NS)
/* Of a key or a miss: asinh units, far beyond what any price makes of them. */
#define VALUE_MOST 1e4f

enum { VERSION = 1, CRC_FROM = 8, ROW = SCENARIO_KEYS + SCENARIO_STEPS };

bool misses_key(const struct history_series *h, int64_t t_ns, double mean, struct scenario_key *ret)
{
	double p[4], high = -INFINITY;
	for (int i = 0; i < 4; i++) {
		p[i] = history_at(h, t_ns - (i + 1) * STEP_NS);
		high = fmax(high, p[i]);
		if (isnan(p[i]))
			return false;
	}
	int64_t local_s = t_ns / NS_PER_S + timefmt_central_offset_s(t_ns);
	*ret = scenario_key_of(p[0], p[1], high, mean, (double)(local_s % 86400) / 86400);
	return true;
}

int misses_add(struct scenario_past *p, const struct history_series *h, int64_t t_ns, const struct scenario_key *key,
	const double *mean, struct err *err)
{
	double came[SCENARIO_STEPS];
	for (int64_t k = 0; k < SCENARIO_STEPS; k++) {
		came[k] = history_at(h, t_ns + k * STEP_NS);
		if (isnan(came[k]))
			return 0;
	}
	return scenario_past_add(p, key, mean, came, err);
}

int misses_look_back(struct scenario_past *p, const struct history *h, const char *point, int64_t now_ns,
	const struct forecast_stop *stop, struct err *err)
{
	struct forecaster old;
	const struct history_series *s = history_find(h, HISTORY_POWER_RT, point);
	if (!s)
		return HCP_EAGAIN;
	int64_t half_ns = (now_ns - s->first_ns) / 2 / STEP_NS * STEP_NS;
	int64_t from_ns = now_ns - (half_ns < PAST_NS ? half_ns : PAST_NS);
	int rc = policy_forecaster_make(&old, point, err);
	if (rc < 0)
		return rc;
	old.conf.stop = stop;
	rc = forecaster_learn(&old, h, from_ns, err);
	for (int64_t t = from_ns; t + SCENARIO_STEPS * STEP_NS <= now_ns && rc == 0; t += STEP_NS) {
		struct scenario_key key;
		double mean[SCENARIO_STEPS];
		rc = stop && stop->asked(stop->arg) ? err_set(err, HCP_ECANCELED, "", "stopped while it looked back")
											: policy_forecaster_say(&old, h, t, SCENARIO_STEPS, mean, err);
		if (rc == 0 && misses_key(s, t, mean[0], &key))
			rc = misses_add(p, s, t, &key, mean, err);
		rc = rc == HCP_EAGAIN ? 0 : rc; /* a gap of days */
	}
	forecaster_release(&old);
	return rc;
}

void misses_release(struct misses *m)
{
	scenario_past_release(&m->past);
	*m = (struct misses){ 0 };
}

int misses_learn(struct misses *ret, const struct history *h, const char *point, int64_t now_ns,
	const struct forecast_stop *stop, struct err *err)
{
	struct misses made = { .to_ns = now_ns - now_ns % STEP_NS };
	int rc = str_copy(made.point, sizeof(made.point), str_of(point));
	rc = rc ? rc : scenario_past_init(&made.past, MISSES_CAP, err);
	rc = rc ? rc : misses_look_back(&made.past, h, point, made.to_ns, stop, err);
	if (rc == 0 && made.past.n == 0)
		rc = err_set(err, HCP_EAGAIN, "prices", "no forecast of %s can be judged", point);
	if (rc < 0) {
		misses_release(&made);
		return rc;
	}
	*ret = made;
	return 0;
}

/* ---- bytes ---- */

struct head {
	char magic[4];
	uint32_t crc, version, n;
	int64_t to_ns;
	char point[HISTORY_LOCATION_MAX];
};
static_assert(sizeof(struct head) == 48, "the layout in misses.h");

int misses_save(const struct misses *m, struct buf *out, struct err *err)
{
	const struct scenario_past *p = &m->past;
	struct head h = { .magic = "HCPM", .version = VERSION, .n = (uint32_t)p->n, .to_ns = m->to_ns };
	size_t at = out->n;
	memcpy(h.point, m->point, sizeof(h.point));
	buf_add(out, &h, sizeof(h));
	for (size_t i = 0; i < p->n; i++) {
		size_t o = (p->next + p->cap - p->n + i) % p->cap;
		for (size_t k = 0; k < SCENARIO_KEYS; k++)
			buf_add(out, &p->key[k * p->cap + o], sizeof(float));
		buf_add(out, &p->miss[o * SCENARIO_STEPS], SCENARIO_STEPS * sizeof(float));
	}
	if (buf_failed(out))
		return err_set(err, HCP_ENOMEM, "", "no memory, or too large");
	h.crc = crc32c(0, out->data + at + CRC_FROM, out->n - at - CRC_FROM);
	memcpy(out->data + at, &h, sizeof(h));
	return 0;
}

static bool head_holds(const struct head *h, size_t bytes)
{
	return h->version == VERSION && h->n >= 1 && h->n <= MISSES_CAP && h->to_ns > 0 &&
		   memchr(h->point, 0, sizeof(h->point)) && h->point[0] &&
		   bytes - sizeof(*h) == (size_t)h->n * ROW * sizeof(float);
}

int misses_load(struct misses *m, struct str bytes, struct err *err)
{
	struct head h;
	if (bytes.n < sizeof(h) || bytes.n > MISSES_BYTES_MAX)
		return err_set(err, HCP_ECORRUPT, "bytes", "%zu bytes are no misses", bytes.n);
	memcpy(&h, bytes.p, sizeof(h));
	if (memcmp(h.magic, "HCPM", 4) != 0 || h.crc != crc32c(0, bytes.p + CRC_FROM, bytes.n - CRC_FROM))
		return err_set(err, HCP_ECORRUPT, "bytes", "no misses, or damaged ones");
	if (!head_holds(&h, bytes.n))
		return err_set(err, HCP_ECORRUPT, "bytes", "of another version, or the head does not hold together");
	struct misses made = { .to_ns = h.to_ns };
	memcpy(made.point, h.point, sizeof(made.point));
	int rc = scenario_past_init(&made.past, h.n, err);
	for (size_t i = 0; i < h.n && rc == 0; i++) {
		float v[ROW];
		memcpy(v, bytes.p + sizeof(h) + i * sizeof(v), sizeof(v));
		for (size_t k = 0; k < ROW && rc == 0; k++)
			if (!(fabsf(v[k]) <= VALUE_MOST))
				rc = err_set(err, HCP_ECORRUPT, "bytes", "a number of row %zu is none", i);
		for (size_t k = 0; k < SCENARIO_KEYS; k++)
			made.past.key[k * h.n + i] = v[k];
		memcpy(&made.past.miss[i * SCENARIO_STEPS], v + SCENARIO_KEYS, SCENARIO_STEPS * sizeof(float));
	}
	if (rc < 0) {
		misses_release(&made);
		return rc;
	}
	made.past.n = h.n;
	misses_release(m);
	*m = made;
	return 0;
}
