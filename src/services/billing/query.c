/* Usage of a month as an invoice shows it, and revenue by hour. */
#include <inttypes.h>
#include <stdio.h>

#include "base/money.h"
#include "base/num.h"
#include "base/timefmt.h"
#include "services/billing/billing_priv.h"

#define HOUR_NS (3600 * NS_PER_S)

enum { HOURS_DEFAULT = 24, YEAR_MIN = 2009, YEAR_MAX = 9999 };

int64_t billing_month_of(int64_t ns)
{
	int64_t year, days = ns / (86400 * NS_PER_S);
	int month, day;
	timefmt_civil(days, &year, &month, &day);
	return year * 12 + month - 1;
}

static int parse_month(const char *text, int64_t now_ns, int64_t *ret, struct err *err)
{
	struct str s = str_of(text);
	int64_t year, month;
	if (!s.n) {
		*ret = billing_month_of(now_ns);
		return 0;
	}
	if (s.n != 7 || s.p[4] != '-' || num_parse_i64((struct str){ s.p, 4 }, &year) < 0 ||
		num_parse_i64((struct str){ s.p + 5, 2 }, &month) < 0 || year < YEAR_MIN || year > YEAR_MAX || month < 1 ||
		month > 12)
		return err_set(err, HCP_EINVAL, "month", "must be like 2026-11, was %.20s", text);
	*ret = year * 12 + month - 1;
	return 0;
}

struct sums {
	int64_t device_s, device_rest_ns, energy_j, requests, tokens, amount_micros, token_micros, part_milli;
	const char *mig;
};

static Hcp__UsageLine *add_line(struct arena *a, Hcp__Usage *u, const char *kind, const char *unit, double quantity)
{
	Hcp__UsageLine *l = arena_alloc(a, sizeof(*l));
	if (!l)
		return NULL;
	hcp__usage_line__init(l);
	l->kind = kind;
	l->unit = unit;
	l->quantity = quantity;
	return pb_push(a, &u->n_lines, &u->lines, l) < 0 ? NULL : l;
}

static int add_time_line(struct arena *a, Hcp__Usage *u, const struct sums *s, const char *workload, const char *name,
			 const char *cls)
{
	double hours = ((double)s->device_s + (double)s->device_rest_ns / (double)NS_PER_S) / 3600;
	Hcp__UsageLine *l = add_line(a, u, "device_hours", "h", hours);
	if (!l)
		return HCP_ENOMEM;
	l->workload_id = workload;
	l->workload_name = name;
	l->device_class = cls;
	l->amount_micros = s->amount_micros;
	l->energy_j = s->energy_j;
	l->gpu_fraction = (double)s->part_milli / 1000;
	l->mig_profile = s->mig;
	if (num_mul_i64(s->device_s, NS_PER_S, &l->device_ns) < 0 ||
		num_add_i64(l->device_ns, s->device_rest_ns, &l->device_ns) < 0)
		l->device_ns = INT64_MAX; /* more than 292 device-years; the hours above are exact enough */
	return 0;
}

static int add_request_lines(struct arena *a, Hcp__Usage *u, const struct sums *s, const char *cls)
{
	Hcp__UsageLine *requests = add_line(a, u, "requests", "request", (double)s->requests);
	Hcp__UsageLine *tokens = requests ? add_line(a, u, "tokens", "token", (double)s->tokens) : NULL;
	if (!tokens)
		return HCP_ENOMEM;
	requests->device_class = tokens->device_class = cls;
	requests->amount_micros = s->amount_micros - s->token_micros;
	requests->energy_j = s->energy_j;
	tokens->amount_micros = s->token_micros;
	return 0;
}

static const char *keep(struct arena *a, struct str s)
{
	return arena_strndup(a, s.p ? s.p : "", s.n);
}

static int add_row(struct arena *a, Hcp__Usage *u, const struct db_row *row)
{
	struct sums s = { .device_s = db_i64(row, 3),
		.device_rest_ns = db_i64(row, 4),
		.energy_j = db_i64(row, 5),
		.requests = db_i64(row, 6),
		.tokens = db_i64(row, 7),
		.amount_micros = db_i64(row, 8),
		.token_micros = db_i64(row, 9),
		.part_milli = db_i64(row, 11),
		.mig = keep(a, db_text(row, 12)) };
	const char *workload = keep(a, db_text(row, 1)), *cls = keep(a, db_text(row, 2)), *name = keep(a, db_text(row, 10));
	if (!workload || !cls || !name || !s.mig)
		return HCP_ENOMEM;
	return db_i64(row, 0) ? add_request_lines(a, u, &s, cls) : add_time_line(a, u, &s, workload, name, cls);
}

/* customer "": all of them. The dearest lines first; *ret_seen is what they add up to. */
static int add_lines(struct svc_ctx *ctx, const char *customer, int64_t month, Hcp__Usage *u, int64_t *ret_seen,
		     struct err *err)
{
	struct db_row *row;
	struct arena *a = svc_reply_arena(ctx);
	int rc;
	*ret_seen = 0;
	for (rc =
			 customer[0]
				 ? db_query(svc_db(ctx), &row, err,
					   "SELECT kind,workload_id,class,device_s,device_rest_ns,u.energy_j,requests,tokens,amount_micros,"
					   "token_micros,coalesce(w.name,''),part_milli,mig FROM usage u LEFT JOIN workload w ON "
					   "w.id=u.workload_id"
					   " WHERE customer_id=$1 AND month=$2 ORDER BY amount_micros DESC,workload_id,class LIMIT $3",
					   "zii", customer, month, (int64_t)BILLING_LINES_MAX)
				 : db_query(svc_db(ctx), &row, err,
					   "SELECT kind,workload_id,class,device_s,device_rest_ns,u.energy_j,requests,tokens,amount_micros,"
					   "token_micros,coalesce(w.name,''),part_milli,mig FROM usage u LEFT JOIN workload w ON "
					   "w.id=u.workload_id"
					   " WHERE month=$1 ORDER BY amount_micros DESC,customer_id,workload_id,class LIMIT $2",
					   "ii", month, (int64_t)BILLING_LINES_MAX);
		 rc == 1; rc = db_next(row, err)) {
		*ret_seen += db_i64(row, 8);
		if (add_row(a, u, row) < 0) {
			db_done(row);
			return HCP_ENOMEM;
		}
	}
	return rc;
}

