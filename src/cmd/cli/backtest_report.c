/* A backtest for the terminal and for programs. */
#include <math.h>

#include "base/money.h"
#include "base/timefmt.h"
#include "cmd/cli/backtest.h"
#include "cmd/cli/cli.h"
#include "cmd/cli/emit.h"
#include "cmd/cli/grid.h"
#include "cmd/cli/human.h"

static double usd(int64_t micros)
{
	return (double)micros / (double)MICROS_PER_USD;
}

/* ---- JSON ---- */

static void set(json_t *o, const char *name, json_t *v)
{
	json_object_set_new(o, name, v);
}

/* NAN has no JSON: null. */
static json_t *real(double v)
{
	return isfinite(v) ? json_real(v) : json_null();
}

static json_t *time_text(int64_t ns)
{
	char text[TIMEFMT_MAX];
	return json_string(timefmt_format(text, ns));
}

static json_t *sum_json(const struct backtest_sum *s)
{
	json_t *o = json_object();
	set(o, "profit_usd", real(usd(s->profit_micros)));
	set(o, "revenue_usd", real(usd(s->revenue_micros)));
	set(o, "energy_cost_usd", real(usd(s->energy_micros)));
	set(o, "wear_usd", real(usd(s->wear_micros)));
	set(o, "start_wear_usd", real(usd(s->start_wear_micros)));
	set(o, "start_lost_revenue_usd", real(s->start_lost_usd));
	set(o, "penalty_usd", real(usd(s->penalty_micros)));
	set(o, "energy_mwh", real(s->energy_mwh));
	set(o, "curtailed_mwh", real(s->curtailed_mwh));
	set(o, "work_device_h", real(s->work_h));
	set(o, "starts", json_integer((json_int_t)s->starts));
	set(o, "stops", json_integer((json_int_t)s->stops));
	set(o, "missed_device_h", real(s->missed_h));
	return o;
}

static json_t *months_json(const struct backtest_books *b)
{
	json_t *all = json_array();
	for (size_t i = 0; i < b->n_months; i++) {
		char text[TIMEFMT_MAX];
		json_t *o = sum_json(&b->month[i].mine);
		timefmt_format(text, b->month[i].start_ns);
		text[7] = 0; /* 2024-01 */
		set(o, "month", json_string(text));
		set(o, "ai_profit_usd", real(usd(b->month[i].ai.profit_micros)));
		set(o, "ancillary_usd", real(usd(b->month[i].ancillary_micros)));
		set(o, "ancillary_calls_usd", real(usd(b->month[i].calls_micros)));
		json_array_append_new(all, o);
	}
	return all;
}

/* Of profits of days, or of months made of days; VaR and CVaR are losses: negative where even the worst days gain. */
static json_t *measure_json(const struct risk_measure *m, const char *cases)
{
	if (m->n == 0)
		return json_null();
	json_t *o = json_object();
	set(o, cases, json_integer((json_int_t)m->n));
	set(o, "mean_usd", real(m->mean));
	set(o, "deviation_usd", real(m->deviation));
	set(o, "worst_usd", real(m->worst));
	set(o, "best_usd", real(m->best));
	set(o, "var_95_usd", real(m->var));
	set(o, "cvar_95_usd", real(m->cvar));
	return o;
}

const char *backtest_calls_text(const struct backtest_report *r)
{
	return r->calls_read ? "recorded" : r->calls_assumed ? "assumed" : "none";
}

