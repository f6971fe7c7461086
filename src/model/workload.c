#include "model/workload.h"

#include <ctype.h>
#include <stdio.h>

#include "base/money.h"
#include "model/device_class.h"

#define NO WORKLOAD_STATE_END

/* clang-format off */
static const uint8_t transition[WORKLOAD_STATE_END][WORKLOAD_EVENT_END] = {
	/*                  schedule             start             pause            resume           complete             fail             cancel              requeue */
	[WORKLOAD_QUEUED] =    { WORKLOAD_SCHEDULED, NO,               WORKLOAD_PAUSED, NO,              NO,                 WORKLOAD_FAILED, WORKLOAD_CANCELLED, NO },
	[WORKLOAD_SCHEDULED] = { NO,                 WORKLOAD_RUNNING, WORKLOAD_PAUSED, NO,              NO,                 WORKLOAD_FAILED, WORKLOAD_CANCELLED, WORKLOAD_QUEUED },
	[WORKLOAD_RUNNING] =   { NO,                 NO,               WORKLOAD_PAUSED, NO,              WORKLOAD_COMPLETED, WORKLOAD_FAILED, WORKLOAD_CANCELLED, WORKLOAD_QUEUED },
	[WORKLOAD_PAUSED] =    { NO,                 NO,               NO,              WORKLOAD_QUEUED, NO,                 WORKLOAD_FAILED, WORKLOAD_CANCELLED, NO },
	[WORKLOAD_COMPLETED] = { NO, NO, NO, NO, NO, NO, NO, NO },
	[WORKLOAD_FAILED] =    { NO, NO, NO, NO, NO, NO, NO, NO },
	[WORKLOAD_CANCELLED] = { NO, NO, NO, NO, NO, NO, NO, NO },
};
/* clang-format on */

static const char *const state_name[WORKLOAD_STATE_END] = {
	"queued", "scheduled", "running", "paused", "completed", "failed", "cancelled",
};
static const char *const event_name[WORKLOAD_EVENT_END] = {
	"schedule", "start", "pause", "resume", "complete", "fail", "cancel", "requeue",
};
static const char *const type_name[WORKLOAD_TYPE_END] = {
	NULL, "ai_inference_realtime", "ai_inference_batch", "model_training", "bitcoin_mining",
};
static const char *const class_name[WORKLOAD_CLASS_END] = { NULL, "P1", "P2", "P3", "P4" };

const char *workload_type_name(enum workload_type type)
{
	return (unsigned)type < WORKLOAD_TYPE_END ? type_name[type] : NULL;
}

const char *workload_class_name(enum workload_class c)
{
	return (unsigned)c < WORKLOAD_CLASS_END ? class_name[c] : NULL;
}

const char *workload_state_name(enum workload_state state)
{
	return (unsigned)state < WORKLOAD_STATE_END ? state_name[state] : NULL;
}

const char *workload_event_name(enum workload_event event)
{
	return (unsigned)event < WORKLOAD_EVENT_END ? event_name[event] : NULL;
}

int workload_type_parse(struct str s, enum workload_type *ret)
{
	for (unsigned i = 1; i < WORKLOAD_TYPE_END; i++) {
		if (str_eqz(s, type_name[i])) {
			*ret = (enum workload_type)i;
			return 0;
		}
	}
	return HCP_EINVAL;
}

int workload_state_parse(struct str s, enum workload_state *ret)
{
	for (unsigned i = 0; i < WORKLOAD_STATE_END; i++) {
		if (str_eqz(s, state_name[i])) {
			*ret = (enum workload_state)i;
			return 0;
		}
	}
	return HCP_EINVAL;
}

/* What its owner may ask of a workload in that state, for the sentence of a refusal. */
static const char *possible(enum workload_state state, char *dst, size_t n)
{
	static const enum workload_event asked[] = { WORKLOAD_EV_PAUSE, WORKLOAD_EV_RESUME, WORKLOAD_EV_CANCEL };
	size_t used = 0;
	if (workload_state_is_final(state))
		return "that state is final";
	for (size_t i = 0; i < sizeof(asked) / sizeof(asked[0]) && used < n; i++)
		if (transition[state][asked[i]] != NO)
			used += (size_t)snprintf(dst + used, n - used, "%s%s", used ? " or " : "it can ", event_name[asked[i]]);
	return dst;
}

