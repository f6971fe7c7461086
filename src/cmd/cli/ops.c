#include "cmd/cli/ops.h"

#include <errno.h>
#include <math.h>
#include <termios.h>
#include <unistd.h>

#include "base/money.h"
#include "cmd/cli/cli.h"
#include "cmd/cli/session.h"
#include "cmd/cli/emit.h"
#include "cmd/cli/grid.h"
#include "cmd/cli/human.h"
#include "cmd/cli/render.h"
#include "cmd/cli/request.h"
#include "infer/digest.h"

enum { LINE_MAX_BYTES = 1024, EMBED_TEXTS_MAX = 2048, LOGOUT_MS = 3000 };

int ops_show(struct cli *cli, const struct command *cmd, const json_t *reply, struct err *err)
{
	struct buf out;
	buf_init(&out, 0);
	int rc = render_reply(cli, cmd, reply, &out, err);
	if (rc == 0)
		rc = cli_print(&out, err);
	buf_release(&out);
	return rc;
}

int ops_show_made(struct cli *cli, json_t *reply, struct err *err)
{
	int rc = reply ? ops_show(cli, cli->args.cmd, reply, err) : err_set(err, HCP_ENOMEM, "", "out of memory");
	json_decref(reply);
	return rc;
}

/* A line of standard input without its end; what does not fit is an error. */
static int read_line(char *dst, size_t cap, struct err *err)
{
	size_t n = 0;
	char c;
	ssize_t got;
	while ((got = read(STDIN_FILENO, &c, 1)) == 1 && c != '\n') {
		if (n + 1 == cap)
			return err_set(err, HCP_EINVAL, "", "the line is longer than %zu bytes", cap - 1);
		dst[n++] = c;
	}
	if (n && dst[n - 1] == '\r')
		n--;
	dst[n] = '\0';
	return got < 0 ? err_set(err, HCP_EIO, "", "cannot read: %s", strerror(errno)) : 0;
}

/* Without echo; the terminal is as before afterwards. */
static int read_secret(char *dst, size_t cap, struct err *err)
{
	struct termios before, silent;
	if (tcgetattr(STDIN_FILENO, &before) < 0)
		return err_set(err, HCP_EIO, "", "cannot ask without a terminal: %s", strerror(errno));
	silent = before;
	silent.c_lflag &= ~(tcflag_t)(ECHO | ISIG); /* Ctrl-C must not leave the terminal silent */
	tcsetattr(STDIN_FILENO, TCSAFLUSH, &silent);
	int rc = read_line(dst, cap, err);
	tcsetattr(STDIN_FILENO, TCSAFLUSH, &before);
	fputc('\n', stderr);
	if (rc == 0 && strchr(dst, 3))
		rc = err_set(err, HCP_ECANCELED, "", "cancelled");
	return rc;
}

static int ask_login(struct cli *cli, const char **email, char *line, char *password, struct err *err)
{
	bool from_stdin = args_has(&cli->args, "password-stdin"), tty = isatty(STDIN_FILENO);
	int rc = 0;
	if (!*email) {
		if (from_stdin || !tty)
			return cli_usage(cli, err, "email",
					 "hcp login needs --email when there is no terminal to ask on");
		fputs("E-mail: ", stderr);
		rc = read_line(line, LINE_MAX_BYTES, err);
		*email = line;
	}
	if (rc < 0)
		return rc;
	if (from_stdin)
		return read_line(password, LINE_MAX_BYTES, err);
	if (!tty)
		return cli_usage(cli, err, "password-stdin",
				 "hcp login needs --password-stdin when there is no terminal to ask on");
	fputs("Password: ", stderr);
	return read_secret(password, LINE_MAX_BYTES, err);
}

int ops_login(struct cli *cli, struct err *err)
{
	char line[LINE_MAX_BYTES], password[LINE_MAX_BYTES] = "";
	const char *email = args_text(&cli->args, "email");
	json_t *req = NULL, *session = NULL;
	int rc = ask_login(cli, &email, line, password, err);
	if (rc < 0)
		goto out;
	if (!strncmp(cli->url, "http://", 7) && strncmp(cli->url, "http://127.", 11) &&
	    strncmp(cli->url, "http://localhost", 16))
		cli_say("Warning: %s is not encrypted; the password can be read on the way.", cli->url);
	req = json_pack("{s:s, s:s}", "email", email, "password", password);
	if (!req) {
		rc = cli_usage(cli, err, "password", "e-mail or password is not valid UTF-8");
		goto out;
	}
	rc = request_send(cli, cli->args.cmd, req, 0, &session, err);
	if (rc == HCP_EAUTH)
		rc = err_set(err, HCP_EAUTH, "", "e-mail or password is wrong");
	if (rc < 0)
		goto out;
	rc = session_keep(cli, session, email, err);
	if (rc == 0)
		cli_say("Logged in to %s as %s.", cli->url, email);
out:
	explicit_bzero(password, sizeof(password));
	json_decref(req);
	json_decref(session);
	return rc;
}

