#ifndef HCP_CMD_CLI_API_H
#define HCP_CMD_CLI_API_H

#include <curl/curl.h>
#include <jansson.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

enum {
	API_BODY_MAX = 32 * 1024 * 1024, /* a larger answer is refused */
	API_TOKEN_MAX = 8192,
	API_URL_MAX = 4096,
	API_CONNECT_MS = 10000,
};

/* One server and one reused connection to it. Synchronous, one thread. */
struct api {
	CURL *curl;            /* owned */
	char url[512];         /* without a slash at the end */
	char token[API_TOKEN_MAX]; /* token or API key, "" for none; sent as a bearer */
	long timeout_ms;
	/* Asked once for a call that was answered with 401: 0 when it has set a token to try again with. NULL: none can. */
	int (*renew)(void *arg, struct err *err);
	void *renew_arg; /* borrowed */
	char error[CURL_ERROR_SIZE];
};

struct api_call {
	const char *method;
	const char *path;  /* with query, percent-encoded */
	const json_t *body; /* borrowed, NULL for none */
	const char *idempotency_key; /* NULL for none */
	long extra_ms;     /* how long the server may wait by agreement (long poll) */
};

/* url must be http(s)://host[:port][/prefix] without user data. */
int api_init(struct api *api, const char *url, const char *ca_file, long timeout_ms, struct err *err) MUST_CHECK;
void api_release(struct api *api);
/* HCP_EINVAL if it holds what cannot stand in a header. */
int api_set_token(struct api *api, struct str token, struct err *err) MUST_CHECK;

/*
 * HCP_EUNAVAIL: no connection. HCP_ETIMEOUT: no answer in time. HCP_EPROTO: the answer is no JSON object or array.
 * HCP_ELIMIT: too large. HCP_EAUTH: 401. Any other refusal of the server: HCP_ESTATE, with its own words in
 * err->text and its field in err->field. On success *ret_reply is a new reference (an empty object for 204).
 */
int api_do(struct api *api, const struct api_call *call, json_t **ret_reply, struct err *err) MUST_CHECK;

/* GET that only looks at the status; for readiness. Returns the status, or a negative code. */
int api_probe(struct api *api, const char *path, long timeout_ms);

#endif
