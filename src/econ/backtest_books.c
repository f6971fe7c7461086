/* How the devices of a site stand, and what each interval earned and cost. */
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "base/money.h"
#include "base/panic.h"
#include "base/timefmt.h"
#include "econ/backtest_priv.h"

#define J_MWH 3.6e9
#define HOUR_S 3600.0
#define DAY_NS (INT64_C(86400) * NS_PER_S)

void backtest_books_release(struct backtest_books *b)
{
	mem_free(b->month);
	mem_free(b->profit_micros);
	mem_free(b->running);
	*b = (struct backtest_books){ 0 };
}

/* ---- devices ---- */

void run_count(const struct run *r, size_t group, uint32_t ret[POLICY_USE_END])
{
	cohorts_count(&r->group[group].k, ret);
}

void run_held(const struct run *r, size_t group, int64_t now_ns, uint32_t ret_held[POLICY_USE_END],
	int64_t ret_age_ns[POLICY_USE_END])
{
	cohorts_held(&r->group[group].k, r->group[group].g, now_ns, ret_held, ret_age_ns);
}

static struct backtest_sum *sum_of(struct run *r, size_t group)
{
	struct backtest_month *m = &r->books.month[r->books.n_months - 1];
	return r->group[group].g->serves ? &m->ai : &m->mine;
}

static void open_month(struct run *r, int64_t now_ns)
{
	int64_t year;
	int month, day;
	timefmt_civil(now_ns / DAY_NS, &year, &month, &day);
	int64_t start_ns = timefmt_days(year, month, 1) * DAY_NS;
	struct backtest_books *b = &r->books;
	if (b->n_months && b->month[b->n_months - 1].start_ns == start_ns)
		return;
	must(b->n_months < BACKTEST_MONTHS_MAX);
	b->month[b->n_months++] = (struct backtest_month){ .start_ns = start_ns };
}

void run_switch(struct run *r, size_t group, int64_t now_ns, const uint32_t target[POLICY_USE_END])
{
	struct group_state *s = &r->group[group];
	uint32_t now[POLICY_USE_END], held[POLICY_USE_END], to[POLICY_USE_END];
	int64_t age[POLICY_USE_END];
	open_month(r, now_ns);
	run_count(r, group, now);
	run_held(r, group, now_ns, held, age);
	memcpy(to, target, sizeof(to));
	r->books.refused += cohorts_hold(held, to);
	must(to[0] + to[1] + to[2] == now[0] + now[1] + now[2]);
	cohorts_move(&s->k, s->g, now_ns, to);
	struct backtest_sum *sum = sum_of(r, group);
	if (to[POLICY_IDLE] > now[POLICY_IDLE])
		sum->stops += to[POLICY_IDLE] - now[POLICY_IDLE];
	else
		sum->starts += now[POLICY_IDLE] - to[POLICY_IDLE];
}

void run_mode(struct run *r, size_t group, size_t mode)
{
	must(mode <= r->group[group].g->n_modes);
	r->group[group].mode = mode;
}

/* ---- books ---- */

/* What one group did in one interval, in dollars. */
struct line {
	double revenue, energy, wear, start_wear, penalty;
};

static void book_line(struct backtest_sum *sum, const struct line *l)
{
	int64_t micros[5];
	const double usd[5] = { l->revenue, l->energy, l->wear, l->start_wear, l->penalty };
	for (size_t i = 0; i < 5; i++)
		micros[i] = llround(usd[i] * (double)MICROS_PER_USD);
	sum->revenue_micros += micros[0];
	sum->energy_micros += micros[1];
	sum->wear_micros += micros[2];
	sum->start_wear_micros += micros[3];
	sum->penalty_micros += micros[4];
	sum->profit_micros += micros[0] - micros[1] - micros[2] - micros[3] - micros[4];
}

static void book_mining(const struct backtest *b, const struct group_state *state, const struct cohort *c, size_t i,
	struct line *l, struct backtest_sum *sum)
{
	const struct site_group *g = state->g;
	double hours = (double)b->step_ns / (double)NS_PER_S / HOUR_S, n = c->n;
	int64_t age = cohort_age_ns(c, backtest_time(b, i));
	struct site_slice s = site_mode_slice(g, state->mode, age, b->step_ns);
	double usd_h = site_mode_at(g, state->mode).ths * b->hashprice_usd_ths_h[i],
		   mwh = n * s.plug_j * b->site.pue / J_MWH;
	l->revenue += n * usd_h * s.hash_s / HOUR_S;
	l->energy += mwh * b->price_usd_mwh[i];
	l->wear += n * g->cls->wear_usd_h * hours;
	l->start_wear += age == 0 ? n * g->start_wear_usd : 0;
	sum->energy_mwh += mwh;
	sum->work_h += n * hours;
	sum->start_lost_usd += n * usd_h * (hours - s.hash_s / HOUR_S);
}

