#include "cmd/cli/request.h"

#include <errno.h>
#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#include "base/id.h"
#include "base/money.h"
#include "cmd/cli/grid.h"
#include "cmd/cli/render.h"
#include "os/entropy.h"

int request_read_file(struct cli *cli, const char *path, struct str *ret, struct err *err)
{
	bool input = !strcmp(path, "-");
	int fd = input ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC), rc = 0;
	char chunk[16384];
	ssize_t got = 0;
	struct buf b;
	if (fd < 0)
		return cli_usage(cli, err, "file", "cannot open %.120s: %s", path, strerror(errno));
	buf_init(&b, REQUEST_FILE_MAX);
	while (!buf_failed(&b) && (got = read(fd, chunk, sizeof(chunk))) > 0)
		buf_add(&b, chunk, (size_t)got);
	if (got < 0)
		rc = err_set(err, HCP_EIO, "file", "cannot read %.120s: %s", path, strerror(errno));
	else if (buf_failed(&b))
		rc = cli_usage(cli, err, "file", "%.120s is larger than %d MiB", path, REQUEST_FILE_MAX >> 20);
	else if (!(ret->p = arena_strndup(&cli->arena, b.data ? b.data : "", b.n)))
		rc = err_set(err, HCP_ENOMEM, "", "out of memory");
	ret->n = b.n;
	buf_release(&b);
	if (!input)
		close(fd);
	return rc;
}

static int load_body(struct cli *cli, const char *path, json_t **ret, struct err *err)
{
	struct str text;
	json_error_t why;
	int rc = request_read_file(cli, path, &text, err);
	if (rc < 0)
		return rc;
	json_t *v = json_loadb(text.p, text.n, JSON_REJECT_DUPLICATES, &why);
	const char *member = cli->args.cmd->views[0].member;
	if (json_is_array(v) && member)
		v = json_pack("{s:o}", member, v);
	if (json_is_object(v)) {
		*ret = v;
		return 0;
	}
	rc = v ? cli_usage(cli, err, "file", "%.100s must hold a JSON object", path) :
		 cli_usage(cli, err, "file", "%.100s is no valid JSON: line %d: %.80s", path, why.line, why.text);
	json_decref(v);
	return rc;
}

int request_build(struct cli *cli, json_t **ret_req, struct err *err)
{
	const char *file = args_text(&cli->args, "file");
	json_t *req = NULL;
	int rc = 0;
	if (file)
		rc = load_body(cli, file, &req, err);
	else
		req = json_object();
	if (rc == 0)
		rc = args_request(&cli->args, cli_now_ns(), req, err);
	if (rc < 0) {
		json_decref(req);
		return rc;
	}
	*ret_req = req;
	return 0;
}

static void add_percent(struct buf *out, const char *s)
{
	for (; *s; s++) {
		unsigned char c = (unsigned char)*s;
		bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
			strchr("-._~", c);
		if (plain)
			buf_addc(out, (char)c);
		else
			buf_printf(out, "%%%02X", c);
	}
}

static void add_value(struct buf *out, const json_t *v)
{
	if (json_is_string(v))
		add_percent(out, json_string_value(v));
	else if (json_is_integer(v))
		buf_printf(out, "%" JSON_INTEGER_FORMAT, json_integer_value(v));
	else if (json_is_real(v))
		buf_add_double(out, json_real_value(v));
	else if (json_is_boolean(v))
		buf_addz(out, json_is_true(v) ? "true" : "false");
}

/* Fills {names} of the route and takes them out of `rest`. */
static int add_path(struct buf *out, const char *route, json_t *rest, struct err *err)
{
	while (*route) {
		const char *open = strchrnul(route, '{');
		buf_add(out, route, (size_t)(open - route));
		if (!*open)
			break;
		const char *close = strchr(open, '}');
		char name[64];
		if (!close || str_copy(name, sizeof(name), (struct str){ open + 1, (size_t)(close - open - 1) }) < 0)
			return err_set(err, HCP_EINTERNAL, "", "bad route %s", route);
		const char *value = json_string_value(json_object_get(rest, name));
		/* "." and ".." would be resolved away on the path. */
		if (!value || !*value || !strcmp(value, ".") || !strcmp(value, ".."))
			return err_set(err, HCP_EINVAL, name, "\"%.80s\" is no valid %s", value ? value : "", name);
		add_percent(out, value);
		json_object_del(rest, name);
		route = close + 1;
	}
	return 0;
}

/* A fresh key per run, so that a repeat by the user is a new request and a repeat by the network is not. */
static const char *idempotency_key(struct cli *cli, struct err *err)
{
	const char *given = args_text(&cli->args, "idempotency-key");
	if (given)
		return given;
	uint64_t seed = entropy_u64();
	struct rng rng;
	char text[ID_TEXT_MAX];
	rng_init(&rng, seed);
	struct id id = id_new(cli_now_ns(), &rng);
	const char *key = arena_strdup(&cli->arena, id_format(text, "idem", &id));
	if (!key)
		err_set(err, HCP_ENOMEM, "", "out of memory");
	return key;
}

