#include "rig.h"

#include "services/router/router.h"

static const char *wl_id(int n, char dst[ID_TEXT_MAX])
{
	struct id id = { .b = { 1, [6] = 0x70, [8] = 0x80, [15] = (uint8_t)n } };
	return id_format(dst, ID_WORKLOAD, &id);
}

static void devices(struct rig *r, const char *node, const char *cls, int n, Hcp__DeviceState st, Hcp__Mode mode)
{
	Hcp__DevicesChanged ev = HCP__DEVICES_CHANGED__INIT;
	static Hcp__Device dev[64];
	static char id[64][64];
	Hcp__Device *p[64];
	for (int i = 0; i < n; i++) {
		hcp__device__init(&dev[i]);
		snprintf(id[i], sizeof(id[i]), "%s/%s%d", node, cls, i);
		dev[i].id = id[i];
		dev[i].node_id = node;
		dev[i].facility = "texas-north";
		dev[i].region = "us-tx";
		dev[i].device_class = cls;
		dev[i].state = st;
		dev[i].desired = mode;
		dev[i].health = 1;
		p[i] = &dev[i];
	}
	ev.n_devices = (size_t)n;
	ev.devices = p;
	rig_event(r, SVC_RESOURCES, &ev.base);
}

static void enqueue(struct rig *r, int n, const char *customer, Hcp__WorkloadType type, const char *cls, int count)
{
	char id[ID_TEXT_MAX];
	Hcp__Workload w = HCP__WORKLOAD__INIT;
	Hcp__JobEnqueue ev = HCP__JOB_ENQUEUE__INIT;
	w.id = wl_id(n, id);
	w.customer_id = customer;
	w.type = type;
	w.priority = 5;
	w.device_class = cls;
	w.device_count = count;
	ev.workload = &w;
	rig_event(r, SVC_ORCHESTRATOR, &ev.base);
}

static void cancel(struct rig *r, int n)
{
	char id[ID_TEXT_MAX];
	Hcp__JobCancel ev = HCP__JOB_CANCEL__INIT;
	ev.workload_id = wl_id(n, id);
	ev.reason = "cancelled";
	rig_event(r, SVC_ORCHESTRATOR, &ev.base);
}

static void news(struct rig *r, const char *alloc, Hcp__AllocationState s)
{
	Hcp__AllocationChanged ev = HCP__ALLOCATION_CHANGED__INIT;
	ev.allocation_id = alloc;
	ev.state = s;
	rig_event(r, SVC_RESOURCES, &ev.base);
}

/* The last Place since rig_forget; alloc gets its id. Returns how many there were. */
static int places(struct rig *r, char alloc[ID_TEXT_MAX], int *n_devices)
{
	int n;
	struct msg *m = rig_published(r, MSG_PLACE, &n);
	if (m) {
		const Hcp__Place *p = (const Hcp__Place *)m->body;
		snprintf(alloc, ID_TEXT_MAX, "%s", p->allocation_id);
		*n_devices = (int)p->n_device_ids;
	}
	msg_free(m);
	return n;
}

static Hcp__Queue *queue(struct rig *r)
{
	rig_post(r, msg_new(MSG_QUEUE_GET));
	assert_int_equal(r->reply->type, MSG_QUEUE);
	return (Hcp__Queue *)r->reply->body;
}

#define BATCH HCP__WORKLOAD_TYPE__AI_INFERENCE_BATCH
#define REALTIME HCP__WORKLOAD_TYPE__AI_INFERENCE_REALTIME

