#include "services/common/jwt.h"

#include <jansson.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include "base/hex.h"
#include "base/mem.h"
#include "base/num.h"
#include "wire/jsonv.h"

struct jwt_key {
	EVP_PKEY *pkey; /* owned */
	bool is_private;
	char kid[JWT_KID_MAX];
};

static int crypto_err(struct err *err, const char *doing)
{
	return err_set(err, HCP_EINTERNAL, "key", "the crypto library could not %s", doing);
}

static int set_kid(struct jwt_key *k, struct err *err)
{
	unsigned char *der = NULL, digest[EVP_MAX_MD_SIZE];
	unsigned n = 0;
	int der_n = i2d_PUBKEY(k->pkey, &der);
	bool ok = der_n > 0 && EVP_Digest(der, (size_t)der_n, digest, &n, EVP_sha256(), NULL) == 1;
	OPENSSL_free(der);
	if (!ok)
		return crypto_err(err, "name the key");
	hex_encode(k->kid, digest, 8);
	return 0;
}

/* Takes pkey. */
static int wrap(EVP_PKEY *pkey, bool is_private, struct jwt_key **ret, struct err *err)
{
	struct jwt_key *k = mem_calloc(1, sizeof(*k));
	if (!k) {
		EVP_PKEY_free(pkey);
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	}
	k->pkey = pkey;
	k->is_private = is_private;
	int rc = set_kid(k, err);
	if (rc < 0) {
		jwt_key_free(k);
		return rc;
	}
	*ret = k;
	return 0;
}

int jwt_key_new(struct jwt_key **ret, struct err *err)
{
	EVP_PKEY *pkey = EVP_RSA_gen(JWT_KEY_BITS);
	return pkey ? wrap(pkey, true, ret, err) : crypto_err(err, "make a key");
}

int jwt_key_from_pem(struct str pem, struct jwt_key **ret, struct err *err)
{
	if (pem.n > 64 << 10)
		return err_set(err, HCP_EINVAL, "key", "not a PEM key");
	BIO *bio = BIO_new_mem_buf(pem.p, (int)pem.n);
	if (!bio)
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	EVP_PKEY *pkey = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);
	bool is_private = pkey != NULL;
	BIO_free(bio);
	if (!pkey) {
		bio = BIO_new_mem_buf(pem.p, (int)pem.n);
		pkey = bio ? PEM_read_bio_PUBKEY(bio, NULL, NULL, NULL) : NULL;
		BIO_free(bio);
	}
	if (!pkey)
		return err_set(err, HCP_EINVAL, "key", "not a PEM key");
	if (EVP_PKEY_get_base_id(pkey) != EVP_PKEY_RSA || EVP_PKEY_get_bits(pkey) < JWT_KEY_BITS) {
		EVP_PKEY_free(pkey);
		return err_set(err, HCP_EINVAL, "key", "must be RSA of at least %d bits", JWT_KEY_BITS);
	}
	return wrap(pkey, is_private, ret, err);
}

void jwt_key_free(struct jwt_key *key)
{
	if (!key)
		return;
	EVP_PKEY_free(key->pkey);
	mem_free(key);
}

static int write_pem(const struct jwt_key *key, bool is_private, struct buf *out, struct err *err)
{
	BIO *bio = BIO_new(BIO_s_mem());
	int ok = 0;
	char *p = NULL;
	if (bio)
		ok = is_private ? PEM_write_bio_PKCS8PrivateKey(bio, key->pkey, NULL, NULL, 0, NULL, NULL)
				: PEM_write_bio_PUBKEY(bio, key->pkey);
	long n = ok ? BIO_get_mem_data(bio, &p) : 0;
	if (n > 0)
		buf_add(out, p, (size_t)n);
	BIO_free(bio);
	if (n <= 0)
		return crypto_err(err, "write the key");
	return buf_failed(out) ? err_set(err, HCP_ENOMEM, "", "out of memory") : 0;
}

