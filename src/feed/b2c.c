#include "feed/b2c.h"

#include "base/money.h"
#include "feed/field.h"
#include "http/url.h"

#define CLIENT_ID "fec253ea-0d06-4272-a5e6-b478baeecd70"
#define LIFE_S 3600.0

int feed_b2c_request(const char *token_url, const struct feed_creds *creds, struct feed_request *r, struct err *err)
{
	const char *user = feed_creds_get(creds, "username"), *password = feed_creds_get(creds, "password");
	if (!user || !password)
		return err_set(err, HCP_EAUTH, "credentials", "the file must have username, password and subscription_key");
	r->method = "POST";
	int rc = str_copy(r->url, sizeof(r->url), str_of(token_url));
	buf_addz(&r->body, "grant_type=password&username=");
	url_encode(&r->body, str_of(user));
	buf_addz(&r->body, "&password=");
	url_encode(&r->body, str_of(password));
	buf_addz(&r->body, "&scope=openid%20" CLIENT_ID "%20offline_access&client_id=" CLIENT_ID "&response_type=id_token");
	if (rc < 0 || buf_failed(&r->body))
		return err_set(err, HCP_ENOMEM, "token_url", "no room for the request");
	return feed_request_header(r, "content-type", err, "application/x-www-form-urlencoded");
}

int feed_b2c_answer(struct str body, int64_t now_ns, struct feed_bearer *ret, struct err *err)
{
	struct feed_bearer b = { 0 };
	const char *token = NULL;
	double life_s = LIFE_S;
	json_t *doc = NULL;
	int rc = feed_json(body, &doc, err);
	if (rc == 0)
		rc = feed_text(doc, "id_token", &token, err);
	if (rc == 0 && json_object_get(doc, "expires_in"))
		rc = feed_number(json_object_get(doc, "expires_in"), "expires_in", &life_s, err);
	if (rc == 0 && !(life_s >= 1 && life_s <= 86400))
		rc = err_set(err, HCP_ERANGE, "expires_in", "must be 1 s to a day, was %g s", life_s);
	/* A JSON Web Token: three base64url parts; nothing that could break out of a header. */
	if (rc == 0 && (!token[0] || strspn(token, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.=") !=
									 strlen(token)))
		rc = err_set(err, HCP_EINVAL, "id_token", "is not a token");
	if (rc == 0 && str_copy(b.value, sizeof(b.value), str_of(token)) < 0)
		rc = err_set(err, HCP_ERANGE, "id_token", "is longer than %d bytes", FEED_CRED_MAX - 1);
	json_decref(doc);
	if (rc < 0)
		return rc;
	double margin_s = life_s / 10 < 300 ? life_s / 10 : 300;
	b.expires_ns = now_ns + (int64_t)((life_s - margin_s) * 1e9);
	*ret = b;
	return 0;
}
