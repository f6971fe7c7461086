#include "cmd/cli/cli.h"

#include <errno.h>
#include <locale.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/money.h"
#include "base/num.h"
#include "cmd/cli/creds.h"
#include "cmd/cli/session.h"
#include "cmd/cli/ops.h"
#include "cmd/cli/request.h"
#include "os/clock.h"
#include "os/file.h"

enum { CLI_ARENA_CHUNK = 64 * 1024, CLI_ARENA_MAX = 512 * 1024 * 1024, CLI_TIMEOUT_S = 30 };

int64_t cli_now_ns(void)
{
	return clock_wall_ns();
}

void cli_say(const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
}

int cli_usage(struct cli *cli, struct err *err, const char *field, const char *fmt, ...)
{
	char text[sizeof(err->text)];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	cli->usage = true;
	return err_set(err, HCP_EINVAL, field, "%s", text);
}

int cli_print(const struct buf *out, struct err *err)
{
	if (buf_failed(out))
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	if (fwrite(out->data ? out->data : "", 1, out->n, stdout) != out->n || fflush(stdout) != 0)
		return err_set(err, HCP_EIO, "", "cannot write the output: %s", strerror(errno));
	return 0;
}

int cli_finish_report(struct cli *cli, struct buf *out, int rc, struct err *err)
{
	const char *path = args_text(&cli->args, "out");
	if (rc == 0 && buf_failed(out))
		rc = err_set(err, HCP_ENOMEM, "", "no memory for the report");
	if (rc == 0)
		rc = path ? file_write_atomic(path, buf_str(out), 0644, err) : cli_print(out, err);
	buf_release(out);
	return rc;
}

int cli_bin_dir(struct cli *cli, const char **ret_dir, struct err *err)
{
	const char *given = getenv("HCP_BIN_DIR");
	char path[4096];
	if (given && *given) {
		*ret_dir = given;
		return 0;
	}
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path));
	if (n <= 0 || (size_t)n >= sizeof(path))
		return err_set(err, HCP_EIO, "", "cannot tell where this program lies; set $HCP_BIN_DIR");
	const char *slash = memrchr(path, '/', (size_t)n);
	*ret_dir = slash ? arena_strndup(&cli->arena, path, (size_t)(slash - path)) : ".";
	return *ret_dir ? 0 : err_set(err, HCP_ENOMEM, "", "out of memory");
}

/* Where the token comes from: the file named on the command line, the environment, the login. */
static int find_token(struct cli *cli, struct err *err)
{
	static const char *const names[] = { "HCP_TOKEN", "HCP_API_KEY" };
	const char *file = args_text(&cli->args, "token-file"), *token = NULL;
	if (file) {
		int rc = creds_read_token_file(&cli->arena, file, &token, err);
		if (rc < 0)
			return rc;
	}
	for (size_t i = 0; i < 2 && !token; i++) {
		token = getenv(names[i]);
		if (token && !*token)
			token = NULL;
	}
	return token ? api_set_token(&cli->api, str_of(token), err) : session_use(cli, err);
}

int cli_connect(struct cli *cli, struct err *err)
{
	const char *url = args_text(&cli->args, "url"), *env = getenv("HCP_URL");
	if (!url)
		url = env && *env ? env : "http://127.0.0.1:8000";
	int64_t timeout_s = args_int(&cli->args, "timeout", CLI_TIMEOUT_S);
	int rc = api_init(&cli->api, url, args_text(&cli->args, "ca-file"), (long)timeout_s * 1000, err);
	if (rc < 0) {
		cli->usage = rc == HCP_EINVAL;
		return rc;
	}
	cli->url = cli->api.url;
	return cli->args.cmd->traits & CMD_PUBLIC ? 0 : find_token(cli, err);
}

static size_t terminal_width(bool tty)
{
	struct winsize ws;
	const char *columns = getenv("COLUMNS");
	uint64_t n = 0;
	if (columns && num_parse_u64(str_of(columns), &n) == 0 && n >= 20 && n < 10000)
		return (size_t)n;
	if (!tty)
		return 0;
	return ioctl(STDOUT_FILENO, TIOCGWINSZ, &ws) == 0 && ws.ws_col >= 20 ? ws.ws_col : 80;
}

static void settle_output(struct cli *cli)
{
	const char *o = args_text(&cli->args, "output"), *no_color = getenv("NO_COLOR"), *term = getenv("TERM");
	cli->output = o && !strcmp(o, "json") ? CLI_JSON : o && !strcmp(o, "yaml") ? CLI_YAML : CLI_TABLE;
	cli->stdout_tty = isatty(STDOUT_FILENO);
	cli->width = terminal_width(cli->stdout_tty);
	cli->color = cli->stdout_tty && !(no_color && *no_color) && !(term && !strcmp(term, "dumb")) &&
		     !args_has(&cli->args, "no-color");
}

static int run(struct cli *cli, int argc, char **argv, struct err *err)
{
	int rc = args_parse(&cli->args, &cli->arena, argc, argv, err);
	if (rc < 0) {
		cli->usage = rc == HCP_EINVAL || rc == HCP_ELIMIT;
		return rc;
	}
	settle_output(cli);
	const struct args *a = &cli->args;
	if (args_has(a, "help") || (!a->cmd && !a->group && argc < 2))
		return ops_help_about(cli, a->cmd ? a->cmd->path : a->group, err);
	if (a->group)
		return cli_usage(cli, err, a->group, "`hcp %s` needs one more word; see `hcp help %s`", a->group,
				 a->group);
	if (!a->cmd)
		return cli_usage(cli, err, "", "no command given; see `hcp help`");
	if (!(a->cmd->traits & CMD_LOCAL)) {
		rc = cli_connect(cli, err);
		if (rc < 0)
			return rc;
	}
	return a->cmd->run ? a->cmd->run(cli, err) : request_run(cli, err);
}

static int exit_status(const struct cli *cli, int rc)
{
	if (rc == 0)
		return CLI_OK;
	if (cli->usage)
		return CLI_USAGE;
	return rc == HCP_EAUTH ? CLI_NO_LOGIN : rc == HCP_EUNAVAIL || rc == HCP_ETIMEOUT ? CLI_NO_ANSWER : CLI_REFUSED;
}

int cli_main(int argc, char **argv)
{
	struct cli cli = { .self = argc ? argv[0] : "hcp" };
	struct err err = { 0 };
	signal(SIGPIPE, SIG_IGN);
	setlocale(LC_CTYPE, "C.UTF-8"); /* wcwidth; numbers stay as they are */
	json_set_alloc_funcs(mem_alloc, mem_free);
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
		cli_say("hcp: cannot start the HTTP client");
		return CLI_REFUSED;
	}
	arena_init(&cli.arena, CLI_ARENA_CHUNK, CLI_ARENA_MAX);
	int rc = run(&cli, argc, argv, &err);
	if (rc < 0 && err.text[0]) {
		struct buf clean;
		buf_init(&clean, 0);
		request_add_error(&clean, &err);
		cli_say("hcp: %s", clean.data ? clean.data : err.text);
		buf_release(&clean);
	}
	int status = exit_status(&cli, rc);
	api_release(&cli.api);
	arena_release(&cli.arena);
	curl_global_cleanup();
	return status;
}
