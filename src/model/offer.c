#include "model/offer.h"

#include <math.h>

#include "base/money.h"
#include "base/timefmt.h"

enum { DAY_S = 86400 };

bool offer_is_open(const struct site_offer *o, int64_t t_ns)
{
	int64_t local_s = t_ns / NS_PER_S + timefmt_central_offset_s(t_ns);
	int hour = (int)((local_s % DAY_S + DAY_S) % DAY_S / 3600); /* 1970 began in 1969 there */
	return hour >= o->from_hour && hour < o->until_hour;
}

void offer_hold(const struct site *s, int64_t t_ns, double droppable_mw, double ret_mw[SITE_OFFERS_MAX])
{
	double left_mw = droppable_mw > 0 ? droppable_mw : 0;
	for (size_t i = 0; i < s->n_offers; i++) {
		ret_mw[i] = offer_is_open(&s->offer[i], t_ns) ? fmin(left_mw, s->offer[i].mw) : 0;
		left_mw -= ret_mw[i];
	}
}

int64_t offer_paid_micros(double usd_mw_h, double mw, double hours)
{
	return llround(usd_mw_h * mw * hours * (double)MICROS_PER_USD);
}
