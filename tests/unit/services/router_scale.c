/* The router's side of rented nodes: rows, cordons, calls that wait, restarts, replay. */
#include "rig.h"

#include "services/router/router.h"

#define BATCH HCP__WORKLOAD_TYPE__AI_INFERENCE_BATCH

static struct router_conf conf_of(void)
{
	struct router_conf c = { 0 };
	scale_conf_default(&c.scale);
	c.scale.n_types = 1;
	c.scale.budget_micros_h = 100 * MICROS_PER_USD;
	c.scale.up_jobs = 3;
	const struct device_class *cls = device_class_find(STR("H100"));
	c.scale.type[0] = (struct scale_type){ .name = "h100",
		.device_class = device_class_index(cls),
		.devices = 2,
		.nodes_max = 2,
		.price_max_micros_h = 10 * MICROS_PER_USD };
	c.place[0] = (struct router_place){ "H100", "cloud-a", "us-tx" };
	return c;
}

static void enqueue(struct rig *r, int n, const char *cls, int count, const char *region)
{
	struct id uuid = { .b = { 1, [6] = 0x70, [8] = 0x80, [15] = (uint8_t)n } };
	char id[ID_TEXT_MAX];
	Hcp__Workload w = HCP__WORKLOAD__INIT;
	Hcp__JobEnqueue ev = HCP__JOB_ENQUEUE__INIT;
	w.id = id_format(id, ID_WORKLOAD, &uuid);
	w.customer_id = "cus-a";
	w.type = BATCH;
	w.priority = 5;
	w.device_class = cls;
	w.device_count = count;
	w.region = region;
	ev.workload = &w;
	rig_event(r, SVC_ORCHESTRATOR, &ev.base);
}

static void node(struct rig *r, const char *name, Hcp__DeviceState st)
{
	Hcp__DevicesChanged ev = HCP__DEVICES_CHANGED__INIT;
	Hcp__Device dev[2] = { HCP__DEVICE__INIT, HCP__DEVICE__INIT }, *p[] = { &dev[0], &dev[1] };
	char id[2][64];
	for (int i = 0; i < 2; i++) {
		snprintf(id[i], sizeof(id[i]), "%s/gpu%d", name, i);
		dev[i].id = id[i];
		dev[i].node_id = name;
		dev[i].facility = "cloud-a";
		dev[i].region = "us-tx";
		dev[i].device_class = "H100";
		dev[i].state = st;
		dev[i].desired = HCP__MODE__OFF;
		dev[i].health = 1;
	}
	ev.n_devices = 2;
	ev.devices = p;
	rig_event(r, SVC_RESOURCES, &ev.base);
}

/* The calls to make now; NULL: none. */
static const Hcp__ScaleOrders *take(struct rig *r, bool fresh)
{
	struct msg *m = msg_new(MSG_SCALE_TAKE);
	((Hcp__ScaleTake *)m->body)->fresh = fresh;
	rig_post(r, m);
	assert_int_equal(r->reply->type, MSG_SCALE_ORDERS);
	return (const Hcp__ScaleOrders *)r->reply->body;
}

/* All calls that are due are made and answered: the first one's name is returned, "" if there is none. */
static const char *call(struct rig *r, const char *state, int64_t price)
{
	static struct {
		char name[16], token[ID_TEXT_MAX];
		int32_t attempt;
	} copy[16];
	const Hcp__ScaleOrders *o = take(r, false);
	size_t n = o->n_orders;
	for (size_t i = 0; i < n; i++) {
		snprintf(copy[i].name, sizeof(copy[i].name), "%s", o->orders[i]->call);
		snprintf(copy[i].token, sizeof(copy[i].token), "%s", o->orders[i]->token);
		copy[i].attempt = o->orders[i]->attempt;
	}
	for (size_t i = 0; i < n; i++) {
		struct msg *m = msg_new(MSG_SCALE_RESULT);
		Hcp__ScaleResult *res = (Hcp__ScaleResult *)m->body;
		res->token = copy[i].token;
		res->call = copy[i].name;
		res->attempt = copy[i].attempt;
		res->state = state;
		res->price_micros_h = price;
		rig_post(r, m);
	}
	return n ? copy[0].name : "";
}

static const Hcp__Autoscale *status(struct rig *r)
{
	rig_post(r, msg_new(MSG_AUTOSCALE_GET));
	assert_int_equal(r->reply->type, MSG_AUTOSCALE);
	return (const Hcp__Autoscale *)r->reply->body;
}

static int places(struct rig *r)
{
	int n;
	msg_free(rig_published(r, MSG_PLACE, &n));
	return n;
}

