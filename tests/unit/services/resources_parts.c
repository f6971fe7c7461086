/* Devices that several share: who joins, who waits for his turn, who leaves, and what a device must show. */
#include "resources_rig.h"

static void place_part(
	struct rig *g, const char *id, const char *customer, const char *device, int milli, const char *mig, int start)
{
	Hcp__Place p = HCP__PLACE__INIT;
	Hcp__Workload w = HCP__WORKLOAD__INIT;
	Hcp__DeviceShare s = HCP__DEVICE_SHARE__INIT;
	char workload[ID_TEXT_MAX];
	snprintf(workload, sizeof(workload), "wl-%s", id + 3);
	w.id = workload;
	w.customer_id = customer;
	w.type = HCP__WORKLOAD_TYPE__AI_INFERENCE_BATCH;
	w.model = id; /* each its own */
	s.milli = milli;
	s.mig_profile = mig;
	s.mig_start = start;
	p.allocation_id = id;
	p.workload = &w;
	p.device_ids = &device;
	p.n_device_ids = 1;
	p.share = &s;
	publish(g, SVC_ROUTER, MSG_PLACE, &p.base, 2);
}

static const Hcp__AllocationChanged *newest(struct rig *g, const char *id)
{
	for (int i = g->n_news - 1; i >= 0; i--)
		if (g->news[i]->type == MSG_ALLOCATION_CHANGED &&
			!strcmp(((const Hcp__AllocationChanged *)g->news[i]->body)->allocation_id, id))
			return (const void *)g->news[i]->body;
	fail_msg("%s was never heard of", id);
	return NULL;
}

static void is(struct rig *g, const char *id, Hcp__AllocationState s)
{
	assert_int_equal(newest(g, id)->state, s);
}

/* "al-a 600, al-b 400" */
static void parts_are(struct rig *g, const char *device, const char *expected)
{
	char text[256] = "";
	struct msg *m = device_get(g, device);
	const Hcp__Device *d = (const Hcp__Device *)m->body;
	for (size_t i = 0; i < d->n_shares; i++) {
		const Hcp__DeviceShare *s = d->shares[i];
		size_t n = strlen(text);
		snprintf(text + n, sizeof(text) - n, "%s%s %d%s%s", n ? ", " : "", s->allocation_id, s->milli,
			s->mig_profile[0] ? " " : "", s->mig_profile);
	}
	assert_string_equal(text, expected);
	assert_true(!d->n_shares || !d->allocation_id[0]);
	msg_free(m);
}

static struct rig *two_h100(struct agent **ret)
{
	struct rig *g = rig_new(NULL, NULL);
	*ret = agent_add(g, "n1", "H100", 2, "east");
	hello(g, *ret);
	run_s(g, 4);
	return g;
}

