#ifndef HCP_FEED_SIGV4_H
#define HCP_FEED_SIGV4_H

#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

/*
 * AWS Signature Version 4 (docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html) of one
 * request whose path is "/" and whose signed headers are content-type, host, x-amz-date and, where there is a session
 * token, x-amz-security-token. Pure: the time is handed in.
 */
struct sigv4 {
	const char *method, *query;      /* query: already encoded and sorted; "" for none */
	const char *content_type, *host; /* host exactly as the request carries it */
	const char *region, *service;
	const char *access_key_id, *secret_access_key;
	const char *session_token; /* NULL: none */
	struct str body;
	int64_t now_ns;
};

enum { SIGV4_DATE_MAX = 20, SIGV4_AUTH_MAX = 512 };

/* Fills x-amz-date ("20150830T123600Z") and authorization. HCP_ERANGE: a part is too long. */
int sigv4_sign(const struct sigv4 *s, char date[SIGV4_DATE_MAX], char auth[SIGV4_AUTH_MAX], struct err *err) MUST_CHECK;

#endif
