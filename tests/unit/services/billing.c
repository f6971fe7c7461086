#include "services/billing/billing.h"

#include <math.h>

#include "base/rng.h"
#include "base/timefmt.h"
#include "drive_priv.h"

static Hcp__Principal customer(const char *id)
{
	Hcp__Principal p = HCP__PRINCIPAL__INIT;
	p.customer_id = id;
	p.role = HCP__ROLE__CUSTOMER;
	return p;
}

static void move_market(struct drive *d, const char *symbol, const char *location, double value)
{
	Hcp__MarketMoved ev = HCP__MARKET_MOVED__INIT;
	Hcp__Tick t = HCP__TICK__INIT, *p[] = { &t };
	t.symbol = symbol;
	t.location = location;
	t.value = value;
	ev.n_ticks = 1;
	ev.ticks = p;
	ev.market_time_ns = d->now_ns;
	drive_event(d, SVC_OPTIMIZER, &ev.base);
}

static void allocate(struct drive *d, const char *id, const char *who, const char *workload, Hcp__AllocationState state,
		     int64_t price)
{
	Hcp__AllocationChanged a = HCP__ALLOCATION_CHANGED__INIT;
	const char *devices[] = { "n/0", "n/1" };
	a.allocation_id = id;
	a.customer_id = who;
	a.workload_id = workload;
	a.device_class = "H100";
	a.state = state;
	a.price_micros_h = price;
	a.at_ns = d->now_ns;
	a.n_device_ids = 2;
	a.device_ids = devices;
	drive_event(d, SVC_RESOURCES, &a.base);
}

static Hcp__MeterDelta delta(const struct drive *d, const char *activity, const char *allocation, const char *who)
{
	Hcp__MeterDelta m = HCP__METER_DELTA__INIT;
	m.device_class = "H100";
	m.activity = activity;
	m.allocation_id = allocation;
	m.customer_id = who;
	m.from_ns = d->now_ns - 2 * NS_PER_S;
	m.to_ns = d->now_ns;
	return m;
}

static void post_deltas(struct drive *d, uint64_t seq, const char *facility, Hcp__MeterDelta *m, size_t n)
{
	Hcp__Metered ev = HCP__METERED__INIT;
	Hcp__MeterDelta *p[8];
	for (size_t i = 0; i < n; i++)
		p[i] = &m[i];
	ev.n_deltas = n;
	ev.deltas = p;
	ev.facility = facility;
	drive_event_seq(d, SVC_RESOURCES, seq, &ev.base);
}

static void meter(struct drive *d, Hcp__MeterDelta *m, size_t n)
{
	post_deltas(d, ++d->seq[SVC_RESOURCES], "hou-1", m, n);
	drive_run(d);
}

static Hcp__Usage *usage(struct drive *d, const char *who, const char *month)
{
	Hcp__UsageGet g = HCP__USAGE_GET__INIT;
	g.customer_id = who;
	g.month = month;
	return drive_call(d, &g.base);
}

static Hcp__Revenue *revenue(struct drive *d, int hours)
{
	Hcp__RevenueGet g = HCP__REVENUE_GET__INIT;
	g.hours = hours;
	return drive_call(d, &g.base);
}

static void an_allocation_is_billed_by_its_device_time(void **state)
{
	struct drive d;
	Hcp__WorkloadChanged w = HCP__WORKLOAD_CHANGED__INIT;
	Hcp__Workload wl = HCP__WORKLOAD__INIT;
	drive_init(&d, &billing_def, NULL);
	wl.id = "wl-1";
	wl.name = "nightly embeddings";
	wl.state = HCP__WORKLOAD_STATE__RUNNING;
	w.workload = &wl;
	drive_event(&d, SVC_ORCHESTRATOR, &w.base);
	move_market(&d, "electricity_rt", "HB_HOUSTON", 50);
	allocate(&d, "al-1", "cus-a", "wl-1", HCP__ALLOCATION_STATE__HELD, 2490000);
	allocate(&d, "al-1", "cus-a", "wl-1", HCP__ALLOCATION_STATE__HELD, 9990000); /* the first price stays */
	Hcp__MeterDelta m = delta(&d, "serve", "al-1", "cus-a");
	m.device_ns = 2 * 1800 * NS_PER_S;
	m.energy_j = 2520000;
	meter(&d, &m, 1);
	m.activity = "off";
	m.energy_j = 0;
	meter(&d, &m, 1);
	allocate(&d, "al-1", "cus-a", "wl-1", HCP__ALLOCATION_STATE__RELEASED, 0);
	for (int i = 0; i < 2; i++) {
		Hcp__Usage *u = usage(&d, "cus-a", "");
		assert_int_equal(u->total_micros, 2490000);
		assert_int_equal(u->n_lines, 1);
		assert_string_equal(u->lines[0]->kind, "device_hours");
		assert_string_equal(u->lines[0]->workload_name, "nightly embeddings");
		assert_float_equal(u->lines[0]->quantity, 1, 1e-12);
		assert_int_equal(u->lines[0]->device_ns, 3600 * NS_PER_S);
		assert_string_equal(u->currency, "USD");
		Hcp__Revenue *r = revenue(&d, 0);
		assert_int_equal(r->n_hours, 24);
		assert_int_equal(r->ai_micros, 2490000);
		assert_int_equal(r->energy_cost_micros, 35000); /* 0.7 kWh at 50 USD/MWh */
		assert_int_equal(r->net_micros, 2490000 - 35000);
		assert_int_equal(r->hours[23]->hour_start_ns, d.now_ns / (3600 * NS_PER_S) * (3600 * NS_PER_S));
		assert_int_equal(r->hours[23]->ai_micros, 2490000);
		drive_restart(&d);
	}
	assert_int_equal(drive_scalar(&d, "SELECT closed_ns>0 FROM allocation"), 1);
	drive_replay(&d);
	drive_release(&d);
}

