#ifndef HCP_MODEL_OFFER_H
#define HCP_MODEL_OFFER_H

#include <stdbool.h>
#include <stdint.h>

#include "model/site.h"

/*
 * What an ancillary offer of a site earns for being held ready, one arithmetic for backtests and live operation:
 *
 *	held = what could be dropped, at most what is offered, in the offer's hours
 *	paid = price of the hour [USD/MW and hour] * held MW * hours
 *
 * Load is held for one offer only, in the order of the site's file, whether or not the price of its product is known.
 * Calls are settled apart (model/ancillary.h).
 */

/* It is offered at that moment; hours are Central. */
bool offer_is_open(const struct site_offer *o, int64_t t_ns);
/* MW at the meter that are held for each offer of the site at that moment; 0 for those that are not open. */
void offer_hold(const struct site *s, int64_t t_ns, double droppable_mw, double ret_mw[SITE_OFFERS_MAX]);
/* Micro-USD; at most 1e5 USD times 1e5 MW times a day: far below 2^63. */
int64_t offer_paid_micros(double usd_mw_h, double mw, double hours);

#endif
