#include <argon2.h>

#include "services/identity/identity_priv.h"

enum { PASSWORD_PASSES = 2, PASSWORD_LANES = 1, PASSWORD_SALT = 16, PASSWORD_TAG = 32 };

int password_hash(struct str password, const unsigned char salt[PASSWORD_SALT], uint32_t kib,
	char dst[IDENTITY_HASH_MAX], struct err *err)
{
	int rc = argon2id_hash_encoded(PASSWORD_PASSES, kib ? kib : IDENTITY_HASH_KIB, PASSWORD_LANES, password.p,
		password.n, salt, PASSWORD_SALT, PASSWORD_TAG, dst, IDENTITY_HASH_MAX);
	if (rc == ARGON2_OK)
		return 0;
	return err_set(err, rc == ARGON2_MEMORY_ALLOCATION_ERROR ? HCP_ENOMEM : HCP_EINTERNAL, "password",
		       "cannot hash: %s", argon2_error_message(rc));
}

int password_verify(struct str password, const char *hash)
{
	int rc = argon2id_verify(hash, password.p, password.n); /* compares in constant time */
	if (rc == ARGON2_OK)
		return 0;
	return rc == ARGON2_MEMORY_ALLOCATION_ERROR ? HCP_ENOMEM : HCP_EAUTH;
}