static void allocate_part(
	struct drive *d, const char *id, const char *who, const char *workload, int milli, const char *mig_profile)
{
	Hcp__AllocationChanged a = HCP__ALLOCATION_CHANGED__INIT;
	Hcp__DeviceShare s = HCP__DEVICE_SHARE__INIT;
	const char *device = "n/0";
	s.milli = milli;
	s.mig_profile = mig_profile;
	a.allocation_id = id;
	a.customer_id = who;
	a.workload_id = workload;
	a.device_class = "H100";
	a.state = HCP__ALLOCATION_STATE__HELD;
	a.price_micros_h = 2490000;
	a.at_ns = d->now_ns;
	a.n_device_ids = 1;
	a.device_ids = &device;
	a.share = &s;
	drive_event(d, SVC_RESOURCES, &a.base);
}

/* Three share a device for an hour: their hours are fractions, their joules those of the device, and the line says so.
 */
static void parts_of_a_device_are_billed_as_such(void **state)
{
	struct drive d;
	drive_init(&d, &billing_def, NULL);
	move_market(&d, "electricity_rt", "HB_HOUSTON", 50);
	Hcp__MeterDelta early = delta(&d, "serve", "al-3", "");
	early.device_ns = 286 * 3600 * NS_PER_MS; /* metered before it was known: priced by HELD */
	early.energy_j = 3;
	meter(&d, &early, 1);
	allocate_part(&d, "al-1", "cus-a", "wl-1", 250, "");
	allocate_part(&d, "al-2", "cus-b", "wl-2", 464, "");
	allocate_part(&d, "al-3", "cus-b", "wl-3", 286, "2g.20gb");
	Hcp__MeterDelta m[3] = { delta(&d, "serve", "al-1", "cus-a"), delta(&d, "serve", "al-2", "cus-b"),
		delta(&d, "serve", "", "") };
	m[0].device_ns = 250 * 3600 * NS_PER_MS;
	m[1].device_ns = 464 * 3600 * NS_PER_MS;
	m[0].energy_j = 630000;
	m[1].energy_j = 1169280;
	m[2].energy_j = 720717;
	meter(&d, m, 3);
	for (int i = 0; i < 2; i++) {
		const Hcp__Usage *u = usage(&d, "cus-a", "");
		assert_int_equal(u->total_micros, 622500);
		assert_float_equal(u->lines[0]->quantity, 0.25, 1e-12);
		assert_float_equal(u->lines[0]->gpu_fraction, 0.25, 1e-12);
		assert_string_equal(u->lines[0]->mig_profile, "");
		u = usage(&d, "cus-b", "");
		assert_int_equal(u->n_lines, 2);
		assert_float_equal(u->lines[0]->gpu_fraction, 0.464, 1e-12);
		assert_string_equal(u->lines[1]->mig_profile, "2g.20gb");
		assert_float_equal(u->lines[1]->quantity, 0.286, 1e-12);
		assert_int_equal(u->total_micros, 2490000 - 622500); /* together the price of the device */
		assert_int_equal(revenue(&d, 1)->ai_micros, 2490000);
		assert_int_equal(revenue(&d, 1)->energy_j, 2520000);
		drive_restart(&d);
	}
	drive_replay(&d);
	drive_release(&d);
}

