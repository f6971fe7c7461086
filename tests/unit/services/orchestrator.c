#include "rig.h"

#include "services/orchestrator/orchestrator.h"

static const Hcp__Principal acme = { PROTOBUF_C_MESSAGE_INIT(&hcp__principal__descriptor), "usr-1", "cus-acme",
	"john@acme.com", HCP__ROLE__CUSTOMER, 0 };
static const Hcp__Principal globex = { PROTOBUF_C_MESSAGE_INIT(&hcp__principal__descriptor), "usr-2", "cus-globex",
				       "jane@globex.com", HCP__ROLE__CUSTOMER, 0 };
static const Hcp__Principal admin = { PROTOBUF_C_MESSAGE_INIT(&hcp__principal__descriptor), "usr-3", "",
	"admin@mara.com", HCP__ROLE__ADMIN, 0 };

static struct msg *submission(const Hcp__Principal *who, const char *key)
{
	struct msg *m = msg_new(MSG_WORKLOAD_SUBMIT);
	Hcp__WorkloadSubmit *s = (Hcp__WorkloadSubmit *)m->body;
	s->type = HCP__WORKLOAD_TYPE__AI_INFERENCE_BATCH;
	s->name = "nightly";
	s->model = "llama-3-70b";
	s->device_class = "H100";
	s->device_count = 2;
	m->principal = who;
	m->idempotency_key = key;
	return m;
}

static const char *submit(struct rig *r, const Hcp__Principal *who, char id[ID_TEXT_MAX])
{
	rig_post(r, submission(who, ""));
	assert_int_equal(r->reply->type, MSG_WORKLOAD);
	snprintf(id, ID_TEXT_MAX, "%s", ((Hcp__Workload *)r->reply->body)->id);
	return id;
}

static Hcp__Workload *get(struct rig *r, const Hcp__Principal *who, const char *id)
{
	struct msg *m = msg_new(MSG_WORKLOAD_GET);
	((Hcp__WorkloadGet *)m->body)->id = id;
	m->principal = who;
	rig_post(r, m);
	return r->reply->type == MSG_WORKLOAD ? (Hcp__Workload *)r->reply->body : NULL;
}

static void place(struct rig *r, const char *id, const char *allocation)
{
	const char *devices[] = { "n1/gpu0", "n1/gpu1" };
	Hcp__JobState ev = HCP__JOB_STATE__INIT;
	ev.workload_id = id;
	ev.state = "placing";
	ev.allocation_id = allocation;
	ev.n_device_ids = 2;
	ev.device_ids = devices;
	rig_event(r, SVC_ROUTER, &ev.base);
}

static void allocation(struct rig *r, const char *id, const char *alloc, Hcp__AllocationState s, const char *reason)
{
	Hcp__AllocationChanged ev = HCP__ALLOCATION_CHANGED__INIT;
	ev.workload_id = id;
	ev.allocation_id = alloc;
	ev.state = s;
	ev.reason = reason;
	rig_event(r, SVC_RESOURCES, &ev.base);
}

static void a_workload_lives_its_life(void **state)
{
	struct rig r;
	char id[ID_TEXT_MAX];
	int n;
	rig_init(&r, &orchestrator_def, NULL);
	struct msg *m = submission(&acme, "");
	((Hcp__WorkloadSubmit *)m->body)->duration_s = 3600;
	rig_post(&r, m);
	snprintf(id, sizeof(id), "%s", ((Hcp__Workload *)r.reply->body)->id);
	Hcp__Workload *w = get(&r, &acme, id);
	assert_int_equal(w->state, HCP__WORKLOAD_STATE__QUEUED);
	assert_string_equal(w->priority_class, "P2");
	assert_string_equal(w->customer_id, "cus-acme");
	assert_true(w->estimated_cost_micros > 0);
	msg_free(rig_published(&r, MSG_JOB_ENQUEUE, &n));
	assert_int_equal(n, 1);
	place(&r, id, "al-1");
	assert_int_equal(get(&r, &acme, id)->state, HCP__WORKLOAD_STATE__SCHEDULED);
	allocation(&r, id, "al-other", HCP__ALLOCATION_STATE__HELD, "");
	assert_int_equal(get(&r, &acme, id)->state, HCP__WORKLOAD_STATE__SCHEDULED);
	allocation(&r, id, "al-1", HCP__ALLOCATION_STATE__HELD, "");
	w = get(&r, &acme, id);
	assert_int_equal(w->state, HCP__WORKLOAD_STATE__RUNNING);
	assert_int_equal(w->n_device_ids, 2);
	rig_pass(&r, 3599 * NS_PER_S);
	assert_int_equal(get(&r, &acme, id)->state, HCP__WORKLOAD_STATE__RUNNING);
	rig_forget(&r);
	rig_pass(&r, 3 * NS_PER_S);
	assert_int_equal(get(&r, &acme, id)->state, HCP__WORKLOAD_STATE__COMPLETED);
	msg_free(rig_published(&r, MSG_JOB_CANCEL, &n));
	assert_int_equal(n, 1);
	m = msg_new(MSG_WORKLOAD_HISTORY_GET);
	((Hcp__WorkloadHistoryGet *)m->body)->id = id;
	rig_post(&r, m);
	assert_int_equal(((Hcp__WorkloadHistory *)r.reply->body)->n_transitions, 4);
	assert_true(rig_expect_packed(&r) >= 6);
	rig_expect_replay(&r);
	rig_release(&r);
}

static Hcp__Workload *order(struct rig *r, unsigned type, const Hcp__Principal *who, const char *id)
{
	struct msg *m = msg_new(type);
	if (type == MSG_WORKLOAD_PAUSE)
		((Hcp__WorkloadPause *)m->body)->id = id;
	else
		((Hcp__WorkloadResume *)m->body)->id = id;
	m->principal = who;
	rig_post(r, m);
	return r->reply->type == MSG_WORKLOAD ? (Hcp__Workload *)r->reply->body : NULL;
}

static void a_paused_workload_keeps_what_is_left_of_its_time(void **state)
{
	struct rig r;
	char id[ID_TEXT_MAX];
	int n;
	rig_init(&r, &orchestrator_def, NULL);
	struct msg *m = submission(&acme, "");
	((Hcp__WorkloadSubmit *)m->body)->duration_s = 3600;
	rig_post(&r, m);
	snprintf(id, sizeof(id), "%s", ((Hcp__Workload *)r.reply->body)->id);
	place(&r, id, "al-1");
	allocation(&r, id, "al-1", HCP__ALLOCATION_STATE__HELD, "");
	rig_pass(&r, 600 * NS_PER_S);
	rig_forget(&r);
	Hcp__Workload *w = order(&r, MSG_WORKLOAD_PAUSE, &acme, id);
	assert_int_equal(w->state, HCP__WORKLOAD_STATE__PAUSED);
	assert_int_equal(w->n_device_ids, 0);
	assert_string_equal(w->allocation_id, "");
	assert_in_range(w->remaining_ns, 2999 * NS_PER_S, 3000 * NS_PER_S);
	int64_t version = w->version;
	msg_free(rig_published(&r, MSG_JOB_CANCEL, &n));
	assert_int_equal(n, 1);
	/* The release comes back; then two hours go by, and a restart. */
	allocation(&r, id, "al-1", HCP__ALLOCATION_STATE__RELEASED, "paused");
	rig_pass(&r, 7200 * NS_PER_S);
	rig_restart(&r);
	w = order(&r, MSG_WORKLOAD_PAUSE, &acme, id);
	assert_int_equal(w->version, version); /* a repeat changes nothing */
	rig_forget(&r);
	assert_int_equal(order(&r, MSG_WORKLOAD_RESUME, &acme, id)->state, HCP__WORKLOAD_STATE__QUEUED);
	msg_free(rig_published(&r, MSG_JOB_ENQUEUE, &n));
	assert_int_equal(n, 1);
	place(&r, id, "al-2");
	allocation(&r, id, "al-2", HCP__ALLOCATION_STATE__HELD, "");
	rig_pass(&r, 2998 * NS_PER_S);
	assert_int_equal(get(&r, &acme, id)->state, HCP__WORKLOAD_STATE__RUNNING);
	rig_pass(&r, 4 * NS_PER_S);
	assert_int_equal(get(&r, &acme, id)->state, HCP__WORKLOAD_STATE__COMPLETED);
	rig_expect_replay(&r);
	rig_release(&r);
}

