/* Rollouts of model versions against nodes that answer, refuse, forget and die. */
#include "rig.h"

#include "services/orchestrator/models.h"
#include "services/orchestrator/orchestrator.h"

#define NODES 6
#define EIGHT(c) c c c c c c c c
#define DIGEST(c) "sha256:" EIGHT(EIGHT(c))

static const Hcp__Principal admin = { PROTOBUF_C_MESSAGE_INIT(&hcp__principal__descriptor), "usr-3", "",
	"admin@mara.com", HCP__ROLE__ADMIN, 0 };

struct fake {
	char id[8], version[16];
	const char *held;    /* one besides base; NULL: none */
	const char *refuses; /* a version; NULL: none */
	uint64_t order;
	bool failed, gone, deaf;
	int told;
};

struct world {
	struct rig r;
	struct fake node[NODES];
	int n;
	bool hold_back; /* nodes hear orders, but do not carry them out */
};

static void report_as(struct world *w, struct fake *f, const char *state)
{
	struct msg *m = msg_new(MSG_MODEL_REPORT);
	Hcp__ModelReport *p = (Hcp__ModelReport *)m->body;
	const char **held = arena_alloc(&m->arena, 2 * sizeof(*held));
	held[0] = "base";
	held[1] = f->held;
	p->node_id = f->id;
	p->model = "mini";
	p->version = f->version;
	p->digest = strcmp(f->version, "base") ? DIGEST("2") : DIGEST("1");
	p->held = held;
	p->n_held = f->held ? 2 : 1;
	p->order = f->order;
	p->state = state;
	p->error = strcmp(state, "failed") ? "" : "its runtime ended: signal 9";
	svc_post(w->r.svc, m);
	rig_run(&w->r);
}

static void report(struct world *w, struct fake *f)
{
	report_as(w, f, f->failed ? "failed" : "serving");
}

/* What was ordered since the last call reaches the nodes; how many orders it was. */
static int deliver(struct world *w)
{
	struct bus_rec *rec[256];
	uint64_t from = w->r.read_from;
	int got, orders = 0;
	while ((got = bus_read(w->r.bus, from, UINT64_MAX, 256, rec, &from, NULL)) > 0) {
		for (int i = 0; i < got; i++) {
			struct msg *m;
			assert_int_equal(msg_unpack(rec[i]->payload, &m, NULL), 0);
			const Hcp__ModelCommand *c = (const Hcp__ModelCommand *)m->body;
			for (int k = 0; m->type == MSG_MODEL_COMMAND && k < w->n; k++) {
				struct fake *f = &w->node[k];
				if (strcmp(f->id, c->node_id) != 0)
					continue;
				orders++;
				f->told++;
				assert_true(strcmp(c->version, "v2") || strcmp(c->digest, DIGEST("2")) == 0);
				if (f->deaf || f->gone || c->order < f->order)
					continue;
				f->order = c->order;
				f->failed = f->refuses && strcmp(f->refuses, c->version) == 0;
				if (!f->failed && !w->hold_back)
					snprintf(f->version, sizeof(f->version), "%s", c->version);
			}
			msg_free(m);
			bus_rec_unref(rec[i]);
		}
		w->r.read_from = from;
	}
	return orders;
}

/* Orders and answers to and fro until nothing is said any more. */
static void settle(struct world *w)
{
	while (deliver(w))
		for (int k = 0; k < w->n; k++)
			if (!w->node[k].gone)
				report(w, &w->node[k]);
}

static void pass(struct world *w, int seconds)
{
	for (int s = 0; s < seconds; s += 5) {
		rig_pass(&w->r, 5 * NS_PER_S);
		settle(w);
		if (s % 30 == 0)
			for (int k = 0; k < w->n; k++)
				if (!w->node[k].gone)
					report(w, &w->node[k]);
	}
}

static void init(struct world *w, int n)
{
	*w = (struct world){ .n = n };
	rig_init(&w->r, &orchestrator_def, NULL);
	for (int i = 0; i < n; i++) {
		struct fake *f = &w->node[i];
		snprintf(f->id, sizeof(f->id), "n%d", i);
		snprintf(f->version, sizeof(f->version), "base");
		f->held = "v2";
		report(w, f);
	}
}