static void mining_earns_by_hashprice(void **state)
{
	static const struct site site = { .name = "hou-1", .point = "HB_WEST", .pue = 1.05, .pool_fee = 0.02 };
	static const struct billing_conf conf = { .site = &site, .n_sites = 1 };
	struct drive d;
	drive_init(&d, &billing_def, &conf);
	move_market(&d, "electricity_rt", "HB_HOUSTON", 500);
	move_market(&d, "electricity_rt", "HB_WEST", -10);
	move_market(&d, "btc_usd", "", 60000);
	move_market(&d, "difficulty", "", 9e13);
	move_market(&d, "block_fees_btc", "", 0.125);
	move_market(&d, "block_height", "", 870000);
	Hcp__MeterDelta m[2] = { delta(&d, "fill", "", ""), delta(&d, "fill", "al-h", "cus-h") };
	m[0].hashes = 200e12 * 3600;
	m[0].energy_j = 3500 * 3600;
	m[0].shares_accepted = 7;
	m[0].shares_rejected = 1;
	m[1].hashes = 5e15; /* a customer's own mining: the coins are the customer's */
	allocate(&d, "al-h", "cus-h", "wl-h", HCP__ALLOCATION_STATE__HELD, 1000);
	meter(&d, m, 2);
	double btc = 200e12 * 3600 * 3.25 * 0.98 / (9e13 * 4294967296.0);
	Hcp__Revenue *r = revenue(&d, 1);
	assert_float_equal(r->expected_btc, btc, 1e-12 * btc);
	assert_true(llabs(r->mining_micros - (int64_t)(btc * 60000 * 1e6)) <= 1);
	assert_true(r->mining_micros > 0);
	assert_int_equal(r->energy_cost_micros, -35000); /* 3.5 kWh at -10 USD/MWh */
	assert_int_equal(r->shares_accepted, 7);
	assert_int_equal(r->shares_rejected, 1);
	drive_release(&d);
}

static void requests_are_billed_by_token(void **state)
{
	static const struct billing_conf conf = { .token_micros_million = 20000, .request_micros_million = 500000 };
	struct drive d;
	drive_init(&d, &billing_def, &conf);
	Hcp__MeterDelta m = delta(&d, "serve", "", "cus-b");
	m.requests = 1;
	m.tokens = 33;
	for (int i = 0; i < 1000; i++)
		meter(&d, &m, 1);
	Hcp__Usage *u = usage(&d, "cus-b", "");
	assert_int_equal(u->n_lines, 2);
	/* 33,000 tokens at 0.02 USD a million and 1,000 requests at 0.5, although no single delta is a micro-dollar. */
	assert_int_equal(u->total_micros, 660 + 500);
	assert_string_equal(u->lines[1]->kind, "tokens");
	assert_int_equal(u->lines[1]->amount_micros, 660);
	assert_float_equal(u->lines[0]->quantity, 1000, 0);
	assert_int_equal(revenue(&d, 1)->ai_micros, 1160);
	drive_release(&d);
}

static void metered_before_held_is_priced_by_held(void **state)
{
	struct drive d;
	drive_init(&d, &billing_def, NULL);
	Hcp__MeterDelta m = delta(&d, "serve", "al-9", "");
	m.device_ns = 5400 * NS_PER_S + 7;
	meter(&d, &m, 1);
	assert_int_equal(usage(&d, "cus-a", "")->total_micros, 0);
	allocate(&d, "al-9", "cus-a", "wl-9", HCP__ALLOCATION_STATE__HELD, 1000000);
	assert_int_equal(usage(&d, "cus-a", "")->total_micros, 1500000);
	assert_int_equal(usage(&d, "cus-a", "")->lines[0]->device_ns, 5400 * NS_PER_S + 7);
	assert_int_equal(revenue(&d, 1)->ai_micros, 1500000);
	drive_release(&d);
}

