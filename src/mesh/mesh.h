#ifndef HCP_MESH_MESH_H
#define HCP_MESH_MESH_H

#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

struct host;
struct msg;
struct mesh;

/*
 * gRPC between processes and to node agents, on one port and one thread.
 *
 *   /hcp.v1.Mesh/Call      packed Envelope with target → packed Envelope with the reply (a Problem is a reply too)
 *   /hcp.v1.Mesh/Events    packed MeshSubscribe → stream of packed Envelopes with bus_offset, of local services only
 *   /hcp.v1.Agent/Connect  AgentUp … ⇄ AgentDown …; the first message is NodeHello
 *
 * Every call carries the machines' secret, as `x-hcp-token: <token>` or `authorization: Bearer <token>`. With TLS it
 * also comes from a certificate: Call from a service's, or a feed's for ticks and prices; Events from a service's;
 * Connect from a node's, whose hello must be of a node that the certificate is for.
 */
enum {
	MESH_PEERS_MAX = 16,
	MESH_MESSAGE_MAX = 4 << 20,
	MESH_AGENTS_MAX = 20000,      /* streams at once */
	MESH_FEEDS_MAX = 64,          /* peers that read our events */
	MESH_CALLS_MAX = 8192,        /* calls of peers and feeds in hand */
	MESH_QUEUE_MAX = 65536,       /* messages from services waiting for the mesh's thread */
	MESH_AGENT_PER_S = 200,       /* messages a second of one agent, twice that at once */
	MESH_NODE_ID_MAX = 64,
	MESH_CALL_MS = 30000,
	MESH_HANDSHAKE_MS = 5000,     /* of TLS, and from the first byte of a request to the end of its head */
	MESH_CERT_WARN_DAYS = 14,     /* a certificate that ends so soon is told once a day, in log and health */
	MESH_REWIND = 8192,           /* events asked for again at a reconnect; those we have are dropped by number */
};

struct mesh_peer_conf {
	uint32_t services;     /* bit per svc_id that is there */
	const char *host;
	uint16_t port;
};

struct mesh_conf {
	const char *bind;      /* NULL: 127.0.0.1 */
	uint16_t port;         /* 0: any free one */
	/*
	 * PEM, all three or none (plain). Who connects must show a certificate that the authority has signed and that is
	 * for what it wants (pki/identity.h); ours must be a service's, and is shown to peers, whose names are verified.
	 * Changed files are taken for the next connection.
	 */
	const char *cert_file, *key_file, *ca_file;
	const char *token;     /* the machines' secret */
	const char *state_dir; /* cursors of mirrored events go there */
	const struct mesh_peer_conf *peers;
	int n_peers;
};

/* Listens, but takes nothing before mesh_start. Strings are copied. */
int mesh_new(const struct mesh_conf *conf, struct mesh **ret, struct err *err) MUST_CHECK;
/* host is borrowed until mesh_stop; its services are added already. */
int mesh_start(struct mesh *m, struct host *host, struct err *err) MUST_CHECK;
uint16_t mesh_port(const struct mesh *m);
/*
 * Ends streams and connections, answers waiting remote requests with "closed", writes the cursors. The host may be
 * freed afterwards; answers it still gives are taken.
 */
void mesh_stop(struct mesh *m);
/* After host_free. NULL is fine. */
void mesh_free(struct mesh *m);

/* For host_conf, from any thread. */
void mesh_remote(void *mesh, int target, struct msg *m);
void mesh_send_agent(void *mesh, const char *node_id, struct str bytes);
/* Unix seconds at which our certificate ends; 0 without TLS. Any thread. */
int64_t mesh_cert_end_s(void *mesh);
/* "ok" or "down" for a service that a peer has, NULL for others. Any thread. */
const char *mesh_service_state(void *mesh, int service);

#endif
