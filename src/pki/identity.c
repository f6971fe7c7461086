#include "pki/identity.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

#include "os/file.h"

static const char *const role_names[IDENTITY_ROLES] = { "service", "feed", "node" };

const char *identity_role_name(enum identity_role role)
{
	return role_names[role];
}

bool identity_node_ok(const char *node_id, bool wildcard)
{
	size_t n = strlen(node_id);
	for (size_t i = 0; i < n; i++) {
		char c = node_id[i];
		bool plain =
			(c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || (c && strchr("._-", c));
		if (!plain && !(wildcard && c == '*' && i + 1 == n))
			return false;
	}
	return n >= 1 && n <= IDENTITY_NODE_MAX;
}

static void take_uri(struct identity *id, struct str uri)
{
	static const struct str node = { "hcp:node/", 9 };
	char text[IDENTITY_NODE_MAX + 2];
	if (str_eqz(uri, "hcp:service"))
		id->roles |= 1U << IDENTITY_SERVICE;
	else if (str_eqz(uri, "hcp:feed"))
		id->roles |= 1U << IDENTITY_FEED;
	if (!str_starts(uri, node) || memchr(uri.p, 0, uri.n) || id->n_nodes == IDENTITY_NODES_MAX)
		return;
	if (str_copy(text, sizeof(text), (struct str){ uri.p + node.n, uri.n - node.n }) < 0 ||
		!identity_node_ok(text, true))
		return;
	id->roles |= 1U << IDENTITY_NODE;
	memcpy(id->node[id->n_nodes++], text, strlen(text) + 1);
}

static int64_t seconds_of(const ASN1_TIME *t)
{
	ASN1_TIME *epoch = ASN1_TIME_set(NULL, 0);
	int days = 0, seconds = 0;
	int64_t s = epoch && ASN1_TIME_diff(&days, &seconds, epoch, t) == 1 ? (int64_t)days * 86400 + seconds : 0;
	ASN1_TIME_free(epoch);
	return s;
}

void identity_of_x509(struct x509_st *x, struct identity *ret)
{
	struct identity id = { 0 };
	X509_NAME_get_text_by_NID(X509_get_subject_name(x), NID_commonName, id.name, sizeof(id.name));
	for (char *p = id.name; *p; p++)
		*p = (char)(*p >= ' ' && *p <= '~' ? *p : '?');
	GENERAL_NAMES *names = X509_get_ext_d2i(x, NID_subject_alt_name, NULL, NULL);
	for (int i = 0; names && i < sk_GENERAL_NAME_num(names); i++) {
		const GENERAL_NAME *g = sk_GENERAL_NAME_value(names, i);
		if (g->type == GEN_URI)
			take_uri(&id, (struct str){ (const char *)ASN1_STRING_get0_data(g->d.uniformResourceIdentifier),
							  (size_t)ASN1_STRING_length(g->d.uniformResourceIdentifier) });
	}
	GENERAL_NAMES_free(names);
	id.not_before_s = seconds_of(X509_get0_notBefore(x));
	id.not_after_s = seconds_of(X509_get0_notAfter(x));
	ERR_clear_error();
	*ret = id;
}

int identity_read(const char *path, struct identity *ret, struct err *err)
{
	struct buf b;
	int rc = file_read(path, 1 << 20, &b, err);
	if (rc < 0)
		return rc;
	BIO *bio = BIO_new_mem_buf(b.data ? b.data : "", (int)b.n);
	X509 *x = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
	if (x)
		identity_of_x509(x, ret);
	else
		rc = err_set(err, HCP_EPARSE, path, "%.180s holds no certificate", path);
	ERR_clear_error();
	X509_free(x);
	BIO_free(bio);
	buf_release(&b);
	return rc;
}

bool identity_is_node(const struct identity *id, const char *node_id)
{
	for (size_t i = 0; id && i < id->n_nodes; i++) {
		const char *star = strchr(id->node[i], '*');
		if (star ? strncmp(id->node[i], node_id, (size_t)(star - id->node[i])) == 0 : strcmp(id->node[i], node_id) == 0)
			return true;
	}
	return false;
}

void identity_text(const struct identity *id, char *dst, size_t cap)
{
	size_t n = 0;
	dst[0] = '\0';
	for (int r = 0; r < IDENTITY_NODE && n < cap; r++)
		if (identity_is(id, r))
			n += (size_t)snprintf(dst + n, cap - n, "%s%s", n ? ", " : "", role_names[r]);
	for (size_t i = 0; i < id->n_nodes && n < cap; i++)
		n += (size_t)snprintf(dst + n, cap - n, "%snode %s", n ? ", " : "", id->node[i]);
	if (n == 0)
		snprintf(dst, cap, "nobody");
}