static void pause_and_resume_refuse_by_the_table(void **state)
{
	struct rig r;
	char id[ID_TEXT_MAX];
	rig_init(&r, &orchestrator_def, NULL);
	submit(&r, &acme, id);
	assert_null(order(&r, MSG_WORKLOAD_RESUME, &acme, id));
	rig_expect_problem(&r, "wrong_state", "state");
	assert_null(order(&r, MSG_WORKLOAD_PAUSE, &globex, id));
	rig_expect_problem(&r, "not_found", "id");
	assert_int_equal(order(&r, MSG_WORKLOAD_PAUSE, &acme, id)->state, HCP__WORKLOAD_STATE__PAUSED);
	/* The router placed it before it heard of the pause. */
	place(&r, id, "al-1");
	assert_int_equal(get(&r, &acme, id)->state, HCP__WORKLOAD_STATE__PAUSED);
	rig_post(&r, msg_new(MSG_STATUS_GET));
	assert_int_equal(((Hcp__Status *)r.reply->body)->workloads_paused, 1);
	assert_int_equal(((Hcp__Status *)r.reply->body)->workloads_running, 0);
	struct msg *m = msg_new(MSG_WORKLOAD_CANCEL);
	((Hcp__WorkloadCancel *)m->body)->id = id;
	m->principal = &acme;
	rig_post(&r, m);
	assert_null(order(&r, MSG_WORKLOAD_PAUSE, &acme, id));
	rig_expect_problem(&r, "wrong_state", "state");
	assert_null(order(&r, MSG_WORKLOAD_RESUME, &acme, id));
	rig_expect_problem(&r, "wrong_state", "state");
	rig_release(&r);
}

static void want_fraction(Hcp__WorkloadSubmit *s, double of)
{
	s->has_gpu_fraction_case = HCP__WORKLOAD_SUBMIT__HAS_GPU_FRACTION_GPU_FRACTION;
	s->gpu_fraction = of;
}

/* Estimate and monthly device-hours are those of the part; what it held in the end may be more than it asked for. */
static void parts_of_a_gpu_cost_what_they_are(void **state)
{
	struct rig r;
	char id[ID_TEXT_MAX];
	rig_init(&r, &orchestrator_def, NULL);
	for (int i = 0; i < 2; i++) {
		struct msg *m = submission(&acme, "");
		Hcp__WorkloadSubmit *s = (Hcp__WorkloadSubmit *)m->body;
		s->device_count = i ? 1 : 0;
		s->duration_s = 7200;
		if (i)
			s->mig_profile = "2G.20GB";
		else
			want_fraction(s, 0.25);
		rig_post(&r, m);
		assert_int_equal(r.reply->type, MSG_WORKLOAD);
		const Hcp__Workload *w = (const Hcp__Workload *)r.reply->body;
		assert_true(w->gpu_fraction == (i ? 0 : 0.25));
		assert_string_equal(w->mig_profile, i ? "2g.20gb" : "");
		assert_int_equal(w->device_count, 1);
		assert_int_equal(w->estimated_cost_micros, i ? 2 * 2490000 * 286 / 1000 : 2490000 / 2);
		snprintf(id, sizeof(id), "%s", w->id);
	}
	place(&r, id, "al-1");
	Hcp__AllocationChanged ev = HCP__ALLOCATION_CHANGED__INIT;
	Hcp__DeviceShare share = HCP__DEVICE_SHARE__INIT;
	share.milli = 286;
	ev.workload_id = id;
	ev.allocation_id = "al-1";
	ev.state = HCP__ALLOCATION_STATE__HELD;
	ev.share = &share;
	rig_event(&r, SVC_RESOURCES, &ev.base);
	assert_int_equal(get(&r, &acme, id)->share_milli, 286);
	rig_pass(&r, 3600 * NS_PER_S);
	struct msg *m = msg_new(MSG_WORKLOAD_CANCEL);
	((Hcp__WorkloadCancel *)m->body)->id = id;
	m->principal = &acme;
	rig_post(&r, m);
	m = msg_new(MSG_CUSTOMER_QUOTA_GET);
	((Hcp__CustomerQuotaGet *)m->body)->customer_id = "cus-acme";
	m->principal = &acme;
	rig_post(&r, m);
	double hours = ((const Hcp__CustomerQuota *)r.reply->body)->device_hours;
	assert_true(hours > 0.2859 && hours < 0.2861);
	rig_expect_replay(&r);
	rig_release(&r);
}

static void bad_submissions_name_their_field(void **state)
{
	struct rig r;
	struct msg *m;
	int n;
	rig_init(&r, &orchestrator_def, NULL);
#define REFUSED(set, code, field)                                            \
	do {                                                                 \
		m = submission(&acme, "");                                   \
		Hcp__WorkloadSubmit *s = (Hcp__WorkloadSubmit *)m->body;     \
		set;                                                         \
		rig_post(&r, m);                                             \
		rig_expect_problem(&r, code, field);                         \
	} while (0)
	REFUSED((s->type = 0, s->device_class = "", s->device_count = 0), "invalid", "type");
	REFUSED((s->type = 0, s->device_count = -1), "out_of_range", "device_count");
	REFUSED((s->type = 0, s->model = "", s->max_latency_ms = 50), "invalid", "model");
	REFUSED(s->priority = 11, "out_of_range", "priority");
	REFUSED(s->device_count = 5000, "out_of_range", "device_count");
	REFUSED(s->device_count = -1, "out_of_range", "device_count");
	REFUSED(s->device_class = "H900", "not_found", "device_class");
	REFUSED(s->device_class = "S21", "invalid", "device_class");
	REFUSED(s->model = "", "invalid", "model");
	REFUSED(s->callback_url = "ftp://x", "invalid", "callback_url");
	REFUSED(s->callback_url = "https://user@acme.example/done", "invalid", "callback_url");
	REFUSED(s->callback_url = "http://127.0.0.1/done", "invalid", "callback_url");
	REFUSED(s->callback_url = "http://[::1]:80/done", "invalid", "callback_url");
	REFUSED(s->callback_url = "http://LocalHost/done", "invalid", "callback_url");
	REFUSED(s->duration_s = -5, "out_of_range", "duration_s");
	REFUSED(s->customer_id = "cus-globex", "forbidden", "customer_id");
	REFUSED(want_fraction(s, 0.5), "invalid", "device_count"); /* two devices */
	REFUSED(want_fraction(s, 0), "out_of_range", "gpu_fraction");
	REFUSED(want_fraction(s, 0.12345), "out_of_range", "gpu_fraction");
	REFUSED((want_fraction(s, 0.5), s->device_count = 1, s->device_class = "CPU64"), "invalid", "gpu_fraction");
	REFUSED((want_fraction(s, 0.5), s->device_count = 1, s->mig_profile = "1g.10gb"), "invalid", "mig_profile");
	REFUSED((s->device_count = 1, s->mig_profile = "1g.5gb"), "not_found", "mig_profile"); /* an A100 has that */
	REFUSED((s->device_count = 1, s->mig_profile = "1g.10gb", s->device_class = ""), "invalid", "device_class");
	REFUSED((s->device_count = 1, s->mig_profile = "1g.10gb", s->memory_gib = 11), "out_of_range", "memory_gib");
	REFUSED((want_fraction(s, 0.5), s->type = HCP__WORKLOAD_TYPE__BITCOIN_MINING), "invalid", "gpu_fraction");
	m = msg_new(MSG_WORKLOAD_SUBMIT_BATCH);
	Hcp__WorkloadSubmitBatch *b = (Hcp__WorkloadSubmitBatch *)m->body;
	for (int i = 0; i < 2; i++) {
		Hcp__WorkloadSubmit *s = arena_alloc(&m->arena, sizeof(*s));
		hcp__workload_submit__init(s);
		s->type = HCP__WORKLOAD_TYPE__MODEL_TRAINING;
		want_fraction(s, i ? 2 : 0.5);
		assert_int_equal(pb_push(&m->arena, &b->n_workloads, &b->workloads, s), 0);
	}
	m->principal = &acme;
	rig_post(&r, m);
	rig_expect_problem(&r, "out_of_range", "workloads[1].gpu_fraction");
	msg_free(rig_published(&r, MSG_JOB_ENQUEUE, &n));
	assert_int_equal(n, 0);
	rig_release(&r);
}