static void customers_see_their_own_and_refusals_name_the_field(void **state)
{
	struct drive d;
	Hcp__UsageGet g = HCP__USAGE_GET__INIT;
	Hcp__RevenueGet r = HCP__REVENUE_GET__INIT;
	Hcp__Principal a = customer("cus-a"), nobody = customer("");
	drive_init(&d, &billing_def, NULL);
	allocate(&d, "al-1", "cus-a", "wl-1", HCP__ALLOCATION_STATE__HELD, 1000000);
	allocate(&d, "al-2", "cus-b", "wl-2", HCP__ALLOCATION_STATE__HELD, 3000000);
	Hcp__MeterDelta m[2] = { delta(&d, "serve", "al-1", "cus-a"), delta(&d, "serve", "al-2", "cus-b") };
	m[0].device_ns = m[1].device_ns = 3600 * NS_PER_S;
	meter(&d, m, 2);
	Hcp__Usage *u = drive_call_as(&d, &a, &g.base);
	assert_string_equal(u->customer_id, "cus-a");
	assert_int_equal(u->total_micros, 1000000);
	g.customer_id = "cus-b";
	drive_call_as(&d, &a, &g.base);
	assert_int_equal(d.reply->type, MSG_PROBLEM);
	assert_string_equal(((Hcp__Problem *)d.reply->body)->code, "not_found");
	assert_string_equal(((Hcp__Problem *)d.reply->body)->field, "customer_id");
	g.customer_id = "";
	drive_call_as(&d, &nobody, &g.base);
	assert_int_equal(d.reply->type, MSG_PROBLEM);
	assert_int_equal(usage(&d, "", "")->total_micros, 4000000);
	assert_int_equal(usage(&d, "", "2020-01")->n_lines, 0);
	static const char *const bad[] = { "2026", "2026-13", "2026-00", "26-11", "2026/11", "2026-1x", "+026-11",
		"2026-11-01" };
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		g.month = bad[i];
		drive_refused(&d, &g.base, "invalid", "month");
	}
	r.hours = 721;
	drive_refused(&d, &r.base, "out_of_range", "hours");
	r.hours = -1;
	drive_refused(&d, &r.base, "out_of_range", "hours");
	/* Events that make no sense change nothing. */
	struct svc_stats st;
	m[0].device_ns = -1;
	meter(&d, m, 2);
	m[0].device_ns = 1;
	m[1].hashes = NAN;
	meter(&d, m, 2);
	allocate(&d, "", "cus-a", "wl-1", HCP__ALLOCATION_STATE__HELD, 1);
	allocate(&d, "al-3", "cus-a", "wl-1", HCP__ALLOCATION_STATE__HELD, -1);
	move_market(&d, "btc_usd", "", NAN);
	svc_stats(d.svc, &st);
	assert_int_equal(usage(&d, "", "")->total_micros, 4000000);
	assert_int_equal(drive_scalar(&d, "SELECT count(*) FROM allocation"), 2);
	assert_int_equal(st.refused >= 5, 1);
	drive_release(&d);
}

/* ---- the ledger under a random life ---- */

enum { ALLOCATIONS = 12, CUSTOMERS = 4, EVENTS = 1500 };

struct life {
	char id[ALLOCATIONS][16], workload[ALLOCATIONS][16];
	int64_t price[ALLOCATIONS];
	__int128 device_ns[ALLOCATIONS], energy_cost, tokens[CUSTOMERS][3];
	int64_t energy_j, power_micros;
	long double mining_micros;
	double btc_usd;
};

static const char *const who[CUSTOMERS] = { "cus-0", "cus-1", "cus-2", "cus-3" };

static size_t random_deltas(struct drive *d, struct life *l, struct rng *r, int month, Hcp__MeterDelta *m)
{
	size_t n = 1 + (size_t)rng_below(r, 5);
	for (size_t i = 0; i < n; i++) {
		int kind = (int)rng_below(r, 3), k = (int)rng_below(r, ALLOCATIONS), c = (int)rng_below(r, CUSTOMERS);
		m[i] = delta(d, kind == 0 ? "serve" : kind == 1 ? "fill" : "serve", kind == 0 ? l->id[k] : "",
			     kind == 0 ? who[k % CUSTOMERS] : kind == 2 ? who[c] : "");
		m[i].energy_j = (int64_t)rng_below(r, 100000);
		m[i].device_ns = (int64_t)rng_below(r, 20000000000);
		l->energy_j += m[i].energy_j;
		l->energy_cost += (__int128)m[i].energy_j * l->power_micros;
		if (kind == 0)
			l->device_ns[k] += m[i].device_ns;
		if (kind == 1) {
			m[i].hashes = (double)rng_below(r, 1000000000) * 1e6;
			l->mining_micros += (long double)m[i].hashes * 3.25L * 0.99L / (9e13L * 4294967296.0L) * l->btc_usd * 1e6L;
		}
		if (kind == 2) {
			m[i].tokens = (int64_t)rng_below(r, 700);
			m[i].requests = 1;
			l->tokens[c][month] += m[i].tokens;
		}
	}
	return n;
}

/* Commits fail now and then; what was booked in them must not count. */
static int flaky(void *arg)
{
	struct rng *faults = arg;
	return rng_below(faults, 7) == 0 ? HCP_EIO : 0;
}

