#include "agent/link.h"

#include <stdio.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/money.h"
#include "http/grpc.h"
#include "loop/loop.h"
#include "loop/tls.h"
#include "os/clock.h"
#include "wire/pb.h"

struct link {
	struct link_conf conf;
	struct grpc_client *client; /* owned */
	struct grpc_rpc *rpc;       /* NULL: not up */
	struct loop_timer reopen;
	struct tls_ctx *tls;        /* owned; NULL: plain */
	char *authorization;        /* owned; NULL: none */
	char host[256];
	char told[160];             /* why we are down, as told last: once for each reason */
};

static void down(struct link *l, const char *why)
{
	if (strncmp(l->told, why, sizeof(l->told) - 1) != 0)
		log_warn("link", "no control plane: %s", why);
	snprintf(l->told, sizeof(l->told), "%s", why);
	l->conf.on_down(l->conf.arg, why);
}

static void on_message(struct grpc_rpc *rpc, void *arg, struct str msg)
{
	struct link *l = arg;
	struct arena a;
	ProtobufCMessage *m;
	struct err err;
	arena_init(&a, 4096, 1 << 20);
	if (pb_unpack(&hcp__agent_down__descriptor, msg, &a, &m, &err) == 0)
		l->conf.on_message(l->conf.arg, (const Hcp__AgentDown *)m);
	else
		log_warn("link", "a message cannot be read: %s", err.text);
	arena_release(&a);
}

static void on_close(struct grpc_rpc *rpc, void *arg, enum grpc_status status, struct str text)
{
	struct link *l = arg;
	char why[160];
	snprintf(why, sizeof(why), "stream ended (%d) %.*s", (int)status, text.n > 100 ? 100 : (int)text.n,
		text.p ? text.p : "");
	l->rpc = NULL;
	down(l, why);
	loop_timer_start(&l->reopen, LINK_REOPEN_MS);
}

static const struct grpc_rpc_ops rpc_ops = { .on_message = on_message, .on_close = on_close };

static void open_stream(struct loop *loop, void *arg)
{
	struct link *l = arg;
	if (l->rpc || !grpc_client_up(l->client))
		return; /* on_state comes when it is */
	struct http_header auth = { STR("authorization"), str_of(l->authorization) };
	struct err err;
	if (grpc_stream_open(l->client, LINK_METHOD, &auth, l->authorization ? 1 : 0, 0, &rpc_ops, l, &l->rpc, &err) < 0) {
		l->rpc = NULL;
		down(l, err.text);
		loop_timer_start(&l->reopen, LINK_REOPEN_MS);
		return;
	}
	l->told[0] = '\0';
	l->conf.on_up(l->conf.arg);
}

/* A node whose certificate runs out is told so while there is time. */
static void tell_end(struct link *l)
{
	struct identity id;
	int64_t now_s = clock_wall_ns() / NS_PER_S;
	if (!l->tls || !tls_identity(l->tls, &id) || id.not_after_s - now_s >= LINK_CERT_WARN_DAYS * INT64_C(86400))
		return;
	log_warn("link", "the certificate of this node ends in %lld days: renew it",
		(long long)((id.not_after_s - now_s) / 86400));
}

static void on_reload(void *arg, const struct err *err)
{
	if (err)
		log_error("link", "changed certificate files are not taken, %s: %s", err->field, err->text);
	else
		log_info("link", "changed certificate files are taken");
}

static void on_state(void *arg, bool up, const struct err *err)
{
	struct link *l = arg;
	if (up)
		tell_end(l);
	if (up)
		loop_timer_start(&l->reopen, 0);
	else
		down(l, err ? err->text : "not connected");
}

int link_new(const struct link_conf *conf, struct link **ret, struct err *err)
{
	struct link *l = mem_calloc(1, sizeof(*l));
	if (!l)
		return err_set(err, HCP_ENOMEM, "", "no memory for the link");
	l->conf = *conf;
	int rc = str_copy(l->host, sizeof(l->host), str_of(conf->host));
	if (rc == 0 && conf->token) {
		struct buf b;
		buf_init(&b, 8192);
		buf_printf(&b, "Bearer %s", conf->token);
		l->authorization = buf_take(&b, NULL);
		rc = l->authorization ? 0 : HCP_ENOMEM;
	}
	loop_timer_init(&l->reopen, conf->loop, open_stream, l);
	if (rc == 0 && conf->ca_file)
		rc = tls_client_new(&(struct tls_conf){ .ca_file = conf->ca_file, .cert_file = conf->cert_file,
			.key_file = conf->key_file, .alpn = "h2", .on_reload = on_reload, .arg = l }, &l->tls, err);
	else if (rc < 0)
		err_set(err, rc, "mesh", "host or token is too long");
	struct grpc_client_conf gc = { .host = l->host, .port = conf->port, .tls = l->tls, .on_state = on_state, .arg = l,
		.jitter = conf->jitter, .jitter_arg = conf->arg, .backoff_max_ms = 5000, .keepalive_ms = 5000,
		.keepalive_timeout_ms = 5000 };
	if (rc == 0)
		rc = grpc_client_new(conf->loop, &gc, &l->client, err);
	if (rc < 0) {
		link_free(l);
		return rc;
	}
	*ret = l;
	return 0;
}

void link_free(struct link *l)
{
	if (!l)
		return;
	loop_timer_stop(&l->reopen);
	if (l->rpc)
		grpc_rpc_cancel(l->rpc);
	grpc_client_free(l->client);
	tls_unref(l->tls);
	if (l->authorization)
		mem_free_secret(l->authorization, strlen(l->authorization));
	mem_free(l);
}

bool link_is_up(const struct link *l)
{
	return l && l->rpc;
}

int link_send(struct link *l, const Hcp__AgentUp *m)
{
	if (!link_is_up(l))
		return HCP_EUNAVAIL;
	struct buf b;
	buf_init(&b, 1 << 20);
	int rc = pb_pack(&m->base, &b);
	if (rc == 0)
		rc = grpc_rpc_send(l->rpc, buf_str(&b));
	buf_release(&b);
	return rc == HCP_EAGAIN ? 0 : rc;
}
