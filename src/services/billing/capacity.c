/*
 * Load held ready for the grid becomes money, hour by hour: price of the hour times MW held (model/offer.h, as in a
 * backtest). Held is what resources measured; the price is the offer's own or the market's clearing price of the
 * product, told a day ahead by the hour. An hour without one waits, shown as such, and is paid once when it comes.
 */
#include <math.h>

#include "base/money.h"
#include "model/offer.h"
#include "services/billing/billing_priv.h"

enum { HOURS_DEFAULT = 100, HOURS_MAX = 1000, KEEP_HOURS = 24 * 60 };
#define HOUR_NS (3600 * NS_PER_S)
#define MW_MAX 1e5
#define USD_MAX 1e5 /* per MW and hour; ERCOT's reserves cleared at up to 25,674 in February 2021 */

static int range(double v, double most, const char *field, struct err *err)
{
	return isfinite(v) && v >= 0 && v <= most ? 0 : err_set(err, HCP_ERANGE, field, "must be 0 to %g", most);
}

static int check(const Hcp__AncillaryHeld *ev, struct err *err)
{
	int rc = 0;
	if (ev->from_ns < 0 || ev->to_ns <= ev->from_ns || (ev->to_ns - 1) / HOUR_NS != ev->from_ns / HOUR_NS)
		return err_set(err, HCP_ERANGE, "to_ns", "must lie within an hour of UTC, after from_ns");
	if (ev->n_holds > SITE_OFFERS_MAX)
		return err_set(err, HCP_ELIMIT, "holds", "at most %d", SITE_OFFERS_MAX);
	for (size_t i = 0; i < ev->n_holds && rc == 0; i++) {
		const Hcp__AncillaryHold *h = ev->holds[i];
		if (!h->service[0] || strlen(h->service) >= SITE_NAME_MAX)
			return err_set(err, HCP_EINVAL, "service", "must be 1 to %d bytes", SITE_NAME_MAX - 1);
		rc = range(h->offered_mw_h, MW_MAX, "offered_mw_h", err);
		if (rc == 0)
			rc = range(h->held_mw_h, MW_MAX, "held_mw_h", err);
		if (rc == 0)
			rc = range(h->price_usd_mw_h, USD_MAX, "price_usd_mw_h", err);
	}
	return rc;
}

/*
 * The market's hour for ours, by how far its time was ahead when the product's newest price was told: nothing much in a
 * live market, years back in one that is played back. The middle of the hour decides.
 */
static int market_hour(struct svc_ctx *ctx, const char *service, int64_t hour, int64_t *ret, struct err *err)
{
	struct db_row *row;
	int rc = db_query(svc_db(ctx), &row, err,
		"SELECT ahead_ns FROM capacity_price WHERE service=$1 ORDER BY hour DESC LIMIT 1", "z", service);
	int64_t ahead_ns = 0;
	if (rc == 1) {
		ahead_ns = db_i64(row, 0);
		db_done(row);
	}
	*ret = (hour * HOUR_NS + HOUR_NS / 2 + ahead_ns) / HOUR_NS;
	return rc < 0 ? rc : 0;
}

/* 1: known. */
static int price_of(struct svc_ctx *ctx, const char *service, int64_t hour, double *ret_usd, struct err *err)
{
	struct db_row *row;
	int rc = db_query(svc_db(ctx), &row, err, "SELECT usd_mw_h FROM capacity_price WHERE service=$1 AND hour=$2", "zi",
		service, hour);
	if (rc == 1) {
		*ret_usd = db_double(row, 0);
		db_done(row);
	}
	return rc;
}

static int settle(struct svc_ctx *ctx, const Hcp__AncillaryHeld *ev, const Hcp__AncillaryHold *h, struct err *err)
{
	int64_t hour = ev->from_ns / HOUR_NS, market = hour, paid = 0;
	double usd = h->price_usd_mw_h;
	int rc = h->fixed ? 1 : market_hour(ctx, h->service, hour, &market, err);
	if (rc == 0)
		rc = price_of(ctx, h->service, market, &usd, err);
	if (rc < 0)
		return rc;
	bool priced = rc == 1;
	if (priced)
		paid = offer_paid_micros(usd, h->held_mw_h, 1);
	rc = db_run(svc_db(ctx), err,
		"INSERT INTO "
		"held(facility,service,from_ns,to_ns,offered_mw_h,held_mw_h,market_hour,priced,usd_mw_h,paid_micros)"
		" VALUES($1,$2,$3,$4,$5,$6,$7,$8,$9,$10)",
		"zziiddiidi", ev->facility, h->service, ev->from_ns, ev->to_ns, h->offered_mw_h, h->held_mw_h, market,
		(int64_t)priced, priced ? usd : 0.0, paid);
	return rc < 0 || !paid ? rc : billing_book_grid(ctx, hour, paid, err);
}

int billing_on_held(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	const Hcp__AncillaryHeld *ev = (const Hcp__AncillaryHeld *)m->body;
	int rc = check(ev, err);
	(void)state;
	for (size_t i = 0; i < ev->n_holds && rc == 0; i++)
		if (ev->holds[i]->offered_mw_h > 0)
			rc = settle(ctx, ev, ev->holds[i], err);
	return rc;
}

