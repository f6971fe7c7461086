#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "infer/builtin.h"

/* A driver whose verbs end when the test says so. */
struct slow {
	struct runtime base;
	int begun;
};

static int slow_verb(struct runtime *r, struct err *err)
{
	((struct slow *)r)->begun++;
	return 0;
}

static int slow_sleep(struct runtime *r, enum runtime_sleep how, struct err *err)
{
	return slow_verb(r, err);
}

static int slow_wake(struct runtime *r, struct err *err)
{
	return err_set(err, HCP_EIO, "port", "refused");
}

static void slow_free(struct runtime *r)
{
}

static const struct runtime_ops slow_ops = {
	.name = "slow", .start = slow_verb, .warm = slow_verb, .sleep = slow_sleep,
	.wake = slow_wake, .stop = slow_verb, .free = slow_free,
};

struct seen {
	int calls, rc;
};

static void note(void *arg, int rc, const struct err *err)
{
	struct seen *s = arg;
	s->calls++;
	s->rc = rc;
	assert_int_equal(err->code, rc);
}

static void verbs_follow_the_table(void **state)
{
	struct slow s = { 0 };
	struct runtime *r = &s.base;
	struct seen a = { 0 }, b = { 0 };
	struct err err = { 0 };
	runtime_init(r, &slow_ops);
	assert_int_equal(runtime_warm(r, note, &a, &err), HCP_ESTATE);
	assert_string_equal(err.text, "warm is not possible while stopped");
	assert_int_equal(runtime_start(r, note, &a, &err), 0);
	assert_int_equal(runtime_warm(r, note, &b, &err), HCP_ESTATE);
	assert_string_equal(err.text, "warm must wait for start to end");
	assert_int_equal(a.calls, 0);
	runtime_finish(r, RUNTIME_WARM, 0, NULL); /* not the verb under way */
	assert_int_equal(r->state, RUNTIME_STOPPED);
	runtime_finish(r, RUNTIME_START, 0, NULL);
	assert_int_equal(a.calls, 1);
	assert_int_equal(r->state, RUNTIME_COLD);
	assert_int_equal(runtime_request_begin(r, &err), HCP_ESTATE);
	assert_int_equal(runtime_warm(r, note, &a, &err), 0);
	runtime_finish(r, RUNTIME_WARM, 0, NULL);
	assert_int_equal(r->state, RUNTIME_READY);
	assert_int_equal(runtime_embed(r, NULL, NULL, NULL, &err), HCP_EUNSUPPORTED);

	/* Drain waits for what is in flight and lets nothing new in. */
	assert_int_equal(runtime_request_begin(r, &err), 0);
	assert_int_equal(runtime_sleep(r, RUNTIME_SLEEP_LIGHT, note, &b, &err), HCP_ESTATE);
	assert_int_equal(runtime_drain(r, note, &b, &err), 0);
	assert_int_equal(b.calls, 0);
	assert_int_equal(runtime_request_begin(r, &err), HCP_ESTATE);
	runtime_request_end(r, true, 5);
	assert_int_equal(b.calls, 1);
	assert_int_equal(r->state, RUNTIME_DRAINED);

	assert_int_equal(runtime_sleep(r, RUNTIME_SLEEP_LIGHT, note, &b, &err), 0);
	runtime_finish(r, RUNTIME_SLEEP, 0, NULL);
	assert_int_equal(runtime_wake(r, note, &b, &err), 0); /* the driver refuses: told through done */
	assert_int_equal(b.rc, HCP_EIO);
	assert_int_equal(r->state, RUNTIME_FAILED);
	struct runtime_health h;
	runtime_health(r, &h);
	assert_false(h.serving);
	assert_int_equal(h.tokens, 5);
	assert_int_equal(h.requests, 1);

	/* Stop overtakes; the late end of what it overtook changes nothing. */
	struct seen c = { 0 }, d = { 0 };
	assert_int_equal(runtime_start(r, note, &c, &err), 0);
	assert_int_equal(runtime_stop(r, note, &d, &err), 0);
	assert_int_equal(c.rc, HCP_ECANCELED);
	assert_int_equal(runtime_stop(r, note, &d, &err), HCP_ESTATE);
	runtime_finish(r, RUNTIME_START, 0, NULL);
	assert_int_equal(r->verb, RUNTIME_STOP);
	runtime_finish(r, RUNTIME_STOP, 0, NULL);
	assert_int_equal(d.calls, 1);
	assert_int_equal(r->state, RUNTIME_STOPPED);
	runtime_free(r);
}

