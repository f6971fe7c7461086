#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/panic.h"
#include "health/health_priv.h"

#define MINUTE_NS INT64_C(60000000000)
#define Z_STEP (1.0F / 16) /* of a window's values */
#define Z_MAX 7.9F
#define CALM 0.25F         /* devices whose charts are below teach the models */
#define OFFER_ONE_IN 16    /* rows, once there are enough */

#define QUIET 0.995F       /* so many of what was learned from stay below the limit */
#define SCORED 1024

static void levels(const struct health_device *d, float ret[HEALTH_SIGNALS])
{
	for (int k = 0; k < HEALTH_SIGNALS; k++)
		ret[k] = chart_level(&d->chart[k], &(struct chart_rule){ 0, true, true });
}

/* Where the next of a sample of all that was offered goes; cap: nowhere. */
static size_t place(struct rng *rng, size_t *n, size_t cap, uint64_t *offered)
{
	(*offered)++;
	if (*n < cap)
		return (*n)++;
	/* Older rows fade, since what is normal changes. */
	return rng_below(rng, OFFER_ONE_IN) == 0 ? (size_t)rng_below(rng, cap) : cap;
}

static void window_floats(const int8_t z[AE_STEPS][AE_SIGNALS], size_t at, float *ret)
{
	for (size_t t = 0; t < AE_STEPS; t++)
		for (size_t k = 0; k < AE_SIGNALS; k++)
			ret[t * AE_SIGNALS + k] = (float)z[(at + t) % AE_STEPS][k] * Z_STEP;
}

/* One minute of z; true when a step of the window is complete. */
static bool fill_window(struct health_window *w, const float z[HEALTH_SIGNALS])
{
	for (int k = 0; k < HEALTH_SIGNALS; k++)
		w->sum[k] += z[k];
	if (++w->minutes < HEALTH_WINDOW_MINUTES)
		return false;
	for (int k = 0; k < HEALTH_SIGNALS; k++) {
		float v = w->sum[k] / (float)w->minutes;
		v = v > Z_MAX ? Z_MAX : v < -Z_MAX ? -Z_MAX : v;
		w->z[w->at][k] = (int8_t)lroundf(v / Z_STEP);
		w->sum[k] = 0;
	}
	w->minutes = 0;
	w->at = (uint8_t)((w->at + 1) % AE_STEPS);
	w->n = (uint8_t)(w->n + (w->n < AE_STEPS));
	return w->n == AE_STEPS;
}

static void ask_shapes(struct health_class *c, struct health_device *d, const struct health_window *w, bool calm,
	bool ask)
{
	float window[AE_WINDOW], error;
	if (calm && w->at % (AE_STEPS / 2) == 0) {
		size_t at = place(&c->rng, &c->n_windows, HEALTH_WINDOWS, &c->windows_offered);
		for (size_t t = 0; at < HEALTH_WINDOWS && t < AE_STEPS; t++)
			memcpy(c->window[at][t], w->z[(w->at + t) % AE_STEPS], AE_SIGNALS);
	}
	if (!c->shapes || !ask)
		return;
	window_floats(w->z, w->at, window);
	autoencoder_error(c->shapes, window, 1, &error, NULL);
	if (error > c->shapes_limit)
		d->strange |= HEALTH_BY_AUTOENCODER;
}

void models_take(struct health *h, struct health_class *c, struct health_device *d, struct health_window *w)
{
	float now[HEALTH_SIGNALS];
	enum health_signal worst;
	bool calm = !d->sick && rule_excess(d, &worst) < CALM, full = w && h->conf.shapes_minutes;
	/* Whose charts are calm is well, whatever the others would say. */
	bool ask = !calm || h->conf.ask_always;
	levels(d, now);
	if (full)
		full = fill_window(w, now);
	if (d->minute % HEALTH_WINDOW_MINUTES == 0 && h->conf.forest_minutes) {
		d->strange &= (uint8_t)~HEALTH_BY_FOREST;
		if (calm) {
			size_t at = place(&c->rng, &c->n_rows, HEALTH_ROWS, &c->offered);
			if (at < HEALTH_ROWS)
				memcpy(c->row[at], now, sizeof(now));
		}
		if (c->forest && ask && forest_score(c->forest, now) > c->forest_limit)
			d->strange |= HEALTH_BY_FOREST;
	}
	if (full) {
		d->strange &= (uint8_t)~HEALTH_BY_AUTOENCODER;
		ask_shapes(c, d, w, calm, ask);
	}
}

