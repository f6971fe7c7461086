#ifndef HCP_ECON_FORECAST_H
#define HCP_ECON_FORECAST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"
#include "econ/history.h"

/*
 * What a series will be: mean and quantiles of each coming interval. A forecaster is made for one series (its target)
 * and reads nothing but a history, and of that only what was known at `now` (history_known_ns), so it cannot look
 * ahead, not even when the history handed in knows more.
 *
 * Step 0 is the interval that covers now: it has begun, its value is not known yet. Step k begins k steps later, so a
 * decision at the start of a quarter-hour finds the price of the next 15 minutes in step 0, of the last quarter of the
 * next hour in step 3, of the last of the next day in step 95.
 *
 * Deterministic: the same history, conf and moments of learning give the same forecast on the same kind of processor.
 * (OpenBLAS chooses its kernels by processor; OPENBLAS_CORETYPE pins them.) One thread owns a forecaster.
 */
enum {
	FORECAST_LEVELS = 8,
	FORECAST_STEPS_MAX = 672, /* 7 days of quarter-hours */
	FORECAST_NAME_MAX = 16,   /* bytes with NUL */
	FORECAST_BYTES_MAX = 64 << 20,
};

/* 0.05 0.1 0.25 0.5 0.75 0.9 0.95 0.99 */
extern const double forecast_level[FORECAST_LEVELS];
enum { FORECAST_MEDIAN = 3 };

struct forecast_point {
	double mean;
	double q[FORECAST_LEVELS]; /* never falling from one to the next */
};

/* Units of the target. About 48 KiB: the owner embeds or allocates it once. */
struct forecast {
	int64_t issued_ns, start_ns, step_ns; /* start_ns: of step 0 */
	size_t n;
	struct forecast_point at[FORECAST_STEPS_MAX];
};

/* Asked now and then by a long training, from its own thread: true ends it with HCP_ECANCELED. */
struct forecast_stop {
	bool (*asked)(void *arg);
	void *arg;
};

struct forecast_conf {
	/* The target. step_ns divides a day; a series of finer step is averaged, of coarser step repeated. */
	enum history_kind kind;
	char location[HISTORY_LOCATION_MAX];
	int64_t step_ns;
	/* The budget of one training: it looks back so far and takes so many rows, rounds and passes. */
	int64_t window_ns;
	uint32_t rows;   /* spikes are all kept, ordinary hours are drawn and weighted up; 1000 .. 1000000 */
	uint32_t rounds; /* of boosting, 1 .. 500 */
	uint32_t epochs; /* of the recurrent net over its rows, 1 .. 50 */
	int64_t retrain_ns; /* forecast_learn trains again when the last training is so old */
	uint64_t seed;
	uint32_t threads; /* of libxgboost, 1 .. 64; sums are made per thread, so it is part of the result */
	const struct forecast_stop *stop; /* borrowed; NULL: never */
};

struct forecaster_vt;
struct fc_frame;

/* Embedded by the owner. */
struct forecaster {
	const struct forecaster_vt *vt; /* static */
	struct forecast_conf conf;
	int64_t learned_ns; /* now of the last training; 0: never */
	struct fc_frame *frame; /* owned; scratch of predictions */
	void *priv; /* owned by the model */
};

/* The electricity price of a settlement point in quarter-hours: 3 years, 40,000 rows, weekly. */
void forecast_conf_default(struct forecast_conf *c);

/* persistence, similar_day, regression, trees, recurrent, combination; NULL if unknown. */
const struct forecaster_vt *forecaster_find(struct str name);
const struct forecaster_vt *forecaster_at(size_t i); /* NULL at the end; the combination is the last */
const char *forecaster_name(const struct forecaster *f);
const char *forecaster_about(const struct forecaster_vt *vt);

/* HCP_EINVAL names the field of conf. */
int forecaster_init(
	struct forecaster *f, const struct forecaster_vt *vt, const struct forecast_conf *conf, struct err *err) MUST_CHECK;
void forecaster_release(struct forecaster *f);

/*
 * To be called as time goes on (each step, or before each forecast): trains when retrain_ns have passed since the last
 * training, else only keeps the books of what earlier forecasts were worth (the combination). HCP_EAGAIN: less than
 * 28 days are known; the model is as it was.
 */
int forecaster_learn(struct forecaster *f, const struct history *h, int64_t now_ns, struct err *err) MUST_CHECK;

/* n of 1 to FORECAST_STEPS_MAX steps. HCP_ESTATE: never trained. HCP_EAGAIN: nothing is known of the last 14 days. */
int forecaster_predict(struct forecaster *f, const struct history *h, int64_t now_ns, size_t n, struct forecast *ret,
	struct err *err) MUST_CHECK;

/* The same for chosen steps, rising, each less than FORECAST_STEPS_MAX: step[i] gives ret[i]. */
int forecaster_predict_at(struct forecaster *f, const struct history *h, int64_t now_ns, const uint16_t *step, size_t n,
	struct forecast_point *ret, struct err *err) MUST_CHECK;

/* The i-th of the models that f combines, trained with it, to ask it alone; NULL at the end. Borrowed from f. */
struct forecaster *forecaster_member(struct forecaster *f, size_t i);

/*
 * The trained model, appended to out:
 *
 *	| "HCPF" | crc32c u32 | version u32 | kind u32 | step_ns i64 | learned_ns i64 | location 24 | model 16 | payload …
 *	  0        4            8             12         16            24               32            56         72
 *
 * crc32c covers everything after it; numbers are little-endian, doubles as their bits. load checks all of it, of trees
 * also the shape, and then swaps it in: HCP_ECORRUPT, or HCP_EINVAL when it is of another target or model, leave f as
 * it was.
 */
int forecaster_save(const struct forecaster *f, struct buf *out, struct err *err) MUST_CHECK;
int forecaster_load(struct forecaster *f, struct str bytes, struct err *err) MUST_CHECK;

/* Pinball loss of a forecast's quantiles, averaged over the levels (Koenker, Bassett 1978). Units of the target. */
double forecast_pinball(const struct forecast_point *p, double actual);

#endif