static void begin_life(struct drive *d, struct life *l, struct rng *r)
{
	move_market(d, "difficulty", "", 9e13);
	move_market(d, "block_fees_btc", "", 0.125);
	move_market(d, "block_height", "", 870000);
	l->btc_usd = 60000;
	l->power_micros = 50000000;
	move_market(d, "btc_usd", "", l->btc_usd);
	move_market(d, "electricity_rt", "HB", 50);
	for (int i = 0; i < ALLOCATIONS; i++) {
		snprintf(l->id[i], sizeof(l->id[i]), "al-%d", i);
		snprintf(l->workload[i], sizeof(l->workload[i]), "wl-%d", i / 2);
		l->price[i] = (int64_t)rng_below(r, 5000000) + 1;
		allocate(d, l->id[i], who[i % CUSTOMERS], l->workload[i], HCP__ALLOCATION_STATE__HELD, l->price[i]);
	}
}

/* The invoices of all customers and months are the ledger. */
static void check_invoices(struct drive *d, int64_t total)
{
	int64_t invoiced = 0, lines = 0;
	for (int c = 0; c < CUSTOMERS; c++) {
		for (int64_t ns = DRIVE_START_NS; ns <= d->now_ns; ns += 86400 * NS_PER_S) {
			static char last[TIMEFMT_MAX];
			char iso[TIMEFMT_MAX];
			timefmt_format(iso, ns);
			iso[7] = '\0';
			if (strcmp(iso, last) == 0)
				continue;
			snprintf(last, sizeof(last), "%s", iso);
			Hcp__Usage *u = usage(d, who[c], iso);
			invoiced += u->total_micros;
			for (size_t i = 0; i < u->n_lines; i++)
				lines += u->lines[i]->amount_micros;
		}
	}
	assert_int_equal(invoiced, total);
	assert_int_equal(lines, total);
}

static void check_ledger(struct drive *d, const struct life *l)
{
	int64_t want = 0, total = drive_scalar(d, "SELECT sum(amount_micros) FROM usage");
	for (int i = 0; i < ALLOCATIONS; i++)
		want += (int64_t)(l->device_ns[i] * l->price[i] / (3600 * (__int128)NS_PER_S));
	for (int c = 0; c < CUSTOMERS; c++)
		for (int k = 0; k < 3; k++)
			want += (int64_t)(l->tokens[c][k] * BILLING_TOKEN_MICROS / 1000000);
	assert_int_equal(total, want);
	assert_int_equal(drive_scalar(d, "SELECT sum(ai_micros) FROM revenue"), total);
	check_invoices(d, total);
	__int128 unit = J_PER_MWH, cost = l->energy_cost / unit - (l->energy_cost % unit < 0);
	assert_int_equal(drive_scalar(d, "SELECT sum(energy_cost_micros) FROM revenue"), (int64_t)cost);
	assert_int_equal(drive_scalar(d, "SELECT sum(energy_j) FROM revenue"), l->energy_j);
	assert_true(fabsl((long double)drive_scalar(d, "SELECT sum(mining_micros) FROM revenue") - l->mining_micros) < 2);
	assert_true(l->mining_micros > 1000);
}

static void a_random_life(bool faults_too)
{
	struct drive d;
	struct rng r, faults;
	struct life *l = mem_calloc(1, sizeof(*l));
	rng_init(&r, 20261120);
	rng_init(&faults, 5);
	drive_init(&d, &billing_def, NULL);
	if (faults_too) {
		svc_close(d.svc);
		d.before_commit = flaky;
		d.commit_arg = &faults;
		drive_open(&d);
	}
	begin_life(&d, l, &r);
	int month = 0;
	for (int i = 0; i < EVENTS; i++) {
		Hcp__MeterDelta m[8];
		d.now_ns += 60 * NS_PER_S;
		if (i == EVENTS / 3 || i == 2 * EVENTS / 3) {
			d.now_ns += 31 * 86400 * NS_PER_S;
			month++;
		}
		if (rng_below(&r, 10) == 0) {
			double usd = (double)rng_below(&r, 300) - 40;
			l->power_micros = (int64_t)(usd * 1e6);
			move_market(&d, "electricity_rt", "HB", usd);
			l->btc_usd = 50000 + (double)rng_below(&r, 20000);
			move_market(&d, "btc_usd", "", l->btc_usd);
		}
		size_t n = random_deltas(&d, l, &r, month, m);
		uint64_t seq = ++d.seq[SVC_RESOURCES];
		post_deltas(&d, seq, "hou-1", m, n);
		if (rng_below(&r, 3) == 0)
			post_deltas(&d, seq, "hou-1", m, n); /* the bus repeats */
		if (rng_below(&r, 2))
			drive_run(&d);
		if (rng_below(&r, 3) == 0)
			drive_run(&d), post_deltas(&d, seq, "hou-1", m, n);
		drive_run(&d); /* prices of the test's own sums are those at the time of the delta */
		if (rng_below(&r, 100) == 0)
			drive_restart(&d);
	}
	check_ledger(&d, l);
	drive_replay(&d);
	drive_release(&d);
	mem_free(l);
}