int jwt_key_private_pem(const struct jwt_key *key, struct buf *out, struct err *err)
{
	if (!key->is_private)
		return err_set(err, HCP_EINVAL, "key", "only the public part is known");
	return write_pem(key, true, out, err);
}

int jwt_key_public_pem(const struct jwt_key *key, struct buf *out, struct err *err)
{
	return write_pem(key, false, out, err);
}

const char *jwt_key_id(const struct jwt_key *key)
{
	return key->kid;
}

static void claims_json(struct buf *b, const struct jwt_claims *c)
{
	buf_addz(b, "{\"iss\":\"" JWT_ISSUER "\",\"sub\":");
	buf_add_json(b, str_of(c->sub));
	buf_addz(b, ",\"email\":");
	buf_add_json(b, str_of(c->email));
	buf_addz(b, ",\"name\":");
	buf_add_json(b, str_of(c->name));
	buf_addz(b, ",\"cus\":");
	buf_add_json(b, str_of(c->cus));
	buf_printf(b, ",\"role\":%d,\"rate\":%u,\"iat\":%lld,\"exp\":%lld}", c->role, c->rate_per_min, (long long)c->iat_s,
		   (long long)c->exp_s);
}

static int add_signature(const struct jwt_key *key, struct str text, struct buf *out, struct err *err)
{
	unsigned char sig[1024];
	size_t n = sizeof(sig);
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	bool ok = ctx && EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, key->pkey) == 1 &&
		  EVP_DigestSign(ctx, sig, &n, (const unsigned char *)text.p, text.n) == 1;
	EVP_MD_CTX_free(ctx);
	if (!ok)
		return crypto_err(err, "sign");
	buf_addc(out, '.');
	b64url_encode(out, sig, n);
	return buf_failed(out) ? err_set(err, HCP_ENOMEM, "", "out of memory") : 0;
}

int jwt_sign(const struct jwt_key *key, const struct jwt_claims *claims, struct buf *out, struct err *err)
{
	if (!key->is_private)
		return err_set(err, HCP_EINVAL, "key", "only the public part is known");
	struct buf json, token;
	buf_init(&json, JWT_MAX_BYTES);
	buf_init(&token, JWT_MAX_BYTES);
	buf_printf(&json, "{\"alg\":\"RS256\",\"typ\":\"JWT\",\"kid\":\"%s\"}", key->kid);
	b64url_encode(&token, json.data, json.n);
	buf_addc(&token, '.');
	buf_clear(&json);
	claims_json(&json, claims);
	if (!buf_failed(&json))
		b64url_encode(&token, json.data, json.n);
	int rc = buf_failed(&json) || buf_failed(&token) ? err_set(err, HCP_ENOMEM, "", "out of memory")
							 : add_signature(key, buf_str(&token), &token, err);
	if (rc == 0) {
		buf_adds(out, buf_str(&token));
		rc = buf_failed(out) ? err_set(err, HCP_ENOMEM, "", "out of memory") : 0;
	}
	buf_release(&json);
	buf_release(&token);
	return rc;
}

static int refused(struct err *err, const char *why)
{
	return err_set(err, HCP_EAUTH, "authorization", "the token %s; log in again", why);
}

/* A base64url part as a JSON object. */
static int part_json(struct str part, json_t **ret, struct err *err)
{
	struct buf b;
	buf_init(&b, JWT_MAX_BYTES);
	int rc = b64url_decode(&b, part);
	if (rc == 0)
		rc = jsonv_parse(buf_str(&b), ret, NULL);
	buf_release(&b);
	return rc == HCP_ENOMEM ? err_set(err, rc, "", "out of memory") : rc < 0 ? refused(err, "is malformed") : 0;
}

