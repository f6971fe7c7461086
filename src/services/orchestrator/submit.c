/* Submission: validate, remember the idempotency key, store, queue. */
#include <stdio.h>

#include "base/map.h"
#include "base/money.h"
#include "base/panic.h"
#include "model/device_class.h"
#include "model/program.h"
#include "model/slice.h"
#include "services/orchestrator/callback.h"
#include "services/orchestrator/orchestrator_priv.h"

enum { IDEMPOTENCY_KEY_MAX = 255 };

static bool gives_fraction(const Hcp__WorkloadSubmit *s)
{
	return s->has_gpu_fraction_case == HCP__WORKLOAD_SUBMIT__HAS_GPU_FRACTION_GPU_FRACTION;
}

/* The part of one GPU that it asks for; milli 0: whole devices. */
static int slice_of(const Hcp__WorkloadSubmit *s, struct slice *ret, struct err *err)
{
	struct slice_wish wish = { .gpu_fraction = gives_fraction(s) ? s->gpu_fraction : 0,
		.mig_profile = str_of(s->mig_profile),
		.cls = device_class_find(str_of(s->device_class)),
		.device_count = s->device_count,
		.memory_gib = s->memory_gib };
	if (gives_fraction(s) && s->gpu_fraction == 0)
		return err_set(err, HCP_ERANGE, "gpu_fraction", "must be from 0.001 to 1; leave it out for whole devices");
	if ((gives_fraction(s) || s->mig_profile[0]) && s->type == HCP__WORKLOAD_TYPE__BITCOIN_MINING)
		return err_set(err, HCP_EINVAL, gives_fraction(s) ? "gpu_fraction" : "mig_profile",
			"mining takes whole devices; leave it out");
	return slice_wanted(&wish, ret, err);
}

static int check_program(const Hcp__WorkloadSubmit *s, struct err *err)
{
	if (!s->program[0])
		return 0;
	if (strlen(s->program) >= PROGRAM_NAME_MAX || !id_is_name(s->program))
		return err_set(err, HCP_EINVAL, "program",
			"must be the name of a program: 1 to 64 letters, digits, '.', '-', '_', not beginning with '.'");
	if (s->type != HCP__WORKLOAD_TYPE__AI_INFERENCE_BATCH && s->type != HCP__WORKLOAD_TYPE__MODEL_TRAINING)
		return err_set(err, HCP_EINVAL, "program", "is for ai_inference_batch and model_training; leave it out");
	if (s->device_count > 1)
		return err_set(
			err, HCP_ERANGE, "device_count", "a program runs on one device; must be 1, was %d", s->device_count);
	if (gives_fraction(s) || s->mig_profile[0])
		return err_set(err, HCP_EINVAL, "program", "has a whole device; leave out gpu_fraction and mig_profile");
	return 0;
}