static void jobs_get_devices_and_give_them_back(void **state)
{
	struct rig r;
	char a[ID_TEXT_MAX], b[ID_TEXT_MAX];
	int n, devs;
	rig_init(&r, &router_def, NULL);
	devices(&r, "n1", "H100", 4, HCP__DEVICE_STATE__IDLE, HCP__MODE__OFF);
	enqueue(&r, 1, "cus-a", BATCH, "H100", 3);
	assert_int_equal(places(&r, a, &devs), 1);
	assert_int_equal(devs, 3);
	rig_forget(&r);
	enqueue(&r, 2, "cus-b", BATCH, "H100", 2);
	assert_int_equal(places(&r, b, &devs), 0);
	Hcp__Queue *q = queue(&r);
	assert_int_equal(q->n_entries, 1);
	assert_int_equal(q->entries[0]->position, 1);
	assert_true(q->entries[0]->reason[0] != '\0');
	assert_int_equal(q->classes[1]->waiting, 1);
	news(&r, a, HCP__ALLOCATION_STATE__HELD);
	cancel(&r, 1);
	msg_free(rig_published(&r, MSG_RELEASE, &n));
	assert_int_equal(n, 1);
	assert_int_equal(places(&r, b, &devs), 0); /* not before resources lets go */
	news(&r, a, HCP__ALLOCATION_STATE__RELEASED);
	assert_int_equal(places(&r, b, &devs), 1);
	assert_int_equal(devs, 2);
	assert_int_equal(queue(&r)->n_entries, 0);
	rig_expect_replay(&r);
	rig_release(&r);
}

static void a_restart_keeps_who_holds_what(void **state)
{
	struct rig r;
	char a[ID_TEXT_MAX], b[ID_TEXT_MAX];
	int devs;
	rig_init(&r, &router_def, NULL);
	devices(&r, "n1", "H100", 4, HCP__DEVICE_STATE__IDLE, HCP__MODE__FILL);
	enqueue(&r, 1, "cus-a", REALTIME, "H100", 4);
	assert_int_equal(places(&r, a, &devs), 1);
	enqueue(&r, 2, "cus-a", REALTIME, "H100", 1);
	rig_restart(&r);
	rig_forget(&r);
	rig_pass(&r, 2 * NS_PER_S);
	assert_int_equal(places(&r, b, &devs), 0);
	assert_int_equal(queue(&r)->n_entries, 1);
	news(&r, a, HCP__ALLOCATION_STATE__HELD);
	news(&r, a, HCP__ALLOCATION_STATE__RELEASED);
	assert_int_equal(places(&r, b, &devs), 1);
	rig_expect_replay(&r);
	rig_release(&r);
}

static void refused_allocations_free_their_devices(void **state)
{
	struct rig r;
	char a[ID_TEXT_MAX];
	int devs;
	rig_init(&r, &router_def, NULL);
	devices(&r, "n1", "H100", 1, HCP__DEVICE_STATE__IDLE, HCP__MODE__OFF);
	enqueue(&r, 1, "cus-a", BATCH, "H100", 1);
	assert_int_equal(places(&r, a, &devs), 1);
	rig_forget(&r);
	news(&r, a, HCP__ALLOCATION_STATE__REFUSED);
	enqueue(&r, 1, "cus-a", BATCH, "H100", 1); /* the orchestrator tries again */
	assert_int_equal(places(&r, a, &devs), 1);
	rig_release(&r);
}

static void a_job_asked_for_again_waits_for_its_release(void **state)
{
	struct rig r;
	char a[ID_TEXT_MAX], b[ID_TEXT_MAX];
	int devs;
	rig_init(&r, &router_def, NULL);
	devices(&r, "n1", "A100", 2, HCP__DEVICE_STATE__IDLE, HCP__MODE__OFF);
	enqueue(&r, 1, "cus-a", BATCH, "A100", 2);
	assert_int_equal(places(&r, a, &devs), 1);
	news(&r, a, HCP__ALLOCATION_STATE__HELD);
	cancel(&r, 1);
	enqueue(&r, 1, "cus-a", BATCH, "A100", 2);
	rig_restart(&r); /* publishes again what the bus may have lost */
	rig_forget(&r);
	assert_int_equal(places(&r, b, &devs), 0);
	news(&r, a, HCP__ALLOCATION_STATE__RELEASED);
	assert_int_equal(places(&r, b, &devs), 1);
	assert_string_not_equal(a, b);
	rig_release(&r);
}

static void failed_devices_are_not_offered(void **state)
{
	struct rig r;
	char a[ID_TEXT_MAX];
	int devs;
	rig_init(&r, &router_def, NULL);
	devices(&r, "n1", "H100", 2, HCP__DEVICE_STATE__DEVICE_FAILED, HCP__MODE__OFF);
	enqueue(&r, 1, "cus-a", BATCH, "H100", 2);
	assert_int_equal(places(&r, a, &devs), 0);
	devices(&r, "n1", "H100", 2, HCP__DEVICE_STATE__IDLE, HCP__MODE__OFF);
	assert_int_equal(places(&r, a, &devs), 1);
	rig_release(&r);
}

