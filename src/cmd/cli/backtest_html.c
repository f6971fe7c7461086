/*
 * A backtest as one page: figures, charts as inline SVG, a table by month. No script, no font and no image from
 * elsewhere, so that the file can be mailed and printed.
 */
#include <math.h>
#include <stdio.h>

#include "base/money.h"
#include "base/timefmt.h"
#include "cmd/cli/backtest.h"
#include "cmd/cli/page.h"

enum { CHART_W = 960, LEFT = 70, RIGHT = 10, TOP = 10, BOTTOM = 24, POINTS = 480 };

static double usd(int64_t micros)
{
	return (double)micros / (double)MICROS_PER_USD;
}

/* 1234567 as 1,234,567. */
static void add_whole(struct buf *out, double v)
{
	char digits[32];
	int n = snprintf(digits, sizeof(digits), "%.0f", fabs(v));
	if (v <= -0.5)
		buf_addz(out, "&minus;");
	for (int i = 0; i < n; i++) {
		if (i && (n - i) % 3 == 0)
			buf_addc(out, ',');
		buf_addc(out, digits[i]);
	}
}

/* ---- charts ---- */

struct chart {
	struct buf *out;
	const struct backtest_report *r;
	double min, max, height;
	bool bent; /* above 100 logarithmic, see bend */
	size_t points;
};

static double chart_x(const struct chart *c, double share)
{
	return LEFT + share * (CHART_W - LEFT - RIGHT);
}

static double chart_y(const struct chart *c, double v)
{
	double share = c->max > c->min ? (v - c->min) / (c->max - c->min) : 0.5;
	return TOP + (1 - share) * (c->height - TOP - BOTTOM);
}

/* Spikes are a hundred times the rest: a logarithm above 100 keeps both to be seen. 200 stands for 1,000. */
static double bend(double v)
{
	return v > 100 ? 100 * (1 + log10(v / 100)) : v;
}

static double unbend(double v)
{
	return v > 100 ? 100 * pow(10, v / 100 - 1) : v;
}

static void add_axes(struct chart *c)
{
	const struct backtest_report *r = c->r;
	buf_printf(c->out, "<svg viewBox=\"0 0 %d %.0f\" role=\"img\">", CHART_W, c->height);
	if (c->max > c->min) {
		double step = page_step(c->max - c->min);
		for (double v = ceil(c->min / step) * step; v <= c->max + step * 1e-9; v += step) {
			buf_printf(c->out,
				"<path d=\"M%d %.1fH%d\" stroke=\"var(--line)\"/><text x=\"%d\" y=\"%.1f\" "
				"text-anchor=\"end\">",
				LEFT, chart_y(c, v), CHART_W - RIGHT, LEFT - 6, chart_y(c, v) + 4);
			page_number(c->out, fabs(v) < step * 1e-9 ? 0 : c->bent ? unbend(v) : v);
			buf_addz(c->out, "</text>");
		}
	}
	for (int i = 0; i <= 6; i++) {
		char text[TIMEFMT_MAX];
		timefmt_format(text, r->from_ns + (r->to_ns - r->from_ns) / 6 * i);
		const char *anchor = i == 0 ? "start" : i == 6 ? "end" : "middle";
		buf_printf(c->out, "<text x=\"%.1f\" y=\"%.0f\" text-anchor=\"%s\">%.10s</text>", chart_x(c, i / 6.0),
			c->height - 6, anchor, text);
	}
}

static void add_stroke(struct chart *c, const double *v, const char *stroke, const char *name)
{
	bool open = false;
	buf_printf(c->out, "<path fill=\"none\" stroke=\"%s\" stroke-width=\"1.5\" d=\"", stroke);
	for (size_t i = 0; i < c->points; i++) {
		if (isnan(v[i])) {
			open = false;
			continue;
		}
		buf_printf(c->out, "%c%.1f %.1f", open ? 'L' : 'M', chart_x(c, ((double)i + 0.5) / (double)c->points),
			chart_y(c, v[i]));
		open = true;
	}
	buf_addz(c->out, "\"><title>");
	page_text(c->out, name);
	buf_addz(c->out, "</title></path>");
}