static int validate_typed(const struct orchestrator *o, const Hcp__WorkloadSubmit *s, int64_t now_ns, struct err *err)
{
	struct slice slice;
	struct workload_spec spec = {
		.name = str_of(s->name),
		.model_id = str_of(s->model),
		.gpu_type = str_of(s->device_class),
		.region = str_of(s->region),
		.callback_url = str_of(s->callback_url),
		.type = (enum workload_type)s->type,
		.priority = s->priority,
		.max_latency_ms = s->max_latency_ms,
		.duration_s = s->duration_s,
		.deadline_ns = s->deadline_ns,
		.memory_gib = s->memory_gib,
		.checkpointable = s->checkpointable,
		.project = str_of(s->project),
	};
	int bad = check_program(s, err);
	if (bad < 0)
		return bad;
	if (s->program[0] && !s->model[0])
		spec.model_id = str_of(s->program); /* what it does its program knows */
	if (s->device_count < 0 || s->device_count > WORKLOAD_GPU_COUNT_MAX)
		return err_set(err, HCP_ERANGE, "device_count", "must be 1 to %d, was %d", WORKLOAD_GPU_COUNT_MAX,
			       s->device_count);
	const struct device_class *c = s->device_class[0] ? device_class_find(str_of(s->device_class)) : NULL;
	if (s->device_class[0] && !c)
		return err_set(err, HCP_ENOTFOUND, "device_class", "there is no device class %.32s", s->device_class);
	if (c && c->kind == DEVICE_ASIC && s->type != HCP__WORKLOAD_TYPE__BITCOIN_MINING)
		return err_set(err, HCP_EINVAL, "device_class", "%s can only mine; choose a GPU or CPU class", c->name);
	/* The model's specification speaks of GPUs; a CPU class is counted in cores there. */
	if (c && c->kind != DEVICE_GPU)
		spec.gpu_type = STR("");
	if (!c || c->kind == DEVICE_GPU)
		spec.gpu_count = s->type == HCP__WORKLOAD_TYPE__BITCOIN_MINING ? 0 : s->device_count ? s->device_count : 1;
	else
		spec.cpu_cores = 1;
	int rc = slice_of(s, &slice, err);
	if (rc < 0)
		return rc;
	rc = workload_validate(&spec, now_ns, err);
	if (rc == 0 && s->callback_url[0])
		return orch_callback_check(o, s->callback_url, err);
	if (rc < 0 && err && !strcmp(err->field, "gpu_type"))
		(void)!str_copy(err->field, sizeof(err->field), STR("device_class"));
	if (rc < 0 && err && !strcmp(err->field, "gpu_count"))
		(void)!str_copy(err->field, sizeof(err->field), STR("device_count"));
	if (rc < 0 && err && !strcmp(err->field, "model_id"))
		(void)!str_copy(err->field, sizeof(err->field), STR("model"));
	return rc;
}

/* What has no type is what it is told to be. */
static int validate(const struct orchestrator *o, const Hcp__WorkloadSubmit *s, struct svc_ctx *ctx, struct err *err)
{
	Hcp__WorkloadSubmit told = *s;
	Hcp__Classification unused;
	int rc = orch_classify(o, &told, svc_arena(ctx), &unused, err);
	return rc < 0 ? rc : validate_typed(o, &told, svc_now_ns(ctx), err);
}

static int choose_customer(const struct msg *m, const Hcp__WorkloadSubmit *s, const char **ret, struct err *err)
{
	bool is_customer = m->principal && m->principal->role == HCP__ROLE__CUSTOMER;
	const char *own = m->principal ? m->principal->customer_id : "";
	if (is_customer && s->customer_id[0] && strcmp(s->customer_id, own))
		return err_set(err, HCP_EPERM, "customer_id", "you may submit for your own organisation only");
	*ret = !is_customer && s->customer_id[0] ? s->customer_id : own;
	return 0;
}

/* Thousandths of devices that it asks for; the request is valid. */
static int64_t wanted_milli(const Hcp__WorkloadSubmit *s)
{
	const struct device_class *c = device_class_find(str_of(s->device_class));
	struct slice slice;
	must(slice_of(s, &slice, NULL) == 0);
	if (slice.milli)
		return c ? slice_held_milli(c, &slice, s->memory_gib) : slice.milli;
	return SLICE_WHOLE * (int64_t)(s->device_count ? s->device_count : 1);
}

/* Of its whole duration; work without an end is counted as it is done. */
static double device_hours(const Hcp__WorkloadSubmit *s)
{
	return (double)s->duration_s / 3600 * (double)wanted_milli(s) / SLICE_WHOLE;
}

static uint64_t digest_of(const Hcp__WorkloadSubmit *s, struct arena *a)
{
	struct str packed;
	return pb_pack_arena(&s->base, a, &packed) < 0 ? 0 : hash_bytes(packed.p, packed.n, 0x68637031) >> 1;
}

