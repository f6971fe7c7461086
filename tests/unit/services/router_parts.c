/* Jobs that want a part of a GPU: where they go, what they count as, and what a restart must find again. */
#include "rig.h"

#include "services/router/router.h"

#define BATCH HCP__WORKLOAD_TYPE__AI_INFERENCE_BATCH

struct part {
	char allocation[ID_TEXT_MAX], device[64], mig[16];
	int milli, start;
};

static const char *wl_id(int n, char dst[ID_TEXT_MAX])
{
	struct id id = { .b = { 1, [6] = 0x70, [8] = 0x80, [15] = (uint8_t)n } };
	return id_format(dst, ID_WORKLOAD, &id);
}

static void devices(struct rig *r, int n, bool drifted)
{
	Hcp__DevicesChanged ev = HCP__DEVICES_CHANGED__INIT;
	Hcp__Device dev[8], *p[8];
	char id[8][32];
	for (int i = 0; i < n; i++) {
		hcp__device__init(p[i] = &dev[i]);
		snprintf(id[i], sizeof(id[i]), "n1/gpu%d", i);
		dev[i].id = id[i];
		dev[i].node_id = "n1";
		dev[i].facility = "texas-north";
		dev[i].region = "us-tx";
		dev[i].device_class = "H100";
		dev[i].state = HCP__DEVICE_STATE__IDLE;
		dev[i].desired = HCP__MODE__OFF;
		dev[i].drifted = drifted;
		dev[i].health = 1;
	}
	ev.n_devices = (size_t)n;
	ev.devices = p;
	rig_event(r, SVC_RESOURCES, &ev.base);
}

/* 1: it was placed, *ret says where. */
static int ask(struct rig *r, int n, const char *customer, Hcp__Workload w, struct part *ret)
{
	Hcp__JobEnqueue ev = HCP__JOB_ENQUEUE__INIT;
	char id[ID_TEXT_MAX];
	int placed;
	rig_forget(r);
	w.id = wl_id(n, id);
	w.customer_id = customer;
	w.type = w.type ? w.type : BATCH;
	w.device_class = "H100";
	w.device_count = w.device_count ? w.device_count : 1;
	ev.workload = &w;
	rig_event(r, SVC_ORCHESTRATOR, &ev.base);
	struct msg *m = rig_published(r, MSG_PLACE, &placed);
	*ret = (struct part){ 0 };
	if (m) {
		const Hcp__Place *p = (const Hcp__Place *)m->body;
		snprintf(ret->allocation, ID_TEXT_MAX, "%s", p->allocation_id);
		snprintf(ret->device, sizeof(ret->device), "%s", p->device_ids[0]);
		snprintf(ret->mig, sizeof(ret->mig), "%s", p->share ? p->share->mig_profile : "");
		ret->milli = p->share ? p->share->milli : 0;
		ret->start = p->share ? p->share->mig_start : 0;
	}
	msg_free(m);
	return placed;
}

static Hcp__Workload fraction(double of, int memory_gib)
{
	Hcp__Workload w = HCP__WORKLOAD__INIT;
	w.gpu_fraction = of;
	w.memory_gib = memory_gib;
	return w;
}

static Hcp__Workload instance(const char *profile)
{
	Hcp__Workload w = HCP__WORKLOAD__INIT;
	w.mig_profile = profile;
	return w;
}

static Hcp__Workload whole(int count)
{
	Hcp__Workload w = HCP__WORKLOAD__INIT;
	w.device_count = count;
	return w;
}

static void news(struct rig *r, const char *alloc, Hcp__AllocationState s)
{
	Hcp__AllocationChanged ev = HCP__ALLOCATION_CHANGED__INIT;
	ev.allocation_id = alloc;
	ev.state = s;
	rig_event(r, SVC_RESOURCES, &ev.base);
}

static const Hcp__QueueEntry *entry(struct rig *r, int n)
{
	struct msg *m = msg_new(MSG_QUEUE_GET);
	char id[ID_TEXT_MAX];
	((Hcp__QueueGet *)m->body)->workload_id = wl_id(n, id);
	rig_post(r, m);
	assert_int_equal(((Hcp__Queue *)r->reply->body)->n_entries, 1);
	return ((Hcp__Queue *)r->reply->body)->entries[0];
}