static Hcp__Model *order(struct world *w, unsigned type, const char *version, const char *digest)
{
	struct msg *m = msg_new(type);
	m->principal = &admin;
	if (type == MSG_MODEL_GET)
		((Hcp__ModelGet *)m->body)->name = "mini";
	if (type == MSG_MODEL_ROLLBACK) {
		((Hcp__ModelRollback *)m->body)->name = "mini";
		((Hcp__ModelRollback *)m->body)->reason = version;
	}
	if (type == MSG_MODEL_ACTIVATE) {
		((Hcp__ModelActivate *)m->body)->name = "mini";
		((Hcp__ModelActivate *)m->body)->version = version;
	}
	if (type == MSG_MODEL_VERSION_REGISTER) {
		((Hcp__ModelVersionRegister *)m->body)->name = "mini";
		((Hcp__ModelVersionRegister *)m->body)->version = version;
		((Hcp__ModelVersionRegister *)m->body)->digest = digest;
	}
	rig_post(&w->r, m);
	return w->r.reply->type == MSG_MODEL ? (Hcp__Model *)w->r.reply->body : NULL;
}

static Hcp__Model *get(struct world *w)
{
	return order(w, MSG_MODEL_GET, "", "");
}

static void expect(struct world *w, const char *state, const char *version, int done)
{
	Hcp__Model *m = get(w);
	assert_string_equal(m->state, state);
	assert_string_equal(m->version, version);
	assert_int_equal(m->nodes_done, done);
}

static void activate_v2(struct world *w)
{
	assert_non_null(order(w, MSG_MODEL_VERSION_REGISTER, "v2", DIGEST("2")));
	assert_non_null(order(w, MSG_MODEL_ACTIVATE, "v2", ""));
}

static int told(const struct world *w)
{
	int n = 0;
	for (int k = 0; k < w->n; k++)
		n += w->node[k].told > 0;
	return n;
}

static void one_node_first_then_the_others(void **state)
{
	struct world w;
	init(&w, NODES);
	Hcp__Model *m = get(&w);
	assert_string_equal(m->state, "active");
	assert_int_equal(m->n_versions, 1);
	assert_string_equal(m->versions[0]->origin, "announced");
	assert_string_equal(m->versions[0]->digest, DIGEST("1"));
	assert_int_equal(m->n_node_states, NODES);
	activate_v2(&w);
	assert_int_equal(deliver(&w), 1);
	assert_int_equal(told(&w), 1);
	expect(&w, "rolling_out", "v2", 0);
	assert_non_null(order(&w, MSG_MODEL_ACTIVATE, "v2", "")); /* asked for again: it is under way */
	assert_int_equal(deliver(&w), 0);
	report_as(&w, &w.node[0], "changing");
	assert_int_equal(deliver(&w), 0);
	report(&w, &w.node[0]);
	assert_int_equal(deliver(&w), MODELS_PARALLEL);
	for (int k = 1; k <= MODELS_PARALLEL; k++)
		report(&w, &w.node[k]);
	assert_int_equal(deliver(&w), 1);
	expect(&w, "rolling_out", "v2", NODES - 1);
	report(&w, &w.node[NODES - 1]);
	expect(&w, "active", "v2", NODES);
	m = get(&w);
	assert_string_equal(m->previous, "base");
	assert_int_equal(m->n_changes, 2);
	assert_string_equal(m->changes[0]->what, "completed");
	assert_string_equal(m->changes[1]->what, "activated");
	assert_string_equal(m->changes[1]->by, "admin@mara.com");
	/* And back, and forth again. */
	assert_non_null(order(&w, MSG_MODEL_ROLLBACK, "slower than before", ""));
	settle(&w);
	expect(&w, "active", "base", NODES);
	assert_string_equal(get(&w)->changes[1]->reason, "slower than before");
	assert_non_null(order(&w, MSG_MODEL_ROLLBACK, "", ""));
	settle(&w);
	expect(&w, "active", "v2", NODES);
	rig_expect_replay(&w.r);
	rig_release(&w.r);
}