static void add_line(struct chart *c, const double *v, size_t colour_of, const char *name)
{
	add_stroke(c, v, page_colour(colour_of), name);
}

static void widen(struct chart *c, const double *v)
{
	for (size_t i = 0; i < c->points; i++) {
		c->min = v[i] < c->min ? v[i] : c->min;
		c->max = v[i] > c->max ? v[i] : c->max;
	}
}

static struct chart chart_of(struct buf *out, const struct backtest_report *r, double height)
{
	size_t n = r->coverage.intervals;
	return (struct chart){ .out = out, .r = r, .height = height, .points = n < POINTS ? n : POINTS };
}

static void bounds(const struct chart *c, size_t point, size_t *ret_from, size_t *ret_to)
{
	size_t n = c->r->coverage.intervals;
	*ret_from = point * n / c->points;
	*ret_to = (point + 1) * n / c->points;
}

/* Highest and mean price of each span, bent. */
static void span_prices(const struct chart *c, double high[POINTS], double mean[POINTS])
{
	const double *price = backtest_prices(c->r->b);
	for (size_t p = 0; p < c->points; p++) {
		size_t from = 0, to = 0, n = 0;
		bounds(c, p, &from, &to);
		high[p] = mean[p] = NAN;
		double sum = 0;
		for (size_t i = from; i < to; i++) {
			if (isnan(price[i]))
				continue;
			high[p] = !(price[i] <= high[p]) ? price[i] : high[p];
			sum += price[i];
			n++;
		}
		if (n)
			mean[p] = sum / (double)n;
		high[p] = bend(high[p]);
		mean[p] = bend(mean[p]);
	}
}

static void price_chart(struct buf *out, const struct backtest_report *r)
{
	struct chart c = chart_of(out, r, 240);
	double high[POINTS], mean[POINTS];
	span_prices(&c, high, mean);
	c.bent = true;
	widen(&c, high);
	widen(&c, mean);
	buf_addz(
		out, "<h2>Electricity, USD/MWh</h2><p>Mean and highest of each span; above 100 the scale is logarithmic.</p>");
	add_axes(&c);
	add_line(&c, high, 1, "highest");
	add_line(&c, mean, 0, "mean");
	buf_addz(out, "</svg>");
}

static void plan_charts(struct buf *out, const struct backtest_report *r)
{
	struct chart all = chart_of(out, r, 110);
	double price[POINTS], mean[POINTS];
	span_prices(&all, price, mean);
	widen(&all, price);
	for (size_t p = 0; p < all.points && all.max > 0; p++)
		price[p] = price[p] > 0 ? price[p] / all.max : 0 * price[p]; /* what is not known stays so */
	buf_addz(out, "<h2>Share of the miners that run</h2><p>Mean of each span, by capacity; pale, the highest price of "
				  "the span, of the highest of all.</p>");
	for (size_t k = 0; k < r->n; k++) {
		const struct backtest_row *row = &r->rows[k];
		struct chart c = chart_of(out, r, 110);
		double v[POINTS];
		if (k > 0 && !row->asked)
			continue;
		c.max = 1;
		for (size_t p = 0; p < c.points; p++) {
			size_t from = 0, to = 0;
			bounds(&c, p, &from, &to);
			v[p] = 0;
			for (size_t i = from; i < to; i++)
				v[p] += row->books.running[i] / (double)(to - from);
		}
		buf_printf(out, "<p>%s</p>", backtest_row_name(row));
		add_axes(&c);
		if (!r->site.fixed)
			add_stroke(&c, price, "var(--pale)", "price");
		add_line(&c, v, k, backtest_row_name(row));
		buf_addz(out, "</svg>");
	}
}

/* Cumulative profit of a row, less that of another (NULL: of none), at the end of each span. */
static void cumulate(
	const struct chart *c, const struct backtest_books *b, const struct backtest_books *less, double v[POINTS])
{
	int64_t sum = 0;
	for (size_t p = 0; p < c->points; p++) {
		size_t from = 0, to = 0;
		bounds(c, p, &from, &to);
		for (size_t i = from; i < to; i++)
			sum += b->profit_micros[i] - (less ? less->profit_micros[i] : 0);
		v[p] = usd(sum);
	}
}

