#include "feed/retry.h"

#include "base/money.h"
#include "base/num.h"
#include "base/timefmt.h"

static int64_t most(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

static int64_t least(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

void feed_retry_init(struct feed_retry *r, int64_t every_ms)
{
	*r = (struct feed_retry){ .every_ms = every_ms };
	breaker_init(&r->breaker, (struct breaker_conf){ FEED_RETRY_FAILURES, most(10000, 6 * every_ms) * NS_PER_MS,
								  most(30000, least(every_ms, 600000)) * NS_PER_MS });
}

int64_t feed_retry_ok(struct feed_retry *r, int64_t now_ns)
{
	breaker_success(&r->breaker);
	r->failed = 0;
	r->not_before_ns = 0;
	return r->every_ms;
}

int64_t feed_retry_failed(struct feed_retry *r, int64_t now_ns, int64_t retry_after_ms, bool limited, struct rng *rng)
{
	unsigned doublings = r->failed < 20 ? r->failed : 20;
	int64_t wait_ms = least(FEED_RETRY_FIRST_MS << doublings, most(r->every_ms, FEED_RETRY_FIRST_MS));
	/* Sources that broke together must not come back together. */
	wait_ms = wait_ms / 2 + (int64_t)rng_below(rng, (uint64_t)wait_ms / 2 + 1);
	r->failed++;
	if (retry_after_ms >= 0) {
		retry_after_ms = least(retry_after_ms, FEED_RETRY_AFTER_MAX_MS);
		r->not_before_ns = now_ns + retry_after_ms * NS_PER_MS;
		wait_ms = most(wait_ms, retry_after_ms + (int64_t)rng_below(rng, 250));
	}
	if (limited && r->breaker.state != BREAKER_HALF_OPEN)
		return wait_ms;
	breaker_failure(&r->breaker, now_ns);
	return wait_ms;
}

int64_t feed_retry_may(struct feed_retry *r, int64_t now_ns)
{
	int64_t until_ns = r->not_before_ns;
	if (r->breaker.state == BREAKER_OPEN)
		until_ns = most(until_ns, r->breaker.open_until_ns);
	if (now_ns < until_ns)
		return (until_ns - now_ns) / NS_PER_MS + 1;
	/* Half open already: the trial before this one has come to no end that we were told of. */
	return breaker_allow(&r->breaker, now_ns) || r->breaker.state == BREAKER_HALF_OPEN ? 0 : FEED_RETRY_FIRST_MS;
}

bool feed_retry_is_open(const struct feed_retry *r)
{
	return r->breaker.state != BREAKER_CLOSED;
}

static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";

/* "Sun, 06 Nov 1994 08:49:37 GMT" */
static int http_date(struct str s, int64_t *ret_ns)
{
	char iso[24];
	if (s.n != 29 || memcmp(s.p + 25, " GMT", 4) != 0 || s.p[3] != ',')
		return HCP_EPARSE;
	const char *m = memmem(months, sizeof(months) - 1, s.p + 8, 3);
	if (!m || (m - months) % 3)
		return HCP_EPARSE;
	int month = (int)(m - months) / 3 + 1;
	memcpy(iso, s.p + 12, 4);
	iso[4] = '-';
	iso[5] = (char)('0' + month / 10);
	iso[6] = (char)('0' + month % 10);
	iso[7] = '-';
	memcpy(iso + 8, s.p + 5, 2);
	iso[10] = 'T';
	memcpy(iso + 11, s.p + 17, 8);
	return timefmt_parse((struct str){ iso, 19 }, ret_ns);
}

int64_t feed_retry_after_ms(struct str value, int64_t now_ns)
{
	int64_t v;
	struct str s = str_trim(value);
	if (s.n && num_parse_i64(s, &v) == 0)
		return v < 0 ? -1 : least(v, FEED_RETRY_AFTER_MAX_MS / 1000) * 1000;
	if (http_date(s, &v) < 0)
		return -1;
	return v <= now_ns ? 0 : least((v - now_ns) / NS_PER_MS, FEED_RETRY_AFTER_MAX_MS);
}
