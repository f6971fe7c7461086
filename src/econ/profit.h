#ifndef HCP_ECON_PROFIT_H
#define HCP_ECON_PROFIT_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "model/device_class.h"
#include "model/workload.h"

/*
 * Profitability of one device of a class doing one type of work (ECON-2). Everything per device and hour.
 *
 *   mining revenue  = btc_per_day / 24 * btc_usd,  btc_per_day = H*86400/(D*2^32)*(subsidy+fees)*(1-pool_fee)
 *   AI revenue      = spot_usd_h * utilisation + contracted_usd_h     (contracted capacity is paid used or not)
 *   power           = mining: the FILL watts;  AI: idle + (serve-idle) * utilisation;  idle: the IDLE watts
 *   energy          = power/1e6 * pue * electricity_usd_mwh           (negative price: negative cost)
 *   wear            = the class's wear per working hour * share of the hour worked
 *   net             = revenue - energy - wear
 *   score           = 100 * gain / (gain + cost), gain = revenue + max(0,-energy), cost = wear + max(0,energy);
 *                     0: earns nothing, 50: exactly break-even (also when both are 0), 100: costs nothing
 *   break-even      = (revenue - wear) / MWh bought: the electricity price at which net is 0
 *
 * Formulae: the mining one follows from difficulty's definition (2^32*D hashes per block on average).
 */
struct profit_market {
	double btc_usd;
	double difficulty;
	double subsidy_btc;         /* per block */
	double fees_btc;            /* per block, average */
	double pool_fee;            /* 0..1 */
	double electricity_usd_mwh; /* may be negative */
	double pue;                 /* >= 1 */
};

struct profit_ai {
	double spot_usd_h;       /* rate per device hour sold on demand */
	double contracted_usd_h; /* paid whether used or not */
	double utilisation;      /* 0..1: share of the hour that is sold/used */
};

enum profit_advice {
	PROFIT_AVOID = 0,    /* loses money against not running */
	PROFIT_MARGINAL = 1, /* earns, but less than PROFIT_MARGIN above its cost */
	PROFIT_RUN = 2,
};

#define PROFIT_MARGIN 0.10 /* gain must exceed cost by this share to be PROFIT_RUN */
#define PROFIT_SECONDS_DAY 86400.0

struct profit_row {
	double revenue_usd_h, energy_usd_h, wear_usd_h, net_usd_h;
	double power_w;         /* at the plug, without PUE */
	double breakeven_usd_mwh; /* 0 when no power is drawn */
	double btc_per_day;     /* 0 unless mining */
	double score;           /* 0..100 */
	enum profit_advice advice;
};

/* HCP_EINVAL/HCP_ERANGE with the exact field for non-finite or senseless numbers. */
int profit_market_validate(const struct profit_market *m, struct err *err) MUST_CHECK;
int profit_ai_validate(const struct profit_ai *a, struct err *err) MUST_CHECK;

/*
 * One evaluation. ai may be NULL for mining. HCP_EUNSUPPORTED: the class cannot do this work (an ASIC serving, a class
 * without hash rate mining). Validates its inputs; HCP_ERANGE if a result is not finite.
 */
int profit_calc(const struct device_class *c, enum workload_type type, const struct profit_market *m,
	const struct profit_ai *ai, struct profit_row *ret, struct err *err) MUST_CHECK;
/* The price of doing nothing: idle watts at the present price; no wear. Curtailed (off) costs nothing. */
int profit_idle(const struct device_class *c, const struct profit_market *m, struct profit_row *ret,
	struct err *err) MUST_CHECK;
const char *profit_advice_name(enum profit_advice a);

/* USD per TH/s and hour before costs ("hashprice"). The market must be valid. */
double profit_hashprice_usd_ths_h(const struct profit_market *m);

/*
 * The same arithmetic for n evaluations at once, struct of arrays, all borrowed, n long, not overlapping. The caller
 * validates (profit_batch_validate) once; the loop then has no branch and the compiler vectorises it.
 * Out arrays: net_usd_h and score.
 */
struct profit_batch {
	size_t n;
	const double *hash_ths;            /* 0 for AI work */
	const double *hashprice_usd_ths_h; /* per row, so that scenarios of the market can be mixed */
	const double *ai_usd_h;            /* revenue, already times utilisation; 0 for mining */
	const double *power_w;
	const double *wear_usd_h;
	const double *electricity_usd_mwh;
	const double *pue;
	double *net_usd_h;
	double *score;
};

/* All finite, watts, wear and hash rate >= 0, pue >= 1. err->field is "name[i]". */
int profit_batch_validate(const struct profit_batch *b, struct err *err) MUST_CHECK;
void profit_batch_calc(const struct profit_batch *b);

#endif
