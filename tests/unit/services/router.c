#include <math.h>

#include "rig.h"

#include "services/router/router.h"

static const char *wl_id(int n, char dst[ID_TEXT_MAX])
{
	struct id id = { .b = { 1, [6] = 0x70, [8] = 0x80, [15] = (uint8_t)n } };
	return id_format(dst, ID_WORKLOAD, &id);
}

/* What was announced last of a node, so that it can be said again. */
static struct told {
	const char *node, *cls;
	int n;
	Hcp__Mode mode;
} told[16];
static size_t n_told;

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
	size_t at = 0;
	while (at < n_told && (strcmp(told[at].node, node) != 0 || strcmp(told[at].cls, cls) != 0))
		at++;
	assert_true(at < sizeof(told) / sizeof(told[0]));
	told[at] = (struct told){ node, cls, n, mode };
	n_told += at == n_told;
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

/* Given back, and the devices are idle again. */
static void given_back(struct rig *r, const char *alloc)
{
	news(r, alloc, HCP__ALLOCATION_STATE__RELEASED);
	for (size_t i = 0; i < n_told; i++)
		devices(r, told[i].node, told[i].cls, told[i].n, HCP__DEVICE_STATE__IDLE, told[i].mode);
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
	given_back(&r, a);
	assert_int_equal(places(&r, b, &devs), 1);
	assert_int_equal(devs, 2);
	assert_int_equal(queue(&r)->n_entries, 0);
	rig_expect_replay(&r);
	rig_release(&r);
}

static const char *const before_bare_jobs =
	"CREATE TABLE old(n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, state INTEGER NOT NULL, again INTEGER NOT NULL,"
	"  committed INTEGER NOT NULL, enqueued_ns INTEGER NOT NULL, body BLOB NOT NULL, place BLOB NOT NULL,"
	"  since_ns INTEGER NOT NULL DEFAULT 0);"
	"INSERT INTO old SELECT n,id,state,again,committed,enqueued_ns,body,place,since_ns FROM job;"
	"DROP TABLE job;"
	"ALTER TABLE old RENAME TO job;"
	"DROP TABLE node_programs;";