static void add_key(struct buf *out, const struct backtest_report *r, size_t first)
{
	buf_addz(out, "<p class=\"key\">");
	for (size_t k = first; k < r->n; k++)
		if (k == 0 || r->rows[k].asked)
			buf_printf(out, "<span><i style=\"background:%s\"></i>%s</span>", page_colour(k),
				backtest_row_name(&r->rows[k]));
	buf_addz(out, "</p>");
}

static void money_lines(struct chart *c, bool regret, bool draw)
{
	const struct backtest_report *r = c->r;
	double v[POINTS];
	for (size_t k = regret ? 1 : 0; k < r->n; k++) {
		const struct backtest_row *row = &r->rows[k];
		if (k > 0 && !row->asked)
			continue;
		cumulate(c, regret ? &r->rows[0].books : &row->books, regret ? &row->books : NULL, v);
		if (!draw) {
			widen(c, v);
			continue;
		}
		for (size_t p = 0; p < c->points; p++)
			v[p] = v[p] > c->max ? NAN : v[p];
		add_line(c, v, k, backtest_row_name(row));
	}
}

/* Of the policies that are better than mining always; 0: none is. */
static double largest_regret(const struct backtest_report *r)
{
	double most = 0;
	for (size_t k = 1; k < r->n; k++) {
		const struct backtest_books *b = &r->rows[k].books;
		if (r->rows[k].asked && b->mine.profit_micros > r->rows[1].books.mine.profit_micros)
			most = fmax(most, usd(r->rows[0].books.mine.profit_micros - b->mine.profit_micros));
	}
	return most;
}

/* regret: what each policy lacks of the clairvoyant; otherwise cumulative profit, clairvoyant and all. */
static void money_chart(struct buf *out, const struct backtest_report *r, bool regret)
{
	struct chart c = chart_of(out, r, 240);
	money_lines(&c, regret, false);
	double most = regret ? 1.2 * largest_regret(r) : 0;
	if (most > 0 && c.max > most)
		c.max = most; /* or one that is no better than mining always would flatten all others */
	add_axes(&c);
	money_lines(&c, regret, true);
	buf_addz(out, "</svg>");
	add_key(out, r, regret ? 1 : 0);
}

/* ---- tables ---- */

static void add_cells(struct buf *out, const double *v, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		buf_addz(out, "<td>");
		add_whole(out, v[i]);
	}
}

static void add_policies(struct buf *out, const struct backtest_report *r)
{
	buf_addz(out,
		"<div class=\"wide\"><table><tr><th>policy<th>profit USD<th>above mining<th>fraction<th>energy USD<th>"
		"wear USD<th>curtailed MWh<th>starts<th>drawdown USD<th>CVaR 95 % a day USD<th>a month USD<th>AI profit "
		"USD</tr>");
	for (size_t k = 0; k < r->n; k++) {
		const struct backtest_row *row = &r->rows[(k + 1) % r->n]; /* the clairvoyant last */
		const struct backtest_sum *s = &row->books.mine;
		double fraction = backtest_row_fraction(r, row);
		if (row->vt && !row->asked)
			continue;
		buf_printf(out, "<tr><td>%s", backtest_row_name(row));
		const double before[] = { usd(s->profit_micros), usd(s->profit_micros - r->rows[1].books.mine.profit_micros) };
		const double after[] = { usd(s->energy_micros), usd(s->wear_micros + s->start_wear_micros), s->curtailed_mwh,
			(double)s->starts, usd(row->books.drawdown_micros), row->books.daily.cvar, row->books.monthly.cvar,
			usd(row->books.ai.profit_micros) };
		add_cells(out, before, 2);
		buf_addz(out, "<td>");
		if (isfinite(fraction))
			buf_printf(out, "%.4f", fraction);
		add_cells(out, after, sizeof(after) / sizeof(after[0]));
		buf_addz(out, "</tr>");
	}
	buf_addz(out, "</table></div>");
}