static void sums_are_exact_through_repeats_and_restarts(void **state)
{
	a_random_life(false);
}

static void sums_are_exact_when_commits_fail(void **state)
{
	a_random_life(true);
}

/* More work than an answer shows: the dearest lines, one for the rest, and a total that is complete. */
static void a_long_invoice_is_summed_up(void **state)
{
	struct drive d;
	struct err err = { 0 };
	drive_init(&d, &billing_def, NULL);
	int64_t month = drive_scalar(&d, "SELECT 2026*12+8"), sum = 0;
	assert_int_equal(db_begin(svc_database(d.svc), &err), 0);
	for (int64_t i = 1; i <= BILLING_LINES_MAX + 5; i++) {
		char id[24];
		snprintf(id, sizeof(id), "wl-%lld", (long long)i);
		sum += i;
		assert_int_equal(
			db_run(svc_database(d.svc), &err,
				"INSERT INTO usage VALUES('cus-a',$1,0,$2,'H100',1,0,0,0,0,$3,0,0,0,0,'')", "izi", month, id, i),
			0);
	}
	assert_int_equal(db_commit(svc_database(d.svc), &err), 0);
	Hcp__Usage *u = usage(&d, "cus-a", "2026-09");
	assert_int_equal(u->n_lines, BILLING_LINES_MAX + 1);
	assert_int_equal(u->lines[0]->amount_micros, BILLING_LINES_MAX + 5);
	assert_string_equal(u->lines[BILLING_LINES_MAX]->kind, "other");
	assert_int_equal(u->lines[BILLING_LINES_MAX]->amount_micros, 1 + 2 + 3 + 4 + 5);
	assert_int_equal(u->total_micros, sum);
	drive_release(&d);
}

/* A call of the grid: what was missing costs, in the hour that it was over. */
static void calls_of_the_grid_are_settled(void **state)
{
	static const struct site site = { .name = "hou-1", .point = "HB_HOUSTON", .pue = 1.05, .n_offers = 2,
		.offer = { { .service = "RRS", .mw = 2, .fixed = true, .price_usd_mw_h = 12, .miss_usd_mwh = 5000 },
			{ .service = "ECRS", .mw = 2, .miss_usd_mwh = 1000 } } };
	const struct billing_conf conf = { .site = &site, .n_sites = 1 };
	struct drive d;
	Hcp__AncillaryCallOver ev = HCP__ANCILLARY_CALL_OVER__INIT;
	Hcp__AncillaryRecord c = HCP__ANCILLARY_RECORD__INIT;
	Hcp__AncillaryCallsList q = HCP__ANCILLARY_CALLS_LIST__INIT;
	drive_init(&d, &billing_def, &conf);
	move_market(&d, "electricity_rt", "HB_HOUSTON", 900);
	ev.call = &c;
	c.id = "ev-1";
	c.facility = "hou-1";
	c.service = "RRS";
	c.mw = 2;
	c.called_at_ns = d.now_ns - 1800 * NS_PER_S;
	c.over_at_ns = d.now_ns;
	c.dropped_mwh = 0.9;
	c.due_mwh = 0.67;
	c.missed_mwh = 0.01;
	drive_event(&d, SVC_RESOURCES, &ev.base);
	c.id = "ev-2";
	c.service = "ECRS";
	drive_event(&d, SVC_RESOURCES, &ev.base);
	c.id = "ev-3";
	c.missed_mwh = NAN; /* refused as a whole */
	drive_event(&d, SVC_RESOURCES, &ev.base);
	for (int i = 0; i < 2; i++) {
		Hcp__AncillaryCalls *all = drive_call(&d, &q.base);
		assert_int_equal(all->n_calls, 2);
		const Hcp__AncillaryRecord *second = all->calls[0], *first = all->calls[1];
		assert_string_equal(first->id, "ev-1");
		assert_true(first->usd_mwh == 900 && first->dropped_mwh == 0.9 && first->due_mwh == 0.67);
		assert_int_equal(first->saved_micros, 810000000);
		assert_int_equal(first->penalty_micros, 50000000);
		assert_int_equal(second->penalty_micros, 10000000);
		Hcp__Revenue *r = revenue(&d, 0);
		assert_int_equal(r->ancillary_micros, -50000000 - 10000000);
		assert_int_equal(r->net_micros, r->ancillary_micros);
		assert_int_equal(r->hours[23]->ancillary_micros, r->ancillary_micros);
		drive_restart(&d);
	}
	q.facility = "elsewhere";
	assert_int_equal(((Hcp__AncillaryCalls *)drive_call(&d, &q.base))->n_calls, 0);
	drive_release(&d);
}

