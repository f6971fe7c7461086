/* Parts that move so that a device is whole again for a job that waits for one. */
#include "rig.h"

#include "services/router/router.h"

#define BATCH HCP__WORKLOAD_TYPE__AI_INFERENCE_BATCH
#define REALTIME HCP__WORKLOAD_TYPE__AI_INFERENCE_REALTIME

enum { BIG = 1, LEFT = 2, SMALL = 3, NEW = 4, WHOLE = 9, P2_MIN_RUN_S = 120 };

/* As last told of each job. */
static struct {
	char allocation[ID_TEXT_MAX], device[32], state[16], reason[200];
	int places, moves, releases;
} job[16];

static const char *wl_id(int n)
{
	static char text[2][ID_TEXT_MAX];
	static int at;
	struct id id = { .b = { 1, [6] = 0x70, [8] = 0x80, [15] = (uint8_t)n } };
	return id_format(text[at++ % 2], ID_WORKLOAD, &id);
}

static int job_of(const char *id)
{
	int n = 0;
	while (strcmp(wl_id(n), id) != 0)
		assert_true(++n < 16);
	return n;
}

static void note(const struct msg *m)
{
	if (m->type == MSG_PLACE) {
		const Hcp__Place *p = (const Hcp__Place *)m->body;
		int n = job_of(p->workload->id);
		snprintf(job[n].allocation, sizeof(job[n].allocation), "%s", p->allocation_id);
		snprintf(job[n].device, sizeof(job[n].device), "%s", p->device_ids[0]);
		job[n].places++;
	} else if (m->type == MSG_JOB_STATE) {
		const Hcp__JobState *s = (const Hcp__JobState *)m->body;
		int n = job_of(s->workload_id);
		snprintf(job[n].state, sizeof(job[n].state), "%s", s->state);
		snprintf(job[n].reason, sizeof(job[n].reason), "%s", s->reason);
		job[n].moves += !strcmp(s->state, "moves");
	} else if (m->type == MSG_RELEASE) {
		job[job_of(((const Hcp__Release *)m->body)->workload_id)].releases++;
	}
}

/* What the router has said since the last time. */
static void hear(struct rig *r)
{
	struct bus_rec *rec[64];
	int got;
	while ((got = bus_read(r->bus, r->read_from, UINT64_MAX, 64, rec, &r->read_from, NULL)) > 0)
		for (int i = 0; i < got; i++) {
			struct msg *m;
			if (rec[i]->sender == SVC_ROUTER && msg_unpack(rec[i]->payload, &m, NULL) == 0) {
				note(m);
				msg_free(m);
			}
			bus_rec_unref(rec[i]);
		}
}

static void pass(struct rig *r, int64_t s)
{
	rig_pass(r, s * NS_PER_S);
	hear(r);
}

static void devices(struct rig *r, int n)
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
		dev[i].health = 1;
	}
	ev.n_devices = (size_t)n;
	ev.devices = p;
	rig_event(r, SVC_RESOURCES, &ev.base);
	hear(r);
}

static void ask(struct rig *r, int n, Hcp__Workload w)
{
	Hcp__JobEnqueue ev = HCP__JOB_ENQUEUE__INIT;
	w.id = wl_id(n);
	w.customer_id = w.customer_id[0] ? w.customer_id : "cus-a";
	w.type = w.type ? w.type : BATCH;
	w.device_class = "H100";
	w.device_count = w.device_count ? w.device_count : 1;
	ev.workload = &w;
	rig_event(r, SVC_ORCHESTRATOR, &ev.base);
	hear(r);
}

static Hcp__Workload part(double of)
{
	Hcp__Workload w = HCP__WORKLOAD__INIT;
	w.gpu_fraction = of;
	w.checkpointable = true;
	return w;
}

static Hcp__Workload whole(int count)
{
	Hcp__Workload w = HCP__WORKLOAD__INIT;
	w.device_count = count;
	return w;
}

