/*
 * `hcp portfolio`: how many GPUs of which site to bind for how long, by recorded days (econ/contracts.h). A contract
 * pays the list price of the day that it is signed; the spot market pays for the demand of each hour.
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
#include "econ/contracts.h"

enum { NAME_BYTES = 96 };

struct market {
	char name[CONTRACTS_POOLS_MAX][NAME_BYTES];
	struct contracts_market in;
	double *day; /* owned; that of in */
	struct contracts best;
};

static int parse_contracts(struct cli *cli, struct contracts_market *m, struct err *err)
{
	struct str rest = str_of(args_text(&cli->args, "contracts"));
	while (rest.p) {
		char text[40], *end = text;
		struct str one = str_trim(str_split(&rest, ','));
		struct contracts_length c = { 0 };
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
		if (m->n_lengths == CONTRACTS_LENGTHS_MAX)
			return cli_usage(cli, err, "contracts", "at most %d lengths", CONTRACTS_LENGTHS_MAX);
		m->length[m->n_lengths++] = c;
		m->term = m->term > c.days ? m->term : c.days;
	}
	const char *aversion = args_text(&cli->args, "aversion");
	m->term = (size_t)args_int(&cli->args, "term", (int64_t)m->term);
	m->block = (size_t)args_int(&cli->args, "block", 14);
	m->cases = (size_t)args_int(&cli->args, "cases", 500);
	m->aversion = aversion ? strtod(aversion, NULL) : 0.5; /* checked by args_parse */
	m->seed = 1;
	return 0;
}

static int keep_days(struct market *m, const struct backtest_report *r, size_t group, struct err *err)
{
	const struct site_group *g = &r->site.group[group];
	size_t days = backtest_days(r->b), n = m->in.n;
	if (n == CONTRACTS_POOLS_MAX)
		return err_set(err, HCP_ELIMIT, "sites", "at most %d groups that serve", CONTRACTS_POOLS_MAX);
	struct backtest_serving_day *of = mem_calloc(days, sizeof(*of));
	double *day = mem_realloc(m->day, (n + 1) * CONTRACTS_SERIES * days * sizeof(*day));
	m->day = day ? day : m->day;
	if (!of || !day) {
		mem_free(of);
		return err_set(err, HCP_ENOMEM, "", "no memory for %zu days", days);
	}
	snprintf(m->name[n], NAME_BYTES, "%s/%s", r->site.name, g->name);
	double units = r->coverage.energised[group];
	m->in.pool[n] = (struct contracts_pool){ m->name[n], units, fmin(units, floor(g->spot_share * g->count + 0.5)) };
	m->in.days = days;
	m->in.day = m->day;
	backtest_serving(r->b, group, of);
	day += m->in.n++ * CONTRACTS_SERIES * days;
	for (size_t d = 0; d < days; d++) {
		day[CONTRACTS_SPOT * days + d] = of[d].spot_usd;
		day[CONTRACTS_COST * days + d] = of[d].cost_usd;
		day[CONTRACTS_RATE * days + d] = of[d].rate_usd_h;
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
	if (rc == 0 && m->in.n == 0)
		rc = err_set(err, HCP_ENOTFOUND, "sites", "none of them has devices that serve");
	return rc;
}

/* ---- reply ---- */

static json_t *choice_json(const struct market *m, size_t a)
{
	size_t choices = 1 + m->in.n_lengths, f = a / choices, c = a % choices;
	const struct contracts_length *l = c ? &m->in.length[c - 1] : NULL;
	return json_pack("{s:s, s:s, s:i, s:f, s:f, s:f}", "facility", m->name[f], "choice", c ? "contract" : "spot",
		"days", l ? (int)l->days : 0, "discount", l ? l->discount : 0.0, "devices", m->best.best.units[a],
		"mean_usd_device", m->best.mean_usd[a]);
}

static json_t *reply_json(const struct market *m)
{
	const struct portfolio *b = &m->best.best;
	json_t *choices = json_array(), *facilities = json_array();
	for (size_t a = 0; a < m->in.n * (1 + m->in.n_lengths); a++)
		json_array_append_new(choices, choice_json(m, a));
	for (size_t f = 0; f < m->in.n; f++)
		json_array_append_new(facilities, json_pack("{s:s, s:f, s:f}", "facility", m->name[f], "devices",
											  m->in.pool[f].units, "one_more_usd", b->unit_usd[f]));
	return json_pack("{s:I, s:I, s:I, s:f, s:f, s:f, s:f, s:f, s:o, s:o}", "term_days", (json_int_t)m->in.term,
		"past_days", (json_int_t)m->in.days, "worlds", (json_int_t)m->in.cases, "aversion", m->in.aversion, "mean_usd",
		b->profit.mean, "var_95_usd", b->profit.var, "cvar_95_usd", b->profit.cvar, "worth_usd", b->worth_usd,
		"choices", choices, "facilities", facilities);
}

int ops_portfolio(struct cli *cli, struct err *err)
{
	struct market *m = mem_calloc(1, sizeof(*m));
	json_t *reply = NULL;
	struct buf out;
	buf_init(&out, 0);
	int rc = m ? parse_contracts(cli, &m->in, err) : err_set(err, HCP_ENOMEM, "", "out of memory");
	rc = rc ? rc : load_sites(cli, m, err);
	rc = rc ? rc : contracts_solve(&m->in, &m->best, err);
	if (rc == 0) {
		reply = reply_json(m);
		rc = reply ? render_reply(cli, cli->args.cmd, reply, &out, err) : err_set(err, HCP_ENOMEM, "", "out of memory");
	}
	if (rc == 0)
		rc = cli_print(&out, err);
	buf_release(&out);
	json_decref(reply);
	if (m)
		mem_free(m->day);
	mem_free(m);
	return rc;
}