static int check_header(const struct jwt_key *key, struct str part, struct err *err)
{
	json_t *head = NULL;
	struct str alg = { 0 }, kid = { 0 };
	int rc = part_json(part, &head, err);
	if (rc < 0)
		return rc;
	if (jsonv_get_string(head, "alg", JSONV_REQUIRED, &alg, NULL) < 0 || !str_eqz(alg, "RS256"))
		rc = refused(err, "is not signed with RS256");
	else if (jsonv_get_string(head, "kid", JSONV_OPTIONAL, &kid, NULL) < 0 || (kid.p && !str_eqz(kid, key->kid)))
		rc = refused(err, "is of another key");
	json_decref(head);
	return rc;
}

static int check_signature(const struct jwt_key *key, struct str text, struct str part, struct err *err)
{
	struct buf sig;
	buf_init(&sig, JWT_MAX_BYTES);
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	bool ok = ctx && b64url_decode(&sig, part) == 0 &&
		  EVP_DigestVerifyInit(ctx, NULL, EVP_sha256(), NULL, key->pkey) == 1 &&
		  EVP_DigestVerify(ctx, (const unsigned char *)sig.data, sig.n, (const unsigned char *)text.p, text.n) == 1;
	EVP_MD_CTX_free(ctx);
	buf_release(&sig);
	return ok ? 0 : refused(err, "has a wrong signature");
}

static int get_text(const json_t *doc, const char *name, char *dst, size_t cap)
{
	struct str s = { "", 0 };
	int rc = jsonv_get_string(doc, name, JSONV_OPTIONAL, &s, NULL);
	return rc < 0 ? rc : str_copy(dst, cap, s);
}

static int read_claims(struct str part, struct jwt_claims *c, struct err *err)
{
	json_t *doc = NULL;
	struct str iss = { "", 0 };
	int64_t role = 0, rate = 0;
	int rc = part_json(part, &doc, err);
	if (rc < 0)
		return rc;
	if (jsonv_get_string(doc, "iss", JSONV_REQUIRED, &iss, NULL) < 0 || !str_eqz(iss, JWT_ISSUER) ||
	    get_text(doc, "sub", c->sub, sizeof(c->sub)) < 0 || !c->sub[0] ||
	    get_text(doc, "email", c->email, sizeof(c->email)) < 0 ||
	    get_text(doc, "name", c->name, sizeof(c->name)) < 0 || get_text(doc, "cus", c->cus, sizeof(c->cus)) < 0 ||
	    jsonv_get_int(doc, "role", JSONV_REQUIRED, 1, 4, &role, NULL) < 0 ||
	    jsonv_get_int(doc, "rate", JSONV_OPTIONAL, 0, UINT32_MAX, &rate, NULL) < 0 ||
	    jsonv_get_int(doc, "iat", JSONV_REQUIRED, 0, INT64_MAX / 2, &c->iat_s, NULL) < 0 ||
	    jsonv_get_int(doc, "exp", JSONV_REQUIRED, 0, INT64_MAX / 2, &c->exp_s, NULL) < 0)
		rc = refused(err, "carries wrong claims");
	c->role = (int)role;
	c->rate_per_min = (uint32_t)rate;
	json_decref(doc);
	return rc;
}

int jwt_verify(const struct jwt_key *key, struct str token, int64_t now_s, struct jwt_claims *ret, struct err *err)
{
	struct jwt_claims c = { 0 };
	struct str rest = token;
	if (token.n > JWT_MAX_BYTES)
		return refused(err, "is too long");
	struct str head = str_split(&rest, '.');
	struct str body = rest.p ? str_split(&rest, '.') : (struct str){ 0 };
	if (!rest.p || !head.n || !body.n || !rest.n || memchr(rest.p, '.', rest.n))
		return refused(err, "is malformed");
	struct str text = { token.p, head.n + 1 + body.n };
	int rc = check_header(key, head, err);
	if (rc == 0)
		rc = check_signature(key, text, rest, err);
	if (rc == 0)
		rc = read_claims(body, &c, err);
	if (rc < 0)
		return rc;
	if (now_s >= c.exp_s)
		return refused(err, "has expired");
	if (c.iat_s > now_s + JWT_LEEWAY_S)
		return refused(err, "is from the future");
	*ret = c;
	return 0;
}
