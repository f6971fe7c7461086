/*
 * `hcp portfolio`: how many GPUs of which site to bind for how long. Recorded days are drawn in blocks into worlds of
 * one term, the same for all sites; in each world a contract pays the list price of the day that it is signed, less its
 * discount, and is signed anew when it ends; the spot market pays for the demand of each hour.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/mem.h"
#include "cmd/cli/backtest.h"
#include "cmd/cli/cli.h"
#include "cmd/cli/ops.h"
#include "cmd/cli/render.h"
#include "econ/portfolio.h"

enum { CONTRACTS_MAX = 8, FACILITIES_MAX = RISK_SERIES_MAX / 3, NAME_BYTES = 96, SERIES = 3 };

/* Of a facility's days, one after the other. */
enum { SPOT = 0, COST = 1, RATE = 2 };

struct contract {
	size_t days;
	double discount; /* of the list price */
};

/* The devices of one class at one site. */
struct facility {
	char name[NAME_BYTES];
	double units, spot_most;
};

struct market {
	struct facility facility[FACILITIES_MAX];
	size_t n;
	struct contract contract[CONTRACTS_MAX];
	size_t n_contracts;
	size_t days, term, block, cases;
	double *day;    /* owned; [facility][SERIES][days] */
	double *path;   /* owned; [case][facility][SERIES][term] */
	double *profit; /* owned; [asset][case] */
	struct portfolio_problem problem;
	struct portfolio best;
};

static int parse_contracts(struct cli *cli, struct market *m, struct err *err)
{
	struct str rest = str_of(args_text(&cli->args, "contracts"));
	while (rest.p) {
		char text[40], *end = text;
		struct str one = str_trim(str_split(&rest, ','));
		struct contract c = { 0 };
		if (one.n < sizeof(text)) {
			snprintf(text, sizeof(text), "%.*s", (int)one.n, one.p);
			c.days = (size_t)strtoul(text, &end, 10);
			c.discount = *end == ':' ? strtod(end + 1, &end) : 0;
		}
		if (one.n == 0 || end == text || *end || c.days < 1 || c.days > RISK_STEPS_MAX ||
			!(c.discount >= 0 && c.discount < 1))
			return cli_usage(cli, err, "contracts",
				"--contracts needs days and discounts like 30:0.05,90:0.1 (1 to %d days, below 1), not \"%.*s\"",
				RISK_STEPS_MAX, (int)(one.n < 40 ? one.n : 40), one.p ? one.p : "");
		if (m->n_contracts == CONTRACTS_MAX)
			return cli_usage(cli, err, "contracts", "at most %d lengths", CONTRACTS_MAX);
		m->contract[m->n_contracts++] = c;
		m->term = m->term > c.days ? m->term : c.days;
	}
	m->term = (size_t)args_int(&cli->args, "term", (int64_t)m->term);
	m->block = (size_t)args_int(&cli->args, "block", 14);
	m->cases = (size_t)args_int(&cli->args, "cases", 500);
	return 0;
}

static int keep_days(struct market *m, const struct backtest_report *r, size_t group, struct err *err)
{
	const struct site_group *g = &r->site.group[group];
	size_t days = backtest_days(r->b);
	if (m->n == FACILITIES_MAX)
		return err_set(err, HCP_ELIMIT, "sites", "at most %d groups that serve", FACILITIES_MAX);
	struct backtest_serving_day *of = mem_calloc(days, sizeof(*of));
	double *day = mem_realloc(m->day, (m->n + 1) * SERIES * days * sizeof(*day));
	m->day = day ? day : m->day;
	if (!of || !day) {
		mem_free(of);
		return err_set(err, HCP_ENOMEM, "", "no memory for %zu days", days);
	}
	m->days = days;
	struct facility *f = &m->facility[m->n];
	snprintf(f->name, sizeof(f->name), "%s/%s", r->site.name, g->name);
	f->units = r->coverage.energised[group];
	f->spot_most = fmin(f->units, floor(g->spot_share * g->count + 0.5));
	backtest_serving(r->b, group, of);
	day += m->n++ * SERIES * days;
	for (size_t d = 0; d < days; d++) {
		day[SPOT * days + d] = of[d].spot_usd;
		day[COST * days + d] = of[d].cost_usd;
		day[RATE * days + d] = of[d].rate_usd_h;
	}
	mem_free(of);
	return 0;
}

static int load_site(struct cli *cli, const char *name, struct market *m, struct err *err)
{
	struct backtest_report *r = mem_calloc(1, sizeof(*r));
	if (!r)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	r->default_policy = "always_mine";
	r->site_name = name;
	r->truth_only = true;
	int rc = backtest_report_run(cli, r, err);
	for (size_t i = 0; rc == 0 && i < r->site.n_groups; i++)
		if (r->site.group[i].serves)
			rc = keep_days(m, r, i, err);
	backtest_report_release(r);
	mem_free(r);
	return rc;
}

static int load_sites(struct cli *cli, struct market *m, struct err *err)
{
	struct str rest = str_of(args_text(&cli->args, "sites"));
	int rc = 0;
	while (rest.p && rc == 0) {
		struct str one = str_trim(str_split(&rest, ','));
		const char *name = arena_printf(&cli->arena, "%.*s", (int)one.n, one.p);
		rc = name ? load_site(cli, name, m, err) : err_set(err, HCP_ENOMEM, "", "out of memory");
	}
	if (rc == 0 && m->n == 0)
		rc = err_set(err, HCP_ENOTFOUND, "sites", "none of them has devices that serve");
	return rc;
}

