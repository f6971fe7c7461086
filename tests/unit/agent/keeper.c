/* The keeper with the real runtime as its child: this program again, started with "runtime". */
#include "agent/keeper.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/runtime_main.h"
#include "base/mem.h"
#include "http/http_client.h"
#include "test.h"

struct seen {
	int done, code, status;
	int ready, asleep, down;
	char tokens[8];
};

static void on_state(void *arg, enum keeper_state s)
{
	struct seen *w = arg;
	w->ready += s == KEEPER_READY;
	w->asleep += s == KEEPER_ASLEEP;
	w->down += s == KEEPER_DOWN;
}

static void on_done(void *arg, int code, const struct http_response *r, const struct err *err)
{
	struct seen *w = arg;
	w->done++;
	w->code = code;
	w->status = code == 0 ? r->status : 0;
	if (code < 0)
		return;
	struct str t = http_response_header(r, RUNTIME_TOKENS_HEADER);
	snprintf(w->tokens, sizeof(w->tokens), "%.*s", (int)t.n, t.p ? t.p : "");
}

static const char body[] = "{\"model\":\"hcp-generated-tiny\",\"input\":\"a\"}";

static int embed(struct keeper *k, struct seen *w)
{
	struct keeper_call *call;
	return keeper_embed(k, STR(body), on_done, w, &call, NULL);
}

static int pid(const struct keeper *k)
{
	struct keeper_stats s;
	keeper_stats(k, &s);
	return s.pid;
}

static void sleeps_wakes_and_hangs(void **state)
{
	int64_t before = mem_live();
	struct seen w = { 0 };
	struct loop *loop;
	struct keeper *k = NULL;
	struct stat st;
	char dir[] = "/tmp/hcp-keeper-XXXXXX", path[64];
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/s", dir);
	assert_int_equal(loop_new(NULL, &loop, NULL), 0);
	struct keeper_conf c = { .loop = loop, .program = "/proc/self/exe", .model_dir = HCP_TINY_MODEL, .socket = path,
		.call_ms = 5000, .on_state = on_state, .arg = &w };
	assert_int_equal(keeper_new(&c, &k, NULL), 0);
	assert_int_equal(embed(k, &w), HCP_EUNAVAIL);
	turn_until(loop, w.ready == 1);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0077, 0); /* for its owner only */
	assert_true(keeper_cpu_s(k) > 0);
	assert_int_equal(embed(k, &w), 0);
	turn_until(loop, w.done == 1);
	assert_int_equal(w.status, 200);
	assert_string_equal(w.tokens, "3");
	/* Wishes that change faster than they are fulfilled: the last one counts. */
	keeper_sleep(k);
	keeper_wake(k);
	keeper_sleep(k);
	turn_until(loop, keeper_state(k) == KEEPER_ASLEEP);
	turn_for(loop, 60);
	assert_int_equal(keeper_state(k), KEEPER_ASLEEP);
	assert_int_equal(embed(k, &w), HCP_EUNAVAIL);
	keeper_wake(k);
	turn_until(loop, keeper_state(k) == KEEPER_READY);
	/* Hanging: the request gets its answer, the process its end. */
	int hung = pid(k);
	assert_int_equal(kill(hung, SIGSTOP), 0);
	assert_int_equal(embed(k, &w), 0);
	turn_until(loop, w.done == 2);
	assert_int_equal(w.code, HCP_ETIMEOUT);
	turn_until(loop, w.down == 1);
	turn_until(loop, keeper_state(k) == KEEPER_READY);
	assert_int_not_equal(pid(k), hung);
	keeper_free(k);
	loop_free(loop);
	assert_int_equal(rmdir(dir), 0);
	assert_int_equal(mem_live(), before);
}

static void a_model_that_is_not_there(void **state)
{
	struct seen w = { 0 };
	struct loop *loop;
	struct keeper *k = NULL;
	struct keeper_stats s;
	char dir[] = "/tmp/hcp-keeper-XXXXXX", path[64];
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/s", dir);
	assert_int_equal(loop_new(NULL, &loop, NULL), 0);
	struct keeper_conf c = { .loop = loop, .program = "/proc/self/exe", .model_dir = "/nonexistent", .socket = path,
		.on_state = on_state, .arg = &w };
	assert_int_equal(keeper_new(&c, &k, NULL), 0);
	turn_until(loop, (keeper_stats(k, &s), s.exits >= 2)); /* tried again, and again */
	assert_string_equal(s.last_exit, "exit 1: config.json: /nonexistent/config.json: No such file or directory");
	assert_int_equal(w.ready, 0);
	keeper_free(k);
	loop_free(loop);
	assert_int_equal(rmdir(dir), 0);
}

int main(int argc, char **argv)
{
	if (argc > 1 && strcmp(argv[1], "runtime") == 0)
		return runtime_main(argc - 1, argv + 1);
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sleeps_wakes_and_hangs), cmocka_unit_test(a_model_that_is_not_there),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
