/* Programs run on nodes that have them. */
#include "rig.h"

#include "sched/placement.h"
#include "services/router/router.h"

#define BATCH HCP__WORKLOAD_TYPE__AI_INFERENCE_BATCH
#define TRAINING HCP__WORKLOAD_TYPE__MODEL_TRAINING

static const char *wl_id(int n)
{
	static char text[2][ID_TEXT_MAX];
	static int at;
	struct id id = { .b = { 1, [6] = 0x70, [8] = 0x80, [15] = (uint8_t)n } };
	return id_format(text[at++ % 2], ID_WORKLOAD, &id);
}

/* A node of one device; n < 0: it does not tell what programs it has. */
static void node(struct rig *r, const char *name, const char *cls, int n, const char *const *programs)
{
	Hcp__DevicesChanged ev = HCP__DEVICES_CHANGED__INIT;
	Hcp__Device d = HCP__DEVICE__INIT, *p = &d;
	Hcp__NodePrograms np = HCP__NODE_PROGRAMS__INIT, *nps = &np;
	char id[64];
	snprintf(id, sizeof(id), "%s/%s", name, cls);
	d.id = id;
	d.node_id = np.node_id = name;
	d.facility = "texas-north";
	d.region = "us-tx";
	d.device_class = cls;
	d.state = HCP__DEVICE_STATE__IDLE;
	d.desired = HCP__MODE__OFF;
	d.health = 1;
	np.programs = (const char **)(uintptr_t)programs;
	np.n_programs = n > 0 ? (size_t)n : 0;
	ev.devices = &p;
	ev.n_devices = 1;
	ev.programs = &nps;
	ev.n_programs = n >= 0;
	rig_event(r, SVC_RESOURCES, &ev.base);
}

/* What it has now, without a word on its devices. */
static void tell(struct rig *r, const char *name, int n, const char *const *programs)
{
	Hcp__DevicesChanged ev = HCP__DEVICES_CHANGED__INIT;
	Hcp__NodePrograms np = HCP__NODE_PROGRAMS__INIT, *nps = &np;
	np.node_id = name;
	np.programs = (const char **)(uintptr_t)programs;
	np.n_programs = (size_t)n;
	ev.programs = &nps;
	ev.n_programs = 1;
	rig_forget(r);
	rig_event(r, SVC_RESOURCES, &ev.base);
}

static void ask(struct rig *r, int n, Hcp__WorkloadType type, const char *cls, const char *program)
{
	Hcp__JobEnqueue ev = HCP__JOB_ENQUEUE__INIT;
	Hcp__Workload w = HCP__WORKLOAD__INIT;
	w.id = wl_id(n);
	w.customer_id = n < 8 ? "cus-a" : "cus-b";
	w.type = type;
	w.device_class = cls;
	w.device_count = 1;
	w.program = program;
	ev.workload = &w;
	rig_forget(r);
	rig_event(r, SVC_ORCHESTRATOR, &ev.base);
}

/* Where the last job since rig_forget was placed; "": nowhere. */
static const char *placed(struct rig *r, char allocation[ID_TEXT_MAX])
{
	static char device[64];
	int n;
	struct msg *m = rig_published(r, MSG_PLACE, &n);
	device[0] = allocation[0] = '\0';
	if (m) {
		snprintf(device, sizeof(device), "%s", ((const Hcp__Place *)m->body)->device_ids[0]);
		snprintf(allocation, ID_TEXT_MAX, "%s", ((const Hcp__Place *)m->body)->allocation_id);
	}
	msg_free(m);
	return device;
}

static void news(struct rig *r, const char *alloc, Hcp__AllocationState s)
{
	Hcp__AllocationChanged ev = HCP__ALLOCATION_CHANGED__INIT;
	ev.allocation_id = alloc;
	ev.state = s;
	rig_event(r, SVC_RESOURCES, &ev.base);
}

static const char *reason(struct rig *r, int n)
{
	struct msg *m = msg_new(MSG_QUEUE_GET);
	((Hcp__QueueGet *)m->body)->workload_id = wl_id(n);
	rig_post(r, m);
	assert_int_equal(((Hcp__Queue *)r->reply->body)->n_entries, 1);
	return ((Hcp__Queue *)r->reply->body)->entries[0]->reason;
}

