/* `hcp what-if`: the same past twice, with the site as it is and as it might be. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include <jansson.h>

#include "base/mem.h"
#include "base/money.h"
#include "cmd/cli/backtest.h"
#include "cmd/cli/cli.h"
#include "cmd/cli/ops.h"
#include "cmd/cli/render.h"

struct side {
	double profit_usd, mining_usd, ai_usd, energy_mwh;
};

struct outcome {
	const char *policy[BACKTEST_ROWS_MAX]; /* static */
	struct side before[BACKTEST_ROWS_MAX], after[BACKTEST_ROWS_MAX];
	double days, full_before_mw, full_after_mw;
	size_t n;
};

static int change_each(struct site *s, const char *list, int (*change)(struct site *, struct str, struct err *),
	struct err *err)
{
	struct str rest = str_of(list);
	int rc = 0;
	while (rc == 0 && rest.p)
		rc = change(s, str_trim(str_split(&rest, ',')), err);
	return rc;
}

static int change(struct cli *cli, struct site *s, struct err *err)
{
	static const struct {
		const char *flag;
		int (*change)(struct site *, struct str, struct err *);
	} kinds[] = { { "remove", site_remove }, { "fail", site_fail }, { "add", site_add } };
	const char *limit = args_text(&cli->args, "limit-mw");
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		const char *list = args_text(&cli->args, kinds[i].flag);
		int rc = list ? change_each(s, list, kinds[i].change, err) : 0;
		if (rc < 0) {
			cli->usage = true;
			return err_prefix(err, kinds[i].flag), rc;
		}
	}
	if (limit)
		s->limit_w = strtod(limit, NULL) * 1e6; /* checked by args_parse */
	return site_validate(s, err);
}

static double usd(int64_t micros)
{
	return (double)micros / (double)MICROS_PER_USD;
}

static struct side side_of(const struct backtest_books *b)
{
	double mining = usd(b->mine.profit_micros), ai = usd(b->ai.profit_micros);
	return (struct side){ mining + ai, mining, ai, b->mine.energy_mwh + b->ai.energy_mwh };
}

static int run(struct cli *cli, bool changed, struct outcome *o, struct err *err)
{
	struct backtest_report *r = mem_calloc(1, sizeof(*r));
	if (!r)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	r->default_policy = "last_price";
	r->change = changed ? change : NULL;
	int rc = backtest_report_run(cli, r, err);
	size_t n = 0;
	for (size_t i = 0; rc == 0 && i < r->n; i++) {
		const struct backtest_row *row = &r->rows[i];
		if (row->vt && !row->asked)
			continue;
		o->policy[n] = backtest_row_name(row);
		*(changed ? &o->after[n] : &o->before[n]) = side_of(&row->books);
		n++;
	}
	o->n = n;
	o->days = (double)(r->to_ns - r->from_ns) / (86400e9);
	*(changed ? &o->full_after_mw : &o->full_before_mw) = site_full_w(&r->site) / 1e6;
	backtest_report_release(r);
	mem_free(r);
	return rc;
}

static json_t *row_json(const struct outcome *o, size_t i)
{
	const struct side *b = &o->before[i], *a = &o->after[i];
	return json_pack("{s:s, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f}", "policy", o->policy[i], "before_usd",
		b->profit_usd, "after_usd", a->profit_usd, "change_usd", a->profit_usd - b->profit_usd, "change_usd_day",
		(a->profit_usd - b->profit_usd) / o->days, "mining_change_usd", a->mining_usd - b->mining_usd, "ai_change_usd",
		a->ai_usd - b->ai_usd, "before_mwh", b->energy_mwh, "after_mwh", a->energy_mwh);
}

int ops_what_if(struct cli *cli, struct err *err)
{
	struct outcome *o = mem_calloc(1, sizeof(*o));
	json_t *rows = json_array(), *reply = NULL;
	struct buf out;
	const char *any = args_text(&cli->args, "add");
	any = any ? any : args_text(&cli->args, "remove");
	any = any ? any : args_text(&cli->args, "fail");
	any = any ? any : args_text(&cli->args, "limit-mw");
	int rc = !any ? cli_usage(cli, err, "add", "say what is changed: --add, --remove, --fail or --limit-mw") :
		o && rows ? run(cli, true, o, err) : err_set(err, HCP_ENOMEM, "", "out of memory");
	if (rc == 0)
		rc = run(cli, false, o, err);
	for (size_t i = 0; rc == 0 && i < o->n; i++)
		json_array_append_new(rows, row_json(o, i));
	if (rc == 0)
		reply = json_pack("{s:f, s:f, s:f, s:O}", "days", o->days, "before_full_mw", o->full_before_mw, "after_full_mw",
			o->full_after_mw, "policies", rows);
	buf_init(&out, 0);
	if (rc == 0)
		rc = reply ? render_reply(cli, cli->args.cmd, reply, &out, err) : err_set(err, HCP_ENOMEM, "", "out of memory");
	if (rc == 0)
		rc = cli_print(&out, err);
	buf_release(&out);
	json_decref(reply);
	json_decref(rows);
	mem_free(o);
	return rc;
}
