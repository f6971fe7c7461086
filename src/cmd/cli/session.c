#include "cmd/cli/session.h"

#include <unistd.h>

#include "base/money.h"
#include "cmd/cli/creds.h"

int session_keep(struct cli *cli, const json_t *session, const char *email, struct err *err)
{
	int64_t expires_in_s = json_integer_value(json_object_get(session, "expires_in"));
	struct creds c = {
		.token = json_string_value(json_object_get(session, "access_token")),
		.refresh = json_string_value(json_object_get(session, "refresh_token")),
		.email = email,
		.expires_at_ns = expires_in_s ? cli_now_ns() + expires_in_s * NS_PER_S : 0,
	};
	if (!c.token || !*c.token || expires_in_s < 0 || expires_in_s > INT32_MAX)
		return err_set(err, HCP_EPROTO, "access_token", "the server gave no usable token");
	if (c.refresh && !*c.refresh)
		c.refresh = NULL;
	return creds_store(&cli->arena, cli->api.url, &c, err);
}

static bool is_over(const struct creds *c)
{
	return c->expires_at_ns && c->expires_at_ns <= cli_now_ns();
}

static int ask(struct cli *cli, const char *path, const char *refresh, json_t **ret, struct err *err)
{
	json_t *body = json_pack("{s:s}", "refresh_token", refresh);
	const struct api_call call = { .method = "POST", .path = path, .body = body };
	cli->api.token[0] = '\0';
	int rc = body ? api_do(&cli->api, &call, ret, err) : err_set(err, HCP_ENOMEM, "", "out of memory");
	json_decref(body);
	return rc;
}

/* With the lock held. Another run may have renewed it while this one waited. */
static int renew_locked(struct cli *cli, struct err *err)
{
	struct creds c;
	json_t *session = NULL;
	int rc = creds_load(&cli->arena, cli->api.url, &c, err);
	if (rc == 0 && !is_over(&c) && strcmp(c.token, cli->api.token) != 0)
		return api_set_token(&cli->api, str_of(c.token), err);
	if (rc == HCP_ENOTFOUND || (rc == 0 && !c.refresh))
		return err_set(err, HCP_EAUTH, "", "the login to %.150s has expired: run `hcp login`", cli->api.url);
	if (rc == 0)
		rc = ask(cli, "/api/v1/auth/refresh", c.refresh, &session, err);
	if (rc == HCP_EAUTH)
		err_set(err, rc, "", "the login to %.150s has expired: run `hcp login`", cli->api.url);
	if (rc == 0)
		rc = session_keep(cli, session, c.email, err);
	if (rc == 0)
		rc = api_set_token(&cli->api, str_of(json_string_value(json_object_get(session, "access_token"))), err);
	json_decref(session);
	return rc;
}

static int renew(void *arg, struct err *err)
{
	struct cli *cli = arg;
	int fd = -1;
	int rc = creds_lock(&cli->arena, &fd, err);
	if (rc < 0)
		return rc;
	rc = renew_locked(cli, err);
	close(fd);
	return rc;
}

int session_use(struct cli *cli, struct err *err)
{
	struct creds c;
	int rc = creds_load(&cli->arena, cli->api.url, &c, err);
	if (rc == HCP_ENOTFOUND)
		return err_set(err, HCP_EAUTH, "", "not logged in to %.150s: run `hcp login`", cli->api.url);
	if (rc == 0)
		rc = api_set_token(&cli->api, str_of(c.token), err);
	if (rc == 0 && is_over(&c))
		rc = renew(cli, err);
	if (rc == 0 && c.refresh) {
		cli->api.renew = renew;
		cli->api.renew_arg = cli;
	}
	return rc;
}

int session_end(struct cli *cli, struct err *err)
{
	struct creds c;
	json_t *reply = NULL;
	struct err why = { 0 };
	int fd = -1, rc = creds_lock(&cli->arena, &fd, err);
	if (rc < 0)
		return rc;
	rc = creds_load(&cli->arena, cli->api.url, &c, err);
	if (rc == 0)
		rc = creds_store(&cli->arena, cli->api.url, NULL, err);
	close(fd);
	if (rc < 0 || !c.refresh)
		return rc;
	if (ask(cli, "/api/v1/auth/logout", c.refresh, &reply, &why) < 0)
		cli_say("The server could not be told (%s); there the session ends when it was idle for long.", why.text);
	json_decref(reply);
	return 0;
}
