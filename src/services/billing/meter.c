/* Metered work becomes money: exactly once, in whole micro-dollars, without drift. */
#include <math.h>
#include <stdio.h>

#include "base/log.h"
#include "base/money.h"
#include "services/billing/billing_priv.h"

enum { KIND_DEVICE_TIME = 0, KIND_REQUESTS = 1 };

#define MILLION INT64_C(1000000)
#define HOUR_NS (3600 * NS_PER_S)
#define CLOCK_SLACK_NS (300 * NS_PER_S)

static int check_count(int64_t v, int64_t max, const char *field, struct err *err)
{
	if (v < 0 || v > max)
		return err_set(err, HCP_ERANGE, field, "must be 0 to %lld, was %lld", (long long)max, (long long)v);
	return 0;
}

static int check_delta(const Hcp__MeterDelta *d, struct err *err)
{
	int rc;
	if (!isfinite(d->hashes) || d->hashes < 0 || d->hashes > BILLING_HASHES_MAX)
		return err_set(err, HCP_ERANGE, "hashes", "must be 0 to %g", BILLING_HASHES_MAX);
	if ((rc = check_count(d->device_ns, BILLING_DEVICE_NS_MAX, "device_ns", err)) < 0 ||
	    (rc = check_count(d->energy_j, BILLING_ENERGY_J_MAX, "energy_j", err)) < 0 ||
	    (rc = check_count(d->requests, BILLING_COUNT_MAX, "requests", err)) < 0 ||
	    (rc = check_count(d->tokens, BILLING_COUNT_MAX, "tokens", err)) < 0 ||
	    (rc = check_count(d->shares_accepted, BILLING_COUNT_MAX, "shares_accepted", err)) < 0 ||
	    (rc = check_count(d->shares_rejected, BILLING_COUNT_MAX, "shares_rejected", err)) < 0)
		return rc;
	return 0;
}

/* A clock that is wrong must not put money into another year. */
static int64_t delta_time(const Hcp__MeterDelta *d, int64_t now_ns)
{
	return d->to_ns > 0 && d->to_ns <= now_ns + CLOCK_SLACK_NS ? d->to_ns : now_ns;
}

static int store_hour(struct svc_ctx *ctx, const struct hour_sum *h, struct err *err)
{
	return db_run(svc_db(ctx), err,
		      "INSERT INTO revenue(hour,ai_micros,mining_micros,energy_cost_micros,energy_j,hashes,expected_btc,"
		      "shares_accepted,shares_rejected) VALUES($1,$2,$3,$4,$5,$6,$7,$8,$9) ON CONFLICT(hour) DO UPDATE SET"
		      " ai_micros=ai_micros+excluded.ai_micros, mining_micros=mining_micros+excluded.mining_micros,"
		      " energy_cost_micros=energy_cost_micros+excluded.energy_cost_micros, energy_j=energy_j+excluded.energy_j,"
		      " hashes=hashes+excluded.hashes, expected_btc=expected_btc+excluded.expected_btc,"
		      " shares_accepted=shares_accepted+excluded.shares_accepted,"
		      " shares_rejected=shares_rejected+excluded.shares_rejected",
		      "iiiiiddii", h->hour, h->ai_micros, h->mining_micros, h->energy_cost_micros, h->energy_j, h->hashes,
		      h->expected_btc, h->shares_accepted, h->shares_rejected);
}

static int store_hours(struct billing *b, struct svc_ctx *ctx, struct err *err)
{
	int rc = 0;
	for (size_t i = 0; i < b->n_hours && rc == 0; i++)
		rc = store_hour(ctx, &b->hours[i], err);
	b->n_hours = 0;
	return rc;
}

/* The sum of an hour in this batch. */
static int hour_of(struct billing *b, struct svc_ctx *ctx, int64_t hour, struct hour_sum **ret, struct err *err)
{
	size_t i = 0;
	while (i < b->n_hours && b->hours[i].hour != hour)
		i++;
	int rc = i == BILLING_HOURS_A_BATCH ? store_hours(b, ctx, err) : 0;
	if (rc < 0)
		return rc;
	i = i == BILLING_HOURS_A_BATCH ? 0 : i;
	if (i == b->n_hours)
		b->hours[b->n_hours++] = (struct hour_sum){ .hour = hour };
	*ret = &b->hours[i];
	return 0;
}