/* Apart from profit and fraction, on top of them. */
static json_t *ancillary_json(const struct backtest_report *r, const struct backtest_books *b)
{
	json_t *o = json_object(), *offers = json_array();
	set(o, "revenue_usd", real(usd(b->ancillary_micros)));
	set(o, "calls", json_string(backtest_calls_text(r)));
	set(o, "calls_usd", real(usd(b->calls_micros)));
	set(o, "net_usd", real(usd(b->ancillary_micros + b->calls_micros)));
	for (size_t i = 0; i < r->site.n_offers; i++) {
		const struct site_offer *s = &r->site.offer[i];
		const struct backtest_offer *k = &b->offer[i];
		json_t *one = json_object();
		set(one, "service", json_string(s->service));
		set(one, "mw", real(s->mw));
		set(one, "offered_mw_h", real(k->offered_mw_h));
		set(one, "held_mw_h", real(k->held_mw_h));
		set(one, "unpriced_h", real(k->unpriced_h));
		set(one, "mean_usd_mw_h", k->held_mw_h > 0 ? real(usd(k->revenue_micros) / k->held_mw_h) : json_null());
		set(one, "revenue_usd", real(usd(k->revenue_micros)));
		set(one, "calls", json_integer(k->calls));
		set(one, "due_mwh", real(k->due_mwh));
		set(one, "dropped_mwh", real(k->dropped_mwh));
		set(one, "missed_mwh", real(k->missed_mwh));
		set(one, "saved_usd", real(usd(k->saved_micros)));
		set(one, "lost_usd", real(usd(k->lost_micros)));
		set(one, "start_usd", real(usd(k->start_micros)));
		set(one, "penalty_usd", real(usd(k->penalty_micros)));
		json_array_append_new(offers, one);
	}
	set(o, "offers", offers);
	return o;
}

static json_t *row_json(const struct backtest_report *r, const struct backtest_row *row)
{
	const struct backtest_books *b = &row->books;
	json_t *o = json_object();
	set(o, "policy", json_string(backtest_row_name(row)));
	set(o, "profit_usd", real(usd(b->mine.profit_micros)));
	set(o, "always_mine_usd", real(usd(r->rows[1].books.mine.profit_micros)));
	set(o, "clairvoyant_usd", real(usd(r->rows[0].books.mine.profit_micros)));
	set(o, "fraction", real(backtest_row_fraction(r, row)));
	set(o, "max_drawdown_usd", real(usd(b->drawdown_micros)));
	if (r->guard.capital_usd > 0 && row->vt && row != &r->rows[1]) {
		set(o, "guarded_intervals", json_integer((json_int_t)b->guarded));
		set(o, "deepest_drawdown", real(b->deepest));
	}
	set(o, "daily_profit", measure_json(&b->daily, "days"));
	set(o, "monthly_profit", measure_json(&b->monthly, "cases"));
	set(o, "undecided_intervals", json_integer((json_int_t)b->undecided));
	set(o, "orders_refused", json_integer((json_int_t)b->refused));
	set(o, "bad_ticks", json_integer((json_int_t)b->bad_ticks));
	set(o, "seconds", real(row->seconds));
	if (row->model.n)
		set(o, "model", json_stringn(row->model.data, row->model.n));
	if (r->site.n_offers)
		set(o, "ancillary", ancillary_json(r, b));
	set(o, "mining", sum_json(&b->mine));
	set(o, "ai", sum_json(&b->ai));
	set(o, "months", months_json(b));
	return o;
}

static json_t *lines_json(const struct buf *lines)
{
	json_t *all = json_array();
	struct str rest = buf_str(lines);
	while (rest.p) {
		struct str line = str_split(&rest, '\n');
		if (line.n)
			json_array_append_new(all, json_stringn(line.p, line.n));
	}
	return all;
}

static json_t *site_json(const struct backtest_report *r)
{
	json_t *o = json_object(), *groups = json_array();
	const struct site *s = &r->site;
	set(o, "name", json_string(s->name));
	set(o, "settlement_point", s->fixed ? json_null() : json_string(s->point));
	set(o, "tariff_usd_mwh", s->fixed ? real(s->tariff_usd_mwh) : json_null());
	set(o, "power_limit_mw", real(s->limit_w / 1e6));
	set(o, "full_power_mw", real(site_full_w(s) / 1e6));
	set(o, "pue", real(s->pue));
	set(o, "pool_fee", real(s->pool_fee));
	for (size_t i = 0; i < s->n_groups; i++) {
		const struct site_group *g = &s->group[i];
		json_t *one = json_object();
		set(one, "name", json_string(g->name));
		set(one, "class", json_string(g->cls->name));
		set(one, "count", json_integer(g->count));
		set(one, "energised", json_integer(r->coverage.energised[i]));
		set(one, "start_s", real((double)site_start_ns(g) / (double)NS_PER_S));
		set(one, "start_wear_usd", real(g->start_wear_usd));
		json_array_append_new(groups, one);
	}
	set(o, "groups", groups);
	return o;
}

