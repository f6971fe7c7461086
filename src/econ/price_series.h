#ifndef HCP_ECON_PRICE_SERIES_H
#define HCP_ECON_PRICE_SERIES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/*
 * Interval prices of one settlement point, one slot per step from the first interval on; a gap is a slot of its own,
 * so look-up is an index. Intervals are named by their start, [start, start+step). Micro-dollars per MWh.
 *
 *   first_ns          first_ns + step_ns      ...
 *   | 15,120,000     | GAP                  | 15,200,000 |
 */
#define PRICE_SERIES_GAP INT64_MIN
enum { PRICE_SERIES_SLOTS_MAX = 1 << 24 };

struct price_series {
	int64_t *slot; /* owned */
	size_t n, cap;
	size_t gaps;
	int64_t first_ns; /* start of slot 0; meaningless while n == 0 */
	int64_t step_ns;
};

struct price_point {
	int64_t start_ns, end_ns;
	int64_t price_micros_mwh;
};

/* step_ns > 0. */
void price_series_init(struct price_series *s, int64_t step_ns);
void price_series_release(struct price_series *s);
/*
 * Appends in time order; missing intervals between become gaps. HCP_EINVAL: not on the grid of the first start.
 * HCP_EEXIST: not after the last. HCP_ERANGE: a time before 1970, or the gap marker as price. HCP_ELIMIT: more than
 * PRICE_SERIES_SLOTS_MAX slots. The series is unchanged then.
 */
int price_series_append(struct price_series *s, int64_t start_ns, int64_t price_micros_mwh, struct err *err) MUST_CHECK;
/* The interval that covers t. HCP_ENOTFOUND: outside the series or in a gap. */
int price_series_at(const struct price_series *s, int64_t t_ns, struct price_point *ret) MUST_CHECK;
/* End of the last interval; 0 if empty. */
int64_t price_series_end_ns(const struct price_series *s);

/*
 * A reader that cannot look ahead: a settlement price is known only when its interval has ended (plus the publishing
 * delay). Time only moves forward.
 */
struct price_cursor {
	const struct price_series *s; /* borrowed */
	int64_t publish_delay_ns;
	int64_t now_ns; /* the latest time asked for */
};

void price_cursor_init(struct price_cursor *c, const struct price_series *s, int64_t publish_delay_ns);
/*
 * The newest interval known at now (gaps are skipped backwards, ret->end_ns tells the age). HCP_ENOTFOUND: none yet.
 * HCP_ERANGE: now lies before an earlier call's.
 */
int price_cursor_known_at(struct price_cursor *c, int64_t now_ns, struct price_point *ret) MUST_CHECK;

#endif