int workload_next(enum workload_state state, enum workload_event event, enum workload_state *ret, struct err *err)
{
	char choice[64] = "";
	if ((unsigned)state >= WORKLOAD_STATE_END || (unsigned)event >= WORKLOAD_EVENT_END)
		return err_set(err, HCP_EINVAL, "state", "state %d or event %d does not exist", (int)state, (int)event);
	if (transition[state][event] == NO)
		return err_set(err, HCP_ESTATE, "state", "a workload that is %s cannot %s: %s", state_name[state],
			event_name[event], possible(state, choice, sizeof(choice)));
	*ret = (enum workload_state)transition[state][event];
	return 0;
}

bool workload_state_is_final(enum workload_state state)
{
	return state == WORKLOAD_COMPLETED || state == WORKLOAD_FAILED || state == WORKLOAD_CANCELLED;
}

bool workload_state_holds_devices(enum workload_state state)
{
	return state == WORKLOAD_SCHEDULED || state == WORKLOAD_RUNNING;
}

enum workload_class workload_class_of(enum workload_type type)
{
	/* Numbered alike on purpose; the cast is the mapping. */
	return (enum workload_class)type;
}

int64_t workload_wait_target_ns(enum workload_class c)
{
	switch (c) {
	case WORKLOAD_P1:
		return 100 * NS_PER_MS;
	case WORKLOAD_P2:
		return 5 * 60 * NS_PER_S;
	case WORKLOAD_P3:
		return 30 * 60 * NS_PER_S;
	default:
		return 0;
	}
}

static bool is_text(struct str s)
{
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];
		if (c < 0x20 || c == 0x7f)
			return false;
	}
	return true;
}

static int check_text(struct str s, size_t max, const char *field, struct err *err)
{
	if (s.n > max)
		return err_set(err, HCP_ERANGE, field, "must be at most %zu bytes, has %zu", max, s.n);
	if (!is_text(s))
		return err_set(err, HCP_EINVAL, field, "must not contain control characters");
	return 0;
}

static int check_range(int64_t v, int64_t max, const char *field, struct err *err)
{
	if (v < 0 || v > max)
		return err_set(err, HCP_ERANGE, field, "must be from 0 to %lld, is %lld", (long long)max, (long long)v);
	return 0;
}

static int check_name(struct str s, const char *field, struct err *err)
{
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];
		if (!isalnum(c) && c != '-' && c != '_')
			return err_set(err, HCP_EINVAL, field, "may hold letters, digits, '-' and '_' only");
	}
	return 0;
}

static int check_strings(const struct workload_spec *w, struct err *err)
{
	int r;
	if ((r = check_text(w->name, WORKLOAD_NAME_MAX, "name", err)) < 0 ||
		(r = check_text(w->model_id, WORKLOAD_MODEL_MAX, "model_id", err)) < 0 ||
		(r = check_text(w->gpu_type, DEVICE_CLASS_NAME_MAX, "gpu_type", err)) < 0 ||
		(r = check_text(w->region, WORKLOAD_REGION_MAX, "region", err)) < 0 ||
		(r = check_text(w->callback_url, WORKLOAD_CALLBACK_MAX, "callback_url", err)) < 0 ||
		(r = check_text(w->project, WORKLOAD_PROJECT_MAX, "project", err)) < 0 ||
		(r = check_name(w->project, "project", err)) < 0)
		return r;
	if (w->callback_url.n && !str_starts(w->callback_url, STR("https://")) &&
		!str_starts(w->callback_url, STR("http://")))
		return err_set(err, HCP_EINVAL, "callback_url", "must begin with https:// or http://");
	return check_name(w->region, "region", err);
}