static void what_cannot_be_is_refused(void **state)
{
	struct world w;
	init(&w, 2);
	assert_null(order(&w, MSG_MODEL_ROLLBACK, "", ""));
	rig_expect_problem(&w.r, "wrong_state", "name");
	assert_null(order(&w, MSG_MODEL_ACTIVATE, "v2", ""));
	rig_expect_problem(&w.r, "not_found", "version");
	assert_null(order(&w, MSG_MODEL_VERSION_REGISTER, "v2", "sha256:1"));
	rig_expect_problem(&w.r, "invalid", "digest");
	assert_null(order(&w, MSG_MODEL_VERSION_REGISTER, "../v2", DIGEST("2")));
	rig_expect_problem(&w.r, "invalid", "version");
	assert_null(order(&w, MSG_MODEL_VERSION_REGISTER, "base", DIGEST("2")));
	rig_expect_problem(&w.r, "already_exists", "version");
	assert_non_null(order(&w, MSG_MODEL_VERSION_REGISTER, "v2", DIGEST("2")));
	assert_non_null(order(&w, MSG_MODEL_VERSION_REGISTER, "v2", DIGEST("2"))); /* the same again is the same */
	w.node[1].held = NULL;
	report(&w, &w.node[1]);
	assert_null(order(&w, MSG_MODEL_ACTIVATE, "v2", ""));
	rig_expect_problem(&w.r, "wrong_state", "version");
	assert_int_equal(deliver(&w), 0);
	expect(&w, "active", "base", 2);
	struct msg *m = msg_new(MSG_MODELS_LIST);
	rig_post(&w.r, m);
	assert_int_equal(((Hcp__Models *)w.r.reply->body)->n_models, 1);
	m = msg_new(MSG_MODEL_GET);
	((Hcp__ModelGet *)m->body)->name = "maxi";
	rig_post(&w.r, m);
	rig_expect_problem(&w.r, "not_found", "name");
	/* Reports that make no sense change nothing. */
	snprintf(w.node[0].version, sizeof(w.node[0].version), "a/b");
	report(&w, &w.node[0]);
	snprintf(w.node[0].version, sizeof(w.node[0].version), "base");
	report_as(&w, &w.node[0], "dancing");
	expect(&w, "active", "base", 2);
	rig_release(&w.r);
}

static void the_first_that_fails_turns_it_back(void **state)
{
	struct world w;
	init(&w, NODES);
	w.node[0].refuses = "v2";
	activate_v2(&w);
	settle(&w);
	expect(&w, "rolled_back", "base", NODES);
	assert_string_equal(get(&w)->error, "node n0: its runtime ended: signal 9");
	assert_int_equal(told(&w), 1); /* nobody else was bothered */
	/* Once it is mended it can be tried again; now the fourth fails, when three serve it already. */
	w.node[0].refuses = NULL;
	w.node[3].refuses = "v2";
	assert_non_null(order(&w, MSG_MODEL_ACTIVATE, "v2", ""));
	settle(&w);
	expect(&w, "rolled_back", "base", NODES);
	for (int k = 0; k < NODES; k++)
		assert_string_equal(w.node[k].version, "base");
	assert_string_equal(get(&w)->previous, "");
	rig_expect_replay(&w.r);
	rig_release(&w.r);
}

static void orders_are_repeated_and_end_at_their_deadline(void **state)
{
	struct world w;
	init(&w, 2);
	w.node[0].deaf = true;
	activate_v2(&w);
	pass(&w, 30);
	assert_true(w.node[0].told >= 4 && w.node[0].told <= 7);
	expect(&w, "rolling_out", "v2", 0);
	w.node[0].deaf = false;
	pass(&w, 10);
	expect(&w, "active", "v2", 2);
	/* A node that begins and never ends. */
	w.hold_back = true;
	assert_non_null(order(&w, MSG_MODEL_ACTIVATE, "base", ""));
	for (int s = 0; s < MODELS_DEADLINE_S + 10; s += 5) {
		deliver(&w);
		for (int k = 0; k < 2; k++)
			report_as(&w, &w.node[k], "changing");
		rig_pass(&w.r, 5 * NS_PER_S);
	}
	Hcp__Model *m = get(&w);
	assert_string_equal(m->version, "v2");
	assert_non_null(strstr(m->error, "node n0: it did not serve the version within its time"));
	w.hold_back = false;
	settle(&w);
	for (int k = 0; k < 2; k++)
		report(&w, &w.node[k]);
	settle(&w);
	expect(&w, "rolled_back", "v2", 2);
	rig_expect_replay(&w.r);
	rig_release(&w.r);
}

