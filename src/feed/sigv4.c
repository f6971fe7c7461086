#include "feed/sigv4.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <string.h>

#include "base/hex.h"
#include "base/timefmt.h"

enum { SUM = 32 };

static int hash_hex(struct str data, char hex[2 * SUM + 1])
{
	unsigned char sum[EVP_MAX_MD_SIZE];
	unsigned int n = 0;
	if (EVP_Digest(data.p ? data.p : "", data.n, sum, &n, EVP_sha256(), NULL) != 1 || n != SUM)
		return HCP_EINTERNAL;
	hex_encode(hex, sum, SUM);
	return 0;
}

static int mac(const void *key, size_t key_n, const char *text, unsigned char sum[EVP_MAX_MD_SIZE])
{
	unsigned int n = 0;
	return HMAC(EVP_sha256(), key, (int)key_n, (const unsigned char *)text, strlen(text), sum, &n) && n == SUM
			   ? 0
			   : HCP_EINTERNAL;
}

static void put_date(char date[SIGV4_DATE_MAX], int64_t now_ns)
{
	char iso[TIMEFMT_MAX];
	timefmt_format(iso, now_ns); /* 2015-08-30T12:36:00… */
	snprintf(date, SIGV4_DATE_MAX, "%.4s%.2s%.2sT%.2s%.2s%.2sZ", iso, iso + 5, iso + 8, iso + 11, iso + 14, iso + 17);
}

static int canonical(const struct sigv4 *s, const char *date, struct buf *b)
{
	char body[2 * SUM + 1];
	int rc = hash_hex(s->body, body);
	buf_printf(
		b, "%s\n/\n%s\ncontent-type:%s\nhost:%s\nx-amz-date:%s\n", s->method, s->query, s->content_type, s->host, date);
	if (s->session_token)
		buf_printf(b, "x-amz-security-token:%s\n", s->session_token);
	buf_printf(b, "\ncontent-type;host;x-amz-date%s\n%s", s->session_token ? ";x-amz-security-token" : "", body);
	return rc < 0 ? rc : buf_failed(b) ? HCP_ENOMEM : 0;
}

static int signature(const struct sigv4 *s, const char *day, const char *to_sign, char hex[2 * SUM + 1])
{
	unsigned char k[EVP_MAX_MD_SIZE];
	char first[4 + 256];
	if ((size_t)snprintf(first, sizeof(first), "AWS4%s", s->secret_access_key) >= sizeof(first))
		return HCP_ERANGE;
	int rc = mac(first, strlen(first), day, k);
	const char *const parts[] = { s->region, s->service, "aws4_request", to_sign };
	for (size_t i = 0; rc == 0 && i < sizeof(parts) / sizeof(parts[0]); i++) {
		unsigned char next[EVP_MAX_MD_SIZE];
		rc = mac(k, SUM, parts[i], next);
		memcpy(k, next, SUM);
	}
	if (rc == 0)
		hex_encode(hex, k, SUM);
	explicit_bzero(first, sizeof(first));
	explicit_bzero(k, sizeof(k));
	return rc;
}

int sigv4_sign(const struct sigv4 *s, char date[SIGV4_DATE_MAX], char auth[SIGV4_AUTH_MAX], struct err *err)
{
	char day[9], hash[2 * SUM + 1], sig[2 * SUM + 1], scope[160], to_sign[sizeof(scope) + 2 * SUM + 64];
	struct buf b;
	put_date(date, s->now_ns);
	memcpy(day, date, 8);
	day[8] = 0;
	buf_init(&b, 64 << 10);
	int rc = canonical(s, date, &b);
	if (rc == 0)
		rc = hash_hex(buf_str(&b), hash);
	buf_release(&b);
	int n = snprintf(scope, sizeof(scope), "%s/%s/%s/aws4_request", day, s->region, s->service);
	if (rc == 0 && (n < 0 || (size_t)n >= sizeof(scope)))
		rc = HCP_ERANGE;
	if (rc == 0) {
		snprintf(to_sign, sizeof(to_sign), "AWS4-HMAC-SHA256\n%s\n%s\n%s", date, scope, hash);
		rc = signature(s, day, to_sign, sig);
	}
	if (rc < 0)
		return err_set(err, rc, "credentials", "the request cannot be signed: a key or the region is too long");
	n = snprintf(auth, SIGV4_AUTH_MAX,
		"AWS4-HMAC-SHA256 Credential=%s/%s, SignedHeaders=content-type;host;x-amz-date%s, Signature=%s",
		s->access_key_id, scope, s->session_token ? ";x-amz-security-token" : "", sig);
	return n < 0 || n >= SIGV4_AUTH_MAX ? err_set(err, HCP_ERANGE, "credentials", "the key's id is too long") : 0;
}