static int check_numbers(const struct workload_spec *w, struct err *err)
{
	if (w->priority != 0 && (w->priority < WORKLOAD_PRIORITY_MIN || w->priority > WORKLOAD_PRIORITY_MAX))
		return err_set(err, HCP_ERANGE, "priority", "must be from %d (first) to %d, is %d", WORKLOAD_PRIORITY_MIN,
			WORKLOAD_PRIORITY_MAX, w->priority);
	const struct {
		int64_t v, max;
		const char *field;
	} row[] = {
		{ w->gpu_count, WORKLOAD_GPU_COUNT_MAX, "gpu_count" },
		{ w->gpu_fraction_milli, WORKLOAD_FRACTION_WHOLE, "gpu_fraction_milli" },
		{ w->cpu_cores, WORKLOAD_CPU_CORES_MAX, "cpu_cores" },
		{ w->memory_gib, WORKLOAD_MEMORY_GIB_MAX, "memory_gib" },
		{ w->max_latency_ms, WORKLOAD_LATENCY_MS_MAX, "max_latency_ms" },
		{ w->duration_s, WORKLOAD_DURATION_S_MAX, "duration_s" },
		{ w->max_price_micros_h, INT64_MAX, "max_price_micros_h" },
	};
	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		int r = check_range(row[i].v, row[i].max, row[i].field, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int check_hardware(const struct workload_spec *w, struct err *err)
{
	if (w->gpu_fraction_milli > 0 && w->gpu_fraction_milli < WORKLOAD_FRACTION_WHOLE && w->gpu_count != 1)
		return err_set(err, HCP_EINVAL, "gpu_fraction_milli", "a fraction is of one GPU: gpu_count must be 1");
	if (!w->gpu_type.n)
		return 0;
	const struct device_class *c = device_class_find(w->gpu_type);
	if (!c)
		return err_set(err, HCP_ENOTFOUND, "gpu_type", "no device class of this name");
	if (w->type != WORKLOAD_BITCOIN_MINING && c->kind != DEVICE_GPU)
		return err_set(err, HCP_EINVAL, "gpu_type", "%s is not a GPU", c->name);
	if (w->gpu_count == 0 && w->type != WORKLOAD_BITCOIN_MINING)
		return err_set(err, HCP_EINVAL, "gpu_count", "must be at least 1 when gpu_type is given");
	if (w->gpu_count > 0 && (double)w->memory_gib > c->memory_gib * (double)w->gpu_count)
		return err_set(err, HCP_ERANGE, "memory_gib", "%lld %s hold %.0f GiB together", (long long)w->gpu_count,
			c->name, c->memory_gib * (double)w->gpu_count);
	return 0;
}

static int check_type_fields(const struct workload_spec *w, struct err *err)
{
	bool inference = w->type == WORKLOAD_AI_INFERENCE_REALTIME || w->type == WORKLOAD_AI_INFERENCE_BATCH;
	if (inference && !w->model_id.n)
		return err_set(err, HCP_EINVAL, "model_id", "inference names its model");
	if (w->type != WORKLOAD_AI_INFERENCE_REALTIME && w->max_latency_ms)
		return err_set(err, HCP_EINVAL, "max_latency_ms", "only real-time inference has a latency limit");
	if (w->type == WORKLOAD_AI_INFERENCE_REALTIME && w->spot)
		return err_set(err, HCP_EINVAL, "spot", "real-time inference cannot be preempted");
	if (w->type == WORKLOAD_MODEL_TRAINING && w->gpu_count == 0 && w->cpu_cores == 0)
		return err_set(err, HCP_EINVAL, "gpu_count", "training needs GPUs or cpu_cores");
	if (w->type == WORKLOAD_BITCOIN_MINING && w->gpu_fraction_milli)
		return err_set(err, HCP_EINVAL, "gpu_fraction_milli", "mining takes whole devices");
	return 0;
}

int workload_validate(const struct workload_spec *w, int64_t now_ns, struct err *err)
{
	int r;
	if (!workload_type_name(w->type))
		return err_set(err, HCP_EINVAL, "type",
			"must be ai_inference_realtime, ai_inference_batch, model_training or bitcoin_mining");
	if ((r = check_strings(w, err)) < 0 || (r = check_numbers(w, err)) < 0 || (r = check_hardware(w, err)) < 0 ||
		(r = check_type_fields(w, err)) < 0)
		return r;
	if (w->deadline_ns < 0 || (w->deadline_ns > 0 && w->deadline_ns <= now_ns))
		return err_set(err, HCP_ERANGE, "deadline", "lies in the past");
	if (w->deadline_ns > 0 && w->duration_s > (w->deadline_ns - now_ns) / NS_PER_S)
		return err_set(err, HCP_ERANGE, "deadline", "%lld s of work do not fit before the deadline",
			(long long)w->duration_s);
	return 0;
}