/* 1: the key was used for the same body, *ret is what it made; 0: new; <0: conflict or failure. */
static int find_repeat(struct orchestrator *o, struct svc_ctx *ctx, const struct msg *m, const char *customer,
	uint64_t digest, struct row *ret, struct err *err)
{
	struct db_row *row;
	if (!m->idempotency_key[0])
		return 0;
	if (strlen(m->idempotency_key) > IDEMPOTENCY_KEY_MAX)
		return err_set(err, HCP_EINVAL, "Idempotency-Key", "longer than %d characters", IDEMPOTENCY_KEY_MAX);
	int rc = db_query(svc_db(ctx), &row, err,
		"SELECT digest,workload_id FROM idempotency WHERE customer_id=$1 AND k=$2", "zz", customer, m->idempotency_key);
	if (rc <= 0)
		return rc;
	bool same = (uint64_t)db_i64(row, 0) == digest;
	struct str text = db_text(row, 1);
	char id[ID_TEXT_MAX];
	rc = str_copy(id, sizeof(id), text);
	db_done(row);
	if (rc < 0)
		return err_set(err, HCP_ECORRUPT, "Idempotency-Key", "stored id cannot be read");
	if (!same)
		return err_set(err, HCP_ECONFLICT, "Idempotency-Key", "this key was used for another request (%s)", id);
	rc = orch_workload_load(o, ctx, id, ret, err);
	return rc < 0 ? rc : 1;
}

static int64_t estimate_micros(const Hcp__WorkloadSubmit *s)
{
	const struct device_class *c = device_class_find(str_of(s->device_class[0] ? s->device_class : "H100"));
	int64_t rate, cost;
	if (!c || !s->duration_s || money_from_usd(c->list_usd_h, &rate) < 0)
		return 0;
	if (money_hours_cost(s->duration_s * NS_PER_S, rate * wanted_milli(s) / SLICE_WHOLE, &cost) < 0)
		return 0;
	return cost;
}

static int make(struct orchestrator *o, struct svc_ctx *ctx, const struct msg *m, const Hcp__WorkloadSubmit *given,
	const char *customer, struct row *ret, struct err *err)
{
	static const char *const no_reason = "waiting for placement";
	struct slice slice;
	Hcp__WorkloadSubmit told = *given, *s = &told;
	struct arena *a = svc_arena(ctx);
	Hcp__Classification *classified = arena_alloc(a, sizeof(*classified));
	Hcp__Workload *w = arena_alloc(a, sizeof(*w));
	char *id = arena_alloc(a, ID_TEXT_MAX);
	int rc = classified && w && id ? orch_classify(o, s, svc_arena(ctx), classified, err) : HCP_ENOMEM;
	if (rc < 0)
		return rc;
	must(slice_of(s, &slice, NULL) == 0); /* valid */
	hcp__workload__init(w);
	w->classified = rc ? classified : NULL;
	w->id = svc_new_id(ctx, id, ID_WORKLOAD);
	w->customer_id = customer;
	w->type = s->type;
	w->state = HCP__WORKLOAD_STATE__QUEUED;
	w->name = s->name;
	w->model = s->model;
	w->priority = s->priority ? s->priority : 5;
	w->priority_class = workload_class_name(workload_class_of((enum workload_type)s->type));
	w->device_class = s->device_class;
	w->device_count = s->device_count ? s->device_count : 1;
	w->gpu_fraction = slice.mig ? 0 : (double)slice.milli / SLICE_WHOLE;
	if (slice.mig)
		w->mig_profile = mig_name(device_class_find(str_of(s->device_class)), (enum mig_geometry)slice.mig);
	w->memory_gib = s->memory_gib;
	w->max_latency_ms = s->max_latency_ms;
	w->duration_s = s->duration_s;
	w->deadline_ns = s->deadline_ns;
	w->region = s->region;
	w->callback_url = s->callback_url;
	w->created_at_ns = w->queued_at_ns = svc_now_ns(ctx);
	w->program = s->program;
	w->checkpointable = s->checkpointable || s->program[0];
	w->project = s->project;
	w->version = 1;
	w->reason = o->stopped ? "the platform is in emergency stop" : no_reason;
	w->estimated_cost_micros = estimate_micros(s);
	w->submitted_by = m->principal ? m->principal->email : "";
	*ret = (struct row){ .w = w };
	rc = orch_workload_insert(o, ctx, ret, err);
	if (rc == 0)
		rc = orch_quota_count(o, ctx, customer, 1, err);
	if (rc == 0)
		rc = orch_workload_announce(o, ctx, ret, HCP__WORKLOAD_STATE__WORKLOAD_STATE_UNSPECIFIED, err);
	return rc < 0 || o->stopped ? rc : orch_workload_enqueue(ctx, ret);
}

