#include "pki/authority.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "os/file.h"

enum { PATH_BYTES = 1024, FILE_BYTES = 1 << 20, SERIAL_BYTES = 16, DAY_S = 86400 };

struct authority {
	X509 *cert; /* owned, as key */
	EVP_PKEY *key;
	int64_t not_after_s;
	char dir[PATH_BYTES];
};

static int failed(struct err *err, const char *doing)
{
	unsigned long e = ERR_get_error();
	const char *why = e ? ERR_reason_error_string(e) : NULL;
	err_set(err, HCP_EIO, "certs", "cannot %s: %s", doing, why ? why : "no memory");
	ERR_clear_error();
	return HCP_EIO;
}

/* ---- files ---- */

static int path_of(const char *dir, const char *name, const char *end, char ret[PATH_BYTES], struct err *err)
{
	char file[IDENTITY_NAME_MAX + 8];
	snprintf(file, sizeof(file), "%.*s%s", IDENTITY_NAME_MAX, name, end);
	return file_join(ret, PATH_BYTES, dir, file) < 0 ? err_set(err, HCP_ERANGE, "dir", "the path is too long") : 0;
}

static int write_bio(BIO *bio, const char *path, unsigned mode, struct err *err)
{
	char *p = NULL;
	long n = BIO_get_mem_data(bio, &p);
	return file_write_atomic(path, (struct str){ p, (size_t)n }, mode, err);
}

static int write_pair(const char *dir, const char *name, X509 *x, EVP_PKEY *key, struct err *err)
{
	char path[PATH_BYTES];
	BIO *kb = BIO_new(BIO_s_mem()), *cb = BIO_new(BIO_s_mem());
	int rc = 0;
	if (!kb || !cb || PEM_write_bio_PKCS8PrivateKey(kb, key, NULL, NULL, 0, NULL, NULL) != 1 ||
		PEM_write_bio_X509(cb, x) != 1)
		rc = failed(err, "encode the certificate");
	if (rc == 0)
		rc = path_of(dir, name, ".key", path, err);
	if (rc == 0)
		rc = write_bio(kb, path, 0600, err);
	if (rc == 0)
		rc = path_of(dir, name, ".crt", path, err);
	if (rc == 0)
		rc = write_bio(cb, path, 0644, err);
	BIO_free(kb); /* overwrites the key */
	BIO_free(cb);
	return rc;
}

static int read_pem(const char *path, struct buf *ret_text, BIO **ret_bio, struct err *err)
{
	int rc = file_read(path, FILE_BYTES, ret_text, err);
	if (rc < 0)
		return rc;
	*ret_bio = BIO_new_mem_buf(ret_text->data ? ret_text->data : "", (int)ret_text->n);
	if (*ret_bio)
		return 0;
	buf_release(ret_text);
	return failed(err, "read a file");
}

static int read_cert(const char *path, X509 **ret, struct err *err)
{
	struct buf text;
	BIO *bio;
	int rc = read_pem(path, &text, &bio, err);
	if (rc < 0)
		return rc;
	*ret = PEM_read_bio_X509(bio, NULL, NULL, NULL);
	ERR_clear_error();
	BIO_free(bio);
	buf_release(&text);
	return *ret ? 0 : err_set(err, HCP_EPARSE, path, "%.180s holds no certificate", path);
}

/* Keys are never encrypted here: asking for a password would hang a service. */
static int no_password(char *buf, int cap, int writing, void *arg)
{
	return 0;
}

static int read_key(const char *path, EVP_PKEY **ret, struct err *err)
{
	struct buf text;
	BIO *bio;
	int rc = read_pem(path, &text, &bio, err);
	if (rc < 0)
		return rc;
	*ret = PEM_read_bio_PrivateKey(bio, NULL, no_password, NULL);
	ERR_clear_error();
	BIO_free(bio);
	mem_free_secret(text.data, text.n);
	return *ret ? 0 : err_set(err, HCP_EPARSE, path, "%.180s holds no key without password", path);
}