/* ---- training ---- */

static int compare(const void *a, const void *b)
{
	float x = *(const float *)a, y = *(const float *)b;
	return x < y ? -1 : x > y;
}

static float limit_of(float *score, size_t n)
{
	qsort(score, n, sizeof(*score), compare);
	return score[(size_t)(QUIET * (float)(n - 1))];
}

static int train_forest(struct health *h, struct health_class *c)
{
	float score[SCORED];
	struct forest *f = mem_alloc(sizeof(*f));
	size_t n = c->n_rows < SCORED ? c->n_rows : SCORED;
	if (!f)
		return HCP_ENOMEM;
	must(forest_grow(f, c->row[0], c->n_rows, HEALTH_SIGNALS, &c->rng));
	for (size_t i = 0; i < n; i++)
		score[i] = forest_score(f, c->row[rng_below(&c->rng, c->n_rows)]);
	mem_free(c->forest);
	c->forest = f;
	c->forest_limit = limit_of(score, n);
	h->stats.forests++;
	return 0;
}

static void train_shapes(struct health_class *c)
{
	float batch[AE_BATCH][AE_WINDOW];
	for (size_t i = 0; i < AE_BATCH; i++)
		window_floats(c->window[rng_below(&c->rng, c->n_windows)], 0, batch[i]);
	(void)autoencoder_train(c->next, batch[0], AE_BATCH);
	c->steps_left--;
}

static void finish_shapes(struct health *h, struct health_class *c)
{
	float score[SCORED];
	size_t n = c->n_windows < SCORED ? c->n_windows : SCORED;
	for (size_t i = 0; i < n; i++) {
		float window[AE_WINDOW];
		window_floats(c->window[i], 0, window);
		autoencoder_error(c->next, window, 1, &score[i], NULL);
	}
	autoencoder_free(c->shapes);
	c->shapes = c->next;
	c->next = NULL;
	c->shapes_limit = limit_of(score, n);
	h->stats.shapes++;
}

static int learn_class(struct health *h, struct health_class *c, int64_t now_ns, int *steps)
{
	if (h->conf.forest_minutes && c->n_rows == HEALTH_ROWS && now_ns >= c->forest_due_ns) {
		int rc = train_forest(h, c);
		if (rc < 0)
			return rc;
		c->forest_due_ns = now_ns + h->conf.forest_minutes * MINUTE_NS;
	}
	if (h->conf.shapes_minutes && !c->next && c->n_windows == HEALTH_WINDOWS && now_ns >= c->shapes_due_ns) {
		c->next = autoencoder_new(rng_u64(&c->rng));
		if (!c->next)
			return HCP_ENOMEM;
		c->steps_left = h->conf.shapes_steps;
		c->shapes_due_ns = now_ns + h->conf.shapes_minutes * MINUTE_NS;
	}
	for (; c->next && *steps > 0 && c->steps_left > 0; --*steps)
		train_shapes(c);
	if (c->next && c->steps_left == 0)
		finish_shapes(h, c);
	return c->next != NULL;
}

int health_learn(struct health *h, int64_t now_ns, int steps)
{
	int more = 0;
	for (size_t i = 0; i < DEVICE_CLASS_MAX && more == 0; i++)
		more = h->cls[i] ? learn_class(h, h->cls[i], now_ns, &steps) : 0;
	return more;
}

void models_release(struct health_class *c)
{
	mem_free(c->forest);
	autoencoder_free(c->shapes);
	autoencoder_free(c->next);
}
