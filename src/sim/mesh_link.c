#include "sim/mesh_link.h"

#include <stdio.h>

#include "base/log.h"
#include "base/mem.h"
#include "hcp.pb-c.h"
#include "loop/tls.h"
#include "os/clock.h"
#include "os/entropy.h"
#include "os/file.h"
#include "wire/pb.h"

struct request {
	struct list node;
	mesh_link_done_fn *done;
	void *arg;
};

int mesh_link_token(const char *token_file, char ret[MESH_LINK_TOKEN_MAX], struct err *err)
{
	struct buf text;
	ret[0] = 0;
	if (!token_file)
		return 0;
	int rc = file_read(token_file, MESH_LINK_TOKEN_MAX, &text, err);
	if (rc < 0)
		return rc;
	rc = str_copy(ret, MESH_LINK_TOKEN_MAX, str_trim(buf_str(&text)));
	size_t n = text.n;
	mem_free_secret(buf_take(&text, NULL), n);
	if (rc < 0 || ret[0] == 0)
		return err_set(err, HCP_EINVAL, "token-file", "the token is empty or longer than %d bytes",
			MESH_LINK_TOKEN_MAX - 1);
	return 0;
}

/* splitmix64 */
static double jitter(void *arg)
{
	struct mesh_link *l = arg;
	uint64_t z = l->jitter += 0x9e3779b97f4a7c15U;
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
	return (double)((z ^ (z >> 31)) >> 11) * 0x1p-53;
}

static void on_reload(void *arg, const struct err *err)
{
	if (err)
		log_error("mesh", "changed certificate files are not taken, %s: %s", err->field, err->text);
	else
		log_info("mesh", "changed certificate files are taken");
}

int mesh_link_tls(const struct mesh_link_files *files, struct tls_ctx **ret, struct err *err)
{
	const struct tls_conf conf = { .ca_file = files->ca, .cert_file = files->cert, .key_file = files->key, .alpn = "h2",
		.on_reload = on_reload };
	*ret = NULL;
	if (!files->ca && !files->cert && !files->key)
		return 0;
	if (!files->ca || !files->cert || !files->key)
		return err_set(err, HCP_EINVAL, !files->ca ? "tls-ca" : !files->cert ? "tls-cert" : "tls-key",
			"--tls-ca, --tls-cert and --tls-key go together");
	return tls_client_new(&conf, ret, err);
}

int mesh_link_init(struct mesh_link *l, struct loop *loop, const char *host, uint16_t port, const char *token,
	struct tls_ctx *tls, void (*on_state)(void *arg, bool up, const struct err *err), void *arg, struct err *err)
{
	struct grpc_client_conf conf = { .host = host,
		.port = port,
		.tls = tls,
		.backoff_min_ms = 200,
		.backoff_max_ms = 5000,
		.max_message_bytes = MESH_LINK_MESSAGE_MAX,
		.max_queue_bytes = MESH_LINK_QUEUE_MAX,
		.jitter = jitter,
		.jitter_arg = l,
		.on_state = on_state,
		.arg = arg };
	*l = (struct mesh_link){ .jitter = entropy_u64() };
	list_init(&l->requests);
	if (str_copy(l->token, sizeof(l->token), str_of(token)) < 0)
		return err_set(err, HCP_EINVAL, "token", "the token is too long");
	return grpc_client_new(loop, &conf, &l->client, err);
}

void mesh_link_release(struct mesh_link *l)
{
	grpc_client_free(l->client); /* calls back no more */
	l->client = NULL;
	for (struct list *it; (it = list_pop(&l->requests));)
		mem_free(list_entry(it, struct request, node));
}

bool mesh_link_up(const struct mesh_link *l)
{
	return l->client && grpc_client_up(l->client);
}

static size_t metadata(const struct mesh_link *l, struct http_header ret[1])
{
	ret[0] = (struct http_header){ STR("x-hcp-token"), str_of(l->token) };
	return l->token[0] ? 1 : 0;
}

static void on_done(void *arg, enum grpc_status status, struct str text, struct str msg)
{
	struct request *r = arg;
	char why[200];
	struct arena arena;
	struct err err = { 0 };
	ProtobufCMessage *m = NULL;
	int code = 0;
	list_del(&r->node);
	arena_init(&arena, 1024, MESH_LINK_MESSAGE_MAX * 4);
	if (status != GRPC_OK) {
		code = grpc_status_to_err(status);
		code = code < 0 ? code : HCP_EPROTO;
		snprintf(why, sizeof(why), "%.*s", (int)(text.n < 190 ? text.n : 190), text.n ? text.p : "");
	} else {
		code = pb_unpack(&hcp__envelope__descriptor, msg, &arena, &m, &err);
		snprintf(why, sizeof(why), "%.190s", err.text);
	}
	if (code < 0) {
		r->done(r->arg, code, why, 0, STR(""));
	} else {
		const Hcp__Envelope *e = (const Hcp__Envelope *)m;
		r->done(r->arg, 0, "", e->type, (struct str){ (const char *)e->body.data, e->body.len });
	}
	arena_release(&arena);
	mem_free(r);
}

int mesh_link_call(struct mesh_link *l, unsigned type, const char *target, struct str body, mesh_link_done_fn *done,
	void *arg, struct err *err)
{
	Hcp__Envelope e = HCP__ENVELOPE__INIT;
	struct http_header md[1];
	struct buf out;
	int64_t now_ns = clock_wall_ns();
	struct request *r = mem_alloc(sizeof(*r));
	if (!r)
		return err_set(err, HCP_ENOMEM, "", "no memory for a request");
	*r = (struct request){ .done = done, .arg = arg };
	list_add_tail(&l->requests, &r->node);
	e.type = type;
	e.body.data = (uint8_t *)(uintptr_t)body.p;
	e.body.len = body.n;
	e.target = target;
	e.at_ns = now_ns;
	e.deadline_ns = now_ns + MESH_LINK_CALL_MS * INT64_C(1000000);
	buf_init(&out, MESH_LINK_MESSAGE_MAX);
	int rc = pb_pack(&e.base, &out);
	if (rc == 0)
		rc = grpc_call(l->client, "/hcp.v1.Mesh/Call", md, metadata(l, md), buf_str(&out), MESH_LINK_CALL_MS, on_done,
			r, NULL, err);
	else
		err_set(err, rc, "", "the request is too large");
	buf_release(&out);
	if (rc < 0) {
		list_del(&r->node);
		mem_free(r);
	}
	return rc;
}

int mesh_link_agent(struct mesh_link *l, const struct grpc_rpc_ops *ops, void *arg, struct grpc_rpc **ret,
	struct err *err)
{
	struct http_header md[1];
	return grpc_stream_open(l->client, "/hcp.v1.Agent/Connect", md, metadata(l, md), 0, ops, arg, ret, err);
}
