/* The orchestrator's queue of callbacks: order, leases, retries, limits, secrets. What posts them is tests/it's. */
#include "rig.h"

#include "services/orchestrator/orchestrator.h"

static const Hcp__Principal acme = { PROTOBUF_C_MESSAGE_INIT(&hcp__principal__descriptor), "usr-1", "cus-acme",
	"john@acme.com", HCP__ROLE__CUSTOMER, 0 };
static const Hcp__Principal globex = { PROTOBUF_C_MESSAGE_INIT(&hcp__principal__descriptor), "usr-2", "cus-globex",
	"jane@globex.com", HCP__ROLE__CUSTOMER, 0 };
static const unsigned char key[ORCHESTRATOR_KEY_BYTES] = "0123456789abcdef0123456789abcdef";
static const struct orchestrator_conf keyed = { .callback_key = key };

static void submit(struct rig *r, const Hcp__Principal *who, char id[ID_TEXT_MAX])
{
	struct msg *m = msg_new(MSG_WORKLOAD_SUBMIT);
	Hcp__WorkloadSubmit *s = (Hcp__WorkloadSubmit *)m->body;
	s->type = HCP__WORKLOAD_TYPE__MODEL_TRAINING;
	s->name = "night \"shift\"";
	s->callback_url = "https://acme.example/done";
	m->principal = who;
	rig_post(r, m);
	assert_int_equal(r->reply->type, MSG_WORKLOAD);
	snprintf(id, ID_TEXT_MAX, "%s", ((Hcp__Workload *)r->reply->body)->id);
}

/* Two changes: paused and resumed. */
static void change(struct rig *r, const Hcp__Principal *who, const char *id, bool pause)
{
	struct msg *m = msg_new(pause ? MSG_WORKLOAD_PAUSE : MSG_WORKLOAD_RESUME);
	if (pause)
		((Hcp__WorkloadPause *)m->body)->id = id;
	else
		((Hcp__WorkloadResume *)m->body)->id = id;
	m->principal = who;
	rig_post(r, m);
	assert_int_equal(r->reply->type, MSG_WORKLOAD);
}

static Hcp__CallbackOrders *take(struct rig *r, int32_t max, bool fresh)
{
	struct msg *m = msg_new(MSG_CALLBACK_TAKE);
	Hcp__CallbackTake *t = (Hcp__CallbackTake *)m->body;
	t->max = max;
	t->fresh = fresh;
	rig_post(r, m);
	assert_int_equal(r->reply->type, MSG_CALLBACK_ORDERS);
	return (Hcp__CallbackOrders *)r->reply->body;
}

static void result(struct rig *r, const char *id, int64_t n, int32_t attempt, int32_t status, bool refused)
{
	struct msg *m = msg_new(MSG_CALLBACK_RESULT);
	Hcp__CallbackResult *x = (Hcp__CallbackResult *)m->body;
	x->workload_id = id;
	x->n = n;
	x->attempt = attempt;
	x->status = status;
	x->error = status ? "" : "connection refused";
	x->refused = refused;
	rig_post(r, m);
	assert_int_equal(r->reply->type, MSG_EMPTY);
}

static Hcp__Callback *list(struct rig *r, const char *id, size_t i)
{
	struct msg *m = msg_new(MSG_CALLBACKS_GET);
	((Hcp__CallbacksGet *)m->body)->id = id;
	m->principal = &acme;
	rig_post(r, m);
	assert_int_equal(r->reply->type, MSG_CALLBACKS);
	assert_true(i < ((Hcp__Callbacks *)r->reply->body)->n_callbacks);
	return ((Hcp__Callbacks *)r->reply->body)->callbacks[i];
}

static void one_after_the_other_and_again_after_a_crash(void **state)
{
	struct rig r;
	char id[ID_TEXT_MAX], delivery[ID_TEXT_MAX];
	rig_init(&r, &orchestrator_def, &keyed);
	submit(&r, &acme, id);
	change(&r, &acme, id, true);
	change(&r, &acme, id, false);
	Hcp__CallbackOrders *o = take(&r, 64, true);
	assert_int_equal(o->n_orders, 1); /* the second waits for the first */
	assert_int_equal(o->orders[0]->n, 2);
	assert_int_equal(o->orders[0]->attempt, 1);
	assert_string_equal(o->orders[0]->url, "https://acme.example/done");
	assert_non_null(memmem(o->orders[0]->body.data, o->orders[0]->body.len, "\"event\":\"workload.paused\"", 25));
	assert_non_null(memmem(o->orders[0]->body.data, o->orders[0]->body.len, "night \\\"shift\\\"", 15));
	snprintf(delivery, sizeof(delivery), "%s", o->orders[0]->id);
	assert_int_equal(take(&r, 64, false)->n_orders, 0); /* it is in hand */
	rig_restart(&r);
	assert_int_equal(take(&r, 64, false)->n_orders, 0); /* still: only the orchestrator was away */
	o = take(&r, 64, true);                             /* a new sender: the old one's work is due again */
	assert_int_equal(o->n_orders, 1);
	assert_int_equal(o->orders[0]->attempt, 2);
	assert_string_equal(o->orders[0]->id, delivery);
	result(&r, id, 2, 1, 200, false); /* the dead one's post had arrived, and that is known after all */
	o = take(&r, 64, false);
	assert_int_equal(o->n_orders, 1);
	assert_int_equal(o->orders[0]->n, 3);
	/* Nobody tells how it ended: due again when the lease has run out. */
	rig_pass(&r, (CALLBACK_LEASE_MS + 1000) * NS_PER_MS);
	o = take(&r, 64, false);
	assert_int_equal(o->n_orders, 1);
	assert_int_equal(o->orders[0]->attempt, 2);
	result(&r, id, 3, 1, 500, false); /* of a try that is not the latest: means nothing */
	assert_string_equal(list(&r, id, 1)->state, "sending");
	result(&r, id, 3, 2, 204, false);
	assert_string_equal(list(&r, id, 0)->state, "delivered");
	assert_string_equal(list(&r, id, 1)->state, "delivered");
	assert_int_equal(take(&r, 64, true)->n_orders, 0);
	rig_expect_replay(&r);
	rig_release(&r);
}