static int must_be_absent(const char *dir, const char *name, struct err *err)
{
	char path[PATH_BYTES];
	static const char *const ends[] = { ".crt", ".key" };
	for (size_t i = 0; i < 2; i++) {
		int rc = path_of(dir, name, ends[i], path, err);
		if (rc < 0)
			return rc;
		if (file_exists(path))
			return err_set(err, HCP_EEXIST, name, "%.180s is there already", path);
	}
	return 0;
}

/* ---- making certificates ---- */

static bool add_ext(X509 *x, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX ctx;
	X509V3_set_ctx_nodb(&ctx);
	X509V3_set_ctx(&ctx, issuer, x, NULL, NULL, 0);
	X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	bool ok = e && X509_add_ext(x, e, -1) == 1;
	X509_EXTENSION_free(e);
	return ok;
}

/* Random and positive, as the CA/Browser forum asks; names nothing that happened before. */
static bool set_serial(X509 *x)
{
	unsigned char bytes[SERIAL_BYTES];
	if (RAND_bytes(bytes, sizeof(bytes)) != 1)
		return false;
	bytes[0] = (unsigned char)((bytes[0] & 0x7f) | 0x40);
	BIGNUM *n = BN_bin2bn(bytes, sizeof(bytes), NULL);
	bool ok = n && BN_to_ASN1_INTEGER(n, X509_get_serialNumber(x));
	BN_free(n);
	return ok;
}

/* Everything but extensions and signature. */
static X509 *blank(const char *name, EVP_PKEY *key, int64_t from_s, int64_t to_s)
{
	X509 *x = X509_new();
	if (x && X509_set_version(x, 2) == 1 && set_serial(x) && ASN1_TIME_set(X509_getm_notBefore(x), from_s) &&
		ASN1_TIME_set(X509_getm_notAfter(x), to_s) && X509_set_pubkey(x, key) == 1 &&
		X509_NAME_add_entry_by_txt(
			X509_get_subject_name(x), "CN", MBSTRING_UTF8, (const unsigned char *)name, -1, -1, 0) == 1)
		return x;
	X509_free(x);
	return NULL;
}

