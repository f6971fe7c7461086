#ifndef HCP_PKI_AUTHORITY_H
#define HCP_PKI_AUTHORITY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "pki/identity.h"

/*
 * The certificate authority of a site, in a folder of its own:
 *
 *	ca.crt  ca.key          whom everybody trusts; the key leaves this folder never and is needed to issue only
 *	NAME.crt  NAME.key      what was issued, for the program of that name
 *
 * EC P-256, SHA-256, X.509v3; key files are 0600. Every file is the old one or the new one, never half (a new pair: key
 * first; readers that find the two apart keep what they have, see loop/tls.h). Files are not overwritten unless told.
 * Times are handed in, Unix seconds. Any thread.
 */
enum {
	AUTHORITY_DAYS = 3650,
	AUTHORITY_CERT_DAYS = 90,
	AUTHORITY_DAYS_MAX = 36500,
	AUTHORITY_SKEW_S = 300, /* valid from so long before now: clocks differ */
	AUTHORITY_HOSTS_MAX = 16,
	AUTHORITY_HOST_MAX = 253,
};

struct authority; /* certificate and key, in memory */

/* Makes the folder and the authority; HCP_EEXIST if there is one and not replace. name: of the site, for people. */
int authority_init(
	const char *dir, const char *name, int days, int64_t now_s, bool replace, struct err *err) MUST_CHECK;
/* HCP_ENOTFOUND, HCP_EPARSE; HCP_ESTATE if it has expired or the key is not the certificate's. dir is copied. */
int authority_open(const char *dir, int64_t now_s, struct authority **ret, struct err *err) MUST_CHECK;
/* NULL is fine. */
void authority_close(struct authority *a);

struct authority_request {
	const char *name; /* files and common name: letters, digits, dots, dashes, underscores; not "ca" */
	enum identity_role role;
	const char *const *nodes; /* of role node: ids, a last '*' allowed */
	size_t n_nodes;           /* at most IDENTITY_NODES_MAX */
	const char *const *hosts; /* of role service: names and addresses it is connected to by */
	size_t n_hosts;           /* at most AUTHORITY_HOSTS_MAX */
	int days;                 /* 0: AUTHORITY_CERT_DAYS; never longer than the authority lives, HCP_ERANGE */
};

/* Writes NAME.key and NAME.crt. HCP_EINVAL names the field; HCP_EEXIST if one of them is there and replace is false. */
int authority_issue(const struct authority *a, const struct authority_request *q, int64_t now_s, bool replace,
	struct err *err) MUST_CHECK;
/* A new key and a certificate of the same names and role. days 0: as long as the old one was to live. */
int authority_renew(const struct authority *a, const char *name, int days, int64_t now_s, struct err *err) MUST_CHECK;

#endif