static void it_goes_where_it_is_allowed(void **state)
{
	static const char *const train[] = { "other", "train" };
	struct rig r;
	char al[ID_TEXT_MAX];
	int n;
	rig_init(&r, &router_def, NULL);
	for (int i = 0; i < 20; i++) {
		char name[16];
		snprintf(name, sizeof(name), "n%d", i);
		node(&r, name, "H100", i == 13 ? 2 : 0, train);
	}
	node(&r, "n13", "CPU64", 2, train);
	ask(&r, 1, TRAINING, "H100", "train");
	assert_string_equal(placed(&r, al), "n13/H100");
	ask(&r, 2, TRAINING, "CPU64", "train"); /* of all its devices */
	assert_string_equal(placed(&r, al), "n13/CPU64");
	ask(&r, 3, TRAINING, "H100", "train");
	assert_string_equal(placed(&r, al), "");
	assert_non_null(strstr(reason(&r, 3), "fits when 1 of 1 busy ones end"));
	ask(&r, 4, TRAINING, "H100", "nothing");
	struct msg *m = rig_published(&r, MSG_JOB_STATE, &n);
	assert_string_equal(((const Hcp__JobState *)m->body)->reason, "no node of class H100 has program nothing");
	msg_free(m);
	assert_string_equal(reason(&r, 4), "no node of class H100 has program nothing");
	ask(&r, 5, TRAINING, "H100", ""); /* no program: anywhere, n13 is taken */
	assert_string_not_equal(placed(&r, al), "");
	/* As it was told, also after a restart; and it may be told otherwise. */
	rig_restart(&r);
	assert_string_equal(reason(&r, 4), "no node of class H100 has program nothing");
	tell(&r, "n7", 1, train + 1);
	assert_string_equal(placed(&r, al), "n7/H100");
	tell(&r, "n8", 1, (const char *const[]){ "nothing" });
	assert_string_equal(placed(&r, al), "n8/H100");
	tell(&r, "n99", 1, train); /* not known: nothing happens */
	rig_expect_replay(&r);
	rig_release(&r);
}

/* As before: who never told may have it, and a refusal sends the job elsewhere. */
static void who_never_told_may_have_it(void **state)
{
	static const char *const train[] = { "train" };
	const char *many[PLACEMENT_NODE_TAGS_MAX + 1];
	struct rig r;
	char al[ID_TEXT_MAX];
	rig_init(&r, &router_def, NULL);
	node(&r, "n1", "H100", -1, NULL);
	node(&r, "n2", "H100", 1, train);
	ask(&r, 1, TRAINING, "H100", "train");
	assert_string_equal(placed(&r, al), "n2/H100"); /* rather where it is known to be */
	ask(&r, 2, TRAINING, "H100", "train");
	assert_string_equal(placed(&r, al), "n1/H100");
	for (size_t i = 0; i < sizeof(many) / sizeof(many[0]); i++)
		many[i] = "x";
	node(&r, "n3", "H100", PLACEMENT_NODE_TAGS_MAX + 1, many); /* more than a node may have: as if never told */
	ask(&r, 3, TRAINING, "H100", "train");
	assert_string_equal(placed(&r, al), "n3/H100");
	rig_expect_replay(&r);
	rig_release(&r);
}

/* Who yields must leave a device on which the program may run. */
static void only_those_on_its_nodes_yield(void **state)
{
	static const char *const train[] = { "train" };
	struct rig r;
	char other[ID_TEXT_MAX], here[ID_TEXT_MAX];
	int n;
	rig_init(&r, &router_def, NULL);
	node(&r, "n1", "H100", 1, train);
	ask(&r, 1, TRAINING, "H100", "");
	assert_string_equal(placed(&r, here), "n1/H100");
	news(&r, here, HCP__ALLOCATION_STATE__HELD);
	rig_pass(&r, 3600 * NS_PER_S);
	node(&r, "n2", "H100", 0, NULL);
	ask(&r, 2, TRAINING, "H100", "");
	assert_string_equal(placed(&r, other), "n2/H100");
	news(&r, other, HCP__ALLOCATION_STATE__HELD);
	rig_pass(&r, 700 * NS_PER_S); /* the second has less to lose */
	ask(&r, 9, BATCH, "H100", "train");
	rig_pass(&r, 200 * NS_PER_S);
	struct msg *m = rig_published(&r, MSG_RELEASE, &n);
	assert_int_equal(n, 1);
	assert_string_equal(((const Hcp__Release *)m->body)->allocation_id, here);
	msg_free(m);
	news(&r, here, HCP__ALLOCATION_STATE__RELEASED);
	node(&r, "n1", "H100", 1, train);
	assert_string_equal(placed(&r, here), "n1/H100");
	news(&r, here, HCP__ALLOCATION_STATE__HELD);
	ask(&r, 10, BATCH, "H100", "train2");
	rig_pass(&r, 1000 * NS_PER_S);
	msg_free(rig_published(&r, MSG_RELEASE, &n));
	assert_int_equal(n, 0); /* nobody yields for what no node has */
	rig_expect_replay(&r);
	rig_release(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_goes_where_it_is_allowed),
		cmocka_unit_test(who_never_told_may_have_it),
		cmocka_unit_test(only_those_on_its_nodes_yield),
	};
	return cmocka_run_group_tests_name("router_programs", tests, NULL, NULL);
}