int orch_on_submit(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	struct orchestrator *o = state;
	const Hcp__WorkloadSubmit *s = (const Hcp__WorkloadSubmit *)m->body;
	const char *customer;
	struct row result;
	bool repeated;
	int rc = validate(o, s, ctx, err);
	if (rc == 0)
		rc = choose_customer(m, s, &customer, err);
	if (rc < 0)
		return rc;
	uint64_t digest = digest_of(s, svc_arena(ctx));
	rc = find_repeat(o, ctx, m, customer, digest, &result, err);
	repeated = rc == 1;
	if (rc == 0)
		rc = orch_quota_check(o, ctx, customer, 1, device_hours(s), err);
	if (rc == 0 && !repeated) {
		rc = make(o, ctx, m, s, customer, &result, err);
		if (rc == 0 && m->idempotency_key[0])
			rc = db_run(svc_db(ctx), err,
				    "INSERT INTO idempotency(customer_id,k,digest,workload_id) VALUES($1,$2,$3,$4)", "zziz",
				    customer, m->idempotency_key, (int64_t)digest, result.w->id);
	}
	if (rc < 0)
		return rc;
	Hcp__Workload *reply = svc_reply(ctx, MSG_WORKLOAD);
	return reply ? orch_workload_copy(svc_reply_arena(ctx), &result, reply) : HCP_ENOMEM;
}

static int check_batch(struct orchestrator *o, struct svc_ctx *ctx, const struct msg *m,
		       const Hcp__WorkloadSubmitBatch *b, struct err *err)
{
	if (b->n_workloads == 0 || b->n_workloads > ORCHESTRATOR_BATCH_MAX)
		return err_set(err, HCP_ERANGE, "workloads", "must hold 1 to %d workloads, holds %zu", ORCHESTRATOR_BATCH_MAX,
			       b->n_workloads);
	double hours = 0; /* as if all were one customer's, as their number is counted */
	for (size_t i = 0; i < b->n_workloads; i++) {
		const char *customer;
		char at[32];
		int rc = validate(o, b->workloads[i], ctx, err);
		if (rc == 0)
			rc = choose_customer(m, b->workloads[i], &customer, err);
		if (rc == 0)
			hours += device_hours(b->workloads[i]);
		if (rc == 0)
			rc = orch_quota_check(o, ctx, customer, (int64_t)b->n_workloads, hours, err);
		if (rc < 0) {
			snprintf(at, sizeof(at), "workloads[%zu]", i);
			err_prefix(err, at);
			return rc;
		}
	}
	return 0;
}

/* All are valid before the first is stored: all or none. */
int orch_on_submit_batch(void *state, struct svc_ctx *ctx, const struct msg *m, struct err *err)
{
	struct orchestrator *o = state;
	const Hcp__WorkloadSubmitBatch *b = (const Hcp__WorkloadSubmitBatch *)m->body;
	int rc = check_batch(o, ctx, m, b, err);
	Hcp__Workloads *reply = rc == 0 ? svc_reply(ctx, MSG_WORKLOADS) : NULL;
	if (!reply)
		return rc < 0 ? rc : HCP_ENOMEM;
	struct arena *a = svc_reply_arena(ctx);
	for (size_t i = 0; i < b->n_workloads && rc == 0; i++) {
		struct row made;
		Hcp__Workload *copy = arena_alloc(a, sizeof(*copy));
		const char *customer = "";
		rc = choose_customer(m, b->workloads[i], &customer, err);
		if (rc == 0)
			rc = make(o, ctx, m, b->workloads[i], customer, &made, err);
		if (rc == 0)
			rc = copy ? orch_workload_copy(a, &made, copy) : HCP_ENOMEM;
		if (rc == 0)
			rc = pb_push(a, &reply->n_workloads, &reply->workloads, copy);
	}
	return rc;
}