static Hcp__Workload *submit_untyped(
	struct rig *r, const char *model, const char *device_class, int64_t duration_s, const char *key)
{
	struct msg *m = submission(&acme, key);
	Hcp__WorkloadSubmit *s = (Hcp__WorkloadSubmit *)m->body;
	s->type = 0;
	s->model = model;
	s->device_class = device_class;
	s->device_count = 1;
	s->duration_s = duration_s;
	rig_post(r, m);
	assert_int_equal(r->reply->type, MSG_WORKLOAD);
	return (Hcp__Workload *)r->reply->body;
}

static void what_names_no_type_is_classified(void **state)
{
	struct rig r;
	char id[ID_TEXT_MAX];
	int n;
	rig_init(&r, &orchestrator_def, NULL);
	Hcp__Workload *w = submit_untyped(&r, "llama-3-70b", "H100", 12, "k-1");
	snprintf(id, sizeof(id), "%s", w->id);
	assert_int_equal(w->type, HCP__WORKLOAD_TYPE__AI_INFERENCE_REALTIME);
	assert_string_equal(w->priority_class, "P1");
	assert_non_null(w->classified);
	assert_string_equal(w->classified->by, "model");
	assert_true(w->classified->confidence >= 0.8 && strstr(w->classified->path, "duration_s <"));
	w = submit_untyped(&r, "llama-3-70b", "H100", 12, "k-1"); /* the same again */
	assert_string_equal(w->id, id);
	w = submit_untyped(&r, "", "H100", 12, "");
	assert_int_equal(w->type, HCP__WORKLOAD_TYPE__MODEL_TRAINING);
	assert_string_equal(w->classified->by, "rule");
	assert_string_equal(w->classified->rule, "inference would name its model");
	w = submit_untyped(&r, "", "S21", 0, "");
	assert_int_equal(w->type, HCP__WORKLOAD_TYPE__BITCOIN_MINING);
	w = submit_untyped(&r, "llama-3-70b", "H100", 0, "");
	assert_int_equal(w->type, HCP__WORKLOAD_TYPE__AI_INFERENCE_REALTIME);
	assert_string_equal(w->classified->by, "rule");
	/* The job that the router gets is what it was classified as. */
	struct msg *m = rig_published(&r, MSG_JOB_ENQUEUE, &n);
	assert_int_equal(n, 4);
	assert_int_equal(((Hcp__JobEnqueue *)m->body)->workload->type, HCP__WORKLOAD_TYPE__AI_INFERENCE_REALTIME);
	msg_free(m);
	rig_restart(&r);
	w = get(&r, &acme, id);
	assert_string_equal(w->classified->by, "model");
	rig_post(&r, submission(&acme, ""));
	assert_null(((Hcp__Workload *)r.reply->body)->classified);
	rig_expect_replay(&r);
	rig_release(&r);
}

static void repeats_are_harmless_and_conflicts_are_told(void **state)
{
	struct rig r;
	char id[ID_TEXT_MAX];
	int n;
	rig_init(&r, &orchestrator_def, NULL);
	rig_post(&r, submission(&acme, "k-1"));
	snprintf(id, sizeof(id), "%s", ((Hcp__Workload *)r.reply->body)->id);
	rig_restart(&r);
	rig_post(&r, submission(&acme, "k-1"));
	assert_string_equal(((Hcp__Workload *)r.reply->body)->id, id);
	struct msg *m = submission(&acme, "k-1");
	((Hcp__WorkloadSubmit *)m->body)->device_count = 3;
	rig_post(&r, m);
	rig_expect_problem(&r, "conflict", "Idempotency-Key");
	rig_post(&r, submission(&globex, "k-1"));
	assert_string_not_equal(((Hcp__Workload *)r.reply->body)->id, id);
	struct msg *last = rig_published(&r, MSG_JOB_ENQUEUE, &n);
	msg_free(last);
	/* The restart publishes the first one again; consumers know it by its number. */
	assert_in_range(n, 2, 3);
	rig_release(&r);
}

static void others_do_not_exist(void **state)
{
	struct rig r;
	char id[ID_TEXT_MAX];
	rig_init(&r, &orchestrator_def, NULL);
	submit(&r, &acme, id);
	assert_null(get(&r, &globex, id));
	rig_expect_problem(&r, "not_found", "id");
	struct msg *m = msg_new(MSG_WORKLOAD_CANCEL);
	((Hcp__WorkloadCancel *)m->body)->id = id;
	m->principal = &globex;
	rig_post(&r, m);
	rig_expect_problem(&r, "not_found", "id");
	assert_non_null(get(&r, &admin, id));
	m = msg_new(MSG_WORKLOAD_LIST);
	m->principal = &globex;
	((Hcp__WorkloadList *)m->body)->customer_id = "cus-acme";
	rig_post(&r, m);
	assert_int_equal(((Hcp__Workloads *)r.reply->body)->n_workloads, 0);
	rig_release(&r);
}

static int cancel_if(struct rig *r, const char *id, int64_t a, int64_t b)
{
	struct msg *m = msg_new(MSG_WORKLOAD_CANCEL);
	Hcp__WorkloadCancel *c = (Hcp__WorkloadCancel *)m->body;
	int64_t wanted[] = { a, b };
	c->id = id;
	c->if_version = arena_dup(&m->arena, wanted, sizeof(wanted));
	c->n_if_version = 2;
	m->principal = &acme;
	return rig_post(r, m)->type;
}

