#include "cmd/cli/api.h"

#include <strings.h>

#include "base/mem.h"
#include "base/panic.h"

#ifndef HCP_VERSION
#define HCP_VERSION "unknown"
#endif

static bool is_loopback(const char *url)
{
	const char *host = strstr(url, "://");
	host = host ? host + 3 : url;
	return !strncmp(host, "127.", 4) || !strncmp(host, "localhost", 9) || !strncmp(host, "[::1]", 5);
}

static int check_url(const char *url, struct err *err)
{
	must(url != NULL);
	const char *host = !strncasecmp(url, "http://", 7) ? url + 7 :
			   !strncasecmp(url, "https://", 8) ? url + 8 : NULL;
	if (!host || !*host || strpbrk(host, "@?# \t\r\n") || strlen(url) >= sizeof(((struct api *)0)->url))
		return err_set(err, HCP_EINVAL, "url",
			       "\"%.100s\" is no server address; expected http(s)://host[:port]", url);
	return 0;
}

int api_init(struct api *api, const char *url, const char *ca_file, long timeout_ms, struct err *err)
{
	*api = (struct api){ .timeout_ms = timeout_ms };
	int rc = check_url(url, err);
	if (rc < 0)
		return rc;
	size_t n = strlen(url);
	while (n && url[n - 1] == '/')
		n--;
	rc = str_copy(api->url, sizeof(api->url), (struct str){ url, n });
	if (rc < 0)
		return rc;
	api->curl = curl_easy_init();
	if (!api->curl)
		return err_set(err, HCP_ENOMEM, "", "cannot start the HTTP client");
	CURL *c = api->curl;
	curl_easy_setopt(c, CURLOPT_ERRORBUFFER, api->error);
	curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 0L); /* a token goes where the user said, nowhere else */
	curl_easy_setopt(c, CURLOPT_ACCEPT_ENCODING, "");
	curl_easy_setopt(c, CURLOPT_USERAGENT, "hcp/" HCP_VERSION);
	curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, (long)API_CONNECT_MS);
	if (is_loopback(api->url))
		curl_easy_setopt(c, CURLOPT_PROXY, "");
	if (ca_file)
		curl_easy_setopt(c, CURLOPT_CAINFO, ca_file);
	return 0;
}

void api_release(struct api *api)
{
	if (api->curl)
		curl_easy_cleanup(api->curl);
	explicit_bzero(api->token, sizeof(api->token));
	api->curl = NULL;
}

int api_set_token(struct api *api, struct str token, struct err *err)
{
	token = str_trim(token);
	for (size_t i = 0; i < token.n; i++) {
		if (token.p[i] <= ' ' || token.p[i] > '~')
			return err_set(err, HCP_EINVAL, "token", "the token holds characters that no token has");
	}
	if (str_copy(api->token, sizeof(api->token), token) < 0)
		return err_set(err, HCP_EINVAL, "token", "the token is longer than %d bytes", API_TOKEN_MAX - 1);
	return 0;
}

static size_t on_body(char *p, size_t size, size_t n, void *arg)
{
	struct buf *b = arg;
	buf_add(b, p, size * n);
	return buf_failed(b) ? 0 : size * n;
}

static int header_add(struct curl_slist **list, const char *line)
{
	struct curl_slist *grown = curl_slist_append(*list, line);
	if (!grown)
		return HCP_ENOMEM;
	*list = grown;
	return 0;
}

static int set_headers(struct api *api, const struct api_call *call, struct curl_slist **list)
{
	char line[API_TOKEN_MAX + 32];
	int rc = header_add(list, "Accept: application/json, application/problem+json");
	if (rc == 0 && call->body)
		rc = header_add(list, "Content-Type: application/json");
	if (rc == 0)
		rc = header_add(list, "Expect:");
	if (rc == 0 && api->token[0]) {
		snprintf(line, sizeof(line), "Authorization: Bearer %s", api->token);
		rc = header_add(list, line);
		explicit_bzero(line, sizeof(line));
	}
	if (rc == 0 && call->idempotency_key) {
		snprintf(line, sizeof(line), "Idempotency-Key: %s", call->idempotency_key);
		rc = header_add(list, line);
	}
	curl_easy_setopt(api->curl, CURLOPT_HTTPHEADER, *list);
	return rc;
}

static int transfer_err(struct api *api, CURLcode code, const struct buf *body, struct err *err)
{
	const char *why = api->error[0] ? api->error : curl_easy_strerror(code);
	switch (code) {
	case CURLE_WRITE_ERROR:
		if (body->failed)
			return err_set(err, HCP_ELIMIT, "", "the answer of %s is larger than %d MiB", api->url,
				       API_BODY_MAX >> 20);
		break;
	case CURLE_OPERATION_TIMEDOUT:
		return err_set(err, HCP_ETIMEOUT, "",
			       "no answer from %s within %ld s; try --timeout, or see whether it is overloaded",
			       api->url, api->timeout_ms / 1000);
	case CURLE_OUT_OF_MEMORY:
		return err_set(err, HCP_ENOMEM, "", "out of memory");
	default:
		break;
	}
	return err_set(err, HCP_EUNAVAIL, "",
		       "cannot reach %s (%.100s); is it running, and is --url or $HCP_URL right?",
		       api->url, why);
}

static const char *member_text(const json_t *o, const char *name)
{
	const char *s = json_string_value(json_object_get(o, name));
	return s ? s : "";
}

