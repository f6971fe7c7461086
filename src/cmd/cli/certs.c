#include "cmd/cli/certs.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/money.h"
#include "cmd/cli/cli.h"
#include "cmd/cli/flags.h"
#include "cmd/cli/ops.h"
#include "os/file.h"
#include "pki/authority.h"

enum { PATH_BYTES = 1024, DAY_S = 86400, HOST_BYTES = 256 };

#define DIR_FLAG                                                                                                       \
	{                                                                                                                  \
		.name = "dir", .help = "folder of the authority (default var/certs)"                                           \
	}
#define DAYS_FLAG(text)                                                                                                \
	{                                                                                                                  \
		.name = "days", .kind = FLAG_INT, .min = 1, .max = AUTHORITY_DAYS_MAX, .help = (text)                          \
	}

const struct flag certs_init_flags[] = {
	DIR_FLAG,
	{ .name = "name", .help = "of the authority, for people (default: HCP site authority)" },
	DAYS_FLAG("it is valid (default 3650)"),
	{ .name = "force",
		.kind = FLAG_SWITCH,
		.help = "replace an authority that is there: all it has signed is worth nothing" },
	END,
};
const struct flag certs_issue_flags[] = {
	DIR_FLAG,
	{ .name = "role",
		.kind = FLAG_CHOICE,
		.choices = "node service feed",
		.help = "an agent, a process of the platform, or a market feed (default node)" },
	{ .name = "nodes",
		.help = "node ids it is for, with commas between; a last * is all that begin so (default: NAME)" },
	{ .name = "hosts", .help = "names and addresses a service is connected to by (default: those of this machine)" },
	DAYS_FLAG("it is valid (default 90)"),
	{ .name = "force", .kind = FLAG_SWITCH, .help = "replace one that is there" },
	END,
};
const struct flag certs_list_flags[] = { DIR_FLAG, END };
const struct flag certs_renew_flags[] = {
	DIR_FLAG,
	DAYS_FLAG("the new ones are valid (default: as long as the old)"),
	END,
};

static const char *dir_of(const struct cli *cli)
{
	const char *dir = args_text(&cli->args, "dir");
	return dir ? dir : "var/certs";
}

static int64_t now_s(void)
{
	return cli_now_ns() / NS_PER_S;
}

static int path_of(const char *dir, const char *name, const char *end, char ret[PATH_BYTES], struct err *err)
{
	int n = snprintf(ret, PATH_BYTES, "%s/%s%s", dir, name, end);
	return n < 0 || n >= PATH_BYTES ? err_set(err, HCP_ERANGE, "dir", "the path is too long") : 0;
}

static int open_authority(const char *dir, struct authority **ret, struct err *err)
{
	int rc = authority_open(dir, now_s(), ret, err);
	return rc == HCP_ENOTFOUND
			   ? err_set(err, rc, "dir", "there is no authority in %.150s: hcp certs init makes one", dir)
			   : rc;
}

/* ---- list ---- */

struct listing {
	const char *dir;
	json_t *rows; /* owned */
};

static json_t *row_of(const char *dir, const char *name, const struct identity *id)
{
	char whose[320], path[PATH_BYTES];
	int64_t left_s = id->not_after_s - now_s();
	if (!strcmp(name, "ca"))
		snprintf(whose, sizeof(whose), "authority");
	else
		identity_text(id, whose, sizeof(whose));
	if (path_of(dir, name, ".crt", path, NULL) < 0)
		return NULL;
	return json_pack("{s:s, s:s, s:I, s:I, s:s, s:s}", "name", name, "for", whose, "ends_at_ns",
		(json_int_t)id->not_after_s * NS_PER_S, "days_left", (json_int_t)(left_s / DAY_S), "state",
		left_s <= 0                                 ? "expired"
		: left_s < (int64_t)CERTS_WARN_DAYS * DAY_S ? "expiring"
													: "ok",
		"file", path);
}

static int add_row(void *arg, const char *file)
{
	struct listing *l = arg;
	char path[PATH_BYTES], name[HOST_BYTES];
	struct identity id;
	snprintf(name, sizeof(name), "%.*s", (int)strlen(file) - 4, file);
	if (path_of(l->dir, name, ".crt", path, NULL) < 0 || identity_read(path, &id, NULL) < 0)
		json_array_append_new(l->rows, json_pack("{s:s, s:s}", "name", name, "state", "unreadable"));
	else
		json_array_append_new(l->rows, row_of(l->dir, name, &id));
	return 0;
}