static void a_cancel_may_name_the_version(void **state)
{
	struct rig r;
	char id[ID_TEXT_MAX];
	rig_init(&r, &orchestrator_def, NULL);
	submit(&r, &acme, id);
	int64_t version = get(&r, &acme, id)->version;
	cancel_if(&r, id, version + 1, version + 2);
	rig_expect_problem(&r, "conflict", "if-match");
	assert_int_equal(get(&r, &acme, id)->state, HCP__WORKLOAD_STATE__QUEUED);
	assert_int_equal(cancel_if(&r, id, 0, version), MSG_WORKLOAD);
	assert_int_equal(get(&r, &acme, id)->state, HCP__WORKLOAD_STATE__CANCELLED);
	rig_release(&r);
}

static void refused_places_are_tried_again_then_fail(void **state)
{
	struct rig r;
	char id[ID_TEXT_MAX];
	int n;
	rig_init(&r, &orchestrator_def, NULL);
	submit(&r, &acme, id);
	rig_forget(&r);
	for (int i = 0; i < ORCHESTRATOR_MAX_TRIES; i++) {
		char alloc[16];
		snprintf(alloc, sizeof(alloc), "al-%d", i);
		place(&r, id, alloc);
		allocation(&r, id, alloc, HCP__ALLOCATION_STATE__REFUSED, "device is gone");
	}
	Hcp__Workload *w = get(&r, &acme, id);
	assert_int_equal(w->state, HCP__WORKLOAD_STATE__FAILED);
	assert_non_null(strstr(w->reason, "device is gone"));
	msg_free(rig_published(&r, MSG_JOB_ENQUEUE, &n));
	assert_int_equal(n, ORCHESTRATOR_MAX_TRIES - 1);
	rig_release(&r);
}

/* A placement that named a device which could not be had has tried nothing. */
static void unfit_devices_cost_no_try(void **state)
{
	struct rig r;
	char id[ID_TEXT_MAX];
	rig_init(&r, &orchestrator_def, NULL);
	submit(&r, &acme, id);
	for (int i = 0; i < 3 * ORCHESTRATOR_MAX_TRIES; i++) {
		Hcp__AllocationChanged ev = HCP__ALLOCATION_CHANGED__INIT;
		char alloc[16];
		snprintf(alloc, sizeof(alloc), "al-%d", i);
		place(&r, id, alloc);
		ev.allocation_id = alloc;
		ev.workload_id = id;
		ev.state = HCP__ALLOCATION_STATE__REFUSED;
		ev.reason = "device n1/d0: is taken";
		ev.unfit_device_id = "n1/d0";
		rig_event(&r, SVC_RESOURCES, &ev.base);
	}
	assert_int_equal(get(&r, &acme, id)->state, HCP__WORKLOAD_STATE__QUEUED);
	rig_release(&r);
}

static void decide(struct rig *r, const char *id, bool changed, double gain, double cost)
{
	Hcp__ClassTarget t = HCP__CLASS_TARGET__INIT, *ts = &t;
	Hcp__Decision d = HCP__DECISION__INIT;
	Hcp__DecisionMade ev = HCP__DECISION_MADE__INIT;
	t.device_class = "S21";
	t.facility = "texas-north";
	t.total = t.mine = 10;
	d.id = id;
	d.trigger = "price";
	d.changed = changed;
	d.gain_usd_h = -1; /* what the present hour says does not count, what the policy states does */
	d.gain_usd = gain;
	d.switching_cost_usd = cost;
	d.pays = gain > cost;
	d.n_targets = 1;
	d.targets = &ts;
	ev.decision = &d;
	rig_event(r, SVC_OPTIMIZER, &ev.base);
}

static void only_decisions_that_pay_become_directives(void **state)
{
	struct rig r;
	int n;
	rig_init(&r, &orchestrator_def, NULL);
	decide(&r, "dec-1", true, 0, 0);   /* the first sets the fleet up */
	decide(&r, "dec-2", true, 25, 26);
	decide(&r, "dec-3", true, 25, 24);
	decide(&r, "dec-4", false, 100, 0);
	struct msg *m = rig_published(&r, MSG_DIRECTIVE, &n);
	assert_int_equal(n, 2);
	assert_string_equal(((Hcp__Directive *)m->body)->decision_id, "dec-3");
	msg_free(m);
	rig_restart(&r);
	rig_post(&r, msg_new(MSG_STATUS_GET));
	Hcp__Status *st = (Hcp__Status *)r.reply->body;
	assert_int_equal(st->decisions_applied, 2);
	assert_int_equal(st->decisions_skipped, 2);
	assert_int_equal(st->n_targets, 1);
	assert_string_equal(st->last_decision_id, "dec-4");
	rig_expect_replay(&r);
	rig_release(&r);
}

static void emergency_stop_holds_until_cleared(void **state)
{
	struct rig r;
	char a[ID_TEXT_MAX], b[ID_TEXT_MAX], held[ID_TEXT_MAX];
	int n;
	rig_init(&r, &orchestrator_def, NULL);
	decide(&r, "dec-1", true, 10, 0);
	submit(&r, &acme, held);
	assert_non_null(order(&r, MSG_WORKLOAD_PAUSE, &acme, held));
	submit(&r, &acme, a);
	place(&r, a, "al-1");
	allocation(&r, a, "al-1", HCP__ALLOCATION_STATE__HELD, "");
	rig_forget(&r);
	rig_post(&r, msg_new(MSG_EMERGENCY_STOP));
	rig_expect_problem(&r, "invalid", "reason");
	struct msg *m = msg_new(MSG_EMERGENCY_STOP);
	((Hcp__EmergencyStop *)m->body)->reason = "fire in hall 2";
	rig_post(&r, m);
	assert_string_equal(((Hcp__Status *)r.reply->body)->mode, "emergency_stop");
	assert_int_equal(get(&r, &acme, a)->state, HCP__WORKLOAD_STATE__QUEUED);
	assert_int_equal(get(&r, &acme, held)->state, HCP__WORKLOAD_STATE__PAUSED);
	m = rig_published(&r, MSG_DIRECTIVE, &n);
	assert_true(((Hcp__Directive *)m->body)->emergency_stop);
	msg_free(m);
	rig_restart(&r);
	submit(&r, &acme, b);
	decide(&r, "dec-2", true, 1000, 0);
	rig_forget(&r);
	rig_post(&r, msg_new(MSG_STATUS_GET));
	assert_string_equal(((Hcp__Status *)r.reply->body)->emergency_reason, "fire in hall 2");
	rig_post(&r, msg_new(MSG_EMERGENCY_CLEAR));
	assert_string_equal(((Hcp__Status *)r.reply->body)->mode, "normal");
	m = rig_published(&r, MSG_DIRECTIVE, &n);
	assert_int_equal(n, 1);
	assert_string_equal(((Hcp__Directive *)m->body)->decision_id, "dec-1");
	msg_free(m);
	msg_free(rig_published(&r, MSG_JOB_ENQUEUE, &n));
	assert_int_equal(n, 2);
	rig_post(&r, msg_new(MSG_EMERGENCY_CLEAR));
	rig_expect_problem(&r, "wrong_state", "");
	rig_expect_replay(&r);
	rig_release(&r);
}