int billing_settle(void *state, struct svc_ctx *ctx, struct err *err)
{
	struct billing *b = state;
	int rc = store_hours(b, ctx, err);
	if (rc < 0 || (b->rests.energy == b->rests_saved.energy && b->rests.mining == b->rests_saved.mining))
		return rc;
	b->rests_saved = b->rests;
	return db_run(svc_db(ctx), err,
		"INSERT INTO rests(one,energy,mining) VALUES(1,$1,$2) ON CONFLICT(one) DO UPDATE SET"
		" energy=excluded.energy, mining=excluded.mining",
		"ii", b->rests.energy, b->rests.mining);
}

/* ---- device time of allocations ---- */

struct allocation {
	char customer[BILLING_NAME_MAX], workload[BILLING_NAME_MAX];
	char mig[16];
	int64_t part_milli; /* 0: whole devices */
	int64_t price_micros_h, amount_micros, rest;
};

static int load_allocation(struct svc_ctx *ctx, const char *id, struct allocation *a, struct err *err)
{
	struct db_row *row;
	int rc = db_query(svc_db(ctx), &row, err,
		"SELECT customer_id,workload_id,price_micros_h,amount_micros,rest,"
		"part_milli,mig FROM allocation WHERE id=$1",
		"z", id);
	if (rc != 1)
		return rc < 0 ? rc : HCP_ENOTFOUND;
	*a = (struct allocation){ .price_micros_h = db_i64(row, 2),
		.amount_micros = db_i64(row, 3),
		.rest = db_i64(row, 4),
		.part_milli = db_i64(row, 5) };
	rc = str_copy(a->customer, sizeof(a->customer), db_text(row, 0));
	if (rc == 0)
		rc = str_copy(a->workload, sizeof(a->workload), db_text(row, 1));
	if (rc == 0)
		rc = str_copy(a->mig, sizeof(a->mig), db_text(row, 6));
	db_done(row);
	return rc < 0 ? err_set(err, HCP_ECORRUPT, "allocation", "%.40s cannot be read", id) : 0;
}

/* Time metered before the allocation is known waits in a row without a price; HELD prices it. */
static int open_unpriced(struct svc_ctx *ctx, const Hcp__MeterDelta *d, int64_t at_ns, struct err *err)
{
	log_debug("billing", "allocation %.40s is metered before it is held", d->allocation_id);
	return db_run(svc_db(ctx), err,
		      "INSERT INTO allocation(id,customer_id,workload_id,class,devices,price_micros_h,opened_ns,closed_ns,"
		      "device_s,device_rest_ns,energy_j,amount_micros,rest) VALUES($1,$2,'',$3,0,-1,$4,0,0,0,0,0,0)", "zzzi",
		      d->allocation_id, d->customer_id, d->device_class, at_ns);
}

static int add_usage_time(struct svc_ctx *ctx, const struct allocation *a, const char *cls, int64_t month,
			  int64_t device_ns, int64_t energy_j, int64_t amount_micros, struct err *err)
{
	return db_run(svc_db(ctx), err,
		"INSERT INTO usage(customer_id,month,kind,workload_id,class,device_s,device_rest_ns,energy_j,requests,"
		"tokens,amount_micros,token_micros,token_rest,request_rest,part_milli,mig)"
		" VALUES($1,$2,0,$3,$4,$5,$6,$7,0,0,$8,0,0,0,$9,$10)"
		" ON CONFLICT(customer_id,month,kind,workload_id,class) DO UPDATE SET"
		" device_s=device_s+excluded.device_s+(device_rest_ns+excluded.device_rest_ns)/1000000000,"
		" device_rest_ns=(device_rest_ns+excluded.device_rest_ns)%1000000000,"
		" energy_j=energy_j+excluded.energy_j, amount_micros=amount_micros+excluded.amount_micros,"
		" part_milli=excluded.part_milli, mig=excluded.mig",
		"zizziiiiiz", a->customer, month, a->workload, cls, device_ns / NS_PER_S, device_ns % NS_PER_S, energy_j,
		amount_micros, a->part_milli, a->mig);
}

