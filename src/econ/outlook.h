#ifndef HCP_ECON_OUTLOOK_H
#define HCP_ECON_OUTLOOK_H

#include "econ/forecast.h"

/*
 * The prices of a settlement point that live decisions look ahead by (ECON-4): a trained model beside persistence, both
 * judged by what came. The model speaks only while it has lately been the better of the two.
 *
 *	history ─▶ outlook_look ─▶ point[model], point[persistence] ─▶ those of the better one
 *	   └─ prices that came ─▶ books: mean pinball loss of each ────────────┘
 *
 * An origin is the start of a quarter-hour: what is asked within it is answered as of its start, by what is known.
 * Every origin's forecasts of OUTLOOK_PROBES horizons wait in the books until their prices are known. The books forget
 * by half in OUTLOOK_HALF_LIFE_DAYS.
 *
 * outlook_train holds the last OUTLOOK_HELD_DAYS back first: both are trained without them and judged on them, then
 * trained with them. With less history the books begin empty, and persistence speaks until there are
 * OUTLOOK_JUDGED_MIN judgements.
 *
 * What is in memory follows from the model, the books and the history, so an owner who stores the first two decides the
 * same after a restart. One thread.
 */
enum {
	OUTLOOK_STEPS = 96, /* quarter-hours that are forecast */
	OUTLOOK_PROBES = 4,
	OUTLOOK_PENDING_MAX = 48,
	OUTLOOK_HELD_DAYS = 28,
	OUTLOOK_JUDGED_MIN = 96,
	OUTLOOK_BYTES_MAX = 8 << 20,
};
#define OUTLOOK_STEP_NS (INT64_C(900) * 1000000000)
#define OUTLOOK_HALF_LIFE_DAYS 14.0

enum outlook_by { OUTLOOK_MODEL = 0, OUTLOOK_PERSISTENCE = 1, OUTLOOK_BY_END = 2 };

struct outlook_pending {
	int64_t origin_ns;
	uint64_t done; /* bit a probe */
	double q[OUTLOOK_BY_END][OUTLOOK_PROBES][FORECAST_LEVELS];
};

/* Saved as it is. */
struct outlook_books {
	double loss[OUTLOOK_BY_END], judged; /* sums, of what is not forgotten */
	int64_t judged_ns;                   /* origin of the newest judgement */
	uint64_t n;                          /* pending, oldest first */
	struct outlook_pending pending[OUTLOOK_PENDING_MAX];
};

/* About 50 KiB. */
struct outlook {
	struct forecaster by[OUTLOOK_BY_END]; /* owned; with equal learned_ns, 0: not trained */
	struct outlook_books books;
	bool known; /* point is of at_ns */
	int64_t at_ns;
	uint64_t version; /* of the history then */
	struct forecast_point point[OUTLOOK_BY_END][OUTLOOK_STEPS];
};

int outlook_init(struct outlook *o, const char *point, struct err *err) MUST_CHECK;
void outlook_release(struct outlook *o);

/* HCP_EAGAIN: less than 28 days are known. HCP_ECANCELED. The outlook is as it was then. stop: borrowed; NULL: never.
 */
int outlook_train(struct outlook *o, const struct history *h, int64_t now_ns, const struct forecast_stop *stop,
	struct err *err) MUST_CHECK;

/*
 * Judges what has become known, forecasts as of the quarter-hour of now, and enters that into the books. *ret_changed:
 * the books are others than before. HCP_EAGAIN: not trained, trained by later prices, or nothing is known of the last
 * days; then there is no forecast.
 */
int outlook_look(
	struct outlook *o, const struct history *h, int64_t now_ns, bool *ret_changed, struct err *err) MUST_CHECK;

/* Whose forecast is to be used. */
enum outlook_by outlook_better(const struct outlook_books *b);
/* Mean pinball loss, in the unit of the price; 0: nothing was judged. */
double outlook_loss(const struct outlook_books *b, enum outlook_by by);

/*
 * The trained models and how they began in the books, appended:
 *	| "HCPO" | crc32c u32 | version u32 | 0 u32 | bytes of the model u64 | loss, loss, judged f64 | judged_ns i64 |
 *	| model | persistence |   (forecast.h)
 * crc32c covers everything after it; numbers are little-endian. load checks all of it and then swaps it in:
 * HCP_ECORRUPT, or HCP_EINVAL when it is of another point, leave o as it was.
 */
int outlook_save(const struct outlook *o, struct buf *out, struct err *err) MUST_CHECK;
int outlook_load(struct outlook *o, struct str bytes, struct err *err) MUST_CHECK;
/* Stored books; HCP_ECORRUPT leaves them as they were. */
int outlook_books_load(struct outlook_books *b, struct str bytes, struct err *err) MUST_CHECK;

#endif