int certs_command_list(struct cli *cli, struct err *err)
{
	struct listing l = { dir_of(cli), json_array() };
	int rc = file_list(l.dir, ".crt", add_row, &l, err);
	if (rc == 0)
		return ops_show_made(cli, json_pack("{s:o}", "certificates", l.rows), err);
	json_decref(l.rows);
	return rc;
}

/* Shows what was made. */
static int show_one(struct cli *cli, const char *name, struct err *err)
{
	struct listing l = { dir_of(cli), json_array() };
	char file[HOST_BYTES];
	snprintf(file, sizeof(file), "%s.crt", name);
	add_row(&l, file);
	return ops_show_made(cli, json_pack("{s:o}", "certificates", l.rows), err);
}

/* ---- init, issue, renew ---- */

int certs_command_init(struct cli *cli, struct err *err)
{
	const char *name = args_text(&cli->args, "name");
	int rc = authority_init(dir_of(cli), name ? name : "HCP site authority",
		(int)args_int(&cli->args, "days", AUTHORITY_DAYS), now_s(), args_has(&cli->args, "force"), err);
	return rc < 0 ? rc : show_one(cli, "ca", err);
}

/* Splits at commas into texts of the run's arena. */
static int split(
	struct cli *cli, const char *flag, const char *text, const char *ret[], size_t max, size_t *ret_n, struct err *err)
{
	struct str rest = str_of(text);
	*ret_n = 0;
	while (rest.p) {
		struct str one = str_trim(str_split(&rest, ','));
		if (*ret_n == max)
			return cli_usage(cli, err, flag, "at most %zu", max);
		ret[*ret_n] = arena_strndup(&cli->arena, one.p, one.n);
		if (!ret[(*ret_n)++])
			return err_set(err, HCP_ENOMEM, "", "out of memory");
	}
	return 0;
}

/* What a process of this machine may be connected to by. */
static const char *own_hosts(char buf[HOST_BYTES + 40])
{
	char name[HOST_BYTES] = "";
	if (gethostname(name, sizeof(name) - 1) < 0 || !strcmp(name, "localhost"))
		name[0] = '\0';
	snprintf(buf, HOST_BYTES + 40, "localhost,127.0.0.1,::1%s%s", name[0] ? "," : "", name);
	return buf;
}

int certs_command_issue(struct cli *cli, struct err *err)
{
	const struct args *a = &cli->args;
	const char *role = args_text(a, "role"), *nodes = args_text(a, "nodes"), *hosts = args_text(a, "hosts");
	const char *node[IDENTITY_NODES_MAX], *host[AUTHORITY_HOSTS_MAX];
	char own[HOST_BYTES + 40];
	struct authority_request q = {
		.name = a->operands[0], .role = IDENTITY_NODE, .nodes = node, .hosts = host, .days = (int)args_int(a, "days", 0)
	};
	for (int r = 0; role && r < IDENTITY_ROLES; r++)
		if (!strcmp(role, identity_role_name(r)))
			q.role = r;
	if (nodes && q.role != IDENTITY_NODE)
		return cli_usage(cli, err, "nodes", "is for --role node");
	if (hosts && q.role != IDENTITY_SERVICE)
		return cli_usage(cli, err, "hosts", "is for --role service");
	int rc = 0;
	if (q.role == IDENTITY_NODE)
		rc = split(cli, "nodes", nodes ? nodes : q.name, node, IDENTITY_NODES_MAX, &q.n_nodes, err);
	else if (q.role == IDENTITY_SERVICE)
		rc = split(cli, "hosts", hosts ? hosts : own_hosts(own), host, AUTHORITY_HOSTS_MAX, &q.n_hosts, err);
	struct authority *ca = NULL;
	if (rc == 0)
		rc = open_authority(dir_of(cli), &ca, err);
	if (rc == 0)
		rc = authority_issue(ca, &q, now_s(), args_has(a, "force"), err);
	authority_close(ca);
	return rc < 0 ? rc : show_one(cli, q.name, err);
}