/* Σ of what this returns in *ret over an allocation's life is floor(Σ device_ns × price / hour). */
static int bill_time(struct svc_ctx *ctx, const Hcp__MeterDelta *d, int64_t at_ns, int64_t *ret_micros, struct err *err)
{
	struct allocation a;
	bool works = strcmp(d->activity, "off") != 0; /* time in which the devices did nothing is not sold */
	int rc = load_allocation(ctx, d->allocation_id, &a, err);
	if (rc == HCP_ENOTFOUND) {
		rc = open_unpriced(ctx, d, at_ns, err);
		if (rc == 0)
			rc = load_allocation(ctx, d->allocation_id, &a, err);
	}
	if (rc < 0)
		return rc;
	int64_t sold_ns = works ? d->device_ns : 0;
	int64_t micros = a.price_micros_h >= 0 ? billing_take_whole(sold_ns, a.price_micros_h, HOUR_NS, &a.rest) : 0;
	rc = db_run(svc_db(ctx), err,
		    "UPDATE allocation SET device_s=device_s+$2+(device_rest_ns+$3)/1000000000,"
		    " device_rest_ns=(device_rest_ns+$3)%1000000000, energy_j=energy_j+$4, amount_micros=amount_micros+$5,"
		    " rest=$6 WHERE id=$1", "ziiiii", d->allocation_id, sold_ns / NS_PER_S, sold_ns % NS_PER_S, d->energy_j,
		    micros, a.rest);
	*ret_micros = micros;
	/* Without a price the customer may be unknown too: the usage is put down when HELD says whose it is. */
	if (rc < 0 || a.price_micros_h < 0)
		return rc;
	return add_usage_time(ctx, &a, d->device_class, billing_month_of(at_ns), sold_ns, d->energy_j, micros, err);
}

/* ---- requests at endpoints ---- */

static int bill_requests(const struct billing *b, struct svc_ctx *ctx, const Hcp__MeterDelta *d, int64_t at_ns,
			 int64_t *ret_micros, struct err *err)
{
	struct db_row *row;
	int64_t month = billing_month_of(at_ns), token_rest = 0, request_rest = 0;
	int rc = db_query(svc_db(ctx), &row, err,
		"SELECT token_rest,request_rest FROM usage WHERE customer_id=$1 AND month=$2"
		" AND kind=1 AND workload_id='' AND class=$3",
		"ziz", d->customer_id, month, d->device_class);
	if (rc < 0)
		return rc;
	if (rc == 1) {
		token_rest = db_i64(row, 0);
		request_rest = db_i64(row, 1);
		db_done(row);
	}
	int64_t token_micros = billing_take_whole(d->tokens, b->conf.token_micros_million, MILLION, &token_rest);
	int64_t micros =
		token_micros + billing_take_whole(d->requests, b->conf.request_micros_million, MILLION, &request_rest);
	*ret_micros = micros;
	return db_run(svc_db(ctx), err,
		"INSERT INTO usage(customer_id,month,kind,workload_id,class,device_s,device_rest_ns,energy_j,requests,"
		"tokens,amount_micros,token_micros,token_rest,request_rest) VALUES($1,$2,1,'',$3,0,0,$4,$5,$6,$7,$8,$9,$10)"
		" ON CONFLICT(customer_id,month,kind,workload_id,class) DO UPDATE SET energy_j=energy_j+excluded.energy_j,"
		" requests=requests+excluded.requests, tokens=tokens+excluded.tokens,"
		" amount_micros=amount_micros+excluded.amount_micros, token_micros=token_micros+excluded.token_micros,"
		" token_rest=excluded.token_rest, request_rest=excluded.request_rest",
		"ziziiiiiii", d->customer_id, month, d->device_class, d->energy_j, d->requests, d->tokens, micros, token_micros,
		token_rest, request_rest);
}

/* ---- the event ---- */

/* Expected, at the hashprice of now. Rounded once a delta to a millionth of a micro-dollar; those add up exactly. */
static void book_mining(struct billing *b, const Hcp__MeterDelta *d, const char *facility, int64_t now_ns,
			struct hour_sum *h)
{
	double btc = d->hashes * billing_market_btc_per_hash(b, facility, now_ns);
	double fine = btc * b->market.btc_usd * (double)MICROS_PER_USD * (double)MILLION;
	h->hashes += d->hashes;
	h->expected_btc += btc;
	h->mining_micros +=
		billing_take_whole(fine < 9e18 ? llround(fine) : INT64_C(9000000000000000000), 1, MILLION, &b->rests.mining);
}

