/* `hcp backtest`: files in, runs side by side, a report out. */
#include "cmd/cli/backtest.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/money.h"
#include "base/panic.h"
#include "base/timefmt.h"
#include "cmd/cli/cli.h"
#include "cmd/cli/model_file.h"
#include "cmd/cli/ops.h"
#include "cmd/cli/site_file.h"
#include "os/clock.h"
#include "os/file.h"
#include "sim/replay_calls.h"

#define DAY_NS (INT64_C(86400) * NS_PER_S)

enum { WORKERS_MAX = 16, POLL_MS = 20, CALLS_BYTES_MAX = 1 << 20 };

double backtest_row_fraction(const struct backtest_report *r, const struct backtest_row *row)
{
	return backtest_fraction(
		row->books.mine.profit_micros, r->rows[1].books.mine.profit_micros, r->rows[0].books.mine.profit_micros);
}

const char *backtest_row_name(const struct backtest_row *row)
{
	return row->vt ? row->vt->name : "clairvoyant";
}

/* ---- ticks from the files ---- */

struct source {
	struct replay replay;
	enum history_kind kind[REPLAY_SERIES_MAX]; /* by series of the replay */
};

static bool tick_at(const void *ctx, size_t i, struct backtest_tick *ret)
{
	const struct source *s = ctx;
	struct sim_tick t;
	if (!replay_at(&s->replay, i, &t))
		return false;
	*ret = (struct backtest_tick){ .kind = s->kind[s->replay.entries[i].series],
		.location = t.location,
		.value = t.value,
		.known_ns = t.observed_at_ns,
		.start_ns = t.interval_start_ns,
		/* A rate that holds from then on stands on the day that it is from. */
		.step_ns = t.interval_s ? t.interval_s * NS_PER_S : DAY_NS };
	return true;
}

static void find_kinds(struct source *s)
{
	for (size_t i = 0; i < s->replay.n_series; i++) {
		int k = 0;
		while (k < HISTORY_KIND_END && strcmp(history_kind_name((enum history_kind)k), s->replay.series[i].symbol))
			k++;
		must(k < HISTORY_KIND_END);
		s->kind[i] = (enum history_kind)k;
	}
}

/*
 * Prices that go on where the Bitcoin files have ended (or a site on a fixed tariff, until --to) would be judged on the
 * few days that both have. List prices of GPUs hold until the next, so those that end are only told.
 */
static int check_ends(const struct backtest_report *r, const struct source *s, struct err *err)
{
	static const struct {
		enum history_kind kind;
		const char *file;
		bool needed;
	} ends[] = { { HISTORY_BTC_USD, "btc_usdt_hourly.csv", true },
		{ HISTORY_DIFFICULTY, "btc_network_daily.csv", true },
		{ HISTORY_GPU_RATE, "gpu_list_price_monthly.csv", false } };
	int64_t end_ns[HISTORY_KIND_END] = { 0 };
	char last[TIMEFMT_MAX], until[TIMEFMT_MAX];
	for (size_t i = 0; i < s->replay.n; i++) {
		const struct replay_entry *e = &s->replay.entries[i];
		int64_t ns = e->interval_start_ns + e->interval_s * NS_PER_S;
		if (ns > end_ns[s->kind[e->series]])
			end_ns[s->kind[e->series]] = ns;
	}
	int64_t to_ns = r->site.fixed || end_ns[HISTORY_POWER_RT] > r->to_ns ? r->to_ns : end_ns[HISTORY_POWER_RT];
	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]) && to_ns > r->from_ns; i++) {
		int64_t ns = end_ns[ends[i].kind], carry_ns = ends[i].needed ? BACKTEST_CARRY_NS : 62 * DAY_NS;
		if (ns + carry_ns >= to_ns || (ns == 0 && !ends[i].needed))
			continue;
		timefmt_format(until, to_ns);
		if (ends[i].needed && ns == 0)
			return err_set(err, HCP_ENOTFOUND, ends[i].file, "has no row before %s, or is not in the folder", until);
		if (ends[i].needed)
			return err_set(err, HCP_ENOTFOUND, ends[i].file, "ends at %s; rows until %s are needed",
				timefmt_format(last, ns), until);
		cli_say("hcp: %s ends at %s; its last prices are taken to hold, for 400 days at most", ends[i].file,
			timefmt_format(last, ns));
	}
	return 0;
}