static void book_serving(
	const struct backtest *b, size_t group, uint32_t serving, size_t i, struct line *l, struct backtest_sum *sum)
{
	const struct site_group *g = &b->site.group[group];
	uint32_t contract = 0, want = 0;
	double hours = (double)b->step_ns / (double)NS_PER_S / HOUR_S;
	backtest_demand(b, group, b->demand[i], &contract, &want);
	uint32_t kept = serving < contract ? serving : contract;
	uint32_t sold = serving - kept < want ? serving - kept : want, spare = serving - kept - sold;
	double w = (kept + sold) * g->cls->power_w[DEVICE_SERVE] + spare * g->cls->power_w[DEVICE_IDLE];
	double mwh = w * hours * b->site.pue / 1e6;
	l->revenue += (contract * g->contract_usd_h + sold * b->spot_usd_h[group * b->n + i]) * hours;
	l->penalty += (contract - kept) * g->miss_usd_h * hours;
	l->energy += mwh * b->price_usd_mwh[i];
	l->wear += (kept + sold) * g->cls->wear_usd_h * hours;
	sum->energy_mwh += mwh;
	sum->work_h += (kept + sold) * hours;
	sum->missed_h += (contract - kept) * hours;
}

static void book_idle(const struct backtest *b, const struct site_group *g, uint32_t idle, uint32_t could, size_t i,
	struct line *l, struct backtest_sum *sum)
{
	double hours = (double)b->step_ns / (double)NS_PER_S / HOUR_S, idle_w = g->cls->power_w[g->idle_mode];
	double mwh = idle * idle_w * hours * b->site.pue / 1e6;
	l->energy += mwh * b->price_usd_mwh[i];
	sum->energy_mwh += mwh;
	if (g->mines)
		sum->curtailed_mwh += could * (g->cls->power_w[DEVICE_FILL] - idle_w) * hours * b->site.pue / 1e6;
}

void run_book(struct run *r, size_t i)
{
	const struct backtest *b = r->b;
	double running = 0, miners = 0;
	int64_t before = 0, after = 0;
	open_month(r, backtest_time(b, i));
	run_book_offers(r, i);
	before = r->books.month[r->books.n_months - 1].mine.profit_micros;
	for (size_t k = 0; k < b->site.n_groups; k++) {
		const struct group_state *s = &r->group[k];
		const struct site_group *g = s->g;
		struct backtest_sum *sum = sum_of(r, k);
		struct line l = { 0 };
		uint32_t now[POLICY_USE_END];
		run_count(r, k, now);
		if (!g->serves) {
			running += now[POLICY_MINE] * site_mode_at(g, s->mode).watts;
			miners += b->energised[k] * g->cls->power_w[DEVICE_FILL];
		}
		if (isnan(b->price_usd_mwh[i]))
			continue;
		for (size_t j = 0; j < s->k.n; j++)
			if (s->k.c[j].use == POLICY_MINE)
				book_mining(b, s, &s->k.c[j], i, &l, sum);
		if (g->serves)
			book_serving(b, k, now[POLICY_SERVE], i, &l, sum);
		/* Devices that no limit lets run stand idle for good. */
		book_idle(b, g, now[POLICY_IDLE] + g->count - b->energised[k], now[POLICY_IDLE], i, &l, sum);
		book_line(sum, &l);
	}
	after = r->books.month[r->books.n_months - 1].mine.profit_micros;
	r->books.profit_micros[i] = after - before;
	if (!isnan(b->price_usd_mwh[i])) {
		int64_t day = backtest_time(b, i) / DAY_NS;
		if (r->n_days == 0 || day != r->day)
			r->daily[r->n_days++] = 0;
		r->day = day;
		r->daily[r->n_days - 1] += (double)(after - before) / (double)MICROS_PER_USD;
	}
	r->books.running[i] = miners > 0 ? (float)(running / miners) : 0;
	r->sum_micros += after - before;
	if (r->sum_micros > r->peak_micros)
		r->peak_micros = r->sum_micros;
	if (r->peak_micros - r->sum_micros > r->books.drawdown_micros)
		r->books.drawdown_micros = r->peak_micros - r->sum_micros;
}