/* News of the end of the old allocation may come behind the order to place it anew. */
static void an_order_that_overtakes_the_end_is_kept(void **state)
{
	struct rig r;
	char a[ID_TEXT_MAX], b[ID_TEXT_MAX];
	int devs;
	rig_init(&r, &router_def, NULL);
	devices(&r, "n1", "H100", 1, HCP__DEVICE_STATE__IDLE, HCP__MODE__OFF);
	enqueue(&r, 1, "cus-a", BATCH, "H100", 1);
	assert_int_equal(places(&r, a, &devs), 1);
	rig_forget(&r);
	enqueue(&r, 1, "cus-a", BATCH, "H100", 1);
	assert_int_equal(places(&r, b, &devs), 0);
	news(&r, a, HCP__ALLOCATION_STATE__REFUSED);
	assert_int_equal(places(&r, b, &devs), 1);
	assert_string_not_equal(a, b);
	rig_release(&r);
}

/* Devices that were given back drain for a while; resources would refuse them, and a job has five tries only. */
static void draining_devices_are_not_offered(void **state)
{
	struct rig r;
	char a[ID_TEXT_MAX], b[ID_TEXT_MAX];
	int devs;
	rig_init(&r, &router_def, NULL);
	devices(&r, "n1", "H100", 1, HCP__DEVICE_STATE__IDLE, HCP__MODE__OFF);
	enqueue(&r, 1, "cus-a", BATCH, "H100", 1);
	enqueue(&r, 2, "cus-a", BATCH, "H100", 1);
	assert_int_equal(places(&r, a, &devs), 1);
	news(&r, a, HCP__ALLOCATION_STATE__HELD);
	cancel(&r, 1);
	rig_forget(&r);
	/* Both in one batch, the end of the allocation first. */
	Hcp__AllocationChanged ev = HCP__ALLOCATION_CHANGED__INIT;
	ev.allocation_id = a;
	ev.state = HCP__ALLOCATION_STATE__RELEASED;
	rig_event_seq(&r, SVC_RESOURCES, &ev.base, 0);
	devices(&r, "n1", "H100", 1, HCP__DEVICE_STATE__DRAINING, HCP__MODE__OFF);
	assert_int_equal(places(&r, b, &devs), 0);
	devices(&r, "n1", "H100", 1, HCP__DEVICE_STATE__IDLE, HCP__MODE__OFF);
	assert_int_equal(places(&r, b, &devs), 1);
	rig_release(&r);
}

static void a_reservation_nobody_confirms_ends(void **state)
{
	struct rig r;
	char a[ID_TEXT_MAX], b[ID_TEXT_MAX];
	int n, devs;
	rig_init(&r, &router_def, NULL);
	devices(&r, "n1", "H100", 1, HCP__DEVICE_STATE__IDLE, HCP__MODE__OFF);
	enqueue(&r, 1, "cus-a", BATCH, "H100", 1);
	assert_int_equal(places(&r, a, &devs), 1);
	rig_forget(&r);
	rig_pass(&r, (ROUTER_HOLD_S + 2) * NS_PER_S);
	msg_free(rig_published(&r, MSG_RELEASE, &n));
	assert_int_equal(n, 1);
	news(&r, a, HCP__ALLOCATION_STATE__RELEASED);
	assert_int_equal(places(&r, b, &devs), 1);
	rig_release(&r);
}

static void demand_is_told_by_class(void **state)
{
	struct rig r;
	int n;
	rig_init(&r, &router_def, NULL);
	devices(&r, "n1", "H100", 2, HCP__DEVICE_STATE__IDLE, HCP__MODE__OFF);
	enqueue(&r, 1, "cus-a", REALTIME, "H100", 2);
	enqueue(&r, 2, "cus-a", BATCH, "H100", 5);
	rig_pass(&r, NS_PER_S);
	struct msg *m = rig_published(&r, MSG_DEMAND_CHANGED, &n);
	assert_non_null(m);
	const Hcp__DemandChanged *d = (const Hcp__DemandChanged *)m->body;
	assert_string_equal(d->demands[0]->device_class, "H100");
	assert_int_equal(d->demands[0]->realtime, 2);
	assert_int_equal(d->demands[0]->waiting, 5);
	msg_free(m);
	rig_forget(&r);
	rig_pass(&r, 5 * NS_PER_S);
	msg_free(rig_published(&r, MSG_DEMAND_CHANGED, &n));
	assert_int_equal(n, 0);
	rig_release(&r);
}