static int load(struct cli *cli, struct backtest_report *r, struct source *s, struct err *err)
{
	const char *more = args_text(&cli->args, "points");
	const char *points = arena_printf(&cli->arena, "%s,%s", r->site.point, more ? more : "");
	if (!points)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	if (!strcmp(points, ","))
		points = "";
	/* What the last day's network was is known a day later; decisions do not see that far. */
	replay_init(&s->replay, 0, r->to_ns + DAY_NS);
	r->files.from_ns = r->from_ns;
	r->files.to_ns = r->to_ns;
	int rc = replay_load_all(&s->replay, r->data, points, !r->site.fixed, &r->files, err);
	if (rc == 0) {
		find_kinds(s);
		rc = check_ends(r, s, err);
	}
	return rc;
}

/* ---- what is asked for ---- */

/* A day alone means the whole of it: its end for --to. */
static int parse_time(struct cli *cli, const char *flag, bool is_end, int64_t *ret_ns, struct err *err)
{
	const char *text = args_text(&cli->args, flag);
	int64_t ns;
	if (timefmt_parse(str_of(text), &ns) < 0 || ns < 0 || ns > INT64_MAX / 4)
		return cli_usage(cli, err, flag, "--%s needs a day like 2024-01-31 or a time, not \"%.40s\"", flag, text);
	if (is_end && strlen(text) == strlen("2024-01-31"))
		ns += DAY_NS;
	if (ns % BACKTEST_STEP_NS != 0)
		return cli_usage(cli, err, flag, "--%s must be a whole quarter-hour", flag);
	*ret_ns = ns;
	return 0;
}

static void add_row(struct backtest_report *r, const struct policy_vt *vt, bool asked, bool named)
{
	for (size_t i = 1; i < r->n; i++)
		if (r->rows[i].vt == vt) {
			r->rows[i].asked |= asked;
			r->rows[i].named |= named;
			return;
		}
	must(r->n < BACKTEST_ROWS_MAX);
	r->rows[r->n++] = (struct backtest_row){ .vt = vt, .asked = asked, .named = named };
}

static int choose_policies(struct cli *cli, struct backtest_report *r, struct err *err)
{
	const char *text = args_text(&cli->args, "policy");
	struct str rest = str_of(text && *text ? text : r->default_policy ? r->default_policy : "all");
	r->rows[0] = (struct backtest_row){ .vt = NULL };
	r->n = 1;
	add_row(r, policy_find(STR("always_mine")), false, false);
	while (rest.p) {
		struct str name = str_trim(str_split(&rest, ','));
		if (str_eqz(name, "all")) {
			for (size_t i = 0; policy_at(i); i++)
				add_row(r, policy_at(i), true, false);
			continue;
		}
		const struct policy_vt *vt = policy_find(name);
		if (!vt) {
			struct buf known;
			buf_init(&known, 0);
			for (size_t i = 0; policy_at(i); i++)
				buf_printf(&known, " %s", policy_at(i)->name);
			int rc = cli_usage(cli, err, "policy", "there is no policy '%.*s'; there are:%s",
				(int)(name.n < 40 ? name.n : 40), name.p, known.data ? known.data : "");
			buf_release(&known);
			return rc;
		}
		add_row(r, vt, true, true);
	}
	return 0;
}

static int choose(struct cli *cli, struct backtest_report *r, struct err *err)
{
	const struct args *a = &cli->args;
	int rc = choose_policies(cli, r, err);
	if (rc == 0)
		rc = parse_time(cli, "from", false, &r->from_ns, err);
	if (rc == 0)
		rc = parse_time(cli, "to", true, &r->to_ns, err);
	if (rc == 0 && r->to_ns <= r->from_ns)
		rc = cli_usage(cli, err, "to", "--to must lie after --from");
	if (rc == 0)
		rc = site_file_load(cli, r->site_name ? r->site_name : args_text(a, "site"), &r->site, err);
	if (rc == 0 && r->change)
		rc = r->change(cli, &r->site, err);
	if (rc < 0)
		return rc;
	const char *hardware = args_text(a, "hardware"), *strike = args_text(a, "strike");
	const char *hysteresis = args_text(a, "hysteresis");
	r->data = args_text(a, "data");
	r->hardware = hardware ? hardware : "site";
	r->restart_costs = !args_has(a, "no-restart-costs");
	if (!strcmp(r->hardware, "period"))
		site_period_hardware(&r->site, r->from_ns, &r->replaced);
	if (!r->restart_costs)
		site_free_restarts(&r->site);
	policy_conf_default(&r->conf);
	if (strike)
		r->conf.strike_usd_mwh = strtod(strike, NULL); /* checked by args_parse */
	if (hysteresis)
		r->conf.hysteresis = strtod(hysteresis, NULL);
	if (r->truth_only)
		return 0;
	const char *capital = args_text(a, "capital"), *drawdown = args_text(a, "drawdown");
	if (drawdown && !capital)
		return cli_usage(cli, err, "drawdown", "--drawdown is a share of --capital, which is missing");
	if (capital)
		rc = risk_guard_init(
			&r->guard, strtod(capital, NULL), drawdown ? strtod(drawdown, NULL) : RISK_DRAWDOWN_LIMIT, err);
	if (rc < 0)
		return rc;
	rc = model_files_load(cli, args_text(a, "model"), r->site.point, r->site.name, &r->models, err);
	r->conf.model = buf_str(&r->models.prices);
	r->conf.ppo = buf_str(&r->models.ppo);
	r->conf.ppo_file = str_of(r->models.ppo_file);
	return rc;
}