/* Tables of the version before: who holds what and who waits is as it was. */
static void old_tables_are_taken_over(void **state)
{
	struct rig r;
	char a[ID_TEXT_MAX], b[ID_TEXT_MAX];
	int devs;
	rig_init(&r, &router_def, NULL);
	devices(&r, "n1", "H100", 4, HCP__DEVICE_STATE__IDLE, HCP__MODE__FILL);
	enqueue(&r, 1, "cus-a", REALTIME, "H100", 4);
	assert_int_equal(places(&r, a, &devs), 1);
	news(&r, a, HCP__ALLOCATION_STATE__HELD);
	enqueue(&r, 2, "cus-a", REALTIME, "H100", 3);
	assert_true(rig_expect_packed(&r) >= 3);
	rig_restart_steps_before(&r, 2, before_bare_jobs);
	rig_forget(&r);
	rig_pass(&r, 2 * NS_PER_S);
	assert_int_equal(places(&r, b, &devs), 0);
	assert_int_equal(queue(&r)->n_entries, 1);
	given_back(&r, a);
	assert_int_equal(places(&r, b, &devs), 1);
	assert_int_equal(devs, 3);
	rig_restart(&r);
	rig_forget(&r);
	rig_pass(&r, 2 * NS_PER_S);
	assert_int_equal(places(&r, a, &devs), 0);
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
	given_back(&r, a);
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
	given_back(&r, a);
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
	given_back(&r, a);
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

/* Once a minute demand says when running jobs are expected to end; also if nothing else changed since. */
static void demand_tells_what_will_come_back(void **state)
{
	struct rig r;
	char a[ID_TEXT_MAX], id[ID_TEXT_MAX];
	int n, devs;
	rig_init(&r, &router_def, NULL);
	devices(&r, "n1", "H100", 4, HCP__DEVICE_STATE__IDLE, HCP__MODE__OFF);
	rig_pass(&r, 2 * NS_PER_S);
	Hcp__Workload w = HCP__WORKLOAD__INIT;
	Hcp__JobEnqueue ev = HCP__JOB_ENQUEUE__INIT;
	w.id = wl_id(1, id);
	w.customer_id = "cus-a";
	w.type = BATCH;
	w.priority = 5;
	w.device_class = "H100";
	w.device_count = 3;
	w.duration_s = 5400;
	ev.workload = &w;
	rig_event(&r, SVC_ORCHESTRATOR, &ev.base);
	assert_int_equal(places(&r, a, &devs), 1);
	news(&r, a, HCP__ALLOCATION_STATE__HELD);
	rig_pass(&r, 2 * NS_PER_S);
	rig_forget(&r);
	rig_pass(&r, 70 * NS_PER_S);
	struct msg *m = rig_published(&r, MSG_DEMAND_CHANGED, &n);
	assert_int_equal(n, 1);
	const Hcp__DemandChanged *d = (const Hcp__DemandChanged *)m->body;
	for (size_t i = 0; i < d->n_demands; i++) {
		assert_int_equal(d->demands[i]->n_ends, 24);
		if (!strcmp(d->demands[i]->device_class, "H100"))
			assert_true(d->demands[i]->ends[1] == 3 && d->demands[i]->ends[0] == 0 && d->demands[i]->batch == 3);
	}
	msg_free(m);
	rig_expect_replay(&r);
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
	m = msg_new(MSG_CLASSIFY);
	((Hcp__Classify *)m->body)->cpu_cores = (double)INFINITY;
	rig_post(&r, m);
	rig_expect_problem(&r, "out_of_range", "cpu_cores");
	m = msg_new(MSG_CLASSIFY);
	((Hcp__Classify *)m->body)->gpu_fraction = 1.5;
	rig_post(&r, m);
	rig_expect_problem(&r, "out_of_range", "gpu_fraction");
	m = msg_new(MSG_CLASSIFY);
	((Hcp__Classify *)m->body)->type_hint = "cooking";
	rig_post(&r, m);
	rig_expect_problem(&r, "invalid", "type_hint");
	m = msg_new(MSG_CLASSIFY);
	((Hcp__Classify *)m->body)->needs_gpu = true;
	((Hcp__Classify *)m->body)->duration_s = 15;
	rig_post(&r, m);
	assert_string_equal(((Hcp__Classification *)r.reply->body)->by, "model");
	assert_int_equal(((Hcp__Classification *)r.reply->body)->type, REALTIME);
	rig_release(&r);
}

/* ---- those that yield ---- */

/* As the orchestrator sends it, with what only some tests set. */
static void enqueue_as(struct rig *r, int n, Hcp__Workload *w)
{
	char id[ID_TEXT_MAX];
	Hcp__JobEnqueue ev = HCP__JOB_ENQUEUE__INIT;
	w->id = wl_id(n, id);
	w->priority = w->priority ? w->priority : 5;
	w->device_class = "H100";
	w->device_count = w->device_count ? w->device_count : 1;
	ev.workload = w;
	rig_event(r, SVC_ORCHESTRATOR, &ev.base);
}

/* Placed and held at once. */
static void run(struct rig *r, int n, const char *customer, Hcp__WorkloadType type, int count, char alloc[ID_TEXT_MAX])
{
	int devs;
	rig_forget(r);
	enqueue(r, n, customer, type, "H100", count);
	assert_int_equal(places(r, alloc, &devs), 1);
	news(r, alloc, HCP__ALLOCATION_STATE__HELD);
	rig_forget(r);
}

/* The workloads that had to yield since rig_forget, and to whom the last did. */
static int releases(struct rig *r, char workload[ID_TEXT_MAX], char by[ID_TEXT_MAX])
{
	int n;
	struct msg *m = rig_published(r, MSG_RELEASE, &n);
	if (m) {
		const Hcp__Release *rel = (const Hcp__Release *)m->body;
		snprintf(workload, ID_TEXT_MAX, "%s", rel->workload_id);
		snprintf(by, ID_TEXT_MAX, "%s", rel->preempted_by);
		assert_true(rel->reason[0] != '\0');
	}
	msg_free(m);
	return n;
}

#define TRAINING HCP__WORKLOAD_TYPE__MODEL_TRAINING
#define HOUR_NS (3600 * NS_PER_S)

static const Hcp__QueueEntry *entry_of(struct rig *r, int n)
{
	char id[ID_TEXT_MAX];
	const Hcp__Queue *q = queue(r);
	wl_id(n, id);
	for (size_t i = 0; i < q->n_entries; i++)
		if (!strcmp(q->entries[i]->workload_id, id))
			return q->entries[i];
	return NULL;
}

/* Real-time work takes the place of the training that has lost least; nobody else gets what was freed for it. */
static void the_cheapest_yields_to_real_time_work(void **state)
{
	struct rig r;
	char a[ID_TEXT_MAX], b[ID_TEXT_MAX], c[ID_TEXT_MAX], who[ID_TEXT_MAX], by[ID_TEXT_MAX], id[ID_TEXT_MAX];
	int devs;
	rig_init(&r, &router_def, NULL);
	devices(&r, "n1", "H100", 2, HCP__DEVICE_STATE__IDLE, HCP__MODE__OFF);
	run(&r, 1, "cus-a", TRAINING, 1, a);
	rig_pass(&r, HOUR_NS);
	run(&r, 2, "cus-a", TRAINING, 1, b);
	enqueue(&r, 3, "cus-c", REALTIME, "H100", 1);
	assert_int_equal(releases(&r, who, by), 1); /* number 2 has just begun and is protected */
	assert_string_equal(who, wl_id(1, id));
	assert_string_equal(by, wl_id(3, id));
	assert_non_null(strstr(entry_of(&r, 3)->reason, "1 job yields 1 devices to it"));
	assert_int_equal(queue(&r)->yielding, 1);
	assert_int_equal(queue(&r)->preemptions, 1);
	/* Its owner cancels the other one meanwhile: the real-time job gets that device, nobody asks twice. */
	rig_forget(&r);
	rig_pass(&r, 5 * NS_PER_S);
	assert_int_equal(releases(&r, who, by), 0);
	enqueue(&r, 4, "cus-d", REALTIME, "H100", 1);
	assert_int_equal(releases(&r, who, by), 0);
	given_back(&r, a);
	assert_int_equal(places(&r, c, &devs), 1);
	struct msg *m = rig_published(&r, MSG_PLACE, &devs);
	assert_string_equal(((Hcp__Place *)m->body)->workload->id, wl_id(3, id));
	msg_free(m);
	assert_int_equal(queue(&r)->yielding, 0);
	rig_expect_replay(&r);
	rig_release(&r);
}

/* Who yielded is queued where it was, with what is left of its work; and it does not make others yield to come back. */
static void who_yielded_has_its_old_place(void **state)
{
	struct rig r;
	char a[ID_TEXT_MAX], b[ID_TEXT_MAX], who[ID_TEXT_MAX], by[ID_TEXT_MAX];
	int64_t queued_ns;
	int devs;
	rig_init(&r, &router_def, NULL);
	devices(&r, "n1", "H100", 1, HCP__DEVICE_STATE__IDLE, HCP__MODE__OFF);
	queued_ns = r.now_ns;
	run(&r, 1, "cus-a", BATCH, 1, a);
	rig_pass(&r, HOUR_NS);
	enqueue(&r, 2, "cus-b", REALTIME, "H100", 1);
	assert_int_equal(releases(&r, who, by), 1);
	given_back(&r, a);
	assert_int_equal(places(&r, b, &devs), 1);
	news(&r, b, HCP__ALLOCATION_STATE__HELD);
	rig_forget(&r);
	Hcp__Workload w = HCP__WORKLOAD__INIT;
	char preemptor[ID_TEXT_MAX];
	w.customer_id = "cus-a";
	w.type = BATCH;
	w.queued_at_ns = queued_ns;
	w.preemptions = 1;
	w.preempted_by = wl_id(2, preemptor);
	enqueue_as(&r, 1, &w);
	assert_int_equal(releases(&r, who, by), 0);
	const Hcp__QueueEntry *e = entry_of(&r, 1);
	assert_true(e->waiting_since_ns == queued_ns && e->overdue);
	assert_int_equal(e->preemptions, 1);
	assert_non_null(strstr(e->reason, "fits when 1 of 1 busy ones end"));
	rig_pass(&r, HOUR_NS);
	assert_int_equal(releases(&r, who, by), 0);
	assert_int_equal(places(&r, b, &devs), 0);
	rig_expect_replay(&r);
	rig_release(&r);
}

/* Batch and training have patience first; training of one customer reclaims what another has beyond its share. */
static void borrowed_devices_are_reclaimed_after_a_while(void **state)
{
	struct rig r;
	char a[3][ID_TEXT_MAX], who[ID_TEXT_MAX], by[ID_TEXT_MAX], id[ID_TEXT_MAX];
	int devs;
	rig_init(&r, &router_def, NULL);
	devices(&r, "n1", "H100", 4, HCP__DEVICE_STATE__IDLE, HCP__MODE__OFF);
	run(&r, 1, "cus-a", TRAINING, 2, a[0]);
	run(&r, 2, "cus-a", TRAINING, 2, a[1]);
	rig_pass(&r, HOUR_NS);
	enqueue(&r, 3, "cus-b", TRAINING, "H100", 2);
	assert_int_equal(releases(&r, who, by), 0);
	const Hcp__QueueEntry *e = entry_of(&r, 3);
	assert_non_null(strstr(e->reason, "Others may have to yield to it in"));
	assert_true(e->fair_share == 0.5 && e->share == 0);
	enqueue(&r, 4, "cus-a", TRAINING, "H100", 2); /* beyond its share already: may not reclaim */
	r.now_ns += 890 * NS_PER_S;
	rig_run(&r);
	assert_int_equal(releases(&r, who, by), 0);
	r.now_ns += 20 * NS_PER_S;
	rig_run(&r);
	assert_int_equal(releases(&r, who, by), 1);
	assert_string_equal(by, wl_id(3, id));
	given_back(&r, !strcmp(who, wl_id(1, id)) ? a[0] : a[1]);
	assert_int_equal(places(&r, a[2], &devs), 1);
	news(&r, a[2], HCP__ALLOCATION_STATE__HELD);
	rig_forget(&r);
	rig_pass(&r, HOUR_NS);
	assert_int_equal(releases(&r, who, by), 0); /* both have their share now */
	rig_expect_replay(&r);
	rig_release(&r);
}

static void saved(struct rig *r, int n, int64_t step)
{
	char id[ID_TEXT_MAX];
	Hcp__ProgramChanged ev = HCP__PROGRAM_CHANGED__INIT;
	Hcp__Checkpoint c = HCP__CHECKPOINT__INIT;
	ev.workload_id = wl_id(n, id);
	ev.state = HCP__PROGRAM_STATE__PROGRAM_RUNNING;
	ev.checkpoint = &c;
	c.name = "ck";
	c.step = step;
	c.at_ns = r->now_ns;
	rig_event(r, SVC_RESOURCES, &ev.base);
}

static void run_program(struct rig *r, int n, char alloc[ID_TEXT_MAX])
{
	Hcp__Workload w = HCP__WORKLOAD__INIT;
	int devs;
	w.customer_id = "cus-a";
	w.type = TRAINING;
	w.program = "train";
	w.checkpointable = true;
	rig_forget(r);
	enqueue_as(r, n, &w);
	assert_int_equal(places(r, alloc, &devs), 1);
	news(r, alloc, HCP__ALLOCATION_STATE__HELD);
	rig_forget(r);
}

/* Of two programs that run as long the one that has saved itself last loses least; a restart does not change that. */
static void who_has_saved_itself_last_yields(void **state)
{
	struct rig r;
	char a[ID_TEXT_MAX], b[ID_TEXT_MAX], who[ID_TEXT_MAX], by[ID_TEXT_MAX], id[ID_TEXT_MAX];
	rig_init(&r, &router_def, NULL);
	devices(&r, "n1", "H100", 2, HCP__DEVICE_STATE__IDLE, HCP__MODE__OFF);
	run_program(&r, 1, a);
	run_program(&r, 2, b);
	rig_pass(&r, HOUR_NS);
	saved(&r, 1, 10);
	rig_pass(&r, HOUR_NS);
	saved(&r, 2, 10);
	saved(&r, 2, 5); /* late news */
	rig_restart(&r);
	rig_forget(&r);
	rig_pass(&r, 10 * NS_PER_S);
	enqueue(&r, 3, "cus-c", REALTIME, "H100", 1);
	assert_int_equal(releases(&r, who, by), 1);
	assert_string_equal(who, wl_id(2, id));
	rig_expect_replay(&r);
	rig_release(&r);
}

static void who_moves_goes_elsewhere(void **state)
{
	struct rig r;
	char a[ID_TEXT_MAX], b[ID_TEXT_MAX], id[ID_TEXT_MAX];
	int devs;
	Hcp__JobCancel away = HCP__JOB_CANCEL__INIT;
	Hcp__Workload w = HCP__WORKLOAD__INIT;
	rig_init(&r, &router_def, NULL);
	devices(&r, "n1", "H100", 1, HCP__DEVICE_STATE__IDLE, HCP__MODE__OFF);
	run_program(&r, 1, a);
	devices(&r, "n2", "H100", 1, HCP__DEVICE_STATE__IDLE, HCP__MODE__OFF);
	away.workload_id = wl_id(1, id);
	away.reason = "moves";
	away.elsewhere = true;
	rig_event(&r, SVC_ORCHESTRATOR, &away.base);
	w.customer_id = "cus-a";
	w.type = TRAINING;
	w.program = "train";
	enqueue_as(&r, 1, &w);
	rig_forget(&r);
	news(&r, a, HCP__ALLOCATION_STATE__RELEASED);
	devices(&r, "n1", "H100", 1, HCP__DEVICE_STATE__IDLE, HCP__MODE__OFF);
	assert_int_equal(places(&r, b, &devs), 1);
	struct msg *m = rig_published(&r, MSG_PLACE, &devs);
	assert_int_equal(strncmp(((Hcp__Place *)m->body)->device_ids[0], "n2/", 3), 0);
	msg_free(m);
	rig_expect_replay(&r);
	rig_release(&r);
}

static void after_a_restart_the_same_ones_may_yield(void **state)
{
	struct rig r;
	char a[ID_TEXT_MAX], who[ID_TEXT_MAX], by[ID_TEXT_MAX];
	rig_init(&r, &router_def, NULL);
	devices(&r, "n1", "H100", 1, HCP__DEVICE_STATE__IDLE, HCP__MODE__OFF);
	run(&r, 1, "cus-a", TRAINING, 1, a);
	rig_restart(&r);
	rig_forget(&r);
	rig_pass(&r, 590 * NS_PER_S);
	enqueue(&r, 2, "cus-b", REALTIME, "H100", 1);
	assert_int_equal(releases(&r, who, by), 0); /* protected for ten minutes since it began, not since the restart */
	rig_pass(&r, 11 * NS_PER_S);
	assert_int_equal(releases(&r, who, by), 1);
	rig_restart(&r);
	rig_forget(&r);
	given_back(&r, a);
	assert_int_equal(places(&r, a, &(int){ 0 }), 1);
	rig_expect_replay(&r);
	rig_release(&r);
}

/* Devices that never come back: after two minutes they are no longer kept. */
static void what_does_not_come_is_not_kept_for_ever(void **state)
{
	struct rig r;
	char a[ID_TEXT_MAX], who[ID_TEXT_MAX], by[ID_TEXT_MAX];
	int devs;
	rig_init(&r, &router_def, NULL);
	devices(&r, "n1", "H100", 1, HCP__DEVICE_STATE__IDLE, HCP__MODE__OFF);
	devices(&r, "n2", "H100", 1, HCP__DEVICE_STATE__IDLE, HCP__MODE__OFF);
	run(&r, 1, "cus-a", TRAINING, 2, a);
	rig_pass(&r, HOUR_NS);
	enqueue(&r, 2, "cus-b", REALTIME, "H100", 2);
	assert_int_equal(releases(&r, who, by), 1);
	enqueue(&r, 3, "cus-c", REALTIME, "H100", 1);
	rig_forget(&r);
	Hcp__AllocationChanged ev = HCP__ALLOCATION_CHANGED__INIT;
	ev.allocation_id = a;
	ev.state = HCP__ALLOCATION_STATE__RELEASED;
	rig_event_seq(&r, SVC_RESOURCES, &ev.base, 0);
	devices(&r, "n1", "H100", 1, HCP__DEVICE_STATE__DEVICE_FAILED, HCP__MODE__OFF); /* one of the two */
	devices(&r, "n2", "H100", 1, HCP__DEVICE_STATE__IDLE, HCP__MODE__OFF);
	assert_int_equal(places(&r, a, &devs), 0);
	assert_non_null(strstr(entry_of(&r, 3)->reason, "kept for"));
	rig_pass(&r, (ROUTER_YIELD_S + 1) * NS_PER_S);
	assert_int_equal(places(&r, a, &devs), 1);
	assert_int_equal(devs, 1);
	rig_expect_replay(&r);
	rig_release(&r);
}

static void hopeless_deadlines_are_refused_at_once(void **state)
{
	struct rig r;
	int n;
	rig_init(&r, &router_def, NULL);
	devices(&r, "n1", "H100", 2, HCP__DEVICE_STATE__IDLE, HCP__MODE__OFF);
	for (int i = 0; i < 2; i++) {
		Hcp__Workload w = HCP__WORKLOAD__INIT;
		w.customer_id = "cus-a";
		w.type = BATCH;
		w.duration_s = 60;
		w.device_count = i ? 3 : 1;
		w.deadline_ns = r.now_ns + (i ? 3600 : 60) * NS_PER_S; /* the start alone takes longer; more than there are */
		rig_forget(&r);
		enqueue_as(&r, 1 + i, &w);
		struct msg *m = rig_published(&r, MSG_JOB_STATE, &n);
		assert_int_equal(n, 1);
		const Hcp__JobState *j = (const Hcp__JobState *)m->body;
		assert_string_equal(j->state, "gone");
		assert_non_null(
			strstr(j->reason, i ? "Wants 3, the inventory has 2" : "60.05 s, start included, and 60.00 s are left"));
		msg_free(m);
		assert_int_equal(queue(&r)->total, 0);
	}
	Hcp__Workload w = HCP__WORKLOAD__INIT;
	w.customer_id = "cus-a";
	w.type = BATCH;
	w.duration_s = 60;
	w.deadline_ns = r.now_ns + 61 * NS_PER_S;
	enqueue_as(&r, 3, &w);
	char a[ID_TEXT_MAX];
	assert_int_equal(places(&r, a, &n), 1);
	rig_expect_replay(&r);
	rig_release(&r);
}

static struct msg *page(int limit, const char *cursor, const char *cls, const char *customer)
{
	struct msg *m = msg_new(MSG_QUEUE_GET);
	Hcp__QueueGet *g = (Hcp__QueueGet *)m->body;
	g->limit = limit;
	g->cursor = cursor;
	g->priority_class = cls;
	g->customer_id = customer;
	return m;
}

static void the_queue_comes_by_pages(void **state)
{
	static const Hcp__Principal own = { PROTOBUF_C_MESSAGE_INIT(&hcp__principal__descriptor), "usr-1", "cus-b",
		"b@b.com", HCP__ROLE__CUSTOMER, 0 };
	struct rig r;
	char cursor[ID_TEXT_MAX] = "", id[ID_TEXT_MAX];
	int seen = 0;
	rig_init(&r, &router_def, NULL);
	for (int i = 1; i <= 25; i++)
		enqueue(&r, i, i % 5 ? "cus-a" : "cus-b", i % 2 ? BATCH : TRAINING, "H100", 1);
	for (int n = 0; n < 2; n++) {
		rig_post(&r, page(10, cursor, "", ""));
		const Hcp__Queue *q = (const Hcp__Queue *)r.reply->body;
		assert_int_equal(q->total, 25 - n);
		assert_int_equal(q->n_entries, 10);
		for (size_t i = 0; i < q->n_entries; i++)
			assert_string_equal(q->entries[i]->workload_id, wl_id(++seen, id));
		snprintf(cursor, sizeof(cursor), "%s", q->next_cursor);
		if (n == 0)
			cancel(&r, 10); /* the job that the cursor names goes: the next page begins behind it all the same */
	}
	rig_post(&r, page(10, cursor, "", ""));
	assert_int_equal(((Hcp__Queue *)r.reply->body)->n_entries, 5);
	assert_string_equal(((Hcp__Queue *)r.reply->body)->next_cursor, "");
	rig_post(&r, page(0, "", "P3", "cus-b"));
	assert_int_equal(((Hcp__Queue *)r.reply->body)->n_entries, 1); /* 20, since 10 is cancelled */
	struct msg *m = page(0, "", "", "");
	m->principal = &own;
	rig_post(&r, m);
	assert_int_equal(((Hcp__Queue *)r.reply->body)->n_entries, 4);
	m = page(0, "", "", "cus-a");
	m->principal = &own;
	rig_post(&r, m);
	rig_expect_problem(&r, "forbidden", "customer_id");
	rig_post(&r, page(201, "", "", ""));
	rig_expect_problem(&r, "out_of_range", "limit");
	rig_post(&r, page(0, "", "P5", ""));
	rig_expect_problem(&r, "invalid", "priority_class");
	m = msg_new(MSG_QUEUE_GET);
	((Hcp__QueueGet *)m->body)->workload_id = wl_id(7, id);
	rig_post(&r, m);
	assert_int_equal(((Hcp__Queue *)r.reply->body)->n_entries, 1);
	rig_release(&r);
}

/* Weight, limit and projects as the orchestrator tells them; they outlive a restart. */
static void quotas_bind(void **state)
{
	struct rig r;
	char a[ID_TEXT_MAX];
	int devs;
	Hcp__CustomerQuotaSet q = HCP__CUSTOMER_QUOTA_SET__INIT;
	Hcp__CustomerQuotaChanged ev = HCP__CUSTOMER_QUOTA_CHANGED__INIT;
	rig_init(&r, &router_def, NULL);
	devices(&r, "n1", "H100", 4, HCP__DEVICE_STATE__IDLE, HCP__MODE__OFF);
	q.customer_id = "cus-a";
	q.max_devices = 2;
	ev.quota = &q;
	rig_event(&r, SVC_ORCHESTRATOR, &ev.base);
	run(&r, 1, "cus-a", BATCH, 1, a);
	enqueue(&r, 2, "cus-a", BATCH, "H100", 2);
	assert_int_equal(places(&r, a, &devs), 0);
	assert_non_null(strstr(entry_of(&r, 2)->reason, "as its quota allows"));
	enqueue(&r, 3, "cus-b", BATCH, "H100", 2);
	assert_int_equal(places(&r, a, &devs), 1);
	rig_restart(&r);
	rig_forget(&r);
	rig_pass(&r, HOUR_NS);
	assert_int_equal(places(&r, a, &devs), 0);
	q.max_devices = 0;
	rig_event(&r, SVC_ORCHESTRATOR, &ev.base);
	enqueue(&r, 4, "cus-a", BATCH, "H100", 1);
	assert_int_equal(places(&r, a, &devs), 1);
	rig_expect_replay(&r);
	rig_release(&r);
}

static int forget_told(void **state)
{
	n_told = 0;
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(jobs_get_devices_and_give_them_back, forget_told),
		cmocka_unit_test_setup(a_restart_keeps_who_holds_what, forget_told),
		cmocka_unit_test_setup(old_tables_are_taken_over, forget_told),
		cmocka_unit_test_setup(refused_allocations_free_their_devices, forget_told),
		cmocka_unit_test_setup(a_job_asked_for_again_waits_for_its_release, forget_told),
		cmocka_unit_test_setup(an_order_that_overtakes_the_end_is_kept, forget_told),
		cmocka_unit_test_setup(draining_devices_are_not_offered, forget_told),
		cmocka_unit_test_setup(failed_devices_are_not_offered, forget_told),
		cmocka_unit_test_setup(a_reservation_nobody_confirms_ends, forget_told),
		cmocka_unit_test_setup(an_unfit_device_rests, forget_told),
		cmocka_unit_test_setup(demand_is_told_by_class, forget_told),
		cmocka_unit_test_setup(demand_tells_what_will_come_back, forget_told),
		cmocka_unit_test_setup(bad_messages_change_nothing, forget_told),
		cmocka_unit_test_setup(the_cheapest_yields_to_real_time_work, forget_told),
		cmocka_unit_test_setup(who_yielded_has_its_old_place, forget_told),
		cmocka_unit_test_setup(borrowed_devices_are_reclaimed_after_a_while, forget_told),
		cmocka_unit_test_setup(who_has_saved_itself_last_yields, forget_told),
		cmocka_unit_test_setup(who_moves_goes_elsewhere, forget_told),
		cmocka_unit_test_setup(after_a_restart_the_same_ones_may_yield, forget_told),
		cmocka_unit_test_setup(what_does_not_come_is_not_kept_for_ever, forget_told),
		cmocka_unit_test_setup(hopeless_deadlines_are_refused_at_once, forget_told),
		cmocka_unit_test_setup(the_queue_comes_by_pages, forget_told),
		cmocka_unit_test_setup(quotas_bind, forget_told),
	};
	return cmocka_run_group_tests_name("router", tests, NULL, NULL);
}