static int add_totals(
	struct svc_ctx *ctx, const char *customer, int64_t month, int64_t seen, Hcp__Usage *u, struct err *err)
{
	struct db_row *row;
	int rc = db_query(svc_db(ctx), &row, err, "SELECT coalesce(sum(amount_micros),0),count(*) FROM usage"
			  " WHERE month=$1 AND ($2='' OR customer_id=$2)", "iz", month, customer);
	if (rc != 1)
		return rc;
	int64_t count = db_i64(row, 1);
	u->total_micros = db_i64(row, 0);
	db_done(row);
	if (count <= BILLING_LINES_MAX)
		return 0;
	Hcp__UsageLine *l = add_line(svc_reply_arena(ctx), u, "other", "line", (double)(count - BILLING_LINES_MAX));
	if (!l)
		return HCP_ENOMEM;
	l->amount_micros = u->total_micros - seen;
	return 0;
}

int billing_on_usage(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	const Hcp__UsageGet *g = (const Hcp__UsageGet *)m->body;
	const char *customer = g->customer_id;
	int64_t month = 0, seen = 0;
	bool own_only = m->principal && m->principal->role == HCP__ROLE__CUSTOMER;
	if (own_only &&
		(!m->principal->customer_id[0] || (customer[0] && strcmp(customer, m->principal->customer_id) != 0)))
		return err_set(err, HCP_ENOTFOUND, "customer_id", "there is no customer %.40s", customer);
	if (own_only)
		customer = m->principal->customer_id;
	int rc = parse_month(g->month, svc_now_ns(ctx), &month, err);
	if (rc < 0)
		return rc;
	Hcp__Usage *u = svc_reply(ctx, MSG_USAGE);
	if (!u)
		return HCP_ENOMEM;
	struct arena *a = svc_reply_arena(ctx);
	u->customer_id = arena_strdup(a, customer);
	u->month = arena_printf(a, "%04" PRId64 "-%02" PRId64, month / 12, month % 12 + 1);
	u->currency = "USD";
	if (!u->customer_id || !u->month)
		return HCP_ENOMEM;
	rc = add_lines(ctx, customer, month, u, &seen, err);
	return rc < 0 ? rc : add_totals(ctx, customer, month, seen, u, err);
}

static void fill_hour(Hcp__RevenueHour *h, Hcp__Revenue *r, const struct db_row *row)
{
	h->ai_micros = db_i64(row, 1);
	h->mining_micros = db_i64(row, 2);
	h->energy_cost_micros = db_i64(row, 3);
	h->energy_j = db_i64(row, 4);
	h->hashes = db_double(row, 5);
	h->expected_btc = db_double(row, 6);
	h->ancillary_micros = db_i64(row, 9);
	r->ancillary_micros += h->ancillary_micros;
	r->ai_micros += h->ai_micros;
	r->mining_micros += h->mining_micros;
	r->energy_cost_micros += h->energy_cost_micros;
	r->energy_j += h->energy_j;
	r->expected_btc += h->expected_btc;
	r->shares_accepted += db_i64(row, 7);
	r->shares_rejected += db_i64(row, 8);
}

/* Every hour of the span, oldest first, so that a chart has no holes; the last is the present one. */
int billing_on_revenue(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	const Hcp__RevenueGet *g = (const Hcp__RevenueGet *)m->body;
	if (g->hours < 0 || g->hours > BILLING_HOURS_MAX)
		return err_set(err, HCP_ERANGE, "hours", "must be 1 to %d, was %d", BILLING_HOURS_MAX, g->hours);
	int64_t n = g->hours ? g->hours : HOURS_DEFAULT, last = svc_now_ns(ctx) / HOUR_NS, first = last - n + 1;
	Hcp__Revenue *r = svc_reply(ctx, MSG_REVENUE);
	if (!r)
		return HCP_ENOMEM;
	struct arena *a = svc_reply_arena(ctx);
	Hcp__RevenueHour *hours = arena_alloc(a, (size_t)n * sizeof(*hours));
	r->hours = arena_alloc(a, (size_t)n * sizeof(*r->hours));
	if (!hours || !r->hours)
		return HCP_ENOMEM;
	r->n_hours = (size_t)n;
	for (int64_t i = 0; i < n; i++) {
		hcp__revenue_hour__init(&hours[i]);
		hours[i].hour_start_ns = (first + i) * HOUR_NS;
		r->hours[i] = &hours[i];
	}
	struct db_row *row;
	int rc;
	for (rc = db_query(svc_db(ctx), &row, err,
			 "SELECT hour,ai_micros,mining_micros,energy_cost_micros,energy_j,hashes,"
			 "expected_btc,shares_accepted,shares_rejected,ancillary_micros FROM revenue WHERE hour>=$1 AND hour<=$2 "
			 "ORDER BY hour",
			 "ii", first, last);
		 rc == 1; rc = db_next(row, err))
		fill_hour(&hours[db_i64(row, 0) - first], r, row);
	r->net_micros = r->ai_micros + r->mining_micros + r->ancillary_micros - r->energy_cost_micros;
	return rc;
}