static void long_polls_wait_for_a_change(void **state)
{
	struct rig r;
	char id[ID_TEXT_MAX];
	rig_init(&r, &orchestrator_def, NULL);
	submit(&r, &acme, id);
	int before = r.answers;
	struct msg *m = msg_new(MSG_WORKLOAD_GET);
	Hcp__WorkloadGet *g = (Hcp__WorkloadGet *)m->body;
	g->id = id;
	g->index = 1;
	g->wait_ms = 30000;
	m->principal = &acme;
	m->reply_fn = rig_reply;
	m->reply_arg = &r;
	svc_post(r.svc, m);
	rig_run(&r);
	assert_int_equal(r.answers, before);
	place(&r, id, "al-1");
	assert_int_equal(r.answers, before + 1);
	assert_int_equal(((Hcp__Workload *)r.reply->body)->state, HCP__WORKLOAD_STATE__SCHEDULED);
	m = msg_new(MSG_WORKLOAD_GET);
	g = (Hcp__WorkloadGet *)m->body;
	g->id = id;
	g->index = 99;
	g->wait_ms = 2000;
	m->reply_fn = rig_reply;
	m->reply_arg = &r;
	svc_post(r.svc, m);
	rig_pass(&r, 3 * NS_PER_S);
	assert_int_equal(r.answers, before + 2);
	rig_release(&r);
}

static const char *const before_numbers =
	"CREATE TABLE old(id TEXT PRIMARY KEY, customer_id TEXT NOT NULL, state INTEGER NOT NULL, type INTEGER NOT NULL,"
	"  ends_ns INTEGER NOT NULL, tries INTEGER NOT NULL, body BLOB NOT NULL) WITHOUT ROWID;"
	"INSERT INTO old SELECT id,customer_id,state,type,ends_ns,tries,body FROM workload;"
	"DROP TABLE workload;"
	"ALTER TABLE old RENAME TO workload;"
	"CREATE INDEX workload_customer ON workload(customer_id, id);"
	"CREATE INDEX workload_active ON workload(state, id) WHERE state < 5;"
	"CREATE INDEX workload_ends ON workload(ends_ns) WHERE ends_ns > 0;"
	"DELETE FROM economy WHERE k='states';";

static Hcp__Status *status(struct rig *r)
{
	rig_post(r, msg_new(MSG_STATUS_GET));
	return (Hcp__Status *)r->reply->body;
}

/* Tables of the version before rows had numbers: everybody goes on from where they were, and is counted. */
static void old_tables_are_taken_over(void **state)
{
	struct rig r;
	char id[4][ID_TEXT_MAX];
	rig_init(&r, &orchestrator_def, NULL);
	for (int i = 0; i < 4; i++)
		submit(&r, &acme, id[i]);
	place(&r, id[1], "al-1");
	place(&r, id[2], "al-2");
	allocation(&r, id[2], "al-2", HCP__ALLOCATION_STATE__HELD, "");
	order(&r, MSG_WORKLOAD_PAUSE, &acme, id[3]);
	rig_restart_before(&r, before_numbers);
	const Hcp__Status *s = status(&r);
	assert_int_equal(s->workloads_queued, 1);
	assert_int_equal(s->workloads_running, 2);
	assert_int_equal(s->workloads_paused, 1);
	allocation(&r, id[1], "al-1", HCP__ALLOCATION_STATE__HELD, "");
	assert_int_equal(get(&r, &acme, id[1])->state, HCP__WORKLOAD_STATE__RUNNING);
	assert_int_equal(get(&r, &acme, id[2])->state, HCP__WORKLOAD_STATE__RUNNING);
	assert_string_equal(get(&r, &acme, id[2])->allocation_id, "al-2");
	char more[ID_TEXT_MAX];
	submit(&r, &acme, more);
	rig_restart(&r);
	s = status(&r);
	assert_int_equal(s->workloads_queued, 2);
	assert_int_equal(s->workloads_running, 2);
	rig_post(&r, msg_new(MSG_WORKLOAD_LIST));
	assert_int_equal(((Hcp__Workloads *)r.reply->body)->n_workloads, 5);
	rig_release(&r);
}

/* Those that moved long ago are read from their rows, those that moved lately are not; nobody can tell. */
static void more_than_are_kept_go_on_alike(void **state)
{
	enum { MANY = ORCHESTRATOR_RECENT + 1000, EACH = 1000 };
	struct rig r;
	struct orchestrator_conf conf = { .max_active = 2 * MANY };
	char first[ID_TEXT_MAX] = "", last[ID_TEXT_MAX] = "";
	rig_init(&r, &orchestrator_def, &conf);
	for (int made = 0; made < MANY; made += EACH) {
		struct msg *m = msg_new(MSG_WORKLOAD_SUBMIT_BATCH), *one = submission(&acme, "");
		Hcp__WorkloadSubmitBatch *b = (Hcp__WorkloadSubmitBatch *)m->body;
		for (int i = 0; i < EACH; i++)
			assert_int_equal(pb_push(&m->arena, &b->n_workloads, &b->workloads, (void *)one->body), 0);
		m->principal = &acme;
		rig_post(&r, m);
		msg_free(one);
		const Hcp__Workloads *w = (Hcp__Workloads *)r.reply->body;
		assert_int_equal(w->n_workloads, EACH);
		if (!made)
			snprintf(first, sizeof(first), "%s", w->workloads[0]->id);
		snprintf(last, sizeof(last), "%s", w->workloads[EACH - 1]->id);
	}
	assert_int_equal(status(&r)->workloads_queued, (MANY + EACH - 1) / EACH * EACH);
	place(&r, first, "al-1");
	place(&r, last, "al-2");
	allocation(&r, first, "al-1", HCP__ALLOCATION_STATE__HELD, "");
	allocation(&r, last, "al-2", HCP__ALLOCATION_STATE__HELD, "");
	assert_int_equal(get(&r, &acme, first)->state, HCP__WORKLOAD_STATE__RUNNING);
	assert_int_equal(get(&r, &acme, last)->state, HCP__WORKLOAD_STATE__RUNNING);
	assert_int_equal(get(&r, &acme, first)->version, get(&r, &acme, last)->version);
	rig_release(&r);
}

/* The steps between are for people: not a batch, not a row. */
static void steps_of_an_allocation_are_passed_over(void **state)
{
	struct rig r;
	struct svc_stats before, after;
	char id[ID_TEXT_MAX];
	rig_init(&r, &orchestrator_def, NULL);
	submit(&r, &acme, id);
	place(&r, id, "al-1");
	svc_stats(r.svc, &before);
	allocation(&r, id, "al-1", HCP__ALLOCATION_STATE__SWITCHING, "");
	svc_stats(r.svc, &after);
	assert_int_equal(after.messages, before.messages);
	allocation(&r, id, "al-1", HCP__ALLOCATION_STATE__HELD, "");
	svc_stats(r.svc, &after);
	assert_int_equal(after.messages, before.messages + 1);
	assert_int_equal(get(&r, &acme, id)->state, HCP__WORKLOAD_STATE__RUNNING);
	rig_release(&r);
}

static void lists_page_newest_first(void **state)
{
	struct rig r;
	char id[7][ID_TEXT_MAX];
	rig_init(&r, &orchestrator_def, NULL);
	for (int i = 0; i < 7; i++)
		submit(&r, &acme, id[i]);
	char cursor[64] = "";
	int seen = 0;
	do {
		struct msg *m = msg_new(MSG_WORKLOAD_LIST);
		Hcp__WorkloadList *l = (Hcp__WorkloadList *)m->body;
		l->limit = 3;
		l->cursor = cursor;
		l->state = "queued";
		m->principal = &acme;
		rig_post(&r, m);
		Hcp__Workloads *w = (Hcp__Workloads *)r.reply->body;
		for (size_t i = 0; i < w->n_workloads; i++)
			assert_string_equal(w->workloads[i]->id, id[6 - seen++]);
		snprintf(cursor, sizeof(cursor), "%s", w->next_cursor);
	} while (cursor[0]);
	assert_int_equal(seen, 7);
	struct msg *m = msg_new(MSG_WORKLOAD_LIST);
	((Hcp__WorkloadList *)m->body)->state = "sleeping";
	rig_post(&r, m);
	rig_expect_problem(&r, "invalid", "state");
	rig_release(&r);
}