static void a_node_comes_works_and_goes(void **state)
{
	struct router_conf c = conf_of();
	struct rig r;
	rig_init(&r, &router_def, &c);
	enqueue(&r, 1, "H100", 1, "");
	enqueue(&r, 2, "H100", 1, "");
	enqueue(&r, 3, "H100", 3, "");      /* fits on no node of two */
	enqueue(&r, 4, "H100", 1, "eu-fr"); /* stands elsewhere */
	enqueue(&r, 5, "A100", 1, "");
	rig_pass(&r, 60 * NS_PER_S);
	assert_int_equal(status(&r)->types[0]->jobs_waiting, 2);
	assert_int_equal(take(&r, true)->n_orders, 0);
	enqueue(&r, 6, "", 1, "us-tx"); /* any GPU will do */
	rig_pass(&r, 15 * NS_PER_S);
	/* What is decided is stored before anybody is asked: a crash here forgets nothing. */
	const Hcp__Autoscale *s = status(&r);
	assert_int_equal(s->n_nodes, 2);
	assert_string_equal(s->nodes[0]->state, "quoting");
	rig_restart(&r);
	assert_int_equal(status(&r)->n_nodes, 2);
	rig_pass(&r, NS_PER_S);
	assert_string_equal(call(&r, "", 5 * MICROS_PER_USD), "quote");
	rig_restart(&r);
	assert_string_equal(status(&r)->nodes[0]->state, "starting");
	rig_pass(&r, NS_PER_S);
	const Hcp__ScaleOrders *o = take(&r, true); /* whoever asks anew gets the start again, by the same token */
	char token[ID_TEXT_MAX];
	assert_int_equal(o->n_orders, 2);
	assert_string_equal(o->orders[0]->call, "start");
	assert_string_equal(o->orders[0]->node, "h100-1");
	assert_string_equal(o->orders[0]->facility, "cloud-a");
	snprintf(token, sizeof(token), "%s", o->orders[0]->token);
	o = take(&r, true);
	assert_string_equal(o->orders[0]->token, token);
	assert_int_equal(o->orders[0]->attempt, 3);
	(void)take(&r, true); /* all are out */
	rig_pass(&r, 31 * NS_PER_S);
	assert_string_equal(call(&r, "running", 5 * MICROS_PER_USD), "start");
	s = status(&r);
	assert_string_equal(s->nodes[0]->state, "booting");
	assert_int_equal(s->rate_micros_h, 10 * MICROS_PER_USD);
	node(&r, "h100-1", HCP__DEVICE_STATE__IDLE);
	assert_int_equal(places(&r), 2);
	rig_pass(&r, 2 * NS_PER_S);
	assert_string_equal(status(&r)->nodes[0]->state, "up");
	rig_expect_replay(&r);
	rig_release(&r);
}

static void what_is_about_to_go_is_not_offered(void **state)
{
	struct router_conf c = conf_of();
	struct rig r;
	int n;
	rig_init(&r, &router_def, &c);
	for (int i = 1; i <= 3; i++)
		enqueue(&r, i, "H100", 2, "");
	rig_pass(&r, 12 * NS_PER_S);
	while (*call(&r, "running", 5 * MICROS_PER_USD))
		;
	node(&r, "h100-1", HCP__DEVICE_STATE__IDLE);
	assert_int_equal(places(&r), 1);
	struct msg *m = rig_published(&r, MSG_PLACE, &n);
	char alloc[ID_TEXT_MAX];
	snprintf(alloc, sizeof(alloc), "%s", ((Hcp__Place *)m->body)->allocation_id);
	msg_free(m);
	Hcp__AllocationChanged ev = HCP__ALLOCATION_CHANGED__INIT;
	ev.allocation_id = alloc;
	ev.state = HCP__ALLOCATION_STATE__HELD;
	rig_event(&r, SVC_RESOURCES, &ev.base);
	for (int i = 2; i <= 3; i++) {
		struct id uuid = { .b = { 1, [6] = 0x70, [8] = 0x80, [15] = (uint8_t)i } };
		char id[ID_TEXT_MAX];
		Hcp__JobCancel cancel = HCP__JOB_CANCEL__INIT;
		cancel.workload_id = id_format(id, ID_WORKLOAD, &uuid);
		rig_event(&r, SVC_ORCHESTRATOR, &cancel.base);
	}
	rig_pass(&r, 400 * NS_PER_S);
	const Hcp__Autoscale *s = status(&r);
	assert_string_equal(s->nodes[0]->state, "up"); /* it works */
	ev.state = HCP__ALLOCATION_STATE__RELEASED;
	rig_event(&r, SVC_RESOURCES, &ev.base);
	rig_pass(&r, 302 * NS_PER_S);
	assert_string_equal(status(&r)->nodes[0]->state, "stopping");
	rig_forget(&r);
	enqueue(&r, 9, "H100", 1, "");
	rig_pass(&r, 2 * NS_PER_S);
	assert_int_equal(places(&r), 0); /* its devices are free, and not offered */
	rig_restart(&r);
	rig_forget(&r);
	node(&r, "h100-1", HCP__DEVICE_STATE__IDLE);
	rig_pass(&r, 2 * NS_PER_S);
	assert_int_equal(places(&r), 0);
	while (*call(&r, "stopped", 0))
		;
	s = status(&r);
	assert_true(s->n_ended >= 1 && s->ended[0]->cost_micros > 0);
	assert_int_equal(places(&r), 0);
	rig_expect_replay(&r);
	rig_release(&r);
}