static void a_waiting_sender_is_woken(void **state)
{
	struct rig r;
	char id[ID_TEXT_MAX];
	rig_init(&r, &orchestrator_def, &keyed);
	submit(&r, &acme, id);
	struct msg *m = msg_new(MSG_CALLBACK_TAKE);
	((Hcp__CallbackTake *)m->body)->max = 3;
	((Hcp__CallbackTake *)m->body)->wait_ms = 30000;
	int before = r.answers;
	rig_post(&r, m);
	assert_int_equal(r.answers, before);
	m = msg_new(MSG_WORKLOAD_PAUSE);
	((Hcp__WorkloadPause *)m->body)->id = id;
	svc_post(r.svc, m);
	rig_run(&r);
	assert_int_equal(r.answers, before + 1);
	assert_int_equal(((Hcp__CallbackOrders *)r.reply->body)->n_orders, 1);
	result(&r, id, 2, 1, 0, false);
	/* Waits again, longer than the backoff, and hears of the second try in its time. */
	m = msg_new(MSG_CALLBACK_TAKE);
	((Hcp__CallbackTake *)m->body)->max = 3;
	((Hcp__CallbackTake *)m->body)->wait_ms = 30000;
	before = r.answers;
	rig_post(&r, m);
	assert_int_equal(r.answers, before);
	rig_pass(&r, CALLBACK_BACKOFF_MS * NS_PER_MS + NS_PER_S);
	assert_int_equal(r.answers, before + 1);
	assert_int_equal(((Hcp__CallbackOrders *)r.reply->body)->orders[0]->attempt, 2);
	/* Nothing more comes: an empty answer, so that it is seen to live. */
	m = msg_new(MSG_CALLBACK_TAKE);
	((Hcp__CallbackTake *)m->body)->max = 3;
	((Hcp__CallbackTake *)m->body)->wait_ms = 5000;
	rig_post(&r, m);
	rig_pass(&r, 6 * NS_PER_S);
	assert_int_equal(r.answers, before + 2);
	assert_int_equal(((Hcp__CallbackOrders *)r.reply->body)->n_orders, 0);
	rig_expect_replay(&r);
	rig_release(&r);
}

static void tries_end_by_number_by_age_and_by_refusal(void **state)
{
	struct rig r;
	char id[ID_TEXT_MAX], other[ID_TEXT_MAX];
	rig_init(&r, &orchestrator_def, &keyed);
	submit(&r, &acme, id);
	change(&r, &acme, id, true);
	change(&r, &acme, id, false);
	for (int32_t i = 1; i <= CALLBACK_TRIES_MAX; i++) {
		Hcp__CallbackOrders *o = take(&r, 64, false);
		assert_int_equal(o->n_orders, 1);
		assert_int_equal(o->orders[0]->attempt, i);
		result(&r, id, 2, i, i % 2 ? 500 : 0, false);
		if (i == CALLBACK_TRIES_MAX)
			break;
		int64_t full_ms = CALLBACK_BACKOFF_MS << (i - 1);
		full_ms = full_ms < CALLBACK_BACKOFF_MAX_MS ? full_ms : CALLBACK_BACKOFF_MAX_MS;
		Hcp__Callback *c = list(&r, id, 0);
		assert_string_equal(c->state, "waiting");
		assert_string_equal(c->error, i % 2 ? "answered 500" : "connection refused");
		assert_in_range(c->due_at_ns - r.now_ns, full_ms / 2 * NS_PER_MS - 100 * NS_PER_MS, full_ms * NS_PER_MS);
		/* Jump there: nothing else happens in between. */
		r.now_ns = c->due_at_ns;
	}
	assert_string_equal(list(&r, id, 0)->state, "given_up");
	/* The next one's turn; its day is over before it has succeeded. */
	Hcp__CallbackOrders *o = take(&r, 64, false);
	assert_int_equal(o->orders[0]->n, 3);
	r.now_ns += CALLBACK_AGE_MAX_S * NS_PER_S;
	result(&r, id, 3, 1, 503, false);
	assert_string_equal(list(&r, id, 1)->state, "given_up");
	assert_int_equal(list(&r, id, 1)->tries, 1);
	submit(&r, &acme, other);
	change(&r, &acme, other, true);
	assert_int_equal(take(&r, 64, false)->n_orders, 1);
	result(&r, other, 2, 1, 0, true);
	assert_string_equal(list(&r, other, 0)->state, "given_up");
	rig_release(&r);
}