static void batches_are_all_or_none(void **state)
{
	struct rig r;
	int n;
	rig_init(&r, &orchestrator_def, NULL);
	Hcp__WorkloadSubmit a = HCP__WORKLOAD_SUBMIT__INIT, b = HCP__WORKLOAD_SUBMIT__INIT, *both[2] = { &a, &b };
	a.type = b.type = HCP__WORKLOAD_TYPE__MODEL_TRAINING;
	b.priority = 99;
	struct msg *m = msg_new(MSG_WORKLOAD_SUBMIT_BATCH);
	((Hcp__WorkloadSubmitBatch *)m->body)->n_workloads = 2;
	((Hcp__WorkloadSubmitBatch *)m->body)->workloads = both;
	rig_post(&r, m);
	rig_expect_problem(&r, "out_of_range", "workloads[1].priority");
	msg_free(rig_published(&r, MSG_WORKLOAD_CHANGED, &n));
	assert_int_equal(n, 0);
	b.priority = 9;
	m = msg_new(MSG_WORKLOAD_SUBMIT_BATCH);
	((Hcp__WorkloadSubmitBatch *)m->body)->n_workloads = 2;
	((Hcp__WorkloadSubmitBatch *)m->body)->workloads = both;
	rig_post(&r, m);
	assert_int_equal(((Hcp__Workloads *)r.reply->body)->n_workloads, 2);
	rig_release(&r);
}

static void quota_limits_a_customer(void **state)
{
	struct rig r;
	char id[ID_TEXT_MAX];
	struct orchestrator_conf conf = { .max_active = 2 };
	rig_init(&r, &orchestrator_def, &conf);
	submit(&r, &acme, id);
	submit(&r, &acme, id);
	rig_post(&r, submission(&acme, ""));
	rig_expect_problem(&r, "limit_reached", "customer_id");
	struct msg *m = msg_new(MSG_WORKLOAD_CANCEL);
	((Hcp__WorkloadCancel *)m->body)->id = id;
	m->principal = &acme;
	rig_post(&r, m);
	assert_int_equal(((Hcp__Workload *)r.reply->body)->state, HCP__WORKLOAD_STATE__CANCELLED);
	submit(&r, &acme, id);
	rig_release(&r);
}

static void preempt(struct rig *r, const char *id, const char *alloc, const char *by)
{
	Hcp__AllocationChanged ev = HCP__ALLOCATION_CHANGED__INIT;
	ev.workload_id = id;
	ev.allocation_id = alloc;
	ev.state = HCP__ALLOCATION_STATE__RELEASED;
	ev.preempted_by = by;
	ev.reason = "preempted by somebody";
	ev.at_ns = r->now_ns;
	rig_event(r, SVC_RESOURCES, &ev.base);
}

/* It waits again with its old place; no try is counted; only what was not saved is done again. */
static void who_yields_loses_no_try(void **state)
{
	for (int saves = 0; saves < 2; saves++) {
		struct rig r;
		char id[ID_TEXT_MAX], alloc[16];
		int n;
		rig_init(&r, &orchestrator_def, NULL);
		struct msg *m = submission(&acme, "");
		((Hcp__WorkloadSubmit *)m->body)->duration_s = 100;
		((Hcp__WorkloadSubmit *)m->body)->checkpointable = saves;
		((Hcp__WorkloadSubmit *)m->body)->project = "night";
		rig_post(&r, m);
		const Hcp__Workload *w = (const Hcp__Workload *)r.reply->body;
		snprintf(id, sizeof(id), "%s", w->id);
		int64_t queued_ns = w->queued_at_ns;
		assert_string_equal(w->project, "night");
		for (int i = 0; i < ORCHESTRATOR_MAX_TRIES + 2; i++) {
			snprintf(alloc, sizeof(alloc), "al-%d", i);
			place(&r, id, alloc);
			allocation(&r, id, alloc, HCP__ALLOCATION_STATE__HELD, "");
			rig_pass(&r, 10 * NS_PER_S);
			rig_forget(&r);
			preempt(&r, id, alloc, "wl-other");
			w = get(&r, &acme, id);
			assert_int_equal(w->state, HCP__WORKLOAD_STATE__QUEUED);
			assert_int_equal(w->preemptions, i + 1);
			assert_string_equal(w->preempted_by, "wl-other");
			assert_non_null(strstr(w->reason, "preempted by somebody"));
			assert_true(w->queued_at_ns == queued_ns);
			if (saves)
				assert_in_range(w->remaining_ns / NS_PER_S, 100 - 10 * (i + 1) - 1, 100 - 10 * (i + 1));
			else
				assert_int_equal(w->remaining_ns, 0);
			m = rig_published(&r, MSG_JOB_ENQUEUE, &n);
			assert_int_equal(n, 1);
			assert_int_equal(((Hcp__JobEnqueue *)m->body)->workload->preemptions, i + 1);
			msg_free(m);
			preempt(&r, id, alloc, "wl-other"); /* told twice */
			assert_int_equal(get(&r, &acme, id)->preemptions, i + 1);
		}
		place(&r, id, "al-last");
		allocation(&r, id, "al-last", HCP__ALLOCATION_STATE__HELD, "");
		rig_pass(&r, (saves ? 31 : 99) * NS_PER_S);
		assert_int_equal(get(&r, &acme, id)->state == HCP__WORKLOAD_STATE__COMPLETED, saves);
		rig_expect_replay(&r);
		rig_release(&r);
	}
}

/* ---- programs ---- */

static void submit_program(struct rig *r, char id[ID_TEXT_MAX], int64_t duration_s)
{
	struct msg *m = submission(&acme, "");
	Hcp__WorkloadSubmit *s = (Hcp__WorkloadSubmit *)m->body;
	s->type = HCP__WORKLOAD_TYPE__MODEL_TRAINING;
	s->model = "";
	s->program = "train";
	s->device_count = 1;
	s->duration_s = duration_s;
	rig_post(r, m);
	assert_int_equal(r->reply->type, MSG_WORKLOAD);
	assert_true(((Hcp__Workload *)r->reply->body)->checkpointable);
	snprintf(id, ID_TEXT_MAX, "%s", ((Hcp__Workload *)r->reply->body)->id);
}

static void program(struct rig *r, const char *id, const char *alloc, Hcp__ProgramState state, int64_t step)
{
	Hcp__ProgramChanged ev = HCP__PROGRAM_CHANGED__INIT;
	Hcp__Checkpoint c = HCP__CHECKPOINT__INIT;
	ev.workload_id = id;
	ev.allocation_id = alloc;
	ev.state = state;
	c.name = "ck";
	c.digest = "sha256:00";
	c.step = step;
	ev.checkpoint = step ? &c : NULL;
	rig_event(r, SVC_RESOURCES, &ev.base);
}

#define RUNS HCP__PROGRAM_STATE__PROGRAM_RUNNING
#define DONE HCP__PROGRAM_STATE__PROGRAM_DONE

