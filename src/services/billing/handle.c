#include "services/billing/billing.h"

#include "base/mem.h"
#include "base/panic.h"
#include "services/billing/billing_priv.h"
#include "services/common/news.h"

/*
 * allocation  price as it was when the devices were held; rest in device-ns × micros/h below a micro-dollar
 * usage       by customer, month, workload and class; kind 0 device time, 1 requests at endpoints;
 *             device time in whole seconds and a rest, since nanoseconds of a fleet overflow 64 bits
 * part_milli  thousandths of one device (its time is metered as so much of the device's); 0: whole ones
 * revenue     by hour of UTC
 */
static const char *const schema[] = {
	"CREATE TABLE allocation(id TEXT PRIMARY KEY, customer_id TEXT NOT NULL, workload_id TEXT NOT NULL,"
	"  class TEXT NOT NULL, devices INTEGER NOT NULL, price_micros_h INTEGER NOT NULL, opened_ns INTEGER NOT NULL,"
	"  closed_ns INTEGER NOT NULL, device_s INTEGER NOT NULL, device_rest_ns INTEGER NOT NULL, energy_j INTEGER NOT "
	"NULL,"
	"  amount_micros INTEGER NOT NULL, rest INTEGER NOT NULL) WITHOUT ROWID;"
	"CREATE TABLE usage(customer_id TEXT NOT NULL, month INTEGER NOT NULL, kind INTEGER NOT NULL,"
	"  workload_id TEXT NOT NULL, class TEXT NOT NULL, device_s INTEGER NOT NULL, device_rest_ns INTEGER NOT NULL,"
	"  energy_j INTEGER NOT NULL, requests INTEGER NOT NULL, tokens INTEGER NOT NULL, amount_micros INTEGER NOT NULL,"
	"  token_micros INTEGER NOT NULL, token_rest INTEGER NOT NULL, request_rest INTEGER NOT NULL,"
	"  PRIMARY KEY(customer_id, month, kind, workload_id, class)) WITHOUT ROWID;"
	"CREATE INDEX usage_month ON usage(month);"
	"CREATE TABLE revenue(hour INTEGER PRIMARY KEY, ai_micros INTEGER NOT NULL, mining_micros INTEGER NOT NULL,"
	"  energy_cost_micros INTEGER NOT NULL, energy_j INTEGER NOT NULL, hashes REAL NOT NULL, expected_btc REAL NOT "
	"NULL,"
	"  shares_accepted INTEGER NOT NULL, shares_rejected INTEGER NOT NULL);"
	"CREATE TABLE workload(id TEXT PRIMARY KEY, name TEXT NOT NULL) WITHOUT ROWID;"
	"CREATE TABLE price(n INTEGER PRIMARY KEY, symbol TEXT NOT NULL, location TEXT NOT NULL, value REAL NOT NULL,"
	"  market_ns INTEGER NOT NULL, UNIQUE(symbol, location));"
	"CREATE TABLE rests(one INTEGER PRIMARY KEY CHECK(one = 1), energy INTEGER NOT NULL, mining INTEGER NOT NULL);",
	"ALTER TABLE allocation ADD COLUMN part_milli INTEGER NOT NULL DEFAULT 0;"
	"ALTER TABLE allocation ADD COLUMN mig TEXT NOT NULL DEFAULT '';"
	"ALTER TABLE usage ADD COLUMN part_milli INTEGER NOT NULL DEFAULT 0;" /* as it was held last */
	"ALTER TABLE usage ADD COLUMN mig TEXT NOT NULL DEFAULT '';",
	/* call: of the grid, as settled; body: AncillaryCallOver. revenue.ancillary_micros: paid less penalties */
	"CREATE TABLE call(n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, facility TEXT NOT NULL, usd_mwh REAL NOT NULL,"
	"  saved_micros INTEGER NOT NULL, paid_micros INTEGER NOT NULL, penalty_micros INTEGER NOT NULL, body BLOB NOT "
	"NULL);"
	"ALTER TABLE revenue ADD COLUMN ancillary_micros INTEGER NOT NULL DEFAULT 0;",
	/*
	 * held: load held ready for the grid in an hour of UTC, market_hour being the market's; priced 0: not paid yet
	 * capacity_price: of an hour of the market; ahead_ns: the market's time less ours when it was told
	 */
	"CREATE TABLE held(n INTEGER PRIMARY KEY, facility TEXT NOT NULL, service TEXT NOT NULL, from_ns INTEGER NOT NULL,"
	"  to_ns INTEGER NOT NULL, offered_mw_h REAL NOT NULL, held_mw_h REAL NOT NULL, market_hour INTEGER NOT NULL,"
	"  priced INTEGER NOT NULL, usd_mw_h REAL NOT NULL, paid_micros INTEGER NOT NULL);"
	"CREATE INDEX held_unpaid ON held(service, market_hour) WHERE priced = 0;"
	"CREATE TABLE capacity_price(service TEXT NOT NULL, hour INTEGER NOT NULL, usd_mw_h REAL NOT NULL,"
	"  ahead_ns INTEGER NOT NULL, PRIMARY KEY(service, hour)) WITHOUT ROWID;"
	"ALTER TABLE call DROP COLUMN paid_micros;",
	NULL,
};