static void add_sum(struct backtest_sum *to, const struct backtest_sum *s)
{
	to->revenue_micros += s->revenue_micros;
	to->energy_micros += s->energy_micros;
	to->wear_micros += s->wear_micros;
	to->start_wear_micros += s->start_wear_micros;
	to->penalty_micros += s->penalty_micros;
	to->profit_micros += s->profit_micros;
	to->start_lost_usd += s->start_lost_usd;
	to->energy_mwh += s->energy_mwh;
	to->curtailed_mwh += s->curtailed_mwh;
	to->work_h += s->work_h;
	to->starts += s->starts;
	to->stops += s->stops;
	to->missed_h += s->missed_h;
}

int run_init(struct run *r, const struct backtest *b, struct err *err)
{
	*r = (struct run){ .b = b, .books.n = b->n };
	r->books.month = mem_calloc(BACKTEST_MONTHS_MAX, sizeof(*r->books.month));
	r->books.profit_micros = mem_calloc(b->n, sizeof(*r->books.profit_micros));
	r->books.running = mem_calloc(b->n, sizeof(*r->books.running));
	r->daily = mem_calloc((size_t)((int64_t)b->n * b->step_ns / DAY_NS) + 2, sizeof(*r->daily));
	if (!r->books.month || !r->books.profit_micros || !r->books.running || !r->daily) {
		run_release(r);
		return err_set(err, HCP_ENOMEM, "", "no memory for the books of %zu intervals", b->n);
	}
	for (size_t k = 0; k < b->site.n_groups; k++) {
		const struct site_group *g = &b->site.group[k];
		uint32_t contract = 0, want = 0;
		r->group[k].g = g;
		backtest_demand(b, k, 0, &contract, &want);
		uint32_t serving = g->serves ? contract : 0;
		if (serving)
			cohorts_add(&r->group[k].k, POLICY_SERVE, serving, COHORTS_LONG_AGO_NS);
		if (b->energised[k] > serving)
			cohorts_add(&r->group[k].k, g->mines ? POLICY_MINE : POLICY_IDLE, b->energised[k] - serving,
				COHORTS_LONG_AGO_NS);
	}
	return 0;
}

void run_release(struct run *r)
{
	backtest_books_release(&r->books);
	mem_free(r->daily);
	r->daily = NULL;
}

/* The same seed for all policies, so that their months are made of the same days. */
static int measure_months(struct run *r, struct err *err)
{
	const struct risk_terms t = { .series = 1,
		.days = r->n_days,
		.term = BACKTEST_TERM_DAYS,
		.block = BACKTEST_BLOCK_DAYS,
		.cases = BACKTEST_CASES };
	double *day = mem_alloc((size_t)BACKTEST_CASES * BACKTEST_TERM_DAYS * sizeof(*day));
	struct rng rng;
	rng_init(&rng, 1);
	int rc = day ? risk_terms(&t, r->daily, &rng, day, err) : err_set(err, HCP_ENOMEM, "", "no memory for months");
	for (size_t i = 0; i < BACKTEST_CASES && rc == 0; i++) {
		double sum = 0;
		for (size_t d = 0; d < BACKTEST_TERM_DAYS; d++)
			sum += day[i * BACKTEST_TERM_DAYS + d];
		day[i] = sum; /* of days that have been summed before, or are these */
	}
	rc = rc ? rc : risk_measure(day, BACKTEST_CASES, RISK_LEVEL, &r->books.monthly, err);
	mem_free(day);
	return rc == HCP_EAGAIN ? 0 : rc;
}

int run_finish(struct run *r, struct backtest_books *ret, struct err *err)
{
	int rc = measure_months(r, err);
	if (rc < 0)
		return rc;
	for (size_t i = 0; i < r->books.n_months; i++) {
		add_sum(&r->books.mine, &r->books.month[i].mine);
		add_sum(&r->books.ai, &r->books.month[i].ai);
	}
	/* Cannot fail: sums of money are finite; without a day n stays 0. */
	(void)!risk_measure(r->daily, r->n_days, RISK_LEVEL, &r->books.daily, NULL);
	*ret = r->books;
	r->books = (struct backtest_books){ 0 };
	return 0;
}
