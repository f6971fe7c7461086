#ifndef HCP_PKI_IDENTITY_H
#define HCP_PKI_IDENTITY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

struct x509_st; /* OpenSSL's X509 */

/*
 * Who a certificate of the mesh is for. Its URIs (subjectAltName) say so, whoever has made it:
 *
 *	hcp:service     a process of the platform: its port is connected to, it may call and read events
 *	hcp:feed        a market feed: may send ticks and ask for prices
 *	hcp:node/ID     the agent of node ID; an ID that ends in * is every node whose id begins so: one program that
 *	                is many nodes (hcp-sim fleet), or one certificate for a rack
 *
 * The common name is for people. Other URIs are no business of ours.
 */
enum identity_role { IDENTITY_SERVICE, IDENTITY_FEED, IDENTITY_NODE, IDENTITY_ROLES };

enum {
	IDENTITY_NAME_MAX = 64,
	IDENTITY_NODE_MAX = 64, /* bytes of a node's id */
	IDENTITY_NODES_MAX = 4, /* node URIs of one certificate; further ones count for nothing */
};

struct identity {
	char name[IDENTITY_NAME_MAX + 1]; /* common name; bytes that are not printable ASCII are '?' */
	unsigned roles;                   /* bit per enum identity_role */
	size_t n_nodes;
	char node[IDENTITY_NODES_MAX][IDENTITY_NODE_MAX + 2]; /* ids; a last '*' stands for any further bytes */
	int64_t not_before_s, not_after_s;                    /* Unix */
};

/* Reads only; whether to believe it is the verifier's matter. */
void identity_of_x509(struct x509_st *x, struct identity *ret);
/* First certificate of a PEM file; HCP_EPARSE, or what reading the file gives. */
int identity_read(const char *path, struct identity *ret, struct err *err) MUST_CHECK;
static inline bool identity_is(const struct identity *id, enum identity_role role)
{
	return id && id->roles >> role & 1;
}
bool identity_is_node(const struct identity *id, const char *node_id);
/* 1 to 64 letters, digits, dots, dashes, underscores; wildcard: a last '*' is one of them, too. */
bool identity_node_ok(const char *node_id, bool wildcard);
/* "service", "feed", "node", "node texas-north-*": all that it may be, for logs and lists. */
void identity_text(const struct identity *id, char *dst, size_t cap);
const char *identity_role_name(enum identity_role role);

#endif