/* ---- runs ---- */

struct work {
	struct backtest_report *r;
	const struct backtest_feed *feed;
	atomic_size_t next, finished;
	atomic_uint_fast64_t steps; /* intervals done of all rows */
};

struct job {
	struct work *w;
	size_t done;
};

static void count_steps(void *ctx, size_t done, size_t n)
{
	struct job *j = ctx;
	(void)n;
	atomic_fetch_add(&j->w->steps, done - j->done);
	j->done = done;
}

static void run_row(struct work *w, struct backtest_row *row)
{
	struct job j = { .w = w };
	struct policy p;
	int64_t began_ns = clock_mono_ns();
	if (!row->vt) {
		row->rc = backtest_clairvoyant(w->r->b, &row->books, &row->err);
	} else {
		row->rc = policy_init(&p, row->vt, &w->r->conf, &row->err);
		if (row->rc == 0) {
			/* What the others are measured by runs without a guard. */
			const struct risk_guard *guard = w->r->guard.capital_usd > 0 && row != &w->r->rows[1] ? &w->r->guard : NULL;
			row->rc = backtest_run(w->r->b, w->feed, &p, guard, count_steps, &j, &row->books, &row->err);
			policy_describe(&p, &row->model);
			policy_release(&p);
		}
	}
	row->seconds = (double)(clock_mono_ns() - began_ns) / (double)NS_PER_S;
}

static void *work_main(void *arg)
{
	struct work *w = arg;
	size_t i;
	while ((i = atomic_fetch_add(&w->next, 1)) < w->r->n)
		run_row(w, &w->r->rows[i]);
	atomic_fetch_add(&w->finished, 1);
	return NULL;
}

static void show_progress(struct work *w, size_t workers)
{
	bool tty = isatty(STDERR_FILENO);
	uint64_t all = (uint64_t)w->r->coverage.intervals * (w->r->n - 1), shown = UINT64_MAX;
	while (atomic_load(&w->finished) < workers) {
		uint64_t percent = all ? 100 * atomic_load(&w->steps) / all : 100;
		if (tty && percent != shown)
			fprintf(stderr, "\r%zu policies over %zu intervals: %3d %%", w->r->n - 1, w->r->coverage.intervals,
				(int)percent);
		shown = percent;
		clock_sleep_ns(POLL_MS * NS_PER_MS);
	}
	if (tty)
		fprintf(stderr, "\r%60s\r", "");
}

/* A policy that nobody named, and whose trained file is not there or not of this site and time. */
static void leave_out(struct backtest_report *r)
{
	size_t kept = 0;
	for (size_t i = 0; i < r->n; i++) {
		struct backtest_row *row = &r->rows[i];
		bool lacks = (row->rc == HCP_ENOTFOUND || row->rc == HCP_ESTATE) && !strcmp(row->err.field, "model");
		if (lacks && !row->named) {
			cli_say("hcp: done without policy %s: %s", backtest_row_name(row), row->err.text);
			buf_release(&row->model);
		} else {
			r->rows[kept++] = *row;
		}
	}
	r->n = kept;
}

static int run_all(struct backtest_report *r, const struct backtest_feed *feed, struct err *err)
{
	struct work w = { .r = r, .feed = feed };
	pthread_t thread[WORKERS_MAX];
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	size_t workers = cores < 1 ? 1 : cores > WORKERS_MAX ? WORKERS_MAX : (size_t)cores, started = 0;
	workers = workers < r->n ? workers : r->n;
	while (started < workers && pthread_create(&thread[started], NULL, work_main, &w) == 0)
		started++;
	if (started == 0)
		work_main(&w);
	else
		show_progress(&w, started);
	for (size_t i = 0; i < started; i++)
		pthread_join(thread[i], NULL);
	leave_out(r);
	for (size_t i = 0; i < r->n; i++)
		if (r->rows[i].rc < 0) {
			*err = r->rows[i].err;
			err_prefix(err, backtest_row_name(&r->rows[i]));
			return r->rows[i].rc;
		}
	return 0;
}

/* ---- report ---- */

