#ifndef HCP_FEED_QUANTITY_H
#define HCP_FEED_QUANTITY_H

#include "econ/market.h"
#include "feed/source.h"

/*
 * One quantity (symbol and location) and the sources that tell it, by priority. The first one with a fresh value
 * speaks; only its values go on to the optimizer, each once and in order.
 *
 *	offer: bounds -> time -> outlier gate -> held by its member
 *	choose: who speaks now?    take: what has he to say that is new?
 *
 * Pure: no I/O, time is handed in; one thread.
 */
enum {
	FEED_MEMBERS_MAX = 8,
	FEED_HOURS_MAX = MARKET_DA_HOURS,
};
#define FEED_FUTURE_NS INT64_C(60000000000) /* a source's clock may be that much ahead of ours */

struct feed_member {
	const struct feed_source_conf *conf;         /* borrowed */
	struct feed_reading held[FEED_READINGS_MAX]; /* of the newest round, in order of time */
	size_t n_held;
	struct feed_reading newest; /* accepted */
	bool known;
	double suspect; /* the outlier gate's memory */
	int suspects;
	uint64_t accepted, rejected;
};

struct feed_quantity {
	char symbol[FEED_TEXT_MAX], location[FEED_TEXT_MAX];
	struct feed_member *member[FEED_MEMBERS_MAX]; /* owned, by priority */
	size_t n;
	int speaking;                            /* index, -1: nobody */
	int64_t told_observed_ns, told_start_ns; /* of what was taken last; 0: nothing yet */
	double told_value;
	struct {
		int64_t start_ns;
		double value;
	} hour[FEED_HOURS_MAX]; /* day-ahead hours as last taken, by hour modulo */
};

int feed_quantity_new(const char *symbol, const char *location, struct feed_quantity **ret, struct err *err) MUST_CHECK;
void feed_quantity_free(struct feed_quantity *q);
/* Sorts by priority, then by order of adding. HCP_ELIMIT. */
int feed_quantity_add(struct feed_quantity *q, const struct feed_source_conf *conf, struct err *err) MUST_CHECK;
struct feed_member *feed_quantity_member(const struct feed_quantity *q, const struct feed_source_conf *conf);

/*
 * A round of readings of one source. All good ones are held; the first bad one is told: HCP_ERANGE out of bounds or
 * from the future, HCP_EAGAIN an outlier that is held back. *ret_n: how many were good (also when something was bad).
 */
int feed_quantity_offer(struct feed_member *m, const struct feed_reading *r, size_t n, int64_t now_ns, size_t *ret_n,
	struct err *err) MUST_CHECK;
/* The last values hold still (the server said so): those that were of the moment are of this one. */
void feed_quantity_confirm(struct feed_member *m, int64_t now_ns);
bool feed_member_is_fresh(const struct feed_member *m, int64_t now_ns);
/* True when another one speaks than before. */
bool feed_quantity_choose(struct feed_quantity *q, int64_t now_ns);
/* What the speaker holds that was not taken before, oldest first; at most cap. */
size_t feed_quantity_take(struct feed_quantity *q, int64_t now_ns, struct feed_reading *ret, size_t cap);

#endif