/* RFC 9457 problem, or what can be said without one. */
static int refusal(const struct api *api, long status, const json_t *reply, struct err *err)
{
	int code = status == 401 ? HCP_EAUTH : HCP_ESTATE;
	const char *detail = member_text(reply, "detail"), *name = member_text(reply, "code");
	const char *trace = member_text(reply, "trace_id");
	if (!*detail)
		detail = member_text(reply, "title");
	if (status == 401)
		return err_set(err, code, "", "%.120s%s: run `hcp login`, or set $HCP_TOKEN or $HCP_API_KEY",
			       api->token[0] ? "the server does not accept these credentials" : "not logged in",
			       api->token[0] && *detail ? " (they may have expired)" : "");
	return err_set(err, code, member_text(reply, "field"), "%.140s (%ld%s%.40s%s%.40s)",
		       *detail ? detail : "the server refused without giving a reason", status, *name ? " " : "", name,
		       *trace ? ", trace " : "", trace);
}

static int understand(struct api *api, const struct buf *body, json_t **ret_reply, struct err *err)
{
	long status = 0;
	json_error_t why = { 0 };
	curl_easy_getinfo(api->curl, CURLINFO_RESPONSE_CODE, &status);
	json_t *reply = body->n ? json_loadb(body->data, body->n, JSON_REJECT_DUPLICATES, &why) : json_object();
	int rc = 0;
	if (status < 200 || status >= 300)
		rc = refusal(api, status, reply, err);
	else if (!reply)
		rc = err_set(err, HCP_EPROTO, "",
			     "%s answered with something that is no valid JSON (%.80s); is it an HCP server?",
			     api->url, why.text);
	if (rc < 0)
		json_decref(reply);
	else
		*ret_reply = reply;
	return rc;
}

static int transfer(struct api *api, const struct api_call *call, json_t **ret_reply, struct err *err)
{
	char url[sizeof(api->url) + API_URL_MAX];
	struct curl_slist *headers = NULL;
	char *text = NULL;
	struct buf body;
	buf_init(&body, API_BODY_MAX);
	int rc = HCP_ENOMEM;
	if ((size_t)snprintf(url, sizeof(url), "%s%s", api->url, call->path) >= sizeof(url)) {
		rc = err_set(err, HCP_ELIMIT, "", "the request is too long");
		goto out;
	}
	if (call->body && !(text = json_dumps(call->body, JSON_COMPACT)))
		goto oom;
	if (set_headers(api, call, &headers) < 0)
		goto oom;
	curl_easy_setopt(api->curl, CURLOPT_URL, url);
	curl_easy_setopt(api->curl, CURLOPT_CUSTOMREQUEST, call->method);
	if (text)
		curl_easy_setopt(api->curl, CURLOPT_POSTFIELDS, text);
	else if (!strcmp(call->method, "GET") || !strcmp(call->method, "DELETE"))
		curl_easy_setopt(api->curl, CURLOPT_HTTPGET, 1L);
	else
		curl_easy_setopt(api->curl, CURLOPT_POSTFIELDS, "");
	curl_easy_setopt(api->curl, CURLOPT_TIMEOUT_MS, api->timeout_ms + call->extra_ms);
	curl_easy_setopt(api->curl, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(api->curl, CURLOPT_WRITEDATA, &body);
	api->error[0] = '\0';
	CURLcode code = curl_easy_perform(api->curl);
	rc = code == CURLE_OK ? understand(api, &body, ret_reply, err) : transfer_err(api, code, &body, err);
	goto out;
oom:
	rc = err_set(err, HCP_ENOMEM, "", "out of memory");
out:
	curl_easy_setopt(api->curl, CURLOPT_HTTPHEADER, NULL);
	curl_easy_setopt(api->curl, CURLOPT_POSTFIELDS, NULL);
	curl_slist_free_all(headers);
	mem_free(text); /* jansson allocates through base */
	buf_release(&body);
	return rc;
}

int api_do(struct api *api, const struct api_call *call, json_t **ret_reply, struct err *err)
{
	int (*renew)(void *arg, struct err *err) = api->renew;
	int rc = transfer(api, call, ret_reply, err);
	if (rc != HCP_EAUTH || !renew)
		return rc;
	api->renew = NULL; /* it asks the server too */
	rc = renew(api->renew_arg, err);
	api->renew = renew;
	return rc < 0 ? rc : transfer(api, call, ret_reply, err);
}

static size_t on_nothing(char *p, size_t size, size_t n, void *arg)
{
	return size * n;
}

int api_probe(struct api *api, const char *path, long timeout_ms)
{
	char url[sizeof(api->url) + 64];
	long status = 0;
	snprintf(url, sizeof(url), "%s%.60s", api->url, path);
	curl_easy_setopt(api->curl, CURLOPT_URL, url);
	curl_easy_setopt(api->curl, CURLOPT_HTTPGET, 1L);
	curl_easy_setopt(api->curl, CURLOPT_TIMEOUT_MS, timeout_ms);
	curl_easy_setopt(api->curl, CURLOPT_WRITEFUNCTION, on_nothing);
	if (curl_easy_perform(api->curl) != CURLE_OK)
		return HCP_EUNAVAIL;
	curl_easy_getinfo(api->curl, CURLINFO_RESPONSE_CODE, &status);
	return (int)status;
}