/* Offers held ready: on top of profit and fraction, in neither. */
static void add_offers(struct buf *out, const struct backtest_report *r)
{
	if (r->site.n_offers == 0)
		return;
	buf_addz(out,
		"<h2>Ancillary services</h2><p>Load held ready to be dropped, paid by the MW and hour; on top of profit "
		"and fraction, in neither; so is what calls cost and save.</p><div class=\"wide\"><table><tr><th>policy"
		"<th>service<th>MW<th>offered MWh"
		"<th>held MWh<th>hours without a price<th>USD<th>calls<th>due MWh<th>missing MWh<th>saved USD<th>not mined USD"
		"<th>starts USD<th>penalties USD</tr>");
	for (size_t k = 0; k < r->n; k++) {
		const struct backtest_row *row = &r->rows[(k + 1) % r->n];
		for (size_t i = 0; i < r->site.n_offers && (!row->vt || row->asked); i++) {
			const struct backtest_offer *o = &row->books.offer[i];
			const double cells[] = { r->site.offer[i].mw, o->offered_mw_h, o->held_mw_h, o->unpriced_h,
				usd(o->revenue_micros), o->calls, o->due_mwh, o->missed_mwh, usd(o->saved_micros), usd(o->lost_micros),
				usd(o->start_micros), usd(o->penalty_micros) };
			buf_printf(out, "<tr><td>%s<td>", backtest_row_name(row));
			page_text(out, r->site.offer[i].service);
			add_cells(out, cells, sizeof(cells) / sizeof(cells[0]));
			buf_addz(out, "</tr>");
		}
	}
	buf_addz(out, "</table></div>");
}

static void add_months(struct buf *out, const struct backtest_report *r)
{
	const struct backtest_books *first = &r->rows[0].books;
	buf_addz(out, "<h2>Profit by month, USD</h2><div class=\"wide\"><table><tr><th>month");
	for (size_t k = 0; k < r->n; k++)
		if (k == 0 || r->rows[k].asked)
			buf_printf(out, "<th>%s", backtest_row_name(&r->rows[k]));
	buf_addz(out, "</tr>");
	for (size_t i = 0; i < first->n_months; i++) {
		char text[TIMEFMT_MAX];
		buf_printf(out, "<tr><td>%.7s", timefmt_format(text, first->month[i].start_ns));
		for (size_t k = 0; k < r->n; k++)
			if (k == 0 || r->rows[k].asked)
				add_cells(out, &(double){ usd(r->rows[k].books.month[i].mine.profit_micros) }, 1);
		buf_addz(out, "</tr>");
	}
	buf_addz(out, "</table></div>");
}

void backtest_report_html(const struct backtest_report *r, struct buf *out)
{
	char from[TIMEFMT_MAX], to[TIMEFMT_MAX];
	buf_printf(out,
		"<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" "
		"content=\"width=device-width\"><title>Backtest</title><style>%s</style><h1>Backtest of ",
		page_style);
	page_text(out, r->site.name);
	buf_printf(out, "</h1><p>%s to %s, %zu quarter-hours, %zu with prices. Restarts %s.",
		timefmt_format(from, r->from_ns), timefmt_format(to, r->to_ns), r->coverage.intervals, r->coverage.priced,
		r->restart_costs ? "cost what the site says" : "are free of cost");
	if (!r->coverage.exact)
		buf_addz(out, " The power limit binds: the clairvoyant's plan is not proved to be the best.");
	if (r->replaced.n) {
		buf_addz(out, " Hardware of the period: ");
		page_text(out, r->replaced.data);
	}
	buf_addz(out, "</p><p>fraction = (profit &minus; always_mine) / (clairvoyant &minus; always_mine)</p>");
	add_policies(out, r);
	add_offers(out, r);
	if (!r->site.fixed)
		price_chart(out, r);
	plan_charts(out, r);
	buf_addz(out, "<h2>Cumulative profit, USD</h2>");
	money_chart(out, r, false);
	buf_addz(out, "<h2>Regret, USD</h2><p>What each policy lacks of the clairvoyant; cut off where it is far more than "
				  "that of those that beat "
				  "mining always.</p>");
	money_chart(out, r, true);
	add_months(out, r);
	buf_addz(out, "</html>\n");
}