struct renewal {
	struct authority *ca;
	struct listing made;
	int days;
	struct err *err;
};

static bool is_due(const struct identity *id, int64_t at_s)
{
	return (id->not_after_s - at_s) * 3 < id->not_after_s - id->not_before_s;
}

static int renew_due(void *arg, const char *file)
{
	struct renewal *r = arg;
	char path[PATH_BYTES], name[HOST_BYTES];
	struct identity id;
	snprintf(name, sizeof(name), "%.*s", (int)strlen(file) - 4, file);
	if (!strcmp(name, "ca") || path_of(r->made.dir, name, ".crt", path, NULL) < 0 ||
		identity_read(path, &id, NULL) < 0 || !id.roles || !is_due(&id, now_s()))
		return 0;
	int rc = authority_renew(r->ca, name, r->days, now_s(), r->err);
	return rc < 0 ? rc : add_row(&r->made, file);
}

int certs_command_renew(struct cli *cli, struct err *err)
{
	const struct args *a = &cli->args;
	struct renewal r = { .made = { dir_of(cli), NULL }, .days = (int)args_int(a, "days", 0), .err = err };
	int rc = open_authority(r.made.dir, &r.ca, err);
	if (rc < 0)
		return rc;
	if (a->noperands) {
		rc = authority_renew(r.ca, a->operands[0], r.days, now_s(), err);
		authority_close(r.ca);
		return rc < 0 ? rc : show_one(cli, a->operands[0], err);
	}
	r.made.rows = json_array();
	rc = file_list(r.made.dir, ".crt", renew_due, &r, err);
	authority_close(r.ca);
	if (rc == 0)
		return ops_show_made(cli, json_pack("{s:o}", "certificates", r.made.rows), err);
	json_decref(r.made.rows);
	return rc;
}

/* ---- hcp up ---- */

static int ensure(
	const char *dir, struct authority *ca, const struct authority_request *q, int64_t at_s, struct err *err)
{
	char cert[PATH_BYTES], key[PATH_BYTES];
	struct identity id;
	int rc = path_of(dir, q->name, ".crt", cert, err);
	if (rc == 0)
		rc = path_of(dir, q->name, ".key", key, err);
	if (rc < 0)
		return rc;
	bool there = file_exists(key) && identity_read(cert, &id, NULL) == 0 && identity_is(&id, q->role) &&
				 (!q->n_nodes || identity_is_node(&id, q->nodes[0]));
	if (!ca)
		return there ? 0 : err_set(err, HCP_ENOTFOUND, "certs", "%.150s is missing, and so is ca.key to make it", cert);
	if (there && !is_due(&id, at_s))
		return 0;
	return there ? authority_renew(ca, q->name, 0, at_s, err) : authority_issue(ca, q, at_s, true, err);
}

int certs_of_up(const char *dir, const char *node_id, int64_t at_s, struct err *err)
{
	static const char *const hosts[] = { "127.0.0.1", "localhost" }, *const any[] = { "texas-north-*" };
	const char *const self[] = { node_id };
	const struct authority_request wanted[] = {
		{ .name = "hcpd", .role = IDENTITY_SERVICE, .hosts = hosts, .n_hosts = 2 },
		{ .name = "market", .role = IDENTITY_FEED },
		{ .name = "fleet", .role = IDENTITY_NODE, .nodes = any, .n_nodes = 1 },
		{ .name = "agent", .role = IDENTITY_NODE, .nodes = self, .n_nodes = 1 },
	};
	char cert[PATH_BYTES], key[PATH_BYTES];
	struct authority *ca = NULL;
	int rc = path_of(dir, "ca", ".crt", cert, err);
	if (rc == 0)
		rc = path_of(dir, "ca", ".key", key, err);
	if (rc == 0 && !file_exists(cert))
		rc = authority_init(dir, "HCP site authority", AUTHORITY_DAYS, at_s, false, err);
	if (rc == 0 && file_exists(key))
		rc = authority_open(dir, at_s, &ca, err);
	for (size_t i = 0; rc == 0 && i < sizeof(wanted) / sizeof(wanted[0]); i++)
		rc = ensure(dir, ca, &wanted[i], at_s, err);
	authority_close(ca);
	return rc;
}