static void a_restart_goes_on_where_it_was(void **state)
{
	struct world w;
	init(&w, NODES);
	activate_v2(&w);
	deliver(&w);
	report(&w, &w.node[0]);
	rig_restart(&w.r);
	expect(&w, "rolling_out", "v2", 1);
	pass(&w, 60);
	expect(&w, "active", "v2", NODES);
	for (int k = 0; k < NODES; k++)
		assert_string_equal(w.node[k].version, "v2");
	rig_release(&w.r);
}

static void who_is_away_is_not_waited_for(void **state)
{
	struct world w;
	init(&w, 3);
	w.node[2].gone = true;
	pass(&w, MODELS_AWAY_S + 30);
	activate_v2(&w);
	settle(&w);
	expect(&w, "active", "v2", 2);
	assert_string_equal(get(&w)->node_states[2]->state, "away");
	/* It comes back, and is told. */
	w.node[2].gone = false;
	report(&w, &w.node[2]);
	settle(&w);
	expect(&w, "active", "v2", 3);
	/* One that fails then has its own trouble and is tried again later. */
	snprintf(w.node[1].version, sizeof(w.node[1].version), "base");
	w.node[1].refuses = "v2";
	w.node[1].told = 0;
	w.node[1].order = 0;
	report(&w, &w.node[1]);
	settle(&w);
	expect(&w, "active", "v2", 2);
	assert_string_equal(get(&w)->node_states[1]->error, "its runtime ended: signal 9");
	pass(&w, MODELS_RETRY_S - 60);
	assert_int_equal(w.node[1].told, 1);
	w.node[1].refuses = NULL;
	pass(&w, 120);
	assert_in_range(w.node[1].told, 2, 3); /* once more if the order crossed the time of its repetition */
	expect(&w, "active", "v2", 3);
	rig_release(&w.r);
}

/* Whatever is ordered, lost and refused: in the end all serve what is wanted, and it is stable. */
static void any_history_ends_well(void **state)
{
	for (uint64_t seed = 1; seed <= 40; seed++) {
		struct world w;
		struct rng g;
		rng_init(&g, seed);
		init(&w, NODES);
		assert_non_null(order(&w, MSG_MODEL_VERSION_REGISTER, "v2", DIGEST("2")));
		for (int step = 0; step < 60; step++) {
			struct fake *f = &w.node[rng_u64(&g) % NODES];
			switch (rng_u64(&g) % 8) {
			case 0: order(&w, MSG_MODEL_ACTIVATE, rng_u64(&g) % 2 ? "v2" : "base", ""); break;
			case 1: order(&w, MSG_MODEL_ROLLBACK, "", ""); break;
			case 2: f->refuses = f->refuses ? NULL : rng_u64(&g) % 2 ? "v2" : "base"; break;
			case 3: f->deaf = !f->deaf; break;
			case 4: f->gone = !f->gone; break;
			case 5: rig_restart(&w.r); break;
			case 6: report(&w, f); deliver(&w); break;
			default: pass(&w, 5 << rng_u64(&g) % 5); break;
			}
		}
		for (int k = 0; k < NODES; k++) {
			w.node[k].refuses = NULL;
			w.node[k].gone = w.node[k].deaf = false;
			report(&w, &w.node[k]);
		}
		pass(&w, MODELS_RETRY_S + MODELS_DEADLINE_S + 60);
		Hcp__Model *m = get(&w);
		if (strcmp(m->state, "active") != 0 && strcmp(m->state, "rolled_back") != 0)
			fail_msg("seed %d: %s, error %s", (int)seed, m->state, m->error);
		for (int k = 0; k < NODES; k++)
			if (strcmp(w.node[k].version, m->version) != 0)
				fail_msg("seed %d: node %d serves %s, not %s", (int)seed, k, w.node[k].version, m->version);
		rig_release(&w.r);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_node_first_then_the_others),
		cmocka_unit_test(what_cannot_be_is_refused),
		cmocka_unit_test(the_first_that_fails_turns_it_back),
		cmocka_unit_test(orders_are_repeated_and_end_at_their_deadline),
		cmocka_unit_test(a_restart_goes_on_where_it_was),
		cmocka_unit_test(who_is_away_is_not_waited_for),
		cmocka_unit_test(any_history_ends_well),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