/* Resources knows what we do not: the next placement names another device, and this one is offered later again. */
static void an_unfit_device_rests(void **state)
{
	struct rig r;
	char a[ID_TEXT_MAX], first[96];
	int n;
	rig_init(&r, &router_def, NULL);
	devices(&r, "n1", "H100", 2, HCP__DEVICE_STATE__IDLE, HCP__MODE__OFF);
	for (int i = 0; i < 2; i++) {
		enqueue(&r, 1 + i, "cus-a", BATCH, "H100", 1);
		struct msg *m = rig_published(&r, MSG_PLACE, &n);
		assert_int_equal(n, 1);
		const Hcp__Place *p = (const Hcp__Place *)m->body;
		if (i)
			assert_string_not_equal(p->device_ids[0], first);
		snprintf(first, sizeof(first), "%s", p->device_ids[0]);
		Hcp__AllocationChanged ev = HCP__ALLOCATION_CHANGED__INIT;
		snprintf(a, sizeof(a), "%s", p->allocation_id);
		ev.allocation_id = a;
		ev.state = HCP__ALLOCATION_STATE__REFUSED;
		ev.unfit_device_id = first;
		msg_free(m);
		rig_forget(&r);
		rig_event(&r, SVC_RESOURCES, &ev.base);
		/* News of the device itself do not end its rest. */
		devices(&r, "n1", "H100", 2, HCP__DEVICE_STATE__IDLE, HCP__MODE__OFF);
	}
	enqueue(&r, 3, "cus-a", BATCH, "H100", 1);
	assert_int_equal(places(&r, a, &n), 0);
	r.now_ns += ROUTER_REST_S * NS_PER_S;
	rig_run(&r);
	assert_int_equal(places(&r, a, &n), 1);
	rig_release(&r);
}

static void bad_messages_change_nothing(void **state)
{
	struct rig r;
	rig_init(&r, &router_def, NULL);
	Hcp__JobEnqueue none = HCP__JOB_ENQUEUE__INIT;
	rig_event(&r, SVC_ORCHESTRATOR, &none.base);
	Hcp__Workload w = HCP__WORKLOAD__INIT;
	w.id = "nonsense";
	none.workload = &w;
	rig_event(&r, SVC_ORCHESTRATOR, &none.base);
	devices(&r, "n1", "NOSUCH", 1, HCP__DEVICE_STATE__IDLE, HCP__MODE__OFF);
	assert_int_equal(queue(&r)->n_entries, 0);
	struct msg *m = msg_new(MSG_CLASSIFY);
	((Hcp__Classify *)m->body)->duration_s = -1;
	rig_post(&r, m);
	rig_expect_problem(&r, "out_of_range", "duration_s");
	m = msg_new(MSG_CLASSIFY);
	((Hcp__Classify *)m->body)->max_latency_ms = 50;
	rig_post(&r, m);
	assert_int_equal(((Hcp__Classification *)r.reply->body)->type, REALTIME);
	rig_release(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(jobs_get_devices_and_give_them_back),
		cmocka_unit_test(a_restart_keeps_who_holds_what),
		cmocka_unit_test(refused_allocations_free_their_devices),
		cmocka_unit_test(a_job_asked_for_again_waits_for_its_release),
		cmocka_unit_test(an_order_that_overtakes_the_end_is_kept),
		cmocka_unit_test(draining_devices_are_not_offered),
		cmocka_unit_test(failed_devices_are_not_offered),
		cmocka_unit_test(a_reservation_nobody_confirms_ends),
		cmocka_unit_test(an_unfit_device_rests),
		cmocka_unit_test(demand_is_told_by_class),
		cmocka_unit_test(bad_messages_change_nothing),
	};
	return cmocka_run_group_tests_name("router", tests, NULL, NULL);
}