static void several_share_a_device_one_switch_at_a_time(void **state)
{
	char path[] = "/tmp/hcp-parts-XXXXXX", side[64];
	int fd = mkstemp(path);
	assert_true(fd >= 0);
	close(fd);
	struct rig *g = rig_new(path, NULL);
	struct agent *a = agent_add(g, "n1", "H100", 2, "east");
	const char *d0[] = { "n1/d0" };
	hello(g, a);
	run_s(g, 4);
	place_part(g, "al-a", "cus-1", "n1/d0", 600, "", 0);
	place_part(g, "al-b", "cus-2", "n1/d0", 300, "", 0);
	place_part(g, "al-c", "cus-2", "n1/d0", 100, "", 0);
	assert_int_equal(g->n_inbox, 1); /* one device, one switch: the others wait for their turn */
	is(g, "al-a", HCP__ALLOCATION_STATE__SWITCHING);
	is(g, "al-b", HCP__ALLOCATION_STATE__RESERVED);
	parts_are(g, "n1/d0", "al-a 600, al-b 300, al-c 100");
	assert_int_equal(newest(g, "al-b")->share->milli, 300);
	deliver(g);
	is(g, "al-a", HCP__ALLOCATION_STATE__HELD);
	run_s(g, 8);
	is(g, "al-b", HCP__ALLOCATION_STATE__HELD);
	is(g, "al-c", HCP__ALLOCATION_STATE__HELD);
	assert_int_equal(a->n_parts[0], 3);
	assert_int_equal(a->commands, 3);
	/* No more than there is, and never as a whole. */
	place_part(g, "al-d", "cus-1", "n1/d0", 1, "", 0);
	is(g, "al-d", HCP__ALLOCATION_STATE__REFUSED);
	assert_string_equal(newest(g, "al-d")->reason, "device n1/d0: has 0 thousandths left, not 1");
	assert_string_equal(newest(g, "al-d")->unfit_device_id, "n1/d0");
	place(g, "al-e", 1, d0, 1);
	assert_string_equal(newest(g, "al-e")->reason, "device n1/d0: is taken");
	DEVICE(g, "n1/d0", state, HCP__DEVICE_STATE__ACTIVE);
	/* A restart changes nothing. */
	svc_close(g->svc);
	open_svc(g);
	run_s(g, 4);
	parts_are(g, "n1/d0", "al-a 600, al-b 300, al-c 100");
	assert_int_equal(a->commands, 3);
	/* Who leaves leaves the others alone, and makes room. */
	forget(g);
	release(g, "al-a");
	is(g, "al-a", HCP__ALLOCATION_STATE__RELEASED);
	DEVICE(g, "n1/d0", state, HCP__DEVICE_STATE__ACTIVE);
	place_part(g, "al-f", "cus-1", "n1/d0", 600, "", 0);
	run_s(g, 8);
	is(g, "al-f", HCP__ALLOCATION_STATE__HELD);
	parts_are(g, "n1/d0", "al-b 300, al-c 100, al-f 600");
	assert_int_equal(a->n_parts[0], 3);
	assert_int_equal(count(g, MSG_ALLOCATION_CHANGED), 4); /* of al-a and al-f; nobody else noticed */
	release(g, "al-b");
	release(g, "al-c");
	release(g, "al-f");
	DEVICE(g, "n1/d0", state, HCP__DEVICE_STATE__DRAINING);
	run_s(g, 8);
	DEVICE(g, "n1/d0", state, HCP__DEVICE_STATE__IDLE);
	assert_int_equal(a->n_parts[0], 0);
	parts_are(g, "n1/d0", "");
	rig_free(g);
	unlink(path);
	snprintf(side, sizeof(side), "%s-wal", path);
	unlink(side);
	snprintf(side, sizeof(side), "%s-shm", path);
	unlink(side);
}

static void instances_lie_beside_one_another(void **state)
{
	struct agent *a;
	struct rig *g = two_h100(&a);
	place_part(g, "al-a", "cus-1", "n1/d0", 500, "3g.40gb", 4);
	place_part(g, "al-b", "cus-1", "n1/d0", 143, "1g.10gb", 0);
	run_s(g, 6);
	is(g, "al-a", HCP__ALLOCATION_STATE__HELD);
	is(g, "al-b", HCP__ALLOCATION_STATE__HELD);
	parts_are(g, "n1/d0", "al-a 500 3g.40gb, al-b 143 1g.10gb");
	assert_string_equal(a->part[0][0].mig, "3g.40gb");
	assert_int_equal(a->part[0][0].start, 4);
	place_part(g, "al-c", "cus-1", "n1/d0", 572, "4g.40gb", 0);
	assert_string_equal(newest(g, "al-c")->reason, "device n1/d0: has another instance at memory slice 0");
	place_part(g, "al-d", "cus-1", "n1/d0", 10, "", 0);
	assert_string_equal(newest(g, "al-d")->reason, "device n1/d0: is split into instances");
	/* What never can be is no fault of the device's: it is not said to be unfit. */
	place_part(g, "al-e", "cus-1", "n1/d1", 143, "1g.10gb", 7);
	is(g, "al-e", HCP__ALLOCATION_STATE__REFUSED);
	assert_string_equal(newest(g, "al-e")->unfit_device_id, "");
	place_part(g, "al-f", "cus-1", "n1/d1", 144, "1g.10gb", 0);
	is(g, "al-f", HCP__ALLOCATION_STATE__REFUSED);
	place_part(g, "al-g", "cus-1", "n1/d1", 1000, "", 0);
	is(g, "al-g", HCP__ALLOCATION_STATE__REFUSED);
	rig_free(g);
}

