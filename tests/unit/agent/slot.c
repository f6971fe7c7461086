/* Versions of a model with the real runtime as children: this program again, started with "runtime". */
#include "agent/slot.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/runtime_main.h"
#include "base/mem.h"
#include "http/http_client.h"
#include "test.h"

struct world {
	struct loop *loop;
	struct slot *slot;
	char dir[32], model[64], state[64];
	int changes, flying, answered, lost;
	uint64_t order;
	char version[SLOT_VERSION_MAX], error[300], text[512]; /* text: the last answer's beginning */
};

static void on_change(void *arg, uint64_t order, const char *version, const char *error)
{
	struct world *w = arg;
	w->changes++;
	w->order = order;
	snprintf(w->version, sizeof(w->version), "%s", version);
	snprintf(w->error, sizeof(w->error), "%s", error);
}

static void shell(const struct world *w, const char *commands)
{
	char cmd[512];
	snprintf(cmd, sizeof(cmd), "set -e; cd %s; T=%s; %s", w->dir, HCP_TINY_MODEL, commands);
	assert_int_equal(system(cmd), 0); /* tidy: allow banned-call: folders and processes of a test */
}

static void open_slot(struct world *w)
{
	struct slot_conf c = { .loop = w->loop, .program = "/proc/self/exe", .model = "tiny", .model_dir = w->model,
		.state_dir = w->state, .on_change = on_change, .arg = w };
	assert_int_equal(slot_new(&c, &w->slot, NULL), 0);
	turn_until(w->loop, keeper_state(slot_keeper(w->slot)) == KEEPER_READY);
}

/* Version v2 has one layer less, so it answers otherwise; "broken" has half its weights. */
static void make(struct world *w)
{
	*w = (struct world){ .dir = "/tmp/hcp-slot-XXXXXX" };
	assert_non_null(mkdtemp(w->dir));
	snprintf(w->model, sizeof(w->model), "%s/tiny", w->dir);
	snprintf(w->state, sizeof(w->state), "%s/state", w->dir);
	shell(w, "mkdir -p tiny/versions state; cp $T/* tiny; cp -r $T tiny/versions/v2; cp -r $T tiny/versions/broken;"
		" sed -i 's/\"num_hidden_layers\": 2/\"num_hidden_layers\": 1/' tiny/versions/v2/config.json;"
		" head -c 50000 $T/model.safetensors > tiny/versions/broken/model.safetensors; mkdir tiny/versions/empty");
	assert_int_equal(loop_new(NULL, &w->loop, NULL), 0);
	open_slot(w);
}

static void unmake(struct world *w)
{
	slot_free(w->slot);
	loop_free(w->loop);
	shell(w, "ls state | grep -q sock && exit 1; cd /; rm -r $OLDPWD");
}

static void on_answer(void *arg, int code, const struct http_response *r, const struct err *err)
{
	struct world *w = arg;
	w->flying--;
	if (code == 0 && r->status == 200) {
		w->answered++;
		snprintf(w->text, sizeof(w->text), "%.*s", (int)(r->body.n < 400 ? r->body.n : 400), r->body.p);
	} else {
		w->lost++;
	}
}

static void ask(struct world *w)
{
	struct keeper_call *call;
	if (keeper_embed(slot_keeper(w->slot), STR("{\"model\":\"tiny\",\"input\":\"a\"}"), on_answer, w, &call, NULL) < 0)
		w->lost++;
	else
		w->flying++;
}

static void answer_of(struct world *w, char ret[512])
{
	int before = w->answered;
	ask(w);
	turn_until(w->loop, w->answered == before + 1);
	memcpy(ret, w->text, sizeof(w->text));
}

/* Requests all the while; none may be lost. */
static void change_under_load(struct world *w, uint64_t order, const char *version, const char *digest)
{
	int before = w->changes;
	slot_change(w->slot, order, version, digest, WAIT_MS);
	while (w->changes == before) {
		while (w->flying < 4)
			ask(w);
		loop_turn(w->loop, 1);
	}
	for (int i = 0; i < 50; i++) {
		ask(w);
		loop_turn(w->loop, 1);
	}
	turn_until(w->loop, w->flying == 0);
	assert_int_equal(w->order, order);
	assert_int_equal(w->lost, 0);
}