static void news(struct rig *r, int n, Hcp__AllocationState s)
{
	Hcp__AllocationChanged ev = HCP__ALLOCATION_CHANGED__INIT;
	ev.allocation_id = job[n].allocation;
	ev.state = s;
	rig_event(r, SVC_RESOURCES, &ev.base);
	hear(r);
}

static void run(struct rig *r, int n, Hcp__Workload w)
{
	ask(r, n, w);
	assert_string_equal(job[n].state, "placing");
	news(r, n, HCP__ALLOCATION_STATE__HELD);
}

/* What the orchestrator does when it hears "moves". */
static void send_away(struct rig *r, int n, Hcp__Workload w)
{
	Hcp__JobCancel away = HCP__JOB_CANCEL__INIT;
	away.workload_id = wl_id(n);
	away.reason = job[n].reason;
	away.elsewhere = true;
	rig_event(r, SVC_ORCHESTRATOR, &away.base);
	ask(r, n, w);
}

/* Two devices: SMALL has 300 of the first, LEFT `left` of the other. */
static void two_shared(struct rig *r, Hcp__Workload left, Hcp__Workload small)
{
	memset(job, 0, sizeof(job));
	rig_init(r, &router_def, NULL);
	devices(r, 2);
	run(r, BIG, part(0.7));
	run(r, SMALL, small);
	assert_string_equal(job[SMALL].device, job[BIG].device);
	run(r, LEFT, left);
	assert_string_not_equal(job[LEFT].device, job[BIG].device);
	news(r, BIG, HCP__ALLOCATION_STATE__RELEASED);
	devices(r, 2);
}

static void parts_move_and_the_waiting_job_starts(void **state)
{
	struct rig r;
	char from[32], says[200];
	two_shared(&r, part(0.7), part(0.3));
	memcpy(from, job[SMALL].device, sizeof(from));
	ask(&r, WHOLE, whole(1));
	pass(&r, ROUTER_MOVES_WAIT_S - 1);
	assert_int_equal(job[SMALL].moves, 0); /* something may end by itself */
	pass(&r, 2);
	assert_int_equal(job[SMALL].moves + job[LEFT].moves, 1);
	snprintf(says, sizeof(says), "moved to make %s whole for %s", from, wl_id(WHOLE));
	assert_string_equal(job[SMALL].reason, says);
	assert_string_equal(job[WHOLE].state, "waiting");
	assert_non_null(strstr(job[WHOLE].reason, "1 part of n1/gpu"));
	assert_int_equal(job[SMALL].releases, 0); /* the orchestrator has the last word */
	/* Meanwhile nobody comes onto the device that is being cleared, nor to where room is held. */
	ask(&r, NEW, part(0.3));
	assert_int_equal(job[NEW].places, 0);
	send_away(&r, SMALL, part(0.3));
	assert_int_equal(job[SMALL].releases, 1);
	news(&r, SMALL, HCP__ALLOCATION_STATE__RELEASED);
	assert_int_equal(job[SMALL].places, 2); /* at once */
	assert_string_equal(job[SMALL].device, job[LEFT].device);
	assert_int_equal(job[WHOLE].places, 0); /* it still drains */
	devices(&r, 2);
	assert_int_equal(job[WHOLE].places, 1);
	assert_string_equal(job[WHOLE].device, from);
	assert_int_equal(job[NEW].places, 0);
	news(&r, SMALL, HCP__ALLOCATION_STATE__HELD);
	rig_expect_replay(&r);
	rig_restart(&r);
	rig_forget(&r);
	ask(&r, BIG, part(0.3)); /* all is taken, before and after */
	assert_int_equal(job[BIG].places, 1);
	rig_release(&r);
}

