#ifndef HCP_ECON_POLICY_SPIKE_H
#define HCP_ECON_POLICY_SPIKE_H

#include <stdint.h>

#include "base/err.h"
#include "base/str.h"
#include "econ/history.h"

/*
 * What a miner should expect the price of the quarter-hour that begins now to be, when being wrong costs money and not
 * points: learned from the settlement point's own past prices.
 *
 * For a threshold c (what running earns a MWh) the loss of running through a price p above c is p - c, that of standing
 * still below it c - p. Boosted trees learn the odds of the one against the other: rows are weighted by |p - c|, so the
 * odds are even where E[p | what is known] = c, with p cut at a few times c: one price of 5,000 in a training set says
 * little about the next. The threshold is a feature, drawn anew for each row and round; trees may only fall with it, so
 * the price of even odds is one number, whatever a class earns. That is the expectation that this gives.
 *
 *	… | i-2 | i-1 |  i  |            price[k], k < i, is all that features(i) reads
 *	             now^   settled at its end
 */
enum {
	SPIKE_STEP_S = 900,
	SPIKE_DAY = 96,
	SPIKE_BACK = 7 * SPIKE_DAY + 8, /* slots that features reach back */
	SPIKE_PLAIN_N = 45,             /* features without the threshold */
	SPIKE_N = SPIKE_PLAIN_N + 5,
	SPIKE_FORESTS = 3,            /* alike but for the seed; their odds are averaged */
	SPIKE_BYTES_MAX = 1 << 20,    /* of a stored model */
	SPIKE_YEAR = 350 * SPIKE_DAY, /* slots that a training needs */
};
/* Thresholds that trees are grown for, USD/MWh; expectations lie between them. */
#define SPIKE_LEAST 40.0
#define SPIKE_MOST 500.0

struct fc_forest;
struct forecast_stop;
struct spike_model {
	char point[HISTORY_LOCATION_MAX];
	int64_t from_ns, to_ns;   /* of the prices it was trained on; to_ns 0: not trained */
	struct fc_forest *forest; /* owned; [SPIKE_FORESTS] */
};

/*
 * Trains on the prices of a settlement point that began before now. HCP_EAGAIN: less than a year of them is known.
 * stop: borrowed; NULL: never.
 */
int spike_train(struct spike_model *ret, const struct history *h, const char *point, int64_t now_ns,
	const struct forecast_stop *stop, struct err *err) MUST_CHECK;
void spike_release(struct spike_model *m);
/*
 * USD/MWh. HCP_EAGAIN: the price of the quarter-hour before is not known. Where no price of the last hours came near
 * `least` (what the least profitable class earns a MWh) the last price stands.
 */
int spike_expect(const struct spike_model *m, const struct history *h, int64_t now_ns, double least, double *ret,
	struct err *err) MUST_CHECK;

/*
 * Appended to out: | "HCPS" | crc32c u32 | version u32 | 0 u32 | from_ns i64 | to_ns i64 | point 24 | forests … |.
 * The checksum covers everything after it; numbers are little-endian. load checks all of it, trees for their shape, and
 * then swaps it in: HCP_ECORRUPT leaves m as it was.
 */
int spike_save(const struct spike_model *m, struct buf *out, struct err *err) MUST_CHECK;
int spike_load(struct spike_model *m, struct str bytes, struct err *err) MUST_CHECK;

#endif