static void types_that_are_set_no_more_are_given_back(void **state)
{
	struct router_conf c = conf_of(), none = { 0 };
	struct rig r;
	rig_init(&r, &router_def, &c);
	for (int i = 1; i <= 3; i++)
		enqueue(&r, i, "H100", 1, "");
	rig_pass(&r, 12 * NS_PER_S);
	assert_string_equal(call(&r, "", 5 * MICROS_PER_USD), "quote");
	rig_pass(&r, NS_PER_S);
	assert_true(status(&r)->n_nodes >= 1);
	r.conf = &none;
	rig_restart(&r);
	rig_pass(&r, 2 * NS_PER_S);
	const Hcp__Autoscale *s = status(&r);
	assert_int_equal(s->types[0]->nodes_max, 0);
	assert_string_equal(s->nodes[0]->state, "stopping");
	assert_true(strstr(s->nodes[0]->reason, "not set any more"));
	while (*call(&r, "stopped", 0))
		;
	assert_int_equal(status(&r)->n_nodes, 0);
	rig_restart(&r);
	s = status(&r);
	assert_false(s->enabled);
	assert_true(s->n_ended >= 1); /* the ledger stays */
	struct msg *m = msg_new(MSG_SCALE_TAKE);
	rig_post(&r, m);
	rig_expect_problem(&r, "wrong_state", "");
	rig_release(&r);
}

static void nonsense_is_refused_and_changes_nothing(void **state)
{
	struct router_conf c = conf_of();
	struct rig r;
	rig_init(&r, &router_def, &c);
	struct msg *m = msg_new(MSG_SCALE_TAKE);
	((Hcp__ScaleTake *)m->body)->wait_ms = 60001;
	rig_post(&r, m);
	rig_expect_problem(&r, "out_of_range", "wait_ms");
	m = msg_new(MSG_SCALE_RESULT);
	((Hcp__ScaleResult *)m->body)->call = "beg";
	rig_post(&r, m);
	rig_expect_problem(&r, "invalid", "call");
	m = msg_new(MSG_SCALE_RESULT);
	((Hcp__ScaleResult *)m->body)->call = "stop";
	((Hcp__ScaleResult *)m->body)->state = "dancing";
	rig_post(&r, m);
	rig_expect_problem(&r, "invalid", "state");
	m = msg_new(MSG_SCALE_RESULT);
	((Hcp__ScaleResult *)m->body)->call = "quote";
	((Hcp__ScaleResult *)m->body)->price_micros_h = -1;
	rig_post(&r, m);
	rig_expect_problem(&r, "out_of_range", "price_micros_h");
	m = msg_new(MSG_SCALE_RESULT);
	((Hcp__ScaleResult *)m->body)->call = "stop";
	((Hcp__ScaleResult *)m->body)->token = "rn-nobody";
	rig_post(&r, m);
	assert_int_equal(r.reply->type, MSG_EMPTY);
	/* One that waits is answered when there is something to do, and with nothing when its time is over. */
	int answers = r.answers;
	m = msg_new(MSG_SCALE_TAKE);
	((Hcp__ScaleTake *)m->body)->wait_ms = 20000;
	rig_post(&r, m);
	assert_int_equal(r.answers, answers);
	for (int i = 1; i <= 3; i++)
		enqueue(&r, i, "H100", 1, "");
	rig_pass(&r, 12 * NS_PER_S);
	assert_int_equal(r.answers, answers + 1);
	assert_int_equal(((Hcp__ScaleOrders *)r.reply->body)->n_orders, 2);
	m = msg_new(MSG_SCALE_TAKE);
	((Hcp__ScaleTake *)m->body)->wait_ms = 5000;
	rig_post(&r, m);
	rig_pass(&r, 6 * NS_PER_S);
	assert_int_equal(r.answers, answers + 2);
	assert_int_equal(((Hcp__ScaleOrders *)r.reply->body)->n_orders, 0);
	rig_release(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_node_comes_works_and_goes),
		cmocka_unit_test(what_is_about_to_go_is_not_offered),
		cmocka_unit_test(types_that_are_set_no_more_are_given_back),
		cmocka_unit_test(nonsense_is_refused_and_changes_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
