/*
 * Calls of the grid (model/ancillary.h) become money: a penalty for what was missing. The energy that was not bought is
 * kept beside it; revenue has it as energy not paid for. That the load is held is paid by the hour (capacity.c).
 */
#include <math.h>

#include "base/money.h"
#include "services/billing/billing_priv.h"
#include "wire/pb.h"

enum { CALLS_DEFAULT = 100, CALLS_MAX = 1000, DAY_S = 86400 };
#define HOUR_NS (3600 * NS_PER_S)
#define MW_MAX 1e5
#define MWH_MAX (MW_MAX * 24)

static int check_energy(double v, const char *field, struct err *err)
{
	if (!isfinite(v) || v < 0 || v > MWH_MAX)
		return err_set(err, HCP_ERANGE, field, "must be 0 to %g", MWH_MAX);
	return 0;
}

static int check(const Hcp__AncillaryRecord *c, struct err *err)
{
	int rc;
	if (!c->id[0])
		return err_set(err, HCP_EINVAL, "id", "is empty");
	if (!isfinite(c->mw) || c->mw < 0 || c->mw > MW_MAX)
		return err_set(err, HCP_ERANGE, "mw", "must be 0 to %g", MW_MAX);
	if (c->called_at_ns < 0 || c->over_at_ns < c->called_at_ns || c->over_at_ns - c->called_at_ns > DAY_S * NS_PER_S)
		return err_set(err, HCP_ERANGE, "over_at_ns", "must lie within a day after the call");
	if ((rc = check_energy(c->dropped_mwh, "dropped_mwh", err)) < 0 ||
		(rc = check_energy(c->missed_mwh, "missed_mwh", err)) < 0)
		return rc;
	return 0;
}

static const struct site_offer *offer_of(const struct billing *b, const Hcp__AncillaryRecord *c)
{
	const struct site *s = site_of_facility(b->conf.site, b->conf.n_sites, c->facility);
	for (size_t i = 0; s && i < s->n_offers; i++)
		if (strcmp(s->offer[i].service, c->service) == 0)
			return &s->offer[i];
	return NULL;
}

static int64_t micros(double usd)
{
	return llround(usd * (double)MICROS_PER_USD); /* at most 2.4e6 MWh at 1e6 USD: far below 2^63 */
}

int billing_book_grid(struct svc_ctx *ctx, int64_t hour, int64_t micros, struct err *err)
{
	return db_run(svc_db(ctx), err,
		"INSERT INTO revenue(hour,ai_micros,mining_micros,energy_cost_micros,energy_j,hashes,expected_btc,"
		"shares_accepted,shares_rejected,ancillary_micros) VALUES($1,0,0,0,0,0.0,0.0,0,0,$2)"
		" ON CONFLICT(hour) DO UPDATE SET ancillary_micros=revenue.ancillary_micros+excluded.ancillary_micros",
		"ii", hour, micros);
}

int billing_on_call_over(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	const struct billing *b = state;
	const Hcp__AncillaryRecord *c = ((const Hcp__AncillaryCallOver *)m->body)->call;
	struct str packed;
	int rc = c ? check(c, err) : err_set(err, HCP_EINVAL, "call", "is missing");
	if (rc < 0)
		return rc;
	const struct site_offer *o = offer_of(b, c);
	double usd_mwh = (double)billing_market_power_micros_mwh(b, c->facility) / (double)MICROS_PER_USD;
	int64_t saved = micros(c->dropped_mwh * usd_mwh);
	int64_t penalty = o ? micros(c->missed_mwh * o->miss_usd_mwh) : 0;
	if (pb_pack_arena(&c->base, svc_arena(ctx), &packed) < 0)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	rc = db_run(svc_db(ctx), err,
		"INSERT INTO call(id,facility,usd_mwh,saved_micros,penalty_micros,body) VALUES($1,$2,$3,$4,$5,$6)", "zzdiib",
		c->id, c->facility, usd_mwh, saved, penalty, packed);
	return rc < 0 ? rc : billing_book_grid(ctx, c->over_at_ns / HOUR_NS, -penalty, err);
}

static int add_row(struct arena *a, const struct db_row *row, Hcp__AncillaryCalls *reply)
{
	Hcp__AncillaryRecord *c = (void *)pb_unpack_arena(&hcp__ancillary_record__descriptor, db_blob(row, 3), a);
	if (!c)
		return HCP_ENOMEM;
	c->usd_mwh = db_double(row, 0);
	c->saved_micros = db_i64(row, 1);
	c->penalty_micros = db_i64(row, 2);
	return pb_push(a, &reply->n_calls, &reply->calls, c);
}

int billing_on_calls(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	const Hcp__AncillaryCallsList *q = (const Hcp__AncillaryCallsList *)m->body;
	struct db_row *row;
	int rc;
	(void)state;
	if (q->limit < 0 || q->limit > CALLS_MAX)
		return err_set(err, HCP_ERANGE, "limit", "must be 1 to %d, was %d", CALLS_MAX, q->limit);
	Hcp__AncillaryCalls *reply = svc_reply(ctx, MSG_ANCILLARY_CALLS);
	if (!reply)
		return HCP_ENOMEM;
	for (rc = db_query(svc_db(ctx), &row, err,
			 "SELECT usd_mwh,saved_micros,penalty_micros,body FROM call WHERE $1='' OR facility=$1"
			 " ORDER BY n DESC LIMIT $2",
			 "zi", q->facility, (int64_t)(q->limit ? q->limit : CALLS_DEFAULT));
		 rc == 1; rc = db_next(row, err)) {
		int bad = add_row(svc_reply_arena(ctx), row, reply);
		if (bad < 0) {
			db_done(row);
			return err_set(err, bad, "", "out of memory");
		}
	}
	return rc;
}
