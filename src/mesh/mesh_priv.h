#ifndef HCP_MESH_MESH_PRIV_H
#define HCP_MESH_MESH_PRIV_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/list.h"
#include "base/map.h"
#include "base/rng.h"
#include "http/grpc.h"
#include "loop/loop.h"
#include "mesh/mesh.h"
#include "pki/identity.h"
#include "svc/host.h"

/* Something a service's thread hands to the mesh's thread. */
struct handoff {
	struct handoff *next;
	void (*fn)(struct mesh *m, struct handoff *h); /* owns h from then on */
};

struct mesh_call {             /* a peer's request in one of our services */
	struct handoff handoff;
	struct mesh *mesh;
	struct grpc_call *call;
	struct msg *reply;     /* owned */
};

struct agent {
	struct list node;
	struct mesh *mesh;
	struct grpc_call *call;
	char node_id[MESH_NODE_ID_MAX + 1]; /* "" before its hello */
	uint64_t number;                    /* tells this stream from every earlier one, those of earlier processes too */
	bool replaced;
	double credit;         /* messages it may send now */
	int64_t credit_ms;
};

struct feed {                  /* a peer reading our events */
	struct list node;
	struct mesh *mesh;
	struct grpc_call *call;
	uint64_t next, mask;   /* next 0: nothing asked for yet */
	bool blocked;
};

struct peer {
	struct mesh *mesh;
	uint32_t services;
	char host[256];
	uint16_t port;
	char cursor_path[1024];
	struct grpc_client *client; /* owned */
	struct grpc_rpc *events;    /* NULL: not open */
	struct loop_timer reopen;
	atomic_bool up;
	uint64_t mask;              /* topics its services publish */
	uint64_t offset;            /* newest of its events that we have */
	uint64_t seq[SVC_COUNT];    /* newest number by sender */
	bool dirty;                 /* moved since it was written */
	struct list requests;       /* struct remote, in flight */
	char why[256];              /* it is away, as told last */
	bool tried;                 /* the first attempt to connect has ended */
	struct list early;          /* struct remote, from before that */
};

struct remote {                /* our request in a peer's service */
	struct handoff handoff;
	struct list node;
	int target;
	struct msg *msg;       /* owned */
};

struct mesh {
	struct loop *loop;          /* owned */
	struct http_server *http;   /* owned */
	struct grpc_server *grpc;   /* owned */
	struct grpc_method *methods; /* owned */
	struct tls_ctx *tls, *peer_tls; /* owned; who connects to us, whom we connect to; NULL: plain */
	struct loop_timer certs;    /* looks how long ours is valid */
	int64_t failed_ms;          /* when a failed handshake was told last */
	uint64_t failed_more;       /* so many since */
	struct host *host;          /* borrowed */
	char token[512];
	pthread_t thread;
	bool running, watching;
	atomic_bool stopping;
	pthread_mutex_t lock;       /* queue, queued, posted */
	struct handoff *queue, **queue_end;
	size_t queued;
	bool posted;
	atomic_bool poked;          /* the bus has something */
	size_t n_calls;
	struct list agents;
	size_t n_agents;
	struct map by_node;         /* node id → struct agent */
	uint64_t agent_number;
	struct list feeds;
	size_t n_feeds;
	struct peer peers[MESH_PEERS_MAX];
	int n_peers;
	struct loop_timer save;     /* of cursors */
	struct rng rng;             /* jitter */
};

/* False if the queue is full. force: answers, which are bounded elsewhere. */
bool mesh_hand(struct mesh *m, struct handoff *h, bool force);
/* NULL if the caller may do what this role does (0-bits: none is needed beyond the token), else why not. */
const char *mesh_unwelcome(struct mesh *m, const struct grpc_call *call, unsigned roles, enum grpc_status *ret_status);
/* cert.c: whom TLS lets in, and how long our own certificate is good. */
int mesh_tls_open(struct mesh *m, const struct mesh_conf *conf, struct err *err) MUST_CHECK;
void mesh_tls_failed(void *mesh, const char *peer, int code, const char *why);
/* Of the caller; NULL without TLS. Borrowed as long as the call is not gone. */
const struct identity *mesh_identity(const struct grpc_call *call);
void mesh_tls_watch(struct loop *loop, void *mesh);
/* A caller whose certificate ends soon. */
void mesh_tls_soon(struct mesh *m, const struct grpc_call *call, const char *who);

extern const struct grpc_stream_ops mesh_agent_ops, mesh_feed_ops;
void mesh_agents_stop(struct mesh *m);
void mesh_feeds_pump(struct mesh *m);
void mesh_feeds_stop(struct mesh *m);

int mesh_peer_init(struct mesh *m, struct peer *p, const struct mesh_peer_conf *conf, const char *state_dir,
		   struct err *err) MUST_CHECK;
int mesh_peer_start(struct peer *p, struct err *err) MUST_CHECK;
void mesh_peer_stop(struct peer *p);
void mesh_peers_save(struct mesh *m);

#endif