/* Starting is no success: only what it has saved since makes up for a failure. */
static void a_program_that_saves_nothing_fails_after_its_tries(void **state)
{
	struct rig r;
	char id[ID_TEXT_MAX], alloc[16];
	rig_init(&r, &orchestrator_def, NULL);
	submit_program(&r, id, 0);
	for (int i = 0; i < ORCHESTRATOR_MAX_TRIES + 2; i++) {
		snprintf(alloc, sizeof(alloc), "al-%d", i);
		assert_int_equal(get(&r, &acme, id)->state, HCP__WORKLOAD_STATE__QUEUED);
		place(&r, id, alloc);
		allocation(&r, id, alloc, HCP__ALLOCATION_STATE__HELD, "");
		if (i == 1)
			program(&r, id, alloc, RUNS, 10);
		allocation(&r, id, alloc, HCP__ALLOCATION_STATE__RELEASED, "its program failed: exit 3");
		if (i == 1)
			program(&r, id, alloc, RUNS, 12); /* what it saved at its end: late, and still its own */
	}
	Hcp__Workload *w = get(&r, &acme, id);
	assert_int_equal(w->state, HCP__WORKLOAD_STATE__FAILED);
	assert_non_null(strstr(w->reason, "exit 3"));
	assert_int_equal(w->checkpoint->step, 12);
	program(&r, id, alloc, RUNS, 20); /* over is over */
	assert_int_equal(get(&r, &acme, id)->checkpoint->step, 12);
	rig_release(&r);
}

static void a_program_says_when_it_is_done(void **state)
{
	struct rig r;
	char id[ID_TEXT_MAX];
	int n;
	rig_init(&r, &orchestrator_def, NULL);
	submit_program(&r, id, 0);
	place(&r, id, "al-1");
	program(&r, id, "al-0", DONE, 0); /* another's allocation */
	assert_int_equal(get(&r, &acme, id)->state, HCP__WORKLOAD_STATE__SCHEDULED);
	rig_forget(&r);
	program(&r, id, "al-1", DONE, 30); /* before anybody said that it runs */
	assert_int_equal(get(&r, &acme, id)->state, HCP__WORKLOAD_STATE__COMPLETED);
	msg_free(rig_published(&r, MSG_JOB_CANCEL, &n));
	assert_int_equal(n, 1);
	/* Its duration is a limit. */
	submit_program(&r, id, 100);
	place(&r, id, "al-2");
	allocation(&r, id, "al-2", HCP__ALLOCATION_STATE__HELD, "");
	program(&r, id, "al-2", RUNS, 10);
	rig_pass(&r, 101 * NS_PER_S);
	assert_int_equal(get(&r, &acme, id)->state, HCP__WORKLOAD_STATE__FAILED);
	assert_int_equal(get(&r, &acme, id)->checkpoint->step, 10);
	rig_expect_replay(&r);
	rig_release(&r);
}

static unsigned migrate(struct rig *r, const Hcp__Principal *who, const char *id)
{
	struct msg *m = msg_new(MSG_WORKLOAD_MIGRATE);
	((Hcp__WorkloadMigrate *)m->body)->id = id;
	m->principal = who;
	return rig_post(r, m)->type;
}

static void a_move_is_a_release_and_a_new_place(void **state)
{
	struct rig r;
	char id[ID_TEXT_MAX], plain[ID_TEXT_MAX];
	int n;
	rig_init(&r, &orchestrator_def, NULL);
	submit(&r, &acme, plain);
	place(&r, plain, "al-9");
	allocation(&r, plain, "al-9", HCP__ALLOCATION_STATE__HELD, "");
	migrate(&r, &acme, plain);
	rig_expect_problem(&r, "wrong_state", "checkpointable");
	submit_program(&r, id, 0);
	migrate(&r, &acme, id);
	rig_expect_problem(&r, "wrong_state", "state");
	place(&r, id, "al-1");
	allocation(&r, id, "al-1", HCP__ALLOCATION_STATE__HELD, "");
	migrate(&r, &globex, id);
	rig_expect_problem(&r, "not_found", "id");
	rig_forget(&r);
	int64_t queued_ns = get(&r, &acme, id)->queued_at_ns;
	assert_int_equal(migrate(&r, &admin, id), MSG_WORKLOAD);
	struct msg *m = rig_published(&r, MSG_JOB_CANCEL, &n);
	assert_true(n == 1 && ((Hcp__JobCancel *)m->body)->elsewhere);
	msg_free(m);
	msg_free(rig_published(&r, MSG_JOB_ENQUEUE, &n));
	assert_int_equal(n, 1);
	allocation(&r, id, "al-1", HCP__ALLOCATION_STATE__RELEASED, "moves elsewhere"); /* no loss */
	assert_int_equal(get(&r, &acme, id)->state, HCP__WORKLOAD_STATE__QUEUED);
	assert_int_equal(get(&r, &acme, id)->queued_at_ns, queued_ns);
	rig_release(&r);
}

static void told_to_move(struct rig *r, const char *id, const char *alloc)
{
	Hcp__JobState ev = HCP__JOB_STATE__INIT;
	ev.workload_id = id;
	ev.allocation_id = alloc;
	ev.state = "moves";
	ev.reason = "moved to make n1/gpu0 whole for wl-x";
	rig_forget(r);
	rig_event(r, SVC_ROUTER, &ev.base);
}

/* The router wants its device for another: it moves as its owner would move it, if it still runs there and can. */
static void the_router_may_move_what_saves_itself(void **state)
{
	struct rig r;
	char id[ID_TEXT_MAX], plain[ID_TEXT_MAX];
	int n;
	rig_init(&r, &orchestrator_def, NULL);
	submit(&r, &acme, plain);
	place(&r, plain, "al-9");
	allocation(&r, plain, "al-9", HCP__ALLOCATION_STATE__HELD, "");
	told_to_move(&r, plain, "al-9"); /* its work would be lost */
	msg_free(rig_published(&r, MSG_JOB_CANCEL, &n));
	assert_int_equal(n, 0);
	submit_program(&r, id, 0);
	place(&r, id, "al-1");
	told_to_move(&r, id, "al-1"); /* it does not run yet */
	allocation(&r, id, "al-1", HCP__ALLOCATION_STATE__HELD, "");
	told_to_move(&r, id, "al-0"); /* nor there any more */
	msg_free(rig_published(&r, MSG_JOB_CANCEL, &n));
	assert_int_equal(n, 0);
	told_to_move(&r, id, "al-1");
	struct msg *m = rig_published(&r, MSG_JOB_CANCEL, &n);
	assert_true(n == 1 && ((Hcp__JobCancel *)m->body)->elsewhere);
	assert_string_equal(((Hcp__JobCancel *)m->body)->reason, "moved to make n1/gpu0 whole for wl-x");
	msg_free(m);
	msg_free(rig_published(&r, MSG_JOB_ENQUEUE, &n));
	assert_int_equal(n, 1);
	assert_int_equal(get(&r, &acme, id)->state, HCP__WORKLOAD_STATE__QUEUED);
	assert_string_equal(get(&r, &acme, id)->reason, "moved to make n1/gpu0 whole for wl-x");
	assert_int_equal(get(&r, &acme, id)->preemptions, 0);
	told_to_move(&r, id, "al-1"); /* told twice */
	msg_free(rig_published(&r, MSG_JOB_CANCEL, &n));
	assert_int_equal(n, 0);
	rig_expect_replay(&r);
	rig_release(&r);
}