static void fractions_share_and_whole_jobs_do_not(void **state)
{
	struct rig r;
	struct part a, b, c, d;
	rig_init(&r, &router_def, NULL);
	devices(&r, 2, false);
	assert_int_equal(ask(&r, 1, "cus-a", fraction(0.6, 0), &a), 1);
	assert_int_equal(a.milli, 600);
	assert_int_equal(ask(&r, 2, "cus-b", fraction(0.4, 0), &b), 1);
	assert_string_equal(b.device, a.device); /* beside the first, not on a device of its own */
	news(&r, a.allocation, HCP__ALLOCATION_STATE__HELD);
	news(&r, b.allocation, HCP__ALLOCATION_STATE__HELD);
	assert_int_equal(ask(&r, 3, "cus-c", whole(1), &c), 1);
	assert_string_not_equal(c.device, a.device);
	assert_int_equal(c.milli, 0);
	assert_int_equal(ask(&r, 4, "cus-d", whole(1), &d), 0);
	assert_int_equal(ask(&r, 5, "cus-d", fraction(0.25, 0), &d), 0);
	const Hcp__QueueEntry *e = entry(&r, 5);
	assert_true(e->gpu_fraction == 0.25);
	assert_string_equal(e->reason,
		"No device is free, and at most 0 thousandths are left on a shared one; wants 250. Ask for "
		"less, or it fits when others end. Others may have to yield to it in 150 s.");
	/* A device is whole again when the last of them has gone. */
	news(&r, b.allocation, HCP__ALLOCATION_STATE__RELEASED);
	rig_forget(&r);
	rig_pass(&r, NS_PER_S);
	assert_non_null(strstr(entry(&r, 4)->reason, "0 are free"));
	rig_expect_replay(&r);
	rig_release(&r);
}

/* As soon as one of a shared device ends, one that waits takes its part. */
static void what_comes_free_is_taken(void **state)
{
	struct rig r;
	struct part a, b, c;
	int n;
	rig_init(&r, &router_def, NULL);
	devices(&r, 1, false);
	assert_int_equal(ask(&r, 1, "cus-a", fraction(0.7, 0), &a), 1);
	assert_int_equal(ask(&r, 2, "cus-b", fraction(0.3, 0), &b), 1);
	assert_int_equal(ask(&r, 3, "cus-c", fraction(0.35, 0), &c), 0);
	news(&r, b.allocation, HCP__ALLOCATION_STATE__RELEASED);
	struct msg *m = rig_published(&r, MSG_PLACE, &n);
	assert_int_equal(n, 0); /* 300 are too few */
	msg_free(m);
	news(&r, a.allocation, HCP__ALLOCATION_STATE__RELEASED);
	m = rig_published(&r, MSG_PLACE, &n);
	assert_int_equal(n, 1);
	assert_int_equal(((const Hcp__Place *)m->body)->share->milli, 350);
	msg_free(m);
	rig_release(&r);
}

static void memory_may_be_the_larger_share(void **state)
{
	struct rig r;
	struct part a, b;
	rig_init(&r, &router_def, NULL);
	devices(&r, 2, false);
	assert_int_equal(ask(&r, 1, "cus-a", fraction(0.1, 40), &a), 1);
	assert_int_equal(a.milli, 500);
	assert_int_equal(ask(&r, 2, "cus-a", fraction(0.1, 80), &b), 1); /* all of it: nobody shares that device */
	assert_int_equal(b.milli, 0);
	assert_string_not_equal(a.device, b.device);
	assert_int_equal(ask(&r, 3, "cus-a", fraction(0.5, 0), &a), 1);
	rig_restart(&r);
	assert_int_equal(ask(&r, 4, "cus-a", fraction(0.001, 0), &a), 0);
	rig_release(&r);
}

