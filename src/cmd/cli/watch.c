#include "cmd/cli/ops.h"

#include <time.h>
#include <unistd.h>

#include "base/money.h"
#include "cmd/cli/cli.h"
#include "cmd/cli/emit.h"
#include "cmd/cli/grid.h"
#include "cmd/cli/human.h"
#include "cmd/cli/render.h"
#include "cmd/cli/request.h"

enum {
	POLL_MS = 30000,       /* the server answers earlier when something changes */
	POLL_PROGRESS_MS = 1000, /* while a counter runs on the terminal */
	POLL_LEAST_MS = 200,   /* a server that does not wait is not asked more often */
	RETRIES_MAX = 5,
};

struct follow {
	struct cli *cli;
	const char *id;
	bool until_running;  /* submit --wait: stop as soon as it runs; tell on stderr */
	bool counting;       /* a progress line is on the terminal */
	int64_t began_ns;
	int64_t version;
	char state[32];
	char reason[256];
	json_t *last;        /* owned; newest workload */
};

static const char *text(const json_t *o, const char *name)
{
	const char *s = json_string_value(json_object_get(o, name));
	return s ? s : "";
}

static bool is_final(const char *state)
{
	return !strcmp(state, "completed") || !strcmp(state, "failed") || !strcmp(state, "cancelled");
}

/* One line of JSON, so that a reader can follow. */
static void add_json_line(struct buf *out, const json_t *v)
{
	char *line = json_dumps(v, JSON_COMPACT);
	buf_addz(out, line ? line : "{}");
	buf_addc(out, '\n');
	json_free_t free_fn;
	json_get_alloc_funcs(NULL, &free_fn);
	free_fn(line);
}

static void add_change(struct follow *f, const json_t *w, struct buf *out)
{
	json_t *now = json_integer(cli_now_ns());
	human_add(out, now, HUMAN_TIME, 0);
	json_decref(now);
	buf_addz(out, "  ");
	if (f->state[0])
		buf_printf(out, "%s → ", f->state);
	grid_add_clean(out, str_of(text(w, "state")));
	if (*text(w, "reason")) {
		buf_addz(out, "  ");
		grid_add_clean(out, str_of(text(w, "reason")));
	}
	size_t n = json_array_size(json_object_get(w, "device_ids"));
	if (n)
		buf_printf(out, "  on %zu device%s", n, n == 1 ? "" : "s");
	buf_addc(out, '\n');
}

static int tell(struct follow *f, const json_t *w, struct err *err)
{
	struct buf out;
	int rc = 0;
	buf_init(&out, 0);
	if (f->until_running) {
		if (f->counting)
			buf_addz(&out, "\r\033[K");
		f->counting = false;
		add_change(f, w, &out);
		fputs(out.data ? out.data : "", stderr);
	} else if (f->cli->output == CLI_JSON) {
		add_json_line(&out, w);
		rc = cli_print(&out, err);
	} else if (f->cli->output == CLI_YAML) {
		buf_addz(&out, "---\n");
		rc = emit_yaml(&out, w, err);
		if (rc == 0)
			rc = cli_print(&out, err);
	} else {
		add_change(f, w, &out);
		rc = cli_print(&out, err);
	}
	buf_release(&out);
	return rc;
}

static void count(struct follow *f)
{
	struct buf out;
	if (!f->until_running || !isatty(STDERR_FILENO))
		return;
	buf_init(&out, 0);
	buf_addz(&out, "\r\033[K");
	buf_printf(&out, "%s for ", f->state);
	human_add_ns(&out, (cli_now_ns() - f->began_ns) / NS_PER_S * NS_PER_S);
	fputs(out.data ? out.data : "", stderr);
	f->counting = true;
	buf_release(&out);
}

/* Takes in an answer; tells when state or reason differ from what was told last. */
static int take(struct follow *f, json_t *w, struct err *err)
{
	if (!json_is_object(w) || !*text(w, "state"))
		return err_set(err, HCP_EPROTO, "state", "the answer is no workload");
	bool news = strcmp(f->state, text(w, "state")) != 0 || strcmp(f->reason, text(w, "reason")) != 0;
	json_decref(f->last);
	f->last = json_incref(w);
	f->version = json_integer_value(json_object_get(w, "version"));
	int rc = news ? tell(f, w, err) : 0;
	snprintf(f->state, sizeof(f->state), "%s", text(w, "state"));
	snprintf(f->reason, sizeof(f->reason), "%s", text(w, "reason"));
	return rc;
}