static int embed(struct runtime *r, const char *body, struct buf *out, uint64_t *tokens, struct err *err)
{
	struct arena a;
	struct openai_embeddings req;
	arena_init(&a, 1024, 0);
	buf_clear(out);
	int rc = openai_parse_embeddings(&req, str_of(body), 4096, &a, err);
	if (rc == 0)
		rc = runtime_embed(r, &req, out, tokens, err);
	arena_release(&a);
	return rc;
}

static void builtin_serves_sleeps_and_wakes(void **state)
{
	static const char body[] = "{\"model\":\"hcp-generated-tiny\",\"input\":[\"hello world\",\"power price\"]}";
	int64_t live = mem_live();
	struct builtin_opts opts = { .dir = HCP_TINY_MODEL };
	struct runtime *r = NULL;
	struct seen s = { 0 };
	struct err err = { 0 };
	struct buf first, again;
	uint64_t tokens = 0;
	buf_init(&first, 0);
	buf_init(&again, 0);
	assert_int_equal(builtin_new(&opts, &r, &err), 0);
	assert_int_equal(embed(r, body, &first, &tokens, &err), HCP_ESTATE);
	assert_int_equal(runtime_start(r, note, &s, &err), 0);
	assert_int_equal(runtime_warm(r, note, &s, &err), 0);
	assert_int_equal(s.calls, 2);
	assert_int_equal(s.rc, 0);
	assert_int_equal(embed(r, body, &first, &tokens, &err), 0);
	assert_int_equal(tokens, 8);
	assert_int_equal(embed(r, "{\"model\":\"gpt\",\"input\":\"x\"}", &again, &tokens, &err), HCP_ENOTFOUND);
	assert_string_equal(err.field, "model");
	assert_int_equal(embed(r, "{\"model\":\"hcp-generated-tiny\",\"input\":\"x\",\"dimensions\":8}", &again, &tokens,
			       &err),
			 HCP_EINVAL);
	assert_int_equal(embed(r, "{\"model\":\"hcp-generated-tiny\",\"input\":[[1],[99999]]}", &again, &tokens, &err),
			 HCP_EINVAL);
	assert_string_equal(err.field, "input[1][0]");
	assert_int_equal(again.n, 0);

	struct runtime_health awake, light, deep;
	runtime_health(r, &awake);
	assert_true(awake.serving);
	assert_int_equal(awake.requests, 4);
	assert_int_equal(awake.failures, 3);
	for (int how = RUNTIME_SLEEP_LIGHT; how <= RUNTIME_SLEEP_DEEP; how++) {
		assert_int_equal(runtime_sleep(r, (enum runtime_sleep)how, note, &s, &err), 0);
		runtime_health(r, how == RUNTIME_SLEEP_LIGHT ? &light : &deep);
		assert_int_equal(embed(r, body, &again, &tokens, &err), HCP_ESTATE);
		assert_int_equal(runtime_wake(r, note, &s, &err), 0);
		assert_int_equal(s.rc, 0);
		assert_int_equal(embed(r, body, &again, &tokens, &err), 0);
		assert_string_equal(again.data, first.data);
	}
	assert_true(awake.resident_bytes > light.resident_bytes && light.resident_bytes > 0);
	assert_int_equal(deep.resident_bytes, 0);
	assert_int_equal(runtime_stop(r, note, &s, &err), 0);
	assert_null(builtin_info(r));
	runtime_free(r);
	buf_release(&first);
	buf_release(&again);
	assert_int_equal(mem_live(), live);
}

static void builtin_start_fails_into_failed(void **state)
{
	struct builtin_opts opts = { .dir = "/nonexistent" };
	struct runtime *r = NULL;
	struct seen s = { 0 };
	assert_int_equal(builtin_new(&opts, &r, NULL), 0);
	assert_int_equal(runtime_start(r, note, &s, NULL), 0);
	assert_int_equal(s.rc, HCP_ENOTFOUND);
	assert_int_equal(r->state, RUNTIME_FAILED);
	assert_int_equal(runtime_wake(r, note, &s, NULL), HCP_ESTATE);
	runtime_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(verbs_follow_the_table),
		cmocka_unit_test(builtin_serves_sleeps_and_wakes),
		cmocka_unit_test(builtin_start_fails_into_failed),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