static void a_program_has_one_whole_device_and_a_name(void **state)
{
	static const struct {
		const char *program, *field, *code;
		Hcp__WorkloadType type;
		int devices;
		double fraction;
	} bad[] = {
		{ "../sh", "program", "invalid", HCP__WORKLOAD_TYPE__MODEL_TRAINING, 1, 0 },
		{ "train", "program", "invalid", HCP__WORKLOAD_TYPE__BITCOIN_MINING, 1, 0 },
		{ "train", "program", "invalid", HCP__WORKLOAD_TYPE__AI_INFERENCE_REALTIME, 1, 0 },
		{ "train", "device_count", "out_of_range", HCP__WORKLOAD_TYPE__MODEL_TRAINING, 2, 0 },
		{ "train", "program", "invalid", HCP__WORKLOAD_TYPE__MODEL_TRAINING, 1, 0.5 },
	};
	struct rig r;
	rig_init(&r, &orchestrator_def, NULL);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct msg *m = submission(&acme, "");
		Hcp__WorkloadSubmit *s = (Hcp__WorkloadSubmit *)m->body;
		s->type = bad[i].type;
		s->program = bad[i].program;
		s->device_count = bad[i].devices;
		if (bad[i].fraction > 0)
			want_fraction(s, bad[i].fraction);
		rig_post(&r, m);
		rig_expect_problem(&r, bad[i].code, bad[i].field);
	}
	rig_release(&r);
}

static Hcp__CustomerQuota *set_quota(struct rig *r, Hcp__CustomerQuotaSet q)
{
	struct msg *m = msg_new(MSG_CUSTOMER_QUOTA_SET);
	*(Hcp__CustomerQuotaSet *)m->body = q;
	m->principal = &admin;
	rig_post(r, m);
	return r->reply->type == MSG_CUSTOMER_QUOTA ? (Hcp__CustomerQuota *)r->reply->body : NULL;
}

static void quotas_are_kept_told_and_counted(void **state)
{
	struct rig r;
	char id[ID_TEXT_MAX];
	int n;
	Hcp__ProjectWeight night = HCP__PROJECT_WEIGHT__INIT, *projects[] = { &night };
	Hcp__CustomerQuotaSet q = HCP__CUSTOMER_QUOTA_SET__INIT;
	night.project = "night";
	night.weight = 2;
	q.customer_id = "cus-acme";
	q.max_active = 2;
	q.max_device_hours = 5;
	q.n_projects = 1;
	q.projects = projects;
	rig_init(&r, &orchestrator_def, NULL);
	assert_non_null(set_quota(&r, q));
	struct msg *m = rig_published(&r, MSG_CUSTOMER_QUOTA_CHANGED, &n);
	assert_int_equal(n, 1);
	assert_string_equal(((Hcp__CustomerQuotaChanged *)m->body)->quota->projects[0]->project, "night");
	msg_free(m);
	/* Two devices for an hour and a half are three of five device-hours. */
	m = submission(&acme, "");
	((Hcp__WorkloadSubmit *)m->body)->duration_s = 5400;
	rig_post(&r, m);
	snprintf(id, sizeof(id), "%s", ((Hcp__Workload *)r.reply->body)->id);
	place(&r, id, "al-1");
	allocation(&r, id, "al-1", HCP__ALLOCATION_STATE__HELD, "");
	rig_pass(&r, 5401 * NS_PER_S);
	assert_int_equal(get(&r, &acme, id)->state, HCP__WORKLOAD_STATE__COMPLETED);
	rig_restart(&r);
	m = submission(&acme, "");
	((Hcp__WorkloadSubmit *)m->body)->duration_s = 5400;
	rig_post(&r, m);
	rig_expect_problem(&r, "limit_reached", "duration_s");
	submit(&r, &acme, id);
	submit(&r, &acme, id);
	rig_post(&r, submission(&acme, ""));
	rig_expect_problem(&r, "limit_reached", "customer_id");
	m = msg_new(MSG_CUSTOMER_QUOTA_GET);
	((Hcp__CustomerQuotaGet *)m->body)->customer_id = "cus-acme";
	m->principal = &acme;
	rig_post(&r, m);
	const Hcp__CustomerQuota *have = (const Hcp__CustomerQuota *)r.reply->body;
	assert_int_equal(have->active, 2);
	assert_true(have->device_hours > 2.99 && have->device_hours < 3.01);
	assert_int_equal(have->quota->max_active, 2);
	m = msg_new(MSG_CUSTOMER_QUOTA_GET);
	((Hcp__CustomerQuotaGet *)m->body)->customer_id = "cus-acme";
	m->principal = &globex;
	rig_post(&r, m);
	rig_expect_problem(&r, "not_found", "customer_id");
	rig_pass(&r, 32 * 86400 * NS_PER_S); /* next month all is open again */
	m = msg_new(MSG_CUSTOMER_QUOTA_GET);
	((Hcp__CustomerQuotaGet *)m->body)->customer_id = "cus-acme";
	rig_post(&r, m);
	assert_true(((Hcp__CustomerQuota *)r.reply->body)->device_hours == 0);
	night.weight = 0;
	assert_null(set_quota(&r, q));
	rig_expect_problem(&r, "out_of_range", "projects[0].weight");
	q.customer_id = "";
	assert_null(set_quota(&r, q));
	rig_expect_problem(&r, "invalid", "customer_id");
	rig_expect_replay(&r);
	rig_release(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(who_yields_loses_no_try),
		cmocka_unit_test(a_program_that_saves_nothing_fails_after_its_tries),
		cmocka_unit_test(a_program_says_when_it_is_done),
		cmocka_unit_test(a_move_is_a_release_and_a_new_place),
		cmocka_unit_test(the_router_may_move_what_saves_itself),
		cmocka_unit_test(a_program_has_one_whole_device_and_a_name),
		cmocka_unit_test(quotas_are_kept_told_and_counted),
		cmocka_unit_test(a_workload_lives_its_life),
		cmocka_unit_test(a_paused_workload_keeps_what_is_left_of_its_time),
		cmocka_unit_test(pause_and_resume_refuse_by_the_table),
		cmocka_unit_test(parts_of_a_gpu_cost_what_they_are),
		cmocka_unit_test(bad_submissions_name_their_field),
		cmocka_unit_test(what_names_no_type_is_classified),
		cmocka_unit_test(repeats_are_harmless_and_conflicts_are_told),
		cmocka_unit_test(others_do_not_exist),
		cmocka_unit_test(a_cancel_may_name_the_version),
		cmocka_unit_test(refused_places_are_tried_again_then_fail),
		cmocka_unit_test(unfit_devices_cost_no_try),
		cmocka_unit_test(only_decisions_that_pay_become_directives),
		cmocka_unit_test(emergency_stop_holds_until_cleared),
		cmocka_unit_test(long_polls_wait_for_a_change),
		cmocka_unit_test(lists_page_newest_first),
		cmocka_unit_test(batches_are_all_or_none),
		cmocka_unit_test(quota_limits_a_customer),
		cmocka_unit_test(old_tables_are_taken_over),
		cmocka_unit_test(more_than_are_kept_go_on_alike),
		cmocka_unit_test(steps_of_an_allocation_are_passed_over),
	};
	return cmocka_run_group_tests_name("orchestrator", tests, NULL, NULL);
}