/* A part that was moved stays for its minimum run time, also over a restart. */
static void who_has_moved_stays(void **state)
{
	struct rig r;
	two_shared(&r, part(0.7), part(0.3));
	ask(&r, WHOLE, whole(1));
	pass(&r, ROUTER_MOVES_WAIT_S + 1);
	send_away(&r, SMALL, part(0.3));
	news(&r, SMALL, HCP__ALLOCATION_STATE__RELEASED);
	devices(&r, 2);
	news(&r, SMALL, HCP__ALLOCATION_STATE__HELD);
	assert_int_equal(job[WHOLE].places, 1);
	/* The other way round: a large part where the whole job was, the small one alone. */
	news(&r, WHOLE, HCP__ALLOCATION_STATE__RELEASED);
	devices(&r, 2);
	Hcp__Workload fixed = part(0.7);
	fixed.checkpointable = false;
	run(&r, NEW, fixed);
	assert_string_not_equal(job[NEW].device, job[SMALL].device);
	news(&r, LEFT, HCP__ALLOCATION_STATE__RELEASED);
	devices(&r, 2);
	ask(&r, WHOLE, whole(1));
	pass(&r, ROUTER_MOVES_WAIT_S + ROUTER_MOVES_PAUSE_S + 1);
	assert_int_equal(job[SMALL].moves, 1);
	rig_restart(&r);
	rig_forget(&r);
	pass(&r, P2_MIN_RUN_S - ROUTER_MOVES_WAIT_S - ROUTER_MOVES_PAUSE_S - 5);
	assert_int_equal(job[SMALL].moves, 1);
	pass(&r, 6);
	assert_int_equal(job[SMALL].moves, 2);
	rig_expect_replay(&r);
	rig_release(&r);
}

/* A pause lies between two rounds, though the next job waits already. */
static void a_round_at_a_time(void **state)
{
	struct rig r;
	memset(job, 0, sizeof(job));
	rig_init(&r, &router_def, NULL);
	devices(&r, 4);
	for (int n = 1; n < 4; n++) { /* one beside each */
		run(&r, 9 + n, part(0.8));
		run(&r, n, part(0.2));
	}
	run(&r, 13, part(0.8));
	for (int n = 10; n < 13; n++)
		news(&r, n, HCP__ALLOCATION_STATE__RELEASED);
	devices(&r, 4);
	ask(&r, 8, whole(1));
	ask(&r, 9, whole(1));
	pass(&r, ROUTER_MOVES_WAIT_S + 5);
	assert_int_equal(job[1].moves + job[2].moves + job[3].moves, 1);
	int first = job[1].moves ? 1 : job[2].moves ? 2 : 3;
	send_away(&r, first, part(0.2));
	news(&r, first, HCP__ALLOCATION_STATE__RELEASED);
	devices(&r, 4);
	assert_int_equal(job[8].places + job[9].places, 1);
	news(&r, first, HCP__ALLOCATION_STATE__HELD);
	pass(&r, ROUTER_MOVES_PAUSE_S - 2);
	assert_int_equal(job[1].moves + job[2].moves + job[3].moves, 1);
	pass(&r, 3);
	assert_int_equal(job[1].moves + job[2].moves + job[3].moves, 2);
	assert_int_equal(job[first].moves, 1);
	rig_expect_replay(&r);
	rig_release(&r);
}

static void expect_none(struct rig *r, int n_whole)
{
	ask(r, WHOLE, whole(n_whole));
	pass(r, ROUTER_MOVES_WAIT_S + 20);
	assert_int_equal(job[SMALL].moves + job[LEFT].moves, 0);
	rig_expect_replay(r);
	rig_release(r);
}

static void nothing_moves_where_nothing_is_gained(void **state)
{
	struct rig r;
	Hcp__Workload w = part(0.3), large = part(0.7);
	two_shared(&r, part(0.7), w);
	expect_none(&r, 2);                    /* one whole device would not do */
	two_shared(&r, part(0.8), part(0.25)); /* 200 are left */
	expect_none(&r, 1);
	w.checkpointable = large.checkpointable = false; /* its work would be lost */
	two_shared(&r, large, w);
	expect_none(&r, 1);
	w = part(0.3);
	w.type = REALTIME;
	two_shared(&r, large, w);
	expect_none(&r, 1);
	w = part(0.3);
	w.region = "us-tx";
	w.duration_s = ROUTER_MOVES_WAIT_S + 2; /* over as soon as it has moved */
	two_shared(&r, large, w);
	expect_none(&r, 1);
	w.duration_s = 3600;
	w.deadline_ns = INT64_C(1700003605000000000); /* 5 s later: moving would break what it was promised */
	two_shared(&r, large, w);
	expect_none(&r, 1);
}

