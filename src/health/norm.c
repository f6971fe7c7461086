#include "health/norm.h"

#include <math.h>

#define LOAD_STEP 0.1F
#define AIR_STEP_C 4.0F
#define KNOWN 60.0F /* values, by weight, from which a place is known */
#define LEAST 0.01F
#define CLIP 3.0F
#define ABS_TO_SIGMA 1.2533F

static void place(float v, float step, int nodes, uint8_t *ret, float *ret_w)
{
	float at = v / step;
	if (!(at > 0))
		at = 0;
	if (at > (float)(nodes - 1))
		at = (float)(nodes - 1);
	int i = (int)at;
	if (i > nodes - 2)
		i = nodes - 2;
	*ret = (uint8_t)i;
	*ret_w = at - (float)i;
}

struct norm_point norm_point(float load, float inlet_c)
{
	struct norm_point p;
	place(load, LOAD_STEP, NORM_LOADS, &p.load, &p.w_load);
	place(inlet_c, AIR_STEP_C, NORM_AIRS, &p.air, &p.w_air);
	return p;
}

static float weight(struct norm_point p, int corner)
{
	return (corner & 1 ? p.w_load : 1 - p.w_load) * (corner & 2 ? p.w_air : 1 - p.w_air);
}

static float expect(const struct norm *m, struct norm_point p, float *ret_known)
{
	float sum = 0, by = 0, known = 0;
	for (int c = 0; c < 4; c++) {
		int i = p.load + (c & 1), j = p.air + (c >> 1);
		float w = weight(p, c);
		if (m->n[i][j] == 0)
			continue;
		sum += w * m->v[i][j];
		by += w;
		known += w * (float)m->n[i][j];
	}
	*ret_known = known;
	return by > 0 ? sum / by : NAN;
}

float norm_expect(const struct norm *m, struct norm_point p)
{
	float known, v = expect(m, p, &known);
	return known >= KNOWN ? v : NAN;
}

void norm_learn(struct norm *m, struct norm_point p, float value, float spread_least)
{
	float known, was = expect(m, p, &known);
	if (!isfinite(value))
		return;
	if (m->spread <= 0)
		m->spread = 4 * spread_least;
	float off = isnan(was) ? 0 : value - was, most = CLIP * m->spread;
	off = off > most ? most : off < -most ? -most : off;
	if (known >= KNOWN) {
		m->spread += LEAST * (fabsf(off) * ABS_TO_SIGMA - m->spread);
		m->spread = m->spread < spread_least ? spread_least : m->spread;
	}
	float squares = 0;
	for (int c = 0; c < 4; c++)
		squares += weight(p, c) * weight(p, c);
	for (int c = 0; c < 4; c++) {
		int i = p.load + (c & 1), j = p.air + (c >> 1);
		float w = weight(p, c), rate = 1 / (1 + (float)m->n[i][j] / 16);
		if (w < 0.05F)
			continue;
		if (m->n[i][j] == 0)
			m->v[i][j] = isnan(was) ? value : was;
		/* Normalised, so that places between nodes are learned as fast as those on one. */
		m->v[i][j] += w / squares * (rate > LEAST ? rate : LEAST) * off;
		if (m->n[i][j] < UINT16_MAX)
			m->n[i][j]++;
	}
}

bool norm_check(const struct norm *m)
{
	bool ok = isfinite(m->spread) && m->spread >= 0;
	for (int i = 0; i < NORM_LOADS * NORM_AIRS; i++)
		ok &= isfinite(m->v[i / NORM_AIRS][i % NORM_AIRS]);
	return ok;
}