static int book_delta(
	struct billing *b, struct svc_ctx *ctx, const Hcp__MeterDelta *d, const char *facility, struct err *err)
{
	int64_t now = svc_now_ns(ctx), at = delta_time(d, now), micros = 0;
	struct hour_sum *h;
	int rc = hour_of(b, ctx, at / HOUR_NS, &h, err);
	if (rc < 0)
		return rc;
	h->energy_j += d->energy_j;
	h->energy_cost_micros +=
		billing_take_whole(d->energy_j, billing_market_power_micros_mwh(b, facility), J_PER_MWH, &b->rests.energy);
	h->shares_accepted += d->shares_accepted;
	h->shares_rejected += d->shares_rejected;
	/* A customer's own mining earns the customer the coins and us the device time. */
	if (d->hashes > 0 && !d->allocation_id[0])
		book_mining(b, d, facility, now, h);
	if (d->allocation_id[0])
		rc = bill_time(ctx, d, at, &micros, err);
	else if (d->customer_id[0] && (d->requests || d->tokens))
		rc = bill_requests(b, ctx, d, at, &micros, err);
	h->ai_micros += micros;
	return rc;
}

int billing_on_metered(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	struct billing *b = state;
	const Hcp__Metered *ev = (const Hcp__Metered *)m->body;
	for (size_t i = 0; i < ev->n_deltas; i++) {
		const Hcp__MeterDelta *d = ev->deltas[i];
		int rc = check_delta(d, err);
		if (rc == 0 && (strlen(d->customer_id) >= BILLING_NAME_MAX || strlen(d->allocation_id) >= BILLING_NAME_MAX))
			rc = err_set(err, HCP_ERANGE, "allocation_id", "longer than %d characters", BILLING_NAME_MAX - 1);
		if (rc < 0) {
			char prefix[40];
			snprintf(prefix, sizeof(prefix), "deltas[%zu]", i);
			err_prefix(err, prefix);
			return rc;
		}
	}
	int rc = 0;
	for (size_t i = 0; rc == 0 && i < ev->n_deltas; i++)
		rc = book_delta(b, ctx, ev->deltas[i], ev->facility, err);
	return rc;
}

/* ---- allocations ---- */

static int64_t part_milli(const Hcp__AllocationChanged *a)
{
	return a->share ? a->share->milli : 0;
}

static const char *mig(const Hcp__AllocationChanged *a)
{
	return a->share ? a->share->mig_profile : "";
}

/* What was metered without a price is sold now, at the price and in the hour of HELD. */
static int price_waiting(
	struct billing *b, struct svc_ctx *ctx, const Hcp__AllocationChanged *a, int64_t at_ns, struct err *err)
{
	struct db_row *row;
	struct allocation to = { .price_micros_h = a->price_micros_h };
	int rc = db_query(svc_db(ctx), &row, err,
		"SELECT device_s,device_rest_ns,energy_j,class FROM allocation WHERE id=$1", "z", a->allocation_id);
	if (rc != 1)
		return rc;
	int64_t s = db_i64(row, 0), rest_ns = db_i64(row, 1), energy_j = db_i64(row, 2);
	const char *cls = arena_strndup(svc_arena(ctx), db_text(row, 3).p, db_text(row, 3).n);
	db_done(row);
	if (!cls)
		return HCP_ENOMEM;
	snprintf(to.customer, sizeof(to.customer), "%s", a->customer_id);
	snprintf(to.workload, sizeof(to.workload), "%s", a->workload_id);
	to.part_milli = part_milli(a);
	snprintf(to.mig, sizeof(to.mig), "%s", mig(a));
	int64_t rest_s = 0, micros = billing_take_whole(s, a->price_micros_h, 3600, &rest_s);
	to.rest = rest_s * NS_PER_S;
	micros += billing_take_whole(rest_ns, a->price_micros_h, HOUR_NS, &to.rest);
	rc = db_run(svc_db(ctx), err,
		"UPDATE allocation SET customer_id=$2, workload_id=$3, class=$4, devices=$5,"
		" price_micros_h=$6, amount_micros=$7, rest=$8, part_milli=$9, mig=$10 WHERE id=$1",
		"zzzziiiiiz", a->allocation_id, a->customer_id, a->workload_id, a->device_class, (int64_t)a->n_device_ids,
		a->price_micros_h, micros, to.rest, to.part_milli, to.mig);
	if (rc == 0)
		rc = add_usage_time(ctx, &to, cls, billing_month_of(at_ns), 0, energy_j, micros, err);
	/* Whole seconds apart: nanoseconds of a large allocation may not fit. */
	if (rc == 0)
		rc = db_run(svc_db(ctx), err, "UPDATE usage SET device_s=device_s+$5+(device_rest_ns+$6)/1000000000,"
			    " device_rest_ns=(device_rest_ns+$6)%1000000000 WHERE customer_id=$1 AND month=$2 AND kind=0"
			    " AND workload_id=$3 AND class=$4", "zizzii", to.customer, billing_month_of(at_ns), to.workload, cls, s,
			    rest_ns);
	struct hour_sum *h;
	if (rc == 0)
		rc = hour_of(b, ctx, at_ns / HOUR_NS, &h, err);
	if (rc == 0)
		h->ai_micros += micros;
	return rc;
}