/* ---- the worlds ---- */

static double spot_usd(const struct market *m, const double *path)
{
	double sum = 0;
	for (size_t d = 0; d < m->term; d++)
		sum += path[SPOT * m->term + d];
	return sum;
}

static double contract_usd(const struct market *m, const double *path, const struct contract *c)
{
	double sum = 0;
	for (size_t d = 0; d < m->term; d++)
		sum += 24 * path[RATE * m->term + d - d % c->days] * (1 - c->discount) - path[COST * m->term + d];
	return sum;
}

static int draw(struct market *m, struct err *err)
{
	const struct risk_terms t = {
		.series = m->n * SERIES, .days = m->days, .term = m->term, .block = m->block, .cases = m->cases
	};
	size_t choices = 1 + m->n_contracts;
	struct rng rng;
	rng_init(&rng, 1);
	m->path = mem_calloc(m->cases * m->n * SERIES, m->term * sizeof(*m->path));
	m->profit = mem_calloc(m->n * choices, m->cases * sizeof(*m->profit));
	if (!m->path || !m->profit)
		return err_set(err, HCP_ENOMEM, "", "no memory for %zu worlds of %zu days", m->cases, m->term);
	int rc = risk_terms(&t, m->day, &rng, m->path, err);
	for (size_t i = 0; i < m->cases && rc == 0; i++) {
		for (size_t f = 0; f < m->n; f++) {
			const double *path = m->path + (i * m->n + f) * SERIES * m->term;
			double *to = m->profit + f * choices * m->cases + i;
			to[0] = spot_usd(m, path);
			for (size_t c = 0; c < m->n_contracts; c++)
				to[(c + 1) * m->cases] = contract_usd(m, path, &m->contract[c]);
		}
	}
	return rc;
}

static int solve(struct cli *cli, struct market *m, struct err *err)
{
	struct portfolio_problem *p = &m->problem;
	size_t choices = 1 + m->n_contracts;
	const char *aversion = args_text(&cli->args, "aversion");
	p->n_facilities = m->n;
	p->cases = m->cases;
	p->aversion = aversion ? strtod(aversion, NULL) : 0.5; /* checked by args_parse */
	p->level = RISK_LEVEL;
	for (size_t f = 0; f < m->n; f++) {
		p->units[f] = m->facility[f].units;
		for (size_t c = 0; c < choices; c++)
			p->asset[p->n_assets++] = (struct portfolio_asset){ m->facility[f].name, f,
				c ? INFINITY : m->facility[f].spot_most, m->profit + (f * choices + c) * m->cases };
	}
	return portfolio_solve(p, &m->best, err);
}

/* ---- reply ---- */

static json_t *choice_json(const struct market *m, size_t a)
{
	size_t f = m->problem.asset[a].facility, c = a % (1 + m->n_contracts);
	double mean = 0;
	for (size_t i = 0; i < m->cases; i++)
		mean += m->problem.asset[a].profit_usd[i] / (double)m->cases;
	return json_pack("{s:s, s:s, s:i, s:f, s:f, s:f}", "facility", m->facility[f].name, "choice",
		c ? "contract" : "spot", "days", c ? (int)m->contract[c - 1].days : 0, "discount",
		c ? m->contract[c - 1].discount : 0.0, "devices", m->best.units[a], "mean_usd_device", mean);
}

static json_t *reply_json(const struct market *m)
{
	const struct risk_measure *p = &m->best.profit;
	json_t *choices = json_array(), *facilities = json_array();
	for (size_t a = 0; a < m->problem.n_assets; a++)
		json_array_append_new(choices, choice_json(m, a));
	for (size_t f = 0; f < m->n; f++)
		json_array_append_new(facilities, json_pack("{s:s, s:f, s:f}", "facility", m->facility[f].name, "devices",
											  m->facility[f].units, "one_more_usd", m->best.unit_usd[f]));
	return json_pack("{s:I, s:I, s:I, s:f, s:f, s:f, s:f, s:f, s:o, s:o}", "term_days", (json_int_t)m->term,
		"past_days", (json_int_t)m->days, "worlds", (json_int_t)m->cases, "aversion", m->problem.aversion, "mean_usd",
		p->mean, "var_95_usd", p->var, "cvar_95_usd", p->cvar, "worth_usd", m->best.worth_usd, "choices", choices,
		"facilities", facilities);
}

int ops_portfolio(struct cli *cli, struct err *err)
{
	struct market *m = mem_calloc(1, sizeof(*m));
	json_t *reply = NULL;
	struct buf out;
	buf_init(&out, 0);
	int rc = m ? parse_contracts(cli, m, err) : err_set(err, HCP_ENOMEM, "", "out of memory");
	rc = rc ? rc : load_sites(cli, m, err);
	rc = rc ? rc : draw(m, err);
	rc = rc ? rc : solve(cli, m, err);
	if (rc == 0) {
		reply = reply_json(m);
		rc = reply ? render_reply(cli, cli->args.cmd, reply, &out, err) : err_set(err, HCP_ENOMEM, "", "out of memory");
	}
	if (rc == 0)
		rc = cli_print(&out, err);
	buf_release(&out);
	json_decref(reply);
	if (m) {
		mem_free(m->day);
		mem_free(m->path);
		mem_free(m->profit);
	}
	mem_free(m);
	return rc;
}