int ops_logout(struct cli *cli, struct err *err)
{
	const char *url = args_text(&cli->args, "url"), *env = getenv("HCP_URL");
	/* The same normal form under which login stored it. A server that is away must not be waited for. */
	int rc = api_init(&cli->api,
		url           ? url
		: env && *env ? env
					  : "http://127.0.0.1:8000",
		args_text(&cli->args, "ca-file"), LOGOUT_MS, err);
	if (rc < 0) {
		cli->usage = rc == HCP_EINVAL;
		return rc;
	}
	rc = session_end(cli, err);
	if (rc == HCP_ENOTFOUND) {
		cli_say("Not logged in to %s.", cli->api.url);
		return 0;
	}
	if (rc == 0)
		cli_say("Logged out of %s.", cli->api.url);
	return rc;
}

int ops_whoami(struct cli *cli, struct err *err)
{
	json_t *session = NULL;
	int rc = request_once(cli, &session, err);
	if (rc == 0) {
		/* A secret has no place in a terminal's scroll-back. */
		json_object_del(session, "access_token");
		rc = ops_show(cli, cli->args.cmd, session, err);
	}
	json_decref(session);
	return rc;
}

static int ask_about(struct cli *cli, const char *route, const char *field, json_t **ret, struct err *err)
{
	struct command cmd = *cli->args.cmd;
	json_t *req = json_pack("{s:s}", field, cli->args.operands[0]);
	cmd.route = route;
	int rc = req ? request_send(cli, &cmd, req, 0, ret, err) : err_set(err, HCP_ENOMEM, "", "out of memory");
	json_decref(req);
	return rc;
}

static int explain_own(struct cli *cli, struct err *err)
{
	json_t *workload = NULL, *history = NULL, *queue = NULL;
	int rc = ask_about(cli, "/api/v1/workloads/{id}", "id", &workload, err);
	if (rc == 0)
		rc = ask_about(cli, "/api/v1/workloads/{id}/history", "id", &history, err);
	if (rc == 0)
		rc = ask_about(cli, "/api/v1/queue", "workload_id", &queue, err);
	if (rc == 0) {
		json_t *entry = json_array_get(json_object_get(queue, "entries"), 0);
		json_t *all = json_pack("{s:O, s:O?, s:O?}", "workload", workload, "transitions",
			json_object_get(history, "transitions"), "queue", entry);
		rc = ops_show_made(cli, all, err);
	}
	json_decref(workload);
	json_decref(history);
	json_decref(queue);
	return rc;
}

int ops_explain(struct cli *cli, struct err *err)
{
	const struct command *cmd = cli->args.cmd;
	json_t *req = NULL, *decision = NULL;
	int rc;
	if (str_starts(str_of(cli->args.operands[0]), STR("wl-")))
		return explain_own(cli, err);
	if (!strcmp(cli->args.operands[0], "latest")) {
		struct command latest = *cmd;
		latest.route = "/api/v1/recommendation";
		req = json_object();
		rc = request_send(cli, &latest, req, 0, &decision, err);
	} else {
		rc = request_build(cli, &req, err);
		if (rc == 0)
			rc = request_send(cli, cmd, req, 0, &decision, err);
	}
	if (rc == 0)
		rc = ops_show(cli, cmd, decision, err);
	json_decref(req);
	json_decref(decision);
	return rc;
}

int ops_key_create(struct cli *cli, struct err *err)
{
	json_t *key = NULL;
	int rc = request_once(cli, &key, err);
	if (rc == 0)
		rc = ops_show(cli, cli->args.cmd, key, err);
	if (rc == 0 && json_object_get(key, "secret"))
		cli_say("Keep the secret now: it is not shown again.");
	json_decref(key);
	return rc;
}

int ops_emergency_stop(struct cli *cli, struct err *err)
{
	if (!args_has(&cli->args, "yes")) {
		char line[16];
		if (!isatty(STDIN_FILENO))
			return cli_usage(cli, err, "yes", "this stops all work of the site; confirm with --yes");
		fprintf(stderr, "This stops all work on %s and takes the site to safe watts. Type \"stop\" to go on: ",
			cli->url);
		int rc = read_line(line, sizeof(line), err);
		if (rc < 0)
			return rc;
		if (strcmp(line, "stop") != 0)
			return err_set(err, HCP_ECANCELED, "", "nothing was done");
	}
	return request_run(cli, err);
}

/* The texts to embed: operands, or with "-" the lines of standard input. */
static int embed_texts(struct cli *cli, json_t *texts, struct err *err)
{
	const struct args *a = &cli->args;
	for (size_t i = 0; i < a->noperands; i++) {
		struct str rest = str_of(a->operands[i]);
		if (!strcmp(a->operands[i], "-")) {
			int rc = request_read_file(cli, "-", &rest, err);
			if (rc < 0)
				return rc;
			while (rest.p) {
				struct str line = str_trim(str_split(&rest, '\n'));
				if (line.n && json_array_append_new(texts, json_stringn(line.p, line.n)) < 0)
					return cli_usage(cli, err, "text", "standard input is not valid UTF-8");
			}
		} else if (json_array_append_new(texts, json_stringn(rest.p, rest.n)) < 0) {
			return cli_usage(cli, err, "text", "a text is not valid UTF-8");
		}
	}
	if (json_array_size(texts) == 0 || json_array_size(texts) > EMBED_TEXTS_MAX)
		return cli_usage(cli, err, "text", "give 1 to %d texts", EMBED_TEXTS_MAX);
	return 0;
}

