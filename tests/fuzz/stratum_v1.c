/* Whatever parses is written and parsed again to the same struct; results are read by every reader. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "wire/stratum_v1.h"

static void rewrite(const struct stratum_msg *m, struct buf *b)
{
	switch (m->method) {
	case STRATUM_NOTIFY: stratum_write_notify(b, &m->job); break;
	case STRATUM_SUBMIT: stratum_write_submit(b, 1, &m->submit); break;
	case STRATUM_CONFIGURE: stratum_write_configure(b, 1, &m->configure); break;
	case STRATUM_SUBSCRIBE: stratum_write_subscribe(b, 1, m->subscribe.agent, m->subscribe.session); break;
	case STRATUM_AUTHORIZE: stratum_write_authorize(b, 1, m->authorize.worker, m->authorize.password); break;
	case STRATUM_SET_DIFFICULTY: stratum_write_set_difficulty(b, m->difficulty); break;
	case STRATUM_SET_VERSION_MASK: stratum_write_set_version_mask(b, m->mask); break;
	case STRATUM_SET_EXTRANONCE: stratum_write_set_extranonce(b, &m->extranonce); break;
	case STRATUM_SHOW_MESSAGE: stratum_write_show_message(b, m->message); break;
	default: break;
	}
}

static int is_same(const struct stratum_msg *a, const struct stratum_msg *b)
{
	if (a->method != b->method)
		return 0;
	switch (a->method) {
	case STRATUM_NOTIFY:
		return !strcmp(a->job.id, b->job.id) && !memcmp(a->job.prevhash, b->job.prevhash, 32) &&
			a->job.coinb1_n == b->job.coinb1_n && !memcmp(a->job.coinb1, b->job.coinb1, a->job.coinb1_n) &&
			a->job.coinb2_n == b->job.coinb2_n && !memcmp(a->job.coinb2, b->job.coinb2, a->job.coinb2_n) &&
			a->job.n_branches == b->job.n_branches &&
			!memcmp(a->job.branches, b->job.branches, 32u * a->job.n_branches) &&
			a->job.version == b->job.version && a->job.ntime == b->job.ntime && a->job.clean == b->job.clean;
	case STRATUM_SUBMIT:
		return !strcmp(a->submit.worker, b->submit.worker) && a->submit.nonce == b->submit.nonce &&
			a->submit.extranonce2.n == b->submit.extranonce2.n &&
			a->submit.has_version_bits == b->submit.has_version_bits &&
			a->submit.version_bits == b->submit.version_bits;
	case STRATUM_SUBSCRIBE: return !strcmp(a->subscribe.agent, b->subscribe.agent);
	case STRATUM_AUTHORIZE: return !strcmp(a->authorize.password, b->authorize.password);
	case STRATUM_SET_DIFFICULTY: return a->difficulty == b->difficulty;
	case STRATUM_SET_VERSION_MASK: return a->mask == b->mask;
	case STRATUM_SHOW_MESSAGE: return !strcmp(a->message, b->message);
	default: return 1;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	static struct stratum_msg m, again;
	struct err err = { 0 };
	struct stratum_extranonce e;
	struct stratum_configure c;
	struct buf b;
	bool flag;
	int rc = stratum_parse((struct str){ (const char *)p, n }, &m, &err);
	if (rc < 0) {
		if (err.code != rc)
			abort();
		return 0;
	}
	if (m.kind == STRATUM_RESPONSE) {
		(void)!stratum_read_subscribe(m.response.result, &e, &err);
		(void)!stratum_read_configure(m.response.result, &c, &err);
		(void)!stratum_read_bool(m.response.result, &flag, &err);
		return 0;
	}
	buf_init(&b, 0);
	rewrite(&m, &b);
	if (b.n && b.n <= STRATUM_LINE_MAX &&
	    (stratum_parse((struct str){ b.data, b.n - 1 }, &again, &err) || !is_same(&m, &again)))
		abort();
	buf_release(&b);
	return 0;
}