static int write_report(struct cli *cli, const struct backtest_report *r, struct err *err)
{
	const char *form = args_text(&cli->args, "output");
	struct buf out;
	int rc = 0;
	buf_init(&out, 0);
	if (form && !strcmp(form, "json"))
		rc = backtest_report_json(r, &out, err);
	else if (form && !strcmp(form, "html"))
		backtest_report_html(r, &out);
	else
		rc = backtest_report_table(cli, r, &out, err);
	return cli_finish_report(cli, &out, rc, err);
}

/* Lines of a buffer as a list. */
static void say_lines(const char *what, const struct buf *lines)
{
	struct buf list;
	struct str rest = buf_str(lines);
	buf_init(&list, 0);
	while (rest.p) {
		struct str line = str_split(&rest, '\n');
		if (line.n)
			buf_printf(&list, "%s%.*s", list.n ? ", " : "", (int)line.n, line.p);
	}
	if (list.n)
		cli_say("hcp: %s: %s", what, list.data);
	buf_release(&list);
}

static const char calls_file[] = "ancillary_calls.csv";

/* Calls of what the site offers to the grid: recorded ones, else as often as is assumed. */
static int load_calls(struct cli *cli, struct backtest_report *r, struct err *err)
{
	const char *which = args_text(&cli->args, "calls");
	char path[4096];
	struct buf text;
	if (r->site.n_offers == 0 || r->truth_only || (which && !strcmp(which, "none")))
		return 0;
	r->calls_seed = (uint64_t)args_int(&cli->args, "calls-seed", 1);
	if (file_join(path, sizeof(path), r->data, calls_file) < 0)
		return err_set(err, HCP_ERANGE, "data", "the path is too long");
	r->calls_read = (!which || strcmp(which, "assumed") != 0) && file_exists(path);
	r->calls_assumed = !r->calls_read;
	if (r->calls_assumed)
		return 0;
	r->calls = mem_calloc(BACKTEST_CALLS_MAX, sizeof(*r->calls));
	int rc = r->calls ? file_read(path, CALLS_BYTES_MAX, &text, err) : err_set(err, HCP_ENOMEM, "", "out of memory");
	if (rc < 0)
		return rc;
	rc = replay_calls(calls_file, buf_str(&text), r->calls, BACKTEST_CALLS_MAX, &r->n_calls, err);
	buf_release(&text);
	return rc;
}

/* Files, truth, runs. */
static int work(struct cli *cli, struct backtest_report *r, struct source *s, struct err *err)
{
	struct backtest_feed feed = { s, tick_at };
	struct backtest_conf conf = { .site = &r->site,
		.from_ns = r->from_ns,
		.to_ns = r->to_ns,
		.horizon_ns = args_int(&cli->args, "horizon", 3600) * NS_PER_S };
	int rc = load_calls(cli, r, err);
	conf.calls = r->calls;
	conf.n_calls = r->n_calls;
	conf.assume_calls = r->calls_assumed;
	conf.calls_seed = r->calls_seed;
	rc = rc ? rc : load(cli, r, s, err);
	say_lines("other hardware", &r->replaced);
	say_lines("not in the folder, done without", &r->files.missing);
	if (rc == 0)
		rc = backtest_new(&conf, &feed, &r->b, err);
	if (rc == HCP_ENOTFOUND)
		say_lines("read", &r->files.read);
	if (rc < 0)
		return rc;
	backtest_coverage(r->b, &r->coverage);
	return r->truth_only ? 0 : run_all(r, &feed, err);
}

int backtest_report_run(struct cli *cli, struct backtest_report *r, struct err *err)
{
	struct source *s = mem_calloc(1, sizeof(*s));
	int rc = s ? choose(cli, r, err) : err_set(err, HCP_ENOMEM, "", "out of memory");
	if (rc == 0)
		rc = work(cli, r, s, err);
	if (s)
		replay_release(&s->replay);
	mem_free(s);
	return rc;
}

void backtest_report_release(struct backtest_report *r)
{
	for (size_t i = 0; i < r->n; i++) {
		backtest_books_release(&r->rows[i].books);
		buf_release(&r->rows[i].model);
	}
	backtest_free(r->b);
	mem_free(r->calls);
	buf_release(&r->files.read);
	buf_release(&r->files.missing);
	buf_release(&r->replaced);
	model_files_release(&r->models);
}

int ops_backtest(struct cli *cli, struct err *err)
{
	struct backtest_report *r = mem_calloc(1, sizeof(*r));
	if (!r)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	int rc = backtest_report_run(cli, r, err);
	if (rc == 0)
		rc = write_report(cli, r, err);
	backtest_report_release(r);
	mem_free(r);
	return rc;
}