static void a_change_loses_no_request(void **state)
{
	struct world w;
	char base[512], v2[512], again[512], digest[MODEL_DIGEST_MAX];
	int64_t before = mem_live();
	struct keeper_stats st;
	make(&w);
	assert_string_equal(slot_version(w.slot), "base");
	answer_of(&w, base);
	assert_int_equal(model_digest(w.model, digest, NULL), 0);
	keeper_stats(slot_keeper(w.slot), &st);
	assert_string_equal(st.digest, digest);
	snprintf(w.text, sizeof(w.text), "%s/versions/v2", w.model);
	assert_int_equal(model_digest(w.text, digest, NULL), 0);
	assert_string_not_equal(st.digest, digest);
	change_under_load(&w, 1, "v2", digest);
	assert_string_equal(w.error, "");
	assert_string_equal(slot_version(w.slot), "v2");
	answer_of(&w, v2);
	assert_string_not_equal(base, v2);
	/* It is remembered; the one after it is the one before. */
	slot_free(w.slot);
	open_slot(&w);
	assert_string_equal(slot_version(w.slot), "v2");
	answer_of(&w, again);
	assert_string_equal(again, v2);
	change_under_load(&w, 2, "base", "");
	assert_string_equal(w.error, "");
	answer_of(&w, again);
	assert_string_equal(again, base);
	/* The same once more is nothing to do. */
	slot_change(w.slot, 3, "base", "", WAIT_MS);
	assert_int_equal(w.order, 3);
	assert_string_equal(w.error, "");
	unmake(&w);
	assert_int_equal(mem_live(), before);
}

static void refused(struct world *w, uint64_t order, const char *version, const char *digest, const char *why)
{
	change_under_load(w, order, version, digest);
	if (!strstr(w->error, why))
		fail_msg("\"%s\" is not in \"%s\"", why, w->error);
	assert_string_equal(slot_version(w->slot), "base");
	assert_false(slot_changing(w->slot));
}

static void what_does_not_work_changes_nothing(void **state)
{
	struct world w;
	char names[SLOT_HELD_MAX][SLOT_VERSION_MAX];
	make(&w);
	assert_int_equal(slot_held(w.slot, names), 3);
	assert_string_equal(names[0], "base");
	assert_string_equal(names[1], "broken");
	assert_string_equal(names[2], "v2");
	refused(&w, 1, "v3", "", "does not hold version v3");
	refused(&w, 2, "empty", "", "does not hold version empty");
	refused(&w, 3, "../v2", "", "does not hold version");
	refused(&w, 4, "v2", "sha256:00", "not sha256:00");
	refused(&w, 5, "base", "sha256:00", "not sha256:00");
	refused(&w, 6, "broken", "", "its runtime ended: exit 1: encoder.layer.0.intermediate.dense.weight: data_offsets");
	slot_change(w.slot, 7, "v2", "", 1);
	turn_until(w.loop, w.order == 7);
	assert_non_null(strstr(w.error, "before the deadline"));
	/* The version on its way out of memory: a later order takes its place, and nobody hears of the first. */
	int before = w.changes;
	slot_change(w.slot, 8, "broken", "", WAIT_MS);
	slot_change(w.slot, 9, "v2", "", WAIT_MS);
	turn_until(w.loop, w.order == 9);
	assert_int_equal(w.changes, before + 1);
	assert_string_equal(w.error, "");
	/* What the state folder remembers may be gone, or rubbish. */
	slot_free(w.slot);
	shell(&w, "rm -r tiny/versions/v2");
	open_slot(&w);
	assert_string_equal(slot_version(w.slot), "base");
	slot_free(w.slot);
	shell(&w, "printf '../../etc' > state/model-version");
	open_slot(&w);
	assert_string_equal(slot_version(w.slot), "base");
	unmake(&w);
}

static void a_killed_candidate_harms_nobody(void **state)
{
	struct world w;
	make(&w);
	struct keeper_stats st;
	slot_change(w.slot, 1, "v2", "", WAIT_MS);
	keeper_stats(slot_keeper(w.slot), &st);
	/* Its process is the youngest child of ours: the pid after the serving one's, found by its command line. */
	char cmd[160];
	snprintf(cmd, sizeof(cmd), "pkill -KILL -P %d -f '[r]untime --model .*/versions/v2'", (int)getpid());
	assert_int_equal(system(cmd), 0); /* tidy: allow banned-call: folders and processes of a test */
	turn_until(w.loop, w.order == 1);
	assert_non_null(strstr(w.error, "signal 9"));
	assert_string_equal(slot_version(w.slot), "base");
	unmake(&w);
}

static void a_sleeping_node_wakes_with_the_other_version(void **state)
{
	struct world w;
	make(&w);
	keeper_sleep(slot_keeper(w.slot));
	turn_until(w.loop, keeper_state(slot_keeper(w.slot)) == KEEPER_ASLEEP);
	slot_change(w.slot, 1, "v2", "", WAIT_MS);
	turn_until(w.loop, w.order == 1);
	assert_string_equal(w.error, "");
	turn_until(w.loop, keeper_state(slot_keeper(w.slot)) == KEEPER_ASLEEP);
	keeper_wake(slot_keeper(w.slot));
	turn_until(w.loop, keeper_state(slot_keeper(w.slot)) == KEEPER_READY);
	assert_string_equal(slot_version(w.slot), "v2");
	unmake(&w);
}

int main(int argc, char **argv)
{
	if (argc > 1 && strcmp(argv[1], "runtime") == 0)
		return runtime_main(argc - 1, argv + 1);
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_change_loses_no_request),
		cmocka_unit_test(what_does_not_work_changes_nothing),
		cmocka_unit_test(a_killed_candidate_harms_nobody),
		cmocka_unit_test(a_sleeping_node_wakes_with_the_other_version),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