static void a_slow_customer_does_not_hold_up_others(void **state)
{
	struct rig r;
	char id[ID_TEXT_MAX];
	size_t of_globex = 0;
	rig_init(&r, &orchestrator_def, &keyed);
	for (int i = 0; i < 2 * CALLBACK_CUSTOMER_MAX; i++) {
		submit(&r, &acme, id);
		change(&r, &acme, id, true);
	}
	submit(&r, &globex, id);
	change(&r, &globex, id, true);
	Hcp__CallbackOrders *o = take(&r, 64, true);
	for (size_t i = 0; i < o->n_orders; i++)
		of_globex += !strcmp(o->orders[i]->workload_id, id);
	assert_int_equal(o->n_orders, CALLBACK_CUSTOMER_MAX + 1);
	assert_int_equal(of_globex, 1);
	assert_int_equal(take(&r, 64, false)->n_orders, 0);
	struct msg *m = msg_new(MSG_CALLBACK_TAKE);
	((Hcp__CallbackTake *)m->body)->max = 65;
	rig_post(&r, m);
	rig_expect_problem(&r, "out_of_range", "max");
	rig_release(&r);
}

static void a_dead_receiver_does_not_fill_the_disk(void **state)
{
	struct rig r;
	char id[ID_TEXT_MAX];
	size_t given_up = 0;
	rig_init(&r, &orchestrator_def, &keyed);
	submit(&r, &acme, id);
	for (int i = 0; i < CALLBACK_WAITING_MAX + 10; i++)
		change(&r, &acme, id, i % 2 == 0);
	list(&r, id, 0);
	Hcp__Callbacks *all = (Hcp__Callbacks *)r.reply->body;
	for (size_t i = 0; i < all->n_callbacks; i++)
		given_up += !strcmp(all->callbacks[i]->state, "given_up");
	assert_int_equal(all->n_callbacks, CALLBACK_WAITING_MAX + 10);
	assert_int_equal(given_up, 10);
	assert_string_equal(all->callbacks[0]->state, "waiting"); /* the head may be on its way */
	assert_string_equal(all->callbacks[1]->error, "too many wait");
	rig_release(&r);
}

static Hcp__CallbackSecret *secret(struct rig *r, unsigned type, const Hcp__Principal *who)
{
	struct msg *m = msg_new(type);
	m->principal = who;
	rig_post(r, m);
	assert_int_equal(r->reply->type, MSG_CALLBACK_SECRET);
	return (Hcp__CallbackSecret *)r->reply->body;
}

static void secrets_are_derived_and_change_on_request(void **state)
{
	struct rig r;
	char first[128];
	rig_init(&r, &orchestrator_def, &keyed);
	snprintf(first, sizeof(first), "%s", secret(&r, MSG_CALLBACK_SECRET_GET, &acme)->secret);
	assert_int_equal(strlen(first), 6 + 64);
	assert_string_not_equal(secret(&r, MSG_CALLBACK_SECRET_GET, &globex)->secret, first);
	rig_restart(&r);
	assert_string_equal(secret(&r, MSG_CALLBACK_SECRET_GET, &acme)->secret, first);
	Hcp__CallbackSecret *s = secret(&r, MSG_CALLBACK_SECRET_ROTATE, &acme);
	assert_string_not_equal(s->secret, first);
	assert_int_equal(s->generation, 2);
	assert_in_range(s->previous_until_ns - r.now_ns, 86390 * NS_PER_S, 86400 * NS_PER_S);
	r.now_ns += 86400 * NS_PER_S;
	assert_int_equal(secret(&r, MSG_CALLBACK_SECRET_GET, &acme)->previous_until_ns, 0);
	rig_post(&r, msg_new(MSG_CALLBACK_SECRET_GET));
	rig_expect_problem(&r, "forbidden", "");
	rig_release(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_after_the_other_and_again_after_a_crash),
		cmocka_unit_test(a_waiting_sender_is_woken),
		cmocka_unit_test(tries_end_by_number_by_age_and_by_refusal),
		cmocka_unit_test(a_slow_customer_does_not_hold_up_others),
		cmocka_unit_test(a_dead_receiver_does_not_fill_the_disk),
		cmocka_unit_test(secrets_are_derived_and_change_on_request),
	};
	return cmocka_run_group_tests_name("callback", tests, NULL, NULL);
}
