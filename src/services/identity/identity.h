#ifndef HCP_SERVICES_IDENTITY_H
#define HCP_SERVICES_IDENTITY_H

#include "svc/svc.h"

/* Settings; all zero takes the defaults. Borrowed by the service. */
struct identity_conf {
	const char
		*key_path; /* PEM of the signing key, made at the first start with mode 0600; NULL: a new one in memory */
	int64_t token_s;      /* life of a token; 0: IDENTITY_TOKEN_S */
	uint32_t
		hash_kib; /* memory of a password's hash, for simulations; 0: IDENTITY_HASH_KIB, what it takes to be safe */
};

enum {
	IDENTITY_TOKEN_S = 900,
	IDENTITY_HASH_KIB = 19 * 1024,   /* with two passes: OWASP's interactive parameters for Argon2id */
	IDENTITY_HASH_KIB_MIN = 8,
	IDENTITY_KEYS_MAX = 100,         /* live API keys of one user */
	IDENTITY_NAME_MAX = 120,         /* characters of an API key's name */
	IDENTITY_PASSWORD_MAX = 256,     /* bytes; longer ones are refused before any hashing */
	IDENTITY_LOCKS_MAX = 10000,      /* e-mails with failed logins remembered */
	IDENTITY_REFRESH_S = 30 * 86400, /* a session ends when its refresh token was not used for so long */
	IDENTITY_SESSIONS_MAX = 50,      /* sessions of one user; one more ends the one that was idle longest */
	IDENTITY_TURNS_KEPT = 4096,      /* spent refresh tokens of a session whose reuse is noticed: 42 days at 15 min */
};

extern const struct svc_def identity_def;

#endif