#define HOUR (3600 * NS_PER_S)

static void held_seq(struct drive *d, uint64_t seq, int64_t hour, const char *service, double fixed_usd, double held)
{
	Hcp__AncillaryHeld ev = HCP__ANCILLARY_HELD__INIT;
	Hcp__AncillaryHold h = HCP__ANCILLARY_HOLD__INIT, *hs[] = { &h };
	ev.facility = "hou-1";
	ev.from_ns = hour * HOUR;
	ev.to_ns = (hour + 1) * HOUR;
	ev.holds = hs;
	ev.n_holds = 1;
	h.service = (char *)service;
	h.offered_mw_h = 2;
	h.held_mw_h = held;
	h.fixed = fixed_usd >= 0;
	h.price_usd_mw_h = h.fixed ? fixed_usd : 0;
	drive_event_seq(d, SVC_RESOURCES, seq, &ev.base);
}

static void held(struct drive *d, int64_t hour, const char *service, double fixed_usd, double held_mw_h)
{
	held_seq(d, ++d->seq[SVC_RESOURCES], hour, service, fixed_usd, held_mw_h);
	drive_run(d);
}

static void tell_capacity(struct drive *d, const char *service, int64_t hour, double usd, int64_t ahead_ns)
{
	Hcp__MarketMoved ev = HCP__MARKET_MOVED__INIT;
	Hcp__Tick t = HCP__TICK__INIT, *p[] = { &t };
	t.symbol = "ancillary";
	t.location = service;
	t.value = usd;
	t.interval_start_ns = hour * HOUR;
	t.interval_s = 3600;
	ev.n_ticks = 1;
	ev.ticks = p;
	ev.market_time_ns = d->now_ns + ahead_ns;
	drive_event(d, SVC_OPTIMIZER, &ev.base);
}

static Hcp__AncillaryHours *capacity(struct drive *d)
{
	Hcp__AncillaryHoursList q = HCP__ANCILLARY_HOURS_LIST__INIT;
	return drive_call(d, &q.base);
}

/* By the offer's own price, or the market's of that hour; one that is told late is paid once. */
static void capacity_is_paid_by_the_hour(void **state)
{
	struct drive d;
	drive_init(&d, &billing_def, NULL);
	int64_t hour = d.now_ns / HOUR - 2;
	tell_capacity(&d, "RRS", hour, 8, 0);
	tell_capacity(&d, "RRS", hour + 1, 100, 0);
	held(&d, hour, "RRS", -1, 1.5);
	held(&d, hour, "ECRS", 3, 0.5);
	held(&d, hour + 1, "NSPIN", -1, 2);
	held(&d, hour + 1, "RRS", -1, 0);
	held(&d, hour + 1, "RRS", -1, NAN); /* refused as a whole */
	Hcp__AncillaryHours *all = capacity(&d);
	assert_int_equal(all->n_hours, 4);
	assert_true(!all->hours[1]->priced && all->hours[1]->paid_micros == 0 && all->hours[1]->held_mw == 2);
	assert_int_equal(revenue(&d, 0)->ancillary_micros, 12000000 + 1500000);
	tell_capacity(&d, "NSPIN", hour, 7, 0); /* another hour's */
	tell_capacity(&d, "NSPIN", hour + 1, 4, 0);
	tell_capacity(&d, "NSPIN", hour + 1, 5, 0); /* a correction comes too late */
	tell_capacity(&d, "NSPIN", hour + 1, NAN, 0);
	for (int i = 0; i < 2; i++) {
		all = capacity(&d);
		assert_int_equal(all->n_hours, 4);
		assert_true(all->hours[0]->priced && all->hours[0]->held_mw == 0 && all->hours[0]->paid_micros == 0);
		assert_true(all->hours[1]->priced && all->hours[1]->usd_mw_h == 4 && all->hours[1]->paid_micros == 8000000);
		assert_true(all->hours[2]->usd_mw_h == 3 && all->hours[2]->paid_micros == 1500000);
		assert_true(all->hours[3]->usd_mw_h == 8 && all->hours[3]->paid_micros == 12000000);
		assert_true(all->hours[3]->offered_mw == 2 && all->hours[3]->held_mw == 1.5);
		Hcp__Revenue *r = revenue(&d, 0);
		assert_int_equal(r->hours[21]->ancillary_micros, 13500000);
		assert_int_equal(r->hours[22]->ancillary_micros, 8000000);
		assert_int_equal(r->net_micros, 21500000);
		drive_restart(&d);
	}
	/* A market that is played back lives in another time. */
	tell_capacity(&d, "REGUP", hour - 10000, 9, -10000 * HOUR);
	held(&d, hour, "REGUP", -1, 1);
	assert_int_equal(capacity(&d)->hours[0]->paid_micros, 9000000);
	drive_replay(&d);
	drive_release(&d);
}