static int open_allocation(
	struct billing *b, struct svc_ctx *ctx, const Hcp__AllocationChanged *a, int64_t at_ns, struct err *err)
{
	struct allocation have;
	int rc = db_run(svc_db(ctx), err,
		"INSERT INTO allocation(id,customer_id,workload_id,class,devices,price_micros_h,opened_ns,closed_ns,"
		"device_s,device_rest_ns,energy_j,amount_micros,rest,part_milli,mig)"
		" VALUES($1,$2,$3,$4,$5,$6,$7,0,0,0,0,0,0,$8,$9) ON CONFLICT(id) DO NOTHING",
		"zzzziiiiz", a->allocation_id, a->customer_id, a->workload_id, a->device_class, (int64_t)a->n_device_ids,
		a->price_micros_h, at_ns, part_milli(a), mig(a));
	if (rc < 0 || db_changes(svc_db(ctx)))
		return rc;
	rc = load_allocation(ctx, a->allocation_id, &have, err);
	/* A price is fixed once held. */
	return rc < 0 || have.price_micros_h >= 0 ? rc : price_waiting(b, ctx, a, at_ns, err);
}

int billing_on_allocation(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	const Hcp__AllocationChanged *a = (const Hcp__AllocationChanged *)m->body;
	int64_t now = svc_now_ns(ctx), at = a->at_ns > 0 && a->at_ns <= now + CLOCK_SLACK_NS ? a->at_ns : now;
	if (!a->allocation_id[0])
		return err_set(err, HCP_EINVAL, "allocation_id", "missing");
	if (strlen(a->allocation_id) >= BILLING_NAME_MAX || strlen(a->customer_id) >= BILLING_NAME_MAX ||
	    strlen(a->workload_id) >= BILLING_NAME_MAX)
		return err_set(err, HCP_ERANGE, "allocation_id", "longer than %d characters", BILLING_NAME_MAX - 1);
	if (part_milli(a) < 0 || part_milli(a) > 1000 || strlen(mig(a)) >= sizeof(((struct allocation *)0)->mig))
		return err_set(err, HCP_ERANGE, "share", "milli must be 1 to 1000, a profile's name is short");
	if (a->price_micros_h < 0 || a->price_micros_h > BILLING_PRICE_MICROS_H_MAX)
		return err_set(err, HCP_ERANGE, "price_micros_h", "must be 0 to %lld", (long long)BILLING_PRICE_MICROS_H_MAX);
	if (a->state == HCP__ALLOCATION_STATE__HELD)
		return open_allocation(state, ctx, a, at, err);
	if (a->state != HCP__ALLOCATION_STATE__RELEASED && a->state != HCP__ALLOCATION_STATE__REFUSED)
		return 0;
	/* Meters of its last seconds may follow; they are still billed. */
	return db_run(svc_db(ctx), err, "UPDATE allocation SET closed_ns=$2 WHERE id=$1 AND closed_ns=0", "zi",
		      a->allocation_id, at);
}

int billing_on_workload(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	const Hcp__WorkloadChanged *ev = (const Hcp__WorkloadChanged *)m->body;
	/* Names are wanted of work that ran; the rest is not worth a write. */
	if (!ev->workload || ev->workload->state != HCP__WORKLOAD_STATE__RUNNING)
		return 0;
	return db_run(svc_db(ctx), err, "INSERT INTO workload(id,name) VALUES($1,$2) ON CONFLICT(id) DO NOTHING", "zz",
		      ev->workload->id, ev->workload->name);
}