/* A whole device comes free before parts could have moved. */
static void nothing_moves_for_what_ends_anyway(void **state)
{
	struct rig r;
	Hcp__Workload w = whole(1);
	memset(job, 0, sizeof(job));
	rig_init(&r, &router_def, NULL);
	devices(&r, 3);
	run(&r, BIG, part(0.7));
	run(&r, SMALL, part(0.3));
	run(&r, LEFT, part(0.7));
	w.duration_s = ROUTER_MOVES_WAIT_S + 2;
	run(&r, NEW, w);
	news(&r, BIG, HCP__ALLOCATION_STATE__RELEASED);
	devices(&r, 3);
	expect_none(&r, 1);
}

/* One that its quota holds back does not fit for another reason. */
static void nothing_moves_for_who_is_held_back(void **state)
{
	struct rig r;
	Hcp__CustomerQuotaSet q = HCP__CUSTOMER_QUOTA_SET__INIT;
	Hcp__CustomerQuotaChanged ev = HCP__CUSTOMER_QUOTA_CHANGED__INIT;
	two_shared(&r, part(0.7), part(0.3));
	q.customer_id = "cus-a";
	q.max_devices = 1; /* it has that much in parts */
	ev.quota = &q;
	rig_event(&r, SVC_ORCHESTRATOR, &ev.base);
	expect_none(&r, 1);
}

/* Nobody answers: after two minutes the part stays where it is, and others may have the room again. */
static void a_move_that_does_not_come_is_given_up(void **state)
{
	struct rig r;
	two_shared(&r, part(0.7), part(0.3));
	ask(&r, WHOLE, whole(1));
	pass(&r, ROUTER_MOVES_WAIT_S + 1);
	assert_int_equal(job[SMALL].moves, 1);
	ask(&r, NEW, part(0.3));
	pass(&r, ROUTER_YIELD_S - 5);
	assert_int_equal(job[NEW].places, 0);
	pass(&r, 10);
	assert_int_equal(job[NEW].places, 1);
	rig_expect_replay(&r);
	rig_release(&r);
}

/* The part ends while it moves: its device is whole for that reason, and the room is free at once. */
static void who_ends_on_the_way_leaves_its_room(void **state)
{
	struct rig r;
	Hcp__JobCancel c = HCP__JOB_CANCEL__INIT;
	two_shared(&r, part(0.7), part(0.3));
	ask(&r, WHOLE, whole(1));
	pass(&r, ROUTER_MOVES_WAIT_S + 1);
	c.workload_id = wl_id(SMALL);
	c.reason = "completed";
	rig_event(&r, SVC_ORCHESTRATOR, &c.base);
	news(&r, SMALL, HCP__ALLOCATION_STATE__RELEASED);
	ask(&r, NEW, part(0.3));
	assert_int_equal(job[NEW].places, 1);
	devices(&r, 2);
	assert_int_equal(job[WHOLE].places, 1);
	rig_expect_replay(&r);
	rig_release(&r);
}

/* Resources cannot give it the place: it waits like any other, and its old device is its neighbour's all the same. */
static void who_is_refused_there_waits_like_others(void **state)
{
	struct rig r;
	two_shared(&r, part(0.7), part(0.3));
	ask(&r, WHOLE, whole(1));
	pass(&r, ROUTER_MOVES_WAIT_S + 1);
	send_away(&r, SMALL, part(0.3));
	news(&r, SMALL, HCP__ALLOCATION_STATE__RELEASED);
	assert_int_equal(job[SMALL].places, 2);
	ask(&r, SMALL, part(0.3)); /* as the orchestrator asks for it after a refusal */
	news(&r, SMALL, HCP__ALLOCATION_STATE__REFUSED);
	devices(&r, 2);
	pass(&r, ROUTER_REST_S + 1);
	assert_int_equal(job[WHOLE].places, 1);
	assert_int_equal(job[SMALL].places, 3);
	assert_string_equal(job[SMALL].device, job[LEFT].device);
	rig_expect_replay(&r);
	rig_release(&r);
}