static json_t *report_json(const struct backtest_report *r)
{
	json_t *o = json_object(), *policies = json_array();
	const struct backtest_coverage *c = &r->coverage;
	set(o, "site", site_json(r));
	set(o, "from", time_text(r->from_ns));
	set(o, "to", time_text(r->to_ns));
	set(o, "intervals", json_integer((json_int_t)c->intervals));
	set(o, "priced_intervals", json_integer((json_int_t)c->priced));
	set(o, "first_priced", time_text(c->first_ns));
	set(o, "last_priced", time_text(c->last_ns));
	set(o, "hardware", json_string(r->hardware));
	set(o, "replaced", lines_json(&r->replaced));
	set(o, "restart_costs", json_boolean(r->restart_costs));
	set(o, "clairvoyant_exact", json_boolean(c->exact));
	set(o, "files_read", lines_json(&r->files.read));
	set(o, "files_missing", lines_json(&r->files.missing));
	for (size_t i = 1; i < r->n; i++)
		if (r->rows[i].asked)
			json_array_append_new(policies, row_json(r, &r->rows[i]));
	set(o, "policies", policies);
	set(o, "clairvoyant", row_json(r, &r->rows[0]));
	return o;
}

int backtest_report_json(const struct backtest_report *r, struct buf *out, struct err *err)
{
	json_t *v = report_json(r);
	if (!v)
		return err_set(err, HCP_ENOMEM, "", "no memory for the report");
	int rc = emit_json(out, v, err);
	json_decref(v);
	return rc;
}

/* ---- table ---- */

static void grid_row(struct grid *g, const struct backtest_report *r, const struct backtest_row *row)
{
	const struct backtest_sum *s = &row->books.mine;
	double fraction = backtest_row_fraction(r, row);
	grid_printf(g, "%s", backtest_row_name(row));
	grid_printf(g, "%.0f", usd(s->profit_micros));
	grid_printf(g, "%.0f", usd(s->profit_micros - r->rows[1].books.mine.profit_micros));
	if (isfinite(fraction))
		grid_printf(g, "%.4f", fraction);
	else
		grid_printf(g, "-");
	grid_printf(g, "%.0f", usd(s->revenue_micros));
	grid_printf(g, "%.0f", usd(s->energy_micros));
	grid_printf(g, "%.0f", usd(s->wear_micros + s->start_wear_micros));
	grid_printf(g, "%.0f", s->curtailed_mwh);
	grid_printf(g, "%.1f", (double)s->starts / 1000);
	grid_printf(g, "%.0f", usd(row->books.drawdown_micros));
	if (row->books.daily.n)
		grid_printf(g, "%.0f", row->books.daily.cvar);
	else
		grid_printf(g, "-");
	if (row->books.monthly.n)
		grid_printf(g, "%.0f", row->books.monthly.cvar);
	else
		grid_printf(g, "-");
	grid_printf(g, "%.0f", usd(row->books.ai.profit_micros));
	if (r->site.n_offers)
		grid_printf(g, "%.0f", usd(row->books.ancillary_micros));
}

/* What calls made of the offers. */
static void table_calls(const struct backtest_report *r, const struct backtest_books *b, struct buf *out)
{
	for (size_t i = 0; i < r->site.n_offers; i++) {
		const struct backtest_offer *o = &b->offer[i];
		if (o->calls == 0)
			continue;
		buf_addz(out, "  ");
		grid_add_clean(out, str_of(r->site.offer[i].service));
		buf_printf(out, " called %u times (%s): %.1f of %.1f MWh missing; saved %.0f, not mined %.0f, starts %.0f, "
			"penalties %.0f USD\n", o->calls, backtest_calls_text(r), o->missed_mwh, o->due_mwh, usd(o->saved_micros),
			usd(o->lost_micros), usd(o->start_micros), usd(o->penalty_micros));
	}
}

