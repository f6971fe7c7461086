/*
 * The Bitcoin network, from mempool.space or an instance of one's own (the same REST API, github.com/mempool/mempool):
 *   /api/v1/mining/hashrate/3d         {"currentDifficulty": …}
 *   /api/v1/mining/blocks/fees/24h     [{"avgHeight", "timestamp", "avgFees": satoshis of a block}, …]
 *   /api/blocks/tip/height             the number as text
 */
#include <stdio.h>

#include "base/num.h"
#include "feed/field.h"
#include "feed/kind.h"

#define SATS_PER_BTC 1e8

static int make_get(const struct feed_turn *t, struct feed_request *r, const char *path, struct err *err)
{
	size_t n = strlen(t->conf->url);
	while (n && t->conf->url[n - 1] == '/')
		n--;
	r->method = "GET";
	int wrote = snprintf(r->url, sizeof(r->url), "%.*s%s", (int)n, t->conf->url, path);
	return wrote < 0 || (size_t)wrote >= sizeof(r->url) ? err_set(err, HCP_ERANGE, "url", "is too long") : 0;
}

static int difficulty_request(const struct feed_turn *t, struct feed_request *r, struct err *err)
{
	return make_get(t, r, "/api/v1/mining/hashrate/3d", err);
}

static int difficulty_answer(const struct feed_turn *t, struct str body, struct feed_answer *ret, struct err *err)
{
	json_t *doc = NULL;
	double v;
	int rc = feed_json(body, &doc, err);
	if (rc == 0)
		rc = feed_number(json_object_get(doc, "currentDifficulty"), "currentDifficulty", &v, err);
	if (rc == 0)
		rc = feed_answer_add(ret, (struct feed_reading){ .value = v, .observed_at_ns = t->now_ns }, err);
	json_decref(doc);
	return rc;
}

static int fees_request(const struct feed_turn *t, struct feed_request *r, struct err *err)
{
	return make_get(t, r, "/api/v1/mining/blocks/fees/24h", err);
}

/* The average of a day's blocks, known now. */
static int fees_answer(const struct feed_turn *t, struct str body, struct feed_answer *ret, struct err *err)
{
	json_t *doc = NULL, *block;
	size_t i;
	double sats;
	int rc = feed_json(body, &doc, err);
	if (rc == 0 && (!json_is_array(doc) || json_array_size(doc) == 0))
		rc = err_set(err, HCP_EINVAL, "answer", "is not a list of blocks");
	if (rc == 0)
		json_array_foreach(doc, i, block)
		{
			rc = feed_number(json_object_get(block, "avgFees"), "avgFees", &sats, err);
			if (rc == 0)
				rc = feed_answer_add(
					ret, (struct feed_reading){ .value = sats / SATS_PER_BTC, .observed_at_ns = t->now_ns }, err);
			if (rc < 0)
				break;
		}
	json_decref(doc);
	return rc;
}

static int fees_check(struct feed_source_conf *c, struct err *err)
{
	c->pick = FEED_PICK_MEAN; /* a day is one number */
	return 0;
}

static int height_request(const struct feed_turn *t, struct feed_request *r, struct err *err)
{
	return make_get(t, r, "/api/blocks/tip/height", err);
}

static int height_answer(const struct feed_turn *t, struct str body, struct feed_answer *ret, struct err *err)
{
	int64_t height;
	struct str s = str_trim(body);
	if (num_parse_i64(s, &height) < 0 || height < 0)
		return err_set(err, HCP_EINVAL, "answer", "is not a block height");
	return feed_answer_add(ret, (struct feed_reading){ .value = (double)height, .observed_at_ns = t->now_ns }, err);
}

#define MINUTE_MS 60000

const struct feed_kind feed_mempool_difficulty = {
	.name = "mempool-difficulty",
	.symbols = "difficulty",
	.url = "https://mempool.space",
	.takes = "",
	.traits = FEED_INSTANT,
	.every_ms = 10 * MINUTE_MS,
	.stale_ms = 120 * MINUTE_MS,
	.request = difficulty_request,
	.answer = difficulty_answer,
	.about = "present mining difficulty",
};
const struct feed_kind feed_mempool_fees = {
	.name = "mempool-fees",
	.symbols = "block_fees_btc",
	.url = "https://mempool.space",
	.takes = "",
	.traits = FEED_INSTANT | FEED_PICKS,
	.every_ms = 5 * MINUTE_MS,
	.stale_ms = 60 * MINUTE_MS,
	.check = fees_check,
	.request = fees_request,
	.answer = fees_answer,
	.about = "fees of a block, mean of 24 hours",
};
const struct feed_kind feed_mempool_height = {
	.name = "mempool-height",
	.symbols = "block_height",
	.url = "https://mempool.space",
	.takes = "",
	.traits = FEED_INSTANT,
	.every_ms = MINUTE_MS,
	.stale_ms = 60 * MINUTE_MS,
	.request = height_request,
	.answer = height_answer,
	.about = "height of the chain's tip",
};