static void instances_come_again_to_their_very_places(void **state)
{
	struct rig r;
	struct part a, b, c, f;
	rig_init(&r, &router_def, NULL);
	devices(&r, 2, false);
	assert_int_equal(ask(&r, 1, "cus-a", instance("3g.40gb"), &a), 1);
	assert_int_equal(ask(&r, 2, "cus-a", instance("1g.10gb"), &b), 1);
	assert_string_equal(a.mig, "3g.40gb");
	assert_int_equal(a.milli, 500);
	assert_int_equal(b.milli, 143);
	assert_string_equal(a.device, b.device);
	assert_int_equal(ask(&r, 3, "cus-a", fraction(0.9, 0), &f), 1);
	assert_string_not_equal(f.device, a.device); /* instances and fractions do not mix */
	assert_int_equal(ask(&r, 4, "cus-a", instance("7g.80gb"), &c), 0);
	assert_string_equal(entry(&r, 4)->mig_profile, "7g.80gb");
	assert_non_null(strstr(entry(&r, 4)->reason, "no split one has a place for 7g.80gb"));
	news(&r, a.allocation, HCP__ALLOCATION_STATE__HELD);
	news(&r, b.allocation, HCP__ALLOCATION_STATE__HELD);
	devices(&r, 2, true); /* not offered just now: who has parts has them all the same */
	rig_restart(&r);
	devices(&r, 2, false);
	/* Room is left where it was before: 4 slices less one. */
	assert_int_equal(ask(&r, 5, "cus-a", instance("4g.40gb"), &c), 0);
	assert_int_equal(ask(&r, 6, "cus-a", instance("2g.20gb"), &c), 1);
	assert_string_equal(c.device, a.device);
	assert_true(c.start != a.start && (c.start > b.start || c.start + 2 <= b.start));
	rig_expect_replay(&r);
	rig_release(&r);
}

/* Quotas and shares of the cell are in thousandths. */
static void parts_count_as_what_they_are(void **state)
{
	struct rig r;
	struct part a;
	Hcp__CustomerQuotaSet q = HCP__CUSTOMER_QUOTA_SET__INIT;
	Hcp__CustomerQuotaChanged ev = HCP__CUSTOMER_QUOTA_CHANGED__INIT;
	rig_init(&r, &router_def, NULL);
	devices(&r, 4, false);
	q.customer_id = "cus-a";
	q.max_devices = 1;
	ev.quota = &q;
	rig_event(&r, SVC_ORCHESTRATOR, &ev.base);
	for (int i = 1; i <= 10; i++)
		assert_int_equal(ask(&r, i, "cus-a", fraction(0.1, 0), &a), 1);
	assert_int_equal(ask(&r, 11, "cus-a", fraction(0.001, 0), &a), 0);
	assert_non_null(strstr(entry(&r, 11)->reason, "as its quota allows"));
	assert_true(entry(&r, 11)->share == 0.25); /* 1,000 thousandths of four devices */
	rig_restart(&r);
	assert_true(entry(&r, 11)->share == 0.25);
	news(&r, a.allocation, HCP__ALLOCATION_STATE__RELEASED);
	rig_release(&r);
}

static void demand_is_told_in_devices(void **state)
{
	struct rig r;
	struct part a;
	int n;
	rig_init(&r, &router_def, NULL);
	devices(&r, 2, false);
	for (int i = 1; i <= 5; i++) {
		Hcp__Workload w = fraction(0.3, 0);
		w.type = HCP__WORKLOAD_TYPE__AI_INFERENCE_REALTIME;
		(void)ask(&r, i, "cus-a", w, &a);
	}
	rig_pass(&r, NS_PER_S);
	struct msg *m = rig_published(&r, MSG_DEMAND_CHANGED, &n);
	assert_string_equal(((const Hcp__DemandChanged *)m->body)->demands[0]->device_class, "H100");
	assert_int_equal(((const Hcp__DemandChanged *)m->body)->demands[0]->realtime, 2); /* 1,500 thousandths */
	msg_free(m);
	rig_release(&r);
}

static int yields(struct rig *r)
{
	int n;
	struct msg *m = rig_published(r, MSG_RELEASE, &n);
	char by[ID_TEXT_MAX];
	if (m)
		assert_string_equal(((const Hcp__Release *)m->body)->preempted_by, wl_id(9, by));
	msg_free(m);
	return n;
}

static int ask_now(struct rig *r, struct part *ret)
{
	Hcp__Workload w = whole(1);
	w.type = HCP__WORKLOAD_TYPE__AI_INFERENCE_REALTIME;
	return ask(r, 9, "cus-c", w, ret);
}