/* What of the offers was there to be dropped. */
static void table_offers(const struct backtest_report *r, struct buf *out)
{
	for (size_t k = 1; k < r->n && r->site.n_offers; k++) {
		const struct backtest_books *b = &r->rows[k].books;
		if (!r->rows[k].asked)
			continue;
		buf_printf(out, "ancillary, %s:", backtest_row_name(&r->rows[k]));
		for (size_t i = 0; i < r->site.n_offers; i++) {
			buf_addc(out, ' ');
			grid_add_clean(out, str_of(r->site.offer[i].service));
			buf_printf(out, " %.1f MW held %.1f %% of %.0f MWh, %.0f USD", r->site.offer[i].mw,
				b->offer[i].offered_mw_h > 0 ? 100 * b->offer[i].held_mw_h / b->offer[i].offered_mw_h : 0,
				b->offer[i].offered_mw_h, usd(b->offer[i].revenue_micros));
			if (b->offer[i].unpriced_h > 0)
				buf_printf(out, " (no price in %.0f hours)", b->offer[i].unpriced_h);
			buf_addz(out, i + 1 < r->site.n_offers ? ";" : "");
		}
		buf_addz(out, "; apart from profit and fraction\n");
		table_calls(r, b, out);
	}
}

int backtest_report_table(struct cli *cli, const struct backtest_report *r, struct buf *out, struct err *err)
{
	static const char *const title[] = { "POLICY", "PROFIT USD", "ABOVE MINING", "FRACTION", "REVENUE", "ENERGY",
		"WEAR", "CURTAILED MWH", "STARTS K", "DRAWDOWN", "CVAR 95 A DAY", "CVAR A MONTH", "AI PROFIT", "ANCILLARY" };
	struct grid g;
	char from[TIMEFMT_MAX], to[TIMEFMT_MAX];
	size_t dropped = 0;
	const struct backtest_coverage *c = &r->coverage;
	grid_add_clean(out, str_of(r->site.name));
	buf_printf(out, ", %s to %s: %zu quarter-hours, %zu with prices\n", timefmt_format(from, r->from_ns),
		timefmt_format(to, r->to_ns), c->intervals, c->priced);
	buf_addz(out, r->restart_costs ? "" : "Restarts are free of cost in this run.\n");
	if (c->limited)
		buf_printf(out, "The power limit of %.1f MW keeps some of %.1f MW from running at once.%s\n",
			r->site.limit_w / 1e6, site_full_w(&r->site) / 1e6,
			c->exact ? "" : " The clairvoyant's plan is then not proved to be the best.");
	buf_adds(out, buf_str(&r->replaced));
	buf_addc(out, '\n');
	grid_init(&g, &cli->arena);
	for (size_t i = 0; i < sizeof(title) / sizeof(title[0]) - (r->site.n_offers == 0); i++)
		grid_column(&g, str_of(title[i]), i > 0);
	for (size_t i = 1; i < r->n; i++)
		if (r->rows[i].asked)
			grid_row(&g, r, &r->rows[i]);
	grid_row(&g, r, &r->rows[0]);
	int rc = grid_render(&g, cli->width, cli->color, out, &dropped);
	if (rc < 0)
		return err_set(err, rc, "", "no memory for the table");
	for (size_t i = 1; i < r->n; i++)
		if (r->rows[i].asked && r->rows[i].model.n)
			buf_printf(
				out, "%s: %.*s\n", backtest_row_name(&r->rows[i]), (int)r->rows[i].model.n, r->rows[i].model.data);
	for (size_t i = 2; i < r->n && r->guard.capital_usd > 0; i++)
		buf_printf(out, "%s: drawdown guard up in %zu quarter-hours, deepest %.1f %% of the capital at its highest\n",
			backtest_row_name(&r->rows[i]), r->rows[i].books.guarded, 100 * r->rows[i].books.deepest);
	table_offers(r, out);
	if (dropped)
		buf_printf(out, "(%zu columns do not fit; -o json has everything)\n", dropped);
	return 0;
}
