#ifndef HCP_FEED_B2C_H
#define HCP_FEED_B2C_H

#include "feed/source.h"

/*
 * The resource-owner flow of ERCOT's login (Azure AD B2C; developer.ercot.com, "Registration and Authentication"): a
 * form with user name and password brings an id_token that is good for an hour and cannot be refreshed. The client's id
 * is ERCOT's own, published, and the same for everybody. Pure.
 */
struct feed_bearer {
	char value[FEED_CRED_MAX]; /* "": none */
	int64_t expires_ns;        /* asked anew before that: a tenth of its life, at most five minutes */
};

int feed_b2c_request(
	const char *token_url, const struct feed_creds *creds, struct feed_request *ret, struct err *err) MUST_CHECK;
int feed_b2c_answer(struct str body, int64_t now_ns, struct feed_bearer *ret, struct err *err) MUST_CHECK;

#endif