static void pause_ms(int64_t ms)
{
	nanosleep(&(struct timespec){ .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * NS_PER_MS }, NULL);
}

/* One long poll; connection failures are retried with growing pauses. */
static int poll_once(struct follow *f, bool first, json_t **ret, struct err *err)
{
	const struct command *cmd = command_find(STR("workloads get"));
	long wait_ms = f->until_running && isatty(STDERR_FILENO) ? POLL_PROGRESS_MS : POLL_MS;
	json_t *req = first ? json_pack("{s:s}", "id", f->id) :
			      json_pack("{s:s, s:I, s:i}", "id", f->id, "index", (json_int_t)f->version, "wait_ms",
					(int)wait_ms);
	int rc = HCP_EINVAL;
	if (!req)
		return err_set(err, rc, "id", "the id is not valid UTF-8");
	for (int retry = 0; retry <= RETRIES_MAX; retry++) {
		rc = request_send(f->cli, cmd, req, first ? 0 : wait_ms, ret, err);
		/* A server that was never there is not waited for. */
		if ((rc != HCP_EUNAVAIL && rc != HCP_ETIMEOUT) || first || retry == RETRIES_MAX)
			break;
		cli_say("hcp: %s (trying again in %d s)", err->text, 1 << retry);
		pause_ms(1000 << retry);
	}
	json_decref(req);
	return rc;
}

static int follow_run(struct follow *f, struct err *err)
{
	bool first = f->last == NULL;
	f->began_ns = cli_now_ns();
	for (;;) {
		if (f->last && (is_final(f->state) || (f->until_running && !strcmp(f->state, "running"))))
			return 0;
		json_t *w = NULL;
		int64_t version = f->version, asked_ns = cli_now_ns();
		count(f);
		int rc = poll_once(f, first, &w, err);
		if (rc == 0)
			rc = take(f, w, err);
		json_decref(w);
		if (rc < 0)
			return rc;
		int64_t took_ms = (cli_now_ns() - asked_ns) / NS_PER_MS;
		if (!first && f->version == version && took_ms < POLL_LEAST_MS)
			pause_ms(POLL_LEAST_MS - (took_ms < 0 ? 0 : took_ms));
		first = false;
	}
}

static int verdict(const struct follow *f, struct err *err)
{
	if (!strcmp(f->state, "failed") || !strcmp(f->state, "cancelled"))
		return err_set(err, HCP_ESTATE, "", "workload %.60s %s%s%.120s", f->id,
			       !strcmp(f->state, "failed") ? "failed" : "was cancelled", f->reason[0] ? ": " : "",
				       f->reason);
	return 0;
}

int ops_workload_watch(struct cli *cli, struct err *err)
{
	struct follow f = { .cli = cli, .id = cli->args.operands[0] };
	int rc = follow_run(&f, err);
	if (rc == 0)
		rc = verdict(&f, err);
	json_decref(f.last);
	return rc;
}

static int submit_and_wait(struct cli *cli, json_t *workload, struct follow *f, struct err *err)
{
	f->cli = cli;
	f->until_running = true;
	f->id = arena_strdup(&cli->arena, text(workload, "id"));
	if (!f->id || !*f->id)
		return err_set(err, HCP_EPROTO, "id", "the answer names no workload");
	cli_say("Submitted %s.", f->id);
	int rc = take(f, workload, err);
	if (rc == 0)
		rc = follow_run(f, err);
	if (f->counting)
		fputs("\r\033[K", stderr);
	return rc;
}

int ops_submit(struct cli *cli, struct err *err)
{
	json_t *req = NULL, *workload = NULL;
	struct follow f = { 0 };
	struct buf out;
	buf_init(&out, 0);
	int rc = request_build(cli, &req, err);
	if (rc == 0 && !json_object_get(req, "type"))
		rc = cli_usage(cli, err, "type", "a workload needs --type (or \"type\" in --file)");
	if (rc == 0)
		rc = request_send(cli, cli->args.cmd, req, 0, &workload, err);
	if (rc < 0)
		goto out;
	if (args_has(&cli->args, "wait"))
		rc = submit_and_wait(cli, workload, &f, err);
	if (rc == 0)
		rc = render_reply(cli, cli->args.cmd, f.last ? f.last : workload, &out, err);
	if (rc == 0)
		rc = cli_print(&out, err);
	if (rc == 0 && f.last)
		rc = verdict(&f, err);
out:
	buf_release(&out);
	json_decref(req);
	json_decref(workload);
	json_decref(f.last);
	return rc;
}