static void embed_row(struct grid *g, const json_t *item, const char *text, struct buf *b)
{
	const json_t *vector = json_object_get(item, "embedding");
	size_t n = json_array_size(vector);
	double sum = 0;
	for (size_t i = 0; i < n; i++) {
		double v = json_number_value(json_array_get(vector, i));
		sum += v * v;
	}
	buf_clear(b);
	buf_printf(b, "%zu", n);
	grid_cell(g, buf_str(b));
	buf_clear(b);
	buf_printf(b, "%.4f", sqrt(sum));
	grid_cell(g, buf_str(b));
	buf_clear(b);
	for (size_t i = 0; i < n && i < 4; i++)
		buf_printf(b, "%s%.4f", i ? " " : "", json_number_value(json_array_get(vector, i)));
	grid_cell(g, buf_str(b));
	grid_cell(g, str_of(text ? text : ""));
}

static int embed_table(struct cli *cli, const json_t *reply, const json_t *texts, struct buf *out, struct err *err)
{
	const json_t *data = json_object_get(reply, "data");
	struct grid g;
	struct buf b;
	size_t i, dropped;
	json_t *item;
	if (!json_is_array(data))
		return err_set(err, HCP_EPROTO, "data", "the answer holds no embeddings");
	buf_init(&b, 0);
	grid_init(&g, &cli->arena);
	grid_column(&g, STR("DIMENSIONS"), true);
	grid_column(&g, STR("NORM"), true);
	grid_column(&g, STR("FIRST VALUES"), false);
	grid_column(&g, STR("TEXT"), false);
	json_array_foreach(data, i, item) {
		const json_t *index = json_object_get(item, "index");
		size_t at = json_is_integer(index) ? (size_t)json_integer_value(index) : i;
		embed_row(&g, item, json_string_value(json_array_get(texts, at)), &b);
	}
	int rc = grid_render(&g, cli->width, cli->color, out, &dropped);
	buf_release(&b);
	return rc < 0 ? err_set(err, rc, "", "out of memory") : 0;
}

int ops_embed(struct cli *cli, struct err *err)
{
	const char *model = args_text(&cli->args, "model");
	json_t *texts = json_array(), *reply = NULL;
	json_t *req = json_pack("{s:s, s:O}", "model", model ? model : "all-MiniLM-L6-v2", "input", texts);
	struct buf out;
	buf_init(&out, 0);
	int rc = embed_texts(cli, texts, err);
	if (rc == 0)
		rc = request_send(cli, cli->args.cmd, req, 0, &reply, err);
	if (rc == 0)
		rc = cli->output == CLI_TABLE ? embed_table(cli, reply, texts, &out, err) :
						render_reply(cli, cli->args.cmd, reply, &out, err);
	if (rc == 0)
		rc = cli_print(&out, err);
	buf_release(&out);
	json_decref(texts);
	json_decref(req);
	json_decref(reply);
	return rc;
}

int ops_model_digest(struct cli *cli, struct err *err)
{
	char digest[MODEL_DIGEST_MAX];
	struct buf out;
	int rc = model_digest(cli->args.operands[0], digest, err);
	if (rc < 0)
		return rc;
	buf_init(&out, 0);
	buf_printf(&out, "%s\n", digest);
	rc = cli_print(&out, err);
	buf_release(&out);
	return rc;
}

int ops_replay(struct cli *cli, struct err *err)
{
	const char *dir, *state = args_text(&cli->args, "state");
	int rc = cli_bin_dir(cli, &dir, err);
	if (rc < 0)
		return rc;
	char *program = arena_printf(&cli->arena, "%s/hcpd", dir);
	const char *service = cli->args.noperands ? cli->args.operands[0] : args_text(&cli->args, "service");
	if (cli->args.noperands && args_has(&cli->args, "service"))
		return cli_usage(cli, err, "service", "name the service once");
	const struct {
		const char *name, *value;
	} options[] = { { "--replay", state ? state : "var" }, { "--service", service },
		{ "--from", args_text(&cli->args, "from") }, { "--to", args_text(&cli->args, "to") } };
	char *argv[2 + 2 * sizeof(options) / sizeof(options[0])] = { program };
	size_t n = 1;
	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
		if (!options[i].value)
			continue;
		argv[n++] = arena_strdup(&cli->arena, options[i].name);
		argv[n++] = arena_strdup(&cli->arena, options[i].value);
	}
	for (size_t i = 0; i < n; i++)
		if (!argv[i])
			return err_set(err, HCP_ENOMEM, "", "out of memory");
	execv(program, argv);
	return err_set(err, HCP_EIO, "", "cannot start %.150s: %s", program, strerror(errno));
}