int request_send(struct cli *cli, const struct command *cmd, const json_t *req, long extra_ms, json_t **ret_reply,
		 struct err *err)
{
	struct api_call call = { .method = cmd->method, .extra_ms = extra_ms };
	bool in_query = !strcmp(cmd->method, "GET") || !strcmp(cmd->method, "DELETE");
	struct buf path;
	buf_init(&path, API_URL_MAX - 1);
	json_t *rest = json_copy((json_t *)req);
	int rc = add_path(&path, cmd->route, rest, err);
	if (rc < 0)
		goto out;
	if (in_query) {
		const char *name;
		json_t *v;
		char sep = '?';
		json_object_foreach(rest, name, v) {
			buf_addc(&path, sep);
			add_percent(&path, name);
			buf_addc(&path, '=');
			add_value(&path, v);
			sep = '&';
		}
	} else {
		call.body = rest;
	}
	if (buf_failed(&path)) {
		rc = err_set(err, HCP_ELIMIT, "", "the request is too long");
		goto out;
	}
	call.path = path.data;
	if (cmd->traits & CMD_IDEMPOTENT) {
		call.idempotency_key = idempotency_key(cli, err);
		rc = call.idempotency_key ? 0 : HCP_EIO;
	}
	if (rc == 0)
		rc = api_do(&cli->api, &call, ret_reply, err);
	if (rc == HCP_ETIMEOUT && call.idempotency_key)
		cli_say("It is not known whether this was done. Repeating it with --idempotency-key %s is harmless.",
			call.idempotency_key);
out:
	json_decref(rest);
	buf_release(&path);
	return rc;
}

int request_once(struct cli *cli, json_t **ret_reply, struct err *err)
{
	json_t *req = NULL;
	int rc = request_build(cli, &req, err);
	if (rc == 0)
		rc = request_send(cli, cli->args.cmd, req, 0, ret_reply, err);
	json_decref(req);
	return rc;
}

/* All pages as one reply. */
static int fetch(struct cli *cli, const json_t *req, json_t **ret_reply, struct err *err)
{
	const struct command *cmd = cli->args.cmd;
	json_t *whole = NULL, *query = json_copy((json_t *)req);
	int rc = HCP_ELIMIT;
	for (int page = 0; page < REQUEST_PAGES_MAX; page++) {
		json_t *reply = NULL;
		rc = request_send(cli, cmd, query, 0, &reply, err);
		if (rc < 0)
			break;
		json_t *next = json_incref(json_object_get(reply, "next_cursor"));
		const char *cursor = json_string_value(next);
		if (whole) {
			const char *member = cmd->views[0].member;
			json_array_extend(json_object_get(whole, member), json_object_get(reply, member));
			json_object_del(whole, "next_cursor");
			json_decref(reply);
		} else {
			whole = reply;
		}
		bool more = cursor && *cursor && (cmd->traits & CMD_PAGED) && args_has(&cli->args, "all");
		if (more)
			json_object_set(query, "cursor", next);
		json_decref(next);
		if (!more)
			break;
		rc = err_set(err, HCP_ELIMIT, "", "more than %d pages", REQUEST_PAGES_MAX);
	}
	json_decref(query);
	if (rc < 0)
		json_decref(whole);
	else
		*ret_reply = whole;
	return rc;
}

static int fetch_and_render(struct cli *cli, const json_t *req, struct buf *out, struct err *err)
{
	json_t *reply = NULL;
	int rc = fetch(cli, req, &reply, err);
	if (rc == 0)
		rc = render_reply(cli, cli->args.cmd, reply, out, err);
	const char *cursor = json_string_value(json_object_get(reply, "next_cursor"));
	if (rc == 0 && cursor && *cursor && (cli->args.cmd->traits & CMD_PAGED) && !args_has(&cli->args, "all"))
		cli_say("There is more: --cursor %s, or --all.", cursor);
	json_decref(reply);
	return rc;
}

/* Until Ctrl-C; a server that is away for a while does not end it. */
static int watch(struct cli *cli, const json_t *req, struct err *err)
{
	int64_t every_s = args_int(&cli->args, "watch", 2);
	for (;;) {
		struct buf out;
		buf_init(&out, 0);
		if (cli->stdout_tty && cli->output == CLI_TABLE) {
			buf_printf(&out, "\033[H\033[2J%s%s%s\n\n", cli->color ? "\033[2m" : "", cli->args.cmd->path,
				   cli->color ? "\033[0m" : "");
		}
		if (cli->output == CLI_YAML)
			buf_addz(&out, "---\n");
		int rc = fetch_and_render(cli, req, &out, err);
		if (rc == 0)
			rc = cli_print(&out, err);
		buf_release(&out);
		arena_clear(&cli->arena);
		if (rc == HCP_EUNAVAIL || rc == HCP_ETIMEOUT)
			cli_say("hcp: %s (trying again)", err->text);
		else if (rc < 0)
			return rc;
		nanosleep(&(struct timespec){ .tv_sec = every_s }, NULL);
	}
}

int request_run(struct cli *cli, struct err *err)
{
	json_t *req = NULL;
	int rc = request_build(cli, &req, err);
	if (rc < 0)
		return rc;
	if (args_has(&cli->args, "watch")) {
		rc = watch(cli, req, err);
	} else {
		struct buf out;
		buf_init(&out, 0);
		rc = fetch_and_render(cli, req, &out, err);
		if (rc == 0)
			rc = cli_print(&out, err);
		buf_release(&out);
	}
	json_decref(req);
	return rc;
}

void request_add_error(struct buf *out, const struct err *err)
{
	if (err->field[0] && !strstr(err->text, err->field)) {
		grid_add_clean(out, str_of(err->field));
		buf_addz(out, ": ");
	}
	grid_add_clean(out, str_of(err->text));
}
