#ifndef HCP_ECON_MARKET_H
#define HCP_ECON_MARKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "econ/profit.h"

/*
 * The market as one facility sees it: the newest accepted value of every quantity with its times and health.
 * A tick is validated in full before anything changes. Owned by one thread.
 */
enum market_quantity {
	MARKET_POWER_RT = 0,   /* real-time settlement price of the facility's point, USD/MWh */
	MARKET_POWER_DA = 1,   /* day-ahead price of one hour, USD/MWh; valid_from is the hour */
	MARKET_BTC_USD = 2,
	MARKET_DIFFICULTY = 3,
	MARKET_FEES_BTC = 4,   /* average fees per block, BTC */
	MARKET_HEIGHT = 5,     /* chain height */
	MARKET_GPU_RATE = 6,   /* USD per device hour of class tick.device_class */
	MARKET_QUANTITY_END = 7,
};

enum {
	MARKET_DA_HOURS = 72,       /* day-ahead hours kept */
	MARKET_OUTLIER_CONFIRM = 3, /* so many rejected ticks in a row that agree become the new level */
	MARKET_SOURCE_MAX = 32,
};
#define MARKET_POWER_MIN_USD_MWH (-251.0) /* ERCOT floor */
#define MARKET_POWER_MAX_USD_MWH 9500.0   /* above the highest cap (9,000) plus congestion */
#define MARKET_FUTURE_NS INT64_C(5000000000) /* observed_at may be this far ahead of now (clock skew) */

/* Rules of one quantity; market_rule_default gives the table of the README. */
struct market_rule {
	double min, max;          /* hard bounds */
	double max_jump;          /* largest allowed ratio to the last accepted (either way); 0: no ratio gate */
	double default_value;     /* last fallback */
	int64_t stale_ns;         /* older is not fresh */
	int64_t expire_ns;        /* older is not even usable as last known */
};

struct market_tick {
	enum market_quantity quantity;
	double value;
	int64_t observed_at_ns; /* when the source saw it */
	int64_t valid_from_ns;  /* start of the interval it is for; for instants equal to observed_at */
	uint16_t device_class;  /* MARKET_GPU_RATE: index of the catalogue; otherwise 0 */
	char source[MARKET_SOURCE_MAX]; /* for people: "ercot-rt", NUL-terminated */
};

struct market_value {
	double value;
	int64_t observed_at_ns, valid_from_ns;
	uint64_t accepted, rejected;
	double suspect;         /* last rejected value */
	int suspects;           /* rejected in a row that agree with it */
	bool known;
	char source[MARKET_SOURCE_MAX];
};

struct market_da_hour {
	int64_t valid_from_ns;
	double value;
	bool known;
};

struct market {
	struct market_rule rule[MARKET_QUANTITY_END];
	struct market_value v[MARKET_QUANTITY_END];  /* MARKET_GPU_RATE unused, see gpu */
	struct market_value gpu[DEVICE_CLASS_MAX];   /* by catalogue index */
	struct market_da_hour da[MARKET_DA_HOURS];   /* by hour modulo MARKET_DA_HOURS */
	uint64_t version;                            /* grows with each accepted tick */
};

/* Where a reading came from, best first: the fallback order. */
enum market_origin {
	MARKET_FRESH = 0,
	MARKET_LAST_KNOWN = 1, /* stale, not expired */
	MARKET_DAY_AHEAD = 2,  /* electricity only */
	MARKET_DEFAULT = 3,
	MARKET_ORIGIN_END = 4,
};

struct market_reading {
	double value;
	enum market_origin origin;
	int64_t age_ns; /* since observed_at; -1 for a default */
};

enum market_health {
	MARKET_OK = 0,
	MARKET_DEGRADED = 1, /* at least one quantity is not fresh */
	MARKET_BLIND = 2,    /* electricity or BTC price is a default */
};

void market_init(struct market *m);
const struct market_rule *market_rule_default(enum market_quantity q);

/*
 * Checks the tick wholly, then takes it. HCP_EINVAL: non-finite, unknown quantity or class, source not terminated;
 * HCP_ERANGE: outside hard bounds or observed in the future; HCP_ECONFLICT: older than what is known;
 * HCP_EAGAIN: outlier, held back until MARKET_OUTLIER_CONFIRM agree (only its reject counters change).
 */
int market_apply(struct market *m, const struct market_tick *t, int64_t now_ns, struct err *err) MUST_CHECK;

/*
 * The outlier gate alone: true when value may follow last. One that jumps (by more than the ratio max_jump, either way;
 * 0: no gate) is held back until MARKET_OUTLIER_CONFIRM in a row agree. *suspect and *suspects are the gate's memory;
 * the caller sets *suspects to 0 when a value is taken.
 */
bool market_gate(double last, double value, double max_jump, double *suspect, int *suspects);

/* Never fails: falls back in order. gpu class only for MARKET_GPU_RATE. */
struct market_reading market_read(const struct market *m, enum market_quantity q, size_t device_class, int64_t now_ns);
/*
 * Electricity as charged now: real-time -> last known -> day-ahead of this hour -> default.
 * Everything at now as the profit inputs; subsidy from the height, or from the time when the height is a default.
 */
struct profit_market market_profit_inputs(const struct market *m, double pool_fee, double pue, int64_t now_ns);
enum market_health market_health(const struct market *m, int64_t now_ns);
const char *market_quantity_name(enum market_quantity q);
const char *market_quantity_unit(enum market_quantity q);
const char *market_origin_name(enum market_origin o);
const char *market_health_name(enum market_health h);

#endif