static void a_part_of_a_miner_or_of_two_devices_is_refused(void **state)
{
	struct agent *a;
	struct rig *g = two_h100(&a);
	struct agent *miner = agent_add(g, "n2", "S21", 1, "east");
	const char *two[] = { "n1/d0", "n1/d1" };
	Hcp__Place p = HCP__PLACE__INIT;
	Hcp__Workload w = HCP__WORKLOAD__INIT;
	Hcp__DeviceShare s = HCP__DEVICE_SHARE__INIT;
	hello(g, miner);
	place_part(g, "al-a", "cus-1", "n2/d0", 500, "", 0);
	assert_string_equal(newest(g, "al-a")->reason, "device n2/d0: S21 cannot be shared");
	forget(g);
	s.milli = 500;
	w.id = "wl-1";
	p.allocation_id = "al-b";
	p.workload = &w;
	p.device_ids = two;
	p.n_device_ids = 2;
	p.share = &s;
	publish(g, SVC_ROUTER, MSG_PLACE, &p.base, 1);
	assert_int_equal(count(g, MSG_ALLOCATION_CHANGED), 0);
	rig_free(g);
}

static void a_switch_that_fails_ends_its_own_part_only(void **state)
{
	struct agent *a;
	struct rig *g = two_h100(&a);
	place_part(g, "al-a", "cus-1", "n1/d0", 600, "", 0);
	run_s(g, 4);
	is(g, "al-a", HCP__ALLOCATION_STATE__HELD);
	a->refuses = true;
	place_part(g, "al-b", "cus-1", "n1/d0", 300, "", 0);
	deliver(g);
	is(g, "al-b", HCP__ALLOCATION_STATE__REFUSED);
	is(g, "al-a", HCP__ALLOCATION_STATE__HELD);
	a->refuses = false;
	run_s(g, 10);
	parts_are(g, "n1/d0", "al-a 600");
	DEVICE(g, "n1/d0", state, HCP__DEVICE_STATE__ACTIVE);
	DEVICE(g, "n1/d0", drifted, false);
	assert_int_equal(a->n_parts[0], 1);
	rig_free(g);
}

/* al-a leaves while the switch that brings al-b is under way: the agent hears of it after that. */
static void who_leaves_during_a_switch_is_taken_off_after_it(void **state)
{
	struct agent *a;
	struct rig *g = two_h100(&a);
	place_part(g, "al-a", "cus-1", "n1/d0", 600, "", 0);
	run_s(g, 4);
	int commands = a->commands;
	place_part(g, "al-b", "cus-1", "n1/d0", 300, "", 0);
	release(g, "al-a");
	assert_int_equal(g->n_inbox, 1);
	deliver(g);
	is(g, "al-b", HCP__ALLOCATION_STATE__HELD);
	assert_int_equal(a->commands, commands + 2);
	assert_int_equal(a->n_parts[0], 1);
	assert_string_equal(a->part[0][0].allocation, "al-b");
	/* Both at once: whoever was to come is gone, too. */
	place_part(g, "al-c", "cus-1", "n1/d0", 300, "", 0);
	release(g, "al-c");
	release(g, "al-b");
	run_s(g, 8);
	assert_int_equal(a->n_parts[0], 0);
	DEVICE(g, "n1/d0", state, HCP__DEVICE_STATE__IDLE);
	rig_free(g);
}

static void an_agents_word_is_no_proof_of_parts(void **state)
{
	struct agent *a;
	struct rig *g = two_h100(&a);
	place_part(g, "al-a", "cus-1", "n1/d0", 600, "", 0);
	run_s(g, 4);
	is(g, "al-a", HCP__ALLOCATION_STATE__HELD);
	a->keeps = true; /* says done, and goes on with al-a alone */
	place_part(g, "al-b", "cus-1", "n1/d0", 300, "", 0);
	deliver(g);
	is(g, "al-b", HCP__ALLOCATION_STATE__SWITCHING);
	run_s(g, 16);
	is(g, "al-b", HCP__ALLOCATION_STATE__REFUSED);
	is(g, "al-a", HCP__ALLOCATION_STATE__HELD);
	/* One that loses a part shows it. */
	a->keeps = false;
	run_s(g, 30);
	DEVICE(g, "n1/d0", drifted, false);
	a->n_parts[0] = 0;
	report(g, a);
	struct msg *m = device_get(g, "n1/d0");
	assert_true(((Hcp__Device *)m->body)->drifted);
	assert_string_equal(((Hcp__Device *)m->body)->reason, "its parts are not those that it was told");
	msg_free(m);
	run_s(g, 10);
	DEVICE(g, "n1/d0", drifted, false);
	assert_int_equal(a->n_parts[0], 1);
	rig_free(g);
}

