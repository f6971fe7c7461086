/* The first byte chooses the kind of source; the rest is what its server answers. What is read is finite or refused. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "feed/b2c.h"
#include "feed/kind.h"
#include "feed/quantity.h"
#include "wire/jsonv.h"

#define NOW_NS (INT64_C(1719835200) * 1000000000) /* 2024-07-01T12:00:00Z */

static void set(struct feed_source_conf *c, const struct feed_kind *kind)
{
	*c = (struct feed_source_conf){ .kind = kind,
		.location = "HB_WEST",
		.region = "eastus",
		.gpus = 8,
		.scale = 1,
		.min = -251,
		.max = 1e20,
		.max_jump = 4,
		.stale_ms = 1000,
		.spot = true,
		.pick = FEED_PICK_MEDIAN };
	snprintf(c->url, sizeof(c->url), "%s", kind->url ? kind->url : "https://h/");
	snprintf(
		c->instance, sizeof(c->instance), "%s", kind == &feed_aws_spot ? "p5.48xlarge" : "Standard_ND96isr_H100_v5");
	snprintf(c->path, sizeof(c->path), "/*/v");
	snprintf(c->time_path, sizeof(c->time_path), "/*/t");
	c->interval_s = kind == &feed_json_any ? 900 : 0;
	if (kind->check && kind->check(c, NULL) < 0)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	static struct feed_source_conf c;
	static struct feed_answer a;
	static struct feed_member m;
	static struct feed_bearer bearer;
	static int ready;
	size_t kinds = 0, good;
	if (!ready++)
		jsonv_setup();
	if (n == 0)
		return 0;
	while (feed_kind_at(kinds))
		kinds++;
	const struct feed_kind *kind = feed_kind_at(p[0] % (kinds + 1));
	struct str body = { (const char *)p + 1, n - 1 };
	struct err err = { 0 };
	if (!kind) {
		if (feed_b2c_answer(body, NOW_NS, &bearer, &err) == 0 && (!bearer.value[0] || bearer.expires_ns <= NOW_NS))
			abort();
		return 0;
	}
	set(&c, kind);
	const struct feed_turn t = { .conf = &c, .now_ns = NOW_NS, .page = 1, .next = "" };
	a.n = 0;
	a.more = false;
	a.next[0] = 0;
	int rc = kind->traits & FEED_LIVE ? kind->message(&t, body, &a, &err) : kind->answer(&t, body, &a, &err);
	if (rc < 0) {
		if (err.code != rc)
			abort();
		return 0;
	}
	if (a.n > FEED_READINGS_MAX)
		abort();
	m = (struct feed_member){ .conf = &c };
	(void)!feed_quantity_offer(&m, a.reading, a.n, NOW_NS, &good, &err);
	for (size_t i = 0; i < m.n_held; i++)
		if (!(m.held[i].value >= c.min && m.held[i].value <= c.max) || m.held[i].observed_at_ns > NOW_NS)
			abort();
	feed_answer_pick(&a, c.pick);
	return 0;
}