int authority_init(const char *dir, const char *name, int days, int64_t now_s, bool replace, struct err *err)
{
	if (!name[0] || strlen(name) > IDENTITY_NAME_MAX)
		return err_set(err, HCP_EINVAL, "name", "must be 1 to %d bytes", IDENTITY_NAME_MAX);
	if (days < 1 || days > AUTHORITY_DAYS_MAX)
		return err_set(err, HCP_ERANGE, "days", "must be 1 to %d", AUTHORITY_DAYS_MAX);
	int rc = replace ? 0 : must_be_absent(dir, "ca", err);
	if (rc == 0)
		rc = file_mkdirs(dir, err);
	if (rc < 0)
		return rc;
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *x = key ? blank(name, key, now_s - AUTHORITY_SKEW_S, now_s + (int64_t)days * DAY_S) : NULL;
	bool ok = x && X509_set_issuer_name(x, X509_get_subject_name(x)) == 1 &&
			  add_ext(x, x, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") &&
			  add_ext(x, x, NID_key_usage, "critical,keyCertSign,cRLSign") &&
			  add_ext(x, x, NID_subject_key_identifier, "hash") && X509_sign(x, key, EVP_sha256()) > 0;
	rc = ok ? write_pair(dir, "ca", x, key, err) : failed(err, "make the authority");
	X509_free(x);
	EVP_PKEY_free(key);
	return rc;
}

int authority_open(const char *dir, int64_t now_s, struct authority **ret, struct err *err)
{
	char path[PATH_BYTES];
	struct authority *a = mem_calloc(1, sizeof(*a));
	struct identity id;
	if (!a)
		return err_set(err, HCP_ENOMEM, "certs", "no memory for the authority");
	int rc = str_copy(a->dir, sizeof(a->dir), str_of(dir)) < 0 ? err_set(err, HCP_ERANGE, "dir", "the path is too long")
															   : path_of(dir, "ca", ".crt", path, err);
	if (rc == 0)
		rc = read_cert(path, &a->cert, err);
	if (rc == 0)
		rc = path_of(dir, "ca", ".key", path, err);
	if (rc == 0)
		rc = read_key(path, &a->key, err);
	if (rc == 0) {
		identity_of_x509(a->cert, &id);
		a->not_after_s = id.not_after_s;
		if (X509_check_private_key(a->cert, a->key) != 1)
			rc = err_set(err, HCP_ESTATE, "ca.key", "%.180s is not the key of the certificate beside it", path);
		else if (id.not_after_s <= now_s)
			rc = err_set(err, HCP_ESTATE, "ca.crt", "the authority in %.150s has expired; make a new one", dir);
		ERR_clear_error();
	}
	if (rc < 0) {
		authority_close(a);
		return rc;
	}
	*ret = a;
	return 0;
}

void authority_close(struct authority *a)
{
	if (!a)
		return;
	X509_free(a->cert);
	EVP_PKEY_free(a->key);
	mem_free(a);
}

static bool name_ok(const char *name)
{
	return identity_node_ok(name, false) && name[0] != '.' && strcmp(name, "ca") != 0;
}

static bool is_address(const char *host)
{
	unsigned char a[16];
	return inet_pton(AF_INET, host, a) == 1 || inet_pton(AF_INET6, host, a) == 1;
}

/* They become part of a text with commas and colons, so only what a name is made of may be in them. */
static bool host_ok(const char *host)
{
	size_t n = strlen(host);
	return is_address(host) ||
		   (n >= 1 && n <= AUTHORITY_HOST_MAX &&
			   strspn(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_") == n);
}

static int check_request(const struct authority *a, const struct authority_request *q, int64_t until_s, struct err *err)
{
	if (!q->name || !name_ok(q->name))
		return err_set(err, HCP_EINVAL, "name",
			"must be 1 to %d letters, digits, dots, dashes, underscores, begin with no dot, and not be \"ca\"",
			IDENTITY_NODE_MAX);
	if ((q->role == IDENTITY_NODE) != (q->n_nodes > 0) || q->n_nodes > IDENTITY_NODES_MAX)
		return err_set(err, HCP_EINVAL, "nodes", "1 to %d nodes, of a certificate of role node", IDENTITY_NODES_MAX);
	for (size_t i = 0; i < q->n_nodes; i++)
		if (!identity_node_ok(q->nodes[i], true))
			return err_set(err, HCP_EINVAL, "nodes",
				"must be ids of 1 to %d letters, digits, dots, dashes, underscores; the last may be *",
				IDENTITY_NODE_MAX);
	if ((q->role == IDENTITY_SERVICE) != (q->n_hosts > 0) || q->n_hosts > AUTHORITY_HOSTS_MAX)
		return err_set(err, HCP_EINVAL, "hosts", "1 to %d names and addresses, of a certificate of role service",
			AUTHORITY_HOSTS_MAX);
	for (size_t i = 0; i < q->n_hosts; i++)
		if (!host_ok(q->hosts[i]))
			return err_set(err, HCP_EINVAL, "hosts", "'%.80s' is no host name or address", q->hosts[i]);
	if (q->days < 0 || q->days > AUTHORITY_DAYS_MAX || until_s > a->not_after_s)
		return err_set(
			err, HCP_ERANGE, "days", "must be 1 to %d, and end before the authority does", AUTHORITY_DAYS_MAX);
	return 0;
}

static bool add_names(X509 *x, const struct authority_request *q)
{
	struct buf b;
	buf_init(&b, 64 << 10);
	if (q->role != IDENTITY_NODE)
		buf_printf(&b, "URI:hcp:%s", identity_role_name(q->role));
	for (size_t i = 0; i < q->n_nodes; i++)
		buf_printf(&b, "%sURI:hcp:node/%s", i ? "," : "", q->nodes[i]);
	for (size_t i = 0; i < q->n_hosts; i++)
		buf_printf(&b, ",%s:%s", is_address(q->hosts[i]) ? "IP" : "DNS", q->hosts[i]);
	bool ok = !buf_failed(&b) && add_ext(x, x, NID_subject_alt_name, b.data);
	buf_release(&b);
	return ok;
}

/* Adds what every issued certificate has, signs it and writes the pair. */
static int finish(const struct authority *a, const char *name, X509 *x, EVP_PKEY *key, struct err *err)
{
	bool ok = X509_set_issuer_name(x, X509_get_subject_name(a->cert)) == 1 &&
			  add_ext(x, a->cert, NID_basic_constraints, "critical,CA:FALSE") &&
			  add_ext(x, a->cert, NID_key_usage, "critical,digitalSignature") &&
			  add_ext(x, a->cert, NID_subject_key_identifier, "hash") &&
			  add_ext(x, a->cert, NID_authority_key_identifier, "keyid:always") &&
			  X509_sign(x, a->key, EVP_sha256()) > 0;
	return ok ? write_pair(a->dir, name, x, key, err) : failed(err, "make the certificate");
}

int authority_issue(
	const struct authority *a, const struct authority_request *q, int64_t now_s, bool replace, struct err *err)
{
	int64_t until_s = now_s + (int64_t)(q->days ? q->days : AUTHORITY_CERT_DAYS) * DAY_S;
	int rc = check_request(a, q, until_s, err);
	if (rc == 0 && !replace)
		rc = must_be_absent(a->dir, q->name, err);
	if (rc < 0)
		return rc;
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *x = key ? blank(q->name, key, now_s - AUTHORITY_SKEW_S, until_s) : NULL;
	/* Only a service answers as a server: a node's certificate cannot stand in for hcpd. */
	bool ok = x && add_names(x, q) &&
			  add_ext(x, x, NID_ext_key_usage, q->role == IDENTITY_SERVICE ? "serverAuth,clientAuth" : "clientAuth");
	rc = ok ? finish(a, q->name, x, key, err) : failed(err, "make the certificate");
	X509_free(x);
	EVP_PKEY_free(key);
	return rc;
}

static bool copy_ext(X509 *to, X509 *from, int nid)
{
	int at = X509_get_ext_by_NID(from, nid, -1);
	return at < 0 || X509_add_ext(to, X509_get_ext(from, at), -1) == 1;
}

int authority_renew(const struct authority *a, const char *name, int days, int64_t now_s, struct err *err)
{
	char path[PATH_BYTES];
	X509 *old = NULL, *x = NULL;
	EVP_PKEY *key = NULL;
	struct identity id = { 0 };
	if (!name_ok(name))
		return err_set(err, HCP_EINVAL, "name", "there is no certificate of this name");
	int rc = path_of(a->dir, name, ".crt", path, err);
	if (rc == 0)
		rc = read_cert(path, &old, err);
	if (rc < 0)
		return rc;
	identity_of_x509(old, &id);
	int64_t life_s = days ? (int64_t)days * DAY_S : id.not_after_s - id.not_before_s - AUTHORITY_SKEW_S;
	if (!id.roles)
		rc = err_set(err, HCP_EINVAL, name, "%.180s is no certificate of the mesh", path);
	else if (days < 0 || days > AUTHORITY_DAYS_MAX || life_s < 1 || now_s + life_s > a->not_after_s)
		rc = err_set(err, HCP_ERANGE, "days", "must be 1 to %d, and end before the authority does", AUTHORITY_DAYS_MAX);
	if (rc == 0) {
		key = EVP_EC_gen("P-256");
		x = key ? blank(id.name, key, now_s - AUTHORITY_SKEW_S, now_s + life_s) : NULL;
		bool ok = x && copy_ext(x, old, NID_subject_alt_name) && copy_ext(x, old, NID_ext_key_usage);
		rc = ok ? finish(a, name, x, key, err) : failed(err, "make the certificate");
	}
	X509_free(old);
	X509_free(x);
	EVP_PKEY_free(key);
	return rc;
}