/* All that share a device yield to a real-time job, once each of them has run for its minimum; none of them alone. */
static void a_shared_device_yields_as_a_whole(void **state)
{
	struct rig r;
	struct part a, b, c;
	int n;
	rig_init(&r, &router_def, NULL);
	devices(&r, 1, false);
	assert_int_equal(ask(&r, 1, "cus-a", fraction(0.6, 0), &a), 1);
	news(&r, a.allocation, HCP__ALLOCATION_STATE__HELD);
	rig_pass(&r, 100 * NS_PER_S);
	assert_int_equal(ask(&r, 2, "cus-b", fraction(0.4, 0), &b), 1);
	rig_pass(&r, 100 * NS_PER_S); /* the second does not run yet, so nobody yields for nothing */
	assert_int_equal(ask_now(&r, &c), 0);
	rig_pass(&r, NS_PER_S);
	assert_int_equal(yields(&r), 0);
	news(&r, b.allocation, HCP__ALLOCATION_STATE__HELD);
	rig_pass(&r, 60 * NS_PER_S);
	assert_int_equal(yields(&r), 0); /* its minimum */
	rig_restart(&r);
	rig_pass(&r, 90 * NS_PER_S);
	assert_int_equal(yields(&r), 2);
	rig_forget(&r);
	news(&r, a.allocation, HCP__ALLOCATION_STATE__RELEASED);
	rig_pass(&r, NS_PER_S);
	msg_free(rig_published(&r, MSG_PLACE, &n));
	assert_int_equal(n, 0);
	news(&r, b.allocation, HCP__ALLOCATION_STATE__RELEASED);
	devices(&r, 1, false);
	rig_pass(&r, NS_PER_S);
	msg_free(rig_published(&r, MSG_PLACE, &n));
	assert_int_equal(n, 1);
	rig_expect_replay(&r);
	rig_release(&r);
}

/* Nobody yields where one of them is real-time work, or when its neighbour has gone already. */
static void a_shared_device_with_real_time_work_yields_to_nobody(void **state)
{
	struct rig r;
	struct part a, b, c;
	Hcp__Workload w = fraction(0.4, 0);
	rig_init(&r, &router_def, NULL);
	devices(&r, 1, false);
	assert_int_equal(ask(&r, 1, "cus-a", fraction(0.6, 0), &a), 1);
	w.type = HCP__WORKLOAD_TYPE__AI_INFERENCE_REALTIME;
	assert_int_equal(ask(&r, 2, "cus-b", w, &b), 1);
	news(&r, a.allocation, HCP__ALLOCATION_STATE__HELD);
	news(&r, b.allocation, HCP__ALLOCATION_STATE__HELD);
	rig_pass(&r, 300 * NS_PER_S);
	assert_int_equal(ask_now(&r, &c), 0);
	rig_pass(&r, 10 * NS_PER_S);
	assert_int_equal(yields(&r), 0);
	news(&r, b.allocation, HCP__ALLOCATION_STATE__RELEASED);
	devices(&r, 1, false);
	rig_pass(&r, 10 * NS_PER_S);
	assert_int_equal(yields(&r), 1);
	rig_release(&r);
}

/* Who was preempted never takes the way back, also when the other shares a device by now. */
static void a_shared_device_spares_whom_it_must(void **state)
{
	struct rig r;
	struct part a, b, c;
	char id[ID_TEXT_MAX];
	Hcp__Workload training = fraction(0.5, 0), yielded = whole(1);
	rig_init(&r, &router_def, NULL);
	devices(&r, 1, false);
	training.type = HCP__WORKLOAD_TYPE__MODEL_TRAINING;
	assert_int_equal(ask(&r, 1, "cus-a", training, &a), 1);
	assert_int_equal(ask(&r, 2, "cus-b", training, &b), 1);
	news(&r, a.allocation, HCP__ALLOCATION_STATE__HELD);
	news(&r, b.allocation, HCP__ALLOCATION_STATE__HELD);
	yielded.preempted_by = wl_id(2, id);
	assert_int_equal(ask(&r, 8, "cus-c", yielded, &c), 0);
	for (int i = 0; i < 60; i++) {
		rig_pass(&r, 60 * NS_PER_S);
		assert_int_equal(yields(&r), 0);
	}
	assert_int_equal(ask(&r, 9, "cus-c", whole(1), &c), 0);
	rig_pass(&r, 160 * NS_PER_S);
	assert_int_equal(yields(&r), 2);
	rig_release(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_shared_device_spares_whom_it_must),
		cmocka_unit_test(a_shared_device_yields_as_a_whole),
		cmocka_unit_test(a_shared_device_with_real_time_work_yields_to_nobody),
		cmocka_unit_test(fractions_share_and_whole_jobs_do_not),
		cmocka_unit_test(what_comes_free_is_taken),
		cmocka_unit_test(memory_may_be_the_larger_share),
		cmocka_unit_test(instances_come_again_to_their_very_places),
		cmocka_unit_test(parts_count_as_what_they_are),
		cmocka_unit_test(demand_is_told_in_devices),
	};
	return cmocka_run_group_tests_name("router_parts", tests, NULL, NULL);
}