/* ---- prices ---- */

int billing_capacity_check(const Hcp__Tick *t, struct err *err)
{
	if (!t->location[0] || strlen(t->location) >= SITE_NAME_MAX)
		return err_set(err, HCP_EINVAL, "ticks.location", "a product of 1 to %d bytes", SITE_NAME_MAX - 1);
	if (t->interval_start_ns <= 0 || t->interval_start_ns % HOUR_NS)
		return err_set(err, HCP_EINVAL, "ticks.interval_start_ns", "a price of capacity is for a whole hour");
	return range(t->value, USD_MAX, "ticks.value", err);
}

/* An hour's payment that waited: at most one row a facility and part of an hour, so few. */
static int pay_waiting(struct svc_ctx *ctx, const char *service, int64_t hour, double usd, struct err *err)
{
	struct db_row *row;
	for (;;) {
		int rc = db_query(svc_db(ctx), &row, err,
			"SELECT n,from_ns,held_mw_h FROM held WHERE priced=0 AND service=$1 AND market_hour=$2 ORDER BY n LIMIT 1",
			"zi", service, hour);
		if (rc <= 0)
			return rc;
		int64_t n = db_i64(row, 0), held_hour = db_i64(row, 1) / HOUR_NS;
		int64_t paid = offer_paid_micros(usd, db_double(row, 2), 1);
		db_done(row);
		rc = db_run(
			svc_db(ctx), err, "UPDATE held SET priced=1, usd_mw_h=$2, paid_micros=$3 WHERE n=$1", "idi", n, usd, paid);
		if (rc == 0 && paid)
			rc = billing_book_grid(ctx, held_hour, paid, err);
		if (rc < 0)
			return rc;
	}
}

int billing_capacity_price(struct svc_ctx *ctx, const Hcp__Tick *t, int64_t market_ns, struct err *err)
{
	int64_t hour = t->interval_start_ns / HOUR_NS;
	int rc = db_run(svc_db(ctx), err,
		"INSERT INTO capacity_price(service,hour,usd_mw_h,ahead_ns) VALUES($1,$2,$3,$4)"
		" ON CONFLICT(service,hour) DO UPDATE SET usd_mw_h=excluded.usd_mw_h, ahead_ns=excluded.ahead_ns",
		"zidi", t->location, hour, t->value, market_ns - svc_now_ns(ctx));
	if (rc == 0) /* those of another time, too: a market that is played back again begins anew */
		rc = db_run(svc_db(ctx), err, "DELETE FROM capacity_price WHERE service=$1 AND (hour<$2 OR hour>$3)", "zii",
			t->location, hour - KEEP_HOURS, hour + KEEP_HOURS);
	return rc < 0 ? rc : pay_waiting(ctx, t->location, hour, t->value, err);
}

/* ---- what people see ---- */

static int add_row(struct arena *a, const struct db_row *row, Hcp__AncillaryHours *reply)
{
	Hcp__AncillaryHour *h = arena_alloc(a, sizeof(*h));
	if (!h)
		return HCP_ENOMEM;
	hcp__ancillary_hour__init(h);
	h->facility = arena_strndup(a, db_text(row, 0).p, db_text(row, 0).n);
	h->service = arena_strndup(a, db_text(row, 1).p, db_text(row, 1).n);
	h->from_ns = db_i64(row, 2);
	h->to_ns = db_i64(row, 3);
	double hours = (double)(h->to_ns - h->from_ns) / (double)HOUR_NS;
	h->offered_mw = db_double(row, 4) / hours;
	h->held_mw = db_double(row, 5) / hours;
	h->priced = db_i64(row, 6) != 0;
	h->usd_mw_h = db_double(row, 7);
	h->paid_micros = db_i64(row, 8);
	return h->facility && h->service ? pb_push(a, &reply->n_hours, &reply->hours, h) : HCP_ENOMEM;
}

int billing_on_ancillary_hours(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	const Hcp__AncillaryHoursList *q = (const Hcp__AncillaryHoursList *)m->body;
	struct db_row *row;
	int rc;
	(void)state;
	if (q->limit < 0 || q->limit > HOURS_MAX)
		return err_set(err, HCP_ERANGE, "limit", "must be 1 to %d, was %d", HOURS_MAX, q->limit);
	Hcp__AncillaryHours *reply = svc_reply(ctx, MSG_ANCILLARY_HOURS);
	if (!reply)
		return HCP_ENOMEM;
	for (rc = db_query(svc_db(ctx), &row, err,
			 "SELECT facility,service,from_ns,to_ns,offered_mw_h,held_mw_h,priced,usd_mw_h,paid_micros FROM held"
			 " WHERE $1='' OR facility=$1 ORDER BY n DESC LIMIT $2",
			 "zi", q->facility, (int64_t)(q->limit ? q->limit : HOURS_DEFAULT));
		 rc == 1; rc = db_next(row, err)) {
		int bad = add_row(svc_reply_arena(ctx), row, reply);
		if (bad < 0) {
			db_done(row);
			return err_set(err, bad, "", "out of memory");
		}
	}
	return rc;
}