/* Real-time work that needs the room which is held gets it. */
static void real_time_parts_go_first(void **state)
{
	struct rig r;
	Hcp__Workload w = part(0.3);
	two_shared(&r, part(0.7), part(0.3));
	ask(&r, WHOLE, whole(1));
	pass(&r, ROUTER_MOVES_WAIT_S + 1);
	w.type = REALTIME;
	ask(&r, NEW, w);
	assert_int_equal(job[NEW].places, 1);
	send_away(&r, SMALL, part(0.3)); /* it had been told already */
	news(&r, SMALL, HCP__ALLOCATION_STATE__RELEASED);
	devices(&r, 2);
	pass(&r, ROUTER_REST_S + 1);
	assert_int_equal(job[SMALL].places + job[WHOLE].places, 2); /* one of them has what is free */
	rig_expect_replay(&r);
	rig_release(&r);
}

/* A restart forgets for whom they move; they move all the same. */
static void a_restart_in_the_middle_loses_nobody(void **state)
{
	struct rig r;
	two_shared(&r, part(0.7), part(0.3));
	ask(&r, WHOLE, whole(1));
	pass(&r, ROUTER_MOVES_WAIT_S + 1);
	send_away(&r, SMALL, part(0.3));
	rig_restart(&r);
	rig_forget(&r);
	news(&r, SMALL, HCP__ALLOCATION_STATE__RELEASED);
	devices(&r, 2);
	pass(&r, 1);
	assert_int_equal(job[SMALL].places, 2);
	assert_int_equal(job[WHOLE].places, job[SMALL].device[0] && !strcmp(job[SMALL].device, job[LEFT].device));
	rig_expect_replay(&r);
	rig_release(&r);
}

static void gangs_lack_one_and_instances_move(void **state)
{
	struct rig r;
	Hcp__Workload two = HCP__WORKLOAD__INIT, four = HCP__WORKLOAD__INIT;
	two.mig_profile = "2g.20gb";
	four.mig_profile = "4g.40gb";
	two.checkpointable = four.checkpointable = true;
	memset(job, 0, sizeof(job));
	rig_init(&r, &router_def, NULL);
	devices(&r, 4);
	run(&r, 1, four);
	run(&r, 2, four);
	run(&r, 3, two);
	int beside = !strcmp(job[3].device, job[1].device) ? 1 : 2;
	news(&r, beside, HCP__ALLOCATION_STATE__RELEASED);
	devices(&r, 4);
	ask(&r, WHOLE, whole(3)); /* two are free */
	pass(&r, ROUTER_MOVES_WAIT_S + 1);
	assert_int_equal(job[3].moves, 1);
	send_away(&r, 3, two);
	news(&r, 3, HCP__ALLOCATION_STATE__RELEASED);
	assert_string_equal(job[3].device, job[3 - beside].device);
	devices(&r, 4);
	assert_int_equal(job[WHOLE].places, 1);
	rig_expect_replay(&r);
	rig_release(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parts_move_and_the_waiting_job_starts),
		cmocka_unit_test(who_has_moved_stays),
		cmocka_unit_test(a_round_at_a_time),
		cmocka_unit_test(nothing_moves_where_nothing_is_gained),
		cmocka_unit_test(nothing_moves_for_what_ends_anyway),
		cmocka_unit_test(nothing_moves_for_who_is_held_back),
		cmocka_unit_test(a_move_that_does_not_come_is_given_up),
		cmocka_unit_test(who_ends_on_the_way_leaves_its_room),
		cmocka_unit_test(who_is_refused_there_waits_like_others),
		cmocka_unit_test(real_time_parts_go_first),
		cmocka_unit_test(a_restart_in_the_middle_loses_nobody),
		cmocka_unit_test(gangs_lack_one_and_instances_move),
	};
	return cmocka_run_group_tests_name("router_moves", tests, NULL, NULL);
}
