#ifndef HCP_SIM_MESH_LINK_H
#define HCP_SIM_MESH_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/list.h"
#include "base/str.h"
#include "http/grpc.h"

struct loop;
struct tls_ctx;

/*
 * One connection to hcpd's mesh port: requests to services (`/hcp.v1.Mesh/Call`, a packed Envelope each way) and agent
 * streams (`/hcp.v1.Agent/Connect`). Reconnects by itself. All that this folder knows of the mesh is in this file.
 */
enum {
	MESH_LINK_TOKEN_MAX = 512,
	MESH_LINK_CALL_MS = 5000,     /* deadline of a request */
	MESH_LINK_MESSAGE_MAX = 4 << 20,
	MESH_LINK_QUEUE_MAX = 1 << 20, /* unsent bytes of one stream */
};

struct mesh_link {
	struct grpc_client *client; /* owned */
	char token[MESH_LINK_TOKEN_MAX];
	struct list requests;       /* owned, waiting for their answer */
	uint64_t jitter;            /* state of the back-off's jitter */
};

/* PEM; all or none (plain). */
struct mesh_link_files {
	const char *ca, *cert, *key;
};
/* What connections are made with; changed files are taken for the next. *ret NULL: plain. HCP_EINVAL names it. */
int mesh_link_tls(const struct mesh_link_files *files, struct tls_ctx **ret, struct err *err) MUST_CHECK;
/* Reads the token's file, blanks at the ends dropped. token_file NULL: none is sent. */
int mesh_link_token(const char *token_file, char ret[MESH_LINK_TOKEN_MAX], struct err *err) MUST_CHECK;
/*
 * Starts connecting; on_state as in grpc.h. host: borrowed until return. token: "" for none. tls: referenced; NULL:
 * plain.
 */
int mesh_link_init(struct mesh_link *l, struct loop *loop, const char *host, uint16_t port, const char *token,
	struct tls_ctx *tls, void (*on_state)(void *arg, bool up, const struct err *err), void *arg, struct err *err)
	MUST_CHECK;
void mesh_link_release(struct mesh_link *l);
bool mesh_link_up(const struct mesh_link *l);

/*
 * Sends one request. body: packed message of that type; target: service name. done comes once (unless the link is
 * released): code 0 and the answer's type and packed body, or a code and a sentence. HCP_ELIMIT, HCP_ENOMEM.
 */
typedef void mesh_link_done_fn(void *arg, int code, const char *text, unsigned type, struct str body);
int mesh_link_call(struct mesh_link *l, unsigned type, const char *target, struct str body, mesh_link_done_fn *done,
	void *arg, struct err *err) MUST_CHECK;

/* An agent's stream: messages are packed AgentUp and AgentDown. HCP_EUNAVAIL when not connected. */
int mesh_link_agent(struct mesh_link *l, const struct grpc_rpc_ops *ops, void *arg, struct grpc_rpc **ret,
	struct err *err) MUST_CHECK;

#endif
