#ifndef HCP_SERVICES_COMMON_JWT_H
#define HCP_SERVICES_COMMON_JWT_H

#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

/*
 * JSON Web Tokens (RFC 7519) signed with RS256: RSASSA-PKCS1-v1_5 with SHA-256, which is deterministic, so that a
 * replayed login gives the same token. Only this algorithm is accepted; "none" and HMAC are refused by name.
 *
 *   base64url(header) "." base64url(claims) "." base64url(signature over what stands before the second dot)
 *
 * No clock, no entropy except in jwt_key_new. Keys are immutable and may be used from any thread.
 */
struct jwt_key;

enum {
	JWT_MAX_BYTES = 4096,  /* longer tokens are refused unread */
	JWT_KEY_BITS = 2048,
	JWT_KID_MAX = 24,
	JWT_LEEWAY_S = 5,      /* clocks of issuer and verifier may differ by so much */
};

#define JWT_ISSUER "hcp"

struct jwt_claims {
	char sub[64];          /* user id */
	char email[256];
	char name[128];
	char cus[64];          /* customer id, "" for the house's own people */
	int role;              /* Hcp__Role */
	uint32_t rate_per_min; /* 0: unlimited */
	int64_t iat_s, exp_s;  /* Unix seconds */
};

/* A new RSA key pair from the TLS library's generator. */
int jwt_key_new(struct jwt_key **ret, struct err *err) MUST_CHECK;
/* PEM of a private key (PKCS #8), or of a public one, which then can only verify. */
int jwt_key_from_pem(struct str pem, struct jwt_key **ret, struct err *err) MUST_CHECK;
void jwt_key_free(struct jwt_key *key);
/* Appends the PEM. HCP_EINVAL for the private part of a public key. */
int jwt_key_private_pem(const struct jwt_key *key, struct buf *out, struct err *err) MUST_CHECK;
int jwt_key_public_pem(const struct jwt_key *key, struct buf *out, struct err *err) MUST_CHECK;
/* First 16 digits of the SHA-256 of the public key: the same for the same key. */
const char *jwt_key_id(const struct jwt_key *key);

/* Appends the token. */
int jwt_sign(const struct jwt_key *key, const struct jwt_claims *claims, struct buf *out, struct err *err) MUST_CHECK;
/*
 * HCP_EAUTH for anything but a token of this key and issuer that has not expired; the text says which. *ret is
 * written only on success.
 */
int jwt_verify(const struct jwt_key *key, struct str token, int64_t now_s, struct jwt_claims *ret, struct err *err)
	MUST_CHECK;

#endif