/* Commits fail, the bus repeats, the service starts anew: every hour is paid once. */
static void no_hour_is_lost_or_paid_twice(void **state)
{
	enum { HOURS = 300 };
	struct drive d;
	struct rng r, faults;
	int64_t want = 0;
	rng_init(&r, 7);
	rng_init(&faults, 8);
	drive_init(&d, &billing_def, NULL);
	svc_close(d.svc);
	d.before_commit = flaky;
	d.commit_arg = &faults;
	drive_open(&d);
	for (int i = 0; i < HOURS; i++) {
		int64_t hour = d.now_ns / HOUR;
		int usd = (int)rng_below(&r, 40), late = (int)rng_below(&r, 2);
		double mw = (double)rng_below(&r, 2000) / 1000;
		d.now_ns += HOUR;
		if (!late)
			tell_capacity(&d, "RRS", hour, usd, 0);
		uint64_t seq = ++d.seq[SVC_RESOURCES];
		held_seq(&d, seq, hour, "RRS", -1, mw);
		if (rng_below(&r, 2))
			drive_run(&d);
		held_seq(&d, seq, hour, "RRS", -1, mw); /* the bus repeats */
		drive_run(&d);
		if (late)
			tell_capacity(&d, "RRS", hour, usd, 0);
		if (rng_below(&r, 2))
			tell_capacity(&d, "RRS", hour, usd, 0);
		drive_run(&d);
		want += llround(usd * mw * 1e6);
		if (rng_below(&r, 20) == 0)
			drive_restart(&d);
	}
	assert_true(want > HOURS);
	assert_int_equal(drive_scalar(&d, "SELECT sum(ancillary_micros) FROM revenue"), want);
	assert_int_equal(drive_scalar(&d, "SELECT sum(paid_micros) FROM held"), want);
	assert_int_equal(drive_scalar(&d, "SELECT count(*) FROM held WHERE priced=1"), HOURS);
	drive_replay(&d);
	drive_release(&d);
}

/* Any one allocation may fail: the event is booked once all the same. */
static void memory_may_run_out_anywhere(void **state)
{
	struct drive d;
	drive_init(&d, &billing_def, NULL);
	allocate(&d, "al-1", "cus-a", "wl-1", HCP__ALLOCATION_STATE__HELD, 3600);
	uint64_t n = 1;
	bool failed = true;
	for (; failed && n < 500; n++) {
		Hcp__MeterDelta m = delta(&d, "serve", "al-1", "cus-a");
		m.device_ns = NS_PER_S;
		post_deltas(&d, ++d.seq[SVC_RESOURCES], "hou-1", &m, 1);
		failed = drive_run_short_of_memory(&d, n);
	}
	assert_true(n > 3 && n < 500);
	assert_int_equal(usage(&d, "cus-a", "")->total_micros, n - 1);
	drive_release(&d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_allocation_is_billed_by_its_device_time),
		cmocka_unit_test(parts_of_a_device_are_billed_as_such),
		cmocka_unit_test(mining_earns_by_hashprice),
		cmocka_unit_test(requests_are_billed_by_token),
		cmocka_unit_test(metered_before_held_is_priced_by_held),
		cmocka_unit_test(customers_see_their_own_and_refusals_name_the_field),
		cmocka_unit_test(sums_are_exact_through_repeats_and_restarts),
		cmocka_unit_test(sums_are_exact_when_commits_fail),
		cmocka_unit_test(a_long_invoice_is_summed_up),
		cmocka_unit_test(calls_of_the_grid_are_settled),
		cmocka_unit_test(capacity_is_paid_by_the_hour),
		cmocka_unit_test(no_hour_is_lost_or_paid_twice),
		cmocka_unit_test(memory_may_run_out_anywhere),
	};
	return cmocka_run_group_tests_name("billing", tests, NULL, NULL);
}
