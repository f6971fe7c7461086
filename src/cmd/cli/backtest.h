#ifndef HCP_CMD_CLI_BACKTEST_H
#define HCP_CMD_CLI_BACKTEST_H

#include "cmd/cli/model_file.h"
#include "econ/backtest.h"
#include "sim/replay_files.h"

struct cli;

/* One policy of a backtest. */
struct backtest_row {
	const struct policy_vt *vt; /* NULL: the clairvoyant */
	bool asked;                 /* to be reported; always_mine runs in any case */
	bool named;                 /* by itself, not with all the others */
	struct backtest_books books;
	double seconds; /* that it took */
	struct buf model; /* what its decisions stood on; empty: nothing to tell */
	int rc;
	struct err err;
};

enum { BACKTEST_ROWS_MAX = 34 };

/* Everything that a report tells. rows[0] is the clairvoyant, rows[1] always_mine. */
struct backtest_report {
	const char *default_policy; /* NULL: all */
	const char *site_name;      /* NULL: the command line's */
	bool truth_only;            /* no policy is run */
	/* What is changed about the site of the command line; NULL: nothing. */
	int (*change)(struct cli *cli, struct site *s, struct err *err);
	struct site site;
	const char *data, *hardware; /* borrowed */
	struct buf replaced;         /* by period hardware; lines */
	bool restart_costs;
	int64_t from_ns, to_ns;
	struct policy_conf conf;
	struct model_files models; /* of conf */
	struct replay_files files;
	bool calls_read, calls_assumed; /* calls of ancillary offers: of the data folder's file, else assumed */
	uint64_t calls_seed;
	struct backtest_call *calls; /* owned */
	size_t n_calls;
	struct backtest *b;
	struct backtest_coverage coverage;
	struct risk_guard guard; /* fresh; capital 0: none */
	struct backtest_row rows[BACKTEST_ROWS_MAX];
	size_t n;
};

double backtest_row_fraction(const struct backtest_report *r, const struct backtest_row *row);
/* Of the clairvoyant's row too. */
const char *backtest_row_name(const struct backtest_row *row);

/* Files in, all runs done, as the command line asks; *ret is to be released in any case. */
int backtest_report_run(struct cli *cli, struct backtest_report *ret, struct err *err) MUST_CHECK;
void backtest_report_release(struct backtest_report *r);

/* Where the calls of ancillary offers are from: "recorded", "assumed" or "none". */
const char *backtest_calls_text(const struct backtest_report *r);
/* backtest_report.c; both append to out. HCP_ENOMEM. */
int backtest_report_table(
	struct cli *cli, const struct backtest_report *r, struct buf *out, struct err *err) MUST_CHECK;
int backtest_report_json(const struct backtest_report *r, struct buf *out, struct err *err) MUST_CHECK;
/* backtest_html.c: one page without anything outside of it. Failures stick to out. */
void backtest_report_html(const struct backtest_report *r, struct buf *out);

#endif