int64_t billing_take_whole(int64_t amount, int64_t price, int64_t unit, int64_t *rest)
{
	__int128 n = (__int128)amount * price + *rest;
	__int128 whole = n / unit, left = n % unit;
	if (left < 0) {
		left += unit;
		whole--;
	}
	must(whole <= INT64_MAX && whole >= INT64_MIN);
	*rest = (int64_t)left;
	return (int64_t)whole;
}

static int load_rests(struct billing *b, struct db *db, struct err *err)
{
	struct db_row *row;
	int rc = db_query(db, &row, err, "SELECT energy,mining FROM rests", "");
	if (rc != 1)
		return rc;
	b->rests = b->rests_saved = (struct rests){ db_i64(row, 0), db_i64(row, 1) };
	db_done(row);
	return 0;
}

static int billing_open(struct svc *svc, struct db *db, const void *conf, void **ret_state, struct err *err)
{
	struct billing *b = mem_calloc(1, sizeof(*b));
	if (!b)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	if (conf)
		b->conf = *(const struct billing_conf *)conf;
	if (!b->conf.token_micros_million)
		b->conf.token_micros_million = BILLING_TOKEN_MICROS;
	if (b->conf.token_micros_million < 0)
		b->conf.token_micros_million = 0;
	if (b->conf.request_micros_million < 0)
		b->conf.request_micros_million = 0;
	int rc = billing_market_load(b, db, err);
	if (rc == 0)
		rc = load_rests(b, db, err);
	if (rc == 0 && (b->conf.token_micros_million > BILLING_PRICE_MICROS_H_MAX ||
			b->conf.request_micros_million > BILLING_PRICE_MICROS_H_MAX))
		rc = err_set(err, HCP_ERANGE, "token_micros_million", "more than 10,000 USD a million");
	if (rc < 0) {
		mem_free(b);
		return rc;
	}
	*ret_state = b;
	return 0;
}

static const struct svc_handler handlers[] = {
	{ MSG_METERED, billing_on_metered, false },
	{ MSG_ALLOCATION_CHANGED, billing_on_allocation, false },
	{ MSG_MARKET_MOVED, billing_on_market_moved, false },
	{ MSG_WORKLOAD_CHANGED, billing_on_workload, false },
	{ MSG_ANCILLARY_CALL_OVER, billing_on_call_over, false },
	{ MSG_ANCILLARY_CALLS_LIST, billing_on_calls, true },
	{ MSG_ANCILLARY_HELD, billing_on_held, false },
	{ MSG_ANCILLARY_HOURS_LIST, billing_on_ancillary_hours, true },
	{ MSG_USAGE_GET, billing_on_usage, true },
	{ MSG_REVENUE_GET, billing_on_revenue, true },
	{ 0 },
};

/* Of workloads those that run, of allocations what changes who has devices. */
static bool billing_wants(unsigned type, struct str body)
{
	if (type == MSG_ALLOCATION_CHANGED)
		return news_of_allocation(body);
	return type != MSG_WORKLOAD_CHANGED || news_of_running(body);
}

const struct svc_def billing_def = {
	.id = SVC_BILLING,
	.schema = schema,
	.handlers = handlers,
	.open = billing_open,
	.close = mem_free,
	.settle = billing_settle,
	.wants = billing_wants,
	.patient = true,
};