static void the_loss_of_a_device_ends_all_its_parts(void **state)
{
	struct agent *a;
	struct rig *g = two_h100(&a);
	place_part(g, "al-a", "cus-1", "n1/d0", 600, "", 0);
	place_part(g, "al-b", "cus-1", "n1/d0", 300, "", 0);
	place_part(g, "al-c", "cus-1", "n1/d1", 300, "", 0);
	run_s(g, 6);
	Hcp__NodeReport r = HCP__NODE_REPORT__INIT;
	read_devices(a);
	readings[0]->error = "fell off the bus";
	r.node_id = a->id;
	r.boot_id = a->boot;
	r.at_ns = g->now;
	r.seq = ++a->seq;
	r.readings = readings;
	r.n_readings = 2;
	say(g, MSG_NODE_REPORT, &r.base);
	is(g, "al-a", HCP__ALLOCATION_STATE__RELEASED);
	is(g, "al-b", HCP__ALLOCATION_STATE__RELEASED);
	is(g, "al-c", HCP__ALLOCATION_STATE__HELD);
	DEVICE(g, "n1/d0", state, HCP__DEVICE_STATE__DEVICE_FAILED);
	Hcp__NodeGone gone = HCP__NODE_GONE__INIT;
	gone.node_id = a->id;
	say(g, MSG_NODE_GONE, &gone.base);
	is(g, "al-c", HCP__ALLOCATION_STATE__RELEASED);
	rig_free(g);
}

/* Metered by allocation as anything else; the rest of the device is nobody's. */
static void a_customer_sees_its_own_parts_and_is_billed_for_them(void **state)
{
	struct agent *a;
	struct rig *g = two_h100(&a);
	Hcp__Principal one = HCP__PRINCIPAL__INIT;
	Hcp__ResourceGet get = HCP__RESOURCE_GET__INIT;
	one.role = HCP__ROLE__CUSTOMER;
	one.customer_id = "cus-1";
	get.id = "n1/d0";
	place_part(g, "al-a", "cus-1", "n1/d0", 600, "", 0);
	place_part(g, "al-b", "cus-2", "n1/d0", 300, "", 0);
	run_s(g, 6);
	struct msg *m = ask_as(g, MSG_RESOURCE_GET, &get.base, &one);
	const Hcp__Device *d = (const Hcp__Device *)m->body;
	assert_int_equal(d->n_shares, 2);
	assert_string_equal(d->shares[0]->allocation_id, "al-a");
	assert_string_equal(d->shares[1]->allocation_id, "");
	assert_string_equal(d->shares[1]->workload_id, "");
	assert_string_equal(d->shares[1]->customer_id, "");
	assert_string_equal(d->shares[1]->model, "");
	assert_int_equal(d->shares[1]->milli, 300);
	msg_free(m);
	forget(g);
	snprintf(a->meter_allocation, sizeof(a->meter_allocation), "al-b");
	a->energy_j += 210;
	a->device_ns += 300 * MS;
	report(g, a);
	const Hcp__Metered *e = last(g, MSG_METERED);
	assert_int_equal(e->n_deltas, 1);
	assert_string_equal(e->deltas[0]->customer_id, "cus-2");
	assert_int_equal(e->deltas[0]->energy_j, 210);
	rig_free(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(several_share_a_device_one_switch_at_a_time),
		cmocka_unit_test(instances_lie_beside_one_another),
		cmocka_unit_test(a_part_of_a_miner_or_of_two_devices_is_refused),
		cmocka_unit_test(a_switch_that_fails_ends_its_own_part_only),
		cmocka_unit_test(who_leaves_during_a_switch_is_taken_off_after_it),
		cmocka_unit_test(an_agents_word_is_no_proof_of_parts),
		cmocka_unit_test(the_loss_of_a_device_ends_all_its_parts),
		cmocka_unit_test(a_customer_sees_its_own_parts_and_is_billed_for_them),
	};
	return cmocka_run_group_tests_name("resources_parts", tests, NULL, NULL);
}
